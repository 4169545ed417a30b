//! TCP, and the task that drives a session over any byte stream.
//!
//! It owns sockets and their options, the reading and writing of streams, and
//! the clock that sessions are told the time from. It holds no protocol: what
//! the bytes mean is the session's business.

mod drive;
mod establish;
mod handle;
mod listen;
mod pump;
mod slots;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::dial::PathClass;
use crate::handshake::Entropy;
use crate::session::{Established, Session};

pub use drive::{EVENT_QUEUE, drive};
pub use establish::{DialError, accept_session, dial, establish, establish_watched};
pub use handle::SessionHandle;
pub use listen::{Bind, BindError, bind};
pub use slots::{HandshakeLimits, HandshakeSlots, Slot};

/// How long a TCP connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may wait in the kernel without being on the wire. What waits
/// there can't be overtaken by a control message.
const NOT_SENT: u32 = 512 * 1024;

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
    /// Where the peer is, if the stream tells.
    pub remote: Option<SocketAddr>,
    /// How good the path is.
    pub path: PathClass,
    pub(crate) session: Session,
    pub(crate) stream: Box<dyn ByteStream>,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    pub(crate) clock: Clock,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected")
            .field("remote", &self.remote)
            .field("path", &self.path)
            .finish()
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

/// Connects within [`CONNECT_TIMEOUT`] and sets the options of [`tune`].
pub async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(addr));
    let stream = connecting
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    tune(&stream);
    Ok(stream)
}

/// Sets what we want of a connection; what the system doesn't offer is left.
///
/// No delay for small writes; keep-alive by the kernel behind our own; BBR
/// where it is offered, since it holds its speed on lossy paths; a bound on
/// what waits unsent in the kernel. Buffer sizes stay with the kernel, which
/// adapts them to the path.
pub fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // None of these is needed for anything to work.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_congestion(b"bbr");
        let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
    }
}

/// The class of a direct path to an address: loopback, private and link-local
/// addresses are the local network.
#[must_use]
pub fn path_to(addr: IpAddr) -> PathClass {
    let local = match addr.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    if local {
        PathClass::Lan
    } else {
        PathClass::Direct
    }
}
