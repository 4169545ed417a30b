//! Sets of dots, as ranges.
//!
//! A burst of changes by one replica has neighbouring counters, so what arrived, or what a peer holds, is a few
//! ranges. A set keeps at most [`MAX_RANGES`] of them: who uses one must do no harm when a dot that was put in is
//! not found.

use std::collections::BTreeMap;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{ids::ReplicaId, version::Dot};

/// Most ranges that a set keeps, and that one from outside may have.
pub const MAX_RANGES: usize = 4_096;

/// A set of dots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dots {
    /// Replica and first counter of a range, to its last one. Ranges neither overlap nor touch.
    ranges: BTreeMap<(ReplicaId, u64), u64>,
}

impl Dots {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a dot in.
    pub fn insert(&mut self, dot: Dot) {
        self.insert_range(dot.replica, dot.counter, dot.counter);
    }

    /// Puts all of `other` in.
    pub fn merge(&mut self, other: &Self) {
        for ((replica, first), last) in &other.ranges {
            self.insert_range(*replica, *first, *last);
        }
    }

    /// Empties the set; what was in it.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    fn insert_range(&mut self, replica: ReplicaId, mut first: u64, mut last: u64) {
        // The neighbours that it touches are joined with it.
        while let Some((&(r, f), &l)) = self
            .ranges
            .range(..=(replica, last.saturating_add(1)))
            .next_back()
        {
            if r != replica || l.saturating_add(1) < first {
                break;
            }
            first = first.min(f);
            last = last.max(l);
            self.ranges.remove(&(r, f));
        }
        self.ranges.insert((replica, first), last);
        if self.ranges.len() > MAX_RANGES {
            // The shortest says the least.
            let shortest = self
                .ranges
                .iter()
                .min_by_key(|((_, f), l)| **l - f)
                .map(|(key, _)| *key);
            if let Some(key) = shortest {
                self.ranges.remove(&key);
            }
        }
    }

    /// Whether `dot` is in the set.
    pub fn contains(&self, dot: Dot) -> bool {
        self.ranges
            .range(..=(dot.replica, dot.counter))
            .next_back()
            .is_some_and(|((replica, _), last)| *replica == dot.replica && *last >= dot.counter)
    }

    /// The replicas of which dots are in it.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        let mut last = None;
        let all = self.ranges.keys().map(|(replica, _)| *replica);
        all.filter(move |replica| last.replace(*replica) != Some(*replica))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of ranges.
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }
}

impl FromIterator<Dot> for Dots {
    fn from_iter<T: IntoIterator<Item = Dot>>(iter: T) -> Self {
        let mut dots = Self::new();
        iter.into_iter().for_each(|dot| dots.insert(dot));
        dots
    }
}

/// CBOR `[replica, [first, more, gap, more, …], …]`, by replica: `first` is the first counter of its first range;
/// `more` counts what a range has beside its first counter; `gap` counts what lies between two ranges, less the one
/// that must.
impl<C> Encode<C> for Dots {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut replicas: Vec<(ReplicaId, Vec<(u64, u64)>)> = Vec::new();
        for ((replica, first), last) in &self.ranges {
            match replicas.last_mut() {
                Some((same, ranges)) if same == replica => ranges.push((*first, *last)),
                _ => replicas.push((*replica, vec![(*first, *last)])),
            }
        }
        e.array(replicas.len() as u64 * 2)?;
        for (replica, ranges) in replicas {
            e.u64(replica.0)?.array(ranges.len() as u64 * 2)?;
            let mut least = 0;
            for (first, last) in ranges {
                e.u64(first - least)?.u64(last - first)?;
                least = last.saturating_add(2);
            }
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Dots {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let wrong = |text| decode::Error::message(text);
        let pairs = |n: Option<u64>| match n {
            Some(n) if n % 2 == 0 && n / 2 <= MAX_RANGES as u64 => Ok(n / 2),
            _ => Err(wrong("too many ranges of dots, or parts of one")),
        };
        let replicas = pairs(d.array()?)?;
        let mut ranges = BTreeMap::new();
        let mut former = None;
        for _ in 0..replicas {
            let replica = ReplicaId(d.u64()?);
            let n = pairs(d.array()?)?;
            if former.replace(replica) >= Some(replica) || n == 0 {
                return Err(wrong("ranges of dots not in canonical form"));
            }
            if ranges.len() as u64 + n > MAX_RANGES as u64 {
                return Err(wrong("too many ranges of dots"));
            }
            let mut least = Some(0_u64);
            for _ in 0..n {
                let (gap, more) = (d.u64()?, d.u64()?);
                let first = least.and_then(|least| least.checked_add(gap));
                let range = first.and_then(|first| Some((first, first.checked_add(more)?)));
                let Some((first, last)) = range.filter(|(first, _)| *first > 0) else {
                    return Err(wrong("an impossible range of dots"));
                };
                ranges.insert((replica, first), last);
                least = last.checked_add(2);
            }
        }
        Ok(Self { ranges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn dot(replica: u64, counter: u64) -> Dot {
        Dot {
            replica: ReplicaId(replica),
            counter,
        }
    }

    proptest! {
        #[test]
        fn a_set_is_a_set_and_reads_back(
            all in proptest::collection::vec((1_u64..4, 1_u64..40), 0..80),
            others in proptest::collection::vec((1_u64..4, 1_u64..40), 0..80),
        ) {
            let mut model: BTreeSet<_> = all.iter().copied().collect();
            let mut dots: Dots = all.iter().map(|(r, c)| dot(*r, *c)).collect();
            dots.merge(&others.iter().map(|(r, c)| dot(*r, *c)).collect());
            model.extend(others);
            for r in 0..5 {
                for c in 0..45 {
                    prop_assert_eq!(dots.contains(dot(r, c)), model.contains(&(r, c)));
                }
            }
            let bytes = minicbor::to_vec(&dots).unwrap();
            prop_assert_eq!(decode::<Dots>(&bytes).unwrap(), dots);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(dots) = decode::<Dots>(&bytes) {
                let _ = dots.contains(dot(1, 1));
            }
        }
    }

    #[test]
    fn it_stays_small_whatever_is_put_in() {
        let dots: Dots = (0..20_000).map(|n| dot(1, 1 + 2 * n)).collect();
        assert_eq!(dots.ranges(), MAX_RANGES);
        let full: Dots = (0..20_000).map(|n| dot(1, 1 + n)).collect();
        assert_eq!(full.ranges(), 1);
        let top: Dots = [dot(1, u64::MAX), dot(1, u64::MAX - 1), dot(2, 1)]
            .into_iter()
            .collect();
        assert!(top.contains(dot(1, u64::MAX)) && top.ranges() == 2);
    }
}
