//! The daemon's side of the network: which sessions there are, and whom to dial.
//!
//! | part | what it does |
//! |---|---|
//! | [`Member`] | gives a folder's keys to the handshake |
//! | [`PeersActor`] | owns the address book, dials, judges new sessions, bans |
//! | [`limits`] | how many sessions there may be |
//! | [`network`] | notices that the machine's addresses changed |
//! | [`reader`] | carries what a session receives to its folder, one piece at a time |
//! | [`PeerInfo`] | what is known of a session, for reports |

mod dialling;
mod info;
mod limits;
mod member;
mod network;
mod orders;
mod peers;
pub(crate) mod reader;

pub(crate) use info::{PeerInfo, found_by};
pub(crate) use member::Member;
pub(crate) use orders::{BanPeer, FolderDown, FolderUp, ListCandidates, RefreshFolder, StopPeers};
pub(crate) use peers::PeersActor;
