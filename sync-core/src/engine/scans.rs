//! What is being looked at on disk, and what is to be looked at next.
//!
//! Owns the paths that wait for a look, the scan under way and the times of the next ones. It must never judge
//! what a scan finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ScanWhat;
use crate::path::RelPath;

/// Paths in one scan of dirty paths; with more, everything is looked at.
const MAX_DIRTY: usize = 20_000;
/// Pause after a full scan that broke off.
const AFTER_TROUBLE: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Scans {
    last: u64,
    running: Option<Running>,
    dirty: BTreeSet<RelPath>,
    all: bool,
    first_done: bool,
    next_full: Duration,
    recheck: BTreeMap<RelPath, Duration>,
    full_runs: u64,
    rescan_s: u64,
    seed: u64,
}

#[derive(Debug)]
struct Running {
    scan: u64,
    seen: Seen,
}

/// What a scan was asked for, and what it couldn't tell.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Whether it looked at everything.
    pub(super) all: bool,
    /// What was asked for, unless it was everything.
    pub(super) asked: Vec<RelPath>,
    /// What couldn't be read.
    pub(super) unread: BTreeSet<RelPath>,
    /// Paths that we changed ourselves meanwhile: what the scan says of them may be old.
    pub(super) touched: BTreeSet<RelPath>,
    /// What the disk doesn't show any more.
    pub(super) gone: Vec<RelPath>,
}

impl Scans {
    /// Everything is to be looked at first. `rescan_s` is the time between two full scans.
    pub(super) fn new(rescan_s: u64, seed: u64) -> Self {
        Self {
            last: 0,
            running: None,
            dirty: BTreeSet::new(),
            all: true,
            first_done: false,
            next_full: Duration::ZERO,
            recheck: BTreeMap::new(),
            full_runs: 0,
            rescan_s,
            seed,
        }
    }

    pub(super) fn look_at(&mut self, path: RelPath) {
        self.dirty.insert(path);
    }

    pub(super) fn look_at_each(&mut self, paths: impl IntoIterator<Item = RelPath>) {
        self.dirty.extend(paths);
    }

    pub(super) fn look_at_all(&mut self) {
        self.all = true;
    }

    /// `path` is to be looked at when it is `at`, not before.
    pub(super) fn look_later(&mut self, path: RelPath, at: Duration) {
        self.recheck.insert(path, at);
    }

    /// Lets what is due be looked at.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        let due = self.recheck.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.map(|(path, _)| path.clone()).collect();
        self.recheck.retain(|_, at| *at > now);
        self.dirty.extend(due);
        if self.full_runs > 0 && self.running.is_none() && now >= self.next_full {
            self.all = true;
        }
    }

    /// The next scan, if there is something to look at and none is running. What is in `touched` is being
    /// changed by us: it is looked at when that is done, because the index doesn't know of it before and all of it would
    /// have to be hashed.
    pub(super) fn begin(&mut self, touched: &BTreeSet<RelPath>) -> Option<(u64, ScanWhat)> {
        let all = self.all || self.dirty.len() > MAX_DIRTY;
        if self.running.is_some() || (!all && self.dirty.is_empty()) {
            return None;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let (later, dirty): (BTreeSet<_>, BTreeSet<_>) =
            dirty.into_iter().partition(|path| touched.contains(path));
        self.dirty = later;
        if !all && dirty.is_empty() {
            return None;
        }
        let (asked, what) = match all {
            true => (Vec::new(), ScanWhat::All),
            false => {
                let asked: Vec<_> = dirty.into_iter().collect();
                (asked.clone(), ScanWhat::Paths(asked))
            }
        };
        if all {
            self.all = false;
        }
        self.last += 1;
        let seen = Seen {
            all,
            asked,
            touched: touched.clone(),
            ..Seen::default()
        };
        self.running = Some(Running {
            scan: self.last,
            seen,
        });
        Some((self.last, what))
    }

    /// We change these paths now.
    pub(super) fn touch<'a>(&mut self, paths: impl IntoIterator<Item = &'a RelPath>) {
        if let Some(running) = &mut self.running {
            running.seen.touched.extend(paths.into_iter().cloned());
        }
    }

    /// The running scan says that nothing stands at `path`.
    pub(super) fn note_gone(&mut self, path: RelPath) {
        if let Some(running) = &mut self.running {
            running.seen.gone.push(path);
        }
    }

    /// The running scan couldn't read `path`.
    pub(super) fn note_unread(&mut self, path: RelPath) {
        if let Some(running) = &mut self.running {
            running.seen.unread.insert(path);
        }
    }

    /// The scan of this name is over: what it was asked for. After a full one the next is planned.
    pub(super) fn end(&mut self, scan: u64, broke_off: bool, now: Duration) -> Option<Seen> {
        let seen = self.running.take_if(|r| r.scan == scan)?.seen;
        if seen.all {
            self.full_runs += 1;
            self.first_done |= !broke_off;
            let pause = match broke_off {
                true => AFTER_TROUBLE,
                false => self.rescan_interval(),
            };
            self.next_full = now + pause;
        }
        Some(seen)
    }

    /// Whether the scan of this name is under way.
    pub(super) fn is_running(&self, scan: u64) -> bool {
        self.running.as_ref().is_some_and(|r| r.scan == scan)
    }

    /// Whether any scan is under way.
    pub(super) fn is_scanning(&self) -> bool {
        self.running.is_some()
    }

    /// Whether all is being looked at, or hasn't been yet.
    pub(super) fn is_scanning_all(&self) -> bool {
        !self.first_done || self.running.as_ref().is_some_and(|r| r.seen.all)
    }

    /// Whether anything is being looked at or waits for it.
    pub(super) fn is_busy(&self) -> bool {
        self.running.is_some() || !self.dirty.is_empty()
    }

    /// Whether we changed `path` since the running scan began.
    pub(super) fn is_touched(&self, path: &RelPath) -> bool {
        self.running
            .as_ref()
            .is_some_and(|r| r.seen.touched.contains(path))
    }

    /// Whether everything was looked at once in this run.
    pub(super) fn first_done(&self) -> bool {
        self.first_done
    }

    /// When something is due; the full scan only if one `may` begin.
    pub(super) fn next_timeout(&self, may: bool) -> Option<Duration> {
        let recheck = self.recheck.values().min().copied();
        let may = may && self.running.is_none() && self.full_runs > 0;
        let full = may.then_some(self.next_full);
        [recheck, full].into_iter().flatten().min()
    }

    /// Full scans of many folders and machines should not all begin at once: a fifth of the interval
    /// is drawn from the seed.
    fn rescan_interval(&self) -> Duration {
        let secs = self.rescan_s.max(60);
        let runs = self.full_runs.saturating_sub(1);
        let jitter = (self.seed ^ runs.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % (secs / 5 + 1);
        Duration::from_secs(secs - secs / 10 + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn everything_is_looked_at_first_then_what_is_dirty() {
        let (mut scans, none) = (Scans::new(3_600, 1), BTreeSet::new());
        let (first, what) = scans.begin(&none).unwrap();
        assert_eq!(what, ScanWhat::All);
        scans.look_at(path("a"));
        assert_eq!(scans.begin(&none), None, "one at a time");
        scans.touch([&path("b")]);
        assert!(scans.is_touched(&path("b")) && !scans.first_done());
        assert!(scans.end(first + 1, false, Duration::ZERO).is_none());
        let seen = scans.end(first, false, Duration::ZERO).unwrap();
        assert!(seen.all && seen.touched.contains(&path("b")) && scans.first_done());
        let (_, what) = scans.begin(&none).unwrap();
        assert_eq!(what, ScanWhat::Paths(vec![path("a")]));
    }

    #[test]
    fn what_we_change_is_looked_at_when_that_is_done() {
        let (mut scans, none) = (Scans::new(3_600, 1), BTreeSet::new());
        let (first, _) = scans.begin(&none).unwrap();
        scans.end(first, false, Duration::ZERO);
        let touched: BTreeSet<_> = [path("a"), path("b")].into();
        scans.look_at_each([path("a"), path("c")]);
        let (second, what) = scans.begin(&touched).unwrap();
        assert_eq!(what, ScanWhat::Paths(vec![path("c")]));
        scans.end(second, false, Duration::ZERO);
        assert_eq!(scans.begin(&touched), None);
        assert!(scans.is_busy());
        let (third, what) = scans.begin(&none).unwrap();
        assert_eq!(what, ScanWhat::Paths(vec![path("a")]));
        scans.end(third, false, Duration::ZERO);
        // A look at everything doesn't stand for it either.
        scans.look_at(path("b"));
        scans.look_at_all();
        let (fourth, what) = scans.begin(&touched).unwrap();
        assert_eq!(what, ScanWhat::All);
        scans.end(fourth, false, Duration::ZERO);
        assert_eq!(
            scans.begin(&none).unwrap().1,
            ScanWhat::Paths(vec![path("b")])
        );
    }

    #[test]
    fn a_full_scan_that_broke_off_comes_again_soon_and_counts_for_nothing() {
        let (mut scans, none) = (Scans::new(3_600, 1), BTreeSet::new());
        let (first, _) = scans.begin(&none).unwrap();
        scans.end(first, true, Duration::ZERO);
        assert!(!scans.first_done());
        assert_eq!(scans.next_timeout(true), Some(AFTER_TROUBLE));
        assert_eq!(scans.next_timeout(false), None);
        scans.handle_timeout(AFTER_TROUBLE);
        assert_eq!(scans.begin(&none).unwrap().1, ScanWhat::All);
    }

    #[test]
    fn a_later_look_comes_when_it_is_due() {
        let (mut scans, none) = (Scans::new(3_600, 1), BTreeSet::new());
        let (first, _) = scans.begin(&none).unwrap();
        scans.end(first, false, Duration::ZERO);
        scans.look_later(path("a"), Duration::from_secs(2));
        scans.handle_timeout(Duration::from_secs(1));
        assert_eq!(scans.begin(&none), None);
        scans.handle_timeout(Duration::from_secs(2));
        assert_eq!(
            scans.begin(&none).unwrap().1,
            ScanWhat::Paths(vec![path("a")])
        );
    }
}
