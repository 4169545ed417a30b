//! Actix actors that put the machines on real sockets and on the resolver.
//!
//! They turn messages into `handle_*` calls and outputs into IO, and hold no
//! decision of their own. Each sends [`Discovered`] to one
//! recipient, usually whoever owns the address book, and stops on [`Stop`]:
//! dropping the last address is not enough, since their timers keep them alive.
//! They must never block their arbiter, and never wait for the network while
//! their mailbox waits for them.

mod known_hosts;
mod lan;
mod links;
mod sockets;

use std::fmt;

use actix::Message;

pub use known_hosts::{
    AddKnownHost, KnownHostsActor, KnownHostsConfig, RefreshKnownHosts, RemoveKnownHost,
};
pub use lan::{AddLanFolder, ChangePort, LanActor, LanActorConfig, LanStatus, LanStatusQuery};
pub use links::interface_addresses;

use crate::{Discovered, FolderTag};

impl Message for Discovered {
    type Result = ();
}

/// Ends the actor.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Forgets a folder.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct RemoveFolder(pub FolderTag);

/// Why an actor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// It was told to.
    Asked,
    /// It can't work, and says why.
    Failed(String),
    /// A panic in one of its handlers, or the end of its arbiter.
    Died,
}

/// What to call when the actor has ended, once, on the actor's thread: a
/// supervisor's way to learn of it. It should only send a message.
pub type OnStopped = Box<dyn FnOnce(StopReason) + Send>;

/// Holds the callback and the reason until the end.
struct Ending {
    reason: StopReason,
    callback: Option<OnStopped>,
}

impl Ending {
    fn new(callback: Option<OnStopped>) -> Self {
        Self {
            reason: StopReason::Died,
            callback,
        }
    }

    fn tell(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback(self.reason.clone());
        }
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}
