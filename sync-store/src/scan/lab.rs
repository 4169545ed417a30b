//! A simulated disk, an index, and a reconciler just good enough to test scans.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use sync_core::{
    disk::{Found, ScanItem},
    index::{Batch, Index, MemIndex, flag},
    manifest::manifest_of,
    path::{PathError, RelPath},
};

use super::*;
use crate::fs::MemDisk;

pub(super) const SEED: u64 = 5;

pub(super) struct Lab {
    pub(super) disk: MemDisk,
    pub(super) index: MemIndex,
    pub(super) options: ScanOptions,
}

/// What a scan told, flat.
#[derive(Default)]
pub(super) struct Told {
    pub(super) items: Vec<ScanItem>,
    pub(super) skipped: Vec<(Vec<u8>, PathError)>,
}

impl Told {
    pub(super) fn paths(&self) -> Vec<String> {
        self.items.iter().map(|item| item.path.display()).collect()
    }

    pub(super) fn found(&self, path: &str) -> &Found {
        let item = self
            .items
            .iter()
            .find(|item| item.path.as_bytes() == path.as_bytes());
        &item
            .unwrap_or_else(|| panic!("nothing was told of {path}"))
            .found
    }
}

impl Lab {
    pub(super) fn new() -> Self {
        let disk = MemDisk::new();
        let options = ScanOptions::inline(SEED);
        Self {
            disk,
            index: MemIndex::new(),
            options,
        }
    }

    pub(super) fn scanner(&self) -> Scanner<MemDisk, MemIndex> {
        Scanner::new(
            Arc::new(self.disk.clone()),
            self.index.clone(),
            self.options.clone(),
        )
    }

    pub(super) fn look(&self, paths: Option<&[RelPath]>) -> Result<(Told, ScanSummary), ScanError> {
        let mut told = Told::default();
        let mut sink = |event| match event {
            ScanEvent::Items(items) => {
                assert!(!items.is_empty() && items.len() <= BATCH_ITEMS);
                told.items.extend(items);
            }
            ScanEvent::Skipped { path, reason } => told.skipped.push((path, reason)),
        };
        let cancel = AtomicBool::new(false);
        let summary = match paths {
            Some(paths) => self.scanner().scan_paths(paths, &mut sink, &cancel)?,
            None => self.scanner().scan_all(&mut sink, &cancel)?,
        };
        Ok((told, summary))
    }

    /// Scans without changing the index.
    pub(super) fn peek(&self) -> Told {
        self.look(None).unwrap().0
    }

    /// Scans, and takes what was told into the index as an engine would, long after the last write.
    pub(super) fn scan(&mut self) -> Told {
        self.disk.advance_clock_ns(10_000_000_000);
        let told = self.peek();
        self.take(&told);
        told
    }

    pub(super) fn scan_paths(&mut self, paths: &[&str]) -> Told {
        self.disk.advance_clock_ns(10_000_000_000);
        let paths: Vec<RelPath> = paths.iter().map(|p| path(p)).collect();
        let told = self.look(Some(&paths)).unwrap().0;
        self.take(&told);
        told
    }

    pub(super) fn take(&mut self, told: &Told) {
        let mut batch = Batch::default();
        for item in &told.items {
            let mut entry = self.index.entry(&item.path).unwrap().unwrap_or_default();
            (entry.content, entry.flags) = (None, 0);
            entry.stat = match &item.found {
                Found::File {
                    stat,
                    content,
                    racy,
                } => {
                    entry.content = Some(*content);
                    entry.flags = if *racy { flag::RACY } else { 0 };
                    Some(*stat)
                }
                Found::Dir { stat } | Found::Symlink { stat, .. } => Some(*stat),
                Found::Absent | Found::Special => None,
                Found::Unreadable { .. } | Found::Busy => continue,
            };
            batch.entries.push((item.path.clone(), Some(entry)));
        }
        self.index.commit(batch).unwrap();
    }

    /// The index holds exactly what stands on the disk.
    pub(super) fn check(&self) {
        let mut want = BTreeMap::new();
        for (bytes, node) in self.disk.snapshot() {
            let Ok(path) = RelPath::parse(&bytes) else {
                continue;
            };
            match node.kind {
                crate::fs::NodeKind::File => {
                    want.insert(path, Some(manifest_of(&node.bytes, SEED).unwrap().root));
                }
                crate::fs::NodeKind::Special => {}
                _ => drop(want.insert(path, None)),
            }
        }
        let entries = self.index.entries_after(None, usize::MAX).unwrap();
        let have: BTreeMap<RelPath, _> = entries
            .into_iter()
            .filter(|(_, entry)| entry.stat.is_some())
            .map(|(path, entry)| (path, entry.content))
            .collect();
        assert_eq!(have, want);
    }
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}
