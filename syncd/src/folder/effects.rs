//! What each of the driver's effects and jobs leads to.

use std::time::Duration;

use actix::{AsyncContext, Context};
use serde_json::json;
use sync_core::{
    control::{EventType, path_text},
    engine::{Event, Input, State},
    ids::SessionId,
    path::RelPath,
};
use sync_net::actor::SendControl;
use sync_store::{
    actor::HashingTook,
    driver::{Effect, Job, Told},
};
use tracing::{debug, info, warn};

use super::{FolderActor, messages::JobTold, open::OnDisk};
use crate::{
    net::door::{OfSession, Verdict},
    policy::Down,
};

impl FolderActor {
    /// Does all that the driver wants, and sets the timer for its next wish.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        loop {
            if let Some(effect) = self.driver.poll_effect() {
                self.effect(effect, ctx);
            } else if let Some(job) = self.driver.poll_job() {
                self.give(job, ctx);
            } else {
                break;
            }
        }
        self.set_timer(ctx);
    }

    /// Has a pool run a job. What it tells comes back as [`JobTold`].
    fn give(&self, job: Job<OnDisk>, ctx: &mut Context<Self>) {
        let (lane, ticket) = (job.lane(), job.ticket());
        let (told, broke) = (ctx.address(), ctx.address());
        let permits = self.permits.clone();
        let run = move || {
            job.run(&mut |result| {
                // A scan finds faster than the engine takes.
                let many = matches!(result.told, Told::Input(Input::Scanned { .. }));
                let permit = many.then(|| permits.take());
                told.do_send(JobTold(result, permit));
            });
        };
        self.wires.pools.run(lane, run, move || {
            broke.do_send(JobTold(ticket.broke(), None))
        });
    }

    /// One timer at most: set anew only if something is due before it. It may fire early, which does no
    /// harm; a busy folder would otherwise set it with every message.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.driver.next_timeout() else {
            return;
        };
        match self.timer {
            Some((armed, _)) if armed <= due => return,
            Some((_, timer)) => {
                ctx.cancel_future(timer);
            }
            None => {}
        }
        let wait = due
            .saturating_sub(self.wires.mono())
            .max(Duration::from_millis(1));
        let timer = ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.driver.handle_timeout(actor.wires.now());
            actor.pump(ctx);
        });
        self.timer = Some((due, timer));
    }

    fn judge(&self, session: SessionId, verdict: Verdict) {
        if let Some(peers) = self.wires.peers.get() {
            peers.verdicts.do_send(OfSession { session, verdict });
        }
    }

    fn effect(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let name = &self.entry.name;
        match effect {
            Effect::Send { session, message } => {
                let Some(link) = self.sessions.get(&session) else {
                    return;
                };
                let bytes = message.encode();
                link.info.count_sent(bytes.len());
                link.actor.do_send(SendControl(bytes));
            }
            Effect::Ban { session, reason } => self.judge(session, Verdict::Ban(reason)),
            Effect::Drained { session } => self.judge(session, Verdict::Drained),
            Effect::Event(event) => self.tell(event),
            Effect::Took(paths, took) => {
                if let Some(watcher) = &self.watcher {
                    watcher.do_send(HashingTook(paths, took));
                }
            }
            Effect::Opened { notices, .. } => self.opened(&notices, ctx),
            Effect::Closing => self.let_go(),
            Effect::Stopped { reason } => {
                warn!(folder = %name, reason, "stopped until this is settled");
                self.tell_stopped(&reason);
            }
            Effect::RootLost { reason } => {
                warn!(folder = %name, reason, "nothing is touched until this is settled");
            }
            Effect::RootBack => {
                info!(folder = %name, "the folder's directory is back");
                self.watch_root(ctx);
            }
            Effect::Restored => {
                warn!(folder = %name, "peers know more of us than the index: it is rebuilt from the files");
            }
            Effect::Ended { reason } => {
                self.down = Some(match reason {
                    None => Down::Done,
                    Some(reason) => {
                        self.tell_stopped(&reason);
                        Down::Failed(reason)
                    }
                });
                actix::ActorContext::stop(ctx);
            }
        }
    }

    fn tell_stopped(&self, reason: &str) {
        let data = json!({ "state": State::Stopped.as_str(), "reason": reason });
        self.wires
            .events
            .push(EventType::FolderState, Some(&self.entry.name), data);
    }

    /// Puts an event into the log that people and programs follow.
    fn tell(&self, event: Event) {
        let name = &self.entry.name;
        let (kind, data) = match event {
            Event::LocalChange { path, what } => (EventType::FileChanged, change(&path, what)),
            Event::RemoteChange { path, what } => (EventType::FileApplied, change(&path, what)),
            Event::Conflict { path, copy } => {
                info!(folder = %name, %path, %copy, "two edits met; both are kept");
                (
                    EventType::Conflict,
                    json!({ "path": text(&path), "copy": text(&copy) }),
                )
            }
            Event::DeletionsHeld { files } => {
                warn!(folder = %name, files, "deletions wait for `syncctl approve` or `syncctl reject`");
                (EventType::Held, json!({ "deletes": files }))
            }
            Event::ItemFailed { path, reason } => {
                debug!(folder = %name, %path, %reason, "stuck");
                let (kind, hint) = (reason.kind(), reason.remedy());
                let reason = reason.to_string();
                (
                    EventType::ItemError,
                    json!({ "path": text(&path), "kind": kind, "reason": reason, "hint": hint }),
                )
            }
            Event::State(state) => {
                let open = self.driver.open();
                let reason = open.and_then(|open| open.engine().status().ok()?.reason);
                debug!(folder = %name, state = state.as_str(), "state");
                let kind = reason.as_ref().map(|reason| reason.kind());
                let reason = reason.map(|reason| reason.to_string());
                (
                    EventType::FolderState,
                    json!({ "state": state.as_str(), "reason": reason, "kind": kind }),
                )
            }
        };
        self.wires.events.push(kind, Some(name), data);
    }
}

fn change(path: &RelPath, what: &str) -> serde_json::Value {
    let (kind, action) = match what {
        "deleted" => ("file", "delete"),
        kind => (kind, "update"),
    };
    json!({ "path": text(path), "kind": kind, "action": action })
}

fn text(path: &RelPath) -> String {
    path_text(path.as_bytes()).0
}
