//! What a peer says, and what its records mean here.

use std::collections::BTreeSet;

use super::{Engine, Output, work::want_for};
use crate::{
    disk::DiskKind,
    dots::Dots,
    entry::{Entry, Kind, MODE_MASK},
    ids::SessionId,
    index::{Index, IndexEntry, IndexResult, PeerTag, flag},
    knowledge::Knowledge,
    message::{Announce, EngineMessage, Facts, Have, MAX_MESSAGE},
    reconcile::{Verdict, reconcile},
    record::{RawRecord, Record, RecordError},
    version::{Causality, Dot},
};

/// Bytes that say which chunks are here, in one answer.
const MAX_BITS: usize = MAX_MESSAGE / 2;

impl<I: Index> Engine<I> {
    pub(super) fn message(
        &mut self,
        session: SessionId,
        message: EngineMessage,
    ) -> IndexResult<()> {
        if self.peers.of(session).is_none() {
            return Ok(());
        }
        match message {
            EngineMessage::Head(head) => self.head(session, head),
            EngineMessage::Ask(ask) => self.ask(session, ask),
            EngineMessage::Records(records) => self.records(session, records),
            EngineMessage::BurstEnd(end) => self.burst_end(session, end),
            EngineMessage::Arrived(dots) => {
                self.arrived_at(session, &dots);
                Ok(())
            }
            EngineMessage::Progress(progress) => {
                self.progress(session, progress);
                Ok(())
            }
            EngineMessage::Missing(missing) => {
                self.misses(session, missing);
                Ok(())
            }
            EngineMessage::Aside(aside) => self.aside(session, aside),
            EngineMessage::WhoHas(contents) => self.who_has(session, contents),
            EngineMessage::Have(have) => {
                for have in &have {
                    self.fetcher.handle_have(session, have);
                }
                Ok(())
            }
        }
    }

    /// Takes in what a peer announces: which changes have arrived, and the numbers of all. `aside`: we asked for
    /// these. `false` if the peer lied.
    pub(super) fn announced(
        &mut self,
        session: SessionId,
        announce: Announce,
        aside: bool,
        arrived: &mut Dots,
        numbers: &mut Vec<u64>,
    ) -> IndexResult<bool> {
        let (group, facts) = announce.into_parts();
        let records = match self.ledger.verify(group) {
            Ok(records) => records,
            Err(error) => return Ok(self.lied(session, error)),
        };
        let ours = self.ledger.era();
        for (raw, facts) in records.into_iter().zip(facts) {
            numbers.push(facts.seq.0);
            let tag = raw.short_hash();
            match self.ledger.read(raw.clone()) {
                // A record of an older era is nobody's word any more.
                Ok(record) if record.era < ours => {}
                Ok(record) if record.era == ours => {
                    arrived.insert(record.version.dot);
                    if facts.holds
                        && let Some(peer) = self.peers.of_mut(session)
                    {
                        peer.theirs.note_held(record.version.dot, facts.seq);
                    }
                    self.take(session, record, facts, aside)?;
                }
                // It comes again when we know the new secret.
                Ok(_) => self.refuse(session),
                Err(RecordError::Format(_)) => match self.unknown(session, &raw)? {
                    Some(dot) => arrived.insert(dot),
                    None => self.refuse(session),
                },
                Err(error) => return Ok(self.lied(session, error)),
            }
            let peer = self.peers.of_mut(session);
            if let Some(list) = peer.and_then(|peer| peer.theirs.list_mut()) {
                list.full(tag);
            }
        }
        Ok(true)
    }

    /// A member of a later version made a record. Its dot, if it is kept; `None` if there is no room for it.
    fn unknown(&mut self, session: SessionId, raw: &RawRecord) -> IndexResult<Option<Dot>> {
        let mark = self.peers.of(session).map_or(0, |p| p.theirs.mark());
        let Ok(head) = raw.envelope() else {
            return Ok(None);
        };
        if head.era > self.ledger.era() || !self.ledger.keep_later(raw.clone(), mark)? {
            self.notes.set_beyond_us();
            return Ok(None);
        }
        self.planner.walk_again();
        Ok(Some(head.dot))
    }

    /// A record that a former run couldn't read is read now.
    pub(super) fn understand(&mut self, record: Record, learned: u64) -> IndexResult<()> {
        let old = self.ledger.entry(record.path())?;
        let current = self.announced_of(old.as_ref())?;
        // What we know covers it, as something that we have.
        match reconcile(current.as_ref(), &record, &Knowledge::new()) {
            Verdict::Take => self.accept(old, current.as_ref(), record, Vec::new(), learned),
            _ => Ok(()),
        }
    }

    fn announced_of(&self, entry: Option<&IndexEntry>) -> IndexResult<Option<Record>> {
        let raw = entry.and_then(IndexEntry::announced);
        raw.map(|raw| self.ledger.open(raw)).transpose()
    }

    fn refuse(&mut self, session: SessionId) {
        if let Some(peer) = self.peers.of_mut(session) {
            peer.theirs.refuse();
        }
    }

    /// A peer sent what no member makes. `false`.
    fn lied(&mut self, session: SessionId, error: RecordError) -> bool {
        self.refuse(session);
        self.out.push_back(Output::Ban {
            session,
            reason: error.to_string(),
        });
        false
    }

    /// Deals with one verified record.
    fn take(
        &mut self,
        session: SessionId,
        record: Record,
        Facts {
            holds, contested, ..
        }: Facts,
        aside: bool,
    ) -> IndexResult<()> {
        let Some(peer) = self.peers.of(session) else {
            return Ok(());
        };
        let (tag, mark, known_to) = (peer.tag(), peer.theirs.mark(), peer.ours.reached());
        self.ledger.check_past(&record)?;
        self.ledger.note_newest(record.clone());
        let path = record.path().clone();
        let old = self.ledger.entry(&path)?;
        let current = self.announced_of(old.as_ref())?;
        match reconcile(current.as_ref(), &record, self.ledger.knowledge()) {
            Verdict::Ignore => {
                let Some(mut entry) = old else { return Ok(()) };
                let newer =
                    current.is_some_and(|c| c.version.compare(&record.version) == Causality::After);
                if newer && aside {
                    // We asked only because we couldn't tell what it was.
                    return Ok(());
                }
                // It knew ours, and yet shows what ours builds on or beats: what had beaten ours there is
                // gone by now.
                let knew = entry.learned == mark || entry.seq <= known_to;
                // It may have passed ours over for such a state.
                let missed = !newer && !self.ledger.knowledge().covers(record.version.dot);
                let met = (contested || !newer) && entry.flags & flag::CONTESTED == 0;
                if (knew || missed || met) && self.may_retell(session) {
                    entry.learned = 0;
                    entry.flags |= flag::CONTESTED;
                    self.ledger.put(path, entry, true);
                }
                Ok(())
            }
            Verdict::Known => {
                let Some(mut entry) = old else { return Ok(()) };
                let met = contested && entry.flags & flag::CONTESTED == 0;
                if met {
                    entry.flags |= flag::CONTESTED;
                }
                let news = entry
                    .want
                    .as_mut()
                    .filter(|w| holds && !w.holders.contains(&tag));
                let is_news = news.is_some();
                if let Some(want) = news {
                    want.holders.push(tag);
                    if let Some(content) = record.entry.content {
                        self.fetcher.add_holder(content, session);
                    }
                }
                if met || is_news {
                    self.ledger.put(path, entry, met);
                }
                Ok(())
            }
            Verdict::Deleted => {
                let ours = !self.ledger.is_beyond_us(&path) && self.ledger.can_sign();
                if ours && record.entry.kind != Kind::Tombstone {
                    let us = self.ledger.replica();
                    let prev = record.entry.content;
                    let tombstone = Entry::tombstone(path, self.now.unix_ns, prev, us);
                    self.author(tombstone, &record.version.vector, IndexEntry::default());
                }
                Ok(())
            }
            Verdict::Take => {
                let mut old = old;
                if contested {
                    old.get_or_insert_default().flags |= flag::CONTESTED;
                }
                let holders = if holds { vec![tag] } else { Vec::new() };
                self.accept(old, current.as_ref(), record, holders, mark)
            }
        }
    }

    /// A record takes the place of what is told of its path now. `learned`: the mark of who told us.
    fn accept(
        &mut self,
        old: Option<IndexEntry>,
        current: Option<&Record>,
        record: Record,
        holders: Vec<PeerTag>,
        learned: u64,
    ) -> IndexResult<()> {
        let path = record.path().clone();
        let mut entry = old.unwrap_or_default();
        // Who told us may have taken ours meanwhile, and then hears of its own again.
        let rival =
            current.is_some_and(|c| c.version.compare(&record.version) == Causality::Concurrent);
        entry.learned = if rival { 0 } else { learned };
        if rival {
            entry.flags |= flag::CONTESTED;
        }
        if record.entry.kind.is_live() {
            // Somebody else wants it to be there: the held deletion is past.
            entry.flags &= !flag::HELD_BACK;
        }
        let doubt = self.planner.is_in_doubt(&path);
        let superseded = self.ledger.open_want(Some(&entry))?;
        self.superseded(superseded.as_ref(), &record)?;
        self.drop_work(&path);
        self.planner.forgive(&path);
        self.notes.mended(&path);
        if stands_already(&entry, &record) && !doubt {
            self.no_doubt(&path)?;
            entry.held = Some(record.raw().clone());
            entry.want = None;
            entry.flags &= !(flag::LOCAL_EDIT | flag::HELD_BACK);
        } else {
            entry.want = Some(want_for(&record, holders));
        }
        self.ledger.put(path, entry, true);
        self.planner.walk_again();
        Ok(())
    }

    /// Whether a peer may be told once more of something that it should know.
    fn may_retell(&mut self, session: SessionId) -> bool {
        let peer = self.peers.of_mut(session);
        peer.is_some_and(|peer| peer.ours.may_retell())
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
