//! Compaction: an index that holds much garbage is copied while nobody writes.
//!
//! It owns nothing that lasts. A commit that comes in between wins: the copy is given up and made again another time.

use std::{io, path::Path, sync::atomic::Ordering};

use sync_core::index::{IndexError, IndexResult};

use super::{
    Shared, SledIndex, State,
    db::{Db, Stage},
    holds, key,
    open::{Failure, start, wait_closed},
    rewrite,
    runs::Runs,
};

/// An index below this size is left alone.
const MIN: u64 = 8 << 20;

/// What a compaction brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes on disk before.
    pub before: u64,
    /// Bytes on disk now.
    pub after: u64,
}

impl SledIndex {
    /// Whether it has grown so much since the last compaction that another is worth while: by half. To be asked when
    /// nothing is going on.
    pub fn wants_compaction(&self) -> bool {
        let db = &self.shared.db;
        let Ok(now) = rewrite::size(db.dir()) else {
            return false;
        };
        let last = match db.read(&key::COMPACTED) {
            Ok(Some(bytes)) => (*bytes).try_into().map_or(0, u64::from_be_bytes),
            _ => 0,
        };
        now >= MIN && now / 3 >= last / 2
    }

    /// Copies everything into a fresh database and puts that in the place of the old one. Readers go on meanwhile, and
    /// wait for a moment at the end. `None` if somebody came to write, if the disk has no room for a second copy or
    /// fails: the index is as before then, and it can be tried again later.
    ///
    /// # Errors
    ///
    /// If it can't be opened again; it never answers after that, and is opened anew as after a crash.
    pub fn compact(&self) -> IndexResult<Option<Compacted>> {
        let db = &self.shared.db;
        let next = rewrite::next(db.dir());
        db.flush()?;
        let copied = {
            let state = self.read();
            self.copy(&state, &next)
                .map(|before| (before, state.writes))
        };
        let done = match copied {
            Ok((before, writes)) => {
                let mut state = self.write();
                // The lock counts itself.
                match state.writes == writes + 1 {
                    true => self.swap(&mut state, &next)?.then_some(before),
                    false => None,
                }
            }
            Err(Ended::GaveWay) => None,
            Err(Ended::Failed(reason)) => {
                tracing::warn!(dir = %db.dir().display(), reason, "the index can't be compacted now");
                None
            }
        };
        let Some(before) = done else {
            let _ = rewrite::remove_leftovers(db.dir());
            return Ok(None);
        };
        let after = rewrite::size(db.dir()).map_err(|e| IndexError::Unavailable(e.to_string()))?;
        let mut stage = Stage::default();
        stage.put(key::COMPACTED.to_vec(), after.to_be_bytes().to_vec());
        db.apply(stage)?;
        db.flush()?;
        Ok(Some(Compacted { before, after }))
    }

    /// Puts the copy in the place of the index; whether that was done.
    fn swap(&self, state: &mut State, next: &Path) -> IndexResult<bool> {
        let (db, options) = (&self.shared.db, self.shared.options);
        let dir = db.dir();
        let mut done = false;
        db.reopen_after(|| {
            let replaced = wait_closed(dir)
                .and_then(|()| wait_closed(next))
                .and_then(|()| rewrite::replace(dir));
            done = replaced.is_ok();
            if let Err(error) = replaced {
                tracing::warn!(dir = %dir.display(), %error, "the index can't be replaced by its copy");
            }
            start(dir, options).map_err(|e| match e {
                Failure::Damaged(what) => what,
                Failure::Former(_) => "it has an old format".to_owned(),
                Failure::Other(error) => error.to_string(),
            })
        })?;
        // Whichever of the two it is.
        state.contents = Runs::open(db, key::CONTENTS)?;
        state.manifests.reopen(db)?;
        Ok(done)
    }

    /// Writes the copy, and tells how large the original is.
    fn copy(&self, state: &State, next: &Path) -> Result<u64, Ended> {
        let db = &self.shared.db;
        let io = |e: io::Error| Ended::Failed(e.to_string());
        rewrite::remove_leftovers(db.dir()).map_err(io)?;
        let before = rewrite::size(db.dir()).map_err(io)?;
        if rewrite::room(db.dir()).map_err(io)? < before {
            return Err(Ended::Failed("the disk has no room for a copy".to_owned()));
        }
        std::fs::create_dir_all(next).map_err(io)?;
        let sled = start(next, self.shared.options).map_err(|e| match e {
            Failure::Other(error) => Ended::Failed(error.to_string()),
            _ => Ended::Failed("the copy can't be opened".to_owned()),
        })?;
        let copied = self.copy_into(state, &Db::new(sled, next));
        copied.map_err(|e| match self.is_wanted() {
            true => Ended::GaveWay,
            false => Ended::Failed(e.to_string()),
        })?;
        Ok(before)
    }

    /// Runs are merged on the way, for what merging leaves behind is most of the garbage.
    fn copy_into(&self, state: &State, new: &Db) -> IndexResult<()> {
        let Shared { db, entries, .. } = &*self.shared;
        let runs = [key::CONTENTS, key::PAGE_NUMBERS, key::PLACES];
        rewrite::copy(db, new, |(name, _)| {
            self.give_way()?;
            Ok(!runs.iter().any(|kind| Runs::owns(*kind, name)))
        })?;
        let mut step = || self.give_way();
        let holds = |key: &[u8], _: &[u8]| holds(db, entries, key);
        let check = state.contents.is_stale().then_some(holds);
        state.contents.copy_merged(db, new, &mut step, check)?;
        state.manifests.copy_merged(db, new, &mut step)?;
        new.flush()
    }

    fn is_wanted(&self) -> bool {
        self.shared.wanted.load(Ordering::Relaxed)
    }

    fn give_way(&self) -> IndexResult<()> {
        match self.is_wanted() {
            true => Err(IndexError::Unavailable("somebody writes".to_owned())),
            false => Ok(()),
        }
    }
}

/// Why there is no copy.
enum Ended {
    /// Somebody wants to write.
    GaveWay,
    /// The disk.
    Failed(String),
}
