//! Our index, as a peer is told it.
//!
//! Owns what the peer knows and what has arrived there, how far it was told, and what it answered. It says of each
//! of our changes whether the peer gets it in full, as a stub, or not at all. It must never read the index.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    dots::Dots,
    held::Held,
    ids::{ReplicaId, Seq},
    knowledge::Knowledge,
    message::{Change, Listed, MAX_MISSING, Missing, Progress},
    version::{Dot, MAX_REPLICAS},
};

/// Messages with changes that a peer may have unanswered.
const OUTSTANDING: usize = 4;
/// Records that one peer may make us announce again.
const MAX_RETOLD: u32 = 100_000;
/// Questions that each greeting allows: an answer is long and a question short.
const MAX_ASKS: u32 = 16;
/// Who has changes coming from elsewhere is left alone until nothing came for so long, but not for ever.
const HEARS_FOR: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Authors whose changes may be coming to a peer from elsewhere, as far as we note them.
const MAX_HEARD: usize = 64;
/// What isn't news to a peer (numbers left out, knowledge that grew) is told at most this often.
const QUIET_EVERY: Duration = Duration::from_millis(300);

/// One change of our index, as it may be told.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Line {
    pub(in crate::engine) dot: Dot,
    /// Mark of the peer that told us of it; 0 if nobody did.
    pub(in crate::engine) learned: u64,
    /// Knowledge vectors cover it.
    pub(in crate::engine) in_knowledge: bool,
    pub(in crate::engine) change: Change,
}

/// How a peer is told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum How {
    /// With its record.
    Full,
    /// By a stub: everything that lives is listed for it.
    Stub,
    /// Not at all: it has it.
    Not,
    /// Later, if it still lacks it then: somebody else is telling it.
    Later,
}

/// All that lives is being listed.
#[derive(Debug)]
struct Listing {
    /// Up to here the asker has our changes, whatever it knows.
    taken: u64,
    /// What is said at its end.
    end: Listed,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Ours {
    /// Questions that it may still ask.
    asks_left: u32,
    asked: bool,
    /// Times that it was told again of what it should know.
    retold: u32,
    /// What it knows, and what has arrived there or was sent to it in full.
    known: Knowledge,
    arrived: Dots,
    /// Authors whose changes came to it from elsewhere, and when it said so last.
    hears: BTreeMap<ReplicaId, Duration>,
    /// Since when it is left alone, and until when, unless more comes to it.
    waits: Option<(Duration, Duration)>,
    listing: Option<Listing>,
    /// Numbers whose records it asked for.
    missing: BTreeSet<u64>,
    /// Our number up to which it was decided what it is told, and up to which it was told.
    walked: u64,
    told_upto: u64,
    /// What of the rest between we hold, to be told yet.
    to_hold: Held,
    /// Something in full was sent since the last end of a burst.
    open_burst: bool,
    /// Last number that was sent with our knowledge.
    complete: Option<u64>,
    /// Our knowledge, as it was told.
    told_knowledge: Knowledge,
    quiet_due: Duration,
    unanswered: VecDeque<u64>,
    progress: Option<Progress>,
}

impl Ours {
    /// We greet it, perhaps over another session than before: it asks anew.
    pub(super) fn greeting(&mut self) {
        *self = Self {
            asks_left: MAX_ASKS,
            retold: self.retold,
            ..Self::default()
        };
    }

    /// It asked where it isn't answered. Whether the greeting may be said once more: it counts as a question.
    pub(in crate::engine) fn may_be_greeted_again(&mut self) -> bool {
        let left = self.asks_left.checked_sub(1);
        self.asks_left = left.unwrap_or_default();
        left.is_some()
    }

    /// These changes have come to it from elsewhere.
    pub(in crate::engine) fn arrived(&mut self, dots: &Dots, now: Duration) {
        self.arrived.merge(dots);
        self.hears.retain(|_, at| *at + HEARS_FOR > now);
        for replica in dots.replicas() {
            if self.hears.len() < MAX_HEARD || self.hears.contains_key(&replica) {
                self.hears.insert(replica, now);
            }
        }
    }

    /// It knows these.
    pub(in crate::engine) fn knows(&mut self, knowledge: &Knowledge) {
        self.known.merge_within(knowledge, MAX_REPLICAS);
    }

    /// How far it has come with ours.
    pub(in crate::engine) fn progressed(&mut self, progress: Progress) {
        while self
            .unanswered
            .front()
            .is_some_and(|upto| *upto <= progress.reached.0)
        {
            self.unanswered.pop_front();
        }
        // What it can't have is not believed: its word is not signed.
        let reached = Seq(progress.reached.0.min(self.told_upto));
        self.progress = Some(Progress {
            reached,
            ..progress
        });
    }

    /// It asks for all after `after`, and knows `known`. With `list` (what we know), all that lives is listed to
    /// it. `false`: it may not ask any more.
    pub(in crate::engine) fn asks(
        &mut self,
        after: u64,
        known: Knowledge,
        list: Option<Listed>,
    ) -> bool {
        let Some(asks_left) = self.asks_left.checked_sub(1) else {
            return false;
        };
        // What was sent to it after an earlier question may not have been taken.
        let arrived = match self.asked {
            true => Dots::new(),
            false => self.arrived.take(),
        };
        let names = list.as_ref().is_some_and(|l| !l.knowledge.is_empty());
        let from = if names { 0 } else { after };
        *self = Self {
            asks_left,
            asked: true,
            retold: self.retold,
            known,
            arrived,
            listing: list.map(|end| Listing { taken: after, end }),
            walked: from,
            told_upto: from,
            ..Self::default()
        };
        true
    }

    /// It asks for the records of stubs.
    pub(in crate::engine) fn misses(&mut self, missing: Missing) {
        let room = MAX_MISSING.saturating_sub(self.missing.len());
        // What wasn't told can't have been a stub, and may not be durable.
        let told = missing.0.into_iter().filter(|seq| seq.0 <= self.told_upto);
        self.missing.extend(told.map(|seq| seq.0).take(room));
    }

    /// The next number whose record it asked for.
    pub(in crate::engine) fn next_missing(&mut self) -> Option<u64> {
        self.missing.pop_first()
    }

    /// Whether it may be told once more of something that it should know: not without end.
    pub(in crate::engine) fn may_retell(&mut self) -> bool {
        self.retold = self.retold.saturating_add(1);
        self.retold <= MAX_RETOLD
    }

    /// How it is told of a change of ours, which is noted as told. `mark`: that of what was learned from it.
    /// `patient`: it may be left for later.
    pub(in crate::engine) fn tell(
        &mut self,
        line: &Line,
        mark: u64,
        patient: bool,
        now: Duration,
    ) -> How {
        let change = &line.change;
        let its_own = line.learned != 0 && line.learned == mark;
        let knows = self.known.covers(line.dot) || self.arrived.contains(line.dot);
        let taken = |listing: &Listing| change.seq.0 <= listing.taken;
        let has = knows || self.listing.as_ref().is_some_and(taken);
        let has = its_own || (has && line.in_knowledge && !change.contested);
        if !has && patient && line.learned != 0 && self.is_left_alone(line.dot.replica, now) {
            return How::Later;
        }
        self.walked = change.seq.0;
        if !has {
            if line.in_knowledge {
                self.arrived.insert(line.dot);
            }
            self.open_burst = true;
            return How::Full;
        }
        let listing = self.listing.as_ref();
        if listing.is_some_and(|listing| listing.end.knowledge.covers(line.dot)) {
            return How::Stub;
        }
        if change.holds && self.progress.is_none_or(|p| p.files > 0) {
            self.to_hold.insert(line.dot, change.seq);
        }
        How::Not
    }

    /// Whether changes of this author come to it from elsewhere.
    fn is_left_alone(&mut self, author: ReplicaId, now: Duration) -> bool {
        let until = self.hears.get(&author).map(|at| *at + HEARS_FOR);
        let Some(until) = until.filter(|until| now < *until) else {
            self.waits = None;
            return false;
        };
        let since = self.waits.map_or(now, |(since, _)| since);
        self.waits = Some((since, until));
        now < since + LONGEST_WAIT
    }

    /// Nothing is left to be decided up to `upto`.
    pub(in crate::engine) fn walked_to(&mut self, upto: u64) {
        self.walked = self.walked.max(upto);
    }

    /// Whether something is to be sent now: news at once, all else at most each 300 ms. `urgent`: there are
    /// changes to be told. `end`: the burst ends here, with this knowledge.
    pub(in crate::engine) fn is_due(
        &mut self,
        urgent: bool,
        end: Option<&Knowledge>,
        now: Duration,
    ) -> bool {
        let ends = end.is_some_and(|known| self.has_end(known));
        let news = urgent || ends || self.walked > self.told_upto || !self.to_hold.is_empty();
        let first = self.open_burst || self.complete.is_none() || self.listing.is_some();
        let at_once = urgent || (ends && first);
        if !news || !(at_once || now >= self.quiet_due) {
            return false;
        }
        self.quiet_due = now + QUIET_EVERY;
        true
    }

    /// Changes are sent now: where the last message ended, where this one does, and what we hold of the rest.
    /// `None`: there is nothing to say.
    pub(in crate::engine) fn send_upto(&mut self, urgent: bool) -> Option<(u64, u64, Held)> {
        if !urgent && self.walked == self.told_upto && self.to_hold.is_empty() {
            return None;
        }
        let after = std::mem::replace(&mut self.told_upto, self.walked);
        self.unanswered.push_back(self.walked);
        Some((after, self.walked, self.to_hold.take()))
    }

    /// The end of a burst is sent now: what is news in our knowledge, and whether all that lives was listed.
    /// `None`: it was told already.
    pub(in crate::engine) fn send_end(
        &mut self,
        knowledge: &Knowledge,
    ) -> Option<(Knowledge, Option<Listed>)> {
        if !self.has_end(knowledge) {
            return None;
        }
        let news = knowledge.beyond(&self.told_knowledge);
        self.complete = Some(self.walked);
        self.open_burst = false;
        self.told_knowledge = knowledge.clone();
        Some((news, self.listing.take().map(|listing| listing.end)))
    }

    fn has_end(&self, knowledge: &Knowledge) -> bool {
        self.complete != Some(self.walked)
            || self.listing.is_some()
            || !self.told_knowledge.includes(knowledge)
    }

    /// Our number up to which it was decided what it is told.
    pub(in crate::engine) fn walked(&self) -> u64 {
        self.walked
    }

    /// Our number up to which it took everything in.
    pub(in crate::engine) fn reached(&self) -> u64 {
        self.progress.map_or(0, |p| p.reached.0)
    }

    /// The number after which it is to be told, if it takes any more now.
    pub(in crate::engine) fn takes_after(&self) -> Option<u64> {
        (self.asked && self.unanswered.len() < OUTSTANDING).then_some(self.walked)
    }

    /// Files and bytes that it needs.
    pub(super) fn needs(&self) -> (u64, u64) {
        self.progress.map_or((0, 0), |p| (p.files, p.bytes))
    }

    /// Whether it took in all up to `durable` and needs nothing.
    pub(super) fn is_told(&self, durable: u64) -> bool {
        let told = |p: Progress| p.reached.0 >= durable && p.files == 0;
        self.progress.is_some_and(told)
    }

    pub(super) fn next_timeout(&self, now: Duration) -> Option<Duration> {
        self.takes_after()?;
        let waits = self.waits.map(|(_, until)| until);
        let quiet = self.walked > self.told_upto || !self.to_hold.is_empty();
        // Knowledge may have grown that wasn't told.
        let quiet = quiet || self.complete.is_some();
        let quiet = quiet.then_some(self.quiet_due);
        [quiet, waits]
            .into_iter()
            .flatten()
            .filter(|t| *t > now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::Entry, keys::FolderKeys, path::RelPath, record::sign, secret::Secret,
        version::Version,
    };

    fn line(counter: u64, learned: u64) -> Line {
        let keys = FolderKeys::derive(&Secret::generate([7; 21]));
        let replica = ReplicaId(1);
        let dot = Dot { replica, counter };
        let path = RelPath::parse(b"a").unwrap();
        let entry = Entry::tombstone(path, 0, None, replica);
        let signed = sign(
            &keys,
            0,
            vec![(entry, Version::new(dot, &crate::version::Vector::new()))],
        )
        .unwrap();
        Line {
            dot,
            learned,
            in_knowledge: true,
            change: Change {
                seq: Seq(counter),
                holds: true,
                contested: false,
                record: signed.records[0].raw().clone(),
            },
        }
    }

    fn asked() -> Ours {
        let mut ours = Ours::default();
        ours.greeting();
        assert!(ours.asks(0, Knowledge::new(), None));
        ours
    }

    #[test]
    fn who_hears_it_from_elsewhere_is_left_alone_while_it_does() {
        let (mut ours, s) = (asked(), Duration::from_secs);
        ours.arrived(&[line(1, 9).dot].into_iter().collect(), s(10));
        assert_eq!(ours.tell(&line(1, 9), 5, true, s(10)), How::Not);
        assert_eq!(ours.tell(&line(2, 9), 5, true, s(10)), How::Later);
        assert_eq!((ours.walked(), ours.next_timeout(s(10))), (1, Some(s(11))));
        // What we made, and what waits behind it, waits for nobody.
        assert_eq!(ours.tell(&line(2, 0), 5, true, s(10)), How::Full);
        assert_eq!(ours.tell(&line(3, 9), 5, false, s(10)), How::Full);
        assert_eq!(ours.tell(&line(4, 9), 5, true, s(11)), How::Full);
    }

    #[test]
    fn nobody_is_left_alone_for_ever() {
        let mut ours = asked();
        for second in 0..29 {
            let now = Duration::from_secs(second);
            ours.arrived(&[line(1, 9).dot].into_iter().collect(), now);
            assert_eq!(ours.tell(&line(2, 9), 5, true, now), How::Later);
        }
        let now = Duration::from_secs(30);
        ours.arrived(&[line(1, 9).dot].into_iter().collect(), now);
        assert_eq!(ours.tell(&line(2, 9), 5, true, now), How::Full);
    }

    #[test]
    fn each_missing_record_is_told_once_and_only_if_it_was_a_stub() {
        let mut ours = asked();
        ours.walked_to(5);
        ours.send_upto(true);
        ours.misses(Missing([3, 9, 3, 2].map(Seq).to_vec()));
        let mut next = || ours.next_missing();
        assert_eq!((next(), next(), next()), (Some(2), Some(3), None));
    }

    #[test]
    fn who_asks_too_often_is_not_answered() {
        let mut ours = Ours::default();
        ours.greeting();
        for _ in 0..MAX_ASKS {
            assert!(ours.asks(0, Knowledge::new(), None));
        }
        assert!(!ours.asks(0, Knowledge::new(), None));
    }
}
