//! actix actors around streams and TCP: shells that turn messages into calls.
//!
//! They own tasks and addresses, no protocol and no decision. A listener hands
//! established sessions to its owner, who decides which to keep and starts a
//! [`PeerActor`] for each. All sockets are driven by tokio tasks, so that a
//! busy mailbox never holds up the network, nor the other way round.

mod listener;
mod peer;
#[cfg(test)]
mod tests;

use actix::Message;

use crate::stream::Connected;

pub use listener::{ListenerActor, ListenerConfig};
pub use peer::{Close, PeerActor, SendControl, SessionOver};

/// Called once when the listener has stopped, by whatever cause, a panic included.
pub type OnStop = Box<dyn Fn() + Send>;

/// Stops the listener in good order. Its owner sends it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A peer connected to us and proved what it may do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NewSession(pub Box<Connected>);
