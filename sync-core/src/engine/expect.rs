//! What an action says of the disk: what should stand at its path, and what becomes of it.

use super::{Engine, ledger::live_dir};
use crate::{
    chunk::ContentHash,
    conflict::copy_path,
    disk::{DiskKind, DiskStat, Displaced, Expect, Meta},
    entry::{Entry, Kind, MODE_MASK},
    ids::ReplicaId,
    index::{Index, IndexEntry, IndexResult},
    manifest::ContentRoot,
    path::RelPath,
    reconcile::{Displacement, displacement},
    record::Record,
};

impl<I: Index> Engine<I> {
    /// What the disk should show at the path, and what becomes of it.
    pub(super) fn expectation(
        &mut self,
        entry: &IndexEntry,
        next: &Record,
    ) -> IndexResult<(Expect, Displaced)> {
        let Some(stat) = entry.stat else {
            return Ok((Expect::Absent, Displaced::Archive));
        };
        let held = self.ledger.open_held(Some(entry))?;
        let found = found_state(next.path(), entry, &stat, held.as_ref());
        let how = displacement(held.as_ref(), &found, next);
        // A directory that we brought back to life ourselves never knew of the file in its place, even
        // where both have dots of one replica, which look ordered.
        let revived =
            next.entry.kind == Kind::Dir && next.version.dot.replica == self.ledger.replica();
        let placed = self.planner.placed();
        let rival = placed.rival(next.path(), found.content);
        let how = match placed.has(next.path(), found.content) {
            _ if revived || rival.is_some() => Displacement::Sibling,
            true => Displacement::Ancestor,
            false => how,
        };
        let displaced = match how {
            Displacement::Sibling if matches!(found.kind, Kind::File | Kind::Symlink) => {
                let held = held.as_ref().filter(|h| h.entry.same_content(&found));
                let author = held.map(|h| h.entry.author).or(rival);
                let author = author.unwrap_or(self.ledger.replica());
                // A symlink has no content and no time of its own, but its text is the user's as well.
                let hash = match (&found.content, &found.target) {
                    (Some(content), _) => content.hash,
                    (None, Some(target)) => ContentHash::chunk(target),
                    (None, None) => ContentRoot::empty().hash,
                };
                Displaced::Copy(copy_path(next.path(), author, found.mtime_ns, &hash))
            }
            _ => Displaced::Archive,
        };
        Ok((Expect::Stat(stat), displaced))
    }
}

/// What the disk shows, as an entry to compare with.
fn found_state(
    path: &RelPath,
    entry: &IndexEntry,
    stat: &DiskStat,
    held: Option<&Record>,
) -> Entry {
    let author = held.map_or(ReplicaId(0), |h| h.entry.author);
    let base = live_dir(path.clone(), stat.mode & MODE_MASK, author);
    match stat.kind {
        DiskKind::File => Entry {
            kind: Kind::File,
            size: stat.size,
            mtime_ns: stat.mtime_ns,
            content: entry.content,
            ..base
        },
        DiskKind::Symlink => Entry {
            kind: Kind::Symlink,
            mode: 0,
            target: held.and_then(|h| h.entry.target.clone()),
            ..base
        },
        DiskKind::Dir | DiskKind::Special => base,
    }
}

/// Time and mode that a record asks for.
pub(super) fn meta_of(record: &Record) -> Meta {
    Meta {
        mtime_ns: record.entry.mtime_ns,
        mode: record.entry.mode,
    }
}
