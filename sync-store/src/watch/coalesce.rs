//! From a flood of events to a few paths to look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sync_core::path::RelPath;

/// How long a path must be quiet before it is looked at.
pub(super) const QUIET: Duration = Duration::from_millis(50);
/// The longest that a hot path is left alone.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// A path that never rests is looked at after this many times its quiet time.
const PATIENCE: u32 = 20;
/// More dirty paths in one directory become the directory.
const MOST_IN_DIR: usize = 128;
/// More dirty paths become a scan of everything.
const MOST: usize = 512;
/// Most hot paths that are remembered.
const MOST_HOT: usize = 4096;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dirty {
    /// These paths, and what is below those that are directories.
    Paths(Vec<RelPath>),
    /// Everything.
    All,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    first: Duration,
    last: Duration,
}

/// Gathers events until they have been quiet for a while. All times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Coalescer {
    paths: BTreeMap<RelPath, Pending>,
    /// Pending paths in each directory, so that a flood is noticed at once.
    in_dir: BTreeMap<Option<RelPath>, usize>,
    all: Option<Pending>,
    /// Quiet times longer than the usual, by path.
    hot: BTreeMap<RelPath, Duration>,
}

impl Coalescer {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something happened at a path.
    pub fn handle_event(&mut self, path: RelPath, now: Duration) {
        if let Some(all) = &mut self.all {
            all.last = now;
            return;
        }
        // A directory that is pending is looked at with all below it.
        let covered = path.ancestors().find(|dir| self.collapsed(dir));
        let path = covered.unwrap_or(path);
        if let Some(pending) = self.paths.get_mut(&path) {
            pending.last = now;
            return;
        }
        let dir = path.parent();
        let count = self.in_dir.entry(dir.clone()).or_insert(0);
        *count += 1;
        let flood = *count > MOST_IN_DIR;
        self.paths.insert(
            path,
            Pending {
                first: now,
                last: now,
            },
        );
        if flood {
            match dir {
                Some(dir) => self.collapse(&dir, now),
                None => self.handle_overflow(now),
            }
        } else if self.paths.len() > MOST {
            self.handle_overflow(now);
        }
    }

    /// Events were lost, or are too many: everything must be looked at.
    pub fn handle_overflow(&mut self, now: Duration) {
        let first = self.paths.values().map(|p| p.first).min().unwrap_or(now);
        self.paths.clear();
        self.in_dir.clear();
        let all = self.all.get_or_insert(Pending { first, last: now });
        all.last = now;
    }

    /// How long it took to hash a path (or until it was found busy): it is left alone for twice that
    /// long after each event, a minute at most.
    pub fn handle_hashing_took(&mut self, path: RelPath, took: Duration) {
        let quiet = took.saturating_mul(2).min(LONGEST_QUIET);
        if quiet <= QUIET {
            self.hot.remove(&path);
        } else if self.hot.len() < MOST_HOT || self.hot.contains_key(&path) {
            self.hot.insert(path, quiet);
        }
    }

    /// What has been quiet long enough.
    pub fn poll(&mut self, now: Duration) -> Option<Dirty> {
        if let Some(all) = self.all {
            if now < due(all, QUIET) {
                return None;
            }
            self.all = None;
            return Some(Dirty::All);
        }
        let is_due = |(path, pending): (&RelPath, &Pending)| {
            (due(*pending, self.quiet(path)) <= now).then(|| path.clone())
        };
        let ready: Vec<RelPath> = self.paths.iter().filter_map(is_due).collect();
        for path in &ready {
            self.remove(path);
        }
        (!ready.is_empty()).then_some(Dirty::Paths(ready))
    }

    /// When to poll next, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Duration> {
        let paths = self
            .paths
            .iter()
            .map(|(path, pending)| due(*pending, self.quiet(path)));
        self.all
            .map(|all| due(all, QUIET))
            .into_iter()
            .chain(paths)
            .min()
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.paths.is_empty() && self.in_dir.is_empty() && self.all.is_none()
    }

    fn quiet(&self, path: &RelPath) -> Duration {
        self.hot.get(path).copied().unwrap_or(QUIET)
    }

    /// Whether so much happened in a directory that it stands for all below it.
    fn collapsed(&self, dir: &RelPath) -> bool {
        self.in_dir.get(&Some(dir.clone())) == Some(&0) && self.paths.contains_key(dir)
    }

    fn collapse(&mut self, dir: &RelPath, now: Duration) {
        let below: BTreeSet<RelPath> = self
            .paths
            .range(dir..)
            .map(|(path, _)| path)
            .take_while(|path| *path == dir || path.is_below(dir))
            .cloned()
            .collect();
        let first = below
            .iter()
            .filter_map(|p| self.paths.get(p))
            .map(|p| p.first)
            .min();
        for path in &below {
            self.remove(path);
        }
        *self.in_dir.entry(dir.parent()).or_insert(0) += 1;
        self.paths.insert(
            dir.clone(),
            Pending {
                first: first.unwrap_or(now),
                last: now,
            },
        );
        // Zero beside a pending directory marks it as standing for what is in it.
        self.in_dir.insert(Some(dir.clone()), 0);
    }

    fn remove(&mut self, path: &RelPath) {
        self.paths.remove(path);
        let dir = path.parent();
        if let Some(count) = self.in_dir.get_mut(&dir) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.in_dir.remove(&dir);
            }
        }
        if self.in_dir.get(&Some(path.clone())) == Some(&0) {
            self.in_dir.remove(&Some(path.clone()));
        }
    }
}

/// When a pending path is looked at: once it was quiet, or when it has tried our patience.
fn due(pending: Pending, quiet: Duration) -> Duration {
    let quiet_at = pending.last.saturating_add(quiet);
    quiet_at.min(pending.first.saturating_add(quiet.saturating_mul(PATIENCE)))
}
