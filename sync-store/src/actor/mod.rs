//! actix actors: shells that turn messages into calls.
//!
//! `WatcherActor` owns a folder's watcher (feature `watch`). It holds no decision, stops on [`Stop`], and tells
//! its owner if it ends in any other way: it doesn't start itself anew.

#[cfg(feature = "watch")]
mod watcher;

use actix::Message;

#[cfg(feature = "watch")]
pub use watcher::{HashingTook, Watched, WatcherActor};

/// Stops an actor in good order. Its owner sends it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;
