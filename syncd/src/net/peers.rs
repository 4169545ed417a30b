//! The shell around the [`Swarm`]: sockets, actors, events and clocks for its decisions.
//!
//! It owns the tasks that dial, the sessions' actors, and what is known of sessions for reports. It must never
//! decide anything, nor touch what a session carries.
//!
//! Each session that is taken has a [`PeerActor`], which tells here when it is over. It isn't started anew: the
//! swarm dials again. If this actor goes down, the sessions are closed by their folders, which its successor
//! tells to begin anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use actix::prelude::*;
use sync_core::{
    control::EventType,
    ids::{PeerKey, SessionId},
    message::Message,
    net_message::NetControl,
};
use sync_discovery::{
    Discovered, FolderTag, Source,
    actor::interface_addresses,
    book::{BookConfig, Dial, FailReason},
};
use sync_net::{
    CloseReason, Goodbye,
    actor::{Close, NewSession, PeerActor, SendControl, SessionOver},
    stream::{Connected, DialError, EVENT_QUEUE, SessionHandle, drive},
    tcp::dial,
};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{
    PeerInfo,
    reader::{self, Doors},
    swarm::{Facts, Output, Swarm, Unreached},
};
use crate::{
    folder::{
        door::{AllPeersDown, PeerDown, PeerUp, PeerWay, Way},
        requests,
    },
    policy::Down,
    supervise::Reporter,
    wiring::{Wires, unix_ns},
};

/// How often rates are looked at.
const MEASURE: Duration = Duration::from_secs(1);
/// How often it is asked whether the machine's addresses changed.
const LOOK_AT_NETWORK: Duration = Duration::from_secs(10);

/// A session that was taken.
struct Link {
    folder: FolderTag,
    actor: Addr<PeerActor>,
    handle: SessionHandle,
    info: Arc<PeerInfo>,
}

/// The actor.
pub(crate) struct PeersActor {
    pub(super) wires: Arc<Wires>,
    reporter: Option<Reporter>,
    pub(super) swarm: Swarm,
    /// Sessions that wait for the swarm's word.
    arriving: BTreeMap<SessionId, (Box<Connected>, Facts)>,
    links: BTreeMap<SessionId, Link>,
    timer: Option<(Duration, SpawnHandle)>,
    stopping: bool,
}

impl PeersActor {
    pub(crate) fn new(wires: Arc<Wires>, reporter: Reporter) -> Self {
        let mut seed = [0; 32];
        // It only spreads delays: without it they are spread alike everywhere.
        let _ = getrandom::fill(&mut seed);
        let (first, now) = (wires.first_session(), wires.mono());
        let swarm = Swarm::new(BookConfig::default(), &seed, first, now);
        Self {
            wires,
            reporter: Some(reporter),
            swarm,
            arriving: BTreeMap::new(),
            links: BTreeMap::new(),
            timer: None,
            stopping: false,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.wires.mono()
    }

    /// Tells the swarm of a folder that is on the list, if it hasn't heard of it. Whoever comes first says so: the
    /// folder itself, a mechanism that found a member, or the member.
    pub(super) fn learn(&mut self, tag: FolderTag) {
        if self.swarm.knows(tag) {
            return;
        }
        let ours = self.wires.roster().get(&tag).map(|e| e.member.peer_key());
        if let Some(ours) = ours {
            self.swarm.add_folder(tag, ours, self.wires.mono());
        }
    }

    /// A peer broke the rules above the session.
    pub(super) fn violated(&self, session: SessionId, error: &dyn std::error::Error) {
        if let Some(link) = self.links.get(&session) {
            warn!(peer = %link.info.peer, %error, "a peer broke the protocol; its session is closed");
            link.actor.do_send(Close(Goodbye::Violation));
        }
    }

    pub(super) fn stop(&mut self, ctx: &mut Context<Self>) {
        self.stopping = true;
        self.swarm.stop();
        self.pump(ctx);
    }

    /// Does all that the swarm wants, and sets the timer for its next wish.
    pub(super) fn pump(&mut self, ctx: &mut Context<Self>) {
        let mut gate = false;
        while let Some(output) = self.swarm.poll_output() {
            gate |= output == Output::Gate;
            self.effect(output, ctx);
        }
        if gate {
            self.open_gate();
        }
        if self.stopping && self.swarm.is_idle() {
            return ctx.stop();
        }
        let Some(due) = self.swarm.next_timeout() else {
            return;
        };
        match self.timer {
            Some((armed, _)) if armed <= due => return,
            Some((_, timer)) => {
                ctx.cancel_future(timer);
            }
            None => {}
        }
        // A few things at once are looked at together.
        let wait = due.saturating_sub(self.now()).max(Duration::from_millis(2));
        let timer = ctx.run_later(wait, |actor, ctx| {
            actor.timer = None;
            actor.swarm.handle_timeout(actor.now());
            actor.pump(ctx);
        });
        self.timer = Some((due, timer));
    }

    fn effect(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            Output::Dial(dial) => self.dial(dial, ctx),
            Output::Take { session, first } => self.take(session, first, ctx),
            Output::TurnAway { session, goodbye } => {
                if let Some((connected, facts)) = self.arriving.remove(&session) {
                    debug!(remote = %facts.remote, %goodbye, "turned away");
                    turn_away(*connected, goodbye);
                }
            }
            Output::Close { session, goodbye } => {
                if let Some(link) = self.links.get(&session) {
                    link.actor.do_send(Close(goodbye));
                }
            }
            Output::Use(session) => self.tell_way(session, Way::Use),
            Output::Lost(session) => self.tell_way(session, Way::Lost),
            Output::Drain(session) => self.tell_way(session, Way::Drain),
            Output::Probe(session) => {
                if let Some(link) = self.links.get(&session) {
                    // A session that is over tells so by its end.
                    let _ = link.handle.probe();
                }
            }
            Output::Say(session, message) => self.say(session, &message),
            Output::Gone {
                session,
                last,
                reason,
            } => self.gone(session, last, reason),
            // Once for all that happened.
            Output::Gate => {}
            Output::NetworkChanged => self.network_changed(),
            Output::Notice(notice) => self.notice(notice),
        }
    }

    fn dial(&mut self, due: Dial, ctx: &mut Context<Self>) {
        let member = self
            .wires
            .roster()
            .get(&due.folder)
            .map(|e| Arc::clone(&e.member));
        let Some(member) = member else {
            let why = "the folder was removed".to_owned();
            let why = Unreached::Failed(FailReason::Other, why);
            return self.swarm.handle_unreached(&due, why, self.wires.mono());
        };
        let (hello, config, clock) = (
            self.wires.hello(),
            self.wires.session_config(),
            self.wires.clock,
        );
        let back = ctx.address();
        tokio::spawn(async move {
            let dialling = dial(due.addr, member, hello, config, clock);
            let result = unless_it_panics(dialling)
                .await
                .unwrap_or_else(|error| Err(DialError::Connect(error)));
            // The swarm has few dials under way.
            back.do_send(Dialled {
                dial: due,
                result: result.map(Box::new),
            });
        });
    }

    fn established(&mut self, connected: Box<Connected>, dialled: Option<Source>) {
        let facts = &connected.established;
        let Some(remote) = connected.route.remote else {
            return;
        };
        let facts = Facts {
            folder: FolderTag(facts.folder_id),
            peer: PeerKey(facts.peer_static),
            level: facts.level,
            remote,
            listens: facts.hello.port,
            path: connected.route.path,
            by_system: connected.route.transport.by_system,
            boot_nonce: facts.hello.boot_nonce,
            dialled,
        };
        self.learn(facts.folder);
        let session = self.swarm.handle_session(facts.clone(), self.wires.mono());
        self.arriving.insert(session, (connected, facts));
    }

    /// Gives a session to its folder.
    fn take(&mut self, session: SessionId, first: bool, ctx: &mut Context<Self>) {
        let Some((connected, facts)) = self.arriving.remove(&session) else {
            return;
        };
        let Some(folder) = self.wires.ready_folder(facts.folder) else {
            // It went down just now.
            turn_away(*connected, Goodbye::Busy);
            let reason = CloseReason::Local(Goodbye::Busy);
            return self.swarm.handle_over(session, reason, self.wires.mono());
        };
        let info = Arc::new(PeerInfo {
            session,
            peer: facts.peer,
            name: connected.established.hello.display_name(),
            address: facts.remote,
            path: facts.path,
            found_by: facts.found_by(),
            level: facts.level,
            since_ns: unix_ns(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            totals: Arc::clone(&self.wires.traffic),
            meter: Mutex::default(),
        });
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let actor = PeerActor::new(session.0, *connected, sender, ctx.address().recipient());
        let handle = actor.handle().clone();
        let actor = actor.start();
        let (objects, requests) = requests::door();
        folder.up.do_send(PeerUp {
            info: Arc::clone(&info),
            handle: handle.clone(),
            actor: actor.clone(),
            requests,
        });
        let doors = Doors {
            folder: folder.from_peer,
            objects,
            net: ctx.address().recipient(),
        };
        let reading = reader::run(events, Arc::clone(&info), handle.clone(), doors);
        tokio::spawn(reading);
        if first {
            let (remote, found_by) = (facts.remote, info.found_by);
            info!(device = %info.peer, name = %info.name, %remote, %found_by, "connected");
            self.event(EventType::PeerConnected, &info, facts.folder, None);
        }
        let folder = facts.folder;
        self.links.insert(
            session,
            Link {
                folder,
                actor,
                handle,
                info,
            },
        );
    }

    pub(super) fn round_trip(&self, session: SessionId) -> Option<Duration> {
        self.links.get(&session)?.handle.round_trip()
    }

    fn tell_way(&self, session: SessionId, way: Way) {
        let folder = self.links.get(&session).map(|link| link.folder);
        if let Some(door) = folder.and_then(|tag| self.wires.ready_folder(tag)) {
            door.ways.do_send(PeerWay { session, way });
        }
    }

    fn say(&self, session: SessionId, message: &NetControl) {
        if let Some(link) = self.links.get(&session) {
            debug!(peer = %link.info.peer, remote = %link.info.address, ?message, "of several sessions");
            let bytes = Message::Net(message.to_message()).encode();
            link.info.count_sent(bytes.len());
            link.actor.do_send(SendControl(bytes));
        }
    }

    fn gone(&mut self, session: SessionId, last: bool, reason: CloseReason) {
        let Some(Link { folder, info, .. }) = self.links.remove(&session) else {
            return;
        };
        if let Some(door) = self.wires.ready_folder(folder) {
            door.down.do_send(PeerDown { session });
        }
        if last {
            info!(device = %info.peer, name = %info.name, %reason, "disconnected");
            self.event(EventType::PeerDisconnected, &info, folder, Some(reason));
        }
    }
}

/// Awaits a task in one of its own, so that a panic in it doesn't keep the end of it from being told.
async fn unless_it_panics<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let ended = tokio::spawn(task).await;
    ended.map_err(|_| io::Error::other("an error in the program; the log says where"))
}

/// Says goodbye to a session that isn't taken; it gets no actor.
fn turn_away(connected: Connected, goodbye: Goodbye) {
    let (sender, _) = mpsc::channel(1);
    let (handle, driving) = drive(connected, sender);
    handle.close(goodbye);
    tokio::spawn(driving);
}

impl Actor for PeersActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_AT_NETWORK, |_, ctx| {
            if let Ok(addresses) = interface_addresses() {
                ctx.notify(NetworkIs(addresses));
            }
        });
        ctx.run_interval(MEASURE, |actor, _| {
            let now = actor.now();
            for link in actor.links.values() {
                link.info.measure(now, link.handle.round_trip());
            }
        });
        // Another one was here before: what folders it had sessions for must begin anew.
        let roster: Vec<_> = self.wires.roster().keys().copied().collect();
        for tag in roster {
            self.learn(tag);
            if let Some(folder) = self.wires.ready_folder(tag) {
                folder.all_down.do_send(AllPeersDown);
                self.swarm.handle_folder_up(tag, self.wires.mono());
            }
        }
        self.pump(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(reporter) = self.reporter.take().filter(|_| self.stopping) {
            reporter.down(Down::Done);
        }
    }
}

impl Handler<NewSession> for PeersActor {
    type Result = ();

    fn handle(&mut self, NewSession(connected): NewSession, ctx: &mut Self::Context) {
        self.established(connected, None);
        self.pump(ctx);
    }
}

/// The machine has these addresses now.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
struct NetworkIs(BTreeSet<IpAddr>);

impl Handler<NetworkIs> for PeersActor {
    type Result = ();

    fn handle(&mut self, NetworkIs(addresses): NetworkIs, ctx: &mut Self::Context) {
        self.swarm.handle_addresses(addresses, self.now());
        self.pump(ctx);
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Dialled {
    dial: Dial,
    result: Result<Box<Connected>, DialError>,
}

impl Handler<Dialled> for PeersActor {
    type Result = ();

    fn handle(&mut self, Dialled { dial, result }: Dialled, ctx: &mut Self::Context) {
        match result {
            Ok(connected) => self.established(connected, Some(dial.source)),
            Err(error) => {
                debug!(addr = %dial.addr, %error, "not reached");
                let why = Unreached::from(&error);
                self.swarm.handle_unreached(&dial, why, self.wires.mono());
            }
        }
        self.pump(ctx);
    }
}

impl Handler<SessionOver> for PeersActor {
    type Result = ();

    fn handle(&mut self, over: SessionOver, ctx: &mut Self::Context) {
        let id = SessionId(over.session);
        if let (Some(error), Some(link)) = (over.refused, self.links.get(&id)) {
            warn!(peer = %link.info.peer, %error, "a message couldn't be sent; the session was closed");
        }
        self.swarm.handle_over(id, over.reason, self.wires.mono());
        self.pump(ctx);
    }
}

impl Handler<Discovered> for PeersActor {
    type Result = ();

    fn handle(&mut self, what: Discovered, ctx: &mut Self::Context) {
        // A mechanism may be told of a new folder before this actor is. Mechanisms limit themselves; what they
        // name late for a folder that is gone is dropped.
        let folder = match &what {
            Discovered::Found(candidate) => candidate.folder,
            Discovered::Gone { folder, .. } => *folder,
        };
        self.learn(folder);
        self.swarm.handle_discovered(what, self.wires.mono());
        self.pump(ctx);
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
