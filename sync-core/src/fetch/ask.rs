//! Which peer is asked for what.

use std::collections::BTreeSet;
use std::time::Duration;

use super::content::{Holder, Stage};
use super::holders::small_cost;
use super::peer::{MIN_WINDOW, Slot};
use super::{Ask, FetchOutput, Fetcher, Item, MAX_TOTAL_IN_FLIGHT, Part};
use crate::ids::{Seq, SessionId};
use crate::manifest::MAX_PAGE;
use crate::message::{Contents, MAX_OBJECT, MAX_OBJECTS, ObjectId, ObjectKind, Request};

/// A peer that says nothing for so long, while it owes answers, has failed them.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in one request.
const MAX_BATCH: usize = 256;
/// Requests that a peer should always have.
const PIPELINE: usize = 2;
/// Most bytes of small objects in one request.
const SMALL_TARGET: u64 = 512 << 10;
/// Most bytes of chunks in one request.
const CHUNK_TARGET: u64 = 1 << 20;
/// An object isn't asked for twice before it is so late.
const LATE: Duration = Duration::from_secs(1);
/// How often it is looked for such objects.
const END_GAME_EVERY: Duration = Duration::from_millis(250);
/// Objects of others that are looked at for one idle peer.
const END_GAME_LOOKS: usize = 4096;
/// Objects that one idle peer takes over at once.
const END_GAME_BATCH: usize = 16;

/// Objects about to be asked for, with what they count for. Those of one batch are named in one way.
type Batch = Vec<(Item, Name, u32)>;

/// How an object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// By its hash.
    Object(ObjectId),
    /// By the peer's number for a change that has it.
    Number(Seq),
}

impl Fetcher {
    /// The next thing to do. Call it until it returns `None`.
    pub fn poll(&mut self, now: Duration) -> Option<FetchOutput> {
        self.tick(now);
        self.ask_due();
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            // Whoever was served last comes last.
            let mut others = self.ready.range((
                std::ops::Bound::Excluded(self.last_served),
                std::ops::Bound::Unbounded,
            ));
            let session = others.next().or_else(|| self.ready.first()).copied()?;
            self.last_served = session;
            match self.fill(session) {
                Some(question) => return Some(question),
                None => {
                    self.ready.remove(&session);
                }
            }
        }
    }

    /// Bytes that may be asked from a peer now.
    fn room(&mut self, session: SessionId) -> u64 {
        let left = MAX_TOTAL_IN_FLIGHT.saturating_sub(self.total);
        self.blocked |= left < u64::from(MAX_OBJECT);
        self.peers
            .get(&session)
            .map_or(0, |peer| peer.room().min(left))
    }

    /// The next request for a peer.
    fn fill(&mut self, session: SessionId) -> Option<FetchOutput> {
        let room = self.room(session);
        let peer = self.peers.get(&session)?;
        if room == 0 || peer.resting || (peer.slow && !peer.requests.is_empty()) {
            return None;
        }
        let small_first = peer.small_next;
        let mut batch = self.take_pages(session, room);
        if batch.is_empty() && small_first {
            batch = self.take_small(session, room);
        }
        if batch.is_empty() {
            batch = self.take_units(session, room);
        }
        if batch.is_empty() && !small_first {
            batch = self.take_small(session, room);
        }
        if batch.is_empty() {
            return None;
        }
        if let Some(peer) = self.peers.get_mut(&session) {
            peer.small_next = !matches!(batch[0].0.part, Part::Whole);
        }
        self.send(session, batch)
    }

    fn take_pages(&mut self, session: SessionId, mut room: u64) -> Batch {
        let mut batch = Batch::new();
        for key in &self.active {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            let may = content.gives_pages(session);
            let Stage::Pages(pages) = &mut content.stage else {
                continue;
            };
            while may && batch.len() < MAX_BATCH && room >= MAX_PAGE as u64 {
                let Some(hash) = pages.queue.pop_front() else {
                    break;
                };
                let item = Item {
                    key: *key,
                    part: Part::Page(hash),
                };
                batch.push((
                    item,
                    Name::Object(ObjectId {
                        kind: ObjectKind::Page,
                        hash,
                    }),
                    MAX_PAGE as u32,
                ));
                room -= MAX_PAGE as u64;
            }
        }
        batch
    }

    fn take_small(&mut self, session: SessionId, room: u64) -> Batch {
        let mut batch = Batch::new();
        let Some(peer) = self.peers.get(&session) else {
            return batch;
        };
        let target = peer.target(SMALL_TARGET);
        if peer.requests.len() >= PIPELINE {
            // It has enough to do; what comes next should be worth a request.
            let full = peer.small.len() >= MAX_BATCH || peer.small_cost >= target;
            if !full || room < target.min(peer.small_cost) {
                return batch;
            }
        }
        let mut sum = 0;
        let mut taken = BTreeSet::new();
        for key in peer.small.iter().take(MAX_OBJECTS) {
            let Some(content) = self.contents.get(key) else {
                continue;
            };
            let number = content.number(session);
            let numbered = match batch.first() {
                Some((_, first, _)) => matches!(first, Name::Number(_)),
                None => number.is_some(),
            };
            // Two that a peer gave the same number go into two questions.
            if numbered != number.is_some() || number.is_some_and(|n| !taken.insert(n)) {
                continue;
            }
            let cost = small_cost(content.size);
            let most = if numbered { MAX_OBJECTS } else { MAX_BATCH };
            let full = sum + cost > room || (sum > 0 && sum + cost > target);
            if full || batch.len() == most {
                break;
            }
            sum += cost;
            let item = Item {
                key: *key,
                part: Part::Whole,
            };
            let object = ObjectId {
                kind: ObjectKind::Chunk,
                hash: content.root.hash,
            };
            let name = number.map_or(Name::Object(object), Name::Number);
            batch.push((item, name, cost as u32));
        }
        for (item, _, _) in &batch {
            self.unqueue_small(item.key);
        }
        if matches!(batch.first(), Some((_, Name::Number(_), _))) {
            // They are asked for, and answered, in this order.
            batch.sort_unstable_by_key(|(_, name, _)| *name);
        }
        batch
    }

    fn take_units(&mut self, session: SessionId, room: u64) -> Batch {
        let mut batch = Batch::new();
        let Some(peer) = self.peers.get(&session) else {
            return batch;
        };
        let target = peer.target(CHUNK_TARGET);
        if peer.requests.len() >= PIPELINE && room < target {
            return batch;
        }
        let mut sum = 0;
        'all: for key in &self.active {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            let in_order = content.in_order();
            let Stage::Chunks(chunks) = &mut content.stage else {
                continue;
            };
            let held = match content.holders.get(&session) {
                Some(Holder::Whole) => None,
                Some(Holder::Part(part)) if part.bits.is_some() => part.bits.as_ref(),
                _ => continue,
            };
            while let Some(unit) = chunks.pick(held, in_order) {
                let chunk = chunks.chunk(unit);
                let len = u64::from(chunk.len);
                let full = sum > 0 && sum + len > target;
                if sum + len > room || full || batch.len() == MAX_BATCH {
                    break 'all;
                }
                sum += len;
                chunks.ask(unit);
                let item = Item {
                    key: *key,
                    part: Part::Unit(unit),
                };
                let object = ObjectId {
                    kind: ObjectKind::Chunk,
                    hash: chunk.hash,
                };
                batch.push((item, Name::Object(object), chunk.len));
            }
        }
        batch
    }

    /// Notes that these objects are under way.
    fn send(&mut self, session: SessionId, batch: Batch) -> Option<FetchOutput> {
        let peer = self.peers.get_mut(&session)?;
        if self.under_way.is_empty() {
            self.end_game_at = self.end_game_at.max(self.now + END_GAME_EVERY);
        }
        let slot = |(item, name, cost): &(Item, Name, u32)| {
            self.total += u64::from(*cost);
            Slot {
                item: *item,
                cost: *cost,
                answered: false,
                live: true,
                numbered: matches!(name, Name::Number(_)),
            }
        };
        let slots = batch.iter().map(slot).collect();
        let id = peer.ask(slots, self.now);
        let (mut objects, mut numbers) = (Vec::new(), Vec::new());
        for (slot, (item, name, _)) in (0..).zip(batch) {
            self.under_way
                .entry(item)
                .or_default()
                .push(Ask { session, id, slot });
            match name {
                Name::Object(object) => objects.push(object),
                Name::Number(number) => numbers.push(number),
            }
        }
        Some(match numbers.is_empty() {
            true => FetchOutput::Send(session, Request { id, objects }),
            false => FetchOutput::SendContents(session, Contents { id, numbers }),
        })
    }

    /// Tells the fetcher that the moment named by [`next_timeout`](Self::next_timeout) has come. Too early or too
    /// often does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.tick(now);
        self.ask_due();
        self.give_up_silent();
        self.ask_again();
        self.report();
        if self.now >= self.end_game_at {
            self.end_game_at = self.now + END_GAME_EVERY;
            self.end_game();
        }
    }

    /// Takes back what peers leave without an answer.
    fn give_up_silent(&mut self) {
        let now = self.now;
        let late = self.peers.iter().filter(|(_, peer)| {
            peer.deadline(PATIENCE)
                .is_some_and(|deadline| deadline <= now)
        });
        let late: Vec<_> = late.map(|(session, _)| *session).collect();
        for session in late {
            if let Some(peer) = self.peers.get_mut(&session) {
                peer.slow = true;
                peer.window = MIN_WINDOW;
            }
            self.take_back(session);
            self.ready.insert(session);
        }
    }

    /// Takes back all that was asked of a session that [rests](Self::rest_peer) and doesn't answer: it is asked anew
    /// over others.
    pub fn give_up(&mut self, session: SessionId) {
        if self.peers.get(&session).is_some_and(|peer| peer.resting) {
            self.take_back(session);
        }
    }

    /// Takes back all requests that a session hasn't answered.
    fn take_back(&mut self, session: SessionId) {
        let Some(peer) = self.peers.get_mut(&session) else {
            return;
        };
        let ids: Vec<_> = peer.requests.keys().copied().collect();
        let mut items = Vec::new();
        let mut bytes = 0;
        for id in &ids {
            if let Some((open, freed)) = peer.cancel(*id) {
                items.extend(open.into_iter().map(|item| (item, *id)));
                bytes += freed;
            }
        }
        self.release(bytes);
        for (item, id) in items {
            self.drop_ask(item, session, id);
            self.requeue(item);
        }
        if !ids.is_empty() {
            self.say_cancel(session, ids);
        }
    }

    /// Lets idle peers fetch what is late at others.
    fn end_game(&mut self) {
        let idle = |(_, peer): &(&SessionId, &super::Peer)| {
            let rests = peer.resting || peer.slow;
            peer.requests.is_empty() && peer.writing == 0 && !rests
        };
        let idle: Vec<_> = self
            .peers
            .iter()
            .filter(idle)
            .map(|(session, _)| *session)
            .collect();
        for session in idle {
            // It may have been woken by something else since.
            if self.ready.contains(&session) {
                continue;
            }
            let mut room = self.room(session);
            let batch = self.late_objects(session, &mut room);
            if !batch.is_empty()
                && let Some(question) = self.send(session, batch)
            {
                self.outputs.push_back(question);
            }
        }
    }

    fn late_objects(&self, session: SessionId, room: &mut u64) -> Batch {
        let mut batch = Batch::new();
        let mut looks = 0;
        // One that rests answers over a way that is left: what it has under way comes, or is given up with it.
        let others = self.peers.iter().filter(|(_, peer)| !peer.resting);
        for (other, peer) in others.filter(|(other, _)| **other != session) {
            let patience = LATE.max(peer.usual * 2);
            let late = peer
                .requests
                .values()
                .take_while(|asked| asked.sent + patience < self.now);
            for slot in late.flat_map(|asked| &asked.slots).filter(|slot| slot.live) {
                looks += 1;
                if looks > END_GAME_LOOKS || batch.len() == END_GAME_BATCH {
                    return batch;
                }
                let asks = self.under_way.get(&slot.item);
                let once = asks.is_some_and(|asks| asks.len() == 1 && asks[0].session == *other);
                let cost = u64::from(slot.cost);
                if once
                    && cost <= *room
                    && let Some(object) = self.object_at(session, slot.item)
                {
                    *room -= cost;
                    batch.push((slot.item, Name::Object(object), slot.cost));
                }
            }
        }
        batch
    }

    /// The object's name, if the peer is known to hold it.
    fn object_at(&self, session: SessionId, item: Item) -> Option<ObjectId> {
        let content = self.contents.get(&item.key)?;
        let (kind, hash, held) = match item.part {
            Part::Whole => {
                let held = content.holders.contains_key(&session);
                (ObjectKind::Chunk, content.root.hash, held)
            }
            Part::Page(hash) => (ObjectKind::Page, hash, content.gives_pages(session)),
            Part::Unit(unit) => {
                let Stage::Chunks(chunks) = &content.stage else {
                    return None;
                };
                let held = content.holds_unit(session, unit);
                (ObjectKind::Chunk, chunks.chunk(unit).hash, held)
            }
        };
        held.then_some(ObjectId { kind, hash })
    }
}
