//! Several swarms in virtual time, on a network of a few lines: a dial takes 5 ms, a goodbye 2.

use std::collections::BTreeMap;

use sync_discovery::{Candidate, book::EntryState};
use sync_net::stream::DialError;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn tag(n: u64) -> FolderTag {
    FolderTag::from(n)
}

fn key(node: usize) -> PeerKey {
    PeerKey([node as u8 + 1; 32])
}

fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

#[derive(Debug)]
enum Event {
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

struct Node {
    swarm: Swarm,
    run: u64,
    /// The far ends of its sessions.
    ends: BTreeMap<SessionId, (usize, SessionId)>,
    taken: BTreeMap<SessionId, (FolderTag, usize)>,
    /// Said goodbye to before the other side had its end.
    early: BTreeMap<SessionId, Goodbye>,
    of: BTreeMap<SessionId, (FolderTag, usize)>,
    answered: Vec<FolderTag>,
    notices: Vec<Notice>,
}

/// Virtual time and what is due.
struct World {
    now: Duration,
    nodes: Vec<Option<Node>>,
    due: BTreeMap<(Duration, u64), Event>,
    count: u64,
    runs: u64,
    dials: usize,
    /// So many dials are dropped unanswered.
    drops: usize,
}

impl World {
    fn new(nodes: usize) -> Self {
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

    fn at(&mut self, after: Duration, event: Event) {
        self.count += 1;
        self.due.insert((self.now + after, self.count), event);
    }

    /// Starts a node that knows these folders, which aren't open yet.
    fn start(&mut self, number: usize, folders: u64) {
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
    fn kill(&mut self, number: usize) {
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

    fn find(&mut self, number: usize, folder: FolderTag, other: usize, source: Source) {
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

    fn up(&mut self, number: usize, folder: FolderTag) {
        let now = self.now;
        self.with(number, |swarm| swarm.handle_folder_up(folder, now));
    }

    fn with<T>(&mut self, number: usize, act: impl FnOnce(&mut Swarm) -> T) -> T {
        let done = act(&mut self.node(number).swarm);
        self.pump(number);
        done
    }

    fn node(&mut self, number: usize) -> &mut Node {
        self.nodes[number].as_mut().unwrap()
    }

    fn pump(&mut self, number: usize) {
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

    fn effect(&mut self, number: usize, output: Output) {
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

    fn session(&mut self, number: usize, other: usize, dial: &Dial, dialled: bool) -> SessionId {
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

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.event(event);
        }
        self.now = end;
    }

    fn is_due(&self, node: usize) -> bool {
        let due = self.nodes[node]
            .as_ref()
            .and_then(|n| n.swarm.next_timeout());
        due.is_some_and(|due| due <= self.now)
    }

    fn event(&mut self, event: Event) {
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
    fn peers(&mut self, number: usize, folder: FolderTag) -> Vec<usize> {
        let taken = self.node(number).taken.values();
        taken
            .filter(|(f, _)| *f == folder)
            .map(|(_, p)| *p)
            .collect()
    }
}

/// Two nodes that know each other's address in a folder.
fn pair(folders: u64) -> World {
    let mut world = World::new(2);
    for node in 0..2 {
        world.start(node, folders);
        for n in 0..folders {
            world.find(node, tag(n), 1 - node, Source::KnownHost);
        }
    }
    world
}

#[test]
fn a_hundred_folders_meet_as_soon_as_they_are_open() {
    let mut world = pair(100);
    // They open one after the other, at other times on either side.
    for n in 0..100 {
        world.at(n as u32 * 5 * MS, Event::Up(0, tag(n)));
        world.at((100 - n as u32) * 5 * MS, Event::Up(1, tag(n)));
    }
    world.run(700 * MS);
    for n in 0..100 {
        for node in 0..2 {
            assert_eq!(world.peers(node, tag(n)), [1 - node], "folder {n}");
        }
    }
    // And again after a restart of both.
    for node in 0..2 {
        world.kill(node);
    }
    for node in 0..2 {
        world.start(node, 100);
        for n in 0..100 {
            world.find(node, tag(n), 1 - node, Source::KnownHost);
            world.at(n as u32 * MS, Event::Up(node, tag(n)));
        }
    }
    world.run(400 * MS);
    assert!((0..100).all(|n| world.peers(0, tag(n)) == [1] && world.peers(1, tag(n)) == [0]));
}

#[test]
fn one_restart_brings_everything_back_within_seconds() {
    for knows in [0, 1] {
        let mut world = World::new(2);
        for node in 0..2 {
            world.start(node, 100);
            (0..100).for_each(|n| world.up(node, tag(n)));
        }
        let find = |world: &mut World| {
            (0..100).for_each(|n| world.find(knows, tag(n), 1 - knows, Source::Tracker));
        };
        find(&mut world);
        world.run(60 * SECOND);
        world.kill(1);
        world.run(30 * SECOND);
        assert!(world.peers(0, tag(7)).is_empty());
        world.start(1, 100);
        if knows == 1 {
            find(&mut world);
        }
        (0..100).for_each(|n| world.up(1, tag(n)));
        // Who has to be dialled waits for the next try of one of them, the others follow at once.
        world.run(20 * SECOND);
        let met = (0..100).filter(|n| world.peers(0, tag(*n)) == [1]).count();
        assert_eq!(met, 100, "dialled by {knows}");
    }
}

#[test]
fn one_session_is_left_of_two_whoever_dials_when() {
    for late in 0..12 {
        let mut world = World::new(2);
        for node in 0..2 {
            world.start(node, 1);
            world.up(node, tag(0));
        }
        world.find(0, tag(0), 1, Source::Lan);
        world.run(late * MS);
        world.find(1, tag(0), 0, Source::Lan);
        world.run(2 * SECOND);
        assert_eq!(world.peers(0, tag(0)), [1], "{late}");
        assert_eq!(world.peers(1, tag(0)), [0], "{late}");
        // It stays so, and nobody dials again.
        let dials = world.dials;
        world.run(600 * SECOND);
        assert_eq!((world.peers(0, tag(0)), world.dials), (vec![1], dials));
    }
}

#[test]
fn a_session_waits_a_moment_for_its_folder() {
    for opens in [true, false] {
        let mut world = World::new(2);
        world.start(0, 1);
        world.up(0, tag(0));
        world.start(1, 1);
        world.find(0, tag(0), 1, Source::Lan);
        world.run(5 * SECOND);
        assert!(world.peers(1, tag(0)).is_empty());
        let dials = world.dials;
        if opens {
            world.up(1, tag(0));
            world.run(10 * MS);
            assert_eq!((world.peers(1, tag(0)), world.dials), (vec![0], dials));
        } else {
            // It is told that there is no room, comes again with pauses, and in the end hears nothing.
            world.run(4 * SECOND);
            assert_eq!(world.dials, dials);
            world.run(600 * SECOND);
            assert!(world.peers(1, tag(0)).is_empty() && world.peers(0, tag(0)).is_empty());
            assert!(world.node(1).answered.is_empty());
            assert!((5..40).contains(&world.dials), "{}", world.dials);
            // As soon as it opens they meet, since this side knows the other as well.
            world.find(1, tag(0), 0, Source::Lan);
            world.up(1, tag(0));
            world.run(100 * MS);
            assert_eq!(world.peers(1, tag(0)), [0]);
        }
    }
}

#[test]
fn who_waits_for_folders_is_bounded() {
    let mut world = World::new(1);
    world.start(0, 300);
    let mut come = |folder: u64, n: u8| {
        let facts = Facts {
            folder: tag(folder),
            peer: PeerKey([n; 32]),
            level: Level::ReadWrite,
            remote: SocketAddr::from(([10, 1, 0, n], 50_000)),
            listens: 0,
            path: PathClass::Direct,
            by_system: true,
            boot_nonce: 1,
            dialled: None,
        };
        let swarm = &mut world.node(0).swarm;
        let id = swarm.handle_session(facts, Duration::ZERO);
        let outputs = std::iter::from_fn(|| swarm.poll_output());
        !outputs
            .into_iter()
            .any(|o| matches!(o, Output::TurnAway { session, .. } if session == id))
    };
    assert_eq!((0..50).filter(|n| come(0, *n)).count(), 16);
    assert_eq!((1..300).filter(|folder| come(*folder, 1)).count(), 240);
}

#[test]
fn dropped_dials_and_short_sessions_cost_an_honest_member_little() {
    let mut world = pair(1);
    world.drops = 4;
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
    // Six short sessions one after the other.
    for _ in 0..6 {
        let session = *world.node(0).taken.keys().next().unwrap();
        let now = world.now;
        let (other, end) = world.node(0).ends[&session];
        let run = world.node(other).run;
        world.at(
            Duration::ZERO,
            Event::Over(other, run, end, CloseReason::Disconnected),
        );
        world.with(0, |swarm| {
            swarm.handle_over(session, CloseReason::Disconnected, now)
        });
        world.run(4 * SECOND + 100 * MS);
        assert_eq!(world.peers(0, tag(0)), [1]);
    }
}

#[test]
fn a_peer_that_falls_silent_is_looked_for_before_it_is_given_up() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
    let silent = *world.node(0).taken.keys().next().unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.handle_quiet(silent, now));
    world.run(2 * SECOND + 500 * MS);
    let swarm = &world.node(0).swarm;
    let used = swarm.used(tag(0), key(1));
    assert!(used.is_some() && used != Some(silent), "{used:?}");
    // That it is over at last changes nothing.
    let now = world.now;
    world.with(0, |swarm| {
        swarm.handle_over(silent, CloseReason::Silent, now)
    });
    world.run(5 * SECOND);
    assert_eq!(world.node(0).swarm.used(tag(0), key(1)), used);
}

#[test]
fn a_session_that_comes_back_ends_the_search() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    let silent = *world.node(0).taken.keys().next().unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.handle_quiet(silent, now));
    world.run(2 * SECOND + 500 * MS);
    let now = world.now;
    world.with(0, |swarm| swarm.handle_heard(silent, None, now));
    world.run(5 * SECOND);
    let dials = world.dials;
    world.run(60 * SECOND);
    assert_eq!(world.dials, dials, "who is there isn't dialled");
    assert_eq!(world.peers(0, tag(0)), [1]);
}

#[test]
fn who_sends_bad_data_is_refused_for_an_hour() {
    let mut world = pair(2);
    for n in 0..2 {
        world.up(0, tag(n));
        world.up(1, tag(n));
    }
    world.run(SECOND);
    let found =
        |(id, (folder, _)): (&SessionId, &(FolderTag, usize))| (*folder == tag(0)).then_some(*id);
    let session = world.node(0).taken.iter().find_map(found).unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.ban(session, "bad\nchunks", now));
    world.run(SECOND);
    assert!(
        matches!(&world.node(0).notices[..], [Notice::Banned { peer, reason, .. }]
        if *peer == key(1) && !reason.contains('\n'))
    );
    // In the other folder nothing was proved against it.
    assert_eq!(
        (world.peers(0, tag(0)), world.peers(0, tag(1))),
        (vec![], vec![1])
    );
    let dials = world.dials;
    world.run(3_500 * SECOND);
    assert!(world.peers(0, tag(0)).is_empty());
    // Either side knows the other's address by name: each tries once in 30 s, less a quarter by chance.
    let most = 2 * 3_500 / 22 + 10;
    assert!(world.dials - dials < most, "{}", world.dials - dials);
    world.run(400 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
}

#[test]
fn a_folder_that_goes_takes_its_sessions_along() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(SECOND);
    // It is opened anew: they meet again, and a session that is ending doesn't count.
    let now = world.now;
    world.with(0, |swarm| swarm.handle_folder_down(tag(0), now));
    world.run(100 * MS);
    assert!(world.peers(0, tag(0)).is_empty());
    world.up(0, tag(0));
    world.run(100 * MS);
    assert_eq!(
        (world.peers(0, tag(0)), world.peers(1, tag(0))),
        (vec![1], vec![0])
    );
    // It is removed: the other is told so, and isn't dialled nor answered any more.
    world.with(0, |swarm| swarm.remove_folder(tag(0)));
    world.find(0, tag(0), 1, Source::Lan);
    world.run(SECOND);
    assert!(world.node(0).answered.is_empty() && world.node(0).swarm.candidates(tag(0)).is_empty());
    let told = world.node(1).swarm.candidates(tag(0));
    assert!(matches!(
        told[0].state,
        EntryState::Waiting | EntryState::Dialing
    ));
    assert!(world.peers(1, tag(0)).is_empty());
}

#[test]
fn other_addresses_of_the_machine_end_all_pauses() {
    let mut world = World::new(2);
    world.start(0, 1);
    world.up(0, tag(0));
    world.find(0, tag(0), 1, Source::Tracker);
    world.run(200 * SECOND);
    let one = |n: u8| BTreeSet::from([IpAddr::from([192, 0, 2, n])]);
    let now = world.now;
    world.with(0, |swarm| swarm.handle_addresses(one(1), now));
    let dials = world.dials;
    world.run(MS);
    assert_eq!(world.dials, dials, "the first look is no change");
    let now = world.now;
    world.with(0, |swarm| swarm.handle_addresses(one(1), now));
    world.with(0, |swarm| swarm.handle_addresses(one(2), now));
    world.run(MS);
    assert_eq!(world.dials, dials + 1);
}

#[test]
fn a_stop_says_goodbye_and_dials_nobody() {
    let mut world = pair(3);
    (0..2).for_each(|n| {
        world.up(0, tag(n));
        world.up(1, tag(n));
    });
    world.run(SECOND);
    world.with(0, Swarm::stop);
    let dials = world.dials;
    world.find(0, tag(2), 1, Source::Lan);
    world.up(0, tag(2));
    world.run(MS);
    assert!(world.node(0).swarm.is_idle());
    assert_eq!(
        (world.dials, world.node(0).swarm.next_timeout()),
        (dials, None)
    );
}
