//! Which addresses are in the local network: those that an interface reaches
//! without a router, by its prefix, whatever they look like.
//!
//! A private address behind a router isn't, and a public one on the same cable
//! is. The list of prefixes is the caller's; nothing is asked of the system.

use std::net::IpAddr;

use super::route::PathClass;

/// An address of one of our interfaces, and how many of its first bits all
/// hosts on the link share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// Our address on the interface.
    pub addr: IpAddr,
    /// 0 to 32 for IPv4, 0 to 128 for IPv6. A longer one counts as the longest.
    pub len: u8,
}

impl Prefix {
    /// Whether an address is on this link. Addresses of IPv4 written as IPv6
    /// are IPv4; a prefix of no bits says nothing about anybody.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        let shared = match (self.addr.to_canonical(), addr.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u32::from(ours) ^ u32::from(theirs)).leading_zeros()
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (u128::from(ours) ^ u128::from(theirs)).leading_zeros()
            }
            _ => return false,
        };
        let whole = if self.addr.to_canonical().is_ipv4() {
            32
        } else {
            128
        };
        self.len > 0 && shared >= u32::from(self.len).min(whole)
    }
}

/// The class of a direct path to an address, given the prefixes of all our
/// interfaces, the one of loopback included.
#[must_use]
pub fn class_of(addr: IpAddr, prefixes: &[Prefix]) -> PathClass {
    if prefixes.iter().any(|prefix| prefix.contains(addr)) {
        PathClass::Lan
    } else {
        PathClass::Direct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (addr, len) = text.split_once('/').unwrap();
        Prefix {
            addr: addr.parse().unwrap(),
            len: len.parse().unwrap(),
        }
    }

    #[test]
    fn the_link_decides_and_not_the_look_of_an_address() {
        let ours: Vec<_> = [
            "127.0.0.1/8",
            "192.168.1.5/24",
            "203.0.113.77/26",
            "::1/128",
            "2001:db8:5::7/64",
            "fe80::1/64",
            "198.51.100.1/32",
        ]
        .map(prefix)
        .into();
        for (addr, class) in [
            ("127.5.5.5", PathClass::Lan),
            ("192.168.1.200", PathClass::Lan),
            ("::ffff:192.168.1.200", PathClass::Lan),
            ("203.0.113.65", PathClass::Lan),
            ("198.51.100.1", PathClass::Lan),
            ("::1", PathClass::Lan),
            ("2001:db8:5::1234", PathClass::Lan),
            ("fe80::abcd", PathClass::Lan),
            // Private, but behind a router.
            ("192.168.2.200", PathClass::Direct),
            ("10.1.2.3", PathClass::Direct),
            ("fd00::1", PathClass::Direct),
            ("203.0.113.1", PathClass::Direct),
            ("198.51.100.2", PathClass::Direct),
            ("2001:db8:6::1", PathClass::Direct),
            ("::2", PathClass::Direct),
        ] {
            assert_eq!(class_of(addr.parse().unwrap(), &ours), class, "{addr}");
        }
    }

    #[test]
    fn odd_prefixes_hold_nobody_else() {
        let somebody = "8.8.8.8".parse().unwrap();
        assert!(!prefix("8.8.8.9/0").contains(somebody));
        assert!(!prefix("8.8.8.9/200").contains(somebody));
        assert!(prefix("8.8.8.8/200").contains(somebody));
        assert!(!prefix("::/96").contains(somebody));
        assert!(prefix("::ffff:8.8.8.0/24").contains(somebody));
    }
}
