//! What a folder's actor can be told, and how it takes it.

use std::sync::Arc;

use actix::prelude::*;
use sync_core::{
    control::{ErrorItem, FileInfo, Folder},
    engine::{Arrival, Input},
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
    actor::{StoreDied, Watched},
    driver::JobResult,
    watch::{Dirty, WatchEvent},
};
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    FolderActor, Link,
    open::{self, OnDisk},
    permits::Permit,
    serve,
};
use crate::{net::PeerInfo, wiring::RosterEntry};

/// Closes the folder: what runs is finished, the index is flushed, then the actor ends.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopFolder;

impl Handler<StopFolder> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: StopFolder, ctx: &mut Self::Context) {
        self.driver.stop(None);
        self.pump(ctx);
    }
}

/// What a job tells its folder; the permit is given back when it was taken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct JobTold(pub(super) JobResult<OnDisk>, pub(super) Option<Permit>);

impl Handler<JobTold> for FolderActor {
    type Result = ();

    fn handle(&mut self, JobTold(result, permit): JobTold, ctx: &mut Self::Context) {
        self.driver.handle_result(result, self.wires.now());
        self.pump(ctx);
        drop(permit);
    }
}

impl Handler<Watched> for FolderActor {
    type Result = ();

    fn handle(&mut self, watched: Watched, ctx: &mut Self::Context) {
        if self.driver.open().is_none() {
            return;
        }
        let name = &self.entry.name;
        match watched {
            Watched::Saw(WatchEvent::Dirty(Dirty::Paths(paths))) => {
                self.handle_input(Input::Dirty(paths), ctx);
            }
            Watched::Saw(WatchEvent::Dirty(Dirty::All)) => self.handle_input(Input::DirtyAll, ctx),
            Watched::Saw(WatchEvent::Degraded { reason }) => {
                warn!(folder = %name, reason, "changes may be found by scans only");
                self.hint = Some(reason);
            }
            Watched::NotStarted(error) => {
                warn!(folder = %name, %error, "the folder can't be watched; changes are found by scans only");
                self.hint = Some(format!("changes here are found by scans only: {error}"));
            }
            Watched::Died => {
                let reason = "the folder's watcher broke off; see the log".to_owned();
                self.fail(reason, ctx);
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
        let Some(reading) = self.reading.clone() else {
            actor.do_send(Close(Goodbye::Busy));
            return;
        };
        requests.serve(
            &self.wires.runtime,
            handle,
            Arc::clone(&info),
            reading,
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
    Objects(Vec<Arrival>),
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
                self.handle_input(Input::Objects { session, objects }, ctx)
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
            ServeTrouble::Index(error) => self.fail(error.to_string(), ctx),
        }
    }
}

impl Handler<StoreDied> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: StoreDied, ctx: &mut Self::Context) {
        if self.driver.open().is_some() {
            let reason = "the folder's chunk store broke off; see the log".to_owned();
            self.fail(reason, ctx);
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
                self.entry = *entry;
                self.driver.tune(open::settings(&self.entry));
                self.pump(ctx);
            }
        }
    }
}
