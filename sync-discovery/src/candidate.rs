//! The words all mechanisms share: which folder, which address, who said so.
//!
//! Owns no state. Must never grow a field that identifies a device: an address
//! is all that is known before a handshake.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A folder, as the caller names it. This crate only compares tags; it never
/// sends them, so any 32 bytes that are unique on this device will do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderTag(pub [u8; 32]);

impl From<u64> for FolderTag {
    /// A tag from a running number, for callers that count their folders.
    fn from(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

impl fmt::Debug for FolderTag {
    /// The last four bytes are enough to tell folders apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [.., a, b, c, d] = self.0;
        write!(f, "FolderTag(..{a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// Which mechanism gave an address. The order is the order of preference: what
/// is near or was named by the user comes before what strangers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The beacon on the local network.
    Lan,
    /// Written down by the user.
    KnownHost,
    /// Carried by an invitation.
    Invite,
    /// Told by a peer we are connected to.
    Pex,
    /// Told by a tracker.
    Tracker,
    /// Found in a distributed hash table.
    Dht,
    /// The far end of a session that the peer opened. Its port is a passing
    /// one, so it is shown but never dialled.
    Incoming,
}

impl Source {
    /// Every source, best first.
    pub const ALL: [Self; 7] = [
        Self::Lan,
        Self::KnownHost,
        Self::Invite,
        Self::Pex,
        Self::Tracker,
        Self::Dht,
        Self::Incoming,
    ];

    /// The name used in reports and in the control API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::KnownHost => "known-host",
            Self::Invite => "invite",
            Self::Pex => "pex",
            Self::Tracker => "tracker",
            Self::Dht => "dht",
            Self::Incoming => "incoming",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An address where a peer of `folder` may be. A hint, not a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The folder the peer is said to share.
    pub folder: FolderTag,
    /// Where it is said to listen, TCP and UDP on the same port.
    pub addr: SocketAddr,
    /// Who said so.
    pub source: Source,
    /// The moment, on the caller's monotonic time, after which the hint is
    /// worth nothing. [`Duration::MAX`] never comes.
    pub expires: Duration,
}

/// What a mechanism tells the address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovered {
    /// A new candidate, or an old one seen again.
    Found(Candidate),
    /// The source takes back what it said, before the candidate expired.
    Gone {
        /// The folder of the candidate.
        folder: FolderTag,
        /// Its address.
        addr: SocketAddr,
        /// The source that takes it back.
        source: Source,
    },
}

/// One spelling for each address: IPv4 inside IPv6 becomes IPv4, and the flow
/// label, which says nothing about the host, is dropped. The scope stays, since
/// a link-local address is no address without it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(mut v6) => {
            if let Some(v4) = v6.ip().to_ipv4_mapped() {
                return SocketAddr::new(IpAddr::V4(v4), v6.port());
            }
            v6.set_flowinfo(0);
            SocketAddr::V6(v6)
        }
    }
}

/// Whom an IP address stands for where hosts are counted: whoever has one address of an IPv6 network commonly has
/// all 2^64. IPv4 inside IPv6 is IPv4.
#[must_use]
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether one host can be meant by this IP address.
pub(crate) fn names_a_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_broadcast() && !v4.is_multicast() && v4.octets()[0] != 0,
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_names_are_the_ones_of_the_contract() {
        let names: Vec<_> = Source::ALL.iter().map(|s| s.as_str()).collect();
        assert_eq!(
            names,
            [
                "lan",
                "known-host",
                "invite",
                "pex",
                "tracker",
                "dht",
                "incoming"
            ]
        );
    }

    #[test]
    fn hosts_are_counted_by_ipv4_address_or_ipv6_network() {
        let of = |ip: &str| network_of(ip.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn one_spelling_for_each_address() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:5".parse().unwrap());
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "ff02::1",
        ] {
            assert!(!names_a_host(bad.parse().unwrap()), "{bad}");
        }
        assert!(names_a_host("127.0.0.1".parse().unwrap()));
        assert!(names_a_host("fe80::1".parse().unwrap()));
    }
}
