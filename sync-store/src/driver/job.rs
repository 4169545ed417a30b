//! The blocking work of a folder, as plain values: whoever has a thread to spare runs them.
//!
//! A job needs nothing but what it holds. It tells what it finds while it runs, and ends with [`Told::Done`], by
//! which its lane is free again. A job that never tells that, because it panicked, is told of by
//! [`Ticket::broke`].
//!
//! Nothing here touches a root that isn't the folder's: whatever reads or changes the user's tree looks at the
//! mark first.

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use sync_core::{
    disk::{Action, Found, Outcome},
    engine::{Input, ScanWhat},
    fetch::TempJob,
    index::Index as _,
    keys::FolderKeys,
    path::RelPath,
};
use tracing::{debug, info, warn};

use super::{
    FolderIndex as _, Home, Settings,
    open::{self, OpenFolderError, Opened, Parts},
    rebuilds::Rebuilds,
    run_mark::RunMark,
    sweep,
};
use crate::{
    archive::ArchivePolicy,
    fs::{Disk as _, RootState, check_root},
    identity::folder_name,
    scan::{ScanError, ScanEvent},
};

/// Why nothing is scanned after files could not be made durable.
const UNSYNCED: &str = "the disk could not write everything down; check the disk and its cables";
/// Names that can't be synced and are remembered.
const MAX_SKIPPED: usize = 10_000;
/// Hashing that takes longer makes a file a hot one.
const SLOW_HASH: Duration = Duration::from_millis(25);
/// How long answers under way may hold the index when the folder is closed, and how often that is looked at.
const LET_GO: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(5);

/// What a job is about. Jobs of one lane run one after the other, in the order in which they were asked for;
/// those of different lanes don't wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Opens and closes the folder: alone.
    Door,
    /// Looks at the disk.
    Scan,
    /// Changes the disk, prunes the archive.
    Apply,
    /// Verifies and writes chunks into temporaries.
    Write,
    /// Flushes the index, reserves numbers.
    Store,
    /// Removes pages and temporaries that nothing needs.
    Sweep,
}

impl Lane {
    /// All of them, in the order of [`Ord`].
    pub const ALL: [Self; 6] = [
        Self::Door,
        Self::Scan,
        Self::Apply,
        Self::Write,
        Self::Store,
        Self::Sweep,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Scan => "scan",
            Self::Apply => "apply",
            Self::Write => "write",
            Self::Store => "store",
            Self::Sweep => "sweep",
        }
    }
}

/// Something durable to do about numbers or the index.
#[derive(Debug)]
pub(super) enum StoreWork {
    Flush { flush: u64 },
    Reserve { counters: u64, seqs: u64 },
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Work<H: Home> {
    Open {
        home: Arc<H>,
        keys: Box<FolderKeys>,
        settings: Settings,
    },
    Scan {
        scan: u64,
        what: ScanWhat,
    },
    Apply {
        group: u64,
        actions: Vec<Action>,
    },
    /// Give back what a disk error left behind.
    Settle,
    /// Look at the root and tell.
    LookAtRoot,
    /// Drop what is too old from the archive.
    Prune(ArchivePolicy),
    Temps(Vec<TempJob>),
    Store(Vec<StoreWork>),
    Sweep,
    Compact,
    /// Makes the index durable; `spoil`: the next opening must set it aside, and this is when that was done.
    Close {
        spoil: Option<Rebuilds>,
    },
}

/// By which a job and its results are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(super) opening: u64,
    pub(super) lane: Lane,
}

impl Ticket {
    /// What to tell the driver of a job that panicked.
    pub fn broke<H: Home>(self) -> JobResult<H> {
        JobResult {
            ticket: self,
            told: Told::Broke,
        }
    }
}

/// A piece of blocking work.
pub struct Job<H: Home> {
    pub(super) ticket: Ticket,
    pub(super) parts: Option<Arc<Parts<H>>>,
    pub(super) work: Work<H>,
}

impl<H: Home> fmt::Debug for Job<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            Work::Open { .. } => f.write_str("Open"),
            work => work.fmt(f),
        }
    }
}

/// What a job tells.
#[derive(Debug)]
pub struct JobResult<H: Home> {
    pub(super) ticket: Ticket,
    /// What.
    pub told: Told<H>,
}

/// What a job tells.
#[derive(Debug)]
pub enum Told<H: Home> {
    /// How an opening went.
    Opened(Box<Result<Opened<H>, OpenFolderError>>),
    /// Something for the engine.
    Input(Input),
    /// How the root was found.
    Root(RootState),
    /// Looking at these paths took so long.
    Took(Vec<RelPath>, Duration),
    /// Whether a disk error has left something displaced.
    Unsettled(bool),
    /// Numbers can't be reserved.
    NoNumbers(String),
    /// The job is through.
    Done,
    /// The job panicked.
    Broke,
}

impl<H: Home> JobResult<H> {
    /// The lane that it comes from.
    pub fn lane(&self) -> Lane {
        self.ticket.lane
    }

    /// The same job tells something else.
    #[must_use]
    pub fn with(&self, told: Told<H>) -> Self {
        Self {
            ticket: self.ticket,
            told,
        }
    }
}

type Tell<'a, H> = &'a mut dyn FnMut(Told<H>);

impl<H: Home> Job<H> {
    /// By which its results are known.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// The lane that it runs in.
    pub fn lane(&self) -> Lane {
        self.ticket.lane
    }

    /// Whether it changes what the user sees, as far as it knows.
    pub fn applies(&self) -> bool {
        matches!(self.work, Work::Apply { .. })
    }

    /// Whether it opens the folder.
    pub fn opens(&self) -> bool {
        matches!(self.work, Work::Open { .. })
    }

    /// Whether it is done now and then, without being asked for by the engine.
    pub fn is_housekeeping(&self) -> bool {
        use Work::{Close, Compact, LookAtRoot, Open, Prune, Settle, Sweep};
        matches!(
            self.work,
            Open { .. } | Close { .. } | LookAtRoot | Prune(_) | Settle | Sweep | Compact
        )
    }

    /// Does it. Blocks, also in `tell`, if whoever listens wants it to wait.
    pub fn run(self, tell: &mut dyn FnMut(JobResult<H>)) {
        let Self {
            ticket,
            parts,
            work,
        } = self;
        let mut tell = |told| tell(JobResult { ticket, told });
        match (work, parts) {
            (
                Work::Open {
                    home,
                    keys,
                    settings,
                },
                _,
            ) => {
                let opened = open::open(home, *keys, &settings);
                tell(Told::Opened(Box::new(opened)));
            }
            (work, Some(parts)) => run(&parts, work, &mut tell),
            // Only an opening has no parts.
            (_, None) => {}
        }
        tell(Told::Done);
    }
}

fn run<H: Home>(parts: &Arc<Parts<H>>, work: Work<H>, tell: Tell<'_, H>) {
    match work {
        Work::Open { .. } => {}
        Work::Scan { scan, what } => run_scan(parts, scan, &what, tell),
        Work::Apply { group, actions } => {
            // What is hidden comes first: the group may be about the same paths.
            settle(parts, tell);
            apply(parts, group, actions, tell);
            settle(parts, tell);
            tell(Told::Unsettled(parts.applier.is_unsettled()));
        }
        Work::Settle => {
            settle(parts, tell);
            tell(Told::Unsettled(parts.applier.is_unsettled()));
        }
        Work::LookAtRoot => tell(Told::Root(check_root(&*parts.disk, &parts.marker))),
        Work::Prune(policy) => {
            if check_root(&*parts.disk, &parts.marker) == RootState::Ok {
                let pruned = parts.applier.archive().prune(policy, parts.disk.clock_ns());
                debug!(?pruned, "the archive was looked through");
            }
        }
        Work::Temps(jobs) => {
            for job in jobs {
                if let Some(answer) = parts.temps.work(job, &parts.index) {
                    tell(Told::Input(answer));
                }
            }
        }
        Work::Store(all) => run_store(parts, all, tell),
        Work::Sweep => match sweep::sweep(parts, parts.disk.clock_ns()) {
            Ok(Some(swept)) => debug!(?swept, "what nothing needs was swept"),
            Ok(None) => {}
            // Nothing hangs on it: it is tried again the next day.
            Err(error) => warn!(%error, "what nothing needs stays for now"),
        },
        // If it fails, the engine meets that too, and the folder is opened anew.
        Work::Compact => match parts.index.compact() {
            Ok(done) => debug!(done, "the index was to be compacted"),
            Err(error) => warn!(%error, "the index must be opened anew"),
        },
        Work::Close { spoil } => close(parts, spoil.as_ref()),
    }
}

fn run_scan<H: Home>(parts: &Parts<H>, scan: u64, what: &ScanWhat, tell: Tell<'_, H>) {
    let state = check_root(&*parts.disk, &parts.marker);
    let unsynced = parts.applier.is_unsynced().then(|| UNSYNCED.to_owned());
    let mut skipped = Vec::new();
    if let Some(reason) = state.reason().or(unsynced) {
        tell(Told::Root(state));
        let error = Some(reason);
        return tell(Told::Input(Input::ScanDone {
            scan,
            skipped,
            error,
        }));
    }
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
            tell(Told::Input(Input::Scanned { scan, items }));
        }
        ScanEvent::Skipped { path, reason } => {
            if skipped.len() < MAX_SKIPPED {
                skipped.push((path, reason.to_string()));
            }
        }
    };
    let began = Instant::now();
    let result = match what {
        ScanWhat::All => parts.scanner.scan_all(&mut sink, &parts.cancel),
        ScanWhat::Paths(paths) => parts.scanner.scan_paths(paths, &mut sink, &parts.cancel),
    };
    let took = began.elapsed();
    if matches!(what, ScanWhat::Paths(_)) && took > SLOW_HASH && !slow.is_empty() {
        tell(Told::Took(slow, took));
    }
    let error = result.as_ref().err().map(ToString::to_string);
    match result {
        Ok(summary) => debug!(scan, ?summary, ?took, "scanned"),
        Err(ScanError::Cancelled) => {}
        Err(error) => {
            warn!(scan, %error, "a scan broke off; what it didn't reach is left as it is");
            tell(Told::Root(check_root(&*parts.disk, &parts.marker)));
        }
    }
    tell(Told::Input(Input::ScanDone {
        scan,
        skipped,
        error,
    }));
}

/// Gives back what an error of the disk left in `.sync/tmp`, if there is something, and has the engine look at it.
fn settle<H: Home>(parts: &Parts<H>, tell: Tell<'_, H>) {
    let applier = &parts.applier;
    if !applier.is_unsettled() || check_root(&*parts.disk, &parts.marker) != RootState::Ok {
        return;
    }
    match applier.recover() {
        Ok(recovered) => {
            if recovered.left > 0 {
                debug!(
                    left = recovered.left,
                    "displaced files can't be settled yet"
                );
            }
            let paths = recovered.changed();
            if !paths.is_empty() {
                info!(
                    files = paths.len(),
                    "files that a disk error had hidden are back"
                );
                tell(Told::Input(Input::Dirty(paths)));
            }
        }
        Err(error) => debug!(%error, "displaced files can't be settled yet"),
    }
}

/// Carries a group out, unless the root isn't there any more.
fn apply<H: Home>(parts: &Parts<H>, group: u64, actions: Vec<Action>, tell: Tell<'_, H>) {
    let state = check_root(&*parts.disk, &parts.marker);
    let outcomes = if state == RootState::Ok {
        parts.applier.apply(actions)
    } else {
        tell(Told::Root(state));
        // Nothing was changed, and all of it must be looked at again.
        vec![Outcome::Stale; actions.len()]
    };
    tell(Told::Input(Input::Applied { group, outcomes }));
}

fn run_store<H: Home>(parts: &Parts<H>, all: Vec<StoreWork>, tell: Tell<'_, H>) {
    let mut flushes = Vec::new();
    for work in all {
        match work {
            StoreWork::Flush { flush } => flushes.push(flush),
            StoreWork::Reserve { counters, seqs } => {
                let identity = parts.identity.lock();
                let mut identity = identity.unwrap_or_else(PoisonError::into_inner);
                match identity.reserve(counters, seqs) {
                    Ok((counters, seqs)) => {
                        tell(Told::Input(Input::Reserved { counters, seqs }));
                    }
                    Err(error) => tell(Told::NoNumbers(error.to_string())),
                }
            }
        }
    }
    if flushes.is_empty() {
        return;
    }
    // All of them were asked for before this one began.
    let error = parts.index.flush().err().map(|e| e.to_string());
    for flush in flushes {
        let error = error.clone();
        tell(Told::Input(Input::Flushed { flush, error }));
    }
}

/// Makes durable what was committed since the last flush, and waits until nobody reads for peers any more: the
/// index must be closed before it is opened again.
fn close<H: Home>(parts: &Parts<H>, spoil: Option<&Rebuilds>) {
    if let Some(rebuilds) = spoil {
        let id = folder_name(&parts.keys.folder_id());
        if let Err(error) = rebuilds.write(&parts.home.files(), &id) {
            warn!(%error, "how often the index was rebuilt can't be written");
        }
        if let Err(error) = RunMark::spoil(&parts.home.files(), &id) {
            warn!(%error, "the run mark can't be written");
        }
    }
    if let Err(error) = parts.index.flush() {
        warn!(%error, "the index couldn't be flushed at the end");
    }
    let began = Instant::now();
    while Arc::strong_count(&parts.chunks) > 1 && began.elapsed() < LET_GO {
        std::thread::sleep(LOOK);
    }
}

/// Has scans and sweeps break off.
pub(super) fn cancel<H: Home>(parts: &Parts<H>) {
    parts.cancel.store(true, Ordering::Relaxed);
}
