//! Where the disk changes, as the operating system tells it.
//!
//! [`Coalescer`] is the logic: it gathers single events into few dirty paths and decides when they have been
//! quiet long enough to be looked at. [`FolderWatcher`] feeds it from `notify`, in a thread that
//! all watchers of a process share. Events are hints: losing some is told as [`WatchEvent::Degraded`] with a full scan asked for, and the
//! truth is always found by the scanner. Nothing here reads files.

mod coalesce;
mod folder;
mod hub;

pub use coalesce::{Coalescer, Dirty};
pub use folder::{FolderWatcher, WatchEvent};

#[cfg(test)]
mod tests;
