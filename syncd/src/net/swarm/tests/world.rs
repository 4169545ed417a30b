//! Several swarms in virtual time, on a network of a few lines: a dial takes 5 ms, a goodbye 2.

use std::collections::BTreeMap;

use sync_discovery::Candidate;
use sync_net::stream::DialError;

use super::super::*;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn tag(n: u64) -> FolderTag {
    FolderTag::from(n)
}

pub(super) fn key(node: usize) -> PeerKey {
    PeerKey([node as u8 + 1; 32])
}

pub(super) fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

#[derive(Debug)]
pub(super) enum Event {
    Tick(usize, u64),
    /// A dial arrives where it was sent; who dialled, in which run.
    Arrive(usize, u64, Dial, usize),
    /// It is answered.
    Answer(usize, u64, Dial, Option<(usize, SessionId)>),
    Refused(usize, u64, Dial),
    Silence(usize, u64, Dial),
    /// A session ends at a node.
    Over(usize, u64, SessionId, CloseReason),
    /// A node's words arrive at the far end of a session.
    Word(usize, u64, SessionId, NetControl),
    /// What a node asked for on a session has come.
    Heard(usize, u64, SessionId),
    Drained(usize, u64, SessionId),
    Up(usize, FolderTag),
}

pub(super) struct Node {
    pub(super) swarm: Swarm,
    pub(super) run: u64,
    /// The far ends of its sessions.
    pub(super) ends: BTreeMap<SessionId, (usize, SessionId)>,
    pub(super) taken: BTreeMap<SessionId, (FolderTag, usize)>,
    /// Said goodbye to before the other side had its end.
    pub(super) early: BTreeMap<SessionId, Goodbye>,
    pub(super) of: BTreeMap<SessionId, (FolderTag, usize)>,
    pub(super) answered: Vec<FolderTag>,
    pub(super) notices: Vec<Notice>,
}

/// Virtual time and what is due.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) due: BTreeMap<(Duration, u64), Event>,
    pub(super) count: u64,
    pub(super) runs: u64,
    pub(super) dials: usize,
    /// So many dials are dropped unanswered.
    pub(super) drops: usize,
}

impl World {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            now: Duration::ZERO,
            nodes: (0..nodes).map(|_| None).collect(),
            due: BTreeMap::new(),
            count: 0,
            runs: 0,
            dials: 0,
            drops: 0,
        }
    }

    pub(super) fn at(&mut self, after: Duration, event: Event) {
        self.count += 1;
        self.due.insert((self.now + after, self.count), event);
    }

    /// Starts a node that knows these folders, which aren't open yet.
    pub(super) fn start(&mut self, number: usize, folders: u64) {
        self.runs += 1;
        let mut swarm = Swarm::new(
            BookConfig::default(),
            &[number as u8; 32],
            self.runs << 32,
            self.now,
        );
        for n in 0..folders {
            swarm.add_folder(tag(n), key(number), self.now);
        }
        self.nodes[number] = Some(Node {
            swarm,
            run: self.runs,
            ends: BTreeMap::new(),
            taken: BTreeMap::new(),
            early: BTreeMap::new(),
            of: BTreeMap::new(),
            answered: Vec::new(),
            notices: Vec::new(),
        });
        self.pump(number);
    }

    /// A node is gone: the others notice at once.
    pub(super) fn kill(&mut self, number: usize) {
        let Some(node) = self.nodes[number].take() else {
            return;
        };
        for (other, end) in node.ends.into_values() {
            let Some(run) = self.nodes[other].as_ref().map(|n| n.run) else {
                continue;
            };
            self.at(MS, Event::Over(other, run, end, CloseReason::Disconnected));
        }
    }

    pub(super) fn find(&mut self, number: usize, folder: FolderTag, other: usize, source: Source) {
        let (now, expires) = (self.now, Duration::MAX);
        let candidate = Candidate {
            folder,
            addr: addr(other),
            source,
            expires,
        };
        self.with(number, |swarm| {
            swarm.handle_discovered(Discovered::Found(candidate), now)
        });
    }

    pub(super) fn up(&mut self, number: usize, folder: FolderTag) {
        let now = self.now;
        self.with(number, |swarm| swarm.handle_folder_up(folder, now));
    }

    pub(super) fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Swarm) -> T) -> T {
        let done = act(&mut self.node(number).swarm);
        self.pump(number);
        done
    }

    pub(super) fn node(&mut self, number: usize) -> &mut Node {
        self.nodes[number].as_mut().unwrap()
    }

    pub(super) fn pump(&mut self, number: usize) {
        while let Some(output) = self.node(number).swarm.poll_output() {
            self.effect(number, output);
        }
        let node = self.node(number);
        let run = node.run;
        if let Some(due) = node.swarm.next_timeout() {
            let after = due.saturating_sub(self.now);
            self.at(after, Event::Tick(number, run));
        }
    }

    pub(super) fn effect(&mut self, number: usize, output: Output) {
        let run = self.node(number).run;
        match output {
            Output::Dial(dial) => {
                self.dials += 1;
                let target = (0..self.nodes.len())
                    .find(|n| addr(*n) == dial.addr)
                    .unwrap();
                self.at(2 * MS, Event::Arrive(number, run, dial, target));
            }
            Output::Take { session, .. } => {
                let node = self.node(number);
                let who = node.of[&session];
                node.taken.insert(session, who);
            }
            Output::TurnAway { session, goodbye } | Output::Close { session, goodbye } => {
                let node = self.node(number);
                let end = node.ends.remove(&session);
                self.at(
                    Duration::ZERO,
                    Event::Over(number, run, session, CloseReason::Local(goodbye)),
                );
                match end {
                    Some((other, end)) => {
                        if let Some(run) = self.nodes[other].as_ref().map(|n| n.run) {
                            let reason = CloseReason::Peer(goodbye);
                            self.at(2 * MS, Event::Over(other, run, end, reason));
                        }
                    }
                    None => {
                        self.node(number).early.insert(session, goodbye);
                    }
                }
            }
            Output::Gone { session, .. } => {
                let node = self.node(number);
                assert!(
                    node.taken.remove(&session).is_some(),
                    "only what was taken goes"
                );
            }
            Output::Use(_) | Output::Lost(_) => {}
            Output::Say(session, word) => self.at(5 * MS, Event::Word(number, run, session, word)),
            Output::Probe(session) => self.at(10 * MS, Event::Heard(number, run, session)),
            Output::Drain(session) => self.at(MS, Event::Drained(number, run, session)),
            Output::Gate => {
                let node = self.node(number);
                node.answered = node.swarm.answered().collect();
            }
            Output::NetworkChanged => {}
            Output::Notice(notice) => self.node(number).notices.push(notice),
        }
    }

    pub(super) fn session(
        &mut self,
        number: usize,
        other: usize,
        dial: &Dial,
        dialled: bool,
    ) -> SessionId {
        let (now, boot) = (self.now, self.node(other).run);
        let facts = Facts {
            folder: dial.folder,
            peer: key(other),
            level: Level::ReadWrite,
            remote: if dialled {
                dial.addr
            } else {
                SocketAddr::new(addr(other).ip(), 50_000)
            },
            listens: addr(other).port(),
            path: PathClass::Lan,
            by_system: true,
            boot_nonce: boot,
            dialled: dialled.then_some(dial.source),
        };
        let node = self.node(number);
        let id = node.swarm.handle_session(facts, now);
        node.of.insert(id, (dial.folder, other));
        id
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.event(event);
        }
        self.now = end;
    }

    pub(super) fn is_due(&self, node: usize) -> bool {
        let due = self.nodes[node]
            .as_ref()
            .and_then(|n| n.swarm.next_timeout());
        due.is_some_and(|due| due <= self.now)
    }

    pub(super) fn event(&mut self, event: Event) {
        let now = self.now;
        let alive = |world: &Self, node: usize, run| {
            world.nodes[node].as_ref().is_some_and(|n| n.run == run)
        };
        match event {
            Event::Tick(node, run) if alive(self, node, run) && self.is_due(node) => {
                self.with(node, |swarm| swarm.handle_timeout(now));
            }
            Event::Arrive(from, run, dial, target) if alive(self, from, run) => {
                let answered = self.nodes[target]
                    .as_ref()
                    .map(|n| n.answered.contains(&dial.folder));
                match answered {
                    None => self.at(MS, Event::Refused(from, run, dial)),
                    Some(true) if self.drops > 0 => {
                        self.drops -= 1;
                        self.at(MS, Event::Answer(from, run, dial, None));
                    }
                    // A stranger's door: silence, and then the end.
                    Some(false) => self.at(10 * SECOND, Event::Silence(from, run, dial)),
                    Some(true) => {
                        let there = self.session(target, from, &dial, false);
                        self.at(
                            3 * MS,
                            Event::Answer(from, run, dial, Some((target, there))),
                        );
                        self.pump(target);
                    }
                }
            }
            Event::Refused(node, run, dial) if alive(self, node, run) => {
                let error = DialError::Connect(std::io::ErrorKind::ConnectionRefused.into());
                self.with(node, |swarm| {
                    swarm.handle_unreached(&dial, (&error).into(), now)
                });
            }
            Event::Silence(node, run, dial) if alive(self, node, run) => {
                let late = sync_net::SessionError::HandshakeTimeout;
                let error = DialError::Session(CloseReason::Failed(late));
                self.with(node, |swarm| {
                    swarm.handle_unreached(&dial, (&error).into(), now)
                });
            }
            Event::Answer(node, run, dial, None) if alive(self, node, run) => {
                let error = DialError::Session(CloseReason::Disconnected);
                self.with(node, |swarm| {
                    swarm.handle_unreached(&dial, (&error).into(), now)
                });
            }
            Event::Answer(node, run, dial, Some((other, there))) if alive(self, node, run) => {
                if self.nodes[other].is_none() {
                    return self.event(Event::Answer(node, run, dial, None));
                }
                let here = self.session(node, other, &dial, true);
                if let Some(goodbye) = self.node(other).early.remove(&there) {
                    let reason = CloseReason::Peer(goodbye);
                    self.at(2 * MS, Event::Over(node, run, here, reason));
                } else {
                    self.node(node).ends.insert(here, (other, there));
                    self.node(other).ends.insert(there, (node, here));
                }
                self.pump(node);
            }
            Event::Over(node, run, session, reason) if alive(self, node, run) => {
                self.node(node).ends.remove(&session);
                self.with(node, |swarm| swarm.handle_over(session, reason, now));
            }
            Event::Word(node, run, session, word) if alive(self, node, run) => {
                if let Some((other, end)) = self.node(node).ends.get(&session).copied() {
                    self.with(other, |swarm| swarm.handle_word(end, &word, now));
                }
            }
            Event::Heard(node, run, session)
                if alive(self, node, run) && self.node(node).ends.contains_key(&session) =>
            {
                self.with(node, |swarm| swarm.handle_heard(session, None, now));
            }
            Event::Drained(node, run, session) if alive(self, node, run) => {
                self.with(node, |swarm| swarm.handle_drained(session, now));
            }
            Event::Up(node, folder) => self.up(node, folder),
            _ => {}
        }
    }

    /// With whom a node has sessions in a folder.
    pub(super) fn peers(&mut self, number: usize, folder: FolderTag) -> Vec<usize> {
        let taken = self.node(number).taken.values();
        taken
            .filter(|(f, _)| *f == folder)
            .map(|(_, p)| *p)
            .collect()
    }
}
