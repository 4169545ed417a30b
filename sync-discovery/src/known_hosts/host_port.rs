//! `host:port` as users write it, parsed once and valid from then on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use crate::candidate::{canonical, names_a_host};

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// What stands before the port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Inner {
    Name(String, u16),
    Literal(SocketAddr),
}

/// A host the user named, with the port. Two spellings of one host compare
/// equal when they differ in case only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(Inner);

/// The host of a [`HostPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name in lower case, to be resolved.
    Name(&'a str),
    /// An address, used as it is.
    Literal(SocketAddr),
}

/// Why a text is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// There is no `:port` at the end.
    #[error("a port is missing: write host:port, or [address]:port for IPv6")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// An IPv6 address without brackets.
    #[error("write an IPv6 address in brackets: [address]:port")]
    Brackets,
    /// The zone of an IPv6 address is the name of an interface.
    #[error(
        "write the interface by its number, as in [fe80::1%3]:29170 (`ip link` shows the numbers)"
    )]
    Zone,
    /// It looks like an address and is none, or can't be a single host.
    #[error("not the address of a host")]
    Address,
    /// Not a host name: empty, too long, or with other characters than letters,
    /// digits, hyphens and dots.
    #[error(
        "not a host name: use letters, digits, hyphens and dots (international names in their xn-- form)"
    )]
    Name,
}

impl HostPort {
    /// The host.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        match &self.0 {
            Inner::Name(name, _) => Host::Name(name),
            Inner::Literal(addr) => Host::Literal(*addr),
        }
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match &self.0 {
            Inner::Name(_, port) => *port,
            Inner::Literal(addr) => addr.port(),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if text.starts_with('[') {
            let (address, port) = text.rsplit_once("]:").ok_or(HostPortError::NoPort)?;
            parse_port(port)?;
            if let Some((_, zone)) = address.split_once('%')
                && !zone.bytes().all(|b| b.is_ascii_digit())
            {
                return Err(HostPortError::Zone);
            }
            let addr: SocketAddrV6 = text.parse().map_err(|_| HostPortError::Address)?;
            return literal(SocketAddr::V6(addr));
        }
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::NoPort)?;
        if host.contains(':') {
            return Err(HostPortError::Brackets);
        }
        let port = parse_port(port)?;
        let host = host.to_ascii_lowercase();
        // A name never ends in a number, or 10.0.0.256 would be asked of a
        // name server.
        let last = host
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
            let ip: Ipv4Addr = host.parse().map_err(|_| HostPortError::Address)?;
            return literal(SocketAddr::new(IpAddr::V4(ip), port));
        }
        if !is_name(&host) {
            return Err(HostPortError::Name);
        }
        Ok(Self(Inner::Name(host, port)))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Name(name, port) => write!(f, "{name}:{port}"),
            Inner::Literal(addr) => write!(f, "{addr}"),
        }
    }
}

impl From<SocketAddr> for HostPort {
    /// A literal address; whether it can be dialled is the book's business.
    fn from(addr: SocketAddr) -> Self {
        Self(Inner::Literal(canonical(addr)))
    }
}

fn literal(addr: SocketAddr) -> Result<HostPort, HostPortError> {
    let addr = canonical(addr);
    if names_a_host(addr.ip()) {
        Ok(HostPort(Inner::Literal(addr)))
    } else {
        Err(HostPortError::Address)
    }
}

fn parse_port(text: &str) -> Result<u16, HostPortError> {
    // u16::from_str takes "+5", which is no port.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(HostPortError::Port),
    }
}

/// Letters, digits, hyphens inside, underscores as some home networks have
/// them; one dot may end a full name.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= MAX_NAME && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones_read_and_print() {
        for (text, printed) in [
            ("example.org:29170", "example.org:29170"),
            ("Example.ORG.:1", "example.org.:1"),
            ("nas:65535", "nas:65535"),
            ("my_nas.local:80", "my_nas.local:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%3]:80", "[fe80::1%3]:80"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
            ("1st.example:7", "1st.example:7"),
        ] {
            let host: HostPort = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(host.to_string(), printed);
            assert_eq!(host.to_string().parse(), Ok(host));
        }
    }

    #[test]
    fn bad_ones_say_what_is_wrong() {
        use HostPortError::*;
        for (text, error) in [
            ("", NoPort),
            ("example.org", NoPort),
            ("[::1]", NoPort),
            ("example.org:", Port),
            ("example.org:0", Port),
            ("example.org:+5", Port),
            ("example.org:65536", Port),
            ("[::1]:0", Port),
            ("::1:80", Brackets),
            ("fe80::1:80", Brackets),
            ("[fe80::1%eth0]:80", Zone),
            ("[fe80::1%]:80", Address),
            ("[example.org]:80", Address),
            ("10.0.0.256:80", Address),
            ("10.0.1:80", Address),
            ("0.0.0.0:80", Address),
            ("255.255.255.255:80", Address),
            ("[ff02::1]:80", Address),
            ("[::]:80", Address),
            (":80", Name),
            (".:80", Name),
            ("a..b:80", Name),
            ("-a.b:80", Name),
            ("a b:80", Name),
            ("bücher.example:80", Name),
            ("a/b:80", Name),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(error), "{text}");
        }
        assert_eq!(
            format!("{}:1", "a".repeat(64)).parse::<HostPort>(),
            Err(Name)
        );
        let long = vec!["a".repeat(60); 5].join(".");
        assert_eq!(format!("{long}:1").parse::<HostPort>(), Err(Name));
    }
}
