//! Asks for small contents by number, without naming each.
//!
//! Whoever was told of a change knows the sender's number for it and the hash of its content, so a number is name
//! enough, and neighbours cost nothing. CBOR `[id, [first, more, gap, more, …]]`: `first` is the first number, `more`
//! counts the numbers that follow it at once, `gap` counts those left out before the next range less the one
//! that must be. At most [`MAX_OBJECTS`] numbers, each above 0.
//!
//! The answer is that to a [`Request`](super::Request): an object for each number, rising: the bytes of the file, if it is one chunk,
//! stands on the sender's disk, and still has that number; else "not held". Who asked checks each by its hash.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::MAX_OBJECTS;
use crate::ids::Seq;

/// Asks for contents of one chunk. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The asker's name for the answer; one with those of requests.
    pub id: u32,
    /// The receiver's numbers, rising.
    pub numbers: Vec<Seq>,
}

impl<C> Encode<C> for Contents {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for Seq(number) in &self.numbers {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        e.array(2)?.u32(self.id)?.array(ranges.len() as u64 * 2)?;
        let mut least = 0;
        for (first, last) in ranges {
            e.u64(first.saturating_sub(least))?.u64(last - first)?;
            least = last.saturating_add(2);
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Contents {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let wrong = decode::Error::message;
        if d.array()? != Some(2) {
            return Err(wrong("a question for contents has two parts"));
        }
        let id = d.u32()?;
        let fields = d.array()?.filter(|n| n % 2 == 0);
        let fields = fields.ok_or_else(|| wrong("ranges of numbers are pairs"))?;
        let mut numbers = Vec::new();
        let mut least = Some(0_u64);
        for _ in 0..fields / 2 {
            let (gap, more) = (d.u64()?, d.u64()?);
            if more >= (MAX_OBJECTS - numbers.len()) as u64 {
                return Err(wrong("too many numbers"));
            }
            let range = least
                .and_then(|least| least.checked_add(gap))
                .and_then(|first| Some((first, first.checked_add(more)?)));
            let Some((first, last)) = range.filter(|(first, _)| *first > 0) else {
                return Err(wrong("an impossible range of numbers"));
            };
            numbers.extend((first..=last).map(Seq));
            least = last.checked_add(2);
        }
        Ok(Self { id, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn read(fields: &[u64]) -> Option<Vec<u64>> {
        let bytes = minicbor::to_vec((7_u32, fields)).unwrap();
        let read: Contents = decode(&bytes).ok()?;
        Some(read.numbers.into_iter().map(|seq| seq.0).collect())
    }

    proptest! {
        #[test]
        fn numbers_read_back(all in proptest::collection::btree_set(1_u64..3_000, 0..200)) {
            let all: BTreeSet<u64> = all;
            let numbers = all.into_iter().map(Seq).collect();
            let asked = Contents { id: 9, numbers };
            let bytes = minicbor::to_vec(&asked).unwrap();
            prop_assert_eq!(decode::<Contents>(&bytes).unwrap(), asked);
        }
    }

    #[test]
    fn a_run_of_any_length_takes_a_few_bytes_and_none_is_too_long() {
        let numbers = (70_000..71_024).map(Seq).collect();
        let bytes = minicbor::to_vec(&Contents { id: 1, numbers }).unwrap();
        assert!(bytes.len() < 16, "{}", bytes.len());
        assert_eq!(read(&[5, 0, 2, 1]), Some(vec![5, 9, 10]));
        assert_eq!(read(&[5, 1_023]).map(|n| n.len()), Some(1_024));
        assert_eq!(read(&[5, 1_024]), None);
        assert_eq!(read(&[5, 1_022, 0, 1]), None);
        assert_eq!(read(&[5, u64::MAX]), None);
        assert_eq!(read(&[0, 1]), None);
        assert_eq!(read(&[u64::MAX, 0, 0, 0]), None);
        assert_eq!(read(&[5]), None);
        // Without end: the bound comes before the memory.
        assert_eq!(read(&[1; 4_096]), None);
    }
}
