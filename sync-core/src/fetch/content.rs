//! What is wanted, and who holds it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::bits::Bits;
use super::chunks::Chunks;
use crate::chunk::ContentHash;
use crate::ids::{Seq, SessionId};
use crate::manifest::{ContentRoot, ManifestReader};

/// Names a want, in order of want; never used again.
pub(super) type Key = u64;

/// Bytes of announced bits that are kept per holder until the chunks are known.
const MAX_RAW: usize = 1 << 20;
/// Announcements that are kept per holder until the chunks are known.
const MAX_PIECES: usize = 256;

/// What one peer holds of a content.
#[derive(Debug)]
pub(super) enum Holder {
    Whole,
    Part(Box<Part>),
}

/// A peer's part of a content.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// By unit, once the chunks are known.
    pub(super) bits: Option<Bits>,
    /// As they came, until then.
    pub(super) raw: Vec<(u64, Vec<u8>)>,
    /// It said that it doesn't hold the pages.
    pub(super) no_pages: bool,
}

impl Part {
    /// Keeps an announcement until the chunks are known.
    pub(super) fn keep(&mut self, first: u64, bits: &[u8]) {
        let held: usize = self.raw.iter().map(|(_, bits)| bits.len()).sum();
        if held + bits.len() <= MAX_RAW && self.raw.len() < MAX_PIECES {
            self.raw.push((first, bits.to_vec()));
        }
    }
}

/// A session that wants to hear what we hold.
#[derive(Debug)]
pub(super) struct Watch {
    /// How much of the log it has heard.
    pub(super) heard: usize,
    /// It hears nothing before.
    pub(super) next: Duration,
}

/// Something wanted.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) root: ContentRoot,
    pub(super) size: u64,
    pub(super) holders: BTreeMap<SessionId, Holder>,
    pub(super) watchers: BTreeMap<SessionId, Watch>,
    pub(super) stage: Stage,
}

/// How far a content has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// One chunk; whether it is in the queues of its holders (else somebody is asked for it).
    /// With the numbers that some of them have for it.
    Small {
        queued: bool,
        numbers: Vec<(SessionId, Seq)>,
    },
    /// A big file that waits for its turn.
    Waiting,
    /// A big file whose pages are collected.
    Pages(Box<Pages>),
    /// A big file whose chunks are collected.
    Chunks(Box<Chunks>),
}

/// The pages of a big file.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) reader: ManifestReader,
    pub(super) pages: Vec<(ContentHash, Bytes)>,
    /// All pages that were ever looked for.
    seen: BTreeSet<ContentHash>,
    /// Those of them that aren't held.
    open: BTreeSet<ContentHash>,
    /// Looked for in the local index.
    pub(super) local: BTreeSet<ContentHash>,
    /// To be asked from peers.
    pub(super) queue: VecDeque<ContentHash>,
    pub(super) progress: Duration,
}

impl Pages {
    /// Pages that are looked for at once.
    const AHEAD: usize = 128;

    pub(super) fn new(reader: ManifestReader, now: Duration) -> Self {
        Self {
            reader,
            pages: Vec::new(),
            seen: BTreeSet::new(),
            open: BTreeSet::new(),
            local: BTreeSet::new(),
            queue: VecDeque::new(),
            progress: now,
        }
    }

    /// Pages to look for, each named once.
    pub(super) fn news(&mut self) -> Vec<ContentHash> {
        let wanted = self
            .reader
            .wanted(Self::AHEAD)
            .into_iter()
            .map(|(hash, _)| hash);
        let news: Vec<_> = wanted.filter(|hash| self.seen.insert(*hash)).collect();
        self.open.extend(&news);
        self.local.extend(&news);
        news
    }

    /// Whether the page is awaited, from a peer or from the local index.
    pub(super) fn awaits(&self, hash: &ContentHash) -> bool {
        self.open.contains(hash)
    }

    /// Keeps a page that the reader has taken.
    pub(super) fn hold(&mut self, hash: ContentHash, bytes: Bytes, now: Duration) {
        self.open.remove(&hash);
        self.local.remove(&hash);
        self.pages.push((hash, bytes));
        self.progress = now;
    }
}

impl Content {
    pub(super) fn is_small(&self) -> bool {
        matches!(self.stage, Stage::Small { .. })
    }

    /// The number by which a session may be asked for it.
    pub(super) fn number(&self, session: SessionId) -> Option<Seq> {
        let Stage::Small { numbers, .. } = &self.stage else {
            return None;
        };
        let named = numbers.iter().find(|(holder, _)| *holder == session);
        named.map(|(_, number)| *number)
    }

    /// A session can't be asked for it by number any more.
    pub(super) fn forget_number(&mut self, session: SessionId) {
        if let Stage::Small { numbers, .. } = &mut self.stage {
            numbers.retain(|(holder, _)| *holder != session);
        }
    }

    /// Whether a session may be asked for pages.
    pub(super) fn gives_pages(&self, session: SessionId) -> bool {
        match self.holders.get(&session) {
            Some(Holder::Whole) => true,
            Some(Holder::Part(part)) => !part.no_pages,
            None => false,
        }
    }

    /// Whether chunks are asked for in the order of the file: nobody else collects them too.
    pub(super) fn in_order(&self) -> bool {
        self.watchers.is_empty()
            && self
                .holders
                .values()
                .all(|holder| matches!(holder, Holder::Whole))
    }

    /// Whether the session is known to hold a unit.
    pub(super) fn holds_unit(&self, session: SessionId, unit: u32) -> bool {
        match self.holders.get(&session) {
            Some(Holder::Whole) => true,
            Some(Holder::Part(part)) => part.bits.as_ref().is_some_and(|bits| bits.has(unit)),
            None => false,
        }
    }
}

/// The bits that are set in an announcement, as chunk numbers below `count`.
pub(super) fn announced(first: u64, bits: &[u8], count: u32) -> impl Iterator<Item = u32> {
    bits.iter().zip(0_u64..).flat_map(move |(byte, at)| {
        (0..8)
            .filter(move |bit| byte & (0x80 >> bit) != 0)
            .filter_map(move |bit| {
                let chunk = first.checked_add(at * 8 + bit)?;
                u32::try_from(chunk).ok().filter(|chunk| *chunk < count)
            })
    })
}
