//! Two machines, one on either side, and the paths between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::machine::*;
use super::route::PathClass;
use crate::testing::secs;

const LOW: [u8; 32] = [1; 32];
const HIGH: [u8; 32] = [2; 32];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn facts(class: PathClass, host: u8) -> PathFacts {
    PathFacts {
        class,
        by_system: true,
        remote: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host))),
        boot_nonce: 1,
    }
}

fn outputs(paths: &mut Paths) -> Vec<PathOutput> {
    std::iter::from_fn(|| paths.poll_output()).collect()
}

fn id(n: u64) -> PathId {
    PathId(n)
}

fn heard(at: Duration, rtt: u64, due: bool) -> Sample {
    Sample {
        heard: at,
        unblocked: Duration::ZERO,
        rtt: Some(ms(rtt)),
        due,
    }
}

#[test]
fn the_first_path_is_used_without_a_word() {
    for (ours, theirs) in [(LOW, HIGH), (HIGH, LOW)] {
        let mut paths = Paths::new(&ours, &theirs);
        paths.handle_up(id(1), facts(PathClass::Relay, 1), secs(0));
        assert_eq!(outputs(&mut paths), [PathOutput::Use(id(1))]);
        assert_eq!(paths.next_timeout(), None, "at rest nothing is to be done");
    }
}

#[test]
fn a_nearer_path_is_taken_at_once_by_the_chooser_and_followed_by_the_other() {
    let mut low = Paths::new(&LOW, &HIGH);
    let mut high = Paths::new(&HIGH, &LOW);
    for paths in [&mut low, &mut high] {
        paths.handle_up(id(1), facts(PathClass::Direct, 1), secs(0));
        let _ = outputs(paths);
        paths.handle_up(id(2), facts(PathClass::Lan, 2), secs(1));
    }
    let said = outputs(&mut low);
    assert_eq!(
        said,
        [
            PathOutput::Probe(id(1)),
            PathOutput::Use(id(2)),
            PathOutput::Say(id(2), Word::Use),
            PathOutput::Say(id(1), Word::Standby),
        ]
    );
    assert_eq!(outputs(&mut high), [PathOutput::Probe(id(1))]);
    high.handle_word(id(2), Word::Use, secs(1));
    assert_eq!(
        outputs(&mut high),
        [
            PathOutput::Use(id(2)),
            PathOutput::Say(id(2), Word::Use),
            PathOutput::Say(id(1), Word::Standby),
        ]
    );
}

#[test]
fn a_worse_path_stands_by_and_takes_over_when_the_used_one_is_silent() {
    for (ours, theirs) in [(LOW, HIGH), (HIGH, LOW)] {
        let mut paths = Paths::new(&ours, &theirs);
        paths.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
        paths.handle_up(id(2), facts(PathClass::Relay, 2), secs(0));
        paths.handle_sample(id(1), heard(ms(1), 10, false), ms(1));
        paths.handle_sample(id(2), heard(ms(1), 300, false), ms(1));
        let _ = outputs(&mut paths);
        assert_eq!(paths.used(), Some(id(1)));
        assert_eq!(paths.next_timeout(), None);
        // Answers are awaited from 10 s on, and nothing comes.
        paths.handle_sample(id(1), heard(secs(9), 10, true), secs(10));
        assert_eq!(paths.next_timeout(), Some(ms(10_500)));
        paths.handle_timeout(ms(10_499));
        assert_eq!(outputs(&mut paths), []);
        paths.handle_timeout(ms(10_500));
        assert_eq!(outputs(&mut paths), [PathOutput::Probe(id(1))]);
        assert_eq!(paths.next_timeout(), Some(secs(11)));
        paths.handle_timeout(secs(11));
        assert_eq!(
            outputs(&mut paths),
            [
                PathOutput::Use(id(2)),
                PathOutput::Say(id(2), Word::Use),
                PathOutput::Say(id(1), Word::Standby),
                PathOutput::Lost(id(1)),
            ]
        );
        // It ends ten seconds after the probe.
        assert_eq!(paths.next_timeout(), Some(ms(20_500)));
        paths.handle_timeout(ms(20_500));
        assert_eq!(outputs(&mut paths), [PathOutput::Close(id(1), End::Silent)]);
        paths.handle_down(id(1), ms(20_501));
        assert_eq!((outputs(&mut paths), paths.used()), (vec![], Some(id(2))));
    }
}

#[test]
fn the_chosen_path_is_used_again_when_it_is_heard_again() {
    let mut high = Paths::new(&HIGH, &LOW);
    high.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
    high.handle_up(id(2), facts(PathClass::Direct, 2), secs(0));
    high.handle_sample(id(1), heard(ms(1), 10, false), ms(1));
    high.handle_word(id(1), Word::Use, ms(1));
    high.handle_sample(id(1), heard(ms(1), 10, true), secs(5));
    high.handle_timeout(ms(5_500));
    high.handle_timeout(secs(6));
    assert_eq!(high.used(), Some(id(2)));
    let _ = outputs(&mut high);
    high.handle_sample(id(1), heard(secs(7), 10, false), secs(7));
    assert_eq!(
        outputs(&mut high),
        [
            PathOutput::Use(id(1)),
            PathOutput::Say(id(1), Word::Use),
            PathOutput::Say(id(2), Word::Standby),
        ]
    );
}

#[test]
fn among_equals_only_what_stays_much_faster_is_taken_and_not_too_often() {
    let mut low = Paths::new(&LOW, &HIGH);
    low.handle_up(id(1), facts(PathClass::Direct, 1), secs(0));
    low.handle_up(id(2), facts(PathClass::Direct, 2), secs(0));
    let mut sample = |second: u64, first: u64, other: u64| {
        let now = secs(second);
        low.handle_sample(id(1), heard(now, first, false), now);
        low.handle_sample(id(2), heard(now, other, false), now);
        low.used()
    };
    // A little faster isn't enough, however long.
    for second in 1..100 {
        assert_eq!(sample(second, 100, 81), Some(id(1)));
    }
    // Nor is much faster for a moment.
    assert_eq!(sample(100, 100, 50), Some(id(1)));
    assert_eq!(sample(108, 100, 50), Some(id(1)));
    assert_eq!(sample(109, 100, 90), Some(id(1)));
    assert_eq!(sample(111, 100, 50), Some(id(1)));
    assert_eq!(sample(120, 100, 50), Some(id(1)));
    assert_eq!(sample(121, 100, 50), Some(id(2)));
    // The other way round it takes a minute.
    for second in 122..181 {
        assert_eq!(sample(second, 10, 50), Some(id(2)), "{second}");
    }
    assert_eq!(sample(181, 10, 50), Some(id(1)));
}

#[test]
fn a_twin_is_retired_once_the_used_path_is_known_to_live() {
    let mut low = Paths::new(&LOW, &HIGH);
    low.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
    let _ = outputs(&mut low);
    low.handle_up(id(2), facts(PathClass::Lan, 1), secs(1));
    let said = outputs(&mut low);
    assert!(said.contains(&PathOutput::Probe(id(1))));
    assert!(!said.contains(&PathOutput::Say(id(2), Word::Retire)));
    low.handle_sample(id(1), heard(ms(1_001), 1, false), ms(1_001));
    assert_eq!(outputs(&mut low), [PathOutput::Say(id(2), Word::Retire)]);
    // It ends when the other side has nothing due on it either.
    low.handle_word(id(2), Word::Retire, ms(1_002));
    assert_eq!(outputs(&mut low), [PathOutput::Close(id(2), End::Replaced)]);
}

#[test]
fn a_dead_path_gives_way_to_its_twin() {
    let mut low = Paths::new(&LOW, &HIGH);
    low.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
    low.handle_up(id(2), facts(PathClass::Lan, 1), secs(1));
    low.handle_timeout(ms(1_500));
    assert_eq!(low.used(), Some(id(2)));
}

#[test]
fn what_is_retired_is_drained_first_but_not_for_ever() {
    let mut high = Paths::new(&HIGH, &LOW);
    high.handle_up(id(1), facts(PathClass::Direct, 1), secs(0));
    high.handle_sample(id(1), heard(ms(1), 10, true), ms(1));
    high.handle_up(id(2), facts(PathClass::Lan, 2), ms(2));
    high.handle_word(id(2), Word::Use, ms(3));
    high.handle_sample(id(1), heard(ms(3), 10, true), ms(3));
    let _ = outputs(&mut high);
    high.handle_word(id(1), Word::Retire, ms(4));
    assert_eq!(outputs(&mut high), [], "answers are still awaited on it");
    high.handle_sample(id(1), heard(ms(100), 10, false), ms(100));
    assert_eq!(outputs(&mut high), [PathOutput::Say(id(1), Word::Retire)]);
    // The chooser would close it now; if it doesn't, we do.
    high.handle_timeout(ms(4) + RETIRE_FOR);
    assert_eq!(
        outputs(&mut high),
        [PathOutput::Close(id(1), End::Replaced)]
    );
    assert_eq!(high.used(), Some(id(2)));
}

#[test]
fn a_restarted_peer_has_no_older_path() {
    for (ours, theirs) in [(LOW, HIGH), (HIGH, LOW)] {
        let mut paths = Paths::new(&ours, &theirs);
        paths.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
        let _ = outputs(&mut paths);
        let anew = PathFacts {
            boot_nonce: 2,
            ..facts(PathClass::Relay, 2)
        };
        paths.handle_up(id(2), anew, secs(1));
        let said = outputs(&mut paths);
        assert_eq!(said[0], PathOutput::Close(id(1), End::Replaced));
        assert_eq!(said[1], PathOutput::Use(id(2)));
        assert!(said.contains(&PathOutput::Lost(id(1))));
        assert_eq!(paths.used(), Some(id(2)));
    }
}

#[test]
fn the_only_path_is_given_more_time_if_its_round_trips_are_long() {
    let ends = |rtt| {
        let mut paths = Paths::new(&LOW, &HIGH);
        paths.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
        paths.handle_sample(id(1), heard(secs(0), rtt, true), secs(0));
        let _ = outputs(&mut paths);
        while let Some(at) = paths.next_timeout() {
            paths.handle_timeout(at);
            if outputs(&mut paths).contains(&PathOutput::Close(id(1), End::Silent)) {
                return at;
            }
        }
        panic!("it never ends");
    };
    assert_eq!(ends(10), ms(10_500));
    assert_eq!(ends(4_000), ms(8_300 + 32_000));
}

#[test]
fn a_stream_that_takes_bytes_is_not_dead() {
    let mut paths = Paths::new(&LOW, &HIGH);
    paths.handle_up(id(1), facts(PathClass::Lan, 1), secs(0));
    for second in 1..100 {
        let sample = Sample {
            unblocked: secs(second),
            ..heard(secs(0), 10, true)
        };
        paths.handle_sample(id(1), sample, secs(second));
        paths.handle_timeout(ms(second * 1000 + 400));
        assert_eq!(
            outputs(&mut paths),
            [PathOutput::Use(id(1))][..usize::from(second == 1)]
        );
    }
}

/// A wire between the two sides that takes its time.
struct Way {
    facts: PathFacts,
    delay: Duration,
    works: bool,
    /// Where the sides are with it: not yet there, there, gone.
    there: [bool; 2],
}

/// Both sides and all ways.
struct World {
    now: Duration,
    sides: [Paths; 2],
    ways: BTreeMap<PathId, Way>,
    next: u64,
    /// What is on its way: when, to which side, on which path, what.
    flying: VecDeque<(Duration, usize, PathId, Flight)>,
    heard: [BTreeMap<PathId, Duration>; 2],
    due: [bool; 2],
    closed_by: Vec<(usize, PathId, End)>,
    changes: u32,
}

#[derive(Debug, Clone, Copy)]
enum Flight {
    Word(Word),
    Ping,
    Pong,
    Down,
}

impl World {
    fn new() -> Self {
        Self {
            now: secs(1),
            sides: [Paths::new(&LOW, &HIGH), Paths::new(&HIGH, &LOW)],
            ways: BTreeMap::new(),
            next: 0,
            flying: VecDeque::new(),
            heard: [BTreeMap::new(), BTreeMap::new()],
            due: [false; 2],
            closed_by: Vec::new(),
            changes: 0,
        }
    }

    fn up(&mut self, class: PathClass, host: u8, delay: Duration, first: usize) {
        self.next += 1;
        let id = PathId(self.next);
        let facts = facts(class, host);
        let way = Way {
            facts,
            delay,
            works: true,
            there: [false; 2],
        };
        self.ways.insert(id, way);
        for side in [first, 1 - first] {
            if let Some(way) = self.ways.get_mut(&id) {
                way.there[side] = true;
            }
            self.heard[side].insert(id, self.now);
            self.sides[side].handle_up(id, facts, self.now);
            self.obey(side);
        }
    }

    fn fly(&mut self, from: usize, id: PathId, what: Flight) {
        let Some(way) = self.ways.get(&id).filter(|way| way.works) else {
            return;
        };
        let at = self.now + way.delay;
        let place = self.flying.partition_point(|(t, ..)| *t <= at);
        self.flying.insert(place, (at, 1 - from, id, what));
    }

    fn obey(&mut self, side: usize) {
        while let Some(output) = self.sides[side].poll_output() {
            match output {
                PathOutput::Use(_) => self.changes += 1,
                PathOutput::Say(id, word) => self.fly(side, id, Flight::Word(word)),
                PathOutput::Probe(id) => self.fly(side, id, Flight::Ping),
                PathOutput::Close(id, end) => {
                    self.closed_by.push((side, id, end));
                    self.fly(side, id, Flight::Down);
                    self.down(side, id);
                }
                PathOutput::Lost(_) => {}
            }
        }
    }

    fn down(&mut self, side: usize, id: PathId) {
        if let Some(way) = self.ways.get_mut(&id) {
            way.there[side] = false;
        }
        self.heard[side].remove(&id);
        self.sides[side].handle_down(id, self.now);
        self.obey(side);
    }

    fn sample_all(&mut self) {
        for side in 0..2 {
            for (id, at) in self.heard[side].clone() {
                let delay = self.ways[&id].delay;
                let sample = Sample {
                    heard: at,
                    unblocked: Duration::ZERO,
                    rtt: Some(delay * 2),
                    due: self.due[side] && self.sides[side].used() == Some(id),
                };
                self.sides[side].handle_sample(id, sample, self.now);
                self.obey(side);
            }
            self.sides[side].handle_timeout(self.now);
            self.obey(side);
        }
    }

    /// Lets time pass.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += ms(50);
            while let Some((at, side, id, what)) = self.flying.front().copied() {
                if at > self.now {
                    break;
                }
                self.flying.pop_front();
                if !self.ways[&id].works || !self.ways[&id].there[side] {
                    continue;
                }
                self.heard[side].insert(id, self.now);
                match what {
                    Flight::Word(word) => {
                        self.sides[side].handle_word(id, word, self.now);
                        self.obey(side);
                    }
                    Flight::Ping => self.fly(side, id, Flight::Pong),
                    Flight::Pong => {}
                    Flight::Down => self.down(side, id),
                }
            }
            self.sample_all();
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Up(u8, u8, u64, bool),
    Break(usize),
    Mend(usize),
    Cut(usize),
    Due(bool, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_u8, 0..3_u8, 1..400_u64, any::<bool>()).prop_map(|(c, h, d, f)| Step::Up(c, h, d, f)),
        (0..6_usize).prop_map(Step::Break),
        (0..6_usize).prop_map(Step::Mend),
        (0..6_usize).prop_map(Step::Cut),
        any::<(bool, bool)>().prop_map(|(a, b)| Step::Due(a, b)),
        (1..15_000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever comes up, breaks and mends: at the end both sides use the same path, the best that lives, and
    /// no more than are kept are left.
    #[test]
    fn both_sides_end_on_the_best_path_that_lives(steps in prop::collection::vec(step(), 1..30)) {
        let mut world = World::new();
        for step in steps {
            let nth = |world: &World, n: usize| world.ways.keys().nth(n).copied();
            match step {
                Step::Up(class, host, delay, first) => {
                    let class = [PathClass::Relay, PathClass::Direct, PathClass::Lan][usize::from(class)];
                    world.up(class, host, ms(delay), usize::from(first));
                }
                Step::Break(n) | Step::Mend(n) => {
                    let works = matches!(step, Step::Mend(_));
                    if let Some(way) = nth(&world, n).and_then(|id| world.ways.get_mut(&id)) {
                        way.works = works;
                    }
                }
                // The stream ends, and both notice.
                Step::Cut(n) => if let Some(id) = nth(&world, n) {
                    for side in 0..2 {
                        world.down(side, id);
                    }
                },
                Step::Due(a, b) => world.due = [a, b],
                Step::Wait(span) => world.run(ms(span)),
            }
        }
        // Everything works again, and something is due, so that what is dead is noticed.
        for way in world.ways.values_mut() {
            way.works = true;
        }
        world.due = [true; 2];
        world.run(secs(30));
        // A path that one side alone believes in has ended for the other: its stream would end too.
        let halves: Vec<_> = world.ways.iter().filter(|(_, w)| w.there[0] != w.there[1]).map(|(id, _)| *id).collect();
        for id in halves {
            for side in 0..2 {
                world.down(side, id);
            }
        }
        world.run(secs(120));
        let both: Vec<_> = world.ways.iter().filter(|(_, w)| w.there == [true; 2]).collect();
        let used = world.sides[0].used();
        prop_assert_eq!(used, world.sides[1].used());
        prop_assert_eq!(used.is_some(), !both.is_empty());
        prop_assert!(both.len() <= KEPT, "{} are left", both.len());
        let best = both.iter().map(|(_, w)| w.facts.class).max();
        prop_assert_eq!(used.map(|id| world.ways[&id].facts.class), best);
        let hosts: BTreeSet<_> = both.iter().map(|(_, w)| (w.facts.class, w.facts.remote)).collect();
        prop_assert_eq!(hosts.len(), both.len(), "no twins are left");
        // At rest nothing changes any more.
        let changes = world.changes;
        world.run(secs(300));
        prop_assert_eq!(changes, world.changes);
    }
}
