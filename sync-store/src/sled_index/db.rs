//! The only place that speaks to sled.
//!
//! It owns the sled handle, turns sled's errors and panics into [`IndexError`], and keeps sled's memory
//! within bounds. It must never let a sled type out of `sled_index`, and it never answers again after a
//! failure: sled's state in memory can't be trusted then, so the index is closed and opened anew.
//!
//! Two habits of sled 0.34.7 cost memory without limit if nothing is done (both measured, see
//! `docs/adr/0001-index-schema.md`):
//!
//! - A batch retires thousands of pages under one epoch guard, but the epoch collector frees at most
//!   512 objects in 128 guards. [`Db::apply`] therefore asks the collector to work after each batch.
//! - The cache counts a page only when 64 accesses have queued up in one of 256 shards, so up to
//!   16,384 pages of any size stay in memory uncounted. [`Db::touch`] fills the queues with repeated
//!   accesses to one page, so that eviction comes after a few pages instead of 64.

use std::{
    collections::BTreeMap,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{OnceLock, PoisonError, RwLock},
};

use sync_core::index::{IndexError, IndexResult};

/// File in the index directory which says that its content was found damaged.
pub(super) const DAMAGED: &str = "damaged";

/// Further accesses to a page that is read at random: a shard's queue is full after about ten pages.
const RANDOM: usize = 5;
/// The same for pages that are read or written in order: eight blocks or more are on the same page.
const IN_ORDER: usize = 1;

/// Writes that become visible and durable together. A later write to a key replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct Stage {
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Stage {
    /// Sets a key.
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    /// Takes a key away.
    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }
}

/// A key and its value.
pub(super) type Item = (sled::IVec, sled::IVec);

/// An open sled database.
pub(super) struct Db {
    /// Empty only while it is replaced.
    sled: RwLock<Option<sled::Db>>,
    dir: PathBuf,
    failed: OnceLock<IndexError>,
}

impl Db {
    pub(super) fn new(sled: sled::Db, dir: &Path) -> Self {
        Self {
            sled: RwLock::new(Some(sled)),
            dir: dir.to_owned(),
            failed: OnceLock::new(),
        }
    }

    /// The value of `key`.
    pub(super) fn read(&self, key: &[u8]) -> IndexResult<Option<sled::IVec>> {
        self.guarded(|sled| sled.get(key))
    }

    /// The item with the largest key that is at most `key` and at least `low`.
    pub(super) fn floor(&self, low: &[u8], key: &[u8]) -> IndexResult<Option<Item>> {
        self.one(RANDOM, |sled| sled.range(low..=key).next_back())
    }

    /// The item with the largest key below `key` that is at least `low`.
    pub(super) fn below(&self, low: &[u8], key: &[u8]) -> IndexResult<Option<Item>> {
        self.one(RANDOM, |sled| sled.range(low..key).next_back())
    }

    /// The item with the smallest key that is at least `key` and below `high`.
    pub(super) fn ceiling(&self, key: &[u8], high: &[u8]) -> IndexResult<Option<Item>> {
        self.one(IN_ORDER, |sled| sled.range(key..high).next())
    }

    /// The item with the smallest key that is above `key` and below `high`.
    pub(super) fn above(&self, key: &[u8], high: &[u8]) -> IndexResult<Option<Item>> {
        let mut next = Vec::with_capacity(key.len() + 1);
        next.extend_from_slice(key);
        next.push(0);
        self.ceiling(&next, high)
    }

    /// Hands all items whose keys begin with `prefix` to `f`, in order.
    pub(super) fn walk(
        &self,
        prefix: &[u8],
        mut f: impl FnMut(Item) -> IndexResult<()>,
    ) -> IndexResult<()> {
        let mut item = self.one(IN_ORDER, |sled| sled.range(prefix..).next())?;
        while let Some((key, value)) = item.filter(|(key, _)| key.starts_with(prefix)) {
            let after = (Bound::Excluded(key.clone()), Bound::Unbounded);
            f((key, value))?;
            item = self.one(IN_ORDER, |sled| sled.range::<sled::IVec, _>(after).next())?;
        }
        Ok(())
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Closes sled, lets `f` work on its files, and goes on with what `f` opened. Nobody reads or writes meanwhile.
    /// After an error of `f` it never answers again.
    pub(super) fn reopen_after(
        &self,
        f: impl FnOnce() -> Result<sled::Db, String>,
    ) -> IndexResult<()> {
        let mut sled = self.sled.write().unwrap_or_else(PoisonError::into_inner);
        *sled = None;
        *sled = Some(f().map_err(|reason| self.fail(IndexError::Unavailable(reason)))?);
        Ok(())
    }

    /// Makes all writes at once.
    pub(super) fn apply(&self, stage: Stage) -> IndexResult<()> {
        let n = stage.writes.len();
        let keys: Vec<_> = stage.writes.keys().cloned().collect();
        let mut batch = sled::Batch::default();
        for (key, value) in stage.writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.guarded(|sled| sled.apply_batch(batch))?;
        for key in keys {
            self.touch(&key, IN_ORDER)?;
        }
        for _ in 0..2 + n / 16 {
            crossbeam_epoch::pin().flush();
        }
        Ok(())
    }

    /// Makes everything applied so far durable.
    pub(super) fn flush(&self) -> IndexResult<()> {
        self.guarded(|sled| sled.flush().map(drop))
    }

    /// Notes that stored bytes are not what was written. The directory is marked so that the next
    /// opening sets it aside.
    pub(super) fn corrupt(&self, what: &str) -> IndexError {
        self.fail(IndexError::Corrupt(what.to_owned()))
    }

    /// Lets the cache count the page of `key` at once; see the head of this module.
    fn touch(&self, key: &[u8], times: usize) -> IndexResult<()> {
        self.guarded(|sled| {
            for _ in 0..times {
                sled.contains_key(key)?;
            }
            Ok(())
        })
    }

    fn one(
        &self,
        touches: usize,
        f: impl FnOnce(&sled::Db) -> Option<sled::Result<Item>>,
    ) -> IndexResult<Option<Item>> {
        let item = self.guarded(|sled| f(sled).transpose())?;
        if let Some((key, _)) = &item {
            self.touch(key, touches)?;
        }
        Ok(item)
    }

    fn guarded<T>(&self, f: impl FnOnce(&sled::Db) -> sled::Result<T>) -> IndexResult<T> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let sled = self.sled.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sled) = &*sled else {
            return Err(self.fail(IndexError::Unavailable("it is closed".to_owned())));
        };
        match catch_unwind(AssertUnwindSafe(|| f(sled))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(sled::Error::Corruption { at, .. })) => {
                Err(self.corrupt(&format!("the engine reports corruption at {at:?}")))
            }
            // A full or failing disk: nothing is known to be wrong with what was written before.
            Ok(Err(error)) => Err(self.fail(IndexError::Unavailable(error.to_string()))),
            Err(_) => Err(self.corrupt("the engine stopped on bytes that it can't read")),
        }
    }

    fn fail(&self, error: IndexError) -> IndexError {
        if let IndexError::Corrupt(what) = &error {
            tracing::error!(dir = %self.dir.display(), what, "the index is damaged");
            // If this fails too, the damage is found again after the next opening.
            let _ = std::fs::write(self.dir.join(DAMAGED), what.as_bytes());
        }
        self.failed.get_or_init(|| error).clone()
    }
}
