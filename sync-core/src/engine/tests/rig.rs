//! Engines over toy disks: every output is carried out at once, in order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    disk::{DiskKind, DiskStat, WriteTrouble},
    engine::{Arrival, Config, Engine, Input, Output, State},
    ids::{Generation, PeerKey, ReplicaId, SessionId},
    index::{Index, IndexError, MemIndex},
    keys::FolderKeys,
    manifest::ContentRoot,
    message::{Announce, Contents, EngineMessage, Message, ObjectMessage, Request},
    path::RelPath,
    secret::Secret,
    time::Now,
};

#[derive(Clone)]
pub(super) struct Node {
    pub(super) stat: DiskStat,
    pub(super) bytes: Bytes,
}

pub(super) struct Rig {
    pub(super) engines: Vec<Engine<MemIndex>>,
    pub(super) disks: Vec<BTreeMap<RelPath, Node>>,
    links: BTreeSet<(usize, usize)>,
    pub(super) queue: VecDeque<(usize, Input)>,
    pub(super) now: Duration,
    pub(super) ino: u64,
    /// A node whose flushes take until they are told to end.
    slow: Option<usize>,
    flushes: Vec<(usize, Input)>,
    pub(super) objects_sent: u64,
    /// Those of them that were asked for by number.
    pub(super) asked_by_number: usize,
    /// Records that came to each node in full, and stubs.
    pub(super) records_to: Vec<usize>,
    pub(super) stubs_to: Vec<usize>,
    /// Unfinished files, by node.
    pub(super) temps: BTreeMap<(usize, ContentRoot), Vec<u8>>,
    /// What hinders writing chunks.
    pub(super) trouble: Option<WriteTrouble>,
    /// Nodes whose index turned out to be older than what others know of them.
    pub(super) restored: Vec<usize>,
    /// What a scan of a node can't read.
    pub(super) unreadable: BTreeSet<(usize, RelPath)>,
    /// A node that can't read what it is asked for.
    pub(super) mute: Option<usize>,
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub(super) fn keys(read_only: bool) -> FolderKeys {
    let secret = Secret::generate([7; 21]);
    match read_only {
        true => FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only())),
        false => FolderKeys::derive(&secret),
    }
}

/// What the engine of a node starts from in its `run`.
pub(super) fn config(node: usize, read_only: bool, run: u64) -> Config {
    let numbers = run << 32..(run + 1) << 32;
    Config {
        keys: keys(read_only),
        era: 0,
        replica: ReplicaId(node as u64 + 1),
        counters: numbers.clone(),
        seqs: numbers,
        numbering: Generation(node as u64 + 100),
        seed: node as u64,
        rescan_s: 1 << 30,
        paused: false,
    }
}

impl Rig {
    pub(super) fn new(n: usize) -> Self {
        Self::with_read_only(n, usize::MAX)
    }

    pub(super) fn with_read_only(n: usize, read_only: usize) -> Self {
        let mut rig = Self::apart(n, read_only);
        for a in 0..n {
            for b in a + 1..n {
                rig.join(a, b);
            }
        }
        rig
    }

    /// Nobody has met anybody.
    pub(super) fn apart(n: usize, read_only: usize) -> Self {
        let now = Now {
            mono: Duration::ZERO,
            unix_ns: 0,
        };
        let engine = |i| Engine::new(config(i, i == read_only, 0), MemIndex::new(), now).unwrap();
        let engines = (0..n).map(engine).collect();
        Self {
            engines,
            disks: vec![BTreeMap::new(); n],
            links: BTreeSet::new(),
            queue: VecDeque::new(),
            now: Duration::ZERO,
            ino: 0,
            slow: None,
            flushes: Vec::new(),
            objects_sent: 0,
            asked_by_number: 0,
            records_to: vec![0; n],
            stubs_to: vec![0; n],
            temps: BTreeMap::new(),
            trouble: None,
            restored: Vec::new(),
            unreadable: BTreeSet::new(),
            mute: None,
        }
    }

    fn session(a: usize, b: usize) -> SessionId {
        let (low, high) = (a.min(b), a.max(b));
        SessionId((low * 100 + high) as u64)
    }

    pub(super) fn join(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        self.begin(a, b, Self::session(a, b));
    }

    /// One more session of a pair that has one.
    pub(super) fn join_again(&mut self, a: usize, b: usize) -> SessionId {
        let second = SessionId(Self::session(a, b).0 + 10_000);
        self.begin(a, b, second);
        second
    }

    fn begin(&mut self, a: usize, b: usize, session: SessionId) {
        for (me, other) in [(a, b), (b, a)] {
            let level = if self.engines[other].ledger.can_sign() {
                crate::secret::Level::ReadWrite
            } else {
                crate::secret::Level::ReadOnly
            };
            self.queue.push_back((
                me,
                Input::PeerUp {
                    session,
                    peer: PeerKey([other as u8 + 1; 32]),
                    level,
                },
            ));
        }
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.settle();
        self.part(a, b);
        self.settle();
    }

    /// The sessions of a pair end now.
    pub(super) fn part(&mut self, a: usize, b: usize) {
        self.links.remove(&(a.min(b), a.max(b)));
        let first = Self::session(a, b);
        for session in [first, SessionId(first.0 + 10_000)] {
            for me in [a, b] {
                self.queue.push_back((me, Input::PeerDown { session }));
            }
        }
    }

    pub(super) fn write(&mut self, n: usize, name: &str, bytes: &[u8], mtime_ns: i64) {
        let p = path(name);
        for dir in p.ancestors() {
            if !self.disks[n].contains_key(&dir) {
                self.ino += 1;
                let stat = DiskStat {
                    kind: DiskKind::Dir,
                    size: 0,
                    mtime_ns: 0,
                    ctime_ns: 0,
                    mode: 0o755,
                    ino: self.ino,
                    dev: 1,
                };
                self.disks[n].insert(
                    dir.clone(),
                    Node {
                        stat,
                        bytes: Bytes::new(),
                    },
                );
                self.queue.push_back((n, Input::Dirty(vec![dir])));
            }
        }
        self.put_file(n, &p, Bytes::copy_from_slice(bytes), mtime_ns, 0o644);
        self.queue.push_back((n, Input::Dirty(vec![p])));
    }

    pub(super) fn put_file(
        &mut self,
        n: usize,
        p: &RelPath,
        bytes: Bytes,
        mtime_ns: i64,
        mode: u32,
    ) -> DiskStat {
        self.ino += 1;
        let stat = DiskStat {
            kind: DiskKind::File,
            size: bytes.len() as u64,
            mtime_ns,
            ctime_ns: self.ino as i64,
            mode,
            ino: self.ino,
            dev: 1,
        };
        self.disks[n].insert(p.clone(), Node { stat, bytes });
        stat
    }

    pub(super) fn remove(&mut self, n: usize, name: &str) {
        self.disks[n].remove(&path(name));
        self.queue.push_back((n, Input::Dirty(vec![path(name)])));
    }

    /// Removes everything; the watcher tells it in one piece.
    pub(super) fn remove_all(&mut self, n: usize) {
        self.disks[n].clear();
        self.queue.push_back((n, Input::DirtyAll));
    }

    pub(super) fn rename(&mut self, n: usize, from: &str, to: &str) {
        let node = self.disks[n].remove(&path(from)).unwrap();
        self.write(n, to, &node.bytes.clone(), node.stat.mtime_ns);
        self.queue
            .push_back((n, Input::Dirty(vec![path(from), path(to)])));
    }

    /// Flushes of `n` take as long as this is not called with `None`.
    pub(super) fn slow_flushes(&mut self, n: Option<usize>) {
        self.slow = n;
        self.queue.extend(self.flushes.drain(..));
    }

    pub(super) fn approve(&mut self, n: usize) {
        self.queue.push_back((n, Input::Approve));
    }

    pub(super) fn reject(&mut self, n: usize) {
        self.queue.push_back((n, Input::Reject));
    }

    pub(super) fn read(&self, n: usize, name: &str) -> Option<Vec<u8>> {
        self.disks[n].get(&path(name)).map(|f| f.bytes.to_vec())
    }

    pub(super) fn mtime(&self, n: usize, name: &str) -> Option<i64> {
        self.disks[n].get(&path(name)).map(|f| f.stat.mtime_ns)
    }

    /// Files and what they hold.
    pub(super) fn tree(&self, n: usize) -> BTreeMap<String, Vec<u8>> {
        let files = self.disks[n]
            .iter()
            .filter(|(_, f)| f.stat.kind == DiskKind::File);
        files
            .map(|(p, f)| (p.display(), f.bytes.to_vec()))
            .collect()
    }

    pub(super) fn state(&self, n: usize) -> State {
        self.engines[n].status().unwrap().state
    }

    pub(super) fn in_sync(&self, n: usize) -> bool {
        self.state(n) == State::InSync
    }

    /// A node that writes is started anew, with what its index says. It has no sessions.
    pub(super) fn restart(&mut self, n: usize) {
        self.settle();
        let index = self.engines[n].index().clone();
        self.start_from(n, index, 1);
    }

    /// The same in its `run`, from a copy of its index.
    pub(super) fn start_from(&mut self, n: usize, index: MemIndex, run: u64) {
        let now = Now {
            mono: self.now,
            unix_ns: self.now.as_nanos() as i64,
        };
        self.engines[n] = Engine::new(config(n, false, run), index, now).unwrap();
        self.queue.push_back((n, Input::Tick));
    }

    /// The same without its index, as another replica.
    pub(super) fn start_anew(&mut self, n: usize) {
        let now = Now {
            mono: self.now,
            unix_ns: self.now.as_nanos() as i64,
        };
        let config = Config {
            replica: ReplicaId(n as u64 + 101),
            numbering: Generation(n as u64 + 200),
            ..config(n, false, 1)
        };
        self.engines[n] = Engine::new(config, MemIndex::new(), now).unwrap();
        self.queue.push_back((n, Input::Tick));
    }

    /// Time goes by.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.settle();
        self.now += time;
        for n in 0..self.engines.len() {
            self.queue.push_back((n, Input::Tick));
        }
        self.settle();
    }

    /// Runs for so long, whether all is at rest then or not.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.step() {}
            let next = self.engines.iter().filter_map(Engine::next_timeout).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.now = self.now.max(next),
                None => break,
            }
            for n in 0..self.engines.len() {
                self.queue.push_back((n, Input::Tick));
            }
        }
        self.now = end;
    }

    /// Hands the next input in; whether there was one.
    pub(super) fn step(&mut self) -> bool {
        let Some((n, input)) = self.queue.pop_front() else {
            return false;
        };
        let now = Now {
            mono: self.now,
            unix_ns: self.now.as_nanos() as i64,
        };
        self.engines[n].handle(input, now);
        while let Some(output) = self.engines[n].poll_output() {
            self.carry_out(n, output);
        }
        true
    }

    /// How many messages with changes are under way to a node.
    pub(super) fn batches_under_way(&self, n: usize) -> usize {
        let records = |(to, input): &&(usize, Input)| {
            let message = match input {
                Input::Message { message, .. } => Some(message),
                _ => None,
            };
            *to == n && matches!(message, Some(EngineMessage::Records(r)) if !r.changes.is_empty())
        };
        self.queue.iter().filter(records).count()
    }

    /// Everything that is under way over a session is lost.
    pub(super) fn lose(&mut self, lost: SessionId) {
        self.queue.retain(|(_, input)| match input {
            Input::Message { session, .. } | Input::Objects { session, .. } => *session != lost,
            _ => true,
        });
    }

    /// Runs until nothing happens any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..20_000 {
            let mut moved = false;
            while self.step() {
                moved = true;
            }
            let next = self.engines.iter().filter_map(Engine::next_timeout).min();
            match next.filter(|t| *t < self.now + Duration::from_secs(8)) {
                Some(next) => {
                    self.now = self.now.max(next);
                    for n in 0..self.engines.len() {
                        self.queue.push_back((n, Input::Tick));
                    }
                }
                None if !moved => return,
                None => {}
            }
        }
        panic!(
            "the rig does not settle: {:?}",
            self.engines.iter().map(|e| e.status()).collect::<Vec<_>>()
        );
    }

    fn carry_out(&mut self, n: usize, output: Output) {
        match output {
            Output::Send { session, message } => {
                let pair = (session.0 % 10_000) as usize;
                let (a, b) = (pair / 100, pair % 100);
                if self.links.contains(&(a, b)) {
                    let other = if n == a { b } else { a };
                    match Message::decode(&message.encode()).unwrap() {
                        Message::Engine(message) => {
                            if let EngineMessage::Records(records) = &message {
                                let full = records.changes.iter().map(Announce::len);
                                self.records_to[other] += full.sum::<usize>();
                                self.stubs_to[other] += records.stubs.len();
                            }
                            self.queue
                                .push_back((other, Input::Message { session, message }));
                        }
                        Message::Objects(message) => self.serve(other, n, session, message),
                        other => panic!("an engine says {other:?}"),
                    }
                }
            }
            Output::Scan { scan, what } => self.scan(n, scan, what),
            Output::Apply { group, actions } => {
                let outcomes = actions.into_iter().map(|a| self.apply(n, a)).collect();
                self.queue
                    .push_back((n, Input::Applied { group, outcomes }));
            }
            Output::Flush { flush } => {
                self.engines[n].index().flush().unwrap();
                let done = (n, Input::Flushed { flush, error: None });
                if self.slow == Some(n) {
                    self.flushes.push(done);
                } else {
                    self.queue.push_back(done);
                }
            }
            Output::Temp(job) => self.use_temps(n, job),
            Output::Event(_) => {}
            Output::IndexFailed(IndexError::Restored) => self.restored.push(n),
            other => panic!("unexpected output {other:?}"),
        }
    }

    /// The server of objects of `n` answers `asker`.
    fn serve(&mut self, n: usize, asker: usize, session: SessionId, message: ObjectMessage) {
        let (request, found): (_, Vec<_>) = match message {
            ObjectMessage::Request(Request { id, objects }) => {
                let found = objects.iter().map(|object| self.object(n, object));
                (id, found.collect())
            }
            ObjectMessage::Contents(Contents { id, numbers }) => {
                self.asked_by_number += numbers.len();
                let found = numbers.iter().map(|number| self.numbered(n, *number));
                (id, found.collect())
            }
            ObjectMessage::Cancel(_) | ObjectMessage::BadChunk(_) => return,
        };
        for (index, object) in found.into_iter().enumerate() {
            let object = object.filter(|_| self.mute != Some(n));
            self.objects_sent += 1;
            let objects = vec![Arrival {
                request,
                index,
                object,
            }];
            self.queue
                .push_back((asker, Input::Objects { session, objects }));
        }
    }
}
