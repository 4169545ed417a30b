//! Step two: each action at its path, in the order of the group.
//!
//! Nothing here trusts an earlier look: a path where nothing should be is filled by a rename that never
//! replaces, and what a swap brings out is looked at afterwards.

use std::{io, sync::atomic::Ordering};

use sync_core::{
    disk::{Action, DiskKind, DiskStat, Expect, Meta, Outcome},
    observe::{replaceable, untouched},
    path::RelPath,
};

use super::{
    Applier, Dir, Run,
    journal::Swap,
    stage::{Stage, Staged},
    trouble,
};
use crate::fs::{Disk, Place};

impl<D: Disk> Applier<D> {
    pub(super) fn place(&self, action: &Action, stage: &Stage<D::File>, run: &mut Run) -> Outcome {
        run.copies.clear();
        let result = match action {
            Action::File { path, expect, .. } | Action::Symlink { path, expect, .. } => {
                match &stage.staged {
                    Staged::Temp { name, stat } => {
                        self.place_temp(path, expect, name, stat, stage.swap.as_ref(), run)
                    }
                    Staged::Settled(outcome) => Ok(outcome.clone()),
                    Staged::Bare => Ok(Outcome::BadSource),
                }
            }
            Action::Dir {
                path, mode, expect, ..
            } => self.place_dir(path, *mode, expect, stage.swap.as_ref(), run),
            Action::Meta { path, meta, expect } => self.place_meta(path, *meta, expect, run),
            Action::Rename {
                from,
                expect_from,
                to,
                meta,
            } => self.rename(from, expect_from, to, *meta, run),
            Action::Remove { path, expect, .. } => {
                self.remove(path, expect, stage.swap.as_ref(), run)
            }
        };
        result.unwrap_or_else(|e| {
            run.unsettled |= stage.swap.as_ref().is_some_and(|s| self.may_hide(s));
            trouble::outcome(&e, action.path())
        })
    }

    /// Whether something of the user's may lie in `.sync/tmp` after an action broke off. In doubt it does.
    fn may_hide(&self, swap: &Swap) -> bool {
        let found = |name: &str| self.disk.stat(Place::Tmp(name));
        let theirs = |found: DiskStat| swap.ours.is_none_or(|ours| ours.ino != found.ino);
        found(&swap.tmp).map_or(true, |found| found.is_some_and(theirs))
            || found(&swap.aside()).map_or(true, |found| found.is_some())
    }

    /// A file or symlink from its temporary to its path.
    fn place_temp(
        &self,
        path: &RelPath,
        expect: &Expect,
        tmp: &str,
        ours: &DiskStat,
        swap: Option<&Swap>,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let known = match (expect, swap) {
            (Expect::Absent, _) => return self.place_new(path, tmp, ours, run),
            (Expect::Stat(known), None) if known.kind == DiskKind::Dir => {
                if self.kind_at(path)? != Some(DiskKind::Dir) {
                    return Ok(Outcome::Stale);
                }
                // Refused by the system unless it is empty.
                self.disk.remove_dir(Place::User(path))?;
                run.touch(path);
                return self.place_new(path, tmp, ours, run);
            }
            (Expect::Stat(_), None) => return Ok(Outcome::Stale),
            (Expect::Stat(known), Some(swap)) => (known, swap),
        };
        let (known, swap) = known;
        if !self
            .disk
            .stat(Place::User(path))?
            .is_some_and(|now| untouched(known, &now))
        {
            return Ok(Outcome::Stale);
        }
        if self.can_exchange() {
            match self.disk.exchange(Place::Tmp(tmp), Place::User(path)) {
                Ok(()) => {
                    run.touch(path);
                    run.dirs.insert(Dir::Tmp);
                    return self.after_exchange(path, tmp, ours, swap, run);
                }
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                    self.no_exchange.store(true, Ordering::Relaxed);
                }
                Err(e) => return Err(e),
            }
        }
        self.replace_without_exchange(path, tmp, ours, swap, run)
    }

    fn place_new(
        &self,
        path: &RelPath,
        tmp: &str,
        ours: &DiskStat,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        self.disk.rename_new(Place::Tmp(tmp), Place::User(path))?;
        run.touch(path);
        Ok(self.done(path, ours, run))
    }

    /// What was displaced lies under `tmp` now.
    fn after_exchange(
        &self,
        path: &RelPath,
        tmp: &str,
        ours: &DiskStat,
        swap: &Swap,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let odd = |kind| matches!(kind, DiskKind::Dir | DiskKind::Special);
        let found = self.disk.stat(Place::Tmp(tmp))?;
        if found.is_some_and(|f| odd(f.kind))
            && self
                .disk
                .exchange(Place::Tmp(tmp), Place::User(path))
                .is_ok()
        {
            // A directory or socket took the place meanwhile: it keeps it.
            let back = self.disk.stat(Place::Tmp(tmp))?;
            if back.is_some_and(|b| b.ino != ours.ino) {
                self.settle(tmp, swap, run);
            }
            return Ok(Outcome::Stale);
        }
        self.settle(tmp, swap, run);
        Ok(self.done(path, ours, run))
    }

    /// Moves the old file aside and the new one in. For an instant nothing stands at the path, and a crash
    /// in that instant is mended by recovery; in return there is no moment in which a file put there
    /// by somebody else could be replaced unseen, as there is with a plain rename over it.
    fn replace_without_exchange(
        &self,
        path: &RelPath,
        tmp: &str,
        ours: &DiskStat,
        swap: &Swap,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let aside = swap.aside();
        self.disk
            .rename_new(Place::User(path), Place::Tmp(&aside))?;
        run.touch(path);
        run.dirs.insert(Dir::Tmp);
        let found = self.disk.stat(Place::Tmp(&aside))?;
        if !found.is_some_and(|now| matches!(now.kind, DiskKind::File | DiskKind::Symlink)) {
            return Ok(self.undo(&aside, path, swap, run));
        }
        match self.disk.rename_new(Place::Tmp(tmp), Place::User(path)) {
            Ok(()) => {
                self.settle(&aside, swap, run);
                Ok(self.done(path, ours, run))
            }
            Err(e) => {
                let outcome = self.undo(&aside, path, swap, run);
                match outcome {
                    Outcome::Stale => Ok(trouble::outcome(&e, path)),
                    other => Ok(other),
                }
            }
        }
    }

    /// Puts what was moved aside back; if the path is taken, it is settled. The action didn't happen.
    fn undo(&self, aside: &str, path: &RelPath, swap: &Swap, run: &mut Run) -> Outcome {
        match self.disk.rename_new(Place::Tmp(aside), Place::User(path)) {
            Err(e) if trouble::stops_all(&e) => {
                // In the archive it would look deleted: it goes back when the disk works again.
                tracing::warn!(%path, error = %e, "a file that was moved aside can't be put back for now");
                run.unsettled = true;
            }
            Err(_) => self.settle(aside, swap, run),
            Ok(()) => {}
        }
        Outcome::Stale
    }

    fn place_dir(
        &self,
        path: &RelPath,
        mode: u32,
        expect: &Expect,
        swap: Option<&Swap>,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        match (expect, swap) {
            (Expect::Absent, _) => match self.disk.make_dir(Place::User(path), mode) {
                // Whatever fails from here on: it stands there, and may be found.
                Ok(()) => run.touch(path),
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                Err(_) => {}
            },
            (Expect::Stat(known), Some(swap)) => {
                if !self
                    .disk
                    .stat(Place::User(path))?
                    .is_some_and(|now| untouched(known, &now))
                {
                    return Ok(Outcome::Stale);
                }
                let aside = swap.aside();
                self.disk
                    .rename_new(Place::User(path), Place::Tmp(&aside))?;
                run.touch(path);
                run.dirs.insert(Dir::Tmp);
                let found = self.disk.stat(Place::Tmp(&aside))?;
                if !found.is_some_and(|f| matches!(f.kind, DiskKind::File | DiskKind::Symlink)) {
                    return Ok(self.undo(&aside, path, swap, run));
                }
                match self.disk.make_dir(Place::User(path), mode) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        let _ = self.undo(&aside, path, swap, run);
                        return Err(e);
                    }
                    _ => self.settle(&aside, swap, run),
                }
            }
            (Expect::Stat(known), None) => {
                let now = self.disk.stat(Place::User(path))?;
                let Some(now) = now.filter(|n| n.kind == DiskKind::Dir && n.kind == known.kind)
                else {
                    return Ok(Outcome::Stale);
                };
                if now.mode != known.mode && now.mode != mode {
                    return Ok(Outcome::Stale);
                }
            }
        }
        let Some(now) = self.disk.stat(Place::User(path))? else {
            return Ok(Outcome::Stale);
        };
        if now.kind != DiskKind::Dir {
            return Ok(Outcome::Stale);
        }
        run.touch(path);
        run.made.insert(path.clone());
        if now.mode != mode {
            self.set_meta(
                path,
                Meta {
                    mtime_ns: now.mtime_ns,
                    mode,
                },
            )?;
            run.dirs.insert(Dir::User(path.clone()));
        }
        let after = self.disk.stat(Place::User(path))?;
        // As in `give_meta`: a mode that somebody gave it at the same moment is left for a scan to find.
        let theirs = after.is_some_and(|after| after.mode != mode && after.mode != now.mode);
        Ok(Outcome::Done {
            stat: if theirs { Some(now) } else { after },
            copies: std::mem::take(&mut run.copies),
        })
    }

    fn place_meta(
        &self,
        path: &RelPath,
        meta: Meta,
        expect: &Expect,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let (Expect::Stat(known), Some(now)) = (expect, self.disk.stat(Place::User(path))?) else {
            return Ok(Outcome::Stale);
        };
        if !untouched(known, &now) {
            return Ok(Outcome::Stale);
        }
        let stat = self.give_meta(path, &now, meta, run)?;
        Ok(Outcome::Done {
            stat: Some(stat),
            copies: Vec::new(),
        })
    }

    fn rename(
        &self,
        from: &RelPath,
        expect_from: &Expect,
        to: &RelPath,
        meta: Meta,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let Expect::Stat(known) = expect_from else {
            return Ok(Outcome::Stale);
        };
        if !self
            .disk
            .stat(Place::User(from))?
            .is_some_and(|now| untouched(known, &now))
        {
            return Ok(Outcome::Stale);
        }
        if to.ancestors().any(|dir| run.made.contains(&dir)) {
            // What the user has must never come to lie in a directory that a crash could take away.
            self.disk.sync_all()?;
            run.made.clear();
        }
        self.disk.rename_new(Place::User(from), Place::User(to))?;
        run.touch(from);
        run.touch(to);
        let moved = match self.disk.stat(Place::User(to))? {
            Some(moved) if replaceable(known, &moved) => moved,
            // Edited at the last moment: back to its name if that is free, else it stays under the new one
            // and is found there. Either way both paths are looked at again.
            _ => {
                let _ = self.disk.rename_new(Place::User(to), Place::User(from));
                return Ok(Outcome::Stale);
            }
        };
        let stat = self.give_meta(to, &moved, meta, run)?;
        Ok(Outcome::Done {
            stat: Some(stat),
            copies: Vec::new(),
        })
    }

    fn remove(
        &self,
        path: &RelPath,
        expect: &Expect,
        swap: Option<&Swap>,
        run: &mut Run,
    ) -> io::Result<Outcome> {
        let now = self.disk.stat(Place::User(path))?;
        let (Some(now), Expect::Stat(known)) = (now, expect) else {
            // Gone already is as good as removed, once that is durable.
            if now.is_none() {
                run.touch(path);
                return Ok(Outcome::Done {
                    stat: None,
                    copies: Vec::new(),
                });
            }
            return Ok(Outcome::Stale);
        };
        match swap {
            None if known.kind == DiskKind::Dir && now.kind == DiskKind::Dir => {
                self.disk.remove_dir(Place::User(path))?;
                run.touch(path);
            }
            None => return Ok(Outcome::Stale),
            Some(_) if !untouched(known, &now) => return Ok(Outcome::Stale),
            Some(swap) => {
                let aside = swap.aside();
                self.disk
                    .rename_new(Place::User(path), Place::Tmp(&aside))?;
                run.touch(path);
                run.dirs.insert(Dir::Tmp);
                let found = self.disk.stat(Place::Tmp(&aside))?;
                if !found.is_some_and(|now| replaceable(known, &now)) {
                    return Ok(self.undo(&aside, path, swap, run));
                }
                if let Err(e) = self.settle_expected(&aside, swap, run) {
                    // It can't be kept anywhere, so it isn't removed.
                    let _ = self.undo(&aside, path, swap, run);
                    return Err(e);
                }
            }
        }
        Ok(Outcome::Done {
            stat: None,
            copies: std::mem::take(&mut run.copies),
        })
    }

    /// Done, with the stat of our own file: if somebody wrote to it already, the stat of before, so that
    /// the next look sees the difference.
    fn done(&self, path: &RelPath, ours: &DiskStat, run: &mut Run) -> Outcome {
        let now = self.disk.stat(Place::User(path)).ok().flatten();
        let stat = now.filter(|now| replaceable(ours, now)).unwrap_or(*ours);
        Outcome::Done {
            stat: Some(stat),
            copies: std::mem::take(&mut run.copies),
        }
    }

    /// Sets time and mode where they differ. A write that comes between the look and the setting would
    /// be hidden by the time set, so the stat returned has no change time: the file is hashed once more
    /// at the next scan.
    fn give_meta(
        &self,
        path: &RelPath,
        now: &DiskStat,
        meta: Meta,
        run: &mut Run,
    ) -> io::Result<DiskStat> {
        let dir = now.kind == DiskKind::Dir;
        let same = now.mode == meta.mode && (dir || now.mtime_ns == meta.mtime_ns);
        if same || !matches!(now.kind, DiskKind::File | DiskKind::Dir) {
            return Ok(*now);
        }
        self.set_meta(path, meta)?;
        run.all = true;
        let after = self
            .disk
            .stat(Place::User(path))?
            .ok_or(io::ErrorKind::NotFound)?;
        let unchanged = after.ino == now.ino && after.size == now.size && after.kind == now.kind;
        Ok(match (unchanged, dir) {
            // Somebody changed its mode at the same moment: what is noted is what was there before, so that a scan
            // finds the change. Where modes aren't kept, the old one stands there still.
            (true, true) if after.mode != meta.mode && after.mode != now.mode => *now,
            (true, true) => after,
            (true, false) => DiskStat {
                ctime_ns: 0,
                ..after
            },
            (false, _) => *now,
        })
    }

    /// A file system that keeps no modes, or another owner, is no reason to fail.
    fn set_meta(&self, path: &RelPath, meta: Meta) -> io::Result<()> {
        match self.disk.set_meta(Place::User(path), meta) {
            Err(e) if !trouble::meta_is_refused(&e) => Err(e),
            _ => Ok(()),
        }
    }

    fn kind_at(&self, path: &RelPath) -> io::Result<Option<DiskKind>> {
        Ok(self.disk.stat(Place::User(path))?.map(|stat| stat.kind))
    }
}
