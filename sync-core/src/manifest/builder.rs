//! From a list of chunks to pages.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::page::{PageEntry, encode, totals};
use super::{ChunkRef, ContentRoot, MAX_FILE_SIZE, ManifestError, PageRef, page_hash};
use crate::chunk::{ContentHash, MAX_CHUNK};

/// A page which is ready to be stored or sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedPage {
    /// The hash of the page, see [`page_hash`].
    pub hash: ContentHash,
    /// The height of the page, 1 for leaves.
    pub height: u8,
    /// The page itself.
    pub bytes: Bytes,
}

/// The description of a file, complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The name of the content.
    pub root: ContentRoot,
    /// The size of the file in bytes.
    pub size: u64,
    /// All chunks in the order of the file, repeated ones repeatedly.
    pub chunks: Vec<ChunkRef>,
    /// All pages, each once and after the pages it names: the root is last.
    /// Empty at height 0.
    pub pages: Vec<EncodedPage>,
}

/// Takes chunks in the order of the file and makes pages of them.
///
/// Needs memory in proportion to the number of chunks, not to the file.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    chunks: Vec<ChunkRef>,
    /// How many chunks are in finished leaves.
    in_leaves: usize,
    size: u64,
    /// Entries which aren't in a page yet; the first level is height 2.
    levels: Vec<Level>,
    pages: Vec<EncodedPage>,
    seen: BTreeSet<ContentHash>,
}

/// The open page of one height.
#[derive(Debug, Default)]
struct Level {
    open: Vec<PageRef>,
    /// Whether a page of this height has been finished.
    finished_any: bool,
}

impl ManifestBuilder {
    /// A builder without chunks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes pushed so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next chunk of the file.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Entry`] for a chunk of no bytes or of more than
    /// [`MAX_CHUNK`], [`ManifestError::TooLarge`] beyond [`MAX_FILE_SIZE`] or
    /// more chunks than an entry can count. The builder is unchanged then.
    pub fn push(&mut self, chunk: ChunkRef) -> Result<(), ManifestError> {
        if chunk.len == 0 || chunk.len > MAX_CHUNK {
            return Err(ManifestError::Entry);
        }
        let size = self.size + u64::from(chunk.len);
        if size > MAX_FILE_SIZE || u32::try_from(self.chunks.len() + 1).is_err() {
            return Err(ManifestError::TooLarge);
        }
        self.size = size;
        self.chunks.push(chunk);
        if chunk.ends_page(self.chunks.len() - self.in_leaves) {
            self.close_leaf();
        }
        Ok(())
    }

    /// Ends the file.
    #[must_use]
    pub fn finish(mut self) -> Manifest {
        let root = match self.chunks.as_slice() {
            [] => ContentRoot::empty(),
            [only] => ContentRoot::single(only.hash),
            _ => self.close_all(),
        };
        Manifest {
            root,
            size: self.size,
            chunks: self.chunks,
            pages: self.pages,
        }
    }

    /// Finishes the open leaf, and each page above that its entry ends.
    fn close_leaf(&mut self) {
        let entries = &self.chunks[self.in_leaves..];
        let page = make(1, entries, &mut self.pages, &mut self.seen);
        self.in_leaves = self.chunks.len();
        self.add(0, page);
    }

    /// Puts an entry into the open page of a level.
    fn add(&mut self, level: usize, entry: PageRef) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let open = &mut self.levels[level].open;
        open.push(entry);
        if entry.ends_page(open.len()) {
            self.close_inner(level);
        }
    }

    fn close_inner(&mut self, level: usize) {
        let entries = std::mem::take(&mut self.levels[level].open);
        self.levels[level].finished_any = true;
        let page = make(height(level), &entries, &mut self.pages, &mut self.seen);
        self.add(level + 1, page);
    }

    /// Finishes what is open from the bottom up, until one page is alone at its
    /// height. There are two chunks or more.
    fn close_all(&mut self) -> ContentRoot {
        if self.in_leaves < self.chunks.len() {
            self.close_leaf();
        }
        let mut level = 0;
        loop {
            let Level { open, finished_any } = &self.levels[level];
            match open.as_slice() {
                [only] if !finished_any => {
                    return ContentRoot {
                        hash: only.hash,
                        height: height(level) - 1,
                    };
                }
                [] => {}
                _ => self.close_inner(level),
            }
            level += 1;
        }
    }
}

/// The height of the pages that a level's entries go into. Sixteen entries or
/// more per page keep this below nine for any number of chunks.
fn height(level: usize) -> u8 {
    u8::try_from(level + 2).unwrap_or(u8::MAX)
}

fn make<E: PageEntry>(
    height: u8,
    entries: &[E],
    pages: &mut Vec<EncodedPage>,
    seen: &mut BTreeSet<ContentHash>,
) -> PageRef {
    let encoded = encode(entries);
    let hash = page_hash(height, &encoded);
    if seen.insert(hash) {
        pages.push(EncodedPage {
            hash,
            height,
            bytes: encoded,
        });
    }
    // The whole file has been held against the limits, so its parts fit.
    let (bytes, chunks) = totals(entries).unwrap_or_default();
    PageRef {
        hash,
        bytes,
        chunks,
    }
}
