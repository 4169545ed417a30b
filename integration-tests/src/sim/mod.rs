//! A deterministic simulator of a cluster.
//!
//! Several real engines with their appliers, scanners, chunk stores and sessions run in one thread, in virtual
//! time, on simulated disks and links. All chance comes from one seed, so a run can be repeated exactly; each
//! seed is run twice and the traces must be equal. A run has three parts: people work while faults
//! happen; then all faults heal and everything must come to rest within ten minutes and be right (see
//! [`oracle`]); then, for a minute, nothing may be sent or written.
//!
//! It owns the order of events. It must never read a clock, sleep, start a thread or draw chance from elsewhere.
//!
//! | file | what it holds |
//! |---|---|
//! | `heap`, `rng`, `trace` | order, chance, notes |
//! | `net`, `wire`, `ways` | links and sessions, and their events |
//! | `node`, `shell` | machines, and the work that engines ask for |
//! | `user`, `faults` | what people do and what goes wrong |
//! | `oracle`, `rest` | what must hold, and when it is judged |
//! | `script` | the same by hand, for scenarios |

pub mod faults;
mod fits;
pub mod heap;
mod home;
pub mod net;
pub mod node;
pub mod oracle;
mod report;
mod rest;
pub mod rng;
pub mod script;
pub mod shell;
mod show;
mod swarm;
pub mod trace;
pub mod user;
mod ways;
mod wire;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sync_core::{
    engine::Input,
    ids::{PeerKey, SessionId},
    keys::FolderKeys,
    message::ObjectMessage,
    path::RelPath,
    secret::{ReadWriteSecret, Secret},
};
use sync_discovery::book::Dial;
use sync_net::{Member, SharedFolder, paths::PathClass};
use sync_store::{
    driver::{Job, JobResult, Told},
    fs::MemDisk,
};

use faults::Fault;
pub use faults::{MIN_FAULTS, MIN_OPS};
use heap::Heap;
use home::SimHome;
use net::{Link, Pair, pair};
use node::Node;
use oracle::Oracle;
pub use report::{Options, Report, Totals};
use rng::Rng;
use show::{show_input, word};
use swarm::Heard;
use trace::Trace;
use user::{Effect, Habits, Op, perform};

/// The longest that a cluster may take to come to rest after the last fault.
pub const REST_LIMIT: Duration = Duration::from_secs(600);
/// How often a seed is given time for what it lacks.
const MAKE_UP: u32 = 8;
/// How long it is watched afterwards.
pub const IDLE: Duration = Duration::from_secs(60);
/// No run lasts as long.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// More steps than this are a run without end.
const MAX_STEPS: u64 = 3_000_000;

/// What can be due.
#[derive(Debug)]
pub(crate) enum Event {
    /// An engine's timer.
    Tick(usize, u64),
    /// Something an engine is told.
    Input(usize, u64, Box<Input>),
    /// A job of a driver.
    Work(usize, u64, Box<Job<SimHome>>),
    /// What a job tells its driver.
    Result(usize, u64, Box<JobResult<SimHome>>),
    /// The server of objects answers a peer.
    Serve(usize, u64, SessionId, ObjectMessage),
    /// A machine starts.
    Start(usize),
    /// The watcher tells of changes.
    Watch(usize, Vec<RelPath>),
    /// A dial arrives.
    Dial(usize, u64, Dial),
    /// Something that the swarm of a daemon hears.
    Swarm(usize, u64, Box<Heard>),
    /// A daemon says on its links that it is there; again and again, or once.
    Beacon(usize, u64, bool),
    /// Bytes arrive at an end.
    Arrive(Pair, u64, usize, Bytes),
    /// An end may send.
    Pump(Pair, u64, usize),
    /// A session's timer.
    Timer(Pair, u64, usize),
    /// Somebody does something.
    User(usize),
    /// Something goes wrong, or right again.
    Fault(Fault),
}

/// A cluster and all that happens to it.
#[derive(Debug)]
pub struct Simulation {
    seed: u64,
    options: Options,
    pub(crate) now: Duration,
    pub(crate) heap: Heap<Event>,
    pub(crate) rng: Rng,
    pub(crate) people: Rng,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeMap<Pair, Link>,
    pub(crate) next_conn: u64,
    real: bool,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) totals: Totals,
    pub(crate) failure: Option<String>,
    pub(crate) habits: Habits,
    /// Nodes whose next group of actions is crashed in the middle.
    pub(crate) doomed: BTreeSet<usize>,
    /// No more faults and operations.
    pub(crate) calm: bool,
    /// What a single writer's tree must look like.
    shadow: Option<(usize, MemDisk)>,
    /// Times that anything was sent or written.
    pub(crate) activity: u64,
    active_at: Duration,
    scans: u64,
}

impl Simulation {
    /// A cluster at its beginning. Nothing has started yet.
    pub fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed);
        let people = rng.fork();
        let real = options.real_sessions.unwrap_or(seed % 8 == 7);
        let count = options.nodes.unwrap_or(2 + rng.below(4) as usize);
        let read_only = options
            .read_only
            .unwrap_or(!options.scripted && rng.chance(25));
        let secret = ReadWriteSecret::from_bytes(rng.array());
        let keys = FolderKeys::derive(&Secret::ReadWrite(secret.clone()));
        let reader = FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only()));
        let mut nodes = Vec::new();
        for number in 0..count {
            let last = number + 1 == count;
            let keys = if read_only && last {
                reader.clone()
            } else {
                keys.clone()
            };
            let device: [u8; 32] = rng.array();
            let key = PeerKey(sync_net::handshake::public_key(&keys.static_key(&device)));
            let folder: SharedFolder = Arc::new(Member::new(keys.clone(), &device));
            let level = keys.level();
            let id = net::Identity {
                folder,
                key,
                level,
                boot: 0,
            };
            let own = rng.fork();
            nodes.push(Node::new(number, keys, id, own));
        }
        let mut links = BTreeMap::new();
        // Many clusters have two links between each pair, one of them farther or as far as the other.
        let two = !options.scripted && rng.chance(50);
        let far = two && rng.chance(30);
        for a in 0..count {
            for pair in (a + 1..count).flat_map(|b| [pair(a, b, 0), pair(a, b, 1)]) {
                if pair.2 == 1 && !two {
                    continue;
                }
                let latency = match rng.below(3) {
                    0 => Duration::from_micros(200),
                    1 => rng.millis(1, 20),
                    _ => rng.millis(20, 150),
                };
                let width = [200_000, 2_000_000, 100_000_000][rng.below(3) as usize];
                let jitter_ms = rng.below(20);
                let link = Link {
                    up: true,
                    latency,
                    jitter_ms,
                    width,
                    class: match pair.2 == 1 || far {
                        true => PathClass::Direct,
                        false => PathClass::Lan,
                    },
                    stalls_until: Duration::ZERO,
                    conns: Vec::new(),
                };
                links.insert(pair, link);
            }
        }
        let readers = nodes
            .iter()
            .filter(|n| !n.can_write())
            .map(|n| n.number)
            .collect();
        let shared = (0..3).map(|_| rng.bytes(30)).collect();
        let habits = Habits {
            big: rng.chance(20),
            shared,
            now_ns: node::EPOCH_NS,
        };
        Self {
            seed,
            options,
            now: Duration::ZERO,
            heap: Heap::default(),
            rng,
            people,
            nodes,
            links,
            next_conn: 1,
            real,
            oracle: Oracle::new(readers),
            trace: Trace::new(options.trace),
            totals: Totals {
                seeds: 1,
                real_sessions: u64::from(real),
                ..Totals::default()
            },
            failure: None,
            habits,
            doomed: BTreeSet::new(),
            calm: options.scripted,
            shadow: None,
            activity: 0,
            active_at: Duration::ZERO,
            scans: 0,
        }
    }

    /// Runs the whole seed.
    pub fn run(mut self) -> Report {
        let mut end = self.plan();
        self.run_until(end);
        // What could not be done when it was due is made up for.
        for _ in 0..MAKE_UP {
            let Some(later) = self.make_up(end) else {
                break;
            };
            end = later;
            self.run_until(end);
        }
        self.heal();
        let healed = self.now;
        self.come_to_rest();
        self.totals.slowest_rest_s = (self.now - healed).as_secs();
        self.watch_idle();
        self.report()
    }

    /// Ends a run.
    pub fn report(mut self) -> Report {
        self.totals.steps = self.trace.steps();
        self.totals.virtual_s = self.now.as_secs();
        self.totals.edit_delete_races = self.oracle.edit_delete_races;
        self.totals.rebuilds = self.nodes.iter().map(|n| n.rebuilds).sum();
        Report {
            seed: self.seed,
            trace_hash: self.trace.hash(),
            totals: self.totals,
            failure: self.failure.take(),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn fail(&mut self, why: String) {
        let at = self.now.as_secs_f64();
        self.failure
            .get_or_insert_with(|| format!("at {at:.3} s: {why}"));
    }

    /// Lets time pass up to a moment.
    pub fn run_until(&mut self, end: Duration) {
        while self.failure.is_none() {
            match self.heap.next_at() {
                Some(at) if at <= end => self.step(),
                _ => break,
            }
        }
        self.now = self.now.max(end);
    }

    fn step(&mut self) {
        let Some((at, event)) = self.heap.pop() else {
            return;
        };
        self.now = at;
        if self.trace.steps() > MAX_STEPS {
            self.fail("the cluster never comes to rest: too many steps".into());
        }
        match event {
            Event::Tick(node, run) => {
                let due = self.live_run(node, run)
                    && self.nodes[node]
                        .live
                        .as_ref()
                        .is_some_and(|l| l.tick == Some(at));
                if due {
                    if let Some(live) = &mut self.nodes[node].live {
                        live.tick = None;
                    }
                    self.due(node);
                }
            }
            Event::Input(node, run, input) => {
                if self.live_run(node, run) {
                    self.tell(node, *input);
                }
            }
            Event::Serve(node, run, session, request) => {
                if self.live_run(node, run) {
                    self.serve(node, session, &request);
                }
            }
            Event::Work(node, run, output) => {
                if self.live_run(node, run) {
                    self.work(node, *output);
                }
            }
            Event::Result(node, run, result) => {
                if self.live_run(node, run) {
                    self.told(node, *result);
                }
            }
            Event::Start(node) => self.start(node),
            Event::Watch(node, paths) => {
                if self.nodes[node].live.is_some() {
                    let input = if paths.is_empty() {
                        Input::DirtyAll
                    } else {
                        Input::Dirty(paths)
                    };
                    self.tell(node, input);
                }
            }
            Event::User(node) => self.somebody_acts(node),
            Event::Fault(fault) => self.fault(fault),
            Event::Dial(node, daemon, dial) => self.dial(node, daemon, dial),
            Event::Swarm(node, daemon, heard) => self.heard(node, daemon, *heard),
            Event::Beacon(node, daemon, repeat) => self.beacon(node, daemon, repeat),
            Event::Arrive(pair, conn, side, bytes) => self.arrive(pair, conn, side, &bytes),
            Event::Pump(pair, conn, side) => self.pump(pair, conn, side),
            Event::Timer(pair, conn, side) => self.timer(pair, conn, side),
        }
    }

    fn live_run(&self, node: usize, run: u64) -> bool {
        self.nodes[node].run == run && self.nodes[node].live.is_some()
    }

    /// Starts a machine's daemon.
    pub(crate) fn start(&mut self, number: usize) {
        if self.nodes[number].live.is_some() {
            return;
        }
        self.nodes[number].start(self.now);
        self.trace.step(self.now, number, "start", &[]);
        self.trace.line(self.now, number, || "start".into());
        self.swarm_up(number);
        self.outputs(number);
    }

    /// A folder has ended because something failed: its supervisor opens it anew.
    fn stopped(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.run += 1;
        node.live = None;
        self.folder_up(number, false);
        let after = self.rng.millis(100, 3_000);
        self.heap.push(self.now + after, Event::Start(number));
    }

    /// A machine loses power or its daemon dies; it starts again later.
    pub(crate) fn crash(&mut self, number: usize, restart: bool) {
        if self.nodes[number].live.is_none() {
            return;
        }
        self.totals.crashes += 1;
        self.trace.step(self.now, number, "crash", &[]);
        self.trace.line(self.now, number, || "crash".into());
        self.nodes[number].crash();
        self.break_all(number);
        self.check_disk(number);
        if restart {
            let after = self.rng.millis(100, 8_000);
            self.heap.push(self.now + after, Event::Start(number));
        }
    }

    /// The oracle looks at a disk that the daemon, or a crash, may have changed.
    pub(crate) fn check_disk(&mut self, number: usize) {
        if let Err(why) = self.oracle.step(&self.nodes[number]) {
            self.fail(why);
        }
    }

    /// Tells an engine something, and takes what it wants.
    pub(crate) fn tell(&mut self, number: usize, input: Input) {
        let node = &mut self.nodes[number];
        let now = node.now(self.now);
        let Some(live) = &mut node.live else { return };
        self.trace.step(self.now, number, word(&input), &[]);
        self.trace.line(self.now, number, || show_input(&input));
        live.driver.handle(input, now);
        self.outputs(number);
    }

    /// A job tells its driver something.
    fn told(&mut self, number: usize, result: JobResult<SimHome>) {
        let node = &mut self.nodes[number];
        let now = node.now(self.now);
        let Some(live) = &mut node.live else { return };
        let word = match &result.told {
            Told::Input(input) => word(input),
            _ => result.lane().as_str(),
        };
        self.trace.step(self.now, number, word, &[]);
        self.trace.line(self.now, number, || match &result.told {
            Told::Input(input) => show_input(input),
            told => format!("{} tells {told:?}", result.lane().as_str()),
        });
        live.driver.handle_result(result, now);
        self.outputs(number);
    }

    /// A driver's timer.
    fn due(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let now = node.now(self.now);
        let Some(live) = &mut node.live else { return };
        self.trace.step(self.now, number, "tick", &[]);
        live.driver.handle_timeout(now);
        self.outputs(number);
    }

    /// Takes what a driver wants.
    pub(crate) fn outputs(&mut self, number: usize) {
        while let Some(live) = &mut self.nodes[number].live {
            if let Some(effect) = live.driver.poll_effect() {
                self.effect(number, effect);
            } else if let Some(job) = live.driver.poll_job() {
                self.plan_job(number, job);
            } else {
                break;
            }
        }
        let node = &mut self.nodes[number];
        let Some(live) = &mut node.live else { return };
        if let Some(at) = live.driver.next_timeout() {
            // Farther off than any run is the same as never.
            let at = node.boot.saturating_add(at).max(self.now);
            if at < FOR_EVER && live.tick.is_none_or(|tick| at < tick) {
                live.tick = Some(at);
                self.heap.push(at, Event::Tick(number, node.run));
            }
        }
    }

    /// Whether people of a node may act.
    pub(crate) fn may_act(&self, number: usize) -> bool {
        self.shadow.as_ref().is_none_or(|(only, _)| *only == number)
    }

    /// The node whose people alone act, if there is one.
    pub(crate) fn only_writer(&self) -> Option<usize> {
        self.shadow.as_ref().map(|(only, _)| *only)
    }

    /// Only the people of this node act from now on.
    pub(crate) fn single_writer(&mut self, number: usize) {
        self.shadow = Some((number, MemDisk::new()));
    }

    /// Somebody does this on a node. Whether it could be done.
    pub fn act(&mut self, number: usize, op: &Op) -> bool {
        let node = &self.nodes[number];
        node.disk.set_clock_ns(node.unix_ns(self.now));
        let Some(effect) = perform(&node.disk, op) else {
            return false;
        };
        self.trace
            .line(self.now, number, || format!("user: {}", op.show()));
        self.acted(number, op, &effect);
        true
    }

    /// Somebody did something: the oracle hears of it at once, and the watcher later, if at all.
    fn acted(&mut self, number: usize, op: &Op, effect: &Effect) {
        self.totals.ops += 1;
        self.trace.step(self.now, number, "user", op.path());
        self.oracle
            .user(number, effect, &self.nodes[number].index());
        if let Some((_, shadow)) = &self.shadow {
            let _ = perform(shadow, op);
        }
        let lost = !self.options.scripted && self.rng.chance(5);
        let (paths, after) = if lost {
            (Vec::new(), self.rng.millis(3_000, 20_000))
        } else {
            (shell::rel_paths(&effect.paths), self.rng.millis(5, 250))
        };
        if lost || !paths.is_empty() {
            self.heap
                .push(self.now + after, Event::Watch(number, paths));
        }
    }
}
