//! Carrying out what the core decided, without losing a byte on the way.
//!
//! A *group* of actions is carried out in four steps, each durable before the next begins:
//!
//! 1. **Stage.** New files are written to `.sync/tmp`, verified, and given their time and mode. A note says
//!    which of them will be swapped with which path; it is written when they are durable, and made durable
//!    too.
//! 2. **Place.** In the order of the group: nothing there, then a rename that never replaces; something
//!    there, then an atomic exchange, so that whatever stood at the path lies in `.sync/tmp` afterwards.
//! 3. **Look at what was displaced.** If it is what was expected it goes into the archive, or becomes the
//!    conflict copy that was asked for. If it was edited meanwhile it becomes a conflict copy, whatever the
//!    settings. Then all directories touched are made durable.
//! 4. The note is removed and the outcomes are reported.
//!
//! After a crash [`Applier::recover`] reads the notes and finishes or undoes what was begun. So it does after an
//! error of the disk that left something displaced in `.sync/tmp`: [`Applier::is_unsettled`] says so.
//!
//! This module owns the applier's names in `.sync/tmp`. It never replaces, removes or truncates anything
//! of the user's in place: every such step is a rename to a place where it can be found again.

pub(crate) mod journal;
pub(crate) mod trouble;
pub(crate) mod verify;

mod displaced;
mod place;
mod recover;
mod stage;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sync_core::{
    disk::{Action, LocalAuthor, Meta, Outcome},
    path::RelPath,
};

pub use recover::Recovered;

use self::{
    journal::{NOTE, Note, TmpNames},
    stage::{Stage, Staged},
};
use crate::{
    archive::Archive,
    fs::{ARCHIVE_DIR, Disk, DiskFile, Place, TMP_DIR},
    temps::Temps,
};

/// Up to this many files or directories are made durable one by one; for more, one call for the whole
/// file system is faster. Measured on ext4: eight files of 256 bytes took 15 ms one by one and 4 to 9 ms
/// together, a thousand 310 to 980 ms and 30 ms, while one alone doesn't wait for other programs' data.
const FEW: usize = 4;

/// What the user chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyPolicy {
    /// Whether replaced and deleted files are kept in the archive.
    pub archive: bool,
    /// Bytes that stay free on the disk.
    pub min_free: u64,
}

impl Default for ApplyPolicy {
    fn default() -> Self {
        Self {
            archive: true,
            min_free: 0,
        }
    }
}

/// Carries out actions on one folder's disk. Groups are carried out one at a time.
#[derive(Debug)]
pub struct Applier<D: Disk> {
    disk: Arc<D>,
    temps: Arc<Temps<D>>,
    archive: Archive<D>,
    author: LocalAuthor,
    seed: u64,
    policy: Mutex<ApplyPolicy>,
    names: TmpNames,
    no_exchange: AtomicBool,
    /// A note outlived its group.
    unsettled: AtomicBool,
    /// What was placed may be undone by a power cut, or something may be hidden.
    unsynced: AtomicBool,
    gate: Mutex<()>,
}

impl<D: Disk> Applier<D> {
    /// An applier for this disk. `author` names us in conflict copies of unexpected edits, `seed` is
    /// that of the folder's chunks. Call [`recover`](Self::recover) before the first group.
    pub fn new(
        disk: Arc<D>,
        temps: Arc<Temps<D>>,
        author: LocalAuthor,
        seed: u64,
        policy: ApplyPolicy,
    ) -> Self {
        Self {
            archive: Archive::new(Arc::clone(&disk)),
            disk,
            temps,
            author,
            seed,
            policy: Mutex::new(policy),
            names: TmpNames::new(),
            no_exchange: AtomicBool::new(false),
            unsettled: AtomicBool::new(false),
            unsynced: AtomicBool::new(false),
            gate: Mutex::new(()),
        }
    }

    /// The archive of this folder.
    pub fn archive(&self) -> &Archive<D> {
        &self.archive
    }

    /// Takes new settings; they count from the next group on.
    pub fn set_policy(&self, policy: ApplyPolicy) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Whether an error of the disk left something in `.sync/tmp` that may be the user's. It can't be seen
    /// there: call [`recover`](Self::recover) until this is over, and look at the paths that it names.
    pub fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Relaxed)
    }

    /// Whether files were placed that could not be made durable, or moved aside and not given back yet. Nothing
    /// may be scanned before [`recover`](Self::recover) has ended this: what a power cut takes away again, and what
    /// is hidden for the moment, would look deleted.
    pub fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// Carries out a group and returns one outcome per action, in order. What is reported as done is
    /// durable. Blocks.
    pub fn apply(&self, group: Vec<Action>) -> Vec<Outcome> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = Run::new(*self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stages = self.stage(&group, run.policy);
        let note = match self.make_durable(&mut stages, run.policy) {
            Ok(note) => note,
            Err(e) => {
                // Nothing was placed: all temporaries are still ours.
                self.drop_temps(&stages);
                return stages
                    .into_iter()
                    .zip(&group)
                    .map(|(s, a)| s.give_up(&e, a))
                    .collect();
            }
        };
        let mut outcomes = Vec::with_capacity(group.len());
        let mut full: Option<Outcome> = None;
        for (action, stage) in group.iter().zip(&stages) {
            let outcome = match (&full, &stage.staged) {
                (_, Staged::Settled(outcome)) => outcome.clone(),
                (Some(full), _) => full.clone(),
                (None, _) => self.place(action, stage, &mut run),
            };
            if matches!(outcome, Outcome::DiskFull { .. }) {
                full.get_or_insert_with(|| outcome.clone());
            }
            outcomes.push(outcome);
        }
        if let Err(e) = self.sync_places(&run) {
            self.unsettled.store(true, Ordering::Relaxed);
            self.unsynced.store(true, Ordering::Relaxed);
            // It may be done and may be undone by a power cut: the note stays, and all is looked at again.
            for (outcome, action) in outcomes.iter_mut().zip(&group) {
                if matches!(outcome, Outcome::Done { .. }) {
                    *outcome = match trouble::outcome(&e, action.path()) {
                        Outcome::Stale | Outcome::NotEmpty => trouble::failed(e.to_string()),
                        other => other,
                    };
                }
            }
            return outcomes;
        }
        self.drop_temps(&stages);
        if run.unsettled {
            self.unsettled.store(true, Ordering::Relaxed);
            self.unsynced.store(true, Ordering::Relaxed);
        } else if let Some(note) = note {
            // A note that outlives a crash finds nothing left to do.
            let _ = self.disk.unlink(Place::Tmp(&note));
        }
        outcomes
    }

    /// Makes staged files and the archive's directories that they may need durable, and then the note about
    /// their swaps. Returns the note's name.
    fn make_durable(
        &self,
        stages: &mut [Stage<D::File>],
        policy: ApplyPolicy,
    ) -> io::Result<Option<String>> {
        let swaps: Vec<_> = stages.iter().filter_map(|s| s.swap.clone()).collect();
        let files = stages
            .iter()
            .filter(|s| matches!(s.staged, Staged::Temp { .. }))
            .count();
        if files == 0 && swaps.is_empty() {
            return Ok(None);
        }
        let mut changed = BTreeSet::new();
        if policy.archive {
            let mut known = BTreeSet::new();
            for swap in swaps.iter().filter(|swap| swap.copy.is_none()) {
                match self.archive.make_room(&swap.path, &mut known, &mut changed) {
                    Err(e) if trouble::stops_all(&e) => return Err(e),
                    // It will find another place in the archive.
                    _ => {}
                }
            }
        }
        let few = files + changed.len() <= FEW;
        if few {
            for file in stages.iter_mut().filter_map(|s| s.file.take()) {
                file.sync()?;
            }
            for dir in changed {
                self.archive.sync_dir(dir.as_ref())?;
            }
        } else {
            self.disk.sync_all()?;
        }
        // Only now, so that a note never speaks of a file that a crash has torn.
        let note = if swaps.is_empty() {
            None
        } else {
            let name = self.names.next(NOTE);
            let file = self.disk.open_tmp(&name)?;
            file.write_all_at(&Note { swaps }.encode(), 0)?;
            file.sync()?;
            Some(name)
        };
        if few || note.is_some() {
            self.disk.sync_dir(Place::Own(TMP_DIR))?;
        }
        Ok(note)
    }

    /// Makes the names in all directories that were touched durable.
    fn sync_places(&self, run: &Run) -> io::Result<()> {
        if run.all || run.dirs.len() > FEW {
            return self.disk.sync_all();
        }
        for dir in &run.dirs {
            let result = match dir {
                Dir::Root => self.disk.sync_dir(Place::Root),
                Dir::User(path) => self.disk.sync_dir(Place::User(path)),
                Dir::Tmp => self.disk.sync_dir(Place::Own(TMP_DIR)),
                Dir::ArchiveRoot => self.disk.sync_dir(Place::Own(ARCHIVE_DIR)),
                Dir::Archive(path) => self.disk.sync_dir(Place::Archive(path)),
            };
            match result {
                // Removed again, by this group or by the user.
                Err(e) if is_gone(&e) => {}
                // A directory that may be written but not read can't be opened to be synced.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    return self.disk.sync_all();
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes the temporaries of actions that came to nothing.
    fn drop_temps(&self, stages: &[Stage<D::File>]) {
        for stage in stages {
            let Staged::Temp { name, stat } = &stage.staged else {
                continue;
            };
            let left = self.disk.stat(Place::Tmp(name)).ok().flatten();
            // Only while it is our own file. A swap that couldn't be settled stays for recovery.
            if left.is_some_and(|left| left.ino == stat.ino && left.kind == stat.kind) {
                self.drop_ours(name);
            }
        }
    }

    /// Removes a temporary of ours that will not be placed. A whole download gets its name back instead,
    /// so that it need not be fetched again.
    fn drop_ours(&self, name: &str) {
        if let Some(partial) = journal::partial_of(name)
            && self
                .disk
                .rename_new(Place::Tmp(name), Place::Tmp(partial))
                .is_ok()
        {
            // Its time says when it was last of use.
            let meta = Meta {
                mtime_ns: self.disk.clock_ns(),
                mode: 0o600,
            };
            let _ = self.disk.set_meta(Place::Tmp(partial), meta);
            return;
        }
        let _ = self.disk.unlink(Place::Tmp(name));
    }

    fn can_exchange(&self) -> bool {
        !self.no_exchange.load(Ordering::Relaxed)
    }
}

/// A directory whose names must be made durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Dir {
    Root,
    User(RelPath),
    Tmp,
    ArchiveRoot,
    Archive(RelPath),
}

/// What one group did so far.
#[derive(Debug)]
struct Run {
    policy: ApplyPolicy,
    dirs: BTreeSet<Dir>,
    /// Directories made by this group that a crash may still take away.
    made: BTreeSet<RelPath>,
    /// More than names must be made durable.
    all: bool,
    /// Something displaced is still in `.sync/tmp`: the note must stay.
    unsettled: bool,
    /// Conflict copies that the present action made.
    copies: Vec<RelPath>,
}

impl Run {
    fn new(policy: ApplyPolicy) -> Self {
        Self {
            policy,
            dirs: BTreeSet::new(),
            made: BTreeSet::new(),
            all: false,
            unsettled: false,
            copies: Vec::new(),
        }
    }

    /// A name in the directory of `path` changed.
    fn touch(&mut self, path: &RelPath) {
        self.dirs.insert(path.parent().map_or(Dir::Root, Dir::User));
    }

    /// A file came into the archive; its directories may be new.
    fn touch_archive(&mut self, stored: &RelPath) {
        self.dirs.extend(stored.ancestors().map(Dir::Archive));
        self.dirs.insert(Dir::ArchiveRoot);
        self.dirs.insert(Dir::Tmp);
    }
}

/// Whether an error says that a path isn't there (any more).
fn is_gone(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
