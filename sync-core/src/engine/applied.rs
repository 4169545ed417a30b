//! What the outcome of an action means.

use super::{Engine, Event, local::kind_word, planner::Active};
use crate::{
    disk::{Action, DiskStat, Displaced, Outcome, Source},
    entry::{Entry, Kind},
    index::{Index, IndexEntry, IndexResult, flag},
    path::RelPath,
    record::Record,
    trouble::Trouble,
    version::Causality,
};

impl<I: Index> Engine<I> {
    pub(super) fn applied(&mut self, group: u64, outcomes: Vec<Outcome>) -> IndexResult<()> {
        let paths = self.planner.end_group(group).unwrap_or_default();
        for (path, outcome) in paths.into_iter().zip(outcomes) {
            let Some(active) = self.planner.finished(&path) else {
                continue;
            };
            self.outcome(path, active, outcome)?;
        }
        self.ledger.unpin();
        Ok(())
    }

    fn outcome(&mut self, path: RelPath, active: Active, outcome: Outcome) -> IndexResult<()> {
        match outcome {
            Outcome::Done { stat, copies } => self.done(path, active, stat, copies),
            Outcome::Stale => {
                if self.planner.contradicted(&path) {
                    self.stick(&path, Trouble::Contradicted);
                }
                // A missing directory above shows as a stale path too.
                if let Some(parent) = path.parent() {
                    self.scans.look_at(parent);
                }
                if let Some(from) = active.from {
                    self.scans.look_at(from);
                }
                self.planner.doubt(path.clone());
                self.scans.look_at(path);
                Ok(())
            }
            Outcome::NotEmpty => self.not_empty(path, active.record),
            Outcome::BadSource => {
                if let Some(Action::File {
                    source: Source::CopyOf(source),
                    ..
                }) = active.action
                {
                    self.scans.look_at(source);
                }
                self.planner.no_local(path);
                Ok(())
            }
            // The error may have come after the step that counts: a scan says what stands there now.
            Outcome::Failed { reason } => {
                self.stick(&path, reason);
                self.scans.look_at_each(active.from);
                self.in_doubt(path);
                Ok(())
            }
            Outcome::DiskFull { reason } => {
                self.notes.set_disk_full(reason, self.now.mono);
                self.scans.look_at_each(active.from);
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
        self.notes.mended(&path);
        self.planner.forgive(&path);
        self.no_doubt(&path)?;
        let old = self.ledger.entry(&path)?;
        let former = self.ledger.open_held(old.as_ref())?;
        if former
            .as_ref()
            .is_some_and(|f| f.version.compare(&record.version) == Causality::After)
        {
            // A newer record was made of this path while the group ran; a scan says what stands there.
            self.scans.look_at(path);
            self.scans.look_at_each(copies);
            self.scans.look_at_each(from);
            return Ok(());
        }
        let had = old.as_ref().and_then(|e| e.content);
        let mut entry = old.unwrap_or_default();
        entry.stat = stat;
        entry.content = record.entry.content.filter(|_| stat.is_some());
        entry.held = Some(record.raw().clone());
        entry.flags &= !(flag::LOCAL_EDIT | flag::RACY | flag::HELD_BACK);
        let wanted = entry.want.as_ref().and_then(|w| w.record.dot());
        if wanted == Some(record.version.dot) {
            entry.want = None;
        } else {
            self.ledger.restore(record.raw());
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
        self.scans.look_at_each(copies);
        match copied {
            Some(copy) => {
                self.scans.look_at(copy);
                self.settle(path, entry, &record, former)
            }
            None => {
                self.ledger.put(path, entry, true);
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
    ) -> IndexResult<()> {
        if entry.want.is_some() || !self.ledger.can_sign() {
            self.ledger.put(path, entry, true);
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
        let Some(mut entry) = self.ledger.entry(path)? else {
            return Ok(());
        };
        let Some(want) = self.ledger.open_want(Some(&entry))? else {
            // The deletion was superseded meanwhile; a scan finds out what that means.
            self.scans.look_at(path.clone());
            return Ok(());
        };
        entry.stat = None;
        entry.content = None;
        if want.entry.kind == Kind::Tombstone {
            entry.held = Some(want.raw().clone());
            entry.want = None;
        }
        self.ledger.put(path.clone(), entry, true);
        Ok(())
    }

    fn not_empty(&mut self, path: RelPath, record: Record) -> IndexResult<()> {
        let Some(entry) = self.ledger.entry(&path)? else {
            return Ok(());
        };
        if record.entry.kind != Kind::Tombstone {
            return self.stick_dir(path);
        }
        let mut after: Option<RelPath> = None;
        loop {
            let page = self
                .ledger
                .index()
                .entries_below(&path, after.as_ref(), 256)?;
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
        self.scans.look_at(path.clone());
        self.ledger.put(path, entry, true);
        Ok(())
    }

    fn stick_dir(&mut self, path: RelPath) -> IndexResult<()> {
        self.scans.look_at(path.clone());
        self.stick(
            &path,
            "the directory still holds files; they are looked at first".into(),
        );
        Ok(())
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
