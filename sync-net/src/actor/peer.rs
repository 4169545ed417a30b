//! One actor for each session with a peer.
//!
//! It owns the task that moves the session's bytes, takes orders for the
//! session, and tells its owner of the end, however that came. What the peer
//! sends goes into a channel, and bulk comes by the [`SessionHandle`]: neither
//! passes the actor, so that a busy arbiter never holds up the bytes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient,
    WrapFuture,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::session::{CloseReason, Event, Goodbye, SendError};
use crate::stream::{Connected, SessionHandle, drive};

/// Queues a control message for the peer.
///
/// If it can't be queued, the session is closed: without it both sides would
/// have different ideas.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SendControl(pub Bytes);

/// Ends the session in good order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Close(pub Goodbye);

/// A session is over, and its actor with it. Told once, after a panic too.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SessionOver {
    /// The number that the owner gave to the session.
    pub session: u64,
    /// Why it is over.
    pub reason: CloseReason,
    /// Why a control message couldn't be queued, if that was the cause.
    pub refused: Option<SendError>,
}

/// Holds one established session, until it is over.
///
/// It must be started within a tokio runtime, as every actix system is. It
/// lives as long as its session, also when nobody has its address any more.
pub struct PeerActor {
    session: u64,
    handle: SessionHandle,
    driving: Option<Driving>,
    owner: Recipient<SessionOver>,
    refused: Option<SendError>,
    told: bool,
}

type Driving = Pin<Box<dyn Future<Output = CloseReason> + Send>>;

impl PeerActor {
    /// An actor for an established session, which the owner knows by a number.
    /// What the peer sends goes to `events`, as [`drive`] says.
    #[must_use]
    pub fn new(
        session: u64,
        connected: Connected,
        events: mpsc::Sender<Event>,
        owner: Recipient<SessionOver>,
    ) -> Self {
        let (handle, driving) = drive(connected, events);
        Self {
            session,
            handle,
            driving: Some(Box::pin(driving)),
            owner,
            refused: None,
            told: false,
        }
    }

    /// The direct way into the session, for bulk.
    #[must_use]
    pub fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    fn tell(&mut self, reason: CloseReason) {
        if !std::mem::replace(&mut self.told, true) {
            self.owner.do_send(SessionOver {
                session: self.session,
                reason,
                refused: self.refused,
            });
        }
    }
}

impl Actor for PeerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(driving) = self.driving.take() else {
            ctx.stop();
            return;
        };
        // A task of its own: it runs on any thread, and a panic in it ends only this session.
        let ended = tokio::spawn(driving).into_actor(self);
        ctx.spawn(ended.map(|ended, actor, ctx| {
            actor.tell(ended.unwrap_or(CloseReason::Disconnected));
            ctx.stop();
        }));
    }
}

impl Drop for PeerActor {
    fn drop(&mut self) {
        // Before the session's own end this was a panic, or the end of the arbiter.
        if !self.told {
            self.handle.close(Goodbye::Done);
            self.tell(CloseReason::Disconnected);
        }
    }
}

impl Handler<SendControl> for PeerActor {
    type Result = ();

    fn handle(&mut self, SendControl(message): SendControl, _: &mut Self::Context) {
        match self.handle.send_control(message) {
            Ok(()) | Err(SendError::NotOpen) => {}
            Err(error) => {
                self.refused.get_or_insert(error);
                self.handle.close(Goodbye::Busy);
            }
        }
    }
}

impl Handler<Close> for PeerActor {
    type Result = ();

    fn handle(&mut self, Close(reason): Close, _: &mut Self::Context) {
        self.handle.close(reason);
    }
}

impl fmt::Debug for PeerActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerActor")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
