//! One simulated machine: its disk, its home, and, while it is up, the driver of its folder: the daemon's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sync_core::{ids::SessionId, index::MemIndex, keys::FolderKeys, time::Now};
use sync_store::{
    apply::ApplyPolicy,
    archive::ArchivePolicy,
    chunks::Doubted,
    driver::{Driver, Settings},
    fs::{MemDisk, Op as DiskOp, OpKind},
};

use syncd::swarm::Swarm;

use super::{
    home::{Backup, SimHome},
    net::{self, Pair},
    rng::Rng,
    user::{Effect, Op, perform},
};

/// When virtual time begins, in ns since 1970.
pub const EPOCH_NS: i64 = 1_795_334_400_000_000_000;

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
    /// The folder's driver.
    pub driver: Driver<SimHome>,
    /// Sessions that the engine knows, and their connections.
    pub sessions: BTreeMap<SessionId, (Pair, u64)>,
    /// Answers that were taken back.
    pub cancelled: BTreeSet<(SessionId, u32)>,
    /// Chunks that came wrong to a peer.
    pub doubted: BTreeMap<SessionId, Doubted>,
    /// When the next tick is due.
    pub tick: Option<Duration>,
}

/// A machine.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub number: usize,
    /// Its disk.
    pub disk: Arc<MemDisk>,
    /// Its home: index and small files.
    pub home: SimHome,
    /// A backup of it.
    pub backup: Option<Backup>,
    /// The folder's keys at its level.
    pub keys: FolderKeys,
    /// How it shows itself to peers.
    pub id: net::Identity,
    /// Counts starts of the folder and crashes: what belongs to another run is void.
    pub run: u64,
    /// When the daemon was started.
    pub boot: Duration,
    /// How wrong its clock is.
    pub skew_ns: i64,
    /// The daemon, while it is up.
    pub live: Option<Live>,
    /// Faults of the disk.
    pub meddling: Arc<Mutex<Meddling>>,
    /// How long its disk work takes, in milliseconds.
    pub slow_ms: u64,
    /// Its own chance.
    pub rng: Rng,
    /// Counts starts of the daemon.
    pub daemon: u64,
    /// Which of them repeats its beacons.
    pub beacons: u64,
    /// The daemon's sessions and whom to dial, while it is up.
    pub swarm: Option<Swarm>,
    /// When the swarm wants to be called.
    pub swarm_due: Option<Duration>,
    /// The connections of sessions that the swarm was told of.
    pub conns: BTreeMap<SessionId, (Pair, u64)>,
    /// Times that the folder was opened to the end, and that its index was rebuilt over it.
    pub opened: u64,
    /// See above.
    pub rebuilds: u64,
}

impl Node {
    /// A machine with an empty directory.
    pub fn new(number: usize, keys: FolderKeys, id: net::Identity, mut rng: Rng) -> Self {
        let disk = Arc::new(MemDisk::new());
        disk.set_clock_ns(EPOCH_NS);
        let meddling = Meddling {
            rng: Some(rng.fork()),
            ..Meddling::default()
        };
        Self {
            number,
            home: SimHome::new(Arc::clone(&disk), rng.fork()),
            disk,
            backup: None,
            keys,
            id,
            run: 0,
            boot: Duration::ZERO,
            skew_ns: 0,
            live: None,
            meddling: Arc::new(Mutex::new(meddling)),
            slow_ms: rng.range(1, 30),
            rng,
            daemon: 0,
            beacons: 0,
            swarm: None,
            swarm_due: None,
            conns: BTreeMap::new(),
            opened: 0,
            rebuilds: 0,
        }
    }

    /// The index as it is now.
    pub fn index(&self) -> MemIndex {
        self.home.index()
    }

    /// Whether its folder is open, so that it takes sessions.
    pub fn is_open(&self) -> bool {
        let live = self.live.as_ref();
        live.is_some_and(|live| live.driver.open().is_some())
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

    /// Starts the folder, which its driver opens next, and the daemon if it is down.
    pub fn start(&mut self, now: Duration) {
        self.run += 1;
        if self.swarm.is_none() {
            self.boot = now;
            self.conns.clear();
        }
        let settings = Settings {
            rescan_s: 3_600,
            paused: false,
            policy: ApplyPolicy::default(),
            archive: ArchivePolicy::default(),
            hash_threads: 0,
        };
        self.live = Some(Live {
            driver: Driver::new(self.home.clone(), self.keys.clone(), settings),
            sessions: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            doubted: BTreeMap::new(),
            tick: None,
        });
    }

    /// Power fails, or the process alone dies.
    pub fn crash(&mut self) {
        self.run += 1;
        (self.live, self.swarm) = (None, None);
        match self.rng.below(3) {
            0 => self.disk.crash_keeping_all(),
            1 => self.disk.crash_losing_all(),
            _ => {
                let seed = self.rng.next();
                self.disk.crash_seeded(seed);
            }
        }
        self.home.crash();
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
