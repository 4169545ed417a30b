//! What vanished from the disk: which of it is a deletion, which waits for the user's word.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{Engine, Event, work::want_for};
use crate::{
    disk::DiskKind,
    entry::{Entry, Kind},
    index::{Index, IndexEntry, IndexResult, flag},
    manifest::ContentRoot,
    path::RelPath,
};

/// Deletions are counted over this long.
const GUARD_WINDOW: Duration = Duration::from_secs(600);
/// Fewer deletions than this never wait for the user.
const GUARD_FILES: u64 = 20;
/// Changes in one commit.
const PAGE: u64 = 1_000;

/// Counts local deletions over a window of time.
#[derive(Debug, Default)]
pub(super) struct Guard {
    recent: VecDeque<(Duration, u64)>,
}

impl<I: Index> Engine<I> {
    /// A directory gave way to something else: what was in it is gone, and that is said first.
    pub(super) fn gone_below(&mut self, dir: &RelPath) -> IndexResult<()> {
        let (mut below, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .ledger
                .index()
                .entries_below(dir, after.as_ref(), 1_000)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let standing = page.into_iter().filter(|(_, e)| e.stat.is_some());
            below.extend(standing.map(|(p, _)| p));
        }
        below.retain(|p| !self.is_touched(p));
        below.reverse();
        self.gone(below)
    }

    /// Things that the index remembers and the disk doesn't show any more.
    pub(super) fn gone(&mut self, paths: Vec<RelPath>) -> IndexResult<()> {
        let mut files = 0u64;
        let mut deleted = Vec::new();
        let all: BTreeSet<_> = paths.iter().cloned().collect();
        for path in paths {
            self.planner.seen(&path);
            let Some(mut entry) = self.ledger.entry(&path)?.filter(|e| e.stat.is_some()) else {
                continue;
            };
            self.notes.mended(&path);
            self.no_doubt(&path)?;
            let was_file = entry.stat.is_some_and(|s| s.kind == DiskKind::File);
            let content = entry.content;
            let held = self.ledger.open_held(Some(&entry))?;
            let want = self.ledger.open_want(Some(&entry))?;
            let known_live = held.as_ref().is_some_and(|h| h.entry.kind.is_live());
            let was_edit = entry.flags & flag::LOCAL_EDIT != 0;
            entry.stat = None;
            entry.content = None;
            entry.flags &= !(flag::RACY | flag::LOCAL_EDIT);
            match want {
                // The deletion that was wanted is done.
                Some(want) if want.entry.kind == Kind::Tombstone => {
                    entry.held = Some(want.raw().clone());
                    entry.want = None;
                    self.drop_work(&path);
                    self.ledger.put(path, entry, true);
                }
                // What is wanted here is put here; the deletion of an older state says nothing.
                Some(_) => self.ledger.put(path, entry, false),
                None if !known_live => self.ledger.put(path, entry, false),
                None if !self.ledger.can_sign() => {
                    entry.flags |= flag::LOCAL_EDIT;
                    self.ledger.put(path, entry, false);
                }
                None => {
                    let moved = match content {
                        Some(content) if was_file && !was_edit => {
                            self.stands_elsewhere(&all, &content)?
                        }
                        _ => false,
                    };
                    files += u64::from(was_file && !moved);
                    deleted.push((path, entry));
                }
            }
        }
        if self.guard_holds(files)? {
            let mut held = 0;
            for (path, mut entry) in deleted {
                entry.flags |= flag::HELD_BACK;
                held += 1;
                self.ledger.put(path, entry, false);
                self.page(held)?;
            }
            self.event(Event::DeletionsHeld { files: held });
            return Ok(());
        }
        if files > 0 {
            self.guard.recent.push_back((self.now.mono, files));
        }
        for (n, (path, entry)) in (1..).zip(deleted) {
            self.delete(path, entry)?;
            self.page(n)?;
        }
        Ok(())
    }

    /// After `n` changes of many alike: what was done so far is committed, so that no commit is too large. Each
    /// stands for itself.
    fn page(&mut self, n: u64) -> IndexResult<()> {
        match n % PAGE {
            0 => self.ledger.commit(),
            _ => Ok(()),
        }
    }

    /// Publishes the deletion of what `entry` held.
    fn delete(&mut self, path: RelPath, entry: IndexEntry) -> IndexResult<()> {
        let Some(held) = self.ledger.open_held(Some(&entry))? else {
            return Ok(());
        };
        self.changed(&path, Kind::Tombstone);
        let us = self.ledger.replica();
        let tombstone = Entry::tombstone(path, self.now.unix_ns, held.entry.content, us);
        self.author(tombstone, &held.version.vector, entry);
        Ok(())
    }

    /// Whether a content still stands at a path that isn't going as well: then its file was moved.
    fn stands_elsewhere(
        &mut self,
        going: &BTreeSet<RelPath>,
        content: &ContentRoot,
    ) -> IndexResult<bool> {
        let paths = self.ledger.index().with_content(content, 64)?;
        Ok(paths.iter().any(|p| !going.contains(p)))
    }

    /// Whether `files` more deletions are too many to let go unasked: more than half of all files, and
    /// more than twenty, within ten minutes.
    fn guard_holds(&mut self, files: u64) -> IndexResult<bool> {
        while self
            .guard
            .recent
            .front()
            .is_some_and(|(at, _)| *at + GUARD_WINDOW < self.now.mono)
        {
            self.guard.recent.pop_front();
        }
        let before: u64 = self.guard.recent.iter().map(|(_, n)| n).sum();
        let deleted = before + files;
        let totals = self.ledger.index().totals()?;
        if totals.held_back > 0 {
            return Ok(files > 0);
        }
        let left = totals.local.files;
        let total = left + before;
        Ok(files > 0 && deleted > GUARD_FILES && deleted * 2 > total)
    }

    /// The user lets held deletions go.
    pub(super) fn approve(&mut self) -> IndexResult<()> {
        self.decide(|engine, path, mut entry| {
            entry.flags &= !flag::HELD_BACK;
            if entry.want.is_some() {
                // An edit of somebody else came meanwhile, and it stays.
                engine.ledger.put(path, entry, false);
                return Ok(());
            }
            engine.delete(path, entry)
        })?;
        self.guard.recent.clear();
        Ok(())
    }

    /// The user wants the files of held deletions back: they are fetched from whoever holds them.
    pub(super) fn reject(&mut self) -> IndexResult<()> {
        self.decide(|engine, path, mut entry| {
            entry.flags &= !flag::HELD_BACK;
            if entry.want.is_some() {
                engine.ledger.put(path, entry, false);
                return Ok(());
            }
            if let Some(held) = engine.ledger.open_held(Some(&entry))? {
                entry.want = Some(want_for(&held, Vec::new()));
            }
            engine.ledger.put(path, entry, true);
            Ok(())
        })?;
        self.planner.walk_again();
        Ok(())
    }

    /// Does the same with each held deletion, a page at a time.
    fn decide(
        &mut self,
        mut f: impl FnMut(&mut Self, RelPath, IndexEntry) -> IndexResult<()>,
    ) -> IndexResult<()> {
        self.ledger.commit()?;
        let mut after = None;
        loop {
            let index = self.ledger.index();
            let page = index.entries_after(after.as_ref(), PAGE as usize)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            for (path, entry) in page {
                if entry.flags & flag::HELD_BACK != 0 {
                    f(self, path, entry)?;
                }
            }
            self.ledger.commit()?;
        }
    }
}
