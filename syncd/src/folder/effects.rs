//! What each of the engine's outputs leads to.

use std::time::Duration;

use actix::{AsyncContext, Context};
use serde_json::json;
use sync_core::{
    control::{EventType, path_text},
    engine::{Event, Input, Output},
    index::IndexError,
    path::RelPath,
};
use sync_net::actor::SendControl;
use tracing::{debug, info, warn};

use super::{
    FolderActor, Stage,
    run_mark::RunMark,
    workers::{ApplyJob, ScanJob, StoreJob},
};
use crate::{net::BanPeer, policy::Down};

/// Rebuilds of the index in one run because peers know more of us than we do. Whoever makes us do more isn't
/// to be trusted.
const MAX_REBUILDS: u32 = 3;

impl FolderActor {
    /// Does all that the engine wants, and sets the timer for its next wish.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        while let Stage::Open(open) = &mut self.stage {
            let Some(output) = open.engine.poll_output() else {
                break;
            };
            self.effect(output, ctx);
        }
        self.set_timer(ctx);
    }

    /// One timer at most: set anew only if something is due before it. It may fire early, which does no
    /// harm; a busy folder would otherwise set it with every message.
    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        let Some(due) = open.engine.next_timeout() else {
            return;
        };
        match open.timer {
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
            if let Stage::Open(open) = &mut actor.stage {
                open.timer = None;
                actor.handle_input(Input::Tick, ctx);
            }
        });
        open.timer = Some((due, timer));
    }

    fn effect(&mut self, output: Output, ctx: &mut Context<Self>) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        let workers = &open.workers;
        // A channel is closed only if its thread has panicked, and that is told by the thread.
        match output {
            Output::Send { session, message } => {
                let Some(link) = self.sessions.get(&session) else {
                    return;
                };
                let bytes = message.encode();
                link.info.count_sent(bytes.len());
                link.actor.do_send(SendControl(bytes));
            }
            Output::Ban { session, reason } => {
                if let Some(peers) = self.wires.peers.addr() {
                    peers.do_send(BanPeer { session, reason });
                }
            }
            Output::Scan { scan, what } => drop(workers.scan.send(ScanJob { scan, what })),
            Output::Apply { group, actions } => {
                drop(workers.apply.send(ApplyJob::Group { group, actions }));
            }
            Output::Flush { flush } => drop(workers.store.send(StoreJob::Flush { flush })),
            Output::Reserve { counters, seqs } => {
                drop(workers.store.send(StoreJob::Reserve { counters, seqs }));
            }
            Output::Temp(job) => drop(workers.write.send(job)),
            Output::Event(event) => self.tell(event),
            Output::IndexFailed(IndexError::Restored) => self.restored(ctx),
            Output::IndexFailed(error) => {
                let remedy = match &error {
                    IndexError::Unavailable(_) => "it is opened again by itself",
                    IndexError::Corrupt(_) | IndexError::Restored => "it is rebuilt from the files",
                };
                self.end(Down::Failed(format!("{error}; {remedy}")), ctx);
            }
        }
    }

    /// The index is older than what peers know of us: it is set aside and rebuilt, at once.
    fn restored(&mut self, ctx: &mut Context<Self>) {
        let error = IndexError::Restored;
        if let Err(error) = RunMark::spoil(&self.places.identity, &self.places.id) {
            warn!(%error, "the run mark can't be written");
        }
        self.rebuilds += 1;
        if self.rebuilds > MAX_REBUILDS {
            let reason = format!("{error}, and again after it was rebuilt from the files");
            return self.end(Down::Failed(reason), ctx);
        }
        warn!(folder = %self.entry.name, %error, "the index is rebuilt from the files");
        self.reopen(ctx);
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
                let reason = match &self.stage {
                    Stage::Open(open) => open.engine.status().ok().and_then(|status| status.reason),
                    _ => None,
                };
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
