//! What is under way at one peer, and how much may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Item;
use super::content::Key;
use crate::message::{MAX_IN_FLIGHT, MAX_OBJECT};

/// The window that a new peer starts with.
const START_WINDOW: u64 = 1 << 20;
/// The window that every peer keeps.
pub(super) const MIN_WINDOW: u64 = 256 << 10;
/// The window grows while requests queue for less than this.
const SHORT_QUEUE: Duration = Duration::from_millis(100);
/// The window shrinks when requests queue for longer than this.
const LONG_QUEUE: Duration = Duration::from_millis(500);
/// The shortest latency is forgotten after one to two of these, because paths change.
const BASE_AGE: Duration = Duration::from_secs(60);
/// How often the measured speed is brought up to date.
const RATE_STEP: Duration = Duration::from_millis(500);
/// Numbers of requests taken back that are remembered, because answers may still come.
const MAX_CANCELLED: usize = 4096;

/// One object of a request.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) item: Item,
    pub(super) cost: u32,
    pub(super) answered: bool,
    /// Whether the answer is still of use.
    pub(super) live: bool,
    /// It was asked for by number.
    pub(super) numbered: bool,
}

/// A request that isn't answered in full.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sent: Duration,
    pub(super) slots: Vec<Slot>,
    unanswered: usize,
    /// Unanswered and still of use.
    live: usize,
    bytes: u64,
    /// Whether the window was in use for the most part, so that a fast answer says something.
    limited: bool,
}

/// What an answer belongs to.
#[derive(Debug)]
pub(super) enum Taken {
    /// Nothing that was asked for.
    Unknown,
    /// A request that was taken back.
    Cancelled,
    /// An object.
    Slot {
        /// What it is for, if it is still of use.
        item: Option<Item>,
        /// It was asked for by number.
        numbered: bool,
        /// The bytes that no longer count.
        freed: u64,
        /// Nothing else of the request is of use: the rest of it was taken back.
        cancelled: bool,
    },
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) requests: BTreeMap<u32, Asked>,
    cancelled: BTreeSet<u32>,
    next_id: u32,
    /// Bytes asked for and not answered.
    pub(super) in_flight: u64,
    /// Bytes answered and not yet written to the disk.
    pub(super) writing: u64,
    pub(super) window: u64,
    pub(super) bad: u8,
    /// Contents that came wrong under their numbers.
    pub(super) odd: u16,
    /// It left requests without an answer; until it answers it gets one small request at a time.
    pub(super) slow: bool,
    /// It is asked for nothing more.
    pub(super) resting: bool,
    last_answer: Duration,
    /// How long a request takes, averaged.
    pub(super) usual: Duration,
    /// The shortest latencies of this and of the last period.
    base: [Duration; 2],
    base_since: Duration,
    shrunk: Duration,
    /// Small contents that this peer holds and that nobody is asked for, in order of want.
    pub(super) small: BTreeSet<Key>,
    pub(super) small_cost: u64,
    /// Whether small ones come next, if there are both kinds.
    pub(super) small_next: bool,
    pub(super) rate: u64,
    counted: u64,
    counted_since: Duration,
}

impl Peer {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            requests: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            next_id: 0,
            in_flight: 0,
            writing: 0,
            window: START_WINDOW,
            bad: 0,
            odd: 0,
            slow: false,
            resting: false,
            last_answer: now,
            usual: Duration::ZERO,
            base: [Duration::MAX; 2],
            base_since: now,
            shrunk: now,
            small: BTreeSet::new(),
            small_cost: 0,
            small_next: true,
            rate: 0,
            counted: 0,
            counted_since: now,
        }
    }

    /// Bytes that may be asked for now. A peer with nothing under way may always send one object.
    pub(super) fn room(&self) -> u64 {
        match self.in_flight + self.writing {
            0 => self.window.max(u64::from(MAX_OBJECT)),
            used => self.window.saturating_sub(used),
        }
    }

    /// The bytes that one request should have, so that several fit into the window.
    pub(super) fn target(&self, most: u64) -> u64 {
        if self.slow {
            64 << 10
        } else {
            (self.window / 4).clamp(64 << 10, most)
        }
    }

    /// Notes a request and gives it a number.
    pub(super) fn ask(&mut self, slots: Vec<Slot>, now: Duration) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        if self.requests.is_empty() {
            self.counted = 0;
            self.counted_since = now;
        }
        let bytes = slots.iter().map(|slot| u64::from(slot.cost)).sum();
        self.in_flight += bytes;
        let limited = (self.in_flight + self.writing) * 2 >= self.window;
        let (unanswered, live) = (slots.len(), slots.len());
        let asked = Asked {
            sent: now,
            slots,
            unanswered,
            live,
            bytes,
            limited,
        };
        self.requests.insert(id, asked);
        id
    }

    /// Notes that an object was answered, with this many bytes.
    pub(super) fn take(&mut self, id: u32, index: usize, len: u64, now: Duration) -> Taken {
        let Some(asked) = self.requests.get_mut(&id) else {
            return if self.cancelled.contains(&id) {
                Taken::Cancelled
            } else {
                Taken::Unknown
            };
        };
        let Some(slot) = asked.slots.get_mut(index).filter(|slot| !slot.answered) else {
            return Taken::Unknown;
        };
        slot.answered = true;
        asked.unanswered -= 1;
        let (cost, numbered) = (slot.cost, slot.numbered);
        let item = slot.live.then_some(slot.item);
        if slot.live {
            slot.live = false;
            asked.live -= 1;
        }
        self.in_flight = self.in_flight.saturating_sub(u64::from(cost));
        self.last_answer = now;
        self.slow = false;
        self.counted = self.counted.saturating_add(len);
        if now >= self.counted_since + RATE_STEP {
            let micros = (now - self.counted_since).as_micros().max(1);
            let new = u128::from(self.counted) * 1_000_000 / micros;
            let new = u64::try_from(new).unwrap_or(u64::MAX);
            self.rate = if self.rate == 0 {
                new
            } else {
                self.rate / 4 * 3 + new / 4
            };
            self.counted = 0;
            self.counted_since = now;
        }
        if asked.unanswered == 0 {
            let (sent, bytes, limited) = (asked.sent, asked.bytes, asked.limited);
            self.requests.remove(&id);
            self.measure(sent, bytes, limited, now);
        }
        // What is left may have been abandoned object by object while this one was still of use.
        let rest = match self.requests.get(&id) {
            Some(asked) if asked.live == 0 => self.cancel(id),
            _ => None,
        };
        Taken::Slot {
            item,
            numbered,
            freed: u64::from(cost) + rest.as_ref().map_or(0, |(_, bytes)| *bytes),
            cancelled: rest.is_some(),
        }
    }

    /// Learns from a request that was answered in full.
    fn measure(&mut self, sent: Duration, bytes: u64, limited: bool, now: Duration) {
        let took = now.saturating_sub(sent);
        self.usual = if self.usual.is_zero() {
            took
        } else {
            (self.usual * 7 + took) / 8
        };
        if now >= self.base_since + BASE_AGE {
            self.base = [took, self.base[0]];
            self.base_since = now;
        }
        self.base[0] = self.base[0].min(took);
        let queued = took.saturating_sub(self.base[0].min(self.base[1]));
        if queued < SHORT_QUEUE && limited {
            self.window = (self.window + bytes).min(MAX_IN_FLIGHT);
        } else if queued > LONG_QUEUE && sent >= self.shrunk {
            // Once per round: what was sent before the last step says nothing about it.
            self.window = (self.window / 4 * 3).max(MIN_WINDOW);
            self.shrunk = now;
        }
    }

    /// The answer to this object is of no use any more. If that goes for the whole rest of the
    /// request then it is taken back, and the bytes that it counted for are returned.
    pub(super) fn abandon(&mut self, id: u32, slot: u16) -> Option<u64> {
        let asked = self.requests.get_mut(&id)?;
        let slot = asked
            .slots
            .get_mut(usize::from(slot))
            .filter(|slot| slot.live)?;
        slot.live = false;
        asked.live -= 1;
        if asked.live > 0 {
            return None;
        }
        self.cancel(id).map(|(_, bytes)| bytes)
    }

    /// Takes a request back: the items that were still awaited, and the bytes that it counted for.
    pub(super) fn cancel(&mut self, id: u32) -> Option<(Vec<Item>, u64)> {
        let asked = self.requests.remove(&id)?;
        let open = asked.slots.iter().filter(|slot| !slot.answered);
        let bytes = open.map(|slot| u64::from(slot.cost)).sum();
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.cancelled.insert(id);
        if self.cancelled.len() > MAX_CANCELLED {
            self.cancelled.pop_first();
        }
        let items = asked
            .slots
            .iter()
            .filter(|slot| slot.live)
            .map(|slot| slot.item)
            .collect();
        Some((items, bytes))
    }

    /// When the peer has said nothing for too long.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Duration> {
        let (_, oldest) = self.requests.first_key_value()?;
        Some(oldest.sent.max(self.last_answer) + patience)
    }
}
