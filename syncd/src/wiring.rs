//! Who talks to whom: every address of an actor, in one place.
//!
//! Actors are made anew after a failure, so nobody keeps an address of a sibling: they look it up here when
//! they need it. What a new actor must know of the folders, it reads from the roster here too. Those that feed
//! the address book keep its address, as they know nothing of this module, and are made anew with it.
//!
//! ```text
//!   mechanisms   Discovered             NewSession ┌── ListenerActor
//!   of discovery ────────────▶ PeersActor ◀────────┤
//!        ▲ Order              │   ▲                └── dialling tasks
//!                   PeerUp,   │   │ BanPeer, FolderNews
//!                   PeerDown  ▼   │
//!   session readers ───────▶ FolderActor (one for each folder, on a few threads)
//!               FromPeer      ▲ ▲ │ jobs              results
//!                             │ │ └──▶ scan, apply, write, flush, serve ──▶ FolderActor
//!   WatcherActor ─────────────┘ │             ReadObjects │
//!                  Watched      │                         ▼
//!                               └──────────────────── StoreActor
//!                                      StoreDied
//!   PeersActor, FolderActor ──▶ PeerActor (one for each session) ──▶ PeersActor
//!                SendControl, Close                      SessionOver
//!   control server ──▶ Daemon ──▶ Root (starts and stops all of them)
//! ```
//!
//! A session's actor belongs to PeersActor, a folder's watcher and store to its FolderActor: they are started
//! there, and tell there when they end.
//!
//! This module owns the ways to the parts, and knows none of them: a way is a door, which names what a part takes
//! (`net/door.rs`, `folder/door.rs`). How parts are made is in [`crate::parts`]. It holds no logic beyond that.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use actix::{Addr, Arbiter, ArbiterHandle};
use sync_core::{
    control::{ApiError, ErrorKind, FolderRef},
    ids::PeerKey,
    time::Now,
};
use sync_discovery::{
    FolderTag,
    mechanism::{Want, WantedFolder},
};
use sync_net::{Config as SessionConfig, Gate, Hello, actor::ListenerActor, stream::Clock};
use tokio::runtime::Handle;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{
    config::Settings,
    control::EventLog,
    discovery::Discovery,
    folder::{door::FolderDoor, pools::Pools},
    folders::{self, FolderEntry},
    home::Home,
    log::LogControl,
    net::door::PeersDoor,
    roster::RosterEntry,
    slot::{Reach, Slot},
    supervise::{AddChild, Board, ChildSpec, Root},
};

/// Names of the parts.
pub(crate) mod part {
    /// The listener.
    pub(crate) const LISTENER: &str = "listener";
    /// The address book and the sessions.
    pub(crate) const PEERS: &str = "peers";
    /// The control API.
    pub(crate) const CONTROL: &str = "control";

    /// A folder.
    pub(crate) fn folder(tag: &sync_discovery::FolderTag) -> String {
        format!("folder {}", super::hex(&tag.0[..8]))
    }
}

/// The threads of the folders' actors, whose engines block on their indexes: a few, whatever the number of
/// folders. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Engines {
    threads: Vec<Arbiter>,
    next: AtomicUsize,
}

impl Engines {
    /// Starts the threads.
    pub(crate) fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..cores.clamp(2, 4)).map(|_| Arbiter::try_new());
        Ok(Self {
            threads: threads.collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// The thread for one more folder: they take turns.
    pub(crate) fn next(&self) -> ArbiterHandle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.threads[turn % self.threads.len()].handle()
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.stop();
        }
    }
}

/// The way to a folder, and whether it can take sessions.
#[derive(Debug, Clone)]
struct FolderWay {
    door: FolderDoor,
    ready: bool,
}

/// All that actors share.
#[derive(Debug)]
pub(crate) struct Wires {
    pub(crate) home: Home,
    pub(crate) root: Addr<Root>,
    pub(crate) board: Board,
    pub(crate) events: Arc<EventLog>,
    pub(crate) log: LogControl,
    pub(crate) gate: Arc<Gate>,
    pub(crate) clock: Clock,
    pub(crate) epoch: Instant,
    pub(crate) boot_nonce: u64,
    pub(crate) device_secret: zeroize::Zeroizing<[u8; 32]>,
    /// The threads of the network; actors have their own.
    pub(crate) runtime: Handle,
    /// The thread of all actors but the folders.
    pub(crate) arbiter: ArbiterHandle,
    /// The threads of the folders: those of their engines, and those that run their jobs.
    pub(crate) engines: Engines,
    pub(crate) pools: Pools,
    settings: RwLock<Settings>,
    roster: Mutex<BTreeMap<FolderTag, RosterEntry>>,
    folders: Mutex<BTreeMap<FolderTag, FolderWay>>,
    /// Folders on the list whose secret is gone.
    secretless: Mutex<Vec<FolderEntry>>,
    pub(crate) peers: Slot<PeersDoor>,
    pub(crate) listener: Slot<Addr<ListenerActor>>,
    pub(crate) discovery: Discovery,
    pub(crate) listening: Mutex<Vec<SocketAddr>>,
    pub(crate) port: AtomicU16,
    /// Bytes of all sessions since the start: sent, received.
    pub(crate) traffic: Arc<[AtomicU64; 2]>,
    sessions: AtomicU64,
}

impl Wires {
    #[expect(
        clippy::too_many_arguments,
        reason = "made in one place, from parts that are all there"
    )]
    pub(crate) fn new(
        home: Home,
        root: Addr<Root>,
        board: Board,
        log: LogControl,
        clock: Clock,
        boot_nonce: u64,
        device_secret: zeroize::Zeroizing<[u8; 32]>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        Ok(Self {
            home,
            root,
            board,
            events: EventLog::new(),
            log,
            gate: Arc::default(),
            clock,
            epoch: Instant::now(),
            boot_nonce,
            device_secret,
            runtime: Handle::current(),
            arbiter: Arbiter::current(),
            engines: Engines::start()?,
            pools: Pools::start()?,
            settings: RwLock::new(settings),
            roster: Mutex::default(),
            folders: Mutex::default(),
            secretless: Mutex::default(),
            peers: Slot::default(),
            listener: Slot::default(),
            discovery: Discovery::default(),
            listening: Mutex::default(),
            port: AtomicU16::new(0),
            traffic: Arc::default(),
            sessions: AtomicU64::new(1),
        })
    }

    /// Time since the start, for timeouts.
    pub(crate) fn mono(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        Now {
            mono: self.mono(),
            unix_ns: unix_ns(),
        }
    }

    /// The number from which one more owner of sessions counts them: no two share one.
    pub(crate) fn first_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) << 32
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Settings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// What this device says to peers.
    pub(crate) fn hello(&self) -> Hello {
        Hello::new(
            &self.settings().name(),
            self.boot_nonce,
            self.port.load(Ordering::Relaxed),
        )
    }

    /// Settings of all sessions.
    pub(crate) fn session_config(&self) -> SessionConfig {
        SessionConfig::default()
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, BTreeMap<FolderTag, RosterEntry>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a folder, if it is up.
    pub(crate) fn folder(&self, tag: FolderTag) -> Option<FolderDoor> {
        let folders = self.folders();
        let door = folders.get(&tag).map(|f| f.door.clone());
        door.filter(Reach::is_up)
    }

    /// The way to a folder, if it can take sessions.
    pub(crate) fn ready_folder(&self, tag: FolderTag) -> Option<FolderDoor> {
        let folders = self.folders();
        let ready = folders.get(&tag).filter(|f| f.ready);
        ready.map(|f| f.door.clone()).filter(Reach::is_up)
    }

    /// A folder is there, and may take sessions or not yet.
    pub(crate) fn set_folder(&self, tag: FolderTag, door: FolderDoor, ready: bool) {
        self.folders().insert(tag, FolderWay { door, ready });
    }

    /// A folder takes no sessions for now.
    pub(crate) fn folder_not_ready(&self, tag: FolderTag) {
        if let Some(folder) = self.folders().get_mut(&tag) {
            folder.ready = false;
        }
    }

    /// A folder is down.
    pub(crate) fn remove_folder(&self, tag: FolderTag) {
        self.folders().remove(&tag);
    }

    /// Who takes what others find; looked up at each start.
    pub(crate) fn book(&self) -> Result<PeersDoor, &'static str> {
        self.peers.get().ok_or("the address book is down")
    }

    fn folders(&self) -> MutexGuard<'_, BTreeMap<FolderTag, FolderWay>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses that the daemon listens on.
    pub(crate) fn listening(&self) -> Vec<SocketAddr> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is wanted of the mechanisms of discovery now.
    pub(crate) fn want(&self) -> Want {
        let settings = self.settings();
        let folder = |entry: &RosterEntry| WantedFolder {
            lan_key: zeroize::Zeroizing::new(*entry.member.keys().lan_key()),
            options: entry.options.clone(),
        };
        let roster = self.roster();
        Want {
            port: self.port.load(Ordering::Relaxed),
            bind: settings.bind(),
            options: settings.values().clone(),
            folders: roster.iter().map(|(tag, e)| (*tag, folder(e))).collect(),
        }
    }

    /// This device's own id. It is in no way linked to what peers know it by.
    pub(crate) fn device_id(&self) -> String {
        PeerKey(PublicKey::from(&StaticSecret::from(*self.device_secret)).to_bytes()).short()
    }

    /// The folder that is meant.
    pub(crate) fn find(&self, folder: &FolderRef) -> Result<(FolderTag, RosterEntry), ApiError> {
        let roster = self.roster();
        let fits = |e: &RosterEntry| folder.matches(&e.name, &e.path.to_string_lossy());
        let found = roster.iter().find(|(_, e)| fits(e)).or_else(|| {
            // The path may lead over links.
            let FolderRef::Path(path) = folder else {
                return None;
            };
            let path = std::fs::canonicalize(path).ok()?;
            roster.iter().find(|(_, e)| e.path == path)
        });
        let found = found.map(|(tag, entry)| (*tag, entry.clone()));
        drop(roster);
        found.ok_or_else(|| match self.find_secretless(folder) {
            Some(entry) => ApiError::new(
                ErrorKind::Conflict,
                format!(
                    "the secret of the folder `{}` isn't in secrets.toml",
                    entry.name
                ),
            )
            .with_hint(folders::give_secret(&entry)),
            None => ApiError::unknown_folder(folder.as_str()),
        })
    }

    /// The folder that is meant, if it is one whose secret is gone.
    pub(crate) fn find_secretless(&self, folder: &FolderRef) -> Option<FolderEntry> {
        let all = self.secretless();
        let fits = |e: &&FolderEntry| folder.matches(&e.name, &e.path.to_string_lossy());
        all.iter().find(fits).cloned()
    }

    /// Folders on the list whose secret is gone.
    pub(crate) fn secretless(&self) -> MutexGuard<'_, Vec<FolderEntry>> {
        self.secretless
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a part.
pub(crate) fn add(root: &Addr<Root>, spec: ChildSpec) {
    root.do_send(AddChild(spec));
}

/// Nanoseconds since 1970 by the system's clock.
pub(crate) fn unix_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// Bytes as people write them into file names.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
