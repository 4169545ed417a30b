//! What is known about the way that a session takes.

use std::fmt;
use std::net::SocketAddr;

/// How good a path is; a higher one is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathClass {
    /// Through a third machine.
    Relay,
    /// Directly, across the internet.
    Direct,
    /// Within the local network, or on this machine.
    Lan,
}

/// What makes the stream of a session. Each transport is a folder of this
/// crate and has one constant of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transport {
    /// Its short name, as it is shown: `tcp`.
    pub name: &'static str,
    /// Whether the system does its work. Where loss is rare, as within a local
    /// network, such a transport costs half the CPU and is preferred.
    pub by_system: bool,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The way that a session takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// What makes its stream.
    pub transport: Transport,
    /// How good the path is.
    pub path: PathClass,
    /// Where the peer is, if the stream tells.
    pub remote: Option<SocketAddr>,
}
