//! What drivers want done: when it is done, and what follows.

use std::time::Duration;

use sync_core::{
    engine::Event as EngineEvent,
    ids::SessionId,
    message::{BadChunk, EngineMessage, Message, ObjectMessage},
};
use sync_store::{
    chunks::Doubted,
    driver::{Effect, Job, Lane},
};

use super::{Event, Simulation, home::SimHome, shell, show::show_message, user};

impl Simulation {
    /// Something that a driver wants of others than its disk.
    pub(super) fn effect(&mut self, number: usize, effect: Effect) {
        match effect {
            Effect::Send { session, message } => self.says(number, session, &message),
            Effect::Event(event) => {
                if let EngineEvent::Conflict { .. } = event {
                    self.totals.conflicts += 1;
                }
                self.trace
                    .line(self.now, number, || format!("event {event:?}"));
            }
            Effect::Drained { session } => {
                self.swarm(number, |swarm, now| swarm.handle_drained(session, now));
            }
            Effect::Ban { reason, .. } => {
                self.fail(format!("node {number} bans an honest peer: {reason}"));
            }
            Effect::Restored => {
                self.trace.line(self.now, number, || "restored".into());
                if !self.oracle.index_lost {
                    self.fail(format!("node {number} takes itself for restored"));
                }
            }
            Effect::Opened { notices, rebuilt } => {
                self.trace
                    .step(self.now, number, "opened", &[u8::from(rebuilt)]);
                self.trace
                    .line(self.now, number, || format!("opened, {notices:?}"));
                let node = &mut self.nodes[number];
                node.rebuilds += u64::from(rebuilt);
                node.opened += 1;
                // Whoever broke down in the very first opening has lost nothing by it.
                self.oracle.index_lost |= rebuilt && node.opened > 1;
                self.folder_up(number, true);
            }
            Effect::Closing => {
                self.trace.step(self.now, number, "closing", &[]);
                self.trace.line(self.now, number, || "closing".into());
                if let Some(live) = &mut self.nodes[number].live {
                    live.sessions.clear();
                }
                self.folder_up(number, false);
            }
            Effect::Ended { reason } => {
                self.trace
                    .line(self.now, number, || format!("ended: {reason:?}"));
                self.totals.ended += 1;
                self.stopped(number);
            }
            Effect::Stopped { reason } | Effect::RootLost { reason } => {
                self.trace.line(self.now, number, || reason);
            }
            // What happened while it was away may have gone unseen, as when it is watched anew.
            Effect::RootBack => {
                self.heap.push(self.now, Event::Watch(number, Vec::new()));
            }
            Effect::Took(..) => {}
        }
    }

    fn says(&mut self, number: usize, session: SessionId, message: &Message) {
        self.activity += 1;
        // Asking around for what nobody has doesn't keep the others from resting.
        let asks = |m: &Message| {
            use EngineMessage::{Have, WhoHas};
            matches!(m, Message::Engine(WhoHas(_) | Have(_)))
        };
        if !asks(message) {
            self.active_at = self.now;
        }
        self.totals.messages += 1;
        let bytes = message.encode();
        self.trace.step(self.now, number, "send", &bytes);
        let now = self.now;
        self.trace.line(now, number, || {
            format!("send {session:?} {}", show_message(message))
        });
        self.send(number, session, bytes);
    }

    /// A driver wants a job done: when.
    pub(super) fn plan_job(&mut self, number: usize, job: Job<SimHome>) {
        let run = self.nodes[number].run;
        let slow = self.nodes[number].slow_ms;
        if job.lane() != Lane::Scan && !job.is_housekeeping() {
            self.activity += 1;
            self.active_at = self.now;
        }
        let delay = match job.lane() {
            Lane::Scan => {
                self.scans += 1;
                self.rng.millis(0, 15)
            }
            Lane::Store if self.rng.chance(3) => self.rng.millis(100, 900),
            _ => self.rng.millis(0, slow),
        };
        self.heap
            .push(self.now + delay, Event::Work(number, run, Box::new(job)));
    }

    pub(super) fn work(&mut self, number: usize, job: Job<SimHome>) {
        let (lane, applies, opens) = (job.lane(), job.applies(), job.opens());
        self.trace.step(self.now, number, lane.as_str(), &[]);
        self.trace.line(self.now, number, || format!("{job:?}"));
        let mut dies = (None, None);
        if applies && self.doomed.contains(&number) {
            dies.0 = Some(self.rng.below(30));
        }
        if opens && !self.calm {
            dies.0 = self.rng.chance(10).then(|| self.rng.below(60));
            dies.1 = self.rng.chance(6).then(|| self.rng.below(3));
        }
        let may_race = applies || lane == Lane::Scan;
        if may_race && !self.calm && self.people.chance(6) && self.may_act(number) {
            let op = user::draw(&mut self.people, &self.nodes[number].disk, &self.habits);
            let after = self.people.below(40);
            self.nodes[number].meddle().race = op.map(|op| (after, op));
        }
        let before = self.nodes[number].disk.mutations();
        let done = shell::run(&mut self.nodes[number], job, self.now, dies);
        let raced = {
            let mut meddling = self.nodes[number].meddle();
            meddling.race = None;
            std::mem::take(&mut meddling.raced)
        };
        for (op, effect) in raced {
            self.totals.races += 1;
            self.trace
                .line(self.now, number, || format!("meanwhile: {}", op.show()));
            self.acted(number, &op, &effect);
        }
        if done.died {
            self.doomed.remove(&number);
            match opens {
                true => self.totals.crashes_in_start += 1,
                false => self.totals.crashes_in_apply += 1,
            }
            self.crash(number, true);
            return;
        }
        let mutations = self.nodes[number].disk.mutations();
        if mutations != before {
            self.trace
                .step(self.now, number, "disk", &mutations.to_le_bytes());
            // The others touch what is the daemon's alone.
            if matches!(lane, Lane::Apply | Lane::Door) {
                self.check_disk(number);
            }
        }
        let run = self.nodes[number].run;
        for (after, result) in done.results {
            let event = Event::Result(number, run, Box::new(result));
            self.heap.push(self.now + after, event);
        }
    }

    /// A peer says something to the server of objects.
    pub(super) fn objects(&mut self, number: usize, session: SessionId, message: ObjectMessage) {
        self.activity += 1;
        self.active_at = self.now;
        match message {
            ObjectMessage::BadChunk(BadChunk { hash, .. }) => {
                self.totals.bad_chunks += 1;
                if let Some(live) = &mut self.nodes[number].live {
                    let doubted = live.doubted.entry(session);
                    doubted.or_insert_with(Doubted::none).add(hash, 64);
                }
            }
            ObjectMessage::Cancel(requests) => {
                if let Some(live) = &mut self.nodes[number].live {
                    live.cancelled
                        .extend(requests.iter().map(|r| (session, *r)));
                }
                self.stop_serving(number, session, &requests);
            }
            question => {
                let delay = self.rng.millis(0, self.nodes[number].slow_ms);
                let run = self.nodes[number].run;
                self.heap.push(
                    self.now + delay,
                    Event::Serve(number, run, session, question),
                );
            }
        }
    }

    /// The server of objects answers a request.
    pub(super) fn serve(&mut self, number: usize, session: SessionId, question: &ObjectMessage) {
        self.trace.step(self.now, number, "serve", &[]);
        let now = self.now;
        self.trace.line(now, number, || format!("{question:?}"));
        let served = shell::serve(&self.nodes[number], session, question, self.now);
        if let Some(input) = served.suspects {
            let run = self.nodes[number].run;
            let at = self.now + Duration::from_millis(1);
            self.heap
                .push(at, Event::Input(number, run, Box::new(input)));
        }
        if let Some((session, request, objects)) = served.answer {
            self.answer(number, session, request, objects);
        }
    }
}
