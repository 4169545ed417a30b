//! What is being worked on: wanted records with their actions, the group on the disk's hands, what waits for what.
//!
//! Owns the lists of work under way and where the walk over what is needed stands. It must never look into the
//! index or judge a record: whoever plans says what the action is, here it is kept in order. A path is in at most
//! one group.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::placed::Placed;
use crate::{
    disk::{Action, Source},
    entry::Kind,
    index::Need,
    manifest::ContentRoot,
    path::RelPath,
    record::Record,
};

/// Wanted records worked on at once.
const MAX_ACTIVE: usize = 8_192;
/// Pause between two walks over what is needed.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// How often in a row the disk may contradict the index at a path before the path has to wait.
const PATIENCE: u32 = 3;
/// Longest wait for the end of a burst before work begins.
pub(super) const BURST_WAIT: Duration = Duration::from_secs(2);

/// A wanted record that is being worked on.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) record: Record,
    pub(super) action: Option<Action>,
    /// Number of the change that made the record wanted, once there is an action.
    pub(super) seq: u64,
    /// The file that a rename takes away.
    pub(super) from: Option<RelPath>,
}

/// What the end of work on a path leaves to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Nobody waits for this content any more.
    pub(super) unwanted: Option<ContentRoot>,
}

/// Where the walk over the lists of work stands.
#[derive(Debug, Default)]
struct Walk {
    need: Option<Need>,
    after: Option<RelPath>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Planner {
    active: BTreeMap<RelPath, Active>,
    ready: VecDeque<RelPath>,
    /// The group on the disk's hands, and every path that it touches.
    group: Option<(u64, Vec<RelPath>)>,
    touched: BTreeSet<RelPath>,
    last_group: u64,
    /// Which files wait for a content that is being fetched.
    waiting: BTreeMap<ContentRoot, BTreeSet<RelPath>>,
    /// Files that a planned rename takes away.
    sources: BTreeSet<RelPath>,
    /// How often everybody was asked for a content that nobody is known to hold.
    asked: BTreeMap<ContentRoot, u32>,
    /// Contents whose temporary is being put in place.
    placing: BTreeSet<ContentRoot>,
    /// Paths that the disk contradicted: not planned again until they were looked at.
    stale: BTreeSet<RelPath>,
    /// How often in a row the disk contradicted the index at a path.
    contradicted: BTreeMap<RelPath, u32>,
    /// Paths whose local source turned out wrong.
    no_local: BTreeSet<RelPath>,
    placed: Placed,
    walk: Walk,
    /// There may be work that no walk has seen.
    again: bool,
    /// Since when work waits for the end of a burst.
    waits_since: Option<Duration>,
    next_round: Duration,
}

impl Planner {
    pub(super) fn new(placed: Placed) -> Self {
        Self {
            active: BTreeMap::new(),
            ready: VecDeque::new(),
            group: None,
            touched: BTreeSet::new(),
            last_group: 0,
            waiting: BTreeMap::new(),
            sources: BTreeSet::new(),
            asked: BTreeMap::new(),
            placing: BTreeSet::new(),
            stale: BTreeSet::new(),
            contradicted: BTreeMap::new(),
            no_local: BTreeSet::new(),
            placed,
            walk: Walk::default(),
            again: true,
            waits_since: None,
            next_round: Duration::ZERO,
        }
    }

    // The walk over what is needed.

    /// What is needed has changed: another walk is due.
    pub(super) fn walk_again(&mut self) {
        self.again = true;
    }

    /// The list that the walk is in, and the path it has reached; a new walk begins if one is due.
    pub(super) fn walk(&mut self, now: Duration) -> Option<(Need, Option<RelPath>)> {
        if self.walk.need.is_none() {
            if !self.again || now < self.next_round {
                return None;
            }
            self.again = false;
            self.next_round = now + ROUND_PAUSE;
            self.walk = Walk {
                need: Some(Need::Dir),
                after: None,
            };
        }
        Some((self.walk.need?, self.walk.after.clone()))
    }

    /// The walk has reached this path, or the end of its list.
    pub(super) fn walked(&mut self, after: Option<RelPath>) {
        if after.is_none() {
            self.walk.need = match self.walk.need {
                Some(Need::Dir) => Some(Need::Content),
                Some(Need::Content) => Some(Need::Removal),
                Some(Need::Removal) | None => None,
            };
        }
        self.walk.after = after;
    }

    /// Whether no more can be worked on at once.
    pub(super) fn is_full(&self) -> bool {
        self.active.len() >= MAX_ACTIVE
    }

    /// When the next walk is due, if one is.
    pub(super) fn next_round(&self) -> Option<Duration> {
        (self.again && self.walk.need.is_none()).then_some(self.next_round)
    }

    /// A burst of changes begins: work waits for its end.
    pub(super) fn burst_begins(&mut self, now: Duration) {
        self.waits_since.get_or_insert(now);
    }

    /// Whether a peer that begins burst after burst has held work up for long enough.
    pub(super) fn waited_enough(&self, now: Duration) -> bool {
        self.waits_since
            .is_some_and(|since| now >= since + BURST_WAIT)
    }

    // Work on a path.

    /// `path` is worked on by this action; it waits for its turn.
    pub(super) fn make_ready(&mut self, path: RelPath, active: Active) {
        self.sources.extend(active.from.clone());
        self.ready.push_back(path.clone());
        self.active.insert(path, active);
    }

    /// `path` is worked on as soon as its content is here.
    pub(super) fn wait_for(&mut self, content: ContentRoot, path: RelPath, record: Record) {
        let waiting = self.waiting.entry(content).or_default();
        waiting.insert(path.clone());
        let active = Active {
            record,
            action: None,
            seq: 0,
            from: None,
        };
        self.active.insert(path, active);
    }

    /// A content is here, or won't come: what waited for it isn't worked on any more.
    pub(super) fn end_wait(&mut self, content: ContentRoot) -> Vec<(RelPath, Record)> {
        self.asked.remove(&content);
        let paths = self.waiting.remove(&content).unwrap_or_default();
        let ended = paths.into_iter().filter_map(|path| {
            let active = self.active.remove(&path)?;
            Some((path, active.record))
        });
        ended.collect()
    }

    /// Forgets the work on `path`, unless it is on the disk's hands already.
    pub(super) fn drop_work(&mut self, path: &RelPath) -> Dropped {
        let mut dropped = Dropped::default();
        if self.in_group(path) {
            return dropped;
        }
        let Some(active) = self.active.remove(path) else {
            return dropped;
        };
        if let Some(from) = &active.from {
            self.sources.remove(from);
            self.again = true;
        }
        self.ready.retain(|p| p != path);
        let Some(content) = active.record.entry.content else {
            return dropped;
        };
        if let Some(waiting) = self.waiting.get_mut(&content) {
            waiting.remove(path);
            if waiting.is_empty() {
                self.waiting.remove(&content);
                dropped.unwanted = Some(content);
            }
        }
        if places_temp(&active).is_some() {
            self.placing.remove(&content);
        }
        dropped
    }

    pub(super) fn is_active(&self, path: &RelPath) -> bool {
        self.active.contains_key(path)
    }

    pub(super) fn active(&self, path: &RelPath) -> Option<&Active> {
        self.active.get(path)
    }

    /// Whether `path` is about to be made a directory.
    pub(super) fn makes_dir(&self, path: &RelPath) -> bool {
        let active = self.active.get(path);
        active.is_some_and(|a| a.record.entry.kind == Kind::Dir && a.action.is_some())
    }

    /// Paths that wait for a content.
    pub(super) fn waiting_paths(&self) -> Vec<RelPath> {
        let waiting = self.active.iter().filter(|(_, a)| a.action.is_none());
        waiting.map(|(path, _)| path.clone()).collect()
    }

    /// The records that wait for a content.
    pub(super) fn waiting_records(&self) -> impl Iterator<Item = &Record> {
        let waiting = self.active.values().filter(|a| a.action.is_none());
        waiting.map(|active| &active.record)
    }

    /// Whether a planned rename takes the file at `path` away.
    pub(super) fn is_source(&self, path: &RelPath) -> bool {
        self.sources.contains(path)
    }

    /// A temporary with this content is about to be put in place.
    pub(super) fn place(&mut self, content: ContentRoot) {
        self.placing.insert(content);
    }

    /// It isn't put anywhere after all.
    pub(super) fn not_placed(&mut self, content: &ContentRoot) {
        self.placing.remove(content);
    }

    pub(super) fn is_placing(&self, content: &ContentRoot) -> bool {
        self.placing.contains(content)
    }

    /// Everybody was asked for a content that nobody is known to hold; how often by now.
    pub(super) fn asked(&mut self, content: ContentRoot) -> u32 {
        let asked = self.asked.entry(content).or_default();
        *asked += 1;
        *asked
    }

    // The group on the disk's hands.

    /// The next path whose action waits for its turn.
    pub(super) fn next_ready(&mut self) -> Option<RelPath> {
        self.ready.pop_front()
    }

    /// These have to wait for a later group, before all others.
    pub(super) fn put_back(&mut self, mut paths: VecDeque<RelPath>) {
        paths.append(&mut self.ready);
        self.ready = paths;
    }

    /// Whether a group may be put together.
    pub(super) fn may_begin_group(&self) -> bool {
        self.group.is_none() && !self.ready.is_empty()
    }

    /// These paths go into the disk's hands; `actions` say what else they touch. The name of the group.
    pub(super) fn begin_group(&mut self, paths: Vec<RelPath>, actions: &[Action]) -> u64 {
        let sources = actions.iter().filter_map(|a| match a {
            Action::Rename { from, .. } => Some(from),
            _ => None,
        });
        self.touched = sources.chain(&paths).cloned().collect();
        self.waits_since = None;
        self.last_group += 1;
        self.group = Some((self.last_group, paths));
        self.last_group
    }

    /// The group of this name is through: its paths, in the order of its actions.
    pub(super) fn end_group(&mut self, group: u64) -> Option<Vec<RelPath>> {
        let (_, paths) = self.group.take_if(|(running, _)| *running == group)?;
        self.touched.clear();
        self.again = true;
        Some(paths)
    }

    /// The action at `path` is through: what was worked on, unless that was dropped.
    pub(super) fn finished(&mut self, path: &RelPath) -> Option<Active> {
        let active = self.active.remove(path)?;
        if let Some(from) = &active.from {
            self.sources.remove(from);
        }
        if let Some(content) = places_temp(&active) {
            self.placing.remove(&content);
        }
        Some(active)
    }

    pub(super) fn in_group(&self, path: &RelPath) -> bool {
        self.touched.contains(path)
    }

    /// Every path that the group on the disk's hands touches.
    pub(super) fn touched(&self) -> &BTreeSet<RelPath> {
        &self.touched
    }

    pub(super) fn is_busy(&self) -> bool {
        self.group.is_some()
    }

    // What the disk contradicted.

    /// What stands at `path` must be looked at before it is planned again.
    pub(super) fn doubt(&mut self, path: RelPath) {
        self.stale.insert(path);
    }

    /// `path` was looked at.
    pub(super) fn seen(&mut self, path: &RelPath) {
        self.stale.remove(path);
    }

    /// All was looked at but these.
    pub(super) fn seen_all_but(&mut self, unread: &BTreeSet<RelPath>) {
        self.stale.retain(|path| unread.contains(path));
    }

    pub(super) fn is_stale(&self, path: &RelPath) -> bool {
        self.stale.contains(path)
    }

    /// Whether a scan is to say first what stands at `path`, or at a directory above it.
    pub(super) fn is_unknown(&self, path: &RelPath) -> bool {
        let stale = &self.stale;
        !stale.is_empty()
            && (stale.contains(path) || path.ancestors().any(|dir| stale.contains(&dir)))
    }

    /// The disk contradicted the index at `path`; whether that happened too often in a row.
    pub(super) fn contradicted(&mut self, path: &RelPath) -> bool {
        let count = self.contradicted.entry(path.clone()).or_default();
        *count += 1;
        *count >= PATIENCE
    }

    /// A new start for `path`: what went wrong there before counts no more.
    pub(super) fn forgive(&mut self, path: &RelPath) {
        self.no_local.remove(path);
        self.contradicted.remove(path);
    }

    /// No file here serves as the source of `path`.
    pub(super) fn no_local(&mut self, path: RelPath) {
        self.no_local.insert(path);
    }

    pub(super) fn may_be_local(&self, path: &RelPath) -> bool {
        !self.no_local.contains(path)
    }

    // Contents of ours that may stand unrecorded.

    pub(super) fn placed(&self) -> &Placed {
        &self.placed
    }

    pub(super) fn placed_mut(&mut self) -> &mut Placed {
        &mut self.placed
    }

    /// Whether an action of ours may have changed what stands at `path` without the index knowing. What lies in
    /// a directory that couldn't be read is in doubt as well: before a crash it may have been worked on.
    pub(super) fn is_in_doubt(&self, path: &RelPath) -> bool {
        self.in_group(path) || self.placed.is_unsure(path) || self.is_unknown(path)
    }
}

/// The content whose temporary the action puts in place.
fn places_temp(active: &Active) -> Option<ContentRoot> {
    match active.action {
        Some(Action::File {
            source: Source::Temp(content),
            ..
        }) => Some(content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunk::ContentHash,
        disk::{Expect, Meta},
        entry::Entry,
        ids::ReplicaId,
        keys::FolderKeys,
        record::sign,
        secret::Secret,
        version::{Dot, Vector, Version},
    };

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn record(name: &str, content: ContentRoot) -> Record {
        let keys = FolderKeys::derive(&Secret::generate([7; 21]));
        let replica = ReplicaId(1);
        let entry = Entry {
            kind: Kind::File,
            content: Some(content),
            prev: None,
            ..Entry::tombstone(path(name), 0, None, replica)
        };
        let dot = Dot {
            replica,
            counter: 1,
        };
        let signed = sign(&keys, 0, vec![(entry, Version::new(dot, &Vector::new()))]);
        signed.unwrap().records.remove(0)
    }

    fn content() -> ContentRoot {
        ContentRoot::single(ContentHash::chunk(b"x"))
    }

    fn rename(from: &str, to: &str) -> Active {
        Active {
            record: record(to, content()),
            action: Some(Action::Rename {
                from: path(from),
                expect_from: Expect::Absent,
                to: path(to),
                meta: Meta {
                    mtime_ns: 0,
                    mode: 0o644,
                },
            }),
            seq: 1,
            from: Some(path(from)),
        }
    }

    #[test]
    fn a_group_touches_both_ends_of_a_rename_until_it_is_through() {
        let mut planner = Planner::new(Placed::default());
        let (a, b) = (path("a"), path("b"));
        planner.make_ready(b.clone(), rename("a", "b"));
        assert!(planner.is_source(&a) && planner.may_begin_group());
        let next = planner.next_ready().unwrap();
        let action = planner.active(&next).unwrap().action.clone().unwrap();
        let group = planner.begin_group(vec![next], &[action]);
        assert!(planner.in_group(&a) && planner.in_group(&b));
        // What is in the disk's hands isn't dropped.
        assert_eq!(planner.drop_work(&b), Dropped::default());
        assert!(planner.end_group(group + 1).is_none());
        assert_eq!(planner.end_group(group), Some(vec![b.clone()]));
        assert!(planner.finished(&b).is_some());
        assert!(!planner.in_group(&a) && !planner.is_source(&a) && !planner.is_active(&b));
    }

    #[test]
    fn a_content_is_unwanted_when_the_last_path_that_waits_is_dropped() {
        let mut planner = Planner::new(Placed::default());
        for name in ["a", "b"] {
            planner.wait_for(content(), path(name), record(name, content()));
        }
        assert_eq!(planner.waiting_paths(), [path("a"), path("b")]);
        assert_eq!(planner.drop_work(&path("a")), Dropped::default());
        let unwanted = Some(content());
        assert_eq!(planner.drop_work(&path("b")), Dropped { unwanted });
        assert!(planner.end_wait(content()).is_empty());
    }

    #[test]
    fn a_walk_goes_through_all_lists_and_rests() {
        let mut planner = Planner::new(Placed::default());
        let zero = Duration::ZERO;
        assert_eq!(planner.walk(zero), Some((Need::Dir, None)));
        planner.walked(Some(path("d")));
        assert_eq!(planner.walk(zero), Some((Need::Dir, Some(path("d")))));
        planner.walked(None);
        assert_eq!(planner.walk(zero), Some((Need::Content, None)));
        planner.walked(None);
        planner.walked(None);
        assert_eq!((planner.walk(zero), planner.next_round()), (None, None));
        planner.walk_again();
        assert_eq!(planner.walk(zero), None);
        assert_eq!(planner.next_round(), Some(ROUND_PAUSE));
        assert_eq!(planner.walk(ROUND_PAUSE), Some((Need::Dir, None)));
    }

    #[test]
    fn what_lies_in_a_doubtful_directory_is_unknown() {
        let mut planner = Planner::new(Placed::default());
        planner.doubt(path("d"));
        assert!(planner.is_unknown(&path("d/e/f")) && planner.is_in_doubt(&path("d/e")));
        assert!(!planner.is_unknown(&path("de")) && !planner.is_stale(&path("d/e")));
        planner.seen(&path("d"));
        assert!(!planner.is_unknown(&path("d/e/f")));
        assert!(!planner.contradicted(&path("a")) && !planner.contradicted(&path("a")));
        assert!(planner.contradicted(&path("a")));
        planner.forgive(&path("a"));
        assert!(!planner.contradicted(&path("a")));
    }
}
