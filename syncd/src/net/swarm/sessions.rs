//! Sessions as they come and go: which are taken, which are ended, who is banned.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use sync_core::{
    ids::{PeerKey, SessionId},
    path::display_bytes,
};
use sync_discovery::{
    FolderTag,
    book::{Ended, FailReason, PeerTag},
};
use sync_net::{CloseReason, Goodbye, Level};

use super::{
    BAN, FOLDER_PATIENCE, Facts, Full, MAX_BANNED, Notice, Output, Session, Stage, Swarm,
    limits::{self, Party},
};

/// Sessions that wait for folders to be opened: in all, and for each.
const MAX_WAITING: usize = 256;
const MAX_WAITING_FOLDER: usize = 16;

impl Swarm {
    /// A session has been established: by a dial, or by a peer that came. Its number is given at once; whether it
    /// is taken, the outputs say.
    pub fn handle_session(&mut self, facts: Facts, now: Duration) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        match self.folders.get(&facts.folder).map(|folder| folder.stage) {
            _ if self.stopping => self.turn_away(session, Goodbye::Stopping),
            None => self.turn_away(session, Goodbye::FolderRemoved),
            Some(Stage::Down) => self.not_open(session, &facts, now),
            Some(Stage::Up) => self.judge_session(session, facts, now),
            Some(Stage::Opening { .. }) => self.wait_for_folder(session, facts, now),
        }
        self.look_at(now);
        session
    }

    fn wait_for_folder(&mut self, session: SessionId, facts: Facts, now: Duration) {
        let of_folder = |f: &&(Duration, SessionId, Facts)| f.2.folder == facts.folder;
        let here = self.waiting.iter().filter(of_folder).count();
        if here >= MAX_WAITING_FOLDER || self.waiting.len() >= MAX_WAITING {
            return self.not_open(session, &facts, now);
        }
        self.waiting.push_back((now, session, facts));
        self.look_at(now + FOLDER_PATIENCE);
    }

    /// Turns a session away whose folder isn't open.
    pub(super) fn not_open(&mut self, session: SessionId, facts: &Facts, now: Duration) {
        if facts.dialled.is_some() {
            // The book waits to hear of its dial.
            let (reason, why) = (FailReason::Other, "the folder isn't open here");
            self.book
                .failed(facts.folder, facts.remote, reason, why, now);
        }
        self.turn_away(session, Goodbye::Busy);
    }

    /// Takes a session of an open folder, or turns it away.
    pub(super) fn judge_session(&mut self, session: SessionId, facts: Facts, now: Duration) {
        let Some(ours) = self.folders.get(&facts.folder).map(|folder| folder.ours) else {
            return self.turn_away(session, Goodbye::FolderRemoved);
        };
        let who = (facts.folder, facts.peer);
        if self.banned.get(&who).is_some_and(|until| now < *until) {
            self.refused(&facts, "it sent bad data and is refused for an hour", now);
            return self.turn_away(session, Goodbye::Violation);
        }
        if facts.level == Level::Encrypted {
            self.refused(&facts, "encrypted-only peers are not in this version", now);
            return self.turn_away(session, Goodbye::Version);
        }
        let party = Party::of(&facts);
        if let Err(full) = limits::room(self.parties(), party) {
            self.refused(&facts, full.reason(), now);
            self.tell_full(facts.folder, facts.remote, full);
            return self.turn_away(session, Goodbye::Busy);
        }
        let (folder, peer, tag) = (facts.folder, facts.peer, PeerTag(facts.peer.0));
        self.book.connected(folder, facts.remote, tag, now);
        if facts.dialled.is_none() && facts.listens != 0 {
            let listens = SocketAddr::new(facts.remote.ip(), facts.listens);
            self.book.claimed(folder, listens, tag);
        }
        let first = self.sessions_with(folder, peer).next().is_none();
        self.outputs.push_back(Output::Take { session, first });
        let new = Session {
            facts: facts.clone(),
            doubted: false,
            closing: false,
        };
        self.sessions.insert(session, new);
        self.one_more_way(session, &facts, ours, now);
    }

    /// A session that was taken is over.
    pub fn handle_over(&mut self, session: SessionId, reason: CloseReason, now: Duration) {
        let Some(Session { facts, doubted, .. }) = self.sessions.remove(&session) else {
            return;
        };
        let Facts {
            folder,
            peer,
            remote,
            ..
        } = facts;
        if !limits::nearly_full(self.parties(), folder) {
            self.full.remove(&folder);
        }
        if !doubted && !self.is_reached_at(folder, peer, remote) {
            self.book
                .disconnected(folder, remote, PeerTag(peer.0), ended(&reason), now);
        }
        self.one_way_less(session, folder, peer, now);
        self.doubt_if_none_lives((folder, peer), now);
        let last = self.sessions_with(folder, peer).next().is_none();
        self.outputs.push_back(Output::Gone {
            session,
            last,
            reason,
        });
        self.look_at(now);
    }

    /// The peer of a session misbehaved: it is refused for an hour, in this folder.
    pub fn ban(&mut self, session: SessionId, reason: &str, now: Duration) {
        let Some(found) = self.sessions.get(&session) else {
            return;
        };
        let (folder, peer) = (found.facts.folder, found.facts.peer);
        let reason = display_bytes(reason.as_bytes());
        self.outputs.push_back(Output::Notice(Notice::Banned {
            folder,
            peer,
            reason,
        }));
        if self.banned.len() >= MAX_BANNED {
            let first = self.banned.iter().min_by_key(|(_, until)| **until);
            if let Some(who) = first.map(|(who, _)| *who) {
                self.banned.remove(&who);
            }
        }
        self.banned.entry((folder, peer)).or_insert(now + BAN);
        let all: Vec<_> = self.sessions_with(folder, peer).collect();
        for id in all {
            self.close(id, Goodbye::Violation);
        }
        self.look_at(now + BAN);
    }

    /// Says goodbye to all sessions of a folder, taken or waiting.
    pub(super) fn close_folder(&mut self, folder: FolderTag, goodbye: Goodbye) {
        self.end_sessions(folder, goodbye);
        for (session, _) in self.take_waiting(folder) {
            self.turn_away(session, goodbye);
        }
    }

    /// Takes out what waits for a folder.
    pub(super) fn take_waiting(&mut self, folder: FolderTag) -> Vec<(SessionId, Facts)> {
        let (come, left): (VecDeque<_>, _) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, _, facts)| facts.folder == folder);
        self.waiting = left;
        come.into_iter().map(|(_, id, facts)| (id, facts)).collect()
    }

    /// Says goodbye to the sessions of a folder that were taken.
    pub(super) fn end_sessions(&mut self, folder: FolderTag, goodbye: Goodbye) {
        let of_folder = |(_, s): &(&SessionId, &Session)| s.facts.folder == folder;
        let all: Vec<_> = self
            .sessions
            .iter()
            .filter(of_folder)
            .map(|(id, _)| *id)
            .collect();
        for session in all {
            self.close(session, goodbye);
        }
    }

    pub(super) fn close(&mut self, session: SessionId, goodbye: Goodbye) {
        if let Some(found) = self.sessions.get_mut(&session)
            && !std::mem::replace(&mut found.closing, true)
        {
            self.outputs.push_back(Output::Close { session, goodbye });
        }
    }

    pub(super) fn turn_away(&mut self, session: SessionId, goodbye: Goodbye) {
        self.outputs
            .push_back(Output::TurnAway { session, goodbye });
    }

    pub(super) fn sessions_with(
        &self,
        folder: FolderTag,
        peer: PeerKey,
    ) -> impl Iterator<Item = SessionId> + '_ {
        let with = move |s: &Session| s.facts.folder == folder && s.facts.peer == peer;
        self.sessions
            .iter()
            .filter(move |(_, s)| with(s))
            .map(|(id, _)| *id)
    }

    fn parties(&self) -> impl Iterator<Item = Party> + '_ {
        self.sessions
            .values()
            .map(|session| Party::of(&session.facts))
    }

    /// Says once that there are too many sessions, until there is room again.
    fn tell_full(&mut self, folder: FolderTag, remote: SocketAddr, full: Full) {
        // Of one device it says nothing about the folder.
        if full != Full::Peer && self.full.insert(folder) {
            let notice = Notice::Full {
                folder,
                remote,
                full,
            };
            self.outputs.push_back(Output::Notice(notice));
        }
    }
}

/// What the end of a session says about the address.
fn ended(reason: &CloseReason) -> Ended {
    match reason {
        CloseReason::Peer(Goodbye::Busy) => Ended::TurnedAway(FailReason::Busy),
        CloseReason::Peer(
            Goodbye::FolderRemoved
            | Goodbye::Version
            | Goodbye::Violation
            | Goodbye::Rotated
            | Goodbye::Other(_),
        )
        | CloseReason::Local(Goodbye::Violation) => Ended::TurnedAway(FailReason::Rejected),
        _ => Ended::Over,
    }
}
