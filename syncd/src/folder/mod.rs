//! A folder: an actor around the engine, and the threads that do what the engine wants.
//!
//! The actor lives on a thread of its own, because the engine reads the index there. It turns messages into
//! [`Input`]s and [`Output`]s into jobs, and decides nothing itself.
//!
//! | part | what it does |
//! |---|---|
//! | [`open`] | opens root, identity and index, blocking, in a thread |
//! | [`workers`] | the threads: scan, apply, write, store |
//! | [`applying`] | what the apply thread does |
//! | [`sweep`] | removes what nothing needs any more |
//! | [`serve`] | answers peers' requests |
//! | [`report`] | tells the state in the words of the control API |
//! | [`messages`] | what the actor can be told |
//! | [`effects`] | what each output leads to |
//!
//! The folder's watcher and its chunk store are actors of their own, started and stopped with the folder: the
//! first on this thread, the second beside the network's actors, since peers mustn't wait for the engine.
//!
//! While the root is missing nothing is touched, and it is looked for every few seconds. If the index fails, or
//! the watcher or the store breaks off, the actor ends and says why; the supervisor opens the folder anew.

mod applying;
mod effects;
mod messages;
pub(crate) mod open;
mod permits;
pub(crate) mod report;
mod run_mark;
pub(crate) mod serve;
mod sweep;
mod workers;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use serde_json::json;
use sync_core::{
    control::{ErrorItem, EventType, FileInfo, Folder, FolderState, ScanProgress},
    engine::{Engine, Input, State},
    ids::SessionId,
    index::{Index, IndexError},
};
use sync_discovery::FolderTag;
use sync_net::actor::PeerActor;
use sync_store::{
    actor::{Stop, StoreActor, WatcherActor},
    archive::ArchivePolicy,
    chunks::ChunkStore,
    fs::RootState,
    sled_index::SledIndex,
};
use tracing::{info, warn};

pub(crate) use messages::{
    AllPeersDown, FolderAsk, FromPeer, PeerDown, PeerUp, Received, ServeTrouble, StopFolder,
};

use self::{
    messages::{Closed, OpenResult},
    open::{Opened, Places},
    serve::{Reading, Store},
    workers::{ApplyJob, Ending, Workers},
};
use crate::{
    net::PeerInfo,
    policy::Down,
    wiring::{FolderWatch, RosterEntry, Wires},
};

/// How often a missing root is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often the archive is looked through.
const PRUNE: Duration = Duration::from_secs(6 * 3600);
/// How long after an opening it is swept for the first time: not while everything else begins.
const FIRST_SWEEP: Duration = Duration::from_secs(600);
/// How often it is swept after that.
const SWEEP: Duration = Duration::from_secs(24 * 3600);
/// How often it is asked whether there is more to sweep than that.
const LOOK_FOR_DIRT: Duration = Duration::from_secs(600);
/// Reads for peers at once.
const READERS: usize = 2;
/// How long answers under way may hold the index when the folder is closed.
const LET_GO: Duration = Duration::from_secs(3);

/// A session with a peer, as the folder knows it.
#[derive(Debug)]
pub(crate) struct Link {
    info: Arc<PeerInfo>,
    actor: Addr<PeerActor>,
}

enum Stage {
    /// It is being opened.
    Opening,
    /// The root isn't there.
    Lost {
        reason: String,
        hint: Option<String>,
    },
    /// It works.
    Open(Box<OpenFolder>),
    /// It is being closed.
    Closing,
}

struct OpenFolder {
    engine: Engine<SledIndex>,
    workers: Workers,
    watcher: Option<Addr<WatcherActor>>,
    reading: Addr<Reading>,
    /// What `reading` reads from, to see when nobody does any more.
    store: Arc<Store>,
    /// The root is missing, and this was told to the engine.
    lost: bool,
    hint: Option<String>,
    timer: Option<(Duration, SpawnHandle)>,
}

/// The actor.
pub(crate) struct FolderActor {
    wires: Arc<Wires>,
    entry: RosterEntry,
    places: Places,
    watch: FolderWatch,
    stage: Stage,
    sessions: BTreeMap<SessionId, Link>,
    /// How often the index was rebuilt because peers knew more of us.
    rebuilds: u32,
    down: Option<Down>,
}

impl FolderActor {
    pub(crate) fn new(
        wires: Arc<Wires>,
        tag: FolderTag,
        entry: RosterEntry,
        watch: FolderWatch,
    ) -> Self {
        let id = crate::wiring::hex(&tag.0);
        let places = Places {
            identity: wires.home.identity(),
            index: wires.home.index(&id),
            id,
        };
        Self {
            wires,
            entry,
            places,
            watch,
            stage: Stage::Opening,
            sessions: BTreeMap::new(),
            rebuilds: 0,
            down: None,
        }
    }

    /// Opens the folder in a thread, after what is left of the last opening has ended.
    fn begin_opening(&mut self, before: Option<Closing>, ctx: &mut Context<Self>) {
        self.stage = Stage::Opening;
        let (entry, places, back) = (self.entry.clone(), self.places.clone(), ctx.address());
        let spawned = std::thread::Builder::new()
            .name("folder-open".into())
            .spawn(move || {
                if let Some(before) = before {
                    before.wait();
                }
                back.do_send(OpenResult(open::open(&entry, &places).map(Box::new)));
            });
        if let Err(error) = spawned {
            self.end(
                Down::Failed(format!("no thread to open the folder: {error}")),
                ctx,
            );
        }
    }

    fn opened(&mut self, opened: Opened, ctx: &mut Context<Self>) -> Result<(), String> {
        for notice in &opened.notices {
            warn!(folder = %self.entry.name, notice, "attention");
            let data = json!({ "path": "", "kind": "index", "reason": notice });
            self.wires
                .events
                .push(EventType::ItemError, Some(&self.entry.name), data);
        }
        let actor = ctx.address();
        let Opened {
            mut config,
            index,
            disk,
            temps,
            applier,
            identity,
            marker,
            ..
        } = opened;
        // The user may have changed these while the folder was being opened.
        config.paused = self.entry.paused;
        config.rescan_s = self.entry.settings.rescan;
        applier.set_policy(open::policy(&self.entry));
        let engine = Engine::new(config.clone(), index.clone(), self.wires.now())
            .map_err(|e| e.to_string())?;
        let store = Arc::new(ChunkStore::new(
            Arc::clone(&disk),
            index.clone(),
            Arc::clone(&temps),
        ));
        let (of, owner) = (Arc::clone(&store), actor.clone().recipient());
        let start = move |_: &mut _| StoreActor::new(of, READERS, owner);
        let reading = StoreActor::start_in_arbiter(&self.wires.arbiter, start);
        let parts = workers::Parts {
            config,
            index,
            disk,
            temps,
            applier,
            marker,
        };
        let workers = Workers::start(&parts, identity, &actor).map_err(|e| e.to_string())?;
        let mut open = OpenFolder {
            engine,
            workers,
            watcher: None,
            reading,
            store,
            lost: false,
            hint: None,
            timer: None,
        };
        open.watch(&self.entry, &actor);
        self.stage = Stage::Open(Box::new(open));
        info!(folder = %self.entry.name, path = %self.entry.path.display(), "open");
        self.prune();
        ctx.run_later(FIRST_SWEEP, |actor, _| actor.sweep());
        self.pump(ctx);
        self.watch.ready(actor);
        Ok(())
    }

    /// Takes the open folder apart. Its index is closed when what is returned has been waited for.
    fn close(&mut self) -> Option<Closing> {
        self.sessions.clear();
        self.watch.not_ready();
        match std::mem::replace(&mut self.stage, Stage::Closing) {
            Stage::Open(open) => {
                let OpenFolder {
                    engine,
                    workers,
                    watcher,
                    reading,
                    store,
                    ..
                } = *open;
                reading.do_send(Stop);
                drop(engine);
                if let Some(watcher) = watcher {
                    watcher.do_send(Stop);
                }
                Some(Closing {
                    workers: workers.end(),
                    store,
                })
            }
            _ => None,
        }
    }

    /// Closes the folder and ends the actor.
    fn end(&mut self, down: Down, ctx: &mut Context<Self>) {
        if self.down.is_some() {
            return;
        }
        if let Down::Failed(reason) = &down {
            let data = json!({ "state": State::Stopped.as_str(), "reason": reason });
            self.wires
                .events
                .push(EventType::FolderState, Some(&self.entry.name), data);
        }
        self.down = Some(down);
        let Some(closing) = self.close() else {
            ctx.stop();
            return;
        };
        let back = ctx.address();
        let spawned = std::thread::Builder::new()
            .name("folder-close".into())
            .spawn(move || {
                closing.wait();
                back.do_send(Closed);
            });
        if spawned.is_err() {
            ctx.stop();
        }
    }

    fn reopen(&mut self, ctx: &mut Context<Self>) {
        let before = self.close();
        self.begin_opening(before, ctx);
    }

    /// Gives the engine an input, and does what it wants.
    fn handle_input(&mut self, input: Input, ctx: &mut Context<Self>) {
        if let Stage::Open(open) = &mut self.stage {
            open.engine.handle(input, self.wires.now());
            self.pump(ctx);
        }
    }

    fn root_found(&mut self, state: RootState, ctx: &mut Context<Self>) {
        let Stage::Open(open) = &mut self.stage else {
            return;
        };
        match state {
            RootState::Ok => {
                if std::mem::replace(&mut open.lost, false) {
                    info!(folder = %self.entry.name, "the folder's directory is back");
                    open.watch(&self.entry, &ctx.address());
                    self.handle_input(Input::RootFound, ctx);
                }
            }
            // Another directory stands at the path. Whether it is the right one shows when it is opened.
            RootState::Replaced => self.reopen(ctx),
            state => {
                let reason = state.reason().unwrap_or_default();
                open.hint = state.remedy().map(str::to_owned);
                if !std::mem::replace(&mut open.lost, true) {
                    warn!(folder = %self.entry.name, reason, "nothing is touched until this is settled");
                }
                ctx.run_later(LOOK_AGAIN, |actor, _| {
                    if let Stage::Open(open) = &actor.stage
                        && open.lost
                    {
                        let _ = open.workers.apply.send(ApplyJob::LookAtRoot);
                    }
                });
                self.handle_input(Input::RootLost { reason }, ctx);
            }
        }
    }

    fn prune(&self) {
        if let Stage::Open(open) = &self.stage {
            let days = self.entry.settings.archive_days;
            // Without an archive nothing new comes into it; what is there goes after a day.
            let policy = ArchivePolicy {
                days: days.max(1),
                ..ArchivePolicy::default()
            };
            let _ = open.workers.apply.send(ApplyJob::Prune(policy));
        }
    }

    fn sweep(&self) {
        if let Stage::Open(open) = &self.stage {
            let _ = open.workers.sweep.send(());
        }
    }

    fn report(&self) -> Folder {
        match &self.stage {
            Stage::Open(open) => match open.engine.status() {
                Ok(status) => {
                    let progress = &open.workers.progress;
                    let scanning = status.state == State::Scanning;
                    let scan = scanning.then(|| ScanProgress {
                        entries: progress.files(),
                        bytes: progress.bytes(),
                    });
                    report::open(
                        &self.entry,
                        &status,
                        &self.sessions,
                        scan,
                        open.hint.clone(),
                    )
                }
                Err(error) => report::closed(
                    &self.entry,
                    FolderState::Stopped,
                    Some(error.to_string()),
                    None,
                ),
            },
            Stage::Lost { reason, hint } => report::closed(
                &self.entry,
                FolderState::Stopped,
                Some(reason.clone()),
                hint.clone(),
            ),
            Stage::Opening | Stage::Closing => report::closed(
                &self.entry,
                FolderState::Scanning,
                Some("it is being opened".into()),
                None,
            ),
        }
    }

    fn errors(&self) -> Vec<ErrorItem> {
        match &self.stage {
            Stage::Open(open) => report::errors(&self.entry.name, open.engine.errors()),
            _ => Vec::new(),
        }
    }

    fn file(&self, path: &[u8]) -> Result<FileInfo, IndexError> {
        let Stage::Open(open) = &self.stage else {
            return Err(IndexError::Unavailable("the folder isn't open".into()));
        };
        let known = match report::parse_path(path) {
            Some(path) => open.engine.index().entry(&path)?,
            None => None,
        };
        let stuck = open
            .engine
            .errors()
            .into_iter()
            .find(|error| error.path == path);
        Ok(report::file(
            &self.entry,
            path,
            known.as_ref(),
            stuck,
            &self.sessions,
        ))
    }
}

impl OpenFolder {
    /// Watches the root, from now on or anew.
    fn watch(&mut self, entry: &RosterEntry, actor: &Addr<FolderActor>) {
        let watcher = WatcherActor::new(entry.path.clone(), actor.clone().recipient());
        if let Some(old) = self.watcher.replace(watcher.start()) {
            old.do_send(Stop);
        }
    }
}

/// What is left of an open folder.
struct Closing {
    workers: Ending,
    store: Arc<Store>,
}

impl Closing {
    /// Waits until nobody has the index any more. Blocks.
    fn wait(self) {
        self.workers.wait();
        let until = Instant::now() + LET_GO;
        let mut store = self.store;
        while Instant::now() < until {
            match Arc::try_unwrap(store) {
                Ok(store) => return drop(store),
                Err(shared) => store = shared,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Actor for FolderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(PRUNE, |actor, _| actor.prune());
        ctx.run_interval(SWEEP, |actor, _| actor.sweep());
        ctx.run_interval(LOOK_FOR_DIRT, |actor, _| {
            if let Stage::Open(open) = &actor.stage
                && open.engine.index().wants_sweep()
            {
                actor.sweep();
            }
        });
        self.begin_opening(None, ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.close();
        // Without a word about it, this was a panic.
        self.watch.down(self.down.take().unwrap_or(Down::Died));
    }
}
