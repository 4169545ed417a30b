//! What is open and known of the temporaries.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use sync_core::{chunk::ContentHash, manifest::ContentRoot};

use super::PartialPlace;

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
