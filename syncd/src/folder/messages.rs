//! What a folder's actor can be told, and how it takes it.

use std::sync::Arc;

use actix::prelude::*;
use serde_json::json;
use sync_core::{
    control::{ErrorItem, EventType, FileInfo, Folder},
    engine::{Input, State},
    ids::SessionId,
    index::IndexError,
    message::EngineMessage,
};
use sync_net::{
    Goodbye,
    actor::{Close, PeerActor},
    stream::SessionHandle,
};
use sync_store::{
    actor::{HashingTook, StoreDied, Watched},
    watch::{Dirty, WatchEvent},
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    FolderActor, LOOK_AGAIN, Link, Stage,
    open::{self, OpenFolderError, Opened},
    serve,
    workers::{ApplyJob, Back},
};
use crate::{
    net::{PeerInfo, reader::Object},
    policy::Down,
    wiring::RosterEntry,
};

/// How an opening went.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct OpenResult(pub(super) Result<Box<Opened>, OpenFolderError>);

impl Handler<OpenResult> for FolderActor {
    type Result = ();

    fn handle(&mut self, OpenResult(result): OpenResult, ctx: &mut Self::Context) {
        if self.down.is_some() || !matches!(self.stage, Stage::Opening) {
            return;
        }
        match result {
            Ok(opened) => {
                if let Err(reason) = self.opened(*opened, ctx) {
                    self.end(Down::Failed(reason), ctx);
                }
            }
            Err(OpenFolderError::Root { reason, remedy }) => {
                warn!(folder = %self.entry.name, reason, "stopped until this is settled");
                let data = json!({ "state": State::Stopped.as_str(), "reason": reason });
                self.wires
                    .events
                    .push(EventType::FolderState, Some(&self.entry.name), data);
                self.stage = Stage::Lost {
                    reason,
                    hint: remedy.map(str::to_owned),
                };
                ctx.run_later(LOOK_AGAIN, |actor, ctx| {
                    if matches!(actor.stage, Stage::Lost { .. }) {
                        actor.begin_opening(None, ctx);
                    }
                });
            }
            Err(error) => self.end(Down::Failed(error.to_string()), ctx),
        }
    }
}

/// The threads of a closed folder have ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Closed;

impl Handler<Closed> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: Closed, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Closes the folder: what runs is finished, the index is flushed, then the actor ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopFolder;

impl Handler<StopFolder> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: StopFolder, ctx: &mut Self::Context) {
        self.end(Down::Done, ctx);
    }
}

impl Handler<Back> for FolderActor {
    type Result = ();

    fn handle(&mut self, back: Back, ctx: &mut Self::Context) {
        match back {
            Back::Input(input, permit) => {
                self.handle_input(*input, ctx);
                drop(permit);
            }
            Back::Root(state) => self.root_found(state, ctx),
            Back::Took(paths, took) => {
                if let Stage::Open(open) = &self.stage
                    && let Some(watcher) = &open.watcher
                {
                    watcher.do_send(HashingTook(paths, took));
                }
            }
            Back::Died(thread) => {
                self.end(
                    Down::Failed(format!(
                        "the folder's {thread} thread broke off; see the log"
                    )),
                    ctx,
                );
            }
        }
    }
}

impl Handler<Watched> for FolderActor {
    type Result = ();

    fn handle(&mut self, watched: Watched, ctx: &mut Self::Context) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        let name = &self.entry.name;
        match watched {
            Watched::Saw(WatchEvent::Dirty(Dirty::Paths(paths))) => {
                self.handle_input(Input::Dirty(paths), ctx);
            }
            Watched::Saw(WatchEvent::Dirty(Dirty::All)) => self.handle_input(Input::DirtyAll, ctx),
            Watched::Saw(WatchEvent::Degraded { reason }) => {
                warn!(folder = %name, reason, "changes may be found by scans only");
                open.hint = Some(reason);
            }
            Watched::NotStarted(error) => {
                warn!(folder = %name, %error, "the folder can't be watched; changes are found by scans only");
                open.hint = Some(format!("changes here are found by scans only: {error}"));
            }
            Watched::Died => {
                let reason = "the folder's watcher broke off; see the log".to_owned();
                self.end(Down::Failed(reason), ctx);
            }
        }
    }
}

/// A session with a member stands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerUp {
    pub(crate) info: Arc<PeerInfo>,
    /// For bulk.
    pub(crate) handle: SessionHandle,
    /// For all else.
    pub(crate) actor: Addr<PeerActor>,
    /// What the peer asks for, to be answered from the folder's store.
    pub(crate) requests: serve::Queue,
}

impl Handler<PeerUp> for FolderActor {
    type Result = ();

    fn handle(&mut self, up: PeerUp, ctx: &mut Self::Context) {
        let PeerUp {
            info,
            handle,
            actor,
            requests,
        } = up;
        let Stage::Open(open) = &self.stage else {
            actor.do_send(Close(Goodbye::Busy));
            return;
        };
        requests.serve(
            &self.wires.runtime,
            handle,
            Arc::clone(&info),
            open.reading.clone(),
            ctx.address().downgrade(),
        );
        let (session, peer, level) = (info.session, info.peer, info.level);
        self.sessions.insert(session, Link { info, actor });
        self.handle_input(
            Input::PeerUp {
                session,
                peer,
                level,
            },
            ctx,
        );
    }
}

/// A session is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerDown {
    pub(crate) session: SessionId,
}

impl Handler<PeerDown> for FolderActor {
    type Result = ();

    fn handle(&mut self, PeerDown { session }: PeerDown, ctx: &mut Self::Context) {
        if self.sessions.remove(&session).is_some() {
            self.handle_input(Input::PeerDown { session }, ctx);
        }
    }
}

/// Whoever had the sessions has lost them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AllPeersDown;

impl Handler<AllPeersDown> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: AllPeersDown, ctx: &mut Self::Context) {
        for (session, link) in std::mem::take(&mut self.sessions) {
            link.actor.do_send(Close(Goodbye::Done));
            self.handle_input(Input::PeerDown { session }, ctx);
        }
    }
}

/// Something came from a peer.
#[derive(Debug)]
pub(crate) enum Received {
    /// A control message.
    Message(EngineMessage),
    /// Objects of answers.
    Objects(Vec<Object>),
}

/// Something came from a peer. The next is sent when this has been handled.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromPeer {
    pub(crate) session: SessionId,
    pub(crate) received: Received,
}

impl Handler<FromPeer> for FolderActor {
    type Result = ();

    fn handle(&mut self, FromPeer { session, received }: FromPeer, ctx: &mut Self::Context) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        match received {
            Received::Message(message) => {
                self.handle_input(Input::Message { session, message }, ctx)
            }
            Received::Objects(objects) => {
                for (request, index, object) in objects {
                    self.handle_input(
                        Input::Object {
                            session,
                            request,
                            index,
                            object,
                        },
                        ctx,
                    );
                }
            }
        }
    }
}

/// What went wrong when a peer was served.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ServeTrouble {
    /// These paths don't hold what the index says.
    Suspects(serve::Suspects),
    /// The index can't answer.
    Index(IndexError),
}

impl Handler<ServeTrouble> for FolderActor {
    type Result = ();

    fn handle(&mut self, trouble: ServeTrouble, ctx: &mut Self::Context) {
        match trouble {
            ServeTrouble::Suspects(paths) => self.handle_input(Input::Dirty(paths), ctx),
            ServeTrouble::Index(error) => self.end(Down::Failed(error.to_string()), ctx),
        }
    }
}

impl Handler<StoreDied> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: StoreDied, ctx: &mut Self::Context) {
        if matches!(self.stage, Stage::Open(_)) {
            let reason = "the folder's chunk store broke off; see the log".to_owned();
            self.end(Down::Failed(reason), ctx);
        }
    }
}

/// What the user wants of a folder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FolderAsk {
    /// Its state.
    Report(oneshot::Sender<Folder>),
    /// What is stuck.
    Errors(oneshot::Sender<Vec<ErrorItem>>),
    /// Why a file is as it is.
    File(Vec<u8>, oneshot::Sender<Result<FileInfo, IndexError>>),
    /// Let it rest, or go on.
    Pause(bool),
    /// Look at everything.
    Rescan,
    /// Let held deletions go.
    Approve,
    /// Fetch them back.
    Reject,
    /// It has other settings.
    Tune(Box<RosterEntry>),
}

impl Handler<FolderAsk> for FolderActor {
    type Result = ();

    fn handle(&mut self, ask: FolderAsk, ctx: &mut Self::Context) {
        match ask {
            // Whoever asked may have gone.
            FolderAsk::Report(reply) => drop(reply.send(self.report())),
            FolderAsk::Errors(reply) => drop(reply.send(self.errors())),
            FolderAsk::File(path, reply) => drop(reply.send(self.file(&path))),
            FolderAsk::Pause(paused) => {
                self.entry.paused = paused;
                self.handle_input(Input::Pause(paused), ctx);
            }
            FolderAsk::Rescan => self.handle_input(Input::DirtyAll, ctx),
            FolderAsk::Approve => self.handle_input(Input::Approve, ctx),
            FolderAsk::Reject => self.handle_input(Input::Reject, ctx),
            FolderAsk::Tune(entry) => {
                let (old, new) = (&self.entry.settings, &entry.settings);
                let anew = old.rescan != new.rescan || old.min_free != new.min_free;
                self.entry = *entry;
                match &self.stage {
                    // These are fixed when the folder is opened.
                    Stage::Open(_) if anew => self.reopen(ctx),
                    Stage::Open(open) => {
                        let _ = open
                            .workers
                            .apply
                            .send(ApplyJob::Policy(open::policy(&self.entry)));
                    }
                    _ => {}
                }
            }
        }
    }
}
