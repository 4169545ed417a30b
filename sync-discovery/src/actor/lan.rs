//! The LAN beacon on real sockets.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::WeakAddr;
use actix::prelude::*;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::links::Links;
use super::sockets::{Sockets, Trouble};
use super::{Ending, OnStopped, RemoveFolder, Stop, StopReason};
use crate::lan::wire::MAX_DATAGRAM;
use crate::lan::{BEACON_PORT, LanBeacon, LanConfig, LanStats};
use crate::{Discovered, FolderTag};

const LOOK_AT_INTERFACES: Duration = Duration::from_secs(10);

/// What a [`LanActor`] starts with.
pub struct LanActorConfig {
    /// Start of the monotonic time that expiries are given in; the same for
    /// everything that feeds one address book.
    pub epoch: Instant,
    /// 32 fresh bytes from the operating system.
    pub seed: [u8; 32],
    /// Port where sessions are taken, 0 for none.
    pub port: u16,
    /// UDP port of the beacon, usually [`BEACON_PORT`].
    pub beacon_port: u16,
    /// Names of the interfaces to use; empty for all, loopback included.
    pub bind: Vec<String>,
    /// Folders with their beacon keys; more can be added later.
    pub folders: Vec<(FolderTag, [u8; 32])>,
    /// Who is told of candidates.
    pub out: Recipient<Discovered>,
    /// Called once at the end.
    pub on_stopped: Option<OnStopped>,
}

impl LanActorConfig {
    /// The usual configuration: no folder yet, the usual port, all interfaces.
    #[must_use]
    pub fn new(epoch: Instant, seed: [u8; 32], port: u16, out: Recipient<Discovered>) -> Self {
        Self {
            epoch,
            seed,
            port,
            beacon_port: BEACON_PORT,
            bind: Vec::new(),
            folders: Vec::new(),
            out,
            on_stopped: None,
        }
    }
}

impl fmt::Debug for LanActorConfig {
    /// Without keys and seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanActorConfig")
            .field("port", &self.port)
            .field("beacon_port", &self.beacon_port)
            .field("bind", &self.bind)
            .field("folders", &self.folders.len())
            .finish_non_exhaustive()
    }
}

/// Announces a folder from now on, or with another key.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AddLanFolder {
    /// The folder.
    pub folder: FolderTag,
    /// Its beacon key.
    pub lan_key: [u8; 32],
}

impl fmt::Debug for AddLanFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AddLanFolder").field(&self.folder).finish()
    }
}

/// Announces another port for sessions from now on.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ChangePort(pub u16);

/// Asks how the beacon fares.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "LanStatus")]
pub struct LanStatusQuery;

/// How the beacon fares.
#[derive(Debug, Clone, PartialEq, Eq, MessageResponse)]
pub struct LanStatus {
    /// Names of the interfaces in use.
    pub interfaces: Vec<String>,
    /// What fails at present: where, and the error.
    pub trouble: Vec<(String, String)>,
    /// Counters since the start.
    pub stats: LanStats,
}

/// The actor. See [`LanBeacon`] for what it does.
#[derive(Debug)]
pub struct LanActor {
    epoch: Instant,
    beacon: LanBeacon,
    beacon_port: u16,
    bind: Vec<String>,
    out: Recipient<Discovered>,
    ending: Ending,
    sockets: Option<Sockets>,
    listeners: Vec<JoinHandle<()>>,
    links: Links,
    trouble: Trouble,
    timer: Option<SpawnHandle>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Heard {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl LanActor {
    /// An actor to be started; it opens its sockets then.
    #[must_use]
    pub fn new(config: LanActorConfig) -> Self {
        let LanActorConfig {
            port,
            folders,
            seed,
            ..
        } = config;
        let now = config.epoch.elapsed();
        Self {
            epoch: config.epoch,
            beacon: LanBeacon::new(LanConfig { port, folders }, &seed, now),
            beacon_port: config.beacon_port,
            bind: config.bind,
            out: config.out,
            ending: Ending::new(config.on_stopped),
            sockets: None,
            listeners: Vec::new(),
            links: Links::default(),
            trouble: Trouble::new(),
            timer: None,
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn open(&mut self, ctx: &mut Context<Self>) -> std::io::Result<()> {
        let (sockets, listen) = Sockets::open(self.beacon_port)?;
        for socket in listen {
            let socket = UdpSocket::from_std(socket)?;
            let actor = ctx.address().downgrade();
            self.listeners
                .push(tokio::spawn(listen_on(Arc::new(socket), actor)));
        }
        self.sockets = Some(sockets);
        Ok(())
    }

    fn look_at_interfaces(&mut self) {
        match Links::read(&self.bind) {
            Ok(links) if links != self.links => {
                self.links = links;
                self.trouble.clear();
                let now = self.now();
                self.beacon.handle_interfaces_changed(now);
            }
            Ok(_) => {}
            Err(error) => {
                self.trouble
                    .insert("interfaces".to_owned(), error.to_string());
            }
        }
        if let Some(sockets) = &mut self.sockets {
            sockets.join(&self.links, &mut self.trouble);
        }
    }

    /// Empties the machine and sets the timer for its next wish.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        self.beacon.handle_timeout(now);
        while let Some(transmit) = self.beacon.poll_transmit() {
            if let Some(sockets) = &self.sockets {
                sockets.send(&transmit, &self.links, &mut self.trouble);
            }
        }
        while let Some(candidate) = self.beacon.poll_event() {
            self.out.do_send(Discovered::Found(candidate));
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.beacon.next_timeout().map(|at| {
            let wait = at.saturating_sub(now);
            ctx.run_later(wait, |actor, ctx| actor.pump(ctx))
        });
    }
}

/// Waits for the actor to take each datagram before reading the next, so a
/// flood piles up in the socket, where the kernel drops it, not in the mailbox.
async fn listen_on(socket: Arc<UdpSocket>, actor: WeakAddr<LanActor>) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, from)) => {
                let Some(actor) = actor.upgrade() else {
                    return;
                };
                let bytes = buffer[..len].to_vec();
                if actor.send(Heard { from, bytes }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "beacon socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

impl Actor for LanActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Err(error) = self.open(ctx) {
            let port = self.beacon_port;
            tracing::warn!(port, %error, "no LAN beacon");
            self.ending.reason = StopReason::Failed(format!("UDP port {port}: {error}"));
            ctx.stop();
            return;
        }
        self.look_at_interfaces();
        ctx.run_interval(LOOK_AT_INTERFACES, |actor, ctx| {
            actor.look_at_interfaces();
            actor.pump(ctx);
        });
        self.pump(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        for listener in self.listeners.drain(..) {
            listener.abort();
        }
        self.sockets = None;
        self.ending.tell();
    }
}

impl Handler<Heard> for LanActor {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Self::Context) {
        if self.links.permits(heard.from) {
            let now = self.now();
            self.beacon.handle_datagram(heard.from, &heard.bytes, now);
            self.pump(ctx);
        }
    }
}

impl Handler<AddLanFolder> for LanActor {
    type Result = ();

    fn handle(&mut self, add: AddLanFolder, ctx: &mut Self::Context) {
        let now = self.now();
        if let Err(error) = self.beacon.add_folder(add.folder, add.lan_key, now) {
            tracing::warn!(%error, "a folder is not announced on the LAN");
        }
        self.pump(ctx);
    }
}

impl Handler<RemoveFolder> for LanActor {
    type Result = ();

    fn handle(&mut self, RemoveFolder(folder): RemoveFolder, ctx: &mut Self::Context) {
        self.beacon.remove_folder(folder);
        self.pump(ctx);
    }
}

impl Handler<ChangePort> for LanActor {
    type Result = ();

    fn handle(&mut self, ChangePort(port): ChangePort, ctx: &mut Self::Context) {
        let now = self.now();
        self.beacon.change_port(port, now);
        self.pump(ctx);
    }
}

impl Handler<LanStatusQuery> for LanActor {
    type Result = LanStatus;

    fn handle(&mut self, _: LanStatusQuery, _: &mut Self::Context) -> LanStatus {
        LanStatus {
            interfaces: self.links.names().into_iter().collect(),
            trouble: self.trouble.clone().into_iter().collect(),
            stats: self.beacon.stats(),
        }
    }
}

impl Handler<Stop> for LanActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        self.ending.reason = StopReason::Asked;
        ctx.stop();
    }
}
