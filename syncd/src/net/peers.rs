//! All sessions and the address book: whom to dial, which of two sessions to keep, whom to refuse.
//!
//! The rules are elsewhere, in `sync_discovery::book` and `sync_net::dial`; here they are asked and obeyed. It
//! owns the address book, the list of sessions and the list of banned peers. It must never touch what a
//! session carries.
//!
//! Each session that is taken has a [`PeerActor`], which tells here when it is over. It isn't started anew: the
//! address book dials again. If this actor goes down, the sessions are closed by their folders, which its
//! successor tells to begin anew.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use actix::prelude::*;
use serde_json::json;
use sync_core::{
    control::EventType,
    ids::{PeerKey, SessionId},
};
use sync_discovery::{
    Discovered, FolderTag, Source,
    actor::interface_addresses,
    book::{AddressBook, BookConfig, Dial, FailReason, PeerTag},
};
use sync_net::{
    CloseReason, Goodbye, Level,
    actor::{Close, NewSession, PeerActor, SessionOver},
    dial::{Conn, Keep, judge},
    stream::{Connected, DialError, EVENT_QUEUE, drive},
    tcp::dial,
};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{
    PeerInfo, dialling,
    limits::{self, Full, Party},
    network::NetworkIs,
    reader::{self, Doors},
};
use crate::{
    folder::{PeerDown, PeerUp, serve},
    policy::Down,
    supervise::Reporter,
    wiring::{Wires, unix_ns},
};

/// Attempts under way at once.
const MAX_DIALS: usize = 64;
/// Sessions kept with one peer in one folder, until the lower key closes one.
const MAX_TWINS: usize = 2;
/// How long a peer that sent bad data is refused.
pub(super) const BAN: Duration = Duration::from_secs(3600);
/// Peers remembered as banned.
pub(super) const MAX_BANNED: usize = 4096;
/// How long a session waits for its folder to be opened: both devices of a pair may just have been started. Its peer
/// takes silence for longer than that for death.
const OPENING: Duration = Duration::from_secs(8);
/// Sessions that wait so.
const MAX_WAITING: usize = 512;
/// How often dials, rates and ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often it is asked whether the machine's addresses changed.
const LOOK_AT_NETWORK: Duration = Duration::from_secs(10);

pub(super) struct Session {
    pub(super) folder: FolderTag,
    pub(super) peer: PeerKey,
    pub(super) conn: Conn,
    pub(super) actor: Addr<PeerActor>,
    pub(super) info: Arc<PeerInfo>,
}

/// The actor.
pub(crate) struct PeersActor {
    pub(super) wires: Arc<Wires>,
    pub(super) reporter: Option<Reporter>,
    pub(super) book: AddressBook,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) banned: BTreeMap<(FolderTag, PeerKey), Duration>,
    pub(super) dials: usize,
    /// Sessions whose folder is being opened, and until when they wait.
    waiting: VecDeque<(Duration, Box<Connected>, Source)>,
    /// Folders that were said to have too many sessions, until they have fewer.
    full: BTreeSet<FolderTag>,
    pub(super) stopping: bool,
    /// The machine's addresses when it was last asked for them.
    pub(super) addresses: Option<BTreeSet<IpAddr>>,
}

impl PeersActor {
    pub(crate) fn new(wires: Arc<Wires>, reporter: Reporter) -> Self {
        let mut seed = [0; 32];
        // It only spreads delays: without it they are spread alike everywhere.
        let _ = getrandom::fill(&mut seed);
        let book = AddressBook::new(BookConfig::default(), &seed, wires.mono());
        Self {
            wires,
            reporter: Some(reporter),
            book,
            sessions: BTreeMap::new(),
            banned: BTreeMap::new(),
            dials: 0,
            waiting: VecDeque::new(),
            full: BTreeSet::new(),
            addresses: None,
            stopping: false,
        }
    }

    /// Begins what dials are due.
    pub(super) fn dial_due(&mut self, ctx: &mut Context<Self>) {
        if self.stopping {
            return;
        }
        let now = self.wires.mono();
        for due in self
            .book
            .due_dials(now, MAX_DIALS.saturating_sub(self.dials))
        {
            let member = self
                .wires
                .roster()
                .get(&due.folder)
                .map(|e| Arc::clone(&e.member));
            // Only while somebody could take the session.
            let Some(member) = member.filter(|_| self.wires.ready_folder(due.folder).is_some())
            else {
                // The book is told, or it would wait for the end of this attempt. `FolderUp` cuts the delay short.
                self.book.failed(
                    due.folder,
                    due.addr,
                    FailReason::Other,
                    "the folder isn't open",
                    now,
                );
                continue;
            };
            self.dials += 1;
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
                // The manager's mailbox holds at most `MAX_DIALS` of these.
                back.do_send(Dialled {
                    dial: due,
                    result: result.map(Box::new),
                });
            });
        }
    }

    /// Takes a session in, or turns it away.
    fn established(&mut self, connected: Connected, source: Source, ctx: &mut Context<Self>) {
        let facts = connected.established.clone();
        let tag = FolderTag(facts.folder_id);
        let peer = PeerKey(facts.peer_static);
        let Some(remote) = connected.route.remote else {
            return;
        };
        let now = self.wires.mono();
        let member = self.wires.roster().get(&tag).map(|e| Arc::clone(&e.member));
        let Some(member) = member else {
            return turn_away(connected, Goodbye::FolderRemoved);
        };
        let Some(folder) = self.wires.ready_folder(tag) else {
            return self.wait_for_folder(connected, source, now);
        };
        let ours = member.peer_key();
        if self.stopping {
            return turn_away(connected, Goodbye::Stopping);
        }
        if self
            .banned
            .get(&(tag, peer))
            .is_some_and(|until| now < *until)
        {
            self.refused(
                tag,
                remote,
                "it sent bad data and is refused for an hour",
                now,
            );
            return turn_away(connected, Goodbye::Violation);
        }
        if facts.level == Level::Encrypted {
            self.refused(
                tag,
                remote,
                "encrypted-only peers are not in this version",
                now,
            );
            return turn_away(connected, Goodbye::Version);
        }
        let party = Party {
            folder: tag,
            peer,
            source: remote.ip(),
        };
        if let Err(full) = limits::room(self.parties(), party) {
            self.refused(tag, remote, full.reason(), now);
            self.tell_full(tag, remote, full);
            return turn_away(connected, Goodbye::Busy);
        }
        let conn = Conn {
            path: connected.route.path,
            dialled_by_us: facts.initiator,
            boot_nonce: facts.hello.boot_nonce,
            suspect: false,
        };
        let info = Arc::new(PeerInfo {
            session: self.wires.next_session(),
            peer,
            name: facts.hello.display_name(),
            address: remote,
            path: connected.route.path,
            found_by: source,
            level: facts.level,
            since_ns: unix_ns(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            totals: Arc::clone(&self.wires.traffic),
            meter: Mutex::default(),
        });
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let session = info.session;
        let actor = PeerActor::new(session.0, connected, sender, ctx.address().recipient());
        let handle = actor.handle().clone();
        let actor = actor.start();
        self.book.connected(tag, remote, PeerTag(peer.0), now);
        if !facts.initiator && facts.hello.port != 0 {
            let listens = SocketAddr::new(remote.ip(), facts.hello.port);
            self.book.claimed(tag, listens, PeerTag(peer.0));
        }
        let twins = self.settle_twins(tag, peer, &ours, &conn, session, &actor);
        let new = Session {
            folder: tag,
            peer,
            conn,
            actor: actor.clone(),
            info: Arc::clone(&info),
        };
        self.sessions.insert(session, new);
        let (objects, requests) = serve::door();
        folder.do_send(PeerUp {
            info: Arc::clone(&info),
            handle: handle.clone(),
            actor,
            requests,
        });
        let doors = Doors {
            folder,
            objects,
            net: ctx.address().recipient(),
        };
        tokio::spawn(reader::run(events, Arc::clone(&info), handle, doors));
        if !twins {
            info!(device = %peer, name = %info.name, %remote, found_by = %source, "connected");
            self.event(EventType::PeerConnected, &info, tag, None);
        }
    }

    /// Holds a session until its folder is open: to turn it away would cost it a pause.
    fn wait_for_folder(&mut self, connected: Connected, source: Source, now: Duration) {
        if self.stopping || self.waiting.len() >= MAX_WAITING {
            return turn_away(connected, Goodbye::Done);
        }
        self.waiting
            .push_back((now + OPENING, Box::new(connected), source));
    }

    /// A folder was opened: sessions that waited for it are taken.
    pub(super) fn take_waiting(&mut self, folder: FolderTag, ctx: &mut Context<Self>) {
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, c, _)| c.established.folder_id == folder.0);
        self.waiting = waiting;
        for (_, connected, source) in Vec::from(ready) {
            self.established(*connected, source, ctx);
        }
    }

    /// Sessions that waited too long are ended in good order.
    fn end_waiting(&mut self, now: Duration) {
        while self
            .waiting
            .front()
            .is_some_and(|(until, ..)| *until <= now)
        {
            if let Some((_, connected, _)) = self.waiting.pop_front() {
                turn_away(*connected, Goodbye::Done);
            }
        }
    }

    /// Settles the new session with one that is there already. Returns whether there was one.
    fn settle_twins(
        &mut self,
        folder: FolderTag,
        peer: PeerKey,
        ours: &PeerKey,
        new: &Conn,
        new_id: SessionId,
        new_actor: &Addr<PeerActor>,
    ) -> bool {
        let twins: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.folder == folder && s.peer == peer)
            .map(|(id, _)| *id)
            .collect();
        for (n, id) in twins.iter().rev().enumerate() {
            let Some(existing) = self.sessions.get(id) else {
                continue;
            };
            let verdict = judge(&ours.0, &peer.0, &existing.conn, new);
            let too_many = n + 1 >= MAX_TWINS;
            debug!(%peer, old = id.0, new = new_id.0, ?verdict, "two sessions with one peer");
            let close = verdict.close_other || too_many;
            match verdict.keep {
                Keep::New if close => existing.actor.do_send(Close(Goodbye::Replaced)),
                Keep::Existing if close => new_actor.do_send(Close(Goodbye::Replaced)),
                _ => {}
            }
        }
        !twins.is_empty()
    }

    fn parties(&self) -> impl Iterator<Item = Party> + '_ {
        self.sessions.values().map(|session| Party {
            folder: session.folder,
            peer: session.peer,
            source: session.info.address.ip(),
        })
    }

    /// Says once that a folder has too many sessions, until there is room again.
    fn tell_full(&mut self, folder: FolderTag, remote: SocketAddr, full: Full) {
        let reason = full.reason();
        // Of one device it says nothing about the folder.
        if full != Full::Peer && self.full.insert(folder) {
            let roster = self.wires.roster();
            let name = roster.get(&folder).map_or("", |e| e.name.as_str());
            warn!(folder = name, %remote, reason, "connections are refused until there is room");
        } else {
            debug!(%remote, reason, "refused");
        }
    }

    fn refused(&mut self, folder: FolderTag, addr: SocketAddr, why: &str, now: Duration) {
        self.book
            .failed(folder, addr, FailReason::Rejected, why, now);
    }

    fn over(&mut self, id: SessionId, reason: CloseReason) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        let now = self.wires.mono();
        let Session {
            folder, peer, info, ..
        } = session;
        if !limits::nearly_full(self.parties(), folder) {
            self.full.remove(&folder);
        }
        self.book.disconnected(
            folder,
            info.address,
            PeerTag(peer.0),
            dialling::ended(&reason),
            now,
        );
        if let Some(actor) = self.wires.ready_folder(folder) {
            actor.do_send(PeerDown { session: id });
        }
        let left = self
            .sessions
            .values()
            .any(|s| s.folder == folder && s.peer == peer);
        if !left {
            info!(device = %peer, name = %info.name, %reason, "disconnected");
            self.event(EventType::PeerDisconnected, &info, folder, Some(reason));
        }
    }

    fn event(
        &self,
        kind: EventType,
        info: &PeerInfo,
        folder: FolderTag,
        reason: Option<CloseReason>,
    ) {
        let name = self.wires.roster().get(&folder).map(|e| e.name.clone());
        let mut data = json!({
            "device": info.peer.to_string(),
            "name": info.name,
            "address": info.address.to_string(),
        });
        if let (Some(data), Some(reason)) = (data.as_object_mut(), reason) {
            data.insert("reason".into(), reason.to_string().into());
        }
        self.wires.events.push(kind, name.as_deref(), data);
    }

    pub(super) fn close_folder(&mut self, folder: FolderTag, goodbye: Goodbye) {
        for session in self.sessions.values().filter(|s| s.folder == folder) {
            session.actor.do_send(Close(goodbye));
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
        ctx.run_interval(TICK, |actor, ctx| {
            let now = actor.wires.mono();
            actor.banned.retain(|_, until| now < *until);
            actor.end_waiting(now);
            for session in actor.sessions.values() {
                session.info.measure(now);
            }
            actor.dial_due(ctx);
        });
        // Another one was here before: what folders it had sessions for must begin anew.
        let roster: Vec<_> = self.wires.roster().keys().copied().collect();
        for actor in roster
            .into_iter()
            .filter_map(|tag| self.wires.ready_folder(tag))
        {
            actor.do_send(crate::folder::AllPeersDown);
        }
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
        self.established(*connected, Source::Incoming, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Dialled {
    dial: Dial,
    result: Result<Box<Connected>, DialError>,
}

impl Handler<Dialled> for PeersActor {
    type Result = ();

    fn handle(&mut self, Dialled { dial, result }: Dialled, ctx: &mut Self::Context) {
        self.dials = self.dials.saturating_sub(1);
        match result {
            Ok(connected) => self.established(*connected, dial.source, ctx),
            Err(error) if dialling::is_own(&error) => {
                debug!(addr = %dial.addr, "an address of our own");
                self.book.ours(dial.addr, self.wires.mono());
            }
            Err(error) => {
                let (reason, detail) = dialling::judge(&error);
                debug!(addr = %dial.addr, %error, "not reached");
                self.book
                    .failed(dial.folder, dial.addr, reason, &detail, self.wires.mono());
            }
        }
        // There is room for another.
        self.dial_due(ctx);
    }
}

impl Handler<SessionOver> for PeersActor {
    type Result = ();

    fn handle(&mut self, over: SessionOver, ctx: &mut Self::Context) {
        let id = SessionId(over.session);
        if let (Some(error), Some(session)) = (over.refused, self.sessions.get(&id)) {
            warn!(peer = %session.peer, %error, "a message couldn't be sent; the session was closed");
        }
        self.over(id, over.reason);
        if self.stopping && self.sessions.is_empty() {
            ctx.stop();
        }
    }
}

impl Handler<Discovered> for PeersActor {
    type Result = ();

    fn handle(&mut self, what: Discovered, ctx: &mut Self::Context) {
        // Mechanisms limit themselves; what they name late for a folder that is gone is dropped.
        let folder = match &what {
            Discovered::Found(candidate) => candidate.folder,
            Discovered::Gone { folder, .. } => *folder,
        };
        if self.wires.roster().contains_key(&folder) {
            self.book.handle_discovered(what, self.wires.mono());
            self.dial_due(ctx);
        }
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
