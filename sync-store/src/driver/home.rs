//! What a driver works with: where a folder's root, its small files and its index come from, behind one trait.

use std::{fmt, io, path::PathBuf, sync::Arc};

use sync_core::{
    ids::Generation,
    index::{Batch, Index, IndexError, IndexResult, MemIndex},
    keys::FolderKeys,
    manifest::ContentRoot,
};

use crate::{
    fs::Disk,
    identity::SmallFiles,
    sled_index::{Compacted, OpenError, Opened, SledIndex, SweepStep},
};

/// The things of one folder on one device.
pub trait Home: fmt::Debug + Send + Sync + 'static {
    /// The folder's root.
    type Disk: Disk + fmt::Debug;
    /// Its index.
    type Index: FolderIndex;
    /// Its small files.
    type Files: SmallFiles;

    /// The small files: identity and run mark.
    fn files(&self) -> Self::Files;
    /// Opens the root.
    ///
    /// # Errors
    ///
    /// Those of the operating system, when there is no such directory.
    fn open_root(&self) -> io::Result<Arc<Self::Disk>>;
    /// Opens the index, or makes one. With the folder's keys one of the version before can be converted.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing was changed then.
    fn open_index(&self, keys: &FolderKeys) -> Result<(Self::Index, Opened), OpenError>;
    /// Moves the index aside, which nobody has open, and tells where it lies now.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    fn set_index_aside(&self) -> io::Result<PathBuf>;
}

/// What a driver asks of an index beyond what the engine does.
pub trait FolderIndex: Index + Clone + fmt::Debug + Send + Sync + 'static {
    /// The run of the daemon that it belongs to; `None` in a fresh one.
    fn generation(&self) -> IndexResult<Option<Generation>>;
    /// Sets the run. Durable after the next flush.
    fn set_generation(&mut self, generation: Generation) -> IndexResult<()>;
    /// Whether a sweep is worth while before its time.
    fn wants_sweep(&self) -> bool;
    /// Begins a sweep of what is stored now. One under way is given up.
    fn begin_sweep(&self);
    /// Takes one step of it; `also` names contents whose pages stay although no file has them, all of them in
    /// the first step.
    fn sweep_step(&self, limit: usize, also: &[ContentRoot]) -> IndexResult<SweepStep>;
    /// Whether it holds so much garbage that a compaction is worth while.
    fn wants_compaction(&self) -> bool {
        false
    }
    /// Takes the garbage away. Gives way to whoever comes to write: whether it was done.
    ///
    /// # Errors
    ///
    /// If the index must be opened anew.
    fn compact(&self) -> IndexResult<bool> {
        Ok(true)
    }
}

impl FolderIndex for SledIndex {
    fn generation(&self) -> IndexResult<Option<Generation>> {
        Self::generation(self)
    }

    fn set_generation(&mut self, generation: Generation) -> IndexResult<()> {
        Self::set_generation(self, generation)
    }

    fn wants_sweep(&self) -> bool {
        Self::wants_sweep(self)
    }

    fn begin_sweep(&self) {
        Self::begin_sweep(self);
    }

    fn sweep_step(&self, limit: usize, also: &[ContentRoot]) -> IndexResult<SweepStep> {
        Self::sweep_step(self, limit, also)
    }

    fn wants_compaction(&self) -> bool {
        Self::wants_compaction(self)
    }

    fn compact(&self) -> IndexResult<bool> {
        let done = Self::compact(self)?;
        if let Some(Compacted { before, after }) = done {
            tracing::info!(before, after, "the index was compacted");
        }
        Ok(done.is_some())
    }
}

/// Name of the fact that holds the run.
const RUN: &[u8] = b"run";

/// An index in memory sweeps all at once.
impl FolderIndex for MemIndex {
    fn generation(&self) -> IndexResult<Option<Generation>> {
        let Some(value) = self.fact(RUN)? else {
            return Ok(None);
        };
        let bytes = value.as_slice().try_into();
        let bytes = bytes.map_err(|_| IndexError::Corrupt("the run is malformed".into()))?;
        Ok(Some(Generation(u64::from_be_bytes(bytes))))
    }

    fn set_generation(&mut self, generation: Generation) -> IndexResult<()> {
        self.commit(Batch {
            facts: vec![(RUN.to_vec(), Some(generation.0.to_be_bytes().to_vec()))],
            ..Batch::default()
        })
    }

    fn wants_sweep(&self) -> bool {
        false
    }

    fn begin_sweep(&self) {}

    fn sweep_step(&self, _: usize, also: &[ContentRoot]) -> IndexResult<SweepStep> {
        Ok(SweepStep {
            removed: self.sweep(also),
            done: true,
        })
    }
}
