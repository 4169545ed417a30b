//! One address of one folder, and the words used to talk about it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::rng::SeededRng;
use crate::{FolderTag, Source};

const LONGEST_DELAY: Duration = Duration::from_secs(300);
const LONGEST_DELAY_NAMED: Duration = Duration::from_secs(30);
/// After a session as long as this, earlier breaks count no more.
const SETTLED: Duration = Duration::from_secs(30);
/// The longest pause after a session that broke, or a connection that was dropped before it was answered, at an
/// address where a member was found: such a break says nothing about who is there.
const LONGEST_BREAK: Duration = Duration::from_secs(4);
/// Breaks one after the other that are each tried again like a new address.
const FREE_BREAKS: u32 = 2;
/// What ends a pause leaves at least this much of it since the last attempt,
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// and this much if whoever was there failed to prove itself.
const LEAST_PAUSE_UNPROVEN: Duration = Duration::from_secs(10);
/// How long an address that worked outlives its sources.
pub(super) const GRACE: Duration = Duration::from_secs(300);
const MAX_ERROR_CHARS: usize = 200;

/// A peer, as the caller names it once the handshake told: its static key in
/// this folder, say. Only compared, never sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerTag(pub [u8; 32]);

impl fmt::Debug for PeerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PeerTag({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// An address to dial now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// The folder to open a session for.
    pub folder: FolderTag,
    /// Where.
    pub addr: SocketAddr,
    /// The best of the sources that named it.
    pub source: Source,
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailReason {
    /// The host is there but nothing listens.
    Refused,
    /// No route, or the network is down.
    Unreachable,
    /// No connection in time.
    TimedOut,
    /// Connected, and closed again without an answer: too busy to look, or
    /// not one of ours.
    Dropped,
    /// Connected, but silence in answer to our handshake: not a member, or not
    /// one of ours at all.
    Silence,
    /// A member that has no room for a session with us.
    Busy,
    /// The handshake was answered, wrongly or with a refusal.
    Rejected,
    /// Whoever took the dial never said what became of it.
    Lost,
    /// Anything else.
    Other,
}

impl FailReason {
    /// A few plain words for a report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Dropped => "closed without an answer",
            Self::Busy => "too busy",
            Self::Silence => "no answer to the handshake",
            Self::Rejected => "handshake failed",
            Self::Lost => "the attempt gave no result",
            Self::Other => "failed",
        }
    }

    /// The delay after the first failure; it doubles from there.
    const fn first_delay(self) -> Duration {
        match self {
            Self::Silence | Self::Rejected => Duration::from_secs(8),
            Self::Busy => Duration::from_secs(2),
            _ => Duration::from_secs(1),
        }
    }
}

/// How a session came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It broke, or either side had enough: the peer is as good as before.
    Over,
    /// The peer turned us away.
    TurnedAway(FailReason),
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a candidate handed to the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// A new address, or an old one from a new source.
    New,
    /// Known from this source; its expiry moved.
    Refreshed,
    /// Not taken.
    Refused(Refusal),
}

/// Why a candidate was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// No host can have this address, or the port is 0.
    Impossible,
    /// Loopback or link-local, from a source that can't mean this host or link.
    NotFromThere,
    /// It is over already.
    Expired,
    /// The source has its fill of addresses for this folder.
    SourceFull,
    /// Too many ports of one host.
    HostFull,
}

impl Refusal {
    /// A few plain words for a report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Impossible => "not the address of a host",
            Self::NotFromThere => "a local address from a distant source",
            Self::Expired => "expired",
            Self::SourceFull => "too many addresses from one source",
            Self::HostFull => "too many ports of one host",
        }
    }
}

/// What an address is doing, for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// Waiting for its turn or for its delay to end.
    Waiting,
    /// Being dialled.
    Dialing,
    /// A session is up at this address.
    Connected,
    /// It leads to a peer that is connected by another address.
    ConnectedElsewhere,
    /// It is an address of this device.
    Ours,
}

impl EntryState {
    /// The name used in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dialing => "dialing",
            Self::Connected => "connected",
            Self::ConnectedElsewhere => "connected-elsewhere",
            Self::Ours => "ours",
        }
    }
}

/// One line of a report on a folder's candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    /// The address.
    pub addr: SocketAddr,
    /// Who named it, best first.
    pub sources: Vec<Source>,
    /// What it is doing.
    pub state: EntryState,
    /// The peer found there, now or last.
    pub peer: Option<PeerTag>,
    /// Why the last attempt failed; `None` after a success.
    pub last_error: Option<String>,
    /// Failures since the last success.
    pub failures: u32,
    /// When it may be dialled next; `None` when it won't be as things stand.
    pub next_try: Option<Duration>,
    /// When a source named it last, or it was last connected.
    pub last_seen: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Dialing { since: Duration },
    Connected { since: Duration },
}

/// What the book knows about one address of one folder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Each source with the expiry of what it said.
    pub(super) sources: BTreeMap<Source, Duration>,
    pub(super) state: State,
    pub(super) peer: Option<PeerTag>,
    /// A peer that is connected from the same host says that it listens here.
    pub(super) claimed: Option<PeerTag>,
    /// A handshake succeeded here once.
    pub(super) proven: bool,
    /// Not dialled yet, or not since something changed.
    pub(super) fresh: bool,
    /// Sources that ever named it: each ends its pause once.
    pub(super) heard: u8,
    pub(super) failures: u32,
    /// Sessions that broke early, and connections dropped, since one lasted.
    pub(super) breaks: u32,
    /// The last attempt found somebody who didn't prove to be a member.
    unproven: bool,
    pub(super) last_error: Option<String>,
    pub(super) next_try: Duration,
    pub(super) last_attempt: Option<Duration>,
    pub(super) last_seen: Duration,
}

impl Entry {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            sources: BTreeMap::new(),
            state: State::Idle,
            peer: None,
            claimed: None,
            proven: false,
            fresh: true,
            heard: 0,
            failures: 0,
            breaks: 0,
            unproven: false,
            last_error: None,
            next_try: now,
            last_attempt: None,
            last_seen: now,
        }
    }

    /// The peer that is most likely there: the one that was found, else the one that says so.
    pub(super) fn leads_to(&self) -> Option<PeerTag> {
        self.peer.or(self.claimed)
    }

    /// The best source whose word can be dialled.
    pub(super) fn dialable(&self) -> Option<Source> {
        let best = self.sources.keys().next().copied();
        best.filter(|source| *source != Source::Incoming)
    }

    pub(super) fn drop_expired(&mut self, now: Duration) {
        self.sources.retain(|_, expires| now < *expires);
    }

    /// Nothing keeps it in the book.
    pub(super) fn is_over(&self) -> bool {
        self.sources.is_empty() && self.state == State::Idle
    }

    /// May make room for a newcomer.
    pub(super) fn is_hopeless(&self) -> bool {
        self.state == State::Idle && !self.proven && self.failures >= 2
    }

    /// A dial came to nothing, or the peer turned us away.
    pub(super) fn fail(
        &mut self,
        reason: FailReason,
        detail: &str,
        rng: &mut SeededRng,
        now: Duration,
    ) {
        let text = if detail.is_empty() {
            reason.as_str().to_owned()
        } else {
            format!("{reason}: {detail}")
        };
        self.last_error = Some(text.chars().take(MAX_ERROR_CHARS).collect());
        self.state = State::Idle;
        self.unproven = matches!(reason, FailReason::Silence | FailReason::Rejected);
        if reason == FailReason::Dropped && self.proven {
            return self.broke(rng, now);
        }
        self.fresh = false;
        self.failures = self.failures.saturating_add(1);
        self.next_try = now + self.delay(reason.first_delay(), rng);
    }

    /// A session that stood since `since` is over, and nobody is to blame.
    pub(super) fn over(&mut self, since: Duration, rng: &mut SeededRng, now: Duration) {
        self.state = State::Idle;
        self.failures = 0;
        if now.saturating_sub(since) >= SETTLED {
            self.breaks = 0;
        }
        self.broke(rng, now);
    }

    /// Tries again soon. The pause grows a little, so that an address where every session breaks isn't dialled
    /// each second for ever.
    fn broke(&mut self, rng: &mut SeededRng, now: Duration) {
        self.breaks = self.breaks.saturating_add(1);
        self.fresh = self.breaks <= FREE_BREAKS;
        let doubled = Duration::from_secs(1) * (1 << (self.breaks / 2).min(4));
        let pause = doubled.min(LONGEST_BREAK);
        self.next_try = now + rng.between(pause * 3 / 4, pause);
    }

    /// Something changed that makes another attempt worth while.
    pub(super) fn end_pause(&mut self, now: Duration) {
        let least = if self.unproven {
            LEAST_PAUSE_UNPROVEN
        } else {
            LEAST_PAUSE
        };
        let from = self.last_attempt.map_or(now, |last| now.max(last + least));
        if from < self.next_try {
            self.next_try = from;
            self.fresh = true;
        }
    }

    /// The user or the machine wants everything tried, whatever was held against it.
    pub(super) fn try_now(&mut self, now: Duration) {
        self.next_try = self.next_try.min(now);
        self.fresh = true;
    }

    /// The delay after `failures` failures, up to a quarter shorter by chance.
    fn delay(&self, first: Duration, rng: &mut SeededRng) -> Duration {
        let named = self.sources.contains_key(&Source::KnownHost);
        let longest = if named {
            LONGEST_DELAY_NAMED
        } else {
            LONGEST_DELAY
        };
        let doubled = first * (1 << self.failures.saturating_sub(1).min(10));
        let delay = doubled.min(longest);
        rng.between(delay * 3 / 4, delay)
    }
}
