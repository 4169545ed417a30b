//! The folder engine: everything that is decided about one folder.
//!
//! An [`Engine`] is a state machine over an [`Index`]. What happens is told by [`Engine::handle`]; what is
//! to be done is taken with [`Engine::poll_output`] until it has nothing more; [`Engine::next_timeout`] says when
//! [`Input::Tick`] is due. It never blocks on anything but the index, reads no clock and draws no random number.
//!
//! | file | what it decides |
//! |---|---|
//! | `local` | what a scan's findings mean: new versions, adopted ones |
//! | `gone` | what vanished from the disk: deletions, and those held back |
//! | `remote` | what a peer's records mean |
//! | `exchange` | which of our changes a peer is sent, how far both have come |
//! | `work` | which wanted records are worked on, in which order, and by which action |
//! | `expect` | what an action finds on disk, and what becomes of it |
//! | `placed` | which contents of ours may stand somewhere unrecorded |
//! | `structure` | what the shape of the tree demands |
//! | `applied` | what an action's outcome means |
//! | `fetching` | what the fetch scheduler asks of the index, and what it brings |
//! | `in_use` | which contents must not be swept |
//!
//! Invariants. (1) A record is announced only after it is durable. (2) A local fact (stat, content) is set
//! only from what the disk showed. (3) Knowledge covers a change only if the index holds it, holds something
//! newer, or saw it lose. (4) Every action states what it expects on disk. (5) A path is in at most one group. (6) An action begins only
//! after the record that asks for it is durable: what it puts on disk is never taken for a person's work.

mod applied;
mod exchange;
mod expect;
mod fetching;
mod gone;
mod in_use;
mod io;
mod local;
mod placed;
mod remote;
mod restored;
pub mod status;
mod store;
mod structure;
mod work;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

pub use in_use::wanted_contents;
pub use io::{Config, Event, Input, Output, ScanWhat};
pub use restored::is_ahead;
pub use status::{Explanation, FolderStatus, ItemError, PeerStatus, State};

use crate::{
    disk::Action,
    fetch::Fetcher,
    ids::{Generation, SessionId},
    index::{Index, IndexResult},
    manifest::ContentRoot,
    path::RelPath,
    record::{Record, VerifiedRoots},
    time::Now,
    version::Vector,
};

use exchange::Peer;
use store::{Local, Pending, open_stored};

/// How long a racy file is left alone before it is looked at again.
const RACY_RECHECK: Duration = Duration::from_millis(2_100);
/// Longest wait for the end of a burst before work begins.
const BURST_WAIT: Duration = Duration::from_secs(2);

/// One folder's state machine. See the module's documentation.
#[derive(Debug)]
pub struct Engine<I> {
    cfg: Config,
    index: I,
    now: Now,
    out: VecDeque<Output>,
    verified: VerifiedRoots,
    pending: Pending,
    locals: Vec<Local>,
    knowledge: Vector,
    numbering: Generation,
    counter: u64,
    seq: u64,
    reserve_asked: bool,
    /// The last number that former runs gave, as far as the index remembers.
    last_known: u64,
    /// The last counter that former runs gave, likewise.
    last_counter: u64,
    flush: Flush,
    sessions: BTreeMap<SessionId, Peer>,
    scan: Scan,
    work: Work,
    fetcher: Fetcher,
    stuck: BTreeMap<RelPath, Stuck>,
    skipped: Vec<(Vec<u8>, String)>,
    guard: Guard,
    paused: bool,
    lost: Option<String>,
    failed: Option<String>,
    disk_full: Option<(String, Duration)>,
    last_state: Option<State>,
}

/// Which changes are durable.
#[derive(Debug, Default)]
struct Flush {
    /// Number of the flush under way, and the change number it reaches.
    running: Option<(u64, u64)>,
    /// Last flush asked for.
    last: u64,
    /// Change number up to which everything is durable.
    durable: u64,
    /// Something was committed since the last flush began.
    dirty: bool,
}

/// What is being looked at, and what is to be looked at next.
#[derive(Debug, Default)]
struct Scan {
    last: u64,
    running: Option<Running>,
    dirty: BTreeSet<RelPath>,
    all: bool,
    first_done: bool,
    next_full: Duration,
    recheck: BTreeMap<RelPath, Duration>,
    full_runs: u64,
}

#[derive(Debug)]
struct Running {
    scan: u64,
    all: bool,
    /// What was asked for, unless it was everything.
    asked: Vec<RelPath>,
    /// What couldn't be read.
    unread: BTreeSet<RelPath>,
    /// Paths that we changed ourselves meanwhile: what the scan says of them may be old.
    touched: BTreeSet<RelPath>,
    gone: Vec<RelPath>,
}

/// A wanted record that is being worked on.
#[derive(Debug)]
struct Active {
    record: Record,
    action: Option<Action>,
    /// Number of the change that made the record wanted, once there is an action.
    seq: u64,
    /// The file that a rename takes away.
    from: Option<RelPath>,
}

#[derive(Debug, Default)]
struct Work {
    active: BTreeMap<RelPath, Active>,
    ready: VecDeque<RelPath>,
    /// The group on the disk's hands, and every path that it touches.
    group: Option<(u64, Vec<RelPath>)>,
    touched: BTreeSet<RelPath>,
    last_group: u64,
    /// Which files wait for a content that is being fetched.
    waiting: BTreeMap<ContentRoot, BTreeSet<RelPath>>,
    /// Files that a planned rename takes away.
    sources: BTreeSet<RelPath>,
    /// How often everybody was asked for a content that nobody is known to hold.
    asked: BTreeMap<ContentRoot, u32>,
    /// Contents whose temporary is being put in place.
    placing: BTreeSet<ContentRoot>,
    /// Paths that the disk contradicted: not planned again until they were looked at.
    stale: BTreeSet<RelPath>,
    placed: placed::Placed,
    /// How often in a row the disk contradicted the index at a path.
    contradicted: BTreeMap<RelPath, u32>,
    /// Paths whose local source turned out wrong.
    no_local: BTreeSet<RelPath>,
    cursor: work::Cursor,
    dirty: bool,
    /// Since when work waits for the end of a burst.
    waits_since: Option<Duration>,
    next_round: Duration,
}

#[derive(Debug, Clone)]
struct Stuck {
    reason: String,
    /// It is something that is wanted here, not something that can't be read.
    wanted: bool,
    tries: u32,
    next: Duration,
}

/// Counts local deletions over a window of time.
#[derive(Debug, Default)]
struct Guard {
    recent: VecDeque<(Duration, u64)>,
}

impl<I: Index> Engine<I> {
    /// An engine at the start of a run.
    pub fn new(cfg: Config, index: I, now: Now) -> IndexResult<Self> {
        let numbering = store::read_numbering(&index)?.unwrap_or(cfg.numbering);
        let placed = placed::Placed::read(&index)?;
        let mut engine = Self {
            counter: cfg.counters.start,
            seq: cfg.seqs.start,
            knowledge: store::read_knowledge(&index)?,
            fetcher: fetching::new_fetcher(&cfg),
            paused: cfg.paused,
            numbering,
            cfg,
            index,
            now,
            out: VecDeque::new(),
            verified: VerifiedRoots::default(),
            pending: Pending::default(),
            locals: Vec::new(),
            reserve_asked: false,
            last_known: 0,
            last_counter: 0,
            flush: Flush::default(),
            sessions: BTreeMap::new(),
            scan: Scan {
                all: true,
                ..Scan::default()
            },
            work: Work {
                dirty: true,
                placed,
                ..Work::default()
            },
            stuck: BTreeMap::new(),
            skipped: Vec::new(),
            guard: Guard::default(),
            lost: None,
            failed: None,
            disk_full: None,
            last_state: None,
        };
        engine.last_known = engine.last_seq_on_disk()?;
        engine.last_counter = engine.knowledge.counter(engine.cfg.replica);
        engine.flush.durable = engine.last_known;
        engine.write_numbering();
        engine.finish()?;
        Ok(engine)
    }

    /// Takes in what happened. `now` must not go back.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.now = now;
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self.dispatch(input).and_then(|()| self.finish()) {
            self.failed = Some(error.to_string());
            self.out.push_back(Output::IndexFailed(error));
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Duration> {
        let soonest = self
            .stuck
            .values()
            .map(|s| s.next)
            .filter(|t| *t != Duration::MAX)
            .min();
        let recheck = self.scan.recheck.values().min().copied();
        let may_scan = self.scan.running.is_none() && self.scan.full_runs > 0 && self.active_now();
        let full = may_scan.then_some(self.scan.next_full);
        let burst = self
            .sessions
            .values()
            .filter_map(|p| p.burst_since)
            .map(|s| s + BURST_WAIT)
            .filter(|t| *t > self.now.mono)
            .min();
        let progress = self.sessions.values().filter_map(|p| p.progress_due).min();
        let idle = self.work.dirty && self.work.cursor.is_done() && self.may_work();
        let round = idle.then_some(self.work.next_round);
        let full_disk = self.disk_full.as_ref().map(|(_, until)| *until);
        let fetch = self.fetcher.next_timeout();
        let all = [
            soonest, recheck, full, burst, progress, round, full_disk, fetch,
        ];
        all.into_iter()
            .flatten()
            .min()
            .map(|t| t.max(self.now.mono + Duration::from_millis(1)))
    }

    /// The index, for reading.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// The replica that signs our changes now.
    pub fn replica(&self) -> crate::ids::ReplicaId {
        self.cfg.replica
    }

    fn dispatch(&mut self, input: Input) -> IndexResult<()> {
        match input {
            Input::PeerUp {
                session,
                peer,
                level,
            } => self.peer_up(session, peer, level),
            Input::PeerDown { session } => self.peer_down(session),
            Input::Message { session, message } => self.message(session, message),
            Input::Object {
                session,
                request,
                index,
                object,
            } => {
                self.fetcher
                    .handle_object(session, request, index, object, self.now.mono);
                Ok(())
            }
            Input::Dirty(paths) => {
                self.scan.dirty.extend(paths);
                Ok(())
            }
            Input::DirtyAll => {
                self.scan.all = true;
                Ok(())
            }
            Input::Scanned { scan, items } => self.scanned(scan, items),
            Input::ScanDone {
                scan,
                skipped,
                error,
            } => self.scan_done(scan, skipped, error),
            Input::Applied { group, outcomes } => self.applied(group, outcomes),
            Input::Flushed { flush, error } => {
                self.flushed(flush, error);
                Ok(())
            }
            Input::Reserved { counters, seqs } => {
                self.cfg.counters.end = counters;
                self.cfg.seqs.end = seqs;
                self.reserve_asked = false;
                Ok(())
            }
            Input::TempChecked { content, have } => {
                self.fetcher.handle_temp_checked(content, have);
                Ok(())
            }
            Input::CopiedLocal { content, results } => {
                self.fetcher.handle_local(content, results);
                Ok(())
            }
            Input::Written {
                content,
                index,
                ok,
                trouble,
            } => self.written(content, index, ok, trouble),
            Input::RootLost { reason } => {
                self.lost = Some(reason);
                Ok(())
            }
            Input::RootFound => {
                if self.lost.take().is_some() {
                    self.scan.all = true;
                    self.work.dirty = true;
                }
                Ok(())
            }
            Input::Pause(paused) => {
                self.paused = paused;
                if !paused {
                    self.scan.all = true;
                    self.work.dirty = true;
                }
                Ok(())
            }
            Input::Approve => self.approve(),
            Input::Reject => self.reject(),
            Input::Tick => Ok(()),
        }
    }

    /// What every input ends with: make the changes, then see what can be done now.
    fn finish(&mut self) -> IndexResult<()> {
        self.timers();
        self.commit()?;
        self.plan_work()?;
        self.drive_fetch()?;
        self.start_group()?;
        self.commit()?;
        self.start_flush();
        self.start_scan();
        self.ask_all()?;
        self.pump_all()?;
        self.send_progress()?;
        self.reserve();
        self.report_state()?;
        Ok(())
    }

    fn timers(&mut self) {
        let now = self.now.mono;
        self.fetcher.handle_timeout(now);
        let due: Vec<_> = self
            .scan
            .recheck
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(p, _)| p.clone())
            .collect();
        for path in due {
            self.scan.recheck.remove(&path);
            self.scan.dirty.insert(path);
        }
        if self.scan.full_runs > 0 && self.scan.running.is_none() && now >= self.scan.next_full {
            self.scan.all = true;
        }
        if self
            .stuck
            .values()
            .any(|s| s.next <= now && s.next > Duration::ZERO)
        {
            for stuck in self.stuck.values_mut().filter(|s| s.next <= now) {
                stuck.next = Duration::MAX;
            }
            self.work.dirty = true;
        }
        if self
            .disk_full
            .as_ref()
            .is_some_and(|(_, until)| *until <= now)
        {
            self.disk_full = None;
            self.work.dirty = true;
        }
    }

    fn active_now(&self) -> bool {
        !self.paused && self.lost.is_none() && self.failed.is_none()
    }

    fn can_sign(&self) -> bool {
        self.cfg.keys.level().can_write()
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn set_disk_full(&mut self, reason: String) {
        self.disk_full = Some((reason, self.now.mono + Duration::from_secs(10)));
    }

    /// Notes that `path` can't be dealt with now; the pause doubles each time, from 1 s to 10 min.
    fn stick(&mut self, path: &RelPath, reason: String) {
        self.stick_as(path, reason, true);
    }

    fn stick_as(&mut self, path: &RelPath, reason: String, wanted: bool) {
        let tries = self.stuck.get(path).map_or(0, |s| s.tries);
        let pause = Duration::from_secs(1u64 << tries.min(9)).min(Duration::from_secs(600));
        if tries == 0 {
            self.event(Event::ItemFailed {
                path: path.clone(),
                reason: reason.clone(),
            });
        }
        let next = self.now.mono + pause;
        self.stuck.insert(
            path.clone(),
            Stuck {
                reason,
                wanted,
                tries: tries + 1,
                next,
            },
        );
    }
}
