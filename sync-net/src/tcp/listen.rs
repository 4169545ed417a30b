//! Binding the listening port.
//!
//! One number for IPv4 and IPv6, since peers are told one. It must never
//! listen more widely than it was asked to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel completes before we take them.
const BACKLOG: i32 = 256;
/// How often another port is tried when the system may choose it and the one
/// it chose for one address is taken on the next.
const TRIES: usize = 16;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// On all addresses, IPv4 and IPv6.
    All,
    /// On the addresses that these interfaces have now.
    Interfaces(Vec<String>),
    /// On these addresses.
    Addresses(Vec<IpAddr>),
}

/// Why the port can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("port {} is in use on {}", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// The port isn't allowed to us.
    #[error("no permission to listen on {0}")]
    Permission(SocketAddr),
    /// This machine doesn't have the address.
    #[error("{0} is not an address of this machine")]
    NotOurs(IpAddr),
    /// There is no such interface, or it has no address.
    #[error("there is no network interface {0:?} with an address")]
    NoInterface(String),
    /// There is nothing to listen on.
    #[error("no address to listen on")]
    Nothing,
    /// The system refused for another reason.
    #[error("cannot listen on {addr}: {source}")]
    Other {
        /// Where.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The interfaces of this machine can't be listed.
    #[error("cannot list the network interfaces: {0}")]
    List(io::Error),
}

/// Listens where `bind` says, on one port for all; 0 lets the system choose.
///
/// With [`Bind::All`] a machine without IPv6, or without IPv4, listens on the
/// other. Call it from within a tokio runtime.
pub fn bind(bind: &Bind, port: u16) -> Result<Vec<TcpListener>, BindError> {
    let addrs = match bind {
        Bind::All => {
            vec![
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            ]
        }
        Bind::Addresses(addrs) => addrs
            .iter()
            .map(|addr| SocketAddr::new(*addr, port))
            .collect(),
        Bind::Interfaces(names) => interface_addresses(names, port)?,
    };
    let mut tries = if port == 0 { TRIES } else { 1 };
    loop {
        tries -= 1;
        match bind_each(&addrs, port, *bind == Bind::All) {
            Err(BindError::InUse(_)) if tries > 0 => {}
            result => return result,
        }
    }
}

fn bind_each(
    addrs: &[SocketAddr],
    mut port: u16,
    all: bool,
) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(addrs.len());
    let mut missing = None;
    for addr in addrs {
        let mut addr = *addr;
        addr.set_port(port);
        let bound = listen(addr).and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((local, listener)) => {
                port = local.port();
                listeners.push(listener);
            }
            Err(error) => {
                let error = explain(addr, error);
                // A family that this machine doesn't have, or an address that its interface doesn't have yet: a
                // link-local one is there a second or two after the cable was put in.
                let young = matches!(addr, SocketAddr::V6(v6) if v6.scope_id() != 0);
                if !(all || young)
                    || matches!(error, BindError::InUse(_) | BindError::Permission(_))
                {
                    return Err(error);
                }
                missing = Some(error);
            }
        }
    }
    if listeners.is_empty() {
        Err(missing.unwrap_or(BindError::Nothing))
    } else {
        Ok(listeners)
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // IPv4 has a socket of its own.
        socket.set_only_v6(true)?;
    }
    // So that a restart needn't wait for connections of the last run.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn explain(addr: SocketAddr, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(addr),
        io::ErrorKind::PermissionDenied => BindError::Permission(addr),
        io::ErrorKind::AddrNotAvailable => BindError::NotOurs(addr.ip()),
        _ => BindError::Other { addr, source },
    }
}

fn interface_addresses(names: &[String], port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let interfaces = if_addrs::get_if_addrs().map_err(BindError::List)?;
    let mut addrs = Vec::new();
    for name in names {
        let before = addrs.len();
        for interface in interfaces
            .iter()
            .filter(|interface| interface.name == *name)
        {
            addrs.push(match interface.ip() {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                    // Such an address means nothing without its interface.
                    SocketAddrV6::new(v6, port, 0, interface.index.unwrap_or(0)).into()
                }
                ip => SocketAddr::new(ip, port),
            });
        }
        if addrs.len() == before {
            return Err(BindError::NoInterface(name.clone()));
        }
    }
    Ok(addrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_port_for_all_addresses_and_a_clear_error_when_it_is_taken() {
        let lo = Bind::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
        let first = bind(&lo, 0).unwrap();
        let addr = first[0].local_addr().unwrap();
        assert!(matches!(bind(&lo, addr.port()), Err(BindError::InUse(taken)) if taken == addr));
        let error = bind(&lo, addr.port()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("port {} is in use on 127.0.0.1", addr.port())
        );

        let two = Bind::Addresses(vec![[127, 0, 0, 1].into(), [127, 0, 0, 2].into()]);
        let ports: Vec<_> = bind(&two, 0)
            .unwrap()
            .iter()
            .map(|l| l.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports[0], ports[1]);
    }

    #[tokio::test]
    async fn an_interface_means_its_addresses_only() {
        let listeners = bind(&Bind::Interfaces(vec!["lo".into()]), 0).unwrap();
        assert!(
            listeners
                .iter()
                .all(|l| l.local_addr().unwrap().ip().is_loopback())
        );
        let error = bind(&Bind::Interfaces(vec!["nosuch0".into()]), 0);
        assert!(matches!(error, Err(BindError::NoInterface(name)) if name == "nosuch0"));
        let error = bind(&Bind::Addresses(vec![[192, 0, 2, 1].into()]), 0);
        assert!(matches!(error, Err(BindError::NotOurs(_))));
        assert!(matches!(
            bind(&Bind::Addresses(vec![]), 0),
            Err(BindError::Nothing)
        ));
    }
}
