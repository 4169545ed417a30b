//! What people are told: items that are stuck, names that can't be synced, why nothing is done, events.
//!
//! Owns the list of stuck items with their pauses, the folder's reasons to stand still and the state that was told
//! last. It must never decide what becomes of a path: it only says whether, and when, it may be tried.

use std::{collections::BTreeMap, time::Duration};

use super::{Event, ItemError, Output, State};
use crate::{path::RelPath, trouble::Trouble};

/// Longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(600);
/// How long nothing is tried after the disk was full.
const FULL_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Stuck {
    reason: Trouble,
    /// It is something that is wanted here, not something that can't be read.
    wanted: bool,
    tries: u32,
    /// When it is tried again; [`Duration::MAX`] while it is being tried.
    next: Duration,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Notes {
    stuck: BTreeMap<RelPath, Stuck>,
    skipped: Vec<(Vec<u8>, String)>,
    paused: bool,
    lost: Option<Trouble>,
    failed: Option<Trouble>,
    disk_full: Option<(Trouble, Duration)>,
    /// More records of later versions came than can be kept.
    beyond_us: bool,
    told: Option<State>,
}

impl Notes {
    pub(super) fn new(paused: bool) -> Self {
        Self {
            paused,
            ..Self::default()
        }
    }

    /// `path` can't be dealt with now; the pause doubles each time, from 1 s to 10 min. What is to be told, if
    /// it is news.
    pub(super) fn stick(
        &mut self,
        path: &RelPath,
        reason: Trouble,
        wanted: bool,
        now: Duration,
    ) -> Option<Output> {
        let tries = self.tries(path);
        let pause = Duration::from_secs(1u64 << tries.min(10)).min(LONGEST);
        let news = (tries == 0).then(|| {
            Output::Event(Event::ItemFailed {
                path: path.clone(),
                reason: reason.clone(),
            })
        });
        let stuck = Stuck {
            reason,
            wanted,
            tries: tries + 1,
            next: now + pause,
        };
        self.stuck.insert(path.clone(), stuck);
        news
    }

    /// Nothing hinders `path` any more.
    pub(super) fn mended(&mut self, path: &RelPath) {
        self.stuck.remove(path);
    }

    /// What is wanted is tried again by `until` at the latest: somebody came who may hold it.
    pub(super) fn hurry(&mut self, until: Duration) {
        for stuck in self.stuck.values_mut().filter(|s| s.wanted) {
            stuck.next = stuck.next.min(until);
        }
    }

    /// Marks what is due as being tried; whether there is any.
    pub(super) fn retry_due(&mut self, now: Duration) -> bool {
        let due = self.stuck.values().any(|s| s.next <= now);
        for stuck in self.stuck.values_mut().filter(|s| s.next <= now) {
            stuck.next = Duration::MAX;
        }
        due
    }

    /// Names that the last full scan passed over.
    pub(super) fn set_skipped(&mut self, skipped: Vec<(Vec<u8>, String)>) {
        self.skipped = skipped;
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn set_lost(&mut self, reason: String) {
        self.lost = Some(Trouble::Root(reason));
    }

    /// The root is there; whether it was lost.
    pub(super) fn root_found(&mut self) -> bool {
        self.lost.take().is_some()
    }

    /// A record of a later version can't be kept, and what its sender knows can't be taken over.
    pub(super) fn set_beyond_us(&mut self) {
        self.beyond_us = true;
    }

    pub(super) fn set_failed(&mut self, reason: String) {
        self.failed = Some(Trouble::Index(reason));
    }

    pub(super) fn set_disk_full(&mut self, reason: Trouble, now: Duration) {
        self.disk_full = Some((reason, now + FULL_PAUSE));
    }

    /// Whether the pause after a full disk is over just now.
    pub(super) fn disk_may_have_room(&mut self, now: Duration) -> bool {
        let over = self.disk_full.take_if(|(_, until)| *until <= now);
        over.is_some()
    }

    /// Remembers the state; whether it is another one than was told last.
    pub(super) fn is_news(&mut self, state: State) -> bool {
        self.told.replace(state) != Some(state)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the folder is being worked on at all.
    pub(super) fn active(&self) -> bool {
        !self.paused && self.lost.is_none() && self.failed.is_none()
    }

    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full.is_some()
    }

    /// Why the folder stands still, if it does.
    pub(super) fn stopped(&self) -> Option<&Trouble> {
        let full = self.disk_full.as_ref().map(|(reason, _)| reason);
        self.failed.as_ref().or(self.lost.as_ref()).or(full)
    }

    /// Whether `path` must wait before it is tried again.
    pub(super) fn waits(&self, path: &RelPath) -> bool {
        self.stuck
            .get(path)
            .is_some_and(|s| s.next != Duration::MAX)
    }

    /// How often `path` was tried in vain.
    pub(super) fn tries(&self, path: &RelPath) -> u32 {
        self.stuck.get(path).map_or(0, |s| s.tries)
    }

    /// When `path` is tried again, if it is stuck.
    pub(super) fn next_try(&self, path: &RelPath) -> Option<Duration> {
        self.stuck.get(path).map(|s| s.next)
    }

    pub(super) fn reason(&self, path: &RelPath) -> Option<&Trouble> {
        self.stuck.get(path).map(|s| &s.reason)
    }

    /// How many wanted items are stuck.
    pub(super) fn wanted(&self) -> u64 {
        self.stuck.values().filter(|s| s.wanted).count() as u64
    }

    /// How many items have an error.
    pub(super) fn len(&self) -> u64 {
        self.stuck.len() as u64 + self.skipped.len() as u64 + u64::from(self.beyond_us)
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let retries = self.stuck.values().map(|s| s.next);
        let soonest = retries.filter(|t| *t != Duration::MAX).min();
        let full = self.disk_full.as_ref().map(|(_, until)| *until);
        [soonest, full].into_iter().flatten().min()
    }

    /// Everything that is stuck, why, and when it is tried next.
    pub(super) fn errors(&self, now: Duration) -> Vec<ItemError> {
        let stuck = self.stuck.iter().map(|(path, s)| ItemError {
            path: path.as_bytes().to_vec(),
            reason: s.reason.clone(),
            next_try_s: Some(s.next.saturating_sub(now).as_secs()).filter(|s| *s < 86_400),
        });
        let skipped = self.skipped.iter().map(|(path, reason)| ItemError {
            path: path.clone(),
            reason: Trouble::Unsyncable(reason.clone()),
            next_try_s: None,
        });
        let beyond_us = self.beyond_us.then(|| ItemError {
            path: Vec::new(),
            reason: Trouble::TooMuchNewer,
            next_try_s: None,
        });
        stuck.chain(skipped).chain(beyond_us).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn pauses_double_and_end_at_once_when_somebody_comes() {
        let (mut notes, a) = (Notes::default(), path("a"));
        let s = Duration::from_secs;
        assert!(notes.stick(&a, "why".into(), true, s(0)).is_some());
        assert!(notes.waits(&a) && notes.next_try(&a) == Some(s(1)));
        assert!(!notes.retry_due(Duration::from_millis(999)));
        assert!(notes.retry_due(s(1)) && !notes.waits(&a));
        // It is told once.
        assert!(notes.stick(&a, "why".into(), true, s(1)).is_none());
        assert_eq!(notes.next_try(&a), Some(s(3)));
        for _ in 0..20 {
            notes.stick(&a, "why".into(), true, s(3));
        }
        assert_eq!(notes.next_try(&a), Some(s(603)));
        notes.hurry(s(5));
        assert_eq!(notes.next_timeout(), Some(s(5)));
        notes.mended(&a);
        assert_eq!((notes.len(), notes.next_timeout()), (0, None));
    }

    #[test]
    fn what_cannot_be_read_is_not_hurried_and_not_wanted() {
        let (mut notes, a) = (Notes::default(), path("a"));
        notes.stick(&a, "unreadable".into(), false, Duration::from_secs(9));
        notes.hurry(Duration::ZERO);
        assert_eq!(notes.next_try(&a), Some(Duration::from_secs(10)));
        assert_eq!((notes.wanted(), notes.len()), (0, 1));
    }

    #[test]
    fn a_full_disk_is_tried_again_after_a_pause() {
        let mut notes = Notes::new(false);
        notes.set_disk_full(Trouble::DiskFull, Duration::ZERO);
        assert_eq!(notes.stopped(), Some(&Trouble::DiskFull));
        assert!(notes.active() && notes.is_disk_full());
        assert!(!notes.disk_may_have_room(Duration::from_secs(9)));
        assert!(notes.disk_may_have_room(Duration::from_secs(10)));
        assert_eq!(notes.stopped(), None);
    }
}
