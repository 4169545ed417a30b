//! After a crash, or an error of the disk: what lies in `.sync/tmp`, and whose it is.
//!
//! A temporary that a note speaks of is either our own content, not placed yet, or something of the user's
//! that was displaced. Ours is known by its inode or its content, and is removed. Anything else is given
//! back: to its path if nothing is there, else it is settled as if the crash had not been. In doubt it is
//! the user's.

use std::{collections::BTreeSet, io, sync::atomic::Ordering};

use sync_core::{
    disk::{DiskKind, DiskStat},
    observe::replaceable,
    path::RelPath,
};

use super::{
    Applier, Run,
    journal::{NEW, NOTE, Note, SWAP, Swap},
    trouble, verify,
};
use crate::fs::{Disk, Place, TMP_DIR};

/// What a recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Paths that got their file back.
    pub put_back: Vec<RelPath>,
    /// Paths whose displaced file was found and settled: archived, or made a conflict copy.
    pub settled: Vec<RelPath>,
    /// Conflict copies that came to be.
    pub copies: Vec<RelPath>,
    /// Temporaries of ours that were removed.
    pub removed: usize,
    /// Displaced files that still could not be put anywhere.
    pub left: usize,
}

impl Recovered {
    /// Paths of the user's where something came to be, to be looked at by a scan.
    pub fn changed(self) -> Vec<RelPath> {
        let mut paths = self.put_back;
        paths.extend(self.settled);
        paths.extend(self.copies);
        paths.sort();
        paths.dedup();
        paths
    }
}

impl<D: Disk> Applier<D> {
    /// Brings `.sync/tmp` in order after a crash, and makes the applier's directories. Call it at start,
    /// before anything is scanned or applied, and again while [`is_unsettled`](Self::is_unsettled) says so; it
    /// does no harm at other times.
    ///
    /// # Errors
    ///
    /// Those of the disk. Whatever wasn't done is still there for the next call.
    pub fn recover(&self) -> io::Result<Recovered> {
        let _gate = self
            .gate
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let policy = *self
            .policy
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Until all of it is done.
        self.unsettled.store(true, Ordering::Relaxed);
        self.disk.prepare()?;
        // What was placed is made durable whatever becomes of the rest.
        if self.is_unsynced() {
            self.disk.sync_all()?;
        }
        let mut run = Run::new(policy);
        let mut done = Recovered::default();
        let mut notes = Vec::new();
        let mut torn = false;
        let mut left = BTreeSet::new();
        for name in self.tmp_names()? {
            if !name.starts_with(NOTE) {
                continue;
            }
            let Some(note) = Note::read(&*self.disk, &name)? else {
                torn = true;
                notes.push(name);
                continue;
            };
            run.unsettled = false;
            for swap in &note.swaps {
                self.recover_swap(swap, &mut run, &mut done)?;
            }
            if run.unsettled {
                left.extend(note.swaps.iter().flat_map(|s| [s.tmp.clone(), s.aside()]));
                done.left += 1;
            } else {
                notes.push(name);
            }
        }
        self.remove_orphans(torn, &left, &mut run, &mut done)?;
        done.copies.append(&mut run.copies);
        self.disk.sync_all()?;
        for note in notes {
            self.disk.unlink(Place::Tmp(&note))?;
        }
        self.disk.sync_dir(Place::Own(TMP_DIR))?;
        self.unsettled.store(done.left > 0, Ordering::Relaxed);
        self.unsynced.store(false, Ordering::Relaxed);
        Ok(done)
    }

    /// Temporaries that no note speaks of. Nothing is swapped before its note is durable, so they are ours;
    /// only where a note can't be read are swaps kept, in the archive.
    fn remove_orphans(
        &self,
        torn: bool,
        left: &BTreeSet<String>,
        run: &mut Run,
        done: &mut Recovered,
    ) -> io::Result<()> {
        for name in self.tmp_names()? {
            if left.contains(&name) || !(name.starts_with(NEW) || name.starts_with(SWAP)) {
                continue;
            }
            if torn && name.starts_with(SWAP) {
                let rescued = RelPath::parse(b"recovered")
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                let now = self.disk.clock_ns();
                let stored = self.archive.take(Place::Tmp(&name), &rescued, now)?;
                run.touch_archive(&stored);
                done.settled.push(rescued);
                continue;
            }
            self.drop_ours(&name);
            done.removed += 1;
        }
        Ok(())
    }

    fn tmp_names(&self) -> io::Result<Vec<String>> {
        let items = self.disk.list(Place::Own(TMP_DIR))?;
        let mut names: Vec<_> = items
            .into_iter()
            .filter_map(|item| String::from_utf8(item.name).ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn recover_swap(&self, swap: &Swap, run: &mut Run, done: &mut Recovered) -> io::Result<()> {
        let aside = swap.aside();
        if let Some(found) = self.disk.stat(Place::Tmp(&aside))? {
            self.give_back(&aside, &found, swap, run, done)?;
        }
        let (Some(ours), Some(found)) = (swap.ours, self.disk.stat(Place::Tmp(&swap.tmp))?) else {
            return Ok(());
        };
        if self.is_ours(&found, &ours, swap)? {
            self.drop_ours(&swap.tmp);
            done.removed += 1;
            return Ok(());
        }
        self.give_back(&swap.tmp, &found, swap, run, done)
    }

    /// Whether what lies under the temporary's name is our own content.
    fn is_ours(&self, found: &DiskStat, ours: &DiskStat, swap: &Swap) -> io::Result<bool> {
        if found.kind != ours.kind {
            return Ok(false);
        }
        // It was whole before the note came to be, so a crash can't have torn it.
        if found.ino == ours.ino && replaceable(ours, found) {
            return Ok(true);
        }
        // Some file systems number their inodes anew at each mount.
        let Some(content) = swap.content.filter(|_| found.kind == DiskKind::File) else {
            return Ok(false);
        };
        if found.size != ours.size {
            return Ok(false);
        }
        // What can't be read is treated as the user's.
        let content_of = || -> io::Result<_> {
            let file = self.disk.open(Place::Tmp(&swap.tmp))?;
            verify::content_of(&file, found.size, self.seed)
        };
        match content_of() {
            Err(e) if trouble::stops_all(&e) => Err(e),
            found => Ok(found.ok().flatten() == Some(content)),
        }
    }

    /// Gives back what was displaced.
    fn give_back(
        &self,
        name: &str,
        found: &DiskStat,
        swap: &Swap,
        run: &mut Run,
        done: &mut Recovered,
    ) -> io::Result<()> {
        match self
            .disk
            .rename_new(Place::Tmp(name), Place::User(&swap.path))
        {
            Ok(()) => {
                run.touch(&swap.path);
                done.put_back.push(swap.path.clone());
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // With inodes numbered anew, an old file is known by the rest of its stat; it is
                // archived even if that is switched off, because the proof is weaker.
                let renumbered = DiskStat {
                    ino: swap.expect.ino,
                    ..*found
                };
                let alike = found.ino != swap.expect.ino && replaceable(&swap.expect, &renumbered);
                if !(alike && swap.copy.is_none() && self.keep_in_archive(name, swap, run).is_ok())
                {
                    self.settle(name, swap, run);
                }
            }
            Err(e) if trouble::stops_all(&e) => return Err(e),
            Err(_) => self.settle(name, swap, run),
        }
        done.settled.push(swap.path.clone());
        Ok(())
    }
}
