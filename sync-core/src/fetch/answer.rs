//! What becomes of answers.

use bytes::Bytes;

use super::content::{Holder, Key, Stage};
use super::peer::Taken;
use super::{FetchError, FetchOutput, Fetcher, Item, MAX_BAD, MAX_ODD, Part};
use crate::chunk::ContentHash;
use crate::ids::SessionId;
use crate::message::{BadChunk, MAX_OBJECT, MAX_OBJECTS};

impl Fetcher {
    /// Takes object number `index` of an answer; `None` if the peer doesn't hold it.
    ///
    /// Objects that were never asked for count as bad. Objects of requests that were taken back are ignored.
    pub fn handle_object(
        &mut self,
        session: SessionId,
        request_id: u32,
        index: usize,
        object: Option<Bytes>,
        now: std::time::Duration,
    ) {
        self.tick(now);
        let Some(peer) = self.peers.get_mut(&session) else {
            return;
        };
        let len = object.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let (item, numbered, freed, cancelled) = match peer.take(request_id, index, len, self.now) {
            Taken::Unknown => return self.blame(session),
            Taken::Cancelled => return,
            Taken::Slot {
                item,
                numbered,
                freed,
                cancelled,
            } => (item, numbered, freed, cancelled),
        };
        self.ready.insert(session);
        self.release(freed);
        if cancelled {
            self.say_cancel(session, vec![request_id]);
        }
        let Some(item) = item else { return };
        self.drop_ask(item, session, request_id);
        let wrong = |bytes: &Bytes| {
            let content = self.contents.get(&item.key);
            content.is_some_and(|content| ContentHash::chunk(bytes) != content.root.hash)
        };
        match object {
            object if numbered && object.as_ref().is_none_or(wrong) => {
                self.not_so_named(session, item, object.is_some())
            }
            None => self.missing(session, item),
            Some(bytes) if bytes.len() > MAX_OBJECT as usize => self.refuse(session, item),
            Some(bytes) => self.received(session, request_id, item, bytes),
        }
    }

    /// A peer doesn't hold what it was asked for.
    fn missing(&mut self, session: SessionId, item: Item) {
        let holder = self
            .contents
            .get_mut(&item.key)
            .and_then(|c| c.holders.get_mut(&session));
        match (item.part, holder) {
            // Peers may serve chunks of what they collect before they serve its pages.
            (Part::Page(_), Some(Holder::Part(part))) => part.no_pages = true,
            _ => self.drop_holder(item.key, session),
        }
        self.requeue(item);
    }

    /// Something else stands under that number, or nothing any more: the content is asked for by its hash.
    fn not_so_named(&mut self, session: SessionId, item: Item, wrong: bool) {
        if let Some(content) = self.contents.get_mut(&item.key) {
            content.forget_number(session);
        }
        self.requeue(item);
        let Some(peer) = self.peers.get_mut(&session) else {
            return;
        };
        peer.odd += u16::from(wrong);
        if peer.odd >= MAX_ODD {
            self.drop_liar(session);
        }
    }

    /// A unit had another hash than was asked for. Whoever sent it hears of it, and if nobody else holds it is asked once
    /// more: it may have read a file that was changed under its stat. Only what is wrong again is held against it.
    pub(super) fn bad_unit(&mut self, key: Key, session: SessionId, request: u32, unit: u32) {
        let content = self.contents.get_mut(&key);
        let Some(Stage::Chunks(chunks)) = content.map(|content| &mut content.stage) else {
            return;
        };
        let hash = chunks.chunk(unit).hash;
        let peer = self.peers.get_mut(&session);
        let credit = peer.filter(|peer| peer.odd < MAX_ODD && chunks.complain(unit, session));
        let excused = credit.map(|peer| peer.odd += 1).is_some();
        self.exclude_unit(key, session, unit);
        match excused {
            true => {
                let complaint = BadChunk { id: request, hash };
                self.outputs
                    .push_back(FetchOutput::Complain(session, complaint));
            }
            false => self.blame(session),
        }
    }

    /// A peer sent something else than it was asked for.
    fn refuse(&mut self, session: SessionId, item: Item) {
        match item.part {
            Part::Whole => {
                let others = self.contents.get(&item.key).map_or(0, |c| c.holders.len());
                if others > 1 {
                    self.drop_holder(item.key, session);
                }
            }
            Part::Unit(unit) => self.exclude_unit(item.key, session, unit),
            Part::Page(_) => {}
        }
        self.requeue(item);
        self.blame(session);
    }

    fn received(&mut self, session: SessionId, request: u32, item: Item, bytes: Bytes) {
        let Some(content) = self.contents.get_mut(&item.key) else {
            return;
        };
        match item.part {
            Part::Whole => {
                let (root, size) = (content.root, content.size);
                if ContentHash::chunk(&bytes) != root.hash {
                    return self.refuse(session, item);
                }
                self.remove(item.key);
                self.outputs.push_back(if bytes.len() as u64 == size {
                    FetchOutput::SmallDone {
                        content: root,
                        bytes,
                    }
                } else {
                    FetchOutput::Failed {
                        content: root,
                        size,
                        error: FetchError::Size,
                    }
                });
            }
            Part::Page(hash) => {
                if self.take_page(item.key, hash, &bytes) {
                    self.abandon(item);
                    self.share_page(hash, &bytes);
                } else {
                    self.refuse(session, item);
                }
            }
            Part::Unit(unit) => {
                let Stage::Chunks(chunks) = &mut content.stage else {
                    return;
                };
                let len = bytes.len() as u64;
                if len != u64::from(chunks.chunk(unit).len) {
                    return self.refuse(session, item);
                }
                let Some(places) = chunks.write(unit, session, request, bytes) else {
                    return;
                };
                self.total += len;
                if let Some(peer) = self.peers.get_mut(&session) {
                    peer.writing += len;
                }
                self.abandon(item);
                self.say_writes(item.key, unit, &places);
            }
        }
    }

    /// Somebody isn't asked for an item any more.
    pub(super) fn drop_ask(&mut self, item: Item, session: SessionId, id: u32) {
        if let Some(asks) = self.under_way.get_mut(&item) {
            asks.retain(|ask| ask.session != session || ask.id != id);
            if asks.is_empty() {
                self.under_way.remove(&item);
            }
        }
    }

    /// Puts an item that didn't come back among those to be asked for, unless somebody else is asked.
    pub(super) fn requeue(&mut self, item: Item) {
        if self.under_way.contains_key(&item) {
            return;
        }
        let Some(content) = self.contents.get_mut(&item.key) else {
            return;
        };
        match (item.part, &mut content.stage) {
            (Part::Whole, Stage::Small { .. }) => return self.queue_small(item.key),
            (Part::Page(hash), Stage::Pages(pages)) => {
                if pages.awaits(&hash) {
                    pages.queue.push_back(hash);
                }
            }
            (Part::Unit(unit), Stage::Chunks(chunks)) => chunks.unask(unit),
            _ => return,
        }
        self.ready.extend(content.holders.keys());
    }

    /// An item is here: other answers for it are of no use.
    pub(super) fn abandon(&mut self, item: Item) {
        for ask in self.under_way.remove(&item).unwrap_or_default() {
            let Some(peer) = self.peers.get_mut(&ask.session) else {
                continue;
            };
            if let Some(bytes) = peer.abandon(ask.id, ask.slot) {
                self.ready.insert(ask.session);
                self.release(bytes);
                self.say_cancel(ask.session, vec![ask.id]);
            }
        }
    }

    /// Nothing of a content is of use any more.
    pub(super) fn abandon_all(&mut self, key: Key) {
        let first = Item {
            key,
            part: Part::Whole,
        };
        let items = self
            .under_way
            .range(first..)
            .take_while(|(item, _)| item.key == key);
        let items: Vec<_> = items.map(|(item, _)| *item).collect();
        for item in items {
            self.abandon(item);
        }
    }

    /// Takes requests back, in one message with the one before where possible.
    pub(super) fn say_cancel(&mut self, session: SessionId, mut ids: Vec<u32>) {
        if let Some(FetchOutput::Cancel(last, before)) = self.outputs.back_mut()
            && *last == session
            && before.len() + ids.len() <= MAX_OBJECTS
        {
            before.append(&mut ids);
            return;
        }
        for ids in ids.chunks(MAX_OBJECTS) {
            self.outputs
                .push_back(FetchOutput::Cancel(session, ids.to_vec()));
        }
    }

    /// A peer sent something bad. Too often, and it is dropped.
    pub(super) fn blame(&mut self, session: SessionId) {
        let Some(peer) = self.peers.get_mut(&session) else {
            return;
        };
        peer.bad += 1;
        if peer.bad >= MAX_BAD {
            self.drop_liar(session);
        }
    }

    fn drop_liar(&mut self, session: SessionId) {
        self.remove_peer(session);
        self.outputs.push_back(FetchOutput::Drop(session));
    }
}
