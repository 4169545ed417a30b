//! The end of a scan: what seemed to be missing is looked for again, and told.

use sync_core::{
    disk::{DiskKind, Found},
    index::{Index, IndexEntry},
    path::RelPath,
};

use super::{BATCH_ITEMS, ScanError, ScanSummary, cursor::Cursor, pool::Looked, run::Run};
use crate::fs::{Disk, Place};

impl<D: Disk, I: Index + Clone> Run<'_, D, I> {
    /// Waits for all files, then looks again for what was missing.
    pub(super) fn finish(mut self) -> Result<ScanSummary, ScanError> {
        while let Some(looked) = self.pool.wait() {
            self.looked(looked);
            self.check_cancel()?;
        }
        self.flush();
        let ranges = std::mem::take(&mut self.gone).into_ranges();
        self.unknown.sort();
        for (first, last) in ranges {
            if let Some(entry) = self.scanner.index.entry(&first)? {
                self.look_again(&first, &entry);
            }
            let mut cursor = Cursor::after(&self.scanner.index, first);
            while let Some((path, entry)) = cursor.next()? {
                if path > last {
                    break;
                }
                self.look_again(&path, &entry);
                if self.batch.len() >= BATCH_ITEMS - 1 {
                    self.flush_gone()?;
                }
            }
        }
        // What turned up again was given to the workers.
        while let Some(looked) = self.pool.wait() {
            if let Looked::Item(item) = looked {
                self.push(item);
            }
        }
        self.flush_gone()?;
        Ok(self.summary)
    }

    /// Tells a batch with missing paths, if the root itself is still there.
    fn flush_gone(&mut self) -> Result<(), ScanError> {
        if self.batch.iter().any(|item| item.found == Found::Absent) {
            self.check_root()?;
        }
        self.check_cancel()?;
        self.flush();
        Ok(())
    }

    fn look_again(&mut self, path: &RelPath, entry: &IndexEntry) {
        let Some(known) = entry.stat else { return };
        if self.is_unknown(path) || self.is_ignored_anywhere(path, known.kind) {
            return;
        }
        match self.disk().stat(Place::User(path)) {
            Ok(None) => self.add(path.clone(), Found::Absent),
            Ok(Some(stat)) => self.see(path, Some(entry), &stat),
            // Unknown, not missing.
            Err(_) => {}
        }
    }

    /// Whether a path is, or lies below, something that nothing is known about.
    fn is_unknown(&self, path: &RelPath) -> bool {
        std::iter::once(path.clone())
            .chain(path.ancestors())
            .any(|at| self.unknown.binary_search(&at).is_ok())
    }

    /// Whether a path or a directory above it is ignored.
    fn is_ignored_anywhere(&self, path: &RelPath, kind: DiskKind) -> bool {
        if self.scanner.options.ignored.is_none() {
            return false;
        }
        let mut above: Vec<RelPath> = path.ancestors().collect();
        above.reverse();
        above.iter().any(|dir| self.is_ignored(dir, DiskKind::Dir)) || self.is_ignored(path, kind)
    }
}
