//! Records of formats that this version doesn't know.
//!
//! A member of a later version may sign what we can't read. Such records are kept as they are, up to a bound, and
//! passed on with the others under numbers of ours; after an upgrade they are read. Until then a path that one speaks
//! of is left alone. They stand in facts of the index, a page of them in each, and in memory.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use super::{Ledger, encode};
use crate::{
    ids::Seq,
    index::{Index, IndexError, IndexResult},
    message::Change,
    path::RelPath,
    record::{
        BatchId, BatchProof, Envelope, RawRecord, Record, RecordError,
        envelope::{CIPHER, HEAD, flag},
    },
};

/// Most records that are kept (few in tests, so that one can fill it), and their bytes.
const MAX_KEPT: usize = if cfg!(test) { 300 } else { 100_000 };
const MAX_KEPT_BYTES: usize = 64 << 20;
/// Bytes of a page, above which a new one is begun.
const PAGE: usize = 64 << 10;

/// One of them, as it is stored.
#[derive(Debug, Clone, Encode, Decode)]
struct Kept {
    #[n(0)]
    seq: Seq,
    /// Mark of the peer that told us of it.
    #[n(1)]
    learned: u64,
    #[n(2)]
    raw: RawRecord,
    #[n(3)]
    proof: BatchProof,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Later {
    kept: BTreeMap<Seq, Kept>,
    /// Paths that one of an unknown format speaks of.
    paths: BTreeSet<[u8; 16]>,
    hashes: BTreeSet<[u8; 8]>,
    bytes: usize,
    /// The page that is being filled.
    page: u32,
    filling: Vec<Kept>,
    filled: usize,
}

/// A change of a later version, as it may be told.
pub(in crate::engine) struct LaterChange {
    pub(in crate::engine) head: Envelope,
    pub(in crate::engine) learned: u64,
    pub(in crate::engine) change: Change,
}

impl Later {
    fn read<I: Index>(index: &I) -> IndexResult<Self> {
        let mut later = Self::default();
        while let Some(bytes) = index.fact(&name(later.page))? {
            let page: Vec<Kept> = minicbor::decode(&bytes)
                .map_err(|e| IndexError::Corrupt(format!("records of later versions: {e}")))?;
            for kept in &page {
                later.note(kept);
            }
            (later.filling, later.filled) = (page, bytes.len());
            later.page += 1;
        }
        // The last page is filled up; if there is none, it is the first.
        later.page = later.page.saturating_sub(1);
        Ok(later)
    }

    fn note(&mut self, kept: &Kept) {
        self.bytes += size(kept);
        self.hashes.insert(kept.raw.short_hash());
        if let Ok(head) = kept.raw.envelope()
            && ![CIPHER, HEAD].contains(&head.format)
        {
            self.paths.insert(head.path_id);
        }
        self.kept.insert(kept.seq, kept.clone());
    }

    /// Puts one into the page that is being filled. The page's number and value.
    fn add(&mut self, kept: Kept) -> IndexResult<(u32, Vec<u8>)> {
        self.note(&kept);
        if self.filled > PAGE {
            self.page += 1;
            self.filling.clear();
            self.filled = 0;
        }
        self.filled += size(&kept);
        self.filling.push(kept);
        Ok((self.page, encode(&self.filling)?))
    }
}

impl<I: Index> Ledger<I> {
    /// Reads what former runs kept. Those that this version can read are given out, with the mark of who told of
    /// them; the others stay.
    pub(in crate::engine) fn open_later(&mut self) -> IndexResult<Vec<(Record, u64)>> {
        let stored = Later::read(&self.index)?;
        let mut understood = Vec::new();
        let (last, mut rest) = (stored.page, Vec::new());
        for kept in stored.kept.values() {
            match self.read(kept.raw.clone()) {
                Ok(record) => {
                    self.put_proof(kept.proof.clone());
                    understood.push((record, kept.learned));
                }
                Err(RecordError::Format(_)) => rest.push(kept.clone()),
                // Signed by a member and yet nothing: nobody will ever read it.
                Err(_) => {}
            }
        }
        if rest.len() == stored.kept.len() {
            self.later = stored;
            return Ok(Vec::new());
        }
        self.later = Later::default();
        let mut pages = BTreeMap::new();
        for kept in rest {
            let (page, value) = self.later.add(kept)?;
            pages.insert(page, value);
        }
        for page in 0..=last {
            let value = pages.remove(&page);
            self.pending.facts.insert(name(page), value);
        }
        Ok(understood)
    }

    /// Keeps a record that can't be read, whose signature was checked. `false` if there is no room for it.
    pub(in crate::engine) fn keep_later(
        &mut self,
        raw: RawRecord,
        learned: u64,
    ) -> IndexResult<bool> {
        if self.later.hashes.contains(&raw.short_hash()) {
            return Ok(true);
        }
        let Some(proof) = self.proof_of(&raw)? else {
            return Ok(false);
        };
        let mut proof = proof;
        proof.keep(1 << raw.seat().place);
        let kept = Kept {
            seq: Seq(self.seq + 1),
            learned,
            raw,
            proof,
        };
        let full = self.later.kept.len() >= MAX_KEPT;
        if full || self.later.bytes + size(&kept) > MAX_KEPT_BYTES {
            return Ok(false);
        }
        self.seq += 1;
        let (page, value) = self.later.add(kept)?;
        self.put_fact(name(page), value);
        Ok(true)
    }

    /// Whether a record that can't be read speaks of a path.
    pub(in crate::engine) fn is_beyond_us(&self, path: &RelPath) -> bool {
        if self.later.paths.is_empty() {
            return false;
        }
        let read = self.keys.read();
        read.is_some_and(|keys| self.later.paths.contains(&keys.path_id(path.as_bytes())))
    }

    /// How many records can't be read.
    pub(in crate::engine) fn later(&self) -> u64 {
        self.later.kept.len() as u64
    }

    /// Those of them with a number above `after` and up to `upto`.
    pub(in crate::engine) fn later_after(&self, after: u64, upto: u64) -> Vec<LaterChange> {
        if after >= upto {
            return Vec::new();
        }
        let range = self.later.kept.range(Seq(after + 1)..=Seq(upto));
        let changes = range.filter_map(|(seq, kept)| {
            Some(LaterChange {
                head: kept.raw.envelope().ok()?,
                learned: kept.learned,
                change: Change {
                    seq: *seq,
                    holds: false,
                    contested: false,
                    record: kept.raw.clone(),
                },
            })
        });
        changes.collect()
    }

    /// What proves one of them.
    pub(super) fn later_proof(&self, batch: &BatchId, seqs: &[Change]) -> Option<BatchProof> {
        let mut kept = seqs.iter().filter_map(|c| self.later.kept.get(&c.seq));
        let mut proof = kept.next()?.proof.clone();
        for more in kept {
            proof.merge(&more.proof);
        }
        (proof.id() == *batch).then_some(proof)
    }
}

/// Whether knowledge vectors cover a change.
pub(in crate::engine) fn is_in_knowledge(head: &Envelope) -> bool {
    head.flags & flag::IN_KNOWLEDGE != 0
}

fn size(kept: &Kept) -> usize {
    // Its proof has the signature and at most six hashes.
    kept.raw.wire_len() + 320
}

fn name(page: u32) -> Vec<u8> {
    [b"later/".as_slice(), &page.to_be_bytes()].concat()
}
