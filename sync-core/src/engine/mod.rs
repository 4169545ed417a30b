//! The folder engine: everything that is decided about one folder.
//!
//! An [`Engine`] is a state machine over an [`Index`]. What happens is told by [`Engine::handle`]; what is
//! to be done is taken with [`Engine::poll_output`] until it has nothing more; [`Engine::next_timeout`] says when
//! [`Input::Tick`] is due. It never blocks on anything but the index, reads no clock and draws no random number.
//!
//! The engine is a few owners, each with its own state, and a thin machine that passes inputs through them. No
//! owner reaches into another's fields:
//!
//! | owner | what it owns |
//! |---|---|
//! | `ledger` | records, knowledge, counters, the numbering of changes, what is durable |
//! | `scans` | what is looked at on disk, and what is to be |
//! | `planner` | wanted records being worked on, and what may stand unrecorded (`placed`) |
//! | `peers` | who is here, what each told us and was told |
//! | `notes` | what is stuck, and why nothing is done |
//! | [`crate::fetch`] | who is asked for which content |
//!
//! The machine's steps, by what they decide:
//!
//! | file | what it decides |
//! |---|---|
//! | `local` | what a scan's findings mean: new versions, adopted ones |
//! | `gone` | what vanished from the disk: deletions, and those held back |
//! | `remote` | what a peer's records mean |
//! | `work` | which wanted records are worked on, in which order, and by which action |
//! | `expect` | what an action finds on disk, and what becomes of it |
//! | `structure` | what the shape of the tree demands |
//! | `applied` | what an action's outcome means |
//! | `exchange`, `telling`, `hearing` | how sessions begin, which of our changes a peer is told, how its changes come in |
//! | `forgetting` | which deletions needn't be remembered any more |
//! | `report` | the folder's state, for people |
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
mod forgetting;
mod gone;
mod hearing;
mod in_use;
mod io;
mod ledger;
mod local;
mod notes;
mod peers;
mod placed;
mod planner;
mod remote;
mod report;
mod scans;
pub mod status;
mod structure;
mod telling;
mod work;

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, time::Duration};

pub use in_use::wanted_contents;
pub use io::{Arrival, Config, Event, Input, Output, ScanWhat};
pub use ledger::is_ahead;
pub use status::{Explanation, FolderStatus, ItemError, PeerStatus, State};

use crate::{
    entry::Entry,
    fetch::{Fetcher, TempJob},
    index::{Index, IndexEntry, IndexError, IndexResult},
    path::RelPath,
    reconcile::{Displacement, displacement},
    record::Record,
    time::Now,
    trouble::Trouble,
    version::Vector,
};

use forgetting::Forgetting;
use gone::Guard;
use ledger::{Ledger, WantSpec};
use notes::Notes;
use peers::Peers;
use placed::Placed;
use planner::Planner;
use scans::Scans;

/// One folder's state machine. See the module's documentation.
#[derive(Debug)]
pub struct Engine<I> {
    now: Now,
    out: VecDeque<Output>,
    ledger: Ledger<I>,
    scans: Scans,
    planner: Planner,
    peers: Peers,
    fetcher: Fetcher,
    guard: Guard,
    notes: Notes,
    forgetting: Forgetting,
}

impl<I: Index> Engine<I> {
    /// An engine at the start of a run.
    pub fn new(cfg: Config, index: I, now: Now) -> IndexResult<Self> {
        let placed = Placed::read(&index)?;
        let ledger = Ledger::new(&cfg, index)?;
        let mut engine = Self {
            now,
            out: VecDeque::new(),
            scans: Scans::new(cfg.rescan_s, cfg.seed),
            planner: Planner::new(placed),
            peers: Peers::new(cfg.seed, ledger.durable()),
            fetcher: Fetcher::new(cfg.seed),
            guard: Guard::default(),
            notes: Notes::new(cfg.paused),
            forgetting: Forgetting::new(now.mono),
            ledger,
        };
        for (record, learned) in engine.ledger.open_later()? {
            engine.understand(record, learned)?;
        }
        engine.finish()?;
        Ok(engine)
    }

    /// Takes in what happened. `now` must not go back.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.now = now;
        if self.notes.has_failed() {
            return;
        }
        if let Err(error) = self.dispatch(input).and_then(|()| self.finish()) {
            self.fail(error);
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Duration> {
        let now = self.now.mono;
        let round = self.planner.next_round().filter(|_| self.may_work());
        let all = [
            self.notes.next_timeout(),
            self.scans.next_timeout(self.notes.active()),
            self.peers.next_timeout(now),
            round,
            self.fetcher.next_timeout(),
            Some(self.forgetting.next_timeout()).filter(|_| self.notes.active()),
        ];
        all.into_iter()
            .flatten()
            .min()
            .map(|t| t.max(now + Duration::from_millis(1)))
    }

    /// The index, for reading.
    pub fn index(&self) -> &I {
        self.ledger.index()
    }

    /// The replica that signs our changes now.
    pub fn replica(&self) -> crate::ids::ReplicaId {
        self.ledger.replica()
    }

    fn dispatch(&mut self, input: Input) -> IndexResult<()> {
        match input {
            Input::PeerUp {
                session,
                peer,
                level,
            } => self.peer_up(session, peer, level),
            Input::PeerDown { session } => self.peer_down(session),
            Input::Prefer { session } => self.prefer(session),
            Input::Silent { session } => {
                self.fetcher.give_up(session);
                Ok(())
            }
            Input::Drain { session } => {
                self.fetcher.drain(session);
                Ok(())
            }
            Input::Message { session, message } => self.message(session, message),
            Input::Objects { session, objects } => {
                for Arrival {
                    request,
                    index,
                    object,
                } in objects
                {
                    self.fetcher
                        .handle_object(session, request, index, object, self.now.mono);
                }
                Ok(())
            }
            Input::Dirty(paths) => {
                self.scans.look_at_each(paths);
                Ok(())
            }
            Input::DirtyAll => {
                self.scans.look_at_all();
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
                self.ledger.reserved(counters, seqs);
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
                self.notes.set_lost(reason);
                Ok(())
            }
            Input::RootFound => {
                if self.notes.root_found() {
                    self.scans.look_at_all();
                    self.planner.walk_again();
                }
                Ok(())
            }
            Input::Pause(paused) => {
                self.notes.set_paused(paused);
                if !paused {
                    self.scans.look_at_all();
                    self.planner.walk_again();
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
        self.match_lists()?;
        self.forget_old()?;
        self.ledger.commit()?;
        self.plan_work()?;
        self.drive_fetch()?;
        self.start_group()?;
        self.ledger.commit()?;
        if let Some(flush) = self.ledger.start_flush() {
            self.out.push_back(Output::Flush { flush });
        }
        if self.notes.active()
            && let Some((scan, what)) = self.scans.begin(self.planner.touched())
        {
            self.out.push_back(Output::Scan { scan, what });
        }
        self.ask_all()?;
        self.pump_all()?;
        self.send_progress()?;
        if let Some((counters, seqs)) = self.ledger.reserve() {
            self.out.push_back(Output::Reserve { counters, seqs });
        }
        self.report_state()
    }

    fn timers(&mut self) {
        let now = self.now.mono;
        self.fetcher.handle_timeout(now);
        self.scans.handle_timeout(now);
        let retry = self.notes.retry_due(now);
        if self.notes.disk_may_have_room(now) || retry {
            self.planner.walk_again();
        }
    }

    fn flushed(&mut self, flush: u64, error: Option<String>) {
        let (ours, own) = self.ledger.flushed(flush, error.is_none());
        if ours && error.is_none() {
            self.peers
                .release(self.ledger.durable(), own, self.now.mono);
        }
        if let Some(reason) = error.filter(|_| ours) {
            self.fail(IndexError::Unavailable(reason));
        }
    }

    fn fail(&mut self, error: IndexError) {
        self.notes.set_failed(error.to_string());
        self.out.push_back(Output::IndexFailed(error));
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Something that is wanted can't be had now: it is told, and tried again later.
    fn stick(&mut self, path: &RelPath, reason: Trouble) {
        self.stick_as(path, reason, true);
    }

    fn stick_as(&mut self, path: &RelPath, reason: Trouble, wanted: bool) {
        let news = self.notes.stick(path, reason, wanted, self.now.mono);
        self.out.extend(news);
    }

    /// Makes a version of our own, of what the disk shows, on top of `past`. `into` is the index entry
    /// that will hold it.
    fn author(&mut self, entry: Entry, past: &Vector, into: IndexEntry) {
        // Nothing else is wanted at this path any more.
        self.drop_work(&entry.path);
        self.ledger.author(entry, past, into, None);
    }

    /// The same of what the disk doesn't show yet.
    fn author_wanted(&mut self, entry: Entry, past: &Vector, into: IndexEntry, want: WantSpec) {
        self.ledger.author(entry, past, into, Some(want));
    }

    /// Forgets the work on `path`, unless it is on the disk's hands already.
    fn drop_work(&mut self, path: &RelPath) {
        if let Some(content) = self.planner.drop_work(path).unwanted {
            self.fetcher.forget(content);
            if content.height > 0 {
                self.out.push_back(Output::Temp(TempJob::Drop { content }));
            }
        }
    }

    /// The action at `path` failed, perhaps after the step that counts: the path is not worked on before
    /// a scan said what stands there.
    fn in_doubt(&mut self, path: RelPath) {
        self.planner.placed_mut().unsure(path.clone());
        self.planner.doubt(path.clone());
        self.scans.look_at(path);
    }

    /// What stands at `path` is known again.
    fn no_doubt(&mut self, path: &RelPath) -> IndexResult<()> {
        match self.planner.placed_mut().forget(path) {
            true => self.write_placed(),
            false => Ok(()),
        }
    }

    /// `want` is about to be superseded by another record of its path.
    fn superseded(&mut self, want: Option<&Record>, next: &Record) -> IndexResult<()> {
        let path = next.path();
        let doubt = self.planner.is_in_doubt(path);
        let Some((want, content)) = want
            .filter(|_| doubt)
            .and_then(|w| Some((w, w.entry.content?)))
        else {
            return Ok(());
        };
        let rival = displacement(Some(want), &want.entry, next) == Displacement::Sibling;
        let rival = rival.then_some(want.entry.author);
        match self.planner.placed_mut().remember(path, content, rival) {
            true => self.write_placed(),
            false => Ok(()),
        }
    }

    fn write_placed(&mut self) -> IndexResult<()> {
        for (name, value) in self.planner.placed().facts()? {
            self.ledger.put_fact(name, value);
        }
        Ok(())
    }
}
