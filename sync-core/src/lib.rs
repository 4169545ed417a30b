//! The pure heart of syncd.
//!
//! Nothing here touches a disk, a socket, a clock or a random generator: time and randomness are arguments,
//! and every protocol is a state machine with `handle_*` methods for what comes in and `poll_*` methods for what
//! goes out. So a whole cluster of engines runs in one thread in virtual time, and any part can be reused alone.
//!
//! | module | what it holds |
//! |---|---|
//! | [`secret`], [`keys`] | the folder's secret as people type it, and the keys made from it |
//! | [`path`], [`version`], [`dots`], [`entry`], [`record`] | what is said about a path, and who signed it |
//! | [`chunk`], [`manifest`] | content cut into chunks, and trees of their hashes |
//! | [`index`] | what a folder knows, behind a trait |
//! | [`observe`], [`conflict`] | what a stat says; who keeps a name |
//! | [`disk`] | what the core and the disk say to each other |
//! | [`trouble`] | what keeps an item or a folder from going on, and what helps |
//! | [`fetch`] | which peer is asked for what |
//! | [`message`] | what peers say to each other |
//! | [`net_message`], [`rotation`], [`invitation`] | formats around peers and secrets, ahead of what will use them |
//! | [`reconcile`], [`fetch`], [`engine`] | what a record means, what is fetched from whom, and the folder as a whole |
//! | [`options`] | options, each declared once |
//! | [`former`] | what the version before stored, to convert it |
//! | [`control`] | what the daemon and its clients say to each other |

#![forbid(unsafe_code)]

pub mod chunk;
pub mod conflict;
pub mod control;
pub mod disk;
pub mod dots;
pub mod engine;
pub mod entry;
pub mod fetch;
pub mod former;
pub mod held;
pub mod ids;
pub mod index;
pub mod invitation;
pub mod keys;
pub mod knowledge;
pub mod manifest;
pub mod message;
pub mod net_message;
pub mod observe;
pub mod options;
pub mod path;
pub mod reconcile;
pub mod record;
pub mod rotation;
pub mod secret;
pub mod time;
pub mod trouble;
pub mod version;
