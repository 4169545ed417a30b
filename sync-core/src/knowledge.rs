//! What an index has seen.
//!
//! **Knowledge** is a set of [dots](Dot): each of these changes was seen, or something newer in its place. A replica
//! counts its changes, so a set is a few ranges for each. They have gaps where a start of that replica began anew at
//! numbers that it had reserved: what lies between was given by nobody, *or by a run that a restored backup has
//! forgotten*. Who took the gap for known would believe to have seen, and therefore deleted, what it never had.
//!
//! Only the last [`MAX_RUNS`] ranges of a replica are kept apart, and fewer where very many replicas are known: a backup
//! older than so many starts isn't told by its gaps.

use std::{collections::BTreeMap, fmt};

use minicbor::{Decode, Decoder, Encode, Encoder, data::Type, decode, encode};

use crate::{
    ids::ReplicaId,
    version::{Dot, MAX_REPLICAS, Vector},
};

/// Most ranges of one replica. Of one from outside with more, nothing is taken.
pub const MAX_RUNS: usize = 16;

/// Most ranges that are kept apart of all replicas, nearly. So knowledge fits a message, also a hand-over.
const MOST_RUNS: usize = 4_096;

/// First and last counter.
type Range = (u64, u64);

/// A set of changes that were seen. See the [module](self).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Knowledge(BTreeMap<ReplicaId, Vec<Range>>);

impl Knowledge {
    /// The set of none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the change was seen.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        let inside = |range: &Range| (range.0..=range.1).contains(&dot.counter);
        self.of(dot.replica).iter().any(inside)
    }

    /// Whether the newest changes that a version builds on were seen, of each replica.
    #[must_use]
    pub fn covers_all(&self, vector: &Vector) -> bool {
        vector.iter().all(|dot| self.covers(dot))
    }

    /// Whether everything in `other` is here.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        other.beyond(self).is_empty()
    }

    /// The last change of `replica` that was seen, 0 if none was.
    #[must_use]
    pub fn counter(&self, replica: ReplicaId) -> u64 {
        self.of(replica).last().map_or(0, |range| range.1)
    }

    /// A change was seen.
    pub fn add(&mut self, dot: Dot) {
        if dot.counter > 0 {
            self.put(dot.replica, (dot.counter, dot.counter));
        }
    }

    /// Takes in what `other` has of `replica`.
    pub fn merge_of(&mut self, replica: ReplicaId, other: &Self) {
        for range in other.of(replica) {
            self.put(replica, *range);
        }
    }

    /// Takes in what `other` has, but new replicas only while no more than `most` are named.
    pub fn merge_within(&mut self, other: &Self, most: usize) {
        for replica in other.replicas() {
            if self.len() < most || self.0.contains_key(&replica) {
                self.merge_of(replica, other);
            }
        }
    }

    /// What is here and not in `other`; more of a replica if that would be too many ranges.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let each = self.0.iter().filter_map(|(replica, ranges)| {
            let left: Vec<_> = ranges
                .iter()
                .flat_map(|range| without(*range, other.of(*replica)))
                .collect();
            // Rather too much than what isn't known.
            let left = if left.len() > MAX_RUNS {
                ranges.clone()
            } else {
                left
            };
            (!left.is_empty()).then_some((*replica, left))
        });
        Self(each.collect())
    }

    /// Whether `other` has changes of `replica` that aren't here, whole gaps left out: who keeps fewer ranges apart has
    /// closed them.
    #[must_use]
    pub fn misses(&self, other: &Self, replica: ReplicaId) -> bool {
        let covers = |counter| self.covers(Dot { replica, counter });
        let theirs = other.of(replica).iter();
        let mut beyond = theirs.flat_map(|range| without(*range, self.of(replica)));
        beyond.any(|(first, last)| {
            let from_the_end_of_one = first == 1 || covers(first - 1);
            let to_the_next = last.checked_add(1).is_some_and(covers);
            !(from_the_end_of_one && to_the_next)
        })
    }

    /// All replicas of which anything was seen.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.0.keys().copied()
    }

    /// Number of replicas.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of ranges of all replicas.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, replica: ReplicaId) -> &[Range] {
        self.0.get(&replica).map_or(&[], Vec::as_slice)
    }

    fn put(&mut self, replica: ReplicaId, (first, last): Range) {
        // No change is number 1 where counting begins at it: the first run has no gap before it.
        let first = if first == 2 { 1 } else { first };
        let most = (MOST_RUNS / self.0.len().max(1)).clamp(1, MAX_RUNS);
        let ranges = self.0.entry(replica).or_default();
        let from = ranges.partition_point(|range| range.1.saturating_add(1) < first);
        let to = ranges.partition_point(|range| range.0 <= last.saturating_add(1));
        let joined = ranges[from..to].iter();
        let joined = joined.fold((first, last), |all, range| {
            (all.0.min(range.0), all.1.max(range.1))
        });
        ranges.splice(from..to, [joined]);
        bound(ranges, most);
    }
}

/// Joins the oldest ranges if there are more than `most`.
fn bound(ranges: &mut Vec<Range>, most: usize) {
    if let Some(surplus) = ranges.len().checked_sub(most).filter(|n| *n > 0) {
        let first = ranges[0].0;
        ranges.drain(..surplus);
        ranges[0].0 = first;
    }
}

/// What of a range isn't in any of `others`, which are in order.
fn without((first, last): Range, others: &[Range]) -> Vec<Range> {
    let (mut left, mut next) = (Vec::new(), Some(first));
    for other in others {
        let Some(from) = next.filter(|from| *from <= last) else {
            break;
        };
        if other.1 < from {
            continue;
        }
        if other.0 > from {
            left.push((from, last.min(other.0 - 1)));
        }
        next = other.1.checked_add(1);
    }
    left.extend(next.filter(|from| *from <= last).map(|from| (from, last)));
    left
}

impl FromIterator<Dot> for Knowledge {
    fn from_iter<T: IntoIterator<Item = Dot>>(iter: T) -> Self {
        let mut all = Self::new();
        iter.into_iter().for_each(|dot| all.add(dot));
        all
    }
}

/// Everything up to the vector's counters.
impl From<&Vector> for Knowledge {
    fn from(vector: &Vector) -> Self {
        let each = vector
            .iter()
            .map(|dot| (dot.replica, vec![(1, dot.counter)]));
        Self(each.collect())
    }
}

impl fmt::Debug for Knowledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(replica, ranges)| {
            let ranges: Vec<_> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
            format!("{replica:?}:{}", ranges.join("+"))
        });
        f.debug_list().entries(each).finish()
    }
}

/// CBOR: one flat array `[replica, seen, replica, seen, …]`, replicas rising. `seen` is the last counter if all from 1 on
/// were seen, else the ranges: `[first, more, gap, more, …]` as in [`Dots`](crate::dots::Dots).
impl<C> Encode<C> for Knowledge {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(self.0.len() as u64 * 2)?;
        for (replica, ranges) in &self.0 {
            e.u64(replica.0)?;
            if let [(1, last)] = ranges[..] {
                e.u64(last)?;
                continue;
            }
            e.array(ranges.len() as u64 * 2)?;
            let mut least = 0;
            for (first, last) in ranges {
                e.u64(first - least)?.u64(last - first)?;
                least = last.saturating_add(2);
            }
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Knowledge {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let wrong = decode::Error::message;
        let pairs = |n: Option<u64>, most: usize| match n {
            Some(n) if n % 2 == 0 && n / 2 <= most as u64 => Ok(n / 2),
            _ => Err(wrong("knowledge of odd length or with too much")),
        };
        let mut all = BTreeMap::new();
        for _ in 0..pairs(d.array()?, MAX_REPLICAS)? {
            let replica = ReplicaId(d.u64()?);
            let rising = all.last_key_value().is_none_or(|(last, _)| *last < replica);
            let (mut ranges, long) = (Vec::new(), d.datatype()? == Type::Array);
            if long {
                let mut least = Some(0_u64);
                for _ in 0..pairs(d.array()?, MAX_RUNS)? {
                    let (gap, more) = (d.u64()?, d.u64()?);
                    let first = least.and_then(|least| least.checked_add(gap));
                    let range = first.and_then(|first| Some((first, first.checked_add(more)?)));
                    let range = range.filter(|(first, _)| *first > 0);
                    let range = range.ok_or_else(|| wrong("an impossible range"))?;
                    least = range.1.checked_add(2);
                    ranges.push(range);
                }
            } else {
                ranges.push((1, d.u64()?));
            }
            // The short form is used where it can be.
            let short = matches!(ranges[..], [(1, last)] if last > 0);
            let canonical = !ranges.is_empty() && short != long;
            if !rising || !canonical {
                return Err(wrong("knowledge not in canonical form"));
            }
            all.insert(replica, ranges);
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn read(bytes: &[u8]) -> Result<Knowledge, decode::Error> {
        Decoder::new(bytes).decode()
    }

    fn dot(replica: u64, counter: u64) -> Dot {
        Dot {
            replica: ReplicaId(replica),
            counter,
        }
    }

    fn set(known: &Knowledge) -> BTreeSet<(u64, u64)> {
        let each = (0..4_u64).flat_map(|r| (0..45_u64).map(move |c| (r, c)));
        each.filter(|(r, c)| known.covers(dot(*r, *c))).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set_that_reads_back(
            a in proptest::collection::vec((1_u64..4, 1_u64..40), 0..24),
            b in proptest::collection::vec((1_u64..4, 1_u64..40), 0..24),
        ) {
            // So few that no gap is closed.
            let of = |dots: &[(u64, u64)]| {
                let mut model: BTreeSet<_> = dots.iter().copied().collect();
                let twos: Vec<_> = model.iter().filter(|(_, c)| *c == 2).map(|(r, _)| (*r, 1)).collect();
                model.extend(twos);
                (dots.iter().map(|(r, c)| dot(*r, *c)).collect::<Knowledge>(), model)
            };
            let ((a, in_a), (b, in_b)) = (of(&a), of(&b));
            prop_assume!(a.0.values().chain(b.0.values()).all(|r| r.len() < MAX_RUNS / 2));
            prop_assert_eq!(set(&a), in_a.clone());
            let beyond: BTreeSet<_> = in_a.difference(&in_b).copied().collect();
            prop_assert_eq!(set(&a.beyond(&b)), beyond);
            prop_assert_eq!(b.includes(&a), in_a.is_subset(&in_b));
            let mut both = a.clone();
            both.merge_within(&b, usize::MAX);
            prop_assert_eq!(set(&both), in_a.union(&in_b).copied().collect::<BTreeSet<_>>());
            for known in [&a, &b, &both] {
                let bytes = minicbor::to_vec(known).unwrap();
                prop_assert_eq!(&read(&bytes).unwrap(), known);
            }
        }

        #[test]
        fn garbage_never_panics_and_what_is_read_is_canonical(bytes: Vec<u8>) {
            if let Ok(known) = read(&bytes) {
                let again = minicbor::to_vec(&known).unwrap();
                prop_assert_eq!(read(&again).unwrap(), known);
            }
        }
    }

    #[test]
    fn a_vector_is_knowledge_without_gaps_in_the_same_bytes() {
        let vector: Vector = [dot(1, 9), dot(3, 70_000)].into_iter().collect();
        let known = Knowledge::from(&vector);
        assert_eq!(
            minicbor::to_vec(&known).unwrap(),
            minicbor::to_vec(&vector).unwrap()
        );
        assert!(known.covers(dot(1, 1)) && known.covers_all(&vector));
    }

    #[test]
    fn a_closed_gap_is_not_a_lost_run() {
        let of = |dots: &[u64]| dots.iter().map(|c| dot(1, *c)).collect::<Knowledge>();
        let (us, other) = (ReplicaId(1), ReplicaId(2));
        let known = of(&[1, 2, 3, 10, 11, 20]);
        for same in [
            &[1, 2][..],
            &[10],
            &[2, 20],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ] {
            assert!(!known.misses(&of(same), us), "{same:?}");
        }
        for lost in [&[4][..], &[9], &[5, 6], &[3, 4, 5], &[21], &[1, 12]] {
            assert!(known.misses(&of(lost), us), "{lost:?}");
        }
        assert!(Knowledge::new().misses(&of(&[1]), us));
        assert!(!known.misses(&of(&[4]), other));
        let top = of(&[u64::MAX]);
        assert!(known.misses(&top, us) && !top.misses(&top, us));
    }

    #[test]
    fn of_very_many_replicas_less_is_kept_apart() {
        let mut known = Knowledge::new();
        for n in 0..MAX_RUNS as u64 {
            for replica in 1..=MAX_REPLICAS as u64 {
                known.add(dot(u64::MAX - replica, (n + 1) << 59));
            }
        }
        assert!(known.ranges() <= MOST_RUNS);
        assert!(minicbor::to_vec(&known).unwrap().len() < 120_000);
    }

    #[test]
    fn the_oldest_gaps_are_closed_and_the_newest_stay() {
        let mut known = Knowledge::new();
        for run in 0..100 {
            known.add(dot(1, run * 1_000 + 1));
            known.add(dot(1, run * 1_000 + 2));
        }
        assert!(known.covers(dot(1, 500)) && known.covers(dot(1, 83_500)));
        assert!(!known.covers(dot(1, 98_500)) && !known.covers(dot(1, 85_500)));
        assert_eq!(known.counter(ReplicaId(1)), 99_002);
        let bytes = minicbor::to_vec(&known).unwrap();
        assert_eq!(read(&bytes).unwrap(), known);
        let more = [1_u64; MAX_RUNS * 2 + 2];
        let mut e = Encoder::new(Vec::new());
        e.array(2)
            .unwrap()
            .u64(1)
            .unwrap()
            .encode(more.as_slice())
            .unwrap();
        assert!(read(e.writer()).is_err());
    }
}
