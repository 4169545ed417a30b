//! Two devices with several paths between them, in an order of chance: both end on one path.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use proptest::prelude::*;
use sync_core::ids::SessionId;

use super::{
    super::{KEPT, PathClass, PathFacts, PathOutput, Paths, Word},
    NOW, chooser, facts, follower,
};

/// What may happen to two devices with up to five paths, in an order of chance.
#[derive(Debug, Clone)]
enum Step {
    /// A path comes up, at one side first.
    Up {
        class: u8,
        host: u8,
        first: usize,
    },
    /// The next of what a side is about to hear arrives.
    Hear {
        side: usize,
        path: usize,
    },
    /// A path carries nothing, until it is mended.
    Cut {
        path: usize,
    },
    Mend {
        path: usize,
    },
    /// A path is broken: either side notices on its own.
    Break {
        path: usize,
    },
    /// Time goes by.
    Wait {
        ms: u64,
    },
    /// One side is started anew.
    Restart {
        side: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let path = 0..5_usize;
    let step = prop_oneof![
        3 => (0..3_u8, 0..2_u8, 0..2_usize).prop_map(|(class, host, first)| Step::Up { class, host, first }),
        12 => (0..2_usize, path.clone()).prop_map(|(side, path)| Step::Hear { side, path }),
        1 => path.clone().prop_map(|path| Step::Cut { path }),
        1 => path.clone().prop_map(|path| Step::Mend { path }),
        1 => path.prop_map(|path| Step::Break { path }),
        3 => (1..8_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..2_usize).prop_map(|side| Step::Restart { side }),
    ];
    prop::collection::vec(step, 1..80)
}

/// What arrives at a side.
#[derive(Debug, Clone, Copy)]
enum Mail {
    Up(PathFacts),
    Word(Word),
    /// A ping, or its answer.
    Ping,
    Pong,
    Down,
}

struct Wire {
    /// What is on its way to either side.
    mail: [VecDeque<Mail>; 2],
    cut: bool,
    broken: bool,
    /// Which side has it.
    open: [bool; 2],
    probed: [bool; 2],
}

struct World {
    sides: [Paths; 2],
    boots: [u64; 2],
    wires: BTreeMap<u64, Wire>,
    next: u64,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self {
            sides: [chooser(), follower()],
            boots: [1, 1],
            wires: BTreeMap::new(),
            next: 0,
            now: NOW,
        }
    }

    fn fresh(side: usize) -> Paths {
        [chooser, follower][side]()
    }

    fn nth(&self, n: usize) -> Option<u64> {
        let count = self.wires.len();
        self.wires.keys().nth(n % count.max(1)).copied()
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::from_millis(1);
        match *step {
            Step::Up { class, host, first } if self.wires.len() < 5 => {
                let class = [PathClass::Relay, PathClass::Direct, PathClass::Lan][class as usize];
                let to = |side: usize| {
                    let boot_nonce = self.boots[1 - side];
                    Mail::Up(PathFacts {
                        boot_nonce,
                        ..facts(class, host)
                    })
                };
                let wire = Wire {
                    mail: [[to(0)].into(), [to(1)].into()],
                    cut: false,
                    broken: false,
                    open: [false; 2],
                    probed: [false; 2],
                };
                self.next += 1;
                self.wires.insert(self.next, wire);
                self.hear(first, self.next);
            }
            Step::Up { .. } => {}
            Step::Hear { side, path } => {
                if let Some(id) = self.nth(path) {
                    self.hear(side, id);
                }
            }
            Step::Cut { path } | Step::Mend { path } => {
                let id = self.nth(path);
                if let Some(wire) = id.and_then(|id| self.wires.get_mut(&id)) {
                    wire.cut = matches!(step, Step::Cut { .. });
                }
            }
            Step::Break { path } => {
                if let Some(id) = self.nth(path) {
                    self.break_wire(id, [false, false]);
                }
            }
            Step::Wait { ms } => {
                self.now += Duration::from_millis(ms);
                self.notice_silence();
                for side in 0..2 {
                    self.sides[side].handle_timeout(self.now);
                    self.carry_out(side);
                }
            }
            Step::Restart { side } => {
                self.sides[side] = Self::fresh(side);
                self.boots[side] += 1;
                let all: Vec<_> = self.wires.keys().copied().collect();
                for id in all {
                    let mut gone = [false; 2];
                    gone[side] = true;
                    self.break_wire(id, gone);
                }
            }
        }
    }

    /// What is on its way is lost. A side that is gone doesn't hear of it.
    fn break_wire(&mut self, id: u64, gone: [bool; 2]) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        wire.broken = true;
        let ends = wire.mail.iter_mut().zip(&mut wire.open);
        for ((mail, open), gone) in ends.zip(gone) {
            mail.clear();
            match gone {
                true => *open = false,
                false => mail.push_back(Mail::Down),
            }
        }
        self.drop_dead(id);
    }

    fn drop_dead(&mut self, id: u64) {
        let dead = |w: &Wire| w.broken && !w.open[0] && !w.open[1];
        if self.wires.get(&id).is_some_and(dead) {
            self.wires.remove(&id);
        }
    }

    /// Whoever was probed and didn't answer is quiet.
    fn notice_silence(&mut self) {
        let all: Vec<_> = self.wires.keys().copied().collect();
        for id in all {
            for side in 0..2 {
                let Some(wire) = self.wires.get_mut(&id) else {
                    continue;
                };
                if wire.open[side] && std::mem::take(&mut wire.probed[side]) {
                    self.sides[side].handle_quiet(SessionId(id), self.now);
                    self.carry_out(side);
                }
            }
        }
    }

    fn hear(&mut self, side: usize, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let deaf = wire.cut && !wire.broken && wire.open[side];
        let Some(mail) = (!deaf).then(|| wire.mail[side].pop_front()).flatten() else {
            return;
        };
        let (name, now) = (SessionId(id), self.now);
        if wire.open[side] && !matches!(mail, Mail::Down) {
            // Anything that comes is a sign of life.
            wire.probed[side] = false;
            self.sides[side].handle_heard(name, now);
        }
        match mail {
            Mail::Up(facts) => {
                wire.open[side] = true;
                self.sides[side].handle_up(name, facts, now);
            }
            Mail::Word(word) => self.sides[side].handle_word(name, word, now),
            Mail::Ping => wire.mail[1 - side].push_back(Mail::Pong),
            Mail::Pong => {}
            Mail::Down => {
                let was_open = std::mem::take(&mut wire.open[side]);
                if was_open {
                    self.sides[side].handle_down(name, now);
                }
                self.drop_dead(id);
            }
        }
        self.carry_out(side);
    }

    fn carry_out(&mut self, side: usize) {
        while let Some(output) = self.sides[side].poll_output() {
            match output {
                PathOutput::Use(_) | PathOutput::Lost(_) => {}
                PathOutput::Say(path, word) => self.send(side, path, Mail::Word(word)),
                PathOutput::Probe(path) => {
                    if let Some(wire) = self.wires.get_mut(&path.0) {
                        wire.probed[side] = true;
                    }
                    self.send(side, path, Mail::Ping);
                }
                PathOutput::Drain(path) => self.sides[side].handle_drained(path, self.now),
                PathOutput::Close(path) => {
                    if let Some(wire) = self.wires.get_mut(&path.0)
                        && wire.open[side]
                    {
                        wire.open[side] = false;
                        wire.broken = true;
                        // All that was said before it arrives first.
                        wire.mail[1 - side].push_back(Mail::Down);
                        wire.mail[side].clear();
                        self.sides[side].handle_down(path, self.now);
                        self.drop_dead(path.0);
                    }
                }
            }
        }
    }

    fn send(&mut self, side: usize, path: SessionId, mail: Mail) {
        if let Some(wire) = self.wires.get_mut(&path.0)
            && wire.open[side]
            && !wire.broken
        {
            wire.mail[1 - side].push_back(mail);
        }
    }

    /// All cuts are mended, all arrives, and time goes by.
    fn settle(&mut self) {
        for _ in 0..60 {
            let all: Vec<_> = self.wires.keys().copied().collect();
            for id in all {
                if let Some(wire) = self.wires.get_mut(&id) {
                    wire.cut = false;
                }
                for side in [0, 1, 0, 1] {
                    while self
                        .wires
                        .get(&id)
                        .is_some_and(|w| !w.mail[side].is_empty())
                    {
                        self.hear(side, id);
                    }
                }
            }
            self.step(&Step::Wait { ms: 1_000 });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_sides_end_on_one_path_and_keep_few(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            for (side, paths) in world.sides.iter().enumerate() {
                // Whoever has a path that lives uses one that does.
                let open = world.wires.values().any(|w| w.open[side]);
                prop_assert_eq!(paths.used().is_some(), open, "side {}", side);
            }
        }
        world.settle();
        let open: Vec<_> = world.wires.iter().filter(|(_, w)| w.open[0] || w.open[1]).collect();
        for (id, wire) in &open {
            prop_assert_eq!(wire.open, [true; 2], "path {}", id);
        }
        prop_assert!(open.len() <= KEPT, "{} paths are kept", open.len());
        let used = world.sides.each_ref().map(Paths::used);
        prop_assert_eq!(used[0], used[1], "the sides use different paths");
        prop_assert_eq!(used[0].is_some(), !open.is_empty());
    }

    /// Without cuts and breaks some path is left whatever the order of things.
    #[test]
    fn a_choice_never_ends_them_all(steps in steps()) {
        let mut world = World::new();
        let mut up = false;
        for step in &steps {
            up |= matches!(step, Step::Up { .. });
            if !matches!(step, Step::Cut { .. } | Step::Break { .. } | Step::Restart { .. }) {
                world.step(step);
            }
        }
        world.settle();
        prop_assert_eq!(world.sides[0].used().is_some(), up);
        prop_assert_eq!(world.sides[0].used(), world.sides[1].used());
    }
}
