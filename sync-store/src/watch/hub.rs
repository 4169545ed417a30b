//! The thread that watches for all folders, with one queue of the kernel's for them.
//!
//! The kernel gives a user few such queues (128 by default), and a thread for each folder would do nothing most of
//! the time. So the first watcher of a process starts a hub, those that follow join it, and it ends with the last.
//!
//! `notify` knows watches by their paths. Where the roots of two watchers lie in each other, or are the same since
//! a folder is about to be watched anew, they would take each other's watches away: such ones sit in different hubs.
//!
//! A panic of one watcher's callback ends the hub. All that sit there drop their callbacks while the thread
//! panics, by which their owners can tell; the next watcher starts a new hub.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    time::{Duration, Instant},
};

use notify::{Event, RecommendedWatcher, Watcher};
use sync_core::path::RelPath;

use super::folder::{Folder, Tell};

/// The hubs of this process.
static HUBS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());

enum Input {
    Notify(notify::Result<Event>),
    Add(u64, Box<Folder>),
    Took(u64, RelPath, Duration),
    Remove(u64),
}

pub(super) struct Hub {
    input: Sender<Input>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    last: u64,
    roots: BTreeMap<u64, PathBuf>,
}

impl Hub {
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let (input, inputs) = channel();
        let hub = Arc::new(Self {
            input,
            members: Mutex::default(),
        });
        let thread = Thread {
            hub: Arc::downgrade(&hub),
            started: Instant::now(),
            watcher: None,
            folders: BTreeMap::new(),
            leaving: Vec::new(),
        };
        std::thread::Builder::new()
            .name("folder-watcher".into())
            .spawn(move || thread.run(&inputs))?;
        Ok(hub)
    }

    /// Gives a folder a seat; gives it back if the thread has ended.
    pub(super) fn add(self: &Arc<Self>, root: &Path, tell: Tell) -> Result<Seat, Tell> {
        let mut members = lock(&self.members);
        members.last += 1;
        let id = members.last;
        let folder = Box::new(Folder::new(root.to_owned(), tell));
        match self.input.send(Input::Add(id, folder)) {
            Ok(()) => {
                members.roots.insert(id, root.to_owned());
                let hub = Arc::clone(self);
                Ok(Seat { hub, id })
            }
            Err(refused) => match refused.0 {
                Input::Add(_, folder) => Err(folder.into_tell()),
                _ => unreachable!("what was refused is what was sent"),
            },
        }
    }

    fn has_room(&self, root: &Path) -> bool {
        let members = lock(&self.members);
        let mut roots = members.roots.values();
        roots.all(|other| !other.starts_with(root) && !root.starts_with(other))
    }
}

/// A place in a hub: until it is dropped, its folder is watched.
pub(super) struct Seat {
    hub: Arc<Hub>,
    id: u64,
}

impl Seat {
    /// A seat for the folder whose absolute path is `root`.
    pub(super) fn take(root: PathBuf, mut tell: Tell) -> io::Result<Self> {
        let mut hubs = lock(&HUBS);
        hubs.retain(|hub| hub.strong_count() > 0);
        for hub in hubs.iter().filter_map(Weak::upgrade) {
            if hub.has_room(&root) {
                match hub.add(&root, tell) {
                    Ok(seat) => return Ok(seat),
                    Err(back) => tell = back,
                }
            }
        }
        let hub = Hub::start()?;
        hubs.push(Arc::downgrade(&hub));
        hub.add(&root, tell)
            .map_err(|_| io::Error::other("the watcher's thread ended at once"))
    }

    pub(super) fn hashing_took(&self, path: RelPath, took: Duration) {
        // A watcher that has ended needs no hints.
        let _ = self.hub.input.send(Input::Took(self.id, path, took));
    }

    #[cfg(test)]
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hub, &other.hub)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // In this order: who takes the place of the root meanwhile comes after it in the queue.
        let mut members = lock(&self.hub.members);
        let _ = self.hub.input.send(Input::Remove(self.id));
        members.roots.remove(&self.id);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.id).finish()
    }
}

struct Thread {
    hub: Weak<Hub>,
    started: Instant,
    /// While there are folders.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeMap<u64, Folder>,
    /// What is still watched of folders that have gone. Each takes a look at all watches, so it is put off until
    /// nothing else is to be done; where all folders leave at once it is spared.
    leaving: Vec<PathBuf>,
}

impl Thread {
    fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let behind = self.folders.values().any(Folder::is_behind);
            let input = if behind || !self.leaving.is_empty() {
                inputs.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                })
            } else {
                let next = |folder: &Folder| folder.coalescer.next_timeout();
                match self.folders.values().filter_map(next).min() {
                    Some(due) => inputs.recv_timeout(due.saturating_sub(self.now())),
                    None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                }
            };
            match input {
                Ok(input) => self.handle(input),
                Err(RecvTimeoutError::Timeout) => self.unwatch_one(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = self.now();
            for folder in self.folders.values_mut() {
                if let Some(watcher) = self.watcher.as_mut().filter(|_| folder.is_behind()) {
                    folder.watch_next(watcher, now);
                }
                folder.poll(now);
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Notify(Ok(event)) => self.event(&event),
            Input::Notify(Err(error)) => self.error(&error),
            Input::Add(id, folder) => self.add(id, *folder),
            Input::Took(id, path, took) => {
                if let Some(folder) = self.folders.get_mut(&id) {
                    folder.coalescer.handle_hashing_took(path, took);
                }
            }
            Input::Remove(id) => {
                let gone = self.folders.remove(&id);
                self.leaving
                    .extend(gone.into_iter().flat_map(Folder::into_watched));
                if self.folders.is_empty() {
                    self.leaving.clear();
                    self.watcher = None;
                }
            }
        }
    }

    fn add(&mut self, id: u64, mut folder: Folder) {
        // A folder that left may have had the same root.
        while !self.leaving.is_empty() {
            self.unwatch_one();
        }
        let now = self.now();
        if let Err(error) = self.start_watcher() {
            folder.degraded(&error, now);
        }
        match &mut self.watcher {
            Some(watcher) => folder.watch_all(watcher, now),
            None => folder.coalescer.handle_overflow(now),
        }
        self.folders.insert(id, folder);
    }

    fn start_watcher(&mut self) -> notify::Result<()> {
        let Some(hub) = self.hub.upgrade().filter(|_| self.watcher.is_none()) else {
            return Ok(());
        };
        let events = hub.input.clone();
        let forward = move |event| {
            // The thread drops the watcher before it stops to listen.
            let _ = events.send(Input::Notify(event));
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        self.watcher = Some(RecommendedWatcher::new(forward, config)?);
        Ok(())
    }

    fn event(&mut self, event: &Event) {
        let now = self.now();
        if event.need_rescan() {
            if let Some(watcher) = &mut self.watcher {
                for folder in self.folders.values_mut() {
                    folder.missed(watcher, now);
                }
            }
            return;
        }
        for folder in self.folders.values_mut() {
            if event.paths.iter().any(|path| folder.has(path)) {
                folder.handle(event, now);
            }
        }
    }

    /// Tells an error to those whom it concerns: all, if it doesn't say where.
    fn error(&mut self, error: &notify::Error) {
        let now = self.now();
        for folder in self.folders.values_mut() {
            if error.paths.is_empty() || error.paths.iter().any(|path| folder.has(path)) {
                folder.degraded(error, now);
            }
        }
    }

    fn unwatch_one(&mut self) {
        if let Some((path, watcher)) = self.leaving.pop().zip(self.watcher.as_mut()) {
            // What has gone isn't watched any more.
            let _ = watcher.unwatch(&path);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
