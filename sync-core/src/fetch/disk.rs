//! Big files: from the first page to the last chunk written.

use std::sync::Arc;

use bytes::Bytes;

use super::chunks::{Chunks, Written};
use super::content::{Holder, Key, Pages, Stage};
use super::{FetchError, FetchOutput, Fetcher, Item, MAX_ACTIVE, MAX_CHUNKS, Part, TempJob};
use crate::chunk::ContentHash;
use crate::manifest::{ContentRoot, ManifestReader};

impl Fetcher {
    /// Starts big contents that wait for their turn.
    pub(super) fn activate(&mut self) {
        while self.active.len() < MAX_ACTIVE
            && let Some(key) = self.waiting.pop_first()
        {
            let Some(content) = self.contents.get_mut(&key) else {
                continue;
            };
            let (root, size) = (content.root, content.size);
            match ManifestReader::new(root, size) {
                Ok(reader) => {
                    content.stage = Stage::Pages(Box::new(Pages::new(reader, self.now)));
                    self.start_who_has();
                    self.active.insert(key);
                    self.ask_who_has(None, &[root]);
                    self.look_for_pages(key);
                }
                Err(error) => self.fail(key, error.into()),
            }
        }
    }

    /// A content gives its place to others, and waits for the next one.
    pub(super) fn deactivate(&mut self, key: Key) {
        self.abandon_all(key);
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let stage = std::mem::replace(&mut content.stage, Stage::Waiting);
        for watch in content.watchers.values_mut() {
            watch.heard = 0;
        }
        for holder in content.holders.values_mut() {
            if let Holder::Part(part) = holder {
                **part = super::content::Part::default();
            }
        }
        self.release_writes(&stage);
        self.active.remove(&key);
        // A new number, so that it comes after those that wait now.
        let news = self.next_key;
        self.next_key += 1;
        if let Some(content) = self.contents.remove(&key) {
            self.names.insert(content.root, news);
            let held = !content.holders.is_empty();
            self.contents.insert(news, content);
            self.orphans.remove(&key);
            if held {
                self.waiting.insert(news)
            } else {
                self.orphans.insert(news)
            };
        }
    }

    pub(super) fn fail(&mut self, key: Key, error: FetchError) {
        let Some(content) = self.contents.get(&key) else {
            return;
        };
        let (content, size) = (content.root, content.size);
        self.remove(key);
        self.outputs.push_back(FetchOutput::Failed {
            content,
            size,
            error,
        });
    }

    /// Asks for pages that have become known.
    fn look_for_pages(&mut self, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Pages(pages) = &mut content.stage else {
            return;
        };
        let news = pages.news();
        if !news.is_empty() {
            self.outputs.push_back(FetchOutput::NeedPages(news));
        }
    }

    /// Takes the answer to [`FetchOutput::NeedPages`] for one page; `None` if it isn't held locally.
    pub fn supply_page(&mut self, hash: ContentHash, bytes: Option<Bytes>) {
        if let Some(bytes) = bytes
            && self.share_page(hash, &bytes)
        {
            return;
        }
        for key in &self.active {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            let Stage::Pages(pages) = &mut content.stage else {
                continue;
            };
            if pages.local.remove(&hash) {
                pages.queue.push_back(hash);
                self.ready.extend(content.holders.keys());
            }
        }
    }

    /// Gives a page to all contents that await it. False if one of them refused it.
    pub(super) fn share_page(&mut self, hash: ContentHash, bytes: &Bytes) -> bool {
        let mut good = true;
        let keys: Vec<_> = self.active.iter().copied().collect();
        for key in keys {
            if self.awaits_page(key, &hash) {
                if self.take_page(key, hash, bytes) {
                    self.abandon(Item {
                        key,
                        part: Part::Page(hash),
                    });
                } else {
                    good = false;
                }
            }
        }
        good
    }

    fn awaits_page(&self, key: Key, hash: &ContentHash) -> bool {
        match self.contents.get(&key).map(|content| &content.stage) {
            Some(Stage::Pages(pages)) => pages.awaits(hash),
            _ => false,
        }
    }

    /// Takes a page for a content. False if the bytes aren't the page; a page that makes the manifest impossible is
    /// its author's fault, and ends the content.
    pub(super) fn take_page(&mut self, key: Key, hash: ContentHash, bytes: &Bytes) -> bool {
        let Some(content) = self.contents.get_mut(&key) else {
            return true;
        };
        let Stage::Pages(pages) = &mut content.stage else {
            return true;
        };
        match pages.reader.supply(hash, bytes) {
            Ok(()) => {
                if pages.awaits(&hash) {
                    pages.hold(hash, bytes.clone(), self.now);
                    pages.queue.retain(|queued| *queued != hash);
                }
                if pages.reader.is_complete() {
                    self.start_chunks(key);
                } else {
                    self.look_for_pages(key);
                }
                true
            }
            Err(error) if error.blames_sender() => false,
            Err(error) => {
                self.fail(key, error.into());
                true
            }
        }
    }

    /// The manifest is complete.
    fn start_chunks(&mut self, key: Key) {
        let random = self.random();
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Pages(pages) = &mut content.stage else {
            return;
        };
        if pages
            .reader
            .chunk_count()
            .is_none_or(|count| count > MAX_CHUNKS)
        {
            return self.fail(key, FetchError::TooManyChunks);
        }
        let list = pages.reader.chunks().into_iter().flatten().collect();
        let chunks = Chunks::new(list, std::mem::take(&mut pages.pages), random, self.now);
        let list = Arc::clone(&chunks.list);
        content.stage = Stage::Chunks(Box::new(chunks));
        let (content, size) = (content.root, content.size);
        self.apply_raw(key);
        self.outputs.push_back(FetchOutput::Temp(TempJob::Check {
            content,
            size,
            chunks: list,
        }));
    }

    fn chunks_of(&mut self, content: ContentRoot) -> Option<(Key, &mut Chunks)> {
        let key = *self.names.get(&content)?;
        match &mut self.contents.get_mut(&key)?.stage {
            Stage::Chunks(chunks) => Some((key, chunks)),
            _ => None,
        }
    }

    /// Takes the answer to [`TempJob::Check`]: for each chunk whether it is good; a shorter list means that
    /// the rest isn't.
    pub fn handle_temp_checked(&mut self, content: ContentRoot, have: Vec<bool>) {
        let now = self.now;
        let Some((key, chunks)) = self.chunks_of(content) else {
            return;
        };
        if chunks.checked(&have) {
            chunks.progress = now;
            self.go_on(key);
        }
    }

    /// Takes the answer to [`TempJob::CopyLocal`]: for each chunk whether it was copied.
    pub fn handle_local(&mut self, content: ContentRoot, results: Vec<(u32, bool)>) {
        let now = self.now;
        let Some((key, chunks)) = self.chunks_of(content) else {
            return;
        };
        for (index, good) in results {
            if chunks.copied(index, good) {
                chunks.progress = now;
            }
        }
        self.go_on(key);
    }

    /// The disk has had its say: offers it more, ends the content or asks peers.
    fn go_on(&mut self, key: Key) {
        if self.finish(key) {
            return;
        }
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Chunks(chunks) = &mut content.stage else {
            return;
        };
        let batch = chunks.local_batch();
        if !batch.is_empty() {
            let (content, size) = (content.root, content.size);
            self.outputs
                .push_back(FetchOutput::Temp(TempJob::CopyLocal {
                    content,
                    size,
                    chunks: batch,
                }));
        }
        self.wake_all();
    }

    /// Ends the content if all of it is here.
    fn finish(&mut self, key: Key) -> bool {
        let Some(content) = self.contents.get_mut(&key) else {
            return true;
        };
        let (root, size) = (content.root, content.size);
        let Stage::Chunks(chunks) = &mut content.stage else {
            return false;
        };
        if !chunks.is_complete() {
            return false;
        }
        let pages = std::mem::take(&mut chunks.pages);
        let list = Arc::clone(&chunks.list);
        self.report_last(key);
        self.remove(key);
        self.outputs.push_back(FetchOutput::BigDone {
            content: root,
            size,
            pages,
            chunks: list,
        });
        true
    }

    /// Takes the answer to [`TempJob::Write`]: whether the chunk had the right hash and was written.
    pub fn handle_written(&mut self, content: ContentRoot, index: u32, ok: bool) {
        let now = self.now;
        let Some((key, chunks)) = self.chunks_of(content) else {
            return;
        };
        match chunks.written(index, ok) {
            Written::Ignored => {}
            Written::Pending(unit) => {
                let places = chunks.more_writes(unit);
                self.say_writes(key, unit, &places);
            }
            Written::Finished {
                unit,
                from,
                request,
                len,
                good,
            } => {
                if good {
                    chunks.progress = now;
                }
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.writing = peer.writing.saturating_sub(u64::from(len));
                    self.ready.insert(from);
                }
                self.release(u64::from(len));
                if good {
                    self.finish(key);
                } else {
                    self.bad_unit(key, from, request, unit);
                    self.wake_all();
                }
            }
        }
    }

    /// Has a unit written to places of the file.
    pub(super) fn say_writes(&mut self, key: Key, unit: u32, places: &[u32]) {
        let Some(content) = self.contents.get(&key) else {
            return;
        };
        let Stage::Chunks(chunks) = &content.stage else {
            return;
        };
        let Some(bytes) = chunks.bytes_of(unit) else {
            return;
        };
        let hash = chunks.chunk(unit).hash;
        let write = |index: &u32| TempJob::Write {
            content: content.root,
            size: content.size,
            offset: chunks.offset(*index),
            index: *index,
            hash,
            bytes: bytes.clone(),
        };
        self.outputs
            .extend(places.iter().map(write).map(FetchOutput::Temp));
    }
}
