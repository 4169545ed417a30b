//! A peer's changes come in.
//!
//! They are taken only where they follow on what was reached, and what became of them decides how far the cursor
//! goes. What arrived is told to everybody else at once, so that it isn't sent here again. What follows from a list
//! of all that lives with a peer is found here, too.

use super::{
    Engine,
    exchange::cursor_name,
    ledger::encode,
    peers::{Cursor, Fit, List, Peer, Said},
};
use crate::{
    dots::Dots,
    ids::{PeerKey, SessionId},
    index::{Index, IndexResult, flag},
    message::{Announce, Aside, BurstEnd, EngineMessage, Missing, Records},
    path::RelPath,
    record::RawRecord,
};

/// Entries looked at for a list at once.
const PAGE: usize = 500;

impl<I: Index> Engine<I> {
    pub(super) fn records(&mut self, session: SessionId, records: Records) -> IndexResult<()> {
        let now = self.now.mono;
        let Records {
            after,
            upto,
            changes,
            stubs,
            holds,
        } = records;
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(());
        };
        if peer.theirs.fit(session, after.0) != Fit::Fits {
            return Ok(());
        }
        peer.theirs.heard(now);
        if !changes.is_empty() {
            peer.theirs.burst(upto.0, now);
            self.planner.burst_begins(now);
        }
        if let Some(list) = peer.theirs.list_mut() {
            stubs.iter().for_each(|stub| list.stub(stub));
        }
        if self.take_all(session, changes, false)?.is_none() {
            return Ok(());
        }
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(());
        };
        let key = peer.key();
        if let Some(cursor) = peer.theirs.took(upto.0, &holds) {
            self.put_cursor(&key, cursor)?;
        }
        if !holds.is_empty() {
            self.holders_said(session, &holds);
        }
        self.planner.walk_again();
        Ok(())
    }

    /// Records of stubs that were asked for.
    pub(super) fn aside(&mut self, session: SessionId, aside: Aside) -> IndexResult<()> {
        let fits = |p: &Peer| p.theirs.is_over(session);
        if !self.peers.of(session).is_some_and(fits) {
            return Ok(());
        }
        let Some(told) = self.take_all(session, aside.changes, true)? else {
            return Ok(());
        };
        if let Some(list) = self.peers.of_mut(session).and_then(|p| p.theirs.list_mut()) {
            list.answered(aside.upto.0, &told);
        }
        self.planner.walk_again();
        Ok(())
    }

    /// Takes in changes, and tells the others what has arrived. The numbers of all, or `None` if the peer lied.
    fn take_all(
        &mut self,
        session: SessionId,
        changes: Vec<Announce>,
        aside: bool,
    ) -> IndexResult<Option<Vec<u64>>> {
        let (mut arrived, mut numbers) = (Dots::new(), Vec::new());
        for announce in changes {
            if !self.announced(session, announce, aside, &mut arrived, &mut numbers)? {
                return Ok(None);
            }
        }
        if !arrived.is_empty() {
            for other in self.peers.others(session) {
                self.send(other, EngineMessage::Arrived(arrived.clone()));
            }
        }
        Ok(Some(numbers))
    }

    fn put_cursor(&mut self, peer: &PeerKey, cursor: Cursor) -> IndexResult<()> {
        let value = encode(&cursor)?;
        self.ledger.put_fact(cursor_name(peer), value);
        Ok(())
    }

    pub(super) fn burst_end(&mut self, session: SessionId, end: BurstEnd) -> IndexResult<()> {
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(());
        };
        if peer.theirs.fit(session, end.upto.0) != Fit::Fits {
            return Ok(());
        }
        let whole = peer.theirs.burst_ended(end.listed.as_ref());
        peer.ours.knows(&end.knowledge);
        // Who may not write must not make us believe that we have seen, and therefore lost, what we never had.
        if whole && peer.level().can_write() {
            let grew = self.ledger.merge_knowledge(&end.knowledge)?;
            if grew && end.listed.is_some_and(|listed| listed.forgot) {
                self.ledger.raise_floor();
            }
        }
        self.planner.walk_again();
        Ok(())
    }

    pub(super) fn arrived_at(&mut self, session: SessionId, dots: &Dots) {
        if let Some(peer) = self.peers.of_mut(session).filter(|p| p.stream() == session) {
            peer.ours.arrived(dots, self.now.mono);
        }
    }

    /// Looks through our entries for those that finished lists name, a page for each; then asks for what we lack.
    pub(super) fn match_lists(&mut self) -> IndexResult<()> {
        for session in self.peers.streams() {
            let Some(peer) = self.peers.of_mut(session) else {
                continue;
            };
            let Some(list) = peer.theirs.list_mut() else {
                continue;
            };
            if let Some(after) = list.matches_after() {
                let page = self.ledger.index().entries_after(after.as_ref(), PAGE)?;
                let last = page.last().filter(|_| page.len() == PAGE);
                let last = last.map(|(path, _)| path.clone());
                for (path, _) in page {
                    self.match_entry(session, path)?;
                }
                if let Some(list) = self.list_of(session) {
                    list.matched(last);
                }
            }
            let question = self.list_of(session).and_then(|list| list.question());
            let Some(peer) = self.peers.of_mut(session) else {
                continue;
            };
            let (key, over) = (peer.key(), peer.theirs.over());
            if let Some(cursor) = peer.theirs.end_list() {
                self.put_cursor(&key, cursor)?;
            }
            if let Some((over, numbers)) = over.zip(question) {
                self.send(over, EngineMessage::Missing(Missing(numbers)));
            }
        }
        Ok(())
    }

    fn list_of(&mut self, session: SessionId) -> Option<&mut List> {
        self.peers.of_mut(session)?.theirs.list_mut()
    }

    /// Compares one entry of ours with the list of a peer.
    fn match_entry(&mut self, session: SessionId, path: RelPath) -> IndexResult<()> {
        let Some(mut entry) = self.ledger.entry(&path)? else {
            return Ok(());
        };
        if let Some(held) = entry.held.as_ref().filter(|_| entry.want.is_some()) {
            self.list_says(session, held);
        }
        let Some(said) = entry
            .announced()
            .and_then(|raw| self.list_says(session, raw))
        else {
            return Ok(());
        };
        let writes = |p: &Peer| p.level().can_write();
        let live = entry
            .announced()
            .and_then(RawRecord::kind)
            .is_some_and(|kind| kind.is_live());
        if said == Said::Gone && live && self.peers.of(session).is_some_and(writes) {
            // It was deleted where the deletion is forgotten by now. Who knew our version answers it by a new
            // deletion; nothing is taken away here on the word of a list.
            entry.learned = 0;
            entry.flags |= flag::CONTESTED;
            self.ledger.put(path, entry, true);
        }
        Ok(())
    }

    /// What the list says of a record. That its peer holds it is noted.
    fn list_says(&mut self, session: SessionId, raw: &RawRecord) -> Option<Said> {
        let dot = raw.dot()?;
        let theirs = &mut self.peers.of_mut(session)?.theirs;
        let said = theirs.list_mut()?.says(raw.short_hash(), dot);
        if let Said::Named {
            holds: Some(number),
        } = said
        {
            theirs.note_held(dot, number);
        }
        Some(said)
    }
}
