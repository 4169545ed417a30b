//! actix actors around the TCP part: shells that turn messages into calls.
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

use crate::session::{CloseReason, Event};
use crate::tcp::Connected;

pub use listener::{ListenerActor, ListenerConfig};
pub use peer::{CancelBulk, Close, PeerActor, Probe, QueuedBulk, SendBulk, SendControl};

/// Called once when an actor has stopped, by whatever cause, a panic included.
pub type OnStop = Box<dyn Fn() + Send>;

/// Stops an actor in good order. Its owner sends it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A peer connected to us and proved what it may do.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NewSession(pub Box<Connected>);

/// Something happened in a session.
///
/// The next one is sent when this one has been handled, so that a slow owner
/// slows its peer down.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerEvent {
    /// The number that the owner gave to the session.
    pub session: u64,
    /// What happened.
    pub event: Event,
}

impl PeerEvent {
    /// Why the session is over, if it is.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        match &self.event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        }
    }
}
