//! What the outcome of an action means, the choice of what to look at next, and the state for people.

use super::{
    Active, Engine, Event, Explanation, FolderStatus, ItemError, Output, PeerStatus, Running,
    ScanWhat, State, local::kind_word,
};
use crate::{
    conflict::is_copy,
    disk::{Action, DiskKind, DiskStat, Displaced, Outcome, Source},
    entry::{Entry, Kind},
    index::{Index, IndexEntry, IndexResult, flag},
    path::RelPath,
    record::Record,
    version::Causality,
};

/// Paths in one scan of dirty paths; with more, everything is looked at.
const MAX_DIRTY: usize = 20_000;
/// How often in a row the disk may contradict the index at a path before the path has to wait.
const PATIENCE: u32 = 3;

impl<I: Index> Engine<I> {
    pub(super) fn applied(&mut self, group: u64, outcomes: Vec<Outcome>) -> IndexResult<()> {
        let Some((running, paths)) = self.work.group.take() else {
            return Ok(());
        };
        if running != group {
            self.work.group = Some((running, paths));
            return Ok(());
        }
        self.work.touched.clear();
        for (path, outcome) in paths.into_iter().zip(outcomes) {
            let Some(active) = self.work.active.remove(&path) else {
                continue;
            };
            if let Some(from) = &active.from {
                self.work.sources.remove(from);
            }
            if let Some(Action::File {
                source: Source::Temp(content),
                ..
            }) = &active.action
            {
                self.work.placing.remove(content);
            }
            self.outcome(path, active, outcome)?;
        }
        self.work.dirty = true;
        Ok(())
    }

    fn outcome(&mut self, path: RelPath, active: Active, outcome: Outcome) -> IndexResult<()> {
        match outcome {
            Outcome::Done { stat, copies } => self.done(path, active, stat, copies),
            Outcome::Stale => {
                let count = self.work.contradicted.entry(path.clone()).or_default();
                *count += 1;
                if *count >= PATIENCE {
                    let reason = "what stands there isn't what was expected, time and again; it is looked at anew";
                    self.stick(&path, reason.into());
                }
                // A missing directory above shows as a stale path too.
                if let Some(parent) = path.parent() {
                    self.scan.dirty.insert(parent);
                }
                if let Some(from) = active.from {
                    self.scan.dirty.insert(from);
                }
                self.work.stale.insert(path.clone());
                self.scan.dirty.insert(path);
                Ok(())
            }
            Outcome::NotEmpty => self.not_empty(path, active.record),
            Outcome::BadSource => {
                if let Some(Action::File {
                    source: Source::CopyOf(source),
                    ..
                }) = active.action
                {
                    self.scan.dirty.insert(source);
                }
                self.work.no_local.insert(path);
                Ok(())
            }
            // The error may have come after the step that counts: a scan says what stands there now.
            Outcome::Failed { reason } => {
                self.stick(&path, reason);
                self.scan.dirty.extend(active.from);
                self.in_doubt(path);
                Ok(())
            }
            Outcome::DiskFull { reason } => {
                self.set_disk_full(reason);
                self.scan.dirty.extend(active.from);
                self.in_doubt(path);
                Ok(())
            }
        }
    }

    fn done(
        &mut self,
        path: RelPath,
        active: Active,
        stat: Option<DiskStat>,
        copies: Vec<RelPath>,
    ) -> IndexResult<()> {
        let Active {
            record,
            action,
            from,
            ..
        } = active;
        self.stuck.remove(&path);
        self.work.no_local.remove(&path);
        self.work.contradicted.remove(&path);
        self.no_doubt(&path)?;
        let old = self.entry(&path)?;
        let former = self.open_held(old.as_ref())?;
        if former
            .as_ref()
            .is_some_and(|f| f.version.compare(&record.version) == Causality::After)
        {
            // A newer record was made of this path while the group ran; a scan says what stands there.
            self.scan.dirty.insert(path);
            self.scan.dirty.extend(copies);
            self.scan.dirty.extend(from);
            return Ok(());
        }
        let had = old.as_ref().and_then(|e| e.content);
        let mut entry = old.unwrap_or_default();
        entry.stat = stat;
        entry.content = record.entry.content.filter(|_| stat.is_some());
        entry.held = Some(record.raw().clone());
        entry.flags &= !(flag::LOCAL_EDIT | flag::RACY | flag::HELD_BACK);
        let newer_wanted = entry
            .want
            .as_ref()
            .is_some_and(|w| w.record.dot() != Some(record.version.dot));
        if !newer_wanted {
            entry.want = None;
        }
        if let Some(from) = from {
            self.moved_away(&from)?;
        }
        let displaced = action.as_ref().and_then(displaced_copy);
        let copied = displaced.filter(|_| had.is_some());
        self.event(Event::RemoteChange {
            path: path.clone(),
            what: kind_word(record.entry.kind),
        });
        for copy in &copies {
            self.event(Event::Conflict {
                path: path.clone(),
                copy: copy.clone(),
            });
        }
        self.scan.dirty.extend(copies);
        match copied {
            Some(copy) => {
                self.scan.dirty.insert(copy);
                self.settle(path, entry, &record, former, newer_wanted)
            }
            None => {
                self.put(path, entry, true);
                Ok(())
            }
        }
    }

    /// A conflict was resolved here: the winner is signed anew on top of both sides, so that nobody has to
    /// resolve it again. It claims no ancestor content: only causality speaks for it.
    fn settle(
        &mut self,
        path: RelPath,
        entry: IndexEntry,
        winner: &Record,
        loser: Option<Record>,
        newer_wanted: bool,
    ) -> IndexResult<()> {
        if newer_wanted || !self.can_sign() {
            self.put(path, entry, true);
            return Ok(());
        }
        let mut past = winner.version.vector.clone();
        if let Some(loser) = loser {
            past.merge(&loser.version.vector);
        }
        let said = Entry {
            prev: None,
            ..winner.entry.clone()
        };
        self.author(said, &past, entry);
        Ok(())
    }

    /// The file at `path` was moved away by a rename that stood for its deletion.
    fn moved_away(&mut self, path: &RelPath) -> IndexResult<()> {
        let Some(mut entry) = self.entry(path)? else {
            return Ok(());
        };
        let Some(want) = self.open_want(Some(&entry))? else {
            // The deletion was superseded meanwhile; a scan finds out what that means.
            self.scan.dirty.insert(path.clone());
            return Ok(());
        };
        entry.stat = None;
        entry.content = None;
        if want.entry.kind == Kind::Tombstone {
            entry.held = Some(want.raw().clone());
            entry.want = None;
        }
        self.put(path.clone(), entry, true);
        Ok(())
    }

    fn not_empty(&mut self, path: RelPath, record: Record) -> IndexResult<()> {
        let Some(entry) = self.entry(&path)? else {
            return Ok(());
        };
        if record.entry.kind != Kind::Tombstone {
            return self.stick_dir(path);
        }
        let mut after: Option<RelPath> = None;
        loop {
            let page = self.index.entries_below(&path, after.as_ref(), 256)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (below, known) in page {
                if known
                    .announced()
                    .is_some_and(|raw| raw.kind().is_some_and(Kind::is_live))
                {
                    self.revive_parent(&below)?;
                    return Ok(());
                }
                if known.need().is_some() {
                    // Its removal is still to come; then this one is tried again.
                    return self.stick_dir(path);
                }
            }
        }
        // What it holds isn't synced: it stays here, and the deletion stands for the others.
        let mut entry = entry;
        if entry
            .want
            .as_ref()
            .is_some_and(|w| w.record.dot() != Some(record.version.dot))
        {
            // Something newer came while the group ran.
            return Ok(());
        }
        entry.want = None;
        entry.held = Some(record.raw().clone());
        self.scan.dirty.insert(path.clone());
        self.put(path, entry, true);
        Ok(())
    }

    fn stick_dir(&mut self, path: RelPath) -> IndexResult<()> {
        self.scan.dirty.insert(path.clone());
        self.stick(
            &path,
            "the directory still holds files; they are looked at first".into(),
        );
        Ok(())
    }

    /// Begins the next scan, if none is running.
    pub(super) fn start_scan(&mut self) {
        if self.scan.running.is_some() || !self.active_now() {
            return;
        }
        let all = self.scan.all || self.scan.dirty.len() > MAX_DIRTY;
        if !all && self.scan.dirty.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.scan.dirty);
        let asked: Vec<_> = if all {
            Vec::new()
        } else {
            dirty.into_iter().collect()
        };
        let what = if all {
            self.scan.all = false;
            ScanWhat::All
        } else {
            ScanWhat::Paths(asked.clone())
        };
        self.scan.last += 1;
        let scan = self.scan.last;
        let touched = self.work.touched.clone();
        self.scan.running = Some(Running {
            scan,
            all,
            asked,
            unread: std::collections::BTreeSet::new(),
            touched,
            gone: Vec::new(),
        });
        self.out.push_back(Output::Scan { scan, what });
    }

    pub(super) fn report_state(&mut self) -> IndexResult<()> {
        let state = self.status()?.state;
        if self.last_state != Some(state) {
            self.last_state = Some(state);
            self.event(Event::State(state));
        }
        Ok(())
    }

    /// The folder at this moment.
    pub fn status(&self) -> IndexResult<FolderStatus> {
        let mut totals = self.index.totals()?;
        // What can't be synced here is an error, not a need.
        let stuck = self.stuck.values().filter(|s| s.wanted).count() as u64;
        let needs = (totals.need.files + totals.need.deletes).saturating_sub(stuck);
        totals.need.files = totals.need.files.min(needs);
        let nothing = needs == 0;
        let peers: Vec<_> = self
            .sessions
            .iter()
            .map(|(session, peer)| PeerStatus {
                session: *session,
                peer: peer.key,
                level: peer.level,
                in_sync: self.in_sync_with(peer, nothing),
                needs_files: peer.needs().0,
                needs_bytes: peer.needs().1,
            })
            .collect();
        let reason = self.failed.clone().or_else(|| self.lost.clone());
        let reason = reason.or_else(|| self.disk_full.as_ref().map(|(r, _)| r.clone()));
        let busy =
            self.work.group.is_some() || self.scan.running.is_some() || !self.scan.dirty.is_empty();
        let exchanging = self.sessions.values().any(|p| p.burst_since.is_some());
        let state = if self.failed.is_some() || self.lost.is_some() || self.disk_full.is_some() {
            State::Stopped
        } else if self.paused {
            State::Paused
        } else if totals.held_back > 0 {
            State::Held
        } else if !self.scan.first_done || self.scan.running.as_ref().is_some_and(|r| r.all) {
            State::Scanning
        } else if needs > 0 || busy || exchanging || self.flush.durable != self.seq {
            State::Syncing
        } else if peers.iter().any(|p| p.in_sync) {
            State::InSync
        } else if peers.is_empty() {
            State::NoPeers
        } else {
            State::Syncing
        };
        Ok(FolderStatus {
            state,
            reason,
            totals,
            peers,
            conflicts: totals.conflicts,
            errors: self.stuck.len() as u64 + self.skipped.len() as u64,
            local_edits: totals.local_edits,
            held: totals.held_back,
        })
    }

    /// Everything that is stuck, why, and when it is tried next.
    pub fn errors(&self) -> Vec<ItemError> {
        let now = self.now.mono;
        let stuck = self.stuck.iter().map(|(path, s)| ItemError {
            path: path.as_bytes().to_vec(),
            reason: s.reason.clone(),
            next_try_s: Some(s.next.saturating_sub(now).as_secs()).filter(|s| *s < 86_400),
        });
        let skipped = self.skipped.iter().map(|(path, reason)| ItemError {
            path: path.clone(),
            reason: reason.clone(),
            next_try_s: None,
        });
        stuck.chain(skipped).collect()
    }

    /// Why a path is as it is.
    pub fn explain(&self, path: &RelPath) -> IndexResult<Option<Explanation>> {
        let Some(entry) = self.index.entry(path)? else {
            return Ok(None);
        };
        let mut lines = Vec::new();
        let mut say = |name: &str, text: String| lines.push((name.to_owned(), text));
        say(
            "on disk",
            match entry.stat {
                None => "nothing".into(),
                Some(s) if s.kind == DiskKind::File => format!("file, {} bytes", s.size),
                Some(s) => format!("{:?}", s.kind).to_lowercase(),
            },
        );
        for (name, record) in [
            ("held", self.open_held(Some(&entry))?),
            ("wanted", self.open_want(Some(&entry))?),
        ] {
            if let Some(Record { entry, version, .. }) = record {
                say(
                    name,
                    format!(
                        "{} of {} bytes, version {:?}",
                        kind_word(entry.kind),
                        entry.size,
                        version.dot
                    ),
                );
                say("made by", version.dot.replica.to_string());
            }
        }
        if let Some(want) = &entry.want {
            let here: Vec<_> = self
                .sessions
                .values()
                .filter(|p| want.holders.contains(&p.tag))
                .map(|p| p.key.short())
                .collect();
            say(
                "held by",
                if here.is_empty() {
                    "nobody connected".into()
                } else {
                    here.join(", ")
                },
            );
        }
        if let Some(stuck) = self.stuck.get(path) {
            say("waits", stuck.reason.clone());
        }
        if entry.flags & flag::HELD_BACK != 0 {
            say(
                "waits",
                "its deletion is held until it is approved or rejected".into(),
            );
        }
        if entry.flags & flag::LOCAL_EDIT != 0 {
            say(
                "local",
                "changed here; a read-only secret can't publish it".into(),
            );
        }
        if is_copy(path) {
            say(
                "conflict",
                "this is the copy of an edit that lost its name".into(),
            );
        }
        Ok(Some(Explanation {
            path: path.clone(),
            lines,
        }))
    }
}

fn displaced_copy(action: &Action) -> Option<RelPath> {
    match action {
        Action::Dir { displaced, .. }
        | Action::File { displaced, .. }
        | Action::Symlink { displaced, .. }
        | Action::Remove { displaced, .. } => match displaced {
            Displaced::Copy(path) => Some(path.clone()),
            Displaced::Archive => None,
        },
        Action::Meta { .. } | Action::Rename { .. } => None,
    }
}
