//! The index exchange: what a peer is sent, what it has been told, how far both have come.
//!
//! Each side numbers its own changes. A peer asks for all after the last number it holds; a burst of
//! batches ends with a marker that carries our knowledge once nothing is left out. Four batches may be on their
//! way without an answer, so a slow peer holds back its sender and nobody's memory fills.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    Engine, Output, PeerStatus,
    ledger::{encode, last_seq, learned_mark},
    planner::BURST_WAIT,
};
use crate::{
    ids::{Generation, PeerKey, ReplicaId, Seq, SessionId},
    index::{Index, IndexError, IndexResult, PeerTag},
    message::{Ask, BurstEnd, Change, EngineMessage, Head, Message, Progress},
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
    key: PeerKey,
    tag: PeerTag,
    level: Level,
    /// Its numbering, once it said so.
    numbering: Option<Generation>,
    /// Its number up to which we took everything in.
    reached: u64,
    /// Its last number that we have heard of.
    their_last: u64,
    /// A record of this burst was refused: its knowledge isn't ours then.
    refused: bool,
    /// When the running burst began.
    burst_since: Option<Duration>,
    /// Mark of what was learned from it.
    mark: u64,
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
    progress_due: Option<Duration>,
}

/// All sessions. It owns how far both sides of each have come; it must never judge a record.
#[derive(Debug, Default)]
pub(super) struct Peers {
    sessions: BTreeMap<SessionId, Peer>,
}

impl Peers {
    /// A record of this number was announced. `false`: not by a peer that may.
    pub(super) fn announced(&mut self, session: SessionId, seq: u64, now: Duration) -> bool {
        let peer = self.sessions.get_mut(&session);
        let Some(peer) = peer.filter(|p| p.numbering.is_some()) else {
            return false;
        };
        peer.burst_since.get_or_insert(now);
        peer.their_last = peer.their_last.max(seq);
        true
    }

    /// A record of the running burst can't be taken.
    pub(super) fn refuse(&mut self, session: SessionId) {
        if let Some(peer) = self.sessions.get_mut(&session) {
            peer.refused = true;
        }
    }

    /// Whether a peer may be told once more of something that it should know: not without end.
    pub(super) fn may_retell(&mut self, session: SessionId) -> bool {
        self.sessions.get_mut(&session).is_some_and(|peer| {
            peer.retold += 1;
            peer.retold <= MAX_RETOLD
        })
    }

    pub(super) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(super) fn get(&self, session: SessionId) -> Option<&Peer> {
        self.sessions.get(&session)
    }

    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// The sessions with these peers.
    pub(super) fn with_tags(&self, tags: &[PeerTag]) -> Vec<SessionId> {
        let with = self.sessions.iter().filter(|(_, p)| tags.contains(&p.tag));
        with.map(|(session, _)| *session).collect()
    }

    /// The names of those who are here.
    pub(super) fn named(&self, tags: &[PeerTag]) -> Vec<String> {
        let with = self.sessions.values().filter(|p| tags.contains(&p.tag));
        with.map(|p| p.key.short()).collect()
    }

    /// Whether a burst has begun so short ago that its end is worth waiting for.
    pub(super) fn in_burst(&self, now: Duration) -> bool {
        let mut open = self.sessions.values().filter_map(|p| p.burst_since);
        open.any(|since| now < since + BURST_WAIT)
    }

    /// Whether any burst has no end yet.
    pub(super) fn is_exchanging(&self) -> bool {
        self.sessions.values().any(|p| p.burst_since.is_some())
    }

    pub(super) fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let bursts = self.sessions.values().filter_map(|p| p.burst_since);
        let burst = bursts.map(|s| s + BURST_WAIT).filter(|t| *t > now).min();
        let progress = self.sessions.values().filter_map(|p| p.progress_due).min();
        [burst, progress].into_iter().flatten().min()
    }

    /// Every session at this moment. `settled`: nothing is needed here, and all up to `durable` is.
    pub(super) fn report(&self, settled: bool, durable: u64) -> Vec<PeerStatus> {
        let all = self.sessions.iter();
        let report = all.map(|(session, peer)| {
            let (needs_files, needs_bytes) = peer.needs();
            PeerStatus {
                session: *session,
                peer: peer.key,
                level: peer.level,
                in_sync: settled && peer.in_sync(durable),
                needs_files,
                needs_bytes,
            }
        });
        report.collect()
    }
}

impl Peer {
    /// Our numbering is new: everything must be sent again.
    fn forget_sent(&mut self) {
        self.asked = false;
        self.sent = 0;
        self.complete = None;
        self.unanswered.clear();
        self.theirs = None;
    }

    pub(super) fn tag(&self) -> PeerTag {
        self.tag
    }

    /// Mark of what was learned from it.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// Our number up to which it took everything in.
    pub(super) fn reached_of_ours(&self) -> u64 {
        self.theirs.map_or(0, |p| p.reached.0)
    }

    fn needs(&self) -> (u64, u64) {
        self.theirs.map_or((0, 0), |p| (p.files, p.bytes))
    }

    /// Whether both sides are at the other's last change and it needs nothing.
    fn in_sync(&self, durable: u64) -> bool {
        self.numbering.is_some()
            && self.reached >= self.their_last
            && self.burst_since.is_none()
            && self
                .theirs
                .is_some_and(|p| p.reached.0 >= durable && p.files == 0)
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
        self.peers.sessions.insert(session, state);
        self.fetcher.add_peer(session, self.now.mono);
        self.send_head(session);
        self.holders_changed()
    }

    pub(super) fn peer_down(&mut self, session: SessionId) -> IndexResult<()> {
        self.peers.sessions.remove(&session);
        self.fetcher.remove_peer(session);
        Ok(())
    }

    pub(super) fn send(&mut self, session: SessionId, message: impl Into<Message>) {
        let message = message.into();
        self.out.push_back(Output::Send { session, message });
    }

    fn send_head(&mut self, session: SessionId) {
        if let Some(peer) = self.peers.sessions.get_mut(&session) {
            peer.may_ask = true;
        }
        let head = Head {
            generation: self.ledger.numbering(),
            last: Seq(self.ledger.durable()),
            replica: self.ledger.replica(),
        };
        self.send(session, EngineMessage::Head(head));
    }

    pub(super) fn head(&mut self, session: SessionId, head: Head) -> IndexResult<()> {
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
            return Ok(());
        };
        let stored = self.ledger.index().fact(&cursor_name(&peer.key))?;
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
        if !self.scans.first_done() {
            return Ok(());
        }
        let due: Vec<_> = self
            .peers
            .sessions
            .iter_mut()
            .filter_map(|(s, p)| Some((*s, p.to_ask.take()?)))
            .collect();
        for (session, replica) in due {
            let newest = self.ledger.newest_of(replica)?;
            let Some(peer) = self.peers.sessions.get_mut(&session) else {
                continue;
            };
            let Some(generation) = peer.numbering else {
                continue;
            };
            if peer.reached < peer.their_last {
                peer.burst_since = Some(self.now.mono);
                self.planner.burst_begins(self.now.mono);
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
            self.ledger.check_own(raw)?;
        }
        let ours = ask.generation == self.ledger.numbering();
        let durable = self.ledger.durable();
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
            return Ok(());
        };
        // One question for each greeting: an answer is long and a question short.
        if !std::mem::replace(&mut peer.may_ask, false) {
            return Ok(());
        }
        if ours && peer.level.can_write() && self.ledger.never_gave(ask.after.0) {
            // The peer holds numbers that we never gave: our past is younger than its memory. Its word is
            // not signed, so only a writer's counts.
            return Err(IndexError::Restored);
        }
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
            return Ok(());
        };
        peer.forget_sent();
        peer.asked = true;
        peer.sent = if ours { ask.after.0.min(durable) } else { 0 };
        Ok(())
    }

    pub(super) fn burst_end(&mut self, session: SessionId, end: BurstEnd) -> IndexResult<()> {
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
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
            self.ledger.put_fact(name, value);
        }
        if let Some(knowledge) = end.knowledge.filter(|_| trusted) {
            self.ledger.merge_knowledge(&knowledge)?;
        }
        self.planner.walk_again();
        Ok(())
    }

    pub(super) fn progress(&mut self, session: SessionId, progress: Progress) {
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
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
        let durable = self.ledger.durable();
        // A burst is one scan: its deletions come last, and half of it would look like something else.
        let settled = self.ledger.is_settled() && !self.scans.is_scanning();
        let due: Vec<_> = self
            .peers
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
        let Some(peer) = self.peers.sessions.get(&session) else {
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
            let changes = self
                .ledger
                .index()
                .changes_after(Seq(sent), BATCH_RECORDS)?;
            let full = changes.len() == BATCH_RECORDS;
            if full {
                upto = last_seq(&changes).unwrap_or(durable).min(durable);
            }
            for (seq, path) in changes {
                if seq.0 > durable {
                    break;
                }
                let Some(entry) = self.ledger.index().entry(&path)? else {
                    continue;
                };
                let Some(record) = entry.announced() else {
                    continue;
                };
                if entry.seq != seq.0 || (entry.learned != 0 && entry.learned == mark) {
                    continue;
                }
                bytes += record.wire_len();
                records.push(Change {
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
        let knowledge = complete.then(|| self.ledger.knowledge().clone());
        if !records.is_empty() {
            let records = self.ledger.announces(records)?;
            self.send(session, EngineMessage::Records(records));
        }
        self.send(
            session,
            EngineMessage::BurstEnd(BurstEnd {
                upto: Seq(upto),
                knowledge,
            }),
        );
        let Some(peer) = self.peers.sessions.get_mut(&session) else {
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
        let need = self.ledger.index().totals()?.need;
        let now = self.now.mono;
        let mut messages = Vec::new();
        for (session, peer) in self
            .peers
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
}

fn cursor_name(peer: &PeerKey) -> Vec<u8> {
    [b"cursor/".as_slice(), &peer.0].concat()
}
