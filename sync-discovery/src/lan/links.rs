//! The interfaces of this host, reduced to what the beacon needs: where to
//! shout, and which senders are on a link that we were told to use.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use if_addrs::{IfAddr, Interface};

/// The addresses of this host's interfaces that are up, to notice that the network changed.
///
/// # Errors
///
/// Those of the operating system.
pub fn interface_addresses() -> io::Result<BTreeSet<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?
        .iter()
        .map(Interface::ip)
        .collect())
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    name: String,
    index: u32,
    ip: IpAddr,
    prefix: u8,
    broadcast: Option<Ipv4Addr>,
}

/// The addresses of the interfaces in use. Equal as long as nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Links {
    links: BTreeSet<Link>,
    restricted: bool,
}

impl Links {
    /// Asks the operating system. An empty `bind` means every interface,
    /// loopback included, so that two daemons on one host find each other.
    pub(super) fn read(bind: &[String]) -> io::Result<Self> {
        Ok(Self::from_interfaces(if_addrs::get_if_addrs()?, bind))
    }

    fn from_interfaces(interfaces: Vec<Interface>, bind: &[String]) -> Self {
        let chosen = |i: &Interface| bind.is_empty() || bind.contains(&i.name);
        let links = interfaces
            .into_iter()
            .filter(chosen)
            .map(Link::from)
            .collect();
        Self {
            links,
            restricted: !bind.is_empty(),
        }
    }

    /// Broadcast address of each IPv4 network, each once.
    pub(super) fn broadcasts(&self) -> BTreeSet<Ipv4Addr> {
        self.links
            .iter()
            .filter_map(|link| link.broadcast)
            .collect()
    }

    /// Index of each interface with IPv6, for the beacon group.
    pub(super) fn group_indexes(&self) -> BTreeSet<u32> {
        let v6 = self
            .links
            .iter()
            .filter(|link| link.ip.is_ipv6() && link.index != 0);
        v6.map(|link| link.index).collect()
    }

    /// The name of an interface.
    pub(super) fn name(&self, index: u32) -> Option<&str> {
        let link = self.links.iter().find(|link| link.index == index)?;
        Some(&link.name)
    }

    /// Whether an interface leads nowhere but to this host.
    pub(super) fn is_loopback(&self, index: u32) -> bool {
        let mut of_it = self.links.iter().filter(|link| link.index == index);
        of_it.any(|link| link.ip.is_loopback())
    }

    /// Names of the interfaces, each once.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.links.iter().map(|link| link.name.clone()).collect()
    }

    /// Whether a datagram from there came over an interface in use. The shared
    /// socket hears all of them.
    pub(super) fn permits(&self, from: SocketAddr) -> bool {
        !self.restricted || self.links.iter().any(|link| link.reaches(from))
    }
}

impl Link {
    fn reaches(&self, from: SocketAddr) -> bool {
        match (self.ip, from) {
            (IpAddr::V4(ip), SocketAddr::V4(from)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix.min(32)))
                    .unwrap_or(0);
                (ip.to_bits() ^ from.ip().to_bits()) & mask == 0
            }
            (IpAddr::V6(_), SocketAddr::V6(from)) if from.scope_id() != 0 => {
                from.scope_id() == self.index
            }
            (IpAddr::V6(ip), SocketAddr::V6(from)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128)));
                (ip.to_bits() ^ from.ip().to_bits()) & mask.unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<Interface> for Link {
    fn from(interface: Interface) -> Self {
        let (prefix, broadcast) = match &interface.addr {
            // The kernel has none for loopback, but delivers to it.
            IfAddr::V4(v4) if v4.ip.is_loopback() => {
                (v4.prefixlen, Some(Ipv4Addr::new(127, 255, 255, 255)))
            }
            IfAddr::V4(v4) if v4.prefixlen >= 31 => (v4.prefixlen, None),
            IfAddr::V4(v4) => (v4.prefixlen, v4.broadcast),
            IfAddr::V6(v6) => (v6.prefixlen, None),
        };
        Self {
            index: interface.index.unwrap_or(0),
            ip: interface.ip(),
            name: interface.name,
            prefix,
            broadcast,
        }
    }
}

/// The scope of an address of the beacon group on one interface.
pub(super) const fn group_on(group: Ipv6Addr, port: u16, index: u32) -> SocketAddr {
    SocketAddr::V6(std::net::SocketAddrV6::new(group, port, 0, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    fn interface(name: &str, index: u32, ip: &str, prefixlen: u8) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => IfAddr::V4(Ifv4Addr {
                ip,
                netmask: Ipv4Addr::UNSPECIFIED,
                prefixlen,
                broadcast: Some(Ipv4Addr::from_bits(ip.to_bits() | (u32::MAX >> prefixlen))),
            }),
            IpAddr::V6(ip) => IfAddr::V6(Ifv6Addr {
                ip,
                netmask: Ipv6Addr::UNSPECIFIED,
                prefixlen,
                broadcast: None,
            }),
        };
        Interface {
            name: name.into(),
            addr,
            index: Some(index),
            oper_status: IfOperStatus::Up,
            is_p2p: false,
        }
    }

    /// Many a cable between two machines has no other addresses.
    #[cfg(target_os = "linux")]
    #[test]
    fn link_local_addresses_are_read() {
        let Ok(known) = std::fs::read_to_string("/proc/net/if_inet6") else {
            return; // A kernel without IPv6.
        };
        let links = Links::read(&[]).unwrap();
        // Address, index, prefix, scope, flags, name; interfaces that are down have none.
        for line in known.lines().filter(|line| line.starts_with("fe80")) {
            let index = line.split_whitespace().nth(1).unwrap();
            let index = u32::from_str_radix(index, 16).unwrap();
            assert!(links.group_indexes().contains(&index), "{line}");
            let found = links.links.iter().any(|link| match link.ip {
                IpAddr::V6(ip) => ip.is_unicast_link_local() && link.index == index,
                IpAddr::V4(_) => false,
            });
            assert!(found, "{line}");
        }
    }

    #[test]
    fn link_local_alone_is_enough_for_the_group() {
        let links = Links::from_interfaces(vec![interface("eth0", 4, "fe80::1", 64)], &[]);
        assert_eq!(links.group_indexes(), BTreeSet::from([4]));
        assert!(links.broadcasts().is_empty());
    }

    #[test]
    fn chosen_interfaces_only() {
        let all = || {
            vec![
                interface("lo", 1, "127.0.0.1", 8),
                interface("eth0", 2, "192.0.2.2", 24),
                interface("eth0", 2, "fe80::1", 64),
                interface("eth1", 3, "198.51.100.2", 24),
                interface("eth1", 3, "fe80::2", 64),
            ]
        };
        let links = Links::from_interfaces(all(), &["eth0".into()]);
        assert_eq!(
            links.broadcasts(),
            BTreeSet::from([Ipv4Addr::new(192, 0, 2, 255)])
        );
        assert_eq!(links.group_indexes(), BTreeSet::from([2]));
        for (from, permitted) in [
            ("192.0.2.9:1", true),
            ("198.51.100.9:1", false),
            ("127.0.0.1:1", false),
            ("[fe80::9%2]:1", true),
            ("[fe80::9%3]:1", false),
            ("[2001:db8::9]:1", false),
        ] {
            assert_eq!(links.permits(from.parse().unwrap()), permitted, "{from}");
        }
        let links = Links::from_interfaces(all(), &[]);
        assert!(
            links
                .broadcasts()
                .contains(&Ipv4Addr::new(127, 255, 255, 255))
        );
        assert!(links.permits("203.0.113.9:1".parse().unwrap()));
    }
}
