//! The steps of a driver: from one stage to the next, and what the engine wants.

use std::sync::Arc;

use sync_core::{
    engine::{Engine, Input, Output},
    index::IndexError,
    time::Now,
};

use super::{job::StoreWork, *};

impl<H: Home> Driver<H> {
    pub(super) fn begin_opening(&mut self) {
        self.stage = Stage::Opening;
        self.opening += 1;
        let work = Work::Open {
            home: Arc::clone(&self.home),
            keys: Box::new(self.keys.clone()),
            settings: self.settings,
        };
        self.lane(Lane::Door).waiting.push_back(work);
    }

    pub(super) fn opened(&mut self, result: Result<Opened<H>, OpenFolderError>, now: Now) {
        let opened = match (&mut self.stage, result) {
            (Stage::Opening, Ok(opened)) => opened,
            // It was stopped meanwhile.
            (Stage::Closing { parts, .. }, Ok(opened)) => {
                *parts = Some(Arc::new(opened.parts));
                return;
            }
            (Stage::Opening, Err(OpenFolderError::Root { reason, remedy })) => {
                self.effects.push_back(Effect::Stopped {
                    reason: reason.clone(),
                });
                let again = now.mono + LOOK_AGAIN;
                self.stage = Stage::Lost {
                    reason,
                    remedy,
                    again,
                };
                return;
            }
            (_, Err(error)) => return self.close(Then::End(Some(error.to_string()))),
            (_, Ok(_)) => return,
        };
        let Opened {
            mut config,
            parts,
            notices,
            rebuilt,
            rebuilds,
        } = opened;
        self.rebuilds = rebuilds;
        // The user may have changed these while the folder was being opened.
        config.paused = self.settings.paused;
        config.rescan_s = self.settings.rescan_s;
        parts.applier.set_policy(self.settings.policy);
        let parts = Arc::new(parts);
        let engine = match Engine::new(config, parts.index.clone(), now) {
            Ok(engine) => engine,
            Err(error) => {
                let then = Then::End(Some(error.to_string()));
                self.stage = Stage::Closing {
                    parts: Some(parts),
                    spoil: None,
                    then,
                };
                return;
            }
        };
        let timers = Timers {
            look: None,
            settle: parts
                .applier
                .is_unsettled()
                .then(|| now.mono + SETTLE_AGAIN),
            prune: now.mono + PRUNE,
            sweep: now.mono + FIRST_SWEEP,
            dirt: now.mono + LOOK_FOR_DIRT,
            garbage: now.mono + LOOK_FOR_GARBAGE,
        };
        self.stage = Stage::Open(Box::new(Open {
            engine,
            parts,
            lost: None,
            timers,
        }));
        self.effects.push_back(Effect::Opened { notices, rebuilt });
        let prune = Work::Prune(self.settings.archive);
        self.lane(Lane::Apply).waiting.push_back(prune);
        self.pump();
    }

    pub(super) fn root_found(&mut self, state: RootState, now: Now) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        match state {
            RootState::Ok => {
                if open.lost.take().is_some() {
                    self.effects.push_back(Effect::RootBack);
                    self.handle(Input::RootFound, now);
                }
            }
            // Another directory stands at the path. Whether it is the right one shows when it is opened.
            RootState::Replaced => self.close(Then::Open),
            state => {
                let reason = state.reason().unwrap_or_default();
                open.timers.look = Some(now.mono + LOOK_AGAIN);
                if open.lost.replace(state.remedy()).is_none() {
                    self.effects.push_back(Effect::RootLost {
                        reason: reason.clone(),
                    });
                }
                self.handle(Input::RootLost { reason }, now);
            }
        }
    }

    /// Takes what the engine wants.
    pub(super) fn pump(&mut self) {
        while let Stage::Open(open) = &mut self.stage {
            let Some(output) = open.engine.poll_output() else {
                break;
            };
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { session, message } => {
                self.effects.push_back(Effect::Send { session, message });
            }
            Output::Ban { session, reason } => {
                self.effects.push_back(Effect::Ban { session, reason });
            }
            Output::Drained { session } => {
                self.effects.push_back(Effect::Drained { session });
            }
            Output::Event(event) => self.effects.push_back(Effect::Event(event)),
            Output::Scan { scan, what } => {
                let work = Work::Scan { scan, what };
                self.lane(Lane::Scan).waiting.push_back(work);
            }
            Output::Apply { group, actions } => {
                let work = Work::Apply { group, actions };
                self.lane(Lane::Apply).waiting.push_back(work);
            }
            // What waits goes together: one trip for all of it.
            Output::Temp(job) => match self.lane(Lane::Write).waiting.back_mut() {
                Some(Work::Temps(jobs)) if jobs.len() < TEMPS_AT_ONCE => jobs.push(job),
                _ => {
                    let work = Work::Temps(vec![job]);
                    self.lane(Lane::Write).waiting.push_back(work);
                }
            },
            Output::Flush { flush } => self.store(StoreWork::Flush { flush }),
            Output::Reserve { counters, seqs } => self.store(StoreWork::Reserve { counters, seqs }),
            Output::IndexFailed(IndexError::Restored) => self.restored(),
            Output::IndexFailed(error) => {
                let remedy = match &error {
                    IndexError::Unavailable(_) => "it is opened again by itself",
                    IndexError::Corrupt(_) | IndexError::Restored => "it is rebuilt from the files",
                };
                self.close(Then::End(Some(format!("{error}; {remedy}"))));
            }
        }
    }

    fn store(&mut self, work: StoreWork) {
        match self.lane(Lane::Store).waiting.back_mut() {
            Some(Work::Store(all)) => all.push(work),
            _ => self
                .lane(Lane::Store)
                .waiting
                .push_back(Work::Store(vec![work])),
        }
    }

    /// The index is older than what peers know of us: it is set aside and rebuilt, at once.
    fn restored(&mut self) {
        self.effects.push_back(Effect::Restored);
        if self.rebuilds.add(self.unix_s) {
            let spoil = Some(self.rebuilds.clone());
            return self.close_and(Then::Open, spoil);
        }
        let error = IndexError::Restored;
        self.close(Then::End(Some(format!(
            "{error}, again and again though it was rebuilt from the files; it isn't rebuilt more often within a day"
        ))));
    }

    /// Takes the open folder apart: no more jobs; what runs is finished, but for a scan or a sweep, which break
    /// off.
    pub(super) fn close(&mut self, next: Then) {
        self.close_and(next, None);
    }

    /// As [`Self::close`]; `spoil`: the index must be set aside, and this is when that was done.
    fn close_and(&mut self, next: Then, spoil: Option<Rebuilds>) {
        match &mut self.stage {
            Stage::Closing { then, .. } => {
                // An end is for good, and the first reason counts.
                if matches!(then, Then::Open) {
                    *then = next;
                }
                return;
            }
            Stage::Ended => return,
            _ => {}
        }
        for queue in &mut self.lanes {
            queue.waiting.clear();
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let parts = match stage {
            Stage::Open(open) => {
                let Open { engine, parts, .. } = *open;
                drop(engine);
                job::cancel(&parts);
                self.effects.push_back(Effect::Closing);
                Some(parts)
            }
            _ => None,
        };
        self.stage = Stage::Closing {
            parts,
            spoil,
            then: next,
        };
        self.go_on_closing();
    }

    /// Once nothing runs any more, the index is closed, and then what is to follow follows.
    pub(super) fn go_on_closing(&mut self) {
        let idle = self.lanes.iter().all(|q| !q.busy && q.waiting.is_empty());
        let Stage::Closing { parts, spoil, then } = &mut self.stage else {
            return;
        };
        if !idle {
            return;
        }
        if parts.is_some() {
            let spoil = spoil.take();
            let work = Work::Close { spoil };
            return self.lane(Lane::Door).waiting.push_back(work);
        }
        match std::mem::replace(then, Then::Open) {
            Then::Open => self.begin_opening(),
            Then::End(reason) => {
                self.stage = Stage::Ended;
                self.effects.push_back(Effect::Ended { reason });
            }
        }
    }
}
