//! The chunks of one big file: which are here, which are asked for, which to ask for next.
//!
//! Equal chunks are one *unit*: it is asked for once and written to all its places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bits::Bits;
use crate::chunk::ContentHash;
use crate::ids::SessionId;
use crate::manifest::ChunkRef;

/// Ends a list of places.
const END: u32 = u32::MAX;
/// Chunks that are offered for local copying at once.
const LOCAL_BATCH: usize = 256;
/// Places of one unit that are being written at once.
const WRITES: usize = 64;
/// Units that are looked at in order of rarity before any one will do.
const LOOKS: usize = 2048;

/// How far a unit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Some of its places wait for the disk to say whether it can be copied locally.
    Closed,
    /// To be asked for.
    Queued,
    /// Asked for.
    Asked,
    /// Being written.
    Writing,
    /// Here.
    Done,
}

/// A unit that is being written.
#[derive(Debug)]
struct Writing {
    from: SessionId,
    /// The answer that it came in.
    request: u32,
    bytes: Bytes,
    /// The next place to look at.
    next: u32,
    pending: BTreeSet<u32>,
    failed: bool,
}

/// What came of a report that a place was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Not awaited.
    Ignored,
    /// More places of the unit are to be written.
    Pending(u32),
    /// The unit is through; whose bytes they were, how many, and whether they were good.
    Finished {
        unit: u32,
        from: SessionId,
        request: u32,
        len: u32,
        good: bool,
    },
}

/// The state of all chunks of a file.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) list: Arc<[ChunkRef]>,
    pub(super) pages: Vec<(ContentHash, Bytes)>,
    pub(super) progress: Duration,
    offsets: Vec<u64>,
    unit_of: Vec<u32>,
    next_same: Vec<u32>,
    /// By unit: its first place.
    first: Vec<u32>,
    /// By unit: places that wait for the disk's word.
    open: Vec<u32>,
    state: Vec<State>,
    /// By unit: how many unfinished peers hold it.
    rarity: Vec<u16>,
    /// Queued units by rarity.
    buckets: BTreeMap<u16, BTreeSet<u32>>,
    queued: Bits,
    done: Bits,
    pub(super) done_bytes: u64,
    /// Where searching starts when there are equals.
    start: u32,
    checked: bool,
    next_local: u32,
    local: BTreeSet<u32>,
    writes: BTreeMap<u32, Writing>,
    /// Units that came wrong, and who was told so.
    complained: BTreeSet<(u32, SessionId)>,
    /// Chunks in the order in which they came to be here.
    pub(super) log: Vec<u32>,
}

impl Chunks {
    /// The chunks of a file of which nothing is here; at most `u32::MAX - 1`.
    pub(super) fn new(
        list: Vec<ChunkRef>,
        pages: Vec<(ContentHash, Bytes)>,
        random: u64,
        now: Duration,
    ) -> Self {
        let count = list.len() as u32;
        let mut offset = 0;
        let offsets = list.iter().map(|chunk| {
            let at = offset;
            offset += u64::from(chunk.len);
            at
        });
        let offsets = offsets.collect();
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by_key(|index| (list[*index as usize], *index));
        // The first place of each unit is the lowest one, because the order says so.
        let mut unit_of = vec![END; list.len()];
        let mut next_same = vec![END; list.len()];
        for pair in order.windows(2) {
            if list[pair[0] as usize] == list[pair[1] as usize] {
                next_same[pair[0] as usize] = pair[1];
                unit_of[pair[1] as usize] = 0;
            }
        }
        drop(order);
        let mut first = Vec::new();
        for index in 0..list.len() {
            if unit_of[index] == END {
                unit_of[index] = first.len() as u32;
                first.push(index as u32);
            }
            let next = next_same[index];
            if next != END {
                unit_of[next as usize] = unit_of[index];
            }
        }
        let mut open = vec![0; first.len()];
        for unit in &unit_of {
            open[*unit as usize] += 1;
        }
        let units = first.len() as u32;
        Self {
            list: list.into(),
            pages,
            progress: now,
            offsets,
            unit_of,
            next_same,
            open,
            state: vec![State::Closed; first.len()],
            rarity: vec![0; first.len()],
            buckets: BTreeMap::new(),
            queued: Bits::new(units),
            done: Bits::new(count),
            done_bytes: 0,
            start: (random % u64::from(units.max(1))) as u32,
            checked: false,
            next_local: 0,
            local: BTreeSet::new(),
            writes: BTreeMap::new(),
            complained: BTreeSet::new(),
            log: Vec::new(),
            first,
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.list.len() as u32
    }

    pub(super) fn units(&self) -> u32 {
        self.first.len() as u32
    }

    pub(super) fn unit_at(&self, chunk: u32) -> u32 {
        self.unit_of[chunk as usize]
    }

    /// What a unit consists of.
    pub(super) fn chunk(&self, unit: u32) -> ChunkRef {
        self.list[self.first[unit as usize] as usize]
    }

    pub(super) fn offset(&self, index: u32) -> u64 {
        self.offsets[index as usize]
    }

    pub(super) fn is_complete(&self) -> bool {
        self.done.count() == self.count()
    }

    /// Whether the disk owes an answer.
    pub(super) fn awaits_disk(&self) -> bool {
        !self.checked || !self.local.is_empty() || !self.writes.is_empty()
    }

    /// The bits of a range of chunks, as they are announced.
    pub(super) fn wire(&self, from: u32, to: u32) -> Vec<u8> {
        self.done.to_wire(from, to)
    }

    fn place_done(&mut self, index: u32) {
        if self.done.set(index) {
            self.done_bytes += u64::from(self.list[index as usize].len);
            self.log.push(index);
        }
    }

    /// The disk has said whether this place is good already.
    fn settle(&mut self, index: u32, good: bool) {
        if good {
            self.place_done(index);
        }
        let unit = self.unit_at(index);
        let open = &mut self.open[unit as usize];
        *open -= 1;
        if *open == 0 {
            if self.places(unit).all(|place| self.done.has(place)) {
                self.state[unit as usize] = State::Done;
            } else {
                self.queue(unit);
            }
        }
    }

    fn places(&self, unit: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.first[unit as usize];
        std::iter::successors(Some(first), |at| {
            Some(self.next_same[*at as usize]).filter(|next| *next != END)
        })
    }

    /// Takes the answer about a left-over partial file. False if none was awaited.
    pub(super) fn checked(&mut self, have: &[bool]) -> bool {
        if std::mem::replace(&mut self.checked, true) {
            return false;
        }
        for (index, _) in (0..self.count()).zip(have).filter(|(_, have)| **have) {
            self.settle(index, true);
        }
        true
    }

    /// The next chunks to offer for local copying.
    pub(super) fn local_batch(&mut self) -> Vec<(u32, u64, ChunkRef)> {
        let mut batch = Vec::new();
        if !self.checked || self.local.len() > LOCAL_BATCH {
            return batch;
        }
        while batch.len() < LOCAL_BATCH && self.next_local < self.count() {
            let index = self.next_local;
            self.next_local += 1;
            if !self.done.has(index) {
                self.local.insert(index);
                batch.push((index, self.offset(index), self.list[index as usize]));
            }
        }
        batch
    }

    /// Takes one answer about local copying. False if it wasn't awaited.
    pub(super) fn copied(&mut self, index: u32, good: bool) -> bool {
        let awaited = self.local.remove(&index);
        if awaited {
            self.settle(index, good);
        }
        awaited
    }

    /// Puts a unit among those to be asked for.
    pub(super) fn queue(&mut self, unit: u32) {
        self.state[unit as usize] = State::Queued;
        if self.queued.set(unit) {
            self.buckets
                .entry(self.rarity[unit as usize])
                .or_default()
                .insert(unit);
        }
    }

    fn leave_bucket(&mut self, unit: u32) {
        let rarity = self.rarity[unit as usize];
        if let Some(bucket) = self.buckets.get_mut(&rarity) {
            bucket.remove(&unit);
            if bucket.is_empty() {
                self.buckets.remove(&rarity);
            }
        }
    }

    /// Somebody is asked for a unit.
    pub(super) fn ask(&mut self, unit: u32) {
        if self.queued.clear(unit) {
            self.leave_bucket(unit);
            self.state[unit as usize] = State::Asked;
        }
    }

    /// Nobody is asked for a unit any more.
    pub(super) fn unask(&mut self, unit: u32) {
        if self.state[unit as usize] == State::Asked {
            self.queue(unit);
        }
    }

    /// An unfinished peer came to hold a unit, or ceased to.
    pub(super) fn count_holder(&mut self, unit: u32, more: bool) {
        let queued = self.queued.has(unit);
        if queued {
            self.leave_bucket(unit);
        }
        let rarity = &mut self.rarity[unit as usize];
        *rarity = if more {
            rarity.saturating_add(1)
        } else {
            rarity.saturating_sub(1)
        };
        if queued {
            self.buckets
                .entry(self.rarity[unit as usize])
                .or_default()
                .insert(unit);
        }
    }

    /// The unit to ask a peer for that holds these (`None`: all).
    pub(super) fn pick(&self, held: Option<&Bits>, in_order: bool) -> Option<u32> {
        if in_order {
            return self.queued.first_from(0, held);
        }
        let mut looks = 0;
        for bucket in self.buckets.values() {
            for unit in bucket.range(self.start..).chain(bucket.range(..self.start)) {
                if held.is_none_or(|held| held.has(*unit)) {
                    return Some(*unit);
                }
                looks += 1;
                if looks == LOOKS {
                    let late = self.queued.first_from(self.start, held);
                    return late.or_else(|| self.queued.first_from(0, held));
                }
            }
        }
        None
    }

    /// Takes the bytes of a unit, whose length has been checked: the places to write them to.
    /// `None` if the unit wasn't awaited.
    pub(super) fn write(
        &mut self,
        unit: u32,
        from: SessionId,
        request: u32,
        bytes: Bytes,
    ) -> Option<Vec<u32>> {
        if self.state[unit as usize] != State::Asked {
            return None;
        }
        self.state[unit as usize] = State::Writing;
        let next = self.first[unit as usize];
        let writing = Writing {
            from,
            request,
            bytes,
            next,
            pending: BTreeSet::new(),
            failed: false,
        };
        self.writes.insert(unit, writing);
        Some(self.more_writes(unit))
    }

    /// The next places of a unit that is being written.
    pub(super) fn more_writes(&mut self, unit: u32) -> Vec<u32> {
        let mut places = Vec::new();
        if let Some(writing) = self.writes.get_mut(&unit).filter(|writing| !writing.failed) {
            while writing.next != END && writing.pending.len() < WRITES {
                if !self.done.has(writing.next) {
                    writing.pending.insert(writing.next);
                    places.push(writing.next);
                }
                writing.next = self.next_same[writing.next as usize];
            }
        }
        places
    }

    /// The bytes of a unit that is being written.
    pub(super) fn bytes_of(&self, unit: u32) -> Option<Bytes> {
        self.writes.get(&unit).map(|writing| writing.bytes.clone())
    }

    /// Who sent the units that are being written, and how long they are.
    pub(super) fn writers(&self) -> impl Iterator<Item = (SessionId, u64)> + '_ {
        self.writes
            .values()
            .map(|writing| (writing.from, writing.bytes.len() as u64))
    }

    /// A unit came wrong from a peer; whether that is the first time, so that it may be told and asked once more.
    pub(super) fn complain(&mut self, unit: u32, from: SessionId) -> bool {
        self.complained.insert((unit, from))
    }

    /// Takes the disk's word about a place.
    pub(super) fn written(&mut self, index: u32, good: bool) -> Written {
        if index >= self.count() {
            return Written::Ignored;
        }
        let unit = self.unit_at(index);
        let Some(writing) = self.writes.get_mut(&unit) else {
            return Written::Ignored;
        };
        if !writing.pending.remove(&index) {
            return Written::Ignored;
        }
        writing.failed |= !good;
        let through = writing.pending.is_empty() && (writing.failed || writing.next == END);
        if good {
            self.place_done(index);
        }
        if !through {
            return Written::Pending(unit);
        }
        let Some(writing) = self.writes.remove(&unit) else {
            return Written::Ignored;
        };
        if writing.failed {
            self.queue(unit);
        } else {
            self.state[unit as usize] = State::Done;
        }
        let len = writing.bytes.len() as u32;
        Written::Finished {
            unit,
            from: writing.from,
            request: writing.request,
            len,
            good: !writing.failed,
        }
    }
}
