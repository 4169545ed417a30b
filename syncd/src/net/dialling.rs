//! One attempt to reach a peer, and what its failure means to the address book.

use std::io;

use sync_discovery::book::{Ended, FailReason};
use sync_net::{CloseReason, Goodbye, SessionError, handshake::HandshakeError, stream::DialError};

/// Whether the address that was reached is one of this device.
pub(super) fn is_own(error: &DialError) -> bool {
    let DialError::Session(CloseReason::Failed(SessionError::Handshake(error))) = error else {
        return false;
    };
    matches!(error, HandshakeError::OwnKey)
}

/// The sort of a failure and its words for a report.
pub(super) fn judge(error: &DialError) -> (FailReason, String) {
    let reason = match error {
        DialError::Connect(e) => match e.kind() {
            io::ErrorKind::ConnectionRefused => return (FailReason::Refused, String::new()),
            io::ErrorKind::TimedOut => return (FailReason::TimedOut, String::new()),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                FailReason::Unreachable
            }
            _ => FailReason::Other,
        },
        DialError::Session(CloseReason::Failed(SessionError::HandshakeTimeout)) => {
            return (FailReason::Silence, String::new());
        }
        // A stranger's door is shut without a word, at once or after a while.
        DialError::Session(CloseReason::Disconnected | CloseReason::Silent) => {
            return (FailReason::Silence, String::new());
        }
        DialError::Session(_) => FailReason::Rejected,
    };
    (reason, error.to_string())
}

/// What the end of a session says about the address.
pub(super) fn ended(reason: &CloseReason) -> Ended {
    match reason {
        CloseReason::Peer(Goodbye::Busy) => Ended::TurnedAway(FailReason::Busy),
        CloseReason::Peer(
            Goodbye::FolderRemoved
            | Goodbye::Version
            | Goodbye::Violation
            | Goodbye::Rotated
            | Goodbye::Other(_),
        )
        | CloseReason::Local(Goodbye::Violation) => Ended::TurnedAway(FailReason::Rejected),
        _ => Ended::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let connect = |kind| judge(&DialError::Connect(io::Error::from(kind))).0;
        assert_eq!(
            connect(io::ErrorKind::ConnectionRefused),
            FailReason::Refused
        );
        assert_eq!(connect(io::ErrorKind::TimedOut), FailReason::TimedOut);
        assert_eq!(
            connect(io::ErrorKind::HostUnreachable),
            FailReason::Unreachable
        );
        let session = |reason| judge(&DialError::Session(reason)).0;
        assert_eq!(session(CloseReason::Disconnected), FailReason::Silence);
        assert_eq!(
            session(CloseReason::Failed(SessionError::BadProof)),
            FailReason::Rejected
        );
    }
}
