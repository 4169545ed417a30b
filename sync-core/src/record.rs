//! Signed records: what peers exchange about paths.
//!
//! A record is a clear **envelope** (path id, version, kind, era) and a **body** sealed under the folder's read
//! key (the [`Entry`]). These signed bytes are kept and passed on exactly as they were made; nothing is ever encoded
//! again, and two records are the same if their signed bytes are.
//!
//! ```text
//! signed bytes = [1, 3, era, path id, [replica, counter], kind, sealed body]             a vector that is only the dot
//!              = [1, 3, era, path id, [replica, counter], kind, vector, sealed body]     any other
//! sealed body  = AES-256-GCM-SIV(key "syncd/2 meta", nonce of zeros, aad = all bytes before it, body ‖ zeros)
//! body         = [path, size, mtime in ns, mode, content root, prev root, symlink text, author]
//! ```
//!
//! The zeros fill the body up to a multiple of 16 bytes. Absent fields of the body are null, at its end they are left
//! out; the author is absent if it is the dot's replica. Sealing draws no random number: devices that sign one entry
//! and version make the same bytes. Other formats: [`envelope`].
//!
//! Signing is shared by up to 64 records: see [`batch`].

pub mod batch;
pub mod cipher;
pub mod envelope;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use batch::{BatchId, BatchProof, Group, MAX_BATCH, VerifiedRoots};
pub use envelope::Envelope;

use crate::{
    entry::{Body, Entry, Kind},
    keys::FolderKeys,
    path::RelPath,
    version::{Dot, Vector, Version},
};
use envelope::EntryEnvelope;

/// Largest record, in bytes, that is accepted from outside.
pub const MAX_RECORD: usize = 96 * 1024;
/// Bodies are filled up to a multiple of this.
const BLOCK: usize = 16;

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

/// A record's signed bytes, and where what proves them is to be found. Equal if the signed bytes are.
#[derive(Clone)]
pub struct RawRecord {
    signed: Bytes,
    seat: Seat,
}

/// The batch that a record was signed with, and its place among the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Which batch.
    pub batch: BatchId,
    /// Which leaf, from 0.
    pub place: u8,
}

/// New records, and what proves them.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The records, in the order given.
    pub records: Vec<Record>,
    /// One for each [`MAX_BATCH`] of them.
    pub proofs: Vec<BatchProof>,
}

impl Record {
    /// What to store, and to send in a [`Group`].
    pub fn raw(&self) -> &RawRecord {
        &self.raw
    }

    /// The path it speaks of.
    pub fn path(&self) -> &RelPath {
        &self.entry.path
    }

    /// Reads a record whose signature was checked, for the first time: its envelope must fit its body.
    ///
    /// # Errors
    ///
    /// [`RecordError::Format`] if it isn't of an entry.
    pub fn open(keys: &FolderKeys, raw: RawRecord) -> Result<Self, RecordError> {
        Self::read(keys, raw, true)
    }

    /// Reads a record that was opened before it was stored.
    ///
    /// # Errors
    ///
    /// As [`Record::open`].
    pub fn from_store(keys: &FolderKeys, raw: RawRecord) -> Result<Self, RecordError> {
        Self::read(keys, raw, false)
    }

    fn read(keys: &FolderKeys, raw: RawRecord, check: bool) -> Result<Self, RecordError> {
        let read = keys.read().ok_or(RecordError::Level)?;
        let envelope = EntryEnvelope::parse(&raw.signed)?;
        let plain = read
            .open_body(
                &raw.signed[..envelope.aad_len],
                &raw.signed[envelope.body.clone()],
            )
            .map_err(|_| RecordError::Body)?;
        let mut d = Decoder::new(&plain);
        let body: Body = d.decode().map_err(|_| RecordError::Malformed)?;
        let filling = &plain[d.position()..];
        if plain.len() % BLOCK != 0
            || filling.len() >= BLOCK
            || filling.iter().any(|byte| *byte != 0)
        {
            return Err(RecordError::Malformed);
        }
        if check && read.path_id(body.path.as_bytes()) != envelope.head.path_id {
            return Err(RecordError::Body);
        }
        let us = envelope.version.dot.replica;
        if body.author == Some(us) {
            return Err(RecordError::Malformed);
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
            author: body.author.unwrap_or(us),
        };
        if !entry.is_consistent() {
            return Err(RecordError::Malformed);
        }
        Ok(Self {
            entry,
            version: envelope.version,
            era: envelope.head.era,
            raw,
        })
    }
}

/// Signs entries, each with its version, up to [`MAX_BATCH`] under one signature. Order is kept.
///
/// # Errors
///
/// [`RecordError::CannotSign`] or [`RecordError::Level`] if the keys don't allow it.
pub fn sign(
    keys: &FolderKeys,
    era: u32,
    entries: Vec<(Entry, Version)>,
) -> Result<Signed, RecordError> {
    let (mut records, mut proofs) = (Vec::with_capacity(entries.len()), Vec::new());
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let batch: Vec<_> = entries.by_ref().take(MAX_BATCH).collect();
        let signed = batch
            .iter()
            .map(|(entry, version)| signed_bytes(keys, era, entry, version))
            .collect::<Result<Vec<_>, _>>()?;
        let (raw, proof) = sign_bytes(keys, signed)?;
        records.extend(
            batch
                .into_iter()
                .zip(raw)
                .map(|((entry, version), raw)| Record {
                    entry,
                    version,
                    era,
                    raw,
                }),
        );
        proofs.push(proof);
    }
    Ok(Signed { records, proofs })
}

/// Signs bytes of any format together: 1 to [`MAX_BATCH`] of them.
///
/// # Errors
///
/// [`RecordError::CannotSign`] if the keys don't allow it or there are too many.
pub fn sign_bytes(
    keys: &FolderKeys,
    signed: Vec<Bytes>,
) -> Result<(Vec<RawRecord>, BatchProof), RecordError> {
    let proof = BatchProof::sign(keys, &signed).ok_or(RecordError::CannotSign)?;
    let batch = proof.id();
    let raw = (0..)
        .zip(signed)
        .map(|(place, signed)| RawRecord {
            signed,
            seat: Seat { batch, place },
        })
        .collect();
    Ok((raw, proof))
}

/// The bytes that are signed for an entry: the same whoever makes them.
pub(crate) fn signed_bytes(
    keys: &FolderKeys,
    era: u32,
    entry: &Entry,
    version: &Version,
) -> Result<Bytes, RecordError> {
    let read = keys.read().ok_or(RecordError::Level)?;
    let path_id = read.path_id(entry.path.as_bytes());
    let mut bytes = EntryEnvelope::write(era, path_id, version, entry.kind);
    let body = Body {
        path: entry.path.clone(),
        size: entry.size,
        mtime_ns: entry.mtime_ns,
        mode: entry.mode,
        content: entry.content,
        prev: entry.prev,
        target: entry.target.clone(),
        author: (entry.author != version.dot.replica).then_some(entry.author),
    };
    let mut plain = minicbor::to_vec(&body).map_err(|_| RecordError::Malformed)?;
    plain.resize(plain.len().next_multiple_of(BLOCK), 0);
    let sealed = read.seal_body(&bytes, &plain);
    let mut tail = Encoder::new(Vec::with_capacity(sealed.len() + 5));
    tail.bytes(&sealed).map_err(|_| RecordError::Malformed)?;
    bytes.extend_from_slice(tail.writer());
    Ok(Bytes::from(bytes))
}

impl RawRecord {
    /// The signed bytes.
    pub fn signed(&self) -> &Bytes {
        &self.signed
    }

    /// Where its proof is.
    pub fn seat(&self) -> Seat {
        self.seat
    }

    /// What every format says.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`] if it isn't a record at all.
    pub fn envelope(&self) -> Result<Envelope, RecordError> {
        Envelope::parse(&self.signed)
    }

    /// The kind in the envelope, without opening the body; `None` if it isn't an entry's record.
    pub fn kind(&self) -> Option<Kind> {
        EntryEnvelope::parse(&self.signed).ok().map(|e| e.kind)
    }

    /// The version in the envelope, without opening the body; `None` if it isn't an entry's record.
    pub fn version(&self) -> Option<Version> {
        EntryEnvelope::parse(&self.signed).ok().map(|e| e.version)
    }

    /// The dot in the envelope.
    pub fn dot(&self) -> Option<Dot> {
        self.envelope().ok().map(|e| e.dot)
    }

    /// Names it to who may hold it already: the first eight bytes of the SHA-256 of the signed bytes.
    pub fn short_hash(&self) -> [u8; 8] {
        let full: [u8; 32] = Sha256::digest(&self.signed).into();
        let mut short = [0; 8];
        short.copy_from_slice(&full[..8]);
        short
    }

    /// Bytes that it takes on the wire, nearly.
    pub fn wire_len(&self) -> usize {
        self.signed.len() + 8
    }
}

impl PartialEq for RawRecord {
    fn eq(&self, other: &Self) -> bool {
        self.signed == other.signed
    }
}

impl Eq for RawRecord {}

impl std::fmt::Debug for RawRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawRecord({} bytes)", self.signed.len())
    }
}

/// Its form on disk: `[signed bytes, batch id ‖ place]`.
impl<C> Encode<C> for RawRecord {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let mut seat = [self.seat.place; 17];
        seat[..16].copy_from_slice(&self.seat.batch.0);
        e.array(2)?.bytes(&self.signed)?.bytes(&seat)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RawRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let wrong = minicbor::decode::Error::message;
        if d.array()? != Some(2) {
            return Err(wrong("a record has two parts"));
        }
        let signed = d.bytes()?;
        if signed.len() > MAX_RECORD {
            return Err(wrong("record too large"));
        }
        let seat: [u8; 17] = d.bytes()?.try_into().map_err(|_| wrong("seat"))?;
        let [batch @ .., place] = seat;
        if usize::from(place) >= MAX_BATCH {
            return Err(wrong("seat"));
        }
        Ok(Self {
            signed: Bytes::copy_from_slice(signed),
            seat: Seat {
                batch: BatchId(batch),
                place,
            },
        })
    }
}

/// Versions of what a whole index knows: kept beside records so that callers need one import.
pub type Knowledge = Vector;
