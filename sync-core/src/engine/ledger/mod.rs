//! The ledger of records: what the index says of each path, what this node knows, and the numbers it gives.
//!
//! Owns the index, the changes of a step that aren't committed yet, the vector of all that is known, the counters
//! of our own changes and the numbering that peers follow, and which of it is durable. Reads see what isn't
//! committed yet; our own changes are signed in batches. It must never decide which record wins.

use std::collections::{BTreeMap, BTreeSet};

mod known;
mod later;
mod past;
mod proofs;
mod recent;

pub(super) use later::{LaterChange, is_in_knowledge};
pub use past::is_ahead;

use known::newest_name;
use later::Later;
use past::{GAPS, Gaps};
use recent::Recent;

use super::Config;
use crate::{
    conflict::is_copy,
    entry::{Entry, Kind},
    ids::{Generation, ReplicaId},
    index::{
        Batch, Index, IndexEntry, IndexError, IndexResult, ManifestPut, Need, PeerTag, Want, flag,
    },
    keys::FolderKeys,
    knowledge::Knowledge,
    path::RelPath,
    record::{BatchId, BatchProof, RawRecord, Record, Signed, VerifiedRoots, sign},
    version::{Dot, Vector, Version},
};

const NUMBERING: &[u8] = b"numbering";
const KNOWLEDGE: &[u8] = b"knowledge";
const LAST_SEQ: &[u8] = b"last-seq";

/// Changes of this step, not committed yet.
#[derive(Debug, Default)]
struct Pending {
    entries: BTreeMap<RelPath, Option<IndexEntry>>,
    facts: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    manifests: Vec<ManifestPut>,
    proofs: BTreeMap<BatchId, BatchProof>,
    knowledge: bool,
    newest: BTreeMap<ReplicaId, Record>,
}

/// A change of our own that waits for its signature.
#[derive(Debug)]
struct Local {
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

fn read_numbering<I: Index>(index: &I) -> IndexResult<Option<Generation>> {
    Ok(index
        .fact(NUMBERING)?
        .and_then(|v| v.try_into().ok())
        .map(|b| Generation(u64::from_be_bytes(b))))
}

fn read_knowledge<I: Index>(index: &I) -> IndexResult<Knowledge> {
    let Some(bytes) = index.fact(KNOWLEDGE)? else {
        return Ok(Knowledge::new());
    };
    minicbor::decode(&bytes).map_err(|e| IndexError::Corrupt(format!("knowledge: {e}")))
}

fn read_last_seq<I: Index>(index: &I) -> IndexResult<Option<u64>> {
    let last = index.fact(LAST_SEQ)?.and_then(|v| v.try_into().ok());
    Ok(last.map(u64::from_be_bytes))
}

/// A record that was verified when it was stored.
pub(super) fn open_stored(keys: &FolderKeys, raw: &RawRecord) -> IndexResult<Record> {
    Record::from_store(keys, raw.clone()).map_err(|e| IndexError::Corrupt(e.to_string()))
}

/// Which changes are durable.
#[derive(Debug, Default)]
struct Flush {
    /// Number of the flush under way, and the change number it reaches.
    running: Option<(u64, u64)>,
    /// Last flush asked for.
    last: u64,
    /// Change number up to which everything is durable.
    durable: u64,
    /// Something was committed since the last flush began.
    dirty: bool,
    /// The first and last change that we authored and that aren't durable.
    own: Option<(u64, u64)>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Ledger<I> {
    keys: FolderKeys,
    era: u32,
    replica: ReplicaId,
    index: I,
    verified: VerifiedRoots,
    /// What proves records that are on the disk's hands, should their entries want something else by then.
    pinned: BTreeMap<BatchId, BatchProof>,
    later: Later,
    #[cfg(test)]
    pub(super) blind: fn(&crate::record::Envelope) -> bool,
    pending: Pending,
    recent: Recent,
    locals: Vec<Local>,
    knowledge: Knowledge,
    /// Replicas that it names without a record of theirs.
    unnamed: BTreeSet<ReplicaId>,
    numbering: Generation,
    counter: u64,
    seq: u64,
    /// Ends of the numbers that may be used.
    counters_end: u64,
    seqs_end: u64,
    /// Those that no run gave.
    gaps: Gaps,
    reserve_asked: bool,
    flush: Flush,
}

impl<I: Index> Ledger<I> {
    pub(super) fn new(cfg: &Config, index: I) -> IndexResult<Self> {
        let knowledge = read_knowledge(&index)?;
        // Numbers of this run begin above, whatever the index remembers.
        let last_known = read_last_seq(&index)?.unwrap_or(0).min(cfg.seqs.start);
        let mut gaps = Gaps::read(&index)?;
        gaps.add_run(
            knowledge.counter(cfg.replica)..cfg.counters.start,
            last_known..cfg.seqs.start,
        );
        let mut ledger = Self {
            keys: cfg.keys.clone(),
            era: cfg.era,
            replica: cfg.replica,
            verified: VerifiedRoots::default(),
            pinned: BTreeMap::new(),
            later: Later::default(),
            #[cfg(test)]
            blind: |_| false,
            pending: Pending::default(),
            recent: Recent::default(),
            locals: Vec::new(),
            knowledge,
            unnamed: BTreeSet::new(),
            numbering: read_numbering(&index)?.unwrap_or(cfg.numbering),
            index,
            counter: cfg.counters.start,
            seq: cfg.seqs.start,
            counters_end: cfg.counters.end,
            seqs_end: cfg.seqs.end,
            gaps,
            reserve_asked: false,
            flush: Flush {
                durable: last_known,
                ..Flush::default()
            },
        };
        for replica in ledger.knowledge.replicas().collect::<Vec<_>>() {
            if !ledger.is_named(replica)? {
                ledger.unnamed.insert(replica);
            }
        }
        let numbering = ledger.numbering.0.to_be_bytes().to_vec();
        ledger.put_fact(NUMBERING.to_vec(), numbering);
        ledger.put_fact(GAPS.to_vec(), encode(&ledger.gaps)?);
        Ok(ledger)
    }

    /// The entry of `path`, as this step sees it.
    pub(super) fn entry(&mut self, path: &RelPath) -> IndexResult<Option<IndexEntry>> {
        if self.locals.len() >= 64 || self.locals.iter().any(|l| l.entry.path == *path) {
            self.sign_locals()?;
        }
        match self.pending.entries.get(path) {
            Some(entry) => Ok(entry.clone()),
            None => self.committed(path),
        }
    }

    /// The entry of `path`, as it was committed last.
    pub(super) fn committed(&mut self, path: &RelPath) -> IndexResult<Option<IndexEntry>> {
        if let Some(entry) = self.recent.get(path) {
            return Ok(entry);
        }
        let entry = self.index.entry(path)?;
        self.recent.put(path.clone(), entry.clone());
        Ok(entry)
    }

    /// The record in `raw`, which was verified when it was stored.
    pub(super) fn open(&self, raw: &RawRecord) -> IndexResult<Record> {
        open_stored(&self.keys, raw)
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

    /// Makes a version of our own on top of `past`. `into` is the index entry that will hold it. Signed with
    /// others of the same step. With `want`, the disk doesn't show it yet.
    pub(super) fn author(
        &mut self,
        entry: Entry,
        past: &Vector,
        into: IndexEntry,
        want: Option<WantSpec>,
    ) {
        self.counter += 1;
        let dot = Dot {
            replica: self.replica,
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

    fn sign_locals(&mut self) -> IndexResult<()> {
        if self.locals.is_empty() {
            return Ok(());
        }
        let locals = std::mem::take(&mut self.locals);
        let (said, into): (Vec<_>, Vec<_>) = locals
            .into_iter()
            .map(|l| ((l.entry, l.version), (l.into, l.want)))
            .unzip();
        let Signed { records, proofs } = sign(&self.keys, self.era, said)
            .map_err(|e| IndexError::Unavailable(format!("records can't be signed: {e}")))?;
        proofs.into_iter().for_each(|proof| self.put_proof(proof));
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
            self.flush.own = Some((
                self.flush.own.map_or(self.seq, |(first, _)| first),
                self.seq,
            ));
            self.note_newest(record);
        }
        Ok(())
    }

    /// Makes all changes of this step take effect together.
    pub(super) fn commit(&mut self) -> IndexResult<()> {
        self.sign_locals()?;
        for (replica, record) in std::mem::take(&mut self.pending.newest) {
            let known = self.newest_fact(replica)?.map(|(counter, _)| counter);
            let counter = record.version.dot.counter;
            if known.is_none_or(|known| known < counter)
                && let Some(group) = self.alone(record.raw())?
            {
                let bytes = encode(&(counter, group))?;
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
            proofs: std::mem::take(&mut self.pending.proofs)
                .into_values()
                .collect(),
        };
        if batch.is_empty() {
            return Ok(());
        }
        let mut batch = batch;
        batch
            .facts
            .push((LAST_SEQ.to_vec(), Some(self.seq.to_be_bytes().to_vec())));
        self.flush.dirty = true;
        for (path, entry) in &batch.entries {
            self.recent.put(path.clone(), entry.clone());
        }
        let committed = self.index.commit(batch);
        if committed.is_err() {
            self.recent.forget();
        }
        committed
    }

    /// Begins a flush, if there is something to flush and none under way.
    pub(super) fn start_flush(&mut self) -> Option<u64> {
        if !self.flush.dirty || self.flush.running.is_some() {
            return None;
        }
        self.flush.dirty = false;
        self.flush.last += 1;
        self.flush.running = Some((self.flush.last, self.seq));
        Some(self.flush.last)
    }

    /// A flush has ended; if `well`, what it covered is durable. Whether it was the one under way, and whether
    /// a change that we authored has become durable.
    pub(super) fn flushed(&mut self, flush: u64, well: bool) -> (bool, bool) {
        let Some((_, seq)) = self.flush.running.take_if(|(f, _)| *f == flush) else {
            return (false, false);
        };
        let mut own = false;
        if well {
            own = self.flush.own.is_some_and(|(first, _)| first <= seq);
            let rest = self.flush.own.filter(|(_, last)| *last > seq);
            self.flush.own = rest.map(|(first, last)| (first.max(seq + 1), last));
            self.flush.durable = seq;
            if self.is_settled() {
                // A folder at rest holds no memory for what was worked on.
                self.recent.forget();
            }
        }
        (true, own)
    }

    /// Asks for more numbers long before they run out: up to which counter and change number. One run would
    /// have to make sixteen million changes within the time of one fsync to come to the end.
    pub(super) fn reserve(&mut self) -> Option<(u64, u64)> {
        const LOW: u64 = 1 << 20;
        const STEP: u64 = 1 << 24;
        let (counters, seqs) = (self.counters_end, self.seqs_end);
        let low = self.counter + LOW > counters || self.seq + LOW > seqs;
        if !low || self.reserve_asked {
            return None;
        }
        self.reserve_asked = true;
        Some((counters + STEP, seqs + STEP))
    }

    /// The numbers up to these may be used.
    pub(super) fn reserved(&mut self, counters: u64, seqs: u64) {
        self.counters_end = counters;
        self.seqs_end = seqs;
        self.reserve_asked = false;
    }

    /// The index, for reading what is committed.
    pub(super) fn index(&self) -> &I {
        &self.index
    }

    /// Era of the folder's secret.
    pub(super) fn era(&self) -> u32 {
        self.era
    }

    pub(super) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// Who signs our changes.
    pub(super) fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// The name of our numbering of changes.
    pub(super) fn numbering(&self) -> Generation {
        self.numbering
    }

    /// Change number up to which everything is durable.
    pub(super) fn durable(&self) -> u64 {
        self.flush.durable
    }

    /// Whether every change that has a number is durable.
    pub(super) fn all_durable(&self) -> bool {
        self.flush.durable == self.seq
    }

    /// The same, and no other change waits either.
    pub(super) fn is_settled(&self) -> bool {
        self.all_durable() && !self.flush.dirty && self.flush.running.is_none()
    }

    /// Whether changes made here are published.
    pub(super) fn can_sign(&self) -> bool {
        self.keys.level().can_write()
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
