//! Our changes go to those who lack them.
//!
//! Pages of changes are read from the index once for all peers; each peer takes what it needs of them, in order of
//! number, up to where changes may be told at all: what isn't durable never is, and what others made waits a moment.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Engine,
    ledger::{LaterChange, Ledger, is_in_knowledge},
    peers::{How, Line},
};
use crate::{
    entry::Kind,
    ids::{Seq, SessionId},
    index::{Index, IndexResult, flag},
    message::{Aside, BurstEnd, Change, EngineMessage, MAX_STUBS, Records, Stub},
    record::{MAX_BATCH, RawRecord},
};

/// Records in a message, and their bytes. Whole batches cost least.
const MESSAGE_RECORDS: usize = 8 * MAX_BATCH;
const MESSAGE_BYTES: usize = 256 * 1024;
/// Changes read from the index at once, and pages looked at before something else may be done.
const PAGE: usize = 8 * MAX_BATCH;
const MOST_PAGES: usize = 64;

/// Pages of changes after a number, read once for all peers.
struct Pages {
    read: BTreeMap<u64, Rc<Page>>,
    /// How many more are looked at now.
    left: usize,
}

struct Page {
    lines: Vec<Line>,
    /// Every number up to here is in it, or tells of nothing.
    end: u64,
}

impl<I: Index> Engine<I> {
    /// Sends to every peer what it hasn't been sent.
    pub(super) fn pump_all(&mut self) -> IndexResult<()> {
        self.peers.handle_timeout(self.now.mono);
        let limit = self.peers.released();
        // A burst is one scan: its deletions come last, and half of it would look like something else.
        let settled =
            self.ledger.is_settled() && limit >= self.ledger.durable() && !self.scans.is_scanning();
        let mut pages = Pages {
            read: BTreeMap::new(),
            left: MOST_PAGES,
        };
        for session in self.peers.streams() {
            self.answer_missing(session)?;
            while self.pump(session, limit, settled, &mut pages)? {}
        }
        self.peers.set_unfinished(pages.left == 0);
        Ok(())
    }

    /// Sends one message; whether another may follow.
    fn pump(
        &mut self,
        session: SessionId,
        limit: u64,
        settled: bool,
        pages: &mut Pages,
    ) -> IndexResult<bool> {
        let own = self.peers.own_upto();
        let Some(peer) = self.peers.of_mut(session) else {
            return Ok(false);
        };
        let Some(mut at) = peer.ours.takes_after() else {
            return Ok(false);
        };
        let (mark, now) = (peer.theirs.mark(), self.now.mono);
        let (mut changes, mut stubs, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut full, mut later) = (false, false);
        while at < limit && !full && !later && pages.left > 0 {
            pages.left -= 1;
            let page = pages.after(&mut self.ledger, at)?;
            for line in page.lines.iter().take_while(|l| l.change.seq.0 <= limit) {
                match peer.ours.tell(line, mark, line.change.seq.0 > own, now) {
                    How::Full => {
                        bytes += line.change.record.wire_len();
                        changes.push(line.change.clone());
                    }
                    How::Stub if lives(&line.change.record) => stubs.push(stub(&line.change)),
                    How::Stub | How::Not => {}
                    How::Later => {
                        later = true;
                        break;
                    }
                }
                full = changes.len() >= MESSAGE_RECORDS
                    || bytes >= MESSAGE_BYTES
                    || stubs.len() >= MAX_STUBS;
                if full {
                    break;
                }
            }
            if !full && !later {
                peer.ours.walked_to(page.end.min(limit));
            }
            at = peer.ours.walked();
        }
        let all = at >= limit;
        let urgent = !changes.is_empty() || !stubs.is_empty();
        let knowledge = self.ledger.knowledge();
        let end = Some(knowledge).filter(|_| all && settled);
        if !peer.ours.is_due(urgent, end, now) {
            return Ok(false);
        }
        let mut messages = Vec::new();
        if let Some((after, upto, holds)) = peer.ours.send_upto(urgent) {
            messages.push(EngineMessage::Records(Records {
                after: Seq(after),
                upto: Seq(upto),
                changes: self.ledger.announces(changes)?,
                stubs,
                holds,
            }));
        }
        if let Some((knowledge, listed)) = end.and_then(|known| peer.ours.send_end(known)) {
            messages.push(EngineMessage::BurstEnd(BurstEnd {
                upto: Seq(at),
                knowledge,
                listed,
            }));
        }
        for message in messages {
            self.send(session, message);
        }
        Ok(!all && !later && pages.left > 0)
    }

    /// Sends the records of stubs that a peer asked for.
    fn answer_missing(&mut self, session: SessionId) -> IndexResult<()> {
        loop {
            let Some(peer) = self.peers.of_mut(session) else {
                return Ok(());
            };
            let (mut changes, mut bytes, mut upto) = (Vec::new(), 0, None);
            while changes.len() < MESSAGE_RECORDS && bytes < MESSAGE_BYTES {
                let Some(seq) = peer.ours.next_missing() else {
                    break;
                };
                upto = Some(Seq(seq));
                let found = self
                    .ledger
                    .index()
                    .changes_after(Seq(seq.saturating_sub(1)), 1)?;
                let page = Page::of(&mut self.ledger, found)?;
                if let Some(line) = page.into_iter().find(|line| line.change.seq.0 == seq) {
                    bytes += line.change.record.wire_len();
                    changes.push(line.change);
                }
            }
            let Some(upto) = upto else {
                return Ok(());
            };
            let changes = self.ledger.announces(changes)?;
            self.send(session, EngineMessage::Aside(Aside { upto, changes }));
        }
    }
}

impl Pages {
    /// Up to [`PAGE`] changes after a number.
    fn after<I: Index>(&mut self, ledger: &mut Ledger<I>, after: u64) -> IndexResult<Rc<Page>> {
        if let Some(page) = self.read.get(&after) {
            return Ok(Rc::clone(page));
        }
        let listed = ledger.index().changes_after(Seq(after), PAGE)?;
        let more = listed.last().filter(|_| listed.len() == PAGE);
        let end = more.map_or(u64::MAX, |(seq, _)| seq.0);
        let mut lines = Page::of(ledger, listed)?;
        for LaterChange {
            head,
            learned,
            change,
        } in ledger.later_after(after, end)
        {
            lines.push(Line {
                dot: head.dot,
                learned,
                in_knowledge: is_in_knowledge(&head),
                change,
            });
        }
        lines.sort_by_key(|line| line.change.seq);
        let page = Rc::new(Page { lines, end });
        self.read.insert(after, Rc::clone(&page));
        Ok(page)
    }
}

impl Page {
    /// What is to be told of these changes.
    fn of<I: Index>(
        ledger: &mut Ledger<I>,
        listed: Vec<(Seq, crate::path::RelPath)>,
    ) -> IndexResult<Vec<Line>> {
        let mut lines = Vec::with_capacity(listed.len());
        for (seq, path) in listed {
            let entry = ledger.committed(&path)?;
            let Some(entry) = entry.filter(|e| e.seq == seq.0) else {
                continue;
            };
            let Some((record, dot)) = entry.announced().and_then(|r| Some((r, r.dot()?))) else {
                continue;
            };
            lines.push(Line {
                dot,
                learned: entry.learned,
                in_knowledge: true,
                change: Change {
                    seq,
                    holds: entry.holds(),
                    contested: entry.flags & flag::CONTESTED != 0,
                    record: record.clone(),
                },
            });
        }
        Ok(lines)
    }
}

fn lives(record: &RawRecord) -> bool {
    record.kind().is_some_and(Kind::is_live)
}

fn stub(change: &Change) -> Stub {
    Stub {
        seq: change.seq,
        tag: change.record.short_hash(),
        holds: change.holds,
    }
}
