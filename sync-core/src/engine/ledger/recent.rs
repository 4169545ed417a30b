//! Entries that were read or committed lately, as the index has them.
//!
//! A path that is worked on is looked up again and again: when its record comes, when it is planned, when its content
//! is here, when it stands, when peers are told. The ledger alone changes entries, so what it remembers of them is
//! what the index has. It must never hold what isn't committed.

#![expect(
    clippy::disallowed_types,
    reason = "nothing depends on the order, and lookups by path are many"
)]

use std::collections::HashMap;

use crate::{index::IndexEntry, path::RelPath};

/// Entries in a generation. There are two, so twice as many are remembered at most.
const GENERATION: usize = 4_096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: HashMap<RelPath, Option<IndexEntry>>,
    old: HashMap<RelPath, Option<IndexEntry>>,
}

impl Recent {
    /// What the index has of a path, if that is remembered.
    pub(super) fn get(&mut self, path: &RelPath) -> Option<Option<IndexEntry>> {
        if let Some(entry) = self.young.get(path) {
            return Some(entry.clone());
        }
        let (path, entry) = self.old.remove_entry(path)?;
        self.put(path, entry.clone());
        Some(entry)
    }

    /// This is what the index has of a path now.
    pub(super) fn put(&mut self, path: RelPath, entry: Option<IndexEntry>) {
        self.old.remove(&path);
        if self.young.len() >= GENERATION && !self.young.contains_key(&path) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(path, entry);
    }

    /// Nothing that was remembered is sure, or of use, any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: usize) -> RelPath {
        RelPath::parse(format!("f{n}").as_bytes()).unwrap()
    }

    fn entry(seq: u64) -> Option<IndexEntry> {
        Some(IndexEntry {
            seq,
            ..IndexEntry::default()
        })
    }

    #[test]
    fn the_last_word_counts_and_memory_is_bounded() {
        let mut recent = Recent::default();
        assert_eq!(recent.get(&path(1)), None);
        recent.put(path(1), entry(1));
        recent.put(path(1), entry(2));
        recent.put(path(2), None);
        assert_eq!(recent.get(&path(1)), Some(entry(2)));
        assert_eq!(recent.get(&path(2)), Some(None));
        for n in 10..10 * GENERATION {
            recent.put(path(n), entry(n as u64));
            // What is used stays.
            assert_eq!(recent.get(&path(1)), Some(entry(2)));
        }
        assert_eq!(recent.get(&path(10)), None);
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        recent.put(path(1), None);
        assert_eq!(recent.get(&path(1)), Some(None));
        recent.forget();
        assert_eq!(recent.get(&path(1)), None);
    }

    #[test]
    fn what_was_old_is_not_remembered_beside_what_is_new() {
        let mut recent = Recent::default();
        recent.put(path(1), entry(1));
        for n in 10..11 + GENERATION {
            recent.put(path(n), None);
        }
        assert!(recent.old.contains_key(&path(1)));
        recent.put(path(1), entry(2));
        assert!(!recent.old.contains_key(&path(1)));
        assert_eq!(recent.get(&path(1)), Some(entry(2)));
    }
}
