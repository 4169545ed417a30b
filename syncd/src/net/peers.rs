//! All sessions and the address book: whom to dial, which of two sessions to keep, whom to refuse.
//!
//! The rules are elsewhere, in `sync_discovery::book` and `sync_net::dial`; here they are asked and obeyed. It
//! owns the address book, the list of sessions and the list of banned peers. It must never touch what a
//! session carries.

use std::{
    collections::{BTreeMap, btree_map},
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use actix::prelude::*;
use serde_json::json;
use sync_core::{
    control::{Candidate, CandidateState, EventType},
    ids::{PeerKey, SessionId},
    path::display_bytes,
};
use sync_discovery::{
    Discovered, FolderTag, Source,
    book::{AddressBook, BookConfig, BookEntry, Dial, EntryState, FailReason, PeerTag},
};
use sync_net::{
    CloseReason, Goodbye, Level,
    actor::NewSession,
    dial::{Conn, Keep, is_self, judge},
    tcp::{Connected, DialError, EVENT_QUEUE, SessionHandle, dial, drive},
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{PeerInfo, dialling, info::found_by, reader};
use crate::{
    folder::{PeerDown, PeerUp},
    policy::Down,
    supervise::Reporter,
    wiring::{Wires, unix_ns},
};

/// Attempts under way at once.
const MAX_DIALS: usize = 16;
/// Sessions kept with one peer in one folder, until the lower key closes one.
const MAX_TWINS: usize = 2;
/// How long a peer that sent bad data is refused.
const BAN: Duration = Duration::from_secs(3600);
/// Peers remembered as banned.
const MAX_BANNED: usize = 4096;
/// How often dials, rates and ages are looked at.
const TICK: Duration = Duration::from_secs(1);

struct Session {
    folder: FolderTag,
    peer: PeerKey,
    conn: Conn,
    handle: SessionHandle,
    info: Arc<PeerInfo>,
}

/// The actor.
pub(crate) struct PeersActor {
    wires: Arc<Wires>,
    reporter: Option<Reporter>,
    book: AddressBook,
    sessions: BTreeMap<SessionId, Session>,
    banned: BTreeMap<(FolderTag, PeerKey), Duration>,
    dials: usize,
    stopping: bool,
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
            stopping: false,
        }
    }

    /// Begins what dials are due.
    fn dial_due(&mut self, ctx: &mut Context<Self>) {
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
                let result = dial(due.addr, member, hello, config, clock).await;
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
        let Some(remote) = connected.remote else {
            return;
        };
        let now = self.wires.mono();
        let member = self.wires.roster().get(&tag).map(|e| Arc::clone(&e.member));
        let (Some(member), Some(folder)) = (member, self.wires.ready_folder(tag)) else {
            return turn_away(connected, Goodbye::FolderRemoved);
        };
        let ours = member.peer_key();
        if is_self(&ours.0, &peer.0) {
            debug!(%remote, "an address of our own");
            self.book.ours(remote, now);
            return turn_away(connected, Goodbye::Replaced);
        }
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
        let conn = Conn {
            path: connected.path,
            dialled_by_us: facts.initiator,
            boot_nonce: facts.hello.boot_nonce,
            suspect: false,
        };
        let info = Arc::new(PeerInfo {
            session: self.wires.next_session(),
            peer,
            name: facts.hello.display_name(),
            address: remote,
            path: connected.path,
            found_by: source,
            level: facts.level,
            since_ns: unix_ns(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            totals: Arc::clone(&self.wires.traffic),
            meter: Mutex::default(),
        });
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let (handle, driving) = drive(connected, sender);
        let (back, session) = (ctx.address(), info.session);
        tokio::spawn(async move {
            let reason = driving.await;
            back.do_send(SessionOver { session, reason });
        });
        self.book.connected(tag, remote, PeerTag(peer.0), now);
        let twins = self.settle_twins(tag, peer, &ours, &conn, session, &handle);
        let new = Session {
            folder: tag,
            peer,
            conn,
            handle: handle.clone(),
            info: Arc::clone(&info),
        };
        self.sessions.insert(session, new);
        folder.do_send(PeerUp {
            info: Arc::clone(&info),
            handle: handle.clone(),
        });
        tokio::spawn(reader::run(events, Arc::clone(&info), handle, folder));
        if !twins {
            info!(device = %peer, name = %info.name, %remote, found_by = %source, "connected");
            self.event(EventType::PeerConnected, &info, tag, None);
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
        new_handle: &SessionHandle,
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
            match verdict.keep {
                Keep::New if verdict.close_other || too_many => {
                    existing.handle.close(Goodbye::Replaced)
                }
                Keep::Existing if verdict.close_other => new_handle.close(Goodbye::Replaced),
                _ => {}
            }
        }
        !twins.is_empty()
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
        self.book
            .disconnected(folder, info.address, PeerTag(peer.0), now);
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

    fn close_folder(&mut self, folder: FolderTag, goodbye: Goodbye) {
        for session in self.sessions.values().filter(|s| s.folder == folder) {
            session.handle.close(goodbye);
        }
    }
}

/// Says goodbye to a session that isn't taken.
fn turn_away(connected: Connected, goodbye: Goodbye) {
    let (sender, _) = mpsc::channel(1);
    let (handle, driving) = drive(connected, sender);
    handle.close(goodbye);
    tokio::spawn(driving);
}

impl Actor for PeersActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |actor, ctx| {
            let now = actor.wires.mono();
            actor.banned.retain(|_, until| now < *until);
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
            Err(error) => {
                let (reason, detail) = dialling::judge(&error);
                debug!(addr = %dial.addr, %error, "not reached");
                self.book
                    .failed(dial.folder, dial.addr, reason, &detail, self.wires.mono());
            }
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct SessionOver {
    session: SessionId,
    reason: CloseReason,
}

impl Handler<SessionOver> for PeersActor {
    type Result = ();

    fn handle(&mut self, over: SessionOver, ctx: &mut Self::Context) {
        self.over(over.session, over.reason);
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

/// A folder's actor is up: its members may be dialled and let in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderUp(pub(crate) FolderTag);

/// A folder's actor is down, for a while or for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderDown(pub(crate) FolderTag);

impl PeersActor {
    /// Strangers and members of a folder that is down hear nothing.
    fn open_gate(&self) {
        let roster = self.wires.roster();
        let up = roster
            .iter()
            .filter(|(tag, _)| self.wires.ready_folder(**tag).is_some());
        let folders = up
            .map(|(_, e)| Arc::clone(&e.member) as sync_net::SharedFolder)
            .collect();
        if let Err(error) = self.wires.gate.replace_folders(folders) {
            warn!(%error, "incoming connections are answered for the old list of folders");
        }
    }
}

impl Handler<FolderUp> for PeersActor {
    type Result = ();

    fn handle(&mut self, FolderUp(tag): FolderUp, ctx: &mut Self::Context) {
        // Sessions of the actor before it mean nothing to this one.
        self.close_folder(tag, Goodbye::Done);
        self.open_gate();
        self.book.refresh_now(tag, self.wires.mono());
        self.dial_due(ctx);
    }
}

impl Handler<FolderDown> for PeersActor {
    type Result = ();

    fn handle(&mut self, FolderDown(tag): FolderDown, _: &mut Self::Context) {
        let removed = !self.wires.roster().contains_key(&tag);
        self.close_folder(
            tag,
            if removed {
                Goodbye::FolderRemoved
            } else {
                Goodbye::Done
            },
        );
        if removed {
            self.book.remove_folder(tag);
        }
        self.open_gate();
    }
}

/// The user wants a folder's members looked for now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RefreshFolder(pub(crate) FolderTag);

impl Handler<RefreshFolder> for PeersActor {
    type Result = ();

    fn handle(&mut self, RefreshFolder(tag): RefreshFolder, ctx: &mut Self::Context) {
        self.book.refresh_now(tag, self.wires.mono());
        self.dial_due(ctx);
    }
}

/// A peer misbehaves.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BanPeer {
    /// The session.
    pub(crate) session: SessionId,
    /// What it did.
    pub(crate) reason: String,
}

impl Handler<BanPeer> for PeersActor {
    type Result = ();

    fn handle(&mut self, BanPeer { session, reason }: BanPeer, _: &mut Self::Context) {
        let Some(found) = self.sessions.get(&session) else {
            return;
        };
        let reason = display_bytes(reason.as_bytes());
        warn!(device = %found.peer, name = %found.info.name, %reason, "refused for an hour");
        if self.banned.len() >= MAX_BANNED {
            self.banned.pop_first();
        }
        let until = self.wires.mono() + BAN;
        let (folder, peer) = (found.folder, found.peer);
        if let btree_map::Entry::Vacant(new) = self.banned.entry((folder, peer)) {
            new.insert(until);
        }
        for twin in self
            .sessions
            .values()
            .filter(|s| s.folder == folder && s.peer == peer)
        {
            twin.handle.close(Goodbye::Violation);
        }
    }
}

/// Ends all sessions with a goodbye, and then the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopPeers;

impl Handler<StopPeers> for PeersActor {
    type Result = ();

    fn handle(&mut self, _: StopPeers, ctx: &mut Self::Context) {
        self.stopping = true;
        for session in self.sessions.values() {
            session.handle.close(Goodbye::Stopping);
        }
        if self.sessions.is_empty() {
            ctx.stop();
        }
        // A peer that doesn't take the goodbye holds nobody up.
        ctx.run_later(Duration::from_secs(2), |_, ctx| ctx.stop());
    }
}

/// Asks for every candidate of a folder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ListCandidates {
    /// The folder.
    pub(crate) folder: FolderTag,
    /// Who asks.
    pub(crate) reply: oneshot::Sender<Vec<Candidate>>,
}

impl Handler<ListCandidates> for PeersActor {
    type Result = ();

    fn handle(&mut self, ask: ListCandidates, _: &mut Self::Context) {
        let now = self.wires.mono();
        let lines = self.book.snapshot(ask.folder);
        let _ = ask
            .reply
            .send(lines.iter().flat_map(|line| report(line, now)).collect());
    }
}

/// One line for each source of an address.
fn report(line: &BookEntry, now: Duration) -> Vec<Candidate> {
    let state = match line.state {
        EntryState::Connected | EntryState::ConnectedElsewhere => CandidateState::Connected,
        EntryState::Dialing => CandidateState::Dialling,
        EntryState::Ours => CandidateState::Own,
        EntryState::Waiting if line.last_error.is_some() => CandidateState::Failed,
        EntryState::Waiting => CandidateState::Waiting,
    };
    let one = |source: &Source| Candidate {
        addr: line.addr.to_string(),
        source: found_by(*source),
        state,
        last_error: line
            .last_error
            .as_ref()
            .map(|e| display_bytes(e.as_bytes())),
        next_try_s: line.next_try.map(|at| at.saturating_sub(now).as_secs()),
        last_seen_s: Some(now.saturating_sub(line.last_seen).as_secs()),
    };
    line.sources.iter().map(one).collect()
}
