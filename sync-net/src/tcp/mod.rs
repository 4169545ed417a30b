//! TCP: connecting, listening and the options of sockets.
//!
//! It owns sockets until they are streams. It holds no protocol and drives
//! nothing: what a session does over a stream is said in [`crate::stream`].

mod listen;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::membership::SharedFolder;
use crate::paths::{PathClass, Prefix, Route, Transport, class_of};
use crate::session::{CloseReason, Config, Hello, Session};
use crate::stream::{Clock, Connected, DialError, establish, fresh_entropy};

pub use listen::{Bind, BindError, bind};

/// This transport.
pub const TCP: Transport = Transport {
    name: "tcp",
    by_system: true,
};

/// How long a TCP connection may take to come up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may wait in the kernel without being on the wire. What waits
/// there can't be overtaken by a control message.
const NOT_SENT: u32 = 512 * 1024;

/// Connects to a peer and establishes a session in a folder.
pub async fn dial(
    addr: SocketAddr,
    folder: SharedFolder,
    hello: Hello,
    config: Config,
    clock: Clock,
) -> Result<Connected, DialError> {
    let stream = connect(addr).await?;
    let session = Session::initiate(folder, hello, config, fresh_entropy()?, clock.now())
        .map_err(CloseReason::from)?;
    Ok(establish(session, Box::new(stream), route_to(addr), clock).await?)
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

/// The way that a connection with an address takes, either side having dialled.
/// The interfaces are asked each time, since they come and go.
#[must_use]
pub fn route_to(remote: SocketAddr) -> Route {
    let own = prefixes();
    Route {
        transport: TCP,
        // Without a list there is no better guess than our own machine.
        path: if own.is_empty() && remote.ip().to_canonical().is_loopback() {
            PathClass::Lan
        } else {
            class_of(remote.ip(), &own)
        },
        remote: Some(remote),
    }
}

/// The prefixes of all interfaces of this machine; none if it doesn't tell.
#[must_use]
pub fn prefixes() -> Vec<Prefix> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let prefix = |interface: if_addrs::Interface| match interface.addr {
        if_addrs::IfAddr::V4(v4) => Prefix {
            addr: IpAddr::V4(v4.ip),
            len: v4.prefixlen,
        },
        if_addrs::IfAddr::V6(v6) => Prefix {
            addr: IpAddr::V6(v6.ip),
            len: v6.prefixlen,
        },
    };
    interfaces.into_iter().map(prefix).collect()
}
