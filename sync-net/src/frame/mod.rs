//! Frames: what the secure channel carries. AES-256-GCM in place, one key for each direction.
//!
//! It owns the keys after the handshake and the counters that make the nonces.
//! It must never use a nonce twice, never hand out a byte that wasn't
//! authenticated, and never allocate by a length that it hasn't checked.
//!
//! ```text
//! frame    = length (3 bytes, high byte first) | kind (1 byte) | ciphertext | tag (16 bytes)
//! length   = bytes of plaintext = bytes of ciphertext, 0 ..= 262,160
//! aad      = the 4 bytes before the ciphertext
//! nonce    = 4 zero bytes | counter (8 bytes, high byte first)
//! counter  = 0 for the first frame of a direction, then one more for each;
//!            a new key doesn't set it back
//! rekey    = a frame of kind 0 with empty plaintext, under the old key; the next frame uses
//!            the first 32 bytes of AES-256-GCM(old key, nonce = 4 zero bytes | 8 bytes of 0xff,
//!            no aad, plaintext = 32 zero bytes), which is REKEY of the Noise specification
//! ```
//!
//! A sender changes its key after 1 GiB, 2^20 frames or an hour, whichever is
//! first; a receiver follows whenever it is told to.

mod cipher;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use cipher::Cipher;

/// Bytes before the ciphertext.
pub const HEADER: usize = 4;
/// Bytes after the ciphertext.
pub const TAG: usize = 16;
/// What a frame adds to its plaintext.
pub const OVERHEAD: usize = HEADER + TAG;
/// The most data of a message that one frame carries.
pub const MAX_DATA: usize = 256 * 1024;
/// The longest plaintext: the data and room for what stands before it.
pub const MAX_PLAINTEXT: usize = MAX_DATA + 16;
/// The kind of a frame that changes the key of its direction.
pub const KIND_REKEY: u8 = 0;

/// Why a frame couldn't be made or read. Each of these ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header announces more than is allowed at this point.
    #[error("a frame of {length} bytes where at most {limit} are allowed")]
    TooLong {
        /// What the header says.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The tag doesn't fit: the frame was changed, repeated, left out or put
    /// in another place.
    #[error("a frame is not authentic")]
    NotAuthentic,
    /// A rekey frame carries data.
    #[error("a rekey frame is not empty")]
    BadRekey,
    /// All nonces are used up. That would take 2^64 - 1 frames.
    #[error("no nonces are left")]
    Exhausted,
}

/// When a sender takes a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RekeyLimits {
    /// After so many bytes of plaintext.
    pub bytes: u64,
    /// After so many frames.
    pub frames: u64,
    /// After this time, as soon as there is something to send.
    pub age: Duration,
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            frames: 1 << 20,
            age: Duration::from_secs(3600),
        }
    }
}

/// One direction's key and counter.
struct Keyed {
    cipher: Cipher,
    counter: u64,
}

impl Keyed {
    fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: Cipher::new(key),
            counter: 0,
        }
    }

    /// The nonce of the next frame. The last number is kept for rekeying.
    fn next_nonce(&mut self) -> Result<[u8; 12], FrameError> {
        if self.counter == u64::MAX {
            return Err(FrameError::Exhausted);
        }
        let nonce = nonce(self.counter);
        self.counter += 1;
        Ok(nonce)
    }

    /// Takes the next key; the old one is wiped.
    fn rekey(&mut self) -> Result<(), FrameError> {
        let mut key = Zeroizing::new([0; 32]);
        self.cipher
            .seal(&nonce(u64::MAX), &[], &mut key[..])
            .ok_or(FrameError::Exhausted)?;
        self.cipher = Cipher::new(&key);
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

/// Makes the frames of the outgoing direction.
pub struct Sealer {
    keyed: Keyed,
    limits: RekeyLimits,
    bytes: u64,
    frames: u64,
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
            frames: 0,
            since: now,
        }
    }

    /// Appends one frame with the parts as its plaintext, one after the
    /// other, and before it a rekey frame if one is due. The parts are copied
    /// once, into `out`, and encrypted there.
    pub fn seal(
        &mut self,
        kind: u8,
        parts: &[&[u8]],
        now: Duration,
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_PLAINTEXT {
            return Err(FrameError::TooLong {
                length,
                limit: MAX_PLAINTEXT,
            });
        }
        let due = self.bytes >= self.limits.bytes
            || self.frames >= self.limits.frames
            || now.saturating_sub(self.since) >= self.limits.age;
        if due {
            self.append(KIND_REKEY, 0, &[], out)?;
            self.keyed.rekey()?;
            (self.bytes, self.frames, self.since) = (0, 0, now);
        }
        self.append(kind, length, parts, out)
    }

    fn append(
        &mut self,
        kind: u8,
        length: usize,
        parts: &[&[u8]],
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
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
            .seal(&nonce, &header, &mut out[start..])
            .ok_or(FrameError::Exhausted)?;
        out.put_slice(&tag);
        self.bytes += length as u64;
        self.frames += 1;
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// A frame that was read: its kind and its plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What the plaintext is.
    pub kind: u8,
    /// The plaintext, in the memory it was received in.
    pub body: Bytes,
}

/// Reads the frames of the incoming direction.
pub struct Opener {
    keyed: Keyed,
    failed: Option<FrameError>,
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

    /// Takes the next frame off the front of `buf`, if it is there in full.
    ///
    /// It is decrypted where it lies and shares the memory of `buf`. Rekey
    /// frames are followed and not returned. After an error every call fails.
    pub fn open(&mut self, buf: &mut BytesMut, limit: usize) -> Result<Option<Opened>, FrameError> {
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
    ) -> Result<Option<Opened>, FrameError> {
        loop {
            let Some(&header) = buf.first_chunk::<HEADER>() else {
                return Ok(None);
            };
            let [a, b, c, kind] = header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > limit {
                return Err(FrameError::TooLong { length, limit });
            }
            if kind == KIND_REKEY && length != 0 {
                return Err(FrameError::BadRekey);
            }
            if buf.len() < OVERHEAD + length {
                return Ok(None);
            }
            let nonce = self.keyed.next_nonce()?;
            let mut frame = buf.split_to(OVERHEAD + length);
            self.keyed
                .cipher
                .open(&nonce, &header, &mut frame[HEADER..])
                .ok_or(FrameError::NotAuthentic)?;
            if kind == KIND_REKEY {
                self.keyed.rekey()?;
                continue;
            }
            frame.advance(HEADER);
            frame.truncate(length);
            return Ok(Some(Opened {
                kind,
                body: frame.freeze(),
            }));
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener")
    }
}
