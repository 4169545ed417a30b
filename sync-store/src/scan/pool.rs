//! Threads that read and hash files for a scan.

use std::sync::{
    Mutex, PoisonError,
    atomic::Ordering,
    mpsc::{Receiver, Sender, channel},
};

use sync_core::{
    chunk::Chunker,
    disk::{DiskKind, Found, ScanItem},
    index::Index,
    observe::RACY_NS,
    path::RelPath,
};

use super::{ScanProgress, Scanner, hash::FileHasher, hash::HashOutcome};
use crate::{
    apply::trouble::unreadable,
    fs::{Disk, Place},
};

/// Most files given to the workers and not yet told.
const MOST_AHEAD: usize = 256;
/// Files handed to a worker at a time, to save wake-ups.
const HANDFUL: usize = 16;

/// What came of looking at a file.
#[derive(Debug)]
pub(super) enum Looked {
    /// To be told.
    Item(ScanItem),
    /// It isn't there any more.
    Vanished(RelPath),
}

/// Looks at files for one scan, in other threads or right away.
pub(super) struct Pool<'a, D> {
    disk: &'a D,
    progress: &'a ScanProgress,
    inline: FileHasher,
    /// Threads for one large file.
    together: usize,
    workers: Option<(Sender<Vec<RelPath>>, Receiver<Looked>)>,
    handful: Vec<RelPath>,
    ahead: usize,
}

/// Runs a scan with the threads its options ask for.
pub(super) fn with_workers<D: Disk, I: Index + Clone, T>(
    scanner: &Scanner<D, I>,
    scan: impl FnOnce(Pool<'_, D>) -> T,
) -> T {
    let (disk, progress) = (&*scanner.disk, &*scanner.progress);
    let mut pool = Pool {
        disk,
        progress,
        inline: FileHasher::with_chunker(scanner.chunker.clone()),
        together: scanner.options.threads,
        workers: None,
        handful: Vec::new(),
        ahead: 0,
    };
    if scanner.options.threads == 0 {
        return scan(pool);
    }
    let (give, jobs) = channel::<Vec<RelPath>>();
    let (told, results) = channel();
    let jobs = Mutex::new(jobs);
    std::thread::scope(|scope| {
        for _ in 0..scanner.options.threads {
            let (jobs, told) = (&jobs, told.clone());
            let chunker = scanner.chunker.clone();
            scope.spawn(move || work(disk, progress, chunker, jobs, &told));
        }
        drop(told);
        pool.workers = Some((give, results));
        // The pool is dropped when the scan ends, and with it the way to give more jobs.
        scan(pool)
    })
}

fn work<D: Disk>(
    disk: &D,
    progress: &ScanProgress,
    chunker: Chunker,
    jobs: &Mutex<Receiver<Vec<RelPath>>>,
    told: &Sender<Looked>,
) {
    let mut hasher = FileHasher::with_chunker(chunker);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(paths) = job else { return };
        for path in paths {
            let looked = look_at_file(disk, path, &mut hasher, 1, progress);
            if told.send(looked).is_err() {
                return;
            }
        }
    }
}

impl<D: Disk> Pool<'_, D> {
    /// Looks at a file, now or soon; `large` says that all threads shall share it.
    pub(super) fn give(&mut self, path: RelPath, large: bool) -> Option<Looked> {
        if self.workers.is_none() || (large && self.together > 1) {
            self.progress.set_current(Some(&path));
            let threads = self.together;
            return Some(look_at_file(
                self.disk,
                path,
                &mut self.inline,
                threads,
                self.progress,
            ));
        }
        self.ahead += 1;
        self.handful.push(path);
        if self.handful.len() >= HANDFUL {
            self.send();
        }
        None
    }

    fn send(&mut self) {
        let handful = std::mem::take(&mut self.handful);
        if let Some((give, _)) = &self.workers
            && !handful.is_empty()
        {
            // Workers end only when the pool is dropped.
            let _ = give.send(handful);
        }
    }

    /// A result, if there is one; waits for one if too many are out.
    pub(super) fn take(&mut self) -> Option<Looked> {
        if self.ahead >= MOST_AHEAD {
            return self.wait();
        }
        let looked = self.workers.as_ref()?.1.try_recv().ok()?;
        self.ahead -= 1;
        Some(looked)
    }

    /// Waits for a result; `None` when none is out any more.
    pub(super) fn wait(&mut self) -> Option<Looked> {
        self.send();
        if self.ahead == 0 {
            return None;
        }
        let looked = self.workers.as_ref()?.1.recv().ok()?;
        self.ahead -= 1;
        Some(looked)
    }
}

/// Reads and hashes one file.
fn look_at_file<D: Disk>(
    disk: &D,
    path: RelPath,
    hasher: &mut FileHasher,
    threads: usize,
    progress: &ScanProgress,
) -> Looked {
    let now = disk.clock_ns();
    let item = |path, found| {
        Looked::Item(ScanItem {
            path,
            found,
            manifest: Vec::new(),
            chunks: Vec::new(),
        })
    };
    let outcome = disk
        .open(Place::User(&path))
        .and_then(|file| hasher.hash(&file, threads));
    let (stat, hashed) = match outcome {
        Ok(HashOutcome::Steady { stat, hashed }) => (stat, hashed),
        Ok(HashOutcome::Busy) => return item(path, Found::Busy),
        Err(error) => {
            return match disk.stat(Place::User(&path)) {
                Ok(None) => Looked::Vanished(path),
                // It became something else between the stat and the opening.
                Ok(Some(stat)) if stat.kind != DiskKind::File => item(path, Found::Busy),
                _ => item(
                    path,
                    Found::Unreadable {
                        reason: unreadable(&error),
                    },
                ),
            };
        }
    };
    progress.bytes.fetch_add(stat.size, Ordering::Relaxed);
    let racy = stat.mtime_ns.abs_diff(now) <= RACY_NS.unsigned_abs();
    Looked::Item(ScanItem {
        path,
        found: Found::File {
            stat,
            content: hashed.content,
            racy,
        },
        manifest: hashed.pages,
        chunks: hashed.chunks,
    })
}
