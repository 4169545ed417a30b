//! Looking at the disk: what differs from what the index remembers.
//!
//! A [`Scanner`] walks the tree in the order of the index, one directory in memory at a time, and lays both
//! side by side. What looks the same costs a stat; everything else is read and hashed. It tells what it found
//! and changes neither disk nor index. What is missing is told last, and only after it was looked for again.
//! A directory that can't be read, or that lies on another device than it did, says nothing about what was in
//! it: missing is concluded from readable directories only.

mod cursor;
mod device;
mod finish;
mod gone;
mod hash;
mod pool;
mod run;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sync_core::{
    chunk::{ChunkParams, Chunker},
    disk::{DiskKind, ScanItem},
    index::{Index, IndexError},
    path::{PathError, RelPath},
};
use thiserror::Error;

use crate::fs::Disk;
pub use hash::{FileHasher, HashOutcome, Hashed, hash_content};
use run::Run;

/// Most items in one batch.
pub const BATCH_ITEMS: usize = 256;
/// About the most bytes of manifests in one batch.
pub const BATCH_BYTES: usize = 1 << 20;

/// What a scan tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanEvent {
    /// Paths that differ from the index. At most [`BATCH_ITEMS`], and about [`BATCH_BYTES`] of
    /// manifests unless it is one file's.
    Items(Vec<ScanItem>),
    /// A name that can't be synced; what is below is left out too.
    Skipped {
        /// Its path's bytes.
        path: Vec<u8>,
        /// Why.
        reason: PathError,
    },
}

/// Why a scan ended early. Nothing was told to be missing then, unless all else had been told.
#[derive(Debug, Error)]
pub enum ScanError {
    /// The root can't be read.
    #[error("the folder can't be read: {0}")]
    Root(#[source] io::Error),
    /// The root is gone, or another directory is in its place.
    #[error("the folder's directory is not there any more")]
    RootGone,
    /// The index can't answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// It was cancelled.
    #[error("the scan was cancelled")]
    Cancelled,
}

/// What a scan did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanSummary {
    /// Files, symlinks and others seen.
    pub files: u64,
    /// Directories read.
    pub dirs: u64,
    /// Files hashed.
    pub hashed: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Paths found missing.
    pub gone: u64,
    /// Paths that could not be read.
    pub unreadable: u64,
    /// Files that kept changing.
    pub busy: u64,
    /// Sockets, FIFOs and devices.
    pub special: u64,
    /// Names that can't be synced.
    pub skipped: u64,
}

/// How far a scan is. Shared; read it from any thread.
#[derive(Debug, Default)]
pub struct ScanProgress {
    files: AtomicU64,
    bytes: AtomicU64,
    current: Mutex<Option<RelPath>>,
}

impl ScanProgress {
    /// Files looked at so far.
    pub fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Bytes hashed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The directory, or the large file, that is being read.
    pub fn current(&self) -> Option<RelPath> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reset(&self) {
        self.files.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.set_current(None);
    }

    fn set_current(&self, path: Option<&RelPath>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = path.cloned();
    }
}

/// Says whether a path is ignored on this machine. What is below an ignored directory is never asked.
pub type Ignored = dyn Fn(&RelPath, DiskKind) -> bool + Send + Sync;

/// How to scan.
#[derive(Clone)]
pub struct ScanOptions {
    /// The folder's seed for cutting chunks.
    pub seed: u64,
    /// Threads that hash. 0: the caller's does, and everything is told in the order of paths.
    pub threads: usize,
    /// Paths to leave alone: they are neither told nor told to be missing.
    pub ignored: Option<Arc<Ignored>>,
}

impl ScanOptions {
    /// Two threads, or as many as there are processors up to four; nothing ignored.
    pub fn new(seed: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        Self {
            seed,
            threads,
            ignored: None,
        }
    }

    /// Everything in the caller's thread, in a fixed order.
    pub fn inline(seed: u64) -> Self {
        Self {
            threads: 0,
            ..Self::new(seed)
        }
    }
}

impl fmt::Debug for ScanOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanOptions")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Finds out what differs between a disk and an index.
#[derive(Debug)]
pub struct Scanner<D, I> {
    disk: Arc<D>,
    index: I,
    options: ScanOptions,
    chunker: Chunker,
    progress: Arc<ScanProgress>,
}

impl<D: Disk, I: Index + Clone> Scanner<D, I> {
    /// A scanner. It keeps no state between scans but its progress.
    pub fn new(disk: Arc<D>, index: I, options: ScanOptions) -> Self {
        let chunker = Chunker::new(ChunkParams::for_size(0, options.seed));
        Self {
            disk,
            index,
            options,
            chunker,
            progress: Arc::default(),
        }
    }

    /// How far the scan is.
    pub fn progress(&self) -> Arc<ScanProgress> {
        Arc::clone(&self.progress)
    }

    /// How it scans, to be changed between scans.
    pub fn options_mut(&mut self) -> &mut ScanOptions {
        &mut self.options
    }

    /// Looks at everything. `sink` may block, and may change the index.
    ///
    /// # Errors
    ///
    /// See [`ScanError`]. A file or directory that can't be read is no error but an item.
    pub fn scan_all(
        &self,
        sink: &mut dyn FnMut(ScanEvent),
        cancel: &AtomicBool,
    ) -> Result<ScanSummary, ScanError> {
        self.run(sink, cancel, |run| run.walk_root())
    }

    /// Looks at some paths, and at everything below those that are directories. If the index has a
    /// directory where none is any more, everything below it is missing.
    ///
    /// # Errors
    ///
    /// As for [`Scanner::scan_all`].
    pub fn scan_paths(
        &self,
        paths: &[RelPath],
        sink: &mut dyn FnMut(ScanEvent),
        cancel: &AtomicBool,
    ) -> Result<ScanSummary, ScanError> {
        self.run(sink, cancel, |run| run.walk_paths(paths))
    }

    fn run(
        &self,
        sink: &mut dyn FnMut(ScanEvent),
        cancel: &AtomicBool,
        walk: impl FnOnce(&mut Run<'_, D, I>) -> Result<(), ScanError>,
    ) -> Result<ScanSummary, ScanError> {
        self.progress.reset();
        pool::with_workers(self, |pool| {
            let mut run = Run::new(self, sink, cancel, pool);
            walk(&mut run)?;
            run.finish()
        })
    }
}
