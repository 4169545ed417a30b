//! Several sessions with one peer: which is used, and what the peers tell each other about it.
//!
//! What is decided is the business of [`Paths`]; here it is asked, and the address book is told of peers that fall
//! silent, so that other addresses of theirs are tried before the session is given up.

use std::{net::SocketAddr, time::Duration};

use sync_core::{
    ids::{PeerKey, SessionId},
    net_message::NetControl,
};
use sync_discovery::{
    FolderTag,
    book::{Ended, PeerTag},
};
use sync_net::{
    Goodbye,
    paths::{PathFacts, PathOutput, Paths, Word},
};

use super::{Facts, Output, Swarm};

impl Swarm {
    /// A peer said something about a session. What isn't about that is ignored.
    pub fn handle_word(&mut self, session: SessionId, message: &NetControl, now: Duration) {
        let word = match message {
            NetControl::Use(number) => Word::Use(*number),
            NetControl::Standby => Word::Standby,
            NetControl::Retire => Word::Retire,
            NetControl::Peers(_) | NetControl::Unknown(_) => return,
        };
        self.with_ways(session, now, |ways| ways.handle_word(session, word, now));
    }

    /// Something came on a session after a [`Output::Probe`], or after silence. Its round trip, if it is known.
    pub fn handle_heard(&mut self, session: SessionId, took: Option<Duration>, now: Duration) {
        self.with_ways(session, now, |ways| {
            if let Some(took) = took {
                ways.handle_round_trip(session, took);
            }
            ways.handle_heard(session, now);
        });
        if let Some(found) = self.sessions.get_mut(&session)
            && std::mem::take(&mut found.doubted)
        {
            let Facts {
                folder,
                remote,
                peer,
                ..
            } = found.facts;
            self.book.connected(folder, remote, PeerTag(peer.0), now);
        }
    }

    /// The peer of a session doesn't answer.
    pub fn handle_quiet(&mut self, session: SessionId, now: Duration) {
        self.with_ways(session, now, |ways| ways.handle_quiet(session, now));
        if let Some(who) = self.way_of(session) {
            self.doubt_if_none_lives(who, now);
        }
    }

    /// Whether another session leads to a peer at the same address.
    pub(super) fn is_reached_at(
        &self,
        folder: FolderTag,
        peer: PeerKey,
        remote: SocketAddr,
    ) -> bool {
        let mut others = self.sessions_with(folder, peer);
        others.any(|id| {
            let other = self.sessions.get(&id);
            other.is_some_and(|s| !s.doubted && s.facts.remote == remote)
        })
    }

    /// Looks for a peer at all its addresses if no session with it answers.
    pub(super) fn doubt_if_none_lives(&mut self, who: (FolderTag, PeerKey), now: Duration) {
        if self.ways.get(&who).is_some_and(Paths::lives) {
            return;
        }
        // All that is known of it is tried, as if it were gone.
        let (folder, peer) = who;
        let all: Vec<_> = self.sessions_with(folder, peer).collect();
        for id in all {
            if let Some(found) = self.sessions.get_mut(&id)
                && !std::mem::replace(&mut found.doubted, true)
            {
                let (remote, tag) = (found.facts.remote, PeerTag(peer.0));
                self.book
                    .disconnected(folder, remote, tag, Ended::Over, now);
            }
        }
        self.look_at(now);
    }

    /// Nothing is awaited any more on a session that was to be drained.
    pub fn handle_drained(&mut self, session: SessionId, now: Duration) {
        self.with_ways(session, now, |ways| ways.handle_drained(session, now));
    }

    /// The session that is used with a peer, of several.
    #[must_use]
    pub fn used(&self, folder: FolderTag, peer: PeerKey) -> Option<SessionId> {
        self.ways.get(&(folder, peer))?.used()
    }

    pub(super) fn one_more_way(
        &mut self,
        session: SessionId,
        facts: &Facts,
        ours: PeerKey,
        now: Duration,
    ) {
        let who = (facts.folder, facts.peer);
        let facts = PathFacts {
            class: facts.path,
            by_system: facts.by_system,
            remote: Some(facts.remote.ip()),
            boot_nonce: facts.boot_nonce,
        };
        self.ways
            .entry(who)
            .or_insert_with(|| Paths::new(&ours.0, &who.1.0))
            .handle_up(session, facts, now);
        self.follow(who, now);
    }

    pub(super) fn one_way_less(
        &mut self,
        session: SessionId,
        folder: FolderTag,
        peer: PeerKey,
        now: Duration,
    ) {
        let who = (folder, peer);
        if let Some(ways) = self.ways.get_mut(&who) {
            ways.handle_down(session, now);
            self.follow(who, now);
        }
        if self.ways.get(&who).is_some_and(Paths::is_empty) {
            self.ways.remove(&who);
        }
    }

    pub(super) fn ways_in_time(&mut self, now: Duration) {
        let due = |(_, ways): &(&(FolderTag, PeerKey), &Paths)| {
            ways.next_timeout().is_some_and(|at| at <= now)
        };
        let all: Vec<_> = self.ways.iter().filter(due).map(|(who, _)| *who).collect();
        for who in all {
            if let Some(ways) = self.ways.get_mut(&who) {
                ways.handle_timeout(now);
            }
            self.follow(who, now);
        }
    }

    fn way_of(&self, session: SessionId) -> Option<(FolderTag, PeerKey)> {
        let facts = &self.sessions.get(&session)?.facts;
        Some((facts.folder, facts.peer))
    }

    fn with_ways(&mut self, session: SessionId, now: Duration, f: impl FnOnce(&mut Paths)) {
        if let Some(who) = self.way_of(session)
            && let Some(ways) = self.ways.get_mut(&who)
        {
            f(ways);
            self.follow(who, now);
        }
    }

    /// Does what is decided about the ways to a peer.
    fn follow(&mut self, who: (FolderTag, PeerKey), now: Duration) {
        while let Some(output) = self.ways.get_mut(&who).and_then(Paths::poll_output) {
            let output = match output {
                PathOutput::Use(session) => Output::Use(session),
                PathOutput::Lost(session) => Output::Lost(session),
                PathOutput::Drain(session) => Output::Drain(session),
                PathOutput::Probe(session) => Output::Probe(session),
                PathOutput::Say(session, word) => {
                    let message = match word {
                        Word::Use(number) => NetControl::Use(number),
                        Word::Standby => NetControl::Standby,
                        Word::Retire => NetControl::Retire,
                    };
                    Output::Say(session, message)
                }
                PathOutput::Close(session) => {
                    self.close(session, Goodbye::Replaced);
                    continue;
                }
            };
            self.outputs.push_back(output);
        }
        if let Some(at) = self.ways.get(&who).and_then(Paths::next_timeout) {
            self.look_at(at.max(now));
        }
    }
}
