//! The index exchange: what a peer is sent, what it has been told, how far both have come.
//!
//! Each side numbers its own changes. A peer asks for all after the last number it holds; a burst of
//! batches ends with a marker that carries our knowledge once nothing is left out. Four batches may be on their
//! way without an answer, so a slow peer holds back its sender and nobody's memory fills.

use std::{collections::VecDeque, time::Duration};

use super::{
    Engine, Output,
    store::{encode, last_seq, learned_mark},
};
use crate::{
    ids::{Generation, PeerKey, ReplicaId, Seq, SessionId},
    index::{Index, IndexError, IndexResult, PeerTag},
    message::{Announce, Ask, BurstEnd, EngineMessage, Head, Message, Progress},
    secret::Level,
};

/// Batches that a peer may have unanswered.
const OUTSTANDING: usize = 4;
/// Records in a batch, and their bytes.
const BATCH_RECORDS: usize = 500;
const BATCH_BYTES: usize = 256 * 1024;
/// Records that one session may make us announce again.
const MAX_RETOLD: u32 = 100_000;
/// Progress is told at most this often, except for its end.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// One session with a peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) key: PeerKey,
    pub(super) tag: PeerTag,
    pub(super) level: Level,
    /// Its numbering, once it said so.
    pub(super) numbering: Option<Generation>,
    /// Its number up to which we took everything in.
    pub(super) reached: u64,
    /// Its last number that we have heard of.
    pub(super) their_last: u64,
    /// A record of this burst was refused: its knowledge isn't ours then.
    pub(super) refused: bool,
    /// When the running burst began.
    pub(super) burst_since: Option<Duration>,
    /// Mark of what was learned from it.
    pub(super) mark: u64,
    asked: bool,
    /// Times that it was told again of what it should know.
    retold: u32,
    /// Replica of a greeting whose question is still to be sent.
    to_ask: Option<ReplicaId>,
    /// A greeting of ours was not answered by a question yet.
    may_ask: bool,
    sent: u64,
    /// Last number that was sent with our knowledge.
    complete: Option<u64>,
    unanswered: VecDeque<u64>,
    theirs: Option<Progress>,
    told: Option<Progress>,
    told_at: Duration,
    pub(super) progress_due: Option<Duration>,
}

impl Peer {
    /// Our numbering is new: everything must be sent again.
    pub(super) fn forget_sent(&mut self) {
        self.asked = false;
        self.sent = 0;
        self.complete = None;
        self.unanswered.clear();
        self.theirs = None;
    }

    /// Our number up to which it took everything in.
    pub(super) fn told_us(&self) -> Seq {
        self.theirs.map_or(Seq(0), |p| p.reached)
    }

    /// Whether it may be told once more of something that it should know: not without end.
    pub(super) fn may_retell(&mut self) -> bool {
        self.retold += 1;
        self.retold <= MAX_RETOLD
    }

    pub(super) fn needs(&self) -> (u64, u64) {
        self.theirs.map_or((0, 0), |p| (p.files, p.bytes))
    }
}

impl<I: Index> Engine<I> {
    pub(super) fn peer_up(
        &mut self,
        session: SessionId,
        peer: PeerKey,
        level: Level,
    ) -> IndexResult<()> {
        let state = Peer {
            key: peer,
            tag: PeerTag::from(&peer),
            level,
            numbering: None,
            reached: 0,
            their_last: 0,
            refused: false,
            burst_since: None,
            mark: 0,
            asked: false,
            retold: 0,
            to_ask: None,
            may_ask: false,
            sent: 0,
            complete: None,
            unanswered: VecDeque::new(),
            theirs: None,
            told: None,
            told_at: Duration::ZERO,
            progress_due: None,
        };
        self.sessions.insert(session, state);
        self.fetcher.add_peer(session, self.now.mono);
        self.send_head(session);
        self.holders_changed()
    }

    pub(super) fn peer_down(&mut self, session: SessionId) -> IndexResult<()> {
        self.sessions.remove(&session);
        self.fetcher.remove_peer(session);
        Ok(())
    }

    pub(super) fn send(&mut self, session: SessionId, message: impl Into<Message>) {
        let message = message.into();
        self.out.push_back(Output::Send { session, message });
    }

    pub(super) fn send_head(&mut self, session: SessionId) {
        if let Some(peer) = self.sessions.get_mut(&session) {
            peer.may_ask = true;
        }
        let head = Head {
            generation: self.numbering,
            last: Seq(self.flush.durable),
            replica: self.cfg.replica,
        };
        self.send(session, EngineMessage::Head(head));
    }

    pub(super) fn head(&mut self, session: SessionId, head: Head) -> IndexResult<()> {
        let Some(peer) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        let stored = self.index.fact(&cursor_name(&peer.key))?;
        let cursor: Option<(Generation, Seq)> = match stored {
            Some(bytes) => Some(
                minicbor::decode(&bytes)
                    .map_err(|e| IndexError::Corrupt(format!("cursor: {e}")))?,
            ),
            None => None,
        };
        peer.numbering = Some(head.generation);
        peer.mark = learned_mark(&peer.key, head.generation);
        peer.their_last = head.last.0;
        peer.reached = cursor
            .filter(|(g, _)| *g == head.generation)
            .map_or(0, |(_, seq)| seq.0);
        peer.refused = false;
        peer.told = None;
        peer.to_ask = Some(head.replica);
        Ok(())
    }

    /// Asks those peers for their changes who greeted us. Not before the first scan is done: what a crash left
    /// on disk must be known before a record can say that it should not be there.
    pub(super) fn ask_all(&mut self) -> IndexResult<()> {
        if !self.scan.first_done {
            return Ok(());
        }
        let due: Vec<_> = self
            .sessions
            .iter_mut()
            .filter_map(|(s, p)| Some((*s, p.to_ask.take()?)))
            .collect();
        for (session, replica) in due {
            let newest = self.newest_of(replica)?;
            let Some(peer) = self.sessions.get_mut(&session) else {
                continue;
            };
            let Some(generation) = peer.numbering else {
                continue;
            };
            if peer.reached < peer.their_last {
                peer.burst_since = Some(self.now.mono);
                self.work.waits_since.get_or_insert(self.now.mono);
            }
            let after = Seq(peer.reached);
            let ask = Ask {
                generation,
                after,
                newest,
            };
            self.send(session, EngineMessage::Ask(ask));
        }
        Ok(())
    }

    pub(super) fn ask(&mut self, session: SessionId, ask: Ask) -> IndexResult<()> {
        if let Some(raw) = ask.newest {
            self.check_own(raw)?;
        }
        let ours = ask.generation == self.numbering;
        let durable = self.flush.durable;
        let Some(peer) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        // One question for each greeting: an answer is long and a question short.
        if !std::mem::replace(&mut peer.may_ask, false) {
            return Ok(());
        }
        // Those between two runs; the first of a run is told before a change bears it.
        let never_given = self.last_known + 1..self.cfg.seqs.start;
        if ours
            && peer.level.can_write()
            && (never_given.contains(&ask.after.0) || ask.after.0 > self.seq)
        {
            // The peer holds numbers that we never gave: our past is younger than its memory. Its word is
            // not signed, so only a writer's counts.
            return Err(IndexError::Restored);
        }
        let Some(peer) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        peer.forget_sent();
        peer.asked = true;
        peer.sent = if ours { ask.after.0.min(durable) } else { 0 };
        Ok(())
    }

    pub(super) fn burst_end(&mut self, session: SessionId, end: BurstEnd) -> IndexResult<()> {
        let Some(peer) = self.sessions.get_mut(&session) else {
            return Ok(());
        };
        let Some(numbering) = peer.numbering else {
            return Ok(());
        };
        peer.reached = peer.reached.max(end.upto.0);
        peer.their_last = peer.their_last.max(end.upto.0);
        let complete = end.knowledge.is_some();
        if complete {
            peer.burst_since = None;
        }
        let name = cursor_name(&peer.key);
        let value = (numbering, Seq(peer.reached));
        // Knowledge is not signed. Who may not write must not make us believe that we have seen, and
        // therefore lost, what we never had.
        let trusted = peer.level.can_write() && !peer.refused;
        // What was refused is asked for again in another session; nothing may look seen that wasn't taken.
        if !peer.refused {
            let value = encode(&value)?;
            self.put_fact(name, value);
        }
        if let Some(knowledge) = end.knowledge.filter(|_| trusted) {
            self.merge_knowledge(&knowledge)?;
        }
        self.work.dirty = true;
        Ok(())
    }

    pub(super) fn progress(&mut self, session: SessionId, progress: Progress) {
        let Some(peer) = self.sessions.get_mut(&session) else {
            return;
        };
        while peer
            .unanswered
            .front()
            .is_some_and(|upto| *upto <= progress.reached.0)
        {
            peer.unanswered.pop_front();
        }
        // What it can't have is not believed: its word is not signed.
        let reached = Seq(progress.reached.0.min(peer.sent));
        peer.theirs = Some(Progress {
            reached,
            ..progress
        });
    }

    /// Sends to every peer what it hasn't been sent.
    pub(super) fn pump_all(&mut self) -> IndexResult<()> {
        let durable = self.flush.durable;
        // A burst is one scan: its deletions come last, and half of it would look like something else.
        let settled = durable == self.seq
            && !self.flush.dirty
            && self.flush.running.is_none()
            && self.scan.running.is_none();
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, p)| p.asked && p.unanswered.len() < OUTSTANDING)
            .filter(|(_, p)| p.sent < durable || (settled && p.complete != Some(durable)))
            .map(|(s, _)| *s)
            .collect();
        for session in due {
            while self.pump(session, durable, settled)? {}
        }
        Ok(())
    }

    /// Sends one batch; whether another may follow.
    fn pump(&mut self, session: SessionId, durable: u64, settled: bool) -> IndexResult<bool> {
        let Some(peer) = self.sessions.get(&session) else {
            return Ok(false);
        };
        let (sent, mark) = (peer.sent, peer.mark);
        if peer.unanswered.len() >= OUTSTANDING {
            return Ok(false);
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut upto = durable;
        if sent < durable {
            let changes = self.index.changes_after(Seq(sent), BATCH_RECORDS)?;
            let full = changes.len() == BATCH_RECORDS;
            if full {
                upto = last_seq(&changes).unwrap_or(durable).min(durable);
            }
            for (seq, path) in changes {
                if seq.0 > durable {
                    break;
                }
                let Some(entry) = self.index.entry(&path)? else {
                    continue;
                };
                let Some(record) = entry.announced() else {
                    continue;
                };
                if entry.seq != seq.0 || (entry.learned != 0 && entry.learned == mark) {
                    continue;
                }
                bytes += record.wire_len();
                records.push(Announce {
                    seq,
                    holds: entry.holds(),
                    record: record.clone(),
                });
                if bytes >= BATCH_BYTES {
                    upto = seq.0;
                    break;
                }
            }
        }
        let complete = upto == durable && settled;
        let knowledge = complete.then(|| self.knowledge.clone());
        if !records.is_empty() {
            self.send(session, EngineMessage::Records(records));
        }
        self.send(
            session,
            EngineMessage::BurstEnd(BurstEnd {
                upto: Seq(upto),
                knowledge,
            }),
        );
        let Some(peer) = self.sessions.get_mut(&session) else {
            return Ok(false);
        };
        peer.sent = upto;
        peer.unanswered.push_back(upto);
        if complete {
            peer.complete = Some(durable);
        }
        Ok(upto < durable)
    }

    /// Tells peers how far we have come, when it changed: at once when something ends, else a few
    /// times a second.
    pub(super) fn send_progress(&mut self) -> IndexResult<()> {
        let need = self.index.totals()?.need;
        let now = self.now.mono;
        let mut messages = Vec::new();
        for (session, peer) in self
            .sessions
            .iter_mut()
            .filter(|(_, p)| p.numbering.is_some())
        {
            let progress = Progress {
                reached: Seq(peer.reached),
                files: need.files + need.deletes,
                bytes: need.bytes,
            };
            if peer.told == Some(progress) {
                peer.progress_due = None;
                continue;
            }
            let end =
                progress.files == 0 || peer.told.is_none_or(|t| t.reached != progress.reached);
            let due = peer.told_at + PROGRESS_EVERY;
            if end || now >= due {
                peer.told = Some(progress);
                peer.told_at = now;
                peer.progress_due = None;
                messages.push((*session, EngineMessage::Progress(progress)));
            } else {
                peer.progress_due = Some(due);
            }
        }
        for (session, message) in messages {
            self.send(session, message);
        }
        Ok(())
    }

    /// Whether both sides are at the other's last change and need nothing.
    pub(super) fn in_sync_with(&self, peer: &Peer, nothing_needed: bool) -> bool {
        nothing_needed
            && peer.numbering.is_some()
            && peer.reached >= peer.their_last
            && peer.burst_since.is_none()
            && self.flush.durable == self.seq
            && peer
                .theirs
                .is_some_and(|p| p.reached.0 >= self.flush.durable && p.files == 0)
    }
}

fn cursor_name(peer: &PeerKey) -> Vec<u8> {
    [b"cursor/".as_slice(), &peer.0].concat()
}
