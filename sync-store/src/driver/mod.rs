//! The driver of one folder: opens it, carries out what its engine wants, and closes it.
//!
//! It is a machine without IO, clock or chance of its own: **jobs out, results in**. [`Driver::poll_job`] gives
//! blocking work as plain values ([`Job`]), which the daemon runs on its pools and a simulation one by one in
//! virtual time; what they tell comes back by [`Driver::handle_result`]. What concerns peers, people and the
//! watcher leaves as an [`Effect`].
//!
//! ```text
//!   Opening ──opened──► Open ──index failed, root replaced, stop──► Closing ──► Opening, or Ended
//!      ▲ │ root isn't there                                            ▲
//!      │ ▼                                                             │ stop
//!     Lost ────────────────────────────────────────────────────────────┘
//! ```
//!
//! | part | what it does |
//! |---|---|
//! | [`Home`] | where root, small files and index come from |
//! | `open` | opens them, in the order that keeps every promise |
//! | [`RunMark`] | whether identity and index belong together |
//! | `job` | the blocking work |
//! | `sweep` | removes what nothing needs any more |
//!
//! Jobs are ordered in [`Lane`]s: at most one of each is under way, so that there is order where order matters,
//! and a long scan doesn't hold up what is applied. The driver owns the engine, which reads the index: its
//! methods block as long as that takes, but for nothing else. It never touches the disk itself.

mod home;
mod job;
mod machine;
mod open;
mod rebuilds;
mod run_mark;
mod stages;
mod sweep;

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use sync_core::{
    engine::{Engine, Event},
    ids::SessionId,
    keys::FolderKeys,
    message::Message,
    path::RelPath,
};

pub use home::{FolderIndex, Home};
pub use job::{Job, JobResult, Lane, Ticket, Told};
pub use open::{OpenFolderError, Opened, Parts};
pub use run_mark::RunMark;

use self::{job::Work, rebuilds::Rebuilds};
use crate::{apply::ApplyPolicy, archive::ArchivePolicy, fs::RootState, scan::ScanProgress};

/// How often a missing root is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often it is tried to settle what a disk error left behind.
const SETTLE_AGAIN: Duration = Duration::from_secs(5);
/// How often the archive is looked through.
const PRUNE: Duration = Duration::from_secs(6 * 3600);
/// How long after an opening it is swept for the first time: not while everything else begins.
const FIRST_SWEEP: Duration = Duration::from_secs(600);
/// How often it is swept after that.
const SWEEP: Duration = Duration::from_secs(24 * 3600);
/// How often it is asked whether there is more to sweep than that.
const LOOK_FOR_DIRT: Duration = Duration::from_secs(600);
/// How often it is looked whether the index is to be compacted.
const LOOK_FOR_GARBAGE: Duration = Duration::from_secs(60);
/// Pieces of work on temporaries in one job.
const TEMPS_AT_ONCE: usize = 64;

/// What the user chose for a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Time between full scans, in seconds.
    pub rescan_s: u64,
    /// The folder rests.
    pub paused: bool,
    /// For what is applied.
    pub policy: ApplyPolicy,
    /// For what is replaced and deleted.
    pub archive: ArchivePolicy,
    /// Threads that hash beside the one that scans; 0: everything in the order of paths.
    pub hash_threads: usize,
}

/// What concerns others than the folder's disk.
#[derive(Debug)]
pub enum Effect {
    /// The folder is open: sessions may begin, and the root must be watched. `rebuilt`: its index is a new one in
    /// the place of an old one.
    Opened {
        /// What people should hear of.
        notices: Vec<String>,
        /// See above.
        rebuilt: bool,
    },
    /// The folder can't be opened until this is settled.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The folder is being closed: sessions end, and what was taken of its [`Parts`] must be let go of.
    Closing,
    /// The folder is closed for good. With a reason, something failed, and it may be opened anew.
    Ended {
        /// Why.
        reason: Option<String>,
    },
    /// The root is gone: nothing is touched until it is back.
    RootLost {
        /// Why.
        reason: String,
    },
    /// The root is back: it must be watched anew.
    RootBack,
    /// Peers know more of us than the index does, so it is an old one: it is rebuilt from the files.
    Restored,
    /// Send a control message.
    Send {
        /// Where.
        session: SessionId,
        /// What.
        message: Message,
    },
    /// End a session with a peer that misbehaves.
    Ban {
        /// Which.
        session: SessionId,
        /// Why.
        reason: String,
    },
    /// Nothing is awaited any more on a session that was to be drained.
    Drained {
        /// Which.
        session: SessionId,
    },
    /// Something that people may want to hear of.
    Event(Event),
    /// Looking at these paths took so long: the watcher should leave them alone for a while.
    Took(Vec<RelPath>, Duration),
}

/// How a folder stands.
#[derive(Debug)]
pub enum View<'a, H: Home> {
    /// It is being opened.
    Opening,
    /// The root isn't there.
    Lost {
        /// Why.
        reason: &'a str,
        /// What helps.
        remedy: Option<&'static str>,
    },
    /// It is open.
    Open(&'a Open<H>),
    /// It is being closed, or closed.
    Closing,
}

/// What an open folder works with.
pub struct Open<H: Home> {
    engine: Engine<H::Index>,
    parts: Arc<Parts<H>>,
    /// The root is missing, and this was told to the engine: what helps.
    lost: Option<Option<&'static str>>,
    timers: Timers,
}

impl<H: Home> fmt::Debug for Open<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl<H: Home> Open<H> {
    /// The engine.
    pub fn engine(&self) -> &Engine<H::Index> {
        &self.engine
    }

    /// The parts that others may read by.
    pub fn parts(&self) -> &Arc<Parts<H>> {
        &self.parts
    }

    /// How far the scan is.
    pub fn progress(&self) -> Arc<ScanProgress> {
        self.parts.scanner.progress()
    }

    /// What helps, if the root is lost.
    pub fn remedy(&self) -> Option<&'static str> {
        self.lost.flatten()
    }
}

/// When something is due, on the folder's clock.
#[derive(Debug, Clone, Copy)]
struct Timers {
    look: Option<Duration>,
    settle: Option<Duration>,
    prune: Duration,
    sweep: Duration,
    dirt: Duration,
    garbage: Duration,
}

enum Stage<H: Home> {
    Opening,
    Lost {
        reason: String,
        remedy: Option<&'static str>,
        again: Duration,
    },
    Open(Box<Open<H>>),
    Closing {
        /// Until the last job begins.
        parts: Option<Arc<Parts<H>>>,
        spoil: Option<Rebuilds>,
        then: Then,
    },
    Ended,
}

#[derive(Debug)]
enum Then {
    Open,
    End(Option<String>),
}

/// The jobs of a lane.
struct Queue<H: Home> {
    busy: bool,
    waiting: VecDeque<Work<H>>,
}

impl<H: Home> Default for Queue<H> {
    fn default() -> Self {
        Self {
            busy: false,
            waiting: VecDeque::new(),
        }
    }
}

/// The machine.
pub struct Driver<H: Home> {
    home: Arc<H>,
    keys: FolderKeys,
    settings: Settings,
    stage: Stage<H>,
    opening: u64,
    lanes: [Queue<H>; Lane::ALL.len()],
    effects: VecDeque<Effect>,
    /// When the index was rebuilt because peers knew more of us.
    rebuilds: Rebuilds,
    /// By the wall clock, in seconds since 1970, when something was last handed in.
    unix_s: i64,
}

impl<H: Home> fmt::Debug for Driver<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
