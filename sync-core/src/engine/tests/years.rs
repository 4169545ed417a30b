//! Three devices over years: whatever order they meet in, they end alike, nothing is lost and nothing comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::rig::Rig;
use crate::engine::Input;

const NODES: usize = 3;
const NAMES: usize = 6;
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

#[derive(Debug, Clone)]
enum Op {
    Write(usize, usize),
    Remove(usize, usize),
    Cut(usize),
    Join(usize),
    /// A second session, over which all goes from then on.
    Switch(usize),
    Days(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..NODES, 0..NAMES).prop_map(|(n, name)| Op::Write(n, name)),
        4 => (0..NODES, 0..NAMES).prop_map(|(n, name)| Op::Remove(n, name)),
        3 => (0..PAIRS.len()).prop_map(Op::Cut),
        3 => (0..PAIRS.len()).prop_map(Op::Join),
        1 => (0..PAIRS.len()).prop_map(Op::Switch),
        2 => (1_u64..90).prop_map(Op::Days),
    ]
}

struct World {
    rig: Rig,
    linked: [bool; PAIRS.len()],
    writes: i64,
    /// What was written last under each name, unless somebody removed it since.
    last: BTreeMap<usize, String>,
    /// Names that were removed when everybody had all, and weren't written again.
    gone: BTreeSet<usize>,
}

impl World {
    fn is_whole(&self) -> bool {
        let links = self.linked.iter().filter(|linked| **linked).count();
        let trees = (1..NODES).all(|n| self.rig.tree(n) == self.rig.tree(0));
        links >= 2 && trees
    }

    fn run(&mut self, op: Op) {
        self.rig.settle();
        match op {
            Op::Write(n, name) => {
                self.writes += 1;
                let text = format!("write {}", self.writes);
                self.rig
                    .write(n, &format!("f{name}"), text.as_bytes(), self.writes);
                self.last.insert(name, text);
                self.gone.remove(&name);
            }
            Op::Remove(n, name) => {
                let path = format!("f{name}");
                if self.rig.read(n, &path).is_some() {
                    if self.is_whole() {
                        self.gone.insert(name);
                    }
                    self.last.remove(&name);
                    self.rig.remove(n, &path);
                }
            }
            Op::Cut(pair) => {
                let (a, b) = PAIRS[pair];
                if std::mem::replace(&mut self.linked[pair], false) {
                    self.rig.cut(a, b);
                }
            }
            Op::Join(pair) => {
                let (a, b) = PAIRS[pair];
                if !std::mem::replace(&mut self.linked[pair], true) {
                    self.rig.join(a, b);
                }
            }
            Op::Switch(pair) => {
                let (a, b) = PAIRS[pair];
                if self.linked[pair] {
                    let session = self.rig.join_again(a, b);
                    self.rig.queue.push_back((a, Input::Prefer { session }));
                }
            }
            Op::Days(days) => self.rig.sleep(Duration::from_secs(days * 24 * 3_600)),
        }
        self.rig.settle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn they_end_alike(ops in proptest::collection::vec(op(), 1..40)) {
        let mut world = World {
            rig: Rig::apart(NODES, usize::MAX),
            linked: [false; PAIRS.len()],
            writes: 0,
            last: BTreeMap::new(),
            gone: BTreeSet::new(),
        };
        for op in ops {
            world.run(op);
        }
        for pair in 0..PAIRS.len() {
            world.run(Op::Join(pair));
        }
        let rig = &world.rig;
        for n in 1..NODES {
            prop_assert_eq!(rig.tree(n), rig.tree(0));
            prop_assert!(rig.in_sync(n));
        }
        let there: BTreeSet<_> = rig.tree(0).into_values().collect();
        for text in world.last.values() {
            prop_assert!(there.contains(text.as_bytes()), "lost: {}", text);
        }
        for name in world.gone {
            prop_assert_eq!(rig.read(0, &format!("f{name}")), None, "f{} is back", name);
        }
    }
}
