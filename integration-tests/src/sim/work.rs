//! What engines want done: when it is done, and what follows.

use std::time::Duration;

use sync_core::{
    engine::{Event as EngineEvent, Output},
    ids::{Generation, SessionId},
    index::IndexError,
    message::{EngineMessage, Message, ObjectMessage, Request},
};

use super::{
    Event, Simulation, shell,
    show::{show_message, show_output, work_word},
    user,
};

/// How often it is tried to settle what a disk error left behind.
const SETTLE_AGAIN: Duration = Duration::from_secs(5);

impl Simulation {
    pub(super) fn output(&mut self, number: usize, output: Output) {
        let run = self.nodes[number].run;
        let slow = self.nodes[number].slow_ms;
        if !matches!(output, Output::Event(_) | Output::Scan { .. }) {
            self.activity += 1;
            // Asking around for what nobody has doesn't keep the others from resting.
            let asks = |m: &Message| {
                use EngineMessage::{Have, WhoHas};
                matches!(m, Message::Engine(WhoHas(_) | Have(_)))
            };
            if !matches!(&output, Output::Send { message, .. } if asks(message)) {
                self.active_at = self.now;
            }
        }
        let delay = match &output {
            Output::Send { session, message } => {
                self.totals.messages += 1;
                let bytes = message.encode();
                self.trace.step(self.now, number, "send", &bytes);
                let (session, now) = (*session, self.now);
                self.trace.line(now, number, || {
                    format!("send {session:?} {}", show_message(message))
                });
                self.send(number, session, bytes);
                return;
            }
            Output::Event(event) => {
                if let EngineEvent::Conflict { .. } = event {
                    self.totals.conflicts += 1;
                }
                self.trace
                    .line(self.now, number, || format!("event {event:?}"));
                return;
            }
            Output::Ban { reason, .. } => {
                let reason = reason.clone();
                return self.fail(format!("node {number} bans an honest peer: {reason}"));
            }
            Output::IndexFailed(IndexError::Restored) => {
                if !self.oracle.index_lost {
                    return self.fail(format!("node {number} takes itself for restored"));
                }
                // The index is set aside at the next start.
                let node = &mut self.nodes[number];
                node.durable.run = Some(Generation(node.rng.next()));
                node.durable.next = None;
                return self.crash(number, true);
            }
            Output::IndexFailed(error) => {
                let error = error.to_string();
                return self.fail(format!("node {number}: the index failed: {error}"));
            }
            Output::Scan { .. } => {
                self.scans += 1;
                self.rng.millis(0, 15)
            }
            Output::Flush { .. } if self.rng.chance(3) => self.rng.millis(100, 900),
            Output::Temp(_) => {
                let now = self.now;
                let wait = self.rng.millis(0, slow);
                let Some(live) = &mut self.nodes[number].live else {
                    return;
                };
                live.temps_until = live.temps_until.max(now + wait);
                live.temps_until - now
            }
            _ => self.rng.millis(0, slow),
        };
        self.heap
            .push(self.now + delay, Event::Work(number, run, Box::new(output)));
    }

    pub(super) fn work(&mut self, number: usize, output: Output) {
        let name = work_word(&output);
        let applies = matches!(output, Output::Apply { .. });
        self.trace.step(self.now, number, name, &[]);
        self.trace.line(self.now, number, || show_output(&output));
        let crash_at = (applies && self.doomed.contains(&number)).then(|| self.rng.below(30));
        let may_race = applies || matches!(output, Output::Scan { .. });
        if may_race && !self.calm && self.people.chance(6) && self.may_act(number) {
            let op = user::draw(&mut self.people, &self.nodes[number].disk, &self.habits);
            let after = self.people.below(40);
            self.nodes[number].meddle().race = op.map(|op| (after, op));
        }
        let before = self.nodes[number].disk.mutations();
        let done = shell::work(&mut self.nodes[number], output, self.now, crash_at);
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
        self.done(number, done, applies, before);
    }

    /// A peer says something to the server of objects.
    pub(super) fn objects(&mut self, number: usize, session: SessionId, message: ObjectMessage) {
        self.activity += 1;
        self.active_at = self.now;
        match message {
            ObjectMessage::Request(request) => {
                let delay = self.rng.millis(0, self.nodes[number].slow_ms);
                let run = self.nodes[number].run;
                self.heap.push(
                    self.now + delay,
                    Event::Serve(number, run, session, request),
                );
            }
            ObjectMessage::Cancel(requests) => {
                if let Some(live) = &mut self.nodes[number].live {
                    live.cancelled
                        .extend(requests.iter().map(|r| (session, *r)));
                }
                self.stop_serving(number, session, &requests);
            }
        }
    }

    /// The server of objects answers a request.
    pub(super) fn serve(&mut self, number: usize, session: SessionId, request: &Request) {
        self.trace.step(self.now, number, "serve", &[]);
        let now = self.now;
        self.trace.line(now, number, || format!("{request:?}"));
        let before = self.nodes[number].disk.mutations();
        let done = shell::serve(&self.nodes[number], session, request, self.now);
        self.done(number, done, false, before);
    }

    /// What a disk error left behind is tried to be settled again.
    pub(super) fn settle_again(&mut self, number: usize) {
        self.trace.step(self.now, number, "settle", &[]);
        let before = self.nodes[number].disk.mutations();
        let mut done = shell::Done::default();
        shell::settle_again(&self.nodes[number], self.now, &mut done);
        self.done(number, done, true, before);
    }

    fn done(&mut self, number: usize, done: shell::Done, applies: bool, before: u64) {
        if done.died {
            self.doomed.remove(&number);
            self.totals.crashes_in_apply += 1;
            self.crash(number, true);
            return;
        }
        if self.nodes[number].disk.mutations() != before {
            self.trace.step(
                self.now,
                number,
                "disk",
                &self.nodes[number].disk.mutations().to_le_bytes(),
            );
            if applies {
                self.check_disk(number);
            }
        }
        let run = self.nodes[number].run;
        if done.unsettled && !self.nodes[number].settling {
            self.nodes[number].settling = true;
            self.heap
                .push(self.now + SETTLE_AGAIN, Event::Settle(number, run));
        }
        for (after, input) in done.inputs {
            self.heap
                .push(self.now + after, Event::Input(number, run, Box::new(input)));
        }
        if let Some((session, request, objects)) = done.answer {
            self.answer(number, session, request, objects);
        }
    }
}
