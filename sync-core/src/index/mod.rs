//! The index: what a folder knows about each path, behind a trait.
//!
//! The engine and the scanner speak to [`Index`] only; sync-store gives an implementation on sled, and
//! [`MemIndex`] here serves tests, the simulator and small reusers. An index is a rebuildable cache: the
//! truth is the files on disk and the small identity files beside it.
//!
//! Commits are atomic at once and durable only after [`Index::flush`]. The engine tells nobody about a
//! change before it is flushed.

mod batches;
mod mem;
mod totals;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use thiserror::Error;

pub use batches::{BatchEdits, BatchRow};
pub use mem::MemIndex;
pub use totals::{Count, NeedCount, Totals};

use crate::{
    chunk::ContentHash,
    disk::{DiskStat, Page},
    ids::{PeerKey, Seq},
    manifest::{ChunkRef, ContentRoot},
    path::RelPath,
    record::{BatchId, BatchProof, RawRecord},
};

/// Why the index can't answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IndexError {
    /// The disk is full, failing or locked: stop, tell the user, open again later.
    #[error("the index can't be used now: {0}")]
    Unavailable(String),
    /// Stored bytes are not what was written: set aside and rebuild.
    #[error("the index is damaged: {0}")]
    Corrupt(String),
    /// Peers hold changes of ours that we can't have made with the past that we have: set aside and rebuild,
    /// under a new replica id.
    #[error(
        "other members know changes of this machine that it doesn't: its data was restored from a backup"
    )]
    Restored,
}

/// Result of an index operation.
pub type IndexResult<T> = Result<T, IndexError>;

/// Which order of work a wanted record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Need {
    /// Directories: first, from the top down.
    #[n(0)]
    Dir,
    /// Files and symlinks.
    #[n(1)]
    Content,
    /// Deletions: last, from the bottom up.
    #[n(2)]
    Removal,
}

/// Short name of a peer inside the index: the first eight bytes of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct PeerTag(#[n(0)] pub u64);

impl From<&PeerKey> for PeerTag {
    fn from(key: &PeerKey) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = key.0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// A record that is accepted but not (wholly) on this disk yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Want {
    /// What shall stand here.
    #[n(0)]
    pub record: RawRecord,
    /// When it is worked on; `None` while it is known but not to be held (ignored, other kinds).
    #[n(1)]
    pub need: Option<Need>,
    /// Bytes of content it needs, for progress.
    #[n(2)]
    pub bytes: u64,
    /// Peers that said they hold it.
    #[n(3)]
    pub holders: Vec<PeerTag>,
}

/// All that is known about one path. The signed records are verbatim; everything else is local.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct IndexEntry {
    /// Our number of the last change here that peers should hear of; 0 for what is never told.
    #[n(0)]
    pub seq: u64,
    /// Mark of the peer and its generation from whom the announced record came, so that it isn't
    /// sent back; 0 if it is our own.
    #[n(1)]
    pub learned: u64,
    /// What the disk showed when it was last looked at or written by us; `None` if nothing is there.
    #[n(2)]
    pub stat: Option<DiskStat>,
    /// Content of the file on disk.
    #[n(3)]
    pub content: Option<ContentRoot>,
    /// The record that describes what is on disk, or the deletion that was carried out.
    #[n(4)]
    pub held: Option<RawRecord>,
    /// The record that shall be, if it is another one.
    #[n(5)]
    pub want: Option<Want>,
    /// See [`flag`].
    #[n(6)]
    pub flags: u8,
}

/// Bits of [`IndexEntry::flags`].
pub mod flag {
    /// Looked at within the clock's grain of its last write: a later scan must hash it again.
    pub const RACY: u8 = 1;
    /// What is on disk was made here and can't be published (read-only secret).
    pub const LOCAL_EDIT: u8 = 2;
    /// Gone from the disk, but the deletion is held back until the user approves.
    pub const HELD_BACK: u8 = 4;
    /// It has the name of a conflict copy.
    pub const COPY: u8 = 8;
    /// Versions that didn't know of each other met here, or at a peer who told us. What somebody knows doesn't
    /// say which of them it has: the announced record is told in full to everybody. It stays for good.
    pub const CONTESTED: u8 = 16;
}

impl IndexEntry {
    /// The record that peers are told of.
    pub fn announced(&self) -> Option<&RawRecord> {
        self.want.as_ref().map(|w| &w.record).or(self.held.as_ref())
    }

    /// Whether content and all of the announced record stand on this disk.
    pub fn holds(&self) -> bool {
        self.want.is_none()
    }

    /// Which list of work it stands in.
    pub fn need(&self) -> Option<Need> {
        self.want.as_ref().and_then(|w| w.need)
    }
}

/// Where a chunk lies inside a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ChunkPlace {
    /// The content it is part of.
    #[n(0)]
    pub content: ContentRoot,
    /// Byte offset in it.
    #[n(1)]
    pub offset: u64,
    /// Its length in bytes.
    #[n(2)]
    pub len: u32,
}

/// A manifest to keep: its pages, and its chunks in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestPut {
    /// Whose manifest it is.
    pub content: ContentRoot,
    /// Its pages.
    pub pages: Vec<Page>,
    /// Its chunks, so that they can be found by hash. May be empty for a file not yet here.
    pub chunks: Vec<ChunkRef>,
}

/// Changes that take effect together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries to set, or to forget.
    pub entries: Vec<(RelPath, Option<IndexEntry>)>,
    /// Small named values to set, or to forget. Names are at most 64 bytes.
    pub facts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Manifests to keep.
    pub manifests: Vec<ManifestPut>,
    /// What proves the records in `entries`, unless the index has it already. What no entry needs isn't kept.
    pub proofs: Vec<BatchProof>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.facts.is_empty() && self.manifests.is_empty()
    }
}

/// What the engine asks of an index. All reads see all commits made before.
pub trait Index {
    /// The entry of `path`.
    fn entry(&self, path: &RelPath) -> IndexResult<Option<IndexEntry>>;
    /// Up to `limit` entries after `after` (from the first if `None`), in path order.
    fn entries_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>>;
    /// Up to `limit` entries somewhere below `dir`, after `after`, in path order.
    fn entries_below(
        &self,
        dir: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>>;
    /// Up to `limit` entries with a number above `after`, in order of number.
    fn changes_after(&self, after: Seq, limit: usize) -> IndexResult<Vec<(Seq, RelPath)>>;
    /// Up to `limit` paths in a list of work after `after`: in path order, removals in reverse.
    fn needs(&self, need: Need, after: Option<&RelPath>, limit: usize)
    -> IndexResult<Vec<RelPath>>;
    /// Up to `limit` paths whose file on disk has this content.
    fn with_content(&self, content: &ContentRoot, limit: usize) -> IndexResult<Vec<RelPath>>;
    /// Hands the places where a chunk of a file with a manifest lies, or lay, to `f` until it says `false`: at
    /// most one in each content, those that were stored last first as a rule. The bytes must be verified.
    /// `f` must not ask the index anything.
    fn chunk_places(
        &self,
        chunk: &ContentHash,
        f: &mut dyn FnMut(ChunkPlace) -> bool,
    ) -> IndexResult<()>;
    /// A manifest page.
    fn page(&self, hash: &ContentHash) -> IndexResult<Option<Bytes>>;
    /// What proves the records of a batch that stand in entries: groups of any of them can be made.
    fn batch(&self, id: &BatchId) -> IndexResult<Option<BatchProof>>;
    /// A small named value.
    fn fact(&self, name: &[u8]) -> IndexResult<Option<Vec<u8>>>;
    /// What all entries together come to.
    fn totals(&self) -> IndexResult<Totals>;
    /// Makes all changes of `batch`.
    fn commit(&mut self, batch: Batch) -> IndexResult<()>;
    /// Makes everything committed so far durable. Slow: a shell calls it from the store's thread.
    fn flush(&self) -> IndexResult<()>;
}
