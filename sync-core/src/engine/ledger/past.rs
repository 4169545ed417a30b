//! Whether our past is younger than our peers' memory of it.
//!
//! A home that is restored from a backup gives numbers out anew that a lost run has used: two changes bear one
//! name, and peers take one for the other, or for something that they deleted. Peers show us what they hold of
//! ours. If we can't have made it with the past that we have, the index is of no use any more: it is rebuilt
//! under a new replica id, and what the lost run did meets it as edits made elsewhere.

use std::ops::Range;

use minicbor::{Decode, Encode};

use super::{Ledger, read_knowledge, read_last_seq};
use crate::{
    ids::ReplicaId,
    index::{Index, IndexEntry, IndexError, IndexResult},
    record::{Group, Record},
};

/// Whether an index tells of changes of `us` for which the numbers from here on would have been needed. Then the
/// identity that gives them out is older than the index.
///
/// # Errors
///
/// Those of the index.
pub fn is_ahead<I: Index>(index: &I, us: ReplicaId, counters: u64, seqs: u64) -> IndexResult<bool> {
    let known = read_knowledge(index)?.counter(us);
    let last = read_last_seq(index)?;
    Ok(known > counters || last.is_some_and(|last| last > seqs))
}

/// Fact that holds the [`Gaps`].
pub(super) const GAPS: &[u8] = b"gaps";

/// Most gaps remembered; the oldest are forgotten.
const MAX_GAPS: usize = 1_024;

/// Numbers between those of two runs, which neither gave. A lost run may have: our knowledge covers them as soon as
/// a later run gives one, so they are remembered until a peer that met the lost run comes along.
///
/// Stored as `[[[first, last], ...], [[first, last], ...]]`, counters and then change numbers.
#[derive(Debug, Default, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Gaps {
    #[n(0)]
    counters: Vec<(u64, u64)>,
    #[n(1)]
    seqs: Vec<(u64, u64)>,
}

impl Gaps {
    pub(super) fn read<I: Index>(index: &I) -> IndexResult<Self> {
        let Some(bytes) = index.fact(GAPS)? else {
            return Ok(Self::default());
        };
        minicbor::decode(&bytes).map_err(|e| IndexError::Corrupt(format!("gaps: {e}")))
    }

    /// A run begins: for both kinds of numbers, the last of the former runs and what the new one counts from. The
    /// number that counters begin from is never given; that of changes is told before a change bears it.
    pub(super) fn add_run(&mut self, counters: Range<u64>, seqs: Range<u64>) {
        add(&mut self.counters, (counters.start + 1, counters.end));
        add(&mut self.seqs, (seqs.start + 1, seqs.end.saturating_sub(1)));
    }

    fn has_counter(&self, counter: u64) -> bool {
        contains(&self.counters, counter)
    }

    fn has_seq(&self, seq: u64) -> bool {
        contains(&self.seqs, seq)
    }
}

fn add(gaps: &mut Vec<(u64, u64)>, (first, last): (u64, u64)) {
    // A run that gave none only made the gap longer.
    gaps.retain(|gap| gap.0 != first);
    if first <= last {
        gaps.push((first, last));
    }
    let surplus = gaps.len().saturating_sub(MAX_GAPS);
    gaps.drain(..surplus);
}

fn contains(gaps: &[(u64, u64)], number: u64) -> bool {
    gaps.iter().any(|gap| (gap.0..=gap.1).contains(&number))
}

impl<I: Index> Ledger<I> {
    /// Whether a change of ours can't have this number: it is above all that we gave, or lies between those of
    /// two runs. The first of a run is told before a change bears it.
    pub(in crate::engine) fn never_gave(&self, seq: u64) -> bool {
        self.gaps.has_seq(seq) || seq > self.seq
    }

    /// A peer shows the newest record that it knows of ours.
    pub(in crate::engine) fn check_own(&mut self, group: Group) -> IndexResult<()> {
        for raw in self.verify(group).unwrap_or_default() {
            if let Ok(record) = self.read(raw) {
                self.check_past(&record)?;
            }
        }
        Ok(())
    }

    /// Looks whether a record bears our name although we can't have made it.
    pub(in crate::engine) fn check_past(&mut self, record: &Record) -> IndexResult<()> {
        let dot = record.version.dot;
        if dot.replica != self.replica {
            return Ok(());
        }
        let entry = self.entry(record.path())?;
        let ours = entry.as_ref().and_then(IndexEntry::announced);
        let ours = ours.map(|raw| self.open(raw)).transpose()?;
        // No path is forgotten but with its deletion, and no two changes bear one name.
        let possible = match ours {
            Some(ours) => ours.version.dot != dot || ours.raw() == record.raw(),
            None => self.floor()? > 0,
        };
        // Between two runs lie numbers that neither gave.
        let given = self.knowledge.covers(dot) && !self.gaps.has_counter(dot.counter);
        match possible && given {
            true => Ok(()),
            false => Err(IndexError::Restored),
        }
    }
}
