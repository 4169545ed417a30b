//! How a folder's actor takes what it is told.

use std::sync::Arc;

use actix::prelude::*;
use sync_core::engine::Input;
use sync_net::{Goodbye, actor::Close};
use sync_store::{
    actor::{StoreDied, Watched},
    driver::JobResult,
    watch::{Dirty, WatchEvent},
};
use tracing::warn;

use super::{
    FolderActor,
    door::{
        AllPeersDown, FolderAsk, FolderDoor, FromPeer, PeerDown, PeerUp, PeerWay, Received, Way,
    },
    open::{self, OnDisk},
    permits::Permit,
    report::Link,
    serve::{self, ServeTrouble},
};

impl From<Addr<FolderActor>> for FolderDoor {
    fn from(actor: Addr<FolderActor>) -> Self {
        Self {
            up: actor.clone().recipient(),
            down: actor.clone().recipient(),
            ways: actor.clone().recipient(),
            all_down: actor.clone().recipient(),
            from_peer: actor.clone().recipient(),
            asks: actor.recipient(),
        }
    }
}

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
        serve::start(
            &self.wires.runtime,
            requests,
            handle,
            Arc::clone(&info),
            reading,
            ctx.address().recipient().downgrade(),
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

impl Handler<PeerDown> for FolderActor {
    type Result = ();

    fn handle(&mut self, PeerDown { session }: PeerDown, ctx: &mut Self::Context) {
        if self.sessions.remove(&session).is_some() {
            self.handle_input(Input::PeerDown { session }, ctx);
        }
    }
}

impl Handler<PeerWay> for FolderActor {
    type Result = ();

    fn handle(&mut self, PeerWay { session, way }: PeerWay, ctx: &mut Self::Context) {
        let input = match way {
            Way::Use => Input::Prefer { session },
            Way::Lost => Input::Silent { session },
            Way::Drain => Input::Drain { session },
        };
        self.handle_input(input, ctx);
    }
}

impl Handler<AllPeersDown> for FolderActor {
    type Result = ();

    fn handle(&mut self, _: AllPeersDown, ctx: &mut Self::Context) {
        for (session, link) in std::mem::take(&mut self.sessions) {
            link.actor.do_send(Close(Goodbye::Done));
            self.handle_input(Input::PeerDown { session }, ctx);
        }
    }
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
