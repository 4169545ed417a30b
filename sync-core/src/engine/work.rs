//! Which wanted records are worked on, in which order, and by which action.
//!
//! Directories come first, from the top down; then contents; removals last, from the bottom up, after every
//! wanted content was looked at once, so that a file that only moved is moved and not fetched. Work is taken
//! from the index in windows: a million wanted files cost no memory here.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::{Active, BURST_WAIT, Engine, Output, expect::meta_of};
use crate::{
    disk::{Action, DiskKind, DiskStat, Expect, Source},
    entry::Kind,
    fetch::TempJob,
    index::{Index, IndexEntry, IndexResult, Need, PeerTag, Want, flag},
    manifest::ContentRoot,
    path::RelPath,
    record::Record,
};

/// Wanted records worked on at once.
const MAX_ACTIVE: usize = 8_192;
/// Actions in one group, and their bytes.
const GROUP_ACTIONS: usize = 1_024;
const GROUP_BYTES: usize = 16 << 20;
/// Pause between two walks over what is needed.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Where the walk over the lists of work stands.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    need: Option<Need>,
    after: Option<RelPath>,
}

impl Cursor {
    /// Whether no walk is under way.
    pub(super) fn is_done(&self) -> bool {
        self.need.is_none()
    }
}

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
    pub(super) fn in_group(&self, path: &RelPath) -> bool {
        self.work.touched.contains(path)
    }

    /// Forgets the work on `path`, unless it is on the disk's hands already.
    pub(super) fn drop_work(&mut self, path: &RelPath) {
        if self.in_group(path) {
            return;
        }
        let Some(active) = self.work.active.remove(path) else {
            return;
        };
        if let Some(from) = &active.from {
            self.work.sources.remove(from);
            self.work.dirty = true;
        }
        self.work.ready.retain(|p| p != path);
        let Some(content) = active.record.entry.content else {
            return;
        };
        if let Some(waiting) = self.work.waiting.get_mut(&content) {
            waiting.remove(path);
            if waiting.is_empty() {
                self.work.waiting.remove(&content);
                self.fetcher.forget(content);
                if content.height > 0 {
                    self.out.push_back(Output::Temp(TempJob::Drop { content }));
                }
            }
        }
        if matches!(
            active.action,
            Some(Action::File {
                source: Source::Temp(_),
                ..
            })
        ) {
            self.work.placing.remove(&content);
        }
    }

    pub(super) fn may_work(&self) -> bool {
        let now = self.now.mono;
        let open = self.sessions.values().filter_map(|p| p.burst_since);
        let in_burst = open.into_iter().any(|since| now < since + BURST_WAIT);
        // A peer that begins burst after burst doesn't hold everybody up for ever.
        let patient = self
            .work
            .waits_since
            .is_none_or(|since| now < since + BURST_WAIT);
        self.active_now()
            && self.scan.first_done
            && self.disk_full.is_none()
            && !(in_burst && patient)
    }

    /// Looks for work, as far as there is room for it.
    pub(super) fn plan_work(&mut self) -> IndexResult<()> {
        if !self.may_work() {
            return Ok(());
        }
        if self.work.cursor.need.is_none() {
            if !self.work.dirty || self.now.mono < self.work.next_round {
                return Ok(());
            }
            self.work.dirty = false;
            self.work.next_round = self.now.mono + ROUND_PAUSE;
            self.work.cursor = Cursor {
                need: Some(Need::Dir),
                after: None,
            };
        }
        while let Some(need) = self.work.cursor.need {
            if self.work.active.len() >= MAX_ACTIVE
                || (need == Need::Content && !self.fetcher.capacity())
            {
                return Ok(());
            }
            let after = self.work.cursor.after.clone();
            let paths = self.index.needs(need, after.as_ref(), 256)?;
            let Some(last) = paths.last().cloned() else {
                self.work.cursor.after = None;
                self.work.cursor.need = match need {
                    Need::Dir => Some(Need::Content),
                    Need::Content => Some(Need::Removal),
                    Need::Removal => None,
                };
                continue;
            };
            for path in paths {
                self.plan_path(path, need)?;
            }
            self.work.cursor.after = Some(last);
        }
        Ok(())
    }

    fn plan_path(&mut self, path: RelPath, need: Need) -> IndexResult<()> {
        let waits = self
            .stuck
            .get(&path)
            .is_some_and(|s| s.next != Duration::MAX);
        if waits
            || self.work.active.contains_key(&path)
            || self.is_unknown(&path)
            || self.is_rename_source(&path)
        {
            return Ok(());
        }
        let Some(entry) = self.entry(&path)? else {
            return Ok(());
        };
        if entry.need() != Some(need) {
            return Ok(());
        }
        if is_blurred(&entry) {
            self.work.dirty = true;
            return Ok(());
        }
        let Some(record) = self.open_want(Some(&entry))? else {
            return Ok(());
        };
        match need {
            Need::Dir => self.plan_dir(path, entry, record),
            Need::Content => self.plan_content(path, entry, record),
            Need::Removal => self.plan_removal(path, entry, record),
        }
    }

    /// Whether a scan is to say first what stands at `path`, or at a directory above it.
    pub(super) fn is_unknown(&self, path: &RelPath) -> bool {
        let stale = &self.work.stale;
        !stale.is_empty()
            && (stale.contains(path) || path.ancestors().any(|dir| stale.contains(&dir)))
    }

    fn is_rename_source(&self, path: &RelPath) -> bool {
        self.work.sources.contains(path)
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
            self.put(path, entry, true);
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
            && self.dir_must_stay(&path, &entry)?
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
        if self.work.placing.contains(&content) {
            self.work.dirty = true;
            return Ok(());
        }
        if !self.work.no_local.contains(&path)
            && let Some(source) = self.local_source(&path, &content)?
        {
            let source_entry = self.entry(&source)?;
            let moved = source_entry
                .as_ref()
                .filter(|e| e.need() == Some(Need::Removal))
                .and_then(|e| e.stat);
            let free = entry.stat.is_none() && !self.work.active.contains_key(&source);
            return match moved {
                Some(stat) if free => {
                    let action = Action::Rename {
                        from: source.clone(),
                        expect_from: Expect::Stat(stat),
                        to: path.clone(),
                        meta,
                    };
                    self.work.sources.insert(source.clone());
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
        let holders: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, p)| tags.contains(&p.tag))
            .map(|(s, _)| *s)
            .collect();
        self.fetcher
            .want(content, record.entry.size, &holders, self.now.mono);
        self.work
            .waiting
            .entry(content)
            .or_default()
            .insert(path.clone());
        self.work.active.insert(
            path,
            Active {
                record,
                action: None,
                seq: 0,
                from: None,
            },
        );
        Ok(())
    }

    /// A file on disk that holds `content`, other than `path` itself.
    fn local_source(
        &mut self,
        path: &RelPath,
        content: &ContentRoot,
    ) -> IndexResult<Option<RelPath>> {
        let mut found = None;
        for source in self.index.with_content(content, 4)? {
            if source == *path
                || self.work.stale.contains(&source)
                || self.work.sources.contains(&source)
            {
                continue;
            }
            let Some(entry) = self.entry(&source)? else {
                continue;
            };
            if entry.content != Some(*content) || self.in_group(&source) || is_blurred(&entry) {
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
        self.work.active.insert(
            path.clone(),
            Active {
                record,
                action: Some(action),
                seq,
                from,
            },
        );
        self.work.ready.push_back(path);
    }

    /// Hands a group of actions to the disk, if it is free.
    pub(super) fn start_group(&mut self) -> IndexResult<()> {
        if self.work.group.is_some() || self.work.ready.is_empty() || !self.may_work() {
            return Ok(());
        }
        let (mut actions, mut paths, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut later, mut late) = (VecDeque::new(), BTreeSet::new());
        while actions.len() < GROUP_ACTIONS && bytes < GROUP_BYTES {
            let Some(path) = self.work.ready.pop_front() else {
                break;
            };
            let Some(active) = self.work.active.get(&path) else {
                continue;
            };
            let above = path.parent().is_some_and(|p| late.contains(&p));
            if above || active.seq > self.flush.durable {
                // A crash must not leave on disk what the index knows nothing of.
                late.insert(path.clone());
                later.push_back(path);
                continue;
            }
            let Some(action) = active.action.clone() else {
                continue;
            };
            if let Action::Rename { from, .. } = &action
                && self.entry(from)?.and_then(|e| e.need()) != Some(Need::Removal)
            {
                // What it would take away is to stay after all.
                self.drop_work(&path);
                self.work.dirty = true;
                continue;
            }
            if let Action::File {
                source: Source::Bytes(b),
                ..
            } = &action
            {
                bytes += b.len();
            }
            actions.push(action);
            paths.push(path);
        }
        later.append(&mut self.work.ready);
        self.work.ready = later;
        if actions.is_empty() {
            return Ok(());
        }
        let sources = actions.iter().filter_map(|a| match a {
            Action::Rename { from, .. } => Some(from),
            _ => None,
        });
        self.work.touched = sources.chain(&paths).cloned().collect();
        if let Some(running) = &mut self.scan.running {
            running.touched.extend(self.work.touched.iter().cloned());
        }
        self.work.waits_since = None;
        self.work.last_group += 1;
        let group = self.work.last_group;
        self.work.group = Some((group, paths));
        self.out.push_back(Output::Apply { group, actions });
        Ok(())
    }
}
