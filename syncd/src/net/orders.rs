//! How the owner of the sessions takes what it is told.

use std::time::Duration;

use actix::prelude::*;
use sync_core::{
    control::{Candidate, CandidateState},
    net_message::NetControl,
    path::display_bytes,
};
use sync_discovery::{
    Source,
    book::{BookEntry, EntryState},
};

use super::{
    door::{FolderNews, ListCandidates, OfSession, PeersDoor, Verdict},
    info::found_by,
    peers::PeersActor,
    reader::{FromSession, News},
};

impl From<Addr<PeersActor>> for PeersDoor {
    fn from(actor: Addr<PeersActor>) -> Self {
        Self {
            folders: actor.clone().recipient(),
            verdicts: actor.clone().recipient(),
            lists: actor.clone().recipient(),
            found: actor.clone().recipient(),
            sessions: actor.recipient(),
        }
    }
}

impl Handler<FolderNews> for PeersActor {
    type Result = ();

    fn handle(&mut self, news: FolderNews, ctx: &mut Self::Context) {
        match news {
            FolderNews::Comes(tag) => self.learn(tag),
            FolderNews::Up(tag) => {
                self.learn(tag);
                self.swarm.handle_folder_up(tag, self.now());
            }
            FolderNews::Down(tag) => {
                let listed = self.wires.roster().contains_key(&tag);
                match listed {
                    true => self.swarm.handle_folder_down(tag, self.now()),
                    false => self.swarm.remove_folder(tag),
                }
            }
            FolderNews::Refresh(tag) => self.swarm.refresh(tag, self.now()),
        }
        self.pump(ctx);
    }
}

impl Handler<OfSession> for PeersActor {
    type Result = ();

    fn handle(&mut self, OfSession { session, verdict }: OfSession, ctx: &mut Self::Context) {
        match verdict {
            Verdict::Ban(reason) => self.swarm.ban(session, &reason, self.now()),
            Verdict::Drained => self.swarm.handle_drained(session, self.now()),
        }
        self.pump(ctx);
    }
}

impl Handler<FromSession> for PeersActor {
    type Result = ();

    /// What this version doesn't act on is ignored, as is what a later one may say; what is malformed ends the session.
    fn handle(&mut self, FromSession { session, news }: FromSession, ctx: &mut Self::Context) {
        let now = self.now();
        match news {
            News::Said(message) => match NetControl::read(&message) {
                Ok(word) => self.swarm.handle_word(session, &word, now),
                Err(error) => self.violated(session, &error),
            },
            News::Quiet => self.swarm.handle_quiet(session, now),
            News::Heard => {
                let took = self.round_trip(session);
                self.swarm.handle_heard(session, took, now);
            }
        }
        self.pump(ctx);
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
