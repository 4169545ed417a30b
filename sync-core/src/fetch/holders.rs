//! Who holds what: keeps the queues that follow from it.

use super::bits::Bits;
use super::content::{Content, Holder, Key, Part as HeldPart, Stage, announced};
use super::{Fetcher, peer::Peer};
use crate::ids::{Seq, SessionId};
use crate::manifest::ContentRoot;
use crate::message::Have;

impl Fetcher {
    /// A session holds all of a content.
    pub fn add_holder(&mut self, content: ContentRoot, session: SessionId) {
        if let Some(key) = self.names.get(&content)
            && self.is_asked(session)
        {
            self.set_holder(*key, session, Holder::Whole);
        }
    }

    /// A session that holds a small content may be asked for it by its number for a change that has it.
    pub fn name_at(&mut self, content: ContentRoot, session: SessionId, number: Seq) {
        let key = self.names.get(&content);
        let Some(content) = key.and_then(|key| self.contents.get_mut(key)) else {
            return;
        };
        if content.holders.contains_key(&session) {
            content.forget_number(session);
            if let Stage::Small { numbers, .. } = &mut content.stage {
                numbers.push((session, number));
            }
        }
    }

    /// A session doesn't hold a content, or doesn't hold all of it any more.
    pub fn no_holder(&mut self, content: ContentRoot, session: SessionId) {
        if let Some(key) = self.names.get(&content) {
            self.drop_holder(*key, session);
        }
    }

    /// Takes what a session says that it holds. Bits of the chunks of an unfinished file only ever add to what it
    /// said before, unless it says that it holds nothing.
    pub fn handle_have(&mut self, session: SessionId, have: &Have) {
        let Some(key) = self.names.get(&have.content).copied() else {
            return;
        };
        if !self.is_asked(session) {
            return;
        }
        if have.whole {
            self.set_holder(key, session, Holder::Whole);
            return;
        }
        if have.bits.iter().all(|byte| *byte == 0) {
            if have.first == 0 && have.bits.is_empty() {
                self.drop_holder(key, session);
            }
            return;
        }
        let small = self.contents.get(&key).is_none_or(Content::is_small);
        if small {
            return;
        }
        let known = self
            .contents
            .get(&key)
            .and_then(|content| content.holders.get(&session));
        if !matches!(known, Some(Holder::Part(_))) {
            self.drop_holder(key, session);
            self.set_holder(key, session, Holder::Part(Box::default()));
        }
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Some(Holder::Part(part)) = content.holders.get_mut(&session) else {
            return;
        };
        part.no_pages = false;
        match &mut content.stage {
            Stage::Pages(_) => part.keep(have.first, &have.bits),
            Stage::Chunks(chunks) => {
                let units = chunks.units();
                let held = part.bits.get_or_insert_with(|| Bits::new(units));
                for chunk in announced(have.first, &have.bits, chunks.count()) {
                    let unit = chunks.unit_at(chunk);
                    if held.set(unit) {
                        chunks.count_holder(unit, true);
                    }
                }
            }
            // The peer is asked again when the content's turn has come.
            Stage::Waiting | Stage::Small { .. } => {}
        }
        self.ready.insert(session);
    }

    /// The chunks have become known: what was announced before is applied to them.
    pub(super) fn apply_raw(&mut self, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Chunks(chunks) = &mut content.stage else {
            return;
        };
        for holder in content.holders.values_mut() {
            let Holder::Part(part) = holder else { continue };
            let mut held = Bits::new(chunks.units());
            for (first, bits) in std::mem::take(&mut part.raw) {
                for chunk in announced(first, &bits, chunks.count()) {
                    let unit = chunks.unit_at(chunk);
                    if held.set(unit) {
                        chunks.count_holder(unit, true);
                    }
                }
            }
            part.bits = Some(held);
        }
        self.wake_all();
    }

    /// A peer sent a bad unit: it isn't asked for it again if somebody else can be.
    pub(super) fn exclude_unit(&mut self, key: Key, session: SessionId, unit: u32) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let mut others = content.holders.keys().filter(|other| **other != session);
        if !others.any(|other| content.holds_unit(*other, unit)) {
            return;
        }
        let Stage::Chunks(chunks) = &mut content.stage else {
            return;
        };
        let Some(holder) = content.holders.get_mut(&session) else {
            return;
        };
        if matches!(holder, Holder::Whole) {
            let bits = Bits::full(chunks.units());
            (0..chunks.units()).for_each(|unit| chunks.count_holder(unit, true));
            *holder = Holder::Part(Box::new(HeldPart {
                bits: Some(bits),
                ..HeldPart::default()
            }));
        }
        if let Holder::Part(part) = holder
            && part.bits.as_mut().is_some_and(|bits| bits.clear(unit))
        {
            chunks.count_holder(unit, false);
        }
    }

    pub(super) fn set_holder(&mut self, key: Key, session: SessionId, holder: Holder) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&session) else {
            return;
        };
        let first = content.holders.is_empty();
        let old = content.holders.insert(session, holder);
        if let (Some(Holder::Part(part)), Stage::Chunks(chunks)) = (old, &mut content.stage) {
            uncount(&part, chunks);
        }
        self.ready.insert(session);
        match content.stage {
            Stage::Small { queued, .. } => {
                if queued {
                    enqueue(peer, key, content.size);
                }
                if first {
                    self.small.0 += 1;
                    self.small.1 += content.size;
                }
            }
            Stage::Waiting => {
                self.waiting.insert(key);
            }
            Stage::Pages(_) | Stage::Chunks(_) => {}
        }
        if first {
            self.orphans.remove(&key);
            self.activate();
        }
    }

    pub(super) fn drop_holder(&mut self, key: Key, session: SessionId) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Some(old) = content.holders.remove(&session) else {
            return;
        };
        let last = content.holders.is_empty();
        content.forget_number(session);
        match &mut content.stage {
            Stage::Small { .. } => {
                if let Some(peer) = self.peers.get_mut(&session) {
                    dequeue(peer, key, content.size);
                }
                if last {
                    self.small.0 -= 1;
                    self.small.1 -= content.size;
                }
            }
            Stage::Chunks(chunks) => {
                if let Holder::Part(part) = old {
                    uncount(&part, chunks);
                }
            }
            Stage::Waiting | Stage::Pages(_) => {}
        }
        if last {
            self.start_who_has();
            self.orphans.insert(key);
            self.waiting.remove(&key);
        }
    }

    /// Puts a small content into the queues of its holders.
    pub(super) fn queue_small(&mut self, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Small { queued, .. } = &mut content.stage else {
            return;
        };
        *queued = true;
        for session in content.holders.keys() {
            if let Some(peer) = self.peers.get_mut(session) {
                enqueue(peer, key, content.size);
                self.ready.insert(*session);
            }
        }
    }

    /// Takes a small content out of the queues of its holders.
    pub(super) fn unqueue_small(&mut self, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Small { queued, .. } = &mut content.stage else {
            return;
        };
        *queued = false;
        for session in content.holders.keys() {
            if let Some(peer) = self.peers.get_mut(session) {
                dequeue(peer, key, content.size);
            }
        }
    }
}

/// What a small object counts for: its bytes, and the work that even an empty one makes.
pub(super) fn small_cost(size: u64) -> u64 {
    size.max(512)
}

fn enqueue(peer: &mut Peer, key: Key, size: u64) {
    if peer.small.insert(key) {
        peer.small_cost += small_cost(size);
    }
}

fn dequeue(peer: &mut Peer, key: Key, size: u64) {
    if peer.small.remove(&key) {
        peer.small_cost -= small_cost(size);
    }
}

/// The units that a peer held count for nothing any more.
fn uncount(part: &HeldPart, chunks: &mut super::chunks::Chunks) {
    let Some(bits) = &part.bits else { return };
    let mut next = bits.first_from(0, None);
    while let Some(unit) = next {
        chunks.count_holder(unit, false);
        next = bits.first_from(unit + 1, None);
    }
}
