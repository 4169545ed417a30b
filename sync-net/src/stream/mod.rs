//! Drives a session over any ordered stream of bytes.
//!
//! It owns the reading and writing of streams and the clock that sessions are
//! told the time from. It holds no protocol, what the bytes mean is the
//! session's business, and no sockets: a transport makes a stream, gives it to
//! [`establish`] and is done.

mod drive;
mod establish;
mod handle;
mod pump;
mod slots;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::handshake::Entropy;
use crate::paths::Route;
use crate::session::{Established, Session};

pub use drive::{EVENT_QUEUE, drive};
pub use establish::{DialError, accept_session, establish, establish_watched};
pub use handle::SessionHandle;
pub use slots::{HandshakeLimits, HandshakeSlots, Slot};

/// Any ordered stream of bytes that a session can run over.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// The clock that all sessions of a daemon are told the time from.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that shows zero now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since it was started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// The moment when it will show a time.
    #[must_use]
    pub fn at(&self, time: Duration) -> Instant {
        self.0 + time
    }
}

/// An established session and the stream that it runs over, ready for
/// [`drive`]. Dropping it closes the stream without a word.
pub struct Connected {
    /// What is known about the peer.
    pub established: Established,
    /// The transport, the path and where the peer is.
    pub route: Route,
    pub(crate) session: Session,
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    pub(crate) clock: Clock,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// Fresh random bytes from the operating system for one handshake.
pub fn fresh_entropy() -> io::Result<Entropy> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let entropy = Entropy::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(entropy)
}
