//! Sessions, and the questions and answers that frame the exchange of indexes.
//!
//! Each side numbers its changes, says so in a greeting and asks the other's for all after the last number it holds.
//! Messages with changes follow in order; each says which numbers it speaks of, so none is lost and none is needed
//! twice. When nothing is left to say the burst ends with a marker that carries our knowledge. Four messages may be
//! on their way without an answer, so a slow peer holds back its sender and nobody's memory fills.
//!
//! What is decided of a peer is in [`super::peers`]; our changes are told in [`super::telling`], theirs are heard in
//! [`super::hearing`].

use super::{
    Engine, Output,
    ledger::learned_mark,
    peers::{Cursor, Peer},
};
use crate::{
    ids::{PeerKey, Seq, SessionId},
    index::{Index, IndexError, IndexResult},
    knowledge::Knowledge,
    message::{Ask, EngineMessage, Head, Listed, Message, Missing, Progress},
    secret::Level,
};

impl<I: Index> Engine<I> {
    pub(super) fn peer_up(
        &mut self,
        session: SessionId,
        peer: PeerKey,
        level: Level,
    ) -> IndexResult<()> {
        match self.peers.up(session, peer, level) {
            true => self.begin_stream(session),
            false => Ok(()),
        }
    }

    pub(super) fn peer_down(&mut self, session: SessionId) -> IndexResult<()> {
        self.fetcher.remove_peer(session);
        let peer = self.peers.of(session).map(Peer::key);
        if let Some(next) = self.peers.down(session) {
            self.begin_stream(next)?;
        }
        // Greetings over two sessions may overtake each other: what it said on the other may be the newer.
        match peer.and_then(|key| self.peers.greeting_of(&key)) {
            Some((session, head)) => self.head(session, head),
            None => Ok(()),
        }
    }

    /// The index of a peer, and contents, go over this session from now on. What was asked over the one before is
    /// still awaited there.
    pub(super) fn prefer(&mut self, session: SessionId) -> IndexResult<()> {
        match self.peers.prefer(session) {
            Some(old) => {
                self.begin_stream(session)?;
                self.fetcher.rest_peer(old);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn begin_stream(&mut self, session: SessionId) -> IndexResult<()> {
        self.fetcher.add_peer(session, self.now.mono);
        self.peers.greet(session);
        self.send_head(session);
        self.holders_changed()
    }

    fn send_head(&mut self, session: SessionId) {
        let head = Head {
            generation: self.ledger.numbering(),
            last: Seq(self.ledger.durable()),
            replica: self.ledger.replica(),
        };
        self.send(session, EngineMessage::Head(head));
    }

    pub(super) fn send(&mut self, session: SessionId, message: impl Into<Message>) {
        let message = message.into();
        self.out.push_back(Output::Send { session, message });
    }

    pub(super) fn head(&mut self, session: SessionId, head: Head) -> IndexResult<()> {
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(());
        };
        let stored = self.ledger.index().fact(&cursor_name(&peer.key()))?;
        // One that can't be read is as good as none.
        let cursor = stored.and_then(|b| minicbor::decode::<Cursor>(&b).ok());
        let cursor = cursor.filter(|(generation, ..)| *generation == head.generation);
        let mark = learned_mark(&peer.key(), head.generation);
        peer.theirs.greeted(session, &head, cursor, mark);
        Ok(())
    }

    /// Asks those peers for their changes who greeted us, or left a gap; those who have many one after the other, so
    /// that not everybody answers the same. Not before the first scan is done: what a crash left on disk must be
    /// known before a record can say that it should not be there.
    pub(super) fn ask_all(&mut self) -> IndexResult<()> {
        if !self.scans.first_done() {
            return Ok(());
        }
        let now = self.now.mono;
        for question in self.peers.questions(now) {
            if question.burst {
                self.planner.burst_begins(now);
            }
            let ask = Ask {
                generation: question.generation,
                after: question.after,
                newest: self.ledger.newest_of(question.replica)?,
                era: self.ledger.era(),
                knowledge: self.ledger.knowledge().clone(),
                listed: question.listed,
            };
            self.send(question.over, EngineMessage::Ask(ask));
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, session: SessionId, ask: Ask) -> IndexResult<()> {
        if let Some(group) = ask.newest {
            self.ledger.check_own(group)?;
        }
        let ours = ask.generation == self.ledger.numbering();
        let floor = self.ledger.floor()?;
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(());
        };
        let stream = peer.stream();
        if stream != session {
            // Our greeting over this session overtook the later one: it is greeted once more where it is to ask.
            if peer.ours.may_be_greeted_again() {
                self.send_head(stream);
            }
            return Ok(());
        }
        let strange = ours && self.ledger.never_gave(ask.after.0);
        if strange && peer.level().can_write() {
            // The peer holds numbers that we never gave: our past is younger than its memory. Its word is
            // not signed, so only a writer's counts.
            return Err(IndexError::Restored);
        }
        // Whoever can't make us believe it is told everything, as those numbers mean nothing here.
        let ours = ours && !strange;
        let after = match ours {
            true => ask.after.0.min(self.ledger.durable()),
            false => 0,
        };
        // Once deletions were forgotten, a first question, one of another numbering and one from before need to
        // know all that lives. While none is, our changes say it all.
        let list = !(ours && ask.listed && ask.after.0 >= floor);
        let list = list.then(|| match floor > 0 {
            true => Listed::forgetful(self.ledger.knowledge().clone()),
            false => Listed::default(),
        });
        let known = match ask.era == self.ledger.era() {
            true => ask.knowledge,
            // What is known of another era says nothing of this one.
            false => Knowledge::new(),
        };
        peer.ours.asks(after, known, list);
        Ok(())
    }

    pub(super) fn progress(&mut self, session: SessionId, progress: Progress) {
        if let Some(peer) = self.peers.of_mut(session).filter(|p| p.stream() == session) {
            peer.ours.progressed(progress);
        }
    }

    pub(super) fn misses(&mut self, session: SessionId, missing: Missing) {
        if let Some(peer) = self.peers.of_mut(session).filter(|p| p.stream() == session) {
            peer.ours.misses(missing);
        }
    }

    /// Tells peers how far we have come, when it changed: at once when something ends, else a few
    /// times a second.
    pub(super) fn send_progress(&mut self) -> IndexResult<()> {
        let need = self.ledger.index().totals()?.need;
        // What is stuck is an error here, and nobody waits for it.
        let files = (need.files + need.deletes).saturating_sub(self.notes.wanted());
        let now = self.now.mono;
        let each = self.peers.each_mut();
        let due = each.filter_map(|peer| peer.theirs.progress(files, need.bytes, now));
        for (session, progress) in due.collect::<Vec<_>>() {
            self.send(session, EngineMessage::Progress(progress));
        }
        Ok(())
    }
}

pub(super) fn cursor_name(peer: &PeerKey) -> Vec<u8> {
    [b"cursor/".as_slice(), &peer.0].concat()
}
