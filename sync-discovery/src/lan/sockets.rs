//! The sockets of the beacon: two that are shared with other daemons of the
//! host, for hearing, and two of our own, for sending and for answers.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::links::{Links, group_on};
use super::{BEACON_GROUP, Destination, Transmit};
use crate::Trouble;

/// What fails at present, by what was tried; empty when all is well.
pub(super) type Troubles = std::collections::BTreeMap<String, Trouble>;

/// All sockets; those of an address family that the host lacks are missing.
#[derive(Debug)]
pub(super) struct Sockets {
    beacon_port: u16,
    own_v4: Option<UdpSocket>,
    own_v6: Option<UdpSocket>,
    shared_v6: Option<UdpSocket>,
    /// Interfaces where the group was joined.
    joined: BTreeSet<u32>,
}

impl Sockets {
    /// Opens what can be opened, and gives the sockets to listen on.
    ///
    /// # Errors
    /// If neither family has both of its sockets.
    pub(super) fn open(beacon_port: u16) -> io::Result<(Self, Vec<UdpSocket>)> {
        let v4 = pair(Domain::IPV4, beacon_port);
        let v6 = pair(Domain::IPV6, beacon_port);
        let (v4, v6) = match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => (v4.ok(), v6.ok()),
        };
        let mut listen = Vec::new();
        for (shared, own) in v4.iter().chain(&v6) {
            listen.push(shared.try_clone()?);
            listen.push(own.try_clone()?);
        }
        let (shared_v6, own_v6) = v6.unzip();
        let sockets = Self {
            beacon_port,
            own_v4: v4.map(|(_, own)| own),
            own_v6,
            shared_v6,
            joined: BTreeSet::new(),
        };
        Ok((sockets, listen))
    }

    /// Joins the group on interfaces that are new. One that refuses is asked
    /// again the next time.
    pub(super) fn join(&mut self, links: &Links, troubles: &mut Troubles) {
        let Some(socket) = &self.shared_v6 else {
            return;
        };
        let wanted = links.group_indexes();
        let socket = socket2::SockRef::from(socket);
        for index in self.joined.difference(&wanted) {
            // It fails when the interface is gone, and then there is nothing to leave.
            let _ = socket.leave_multicast_v6(&BEACON_GROUP, *index);
        }
        self.joined.retain(|index| wanted.contains(index));
        for index in wanted {
            if self.joined.contains(&index) {
                continue;
            }
            let place = format!("join {index}");
            match socket.join_multicast_v6(&BEACON_GROUP, index) {
                Ok(()) => {
                    self.joined.insert(index);
                    troubles.remove(&place);
                }
                // Daemons of one host hear each other by broadcast as well.
                Err(error) if links.is_loopback(index) => {
                    tracing::debug!(index, %error, "no group on loopback");
                }
                Err(error) => {
                    let trouble = Trouble::Join {
                        interface: links.name(index).unwrap_or_default().to_owned(),
                        error: error.to_string(),
                    };
                    troubles.insert(place, trouble);
                }
            }
        }
    }

    /// Sends to every address meant. A failure on one is noted and stops no
    /// other; a datagram that finds the buffer full is lost, as on the wire.
    pub(super) fn send(&self, transmit: &Transmit, links: &Links, troubles: &mut Troubles) {
        let mut one = |to: SocketAddr| {
            let socket = if to.is_ipv4() {
                &self.own_v4
            } else {
                &self.own_v6
            };
            let Some(socket) = socket else {
                return;
            };
            match socket.send_to(&transmit.bytes, to) {
                Ok(_) => {
                    troubles.remove(&format!("send {to}"));
                }
                Err(error) if matches!(transmit.to, Destination::Unicast(_)) => {
                    tracing::debug!(%to, %error, "beacon answer not sent");
                }
                Err(error) => {
                    tracing::debug!(%to, %error, "beacon not sent");
                    let loopback = match to {
                        SocketAddr::V4(to) => to.ip().is_loopback(),
                        SocketAddr::V6(to) => links.is_loopback(to.scope_id()),
                    };
                    if !loopback {
                        let error = error.to_string();
                        troubles.insert(format!("send {to}"), Trouble::Send { to, error });
                    }
                }
            }
        };
        match transmit.to {
            Destination::Broadcast => {
                let targets = links.broadcasts();
                targets
                    .into_iter()
                    .for_each(|ip| one((ip, self.beacon_port).into()));
            }
            Destination::Multicast => {
                let targets = links.group_indexes();
                let group = |index| group_on(BEACON_GROUP, self.beacon_port, index);
                targets.into_iter().for_each(|index| one(group(index)));
            }
            Destination::Unicast(to) => one(to),
        }
    }
}

/// The shared socket and our own, for one family.
fn pair(domain: Domain, beacon_port: u16) -> io::Result<(UdpSocket, UdpSocket)> {
    Ok((open(domain, beacon_port, true)?, open(domain, 0, false)?))
}

fn open(domain: Domain, port: u16, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let any: SocketAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        socket.set_multicast_loop_v6(true)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        socket.set_broadcast(true)?;
        (Ipv4Addr::UNSPECIFIED, port).into()
    };
    if shared {
        socket.set_reuse_address(true)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
    }
    socket.bind(&any.into())?;
    Ok(socket.into())
}
