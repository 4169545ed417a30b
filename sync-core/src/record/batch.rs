//! Batches: up to 64 records under one signature, and the groups in which they travel.
//!
//! The signed bytes of a batch's records are the leaves of the Merkle tree of RFC 9162, section 2.1: a range of
//! n > 1 leaves is split after the largest power of two below n.
//!
//! ```text
//! leaf(s)    = BLAKE3("syncd/2 record leaf" ‖ s)          s: signed bytes of a record
//! node(l, r) = BLAKE3("syncd/2 record node" ‖ l ‖ r)
//! signature  = Ed25519 with context "syncd/2 records" over (number of leaves, one byte) ‖ root
//! ```
//!
//! Members of a batch that are sent together are a **group**, in CBOR
//! `[size, present, left out, signature, members]`: `present` has bit *i* (of value 2^i) set for each place *i*
//! whose record is a member; `left out` is one byte string with the hashes (32 bytes each) of the largest whole
//! subtrees without a member, left to right, exactly those, so it is empty when the group is whole; `members`
//! are the signed bytes, in order of place. Size, present and the lengths fix the shape completely: no two
//! groups with the same members of the same batch differ, and no record has a second proof.
//!
//! What is needed to make groups of any of a batch's members is a [`BatchProof`]. Which records are *the same* is
//! never asked of proofs, only of signed bytes.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use super::{MAX_RECORD, RawRecord, RecordError, Seat};
use crate::keys::FolderKeys;

/// Most records under one signature.
pub const MAX_BATCH: usize = 64;
/// Longest encoding of a [`BatchProof`], in bytes.
pub const MAX_PROOF: usize = 32 + 64 + MAX_BATCH * 32;

const CONTEXT: &str = "syncd/2 records";
const LEAF: &[u8] = b"syncd/2 record leaf";
const NODE: &[u8] = b"syncd/2 record node";
const ID: &[u8] = b"syncd/2 batch id";

type Hash = [u8; 32];

/// The name of a batch here: a hash of its size and root, cut to 16 bytes. It is local and never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub [u8; 16]);

/// A signature over a batch, and those hashes of its tree from which groups of known members can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProof {
    size: u8,
    signature: [u8; 64],
    /// Places whose leaves are known each by itself.
    places: u64,
    /// Hashes of these leaves, and of the largest whole subtrees without one of them, left to right.
    hashes: Vec<Hash>,
}

/// Members of one batch, with what proves them. Only its shape has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    size: u8,
    signature: [u8; 64],
    present: u64,
    left_out: Vec<Hash>,
    members: Vec<Bytes>,
}

/// The batches whose signatures were found good lately, so that each costs one check however it is cut into
/// groups.
#[derive(Debug, Default)]
pub struct VerifiedRoots {
    recent: std::collections::VecDeque<(u8, Hash, [u8; 64])>,
}

impl BatchProof {
    /// Signs a batch. `None` if these keys can't sign, or there are not 1 to [`MAX_BATCH`] records.
    pub(super) fn sign(keys: &FolderKeys, signed: &[Bytes]) -> Option<Self> {
        let size = u8::try_from(signed.len()).ok()?;
        if !(1..=MAX_BATCH).contains(&signed.len()) {
            return None;
        }
        let hashes: Vec<Hash> = signed.iter().map(|bytes| leaf(bytes)).collect();
        let mut proof = Self {
            size,
            signature: [0; 64],
            places: all(size),
            hashes,
        };
        proof.signature = keys.sign(CONTEXT, &said(size, &proof.root()))?;
        Some(proof)
    }

    /// The batch's name.
    pub fn id(&self) -> BatchId {
        let mut h = blake3::Hasher::new();
        h.update(ID).update(&said(self.size, &self.root()));
        let mut id = [0; 16];
        id.copy_from_slice(&h.finalize().as_bytes()[..16]);
        BatchId(id)
    }

    /// How many records were signed together.
    pub fn size(&self) -> u8 {
        self.size
    }

    /// The places that groups can be made of, bit *i* for place *i*.
    pub fn places(&self) -> u64 {
        self.places
    }

    /// Takes in what another proof of the same batch knows. `false`, and nothing changes, if it is of another.
    pub fn merge(&mut self, other: &Self) -> bool {
        if (self.size, self.root()) != (other.size, other.root()) {
            return false;
        }
        let places = self.places | other.places;
        let hashes = ranges(self.size, places)
            .into_iter()
            .map(|range| self.hash_of(range).or_else(|| other.hash_of(range)))
            .collect::<Option<Vec<_>>>();
        if let Some(hashes) = hashes {
            (self.places, self.hashes) = (places, hashes);
        }
        true
    }

    /// Forgets what only groups with other members than `places` would need.
    pub fn keep(&mut self, places: u64) {
        let places = places & self.places;
        let hashes = ranges(self.size, places)
            .into_iter()
            .map(|range| self.hash_of(range))
            .collect::<Option<Vec<_>>>();
        if let Some(hashes) = hashes {
            (self.places, self.hashes) = (places, hashes);
        }
    }

    /// Puts records of this batch into one group. `None` if one isn't a member, stands at a place that isn't
    /// known, or at one with another.
    pub fn group<'a>(&self, records: impl IntoIterator<Item = &'a RawRecord>) -> Option<Group> {
        let id = self.id();
        let mut members: Vec<(u8, &Bytes)> = Vec::new();
        let mut present = 0;
        for record in records {
            let place = record.seat.place;
            let bit = 1_u64.checked_shl(u32::from(place))?;
            if record.seat.batch != id || self.places & bit == 0 || present & bit != 0 {
                return None;
            }
            present |= bit;
            members.push((place, &record.signed));
        }
        if present == 0 {
            return None;
        }
        members.sort_unstable_by_key(|(place, _)| *place);
        let left_out = ranges(self.size, present)
            .into_iter()
            .filter(|range| range.bits() & present == 0)
            .map(|range| self.hash_of(range))
            .collect::<Option<Vec<_>>>()?;
        Some(Group {
            size: self.size,
            signature: self.signature,
            present,
            left_out,
            members: members.into_iter().map(|(_, m)| m.clone()).collect(),
        })
    }

    fn root(&self) -> Hash {
        let mut rest = self.hashes.iter();
        fold(Range::whole(self.size), self.places, &mut rest)
    }

    /// The hash of a range of the tree, if it can be told.
    fn hash_of(&self, range: Range) -> Option<Hash> {
        let mut parts = ranges(self.size, self.places)
            .into_iter()
            .zip(&self.hashes)
            .filter(|(r, _)| range.contains(*r))
            .peekable();
        // A range inside one subtree of which only the whole is known can't be told.
        parts.peek()?;
        let mut inside = parts.map(|(_, hash)| hash);
        Some(fold(range, self.places, &mut inside))
    }
}

impl Group {
    /// How many records it holds: 1 to 64.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Bytes that it takes on the wire, nearly.
    pub fn wire_len(&self) -> usize {
        let members: usize = self.members.iter().map(|m| m.len() + 3).sum();
        members + 32 * self.left_out.len() + 80
    }

    /// Checks the signature. What it proves are the members' signed bytes, in order of place; what they say is
    /// still to be read ([`Record::open`](super::Record::open)).
    ///
    /// # Errors
    ///
    /// [`RecordError::Signature`] if a byte of a member, of a hash or of the signature isn't its signer's, or
    /// the folder's key didn't sign it.
    pub fn verify(
        self,
        keys: &FolderKeys,
        known: &mut VerifiedRoots,
    ) -> Result<(Vec<RawRecord>, BatchProof), RecordError> {
        let (records, proof) = self.unproved()?;
        let root = proof.root();
        if !known.contains(proof.size, &root, &proof.signature) {
            if !keys.verify(CONTEXT, &said(proof.size, &root), &proof.signature) {
                return Err(RecordError::Signature);
            }
            known.remember(proof.size, root, proof.signature);
        }
        Ok((records, proof))
    }

    /// What the signature would prove. Nothing of it may be believed before it is checked.
    fn unproved(self) -> Result<(Vec<RawRecord>, BatchProof), RecordError> {
        let mut left_out = self.left_out.into_iter();
        let mut leaves = self.members.iter().map(|member| leaf(member));
        let hashes = ranges(self.size, self.present)
            .into_iter()
            .map(|range| match range.bits() & self.present {
                0 => left_out.next(),
                _ => leaves.next(),
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(RecordError::Malformed)?;
        let proof = BatchProof {
            size: self.size,
            signature: self.signature,
            places: self.present,
            hashes,
        };
        let batch = proof.id();
        let places = (0..self.size).filter(|place| self.present >> place & 1 == 1);
        let records = self
            .members
            .into_iter()
            .zip(places)
            .map(|(signed, place)| RawRecord {
                signed,
                seat: Seat { batch, place },
            })
            .collect();
        Ok((records, proof))
    }
}

impl VerifiedRoots {
    const MOST: usize = 64;

    fn contains(&self, size: u8, root: &Hash, signature: &[u8; 64]) -> bool {
        self.recent
            .iter()
            .any(|(n, r, s)| *n == size && r == root && s == signature)
    }

    fn remember(&mut self, size: u8, root: Hash, signature: [u8; 64]) {
        if self.recent.len() == Self::MOST {
            self.recent.pop_back();
        }
        self.recent.push_front((size, root, signature));
    }
}

#[cfg(test)]
impl VerifiedRoots {
    pub(super) fn len_for_test(&self) -> usize {
        self.recent.len()
    }
}

#[cfg(test)]
impl BatchProof {
    /// All that the signature is about, and the signature.
    pub(super) fn parts_for_test(&self) -> (u8, Hash, [u8; 64]) {
        (self.size, self.root(), self.signature)
    }
}

#[cfg(test)]
impl Group {
    /// What would have to be signed for this to be accepted.
    pub(super) fn claims_for_test(self) -> Option<(u8, Hash, [u8; 64])> {
        self.unproved()
            .ok()
            .map(|(_, proof)| proof.parts_for_test())
    }
}

/// Neighbouring leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u8,
    len: u8,
}

impl Range {
    fn whole(size: u8) -> Self {
        Self {
            start: 0,
            len: size,
        }
    }

    fn bits(self) -> u64 {
        all(self.len) << self.start
    }

    fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.start + other.len <= self.start + self.len
    }

    /// The two parts of a subtree of more than one leaf (RFC 9162, 2.1.1).
    fn split(self) -> (Self, Self) {
        let left = self.len.next_power_of_two() / 2;
        let (start, len) = (self.start + left, self.len - left);
        (Self { len: left, ..self }, Self { start, len })
    }
}

/// A bit for each of the first `size` places.
fn all(size: u8) -> u64 {
    u64::MAX >> (64 - u32::from(size.clamp(1, 64)))
}

/// The leaves at `places`, and the largest whole subtrees without one, left to right.
fn ranges(size: u8, places: u64) -> Vec<Range> {
    fn add(range: Range, places: u64, out: &mut Vec<Range>) {
        if range.len == 1 || range.bits() & places == 0 {
            return out.push(range);
        }
        let (left, right) = range.split();
        add(left, places, out);
        add(right, places, out);
    }
    let mut out = Vec::with_capacity(MAX_BATCH);
    add(Range::whole(size), places, &mut out);
    out
}

/// Puts the hashes of `range`'s parts together. There is one for each of [`ranges`] inside it.
fn fold<'a>(range: Range, places: u64, parts: &mut impl Iterator<Item = &'a Hash>) -> Hash {
    if range.len == 1 || range.bits() & places == 0 {
        // The shape was checked before; a missing part would give a root that nobody signed.
        return parts.next().copied().unwrap_or_default();
    }
    let (left, right) = range.split();
    let left = fold(left, places, parts);
    node(&left, &fold(right, places, parts))
}

fn leaf(signed: &[u8]) -> Hash {
    let mut h = blake3::Hasher::new();
    h.update(LEAF).update(signed);
    *h.finalize().as_bytes()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut h = blake3::Hasher::new();
    h.update(NODE).update(left).update(right);
    *h.finalize().as_bytes()
}

/// What is signed.
fn said(size: u8, root: &Hash) -> [u8; 33] {
    let mut said = [size; 33];
    said[1..].copy_from_slice(root);
    said
}

fn refused(why: &'static str) -> decode::Error {
    decode::Error::message(why)
}

/// A number of records under one signature.
fn size(d: &mut Decoder<'_>) -> Result<u8, decode::Error> {
    let size = d.u8()?;
    match usize::from(size) {
        1..=MAX_BATCH => Ok(size),
        _ => Err(refused("a batch has 1 to 64 records")),
    }
}

/// A byte string of exactly `n` hashes.
fn hashes(d: &mut Decoder<'_>, n: usize) -> Result<Vec<Hash>, decode::Error> {
    let bytes = d.bytes()?;
    if bytes.len() != n * 32 {
        return Err(refused("a batch needs other hashes than there are"));
    }
    Ok(bytes.as_chunks::<32>().0.to_vec())
}

fn signature(d: &mut Decoder<'_>) -> Result<[u8; 64], decode::Error> {
    let bytes = d.bytes()?;
    bytes
        .try_into()
        .map_err(|_| refused("a signature has 64 bytes"))
}

impl<C> Encode<C> for Group {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(5)?.u8(self.size)?.u64(self.present)?;
        e.bytes(self.left_out.as_flattened())?
            .bytes(&self.signature)?
            .array(self.members.len() as u64)?;
        for member in &self.members {
            e.bytes(member)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Group {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(5) {
            return Err(refused("a group has five parts"));
        }
        let size = size(d)?;
        let present = d.u64()?;
        if present == 0 || present & !all(size) != 0 {
            return Err(refused("a group's members are not those of its batch"));
        }
        let members = present.count_ones() as usize;
        let left_out = hashes(d, ranges(size, present).len() - members)?;
        let signature = signature(d)?;
        if d.array()? != Some(members as u64) {
            return Err(refused("a group has other members than it says"));
        }
        let members = (0..members)
            .map(|_| match d.bytes()? {
                signed if signed.len() <= MAX_RECORD => Ok(Bytes::copy_from_slice(signed)),
                _ => Err(refused("record too large")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            size,
            signature,
            present,
            left_out,
            members,
        })
    }
}

/// Its form on disk: `[size, places, hashes, signature]`.
impl<C> Encode<C> for BatchProof {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(4)?.u8(self.size)?.u64(self.places)?;
        e.bytes(self.hashes.as_flattened())?
            .bytes(&self.signature)?
            .ok()
    }
}

impl<'b, C> Decode<'b, C> for BatchProof {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if d.array()? != Some(4) {
            return Err(refused("a proof has four parts"));
        }
        let size = size(d)?;
        let places = d.u64()?;
        if places & !all(size) != 0 {
            return Err(refused("a proof's places are not those of its batch"));
        }
        let hashes = hashes(d, ranges(size, places).len())?;
        Ok(Self {
            size,
            signature: signature(d)?,
            places,
            hashes,
        })
    }
}
