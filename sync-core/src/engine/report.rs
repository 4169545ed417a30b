//! The folder's state, for people.

use super::{Engine, Event, Explanation, FolderStatus, ItemError, State, local::kind_word};
use crate::{
    conflict::is_copy,
    disk::DiskKind,
    index::{Index, IndexResult, flag},
    path::RelPath,
    record::Record,
};

impl<I: Index> Engine<I> {
    pub(super) fn report_state(&mut self) -> IndexResult<()> {
        let state = self.status()?.state;
        if self.notes.is_news(state) {
            self.event(Event::State(state));
        }
        Ok(())
    }

    /// The folder at this moment.
    pub fn status(&self) -> IndexResult<FolderStatus> {
        let mut totals = self.ledger.index().totals()?;
        // What can't be synced here is an error, not a need.
        let needs = totals.need.files + totals.need.deletes;
        let needs = needs.saturating_sub(self.notes.wanted());
        totals.need.files = totals.need.files.min(needs);
        let nothing = needs == 0;
        let settled = nothing && self.ledger.all_durable();
        let peers = self.peers.report(settled, self.ledger.durable());
        let reason = self.notes.stopped().cloned();
        let busy = self.planner.is_busy() || self.scans.is_busy();
        let exchanging = self.peers.is_exchanging();
        let state = if reason.is_some() {
            State::Stopped
        } else if self.notes.is_paused() {
            State::Paused
        } else if totals.held_back > 0 {
            State::Held
        } else if self.scans.is_scanning_all() {
            State::Scanning
        } else if needs > 0 || busy || exchanging || !self.ledger.all_durable() {
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
            errors: self.notes.len(),
            local_edits: totals.local_edits,
            held: totals.held_back,
            later: self.ledger.later(),
        })
    }

    /// Everything that is stuck, why, and when it is tried next.
    pub fn errors(&self) -> Vec<ItemError> {
        self.notes.errors(self.now.mono)
    }

    /// Why a path is as it is.
    pub fn explain(&self, path: &RelPath) -> IndexResult<Option<Explanation>> {
        let Some(entry) = self.ledger.index().entry(path)? else {
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
            ("held", self.ledger.open_held(Some(&entry))?),
            ("wanted", self.ledger.open_want(Some(&entry))?),
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
            let dot = want.record.dot();
            let here = dot.map_or_else(Vec::new, |dot| self.peers.named(&want.holders, dot));
            say(
                "held by",
                if here.is_empty() {
                    "nobody connected".into()
                } else {
                    here.join(", ")
                },
            );
        }
        if let Some(reason) = self.notes.reason(path) {
            say("waits", reason.in_full());
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
