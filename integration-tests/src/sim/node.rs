//! One simulated machine: its disk, what the daemon keeps durably beside the index, and, while it is up, an
//! engine with the applier, scanner and chunk store around it.
//!
//! A node is started and crashed here; what an engine asks for is carried out in [`super::shell`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{
    disk::LocalAuthor,
    engine::{Config, Engine},
    ids::{Generation, ReplicaId, SessionId},
    index::{Batch, Index as _, MemIndex},
    keys::FolderKeys,
    time::Now,
};
use sync_store::{
    apply::{Applier, ApplyPolicy},
    chunks::ChunkStore,
    fs::{Disk as _, Marker, MemDisk, Op as DiskOp, OpKind},
    scan::{ScanOptions, Scanner},
    temps::Temps,
};

use super::{
    net::{self, Pair},
    rng::Rng,
    user::{Effect, Op, perform},
};

/// When virtual time begins, in ns since 1970.
pub const EPOCH_NS: i64 = 1_795_334_400_000_000_000;
/// Name of the fact in the index that names the run of the daemon.
const RUN: &[u8] = b"run";

/// What the daemon keeps durably in a small file.
#[derive(Debug, Clone)]
pub struct Durable {
    /// Who signs.
    pub replica: ReplicaId,
    /// Counters below are used up.
    pub counters: u64,
    /// Change numbers below are used up.
    pub seqs: u64,
    /// The run that the index must be of.
    pub run: Option<Generation>,
    /// The run that is about to begin.
    pub next: Option<Generation>,
}

/// What may happen in the middle of the daemon's work on the disk.
#[derive(Debug, Default)]
pub struct Meddling {
    /// Every write fails for want of space.
    pub full: bool,
    /// So many in a thousand operations fail with an I/O error.
    pub broken: u64,
    /// After so many more operations somebody does this.
    pub race: Option<(u64, Op)>,
    /// What races came to.
    pub raced: Vec<(Op, Effect)>,
    rng: Option<Rng>,
}

/// The running daemon.
#[derive(Debug)]
pub struct Live {
    /// The folder's engine.
    pub engine: Engine<MemIndex>,
    /// Temporaries.
    pub temps: Arc<Temps<MemDisk>>,
    /// Applier.
    pub applier: Applier<MemDisk>,
    /// Scanner.
    pub scanner: Scanner<MemDisk, MemIndex>,
    /// Chunk store.
    pub chunks: ChunkStore<MemDisk, MemIndex>,
    /// Sessions that the engine knows, and their connections.
    pub sessions: BTreeMap<SessionId, (Pair, u64)>,
    /// Answers that were taken back.
    pub cancelled: BTreeSet<(SessionId, u32)>,
    /// When the next tick is due.
    pub tick: Option<Duration>,
    /// Work on temporaries is done in order.
    pub temps_until: Duration,
    /// The engine was told that the root is gone.
    pub lost: bool,
}

/// A machine.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub number: usize,
    /// Its disk.
    pub disk: Arc<MemDisk>,
    /// Its index.
    pub index: MemIndex,
    /// A backup of its home: its index and its small file.
    pub backup: Option<(MemIndex, Durable)>,
    /// What lies beside the index.
    pub durable: Durable,
    /// The folder's keys at its level.
    pub keys: FolderKeys,
    /// How it shows itself to peers.
    pub id: net::Identity,
    /// Counts starts and crashes: what belongs to another run is void.
    pub run: u64,
    /// When the present run began.
    pub boot: Duration,
    /// How wrong its clock is.
    pub skew_ns: i64,
    /// The daemon, while it is up.
    pub live: Option<Live>,
    /// It is going to be tried to settle what a disk error left behind.
    pub settling: bool,
    /// Faults of the disk.
    pub meddling: Arc<Mutex<Meddling>>,
    /// How long its disk work takes, in milliseconds.
    pub slow_ms: u64,
    /// Its own chance.
    pub rng: Rng,
    /// A session's number is never used twice.
    pub next_session: u64,
    /// Times that the index was rebuilt.
    pub rebuilds: u64,
}

impl Node {
    /// A machine with an empty, marked folder.
    pub fn new(number: usize, keys: FolderKeys, id: net::Identity, mut rng: Rng) -> Self {
        let disk = Arc::new(MemDisk::new());
        disk.set_clock_ns(EPOCH_NS);
        let made = Marker(rng.array())
            .create(&*disk)
            .and_then(|()| disk.sync_all());
        debug_assert!(made.is_ok());
        let durable = Durable {
            replica: ReplicaId(rng.next() | 1),
            counters: 1,
            seqs: 1,
            run: None,
            next: None,
        };
        let meddling = Meddling {
            rng: Some(rng.fork()),
            ..Meddling::default()
        };
        Self {
            number,
            disk,
            index: MemIndex::new(),
            backup: None,
            durable,
            keys,
            id,
            run: 0,
            boot: Duration::ZERO,
            skew_ns: 0,
            live: None,
            settling: false,
            meddling: Arc::new(Mutex::new(meddling)),
            slow_ms: rng.range(1, 30),
            rng,
            next_session: 1,
            rebuilds: 0,
        }
    }

    /// Whether it may write to the folder.
    pub fn can_write(&self) -> bool {
        self.keys.level().can_write()
    }

    /// Both clocks of this machine.
    pub fn now(&self, now: Duration) -> Now {
        Now {
            mono: now.saturating_sub(self.boot),
            unix_ns: self.unix_ns(now),
        }
    }

    /// The wall clock of this machine.
    pub fn unix_ns(&self, now: Duration) -> i64 {
        EPOCH_NS + now.as_nanos() as i64 + self.skew_ns
    }

    /// The faults of its disk.
    pub fn meddle(&self) -> MutexGuard<'_, Meddling> {
        self.meddling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the disk's clock, and lets faults happen while `work` uses the disk.
    pub fn on_disk<T>(&self, now: Duration, work: impl FnOnce() -> T) -> T {
        self.disk.set_clock_ns(self.unix_ns(now));
        let (meddling, disk) = (Arc::clone(&self.meddling), MemDisk::clone(&self.disk));
        self.disk
            .set_hook(Some(Arc::new(move |op| meddle(&meddling, &disk, op))));
        let result = work();
        // The hook holds the disk, which would never be freed.
        self.disk.set_hook(None);
        result
    }

    /// Starts the daemon, or crashes on the way: then it must be started again. In a `calm` start nothing
    /// goes wrong by chance.
    ///
    /// # Errors
    ///
    /// Why it could not start.
    pub fn start(&mut self, now: Duration, calm: bool) -> Result<(), String> {
        self.run += 1;
        self.settling = false;
        self.boot = now;
        if !calm && self.rng.chance(10) {
            let point = self.rng.below(40);
            self.disk.set_crash_point(Some(point));
        }
        let fresh = self.open_index(calm)?;
        let author = LocalAuthor(self.durable.replica);
        let seed = self.keys.read().map_or(0, |read| read.chunk_seed());
        let temps = Arc::new(Temps::new(Arc::clone(&self.disk), 0));
        let policy = ApplyPolicy::default();
        let applier = Applier::new(
            Arc::clone(&self.disk),
            Arc::clone(&temps),
            author,
            seed,
            policy,
        );
        let recovered = self.on_disk(now, || applier.recover());
        recovered.map_err(|e: io::Error| format!("recovery: {e}"))?;
        self.disk.set_crash_point(None);
        // Numbers come from ranges that are reserved before they are used.
        // No two runs leave out as many.
        let gap = (self.run.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 44;
        let (counters, seqs) = (self.durable.counters + gap, self.durable.seqs + gap);
        let counters = counters..counters + (1 << 20) + 40;
        let seqs = seqs..seqs + (1 << 20) + 40;
        (self.durable.counters, self.durable.seqs) = (counters.end, seqs.end);
        let config = Config {
            keys: self.keys.clone(),
            era: 0,
            replica: self.durable.replica,
            counters,
            seqs,
            numbering: Generation(self.rng.next()),
            seed: self.rng.next(),
            rescan_s: if fresh { 3_600 } else { 7_200 },
            paused: false,
        };
        let engine =
            Engine::new(config, self.index.clone(), self.now(now)).map_err(|e| e.to_string())?;
        let scanner = Scanner::new(
            Arc::clone(&self.disk),
            self.index.clone(),
            ScanOptions::inline(seed),
        );
        let chunks = ChunkStore::new(
            Arc::clone(&self.disk),
            self.index.clone(),
            Arc::clone(&temps),
        );
        self.live = Some(Live {
            engine,
            temps,
            applier,
            scanner,
            chunks,
            sessions: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            tick: None,
            temps_until: Duration::ZERO,
            lost: false,
        });
        Ok(())
    }

    /// Compares the index with the run noted beside it: one that belongs to another run was lost or
    /// rolled back, and is built anew under a new replica id. Then begins a new run.
    fn open_index(&mut self, calm: bool) -> Result<bool, String> {
        let text = |e: sync_core::index::IndexError| e.to_string();
        let found = self.index.fact(RUN).map_err(text)?;
        let found = found
            .and_then(|v| v.try_into().ok())
            .map(|b| Generation(u64::from_be_bytes(b)));
        let first = self.durable.run.is_none() && self.durable.next.is_none();
        let fits = found.is_some() && (found == self.durable.run || found == self.durable.next);
        // A machine that broke down in its very first start has an index without a run.
        let young = self.durable.run.is_none() && found.is_none();
        if !first && !fits && !young {
            self.index = MemIndex::new();
            self.durable.replica = ReplicaId(self.rng.next() | 1);
            self.rebuilds += 1;
        }
        let run = Generation(self.rng.next());
        self.durable.next = Some(run);
        if !calm && self.rng.chance(3) {
            return Err("the machine crashed before the index had its run".into());
        }
        let facts = vec![(RUN.to_vec(), Some(run.0.to_be_bytes().to_vec()))];
        self.index
            .commit(Batch {
                facts,
                ..Batch::default()
            })
            .map_err(text)?;
        self.index.flush().map_err(text)?;
        if !calm && self.rng.chance(3) {
            return Err("the machine crashed before the run was noted".into());
        }
        self.durable.run = Some(run);
        self.durable.next = None;
        Ok(first)
    }

    /// Power fails, or the process alone dies.
    pub fn crash(&mut self) {
        self.run += 1;
        self.live = None;
        match self.rng.below(3) {
            0 => self.disk.crash_keeping_all(),
            1 => self.disk.crash_losing_all(),
            _ => {
                let seed = self.rng.next();
                self.disk.crash_seeded(seed);
            }
        }
        self.index.crash();
    }
}

fn meddle(meddling: &Mutex<Meddling>, disk: &MemDisk, op: &DiskOp<'_>) -> Option<io::Error> {
    // Every operation takes its time, so that no two changes look alike.
    disk.advance_clock_ns(1_000);
    let mut state = meddling.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut state.race {
        Some((0, _)) => {
            if let Some((_, op)) = state.race.take()
                && let Some(effect) = perform(disk, &op)
            {
                state.raced.push((op, effect));
            }
        }
        Some((left, _)) => *left -= 1,
        None => {}
    }
    let grows = matches!(
        op.kind,
        OpKind::Write | OpKind::OpenTmp | OpKind::MakeDir | OpKind::MakeLink | OpKind::Clone
    );
    if state.full && grows {
        return Some(io::Error::from_raw_os_error(MemDisk::ENOSPC));
    }
    let broken = state.broken;
    if broken > 0
        && state
            .rng
            .as_mut()
            .is_some_and(|rng| rng.below(1_000) < broken)
    {
        return Some(io::Error::from_raw_os_error(MemDisk::EIO));
    }
    None
}
