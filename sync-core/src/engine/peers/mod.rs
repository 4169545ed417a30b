//! Everybody we have sessions with: what each has told us, and how much of ours it was told.
//!
//! Owns one [`Peer`] for each member that is here, however many sessions it has with us. Each has two sides:
//! [`Theirs`], its index as it comes to us, and [`Ours`], our index as it is told. It must never judge a record or
//! read the index.
//!
//! Our index goes over one session of a pair at a time, the *stream*; so do contents. When the stream ends or another
//! session is preferred, the exchange starts anew over that one, after the last number that was reached. The other
//! side chooses its stream by itself: what answers its index goes over the session over which it came.
//!
//! A change that we didn't author goes on after a short random delay, and only to those who still lack it: who knows
//! it, or has said that it arrived there, is left alone. So in a mesh each record reaches each member about once.

mod list;
mod ours;
mod theirs;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub(super) use list::{List, Said};
use ours::Ours;
pub(super) use ours::{How, Line};
pub(super) use theirs::{Cursor, Fit};
use theirs::{Question, Theirs};

use super::PeerStatus;
use crate::{
    ids::{PeerKey, Seq, SessionId},
    index::PeerTag,
    message::Head,
    secret::Level,
    version::Dot,
};

/// Longest delay before a change that we didn't author goes on, in milliseconds.
const MAX_DELAY: u64 = 300;

/// A member that is here. See the module's documentation.
#[derive(Debug)]
pub(super) struct Peer {
    key: PeerKey,
    tag: PeerTag,
    level: Level,
    sessions: Vec<SessionId>,
    /// The session over which we send our index.
    stream: SessionId,
    pub(super) theirs: Theirs,
    pub(super) ours: Ours,
}

impl Peer {
    fn new(key: PeerKey, level: Level, session: SessionId) -> Self {
        Self {
            key,
            tag: PeerTag::from(&key),
            level,
            sessions: vec![session],
            stream: session,
            theirs: Theirs::default(),
            ours: Ours::default(),
        }
    }

    pub(super) fn key(&self) -> PeerKey {
        self.key
    }

    pub(super) fn tag(&self) -> PeerTag {
        self.tag
    }

    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// The session over which we send our index.
    pub(super) fn stream(&self) -> SessionId {
        self.stream
    }

    /// Whether it holds the content of a change, with its number for it if it told one in this stream.
    fn holds(&self, tags: &[PeerTag], dot: Dot) -> Option<Option<Seq>> {
        let number = self.theirs.holds(dot);
        (number.is_some() || tags.contains(&self.tag)).then_some(number)
    }
}

/// Everybody who is here. See the module's documentation.
#[derive(Debug)]
pub(super) struct Peers {
    peers: BTreeMap<PeerKey, Peer>,
    by_session: BTreeMap<SessionId, PeerKey>,
    /// Changes of others go on up to this number.
    released: u64,
    /// Some change up to here is our own, and waits for nobody.
    own: u64,
    /// Numbers up to which they go on later.
    delayed: VecDeque<(u64, Duration)>,
    /// Not all was looked at that may be told.
    unfinished: bool,
    rng: u64,
}

impl Peers {
    /// Nobody is here; changes up to `durable` may be told at once.
    pub(super) fn new(seed: u64, durable: u64) -> Self {
        Self {
            peers: BTreeMap::new(),
            by_session: BTreeMap::new(),
            released: durable,
            own: 0,
            delayed: VecDeque::new(),
            unfinished: false,
            rng: seed,
        }
    }

    /// A session stands. Whether it is the stream: a peer's first is, others stand by.
    pub(super) fn up(&mut self, session: SessionId, key: PeerKey, level: Level) -> bool {
        self.by_session.insert(session, key);
        match self.peers.get_mut(&key) {
            Some(peer) => {
                peer.level = level;
                if !peer.sessions.contains(&session) {
                    peer.sessions.push(session);
                }
                false
            }
            None => {
                self.peers.insert(key, Peer::new(key, level, session));
                true
            }
        }
    }

    /// A session is gone. If it was the stream, the one that takes its place.
    pub(super) fn down(&mut self, session: SessionId) -> Option<SessionId> {
        let key = self.by_session.remove(&session)?;
        let peer = self.peers.get_mut(&key)?;
        peer.sessions.retain(|s| *s != session);
        peer.theirs.down(session);
        let Some(next) = peer.sessions.last().copied() else {
            self.peers.remove(&key);
            return None;
        };
        if peer.stream != session {
            return None;
        }
        peer.stream = next;
        Some(next)
    }

    /// A greeting of this peer that is to be heeded, now that the session with its last one is gone.
    pub(super) fn greeting_of(&self, key: &PeerKey) -> Option<(SessionId, Head)> {
        self.peers.get(key)?.theirs.greeting()
    }

    /// The index goes over this session from now on. The session over which it went before, if it was another.
    pub(super) fn prefer(&mut self, session: SessionId) -> Option<SessionId> {
        let peer = self.of_mut(session)?;
        let old = peer.stream;
        if old == session {
            return None;
        }
        peer.stream = session;
        Some(old)
    }

    /// A greeting goes out over this session: it may be answered by questions.
    pub(super) fn greet(&mut self, session: SessionId) {
        if let Some(peer) = self.of_mut(session) {
            peer.ours.greeting();
        }
    }

    /// Everything up to `durable` is durable now; it goes on at once if something of it is our `own`, else a
    /// little later, and not yet where it is known by then.
    pub(super) fn release(&mut self, durable: u64, own: bool, now: Duration) {
        if own || self.peers.len() < 2 {
            self.own = if own { durable } else { self.own };
            self.delayed.clear();
            self.released = durable;
            return;
        }
        // SplitMix64, from the seed: only delays are drawn.
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let delay = Duration::from_millis((z ^ (z >> 31)) % (MAX_DELAY + 1));
        self.delayed.push_back((durable, now + delay));
    }

    /// Lets go on what is due.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        while let Some((upto, _)) = self.delayed.front().filter(|(_, at)| *at <= now) {
            self.released = self.released.max(*upto);
            self.delayed.pop_front();
        }
    }

    /// Up to here our own changes are among what may be told.
    pub(super) fn own_upto(&self) -> u64 {
        self.own
    }

    /// Whether the rest of what may be told is to be looked at soon.
    pub(super) fn set_unfinished(&mut self, unfinished: bool) {
        self.unfinished = unfinished;
    }

    pub(super) fn of(&self, session: SessionId) -> Option<&Peer> {
        self.peers.get(self.by_session.get(&session)?)
    }

    pub(super) fn of_mut(&mut self, session: SessionId) -> Option<&mut Peer> {
        self.peers.get_mut(self.by_session.get(&session)?)
    }

    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.values_mut()
    }

    /// The questions that are due. Of those with a long answer one is asked at a time: meanwhile the others hear
    /// what has arrived here.
    pub(super) fn questions(&mut self, now: Duration) -> Vec<Question> {
        let mut speaks = self.speaks_until().is_some_and(|until| now < until);
        let mut due = Vec::new();
        for peer in self.peers.values_mut() {
            let much = peer.theirs.has_much_to_ask();
            if !(much && speaks) {
                speaks |= much;
                due.extend(peer.theirs.question(now));
            }
        }
        due
    }

    fn speaks_until(&self) -> Option<Duration> {
        let all = self.peers.values();
        all.filter_map(|p| p.theirs.speaks_until()).max()
    }

    /// The number up to which changes may be told.
    pub(super) fn released(&self) -> u64 {
        self.released
    }

    /// The stream of each peer.
    pub(super) fn streams(&self) -> Vec<SessionId> {
        self.peers.values().map(|p| p.stream).collect()
    }

    /// The sessions over which all but the peer of this session send their index.
    pub(super) fn others(&self, session: SessionId) -> Vec<SessionId> {
        let key = self.by_session.get(&session);
        let others = self.peers.values().filter(|p| Some(&p.key) != key);
        others.filter_map(|p| p.theirs.over()).collect()
    }

    /// The streams of those who hold the content of a change, by the tags that the index has or by what they said in
    /// this stream, with the number that each has for it if it said so.
    pub(super) fn holders(&self, tags: &[PeerTag], dot: Dot) -> Vec<(SessionId, Option<Seq>)> {
        let all = self.peers.values();
        all.filter_map(|p| Some((p.stream, p.holds(tags, dot)?)))
            .collect()
    }

    /// The names of those who hold the content of a change.
    pub(super) fn named(&self, tags: &[PeerTag], dot: Dot) -> Vec<String> {
        let all = self.peers.values();
        let holders = all.filter(|p| p.holds(tags, dot).is_some());
        holders.map(|p| p.key.short()).collect()
    }

    /// Whether a burst has begun so short ago that its end is worth waiting for.
    pub(super) fn in_burst(&self, now: Duration) -> bool {
        self.peers.values().any(|p| p.theirs.burst_is_young(now))
    }

    /// Whether any burst has no end yet.
    pub(super) fn is_exchanging(&self) -> bool {
        self.peers.values().any(|p| p.theirs.is_in_burst())
    }

    pub(super) fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let both = |p: &Peer| [p.theirs.next_timeout(now), p.ours.next_timeout(now)];
        let peers = self.peers.values().flat_map(both).flatten();
        let delayed = self.delayed.front().map(|(_, at)| *at);
        let unfinished = self.unfinished.then_some(now);
        let waits = self.peers.values().any(|p| p.theirs.has_much_to_ask());
        let silence = self.speaks_until().filter(|t| waits && *t > now);
        let peers = peers.chain(silence);
        peers.chain(delayed).chain(unfinished).min()
    }

    /// Everybody at this moment. `settled`: nothing is needed here, and all up to `durable` is.
    pub(super) fn report(&self, settled: bool, durable: u64) -> Vec<PeerStatus> {
        let report = self.peers.values().map(|peer| {
            let (needs_files, needs_bytes) = peer.ours.needs();
            PeerStatus {
                session: peer.stream,
                peer: peer.key,
                level: peer.level,
                in_sync: settled && peer.theirs.is_reached() && peer.ours.is_told(durable),
                needs_files,
                needs_bytes,
            }
        });
        report.collect()
    }
}
