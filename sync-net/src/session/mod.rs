//! The session with one peer in one folder, over any ordered byte stream.
//!
//! It owns everything between the bytes of a stream and whole messages: the
//! handshake, the proofs of level, the greeting, the frames, the order in
//! which things are sent, pings and deadlines. It does no IO, reads no clock
//! and draws no random numbers; a shell feeds it and writes what it gives. It
//! must never hand out a byte before the peer has proved its level, and never
//! answer a stranger.
//!
//! # How to drive one
//!
//! - Bytes arrived: append them to a buffer and call [`Session::handle_bytes`].
//! - [`Session::next_timeout`] is reached: call [`Session::handle_timeout`].
//! - The stream takes bytes: call [`Session::poll_transmit`] and write them.
//! - After each of these: call [`Session::poll_event`] until it gives nothing.
//!
//! `now` is the time since any fixed moment; it never goes back.
//!
//! A stranger is left in silence until the handshake's deadline, exactly as
//! somebody who sends nothing: then the session closes, without a byte.

mod body;
mod hello;
mod life;
mod outbox;
mod receive;
#[cfg(test)]
mod tests;
mod types;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::frame::{Opener, Sealer};
use crate::gate::Gate;
use crate::handshake::{Entropy, Initiator, Responder, Secrets};
use crate::membership::{Level, Role, SharedFolder};

pub use hello::{Hello, MAX_HELLO, MAX_NAME, VERSION};
pub use life::{Due, Life};
use outbox::{Next, Outbox};
pub use types::{
    CloseReason, Config, Established, Event, Goodbye, MAX_CONTROL, MAX_PROOF, SendError,
    SessionError,
};

/// A session with one peer; see the module for how to drive it.
pub struct Session {
    config: Config,
    hello: Hello,
    role: Role,
    folder: Option<SharedFolder>,
    phase: Phase,
    link: Option<Box<Link>>,
    /// Bytes of the handshake and first frames, ready for the stream.
    wire: BytesMut,
    outbox: Outbox,
    /// The parts of a control message so far.
    partial: BytesMut,
    events: VecDeque<Event>,
    deadline: Duration,
    life: Life,
}

/// How far a session is.
enum Phase {
    /// Responder: which folder is it?
    Message1 {
        gate: Arc<Gate>,
        entropy: Option<Entropy>,
    },
    /// Initiator: does the other side hold the folder's key?
    Message2(Option<Initiator>),
    /// Responder: who is it?
    Message3(Option<Responder>),
    /// Responder: a stranger; swallow everything until the deadline.
    Mute,
    /// Secure, but what may the peer do?
    Proof,
    /// The peer's greeting is next.
    Greeting(Level),
    /// Established.
    Open,
    /// Our goodbye waits for its turn.
    Closing(Goodbye),
    /// Over.
    Closed,
}

/// The two directions of a secure stream.
struct Link {
    sealer: Sealer,
    opener: Opener,
    hash: [u8; 32],
    peer_static: [u8; 32],
}

impl Session {
    /// Starts a session in a folder; the first bytes are ready at once.
    pub fn initiate(
        folder: SharedFolder,
        hello: Hello,
        config: Config,
        entropy: Entropy,
        now: Duration,
    ) -> Result<Self, SessionError> {
        let (initiator, message) = Initiator::start(&*folder, entropy)?;
        let phase = Phase::Message2(Some(initiator));
        let mut session = Self::new(Role::Initiator, phase, hello, config, now);
        session.folder = Some(folder);
        session.wire.extend_from_slice(&message);
        Ok(session)
    }

    /// Awaits a peer that connected to us, in one of the gate's folders.
    #[must_use]
    pub fn accept(
        gate: Arc<Gate>,
        hello: Hello,
        config: Config,
        entropy: Entropy,
        now: Duration,
    ) -> Self {
        let phase = Phase::Message1 {
            gate,
            entropy: Some(entropy),
        };
        Self::new(Role::Responder, phase, hello, config, now)
    }

    fn new(role: Role, phase: Phase, hello: Hello, config: Config, now: Duration) -> Self {
        Self {
            deadline: now + config.handshake_timeout,
            life: Life::new(now),
            config,
            hello,
            role,
            folder: None,
            phase,
            link: None,
            wire: BytesMut::new(),
            outbox: Outbox::default(),
            partial: BytesMut::new(),
            events: VecDeque::new(),
        }
    }

    /// Where the stream says that the peer is: the greeting tells the peer.
    /// To be called before the first bytes; port 0 and what isn't one host's
    /// address are left out.
    pub fn set_observed(&mut self, remote: Option<SocketAddr>) {
        use sync_core::net_message::{from_bytes, to_bytes};
        self.hello.observed = remote.and_then(|remote| from_bytes(&to_bytes(remote)));
    }

    /// The settings it runs with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The next thing that happened, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Session::poll_event`] has something.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether the session is over. Its last events may still wait.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether the session is established and not ending.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the other side turned out to be a stranger, which is now left
    /// in silence. A listener short of room may drop such connections first.
    #[must_use]
    pub const fn is_mute(&self) -> bool {
        matches!(self.phase, Phase::Mute)
    }

    /// The smoothed time from a ping to its answer, once there was one.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.life.rtt()
    }

    /// Queues a control message of at most [`MAX_CONTROL`] bytes. It overtakes
    /// all bulk that isn't on the wire yet.
    pub fn send_control(&mut self, message: Bytes) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::NotOpen);
        }
        self.outbox.push_control(message, &self.config)
    }

    /// Queues bytes that answer a request; `last` says that no more follow for
    /// it. They are cut into frames as needed.
    pub fn send_bulk(&mut self, request: u32, data: Bytes, last: bool) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::NotOpen);
        }
        self.outbox.push_bulk(request, data, last, &self.config)
    }

    /// Forgets the bulk that waits for a request. The peer isn't told.
    pub fn cancel_bulk(&mut self, request: u32) {
        self.outbox.cancel(request);
        self.report_drained();
    }

    /// Bytes of bulk that wait to be sent.
    #[must_use]
    pub const fn bulk_queued_bytes(&self) -> usize {
        self.outbox.bulk_bytes()
    }

    /// Asks whether the peer is there: [`Event::Heard`] says so, [`Event::Quiet`] that it doesn't answer.
    pub fn probe(&mut self, now: Duration) {
        if self.is_open() {
            self.life.probe(now);
        }
    }

    /// Ends the session in good order: queued control messages are still sent,
    /// bulk isn't. [`Event::Closed`] comes once the goodbye is on its way.
    pub fn close(&mut self, reason: Goodbye, now: Duration) {
        match self.phase {
            Phase::Closing(_) | Phase::Closed => {}
            Phase::Proof | Phase::Greeting(_) | Phase::Open => {
                self.outbox.clear_bulk();
                self.deadline = now + self.config.close_timeout;
                self.phase = Phase::Closing(reason);
            }
            _ => self.finish(CloseReason::Local(reason)),
        }
    }

    /// The stream ended or broke.
    pub fn handle_disconnect(&mut self) {
        if !self.is_closed() {
            let reason = match self.phase {
                Phase::Closing(reason) => CloseReason::Local(reason),
                Phase::Mute => SessionError::Stranger.into(),
                _ => CloseReason::Disconnected,
            };
            self.finish(reason);
        }
    }

    /// Says whether the shell reads from the stream at present. While it
    /// doesn't, the peer's silence means nothing.
    pub fn set_receive_paused(&mut self, paused: bool, now: Duration) {
        self.life.set_paused(paused, now);
    }

    /// When [`Session::handle_timeout`] is to be called, if ever.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open => self.life.next_timeout(&self.config),
            _ => Some(self.deadline),
        }
    }

    /// Does what is due. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.phase {
            Phase::Closed => {}
            Phase::Open => match self.life.handle_timeout(&self.config, now) {
                Due::Nothing => {}
                Due::Quiet => self.events.push_back(Event::Quiet),
                Due::Dead => self.finish(CloseReason::Silent),
            },
            _ if now < self.deadline => {}
            Phase::Closing(reason) => self.finish(CloseReason::Local(reason)),
            Phase::Mute => self.finish(SessionError::Stranger.into()),
            _ => self.finish(SessionError::HandshakeTimeout.into()),
        }
    }

    /// Appends bytes for the stream to `out` while it holds less than `limit`.
    ///
    /// It goes over the limit by one frame at most. What is in `out` can't be
    /// overtaken any more: the smaller the limit, the sooner a control message
    /// gets through.
    pub fn poll_transmit(&mut self, now: Duration, out: &mut BytesMut, limit: usize) {
        if self.is_closed() {
            return;
        }
        if !self.wire.is_empty() {
            out.extend_from_slice(&self.wire.split());
            self.life.sent(now);
        }
        while out.len() < limit {
            match self.seal_next(now, out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.finish(error.into());
                    break;
                }
            }
        }
        self.report_drained();
    }

    /// Seals the most urgent frame. `false` if there is none.
    fn seal_next(&mut self, now: Duration, out: &mut BytesMut) -> Result<bool, SessionError> {
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        let sealer = &mut link.sealer;
        if let Some(id) = self.life.take_pong(now) {
            sealer.seal(body::PONG, &[&id], now, out)?;
        } else if let Some(id) = self.life.take_ping(now) {
            sealer.seal(body::PING, &[&id], now, out)?;
        } else if let Some(next) = self.outbox.next() {
            match next {
                Next::Control { part, last } => {
                    sealer.seal(body::CONTROL, &[&body::control_head(last), &part], now, out)?;
                }
                Next::Bulk {
                    request,
                    data,
                    last,
                } => {
                    let head = body::bulk_head(request, last);
                    sealer.seal(body::BULK, &[&head, &data], now, out)?;
                    self.life.sent_bulk(&self.config, now);
                }
            }
            self.life.sent(now);
        } else if let Phase::Closing(reason) = self.phase {
            sealer.seal(body::GOODBYE, &[&reason.code().to_be_bytes()], now, out)?;
            self.finish(CloseReason::Local(reason));
            return Ok(false);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn report_drained(&mut self) {
        if self.outbox.drained(&self.config) && self.is_open() {
            self.events.push_back(Event::BulkDrained);
        }
    }

    /// Begins the encrypted part: our proof and our greeting go out first.
    fn secure(&mut self, secrets: Secrets, now: Duration) -> Result<(), SessionError> {
        let Some(folder) = &self.folder else {
            return Err(SessionError::BadProof);
        };
        let mut sealer = Sealer::new(&secrets.send, self.config.rekey, now);
        let proof = folder.level_proof(&secrets.hash, self.role);
        sealer.seal(body::PROOF, &[&proof], now, &mut self.wire)?;
        self.hello.era = folder.era();
        self.hello.device = Some(folder.device_proof(&secrets.hash, self.role));
        sealer.seal(body::HELLO, &[&self.hello.encode()], now, &mut self.wire)?;
        self.link = Some(Box::new(Link {
            sealer,
            opener: Opener::new(&secrets.receive),
            hash: secrets.hash,
            peer_static: secrets.peer_static,
        }));
        self.phase = Phase::Proof;
        Ok(())
    }

    /// Ends the session: keys and queues go, the reason is the last event.
    fn finish(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.link = None;
        self.outbox = Outbox::default();
        self.wire = BytesMut::new();
        self.partial = BytesMut::new();
        self.life.end();
        self.events.push_back(Event::Closed(reason));
    }

    /// Whether everything that was queued has been handed out.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.wire.is_empty() && self.outbox.is_empty() && !self.life.owes_pong()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Message1 { .. } | Phase::Message2(_) | Phase::Message3(_) => "handshake",
            Phase::Mute => "mute",
            Phase::Proof | Phase::Greeting(_) => "greeting",
            Phase::Open => "open",
            Phase::Closing(_) => "closing",
            Phase::Closed => "closed",
        };
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("phase", &phase)
            .finish()
    }
}
