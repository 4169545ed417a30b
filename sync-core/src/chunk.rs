//! Cutting content into chunks, and naming chunks by their hash.
//!
//! Files travel and are compared as chunks whose boundaries depend on the
//! content, so that inserting a byte near the start of a large file moves no
//! boundary but the ones next to it. This module owns the boundary rule and
//! the chunk hash. Both are part of the format: two devices which disagree on
//! a single boundary share nothing, so neither may change without a new
//! protocol version.
//!
//! # The boundary rule
//!
//! FastCDC as published in 2020, with normalisation level 1. With `b` the
//! base-two logarithm of the average:
//!
//! - The gear table is 256 numbers of 64 bits: the output of BLAKE3 in key
//!   derivation mode (context [`GEAR_CONTEXT`]) over the folder's seed as
//!   eight big-endian bytes, read as 2,048 bytes, each number big-endian.
//! - A chunk which would be `min` bytes or shorter ends with the file.
//! - From offset `min` on, `h = 2 * h + gear[byte]` modulo 2^64, starting at
//!   zero. The chunk ends *before* the first byte after which `h & mask` is
//!   zero. Below offset `avg` the mask has `b + 1` bits, from there on
//!   `b - 1`. The bits are adjacent and the highest is bit 62, because bit `k`
//!   depends on the last `k + 1` bytes: the highest bits see the most content.
//! - At `max` bytes, or at the end of the file, the chunk ends in any case.
//!
//! The seed keeps the sizes of the chunks of a well-known file from being the
//! same in every folder; it is not printed by `Debug`.
//!
//! This module never reads a file. Callers fill a window and ask for a cut.

use std::fmt;
use std::sync::Arc;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

#[cfg(test)]
pub(crate) mod tests;

/// The longest chunk that any file is ever cut into, in bytes.
pub const MAX_CHUNK: u32 = 4 * 1024 * 1024;

/// Separates the gear table from every other use of the seed.
pub const GEAR_CONTEXT: &str = "syncd/1 gear table";

/// How far a hash of the gear kind looks back: older bytes are shifted out.
const MEMORY: usize = 64;

/// How many bytes each of the two interleaved scans takes at a time.
const LANE: usize = 512;

/// The name of a chunk, or of a page of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of a chunk: BLAKE3 of its bytes.
    #[must_use]
    pub fn chunk(data: &[u8]) -> Self {
        Self(*blake3::hash(data).as_bytes())
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<C> minicbor::Encode<C> for ContentHash {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for ContentHash {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let at = d.position();
        let bytes = d.bytes()?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| DecodeError::message("a content hash has 32 bytes").at(at))
    }
}

/// The sizes that chunks are cut to, and the folder's seed.
///
/// The smallest chunk is always a quarter of the average and the largest four
/// times the average, and the average is a power of two: other combinations
/// can't be made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChunkParams {
    avg: u32,
    seed: u64,
}

impl ChunkParams {
    /// The smallest average that [`ChunkParams::with_average`] takes.
    pub const MIN_AVERAGE: u32 = 256;
    /// The largest average, used for the largest files.
    pub const MAX_AVERAGE: u32 = MAX_CHUNK / 4;

    /// The parameters for a file of `file_size` bytes.
    ///
    /// The average is 64 KiB below 1 GiB, 256 KiB below 16 GiB and 1 MiB from
    /// there on. It depends on nothing but the size, so that every device cuts
    /// the same content in the same way.
    #[must_use]
    pub const fn for_size(file_size: u64, seed: u64) -> Self {
        const GIB: u64 = 1 << 30;
        let avg = if file_size < GIB {
            64 * 1024
        } else if file_size < 16 * GIB {
            256 * 1024
        } else {
            Self::MAX_AVERAGE
        };
        Self { avg, seed }
    }

    /// Parameters with an average of the caller's choice, for tests and tools.
    ///
    /// `None` unless `avg` is a power of two between
    /// [`MIN_AVERAGE`](Self::MIN_AVERAGE) and [`MAX_AVERAGE`](Self::MAX_AVERAGE).
    #[must_use]
    pub const fn with_average(avg: u32, seed: u64) -> Option<Self> {
        if avg.is_power_of_two() && avg >= Self::MIN_AVERAGE && avg <= Self::MAX_AVERAGE {
            Some(Self { avg, seed })
        } else {
            None
        }
    }

    /// The shortest chunk, except for the last one of a file.
    #[must_use]
    pub const fn min(&self) -> u32 {
        self.avg / 4
    }

    /// The length that chunks have on average, roughly.
    #[must_use]
    pub const fn avg(&self) -> u32 {
        self.avg
    }

    /// The longest chunk.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.avg * 4
    }

    /// The seed of the gear table.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The most chunks that a file of `size` bytes can have under these
    /// parameters: all but the last one have at least [`min`](Self::min) bytes.
    #[must_use]
    pub const fn max_chunks(&self, size: u64) -> u64 {
        size.div_ceil(self.min() as u64)
    }
}

impl fmt::Debug for ChunkParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkParams")
            .field("avg", &self.avg)
            .finish_non_exhaustive()
    }
}

/// Finds the boundaries of chunks.
///
/// Making one computes the gear table of its seed, a few microseconds. A folder
/// makes one and derives those for its files by [`Chunker::for_size`], which
/// shares the table. A chunker holds no state between cuts, and may be used
/// from several threads.
#[derive(Clone)]
pub struct Chunker {
    params: ChunkParams,
    gear: Arc<[u64; 256]>,
}

impl Chunker {
    /// A chunker with a gear table of its own.
    #[must_use]
    pub fn new(params: ChunkParams) -> Self {
        Self {
            params,
            gear: Arc::new(gear_table(params.seed)),
        }
    }

    /// The chunker for a file of `file_size` bytes, with this one's seed and
    /// table.
    #[must_use]
    pub fn for_size(&self, file_size: u64) -> Self {
        Self {
            params: ChunkParams::for_size(file_size, self.params.seed),
            gear: Arc::clone(&self.gear),
        }
    }

    /// The parameters in use.
    #[must_use]
    pub const fn params(&self) -> &ChunkParams {
        &self.params
    }

    /// The length of the chunk which starts where `window` starts.
    ///
    /// `at_end` says that nothing follows the window. Without it the answer is
    /// `None` while the window is shorter than [`ChunkParams::max`]: the caller
    /// adds bytes and asks again, and nothing has been scanned in vain. With it
    /// the answer is `None` for the empty window only, and at most the length
    /// of the window. A length is never zero.
    ///
    /// The answer depends on the bytes from the start of the chunk and on the
    /// end of the file alone. How the window was filled, and how far it reaches
    /// beyond `max`, makes no difference. To stream a file, keep a buffer of a
    /// few times `max`, cut until `None`, move the rest to the front and refill.
    ///
    /// ```
    /// use sync_core::chunk::{ChunkParams, Chunker};
    ///
    /// let data = vec![7_u8; 600_000];
    /// let chunker = Chunker::new(ChunkParams::for_size(600_000, 1));
    /// let mut rest = data.as_slice();
    /// let mut lengths = Vec::new();
    /// while let Some(length) = chunker.cut(rest, true) {
    ///     lengths.push(length);
    ///     rest = &rest[length..];
    /// }
    /// assert_eq!(lengths.iter().sum::<usize>(), data.len());
    /// ```
    #[must_use]
    pub fn cut(&self, window: &[u8], at_end: bool) -> Option<usize> {
        let min = self.params.min() as usize;
        let max = self.params.max() as usize;
        if window.is_empty() || (window.len() < max && !at_end) {
            return None;
        }
        if window.len() <= min {
            return Some(window.len());
        }
        let limit = window.len().min(max);
        let centre = limit.min(self.params.avg as usize);
        let bits = self.params.avg.trailing_zeros();
        let hash = match scan(&self.gear, &window[min..centre], 0, mask(bits + 1)) {
            Scan::Hit(at) => return Some(min + at),
            Scan::Missed(hash) => hash,
        };
        match scan(&self.gear, &window[centre..limit], hash, mask(bits - 1)) {
            Scan::Hit(at) => Some(centre + at),
            Scan::Missed(_) => Some(limit),
        }
    }
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// Where a scan ended: before the byte at an offset, or at its end with the
/// hash to go on with.
enum Scan {
    Hit(usize),
    Missed(u64),
}

/// `bits` adjacent ones, the highest of them bit 62.
const fn mask(bits: u32) -> u64 {
    ((1 << bits) - 1) << (63 - bits)
}

/// The gear table of a seed.
fn gear_table(seed: u64) -> [u64; 256] {
    let mut hasher = blake3::Hasher::new_derive_key(GEAR_CONTEXT);
    hasher.update(&seed.to_be_bytes());
    let mut bytes = [0; 256 * 8];
    hasher.finalize_xof().fill(&mut bytes);
    let (numbers, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_be_bytes(numbers[index]))
}

/// One step of the rolling hash.
#[inline(always)]
const fn roll(gear: &[u64; 256], hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(gear[byte as usize])
}

/// The rule itself, byte by byte.
#[inline]
fn scan_bytes(gear: &[u64; 256], bytes: &[u8], mut hash: u64, mask: u64) -> Scan {
    for (at, byte) in bytes.iter().enumerate() {
        hash = roll(gear, hash, *byte);
        if hash & mask == 0 {
            return Scan::Hit(at);
        }
    }
    Scan::Missed(hash)
}

/// The same answer as [`scan_bytes`], about half as fast again.
///
/// Each step of the hash waits for the one before, which leaves most of a
/// processor idle. So two neighbouring stretches are scanned at once. The
/// second one can start anywhere, because a hash is made of the last
/// [`MEMORY`] bytes alone and those are hashed first. A hit in either stretch
/// is looked up again byte by byte, in the first stretch before the second,
/// and if it is in the second then the rest of the first is scanned before it
/// counts.
fn scan(gear: &[u64; 256], bytes: &[u8], mut hash: u64, mask: u64) -> Scan {
    let mut done = 0;
    for block in bytes.chunks_exact(2 * LANE) {
        let (first, second) = block.split_at(LANE);
        let mut one = hash;
        let mut two = first[LANE - MEMORY..]
            .iter()
            .fold(0, |hash, byte| roll(gear, hash, *byte));
        let groups = first
            .as_chunks::<8>()
            .0
            .iter()
            .zip(second.as_chunks::<8>().0);
        for (index, (a, b)) in groups.enumerate() {
            let (one_before, two_before) = (one, two);
            let hit = 'group: {
                for j in 0..8 {
                    one = roll(gear, one, a[j]);
                    if one & mask == 0 {
                        break 'group true;
                    }
                    two = roll(gear, two, b[j]);
                    if two & mask == 0 {
                        break 'group true;
                    }
                }
                false
            };
            if hit {
                let from = index * 8;
                if let Scan::Hit(at) = scan_bytes(gear, &first[from..], one_before, mask) {
                    return Scan::Hit(done + from + at);
                }
                if let Scan::Hit(at) = scan_bytes(gear, &second[from..], two_before, mask) {
                    return Scan::Hit(done + LANE + from + at);
                }
            }
        }
        hash = two;
        done += 2 * LANE;
    }
    match scan_bytes(gear, &bytes[done..], hash, mask) {
        Scan::Hit(at) => Scan::Hit(done + at),
        missed @ Scan::Missed(_) => missed,
    }
}
