//! One actor for each session with a peer.

use std::fmt;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, Recipient,
};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::session::{Event, Goodbye, SendError};
use crate::tcp::{Connected, EVENT_QUEUE, SessionHandle, drive};

use super::{OnStop, PeerEvent, Stop};

/// Queues a control message for the peer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SendError>")]
pub struct SendControl(pub Bytes);

/// Queues bytes that answer a request of the peer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SendError>")]
pub struct SendBulk {
    /// The request.
    pub request: u32,
    /// The bytes.
    pub data: Bytes,
    /// Whether no more follow for it.
    pub last: bool,
}

/// Forgets the bulk that waits for a request.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), SendError>")]
pub struct CancelBulk(pub u32);

/// Asks how many bytes of bulk wait to be sent.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct QueuedBulk;

/// Sends a ping, to see at once whether the peer is there.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<(), SendError>")]
pub struct Probe;

/// Ends the session in good order; the actor stops when that is done.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Close(pub Goodbye);

/// The session is over and its last event was handed on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Over;

/// Holds one session: owns the task that drives it and hands its events to the
/// owner. It stops when the session is over; when it is stopped, the session
/// says goodbye.
pub struct PeerActor {
    session: u64,
    start: Option<Box<Connected>>,
    owner: Recipient<PeerEvent>,
    on_stop: Option<OnStop>,
    handle: Option<SessionHandle>,
    forwarder: Option<AbortHandle>,
}

impl PeerActor {
    /// An actor for an established session, which the owner knows by a number.
    #[must_use]
    pub fn new(
        session: u64,
        connected: Box<Connected>,
        owner: Recipient<PeerEvent>,
        on_stop: Option<OnStop>,
    ) -> Self {
        Self {
            session,
            start: Some(connected),
            owner,
            on_stop,
            handle: None,
            forwarder: None,
        }
    }

    fn with(
        &self,
        send: impl FnOnce(&SessionHandle) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.handle.as_ref().map_or(Err(SendError::NotOpen), send)
    }
}

impl Actor for PeerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Nothing to start with means that a supervisor restarts the actor: a
        // session can't be had twice.
        let Some(connected) = self.start.take() else {
            ctx.stop();
            return;
        };
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        let (handle, driving) = drive(*connected, sender);
        self.handle = Some(handle);
        // It ends by itself: with the session, or after its goodbye when the
        // handle is gone.
        tokio::spawn(driving);
        let over = ctx.address().downgrade();
        let (owner, session) = (self.owner.clone(), self.session);
        let forwarding = async move {
            forward(receiver, owner, session).await;
            if let Some(actor) = over.upgrade() {
                actor.do_send(Over);
            }
        };
        self.forwarder = Some(tokio::spawn(forwarding).abort_handle());
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.handle = None;
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.abort();
        }
        if let Some(on_stop) = self.on_stop.take() {
            on_stop();
        }
    }
}

/// Hands events to the owner, one after the other.
async fn forward(mut events: mpsc::Receiver<Event>, owner: Recipient<PeerEvent>, session: u64) {
    while let Some(event) = events.recv().await {
        if owner.send(PeerEvent { session, event }).await.is_err() {
            return;
        }
    }
}

impl Handler<SendControl> for PeerActor {
    type Result = Result<(), SendError>;

    fn handle(&mut self, SendControl(message): SendControl, _: &mut Self::Context) -> Self::Result {
        self.with(|handle| handle.send_control(message))
    }
}

impl Handler<SendBulk> for PeerActor {
    type Result = Result<(), SendError>;

    fn handle(&mut self, message: SendBulk, _: &mut Self::Context) -> Self::Result {
        self.with(|handle| handle.send_bulk(message.request, message.data, message.last))
    }
}

impl Handler<CancelBulk> for PeerActor {
    type Result = Result<(), SendError>;

    fn handle(&mut self, CancelBulk(request): CancelBulk, _: &mut Self::Context) -> Self::Result {
        self.with(|handle| handle.cancel_bulk(request))
    }
}

impl Handler<QueuedBulk> for PeerActor {
    type Result = MessageResult<QueuedBulk>;

    fn handle(&mut self, _: QueuedBulk, _: &mut Self::Context) -> Self::Result {
        MessageResult(
            self.handle
                .as_ref()
                .map_or(0, SessionHandle::bulk_queued_bytes),
        )
    }
}

impl Handler<Probe> for PeerActor {
    type Result = Result<(), SendError>;

    fn handle(&mut self, _: Probe, _: &mut Self::Context) -> Self::Result {
        self.with(SessionHandle::probe)
    }
}

impl Handler<Close> for PeerActor {
    type Result = ();

    fn handle(&mut self, Close(reason): Close, ctx: &mut Self::Context) {
        match &self.handle {
            Some(handle) => handle.close(reason),
            None => ctx.stop(),
        }
    }
}

impl Handler<Stop> for PeerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        if let Some(handle) = &self.handle {
            handle.close(Goodbye::Stopping);
        }
        ctx.stop();
    }
}

impl Handler<Over> for PeerActor {
    type Result = ();

    fn handle(&mut self, _: Over, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl fmt::Debug for PeerActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerActor")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
