//! What the version before this one stored, only to be read: indexes of format 1 are converted once.
//!
//! Records were `[1, era, path id, [dot, vector], kind, null, sealed body]` then, each stored with its own way to a
//! signed root, and bodies were sealed as `nonce ‖ AES-256-GCM(key "syncd/1 meta")`. Who can sign makes today's
//! signed bytes of the same entry and version; they are the same bytes on every device, so devices that converted
//! agree without a word. Who can't sign builds its index anew.
//!
//! It owns nothing and decides nothing. It must never be used for bytes from outside: nothing is verified here.

use minicbor::{Decode, Decoder, Encode};

use crate::{
    disk::DiskStat,
    entry::{Body, Entry, Kind},
    index::{IndexEntry, Need, PeerTag, Want},
    keys::FolderKeys,
    manifest::ContentRoot,
    record::{BatchProof, MAX_BATCH, RawRecord, RecordError, sign_bytes, signed_bytes},
    version::Version,
};

/// Facts whose names begin so hold the newest record of a replica; see [`convert_newest`].
pub const NEWEST: &[u8] = b"newest/";

/// A record of format 1: signed bytes and proof.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Record(
    #[cbor(n(0), with = "minicbor::bytes")] Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")] Vec<u8>,
);

#[derive(Debug, Clone, Encode, Decode)]
struct FormerWant {
    #[n(0)]
    record: Record,
    #[n(1)]
    need: Option<Need>,
    #[n(2)]
    bytes: u64,
    #[n(3)]
    holders: Vec<PeerTag>,
}

/// An entry of an index of format 1.
#[derive(Debug, Clone, Encode, Decode)]
pub struct FormerEntry {
    /// Its number among the changes; 0 for what is never told.
    #[n(0)]
    pub seq: u64,
    #[n(1)]
    learned: u64,
    #[n(2)]
    stat: Option<DiskStat>,
    #[n(3)]
    content: Option<ContentRoot>,
    #[n(4)]
    held: Option<Record>,
    #[n(5)]
    want: Option<FormerWant>,
    #[n(6)]
    flags: u8,
}

/// Makes entries of today of entries of format 1, with what proves their records. Order is kept; so that the batches
/// are those in which changes are told, give them by their number.
///
/// # Errors
///
/// [`RecordError::CannotSign`] without the right to write; others if a record isn't one of this folder.
pub fn convert(
    keys: &FolderKeys,
    entries: Vec<FormerEntry>,
) -> Result<(Vec<IndexEntry>, Vec<BatchProof>), RecordError> {
    let mut signed = Vec::with_capacity(entries.len());
    for entry in &entries {
        let records = entry
            .held
            .iter()
            .chain(entry.want.as_ref().map(|w| &w.record));
        for record in records {
            let (entry, version, era) = read(keys, &record.0)?;
            signed.push(signed_bytes(keys, era, &entry, &version)?);
        }
    }
    let (mut raw, mut proofs) = (Vec::with_capacity(signed.len()), Vec::new());
    for batch in signed.chunks(MAX_BATCH) {
        let (records, proof) = sign_bytes(keys, batch.to_vec())?;
        raw.extend(records);
        proofs.push(proof);
    }
    let mut raw = raw.into_iter();
    let mut next = |there: bool| -> Option<RawRecord> { if there { raw.next() } else { None } };
    let converted = entries.into_iter().map(|old| {
        let held = next(old.held.is_some());
        let want = old.want.and_then(|want| {
            Some(Want {
                record: next(true)?,
                need: want.need,
                bytes: want.bytes,
                holders: want.holders,
            })
        });
        IndexEntry {
            seq: old.seq,
            learned: old.learned,
            stat: old.stat,
            content: old.content,
            held,
            want,
            flags: old.flags,
        }
    });
    Ok((converted.collect(), proofs))
}

/// Makes the value of today of the value of a fact below [`NEWEST`].
///
/// # Errors
///
/// As [`convert`].
pub fn convert_newest(keys: &FolderKeys, value: &[u8]) -> Result<Vec<u8>, RecordError> {
    let record: Record = minicbor::decode(value).map_err(|_| RecordError::Malformed)?;
    let (entry, version, era) = read(keys, &record.0)?;
    let signed = signed_bytes(keys, era, &entry, &version)?;
    let (raw, proof) = sign_bytes(keys, vec![signed])?;
    let group = proof.group(&raw).ok_or(RecordError::Malformed)?;
    minicbor::to_vec((version.dot.counter, group)).map_err(|_| RecordError::Malformed)
}

/// Opens signed bytes of format 1.
fn read(keys: &FolderKeys, signed: &[u8]) -> Result<(Entry, Version, u32), RecordError> {
    let read = keys.read().ok_or(RecordError::Level)?;
    let envelope = Envelope::parse(signed).map_err(|_| RecordError::Malformed)?;
    let (aad, sealed) = signed.split_at(envelope.aad_len);
    let sealed = minicbor::decode::<&minicbor::bytes::ByteSlice>(sealed)
        .map_err(|_| RecordError::Malformed)?;
    let plain = read
        .open_former_body(aad, sealed)
        .map_err(|_| RecordError::Body)?;
    let body: Body = minicbor::decode(&plain).map_err(|_| RecordError::Malformed)?;
    let entry = Entry {
        path: body.path,
        kind: envelope.kind,
        size: body.size,
        mtime_ns: body.mtime_ns,
        mode: body.mode,
        content: body.content,
        prev: body.prev,
        target: body.target,
        author: body.author.ok_or(RecordError::Malformed)?,
    };
    if !entry.is_consistent() {
        return Err(RecordError::Malformed);
    }
    Ok((entry, envelope.version, envelope.era))
}

struct Envelope {
    era: u32,
    version: Version,
    kind: Kind,
    aad_len: usize,
}

impl Envelope {
    fn parse(signed: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let wrong = minicbor::decode::Error::message;
        let mut d = Decoder::new(signed);
        if d.array()? != Some(7) || d.u8()? != 1 {
            return Err(wrong("not a record of format 1"));
        }
        let era = d.u32()?;
        d.bytes()?;
        let version = d.decode()?;
        let kind = Kind::from_code(d.u8()?);
        d.skip()?;
        Ok(Self {
            era,
            version,
            kind,
            aad_len: d.position(),
        })
    }
}
