//! The daemon's side of the network: which sessions there are, and whom to dial.
//!
//! | part | what it does |
//! |---|---|
//! | [`swarm`] | decides: a machine without sockets, actors and clocks |
//! | [`PeersActor`] | does what the swarm decides: dials, drives sessions, tells folders |
//! | [`door`] | what the actor can be told by others |
//! | [`orders`] | how it takes that |
//! | [`news`] | what it tells the rest of the daemon, and people |
//! | [`reader`] | carries what a session receives to its folder, one piece at a time |
//! | [`PeerInfo`] | what is known of a session, for reports |

pub(crate) mod door;
mod info;
mod news;
mod orders;
mod peers;
pub(crate) mod reader;
pub mod swarm;

pub(crate) use info::{PeerInfo, found_by};
pub(crate) use orders::StopPeers;
pub(crate) use peers::PeersActor;
