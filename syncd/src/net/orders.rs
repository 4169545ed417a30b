//! What the address book and the sessions can be told.

use std::{collections::btree_map, sync::Arc, time::Duration};

use actix::prelude::*;
use sync_core::{
    control::{Candidate, CandidateState},
    ids::SessionId,
    path::display_bytes,
};
use sync_discovery::{
    FolderTag, Source,
    book::{BookEntry, EntryState},
};
use sync_net::{Goodbye, actor::Close};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{
    info::found_by,
    peers::{BAN, MAX_BANNED, PeersActor},
    reader::FromPeerNet,
};

/// A folder's actor is up: its members may be dialled and let in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderUp(pub(crate) FolderTag);

/// A folder's actor is down, for a while or for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderDown(pub(crate) FolderTag);

impl PeersActor {
    /// Strangers hear nothing. Members of a folder that is still being opened wait; see [`PeersActor::established`].
    fn open_gate(&self) {
        let roster = self.wires.roster();
        let folders = roster
            .values()
            .map(|e| Arc::clone(&e.member) as sync_net::SharedFolder)
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
        self.take_waiting(tag, ctx);
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
            twin.actor.do_send(Close(Goodbye::Violation));
        }
    }
}

impl Handler<FromPeerNet> for PeersActor {
    type Result = ();

    /// This version knows no such message yet: all are of a later one, and ignored.
    fn handle(&mut self, from: FromPeerNet, _: &mut Self::Context) {
        let FromPeerNet { session, message } = from;
        debug!(
            session = session.0,
            number = message.number,
            "not known here; ignored"
        );
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
            session.actor.do_send(Close(Goodbye::Stopping));
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
