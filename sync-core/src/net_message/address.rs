//! Addresses in their compact form: the IP address and the port, as BitTorrent has them (BEP 5, BEP 32).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of an IPv4 address with its port.
pub const ADDRESS_V4: usize = 6;
/// Bytes of an IPv6 address with its port.
pub const ADDRESS_V6: usize = 18;

/// The bytes of an address. An IPv4 address in IPv6 clothes is written as what it is; scope and flow are left out,
/// because they mean nothing elsewhere.
#[must_use]
pub fn to_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ADDRESS_V6);
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => bytes.extend(ip.octets()),
        IpAddr::V6(ip) => bytes.extend(ip.octets()),
    }
    bytes.extend(address.port().to_be_bytes());
    bytes
}

/// Reads an address. `None` for another length, and for what nobody can be reached at: port 0, an unspecified or
/// multicast address, IPv4 broadcast, or an IPv4 address in IPv6 clothes.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    let port = u16::from_be_bytes(*port);
    let usable = port != 0
        && ip == ip.to_canonical()
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    usable.then(|| SocketAddr::new(ip, port))
}
