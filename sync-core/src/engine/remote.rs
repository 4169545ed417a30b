//! What a peer says, and what its records mean here.

use std::collections::BTreeSet;

use super::{Engine, Output, work::want_for};
use crate::{
    disk::DiskKind,
    entry::{Entry, Kind, MODE_MASK},
    ids::SessionId,
    index::{Index, IndexEntry, IndexResult, flag},
    message::{Announce, EngineMessage, Have, MAX_MESSAGE},
    reconcile::{Verdict, reconcile},
    record::{Record, RecordError},
    version::Causality,
};

/// Bytes that say which chunks are here, in one answer.
const MAX_BITS: usize = MAX_MESSAGE / 2;

impl<I: Index> Engine<I> {
    pub(super) fn message(
        &mut self,
        session: SessionId,
        message: EngineMessage,
    ) -> IndexResult<()> {
        if !self.peers.has(session) {
            return Ok(());
        }
        match message {
            EngineMessage::Head(head) => self.head(session, head),
            EngineMessage::Ask(ask) => self.ask(session, ask),
            EngineMessage::Records(announces) => self.records(session, announces),
            EngineMessage::BurstEnd(end) => self.burst_end(session, end),
            EngineMessage::Progress(progress) => {
                self.progress(session, progress);
                Ok(())
            }
            EngineMessage::WhoHas(contents) => self.who_has(session, contents),
            EngineMessage::Have(have) => {
                for have in &have {
                    self.fetcher.handle_have(session, have);
                }
                Ok(())
            }
        }
    }

    fn records(&mut self, session: SessionId, announces: Vec<Announce>) -> IndexResult<()> {
        for announce in announces {
            let (group, facts) = announce.into_parts();
            let records = match self.ledger.verify(group) {
                Ok(records) => records,
                Err(error) => return self.lied(session, error),
            };
            for (raw, (seq, holds)) in records.into_iter().zip(facts) {
                if !self.peers.announced(session, seq.0, self.now.mono) {
                    return Ok(());
                }
                self.planner.burst_begins(self.now.mono);
                match self.ledger.read(raw) {
                    Ok(record) => self.take(session, record, holds)?,
                    Err(RecordError::Format(_)) => self.peers.refuse(session),
                    Err(error) => return self.lied(session, error),
                }
            }
        }
        Ok(())
    }

    /// A peer sent what no member makes.
    fn lied(&mut self, session: SessionId, error: RecordError) -> IndexResult<()> {
        self.peers.refuse(session);
        self.out.push_back(Output::Ban {
            session,
            reason: error.to_string(),
        });
        Ok(())
    }

    /// Deals with one verified record.
    fn take(&mut self, session: SessionId, record: Record, holds: bool) -> IndexResult<()> {
        let Some(peer) = self.peers.get(session) else {
            return Ok(());
        };
        let (tag, mark, known_to) = (peer.tag(), peer.mark(), peer.reached_of_ours());
        self.ledger.check_past(&record)?;
        self.ledger.note_newest(record.clone());
        let path = record.path().clone();
        let old = self.ledger.entry(&path)?;
        let current = old
            .as_ref()
            .and_then(IndexEntry::announced)
            .map(|raw| self.ledger.open(raw))
            .transpose()?;
        match reconcile(current.as_ref(), &record, self.ledger.knowledge()) {
            Verdict::Ignore => {
                let Some(mut entry) = old else { return Ok(()) };
                let newer =
                    current.is_some_and(|c| c.version.compare(&record.version) == Causality::After);
                // It knew ours, and yet shows what ours builds on or beats: what had beaten ours there is
                // gone by now.
                let knew = entry.learned == mark || entry.seq <= known_to;
                // It may have passed ours over for such a state.
                let missed = !newer && !self.ledger.knowledge().covers(record.version.dot);
                if (knew || missed) && self.peers.may_retell(session) {
                    entry.learned = 0;
                    self.ledger.put(path, entry, true);
                }
                Ok(())
            }
            Verdict::Known => {
                let Some(mut entry) = old else { return Ok(()) };
                let Some(want) = entry
                    .want
                    .as_mut()
                    .filter(|w| holds && !w.holders.contains(&tag))
                else {
                    return Ok(());
                };
                want.holders.push(tag);
                if let Some(content) = record.entry.content {
                    self.fetcher.add_holder(content, session);
                }
                self.ledger.put(path, entry, false);
                Ok(())
            }
            Verdict::Deleted => {
                if self.ledger.can_sign() && record.entry.kind != Kind::Tombstone {
                    let us = self.ledger.replica();
                    let prev = record.entry.content;
                    let tombstone = Entry::tombstone(path, self.now.unix_ns, prev, us);
                    self.author(tombstone, &record.version.vector, IndexEntry::default());
                }
                Ok(())
            }
            Verdict::Take => {
                let mut entry = old.unwrap_or_default();
                // Who told us may have taken ours meanwhile, and then hears of its own again.
                let rival = current
                    .as_ref()
                    .is_some_and(|c| c.version.compare(&record.version) == Causality::Concurrent);
                entry.learned = if rival { 0 } else { mark };
                if record.entry.kind.is_live() {
                    // Somebody else wants it to be there: the held deletion is past.
                    entry.flags &= !flag::HELD_BACK;
                }
                let doubt = self.planner.is_in_doubt(&path);
                let superseded = self.ledger.open_want(Some(&entry))?;
                self.superseded(&path, superseded.as_ref())?;
                self.drop_work(&path);
                self.planner.forgive(&path);
                self.notes.mended(&path);
                if stands_already(&entry, &record) && !doubt {
                    self.no_doubt(&path)?;
                    entry.held = Some(record.raw().clone());
                    entry.want = None;
                    entry.flags &= !(flag::LOCAL_EDIT | flag::HELD_BACK);
                } else {
                    let holders = if holds { vec![tag] } else { Vec::new() };
                    entry.want = Some(want_for(&record, holders));
                }
                self.ledger.put(path, entry, true);
                self.planner.walk_again();
                Ok(())
            }
        }
    }

    fn who_has(
        &mut self,
        session: SessionId,
        contents: Vec<crate::manifest::ContentRoot>,
    ) -> IndexResult<()> {
        let mut answer = Vec::new();
        let mut room = MAX_BITS;
        // Each once, however often it is asked.
        for content in contents.into_iter().collect::<BTreeSet<_>>() {
            let whole = !self.ledger.index().with_content(&content, 1)?.is_empty();
            let part = match whole || room == 0 {
                true => None,
                false => self.fetcher.handle_who_has(session, content),
            };
            let have = part.unwrap_or(Have {
                content,
                whole,
                first: 0,
                bits: Vec::new(),
            });
            room = room.saturating_sub(have.bits.len());
            answer.push(have);
        }
        self.send(session, EngineMessage::Have(answer));
        Ok(())
    }
}

/// Whether the disk, as the index remembers it, already shows what `record` says.
fn stands_already(entry: &IndexEntry, record: &Record) -> bool {
    let want = &record.entry;
    let Some(stat) = entry.stat else {
        return want.kind == Kind::Tombstone;
    };
    match (want.kind, stat.kind) {
        (Kind::File, DiskKind::File) => {
            want.content == entry.content
                && want.mtime_ns == stat.mtime_ns
                && want.mode == stat.mode & MODE_MASK
        }
        (Kind::Dir, DiskKind::Dir) => want.mode == stat.mode & MODE_MASK,
        _ => false,
    }
}
