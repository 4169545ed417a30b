//! What a file consists of: the tree of pages which lists its chunks.
//!
//! A file of several chunks is described by a *manifest*, a tree of pages of at
//! most 4 KiB. Leaf pages (height 1) list chunks, inner pages list pages of the
//! height below. The hash of the only page at the top names the content. Pages
//! end where the content of the list says so, hence a changed chunk changes
//! about one page per height and the rest is shared with the older version.
//! A file of one chunk, or an empty one, has no manifest: the hash of the chunk
//! (of nothing) names it.
//!
//! This module owns the layout of pages, the rule by which pages end, and the
//! checks of pages from outside. It never fetches or stores anything: whoever
//! uses it moves the bytes. It trusts no page, and what a page can make it
//! allocate is bounded by the bytes received.
//!
//! # Layout
//!
//! A page is a version byte ([`PAGE_VERSION`]) followed by entries without gaps;
//! numbers are big-endian. A leaf entry is the chunk's hash (32 bytes) and its
//! length (4 bytes); an inner entry is the page's hash (32), the bytes of the
//! file below it (8) and the number of chunks below it (4). The height isn't
//! stored but hashed: the hash of a page is BLAKE3 in key derivation mode
//! (context [`PAGE_CONTEXT`]) over one byte of height and the page. So a page
//! can never be taken for a chunk, nor for a page of another height.
//!
//! # Where pages end
//!
//! A page ends after an entry if it holds [`MIN_ENTRIES`] or more and the last
//! byte of the entry's hash has its lowest [`BOUNDARY_BITS`] bits zero, or if
//! another entry wouldn't fit in [`MAX_PAGE`]. Only the last page of each height
//! may end otherwise. Chunks hence determine pages: every other tree for the
//! same list is refused.

use std::fmt;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

use crate::chunk::{ChunkParams, Chunker, ContentHash};

mod builder;
mod page;
mod reader;
#[cfg(test)]
mod tests;

pub use builder::{EncodedPage, Manifest, ManifestBuilder};
pub use page::{Page, PageRef, page_hash};
pub use reader::{Chunks, ManifestReader};

/// The first byte of every page.
pub const PAGE_VERSION: u8 = 1;
/// Separates the hashes of pages from all other hashes.
pub const PAGE_CONTEXT: &str = "syncd/1 manifest page";
/// The longest page in bytes.
pub const MAX_PAGE: usize = 4096;
/// The fewest entries of a page which isn't the last one of its height.
pub const MIN_ENTRIES: usize = 16;
/// A hash whose last byte has this many low bits zero ends a page.
pub const BOUNDARY_BITS: u32 = 6;
/// The highest a manifest can be. The largest file needs at most 7.
pub const MAX_HEIGHT: u8 = 8;
/// The largest file that can be described, 16 TiB.
pub const MAX_FILE_SIZE: u64 = 1 << 44;

/// A chunk as a manifest lists it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChunkRef {
    /// The hash of the chunk.
    pub hash: ContentHash,
    /// The length of the chunk in bytes, never zero.
    pub len: u32,
}

/// The name of a file's content.
///
/// Height 0 means that the file is one chunk, or empty, and `hash` is the hash
/// of its bytes. From height 1 on `hash` names the top page of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentRoot {
    /// The hash of the chunk or of the top page.
    pub hash: ContentHash,
    /// The height of the top page, 0 without a manifest.
    pub height: u8,
}

impl ContentRoot {
    /// The root of an empty file.
    #[must_use]
    pub fn empty() -> Self {
        Self::single(ContentHash::chunk(b""))
    }

    /// The root of a file which is one chunk.
    #[must_use]
    pub const fn single(hash: ContentHash) -> Self {
        Self { hash, height: 0 }
    }
}

impl fmt::Display for ContentRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.height, self.hash)
    }
}

impl fmt::Debug for ContentRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.height, self.hash)
    }
}

/// An array of the hash and the height.
impl<C> minicbor::Encode<C> for ContentRoot {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?.encode(self.hash)?.u8(self.height)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ContentRoot {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a content root has two parts").at(at));
        }
        let root = Self {
            hash: d.decode()?,
            height: d.u8()?,
        };
        if root.height > MAX_HEIGHT {
            return Err(DecodeError::message("a content root is higher than allowed").at(at));
        }
        Ok(root)
    }
}

/// Why a chunk list, a page or a manifest was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes aren't the page that was asked for.
    #[error("the bytes do not have the hash of the page asked for")]
    WrongHash,
    /// No page of this hash is awaited.
    #[error("no page of this hash is awaited")]
    NotWanted,
    /// A page or root has a height outside the allowed range.
    #[error("the height {0} is not allowed here")]
    Height(u8),
    /// The page has a version byte from the future, or none at all.
    #[error("the page has a version that is not understood")]
    Version,
    /// The page is empty, too long, or ends within an entry.
    #[error("the page does not have the length of a list of entries")]
    Length,
    /// The tree isn't the one that its list of chunks determines.
    #[error("the pages are not cut where the list of chunks says")]
    Shape,
    /// An entry is empty, or too long or too short to be cut like this.
    #[error("an entry covers an impossible number of bytes or chunks")]
    Entry,
    /// The sizes of a page or a file don't add up to what was announced.
    #[error("the sizes do not add up to what was announced")]
    Sum,
    /// The file is larger than any file may be.
    #[error("the file is larger than can be described")]
    TooLarge,
}

impl ManifestError {
    /// Whether the sender of the bytes is to blame, so that another one may
    /// have the right page. All other errors are those of the manifest: its
    /// author signed something that can never be used.
    #[must_use]
    pub const fn blames_sender(&self) -> bool {
        matches!(self, Self::WrongHash | Self::NotWanted)
    }
}

/// Cuts data which is in memory and describes it. Handy for small data and for
/// tests; files are streamed through a [`Chunker`] and a [`ManifestBuilder`].
///
/// # Errors
///
/// Only for data larger than [`MAX_FILE_SIZE`].
pub fn manifest_of(data: &[u8], seed: u64) -> Result<Manifest, ManifestError> {
    let size = u64::try_from(data.len()).map_err(|_| ManifestError::TooLarge)?;
    manifest_with(data, &Chunker::new(ChunkParams::for_size(size, seed)))
}

/// Like [`manifest_of`], with a chunker of the caller's choice.
///
/// # Errors
///
/// Only for data larger than [`MAX_FILE_SIZE`].
pub fn manifest_with(data: &[u8], chunker: &Chunker) -> Result<Manifest, ManifestError> {
    let mut builder = ManifestBuilder::new();
    let mut rest = data;
    while let Some(length) = chunker.cut(rest, true) {
        let (chunk, tail) = rest.split_at(length);
        let len = u32::try_from(length).map_err(|_| ManifestError::Entry)?;
        builder.push(ChunkRef {
            hash: ContentHash::chunk(chunk),
            len,
        })?;
        rest = tail;
    }
    Ok(builder.finish())
}
