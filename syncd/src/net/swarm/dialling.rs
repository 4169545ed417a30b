//! One attempt to reach a peer, and what its failure means to the address book.

use std::io;

use sync_discovery::book::FailReason;
use sync_net::{CloseReason, SessionError, handshake::HandshakeError, stream::DialError};

/// Why a dial came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreached {
    /// The address is one of this device.
    Own,
    /// The sort of the failure, and words for a report.
    Failed(FailReason, String),
}

impl From<&DialError> for Unreached {
    fn from(error: &DialError) -> Self {
        if let DialError::Session(CloseReason::Failed(SessionError::Handshake(error))) = error
            && matches!(error, HandshakeError::OwnKey)
        {
            return Self::Own;
        }
        let (reason, detail) = judge(error);
        Self::Failed(reason, detail)
    }
}

/// The sort of a failure and its words for a report.
fn judge(error: &DialError) -> (FailReason, String) {
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
        // A daemon without a free place for a handshake closes at once. So may any other service.
        DialError::Session(CloseReason::Disconnected) => {
            return (FailReason::Dropped, String::new());
        }
        DialError::Session(CloseReason::Silent) => return (FailReason::Silence, String::new()),
        DialError::Session(_) => FailReason::Rejected,
    };
    (reason, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_our_own_is_told_by_the_handshake() {
        let own = SessionError::Handshake(HandshakeError::OwnKey);
        let error = DialError::Session(own.into());
        assert_eq!(Unreached::from(&error), Unreached::Own);
    }

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
        assert_eq!(session(CloseReason::Disconnected), FailReason::Dropped);
        let late = CloseReason::Failed(SessionError::HandshakeTimeout);
        assert_eq!(session(late), FailReason::Silence);
        assert_eq!(
            session(CloseReason::Failed(SessionError::BadProof)),
            FailReason::Rejected
        );
    }
}
