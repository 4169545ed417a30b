//! A peer's index, as it comes to us.
//!
//! Owns how far we have come with it, what it said it holds, the list of all that lives with it while it lasts, and
//! what we told of our progress. It must never judge a record.

use std::time::Duration;

use super::{super::planner::BURST_WAIT, list::List};
use crate::{
    held::Held,
    ids::{Generation, ReplicaId, Seq, SessionId},
    message::{Head, Listed, Progress},
    version::Dot,
};

/// Progress is told at most this often, except for its end.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How long an answer may pause before somebody else is asked as well.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a list is asked for once more because something changed under it.
const MAX_RELISTS: u32 = 3;

/// How far we have come with a numbering, as it is stored: the numbering, its number, and whether all that lives
/// was listed once.
pub(in crate::engine) type Cursor = (Generation, Seq, bool);

/// What becomes of a message with changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Fit {
    /// It follows on what was reached.
    Fits,
    /// Something is missing before it: it is asked for again.
    Gap,
    /// It isn't of this peer's stream.
    Stray,
}

/// A question that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Question {
    pub(in crate::engine) over: SessionId,
    pub(in crate::engine) generation: Generation,
    pub(in crate::engine) after: Seq,
    pub(in crate::engine) listed: bool,
    pub(in crate::engine) replica: ReplicaId,
    /// Changes are expected.
    pub(in crate::engine) burst: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Theirs {
    /// The session over which it sends its index: that of its last greeting.
    over: Option<SessionId>,
    /// What it said last over each session that is up.
    greetings: Vec<(SessionId, Head)>,
    /// Its numbering, once it said so.
    numbering: Option<Generation>,
    replica: Option<ReplicaId>,
    /// Its number up to which we took everything in.
    reached: u64,
    /// What we had reached before, where that is beyond all that it says it gave: its past is not the one that we know.
    /// It is shown that once, and tells everything anew.
    beyond: Option<u64>,
    /// Its last number that we have heard of.
    last: u64,
    /// Everything that lives there was listed to us in this numbering.
    listed: bool,
    list: Option<List>,
    relists: u32,
    /// A record was refused: neither its cursor nor what it knows is taken any more.
    refused: bool,
    burst_since: Option<Duration>,
    /// When it was asked, or told us of changes.
    heard: Option<Duration>,
    /// Mark of what was learned from it.
    mark: u64,
    to_ask: bool,
    /// Changes whose content it holds, and its numbers for them, as it said in this stream.
    holds: Held,
    told: Option<Progress>,
    told_at: Duration,
    progress_due: Option<Duration>,
}

impl Theirs {
    /// It greeted us over `session`; `cursor` is what the index has of its numbering, `mark` that numbering's mark.
    pub(in crate::engine) fn greeted(
        &mut self,
        session: SessionId,
        head: &Head,
        cursor: Option<Cursor>,
        mark: u64,
    ) {
        let reached = cursor.map_or(0, |(_, seq, _)| seq.0);
        let beyond = Some(reached).filter(|reached| *reached > head.last.0);
        let mut greetings = std::mem::take(&mut self.greetings);
        greetings.retain(|(over, _)| *over != session);
        greetings.push((session, *head));
        *self = Self {
            over: Some(session),
            greetings,
            numbering: Some(head.generation),
            replica: Some(head.replica),
            reached: beyond.map_or(reached, |_| 0),
            beyond,
            listed: cursor.is_some_and(|(_, _, listed)| listed),
            last: head.last.0,
            mark,
            to_ask: true,
            relists: self.relists,
            told_at: self.told_at,
            ..Self::default()
        };
    }

    /// That session is gone.
    pub(super) fn down(&mut self, session: SessionId) {
        self.greetings.retain(|(over, _)| *over != session);
        if self.over == Some(session) {
            self.over = None;
            self.burst_since = None;
            self.heard = None;
            self.list = None;
            self.to_ask = false;
            self.progress_due = None;
        }
    }

    /// Its last greeting over a session that is up, if it sends its index over none that is.
    pub(super) fn greeting(&self) -> Option<(SessionId, Head)> {
        self.greetings
            .last()
            .copied()
            .filter(|_| self.over.is_none())
    }

    /// Whether something that belongs to its stream came over the right session.
    pub(in crate::engine) fn is_over(&self, session: SessionId) -> bool {
        self.over == Some(session) && self.numbering.is_some()
    }

    /// Whether a message with changes after `after` follows on what was reached.
    pub(in crate::engine) fn fit(&mut self, session: SessionId, after: u64) -> Fit {
        if !self.is_over(session) {
            return Fit::Stray;
        }
        if after > self.reached {
            self.to_ask = true;
            return Fit::Gap;
        }
        Fit::Fits
    }

    /// Changes up to `upto` begin to be taken in.
    pub(in crate::engine) fn burst(&mut self, upto: u64, now: Duration) {
        self.burst_since.get_or_insert(now);
        self.last = self.last.max(upto);
    }

    /// It told us of changes, or left some out.
    pub(in crate::engine) fn heard(&mut self, now: Duration) {
        self.heard = Some(now);
    }

    /// A record can't be taken.
    pub(in crate::engine) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Changes up to `upto` were taken in. What the cursor is now, unless something was refused: that is asked
    /// for again in another session, and nothing may look seen that wasn't taken.
    pub(in crate::engine) fn took(&mut self, upto: u64, holds: &Held) -> Option<Cursor> {
        if upto <= self.reached {
            // The sender waits for an answer, also where it says nothing new.
            self.told = None;
        }
        self.reached = self.reached.max(upto);
        self.last = self.last.max(upto);
        self.holds.merge(holds);
        self.cursor()
    }

    fn cursor(&self) -> Option<Cursor> {
        let numbering = self.numbering.filter(|_| !self.refused)?;
        Some((numbering, Seq(self.reached), self.listed))
    }

    /// The burst has ended; `listed` if all that lives was named. Whether nothing of the burst was refused.
    pub(in crate::engine) fn burst_ended(&mut self, listed: Option<&Listed>) -> bool {
        self.burst_since = None;
        let list = self.list.take();
        self.list = match (list, listed) {
            (Some(list), Some(listed)) if !self.refused => list.ended(listed.knowledge.clone()),
            // One that goes on is not of this burst.
            (Some(list), None) if !list.is_collecting() => Some(list),
            _ => None,
        };
        !self.refused
    }

    /// The list that is being made or looked through.
    pub(in crate::engine) fn list_mut(&mut self) -> Option<&mut List> {
        self.list.as_mut()
    }

    /// If the list has been looked through and all was fetched, it ends here: the cursor to be stored.
    pub(in crate::engine) fn end_list(&mut self) -> Option<Cursor> {
        let list = self.list.take_if(|list| list.is_done())?;
        if list.is_whole() {
            self.listed = true;
            return self.cursor();
        }
        if self.relists < MAX_RELISTS {
            self.relists += 1;
            self.to_ask = true;
        }
        None
    }

    /// It holds the content of a change, and has this number for it.
    pub(in crate::engine) fn note_held(&mut self, dot: Dot, number: Seq) {
        self.holds.insert(dot, number);
    }

    /// Its number for a change whose content it said that it holds.
    pub(in crate::engine) fn holds(&self, dot: Dot) -> Option<Seq> {
        self.holds.number(dot)
    }

    /// Whether a question is due, whose answer will be long.
    pub(super) fn has_much_to_ask(&self) -> bool {
        self.to_ask && self.reached < self.last
    }

    /// Until when its answer is worth waiting for before somebody else is asked the same.
    pub(super) fn speaks_until(&self) -> Option<Duration> {
        let heard = self.heard.filter(|_| self.reached < self.last)?;
        Some(heard + SILENCE)
    }

    /// If a question is due, what to ask.
    pub(in crate::engine) fn question(&mut self, now: Duration) -> Option<Question> {
        if !std::mem::replace(&mut self.to_ask, false) {
            return None;
        }
        // It forgets what it heard of our progress.
        self.told = None;
        self.list = Some(List::default());
        self.heard = Some(now);
        let burst = self.reached < self.last;
        if burst {
            self.burst_since = Some(now);
        }
        Some(Question {
            over: self.over?,
            generation: self.numbering?,
            after: Seq(self.beyond.take().unwrap_or(self.reached)),
            listed: self.listed,
            replica: self.replica?,
            burst,
        })
    }

    /// What is to be told of our progress, and over which session, if it is time; what isn't yet is noted as due.
    pub(in crate::engine) fn progress(
        &mut self,
        files: u64,
        bytes: u64,
        now: Duration,
    ) -> Option<(SessionId, Progress)> {
        let over = self.over.filter(|_| self.numbering.is_some())?;
        let progress = Progress {
            reached: Seq(self.reached),
            files,
            bytes,
        };
        self.progress_due = None;
        if self.told == Some(progress) {
            return None;
        }
        let end = files == 0 || self.told.is_none_or(|t| t.reached != progress.reached);
        let due = self.told_at + PROGRESS_EVERY;
        if !end && now < due {
            self.progress_due = Some(due);
            return None;
        }
        self.told = Some(progress);
        self.told_at = now;
        Some((over, progress))
    }

    /// The session over which it sends its index.
    pub(in crate::engine) fn over(&self) -> Option<SessionId> {
        self.over
    }

    pub(in crate::engine) fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn is_in_burst(&self) -> bool {
        self.burst_since.is_some()
    }

    /// Whether its burst has begun so short ago that its end is worth waiting for.
    pub(super) fn burst_is_young(&self, now: Duration) -> bool {
        self.burst_since
            .is_some_and(|since| now < since + BURST_WAIT)
    }

    /// Whether we are at its last change.
    pub(super) fn is_reached(&self) -> bool {
        self.numbering.is_some() && self.reached >= self.last && self.burst_since.is_none()
    }

    pub(super) fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let burst = self.burst_since.map(|s| s + BURST_WAIT);
        let walk = self.list.as_ref().filter(|l| l.is_matching()).map(|_| now);
        let burst = burst.filter(|t| *t > now);
        [burst, walk, self.progress_due].into_iter().flatten().min()
    }
}
