//! Simulated links: ordered byte streams that lag, have a width, break and lose what was on its way.
//!
//! Either end is a real session of sync-net, with its handshake, proofs and encrypted records, or a plain
//! one that carries the same messages without cryptography, because most seeds need the speed more.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use sync_core::{
    ids::{PeerKey, SessionId},
    message::ObjectReader,
    secret::Level,
};
use sync_discovery::book::Dial;
use sync_net::{
    Entropy, Event, Gate, Hello, Session, SharedFolder,
    paths::PathClass,
    session::{self, Due, Life},
};

/// Two nodes, the lower number first, and which of the links between them.
pub type Pair = (usize, usize, u8);

/// Bytes that one end hands to the wire at once.
pub const PIECE: usize = 32 * 1024;

/// What a session tells the node.
#[derive(Debug)]
pub enum NetEvent {
    /// It stands.
    Up(PeerKey, Level, u64),
    /// A control message.
    Control(Bytes),
    /// A piece of an answer.
    Bulk(u32, Bytes, bool),
    /// The peer doesn't answer.
    Quiet,
    /// It does, after a probe or silence.
    Heard,
    /// It is over.
    Closed(String),
}

/// A session without cryptography: frames of a kind, a length and a body.
#[derive(Debug)]
pub struct Plain {
    config: session::Config,
    life: Life,
    control: VecDeque<Bytes>,
    bulk: VecDeque<(u32, Bytes, bool)>,
    hello: Option<Bytes>,
    up: bool,
    events: VecDeque<NetEvent>,
}

const HELLO: u8 = 1;
const CONTROL: u8 = 2;
const BULK: u8 = 3;
const PING: u8 = 4;
const PONG: u8 = 5;

impl Plain {
    fn new(id: &Identity, now: Duration) -> Self {
        let mut hello = id.key.0.to_vec();
        hello.push(u8::from(id.level.can_write()));
        hello.extend_from_slice(&id.boot.to_be_bytes());
        Self {
            config: session::Config::default(),
            life: Life::new(now),
            control: VecDeque::new(),
            bulk: VecDeque::new(),
            hello: Some(hello.into()),
            up: false,
            events: VecDeque::new(),
        }
    }

    fn transmit(&mut self, now: Duration, out: &mut BytesMut, limit: usize) {
        let frame = |out: &mut BytesMut, kind: u8, head: &[u8], body: &[u8]| {
            out.extend_from_slice(&[kind]);
            out.extend_from_slice(&((head.len() + body.len()) as u32).to_be_bytes());
            out.extend_from_slice(head);
            out.extend_from_slice(body);
        };
        if let Some(hello) = self.hello.take() {
            frame(out, HELLO, &[], &hello);
        }
        while out.len() < limit {
            if let Some(id) = self.life.take_pong(now) {
                frame(out, PONG, &[], &id);
            } else if let Some(id) = self.life.take_ping(now) {
                frame(out, PING, &[], &id);
            } else if let Some(control) = self.control.pop_front() {
                self.life.sent(now);
                frame(out, CONTROL, &[], &control);
            } else if let Some((request, mut data, last)) = self.bulk.pop_front() {
                let part = data.split_to(data.len().min(PIECE));
                let end = data.is_empty() && last;
                let mut head = request.to_be_bytes().to_vec();
                head.push(u8::from(end));
                frame(out, BULK, &head, &part);
                self.life.sent_bulk(&self.config, now);
                self.life.sent(now);
                if !data.is_empty() {
                    self.bulk.push_front((request, data, last));
                }
            } else {
                return;
            }
        }
    }

    fn handle(&mut self, buf: &mut BytesMut, now: Duration) {
        if self.life.received(now) {
            self.events.push_back(NetEvent::Heard);
        }
        while buf.len() >= 5 {
            let len = u32::from_be_bytes([buf[1], buf[2], buf[3], buf[4]]) as usize;
            if buf.len() < 5 + len {
                return;
            }
            let kind = buf[0];
            buf.advance(5);
            let mut body = buf.split_to(len).freeze();
            if kind != PONG {
                self.life.received_something();
            }
            self.events.push_back(match kind {
                PING | PONG => {
                    let mut id = [0; 8];
                    id.copy_from_slice(&body);
                    match kind {
                        PING => self.life.handle_ping(id),
                        _ if self.life.handle_pong(id, now) => {
                            self.events.push_back(NetEvent::Heard);
                        }
                        _ => {}
                    }
                    continue;
                }
                HELLO => {
                    let mut key = [0; 32];
                    key.copy_from_slice(&body[..32]);
                    self.up = true;
                    self.life.open(now);
                    let level = if body[32] == 1 {
                        Level::ReadWrite
                    } else {
                        Level::ReadOnly
                    };
                    body.advance(33);
                    NetEvent::Up(PeerKey(key), level, body.get_u64())
                }
                CONTROL => NetEvent::Control(body),
                _ => {
                    self.life.received_bulk(now);
                    let (request, last) = (body.get_u32(), body.get_u8() == 1);
                    NetEvent::Bulk(request, body, last)
                }
            });
        }
    }
}

/// One end's session.
#[derive(Debug)]
pub enum Endpoint {
    /// The product's.
    Real(Box<Session>),
    /// Without cryptography.
    Plain(Box<Plain>),
}

/// What an end says about itself.
#[derive(Clone)]
pub struct Identity {
    /// The folder as this device takes part in it.
    pub folder: SharedFolder,
    /// Its public key.
    pub key: PeerKey,
    /// What it may do.
    pub level: Level,
    /// One for each start of the daemon.
    pub boot: u64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An end of a new connection.
    pub fn new(
        real: bool,
        id: &Identity,
        dials: bool,
        entropy: [u8; 32],
        now: Duration,
    ) -> Option<Self> {
        if !real {
            return Some(Self::Plain(Box::new(Plain::new(id, now))));
        }
        let hello = Hello::new("simulated", id.boot, 0);
        let (config, entropy) = (session::Config::default(), Entropy::new(entropy));
        let folder = Arc::clone(&id.folder);
        let session = if dials {
            Session::initiate(folder, hello, config, entropy, now).ok()?
        } else {
            let gate = Arc::new(Gate::new(vec![folder]).ok()?);
            Session::accept(gate, hello, config, entropy, now)
        };
        Some(Self::Real(Box::new(session)))
    }

    /// Queues a control message.
    pub fn send_control(&mut self, message: Bytes) -> bool {
        match self {
            Self::Real(session) => session.send_control(message).is_ok(),
            Self::Plain(plain) => {
                plain.control.push_back(message);
                true
            }
        }
    }

    /// Queues bytes of an answer.
    pub fn send_bulk(&mut self, request: u32, data: Bytes, last: bool) -> bool {
        match self {
            Self::Real(session) => session.send_bulk(request, data, last).is_ok(),
            Self::Plain(plain) => {
                plain.bulk.push_back((request, data, last));
                true
            }
        }
    }

    /// Takes an answer back.
    pub fn cancel_bulk(&mut self, request: u32) {
        match self {
            Self::Real(session) => session.cancel_bulk(request),
            Self::Plain(plain) => plain.bulk.retain(|(r, ..)| *r != request),
        }
    }

    /// Bytes for the wire.
    pub fn transmit(&mut self, now: Duration, out: &mut BytesMut) {
        match self {
            Self::Real(session) => session.poll_transmit(now, out, PIECE),
            Self::Plain(plain) => plain.transmit(now, out, PIECE),
        }
    }

    /// Bytes from the wire.
    pub fn handle(&mut self, buf: &mut BytesMut, now: Duration) {
        match self {
            Self::Real(session) => {
                // What is wrong is an event as well.
                let _ = session.handle_bytes(buf, now);
            }
            Self::Plain(plain) => plain.handle(buf, now),
        }
    }

    /// What happened.
    pub fn event(&mut self) -> Option<NetEvent> {
        match self {
            Self::Plain(plain) => plain.events.pop_front(),
            Self::Real(session) => loop {
                return Some(match session.poll_event()? {
                    Event::Established(e) => {
                        NetEvent::Up(PeerKey(e.peer_static), e.level, e.hello.boot_nonce)
                    }
                    Event::Control(bytes) => NetEvent::Control(bytes),
                    Event::Bulk {
                        request,
                        data,
                        last,
                    } => NetEvent::Bulk(request, data, last),
                    Event::BulkDrained => continue,
                    Event::Quiet => NetEvent::Quiet,
                    Event::Heard => NetEvent::Heard,
                    Event::Closed(reason) => NetEvent::Closed(reason.to_string()),
                });
            },
        }
    }

    /// When it wants to be called.
    pub fn next_timeout(&self) -> Option<Duration> {
        match self {
            Self::Real(session) => session.next_timeout(),
            Self::Plain(plain) => plain.up.then(|| plain.life.next_timeout(&plain.config))?,
        }
    }

    /// Calls it.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self {
            Self::Real(session) => session.handle_timeout(now),
            Self::Plain(plain) if plain.up => match plain.life.handle_timeout(&plain.config, now) {
                Due::Nothing => {}
                Due::Quiet => plain.events.push_back(NetEvent::Quiet),
                Due::Dead => {
                    plain.up = false;
                    let why = "the peer is silent".to_owned();
                    plain.events.push_back(NetEvent::Closed(why));
                }
            },
            Self::Plain(_) => {}
        }
    }

    /// Asks whether the peer is there.
    pub fn probe(&mut self, now: Duration) {
        match self {
            Self::Real(session) => session.probe(now),
            Self::Plain(plain) => plain.life.probe(now),
        }
    }

    /// The smoothed round trip, once there was one.
    pub fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Real(session) => session.rtt(),
            Self::Plain(plain) => plain.life.rtt(),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// The daemon that it belongs to.
    pub daemon: u64,
    /// Its session.
    pub endpoint: Endpoint,
    /// The swarm's and the engine's name for it, once it stands.
    pub session: Option<SessionId>,
    /// Bytes received and not understood yet.
    pub input: BytesMut,
    /// Answers that are coming in, and how many objects of them have.
    pub readers: BTreeMap<u32, (ObjectReader, usize)>,
    /// The wire takes nothing before.
    pub busy_until: Duration,
    /// When what was sent last arrives: nothing overtakes it.
    pub arrives: Duration,
    /// A call to send is due already.
    pub pumping: bool,
    /// When its session's timer is due.
    pub timer: Option<Duration>,
}

impl End {
    /// An end at its beginning.
    pub fn new(daemon: u64, endpoint: Endpoint) -> Self {
        Self {
            daemon,
            endpoint,
            session: None,
            input: BytesMut::new(),
            readers: BTreeMap::new(),
            busy_until: Duration::ZERO,
            arrives: Duration::ZERO,
            pumping: false,
            timer: None,
        }
    }
}

/// A connection: an end at either node, in the order of the pair.
#[derive(Debug)]
pub struct Conn {
    /// Never used twice.
    pub id: u64,
    /// The side that dialled.
    pub dialler: usize,
    /// What it dialled.
    pub dial: Dial,
    /// Both ends.
    pub ends: [End; 2],
}

/// The way between two nodes.
#[derive(Debug)]
pub struct Link {
    /// Whether anything gets through.
    pub up: bool,
    /// Time that every byte takes.
    pub latency: Duration,
    /// At most this much more, in milliseconds.
    pub jitter_ms: u64,
    /// Bytes a second.
    pub width: u64,
    /// How near the two are to each other on it.
    pub class: PathClass,
    /// Nothing arrives before.
    pub stalls_until: Duration,
    /// The connections: two where both dialled at once, until one is given up.
    pub conns: Vec<Conn>,
}

impl Link {
    /// How long `len` bytes occupy the wire.
    pub fn takes(&self, len: usize) -> Duration {
        Duration::from_nanos((len as u64).saturating_mul(1_000_000_000) / self.width.max(1))
    }
}

/// Which end of a pair a node is.
pub fn side_of(pair: Pair, node: usize) -> usize {
    usize::from(pair.1 == node)
}

/// The node at an end of a pair.
pub fn node_at(pair: Pair, side: usize) -> usize {
    if side == 0 { pair.0 } else { pair.1 }
}

/// The pair of two nodes, and one of the links between them.
pub fn pair(a: usize, b: usize, link: u8) -> Pair {
    (a.min(b), a.max(b), link)
}
