//! Records that are no changes of a path: cipher records and heads. Laid down so that every version keeps and
//! passes on what later ones make; nothing here decides anything with them yet.
//!
//! ```text
//! cipher record  [2, 1, era, path id, dot, key era, [hash, height, padded length]]
//! head           [3, 1, era, 16 zero bytes, dot, unix time in s, vector]
//! ```
//!
//! A **cipher record** says which ciphertext stands for the entry whose path id and dot it has: the root of its
//! manifest tree over ciphertext (hash a byte string of 32, height u8, both as in a content root), the sum of its
//! padded lengths (u64), and the era whose data keys seal it. Any read-write member may sign one at any time.
//!
//! A **head** is signed by a read-write member (dot: its replica and last counter) at the end of a burst: what it
//! knew at a time. It only says that something is older than what the signer had; it is never merged.

use bytes::Bytes;

use super::{
    RecordError,
    envelope::{CIPHER, Envelope, HEAD, flag},
};
use crate::{
    chunk::ContentHash,
    manifest::ContentRoot,
    version::{Dot, Vector},
};

/// Which ciphertext stands for an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherRecord {
    /// Era of the secret that signs it.
    pub era: u32,
    /// Path id of the entry.
    pub path_id: [u8; 16],
    /// Dot of the entry.
    pub dot: Dot,
    /// Era whose data keys seal the content.
    pub key_era: u32,
    /// Root of the manifest tree over ciphertext.
    pub root: ContentRoot,
    /// Bytes of all ciphertext objects together, padding included.
    pub padded_len: u64,
}

/// What a read-write member knew at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Era of the secret that signs it.
    pub era: u32,
    /// Who signs, and its last counter.
    pub dot: Dot,
    /// When, in seconds since 1970.
    pub unix_s: u64,
    /// All that it knew.
    pub knowledge: Vector,
}

impl CipherRecord {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let head = Envelope {
            format: CIPHER,
            flags: flag::FOR_ALL,
            era: self.era,
            path_id: self.path_id,
            dot: self.dot,
        };
        let mut e = head.write(2);
        // Writing to a vector can't fail.
        let _ = e
            .u32(self.key_era)
            .and_then(|e| e.array(3))
            .and_then(|e| e.bytes(self.root.hash.as_bytes()))
            .and_then(|e| e.u8(self.root.height))
            .and_then(|e| e.u64(self.padded_len));
        e.into_writer().into()
    }

    /// Reads signed bytes of this format.
    ///
    /// # Errors
    ///
    /// [`RecordError::Format`] for another format, [`RecordError::Malformed`] for what isn't the one encoding.
    pub fn decode(signed: &[u8]) -> Result<Self, RecordError> {
        let parse = || {
            let wrong = minicbor::decode::Error::message;
            let (_, mut d, head) = Envelope::begin(signed)?;
            let key_era = d.u32()?;
            if d.array()? != Some(3) {
                return Err(wrong("a cipher root has three parts"));
            }
            let hash: [u8; 32] = d.bytes()?.try_into().map_err(|_| wrong("hash"))?;
            let (height, padded_len) = (d.u8()?, d.u64()?);
            Ok(Self {
                era: head.era,
                path_id: head.path_id,
                dot: head.dot,
                key_era,
                root: ContentRoot {
                    hash: ContentHash(hash),
                    height,
                },
                padded_len,
            })
        };
        only_encoding(signed, CIPHER, parse, Self::encode)
    }
}

impl Head {
    /// The bytes to sign.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let head = Envelope {
            format: HEAD,
            flags: flag::FOR_ALL,
            era: self.era,
            path_id: [0; 16],
            dot: self.dot,
        };
        let mut e = head.write(2);
        let _ = e.u64(self.unix_s);
        let _ = e.encode(&self.knowledge);
        e.into_writer().into()
    }

    /// Reads signed bytes of this format.
    ///
    /// # Errors
    ///
    /// [`RecordError::Format`] for another format, [`RecordError::Malformed`] for what isn't the one encoding.
    pub fn decode(signed: &[u8]) -> Result<Self, RecordError> {
        let parse = || {
            let (_, mut d, head) = Envelope::begin(signed)?;
            Ok(Self {
                era: head.era,
                dot: head.dot,
                unix_s: d.u64()?,
                knowledge: d.decode()?,
            })
        };
        only_encoding(signed, HEAD, parse, Self::encode)
    }
}

/// What `parse` reads, if the bytes are of `format` and are what `encode` makes of it.
fn only_encoding<T>(
    signed: &[u8],
    format: u8,
    parse: impl FnOnce() -> Result<T, minicbor::decode::Error>,
    encode: impl FnOnce(&T) -> Bytes,
) -> Result<T, RecordError> {
    let found = Envelope::parse(signed)?.format;
    if found != format {
        return Err(RecordError::Format(found));
    }
    let read = parse().map_err(|_| RecordError::Malformed)?;
    match encode(&read) == signed {
        true => Ok(read),
        false => Err(RecordError::Malformed),
    }
}
