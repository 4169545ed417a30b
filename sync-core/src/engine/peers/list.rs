//! The list of all that lives with a peer, and what follows from it.
//!
//! While it comes in, the hashes of all records that it names are collected. Then our own entries are looked
//! through, a page at a time: those that it names are found. What of it is left over we lack, and ask for in full.
//! What lives here although the peer knew of it and doesn't name it was deleted there.

use std::collections::VecDeque;

use crate::{
    ids::Seq,
    knowledge::Knowledge,
    message::{MAX_MISSING, Stub},
    path::RelPath,
    version::Dot,
};

/// Most records that a list may name. A longer one is no list: nothing follows from it.
const MAX_NAMES: usize = 1 << 22;

/// A record that the peer takes us to know.
#[derive(Debug)]
struct Named {
    tag: [u8; 8],
    seq: u64,
    holds: bool,
    found: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct List {
    stage: Stage,
    stubs: Vec<Named>,
    /// Records that came in full.
    full: Vec<[u8; 8]>,
    /// Too long, or something that it named is gone by now.
    broken: bool,
}

#[derive(Debug, Default)]
enum Stage {
    /// It comes in.
    #[default]
    Collecting,
    /// Our entries after this path are to be looked at.
    Matching {
        after: Option<RelPath>,
        known: Knowledge,
    },
    /// Numbers to be asked for, and the last that was.
    Fetching {
        numbers: VecDeque<u64>,
        asked: VecDeque<u64>,
    },
}

/// What a list says of a record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Said {
    /// It is there.
    Named {
        /// With its content, under this number.
        holds: Option<Seq>,
    },
    /// It was there, and isn't any more.
    Gone,
    /// Nothing.
    Nothing,
}

impl List {
    /// It names a record that we should know.
    pub(in crate::engine) fn stub(&mut self, stub: &Stub) {
        if !self.takes() {
            return;
        }
        self.stubs.push(Named {
            tag: stub.tag,
            seq: stub.seq.0,
            holds: stub.holds,
            found: false,
        });
    }

    /// It names a record that came in full.
    pub(in crate::engine) fn full(&mut self, tag: [u8; 8]) {
        if self.takes() {
            self.full.push(tag);
        }
    }

    fn takes(&mut self) -> bool {
        let room = self.stubs.len() + self.full.len() < MAX_NAMES;
        self.broken |= !room;
        room && self.is_collecting()
    }

    /// It has ended. `known`: what the peer knew when it began. `None` if nothing can follow from it.
    pub(super) fn ended(mut self, known: Knowledge) -> Option<Self> {
        if !self.is_collecting() || self.broken {
            return None;
        }
        if known.is_empty() && self.stubs.is_empty() {
            // Nothing can follow from it.
            self.matched(None);
            return Some(self);
        }
        self.stubs.sort_unstable_by_key(|named| named.tag);
        self.full.sort_unstable();
        self.stage = Stage::Matching { after: None, known };
        Some(self)
    }

    /// Where to go on looking through our entries, if that is to be done.
    pub(in crate::engine) fn matches_after(&self) -> Option<Option<RelPath>> {
        match &self.stage {
            Stage::Matching { after, .. } => Some(after.clone()),
            _ => None,
        }
    }

    /// What it says of a record of ours, which is noted as found.
    pub(in crate::engine) fn says(&mut self, tag: [u8; 8], dot: Dot) -> Said {
        let Stage::Matching { known, .. } = &self.stage else {
            return Said::Nothing;
        };
        let first = self.stubs.partition_point(|named| named.tag < tag);
        let same = self.stubs[first..].iter_mut().take_while(|n| n.tag == tag);
        let (mut named, mut holds) = (false, None);
        for stub in same {
            let held = Some(Seq(stub.seq)).filter(|_| stub.holds);
            (named, holds) = (true, holds.or(held));
            stub.found = true;
        }
        if named {
            Said::Named { holds }
        } else if self.full.binary_search(&tag).is_err() && known.covers(dot) {
            Said::Gone
        } else {
            Said::Nothing
        }
    }

    /// Our entries were looked at up to `last`; `None`: all of them.
    pub(in crate::engine) fn matched(&mut self, last: Option<RelPath>) {
        if let (Stage::Matching { after, .. }, Some(_)) = (&mut self.stage, &last) {
            *after = last;
            return;
        }
        let stubs = std::mem::take(&mut self.stubs);
        let lacking = stubs.iter().filter(|named| !named.found);
        let mut numbers: Vec<u64> = lacking.map(|named| named.seq).collect();
        numbers.sort_unstable();
        numbers.dedup();
        self.full = Vec::new();
        self.stage = Stage::Fetching {
            numbers: numbers.into(),
            asked: VecDeque::new(),
        };
    }

    /// The next numbers to ask for, if no answer is due.
    pub(in crate::engine) fn question(&mut self) -> Option<Vec<Seq>> {
        let Stage::Fetching { numbers, asked } = &mut self.stage else {
            return None;
        };
        if !asked.is_empty() || numbers.is_empty() {
            return None;
        }
        *asked = numbers.drain(..numbers.len().min(MAX_MISSING)).collect();
        Some(asked.iter().copied().map(Seq).collect())
    }

    /// What was asked for up to `upto` was answered by these numbers. Those left out don't exist any more: they
    /// have later ones, and perhaps nothing was said of these.
    pub(in crate::engine) fn answered(&mut self, upto: u64, told: &[u64]) {
        let Stage::Fetching { asked, .. } = &mut self.stage else {
            return;
        };
        while let Some(seq) = asked.front().copied().filter(|seq| *seq <= upto) {
            asked.pop_front();
            self.broken |= !told.contains(&seq);
        }
    }

    pub(in crate::engine) fn is_collecting(&self) -> bool {
        matches!(self.stage, Stage::Collecting)
    }

    pub(super) fn is_matching(&self) -> bool {
        matches!(self.stage, Stage::Matching { .. })
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_done(&self) -> bool {
        let Stage::Fetching { numbers, asked } = &self.stage else {
            return false;
        };
        numbers.is_empty() && asked.is_empty()
    }

    /// Whether it named all that lived there.
    pub(super) fn is_whole(&self) -> bool {
        !self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ReplicaId;

    fn dot(counter: u64) -> Dot {
        let replica = ReplicaId(1);
        Dot { replica, counter }
    }

    fn stub(seq: u64, holds: bool) -> Stub {
        Stub {
            seq: Seq(seq),
            tag: [seq as u8; 8],
            holds,
        }
    }

    fn ended() -> List {
        let mut list = List::default();
        list.stub(&stub(9, true));
        list.stub(&stub(4, false));
        list.stub(&stub(2, false));
        list.full([7; 8]);
        list.ended((1..=10).map(dot).collect()).unwrap()
    }

    #[test]
    fn what_is_known_and_not_named_is_gone() {
        let mut list = ended();
        assert_eq!(list.matches_after(), Some(None));
        let holds = Some(Seq(9));
        assert_eq!(list.says([9; 8], dot(1)), Said::Named { holds });
        assert_eq!(list.says([7; 8], dot(2)), Said::Nothing);
        assert_eq!(list.says([8; 8], dot(3)), Said::Gone);
        assert_eq!(list.says([8; 8], dot(11)), Said::Nothing);
        let path = RelPath::parse(b"a").unwrap();
        list.matched(Some(path.clone()));
        assert_eq!(list.matches_after(), Some(Some(path)));
    }

    #[test]
    fn what_is_named_and_not_found_is_asked_for_in_order() {
        let mut list = ended();
        list.says([4; 8], dot(1));
        list.matched(None);
        assert_eq!(list.question(), Some(vec![Seq(2), Seq(9)]));
        assert_eq!(list.question(), None);
        list.answered(2, &[2]);
        assert!(!list.is_done());
        list.answered(9, &[9]);
        assert!(list.is_done() && list.is_whole());
    }

    #[test]
    fn what_has_another_number_by_now_breaks_the_list() {
        let mut list = ended();
        list.matched(None);
        list.question();
        list.answered(9, &[2, 9]);
        assert!(list.is_done() && !list.is_whole());
    }
}
