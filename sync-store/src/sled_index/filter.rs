//! Which hashes a run may hold: a Bloom filter, so that a search reads only runs that answer.
//!
//! Eight bits for each record and four probes let about one in forty hashes through that are not there.
//! The hashes are uniform already, so the probes are taken from their bytes (Kirsch and Mitzenmacher,
//! "Less Hashing, Same Performance", 2006).

use sync_core::index::IndexResult;

use super::{
    db::{Db, Stage},
    packed::successor,
    runs::HASH,
};

const PROBES: u64 = 4;
/// Bytes of a filter in one value of the engine.
const PART: usize = 4000;
const FORMAT: u8 = 1;

/// A Bloom filter over short hashes.
#[derive(Debug)]
pub(super) struct Filter {
    bits: Vec<u8>,
}

impl Filter {
    /// An empty filter for so many records.
    pub(super) fn new(records: u64) -> Self {
        Self {
            bits: vec![0; usize::try_from(records).unwrap_or(usize::MAX).max(16)],
        }
    }

    /// Adds the hash that `key` begins with.
    pub(super) fn insert(&mut self, key: &[u8]) {
        for bit in self.probes(key) {
            self.bits[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Whether the hash that `key` begins with may have been added.
    pub(super) fn may_hold(&self, key: &[u8]) -> bool {
        self.probes(key)
            .all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Reads the filter stored under `key`; `None` if there is none.
    pub(super) fn read(db: &Db, key: &[u8]) -> IndexResult<Option<Self>> {
        let (mut from, high) = (key.to_vec(), successor(key));
        let mut bits = Vec::new();
        while let Some((at, part)) = db.ceiling(&from, &high)? {
            match part.split_first() {
                Some((&FORMAT, part)) => bits.extend_from_slice(part),
                _ => return Err(db.corrupt("a filter is malformed")),
            }
            from = at.to_vec();
            from.push(0);
        }
        Ok((!bits.is_empty()).then_some(Self { bits }))
    }

    /// Stores the filter under `key`.
    pub(super) fn write(&self, stage: &mut Stage, key: &[u8]) {
        for (part, at) in self.bits.chunks(PART).zip(0u32..) {
            stage.put(
                [key, &at.to_be_bytes()].concat(),
                [&[FORMAT], part].concat(),
            );
        }
    }

    /// Takes the stored filter away.
    pub(super) fn remove(&self, stage: &mut Stage, key: &[u8]) {
        for (_, at) in self.bits.chunks(PART).zip(0u32..) {
            stage.remove([key, &at.to_be_bytes()].concat());
        }
    }

    fn probes(&self, key: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let hash = key
            .first_chunk::<HASH>()
            .map_or(0, |hash| u64::from_le_bytes(*hash));
        let (first, step) = (hash & 0xffff_ffff, (hash >> 32) | 1);
        let bits = self.bits.len() as u64 * 8;
        (0..PROBES)
            .map(move |n| (first.wrapping_mul(0x9e37_79b9).wrapping_add(n * step) % bits) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let hash = |n: u32| *blake3::hash(&n.to_le_bytes()).as_bytes();
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|n| filter.insert(&hash(n)));
        assert!((0..10_000).all(|n| filter.may_hold(&hash(n))));
        let wrong = (10_000..30_000)
            .filter(|n| filter.may_hold(&hash(*n)))
            .count();
        assert!(wrong < 20_000 / 25, "{wrong} of 20000");
    }
}
