//! What the address book and the sessions can be told.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use actix::prelude::*;
use sync_core::{
    control::{Candidate, CandidateState},
    ids::SessionId,
    net_message::NetControl,
    path::display_bytes,
};
use sync_discovery::{
    FolderTag, Source,
    book::{BookEntry, EntryState},
};
use tokio::sync::oneshot;
use tracing::debug;

use super::{info::found_by, peers::PeersActor, reader::FromPeerNet};

/// A folder's actor is up: its members may be dialled and let in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderUp(pub(crate) FolderTag);

/// A folder's actor is down, for a while or for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderDown(pub(crate) FolderTag);

/// A folder is on the list, and about to be opened.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FolderComes(pub(crate) FolderTag);

impl Handler<FolderComes> for PeersActor {
    type Result = ();

    fn handle(&mut self, FolderComes(tag): FolderComes, ctx: &mut Self::Context) {
        self.learn(tag);
        self.pump(ctx);
    }
}

impl Handler<FolderUp> for PeersActor {
    type Result = ();

    fn handle(&mut self, FolderUp(tag): FolderUp, ctx: &mut Self::Context) {
        self.learn(tag);
        self.swarm.handle_folder_up(tag, self.now());
        self.pump(ctx);
    }
}

impl Handler<FolderDown> for PeersActor {
    type Result = ();

    fn handle(&mut self, FolderDown(tag): FolderDown, ctx: &mut Self::Context) {
        let listed = self.wires.roster().contains_key(&tag);
        match listed {
            true => self.swarm.handle_folder_down(tag, self.now()),
            false => self.swarm.remove_folder(tag),
        }
        self.pump(ctx);
    }
}

/// The machine has these addresses now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct NetworkIs(pub(super) BTreeSet<IpAddr>);

impl Handler<NetworkIs> for PeersActor {
    type Result = ();

    fn handle(&mut self, NetworkIs(addresses): NetworkIs, ctx: &mut Self::Context) {
        self.swarm.handle_addresses(addresses, self.now());
        self.pump(ctx);
    }
}

/// The user wants a folder's members looked for now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RefreshFolder(pub(crate) FolderTag);

impl Handler<RefreshFolder> for PeersActor {
    type Result = ();

    fn handle(&mut self, RefreshFolder(tag): RefreshFolder, ctx: &mut Self::Context) {
        self.swarm.refresh(tag, self.now());
        self.pump(ctx);
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

    fn handle(&mut self, BanPeer { session, reason }: BanPeer, ctx: &mut Self::Context) {
        self.swarm.ban(session, &reason, self.now());
        self.pump(ctx);
    }
}

impl Handler<FromPeerNet> for PeersActor {
    type Result = ();

    /// What this version doesn't act on is ignored, as is what a later one may say; what is malformed ends the session.
    fn handle(&mut self, from: FromPeerNet, _: &mut Self::Context) {
        let FromPeerNet { session, message } = from;
        match NetControl::read(&message) {
            Ok(_) => debug!(session = session.0, number = message.number, "not acted on"),
            Err(error) => self.violated(session, &error),
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
        self.stop(ctx);
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
        let now = self.now();
        let lines = self.swarm.candidates(ask.folder);
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
