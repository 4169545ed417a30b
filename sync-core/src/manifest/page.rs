//! One page: its bytes, its hash, and the rule by which pages end.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    BOUNDARY_BITS, ChunkRef, MAX_FILE_SIZE, MAX_HEIGHT, MAX_PAGE, MIN_ENTRIES, ManifestError,
    PAGE_CONTEXT, PAGE_VERSION,
};
use crate::chunk::{ContentHash, MAX_CHUNK};

/// A page as an inner page lists it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PageRef {
    /// The hash of the page, see [`page_hash`].
    pub hash: ContentHash,
    /// How many bytes of the file are below the page.
    pub bytes: u64,
    /// How many chunks are below the page.
    pub chunks: u32,
}

/// A page whose hash, length, entries and sums have been checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Page {
    /// Height 1: chunks, in the order of the file.
    Leaf(Vec<ChunkRef>),
    /// Height 2 and above: pages of the height below, in the order of the file.
    Inner(Vec<PageRef>),
}

/// The hash by which a page of this height is named.
#[must_use]
pub fn page_hash(height: u8, bytes: &[u8]) -> ContentHash {
    let mut hasher = blake3::Hasher::new_derive_key(PAGE_CONTEXT);
    hasher.update(&[height]).update(bytes);
    ContentHash(*hasher.finalize().as_bytes())
}

/// What leaf and inner entries have in common.
pub(super) trait PageEntry: Copy {
    /// The length of an encoded entry.
    const LEN: usize;
    /// How many fit in a page after the version byte.
    const MAX: usize = (MAX_PAGE - 1) / Self::LEN;

    fn hash(&self) -> ContentHash;
    fn bytes(&self) -> u64;
    fn chunks(&self) -> u32;
    fn put(&self, out: &mut BytesMut);
    /// The entry at the start of `bytes`, which hold [`Self::LEN`] or more.
    fn parse(bytes: &[u8]) -> Option<Self>;

    /// Whether a page ends after this entry when it is the `count`th.
    fn ends_page(&self, count: usize) -> bool {
        let low = self.hash().0[31].trailing_zeros() >= BOUNDARY_BITS;
        count == Self::MAX || (count >= MIN_ENTRIES && low)
    }
}

impl PageEntry for ChunkRef {
    const LEN: usize = 36;

    fn hash(&self) -> ContentHash {
        self.hash
    }
    fn bytes(&self) -> u64 {
        u64::from(self.len)
    }
    fn chunks(&self) -> u32 {
        1
    }
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(&self.hash.0);
        out.put_u32(self.len);
    }
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let len = u32::from_be_bytes(*rest.first_chunk()?);
        (1..=MAX_CHUNK).contains(&len).then_some(Self {
            hash: ContentHash(*hash),
            len,
        })
    }
}

impl PageEntry for PageRef {
    const LEN: usize = 44;

    fn hash(&self) -> ContentHash {
        self.hash
    }
    fn bytes(&self) -> u64 {
        self.bytes
    }
    fn chunks(&self) -> u32 {
        self.chunks
    }
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(&self.hash.0);
        out.put_u64(self.bytes);
        out.put_u32(self.chunks);
    }
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (size, rest) = rest.split_first_chunk()?;
        let (bytes, chunks) = (
            u64::from_be_bytes(*size),
            u32::from_be_bytes(*rest.first_chunk()?),
        );
        let possible = chunks > 0
            && bytes >= u64::from(chunks)
            && bytes <= u64::from(chunks).saturating_mul(u64::from(MAX_CHUNK));
        possible.then_some(Self {
            hash: ContentHash(*hash),
            bytes,
            chunks,
        })
    }
}

/// The bytes of a page.
pub(super) fn encode<E: PageEntry>(entries: &[E]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + entries.len() * E::LEN);
    out.put_u8(PAGE_VERSION);
    entries.iter().for_each(|entry| entry.put(&mut out));
    out.freeze()
}

/// The bytes and chunks below a list of entries, if no file is too large for
/// them.
pub(super) fn totals<E: PageEntry>(entries: &[E]) -> Option<(u64, u32)> {
    entries
        .iter()
        .try_fold((0_u64, 0_u32), |(bytes, chunks), entry| {
            let bytes = bytes
                .checked_add(entry.bytes())
                .filter(|bytes| *bytes <= MAX_FILE_SIZE)?;
            Some((bytes, chunks.checked_add(entry.chunks())?))
        })
}

fn parse<E: PageEntry>(body: &[u8]) -> Result<Vec<E>, ManifestError> {
    if body.is_empty() || !body.len().is_multiple_of(E::LEN) || body.len() / E::LEN > E::MAX {
        return Err(ManifestError::Length);
    }
    let entries = body
        .chunks_exact(E::LEN)
        .map(E::parse)
        .collect::<Option<Vec<_>>>()
        .ok_or(ManifestError::Entry)?;
    totals(&entries).ok_or(ManifestError::TooLarge)?;
    let before_last = entries.iter().take(entries.len() - 1).enumerate();
    if before_last
        .into_iter()
        .any(|(index, entry)| entry.ends_page(index + 1))
    {
        return Err(ManifestError::Shape);
    }
    Ok(entries)
}

impl Page {
    /// Checks bytes from outside and reads them.
    ///
    /// The hash comes first: nothing is read from bytes which aren't the page
    /// asked for. Then the version, the length, every entry, the sums, and that
    /// the page doesn't go on past an entry which ends it.
    ///
    /// # Errors
    ///
    /// [`ManifestError::WrongHash`] for other bytes than asked for, any other
    /// error for a page that nobody should have made.
    pub fn decode(bytes: &[u8], height: u8, expected: &ContentHash) -> Result<Self, ManifestError> {
        if height == 0 || height > MAX_HEIGHT {
            return Err(ManifestError::Height(height));
        }
        if bytes.len() > MAX_PAGE || page_hash(height, bytes) != *expected {
            return Err(ManifestError::WrongHash);
        }
        let Some((&PAGE_VERSION, body)) = bytes.split_first() else {
            return Err(ManifestError::Version);
        };
        if height == 1 {
            parse(body).map(Self::Leaf)
        } else {
            parse(body).map(Self::Inner)
        }
    }

    /// The bytes of the page.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Leaf(entries) => encode(entries),
            Self::Inner(entries) => encode(entries),
        }
    }

    /// The number of entries.
    #[must_use]
    pub fn entry_count(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(entries) => entries.len(),
        }
    }

    /// The bytes and chunks below the page; `None` if they are more than any
    /// file has, which no decoded page is.
    #[must_use]
    pub fn totals(&self) -> Option<(u64, u32)> {
        match self {
            Self::Leaf(entries) => totals(entries),
            Self::Inner(entries) => totals(entries),
        }
    }

    /// Whether the last entry ends the page, as it does in all pages but the
    /// last one of a height.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Leaf(entries) => entries
                .last()
                .is_some_and(|last| last.ends_page(entries.len())),
            Self::Inner(entries) => entries
                .last()
                .is_some_and(|last| last.ends_page(entries.len())),
        }
    }
}
