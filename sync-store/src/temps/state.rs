//! What is open and known of the temporaries.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use sync_core::{chunk::ContentHash, manifest::ContentRoot};

use super::PartialPlace;

/// After so many bytes the system is asked to begin to write them to the disk: else all of a large file would wait
/// for the sync at its end.
const WRITE_BACK: u64 = 16 << 20;
/// Files kept open.
pub(super) const MAX_OPEN: usize = 64;
/// Chunks of unfinished files that can be found by hash; more are written but not served.
const MAX_MAPPED: usize = 1 << 18;

pub(super) struct State<F> {
    pub(super) open: HashMap<ContentRoot, Open<F>>,
    pub(super) tick: u64,
    /// Bytes that may be written before free space is looked at again.
    pub(super) budget: u64,
    pub(super) chunks: HashMap<ContentHash, PartialPlace>,
    pub(super) hashes: HashMap<ContentRoot, Vec<ContentHash>>,
}

pub(super) struct Open<F> {
    pub(super) slot: Arc<Slot<F>>,
    pub(super) used: u64,
}

/// An open temporary. Writers hold `gone` for reading, so that whoever takes the file away waits for them
/// and no late write can reach a file that is the user's by then.
pub(super) struct Slot<F> {
    pub(super) file: F,
    pub(super) gone: RwLock<bool>,
    fresh: Mutex<Fresh>,
}

/// What was written and isn't on its way to the disk yet.
#[derive(Debug, Default)]
struct Fresh {
    from: u64,
    to: u64,
    bytes: u64,
}

impl<F> Slot<F> {
    /// Notes what was written. If that is much by now: the range to be written to the disk, as offset and length.
    pub(super) fn wrote(&self, offset: u64, len: u64) -> Option<(u64, u64)> {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.saturating_add(len);
        if fresh.bytes == 0 {
            (fresh.from, fresh.to) = (offset, end);
        }
        fresh.from = fresh.from.min(offset);
        fresh.to = fresh.to.max(end);
        fresh.bytes += len;
        if fresh.bytes < WRITE_BACK {
            return None;
        }
        let Fresh { from, to, .. } = std::mem::take(&mut *fresh);
        Some((from, to - from))
    }
}

impl<F> Default for State<F> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            tick: 0,
            budget: 0,
            chunks: HashMap::new(),
            hashes: HashMap::new(),
        }
    }
}

impl<F> State<F> {
    pub(super) fn slot(&mut self, content: &ContentRoot) -> Option<Arc<Slot<F>>> {
        self.tick += 1;
        let open = self.open.get_mut(content)?;
        open.used = self.tick;
        Some(Arc::clone(&open.slot))
    }

    pub(super) fn insert(&mut self, content: &ContentRoot, file: F) -> Arc<Slot<F>> {
        // A file that is being written stays: its writer's handle could not be waited for.
        while self.open.len() >= MAX_OPEN {
            let idle = self
                .open
                .iter()
                .filter(|(_, o)| Arc::strong_count(&o.slot) == 1);
            let Some(oldest) = idle.min_by_key(|(_, o)| o.used).map(|(c, _)| *c) else {
                break;
            };
            self.open.remove(&oldest);
        }
        self.tick += 1;
        let slot = Arc::new(Slot {
            file,
            gone: RwLock::new(false),
            fresh: Mutex::default(),
        });
        self.open.insert(
            *content,
            Open {
                slot: Arc::clone(&slot),
                used: self.tick,
            },
        );
        slot
    }

    /// Forgets a content, after all writes to it have ended.
    pub(super) fn close(&mut self, content: &ContentRoot) {
        if let Some(open) = self.open.remove(content) {
            *open
                .slot
                .gone
                .write()
                .unwrap_or_else(PoisonError::into_inner) = true;
        }
        for hash in self.hashes.remove(content).unwrap_or_default() {
            if self
                .chunks
                .get(&hash)
                .is_some_and(|p| p.content == *content)
            {
                self.chunks.remove(&hash);
            }
        }
    }

    pub(super) fn remember(
        &mut self,
        content: &ContentRoot,
        offset: u64,
        hash: &ContentHash,
        len: u32,
    ) {
        if self.chunks.len() >= MAX_MAPPED {
            return;
        }
        let place = PartialPlace {
            content: *content,
            offset,
            len,
        };
        if self
            .chunks
            .insert(*hash, place)
            .is_none_or(|old| old.content != *content)
        {
            self.hashes.entry(*content).or_default().push(*hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_goes_to_the_disk_a_good_part_at_a_time() {
        let mut state = State::default();
        let content = ContentRoot::single(ContentHash::chunk(b"x"));
        let slot = state.insert(&content, ());
        let mib = 1 << 20;
        for n in (100..115).rev() {
            assert_eq!(slot.wrote(n * mib, mib), None);
        }
        assert_eq!(slot.wrote(120 * mib, mib), Some((100 * mib, 21 * mib)));
        assert_eq!(slot.wrote(0, 40 * mib), Some((0, 40 * mib)));
    }
}
