//! The record layer: AES-256-GCM in place, one key for each direction.
//!
//! It owns the keys after the handshake and the counters that make the nonces.
//! It must never use a nonce twice, never hand out a byte that wasn't
//! authenticated, and never allocate by a length that it hasn't checked.
//!
//! ```text
//! record   = length (3 bytes, high byte first) | kind (1 byte) | ciphertext | tag (16 bytes)
//! length   = bytes of plaintext = bytes of ciphertext, 0 ..= 262,160
//! aad      = the 4 bytes before the ciphertext
//! nonce    = 4 zero bytes | counter (8 bytes, high byte first)
//! counter  = 0 for the first record of a direction, then one more for each;
//!            a new key doesn't set it back
//! rekey    = a record of kind 0 with empty plaintext, under the old key; the next record uses
//!            the first 32 bytes of AES-256-GCM(old key, nonce = 4 zero bytes | 8 bytes of 0xff,
//!            no aad, plaintext = 32 zero bytes), which is REKEY of the Noise specification
//! ```
//!
//! A sender changes its key after 1 GiB, 2^20 records or an hour, whichever is
//! first; a receiver follows whenever it is told to.

use std::fmt;
use std::time::Duration;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

/// Bytes before the ciphertext.
pub const HEADER: usize = 4;
/// Bytes after the ciphertext.
pub const TAG: usize = 16;
/// What a record adds to its plaintext.
pub const OVERHEAD: usize = HEADER + TAG;
/// The most data that a frame puts into one record.
pub const MAX_DATA: usize = 256 * 1024;
/// The longest plaintext: the data and room for the head of its frame.
pub const MAX_PLAINTEXT: usize = MAX_DATA + 16;
/// The kind of a record that changes the key of its direction.
pub const KIND_REKEY: u8 = 0;

/// Why a record couldn't be made or read. Each of these ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The header announces more than is allowed at this point.
    #[error("a record of {length} bytes where at most {limit} are allowed")]
    TooLong {
        /// What the header says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The tag doesn't fit: the record was changed, repeated, left out or put
    /// in another place.
    #[error("a record is not authentic")]
    NotAuthentic,
    /// A rekey record carries data.
    #[error("a rekey record is not empty")]
    BadRekey,
    /// All nonces are used up. That would take 2^64 - 1 records.
    #[error("no nonces are left")]
    Exhausted,
}

/// When a sender takes a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyLimits {
    /// After so many bytes of plaintext.
    pub bytes: u64,
    /// After so many records.
    pub records: u64,
    /// After this time, as soon as there is something to send.
    pub age: Duration,
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            records: 1 << 20,
            age: Duration::from_secs(3600),
        }
    }
}

/// One direction's key and counter.
struct Keyed {
    cipher: Aes256Gcm,
    counter: u64,
}

impl Keyed {
    fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: Aes256Gcm::new(key.into()),
            counter: 0,
        }
    }

    /// The nonce of the next record. The last number is kept for rekeying.
    fn next_nonce(&mut self) -> Result<[u8; 12], RecordError> {
        if self.counter == u64::MAX {
            return Err(RecordError::Exhausted);
        }
        let nonce = nonce(self.counter);
        self.counter += 1;
        Ok(nonce)
    }

    /// Takes the next key; the old one is wiped.
    fn rekey(&mut self) -> Result<(), RecordError> {
        let mut key = Zeroizing::new([0; 32]);
        self.cipher
            .encrypt_inout_detached(
                &Nonce::from(nonce(u64::MAX)),
                &[],
                key.as_mut_slice().into(),
            )
            .map_err(|_| RecordError::Exhausted)?;
        self.cipher = Aes256Gcm::new((&*key).into());
        Ok(())
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

fn header(length: usize, kind: u8) -> [u8; HEADER] {
    let length = (length as u32).to_be_bytes();
    [length[1], length[2], length[3], kind]
}

/// Makes the records of the outgoing direction.
pub struct Sealer {
    keyed: Keyed,
    limits: RekeyLimits,
    bytes: u64,
    records: u64,
    since: Duration,
}

impl Sealer {
    /// Starts with a key that no other sealer may ever be given.
    #[must_use]
    pub fn new(key: &[u8; 32], limits: RekeyLimits, now: Duration) -> Self {
        Self {
            keyed: Keyed::new(key),
            limits,
            bytes: 0,
            records: 0,
            since: now,
        }
    }

    /// Appends one record with the parts as its plaintext, one after the
    /// other, and before it a rekey record if one is due. The parts are copied
    /// once, into `out`, and encrypted there.
    pub fn seal(
        &mut self,
        kind: u8,
        parts: &[&[u8]],
        now: Duration,
        out: &mut BytesMut,
    ) -> Result<(), RecordError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_PLAINTEXT {
            return Err(RecordError::TooLong {
                length,
                limit: MAX_PLAINTEXT,
            });
        }
        let due = self.bytes >= self.limits.bytes
            || self.records >= self.limits.records
            || now.saturating_sub(self.since) >= self.limits.age;
        if due {
            self.append(KIND_REKEY, 0, &[], out)?;
            self.keyed.rekey()?;
            (self.bytes, self.records, self.since) = (0, 0, now);
        }
        self.append(kind, length, parts, out)
    }

    fn append(
        &mut self,
        kind: u8,
        length: usize,
        parts: &[&[u8]],
        out: &mut BytesMut,
    ) -> Result<(), RecordError> {
        let nonce = self.keyed.next_nonce()?;
        let header = header(length, kind);
        out.reserve(OVERHEAD + length);
        out.put_slice(&header);
        let start = out.len();
        for part in parts {
            out.put_slice(part);
        }
        let tag = self
            .keyed
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), &header, (&mut out[start..]).into())
            .map_err(|_| RecordError::Exhausted)?;
        out.put_slice(&tag);
        self.bytes += length as u64;
        self.records += 1;
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// A record that was read: its kind and its plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the plaintext is.
    pub kind: u8,
    /// The plaintext, in the memory it was received in.
    pub body: Bytes,
}

/// Reads the records of the incoming direction.
pub struct Opener {
    keyed: Keyed,
    failed: Option<RecordError>,
}

impl Opener {
    /// Starts with the key of the peer's sealer.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            keyed: Keyed::new(key),
            failed: None,
        }
    }

    /// Takes the next record off the front of `buf`, if it is there in full.
    ///
    /// It is decrypted where it lies and shares the memory of `buf`. Rekey
    /// records are followed and not returned. After an error every call fails.
    pub fn open(
        &mut self,
        buf: &mut BytesMut,
        limit: usize,
    ) -> Result<Option<Record>, RecordError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.open_next(buf, limit.min(MAX_PLAINTEXT));
        if let Err(error) = &result {
            self.failed = Some(*error);
        }
        result
    }

    fn open_next(
        &mut self,
        buf: &mut BytesMut,
        limit: usize,
    ) -> Result<Option<Record>, RecordError> {
        loop {
            let Some(&header) = buf.first_chunk::<HEADER>() else {
                return Ok(None);
            };
            let [a, b, c, kind] = header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > limit {
                return Err(RecordError::TooLong { length, limit });
            }
            if kind == KIND_REKEY && length != 0 {
                return Err(RecordError::BadRekey);
            }
            if buf.len() < OVERHEAD + length {
                return Ok(None);
            }
            let nonce = self.keyed.next_nonce()?;
            let mut record = buf.split_to(OVERHEAD + length);
            let (sealed, tag) = record[HEADER..].split_at_mut(length);
            let tag = Tag::try_from(&*tag).map_err(|_| RecordError::NotAuthentic)?;
            self.keyed
                .cipher
                .decrypt_inout_detached(&Nonce::from(nonce), &header, sealed.into(), &tag)
                .map_err(|_| RecordError::NotAuthentic)?;
            if kind == KIND_REKEY {
                self.keyed.rekey()?;
                continue;
            }
            record.advance(HEADER);
            record.truncate(length);
            return Ok(Some(Record {
                kind,
                body: record.freeze(),
            }));
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}

#[cfg(test)]
mod tests;
