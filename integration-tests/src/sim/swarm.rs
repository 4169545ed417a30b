//! Finding, dialling and keeping sessions: each node runs the daemon's own [`Swarm`], and this is its shell.
//!
//! Beacons reach whoever a link leads to, dials meet listeners that answer or don't, both ends may dial at once, and
//! a connection that ends is told to either side in its own time.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use sync_core::{
    engine::Input,
    ids::{PeerKey, SessionId},
    message::Message,
    secret::Level,
};
use sync_discovery::{
    Candidate, Discovered, FolderTag, Source,
    book::{BookConfig, Dial, FailReason},
};
use sync_net::{CloseReason, Goodbye, paths::PathClass};
use syncd::swarm::{Facts, Notice, Output, Swarm, Unreached};

use super::{
    Event, Simulation,
    net::{Conn, End, Endpoint, Pair, node_at, pair, side_of},
};

/// How often a node says on its links that it is there.
const BEACON: Duration = Duration::from_secs(30);
/// How long what a beacon says is good for.
const GOOD_FOR: Duration = Duration::from_secs(120);
/// How long a dialler waits for a listener that doesn't answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the swarm of a node hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Something was found.
    Discovered(Discovered),
    /// A dial came to nothing.
    Unreached(Dial, Unreached),
    /// A session is over.
    Over(SessionId, CloseReason),
    /// Time has passed.
    Time,
}

/// Where a node listens on one of its links with each other.
fn address(number: usize, link: u8) -> SocketAddr {
    let ip = Ipv4Addr::new(10, 0, link, 1 + number as u8);
    SocketAddr::from((ip, 29_170))
}

impl Simulation {
    pub(super) fn tag(&self) -> FolderTag {
        FolderTag(self.nodes[0].keys.folder_id().0)
    }

    /// A daemon comes up: its swarm knows the folder, and it is announced.
    pub(super) fn swarm_up(&mut self, number: usize) {
        let tag = self.tag();
        let seed = self.rng.array();
        let node = &mut self.nodes[number];
        if node.swarm.is_some() {
            return;
        }
        node.daemon += 1;
        let first = node.daemon << 32;
        let mut swarm = Swarm::new(BookConfig::default(), &seed, first, Duration::ZERO);
        swarm.add_folder(tag, node.id.key, Duration::ZERO);
        node.swarm = Some(swarm);
        node.swarm_due = None;
        // Beacons cross the first links alone; who is at the end of others is known from the start.
        for other in (0..self.nodes.len()).filter(|other| *other != number) {
            if !self.links.contains_key(&pair(number, other, 1)) {
                continue;
            }
            let known = Discovered::Found(Candidate {
                folder: tag,
                addr: address(other, 1),
                source: Source::KnownHost,
                expires: Duration::MAX,
            });
            self.swarm(number, |swarm, now| swarm.handle_discovered(known, now));
        }
        self.swarm_wants(number);
        self.beacon_soon(number);
    }

    /// Does something with the swarm of a node, if its daemon is up, and what the swarm wants then.
    pub(super) fn swarm(&mut self, number: usize, f: impl FnOnce(&mut Swarm, Duration)) {
        let node = &mut self.nodes[number];
        let mono = node.now(self.now).mono;
        if let Some(swarm) = &mut node.swarm {
            f(swarm, mono);
            self.swarm_wants(number);
        }
    }

    /// The folder can take sessions, or can't any more.
    pub(super) fn folder_up(&mut self, number: usize, up: bool) {
        let tag = self.tag();
        self.swarm(number, |swarm, now| match up {
            true => swarm.handle_folder_up(tag, now),
            false => swarm.handle_folder_down(tag, now),
        });
    }

    fn swarm_wants(&mut self, number: usize) {
        while let Some(swarm) = &mut self.nodes[number].swarm {
            let Some(output) = swarm.poll_output() else {
                break;
            };
            self.swarm_output(number, output);
        }
        let node = &mut self.nodes[number];
        let due = node.swarm.as_ref().and_then(Swarm::next_timeout);
        let due = due.map(|at| node.boot.saturating_add(at).max(self.now));
        if let Some(at) = due
            && node.swarm_due.is_none_or(|due| at < due)
        {
            node.swarm_due = Some(at);
            self.heap
                .push(at, Event::Swarm(number, node.daemon, Box::new(Heard::Time)));
        }
    }

    fn swarm_output(&mut self, number: usize, output: Output) {
        match output {
            Output::Dial(dial) => {
                let daemon = self.nodes[number].daemon;
                let after = self.rng.millis(1, 400);
                self.heap
                    .push(self.now + after, Event::Dial(number, daemon, dial));
            }
            Output::Take { session, .. } => self.take(number, session),
            Output::TurnAway { session, goodbye } | Output::Close { session, goodbye } => {
                self.hang_up(number, session, goodbye);
            }
            Output::Use(session) => self.tell(number, Input::Prefer { session }),
            Output::Lost(session) => self.tell(number, Input::Silent { session }),
            Output::Drain(session) => self.tell(number, Input::Drain { session }),
            Output::Probe(session) => self.probe(number, session),
            Output::Say(session, message) => {
                self.totals.words += 1;
                self.trace
                    .line(self.now, number, || format!("{session:?}: {message:?}"));
                self.send(number, session, Message::Net(message.to_message()).encode());
            }
            Output::Gone { session, .. } => {
                self.nodes[number].conns.remove(&session);
                self.peer_down(number, session);
            }
            Output::Notice(Notice::Banned { reason, .. }) => {
                self.totals.bans += 1;
                self.trace
                    .line(self.now, number, || format!("bans: {reason}"));
            }
            Output::Notice(Notice::Full { .. }) => {
                self.fail(format!("node {number} has no room for its few peers"));
            }
            Output::Gate | Output::NetworkChanged => {}
        }
    }

    /// What a swarm is told, if its daemon is still the one that it is meant for.
    pub(super) fn heard(&mut self, number: usize, daemon: u64, heard: Heard) {
        let node = &mut self.nodes[number];
        if node.daemon != daemon || node.swarm.is_none() {
            return;
        }
        self.trace.step(self.now, number, "heard", &[]);
        match heard {
            Heard::Discovered(what) => {
                self.swarm(number, |swarm, now| swarm.handle_discovered(what, now));
            }
            Heard::Unreached(dial, why) => {
                self.trace
                    .line(self.now, number, || format!("{} unreached", dial.addr));
                self.swarm(number, |swarm, now| {
                    swarm.handle_unreached(&dial, why, now);
                });
            }
            Heard::Over(session, reason) => {
                self.swarm(number, |swarm, now| {
                    swarm.handle_over(session, reason, now);
                });
            }
            Heard::Time => {
                if node.swarm_due == Some(self.now) {
                    node.swarm_due = None;
                    self.swarm(number, |swarm, now| swarm.handle_timeout(now));
                }
            }
        }
    }

    fn tell_swarm(&mut self, after: Duration, number: usize, daemon: u64, heard: Heard) {
        let event = Event::Swarm(number, daemon, Box::new(heard));
        self.heap.push(self.now + after, event);
    }

    /// A node will soon say that it is there: it has just come up, or hears that something changed.
    pub(super) fn beacon_soon(&mut self, number: usize) {
        let after = self.rng.millis(20, 1_500);
        let event = Event::Beacon(number, self.nodes[number].daemon, false);
        self.heap.push(self.now + after, event);
        if self.nodes[number].beacons != self.nodes[number].daemon {
            self.nodes[number].beacons = self.nodes[number].daemon;
            let event = Event::Beacon(number, self.nodes[number].daemon, true);
            self.heap.push(self.now + after + BEACON, event);
        }
    }

    /// A node says on its links that it is there; again and again if `repeat`.
    pub(super) fn beacon(&mut self, number: usize, daemon: u64, repeat: bool) {
        let node = &self.nodes[number];
        if node.daemon != daemon || node.swarm.is_none() {
            return;
        }
        let folder = self.tag();
        let ways: Vec<_> = (0..self.nodes.len())
            .filter(|other| *other != number)
            .filter_map(|other| {
                let link = self.links.get(&pair(number, other, 0));
                let link = link.filter(|l| l.up && self.now >= l.stalls_until)?;
                self.nodes[other].swarm.as_ref()?;
                Some((other, link.latency))
            })
            .collect();
        for (other, latency) in ways {
            let there = &self.nodes[other];
            let mono = there.now(self.now).mono;
            let found = Discovered::Found(Candidate {
                folder,
                addr: address(number, 0),
                source: Source::Lan,
                expires: mono + GOOD_FOR,
            });
            self.tell_swarm(latency, other, there.daemon, Heard::Discovered(found));
        }
        if repeat {
            self.heap
                .push(self.now + BEACON, Event::Beacon(number, daemon, true));
        }
    }

    /// A dial arrives where it leads, or nowhere.
    pub(super) fn dial(&mut self, number: usize, daemon: u64, dial: Dial) {
        if self.nodes[number].daemon != daemon || self.nodes[number].swarm.is_none() {
            return;
        }
        let all = (0..self.nodes.len()).flat_map(|node| [(node, 0), (node, 1)]);
        let mut there = all.filter(|(node, link)| address(*node, *link) == dial.addr);
        let target = there
            .next()
            .map(|(node, link)| (node, pair(number, node, link)));
        let link = target.and_then(|(_, pair)| self.links.get(&pair));
        let (Some((target, pair)), Some(link)) = (target, link) else {
            return self.fail(format!(
                "node {number} dials {}, where nobody is",
                dial.addr
            ));
        };
        let unreached = |reason| Heard::Unreached(dial, Unreached::Failed(reason, String::new()));
        if !link.up {
            let after = self.rng.millis(1_000, 5_000);
            return self.tell_swarm(after, number, daemon, unreached(FailReason::TimedOut));
        }
        let latency = link.latency * 2;
        let Some(swarm) = &self.nodes[target].swarm else {
            return self.tell_swarm(latency, number, daemon, unreached(FailReason::Refused));
        };
        if !swarm.answered().any(|tag| tag == dial.folder) {
            return self.tell_swarm(PATIENCE, number, daemon, unreached(FailReason::Silence));
        }
        self.connect(number, target, pair, dial);
    }

    fn connect(&mut self, number: usize, target: usize, pair: Pair, dial: Dial) {
        let dialler = side_of(pair, number);
        let mut end = |side: usize| {
            let node = &self.nodes[node_at(pair, side)];
            let mut id = node.id.clone();
            id.boot = node.daemon;
            let mono = node.now(self.now).mono;
            let entropy = self.rng.array();
            let endpoint = Endpoint::new(self.real, &id, side == dialler, entropy, mono)?;
            Some(End::new(node.daemon, endpoint))
        };
        let (Some(a), Some(b)) = (end(0), end(1)) else {
            return self.fail("a session can't begin".into());
        };
        let id = self.next_conn;
        self.next_conn += 1;
        let conn = Conn {
            id,
            dialler,
            dial,
            ends: [a, b],
        };
        if let Some(link) = self.links.get_mut(&pair) {
            self.totals.twins += u64::from(!link.conns.is_empty());
            link.conns.push(conn);
        }
        self.trace.step(self.now, number, "dial", &[target as u8]);
        self.trace.line(self.now, number, || {
            format!("connection {id} with n{target}")
        });
        for side in 0..2 {
            self.kick(pair, id, side);
            self.set_timer(pair, id, side);
        }
    }

    /// A session stands at one end: the swarm says what becomes of it.
    pub(super) fn established(
        &mut self,
        pair: Pair,
        conn: u64,
        side: usize,
        (peer, level, boot): (PeerKey, Level, u64),
    ) {
        let number = node_at(pair, side);
        let Some(found) = self.conn(pair, conn) else {
            return;
        };
        let dialled = (found.dialler == side).then_some(found.dial.source);
        let class = self
            .links
            .get(&pair)
            .map_or(PathClass::Lan, |link| link.class);
        let mut remote = address(node_at(pair, 1 - side), pair.2);
        if dialled.is_none() {
            // Whoever dials comes from a port of chance.
            remote.set_port(40_000 + (conn % 20_000) as u16);
        }
        let facts = Facts {
            folder: self.tag(),
            peer,
            level,
            remote,
            listens: 29_170,
            path: class,
            by_system: true,
            boot_nonce: boot,
            dialled,
        };
        let node = &mut self.nodes[number];
        let mono = node.now(self.now).mono;
        let Some(swarm) = &mut node.swarm else { return };
        let session = swarm.handle_session(facts, mono);
        node.conns.insert(session, (pair, conn));
        if let Some(end) = self.end(pair, conn, side) {
            end.session = Some(session);
        }
        self.swarm_wants(number);
    }

    /// A session goes to the folder.
    fn take(&mut self, number: usize, session: SessionId) {
        let node = &mut self.nodes[number];
        let Some((pair, conn)) = node.conns.get(&session).copied() else {
            return;
        };
        let open = node.is_open();
        let peer = self.nodes[node_at(pair, 1 - side_of(pair, number))]
            .id
            .clone();
        let Some(live) = self.nodes[number].live.as_mut().filter(|_| open) else {
            return self.hang_up(number, session, Goodbye::Busy);
        };
        live.sessions.insert(session, (pair, conn));
        if self.conn(pair, conn).is_none() {
            // It broke while it waited for its folder, and nobody looked.
            let daemon = self.nodes[number].daemon;
            let over = Heard::Over(session, CloseReason::Disconnected);
            self.tell_swarm(Duration::ZERO, number, daemon, over);
        }
        self.tell(
            number,
            Input::PeerUp {
                session,
                peer: peer.key,
                level: peer.level,
            },
        );
        // What came while the session waited for its folder.
        self.session_events(pair, conn, side_of(pair, number));
    }

    /// A node is told that one of its peers misbehaved.
    pub(super) fn ban_somebody(&mut self, number: usize) {
        let sessions = self.nodes[number].live.as_ref().map(|live| &live.sessions);
        let all: Vec<_> = sessions.into_iter().flatten().map(|(id, _)| *id).collect();
        if let Some(session) = self.rng.pick(&all).copied() {
            self.swarm(number, |swarm, now| swarm.ban(session, "by chance", now));
        }
    }

    /// A node ends a session and says so.
    fn hang_up(&mut self, number: usize, session: SessionId, goodbye: Goodbye) {
        let Some((pair, conn)) = self.nodes[number].conns.get(&session).copied() else {
            return;
        };
        self.trace.line(self.now, number, || {
            format!("hangs up on connection {conn}: {goodbye}")
        });
        self.end_conn(pair, conn, Some((side_of(pair, number), goodbye)));
    }

    /// All connections of a node break.
    pub(crate) fn break_all(&mut self, number: usize) {
        let pairs: Vec<_> = self
            .links
            .keys()
            .copied()
            .filter(|p| p.0 == number || p.1 == number)
            .collect();
        for pair in pairs {
            self.break_link(pair);
        }
    }

    /// All connections between two nodes break: what is on its way is lost, and either side notices some time later.
    pub(crate) fn break_link(&mut self, pair: Pair) {
        let all = self.links.get(&pair).map(|link| &link.conns);
        let all: Vec<_> = all.into_iter().flatten().map(|conn| conn.id).collect();
        for conn in all {
            self.break_conn(pair, conn);
        }
    }

    /// One connection breaks.
    pub(crate) fn break_conn(&mut self, pair: Pair, conn: u64) {
        self.end_conn(pair, conn, None);
    }

    /// A connection is over: it broke, or the side that is given said goodbye.
    fn end_conn(&mut self, pair: Pair, conn: u64, goodbye: Option<(usize, Goodbye)>) {
        let Some(link) = self.links.get_mut(&pair) else {
            return;
        };
        let Some(at) = link.conns.iter().position(|c| c.id == conn) else {
            return;
        };
        let (conn, latency) = (link.conns.remove(at), link.latency);
        self.trace.step(self.now, pair.0, "break", &[pair.1 as u8]);
        self.trace.line(self.now, pair.0, || {
            format!("connection {} with n{} is over", conn.id, pair.1)
        });
        for (side, end) in conn.ends.iter().enumerate() {
            let number = node_at(pair, side);
            let (after, reason) = match goodbye {
                Some((by, why)) if by == side => (Duration::ZERO, CloseReason::Local(why)),
                Some((_, why)) => (latency, CloseReason::Peer(why)),
                None => (self.rng.millis(0, 3_000), CloseReason::Disconnected),
            };
            let heard = match end.session {
                Some(session) => Heard::Over(session, reason),
                None if side == conn.dialler => {
                    let why = Unreached::Failed(FailReason::Dropped, String::new());
                    Heard::Unreached(conn.dial, why)
                }
                None => continue,
            };
            self.tell_swarm(after, number, end.daemon, heard);
        }
    }
}
