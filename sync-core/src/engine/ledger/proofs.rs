//! What proves records: the batches that they were signed in.

use std::collections::BTreeMap;

use super::Ledger;
use crate::{
    index::{Index, IndexError, IndexResult},
    message::{Announce, Change},
    record::{BatchId, BatchProof, Group, RawRecord, Record, RecordError},
};

impl<I: Index> Ledger<I> {
    /// Checks the signature of records from outside, and keeps it for those of them that this step stores. What
    /// they say is still to be [read](Self::read).
    pub(in crate::engine) fn verify(
        &mut self,
        group: Group,
    ) -> Result<Vec<RawRecord>, RecordError> {
        let (records, proof) = group.verify(&self.keys, &mut self.verified)?;
        self.put_proof(proof);
        Ok(records)
    }

    /// Reads a record whose signature was checked.
    pub(in crate::engine) fn read(&self, raw: RawRecord) -> Result<Record, RecordError> {
        #[cfg(test)]
        if let Some(head) = raw.envelope().ok().filter(|head| (self.blind)(head)) {
            return Err(RecordError::Format(head.format));
        }
        Record::open(&self.keys, raw)
    }

    /// Takes in what proves records that this step stores.
    pub(super) fn put_proof(&mut self, proof: BatchProof) {
        match self.pending.proofs.get_mut(&proof.id()) {
            Some(there) => drop(there.merge(&proof)),
            None => drop(self.pending.proofs.insert(proof.id(), proof)),
        }
    }

    /// Keeps what proves a record until [`Ledger::unpin`], whatever becomes of its entry meanwhile.
    pub(in crate::engine) fn pin(&mut self, raw: &RawRecord) -> IndexResult<()> {
        let batch = raw.seat().batch;
        if !self.pinned.contains_key(&batch)
            && let Some(proof) = self.index.batch(&batch)?
        {
            self.pinned.insert(batch, proof);
        }
        Ok(())
    }

    /// A pinned record is put into an entry again.
    pub(in crate::engine) fn restore(&mut self, raw: &RawRecord) {
        if let Some(proof) = self.pinned.get(&raw.seat().batch) {
            self.put_proof(proof.clone());
        }
    }

    /// Nothing is on the disk's hands any more.
    pub(in crate::engine) fn unpin(&mut self) {
        self.pinned.clear();
    }

    /// What proves a record; `None` if it is gone.
    pub(super) fn proof_of(&self, raw: &RawRecord) -> IndexResult<Option<BatchProof>> {
        let batch = raw.seat().batch;
        let pending = self.pending.proofs.get(&batch);
        match pending.filter(|proof| proof.group([raw]).is_some()) {
            Some(proof) => Ok(Some(proof.clone())),
            None => self.index.batch(&batch),
        }
    }

    /// A record with its own proof, to be shown alone; `None` if what proves it is gone.
    pub(super) fn alone(&self, raw: &RawRecord) -> IndexResult<Option<Group>> {
        let proof = self.proof_of(raw)?;
        Ok(proof.and_then(|proof| proof.group([raw])))
    }

    /// Puts committed changes together as they were signed, in the order of the first of each batch.
    pub(in crate::engine) fn announces(&self, changes: Vec<Change>) -> IndexResult<Vec<Announce>> {
        let mut batches: BTreeMap<BatchId, Vec<Change>> = BTreeMap::new();
        let mut order = Vec::new();
        for change in changes {
            let batch = change.record.seat().batch;
            let members = batches.entry(batch).or_default();
            if members.is_empty() {
                order.push(batch);
            }
            members.push(change);
        }
        let mut announces = Vec::with_capacity(order.len());
        for batch in order {
            let members = batches.remove(&batch).unwrap_or_default();
            let mut proof = self.index.batch(&batch)?;
            if let Some(more) = self.later_proof(&batch, &members) {
                match &mut proof {
                    Some(proof) => drop(proof.merge(&more)),
                    None => proof = Some(more),
                }
            }
            let announce = proof.and_then(|proof| Announce::new(&proof, members));
            announces.push(announce.ok_or_else(|| {
                IndexError::Corrupt("what proves a record isn't in the index".to_owned())
            })?);
        }
        Ok(announces)
    }
}
