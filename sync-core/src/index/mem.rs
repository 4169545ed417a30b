//! An index in memory, which forgets on a crash what was not flushed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Batch, BatchEdits, BatchRow, ChunkPlace, Index, IndexEntry, IndexResult, Need, Totals,
};
use crate::{
    chunk::ContentHash,
    ids::Seq,
    manifest::ContentRoot,
    path::RelPath,
    record::{BatchId, BatchProof},
};

/// An [`Index`] in memory. Clones share the same content, as handles of a real store would.
#[derive(Debug, Clone, Default)]
pub struct MemIndex {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    now: State,
    durable: State,
    largest_batch: usize,
}

#[derive(Debug, Clone, Default)]
struct State {
    entries: BTreeMap<RelPath, IndexEntry>,
    by_seq: BTreeMap<u64, RelPath>,
    needs: BTreeSet<(Need, RelPath)>,
    by_content: BTreeSet<(ContentRoot, RelPath)>,
    chunks: BTreeMap<ContentHash, Vec<ChunkPlace>>,
    pages: BTreeMap<ContentHash, Bytes>,
    batches: BTreeMap<BatchId, BatchRow>,
    /// Which pages a content's manifest has.
    manifests: BTreeMap<ContentRoot, BTreeSet<ContentHash>>,
    facts: BTreeMap<Vec<u8>, Vec<u8>>,
    totals: Totals,
}

impl MemIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything that was not flushed, as a crash does.
    pub fn crash(&self) {
        let mut shared = self.lock();
        shared.now = shared.durable.clone();
    }

    /// A copy of what is durable, as a backup would hold it.
    pub fn backup(&self) -> Self {
        let durable = self.lock().durable.clone();
        Self {
            shared: Arc::new(Mutex::new(Shared {
                now: durable.clone(),
                durable,
                largest_batch: 0,
            })),
        }
    }

    /// Most entries that one commit changed.
    pub fn largest_batch(&self) -> usize {
        self.lock().largest_batch
    }

    /// Removes the manifest pages of contents that no file has and that aren't `wanted`, and where their chunks
    /// lie. How many pages went.
    pub fn sweep(&self, wanted: &[ContentRoot]) -> u64 {
        let state = &mut self.lock().now;
        let here: BTreeSet<ContentRoot> = state.by_content.iter().map(|(c, _)| *c).collect();
        let stays = |content: &ContentRoot| here.contains(content) || wanted.contains(content);
        state.manifests.retain(|content, _| stays(content));
        let used: BTreeSet<_> = state.manifests.values().flatten().copied().collect();
        let before = state.pages.len();
        state.pages.retain(|hash, _| used.contains(hash));
        for places in state.chunks.values_mut() {
            places.retain(|place| stays(&place.content));
        }
        (before - state.pages.len()) as u64
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.lock().now.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemIndex {
    fn entry(&self, path: &RelPath) -> IndexResult<Option<IndexEntry>> {
        Ok(self.lock().now.entries.get(path).cloned())
    }

    fn entries_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>> {
        let shared = self.lock();
        let from = after.map_or(Unbounded, Excluded);
        Ok(shared
            .now
            .entries
            .range::<RelPath, _>((from, Unbounded))
            .take(limit)
            .map(|(p, e)| (p.clone(), e.clone()))
            .collect())
    }

    fn entries_below(
        &self,
        dir: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>> {
        let shared = self.lock();
        let start = after.filter(|a| *a > dir).unwrap_or(dir);
        let below = shared
            .now
            .entries
            .range(start..)
            .filter(|(p, _)| *p > start);
        let below = below.take_while(|(p, _)| p.is_below(dir));
        Ok(below
            .take(limit)
            .map(|(p, e)| (p.clone(), e.clone()))
            .collect())
    }

    fn changes_after(&self, after: Seq, limit: usize) -> IndexResult<Vec<(Seq, RelPath)>> {
        let shared = self.lock();
        let changes = shared.now.by_seq.range(after.0.saturating_add(1)..);
        Ok(changes
            .take(limit)
            .map(|(s, p)| (Seq(*s), p.clone()))
            .collect())
    }

    fn needs(
        &self,
        need: Need,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<RelPath>> {
        let shared = self.lock();
        let list = shared
            .now
            .needs
            .iter()
            .filter(|(n, _)| *n == need)
            .map(|(_, p)| p);
        Ok(match need {
            Need::Removal => list
                .rev()
                .filter(|p| after.is_none_or(|a| *p < a))
                .take(limit)
                .cloned()
                .collect(),
            _ => list
                .filter(|p| after.is_none_or(|a| *p > a))
                .take(limit)
                .cloned()
                .collect(),
        })
    }

    fn with_content(&self, content: &ContentRoot, limit: usize) -> IndexResult<Vec<RelPath>> {
        let shared = self.lock();
        let all = shared.now.by_content.iter().filter(|(c, _)| c == content);
        Ok(all.take(limit).map(|(_, p)| p.clone()).collect())
    }

    fn chunk_places(
        &self,
        chunk: &ContentHash,
        f: &mut dyn FnMut(ChunkPlace) -> bool,
    ) -> IndexResult<()> {
        let shared = self.lock();
        let places = shared.now.chunks.get(chunk).into_iter().flatten().rev();
        let _ = places.copied().all(f);
        Ok(())
    }

    fn page(&self, hash: &ContentHash) -> IndexResult<Option<Bytes>> {
        Ok(self.lock().now.pages.get(hash).cloned())
    }

    fn batch(&self, id: &BatchId) -> IndexResult<Option<BatchProof>> {
        let shared = self.lock();
        Ok(shared.now.batches.get(id).map(|row| row.proof.clone()))
    }

    fn fact(&self, name: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        Ok(self.lock().now.facts.get(name).cloned())
    }

    fn totals(&self) -> IndexResult<Totals> {
        Ok(self.lock().now.totals)
    }

    fn commit(&mut self, batch: Batch) -> IndexResult<()> {
        let mut shared = self.lock();
        shared.largest_batch = shared.largest_batch.max(batch.entries.len());
        let state = &mut shared.now;
        let entries: BTreeMap<_, _> = batch.entries.into_iter().collect();
        let mut edits = BatchEdits::default();
        for (path, entry) in &entries {
            edits.take(state.entries.get(path), entry.as_ref());
        }
        for (id, row) in edits.rows(batch.proofs, |id| Ok(state.batches.get(id).cloned()))? {
            match row {
                Some(row) => state.batches.insert(id, row),
                None => state.batches.remove(&id),
            };
        }
        for (path, entry) in entries {
            state.put(path, entry);
        }
        for (name, value) in batch.facts {
            match value {
                Some(value) => state.facts.insert(name, value),
                None => state.facts.remove(&name),
            };
        }
        for put in batch.manifests {
            let pages = state.manifests.entry(put.content).or_default();
            pages.extend(put.pages.iter().map(|(hash, _)| *hash));
            state.pages.extend(put.pages);
            let mut offset = 0;
            for chunk in put.chunks {
                let place = ChunkPlace {
                    content: put.content,
                    offset,
                    len: chunk.len,
                };
                let places = state.chunks.entry(chunk.hash).or_default();
                places.retain(|p| p.content != put.content);
                places.push(place);
                offset += u64::from(chunk.len);
            }
        }
        Ok(())
    }

    fn flush(&self) -> IndexResult<()> {
        let mut shared = self.lock();
        shared.durable = shared.now.clone();
        Ok(())
    }
}

impl State {
    fn put(&mut self, path: RelPath, entry: Option<IndexEntry>) {
        let old = self.entries.remove(&path);
        self.totals.apply(old.as_ref(), entry.as_ref());
        if let Some(old) = old {
            self.by_seq.remove(&old.seq);
            if let Some(need) = old.need() {
                self.needs.remove(&(need, path.clone()));
            }
            if let Some(content) = old.content {
                self.by_content.remove(&(content, path.clone()));
            }
        }
        let Some(entry) = entry else { return };
        if entry.seq > 0 {
            self.by_seq.insert(entry.seq, path.clone());
        }
        if let Some(need) = entry.need() {
            self.needs.insert((need, path.clone()));
        }
        if let Some(content) = entry.content {
            self.by_content.insert((content, path.clone()));
        }
        self.entries.insert(path, entry);
    }
}
