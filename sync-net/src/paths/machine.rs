//! Several sessions with one peer, as one: which of them carries what.
//!
//! A [`Paths`] holds the ways to one peer in one folder. It owns the choice between them: one is *used* (index and
//! requests go over it), others stand by, some are retired. It does no IO and reads no clock; a shell tells it what
//! came up, went down, was heard and was said, and does what [`Paths::poll_output`] gives. It must never let a path
//! be used that the other side can't learn of, and never close the last one that lives for the sake of a choice.
//!
//! # How it is decided
//!
//! The side with the lower static key *chooses*; the other follows where it says [`Word::Use`]. A nearer path is taken at
//! once; among equals one must have been over 25 % faster for [`FASTER_FOR`], at least [`HOLD`] after the last change.
//! Whoever finds the used path silent uses another by itself, and the follower goes back when it hears the chosen one again.
//!
//! # Silence
//!
//! Something is *due* on a path while answers are awaited there. If nothing was heard meanwhile for twice the round trip and
//! 300 ms (500 ms at least), it is probed; if nothing comes for as long again, the path is silent. A silent path is
//! closed [`SILENT_FOR`] after the probe if another lives, else later if its round trips are long: a full queue before
//! us isn't death.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::route::PathClass;

/// So long a path must have been faster than the used one of its class.
pub const FASTER_FOR: Duration = Duration::from_secs(10);
/// Among equals the path isn't changed again before.
pub const HOLD: Duration = Duration::from_secs(60);
/// A probe that isn't answered for so long ends its path.
pub const SILENT_FOR: Duration = Duration::from_secs(10);
/// A retired path ends after so long, whatever is still due.
pub const RETIRE_FOR: Duration = Duration::from_secs(5);
/// Paths that are kept: the one that is used, and one to fall back on.
pub const KEPT: usize = 2;

const LEAST_WAIT: Duration = Duration::from_millis(500);
const EXTRA_WAIT: Duration = Duration::from_millis(300);

/// The caller's name for a path; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u64);

/// What doesn't change about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFacts {
    /// How near.
    pub class: PathClass,
    /// Whether the system does the work of its transport; within a local network that is cheaper.
    pub by_system: bool,
    /// Where the peer is, if the stream tells.
    pub remote: Option<IpAddr>,
    /// The boot nonce in the peer's greeting on it.
    pub boot_nonce: u64,
}

/// What is measured of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// When the last byte came.
    pub heard: Duration,
    /// When the stream last took bytes that it had refused before: proof that the other end still takes some.
    pub unblocked: Duration,
    /// The smoothed round trip, once there was one.
    pub rtt: Option<Duration>,
    /// Whether answers are awaited on it.
    pub due: bool,
}

/// What the two sides say about a path, on that path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Index and requests of the sender go here from now on.
    Use,
    /// The sender sends no index and asks for nothing here.
    Standby,
    /// As `Standby`; the path ends once all is answered.
    Retire,
}

/// Why a path is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Another is kept instead.
    Replaced,
    /// It doesn't answer.
    Silent,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathOutput {
    /// Index and requests go over this path from now on. What was asked on another stays asked there.
    Use(PathId),
    /// It doesn't answer, and another is used: what was asked on it is asked anew.
    Lost(PathId),
    /// Say this to the peer, on this path.
    Say(PathId, Word),
    /// Ping now.
    Probe(PathId),
    /// End the session.
    Close(PathId, End),
}

#[derive(Debug)]
struct Path {
    facts: PathFacts,
    sample: Sample,
    /// Since when something is due.
    due_since: Duration,
    /// Since when a probe waits for anything to be heard.
    probed: Option<Duration>,
    silent: bool,
    /// Since when it has been much faster than the used one.
    faster_since: Option<Duration>,
    /// Until when it may be drained.
    retiring: Option<Duration>,
    /// The peer has nothing due on it any more, and it is to end.
    peer_retired: bool,
    said: Option<Word>,
    closed: bool,
}

impl Path {
    fn wait(&self) -> Duration {
        let rtt = self.sample.rtt.unwrap_or_default();
        (2 * rtt + EXTRA_WAIT).max(LEAST_WAIT)
    }

    /// From when on silence counts.
    fn quiet_since(&self, since: Duration) -> Duration {
        since.max(self.sample.heard).max(self.sample.unblocked)
    }

    const fn is_kept(&self) -> bool {
        !self.closed && self.retiring.is_none()
    }

    const fn lives(&self) -> bool {
        self.is_kept() && !self.silent
    }

    fn rank(&self) -> (PathClass, bool) {
        let lan = self.facts.class == PathClass::Lan;
        (self.facts.class, lan && self.facts.by_system)
    }

    fn is_twin_of(&self, other: &Self) -> bool {
        let (a, b) = (&self.facts, &other.facts);
        a.class == b.class && a.by_system == b.by_system && a.remote == b.remote
    }
}

/// The ways to one peer in one folder. See the module.
#[derive(Debug)]
pub struct Paths {
    /// Whether our static key is the lower one.
    chooses: bool,
    paths: BTreeMap<PathId, Path>,
    used: Option<PathId>,
    /// Where the chooser said that it sends; only kept by the follower.
    chosen: Option<PathId>,
    changed: Option<Duration>,
    outputs: VecDeque<PathOutput>,
}

impl Paths {
    /// No path yet. The side with the lower static key chooses.
    #[must_use]
    pub fn new(ours: &[u8; 32], theirs: &[u8; 32]) -> Self {
        Self {
            chooses: ours < theirs,
            paths: BTreeMap::new(),
            used: None,
            chosen: None,
            changed: None,
            outputs: VecDeque::new(),
        }
    }

    /// The path that is used.
    #[must_use]
    pub const fn used(&self) -> Option<PathId> {
        self.used
    }

    /// Whether there is no path at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<PathOutput> {
        self.outputs.pop_front()
    }

    /// A session stands.
    pub fn handle_up(&mut self, id: PathId, facts: PathFacts, now: Duration) {
        // Whoever was started anew has no other session any more.
        let dead: Vec<_> = self.ids(|p| !p.closed && p.facts.boot_nonce != facts.boot_nonce);
        let path = Path {
            facts,
            sample: Sample {
                heard: now,
                ..Sample::default()
            },
            due_since: now,
            probed: None,
            silent: false,
            faster_since: None,
            retiring: None,
            peer_retired: false,
            said: None,
            closed: false,
        };
        self.paths.insert(id, path);
        for old in &dead {
            self.close(*old, End::Replaced);
        }
        if self.used.is_none_or(|used| dead.contains(&used)) {
            self.take(id, now);
            for old in dead {
                self.outputs.push_back(PathOutput::Lost(old));
            }
        } else if let Some(used) = self.used {
            // Whoever dialled again may have had a reason.
            self.probe(used, now);
        }
        self.look(now);
    }

    /// A session is over. Tell it before whoever is served hears that it is gone: the one that follows is told first.
    pub fn handle_down(&mut self, id: PathId, now: Duration) {
        if self.paths.remove(&id).is_none() {
            return;
        }
        if self.chosen == Some(id) {
            self.chosen = None;
        }
        if self.used == Some(id) {
            self.used = None;
            if let Some(next) = self.best() {
                self.take(next, now);
            }
        }
        self.look(now);
    }

    /// What is measured of a path at present.
    pub fn handle_sample(&mut self, id: PathId, sample: Sample, now: Duration) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        if sample.due && !path.sample.due {
            path.due_since = now;
        }
        path.sample = sample;
        if path.probed.is_some_and(|at| sample.heard > at) {
            path.probed = None;
            path.silent = false;
        }
        self.look(now);
    }

    /// The peer said something, on a path.
    pub fn handle_word(&mut self, id: PathId, word: Word, now: Duration) {
        let Some(path) = self.paths.get_mut(&id).filter(|p| !p.closed) else {
            return;
        };
        match word {
            Word::Use if self.chooses => {
                // It hears nothing on ours.
                if let Some(used) = self.used.filter(|used| *used != id) {
                    self.probe(used, now);
                }
            }
            Word::Use => self.chosen = Some(id),
            Word::Standby => {}
            Word::Retire => {
                path.peer_retired = true;
                path.retiring.get_or_insert(now + RETIRE_FOR);
                if self.used == Some(id)
                    && let Some(next) = self.best()
                {
                    self.take(next, now);
                }
            }
        }
        self.look(now);
    }

    /// When [`Paths::handle_timeout`] is to be called, if ever. All paths are to be sampled first.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let others = self.paths.len() > 1;
        let due = self.paths.values().filter(|p| !p.closed).flat_map(|path| {
            let silence = match path.probed {
                None if path.sample.due => Some(path.quiet_since(path.due_since) + path.wait()),
                None => None,
                Some(at) if path.silent => Some(path.quiet_since(at) + self.patience(path)),
                Some(at) => Some(path.quiet_since(at) + path.wait()),
            };
            let faster = path.faster_since.filter(|_| others);
            [silence, path.retiring, faster.map(|at| self.faster_at(at))]
        });
        due.flatten().min()
    }

    /// Does what is due. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.look(now);
    }

    fn ids(&self, keep: impl Fn(&Path) -> bool) -> Vec<PathId> {
        let kept = self.paths.iter().filter(|(_, path)| keep(path));
        kept.map(|(id, _)| *id).collect()
    }

    fn close(&mut self, id: PathId, end: End) {
        if let Some(path) = self.paths.get_mut(&id).filter(|path| !path.closed) {
            path.closed = true;
            self.outputs.push_back(PathOutput::Close(id, end));
        }
    }

    fn say(&mut self, id: PathId, word: Word) {
        if let Some(path) = self.paths.get_mut(&id)
            && !path.closed
            && path.said != Some(word)
        {
            path.said = Some(word);
            self.outputs.push_back(PathOutput::Say(id, word));
        }
    }

    fn probe(&mut self, id: PathId, now: Duration) {
        if let Some(path) = self.paths.get_mut(&id)
            && !path.closed
            && path.probed.is_none()
        {
            path.probed = Some(now);
            self.outputs.push_back(PathOutput::Probe(id));
        }
    }

    /// Uses a path from now on.
    fn take(&mut self, id: PathId, now: Duration) {
        let old = self.used.replace(id).filter(|old| *old != id);
        self.changed = Some(now);
        for path in self.paths.values_mut() {
            path.faster_since = None;
        }
        self.outputs.push_back(PathOutput::Use(id));
        if self.paths.len() > 1 || old.is_some() {
            self.say(id, Word::Use);
        }
        if let Some(old) = old.filter(|old| self.paths.get(old).is_some_and(Path::is_kept)) {
            self.say(old, Word::Standby);
        }
    }

    /// The best path that lives, else one that is silent.
    fn best(&self) -> Option<PathId> {
        let kept = self.paths.iter().filter(|(_, path)| path.is_kept());
        let rank = |(id, path): &(&PathId, &Path)| {
            let rtt = path.sample.rtt.unwrap_or(Duration::MAX);
            let used = self.used == Some(**id);
            let chosen = self.chosen == Some(**id);
            let slow = std::cmp::Reverse(rtt);
            (path.lives(), chosen, path.rank(), used, slow, **id)
        };
        kept.max_by_key(rank).map(|(id, _)| *id)
    }

    fn patience(&self, path: &Path) -> Duration {
        let others = self.paths.values().filter(|p| p.lives()).count();
        match others {
            0 => SILENT_FOR.max(8 * path.sample.rtt.unwrap_or_default()),
            _ => SILENT_FOR,
        }
    }

    fn faster_at(&self, since: Duration) -> Duration {
        let hold = self.changed.map_or(Duration::ZERO, |at| at + HOLD);
        (since + FASTER_FOR).max(hold)
    }

    /// Decides all that can be decided.
    fn look(&mut self, now: Duration) {
        for id in self.ids(|p| !p.closed) {
            self.listen(id, now);
        }
        self.choose(now);
        for id in self.ids(|p| !p.closed && p.retiring.is_some()) {
            self.drain(id, now);
        }
    }

    /// Notices silence.
    fn listen(&mut self, id: PathId, now: Duration) {
        let Some(path) = self.paths.get(&id) else {
            return;
        };
        match path.probed {
            None => {
                let due = path.quiet_since(path.due_since) + path.wait();
                if path.sample.due && now >= due {
                    self.probe(id, now);
                }
            }
            Some(at) => {
                let quiet = path.quiet_since(at);
                let ends = quiet + self.patience(path);
                let becomes_silent = !path.silent && now >= quiet + path.wait();
                if becomes_silent && let Some(path) = self.paths.get_mut(&id) {
                    path.silent = true;
                }
                if now >= ends {
                    self.close(id, End::Silent);
                }
            }
        }
    }

    fn choose(&mut self, now: Duration) {
        let Some(used) = self.used else {
            // All that was here was retired or closed; what comes up next is used.
            if let Some(best) = self.best() {
                self.take(best, now);
            }
            return;
        };
        let Some(best) = self.best() else { return };
        let (Some(path), Some(other)) = (self.paths.get(&used), self.paths.get(&best)) else {
            return;
        };
        if !path.lives() && other.lives() {
            let lost = path.silent || path.closed;
            self.take(best, now);
            if lost {
                self.outputs.push_back(PathOutput::Lost(used));
            }
        } else if self.chooses {
            let nearer = other.lives() && other.rank() > path.rank();
            if nearer {
                self.take(best, now);
            } else if let Some(faster) = self.faster(used, now) {
                self.take(faster, now);
            }
        } else if let Some(chosen) = self.chosen.filter(|chosen| *chosen != used)
            && self.paths.get(&chosen).is_some_and(Path::lives)
        {
            self.take(chosen, now);
        }
        if self.chooses && self.paths.values().filter(|p| p.is_kept()).count() > 1 {
            self.tidy(now);
        }
    }

    /// A path of the used one's class that has been much faster for long enough.
    fn faster(&mut self, used: PathId, now: Duration) -> Option<PathId> {
        let path = self.paths.get(&used)?;
        let (rank, rtt) = (path.rank(), path.sample.rtt);
        for (id, other) in &mut self.paths {
            let faster = *id != used
                && other.lives()
                && other.rank() == rank
                && matches!((rtt, other.sample.rtt), (Some(a), Some(b)) if b * 5 < a * 4);
            if faster {
                other.faster_since.get_or_insert(now);
            } else {
                other.faster_since = None;
            }
        }
        let since = |p: &Path| p.faster_since.is_some_and(|at| now >= self.faster_at(at));
        let ready = self.paths.iter().filter(|(_, p)| since(p));
        let fastest = ready.min_by_key(|(_, p)| p.sample.rtt.unwrap_or(Duration::MAX));
        fastest.map(|(id, _)| *id)
    }

    /// The chooser says what each path is for, and retires what isn't worth keeping.
    fn tidy(&mut self, now: Duration) {
        let Some(used) = self.used else { return };
        self.say(used, Word::Use);
        for id in self.ids(Path::is_kept) {
            if id != used {
                self.say(id, Word::Standby);
            }
        }
        // As long as it isn't sure that the used one lives, nothing is retired.
        let sure = |p: &Path| p.lives() && p.probed.is_none();
        let Some(path) = self.paths.get(&used).filter(|p| sure(p)) else {
            return;
        };
        let mut others: Vec<_> = self.paths.iter().collect();
        others.retain(|(id, p)| **id != used && p.is_kept());
        others.sort_by_key(|(id, p)| (p.is_twin_of(path), std::cmp::Reverse((p.rank(), **id))));
        let twins = others.iter().enumerate();
        let spare: Vec<_> = twins
            .filter(|(n, (_, p))| *n + 1 >= KEPT || p.is_twin_of(path))
            .map(|(_, (id, _))| **id)
            .collect();
        for id in spare {
            if let Some(path) = self.paths.get_mut(&id) {
                path.retiring = Some(now + RETIRE_FOR);
            }
            self.say(id, Word::Retire);
        }
    }

    /// A path that is to end does when nobody awaits anything on it.
    fn drain(&mut self, id: PathId, now: Duration) {
        let Some(path) = self.paths.get(&id) else {
            return;
        };
        let over = path.retiring.is_some_and(|until| now >= until);
        let drained = !path.sample.due && self.used != Some(id);
        let both = drained && path.peer_retired;
        if drained {
            self.say(id, Word::Retire);
        }
        if over || (both && self.chooses) {
            self.close(id, End::Replaced);
        }
    }
}
