//! Counts over a whole index, kept up to date with each change of an entry.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::{IndexEntry, Need, flag};
use crate::{disk::DiskKind, entry::Kind};

/// Files, directories and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
pub struct Count {
    /// Regular files.
    #[n(0)]
    pub files: u64,
    /// Directories.
    #[n(1)]
    pub dirs: u64,
    /// Bytes of regular files.
    #[n(2)]
    pub bytes: u64,
}

/// What is wanted and not here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
pub struct NeedCount {
    /// Files, symlinks and directories.
    #[n(0)]
    pub files: u64,
    /// Bytes of files.
    #[n(1)]
    pub bytes: u64,
    /// Deletions to carry out.
    #[n(2)]
    pub deletes: u64,
}

/// Counts over an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
pub struct Totals {
    /// What is on this disk.
    #[n(0)]
    pub local: Count,
    /// What exists, here or elsewhere.
    #[n(1)]
    pub global: Count,
    /// What is missing here.
    #[n(2)]
    pub need: NeedCount,
    /// Local states that a read-only secret can't publish.
    #[n(3)]
    pub local_edits: u64,
    /// Files gone whose deletion is held back.
    #[n(4)]
    pub held_back: u64,
    /// Conflict copies on this disk.
    #[n(5)]
    pub conflicts: u64,
}

impl Totals {
    /// Takes one entry's change in: `old` leaves, `new` comes.
    pub fn apply(&mut self, old: Option<&IndexEntry>, new: Option<&IndexEntry>) {
        if let Some(old) = old {
            self.count(old, |n, by| *n = n.saturating_sub(by));
        }
        if let Some(new) = new {
            self.count(new, |n, by| *n = n.saturating_add(by));
        }
    }

    fn count(&mut self, entry: &IndexEntry, add: impl Fn(&mut u64, u64)) {
        match entry.stat.map(|s| (s.kind, s.size)) {
            Some((DiskKind::File, size)) => {
                add(&mut self.local.files, 1);
                add(&mut self.local.bytes, size);
            }
            Some((DiskKind::Dir, _)) => add(&mut self.local.dirs, 1),
            _ => {}
        }
        match entry.announced().and_then(|raw| raw.kind()) {
            Some(Kind::File) => {
                let size = match &entry.want {
                    Some(want) => want.bytes,
                    None => entry.stat.map_or(0, |s| s.size),
                };
                add(&mut self.global.files, 1);
                add(&mut self.global.bytes, size);
            }
            Some(Kind::Dir) => add(&mut self.global.dirs, 1),
            _ => {}
        }
        match entry.need() {
            Some(Need::Removal) => add(&mut self.need.deletes, 1),
            Some(_) => {
                add(&mut self.need.files, 1);
                add(
                    &mut self.need.bytes,
                    entry.want.as_ref().map_or(0, |w| w.bytes),
                );
            }
            None => {}
        }
        add(
            &mut self.local_edits,
            u64::from(entry.flags & flag::LOCAL_EDIT != 0),
        );
        add(
            &mut self.held_back,
            u64::from(entry.flags & flag::HELD_BACK != 0),
        );
    }
}
