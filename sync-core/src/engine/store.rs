//! The engine's way to the index: reads that see what is not committed yet, signing in batches, commits.

use std::{collections::BTreeMap, ops::Range};

use super::{Engine, Output};
use crate::{
    conflict::is_copy,
    entry::{Entry, Kind},
    ids::{Generation, ReplicaId, Seq},
    index::{
        Batch, Index, IndexEntry, IndexError, IndexResult, ManifestPut, Need, PeerTag, Want, flag,
    },
    keys::FolderKeys,
    path::RelPath,
    record::{RawRecord, Record, sign},
    version::{Dot, MAX_REPLICAS, Vector, Version},
};

const NUMBERING: &[u8] = b"numbering";
const KNOWLEDGE: &[u8] = b"knowledge";
pub(super) const LAST_SEQ: &[u8] = b"last-seq";

/// Changes of this step, not committed yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: BTreeMap<RelPath, Option<IndexEntry>>,
    facts: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    manifests: Vec<ManifestPut>,
    knowledge: bool,
    newest: BTreeMap<ReplicaId, Record>,
}

/// A change of our own that waits for its signature.
#[derive(Debug)]
pub(super) struct Local {
    entry: Entry,
    version: Version,
    /// The index entry it goes into: as what is held, or as what is wanted.
    into: IndexEntry,
    want: Option<WantSpec>,
}

/// How a record of our own that the disk doesn't show yet is wanted.
#[derive(Debug)]
pub(super) struct WantSpec {
    pub(super) need: Need,
    pub(super) bytes: u64,
    pub(super) holders: Vec<PeerTag>,
}

pub(super) fn read_numbering<I: Index>(index: &I) -> IndexResult<Option<Generation>> {
    Ok(index
        .fact(NUMBERING)?
        .and_then(|v| v.try_into().ok())
        .map(|b| Generation(u64::from_be_bytes(b))))
}

pub(super) fn read_knowledge<I: Index>(index: &I) -> IndexResult<Vector> {
    let Some(bytes) = index.fact(KNOWLEDGE)? else {
        return Ok(Vector::new());
    };
    minicbor::decode(&bytes).map_err(|e| IndexError::Corrupt(format!("knowledge: {e}")))
}

/// A record that was verified when it was stored.
pub(super) fn open_stored(keys: &FolderKeys, raw: &RawRecord) -> IndexResult<Record> {
    Record::from_store(keys, raw.clone()).map_err(|e| IndexError::Corrupt(e.to_string()))
}

impl<I: Index> Engine<I> {
    /// The entry of `path`, as this step sees it.
    pub(super) fn entry(&mut self, path: &RelPath) -> IndexResult<Option<IndexEntry>> {
        if self.locals.len() >= 64 || self.locals.iter().any(|l| l.entry.path == *path) {
            self.sign_locals()?;
        }
        match self.pending.entries.get(path) {
            Some(entry) => Ok(entry.clone()),
            None => self.index.entry(path),
        }
    }

    /// The record in `raw`, which was verified when it was stored.
    pub(super) fn open(&self, raw: &RawRecord) -> IndexResult<Record> {
        open_stored(&self.cfg.keys, raw)
    }

    pub(super) fn open_held(&self, entry: Option<&IndexEntry>) -> IndexResult<Option<Record>> {
        entry
            .and_then(|e| e.held.as_ref())
            .map(|raw| self.open(raw))
            .transpose()
    }

    pub(super) fn open_want(&self, entry: Option<&IndexEntry>) -> IndexResult<Option<Record>> {
        entry
            .and_then(|e| e.want.as_ref())
            .map(|w| self.open(&w.record))
            .transpose()
    }

    /// Sets an entry; peers are told of it if `announce`.
    pub(super) fn put(&mut self, path: RelPath, mut entry: IndexEntry, announce: bool) {
        if announce {
            self.seq += 1;
            entry.seq = self.seq;
        }
        if is_copy(&path) {
            entry.flags |= flag::COPY;
        }
        let empty = entry.held.is_none() && entry.want.is_none() && entry.stat.is_none();
        self.pending.entries.insert(path, (!empty).then_some(entry));
    }

    pub(super) fn put_fact(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.pending.facts.insert(name, Some(value));
    }

    pub(super) fn put_manifest(&mut self, put: ManifestPut) {
        self.pending.manifests.push(put);
    }

    /// Makes a version of our own, of what the disk shows, on top of `past`. `into` is the index entry
    /// that will hold it. Signed with others of the same step.
    pub(super) fn author(&mut self, entry: Entry, past: &Vector, into: IndexEntry) {
        self.author_as(entry, past, into, None);
    }

    /// The same; with `want`, the disk doesn't show it yet.
    pub(super) fn author_as(
        &mut self,
        entry: Entry,
        past: &Vector,
        into: IndexEntry,
        want: Option<WantSpec>,
    ) {
        if want.is_none() {
            // Nothing else is wanted at this path any more.
            self.drop_work(&entry.path);
        }
        self.counter += 1;
        let dot = Dot {
            replica: self.cfg.replica,
            counter: self.counter,
        };
        self.knowledge.add(dot);
        self.pending.knowledge = true;
        self.locals.push(Local {
            entry,
            version: Version::new(dot, past),
            into,
            want,
        });
    }

    pub(super) fn sign_locals(&mut self) -> IndexResult<()> {
        if self.locals.is_empty() {
            return Ok(());
        }
        let locals = std::mem::take(&mut self.locals);
        let (said, into): (Vec<_>, Vec<_>) = locals
            .into_iter()
            .map(|l| ((l.entry, l.version), (l.into, l.want)))
            .unzip();
        let records = sign(&self.cfg.keys, self.cfg.era, said)
            .map_err(|e| IndexError::Unavailable(format!("records can't be signed: {e}")))?;
        for (record, (mut entry, want)) in records.into_iter().zip(into) {
            let raw = record.raw().clone();
            match want {
                Some(WantSpec {
                    need,
                    bytes,
                    holders,
                }) => {
                    entry.want = Some(Want {
                        record: raw,
                        need: Some(need),
                        bytes,
                        holders,
                    });
                }
                None => (entry.held, entry.want) = (Some(raw), None),
            }
            entry.learned = 0;
            self.put(record.entry.path.clone(), entry, true);
            self.note_newest(record);
        }
        Ok(())
    }

    /// Remembers the newest record of each replica, to show to it one day.
    pub(super) fn note_newest(&mut self, record: Record) {
        let replica = record.version.dot.replica;
        let newer = self
            .pending
            .newest
            .get(&replica)
            .is_none_or(|r| r.version.dot < record.version.dot);
        if newer {
            self.pending.newest.insert(replica, record);
        }
    }

    pub(super) fn newest_of(&self, replica: ReplicaId) -> IndexResult<Option<RawRecord>> {
        let Some(bytes) = self.index.fact(&newest_name(replica))? else {
            return Ok(None);
        };
        minicbor::decode(&bytes)
            .map(Some)
            .map_err(|e| IndexError::Corrupt(format!("newest record: {e}")))
    }

    /// Makes all changes of this step take effect together.
    pub(super) fn commit(&mut self) -> IndexResult<()> {
        self.sign_locals()?;
        for (replica, record) in std::mem::take(&mut self.pending.newest) {
            let known = self.newest_of(replica)?.and_then(|raw| raw.dot());
            if known.is_none_or(|dot| dot < record.version.dot) {
                let bytes = encode(record.raw())?;
                self.put_fact(newest_name(replica), bytes);
            }
        }
        if std::mem::take(&mut self.pending.knowledge) {
            let bytes = encode(&self.knowledge)?;
            self.put_fact(KNOWLEDGE.to_vec(), bytes);
        }
        let batch = Batch {
            entries: std::mem::take(&mut self.pending.entries)
                .into_iter()
                .collect(),
            facts: std::mem::take(&mut self.pending.facts)
                .into_iter()
                .collect(),
            manifests: std::mem::take(&mut self.pending.manifests),
        };
        if batch.is_empty() {
            return Ok(());
        }
        let mut batch = batch;
        batch
            .facts
            .push((LAST_SEQ.to_vec(), Some(self.seq.to_be_bytes().to_vec())));
        self.flush.dirty = true;
        self.index.commit(batch)
    }

    pub(super) fn merge_knowledge(&mut self, other: &Vector) -> IndexResult<()> {
        let us = self.cfg.replica;
        if other.counter(us) > self.knowledge.counter(us) {
            // A writer knows of changes of ours that we never made. What else it knows must not be taken
            // for ours either: we are younger than we believe.
            return Err(IndexError::Restored);
        }
        let mut merged = self.knowledge.clone();
        merged.merge(other);
        if merged != self.knowledge && merged.len() <= MAX_REPLICAS {
            self.knowledge = merged;
            self.pending.knowledge = true;
        }
        Ok(())
    }

    /// Last change number that a former run made durable.
    pub(super) fn last_seq_on_disk(&self) -> IndexResult<u64> {
        let last = self
            .index
            .fact(LAST_SEQ)?
            .and_then(|v| v.try_into().ok())
            .map_or(0, u64::from_be_bytes);
        // Numbers of this run begin above, whatever the index remembers.
        Ok(last.min(self.cfg.seqs.start))
    }

    pub(super) fn write_numbering(&mut self) {
        let bytes = self.numbering.0.to_be_bytes().to_vec();
        self.put_fact(NUMBERING.to_vec(), bytes);
    }

    pub(super) fn start_flush(&mut self) {
        if self.flush.dirty && self.flush.running.is_none() {
            self.flush.dirty = false;
            self.flush.last += 1;
            self.flush.running = Some((self.flush.last, self.seq));
            self.out.push_back(Output::Flush {
                flush: self.flush.last,
            });
        }
    }

    pub(super) fn flushed(&mut self, flush: u64, error: Option<String>) {
        let Some((running, seq)) = self.flush.running else {
            return;
        };
        if running != flush {
            return;
        }
        self.flush.running = None;
        match error {
            None => self.flush.durable = seq,
            Some(reason) => {
                self.failed = Some(reason.clone());
                self.out
                    .push_back(Output::IndexFailed(IndexError::Unavailable(reason)));
            }
        }
    }

    /// Asks for more numbers long before they run out. One run would have to make sixteen million
    /// changes within the time of one fsync to come to the end.
    pub(super) fn reserve(&mut self) {
        const LOW: u64 = 1 << 20;
        const STEP: u64 = 1 << 24;
        let Range { end: counters, .. } = self.cfg.counters;
        let Range { end: seqs, .. } = self.cfg.seqs;
        let low = self.counter + LOW > counters || self.seq + LOW > seqs;
        if low && !self.reserve_asked {
            self.reserve_asked = true;
            self.out.push_back(Output::Reserve {
                counters: counters + STEP,
                seqs: seqs + STEP,
            });
        }
    }
}

/// The state that the disk shows, as an entry.
pub(super) fn live_dir(path: RelPath, mode: u32, author: ReplicaId) -> Entry {
    Entry {
        path,
        kind: Kind::Dir,
        size: 0,
        mtime_ns: 0,
        mode,
        content: None,
        prev: None,
        target: None,
        author,
    }
}

pub(super) fn encode<T: minicbor::Encode<()>>(value: &T) -> IndexResult<Vec<u8>> {
    minicbor::to_vec(value).map_err(|e| IndexError::Unavailable(e.to_string()))
}

fn newest_name(replica: ReplicaId) -> Vec<u8> {
    [b"newest/".as_slice(), &replica.0.to_be_bytes()].concat()
}

/// The mark of a peer and its numbering, kept with what was learned from it.
pub(super) fn learned_mark(peer: &crate::ids::PeerKey, numbering: Generation) -> u64 {
    let mut h = blake3::Hasher::new();
    h.update(b"syncd/1 learned")
        .update(&peer.0)
        .update(&numbering.0.to_be_bytes());
    let hash = h.finalize();
    let [a, b, c, d, e, f, g, i, ..] = *hash.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, i]).max(1)
}

/// The last of a list of changes, for walking on.
pub(super) fn last_seq(changes: &[(Seq, RelPath)]) -> Option<u64> {
    changes.last().map(|(s, _)| s.0)
}
