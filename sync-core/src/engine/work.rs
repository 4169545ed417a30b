//! Which wanted records are worked on, in which order, and by which action.
//!
//! Directories come first, from the top down; then contents; removals last, from the bottom up, after every
//! wanted content was looked at once, so that a file that only moved is moved and not fetched. Work is taken
//! from the index in windows: a million wanted files cost no memory here.

use std::collections::{BTreeSet, VecDeque};

use super::{Engine, Output, expect::meta_of, planner::Active};
use crate::{
    disk::{Action, DiskKind, DiskStat, Expect, Source},
    entry::Kind,
    index::{Index, IndexEntry, IndexResult, Need, PeerTag, Want, flag},
    manifest::ContentRoot,
    path::RelPath,
    record::Record,
    trouble::Trouble,
};

/// Actions in one group, and their bytes.
const GROUP_ACTIONS: usize = 1_024;
const GROUP_BYTES: usize = 16 << 20;

/// How a record from a peer is wanted.
pub(super) fn want_for(record: &Record, holders: Vec<PeerTag>) -> Want {
    let need = match record.entry.kind {
        Kind::Dir => Some(Need::Dir),
        Kind::File | Kind::Symlink => Some(Need::Content),
        Kind::Tombstone => Some(Need::Removal),
        Kind::Other(_) => None,
    };
    Want {
        record: record.raw().clone(),
        need,
        bytes: record.entry.size,
        holders,
    }
}

/// Whether an edit a moment after the last look might show in no time stamp, because the file system keeps
/// whole seconds only. It is looked at again soon.
fn is_blurred(entry: &IndexEntry) -> bool {
    let whole = |ns: i64| ns.rem_euclid(1_000_000_000) == 0;
    let coarse = |stat: DiskStat| whole(stat.mtime_ns) && whole(stat.ctime_ns);
    entry.flags & flag::RACY != 0 && entry.stat.is_some_and(coarse)
}

impl<I: Index> Engine<I> {
    pub(super) fn may_work(&self) -> bool {
        let now = self.now.mono;
        // A peer that begins burst after burst doesn't hold everybody up for ever.
        let waits = self.peers.in_burst(now) && !self.planner.waited_enough(now);
        self.notes.active() && self.scans.first_done() && !self.notes.is_disk_full() && !waits
    }

    /// Looks for work, as far as there is room for it.
    pub(super) fn plan_work(&mut self) -> IndexResult<()> {
        if !self.may_work() {
            return Ok(());
        }
        while let Some((need, after)) = self.planner.walk(self.now.mono) {
            if self.planner.is_full() || (need == Need::Content && !self.fetcher.capacity()) {
                return Ok(());
            }
            let paths = self.ledger.index().needs(need, after.as_ref(), 256)?;
            let last = paths.last().cloned();
            for path in paths {
                self.plan_path(path, need)?;
            }
            self.planner.walked(last);
        }
        Ok(())
    }

    fn plan_path(&mut self, path: RelPath, need: Need) -> IndexResult<()> {
        if self.notes.waits(&path)
            || self.planner.is_active(&path)
            || self.planner.is_unknown(&path)
            || self.planner.is_source(&path)
        {
            return Ok(());
        }
        let Some(entry) = self.ledger.entry(&path)? else {
            return Ok(());
        };
        if entry.need() != Some(need) {
            return Ok(());
        }
        if is_blurred(&entry) {
            self.planner.walk_again();
            return Ok(());
        }
        if self.ledger.is_beyond_us(&path) {
            self.stick(&path, Trouble::Newer);
            return Ok(());
        }
        let Some(record) = self.ledger.open_want(Some(&entry))? else {
            return Ok(());
        };
        match need {
            Need::Dir => self.plan_dir(path, entry, record),
            Need::Content => self.plan_content(path, entry, record),
            Need::Removal => self.plan_removal(path, entry, record),
        }
    }

    fn plan_dir(&mut self, path: RelPath, entry: IndexEntry, record: Record) -> IndexResult<()> {
        if !self.parent_ready(&path)? {
            return Ok(());
        }
        let (expect, displaced) = self.expectation(&entry, &record)?;
        let mode = record.entry.mode;
        let action = Action::Dir {
            path: path.clone(),
            mode,
            expect,
            displaced,
        };
        self.make_ready(path, entry.seq, record, action, None);
        Ok(())
    }

    fn plan_removal(
        &mut self,
        path: RelPath,
        entry: IndexEntry,
        record: Record,
    ) -> IndexResult<()> {
        if entry.stat.is_none() {
            return self.nothing_to_remove(path, entry);
        }
        let (expect, displaced) = self.expectation(&entry, &record)?;
        let action = Action::Remove {
            path: path.clone(),
            expect,
            displaced,
        };
        self.make_ready(path, entry.seq, record, action, None);
        Ok(())
    }

    fn nothing_to_remove(&mut self, path: RelPath, mut entry: IndexEntry) -> IndexResult<()> {
        self.no_doubt(&path)?;
        if let Some(want) = entry.want.take() {
            entry.held = Some(want.record);
            self.ledger.put(path, entry, true);
        }
        Ok(())
    }

    fn plan_content(
        &mut self,
        path: RelPath,
        entry: IndexEntry,
        record: Record,
    ) -> IndexResult<()> {
        if !self.parent_ready(&path)? {
            return Ok(());
        }
        if entry.stat.is_some_and(|s| s.kind == DiskKind::Dir)
            && self.dir_must_stay(&path, &entry, record.version.dot)?
        {
            return Ok(());
        }
        let (expect, displaced) = self.expectation(&entry, &record)?;
        if let Some(target) = record.entry.target.clone() {
            let action = Action::Symlink {
                path: path.clone(),
                target,
                expect,
                displaced,
            };
            self.make_ready(path, entry.seq, record, action, None);
            return Ok(());
        }
        let Some(content) = record.entry.content else {
            return Ok(());
        };
        let meta = meta_of(&record);
        if entry.content == Some(content) && entry.stat.is_some() {
            let action = Action::Meta {
                path: path.clone(),
                meta,
                expect,
            };
            self.make_ready(path, entry.seq, record, action, None);
            return Ok(());
        }
        if content == ContentRoot::empty() {
            return self.place(path, entry, record, Source::Bytes(bytes::Bytes::new()));
        }
        if self.planner.is_placing(&content) {
            self.planner.walk_again();
            return Ok(());
        }
        if self.planner.may_be_local(&path)
            && let Some(source) = self.local_source(&path, &content)?
        {
            let source_entry = self.ledger.entry(&source)?;
            let moved = source_entry
                .as_ref()
                .filter(|e| e.need() == Some(Need::Removal))
                .and_then(|e| e.stat);
            let free = entry.stat.is_none() && !self.planner.is_active(&source);
            return match moved {
                Some(stat) if free => {
                    let action = Action::Rename {
                        from: source.clone(),
                        expect_from: Expect::Stat(stat),
                        to: path.clone(),
                        meta,
                    };
                    let gone = source_entry.as_ref().map_or(0, |e| e.seq);
                    self.make_ready(path, entry.seq.max(gone), record, action, Some(source));
                    Ok(())
                }
                _ => self.place(path, entry, record, Source::CopyOf(source)),
            };
        }
        let tags = entry
            .want
            .as_ref()
            .map(|w| w.holders.clone())
            .unwrap_or_default();
        let holders = self.peers.holders(&tags, record.version.dot);
        let sessions: Vec<_> = holders.iter().map(|(session, _)| *session).collect();
        self.fetcher
            .want(content, record.entry.size, &sessions, self.now.mono);
        self.name_at(content, holders);
        self.planner.wait_for(content, path, record);
        Ok(())
    }

    /// A file on disk that holds `content`, other than `path` itself.
    fn local_source(
        &mut self,
        path: &RelPath,
        content: &ContentRoot,
    ) -> IndexResult<Option<RelPath>> {
        let mut found = None;
        for source in self.ledger.index().with_content(content, 4)? {
            if source == *path || self.planner.is_stale(&source) || self.planner.is_source(&source)
            {
                continue;
            }
            let Some(entry) = self.ledger.entry(&source)? else {
                continue;
            };
            if entry.content != Some(*content)
                || self.planner.in_group(&source)
                || is_blurred(&entry)
            {
                continue;
            }
            if entry.need() == Some(Need::Removal) {
                return Ok(Some(source));
            }
            if entry.need().is_none() {
                found = Some(source);
            }
        }
        Ok(found)
    }

    /// The record's content is at hand: what is on disk now gives way to it.
    pub(super) fn place(
        &mut self,
        path: RelPath,
        entry: IndexEntry,
        record: Record,
        source: Source,
    ) -> IndexResult<()> {
        let Some(content) = record.entry.content else {
            return Ok(());
        };
        let (expect, displaced) = self.expectation(&entry, &record)?;
        let meta = meta_of(&record);
        let size = record.entry.size;
        let action = Action::File {
            path: path.clone(),
            source,
            content,
            size,
            meta,
            expect,
            displaced,
        };
        self.make_ready(path, entry.seq, record, action, None);
        Ok(())
    }

    fn make_ready(
        &mut self,
        path: RelPath,
        seq: u64,
        record: Record,
        action: Action,
        from: Option<RelPath>,
    ) {
        let active = Active {
            record,
            action: Some(action),
            seq,
            from,
        };
        self.planner.make_ready(path, active);
    }

    /// Hands a group of actions to the disk, if it is free.
    pub(super) fn start_group(&mut self) -> IndexResult<()> {
        if !self.planner.may_begin_group() || !self.may_work() {
            return Ok(());
        }
        let (mut actions, mut paths, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut later, mut late) = (VecDeque::new(), BTreeSet::new());
        while actions.len() < GROUP_ACTIONS && bytes < GROUP_BYTES {
            let Some(path) = self.planner.next_ready() else {
                break;
            };
            let Some(active) = self.planner.active(&path) else {
                continue;
            };
            let above = path.parent().is_some_and(|p| late.contains(&p));
            if above || active.seq > self.ledger.durable() {
                // A crash must not leave on disk what the index knows nothing of.
                late.insert(path.clone());
                later.push_back(path);
                continue;
            }
            let Some(action) = active.action.clone() else {
                continue;
            };
            if let Action::Rename { from, .. } = &action
                && self.ledger.entry(from)?.and_then(|e| e.need()) != Some(Need::Removal)
            {
                // What it would take away is to stay after all.
                self.drop_work(&path);
                self.planner.walk_again();
                continue;
            }
            if let Action::File {
                source: Source::Bytes(b),
                ..
            } = &action
            {
                bytes += b.len();
            }
            self.ledger.pin(active.record.raw())?;
            actions.push(action);
            paths.push(path);
        }
        self.planner.put_back(later);
        if actions.is_empty() {
            return Ok(());
        }
        let group = self.planner.begin_group(paths, &actions);
        self.scans.touch(self.planner.touched());
        self.out.push_back(Output::Apply { group, actions });
        Ok(())
    }
}
