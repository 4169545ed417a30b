//! From pages to the list of chunks, whoever sends them.

use std::collections::{BTreeMap, BTreeSet};

use super::page::{PageEntry, page_hash};
use super::{
    ChunkRef, ContentRoot, MAX_FILE_SIZE, MAX_HEIGHT, MAX_PAGE, MIN_ENTRIES, ManifestError, Page,
    PageRef,
};
use crate::chunk::{ChunkParams, ContentHash};

/// A page is known by its height too: a hostile page can name one hash at two
/// heights, though no page can have it at both.
type Key = (u8, ContentHash);

/// Collects the pages of one manifest and checks that they describe one file.
///
/// It asks for pages by [`wanted`](Self::wanted) and takes them by
/// [`supply`](Self::supply), in any order, from peers or from the pages held
/// here already. When it [is complete](Self::is_complete) the manifest is the
/// only one that a file of this size with these chunks can have.
///
/// A page is kept once, however often it occurs, and chunks are walked rather
/// than listed. So memory is bounded by the bytes received, even for a
/// manifest which repeats a few pages billions of times. Heights decrease from
/// a page to those it names, so there are no cycles.
#[derive(Debug)]
pub struct ManifestReader {
    root: ContentRoot,
    params: ChunkParams,
    pub(super) held: BTreeMap<Key, Page>,
    wanted: BTreeMap<Key, Claim>,
    /// The wanted pages, lowest first and then as they were heard of.
    order: BTreeMap<(u8, u64), ContentHash>,
    next: u64,
    failed: Option<ManifestError>,
}

/// What the page above says about a page.
#[derive(Clone, Copy, Debug)]
struct Claim {
    bytes: u64,
    /// Unknown for the root.
    chunks: Option<u32>,
    turn: u64,
}

impl Claim {
    fn fits(&self, (bytes, chunks): (u64, u32)) -> bool {
        self.bytes == bytes && self.chunks.is_none_or(|claimed| claimed == chunks)
    }
}

impl ManifestReader {
    /// A reader for a file of `size` bytes, cut by the parameters that follow
    /// from its size.
    ///
    /// # Errors
    ///
    /// See [`ManifestReader::with_params`].
    pub fn new(root: ContentRoot, size: u64) -> Result<Self, ManifestError> {
        Self::with_params(root, size, ChunkParams::for_size(size, 0))
    }

    /// A reader for a file of `size` bytes, cut by these parameters. Their seed
    /// doesn't matter.
    ///
    /// # Errors
    ///
    /// When the size is above [`MAX_FILE_SIZE`], the height above
    /// [`MAX_HEIGHT`], or the two can't belong together.
    pub fn with_params(
        root: ContentRoot,
        size: u64,
        params: ChunkParams,
    ) -> Result<Self, ManifestError> {
        if size > MAX_FILE_SIZE {
            return Err(ManifestError::TooLarge);
        }
        if root.height > MAX_HEIGHT {
            return Err(ManifestError::Height(root.height));
        }
        let mut reader = Self {
            root,
            params,
            held: BTreeMap::new(),
            wanted: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            failed: None,
        };
        let key = (root.height, root.hash);
        if root.height > 0 {
            if params.max_chunks(size) < 2 {
                return Err(ManifestError::Sum);
            }
            reader.want(key, size, None);
            return Ok(reader);
        }
        let len = u32::try_from(size).map_err(|_| ManifestError::Sum)?;
        if len > params.max() || (size == 0) != (root == ContentRoot::empty()) {
            return Err(ManifestError::Sum);
        }
        let chunks = if len == 0 {
            vec![]
        } else {
            vec![ChunkRef {
                hash: root.hash,
                len,
            }]
        };
        reader.held.insert(key, Page::Leaf(chunks));
        Ok(reader)
    }

    /// The next pages to find, with their heights: at most `limit`, the lowest
    /// first so that chunks become known early. The same pages are named again
    /// until they are supplied. Nothing is wanted of a manifest that failed.
    #[must_use]
    pub fn wanted(&self, limit: usize) -> Vec<(ContentHash, u8)> {
        self.order
            .iter()
            .take(limit)
            .map(|((height, _), hash)| (*hash, *height))
            .collect()
    }

    /// Takes a page.
    ///
    /// A page which is held already is fine and changes nothing.
    ///
    /// # Errors
    ///
    /// If the error [blames the sender](ManifestError::blames_sender) then
    /// nothing has changed, and the page is still wanted. Otherwise the
    /// manifest itself is bad: nothing is wanted any more, and the same error
    /// answers every further page.
    pub fn supply(&mut self, hash: ContentHash, bytes: &[u8]) -> Result<(), ManifestError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.accept(hash, bytes);
        if let Err(error) = result
            && !error.blames_sender()
        {
            self.failed = Some(error);
            self.held.clear();
            self.wanted.clear();
            self.order.clear();
        }
        result
    }

    /// Whether all pages are here and the manifest is good.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_none() && self.wanted.is_empty()
    }

    /// The number of chunks, once complete.
    #[must_use]
    pub fn chunk_count(&self) -> Option<u32> {
        let top = self.held.get(&(self.root.height, self.root.hash))?;
        if self.is_complete() {
            top.totals().map(|(_, chunks)| chunks)
        } else {
            None
        }
    }

    /// The chunks in the order of the file, once complete. Their lengths add up
    /// to the size.
    #[must_use]
    pub fn chunks(&self) -> Option<Chunks<'_>> {
        let top = self.held.get(&(self.root.height, self.root.hash))?;
        self.is_complete().then(|| Chunks {
            held: &self.held,
            height: self.root.height,
            path: vec![(top, 0)],
        })
    }

    fn want(&mut self, key: Key, bytes: u64, chunks: Option<u32>) {
        let turn = self.next;
        self.next += 1;
        self.order.insert((key.0, turn), key.1);
        self.wanted.insert(
            key,
            Claim {
                bytes,
                chunks,
                turn,
            },
        );
    }

    fn accept(&mut self, hash: ContentHash, bytes: &[u8]) -> Result<(), ManifestError> {
        if bytes.len() > MAX_PAGE {
            return Err(ManifestError::WrongHash);
        }
        let at = |height| (height, hash);
        let mut heights = (1..=MAX_HEIGHT).filter(|height| self.wanted.contains_key(&at(*height)));
        let Some(lowest) = heights.next() else {
            let held = (1..=MAX_HEIGHT).any(|height| self.held.contains_key(&at(height)));
            return if held {
                Ok(())
            } else {
                Err(ManifestError::NotWanted)
            };
        };
        let height = std::iter::once(lowest)
            .chain(heights)
            .find(|height| page_hash(*height, bytes) == hash)
            .ok_or(ManifestError::WrongHash)?;
        let page = Page::decode(bytes, height, &hash)?;
        let claim = self
            .wanted
            .get(&at(height))
            .ok_or(ManifestError::NotWanted)?;
        let sums = page.totals().ok_or(ManifestError::TooLarge)?;
        if !claim.fits(sums) || u64::from(sums.1) > self.params.max_chunks(sums.0) {
            return Err(ManifestError::Sum);
        }
        let turn = claim.turn;
        if height == self.root.height && page.entry_count() < 2 {
            return Err(ManifestError::Shape);
        }
        match &page {
            Page::Leaf(entries) => self.check_sizes(entries)?,
            Page::Inner(entries) => {
                self.check_sizes(entries)?;
                self.want_below(height, entries)?;
            }
        }
        self.wanted.remove(&at(height));
        self.order.remove(&(height, turn));
        self.held.insert(at(height), page);
        if self.wanted.is_empty() {
            self.check_ends()
        } else {
            Ok(())
        }
    }

    /// Only the last chunk of a file may be shorter than the smallest, none may
    /// be longer than the longest.
    fn check_sizes<E: PageEntry>(&self, entries: &[E]) -> Result<(), ManifestError> {
        let (min, max) = (u64::from(self.params.min()), u64::from(self.params.max()));
        let possible = entries.iter().enumerate().all(|(index, entry)| {
            let chunks = u64::from(entry.chunks());
            let full = if index + 1 == entries.len() {
                chunks - 1
            } else {
                chunks
            };
            entry.bytes() <= chunks * max && entry.bytes() >= (full * min).max(1)
        });
        if possible {
            Ok(())
        } else {
            Err(ManifestError::Entry)
        }
    }

    /// Asks for the pages that a page names, if everything said about them
    /// agrees.
    fn want_below(&mut self, height: u8, entries: &[PageRef]) -> Result<(), ManifestError> {
        // A page below which another one follows is full, and so is all below.
        let full = (MIN_ENTRIES as u64).saturating_pow(u32::from(height) - 1);
        let mut news = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            if index + 1 < entries.len() && u64::from(entry.chunks) < full {
                return Err(ManifestError::Shape);
            }
            let key = (height - 1, entry.hash);
            let sums = (entry.bytes, entry.chunks);
            let agrees = if let Some(page) = self.held.get(&key) {
                page.totals() == Some(sums)
            } else if let Some(claim) = self.wanted.get(&key) {
                claim.fits(sums)
            } else {
                news.insert(key, (index, sums))
                    .is_none_or(|(_, before)| before == sums)
            };
            if !agrees {
                return Err(ManifestError::Sum);
            }
        }
        let mut news: Vec<_> = news.into_iter().collect();
        news.sort_unstable_by_key(|(_, (index, _))| *index);
        for (key, (_, (bytes, chunks))) in news {
            self.want(key, bytes, Some(chunks));
        }
        Ok(())
    }

    /// The check which needs all pages: what may only be at the end of the file
    /// is nowhere else. That is a page which ends without need, and a chunk
    /// shorter than the smallest.
    fn check_ends(&self) -> Result<(), ManifestError> {
        // Pages that must be the last ones of their height. Lower pages come
        // first in the map, so those below a page have been judged before it.
        let mut last_only: BTreeSet<Key> = BTreeSet::new();
        for (key, page) in &self.held {
            let ends_badly = match page {
                Page::Leaf(chunks) => chunks.last().is_some_and(|c| c.len < self.params.min()),
                Page::Inner(pages) => {
                    let mut bad = pages
                        .iter()
                        .map(|p| last_only.contains(&(key.0 - 1, p.hash)));
                    let last = bad.next_back().unwrap_or(false);
                    if bad.any(|bad| bad) {
                        return Err(ManifestError::Shape);
                    }
                    last
                }
            };
            if ends_badly || !page.is_closed() {
                last_only.insert(*key);
            }
        }
        Ok(())
    }
}

/// The chunks of a manifest in the order of the file, see
/// [`ManifestReader::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    held: &'a BTreeMap<Key, Page>,
    height: u8,
    /// The pages from the top to the current leaf, each with its next entry.
    path: Vec<(&'a Page, usize)>,
}

impl Iterator for Chunks<'_> {
    type Item = ChunkRef;

    fn next(&mut self) -> Option<ChunkRef> {
        loop {
            let depth = u8::try_from(self.path.len()).ok()?;
            let (page, next) = self.path.last_mut()?;
            let index = *next;
            *next += 1;
            match page {
                Page::Leaf(chunks) => {
                    if let Some(chunk) = chunks.get(index) {
                        return Some(*chunk);
                    }
                }
                Page::Inner(pages) => {
                    if let Some(page) = pages.get(index) {
                        let below = self
                            .held
                            .get(&(self.height.checked_sub(depth)?, page.hash))?;
                        self.path.push((below, 0));
                        continue;
                    }
                }
            }
            self.path.pop();
        }
    }
}
