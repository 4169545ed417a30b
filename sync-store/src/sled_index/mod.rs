//! The index on sled: [`SledIndex`].
//!
//! One sled tree holds everything of one folder, one byte of prefix for each kind of key, so that one
//! batch changes all of it or nothing:
//!
//! | prefix | key | value | form |
//! |---|---|---|---|
//! | `e` | path key | entry (CBOR) | packed |
//! | `s` | number of the change, big-endian | path key | packed |
//! | `n` | list of work, path key | nothing | packed |
//! | `c` | content hash (8 bytes), path key | nothing | runs |
//! | `g` | page hash (8 bytes), page number | nothing | runs |
//! | `k` | chunk hash (8 bytes), content hash (8 bytes) | place | runs |
//! | `b` | batch id (16 bytes) | places in use, proof (CBOR) | one item each |
//! | `p` | page number | page hash, page | one item each |
//! | `f` | name | fact | one item each |
//! | `m` | name | format, totals, lists of runs, their filters | one item each |
//!
//! *Packed* is in `packed.rs`, *runs* in `runs.rs`; `docs/adr/0001-index-schema.md` has the measurements that
//! led there. Every value begins with a version byte.
//!
//! It owns the directory of the index. It never keeps anything that a scan could not rebuild, it never
//! answers after a failure (the handle must be dropped and opened again), and no type of sled leaves it.

mod compact;
mod convert;
mod db;
mod edits;
mod filter;
mod manifests;
mod open;
mod packed;
mod recall;
mod rewrite;
mod runs;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use sync_core::{
    chunk::ContentHash,
    ids::{Generation, Seq},
    index::{
        Batch, BatchEdits, BatchRow, ChunkPlace, Index, IndexEntry, IndexResult, Need, Totals,
    },
    manifest::ContentRoot,
    path::RelPath,
    record::{BatchId, BatchProof},
};

use db::{Db, Stage};
use edits::Edits;
use manifests::{Manifests, short};
use packed::Packed;
use recall::Recall;
use runs::Runs;

pub use compact::Compacted;
pub use manifests::SweepStep;
pub use open::{OpenError, Opened, Options};

/// Prefixes of keys.
mod key {
    pub(super) const BATCHES: u8 = b'b';
    pub(super) const CONTENTS: u8 = b'c';
    pub(super) const ENTRIES: u8 = b'e';
    pub(super) const FACTS: u8 = b'f';
    pub(super) const PAGE_NUMBERS: u8 = b'g';
    pub(super) const PLACES: u8 = b'k';
    pub(super) const META: u8 = b'm';
    pub(super) const NEEDS: u8 = b'n';
    pub(super) const PAGE: u8 = b'p';
    pub(super) const CHANGES: u8 = b's';
    /// The totals, below [`META`].
    pub(super) const TOTALS: [u8; 2] = [META, b't'];
    /// The format of the whole index, below [`META`].
    pub(super) const FORMAT: [u8; 2] = [META, b'v'];
    /// Bytes on disk after the last compaction, below [`META`].
    pub(super) const COMPACTED: [u8; 2] = [META, b'z'];
}

/// First byte of entries, facts and totals.
const VALUE_FORMAT: u8 = 1;
/// Longest block of entries in bytes: about nine of them.
const ENTRY_BLOCK: usize = 4096;
/// Longest block of changes and of work in bytes: about thirty paths.
const LIST_BLOCK: usize = 1024;
/// The entries, by path.
const ENTRIES: PackedKind = PackedKind(key::ENTRIES, ENTRY_BLOCK);
/// The paths, by the number of their last change.
const CHANGES: PackedKind = PackedKind(key::CHANGES, LIST_BLOCK);
/// The lists of work.
const NEEDS: PackedKind = PackedKind(key::NEEDS, LIST_BLOCK);
/// The fact that holds the index's generation.
const GENERATION: &[u8] = b"index generation";

/// Prefix and longest block of a packed map.
struct PackedKind(u8, usize);

impl PackedKind {
    fn packed(&self) -> Packed {
        let packed = Packed::new(&[self.0], self.1);
        match self.0 {
            // Files that were found together were numbered together.
            key::CHANGES => packed.sharing_values(),
            _ => packed,
        }
    }
}

/// An [`Index`] on disk. Clones share it; the last one closes it, which may block while it flushes.
#[derive(Clone)]
pub struct SledIndex {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    options: Options,
    entries: Packed,
    changes: Packed,
    needs: Packed,
    /// The blocks of entries that were looked into last.
    recall: Mutex<Recall>,
    /// Readers hold it while they put an answer together, so that no commit comes in between.
    state: RwLock<State>,
    /// Somebody waits to write: what only tidies up must end.
    wanted: AtomicBool,
}

struct State {
    totals: Totals,
    contents: Runs,
    manifests: Manifests,
    /// How often it was locked for writing.
    writes: u64,
}

impl fmt::Debug for SledIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledIndex")
            .field("totals", &self.read().totals)
            .finish_non_exhaustive()
    }
}

impl SledIndex {
    fn with_db(db: Db, options: Options) -> IndexResult<Self> {
        let totals = match db.read(&key::TOTALS)? {
            Some(bytes) => decode(&db, &bytes)?,
            None => Totals::default(),
        };
        let contents = Runs::open(&db, key::CONTENTS)?;
        let manifests = Manifests::open(&db)?;
        Ok(Self {
            shared: Arc::new(Shared {
                db,
                options,
                entries: ENTRIES.packed(),
                changes: CHANGES.packed(),
                needs: NEEDS.packed(),
                recall: Mutex::default(),
                state: RwLock::new(State {
                    totals,
                    contents,
                    manifests,
                    writes: 0,
                }),
                wanted: AtomicBool::new(false),
            }),
        })
    }

    /// The generation written by [`SledIndex::set_generation`]; `None` in a fresh index. If it isn't that of
    /// the identity file, one of the two was rolled back.
    pub fn generation(&self) -> IndexResult<Option<Generation>> {
        let Some(value) = self.fact(GENERATION)? else {
            return Ok(None);
        };
        let bytes = value.as_slice().try_into();
        let bytes = bytes.map_err(|_| self.shared.db.corrupt("the generation is malformed"))?;
        Ok(Some(Generation(u64::from_be_bytes(bytes))))
    }

    /// Sets the generation. Durable after the next flush.
    pub fn set_generation(&mut self, generation: Generation) -> IndexResult<()> {
        let value = generation.0.to_be_bytes().to_vec();
        self.commit(Batch {
            facts: vec![(GENERATION.to_vec(), Some(value))],
            ..Batch::default()
        })
    }

    /// Whether so much has gone since the last sweep that one is worth while, before its time.
    pub fn wants_sweep(&self) -> bool {
        self.read().manifests.wants_sweep()
    }

    /// Begins a sweep, which deletes manifest pages that no file on disk needs: of those that are stored now,
    /// for what is stored later stays in any case. A sweep under way is given up.
    pub fn begin_sweep(&self) {
        self.write().manifests.begin_sweep();
    }

    /// Takes one step of a sweep that was begun: looks at up to `limit` entries, or at up to `limit` pages. `also`
    /// names contents whose pages stay although no file here has them yet, such as those being fetched. Give
    /// all that are in use after the beginning to the first step. To be called until the step is `done`.
    pub fn sweep_step(&self, limit: usize, also: &[ContentRoot]) -> IndexResult<SweepStep> {
        let db = &self.shared.db;
        let mut state = self.write();
        if let Some(after) = state.manifests.sweep_mark_from(also) {
            let (mut last, mut seen, mut contents) = (None, 0, Vec::new());
            self.shared
                .entries
                .walk(db, &after, after.is_empty(), |key, value| {
                    let content = decode::<IndexEntry>(db, value)?.content;
                    contents.extend(content.filter(|c| c.height > 0));
                    seen += 1;
                    if seen >= limit.max(1) {
                        last = Some(key.to_vec());
                    }
                    Ok(last.is_none())
                })?;
            state.manifests.sweep_marked(last, contents);
        }
        let mut stage = Stage::default();
        let step = state.manifests.sweep_step(db, &mut stage, limit.max(1))?;
        db.apply(stage)?;
        Ok(step)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.wanted.store(true, Ordering::Relaxed);
        let mut state = self
            .shared
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.shared.wanted.store(false, Ordering::Relaxed);
        state.writes += 1;
        state
    }

    fn decode_entry(&self, value: &[u8]) -> IndexResult<IndexEntry> {
        decode(&self.shared.db, value)
    }

    fn decode_path(&self, key: &[u8]) -> IndexResult<RelPath> {
        RelPath::from_key(key).map_err(|_| self.shared.db.corrupt("a stored path is not one"))
    }

    /// Up to `limit` entries after `from`, as long as `wanted`.
    fn entries_from(
        &self,
        from: Option<&RelPath>,
        limit: usize,
        wanted: impl Fn(&RelPath) -> bool,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let _state = self.read();
        let from = from.map(RelPath::key).unwrap_or_default();
        self.shared
            .entries
            .walk(&self.shared.db, &from, false, |key, value| {
                let path = self.decode_path(key)?;
                if !wanted(&path) {
                    return Ok(false);
                }
                found.push((path, self.decode_entry(value)?));
                Ok(found.len() < limit)
            })?;
        Ok(found)
    }
}

impl Index for SledIndex {
    fn entry(&self, path: &RelPath) -> IndexResult<Option<IndexEntry>> {
        let state = self.read();
        let (db, entries) = (&self.shared.db, &self.shared.entries);
        let recall = self.shared.recall.lock();
        let value = recall.unwrap_or_else(PoisonError::into_inner).value(
            db,
            entries,
            &path.key(),
            state.writes,
        )?;
        value.map(|value| self.decode_entry(&value)).transpose()
    }

    fn entries_after(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>> {
        self.entries_from(after, limit, |_| true)
    }

    fn entries_below(
        &self,
        dir: &RelPath,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<(RelPath, IndexEntry)>> {
        let start = after.filter(|a| *a > dir).unwrap_or(dir);
        self.entries_from(Some(start), limit, |path| path.is_below(dir))
    }

    fn changes_after(&self, after: Seq, limit: usize) -> IndexResult<Vec<(Seq, RelPath)>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let _state = self.read();
        let (db, from) = (&self.shared.db, after.0.to_be_bytes());
        self.shared.changes.walk(db, &from, false, |key, value| {
            let Ok(seq) = key.try_into() else {
                return Err(db.corrupt("the number of a change is malformed"));
            };
            found.push((Seq(u64::from_be_bytes(seq)), self.decode_path(value)?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    fn needs(
        &self,
        need: Need,
        after: Option<&RelPath>,
        limit: usize,
    ) -> IndexResult<Vec<RelPath>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let _state = self.read();
        let (db, code) = (&self.shared.db, need_code(need));
        let mut take = |key: &[u8]| {
            let Some((_, path)) = key.split_first().filter(|(c, _)| **c == code) else {
                return Ok(false);
            };
            found.push(self.decode_path(path)?);
            Ok(found.len() < limit)
        };
        match (need, after) {
            (Need::Removal, Some(after)) => {
                self.shared
                    .needs
                    .walk_back(db, &need_key(need, after), take)?;
            }
            (Need::Removal, None) => self.shared.needs.walk_back(db, &[code + 1], take)?,
            (_, after) => {
                let from = after.map_or_else(|| vec![code], |after| need_key(need, after));
                self.shared
                    .needs
                    .walk(db, &from, false, |key, _| take(key))?;
            }
        }
        Ok(found)
    }

    fn with_content(&self, content: &ContentRoot, limit: usize) -> IndexResult<Vec<RelPath>> {
        let mut found = BTreeMap::new();
        if limit == 0 {
            return Ok(Vec::new());
        }
        let state = self.read();
        let Shared { db, entries, .. } = &*self.shared;
        state.contents.find(db, &short(&content.hash), |key, _| {
            if !found.contains_key(key) {
                let value = entries.value(db, key)?;
                let entry = value.map(|value| self.decode_entry(&value)).transpose()?;
                if entry.is_some_and(|e| e.content == Some(*content)) {
                    found.insert(key.to_vec(), self.decode_path(key)?);
                }
            }
            Ok(found.len() < limit)
        })?;
        Ok(found.into_values().collect())
    }

    fn chunk_places(
        &self,
        chunk: &ContentHash,
        f: &mut dyn FnMut(ChunkPlace) -> bool,
    ) -> IndexResult<()> {
        self.read().manifests.places(&self.shared.db, chunk, f)
    }

    fn page(&self, hash: &ContentHash) -> IndexResult<Option<Bytes>> {
        self.read().manifests.page(&self.shared.db, hash)
    }

    fn batch(&self, id: &BatchId) -> IndexResult<Option<BatchProof>> {
        Ok(batch_row(&self.shared.db, id)?.map(|row| row.proof))
    }

    fn fact(&self, name: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        let db = &self.shared.db;
        match db.read(&fact_key(name))?.as_deref() {
            None => Ok(None),
            Some([VALUE_FORMAT, value @ ..]) => Ok(Some(value.to_vec())),
            Some(_) => Err(db.corrupt("a fact is malformed")),
        }
    }

    fn totals(&self) -> IndexResult<Totals> {
        Ok(self.read().totals)
    }

    fn commit(&mut self, batch: Batch) -> IndexResult<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut state = self.write();
        let state = &mut *state;
        let Shared {
            db,
            entries,
            changes,
            needs,
            ..
        } = &*self.shared;
        let mut stage = Stage::default();
        let mut edits = Edits::new(state.totals);
        let mut batches = BatchEdits::default();
        let new: BTreeMap<_, _> = batch
            .entries
            .into_iter()
            .map(|(p, e)| (p.key(), e))
            .collect();
        let encoded = new
            .iter()
            .map(|(key, entry)| (key.clone(), entry.as_ref().map(encode)));
        let encoded = encoded.collect();
        entries.change(db, &mut stage, encoded, |change| {
            let old = change
                .old
                .map(|old| decode::<IndexEntry>(db, old))
                .transpose()?;
            let new = new.get(change.key).and_then(Option::as_ref);
            batches.take(old.as_ref(), new);
            edits.take(change.key, old.as_ref(), new);
            Ok(())
        })?;
        for (id, row) in batches.rows(batch.proofs, |id| batch_row(db, id))? {
            match row {
                Some(row) => stage.put(batch_key(&id), encode(&row)),
                None => stage.remove(batch_key(&id)),
            }
        }
        changes.change(db, &mut stage, edits.changes, |_| Ok(()))?;
        needs.change(db, &mut stage, edits.needs, |_| Ok(()))?;

        state.contents.add_stale(edits.stale);
        state
            .contents
            .change(db, &mut stage, edits.contents, |key, _| {
                holds(db, entries, key)
            })?;
        edits
            .arrived
            .into_iter()
            .for_each(|content| state.manifests.spare(content));
        state.manifests.add_dead(edits.dead_chunks);
        state.manifests.change(db, &mut stage, batch.manifests)?;

        for (name, value) in batch.facts {
            match value {
                Some(value) => stage.put(fact_key(&name), [&[VALUE_FORMAT], &value[..]].concat()),
                None => stage.remove(fact_key(&name)),
            }
        }
        if edits.totals != state.totals {
            state.totals = edits.totals;
            stage.put(key::TOTALS.to_vec(), encode(&edits.totals));
        }
        db.apply(stage)
    }

    fn flush(&self) -> IndexResult<()> {
        self.shared.db.flush()
    }
}

/// Whether a record of the contents' runs, short hash and path key, says what the path's entry says.
fn holds(db: &Db, entries: &Packed, record: &[u8]) -> IndexResult<bool> {
    let (hash, path) = record.split_at_checked(runs::HASH).unwrap_or_default();
    let Some(value) = entries.value(db, path)? else {
        return Ok(false);
    };
    let content = decode::<IndexEntry>(db, &value)?.content;
    Ok(content.is_some_and(|c| short(&c.hash) == hash))
}

fn need_code(need: Need) -> u8 {
    match need {
        Need::Dir => 0,
        Need::Content => 1,
        Need::Removal => 2,
    }
}

fn need_key(need: Need, path: &RelPath) -> Vec<u8> {
    [&[need_code(need)], path.key().as_slice()].concat()
}

fn batch_key(id: &BatchId) -> Vec<u8> {
    [&[key::BATCHES], id.0.as_slice()].concat()
}

fn batch_row(db: &Db, id: &BatchId) -> IndexResult<Option<BatchRow>> {
    let bytes = db.read(&batch_key(id))?;
    bytes.map(|bytes| decode(db, &bytes)).transpose()
}

fn fact_key(name: &[u8]) -> Vec<u8> {
    [&[key::FACTS], name].concat()
}

fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = vec![VALUE_FORMAT];
    // Writing to a vector can't fail.
    let _ = minicbor::encode(value, &mut out);
    out
}

fn decode<'b, T: minicbor::Decode<'b, ()>>(db: &Db, bytes: &'b [u8]) -> IndexResult<T> {
    let value = match bytes {
        [VALUE_FORMAT, rest @ ..] => minicbor::decode(rest).ok(),
        _ => None,
    };
    value.ok_or_else(|| db.corrupt("a stored value is malformed"))
}
