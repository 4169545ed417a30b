//! Several sessions with one peer, as one: which of them carries what.
//!
//! A [`Paths`] holds the ways to one peer in one folder. It owns the choice between them: one is *used* (index and
//! requests go over it), others stand by, some are retired. It does no IO and reads no clock; a shell tells it what
//! came up, went down, fell silent and was said, and does what [`Paths::poll_output`] gives. It must never end the last
//! path that lives for the sake of a choice.
//!
//! # How it is decided
//!
//! The side with the lower static key *chooses*, numbers its choices, and says each on the path chosen; the other
//! follows the newest that it has heard. So words may be lost with a path, or overtake each other on two. A nearer
//! path is taken at once; among equals one must have been over 25 % faster for [`FASTER_FOR`], by a millisecond at
//! least, and [`HOLD`] must have gone by since the last change. Whoever finds the used path silent uses another by itself; the follower
//! says so, and goes back when the chosen one is heard again.
//!
//! Only the chooser retires, once it is sure of the path that it uses: what leads to the same address as that one, and
//! what is more than [`KEPT`]. A retired path ends when neither side awaits anything on it, or after [`RETIRE_FOR`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use sync_core::ids::SessionId;

use super::{
    route::PathClass,
    words::{PathFacts, PathOutput, Word},
};

/// So long a path must have been faster than the used one of its class.
pub const FASTER_FOR: Duration = Duration::from_secs(10);
/// Among equals the path isn't changed again before.
pub const HOLD: Duration = Duration::from_secs(60);
/// A retired path ends after so long, whatever is still awaited.
pub const RETIRE_FOR: Duration = Duration::from_secs(5);
/// Paths that are kept: the one that is used, and one to fall back on.
pub const KEPT: usize = 2;
/// A path that is faster by less isn't worth a change.
const LEAST_GAIN: Duration = Duration::from_millis(1);
/// How often equals are compared.
const COMPARE: Duration = Duration::from_secs(10);
/// Round trips of a path that are remembered; the least of them counts.
const ROUND_TRIPS: usize = 6;

#[derive(Debug)]
struct Path {
    facts: PathFacts,
    quiet: bool,
    /// A probe is under way: whether it lives isn't sure.
    unsure: bool,
    round_trips: VecDeque<Duration>,
    /// Since when it has been much faster than the used one.
    faster_since: Option<Duration>,
    /// It is to end, at the latest then.
    retire: Option<Duration>,
    /// Nothing is awaited on it here.
    drained: bool,
    /// Nothing is awaited on it there.
    peer_drained: bool,
    said: Option<Word>,
    closed: bool,
}

impl Path {
    const fn lives(&self) -> bool {
        !self.closed && !self.quiet
    }

    const fn is_kept(&self) -> bool {
        !self.closed && self.retire.is_none()
    }

    /// Higher is better, among paths that live.
    fn rank(&self) -> (PathClass, bool) {
        let near = self.facts.class == PathClass::Lan;
        (self.facts.class, near && self.facts.by_system)
    }

    fn round_trip(&self) -> Option<Duration> {
        self.round_trips.iter().min().copied()
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
    paths: BTreeMap<SessionId, Path>,
    used: Option<SessionId>,
    /// The number of the newest choice, made or heard.
    choice: u64,
    /// The path of that choice.
    chosen: Option<SessionId>,
    changed: Duration,
    compare_at: Option<Duration>,
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
            choice: 0,
            chosen: None,
            changed: Duration::ZERO,
            compare_at: None,
            outputs: VecDeque::new(),
        }
    }

    /// The path that is used.
    #[must_use]
    pub const fn used(&self) -> Option<SessionId> {
        self.used
    }

    /// Whether there is no path at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether some path answers, as far as is known.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.paths.values().any(Path::lives)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<PathOutput> {
        self.outputs.pop_front()
    }

    /// A session stands. No two have the same name.
    pub fn handle_up(&mut self, id: SessionId, facts: PathFacts, now: Duration) {
        // Whoever was started anew has no other session any more, and numbers its choices anew.
        let dead = self.ids(|p| p.facts.boot_nonce != facts.boot_nonce);
        if !dead.is_empty() {
            self.chosen = None;
            self.choice = if self.chooses { self.choice } else { 0 };
        }
        for old in &dead {
            self.close(*old);
        }
        let dead_used = self.used.filter(|used| dead.contains(used));
        // Whoever dialled again may have had a reason.
        if let Some(used) = self.used {
            self.probe(used);
        }
        let path = Path {
            facts,
            quiet: false,
            unsure: false,
            round_trips: VecDeque::new(),
            faster_since: None,
            retire: None,
            drained: false,
            peer_drained: false,
            said: None,
            closed: false,
        };
        self.paths.insert(id, path);
        self.look(now);
        self.outputs.extend(dead_used.map(PathOutput::Lost));
    }

    /// A session is over. Tell it before whoever is served hears that it is gone: what follows it is told first.
    pub fn handle_down(&mut self, id: SessionId, now: Duration) {
        self.paths.remove(&id);
        self.used = self.used.filter(|used| *used != id);
        self.chosen = self.chosen.filter(|chosen| *chosen != id);
        self.look(now);
    }

    /// The peer doesn't answer on it.
    pub fn handle_quiet(&mut self, id: SessionId, now: Duration) {
        let Some(path) = self.paths.get_mut(&id) else {
            return;
        };
        (path.quiet, path.unsure) = (true, false);
        if self.used != Some(id) {
            self.outputs.push_back(PathOutput::Lost(id));
        }
        self.look(now);
    }

    /// Something came after a probe, or after silence.
    pub fn handle_heard(&mut self, id: SessionId, now: Duration) {
        if let Some(path) = self.paths.get_mut(&id) {
            (path.quiet, path.unsure) = (false, false);
            self.look(now);
        }
    }

    /// A round trip was measured on it. Only what comes after [`PathOutput::Probe`] is needed.
    pub fn handle_round_trip(&mut self, id: SessionId, took: Duration) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.round_trips.truncate(ROUND_TRIPS - 1);
            path.round_trips.push_front(took);
        }
    }

    /// Nothing is awaited any more on a path that was to be drained.
    pub fn handle_drained(&mut self, id: SessionId, now: Duration) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.drained = true;
            self.look(now);
        }
    }

    /// The peer said something, on a path.
    pub fn handle_word(&mut self, id: SessionId, word: Word, now: Duration) {
        let Some(path) = self.paths.get_mut(&id).filter(|p| !p.closed) else {
            return;
        };
        match word {
            Word::Use(_) if self.chooses => {
                // It hears nothing on ours, perhaps.
                if let Some(used) = self.used.filter(|used| *used != id) {
                    self.probe(used);
                }
            }
            Word::Use(number) if number > self.choice => {
                (self.choice, self.chosen) = (number, Some(id));
                (path.retire, path.said) = (None, None);
            }
            Word::Standby if !self.chooses => (path.retire, path.said) = (None, None),
            Word::Use(_) | Word::Standby => {}
            Word::Retire if self.chooses => path.peer_drained = true,
            Word::Retire => {
                path.retire = Some(now + RETIRE_FOR);
                path.drained = false;
                self.chosen = self.chosen.filter(|chosen| *chosen != id);
                self.outputs.push_back(PathOutput::Drain(id));
            }
        }
        self.look(now);
    }

    /// When [`Paths::handle_timeout`] is to be called, if ever.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        if !self.chooses {
            return None;
        }
        let open = self.paths.values().filter(|p| !p.closed);
        let retire = open.filter_map(|p| p.retire).min();
        [retire, self.compare_at].into_iter().flatten().min()
    }

    /// Does what is due. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.look(now);
    }

    fn ids(&self, keep: impl Fn(&Path) -> bool) -> Vec<SessionId> {
        let kept = self.paths.iter().filter(|(_, path)| keep(path));
        kept.map(|(id, _)| *id).collect()
    }

    fn is(&self, id: Option<SessionId>, what: impl Fn(&Path) -> bool) -> bool {
        id.and_then(|id| self.paths.get(&id)).is_some_and(what)
    }

    fn close(&mut self, id: SessionId) {
        if let Some(path) = self.paths.get_mut(&id).filter(|path| !path.closed) {
            path.closed = true;
            if self.used != Some(id) {
                self.outputs.push_back(PathOutput::Lost(id));
            }
            self.outputs.push_back(PathOutput::Close(id));
        }
    }

    fn say(&mut self, id: SessionId, word: Word) {
        if let Some(path) = self.paths.get_mut(&id)
            && !path.closed
            && path.said != Some(word)
        {
            path.said = Some(word);
            self.outputs.push_back(PathOutput::Say(id, word));
        }
    }

    fn probe(&mut self, id: SessionId) {
        if let Some(path) = self.paths.get_mut(&id).filter(|p| p.lives())
            && !std::mem::replace(&mut path.unsure, true)
        {
            self.outputs.push_back(PathOutput::Probe(id));
        }
    }

    /// Decides all that can be decided.
    fn look(&mut self, now: Duration) {
        self.choose(now);
        if self.chooses {
            self.tell(now);
            self.tidy(now);
            self.end_retired(now);
            self.compare(now);
        } else {
            for id in self.ids(|p| p.retire.is_some() && p.drained) {
                self.say(id, Word::Retire);
            }
        }
    }

    fn choose(&mut self, now: Duration) {
        let Some(best) = self.best() else { return };
        let usable = |p: &Path| p.lives() && p.retire.is_none();
        let chosen = self.chosen.filter(|_| !self.chooses);
        let next = match self.used {
            _ if self.is(chosen, Path::lives) => chosen.unwrap_or(best),
            Some(used) if self.is(Some(used), usable) => match self.chooses {
                true => self.better(used, best, now),
                false => used,
            },
            _ => best,
        };
        if self.used == Some(next) {
            return;
        }
        let old = self.used.replace(next);
        self.changed = now;
        for path in self.paths.values_mut() {
            path.faster_since = None;
            // The follower has to tell it anew.
            path.said = path.said.filter(|word| *word != Word::Use(0));
        }
        if let Some(path) = self.paths.get_mut(&next) {
            path.drained = false;
            path.retire = path.retire.filter(|_| !self.chooses);
        }
        self.outputs.push_back(PathOutput::Use(next));
        match old {
            Some(old) if self.is(Some(old), |p| p.quiet) => {
                self.outputs.push_back(PathOutput::Lost(old));
            }
            // What was asked there is waited for only as long as it answers.
            Some(old) => self.probe(old),
            None => {}
        }
        if chosen.is_some_and(|chosen| chosen != next) {
            self.say(next, Word::Use(0));
        }
    }

    /// The best path that lives, else one that may come back.
    fn best(&self) -> Option<SessionId> {
        let rank = |(id, path): &(&SessionId, &Path)| {
            let slow = std::cmp::Reverse(path.round_trip().unwrap_or(Duration::MAX));
            let used = self.used == Some(**id);
            let older = std::cmp::Reverse(**id);
            (path.lives(), path.is_kept(), path.rank(), used, slow, older)
        };
        let open = self.paths.iter().filter(|(_, path)| !path.closed);
        open.max_by_key(rank).map(|(id, _)| *id)
    }

    /// The path to change to from one that could be kept, or that one.
    fn better(&mut self, used: SessionId, best: SessionId, now: Duration) -> SessionId {
        let Some(path) = self.paths.get(&used) else {
            return best;
        };
        if self.is(Some(best), |p| p.rank() > path.rank()) {
            return best;
        }
        let (rank, took) = (path.rank(), path.round_trip());
        let mut fastest = None;
        for (id, other) in &mut self.paths {
            let faster = other.lives()
                && other.is_kept()
                && other.rank() == rank
                && matches!((took, other.round_trip()), (Some(a), Some(b))
                    if b * 5 < a * 4 && b + LEAST_GAIN <= a);
            other.faster_since = other
                .faster_since
                .filter(|_| faster)
                .or(faster.then_some(now));
            if let Some(since) = other.faster_since
                && now >= (since + FASTER_FOR).max(self.changed + HOLD)
            {
                fastest = fastest.max(Some((std::cmp::Reverse(other.round_trip()), *id)));
            }
        }
        fastest.map_or(used, |(_, id)| id)
    }

    /// The chooser says what it has chosen, as soon as there is a choice.
    fn tell(&mut self, now: Duration) {
        let Some(used) = self.used else { return };
        let open = self.ids(|p| !p.closed);
        if self.chosen == self.used || (open.len() < 2 && self.choice == 0) {
            return;
        }
        // Greater than any before, also if all paths were down meanwhile and this is another `Paths`.
        let number = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.choice = number.max(self.choice.saturating_add(1));
        self.chosen = Some(used);
        self.say(used, Word::Use(self.choice));
    }

    /// What isn't used stands by, and is retired if it isn't worth keeping.
    fn tidy(&mut self, now: Duration) {
        let Some(path) = self.used.and_then(|used| self.paths.get(&used)) else {
            return;
        };
        let mut others: Vec<_> = self.paths.iter().collect();
        others.retain(|(id, p)| Some(**id) != self.used && p.is_kept());
        others.sort_by_key(|(id, p)| std::cmp::Reverse((p.lives(), p.rank(), **id)));
        // As long as it isn't sure that the used one lives, nothing is retired.
        let sure = path.lives() && !path.unsure;
        let mut kept = 1;
        let mut words = Vec::new();
        for (id, other) in others {
            let spare = kept >= KEPT || other.is_twin_of(path);
            kept += usize::from(!spare);
            let word = if spare && sure {
                Word::Retire
            } else {
                Word::Standby
            };
            words.push((*id, word));
        }
        for (id, word) in words {
            self.say(id, word);
            if word == Word::Retire
                && let Some(path) = self.paths.get_mut(&id)
            {
                path.retire = Some(now + RETIRE_FOR);
                (path.drained, path.peer_drained) = (false, false);
                self.outputs.push_back(PathOutput::Drain(id));
            }
        }
    }

    /// A retired path ends when both sides are done with it, if the used one is good.
    fn end_retired(&mut self, now: Duration) {
        let good = self.is(self.used, |p| p.lives() && p.is_kept() && !p.unsure);
        for id in self.ids(|p| !p.closed && p.retire.is_some()) {
            let Some(path) = self.paths.get_mut(&id).filter(|_| Some(id) != self.used) else {
                continue;
            };
            let over = path.retire.is_some_and(|until| now >= until);
            if good && (over || (path.drained && path.peer_drained)) {
                self.close(id);
            } else if over {
                // It may still be needed.
                path.retire = None;
                self.say(id, Word::Standby);
            }
        }
    }

    /// Equals are asked for their round trips from time to time.
    fn compare(&mut self, now: Duration) {
        let rank = self
            .used
            .and_then(|used| self.paths.get(&used))
            .map(Path::rank);
        let equals = self.ids(|p| p.lives() && p.is_kept() && Some(p.rank()) == rank);
        if equals.len() < 2 {
            self.compare_at = None;
        } else if self.compare_at.is_none_or(|at| now >= at) {
            self.compare_at = Some(now + COMPARE);
            for id in equals {
                self.outputs.push_back(PathOutput::Probe(id));
            }
        }
    }
}
