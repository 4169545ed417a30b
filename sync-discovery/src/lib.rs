//! How the peers of a folder find each other.
//!
//! Each mechanism yields [`Candidate`]s: an address where a peer of a folder may
//! be, who said so, and until when the hint holds. One [`book::AddressBook`]
//! merges them, ages them and says whom to dial next. Nothing a candidate says
//! is trusted: it only becomes a peer when the handshake of the session layer
//! succeeds at that address.
//!
//! # Layout
//!
//! * [`lan`]: a beacon on the local network. Machine without IO.
//! * [`known_hosts`]: `host:port` pairs the user wrote down. Machine without IO.
//! * [`book`]: all candidates of all folders, and the budget for dialling them.
//! * [`mechanism`]: what all mechanisms have in common, and how one more is written.
//! * `actor` (feature `actor`, off by default): the actix actor that puts a mechanism
//!   on sockets and on the resolver of the operating system; one for all kinds.
//!
//! # Rules every machine here follows
//!
//! Time is an argument: a [`Duration`](std::time::Duration) since an arbitrary
//! start that only grows; all machines that exchange candidates must be given
//! the same start. Randomness comes from a seed handed in at construction, so a
//! run can be repeated exactly. Inputs are `handle_*`, outputs are `poll_*`, and
//! `next_timeout` says when `handle_timeout` wants to be called. Everything that
//! comes from outside is bounded before it takes memory.
//!
//! This crate never opens a session, never reads or writes a file, and never
//! lets a secret into its output.
#![forbid(unsafe_code)]
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

#[cfg(feature = "actor")]
pub mod actor;
pub mod book;
mod candidate;
pub mod known_hosts;
pub mod lan;
pub mod mechanism;
mod rate;
mod rng;
mod trouble;

pub use candidate::{Candidate, Discovered, FolderTag, Source, network_of};
pub use trouble::Trouble;
