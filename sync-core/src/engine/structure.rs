//! What the tree's shape demands: a file needs its directory, and a directory with something living in it
//! stays a directory, whatever a record says.

use super::{
    Engine,
    ledger::{WantSpec, live_dir},
};
use crate::{
    disk::DiskKind,
    entry::{Kind, MODE_MASK},
    index::{Index, IndexEntry, IndexResult, Need, flag},
    path::RelPath,
    version::{Dot, Vector},
};

/// So often is looked whether more became known, in about a minute, before a directory is kept for what is in it.
const PATIENCE: u32 = 6;

impl<I: Index> Engine<I> {
    /// Whether the directory that `path` lies in is there, or will be before `path` is worked on. If it is
    /// recorded as something else, it is brought back to life: what lives in it needs it.
    pub(super) fn parent_ready(&mut self, path: &RelPath) -> IndexResult<bool> {
        let Some(parent) = path.parent() else {
            return Ok(true);
        };
        if self.planner.makes_dir(&parent) {
            return Ok(true);
        }
        let entry = self.ledger.entry(&parent)?;
        let on_disk = entry
            .as_ref()
            .and_then(|e| e.stat)
            .is_some_and(|s| s.kind == DiskKind::Dir);
        let going = entry
            .as_ref()
            .is_some_and(|e| e.announced().is_some_and(|r| r.kind() != Some(Kind::Dir)));
        if on_disk && !going {
            return Ok(!self.planner.is_stale(&parent));
        }
        if entry.as_ref().is_some_and(|e| e.need() == Some(Need::Dir)) {
            self.planner.walk_again();
            return Ok(false);
        }
        // Its own record may still be on the way; only a second look brings it back to life.
        if self.notes.tries(path) < 2 {
            self.stick(path, "waits for its directory".into());
            return Ok(false);
        }
        self.raise_dir(&parent, entry)?;
        Ok(false)
    }

    /// Makes `path` a directory again, over whatever it is recorded as.
    fn raise_dir(&mut self, path: &RelPath, entry: Option<IndexEntry>) -> IndexResult<()> {
        if !self.ledger.can_sign() {
            self.stick(
                path,
                "waits for its directory, which a read-write member must bring back".into(),
            );
            return Ok(());
        }
        let (past, mode) = self.past_of_dir(entry.as_ref())?;
        self.drop_work(path);
        let mut into = entry.unwrap_or_default();
        // A file that stood here knows nothing of the directory.
        into.flags |= flag::CONTESTED;
        if let Some(stat) = into.stat.filter(|s| s.kind == DiskKind::Dir) {
            self.author(
                live_dir(path.clone(), stat.mode & MODE_MASK, self.ledger.replica()),
                &past,
                into,
            );
        } else {
            let spec = WantSpec {
                need: Need::Dir,
                bytes: 0,
                holders: Vec::new(),
            };
            self.author_wanted(
                live_dir(path.clone(), mode, self.ledger.replica()),
                &past,
                into,
                spec,
            );
        }
        self.planner.walk_again();
        Ok(())
    }

    /// A directory stands where a file is wanted, which the change `dot` made. It gives way when nothing lives in it;
    /// else it stays, and whoever holds the file keeps it as a conflict copy. What was done to the directory before
    /// the file was made may come later than the file: a peer tells of a change when it has carried it out.
    pub(super) fn dir_must_stay(
        &mut self,
        path: &RelPath,
        entry: &IndexEntry,
        dot: Dot,
    ) -> IndexResult<bool> {
        let told = self.ledger.knowledge().covers(dot);
        let mut after: Option<RelPath> = None;
        let mut waits = false;
        loop {
            let page = self
                .ledger
                .index()
                .entries_below(path, after.as_ref(), 256)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, below) in page {
                if below
                    .announced()
                    .is_some_and(|raw| raw.kind().is_some_and(Kind::is_live))
                {
                    // Those who can't write don't say what they know, so there is an end to waiting.
                    let patient = self.notes.tries(path) < PATIENCE
                        || self.peers.streams().is_empty()
                        || self.peers.is_exchanging();
                    match !told && patient {
                        true => self.stick(path, "waits for what was in this directory".into()),
                        false => self.raise_dir(path, Some(entry.clone()))?,
                    }
                    return Ok(true);
                }
                waits |= below.stat.is_some();
            }
        }
        if waits {
            self.planner.walk_again();
        }
        Ok(waits)
    }

    /// What a directory of ours builds on at this path, and the mode it had. Files and links are left out:
    /// they don't know of the directory, so whoever holds one keeps it as a conflict copy.
    pub(super) fn past_of_dir(&self, entry: Option<&IndexEntry>) -> IndexResult<(Vector, u32)> {
        let (mut past, mut mode) = (Vector::new(), 0o755);
        let known = [self.ledger.open_held(entry)?, self.ledger.open_want(entry)?];
        for record in known.into_iter().flatten() {
            match record.entry.kind {
                Kind::File | Kind::Symlink => continue,
                Kind::Dir => mode = record.entry.mode,
                _ => {}
            }
            past.merge(&record.version.vector);
        }
        Ok((past, mode))
    }
}
