//! Signed records: what peers exchange about paths.
//!
//! A record is a clear **envelope** (path id, version, kind, era, room for a ciphertext root), a **body**
//! sealed under the folder's read key (the [`Entry`]), and a **proof**. The signed bytes are kept and passed
//! on exactly as their author made them; nothing is ever encoded again.
//!
//! Signing is shared: an author hashes up to [`MAX_BATCH`] records into a Merkle tree and signs the root; each
//! record carries its way to the root, so it can be checked alone. See `docs/PROTOCOL.md` for every byte.

use bytes::Bytes;
use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::{
    entry::{Body, Entry, Kind},
    keys::{FolderKeys, SEAL_OVERHEAD},
    path::RelPath,
    version::{Dot, Vector, Version},
};

/// Most records under one signature.
pub const MAX_BATCH: usize = 64;
/// Records that [`sign`] puts under one signature: 16 keep the proof at 194 bytes and the cost of a
/// signature below that of storing the record (docs/adr/0002).
pub const BATCH: usize = 16;
/// Largest record, in bytes, that is accepted from outside.
pub const MAX_RECORD: usize = 96 * 1024;

const FORMAT: u8 = 1;
const CONTEXT: &str = "syncd/1 records";
const LEAF: &str = "syncd/1 record leaf";
const NODE: &str = "syncd/1 record node";

/// Why bytes are not a record of this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Not the encoding of a record.
    #[error("the record is malformed")]
    Malformed,
    /// A later format.
    #[error("the record has format {0}, which this version does not know")]
    Format(u8),
    /// The signature isn't that of the folder's key.
    #[error("the record is not signed by the folder's key")]
    Signature,
    /// The sealed body can't be opened, or belongs to another envelope.
    #[error("the record's body does not belong to this folder")]
    Body,
    /// This level can't read bodies.
    #[error("this secret can't read records")]
    Level,
    /// This level can't sign.
    #[error("a read-only secret can't sign records")]
    CannotSign,
}

/// A record that has been checked, with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What its author saw.
    pub entry: Entry,
    /// Which change made it, and what it builds on.
    pub version: Version,
    /// The era of the folder's secret under which it was signed; 0 before any rotation.
    pub era: u32,
    raw: RawRecord,
}

/// A record as it is stored and sent: the author's signed bytes and the proof.
#[derive(Clone, PartialEq, Eq)]
pub struct RawRecord {
    signed: Bytes,
    proof: Bytes,
}

impl std::fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "RawRecord({} bytes)",
            self.signed.len() + self.proof.len()
        )
    }
}

/// The last Merkle roots whose signatures were found good, so that a batch costs one check.
#[derive(Debug, Default)]
pub struct VerifiedRoots {
    recent: std::collections::VecDeque<([u8; 32], [u8; 64])>,
}

impl Record {
    /// The bytes to store and to send.
    pub fn raw(&self) -> &RawRecord {
        &self.raw
    }

    /// The path it speaks of.
    pub fn path(&self) -> &RelPath {
        &self.entry.path
    }

    /// Checks signature, envelope and body of a record from outside.
    pub fn verify(
        keys: &FolderKeys,
        raw: RawRecord,
        known: &mut VerifiedRoots,
    ) -> Result<Self, RecordError> {
        let proof = Proof::parse(&raw.proof)?;
        let root = proof.root(leaf(&raw.signed));
        if !known.contains(&root, &proof.signature) {
            if !keys.verify(CONTEXT, &root, &proof.signature) {
                return Err(RecordError::Signature);
            }
            known.remember(root, proof.signature);
        }
        Self::open(keys, raw, true)
    }

    /// Reads a record that was verified when it was stored.
    pub fn from_store(keys: &FolderKeys, raw: RawRecord) -> Result<Self, RecordError> {
        Self::open(keys, raw, false)
    }

    fn open(keys: &FolderKeys, raw: RawRecord, check: bool) -> Result<Self, RecordError> {
        let read = keys.read().ok_or(RecordError::Level)?;
        let envelope = Envelope::parse(&raw.signed)?;
        let sealed = &raw.signed[envelope.body.clone()];
        let plain = read
            .open_body(&raw.signed[..envelope.aad_len], sealed)
            .map_err(|_| RecordError::Body)?;
        let body: Body = minicbor::decode(&plain).map_err(|_| RecordError::Malformed)?;
        if check && read.path_id(body.path.as_bytes()) != envelope.path_id {
            return Err(RecordError::Body);
        }
        let entry = Entry {
            path: body.path,
            kind: envelope.kind,
            size: body.size,
            mtime_ns: body.mtime_ns,
            mode: body.mode,
            content: body.content,
            prev: body.prev,
            target: body.target,
            author: body.author,
        };
        if !entry.is_consistent() {
            return Err(RecordError::Malformed);
        }
        Ok(Self {
            entry,
            version: envelope.version,
            era: envelope.era,
            raw,
        })
    }
}

/// Signs entries, each with its version, [`BATCH`] under one signature. Order is kept.
pub fn sign(
    keys: &FolderKeys,
    era: u32,
    entries: Vec<(Entry, Version)>,
) -> Result<Vec<Record>, RecordError> {
    let mut records = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let batch: Vec<_> = entries.by_ref().take(BATCH).collect();
        sign_batch(keys, era, batch, &mut records)?;
    }
    Ok(records)
}

fn sign_batch(
    keys: &FolderKeys,
    era: u32,
    batch: Vec<(Entry, Version)>,
    out: &mut Vec<Record>,
) -> Result<(), RecordError> {
    let read = keys.read().ok_or(RecordError::Level)?;
    let mut signed = Vec::with_capacity(batch.len());
    for (entry, version) in &batch {
        let path_id = read.path_id(entry.path.as_bytes());
        let mut bytes = envelope_head(era, &path_id, version, entry.kind);
        let body = Body {
            path: entry.path.clone(),
            size: entry.size,
            mtime_ns: entry.mtime_ns,
            mode: entry.mode,
            content: entry.content,
            prev: entry.prev,
            target: entry.target.clone(),
            author: entry.author,
        };
        let plain = minicbor::to_vec(&body).map_err(|_| RecordError::Malformed)?;
        let sealed = read.seal_body(&bytes, &plain);
        let mut tail = Encoder::new(Vec::with_capacity(sealed.len() + 5));
        tail.bytes(&sealed).map_err(|_| RecordError::Malformed)?;
        bytes.extend_from_slice(tail.writer());
        signed.push(Bytes::from(bytes));
    }
    let levels = merkle_levels(signed.iter().map(|s| leaf(s)).collect());
    let root = levels[levels.len() - 1][0];
    let signature = keys.sign(CONTEXT, &root).ok_or(RecordError::CannotSign)?;
    for (i, ((entry, version), signed)) in batch.into_iter().zip(signed).enumerate() {
        let proof = Bytes::from(proof_bytes(&levels, i, &signature));
        out.push(Record {
            entry,
            version,
            era,
            raw: RawRecord { signed, proof },
        });
    }
    Ok(())
}

/// `[1, era, path id, [dot, vector], kind, cipher root]`, then the sealed body as the array's last item.
/// Everything before the body is the seal's associated data.
fn envelope_head(era: u32, path_id: &[u8; 16], version: &Version, kind: Kind) -> Vec<u8> {
    let mut e = Encoder::new(Vec::with_capacity(256));
    // Writing to a vector cannot fail, so the error type is `Infallible`.
    let _ = e
        .array(7)
        .and_then(|e| e.u8(FORMAT))
        .and_then(|e| e.u32(era))
        .and_then(|e| e.bytes(path_id));
    let _ = e.encode(version);
    let _ = e.u8(kind.code()).and_then(|e| e.null());
    e.into_writer()
}

struct Envelope {
    era: u32,
    path_id: [u8; 16],
    version: Version,
    kind: Kind,
    aad_len: usize,
    body: std::ops::Range<usize>,
}

impl Envelope {
    fn parse(signed: &[u8]) -> Result<Self, RecordError> {
        Self::parse_inner(signed).map_err(|e| e.unwrap_or(RecordError::Malformed))
    }

    fn parse_inner(signed: &[u8]) -> Result<Self, Option<RecordError>> {
        fn cbor<T>(r: Result<T, minicbor::decode::Error>) -> Result<T, Option<RecordError>> {
            r.map_err(|_| None)
        }
        let mut d = Decoder::new(signed);
        let fields = cbor(d.array())?;
        let format = cbor(d.u8())?;
        if format != FORMAT {
            return Err(Some(RecordError::Format(format)));
        }
        if fields != Some(7) {
            return Err(None);
        }
        let era = cbor(d.u32())?;
        let path_id = cbor(d.bytes())?.try_into().map_err(|_| None)?;
        let version: Version = cbor(d.decode())?;
        if !version.vector.covers(version.dot) || version.dot.counter == 0 {
            return Err(None);
        }
        let kind = Kind::from_code(cbor(d.u8())?);
        // The ciphertext root: 32 bytes when a folder has encrypted-only members, else null.
        if cbor(d.decode::<Option<&minicbor::bytes::ByteSlice>>())?.is_some_and(|r| r.len() != 32) {
            return Err(None);
        }
        let aad_len = d.position();
        let body = cbor(d.bytes())?;
        if body.len() < SEAL_OVERHEAD || d.position() != signed.len() {
            return Err(None);
        }
        let body = signed.len() - body.len()..signed.len();
        Ok(Self {
            era,
            path_id,
            version,
            kind,
            aad_len,
            body,
        })
    }
}

impl RawRecord {
    /// The kind in the envelope, without opening the body; `None` if the bytes aren't a record.
    pub fn kind(&self) -> Option<Kind> {
        Envelope::parse(&self.signed).ok().map(|e| e.kind)
    }

    /// The version in the envelope, without opening the body; `None` if the bytes aren't a record.
    pub fn version(&self) -> Option<Version> {
        Envelope::parse(&self.signed).ok().map(|e| e.version)
    }

    /// The dot in the envelope.
    pub fn dot(&self) -> Option<Dot> {
        self.version().map(|v| v.dot)
    }

    /// Bytes that it takes on the wire, nearly.
    pub fn wire_len(&self) -> usize {
        self.signed.len() + self.proof.len() + 12
    }
}

impl<C> minicbor::Encode<C> for RawRecord {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.bytes(&self.signed)?.bytes(&self.proof)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for RawRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a record has two parts"));
        }
        let (signed, proof) = (d.bytes()?, d.bytes()?);
        if signed.len() > MAX_RECORD || proof.len() > Proof::MAX {
            return Err(minicbor::decode::Error::message("record too large"));
        }
        Ok(Self {
            signed: Bytes::copy_from_slice(signed),
            proof: Bytes::copy_from_slice(proof),
        })
    }
}

/// Proof: index, number of siblings, the siblings from the leaf up, the signature.
struct Proof {
    index: u8,
    siblings: Vec<[u8; 32]>,
    signature: [u8; 64],
}

impl Proof {
    const MAX: usize = 2 + 6 * 32 + 64;

    fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let (&[index, n], rest) = bytes
            .split_first_chunk::<2>()
            .ok_or(RecordError::Malformed)?;
        let n = usize::from(n);
        if n > 6 || usize::from(index) >= 1 << n || rest.len() != n * 32 + 64 {
            return Err(RecordError::Malformed);
        }
        let (way, signature) = rest.split_at(n * 32);
        let signature = signature.try_into().map_err(|_| RecordError::Malformed)?;
        let siblings = way.as_chunks::<32>().0.to_vec();
        Ok(Self {
            index,
            siblings,
            signature,
        })
    }

    fn root(&self, leaf: [u8; 32]) -> [u8; 32] {
        let (mut at, mut index) = (leaf, self.index);
        for sibling in &self.siblings {
            at = if index & 1 == 0 {
                node(&at, sibling)
            } else {
                node(sibling, &at)
            };
            index >>= 1;
        }
        at
    }
}

impl VerifiedRoots {
    fn contains(&self, root: &[u8; 32], signature: &[u8; 64]) -> bool {
        self.recent.iter().any(|(r, s)| r == root && s == signature)
    }

    fn remember(&mut self, root: [u8; 32], signature: [u8; 64]) {
        if self.recent.len() == 32 {
            self.recent.pop_back();
        }
        self.recent.push_front((root, signature));
    }
}

fn leaf(signed: &[u8]) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(LEAF.as_bytes()).update(signed);
    *h.finalize().as_bytes()
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut h = blake3::Hasher::new();
    h.update(NODE.as_bytes()).update(left).update(right);
    *h.finalize().as_bytes()
}

/// All levels from the leaves to the root. An odd node is paired with itself, so every leaf has a way of
/// the same length.
fn merkle_levels(leaves: Vec<[u8; 32]>) -> Vec<Vec<[u8; 32]>> {
    let mut levels = vec![leaves];
    while let Some(last) = levels.last().filter(|l| l.len() > 1) {
        let next = last
            .chunks(2)
            .map(|p| node(&p[0], p.get(1).unwrap_or(&p[0])))
            .collect();
        levels.push(next);
    }
    levels
}

fn proof_bytes(levels: &[Vec<[u8; 32]>], index: usize, signature: &[u8; 64]) -> Vec<u8> {
    let depth = levels.len() - 1;
    let mut out = Vec::with_capacity(2 + depth * 32 + 64);
    out.extend([index as u8, depth as u8]);
    for (n, level) in levels[..depth].iter().enumerate() {
        let at = index >> n;
        out.extend_from_slice(level.get(at ^ 1).unwrap_or(&level[at]));
    }
    out.extend_from_slice(signature);
    out
}

/// Versions of what a whole index knows: kept beside records so that callers need one import.
pub type Knowledge = Vector;

#[cfg(test)]
mod tests;
