//! Announced changes: records of one batch, with their numbers and whether the sender holds them.
//!
//! CBOR `[first number, steps, holds, contested, group]`: `steps` has the difference of each further member's number
//! to the one before it, in the group's order, and is empty if all are 1; `holds` and `contested` have bit *i* set
//! if [`Change::holds`] and [`Change::contested`] are true of the *i*-th member.

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::{
    ids::Seq,
    record::{BatchProof, Group, RawRecord},
};

/// Changes of the sender's index that were signed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    numbers: Vec<Seq>,
    holds: u64,
    contested: u64,
    group: Group,
}

/// What an announcement says of one of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// See [`Change::seq`].
    pub seq: Seq,
    /// See [`Change::holds`].
    pub holds: bool,
    /// See [`Change::contested`].
    pub contested: bool,
}

/// One change of the sender's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The sender's number for it.
    pub seq: Seq,
    /// Whether the sender holds the content.
    pub holds: bool,
    /// Whether versions that don't know of each other met at this path. Then knowledge doesn't say which of them
    /// somebody has, and the record is told in full to everybody.
    pub contested: bool,
    /// The record.
    pub record: RawRecord,
}

impl Announce {
    /// Puts changes whose records are of the batch of `proof` together. `None` if one isn't, or has no proof.
    pub fn new(proof: &BatchProof, mut changes: Vec<Change>) -> Option<Self> {
        changes.sort_by_key(|change| change.record.seat().place);
        let group = proof.group(changes.iter().map(|change| &change.record))?;
        let bits = |fact: fn(&Change) -> bool| {
            let each = (0..).zip(&changes);
            each.fold(0, |bits, (i, change)| bits | u64::from(fact(change)) << i)
        };
        Some(Self {
            holds: bits(|change| change.holds),
            contested: bits(|change| change.contested),
            numbers: changes.iter().map(|change| change.seq).collect(),
            group,
        })
    }

    /// The group, and what is said of each of its members.
    pub fn into_parts(self) -> (Group, impl Iterator<Item = Facts>) {
        let (holds, contested) = (self.holds, self.contested);
        let facts = (0..).zip(self.numbers).map(move |(i, seq)| Facts {
            seq,
            holds: holds >> i & 1 == 1,
            contested: contested >> i & 1 == 1,
        });
        (self.group, facts)
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.group.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty()
    }

    /// Bytes that it takes on the wire, nearly.
    pub fn wire_len(&self) -> usize {
        self.group.wire_len() + 16 + self.len()
    }
}

impl<C> Encode<C> for Announce {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let first = self.numbers.first().map_or(0, |seq| seq.0);
        e.array(5)?.u64(first)?;
        let steps = self.numbers.windows(2);
        let steps: Vec<i64> = steps
            .map(|pair| pair[1].0.wrapping_sub(pair[0].0) as i64)
            .collect();
        if steps.iter().all(|step| *step == 1) {
            e.array(0)?;
        } else {
            e.array(steps.len() as u64)?;
            for step in steps {
                e.i64(step)?;
            }
        }
        e.u64(self.holds)?.u64(self.contested)?;
        self.group.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Announce {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let wrong = decode::Error::message;
        if d.array()? != Some(5) {
            return Err(wrong("an announcement has five parts"));
        }
        let first = d.u64()?;
        let steps = match d.array()? {
            Some(0) => None,
            Some(n @ 1..64) => Some((0..n).map(|_| d.i64()).collect::<Result<Vec<_>, _>>()?),
            _ => return Err(wrong("an announcement has 1 to 64 numbers")),
        };
        let (holds, contested) = (d.u64()?, d.u64()?);
        let group = Group::decode(d, ctx)?;
        let steps = steps.unwrap_or_else(|| vec![1; group.len() - 1]);
        let spare = group.len() < 64 && (holds | contested) >> group.len() != 0;
        if steps.len() + 1 != group.len() || spare {
            return Err(wrong("an announcement has other numbers than records"));
        }
        let mut numbers = vec![Seq(first)];
        let mut last = first;
        for step in steps {
            last = last
                .checked_add_signed(step)
                .ok_or_else(|| wrong("a number out of range"))?;
            numbers.push(Seq(last));
        }
        Ok(Self {
            numbers,
            holds,
            contested,
            group,
        })
    }
}
