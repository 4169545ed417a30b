//! The sockets of the beacon: two that are shared with other daemons of the
//! host, for hearing, and two of our own, for sending and for answers.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::links::{Links, group_on};
use crate::lan::{BEACON_GROUP, Destination, Transmit};

/// What failed last, in words, by destination; empty when all is well.
pub(super) type Trouble = std::collections::BTreeMap<String, String>;

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
    pub(super) fn join(&mut self, links: &Links, trouble: &mut Trouble) {
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
            let place = format!("joining the group on interface {index}");
            match socket.join_multicast_v6(&BEACON_GROUP, index) {
                Ok(()) => {
                    self.joined.insert(index);
                    trouble.remove(&place);
                }
                Err(error) => {
                    trouble.insert(place, error.to_string());
                }
            }
        }
    }

    /// Sends to every address meant. A failure on one is noted and stops no
    /// other; a datagram that finds the buffer full is lost, as on the wire.
    pub(super) fn send(&self, transmit: &Transmit, links: &Links, trouble: &mut Trouble) {
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
                    trouble.remove(&format!("sending to {to}"));
                }
                Err(error) if matches!(transmit.to, Destination::Unicast(_)) => {
                    tracing::debug!(%to, %error, "beacon answer not sent");
                }
                Err(error) => {
                    tracing::debug!(%to, %error, "beacon not sent");
                    trouble.insert(format!("sending to {to}"), error.to_string());
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
