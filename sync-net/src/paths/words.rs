//! What is known of a path, what is said about it, and what is to be done.

use std::net::IpAddr;

use sync_core::ids::SessionId;

use super::route::PathClass;

/// What doesn't change about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFacts {
    /// How near.
    pub class: PathClass,
    /// Whether the system does the work of its transport; within a local network that is cheaper.
    pub by_system: bool,
    /// Where the peer is, if the stream tells.
    pub remote: Option<IpAddr>,
    /// The boot nonce in the peer's greeting on it.
    pub boot_nonce: u64,
}

/// What the two sides say about a path, on that path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Index and requests of the sender go here from now on. The chooser's are numbered upwards, as long as it runs;
    /// the follower's, which only tell that it can't follow, bear 0.
    Use(u64),
    /// The sender sends no index and asks for nothing here.
    Standby,
    /// As `Standby`; the path ends once all is answered.
    Retire,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOutput {
    /// Index and requests go over this path from now on. What was asked on another stays asked there.
    Use(SessionId),
    /// It doesn't answer, and isn't used: what was asked on it is asked anew.
    Lost(SessionId),
    /// Say this to the peer, on this path.
    Say(SessionId, Word),
    /// Ask whether the peer is there, and tell [`Paths::handle_heard`](super::Paths::handle_heard) or
    /// [`Paths::handle_quiet`](super::Paths::handle_quiet).
    Probe(SessionId),
    /// Nothing new is asked on it: tell [`Paths::handle_drained`](super::Paths::handle_drained) when nothing is awaited any more.
    Drain(SessionId),
    /// End the session: another is kept instead.
    Close(SessionId),
}
