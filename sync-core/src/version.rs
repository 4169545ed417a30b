//! Dots, version vectors and knowledge.
//!
//! A **dot** is the name of one change: the replica that made it and that replica's counter. Counters
//! belong to a replica and a folder, not to a file, so one vector can say of a whole index how far it
//! reaches. A version **vector** holds, for each replica, the highest counter in a version's causal past. What an
//! index has seen as a whole is its [`Knowledge`](crate::knowledge::Knowledge), which has gaps.
//!
//! Source: dotted version vectors (Preguiça et al., 2010) and Parker et al. (1983).

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound::{Excluded, Unbounded},
};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::ids::ReplicaId;

/// Most replicas that one vector may name. A vector from outside with more is refused.
pub const MAX_REPLICAS: usize = 4096;

/// The name of one change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Dot {
    /// Who made it.
    #[n(0)]
    pub replica: ReplicaId,
    /// That replica's count of its changes in this folder; from 1.
    #[n(1)]
    pub counter: u64,
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.replica, self.counter)
    }
}

/// How two versions stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Causality {
    /// The same change.
    Equal,
    /// The left one is in the right one's past.
    Before,
    /// The right one is in the left one's past.
    After,
    /// Neither knew of the other.
    Concurrent,
}

/// Highest counter known of each replica. Replicas at 0 are not kept.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Vector(BTreeMap<ReplicaId, u64>);

impl Vector {
    /// The vector that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the change named `dot` is covered.
    pub fn covers(&self, dot: Dot) -> bool {
        self.counter(dot.replica) >= dot.counter
    }

    /// Whether everything that `other` covers is covered here.
    pub fn includes(&self, other: &Self) -> bool {
        other.0.iter().all(|(r, c)| self.counter(*r) >= *c)
    }

    /// The counter reached for `replica`, 0 if unknown.
    pub fn counter(&self, replica: ReplicaId) -> u64 {
        self.0.get(&replica).copied().unwrap_or(0)
    }

    /// Takes `dot` in. Counters never fall.
    pub fn add(&mut self, dot: Dot) {
        if dot.counter > 0 {
            let c = self.0.entry(dot.replica).or_insert(0);
            *c = (*c).max(dot.counter);
        }
    }

    /// Takes in all that `other` covers.
    pub fn merge(&mut self, other: &Self) {
        for (replica, counter) in &other.0 {
            self.add(Dot {
                replica: *replica,
                counter: *counter,
            });
        }
    }

    /// Takes in what `other` covers, but new replicas only while no more than `most` are named.
    pub fn merge_within(&mut self, other: &Self, most: usize) {
        for dot in other.iter() {
            if self.0.len() < most || self.0.contains_key(&dot.replica) {
                self.add(dot);
            }
        }
    }

    /// What is covered here and not by `other`: the replicas of which more is known, with the counters reached.
    pub fn beyond(&self, other: &Self) -> Self {
        self.iter().filter(|dot| !other.covers(*dot)).collect()
    }

    /// All replicas and their counters, in order of replica.
    pub fn iter(&self) -> impl Iterator<Item = Dot> {
        self.0.iter().map(|(replica, counter)| Dot {
            replica: *replica,
            counter: *counter,
        })
    }

    /// Number of replicas named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first replica after `replica`, for walking.
    pub fn next_after(&self, replica: ReplicaId) -> Option<ReplicaId> {
        self.0
            .range((Excluded(replica), Unbounded))
            .next()
            .map(|(r, _)| *r)
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<Dot> for Vector {
    fn from_iter<T: IntoIterator<Item = Dot>>(iter: T) -> Self {
        let mut v = Self::new();
        iter.into_iter().for_each(|d| v.add(d));
        v
    }
}

/// Which change made a version, and all changes it builds on (itself among them).
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Version {
    /// The change that made this version.
    #[n(0)]
    pub dot: Dot,
    /// Its causal past on this path, itself included.
    #[n(1)]
    pub vector: Vector,
}

impl Version {
    /// The version that `dot` makes on top of `past`. Of a past that names as many replicas as it may, the last ones
    /// are left out: then two versions that knew of each other may look as if they didn't, and both are kept.
    pub fn new(dot: Dot, past: &Vector) -> Self {
        let mut vector: Vector = [dot].into_iter().collect();
        vector.merge_within(past, MAX_REPLICAS);
        Self { dot, vector }
    }

    /// How this version stands to `other`.
    pub fn compare(&self, other: &Self) -> Causality {
        if self.dot == other.dot {
            return Causality::Equal;
        }
        match (other.vector.covers(self.dot), self.vector.covers(other.dot)) {
            (true, _) => Causality::Before,
            (false, true) => Causality::After,
            (false, false) => Causality::Concurrent,
        }
    }
}

/// CBOR: one flat array `[replica, counter, replica, counter, …]`, replicas rising, counters above 0.
impl<C> Encode<C> for Vector {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(self.0.len() as u64 * 2)?;
        for (replica, counter) in &self.0 {
            e.u64(replica.0)?.u64(*counter)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Vector {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let n = d
            .array()?
            .ok_or_else(|| decode::Error::message("vector of indefinite length"))?;
        if n % 2 != 0 || n > MAX_REPLICAS as u64 * 2 {
            return Err(decode::Error::message(
                "vector of odd length or with too many replicas",
            ));
        }
        let mut map = BTreeMap::new();
        for _ in 0..n / 2 {
            let (replica, counter) = (ReplicaId(d.u64()?), d.u64()?);
            let rising = map.last_key_value().is_none_or(|(last, _)| *last < replica);
            if !rising || counter == 0 {
                return Err(decode::Error::message("vector not in canonical form"));
            }
            map.insert(replica, counter);
        }
        Ok(Self(map))
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

    #[test]
    fn causality() {
        let a = Version::new(dot(1, 1), &Vector::new());
        let b = Version::new(dot(2, 1), &a.vector);
        let c = Version::new(dot(3, 7), &a.vector);
        assert_eq!(a.compare(&a), Causality::Equal);
        assert_eq!(a.compare(&b), Causality::Before);
        assert_eq!(b.compare(&a), Causality::After);
        assert_eq!(b.compare(&c), Causality::Concurrent);
    }

    #[test]
    fn a_bounded_merge_raises_what_is_named_and_adds_while_there_is_room() {
        let mut v: Vector = [dot(1, 1), dot(2, 1)].into_iter().collect();
        let other: Vector = [dot(1, 5), dot(3, 1), dot(4, 1)].into_iter().collect();
        assert_eq!(other.beyond(&v), other);
        v.merge_within(&other, 3);
        assert_eq!(v, [dot(1, 5), dot(2, 1), dot(3, 1)].into_iter().collect());
        assert_eq!(other.beyond(&v), [dot(4, 1)].into_iter().collect());
    }

    proptest! {
        #[test]
        fn codec_round_trip_and_merge_is_a_join(
            a in proptest::collection::vec((1u64..6, 0u64..9), 0..8),
            b in proptest::collection::vec((1u64..6, 0u64..9), 0..8),
        ) {
            let a: Vector = a.into_iter().map(|(r, c)| dot(r, c)).collect();
            let b: Vector = b.into_iter().map(|(r, c)| dot(r, c)).collect();
            let bytes = minicbor::to_vec(&a).unwrap();
            prop_assert_eq!(&decode::<Vector>(&bytes).unwrap(), &a);
            let mut ab = a.clone();
            ab.merge(&b);
            let mut ba = b.clone();
            ba.merge(&a);
            prop_assert_eq!(&ab, &ba);
            prop_assert!(ab.includes(&a) && ab.includes(&b));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode::<Version>(&bytes);
        }
    }
}
