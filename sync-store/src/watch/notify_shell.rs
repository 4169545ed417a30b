//! The shell that feeds a [`Coalescer`] from `notify`.
//!
//! The root is watched by itself and each directory in it with all below, except for `.sync`: the
//! daemon's own temporaries would fill the kernel's queue.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use sync_core::path::RelPath;

use super::{Coalescer, Dirty};
use crate::fs::OWN_DIR;

/// What a watcher tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// Look at these.
    Dirty(Dirty),
    /// Changes may go unnoticed from now on: rely on scans. A scan of everything follows as
    /// [`WatchEvent::Dirty`]. Told once for each reason.
    Degraded {
        /// Why, and what helps, for people.
        reason: String,
    },
}

enum Input {
    Notify(notify::Result<Event>),
    Took(RelPath, Duration),
    Stop,
}

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub struct FolderWatcher {
    input: Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

impl FolderWatcher {
    /// Watches the directory `root`. `tell` is called in the watcher's own thread.
    ///
    /// If the directory can't be watched that is told as [`WatchEvent::Degraded`], and so is everything
    /// that goes wrong later.
    ///
    /// # Errors
    ///
    /// Only if the thread can't be started or the path can't be made absolute.
    pub fn start(
        root: impl AsRef<Path>,
        tell: impl FnMut(WatchEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        let (input, inputs) = channel();
        let events = input.clone();
        let thread = std::thread::Builder::new()
            .name("folder-watcher".into())
            .spawn(move || Shell::new(root, Box::new(tell)).run(events, &inputs))?;
        Ok(Self {
            input,
            thread: Some(thread),
        })
    }

    /// How long it took to hash a path, see [`Coalescer::handle_hashing_took`].
    pub fn hashing_took(&self, path: RelPath, took: Duration) {
        // A watcher that has ended needs no hints.
        let _ = self.input.send(Input::Took(path, took));
    }
}

impl Drop for FolderWatcher {
    fn drop(&mut self) {
        let _ = self.input.send(Input::Stop);
        // Dropped by its own callback: the thread ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

struct Shell {
    root: PathBuf,
    tell: Box<dyn FnMut(WatchEvent) + Send>,
    coalescer: Coalescer,
    watcher: Option<RecommendedWatcher>,
    started: Instant,
    reasons: Vec<String>,
}

impl Shell {
    fn new(root: PathBuf, tell: Box<dyn FnMut(WatchEvent) + Send>) -> Self {
        let coalescer = Coalescer::new();
        let started = Instant::now();
        Self {
            root,
            tell,
            coalescer,
            watcher: None,
            started,
            reasons: Vec::new(),
        }
    }

    fn run(mut self, events: Sender<Input>, inputs: &Receiver<Input>) {
        let forward = move |event| {
            // The shell drops the watcher before it stops to listen.
            let _ = events.send(Input::Notify(event));
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        match RecommendedWatcher::new(forward, config) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.watch_all();
            }
            Err(e) => self.degraded(&e),
        }
        // What changed before the watches stood.
        self.coalescer.handle_overflow(self.now());
        loop {
            let input = match self.coalescer.next_timeout() {
                Some(due) => inputs.recv_timeout(due.saturating_sub(self.now())),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(Input::Notify(Ok(event))) => self.handle(event),
                Ok(Input::Notify(Err(e))) => self.degraded(&e),
                Ok(Input::Took(path, took)) => self.coalescer.handle_hashing_took(path, took),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(dirty) = self.coalescer.poll(self.now()) {
                (self.tell)(WatchEvent::Dirty(dirty));
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn watch_all(&mut self) {
        let root = self.root.clone();
        self.watch(&root, RecursiveMode::NonRecursive);
        match std::fs::read_dir(&root) {
            Ok(items) => items
                .flatten()
                .for_each(|item| self.watch_top(&item.path())),
            Err(e) => self.degraded(&notify::Error::io(e)),
        }
    }

    /// Watches what is directly in the root, if it is a directory and not ours.
    fn watch_top(&mut self, path: &Path) {
        let own = path.file_name().is_some_and(|name| name == OWN_DIR);
        if !own && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            self.watch(path, RecursiveMode::Recursive);
        }
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        match watcher.watch(path, mode) {
            Ok(()) => {}
            // It went away meanwhile; its directory tells.
            Err(e) if is_missing(&e) && path != self.root => {}
            Err(e) => self.degraded(&e),
        }
    }

    fn handle(&mut self, event: Event) {
        if event.need_rescan() {
            self.tell_degraded("too many changes at once: everything is scanned".into());
            // Directories made meanwhile may not be watched.
            self.watch_all();
            return self.coalescer.handle_overflow(self.now());
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            // Looking changes nothing.
            EventKind::Access(_) => return,
            _ => {}
        }
        for path in event.paths {
            if path == self.root {
                if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(_)) {
                    // The root's own state is for the daemon to check; a scan will notice.
                    self.coalescer.handle_overflow(self.now());
                }
                continue;
            }
            let Some(relative) = relative(&self.root, &path) else {
                continue;
            };
            if relative.depth() == 1 && !matches!(event.kind, EventKind::Access(_)) {
                self.watch_top(&path);
            }
            self.coalescer.handle_event(relative, self.now());
        }
    }

    fn degraded(&mut self, error: &notify::Error) {
        if is_missing(error) && !error.paths.contains(&self.root) {
            return;
        }
        let raw = match &error.kind {
            ErrorKind::Io(e) => e.raw_os_error(),
            _ => None,
        };
        let exhausted = raw == Some(rustix::io::Errno::NOSPC.raw_os_error());
        let reason = match &error.kind {
            ErrorKind::MaxFilesWatch => exhausted_reason(),
            _ if exhausted => exhausted_reason(),
            _ => format!(
                "this directory can't be watched ({error}): changes are found by scans only"
            ),
        };
        self.tell_degraded(reason);
        self.coalescer.handle_overflow(self.now());
    }

    fn tell_degraded(&mut self, reason: String) {
        if self.reasons.len() < 64 && !self.reasons.contains(&reason) {
            self.reasons.push(reason.clone());
            (self.tell)(WatchEvent::Degraded { reason });
        }
    }
}

fn exhausted_reason() -> String {
    "the system's watches are used up, so some changes are found by scans only: raise \
     fs.inotify.max_user_watches"
        .into()
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
        ErrorKind::Io(e) => e.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// A path beneath the root; `None` for `.sync`, and for names that can't be synced.
fn relative(root: &Path, path: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    RelPath::parse(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
}
