//! The changes whose content a peer holds, with the numbers that it has for them.
//!
//! A burst of changes by one replica has neighbouring counters, and whoever takes it in gives neighbouring numbers, so
//! what a peer holds is a few runs in which both rise together. At most [`MAX_RUNS`] are kept: who uses a set must do
//! no harm when a change that was put in is not found.
//!
//! CBOR `[replica, [gap, more, step, …], …]`, by replica, which rises: for each run, in order of counter, `gap` is its
//! first counter less the last one of the run before it less one (the first: its first counter), `more` counts what it
//! has beside its first change, and `step` (signed) is its first number less the number after the last one of
//! the run before it (the first of all: its first number). Counters and numbers are above 0.

use std::collections::BTreeMap;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{
    ids::{ReplicaId, Seq},
    version::Dot,
};

/// Most runs that a set keeps, and that one from outside may have.
pub const MAX_RUNS: usize = 4_096;

/// A set of changes with their numbers at one peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Replica and first counter of a run. Runs don't overlap.
    runs: BTreeMap<(ReplicaId, u64), Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Its last counter.
    last: u64,
    /// The number of its first change.
    number: u64,
}

impl Held {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a change in, or gives it another number.
    pub fn insert(&mut self, dot: Dot, number: Seq) {
        self.insert_run(dot.replica, dot.counter, dot.counter, number.0);
    }

    /// Puts all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        for ((replica, first), run) in &other.runs {
            self.insert_run(*replica, *first, run.last, run.number);
        }
    }

    /// Empties the set; what was in it.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The number of a change, if it is in the set.
    pub fn number(&self, dot: Dot) -> Option<Seq> {
        let mut before = self.runs.range(..=(dot.replica, dot.counter));
        let (&(replica, first), run) = before.next_back()?;
        let is_in = replica == dot.replica && run.last >= dot.counter;
        is_in.then(|| Seq(run.number.saturating_add(dot.counter - first)))
    }

    /// Whether a change is in the set.
    pub fn contains(&self, dot: Dot) -> bool {
        self.number(dot).is_some()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of runs.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    fn insert_run(&mut self, replica: ReplicaId, mut first: u64, mut last: u64, mut number: u64) {
        self.cut_out(replica, first, last);
        if let Some((&(r, before), run)) = self.runs.range(..(replica, first)).next_back()
            && r == replica
            && run.last.checked_add(1) == Some(first)
            && run.number.checked_add(first - before) == Some(number)
        {
            (first, number) = (before, run.number);
        }
        if let Some(next) = last.checked_add(1)
            && let Some(run) = self.runs.get(&(replica, next)).copied()
            && number.checked_add(next - first) == Some(run.number)
        {
            self.runs.remove(&(replica, next));
            last = run.last;
        }
        self.runs.insert((replica, first), Run { last, number });
        if self.runs.len() > MAX_RUNS {
            // What was made first has most likely been fetched by now.
            self.runs.pop_first();
        }
    }

    /// Takes the changes from `first` to `last` out of the runs that they are in.
    fn cut_out(&mut self, replica: ReplicaId, first: u64, last: u64) {
        while let Some((&(r, begin), &run)) = self.runs.range(..=(replica, last)).next_back()
            && r == replica
            && run.last >= first
        {
            self.runs.remove(&(r, begin));
            if begin < first {
                let last = first - 1;
                self.runs.insert((r, begin), Run { last, ..run });
            }
            if run.last > last {
                let number = run.number.saturating_add(last + 1 - begin);
                self.runs.insert((r, last + 1), Run { number, ..run });
            }
        }
    }
}

impl FromIterator<(Dot, Seq)> for Held {
    fn from_iter<T: IntoIterator<Item = (Dot, Seq)>>(iter: T) -> Self {
        let mut held = Self::new();
        iter.into_iter()
            .for_each(|(dot, number)| held.insert(dot, number));
        held
    }
}

impl<C> Encode<C> for Held {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut replicas: Vec<(ReplicaId, Vec<(u64, Run)>)> = Vec::new();
        for ((replica, first), run) in &self.runs {
            match replicas.last_mut() {
                Some((same, runs)) if same == replica => runs.push((*first, *run)),
                _ => replicas.push((*replica, vec![(*first, *run)])),
            }
        }
        e.array(replicas.len() as u64 * 2)?;
        let mut number: u64 = 0;
        for (replica, runs) in replicas {
            e.u64(replica.0)?.array(runs.len() as u64 * 3)?;
            let mut least = 0;
            for (first, run) in runs {
                e.u64(first - least)?.u64(run.last - first)?;
                e.i64(run.number.wrapping_sub(number) as i64)?;
                least = run.last.saturating_add(1);
                number = run
                    .number
                    .saturating_add(run.last - first)
                    .saturating_add(1);
            }
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Held {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let wrong = decode::Error::message;
        let parts = d.array()?.filter(|n| n % 2 == 0);
        let parts = parts.ok_or_else(|| wrong("held changes are pairs"))?;
        let (mut runs, mut last_replica, mut number) = (BTreeMap::new(), None, 0_u64);
        for _ in 0..parts / 2 {
            let replica = ReplicaId(d.u64()?);
            if last_replica.is_some_and(|last| last >= replica) {
                return Err(wrong("replicas of held changes don't rise"));
            }
            last_replica = Some(replica);
            let fields = d.array()?.filter(|n| n % 3 == 0 && *n > 0);
            let fields = fields.ok_or_else(|| wrong("runs of held changes have three parts"))?;
            let mut least = Some(0_u64);
            for _ in 0..fields / 3 {
                if runs.len() >= MAX_RUNS {
                    return Err(wrong("too many runs of held changes"));
                }
                let (gap, more, step) = (d.u64()?, d.u64()?, d.i64()?);
                let run = least
                    .and_then(|least| least.checked_add(gap))
                    .and_then(|first| Some((first, first.checked_add(more)?)))
                    .zip(number.checked_add_signed(step))
                    .filter(|((first, _), number)| *first > 0 && *number > 0);
                let Some(((first, last), begin)) = run else {
                    return Err(wrong("an impossible run of held changes"));
                };
                let end = begin.checked_add(more).and_then(|n| n.checked_add(1));
                number = end.ok_or_else(|| wrong("a number out of range"))?;
                runs.insert(
                    (replica, first),
                    Run {
                        last,
                        number: begin,
                    },
                );
                least = last.checked_add(1);
            }
        }
        Ok(Self { runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dot(replica: u64, counter: u64) -> Dot {
        Dot {
            replica: ReplicaId(replica),
            counter,
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_reads_back(
            all in proptest::collection::vec((1_u64..4, 1_u64..40, 1_u64..60), 0..80),
            others in proptest::collection::vec((1_u64..4, 1_u64..40, 1_u64..60), 0..80),
        ) {
            let held = |all: &[(u64, u64, u64)]| -> Held {
                all.iter().map(|(r, c, n)| (dot(*r, *c), Seq(*n))).collect()
            };
            let mut made = held(&all);
            made.merge(&held(&others));
            let model: BTreeMap<_, _> = all.iter().chain(&others).map(|(r, c, n)| ((*r, *c), *n)).collect();
            for r in 0..5 {
                for c in 0..45 {
                    let number = model.get(&(r, c)).copied().map(Seq);
                    prop_assert_eq!(made.number(dot(r, c)), number);
                }
            }
            let bytes = minicbor::to_vec(&made).unwrap();
            let read: Held = decode(&bytes).unwrap();
            for r in 0..5 {
                for c in 0..45 {
                    prop_assert_eq!(made.number(dot(r, c)), read.number(dot(r, c)));
                }
            }
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(held) = decode::<Held>(&bytes) {
                let _ = held.number(dot(1, 1));
                let mut other = Held::new();
                other.merge(&held);
            }
        }
    }

    #[test]
    fn a_burst_is_one_run_whatever_its_numbers_begin_with() {
        let held: Held = (1..=500).map(|n| (dot(9, n), Seq(1_000 + n))).collect();
        assert_eq!(held.runs(), 1);
        let odd: Held = (1..=9).map(|n| (dot(9, n), Seq(100 - n))).collect();
        assert_eq!(odd.runs(), 9);
    }

    #[test]
    fn it_stays_small_whatever_is_put_in() {
        let held: Held = (0..20_000)
            .map(|n| (dot(1, 1 + 2 * n), Seq(1 + n)))
            .collect();
        assert_eq!(held.runs(), MAX_RUNS);
        let many: Vec<u8> = minicbor::to_vec((1_u64, vec![1_u64; 3 * (MAX_RUNS + 1)])).unwrap();
        assert!(decode::<Held>(&many).is_err());
        // Counters and numbers at the end of what there is.
        let top = minicbor::to_vec((1_u64, (u64::MAX, 0_u64, 5_i64))).unwrap();
        let mut top: Held = decode(&top).unwrap();
        top.insert(dot(1, u64::MAX), Seq(9));
        assert_eq!(top.number(dot(1, u64::MAX)), Some(Seq(9)));
        assert!(
            decode::<Held>(&minicbor::to_vec((1_u64, (5_u64, u64::MAX, 1_i64))).unwrap()).is_err()
        );
        assert!(
            decode::<Held>(&minicbor::to_vec((1_u64, (5_u64, 0_u64, 0_i64))).unwrap()).is_err()
        );
    }
}
