//! The known hosts on the resolver of the operating system.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{Ending, OnStopped, RemoveFolder, Stop, StopReason};
use crate::known_hosts::{HostPort, KnownHosts};
use crate::{Discovered, FolderTag};

/// More than the machine uses, less than a hostile name server may send.
const MAX_TAKEN: usize = 64;

/// What a [`KnownHostsActor`] starts with.
pub struct KnownHostsConfig {
    /// Start of the monotonic time, the same for everything that feeds one
    /// address book.
    pub epoch: Instant,
    /// Hosts by folder; more can be added later.
    pub hosts: Vec<(FolderTag, HostPort)>,
    /// Who is told of candidates.
    pub out: Recipient<Discovered>,
    /// Called once at the end.
    pub on_stopped: Option<OnStopped>,
}

impl fmt::Debug for KnownHostsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownHostsConfig")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Adds a host to a folder.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct AddKnownHost {
    /// The folder.
    pub folder: FolderTag,
    /// The host.
    pub host: HostPort,
}

/// Removes a host from a folder.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct RemoveKnownHost {
    /// The folder.
    pub folder: FolderTag,
    /// The host.
    pub host: HostPort,
}

/// Resolves the names of a folder again now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct RefreshKnownHosts(pub FolderTag);

#[derive(Message)]
#[rtype(result = "()")]
struct Resolved {
    name: String,
    result: Result<Vec<SocketAddr>, String>,
}

/// The actor. See [`KnownHosts`] for what it does.
#[derive(Debug)]
pub struct KnownHostsActor {
    epoch: Instant,
    machine: KnownHosts,
    first: Vec<(FolderTag, HostPort)>,
    out: Recipient<Discovered>,
    ending: Ending,
    timer: Option<SpawnHandle>,
}

impl KnownHostsActor {
    /// An actor to be started.
    #[must_use]
    pub fn new(config: KnownHostsConfig) -> Self {
        Self {
            epoch: config.epoch,
            machine: KnownHosts::new(),
            first: config.hosts,
            out: config.out,
            ending: Ending::new(config.on_stopped),
            timer: None,
        }
    }

    fn add(&mut self, folder: FolderTag, host: HostPort) {
        let now = self.epoch.elapsed();
        if let Err(error) = self.machine.add(folder, host, now) {
            tracing::warn!(%error, "a known host is left out");
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        let now = self.epoch.elapsed();
        self.machine.handle_timeout(now);
        while let Some(resolve) = self.machine.poll_resolve() {
            let actor = ctx.address().downgrade();
            tokio::spawn(async move {
                let result = look_up(&resolve.name).await;
                if let Some(actor) = actor.upgrade() {
                    actor.do_send(Resolved {
                        name: resolve.name,
                        result,
                    });
                }
            });
        }
        while let Some(event) = self.machine.poll_event() {
            self.out.do_send(event);
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.machine.next_timeout().map(|at: Duration| {
            let wait = at.saturating_sub(now);
            ctx.run_later(wait, |actor, ctx| actor.pump(ctx))
        });
    }
}

async fn look_up(name: &str) -> Result<Vec<SocketAddr>, String> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => Ok(found.take(MAX_TAKEN).collect()),
        Err(error) => Err(error.to_string()),
    }
}

impl Actor for KnownHostsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for (folder, host) in std::mem::take(&mut self.first) {
            self.add(folder, host);
        }
        self.pump(ctx);
        // Without a timer and with its address held weakly, an actor with
        // nothing to do would end by itself.
        ctx.run_interval(Duration::from_secs(60), |actor, ctx| actor.pump(ctx));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.ending.tell();
    }
}

impl Handler<Resolved> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, resolved: Resolved, ctx: &mut Self::Context) {
        let now = self.epoch.elapsed();
        self.machine
            .handle_resolved(&resolved.name, resolved.result, now);
        self.pump(ctx);
    }
}

impl Handler<AddKnownHost> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, AddKnownHost { folder, host }: AddKnownHost, ctx: &mut Self::Context) {
        self.add(folder, host);
        self.pump(ctx);
    }
}

impl Handler<RemoveKnownHost> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, remove: RemoveKnownHost, ctx: &mut Self::Context) {
        self.machine.remove(remove.folder, &remove.host);
        self.pump(ctx);
    }
}

impl Handler<RemoveFolder> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, RemoveFolder(folder): RemoveFolder, ctx: &mut Self::Context) {
        self.machine.remove_folder(folder);
        self.pump(ctx);
    }
}

impl Handler<RefreshKnownHosts> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, refresh: RefreshKnownHosts, ctx: &mut Self::Context) {
        let now = self.epoch.elapsed();
        self.machine.refresh(refresh.0, now);
        self.pump(ctx);
    }
}

impl Handler<Stop> for KnownHostsActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.ending.reason = StopReason::Asked;
        ctx.stop();
    }
}
