//! A multimap by hash, kept as a few sorted runs.
//!
//! Hashes come in no order. One item of the engine for each would rewrite a random page for every file of
//! a first scan: at a million files that took twice the time and 1 GB more disk than all the rest. So each
//! commit writes its records as a **run**, sorted and packed into blocks, and runs of like size are merged
//! in the background of later commits, a bounded step in each (a log-structured merge tree).
//!
//! A record is never taken back. Whoever looks something up checks what it finds; when more than half of
//! the records are known to be stale, one merge of all runs asks for each whether it still holds.
//!
//! It owns the runs under one byte of prefix and their list. It never reads a run before the commit that
//! wrote it: steps are taken first, additions after.

use std::collections::{BTreeMap, VecDeque};

use minicbor::{Decode, Encode};
use sync_core::index::IndexResult;

use super::{
    db::{Db, Stage},
    filter::Filter,
    packed::{BlockWriter, Packed, Pair, decode, successor},
};

/// Bytes of a hash that are kept. Two contents that share them are told apart by whoever looks.
pub(super) const HASH: usize = 8;
/// So many runs of like size are merged into one.
const FAN_IN: usize = 8;
/// Longest block of records in bytes. A search reads one block in each run, at random.
const MAX_BLOCK: usize = 2048;
/// Records moved in the commit's step beyond what the commit's own additions call for.
const STEP: usize = 4096;
/// Blocks of merged runs that are deleted in one step.
const DELETE_STEP: usize = 256;
/// Below so many stale records nothing is done about them.
const MIN_STALE: u64 = 8192;
/// Cost of asking whether a record holds, in records moved.
const CHECK_COST: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Run {
    #[n(0)]
    id: u64,
    #[n(1)]
    records: u64,
}

/// What is stored of it beside the runs: all runs, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
struct List {
    #[n(0)]
    runs: Vec<Run>,
    #[n(1)]
    next_id: u64,
    #[n(2)]
    stale: u64,
}

/// The multimap under one prefix.
#[derive(Debug)]
pub(super) struct Runs {
    kind: u8,
    list: List,
    stored: List,
    /// The filter of each run.
    filters: BTreeMap<u64, Filter>,
    merge: Option<Merge>,
    /// Runs that are in no list any more, to be deleted.
    dead: Vec<u64>,
}

#[derive(Debug)]
struct Merge {
    /// Oldest first; they stand next to each other in the list.
    inputs: Vec<Cursor>,
    out: u64,
    records: u64,
    writer: BlockWriter,
    first: Vec<u8>,
    filter: Filter,
    check: bool,
}

#[derive(Debug)]
struct Cursor {
    id: u64,
    /// Where the next block is looked for.
    from: Vec<u8>,
    high: Vec<u8>,
    items: VecDeque<Pair>,
}

impl Runs {
    /// Reads the list, and finds what a crash left behind.
    pub(super) fn open(db: &Db, kind: u8) -> IndexResult<Self> {
        let mut list = match db.read(&list_key(kind))? {
            Some(bytes) => {
                minicbor::decode(&bytes).map_err(|_| db.corrupt("a list of runs is malformed"))?
            }
            None => List::default(),
        };
        let stored = list.clone();
        let (mut from, high) = (vec![kind], successor(&[kind]));
        let mut dead = Vec::new();
        while let Some((key, _)) = db.ceiling(&from, &high)? {
            let Some(id) = key
                .get(1..9)
                .and_then(|id| id.try_into().ok())
                .map(u64::from_be_bytes)
            else {
                return Err(db.corrupt("a run has a malformed key"));
            };
            if list.runs.iter().all(|run| run.id != id) {
                dead.push(id);
            }
            list.next_id = list.next_id.max(id + 1);
            from = prefix(kind, id + 1);
        }
        let mut filters = BTreeMap::new();
        for run in &list.runs {
            filters.extend(Filter::read(db, &filter_key(kind, run.id))?.map(|f| (run.id, f)));
        }
        Ok(Self {
            kind,
            list,
            stored,
            filters,
            merge: None,
            dead,
        })
    }

    /// Hands the records of `hash` to `f`, the newest runs first, until it says `false`.
    pub(super) fn find(
        &self,
        db: &Db,
        hash: &[u8; HASH],
        mut f: impl FnMut(&[u8], &[u8]) -> IndexResult<bool>,
    ) -> IndexResult<()> {
        let mut more = true;
        let may_hold = |run: &&Run| self.filters.get(&run.id).is_none_or(|f| f.may_hold(hash));
        for run in self.list.runs.iter().rev().filter(may_hold) {
            Packed::new(&prefix(self.kind, run.id), MAX_BLOCK).walk(
                db,
                hash,
                true,
                |key, value| {
                    let Some(tail) = key.strip_prefix(hash) else {
                        return Ok(false);
                    };
                    more = f(tail, value)?;
                    Ok(more)
                },
            )?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Notes that so many records hold no longer.
    pub(super) fn add_stale(&mut self, n: u64) {
        self.list.stale = self.list.stale.saturating_add(n);
    }

    /// Writes all runs of `from` as one into `to`, where there is none. With `holds` those records are left out that
    /// hold no longer. `before_step` may end it.
    pub(super) fn copy_merged(
        &self,
        from: &Db,
        to: &Db,
        before_step: &mut impl FnMut() -> IndexResult<()>,
        mut holds: Option<impl FnMut(&[u8], &[u8]) -> IndexResult<bool>>,
    ) -> IndexResult<()> {
        let mut new = Self {
            kind: self.kind,
            list: self.list.clone(),
            stored: List::default(),
            filters: BTreeMap::new(),
            merge: None,
            dead: Vec::new(),
        };
        new.begin_merge(new.list.runs.len(), holds.is_some());
        let mut ask = |key: &[u8], value: &[u8]| match &mut holds {
            Some(holds) => holds(key, value),
            None => Ok(true),
        };
        while let Some(merge) = new.merge.take() {
            before_step()?;
            let mut stage = Stage::default();
            new.step(from, &mut stage, merge, STEP, &mut ask)?;
            to.apply(stage)?;
        }
        let mut stage = Stage::default();
        stage.put(
            list_key(self.kind),
            minicbor::to_vec(&new.list).unwrap_or_default(),
        );
        to.apply(stage)
    }

    /// Whether so many records are stale that asking for each is worth its time.
    pub(super) fn is_stale(&self) -> bool {
        let total: u64 = self.list.runs.iter().map(|r| r.records).sum();
        self.list.stale > total / 4
    }

    /// Whether a key belongs to the runs of this kind, their list or their filters.
    pub(super) fn owns(kind: u8, key: &[u8]) -> bool {
        key.first() == Some(&kind) || key.starts_with(&list_key(kind))
    }

    /// Takes a step of merging and adds `records`, whose keys begin with the hash. `holds` says whether a
    /// record is still right.
    pub(super) fn change(
        &mut self,
        db: &Db,
        stage: &mut Stage,
        records: BTreeMap<Vec<u8>, Vec<u8>>,
        mut holds: impl FnMut(&[u8], &[u8]) -> IndexResult<bool>,
    ) -> IndexResult<()> {
        self.delete_dead(db, stage)?;
        if self.merge.is_none() {
            self.start_merge();
        }
        if let Some(merge) = self.merge.take() {
            self.step(db, stage, merge, STEP + 8 * records.len(), &mut holds)?;
        }
        if !records.is_empty() {
            let id = self.take_id();
            let (mut writer, mut first) = (BlockWriter::new(), Vec::new());
            let mut filter = Filter::new(records.len() as u64);
            for (key, value) in &records {
                filter.insert(key);
                push(self.kind, id, stage, &mut writer, &mut first, key, value);
            }
            filter.write(stage, &filter_key(self.kind, id));
            self.filters.insert(id, filter);
            finish(self.kind, id, stage, writer, first);
            self.list.runs.push(Run {
                id,
                records: records.len() as u64,
            });
        }
        if self.list != self.stored {
            // Encoding to a vector can't fail.
            stage.put(
                list_key(self.kind),
                minicbor::to_vec(&self.list).unwrap_or_default(),
            );
            self.stored = self.list.clone();
        }
        Ok(())
    }

    fn take_id(&mut self) -> u64 {
        let id = self.list.next_id;
        self.list.next_id += 1;
        id
    }

    fn start_merge(&mut self) {
        let runs = &self.list.runs;
        let total: u64 = runs.iter().map(|r| r.records).sum();
        let check = self.list.stale > MIN_STALE.max(total / 2);
        let tier = |r: &Run| r.records.max(1).ilog2() / 3;
        let count = if check {
            runs.len()
        } else {
            // The newest runs up to some size, for the smallest size of which there are enough.
            (0..22)
                .map(|t| runs.iter().rev().take_while(|r| tier(r) <= t).count())
                .find(|n| *n >= FAN_IN)
                .unwrap_or(0)
        };
        if count > 0 {
            self.begin_merge(count, check);
        }
    }

    /// Begins to merge the newest `count` runs.
    fn begin_merge(&mut self, count: usize, check: bool) {
        let runs = &self.list.runs;
        let chosen = &runs[runs.len() - count..];
        let filter = Filter::new(chosen.iter().map(|r| r.records).sum());
        let inputs = chosen.iter().map(|run| Cursor {
            id: run.id,
            from: prefix(self.kind, run.id),
            high: prefix(self.kind, run.id + 1),
            items: VecDeque::new(),
        });
        let inputs = inputs.collect();
        if check {
            self.list.stale = 0;
        }
        let out = self.take_id();
        let (writer, first) = (BlockWriter::new(), Vec::new());
        self.merge = Some(Merge {
            inputs,
            out,
            records: 0,
            writer,
            first,
            filter,
            check,
        });
    }

    fn step(
        &mut self,
        db: &Db,
        stage: &mut Stage,
        mut merge: Merge,
        mut budget: usize,
        holds: &mut impl FnMut(&[u8], &[u8]) -> IndexResult<bool>,
    ) -> IndexResult<()> {
        let cost = if merge.check { CHECK_COST } else { 1 };
        while budget >= cost {
            budget -= cost;
            for input in &mut merge.inputs {
                input.fill(db)?;
            }
            let fronts = merge
                .inputs
                .iter()
                .filter_map(|i| i.items.front().map(|(key, _)| key));
            let Some(least) = fronts.min().cloned() else {
                self.finish_merge(stage, merge);
                return Ok(());
            };
            // Of equal records the newest stays.
            let mut newest = None;
            for input in &mut merge.inputs {
                if input.items.front().is_some_and(|(key, _)| *key == least) {
                    newest = input.items.pop_front();
                }
            }
            let Some((key, value)) = newest else { continue };
            if !merge.check || holds(&key, &value)? {
                push(
                    self.kind,
                    merge.out,
                    stage,
                    &mut merge.writer,
                    &mut merge.first,
                    &key,
                    &value,
                );
                merge.filter.insert(&key);
                merge.records += 1;
            }
        }
        self.merge = Some(merge);
        Ok(())
    }

    fn finish_merge(&mut self, stage: &mut Stage, merge: Merge) {
        finish(self.kind, merge.out, stage, merge.writer, merge.first);
        let is_input = |run: &Run| merge.inputs.iter().any(|i| i.id == run.id);
        let at = self.list.runs.iter().position(is_input).unwrap_or(0);
        self.list.runs.retain(|run| !is_input(run));
        for input in &merge.inputs {
            if let Some(filter) = self.filters.remove(&input.id) {
                filter.remove(stage, &filter_key(self.kind, input.id));
            }
        }
        if merge.records > 0 {
            merge.filter.write(stage, &filter_key(self.kind, merge.out));
            self.filters.insert(merge.out, merge.filter);
            self.list.runs.insert(
                at,
                Run {
                    id: merge.out,
                    records: merge.records,
                },
            );
        }
        self.dead.extend(merge.inputs.iter().map(|i| i.id));
    }

    fn delete_dead(&mut self, db: &Db, stage: &mut Stage) -> IndexResult<()> {
        let Some(&id) = self.dead.last() else {
            return Ok(());
        };
        let (mut from, high) = (prefix(self.kind, id), prefix(self.kind, id + 1));
        for _ in 0..DELETE_STEP {
            let Some((key, _)) = db.ceiling(&from, &high)? else {
                self.dead.pop();
                break;
            };
            stage.remove(key.to_vec());
            from = key.to_vec();
            from.push(0);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn shape(&self) -> (usize, u64) {
        (
            self.list.runs.len(),
            self.list.runs.iter().map(|r| r.records).sum(),
        )
    }
}

impl Cursor {
    /// Reads the next block, if nothing is left of the last.
    fn fill(&mut self, db: &Db) -> IndexResult<()> {
        if !self.items.is_empty() || self.from >= self.high {
            return Ok(());
        }
        match db.ceiling(&self.from, &self.high)? {
            Some((key, block)) => {
                self.items = decode(db, &block)?.into();
                self.from = key.to_vec();
                self.from.push(0);
            }
            None => self.from.clone_from(&self.high),
        }
        Ok(())
    }
}

fn push(
    kind: u8,
    run: u64,
    stage: &mut Stage,
    writer: &mut BlockWriter,
    first: &mut Vec<u8>,
    key: &[u8],
    value: &[u8],
) {
    if !writer.is_empty() && writer.bytes.len() + key.len() + value.len() + 9 > MAX_BLOCK {
        let full = std::mem::replace(writer, BlockWriter::new());
        finish(kind, run, stage, full, std::mem::take(first));
    }
    if writer.is_empty() {
        *first = key.to_vec();
    }
    writer.push(key, value);
}

fn finish(kind: u8, run: u64, stage: &mut Stage, writer: BlockWriter, first: Vec<u8>) {
    if !writer.is_empty() {
        let mut key = prefix(kind, run);
        key.extend_from_slice(&first);
        stage.put(key, writer.bytes);
    }
}

fn prefix(kind: u8, run: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&run.to_be_bytes());
    key
}

/// Above the list's key, and below that of any other kind.
fn filter_key(kind: u8, run: u64) -> Vec<u8> {
    [&list_key(kind)[..], &run.to_be_bytes()].concat()
}

fn list_key(kind: u8) -> Vec<u8> {
    vec![super::key::META, kind]
}
