//! Looking at the disk: what a stat says against what the index remembers.

use crate::{
    disk::{DiskKind, DiskStat},
    index::{IndexEntry, flag},
};

/// What a first look at a path calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// The disk shows what the index remembers; nothing to do.
    Same,
    /// It must be looked at closely: read, hashed, compared.
    Look,
    /// The index remembers something there and the disk has nothing.
    Gone,
}

/// Compares the stat that the index remembers with the one on disk (`None`: nothing there).
///
/// Size, mtime, mode, kind, inode and ctime all count: a false alarm costs one hashing, a missed
/// change costs the user's edit. Change times say more than modification times, which programs set at will.
/// A directory is its kind and mode only.
pub fn observe(entry: Option<&IndexEntry>, disk: Option<&DiskStat>) -> Observation {
    let known = entry.and_then(|e| e.stat.as_ref());
    match (known, disk) {
        (None, None) => Observation::Same,
        (Some(_), None) => Observation::Gone,
        (None, Some(_)) => Observation::Look,
        (Some(known), Some(disk)) => {
            let racy = entry.is_some_and(|e| e.flags & flag::RACY != 0);
            if !racy && same_stat(known, disk) {
                Observation::Same
            } else {
                Observation::Look
            }
        }
    }
}

/// Whether two stats describe the same state of the same thing.
pub fn same_stat(a: &DiskStat, b: &DiskStat) -> bool {
    match (a.kind, b.kind) {
        (DiskKind::Dir, DiskKind::Dir) => a.mode == b.mode,
        (x, y) => {
            x == y
                && a.size == b.size
                && a.mtime_ns == b.mtime_ns
                && a.mode == b.mode
                && a.ino == b.ino
                && a.ctime_ns == b.ctime_ns
        }
    }
}

/// Whether `b` is what an action that expects `a` may touch: as [`same_stat`], and a stat without a change time
/// tells too little. An edit may keep size and modification time; it never keeps the change time.
pub fn untouched(a: &DiskStat, b: &DiskStat) -> bool {
    (a.kind == DiskKind::Dir || a.ctime_ns != 0) && same_stat(a, b)
}

/// Whether `b` is `a` after we moved it: as [`same_stat`], but the change time is left out, because renaming
/// moves it without touching content.
pub fn replaceable(a: &DiskStat, b: &DiskStat) -> bool {
    same_stat(
        &DiskStat { ctime_ns: 0, ..*a },
        &DiskStat { ctime_ns: 0, ..*b },
    )
}

/// Age below which a modification time can't be trusted to change with the next write, in
/// nanoseconds: FAT keeps two seconds.
pub const RACY_NS: i64 = 2_000_000_000;
