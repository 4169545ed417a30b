//! actix actors: shells that turn messages into calls.
//!
//! | actor | what it owns |
//! |---|---|
//! | `WatcherActor` | a folder's watcher (feature `watch`) |
//! | [`StoreActor`] | a folder's chunk store |
//!
//! They hold no decision. Each stops on [`Stop`], and tells its owner if it ends in any other way: it doesn't
//! start itself anew.

mod store;
#[cfg(feature = "watch")]
mod watcher;

use actix::Message;

pub use store::{ReadError, ReadObjects, StoreActor, StoreDied, Which};
#[cfg(feature = "watch")]
pub use watcher::{HashingTook, Watched, WatcherActor};

/// Stops an actor in good order. Its owner sends it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;
