//! A folder: an actor around its driver.
//!
//! The driver, in sync-store, opens the folder, owns the engine and says what is to be done. The actor turns
//! messages into its inputs, gives its jobs to the pools, and its effects to peers, people and the watcher; it
//! decides nothing itself. It lives on one of a few threads that all folders share, because an engine reads its
//! index there.
//!
//! | part | what it does |
//! |---|---|
//! | [`open`] | where a folder's things lie |
//! | [`pools`] | the threads that run the jobs of all folders |
//! | [`requests`], [`serve`] | the door for peers' requests, and who answers them |
//! | [`report`] | tells the state in the words of the control API |
//! | [`door`] | what the actor can be told by others |
//! | [`messages`] | how it takes that |
//! | [`effects`] | what each effect leads to |
//! | [`watch`] | tells others that the folder is ready, or down |
//!
//! The folder's watcher and its chunk store are actors of their own, started and stopped with the folder: the
//! first on this thread, the second beside the network's actors, since peers mustn't wait for the engine.
//!
//! If the folder fails, or the watcher or the store breaks off, the actor ends and says why; the supervisor opens
//! the folder anew.

pub(crate) mod door;
mod effects;
mod messages;
pub(crate) mod open;
mod permits;
pub(crate) mod pools;
pub(crate) mod report;
pub(crate) mod requests;
mod serve;
pub(crate) mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::prelude::*;
use serde_json::json;
use sync_core::{
    control::{ErrorItem, EventType, FileInfo, Folder, FolderState, ScanProgress},
    engine::{Input, State},
    ids::SessionId,
    index::{Index, IndexError},
};
use sync_discovery::FolderTag;
use sync_store::{
    actor::{Stop, StoreActor, WatcherActor},
    driver::{Driver, View},
};
use tracing::{info, warn};

pub(crate) use messages::StopFolder;

use self::{
    open::{OnDisk, Places},
    permits::Permits,
    report::Link,
    serve::Reading,
    watch::FolderWatch,
};
use crate::{
    policy::Down,
    roster::RosterEntry,
    wiring::{Wires, hex},
};

/// Reads for peers at once.
const READERS: usize = 2;
/// Findings of scans that the engine hasn't taken yet.
const SCAN_BATCHES: usize = 4;

/// The actor.
pub(crate) struct FolderActor {
    wires: Arc<Wires>,
    entry: RosterEntry,
    watch: FolderWatch,
    driver: Driver<OnDisk>,
    sessions: BTreeMap<SessionId, Link>,
    permits: Permits,
    watcher: Option<Addr<WatcherActor>>,
    reading: Option<Addr<Reading>>,
    /// What the watcher had to say.
    hint: Option<String>,
    timer: Option<(Duration, SpawnHandle)>,
    down: Option<Down>,
}

impl FolderActor {
    pub(crate) fn new(
        wires: Arc<Wires>,
        tag: FolderTag,
        entry: RosterEntry,
        watch: FolderWatch,
    ) -> Self {
        let id = hex(&tag.0);
        let places = OnDisk {
            root: entry.path.clone(),
            places: Places {
                identity: wires.home.identity(),
                index: wires.home.index(&id),
            },
        };
        let keys = entry.member.keys().clone();
        let driver = Driver::new(places, keys, open::settings(&entry));
        Self {
            wires,
            entry,
            watch,
            driver,
            sessions: BTreeMap::new(),
            permits: Permits::new(SCAN_BATCHES),
            watcher: None,
            reading: None,
            hint: None,
            timer: None,
            down: None,
        }
    }

    fn opened(&mut self, notices: &[String], ctx: &mut Context<Self>) {
        for notice in notices {
            warn!(folder = %self.entry.name, notice, "attention");
            let data = json!({ "path": "", "kind": "index", "reason": notice });
            self.wires
                .events
                .push(EventType::ItemError, Some(&self.entry.name), data);
        }
        let Some(open) = self.driver.open() else {
            return;
        };
        let actor = ctx.address();
        let (store, owner) = (Arc::clone(&open.parts().chunks), actor.clone().recipient());
        let start = move |_: &mut _| StoreActor::new(store, READERS, owner);
        self.reading = Some(StoreActor::start_in_arbiter(&self.wires.arbiter, start));
        self.hint = None;
        self.watch_root(ctx);
        info!(folder = %self.entry.name, path = %self.entry.path.display(), "open");
        self.watch.ready(actor.into());
    }

    /// The driver closes the folder: nobody uses it any more.
    fn let_go(&mut self) {
        self.sessions.clear();
        self.watch.not_ready();
        if let Some(reading) = self.reading.take() {
            reading.do_send(Stop);
        }
        if let Some(watcher) = self.watcher.take() {
            watcher.do_send(Stop);
        }
    }

    /// Watches the root, from now on or anew.
    fn watch_root(&mut self, ctx: &mut Context<Self>) {
        let watcher = WatcherActor::new(self.entry.path.clone(), ctx.address().recipient());
        if let Some(old) = self.watcher.replace(watcher.start()) {
            old.do_send(Stop);
        }
    }

    /// Closes the folder because something failed, and ends the actor.
    fn fail(&mut self, reason: String, ctx: &mut Context<Self>) {
        self.driver.stop(Some(reason));
        self.pump(ctx);
    }

    /// Gives the engine an input, and does what it wants.
    fn handle_input(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.driver.handle(input, self.wires.now());
        self.pump(ctx);
    }

    fn report(&self) -> Folder {
        let open = match self.driver.view() {
            View::Open(open) => open,
            View::Lost { reason, remedy } => {
                return report::closed(
                    &self.entry,
                    FolderState::Stopped,
                    Some(reason.to_owned()),
                    remedy.map(str::to_owned),
                );
            }
            View::Opening | View::Closing => {
                return report::closed(
                    &self.entry,
                    FolderState::Scanning,
                    Some("it is being opened".into()),
                    None,
                );
            }
        };
        match open.engine().status() {
            Ok(status) => {
                let progress = open.progress();
                let scanning = status.state == State::Scanning;
                let scan = scanning.then(|| ScanProgress {
                    entries: progress.files(),
                    bytes: progress.bytes(),
                });
                let remedy = open.remedy().map(str::to_owned);
                let hint = remedy.or_else(|| self.hint.clone());
                report::open(&self.entry, &status, &self.sessions, scan, hint)
            }
            Err(error) => report::closed(
                &self.entry,
                FolderState::Stopped,
                Some(error.to_string()),
                None,
            ),
        }
    }

    fn errors(&self) -> Vec<ErrorItem> {
        match self.driver.open() {
            Some(open) => report::errors(&self.entry.name, open.engine().errors()),
            None => Vec::new(),
        }
    }

    fn file(&self, path: &[u8]) -> Result<FileInfo, IndexError> {
        let Some(open) = self.driver.open() else {
            return Err(IndexError::Unavailable("the folder isn't open".into()));
        };
        let known = match report::parse_path(path) {
            Some(path) => open.engine().index().entry(&path)?,
            None => None,
        };
        let stuck = open
            .engine()
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

impl Actor for FolderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.pump(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.let_go();
        // Without a word about it, this was a panic.
        self.watch.down(self.down.take().unwrap_or(Down::Died));
    }
}
