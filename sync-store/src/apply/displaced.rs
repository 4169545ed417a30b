//! Step three: where what was displaced goes.
//!
//! It lies in `.sync/tmp` when it comes here, and a durable note says whence. Expected content goes where
//! the action says; anything else was written by somebody a moment ago and becomes a conflict copy next to
//! the path. What can be put nowhere stays in `.sync/tmp` with its note, for the next recovery.

use std::io;

use sync_core::{
    chunk::ContentHash,
    conflict::copy_path,
    disk::{DiskKind, DiskStat, Displaced},
    observe::replaceable,
    path::RelPath,
};

use super::{Applier, Run, is_gone, journal::Swap, trouble, verify};
use crate::fs::{Disk, DiskFile, Place};

/// How many names a conflict copy tries.
const MAX_NAMES: u32 = 1_000;

impl<D: Disk> Applier<D> {
    /// Finds a place for what lies under `name`. Never fails: at worst it stays, with the note.
    pub(super) fn settle(&self, name: &str, swap: &Swap, run: &mut Run) {
        let result = match self.disk.stat(Place::Tmp(name)) {
            Ok(None) => return,
            Ok(Some(found)) if replaceable(&swap.expect, &found) => {
                self.settle_expected(name, swap, run)
            }
            Ok(Some(found)) => self.keep_as_copy(name, &found, swap, None, run),
            Err(e) => Err(e),
        };
        let result = result.or_else(|e| {
            if trouble::stops_all(&e) {
                return Err(e);
            }
            // Better in an archive that should be off than nowhere.
            self.keep_in_archive(name, swap, run)
        });
        if let Err(e) = result {
            run.unsettled = true;
            tracing::warn!(path = %swap.path, error = %e, "a displaced file stays in .sync/tmp for now");
        }
    }

    /// For what is as it was expected to be.
    pub(super) fn settle_expected(&self, name: &str, swap: &Swap, run: &mut Run) -> io::Result<()> {
        match swap.displaced() {
            Displaced::Archive if run.policy.archive => self.keep_in_archive(name, swap, run),
            Displaced::Archive => self.disk.unlink(Place::Tmp(name)),
            Displaced::Copy(to) => {
                let found = self
                    .disk
                    .stat(Place::Tmp(name))?
                    .ok_or(io::ErrorKind::NotFound)?;
                self.keep_as_copy(name, &found, swap, Some(to), run)
            }
        }
    }

    pub(super) fn keep_in_archive(&self, name: &str, swap: &Swap, run: &mut Run) -> io::Result<()> {
        let stored = self
            .archive
            .take(Place::Tmp(name), &swap.path, self.disk.clock_ns())?;
        run.touch_archive(&stored);
        Ok(())
    }

    /// Puts it next to the path, as `to` or under a name made of its time and content; further up, if the
    /// directory is gone. A file of that
    /// name with the same content is the same copy; one with other content gets company, not replaced.
    pub(super) fn keep_as_copy(
        &self,
        name: &str,
        found: &DiskStat,
        swap: &Swap,
        to: Option<RelPath>,
        run: &mut Run,
    ) -> io::Result<()> {
        let place = Place::Tmp(name);
        let mut hash: Option<ContentHash> = None;
        let mut to = match to {
            Some(to) => to,
            None => {
                let known = *hash.insert(self.hash_of(place, found));
                copy_path(&swap.path, self.author.0, found.mtime_ns, &known)
            }
        };
        for n in 1..=MAX_NAMES {
            match self.disk.rename_new(place, Place::User(&to)) {
                Ok(()) => {
                    run.touch(&to);
                    run.copies.push(to);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if self.is_same(place, found, &to) {
                        self.disk.unlink(place)?;
                        run.touch(&to);
                        run.copies.push(to);
                        return Ok(());
                    }
                    let known = *hash.get_or_insert_with(|| self.hash_of(place, found));
                    let other = [&known.as_bytes()[..], &n.to_be_bytes()].concat();
                    let other = ContentHash::chunk(&other);
                    to = copy_path(&to, self.author.0, found.mtime_ns, &other);
                }
                Err(e) if is_gone(&e) && self.disk.stat(place)?.is_none() => return Ok(()),
                // Its directory was moved or removed a moment ago: it goes to the nearest one that is there.
                Err(e) if is_gone(&e) => to = one_up(&to).ok_or(e)?,
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// What names its content, for its own name. Something that can't be read still gets one.
    fn hash_of(&self, place: Place<'_>, found: &DiskStat) -> ContentHash {
        let content = match found.kind {
            DiskKind::File => self.disk.open(place).and_then(|file| {
                let content = verify::content_of(&file, found.size, self.seed)?;
                Ok(content.map(|content| content.hash))
            }),
            DiskKind::Symlink => self
                .disk
                .read_link(place)
                .map(|t| Some(ContentHash::chunk(&t))),
            DiskKind::Dir | DiskKind::Special => Ok(None),
        };
        content.ok().flatten().unwrap_or_else(|| {
            ContentHash::chunk(&[found.size.to_be_bytes(), found.ino.to_be_bytes()].concat())
        })
    }

    /// Whether the file at `to` has, durably, the same content as the one displaced. When in doubt, no.
    fn is_same(&self, place: Place<'_>, found: &DiskStat, to: &RelPath) -> bool {
        let same = || -> io::Result<bool> {
            let Some(there) = self.disk.stat(Place::User(to))? else {
                return Ok(false);
            };
            if there.kind != found.kind || there.size != found.size {
                return Ok(false);
            }
            match found.kind {
                DiskKind::Symlink => {
                    Ok(self.disk.read_link(place)? == self.disk.read_link(Place::User(to))?)
                }
                DiskKind::File => {
                    let theirs = self.disk.open(Place::User(to))?;
                    let ours = self.disk.open(place)?;
                    let theirs_content = verify::content_of(&theirs, found.size, self.seed)?;
                    let ours = verify::content_of(&ours, found.size, self.seed)?;
                    if ours.is_none() || ours != theirs_content {
                        return Ok(false);
                    }
                    theirs.sync()?;
                    Ok(true)
                }
                DiskKind::Dir | DiskKind::Special => Ok(false),
            }
        };
        same().unwrap_or(false)
    }
}

/// The same name one directory further up.
fn one_up(path: &RelPath) -> Option<RelPath> {
    match path.parent()?.parent() {
        Some(dir) => dir.join(path.name()).ok(),
        None => RelPath::parse(path.name()).ok(),
    }
}
