//! What is known as a whole: the changes that were seen, whose it names, and which deletions among them
//! were forgotten.

use super::Ledger;
use crate::{
    former::NEWEST,
    ids::ReplicaId,
    index::{Index, IndexEntry, IndexError, IndexResult},
    knowledge::Knowledge,
    path::RelPath,
    record::{Group, Record},
    version::MAX_REPLICAS,
};

/// Most replicas that our knowledge names on the mere word of peers.
const MAX_UNNAMED: usize = 1_024;

const FLOOR: &[u8] = b"floor";

impl<I: Index> Ledger<I> {
    /// Remembers the newest record of each replica, to show to it one day.
    pub(in crate::engine) fn note_newest(&mut self, record: Record) {
        let replica = record.version.dot.replica;
        let newer = self
            .pending
            .newest
            .get(&replica)
            .is_none_or(|r| r.version.dot < record.version.dot);
        self.unnamed.remove(&replica);
        if newer {
            self.pending.newest.insert(replica, record);
        }
    }

    pub(in crate::engine) fn newest_of(&self, replica: ReplicaId) -> IndexResult<Option<Group>> {
        Ok(self.newest_fact(replica)?.map(|(_, group)| group))
    }

    /// The counter of the newest record of a replica, and the record.
    pub(super) fn newest_fact(&self, replica: ReplicaId) -> IndexResult<Option<(u64, Group)>> {
        let Some(bytes) = self.index.fact(&newest_name(replica))? else {
            return Ok(None);
        };
        minicbor::decode(&bytes)
            .map(Some)
            .map_err(|e| IndexError::Corrupt(format!("newest record: {e}")))
    }

    /// Whether the knowledge may name a replica. A vector has a limit, and words of peers aren't signed: only so many
    /// enter of which no record is known, and those of which one is always have room.
    pub(super) fn has_room_for(&mut self, replica: ReplicaId) -> IndexResult<bool> {
        if self.knowledge.counter(replica) > 0 {
            return Ok(true);
        }
        // One place is ours.
        if self.knowledge.len() + 1 >= MAX_REPLICAS {
            return Ok(false);
        }
        let named = self.is_named(replica)?;
        let room = named || self.unnamed.len() < MAX_UNNAMED;
        if room && !named {
            self.unnamed.insert(replica);
        }
        Ok(room)
    }

    /// Whether a record by this replica is known.
    pub(super) fn is_named(&self, replica: ReplicaId) -> IndexResult<bool> {
        let ours = replica == self.replica || self.pending.newest.contains_key(&replica);
        Ok(ours || self.index.fact(&newest_name(replica))?.is_some())
    }

    /// Takes over what another index knows. Whether something of it is news.
    pub(in crate::engine) fn merge_knowledge(&mut self, other: &Knowledge) -> IndexResult<bool> {
        let us = self.replica;
        if self.knowledge.misses(other, us) {
            // A writer knows of changes of ours that we never made. What else it knows must not be taken
            // for ours either: we are younger than we believe.
            return Err(IndexError::Restored);
        }
        let mut news = false;
        let beyond = other.beyond(&self.knowledge);
        for replica in beyond.replicas().filter(|replica| *replica != us) {
            if self.has_room_for(replica)? {
                self.knowledge.merge_of(replica, other);
                news = true;
            }
        }
        self.pending.knowledge |= news;
        Ok(news)
    }

    /// Forgets an entry whose deletion everybody may take for granted by now. Who hasn't come so far can't learn of
    /// it any more, and is told of all that lives instead.
    pub(in crate::engine) fn forget(
        &mut self,
        path: RelPath,
        entry: &IndexEntry,
    ) -> IndexResult<()> {
        if entry.seq > self.floor()? {
            self.put_fact(FLOOR.to_vec(), entry.seq.to_be_bytes().to_vec());
        }
        self.pending.entries.insert(path, None);
        Ok(())
    }

    /// Deletions were forgotten of which we only know that they were made: who hasn't come further than now can't
    /// learn of them here.
    pub(in crate::engine) fn raise_floor(&mut self) {
        self.put_fact(FLOOR.to_vec(), self.seq.to_be_bytes().to_vec());
    }

    /// The number below which deletions were forgotten.
    pub(in crate::engine) fn floor(&self) -> IndexResult<u64> {
        let pending = self.pending.facts.get(FLOOR).cloned().flatten();
        let floor = pending.map_or_else(|| self.index.fact(FLOOR), |b| Ok(Some(b)))?;
        // One that can't be read says nothing: everything is listed.
        Ok(floor.map_or(0, |b| b.try_into().map_or(u64::MAX, u64::from_be_bytes)))
    }
}

pub(super) fn newest_name(replica: ReplicaId) -> Vec<u8> {
    [NEWEST, &replica.0.to_be_bytes()].concat()
}
