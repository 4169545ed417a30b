//! What a batch of entries means for everything that is found by something else than the path.
//!
//! It owns nothing: it compares each entry with the one before, and gathers the changes of the lists.

use std::collections::BTreeMap;

use sync_core::{
    chunk::ChunkParams,
    index::{IndexEntry, Totals},
    manifest::ContentRoot,
};

use super::{manifests::short, need_code};

/// The changes of all lists that a batch makes.
pub(super) struct Edits {
    pub(super) totals: Totals,
    pub(super) changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) needs: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(super) contents: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) arrived: Vec<ContentRoot>,
    pub(super) stale: u64,
    /// About how many places of chunks lie in contents that a path lost.
    pub(super) dead_chunks: u64,
}

impl Edits {
    pub(super) fn new(totals: Totals) -> Self {
        Self {
            totals,
            changes: BTreeMap::new(),
            needs: BTreeMap::new(),
            contents: BTreeMap::new(),
            arrived: Vec::new(),
            stale: 0,
            dead_chunks: 0,
        }
    }

    pub(super) fn take(&mut self, path: &[u8], old: Option<&IndexEntry>, new: Option<&IndexEntry>) {
        self.totals.apply(old, new);

        let seq = |entry: Option<&IndexEntry>| entry.map_or(0, |e| e.seq);
        if seq(old) != seq(new) {
            if seq(old) > 0 {
                // Another path may have taken the number over in the same batch.
                self.changes
                    .entry(seq(old).to_be_bytes().to_vec())
                    .or_insert(None);
            }
            if seq(new) > 0 {
                self.changes
                    .insert(seq(new).to_be_bytes().to_vec(), Some(path.to_vec()));
            }
        }

        let (old_need, new_need) = (
            old.and_then(IndexEntry::need),
            new.and_then(IndexEntry::need),
        );
        if old_need != new_need {
            let key = |need| [&[need_code(need)], path].concat();
            self.needs.extend(old_need.map(|need| (key(need), None)));
            self.needs
                .extend(new_need.map(|need| (key(need), Some(Vec::new()))));
        }

        let size = old.and_then(|e| e.stat).map_or(0, |stat| stat.size);
        let (old, new) = (old.and_then(|e| e.content), new.and_then(|e| e.content));
        if old != new {
            self.stale += u64::from(old.is_some());
            if old.is_some_and(|content| content.height > 0) {
                let longest = ChunkParams::for_size(size, 0).max();
                self.dead_chunks += 4 * size / u64::from(longest) + 1;
            }
            if let Some(content) = new {
                self.contents
                    .insert([&short(&content.hash)[..], path].concat(), Vec::new());
                self.arrived.push(content);
            }
        }
    }
}
