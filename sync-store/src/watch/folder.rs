//! What is watched of one folder, and what becomes of its events.
//!
//! The root is watched by itself and each directory in it with all below, except for `.sync`: the
//! daemon's own temporaries would fill the kernel's queue. The thread is the [hub](super::hub)'s.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use sync_core::path::RelPath;

use super::{Coalescer, Dirty, hub::Seat};
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

/// By which a watcher tells.
pub(super) type Tell = Box<dyn FnMut(WatchEvent) + Send>;

/// Watches a folder until it is dropped.
#[derive(Debug)]
pub struct FolderWatcher(Seat);

impl FolderWatcher {
    /// Watches the directory `root`. `tell` is called in a thread that all watchers share: it must neither wait
    /// nor work long. If it panics, all watchers of that thread end and drop theirs.
    ///
    /// If the directory can't be watched that is told as [`WatchEvent::Degraded`], and so is everything
    /// that goes wrong later. A last event may still be told while the watcher is dropped.
    ///
    /// # Errors
    ///
    /// Only if the thread can't be started or the path can't be made absolute.
    pub fn start(
        root: impl AsRef<Path>,
        tell: impl FnMut(WatchEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        Seat::take(root, Box::new(tell)).map(Self)
    }

    /// How long it took to hash a path, see [`Coalescer::handle_hashing_took`].
    pub fn hashing_took(&self, path: RelPath, took: Duration) {
        self.0.hashing_took(path, took);
    }

    #[cfg(test)]
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        self.0.shares_with(&other.0)
    }
}

/// A folder in the hub's thread.
pub(super) struct Folder {
    root: PathBuf,
    tell: Tell,
    pub(super) coalescer: Coalescer,
    /// Directories in the root that are still to be watched.
    to_watch: VecDeque<PathBuf>,
    /// All of them are, and what happened before they are watched goes unseen.
    unseen: bool,
    watched: BTreeSet<PathBuf>,
    reasons: Vec<String>,
}

impl Folder {
    pub(super) fn new(root: PathBuf, tell: Tell) -> Self {
        Self {
            root,
            tell,
            coalescer: Coalescer::new(),
            to_watch: VecDeque::new(),
            unseen: false,
            watched: BTreeSet::new(),
            reasons: Vec::new(),
        }
    }

    /// Whether a path lies in it.
    pub(super) fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// What is watched of it.
    pub(super) fn into_watched(self) -> BTreeSet<PathBuf> {
        self.watched
    }

    /// By which it tells.
    pub(super) fn into_tell(self) -> Tell {
        self.tell
    }

    /// Watches the root, and what is in it soon.
    pub(super) fn watch_all(&mut self, watcher: &mut RecommendedWatcher, now: Duration) {
        let root = self.root.clone();
        self.watch(watcher, &root, RecursiveMode::NonRecursive, now);
        match std::fs::read_dir(&root) {
            Ok(items) => items.flatten().for_each(|item| self.found(item.path())),
            Err(e) => self.degraded(&notify::Error::io(e), now),
        }
        self.unseen = true;
    }

    /// Whether [`Self::watch_next`] has something to do.
    pub(super) fn is_behind(&self) -> bool {
        self.unseen || !self.to_watch.is_empty()
    }

    /// Watches one more directory with all below. One at a time, so that a large folder doesn't keep the
    /// others' events waiting.
    pub(super) fn watch_next(&mut self, watcher: &mut RecommendedWatcher, now: Duration) {
        if let Some(path) = self.to_watch.pop_front() {
            self.watch(watcher, &path, RecursiveMode::Recursive, now);
            // What happened in it before it was watched.
            if let Some(relative) = relative(&self.root, &path).filter(|_| !self.unseen) {
                self.coalescer.handle_event(relative, now);
            }
        }
        if self.to_watch.is_empty() && self.unseen {
            self.unseen = false;
            self.coalescer.handle_overflow(now);
        }
    }

    /// Tells what is due.
    pub(super) fn poll(&mut self, now: Duration) {
        if let Some(dirty) = self.coalescer.poll(now) {
            (self.tell)(WatchEvent::Dirty(dirty));
        }
    }

    /// Watches what is directly in the root, if it is a directory and not ours.
    fn found(&mut self, path: PathBuf) {
        let own = path.file_name().is_some_and(|name| name == OWN_DIR);
        if !own && path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            self.to_watch.push_back(path);
        }
    }

    fn watch(
        &mut self,
        watcher: &mut RecommendedWatcher,
        path: &Path,
        mode: RecursiveMode,
        now: Duration,
    ) {
        // Also if it fails: some of what is below may be watched.
        self.watched.insert(path.to_owned());
        match watcher.watch(path, mode) {
            Ok(()) => {}
            // It went away meanwhile; its directory tells.
            Err(e) if is_missing(&e) && path != self.root => {}
            Err(e) => self.degraded(&e, now),
        }
    }

    /// The kernel's queue was too short.
    pub(super) fn missed(&mut self, watcher: &mut RecommendedWatcher, now: Duration) {
        self.tell_degraded("too many changes at once: everything is scanned".into());
        self.coalescer.handle_overflow(now);
        // Directories made meanwhile may not be watched.
        self.watch_all(watcher, now);
    }

    /// Something happened to these paths, of which at least one lies in it.
    pub(super) fn handle(&mut self, event: &Event, now: Duration) {
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            // Looking changes nothing.
            EventKind::Access(_) => return,
            _ => {}
        }
        for path in &event.paths {
            if *path == self.root {
                if matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(_)) {
                    // The root's own state is for the daemon to check; a scan will notice.
                    self.coalescer.handle_overflow(now);
                }
                continue;
            }
            let Some(relative) = relative(&self.root, path) else {
                continue;
            };
            if relative.depth() == 1 && !matches!(event.kind, EventKind::Access(_)) {
                self.found(path.clone());
            }
            self.coalescer.handle_event(relative, now);
        }
    }

    /// Something can't be watched.
    pub(super) fn degraded(&mut self, error: &notify::Error, now: Duration) {
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
        self.coalescer.handle_overflow(now);
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
