//! What goes wrong, what people do meanwhile, and how all of it heals.

use std::{collections::BTreeSet, time::Duration};

use sync_store::fs::{Disk as _, RootPresence};

use syncd::swarm::BAN;

use super::{Event, Simulation, net::Pair, user};

/// Least operations of people in a seed.
pub const MIN_OPS: usize = 30;
/// Least faults of a seed.
pub const MIN_FAULTS: usize = 5;

/// Something that goes wrong, or right again.
#[derive(Debug, Clone)]
pub enum Fault {
    /// A machine stops at any moment, and starts again.
    Crash(usize),
    /// A machine stops in the middle of its next group of actions on the disk.
    CrashInApply(usize),
    /// A connection breaks; what was on its way is lost.
    Reset(Pair),
    /// A link carries nothing until then, and nobody is told.
    Stall(Pair, Duration),
    /// Nothing passes between these nodes and the others any more.
    Part(BTreeSet<usize>),
    /// A link works again.
    Join(Pair),
    /// The index is copied aside.
    Backup(usize),
    /// The index is lost, with the machine down.
    LoseIndex(usize),
    /// The index is rolled back to its copy, with the machine down.
    RollBack(usize),
    /// The clock jumps.
    Skew(usize, i64),
    /// The disk is full, or isn't any more.
    Full(usize, bool),
    /// So many in a thousand operations of the disk fail.
    Broken(usize, u64),
    /// The folder's file system goes away, or comes back.
    Mounted(usize, bool),
    /// The watcher tells that something happened to the root.
    Noticed(usize),
    /// Another file system is mounted at the root, with the same files, and a mark that fits.
    Swapped(usize),
    /// A node takes a peer for one that sends bad data, and refuses it for an hour.
    Ban(usize),
    /// The archive is looked through, and what nothing needs is swept.
    KeepHouse(usize),
}

impl Simulation {
    /// Plans a seed; returns when its wild part ends.
    pub(crate) fn plan(&mut self) -> Duration {
        let count = self.nodes.len() as u64;
        let spread_ms = self.rng.range(15_000, 70_000);
        self.before_start();
        for node in 0..self.nodes.len() {
            let at = self.rng.millis(0, 3_000);
            self.heap.push(at, Event::Start(node));
        }
        let ops = MIN_OPS + self.rng.below(40) as usize;
        let ops = self.options().max_ops.unwrap_or(ops);
        let mut at = Duration::ZERO;
        for _ in 0..ops {
            // Often several within a moment.
            if !self.rng.chance(40) {
                at = self.rng.millis(0, spread_ms);
            } else {
                at += self.rng.millis(0, 150);
            }
            let node = self.rng.below(count) as usize;
            self.heap.push(at, Event::User(node));
        }
        for node in 0..self.nodes.len() {
            let at = self.rng.millis(0, spread_ms);
            self.heap.push(at, Event::Fault(Fault::KeepHouse(node)));
        }
        let faults = MIN_FAULTS + self.rng.below(8) as usize;
        for _ in 0..self.options().max_faults.unwrap_or(faults) {
            let at = self.rng.millis(500, spread_ms);
            self.plan_fault(at);
        }
        Duration::from_millis(spread_ms)
    }

    /// Plans what is missing of a seed's share of operations and faults; returns when that ends.
    pub(crate) fn make_up(&mut self, end: Duration) -> Option<Duration> {
        let options = self.options();
        if options.scripted || options.max_ops.is_some() || options.max_faults.is_some() {
            return None;
        }
        let ops = (MIN_OPS as u64).saturating_sub(self.totals.ops);
        let faults = (MIN_FAULTS as u64).saturating_sub(self.totals.faults);
        if ops + faults == 0 || self.failure.is_some() {
            return None;
        }
        for _ in 0..ops {
            let node = self.rng.below(self.nodes.len() as u64) as usize;
            let at = end + self.rng.millis(0, 5_000);
            self.heap.push(at, Event::User(node));
        }
        for _ in 0..faults {
            let at = end + self.rng.millis(0, 5_000);
            self.plan_fault(at);
        }
        Some(end + Duration::from_secs(5))
    }

    /// What people have in their folders already.
    fn before_start(&mut self) {
        let single = self.rng.chance(12);
        if single {
            let writers = self.nodes.iter().filter(|n| n.can_write()).count() as u64;
            let only = self.rng.below(writers) as usize;
            self.single_writer(only);
        }
        let ops = self
            .options()
            .max_ops
            .unwrap_or(usize::MAX)
            .min(self.rng.below(12) as usize);
        for _ in 0..ops {
            let node = self.rng.below(self.nodes.len() as u64) as usize;
            self.somebody_acts(node);
        }
        if self.rng.chance(30) && !single {
            // The same files everywhere, as after copying them by hand.
            for at in 0..self.rng.range(1, 4) {
                let Some(bytes) = self.habits.shared.first().cloned() else {
                    return;
                };
                let op = user::Op::Write(format!("same/{at}").into_bytes(), bytes);
                for node in 0..self.nodes.len() {
                    self.act(node, &op);
                }
            }
        }
    }

    fn plan_fault(&mut self, at: Duration) {
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let pairs: Vec<Pair> = self.links.keys().copied().collect();
        let pair = self.rng.pick(&pairs).copied().unwrap_or((0, 1, 0));
        let until = at + self.rng.millis(500, 15_000);
        match self.rng.below(100) {
            0..20 => self.heap.push(at, Event::Fault(Fault::Crash(node))),
            20..35 => self.heap.push(at, Event::Fault(Fault::CrashInApply(node))),
            35..43 => self.heap.push(at, Event::Fault(Fault::Reset(pair))),
            43..50 => self.heap.push(at, Event::Fault(Fault::Stall(pair, until))),
            50..68 => {
                let all = 0..self.nodes.len();
                let mut group: BTreeSet<usize> = all.filter(|_| self.rng.chance(50)).collect();
                group.insert(node);
                if group.len() == self.nodes.len() {
                    group = BTreeSet::from([node]);
                }
                self.heap.push(at, Event::Fault(Fault::Part(group)));
                // Links come back one by one, in another order.
                let mut back = until;
                let mut rest = pairs;
                while !rest.is_empty() {
                    let which = self.rng.below(rest.len() as u64) as usize;
                    self.heap
                        .push(back, Event::Fault(Fault::Join(rest.swap_remove(which))));
                    back += self.rng.millis(0, 2_000);
                }
            }
            68..72 => self.heap.push(at, Event::Fault(Fault::LoseIndex(node))),
            72..77 => {
                self.heap.push(at, Event::Fault(Fault::Backup(node)));
                self.heap.push(until, Event::Fault(Fault::RollBack(node)));
            }
            77..83 => {
                let year = 365 * 86_400 * 1_000_000_000_i64;
                let by = match self.rng.below(4) {
                    0 => self.rng.range(0, 10) as i64 * year,
                    1 => -(self.rng.range(0, 10) as i64 * year),
                    2 => self.rng.range(0, 600) as i64 * 1_000_000_000,
                    _ => -(self.rng.range(0, 600) as i64 * 1_000_000_000),
                };
                self.heap.push(at, Event::Fault(Fault::Skew(node, by)));
            }
            83..90 => {
                self.heap.push(at, Event::Fault(Fault::Full(node, true)));
                self.heap
                    .push(until, Event::Fault(Fault::Full(node, false)));
            }
            90..95 => {
                let often = self.rng.range(5, 60);
                self.heap.push(at, Event::Fault(Fault::Broken(node, often)));
                self.heap.push(until, Event::Fault(Fault::Broken(node, 0)));
            }
            95..97 => self.heap.push(at, Event::Fault(Fault::Swapped(node))),
            97 => self.heap.push(at, Event::Fault(Fault::Ban(node))),
            _ => {
                self.heap
                    .push(at, Event::Fault(Fault::Mounted(node, false)));
                let noticed = at + self.rng.millis(0, 600);
                self.heap.push(noticed, Event::Fault(Fault::Noticed(node)));
                self.heap
                    .push(until, Event::Fault(Fault::Mounted(node, true)));
                let noticed = until + self.rng.millis(0, 600);
                self.heap.push(noticed, Event::Fault(Fault::Noticed(node)));
            }
        }
    }

    /// Somebody does something drawn by chance.
    pub(crate) fn somebody_acts(&mut self, number: usize) {
        if self.calm {
            return;
        }
        let number = self.only_writer().unwrap_or(number);
        self.habits.now_ns = self.nodes[number].unix_ns(self.now);
        for _ in 0..20 {
            let op = user::draw(&mut self.people, &self.nodes[number].disk, &self.habits);
            if op.is_some_and(|op| self.act(number, &op)) {
                return;
            }
        }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.trace
            .step(self.now, 0xff, "fault", format!("{fault:?}").as_bytes());
        self.trace.line(self.now, 0, || format!("fault: {fault:?}"));
        let ends = matches!(
            fault,
            Fault::Join(_)
                | Fault::Full(_, false)
                | Fault::Broken(_, 0)
                | Fault::Mounted(_, true)
                | Fault::Noticed(_)
                | Fault::KeepHouse(_)
                | Fault::Backup(_)
        );
        if self.calm && !ends && !self.options().scripted {
            return;
        }
        self.totals.faults += u64::from(!ends);
        match fault {
            Fault::Crash(node) => self.crash(node, true),
            Fault::CrashInApply(node) => {
                self.doomed.insert(node);
            }
            Fault::Reset(pair) => {
                self.totals.resets += 1;
                self.break_link(pair);
            }
            Fault::Stall(pair, until) => {
                self.totals.stalls += 1;
                if let Some(link) = self.links.get_mut(&pair) {
                    link.stalls_until = link.stalls_until.max(until);
                }
            }
            Fault::Part(group) => {
                self.totals.partitions += 1;
                self.part(&group);
            }
            Fault::Join(pair) => self.join(pair),
            Fault::Backup(node) => {
                let node = &mut self.nodes[node];
                node.backup = node.home.backup();
            }
            Fault::LoseIndex(node) => {
                self.crash(node, true);
                self.nodes[node].home.lose_index();
                self.oracle.index_lost = true;
            }
            Fault::RollBack(node) => {
                let Some(backup) = self.nodes[node].backup.take() else {
                    return;
                };
                self.crash(node, true);
                // Half of the time the whole home, else the index alone.
                let whole = self.now.as_micros().is_multiple_of(2);
                self.nodes[node].home.restore(backup, whole);
                self.oracle.index_lost = true;
            }
            Fault::Skew(node, by) => {
                self.nodes[node].skew_ns += by;
            }
            Fault::Full(node, full) => self.nodes[node].meddle().full = full,
            Fault::Broken(node, often) => self.nodes[node].meddle().broken = often,
            Fault::KeepHouse(node) => {
                if let Some(live) = &mut self.nodes[node].live {
                    live.driver.tidy_up();
                    self.outputs(node);
                }
            }
            Fault::Ban(node) => self.ban_somebody(node),
            Fault::Swapped(node) => {
                let disk = &self.nodes[node].disk;
                if disk.root_presence().is_ok_and(|p| p == RootPresence::Here) {
                    disk.set_presence(RootPresence::Another);
                }
                self.notice_root(node);
            }
            Fault::Mounted(node, here) => {
                let presence = if here {
                    RootPresence::Here
                } else {
                    RootPresence::Missing
                };
                self.nodes[node].disk.set_presence(presence);
            }
            Fault::Noticed(node) => self.notice_root(node),
        }
    }

    /// The watcher saw that something happened to the root: everything is scanned, and the driver sees what.
    fn notice_root(&mut self, number: usize) {
        self.heap.push(self.now, Event::Watch(number, Vec::new()));
    }

    /// Cuts all links between these nodes and the others.
    pub(crate) fn part(&mut self, group: &BTreeSet<usize>) {
        let cut: Vec<Pair> = self
            .links
            .keys()
            .copied()
            .filter(|(a, b, _)| group.contains(a) != group.contains(b))
            .collect();
        for pair in cut {
            if let Some(link) = self.links.get_mut(&pair) {
                link.up = false;
            }
            self.break_link(pair);
        }
    }

    /// A link works again.
    pub(crate) fn join(&mut self, pair: Pair) {
        if let Some(link) = self.links.get_mut(&pair) {
            link.up = true;
        }
        self.beacon_soon(pair.0);
        self.beacon_soon(pair.1);
    }

    /// All faults end, bans too; what the watchers missed is found by a full scan.
    pub(crate) fn heal(&mut self) {
        self.calm = true;
        if self.totals.bans > 0 {
            self.run_until(self.now + BAN);
        }
        self.doomed.clear();
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            node.disk.set_presence(RootPresence::Here);
            let mut meddling = node.meddle();
            (meddling.full, meddling.broken) = (false, 0);
            drop(meddling);
            self.start(number);
            self.notice_root(number);
        }
        let pairs: Vec<Pair> = self.links.keys().copied().collect();
        for pair in pairs {
            self.join(pair);
        }
        for number in 0..self.nodes.len() {
            let after = self.rng.millis(0, 1_000);
            self.heap
                .push(self.now + after, Event::Watch(number, Vec::new()));
        }
    }
}
