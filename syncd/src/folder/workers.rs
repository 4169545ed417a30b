//! The threads that do a folder's blocking work.
//!
//! | thread | what it does | order |
//! |---|---|---|
//! | scan | looks at the disk | one scan at a time |
//! | apply | changes the disk, prunes the archive | one group at a time, as told |
//! | write | verifies and writes chunks into temporaries | as told |
//! | store | flushes the index, reserves numbers | as told |
//! | sweep | removes pages and temporaries that nothing needs | one sweep at a time |
//!
//! Jobs come by channels; results go back to the folder's actor as [`Back`] messages. How many jobs there can be
//! is bounded by the engine, which waits for results; a scan's findings carry permits besides. A thread that
//! panics tells so, and the folder is opened anew. The threads end when their channels are closed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use actix::{Addr, Message};
use sync_core::{
    disk::{Action, Found},
    engine::{Config, Input, ScanWhat},
    fetch::TempJob,
    index::Index,
    path::RelPath,
};
use sync_store::{
    apply::{Applier, ApplyPolicy},
    archive::ArchivePolicy,
    fs::{Marker, RootDisk, RootState, check_root},
    identity::FolderIdentity,
    scan::{ScanError, ScanEvent, ScanOptions, ScanProgress, Scanner},
    sled_index::SledIndex,
    temps::Temps,
};
use tracing::{debug, warn};

use super::{
    FolderActor, applying,
    open::chunk_seed,
    permits::{Permit, Permits},
    sweep::{self, Sweeper},
};

/// Why nothing is scanned after files could not be made durable.
const UNSYNCED: &str = "the disk could not write everything down; check the disk and its cables";
/// Findings that the engine hasn't taken yet.
const SCAN_BATCHES: usize = 4;
/// Names that can't be synced and are remembered.
const MAX_SKIPPED: usize = 10_000;
/// Hashing that takes longer makes a file a hot one.
const SLOW_HASH: Duration = Duration::from_millis(25);

/// What a thread tells the folder's actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Back {
    /// Something for the engine; the permit is given back when it was taken.
    Input(Box<Input>, Option<Permit>),
    /// How the root was found.
    Root(RootState),
    /// Looking at these paths took so long.
    Took(Vec<RelPath>, Duration),
    /// A thread broke off.
    Died(&'static str),
}

/// A scan to make.
#[derive(Debug)]
pub(super) struct ScanJob {
    pub(super) scan: u64,
    pub(super) what: ScanWhat,
}

/// Something to do for the apply thread.
#[derive(Debug)]
pub(super) enum ApplyJob {
    Group {
        group: u64,
        actions: Vec<Action>,
    },
    Policy(ApplyPolicy),
    /// Drop what is too old from the archive.
    Prune(ArchivePolicy),
    /// Look at the root and tell.
    LookAtRoot,
}

/// Something to do for the store thread.
#[derive(Debug)]
pub(super) enum StoreJob {
    Flush { flush: u64 },
    Reserve { counters: u64, seqs: u64 },
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) index: SledIndex,
    pub(super) disk: Arc<RootDisk>,
    pub(super) temps: Arc<Temps<RootDisk>>,
    pub(super) applier: Arc<Applier<RootDisk>>,
    pub(super) marker: Marker,
}

/// The threads of an open folder.
#[derive(Debug)]
pub(super) struct Workers {
    pub(super) scan: Sender<ScanJob>,
    pub(super) apply: Sender<ApplyJob>,
    pub(super) write: Sender<TempJob>,
    pub(super) store: Sender<StoreJob>,
    pub(super) sweep: Sender<()>,
    pub(super) progress: Arc<ScanProgress>,
    cancel: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What is left of the threads once no more jobs come.
#[derive(Debug)]
pub(super) struct Ending(Vec<JoinHandle<()>>);

impl Ending {
    /// Waits for the threads. Blocks.
    pub(super) fn wait(self) {
        for thread in self.0 {
            // A panic was told already.
            let _ = thread.join();
        }
    }
}

impl Workers {
    /// Starts the threads over an open folder. Its identity goes to the store thread.
    pub(super) fn start(
        parts: &Parts,
        identity: FolderIdentity,
        actor: &Addr<FolderActor>,
    ) -> io::Result<Self> {
        let mut options = ScanOptions::new(chunk_seed(&parts.config.keys));
        // Hashing must not take the whole machine: two threads are past most disks.
        options.threads = options.threads.min(2);
        let scanner = Scanner::new(Arc::clone(&parts.disk), parts.index.clone(), options);
        let (progress, cancel) = (scanner.progress(), Arc::new(AtomicBool::new(false)));
        let (scan, scans) = channel();
        let (apply, applies) = channel();
        let (write, writes) = channel();
        let (store, stores) = channel();
        let mut threads = Vec::new();
        let root = (Arc::clone(&parts.disk), parts.marker);
        let (scan_root, stop) = (root.clone(), Arc::clone(&cancel));
        let placed = Arc::clone(&parts.applier);
        threads.push(spawn("scan", actor, move |to| {
            run_scans(&scanner, &placed, &scans, &scan_root, &stop, to)
        })?);
        let applier = Arc::clone(&parts.applier);
        threads.push(spawn("apply", actor, move |to| {
            applying::run(&applier, &applies, &root, to)
        })?);
        let (temps, index) = (Arc::clone(&parts.temps), parts.index.clone());
        threads.push(spawn("write", actor, move |to| {
            for job in writes {
                if let Some(answer) = temps.work(job, &index) {
                    input(to, answer);
                }
            }
        })?);
        let index = parts.index.clone();
        threads.push(spawn("store", actor, move |to| {
            run_store(&index, identity, &stores, to)
        })?);
        let (sweep, sweeps) = channel();
        let sweeper = Sweeper {
            index: parts.index.clone(),
            temps: Arc::clone(&parts.temps),
            keys: parts.config.keys.clone(),
        };
        let stop = Arc::clone(&cancel);
        threads.push(spawn("sweep", actor, move |_| {
            sweep::run(&sweeper, &sweeps, &stop);
        })?);
        Ok(Self {
            scan,
            apply,
            write,
            store,
            sweep,
            progress,
            cancel,
            threads,
        })
    }

    /// No more jobs; what runs is finished, but for a scan or a sweep, which break off.
    pub(super) fn end(self) -> Ending {
        self.cancel.store(true, Ordering::Relaxed);
        Ending(self.threads)
    }
}

/// Starts a thread that tells when it panics.
fn spawn(
    name: &'static str,
    actor: &Addr<FolderActor>,
    work: impl FnOnce(&Addr<FolderActor>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    struct Watch(&'static str, Addr<FolderActor>);
    impl Drop for Watch {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.1.do_send(Back::Died(self.0));
            }
        }
    }
    let watch = Watch(name, actor.clone());
    std::thread::Builder::new()
        .name(format!("folder-{name}"))
        .spawn(move || work(&watch.1))
}

pub(super) fn input(to: &Addr<FolderActor>, input: Input) {
    to.do_send(Back::Input(Box::new(input), None));
}

fn run_scans(
    scanner: &Scanner<RootDisk, SledIndex>,
    placed: &Applier<RootDisk>,
    jobs: &Receiver<ScanJob>,
    (disk, marker): &(Arc<RootDisk>, Marker),
    cancel: &AtomicBool,
    to: &Addr<FolderActor>,
) {
    let permits = Permits::new(SCAN_BATCHES);
    for ScanJob { scan, what } in jobs {
        let state = check_root(&**disk, marker);
        let unsynced = placed.is_unsynced().then(|| UNSYNCED.to_owned());
        if let Some(reason) = state.reason().or(unsynced) {
            to.do_send(Back::Root(state));
            input(
                to,
                Input::ScanDone {
                    scan,
                    skipped: Vec::new(),
                    error: Some(reason),
                },
            );
            continue;
        }
        let mut skipped = Vec::new();
        let mut slow = Vec::new();
        let mut sink = |event| match event {
            ScanEvent::Items(items) => {
                let hot = items.iter().filter(|item| match &item.found {
                    Found::File { stat, .. } => stat.size > 1 << 20,
                    found => *found == Found::Busy,
                });
                slow.extend(
                    hot.take(64usize.saturating_sub(slow.len()))
                        .map(|item| item.path.clone()),
                );
                let permit = permits.take();
                to.do_send(Back::Input(
                    Box::new(Input::Scanned { scan, items }),
                    Some(permit),
                ));
            }
            ScanEvent::Skipped { path, reason } => {
                if skipped.len() < MAX_SKIPPED {
                    skipped.push((path, reason.to_string()));
                }
            }
        };
        let began = Instant::now();
        let result = match &what {
            ScanWhat::All => scanner.scan_all(&mut sink, cancel),
            ScanWhat::Paths(paths) => scanner.scan_paths(paths, &mut sink, cancel),
        };
        let took = began.elapsed();
        if matches!(what, ScanWhat::Paths(_)) && took > SLOW_HASH && !slow.is_empty() {
            to.do_send(Back::Took(slow, took));
        }
        let error = result.as_ref().err().map(ToString::to_string);
        match result {
            Ok(summary) => debug!(scan, ?summary, ?took, "scanned"),
            Err(ScanError::Cancelled) => {}
            Err(error) => {
                warn!(scan, %error, "a scan broke off; what it didn't reach is left as it is");
                to.do_send(Back::Root(check_root(&**disk, marker)));
            }
        }
        input(
            to,
            Input::ScanDone {
                scan,
                skipped,
                error,
            },
        );
    }
}

fn run_store(
    index: &SledIndex,
    mut identity: FolderIdentity,
    jobs: &Receiver<StoreJob>,
    to: &Addr<FolderActor>,
) {
    for job in jobs {
        match job {
            StoreJob::Flush { flush } => {
                let error = index.flush().err().map(|e| e.to_string());
                input(to, Input::Flushed { flush, error });
            }
            StoreJob::Reserve { counters, seqs } => match identity.reserve(counters, seqs) {
                Ok((counters, seqs)) => input(to, Input::Reserved { counters, seqs }),
                Err(error) => failed(to, &error.to_string()),
            },
        }
    }
    // Whatever was committed since the last flush is kept as well.
    if let Err(error) = index.flush() {
        warn!(%error, "the index couldn't be flushed at the end");
    }
}

/// Without numbers nothing can go on: the folder is opened anew, and says why if that fails too.
fn failed(to: &Addr<FolderActor>, error: &str) {
    warn!(error, "the identity file can't be written");
    to.do_send(Back::Died("store"));
}
