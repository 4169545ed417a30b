//! Whether a directory is the one it was, when it lies on another device than before.

use sync_core::{
    disk::{DiskKind, DiskStat},
    index::Index,
    path::RelPath,
};

use super::{ScanError, cursor::Cursor, run::Run};
use crate::fs::{Disk, Place};

/// What people are told about one that isn't.
pub(super) const OTHER_DEVICE: &str = "it lies on another device than before and files are missing in it: mount the disk that belongs \
     there; or remove the directory, to delete it everywhere; or take everything as it is with \
     `syncctl folder adopt`";
/// Children of a directory that are asked.
const WITNESSES: u32 = 64;

impl<D: Disk, I: Index + Clone> Run<'_, D, I> {
    /// Whether a directory is on the device it was on, as far as can be told.
    ///
    /// Device numbers may change when a machine starts anew. So a directory is trusted if it lies on its
    /// parent's device as it did before, or if it shows what the index has in it: a mount point without its
    /// disk doesn't, even if somebody wrote into it meanwhile.
    pub(super) fn device_fits(
        &self,
        path: &RelPath,
        stat: &DiskStat,
        known: Option<DiskStat>,
        parent_dev: u64,
        parent_known: Option<u64>,
    ) -> Result<bool, ScanError> {
        let Some(known) = known else { return Ok(true) };
        if known.dev == stat.dev || (stat.dev == parent_dev && parent_known == Some(known.dev)) {
            return Ok(true);
        }
        let (mut seen, mut there, mut gone) = (0, 0, 0);
        let mut cursor = Cursor::new(&self.scanner.index, Some(path.clone()));
        while seen < WITNESSES
            && let Some((child, entry)) = cursor.next()?
        {
            let Some(known) = entry.stat else { continue };
            cursor.skip_below(&child)?;
            seen += 1;
            match self.disk().stat(Place::User(&child)) {
                Ok(Some(now)) if is_same(&known, &now) => there += 1,
                // Edited meanwhile, or another file of that name: it proves nothing.
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => gone += 1,
            }
        }
        Ok(there >= gone)
    }
}

/// Whether a child is what it was, as far as can be told without reading it. Only the number of its device, and
/// perhaps its inode, may be others.
fn is_same(known: &DiskStat, now: &DiskStat) -> bool {
    let times = (now.size, now.mtime_ns) == (known.size, known.mtime_ns);
    now.kind == known.kind && (now.kind != DiskKind::File || times)
}
