//! Finding peers on the local network.
//!
//! Every device now and then shouts a datagram with one keyed tag for each of
//! its folders; whoever holds the same key recognises its tag and answers at
//! once, by unicast. Both then know an address of the other. To everybody else
//! the datagrams are noise: in a capture nothing repeats but version, kind,
//! port, address and padded length. The bytes are described in [`wire`].
//!
//! [`LanBeacon`] owns the timers, the nonces it used lately and the limits. It
//! does no IO: the caller carries [`Transmit`]s to the network and datagrams
//! back. It must never put anything into a datagram that a stranger could
//! recognise later, and never send more bytes than it was sent.
//!
//! # Sockets the caller needs
//!
//! One socket on the beacon port, shared by all daemons of the host
//! (`SO_REUSEADDR` and `SO_REUSEPORT`), which hears broadcast and multicast; and
//! one of its own on a passing port, from which it sends everything and on which
//! the answers arrive. So an answer reaches the daemon that asked, although
//! several share the host and the beacon port.
//!
//! # What an attacker on the link can do
//!
//! * Replay an announce: it yields an address at which the handshake will fail.
//!   One announce is honoured from at most four addresses in ten minutes.
//! * Fake the source of a replayed announce, so that the answer hits a third
//!   party: answers are never longer than the announce, limited for each address
//!   and in total, and only given to tags made with the key.
//! * Flood: datagrams are counted against a limit for each address first and a
//!   limit for all after that, before any hash is computed.

mod beacon;
mod limits;
#[cfg(feature = "actor")]
mod links;
#[cfg(feature = "actor")]
mod mechanism;
#[cfg(feature = "actor")]
mod sockets;
pub mod wire;

#[cfg(feature = "actor")]
pub use self::{
    links::interface_addresses,
    mechanism::{Heard, LAN, LAN_PORT, LanMechanism},
};
pub use beacon::{Destination, LanBeacon, LanConfig, LanStats, TooManyFolders, Transmit};

/// The UDP port of the beacon, unless configured otherwise.
pub const BEACON_PORT: u16 = 29171;

/// The IPv6 group of the beacon: transient (1), of link scope (2), so routers
/// never forward it.
pub const BEACON_GROUP: std::net::Ipv6Addr =
    std::net::Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x73, 0x796e, 0x6364);
