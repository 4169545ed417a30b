//! Which batches an index needs: the bookkeeping that its implementations share.
//!
//! Each batch of which a record stands in some entry has one [`BatchRow`]: the proof, and which places are in
//! use. It goes with its last record, and forgets the hashes of places that nobody needs once few are left.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::{IndexEntry, IndexError, IndexResult};
use crate::record::{BatchId, BatchProof, Seat};

/// A batch as an index keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BatchRow {
    /// Places whose records stand in entries, bit *i* for place *i*.
    #[n(0)]
    pub live: u64,
    /// What makes groups of them.
    #[n(1)]
    pub proof: BatchProof,
}

/// What one commit changes in the rows.
#[derive(Debug, Default)]
pub struct BatchEdits {
    /// Places that come into use, and places that go out of it.
    places: BTreeMap<BatchId, (u64, u64)>,
}

impl BatchEdits {
    /// An entry is replaced.
    pub fn take(&mut self, old: Option<&IndexEntry>, new: Option<&IndexEntry>) {
        let (old, new) = (seats(old), seats(new));
        for seat in old.iter().flatten().filter(|s| !new.contains(&Some(**s))) {
            self.places.entry(seat.batch).or_default().1 |= bit(*seat);
        }
        for seat in new.iter().flatten().filter(|s| !old.contains(&Some(**s))) {
            self.places.entry(seat.batch).or_default().0 |= bit(*seat);
        }
    }

    /// The rows to write, or to remove. `read` gives those of now, `proofs` are those that came with the commit.
    ///
    /// # Errors
    ///
    /// [`IndexError::Corrupt`] if a record would stand in an entry without what proves it; those of `read`.
    pub fn rows(
        self,
        proofs: Vec<BatchProof>,
        mut read: impl FnMut(&BatchId) -> IndexResult<Option<BatchRow>>,
    ) -> IndexResult<Vec<(BatchId, Option<BatchRow>)>> {
        let mut came: BTreeMap<BatchId, BatchProof> = BTreeMap::new();
        for proof in proofs {
            let id = proof.id();
            match came.get_mut(&id) {
                Some(there) => drop(there.merge(&proof)),
                None => drop(came.insert(id, proof)),
            }
        }
        let mut rows = Vec::with_capacity(self.places.len());
        for (id, (used, free)) in self.places {
            let old = read(&id)?;
            let live = old.as_ref().map_or(0, |row| row.live) & !free | used;
            if live == 0 {
                rows.push((id, None));
                continue;
            }
            let mut proof = match (old.map(|row| row.proof), came.remove(&id)) {
                (Some(mut old), Some(new)) => {
                    old.merge(&new);
                    old
                }
                (Some(proof), None) | (None, Some(proof)) => proof,
                (None, None) => return Err(without_proof()),
            };
            if live & !proof.places() != 0 {
                return Err(without_proof());
            }
            if live.count_ones() * 4 <= proof.places().count_ones() {
                proof.keep(live);
            }
            rows.push((id, Some(BatchRow { live, proof })));
        }
        Ok(rows)
    }
}

fn without_proof() -> IndexError {
    IndexError::Corrupt("a record stands in the index without its signature".to_owned())
}

fn seats(entry: Option<&IndexEntry>) -> [Option<Seat>; 2] {
    let held = entry.and_then(|e| e.held.as_ref());
    let want = entry.and_then(|e| e.want.as_ref());
    [
        held.map(|raw| raw.seat()),
        want.map(|want| want.record.seat()),
    ]
}

fn bit(seat: Seat) -> u64 {
    1_u64.checked_shl(u32::from(seat.place)).unwrap_or(0)
}
