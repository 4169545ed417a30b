//! What comes into a driver and goes out of it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use sync_core::{engine::Input, keys::FolderKeys, time::Now};

use super::*;

impl<H: Home> Driver<H> {
    /// A driver that is about to open the folder.
    pub fn new(home: H, keys: FolderKeys, settings: Settings) -> Self {
        let mut this = Self {
            home: Arc::new(home),
            keys,
            settings,
            stage: Stage::Opening,
            opening: 0,
            lanes: Default::default(),
            effects: VecDeque::new(),
            rebuilds: Rebuilds::default(),
            unix_s: 0,
        };
        this.begin_opening();
        this
    }

    /// Gives the engine an input. It is lost if the folder isn't open.
    pub fn handle(&mut self, input: Input, now: Now) {
        if let Input::Pause(paused) = &input {
            self.settings.paused = *paused;
        }
        self.unix_s = now.unix_ns.div_euclid(1_000_000_000);
        if let Stage::Open(open) = &mut self.stage {
            open.engine.handle(input, now);
            self.pump();
        }
    }

    /// Takes what a job tells.
    pub fn handle_result(&mut self, result: JobResult<H>, now: Now) {
        let JobResult { ticket, told } = result;
        if ticket.opening != self.opening {
            return;
        }
        match told {
            Told::Opened(result) => self.opened(*result, now),
            Told::Input(input) => self.handle(input, now),
            Told::Root(state) => self.root_found(state, now),
            Told::Took(paths, took) => self.effects.push_back(Effect::Took(paths, took)),
            Told::Unsettled(unsettled) => {
                if let Stage::Open(open) = &mut self.stage {
                    open.timers.settle = unsettled.then(|| now.mono + SETTLE_AGAIN);
                }
            }
            // Without numbers nothing can go on: the folder is opened anew, and says why if that fails too.
            Told::NoNumbers(error) => {
                self.close(Then::End(Some(format!(
                    "the identity file can't be written: {error}"
                ))));
            }
            Told::Done => {
                self.lane(ticket.lane).busy = false;
                self.go_on_closing();
            }
            Told::Broke => {
                self.lane(ticket.lane).busy = false;
                let what = ticket.lane.as_str();
                self.close(Then::End(Some(format!(
                    "the folder's {what} job broke off; see the log"
                ))));
                self.go_on_closing();
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        match &mut self.stage {
            Stage::Lost { again, .. } if *again <= now.mono => self.begin_opening(),
            Stage::Open(open) => {
                let due = |at: Option<Duration>| at.is_some_and(|at| at <= now.mono);
                let timers = &mut open.timers;
                let mut work = Vec::new();
                if due(timers.look) {
                    timers.look = None;
                    work.push((Lane::Apply, Work::LookAtRoot));
                }
                if due(timers.settle) {
                    timers.settle = None;
                    work.push((Lane::Apply, Work::Settle));
                }
                if due(Some(timers.prune)) {
                    timers.prune = now.mono + PRUNE;
                    work.push((Lane::Apply, Work::Prune(self.settings.archive)));
                }
                let mut sweep = due(Some(timers.sweep));
                if sweep {
                    timers.sweep = now.mono + SWEEP;
                }
                if due(Some(timers.dirt)) {
                    timers.dirt = now.mono + LOOK_FOR_DIRT;
                    sweep |= open.parts.index.wants_sweep();
                }
                if sweep {
                    work.push((Lane::Sweep, Work::Sweep));
                }
                if due(Some(timers.garbage)) {
                    timers.garbage = now.mono + LOOK_FOR_GARBAGE;
                    let idle = self.lanes.iter().all(|q| !q.busy && q.waiting.is_empty());
                    if idle && work.is_empty() && open.parts.index.wants_compaction() {
                        work.push((Lane::Sweep, Work::Compact));
                    }
                }
                let tick = due(open.engine.next_timeout());
                for (lane, work) in work {
                    self.lane(lane).waiting.push_back(work);
                }
                if tick {
                    self.handle(Input::Tick, now);
                }
            }
            _ => {}
        }
    }

    /// Takes new settings: those that are fixed when a folder is opened make it open anew.
    pub fn tune(&mut self, settings: Settings) {
        let old = std::mem::replace(&mut self.settings, settings);
        let Stage::Open(open) = &self.stage else {
            return;
        };
        open.parts.applier.set_policy(settings.policy);
        if old.rescan_s != settings.rescan_s || old.policy.min_free != settings.policy.min_free {
            self.close(Then::Open);
        }
    }

    /// Looks through the archive and sweeps now, not when it is time.
    pub fn tidy_up(&mut self) {
        if let Stage::Open(_) = self.stage {
            let prune = Work::Prune(self.settings.archive);
            self.lane(Lane::Apply).waiting.push_back(prune);
            self.lane(Lane::Sweep).waiting.push_back(Work::Sweep);
        }
    }

    /// Closes the folder: what runs is finished, the index is made durable, then it has ended. `reason`: because
    /// something failed.
    pub fn stop(&mut self, reason: Option<String>) {
        self.close(Then::End(reason));
    }

    /// The next job. What it tells goes to [`Driver::handle_result`].
    pub fn poll_job(&mut self) -> Option<Job<H>> {
        let lane = *Lane::ALL.iter().find(|lane| {
            let queue = &self.lanes[**lane as usize];
            !queue.busy && !queue.waiting.is_empty()
        })?;
        let work = self.lane(lane).waiting.pop_front()?;
        self.lane(lane).busy = true;
        let parts = match &mut self.stage {
            Stage::Open(open) => Some(Arc::clone(&open.parts)),
            Stage::Closing { parts, .. } => parts.take(),
            _ => None,
        };
        let opening = self.opening;
        Some(Job {
            ticket: Ticket { opening, lane },
            parts,
            work,
        })
    }

    /// The next effect.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Driver::handle_timeout`] is due, on the folder's clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Lost { again, .. } => Some(*again),
            Stage::Open(open) => {
                let timers = &open.timers;
                let own = [timers.prune, timers.sweep, timers.dirt, timers.garbage].into_iter();
                let now_and_then = [timers.look, timers.settle, open.engine.next_timeout()];
                own.chain(now_and_then.into_iter().flatten()).min()
            }
            _ => None,
        }
    }

    /// How the folder stands.
    pub fn view(&self) -> View<'_, H> {
        match &self.stage {
            Stage::Opening => View::Opening,
            Stage::Lost { reason, remedy, .. } => View::Lost {
                reason,
                remedy: *remedy,
            },
            Stage::Open(open) => View::Open(open),
            Stage::Closing { .. } | Stage::Ended => View::Closing,
        }
    }

    /// The open folder, if it is open.
    pub fn open(&self) -> Option<&Open<H>> {
        match &self.stage {
            Stage::Open(open) => Some(open),
            _ => None,
        }
    }

    /// Where the folder's things come from.
    pub fn home(&self) -> &H {
        &self.home
    }

    pub(super) fn lane(&mut self, lane: Lane) -> &mut Queue<H> {
        &mut self.lanes[lane as usize]
    }
}
