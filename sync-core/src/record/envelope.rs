//! The clear part of signed bytes.
//!
//! Every format, now and for ever, is a CBOR array that begins `[format, flags, era, path id, dot, …]`: format
//! u8, flags u8 (see [`flag`]), era u32, path id a byte string of 16, dot `[replica, counter]` with a counter above 0.
//! What follows is the format's own:
//!
//! | format | rest | flags | module |
//! |---|---|---|---|
//! | 1 entry | `kind, [vector,] sealed body` | 3 | here and [`super`] |
//! | 2 cipher record | `key era, [hash, height, padded length]` | 1 | [`super::cipher`] |
//! | 3 head | `time, vector` | 1 | [`super::cipher`] |
//! | others | unknown: checked, kept, passed on, counted | | |
//!
//! The vector of an entry is left out if it is only the dot. Integers have their shortest form, lengths are
//! definite: an entry and a version have one encoding.

use minicbor::{Decoder, Encoder};

use super::RecordError;
use crate::{
    entry::Kind,
    version::{Dot, Vector, Version},
};

/// Format of records of entries.
pub const ENTRY: u8 = 1;
/// Format of cipher records.
pub const CIPHER: u8 = 2;
/// Format of heads.
pub const HEAD: u8 = 3;

/// Bits of the second field of every envelope.
pub mod flag {
    /// It may be given to machines that hold ciphertext only.
    pub const FOR_ALL: u8 = 1;
    /// It is a change of a path: knowledge vectors cover its dot.
    pub const IN_KNOWLEDGE: u8 = 2;
}

/// What can be read of signed bytes of any format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// Which format follows.
    pub format: u8,
    /// See [`flag`].
    pub flags: u8,
    /// Era of the secret that signed it; 0 before any rotation.
    pub era: u32,
    /// Which path it speaks of, for those who can't read paths.
    pub path_id: [u8; 16],
    /// Which change it is.
    pub dot: Dot,
}

/// An entry's envelope, and where its body lies.
#[derive(Debug)]
pub(super) struct EntryEnvelope {
    pub(super) head: Envelope,
    pub(super) version: Version,
    pub(super) kind: Kind,
    /// Everything before the body: its seal's associated data.
    pub(super) aad_len: usize,
    pub(super) body: std::ops::Range<usize>,
}

impl Envelope {
    /// Reads the beginning of signed bytes.
    ///
    /// # Errors
    ///
    /// [`RecordError::Malformed`] if no format begins like that.
    pub fn parse(signed: &[u8]) -> Result<Self, RecordError> {
        Self::begin(signed)
            .map(|(_, _, head)| head)
            .map_err(|_| RecordError::Malformed)
    }

    /// The number of fields, the reader behind the common ones, and these.
    pub(super) fn begin(
        signed: &[u8],
    ) -> Result<(u64, Decoder<'_>, Self), minicbor::decode::Error> {
        let wrong = minicbor::decode::Error::message;
        let mut d = Decoder::new(signed);
        let fields = d.array()?.ok_or_else(|| wrong("indefinite length"))?;
        let (format, flags, era) = (d.u8()?, d.u8()?, d.u32()?);
        let path_id = d.bytes()?.try_into().map_err(|_| wrong("path id"))?;
        let dot: Dot = d.decode()?;
        if fields < 6 || dot.counter == 0 {
            return Err(wrong("no envelope"));
        }
        let head = Self {
            format,
            flags,
            era,
            path_id,
            dot,
        };
        Ok((fields, d, head))
    }

    /// Begins signed bytes with this and `more` fields to come.
    pub(crate) fn write(&self, more: u64) -> Encoder<Vec<u8>> {
        let mut e = Encoder::new(Vec::with_capacity(256));
        // Writing to a vector can't fail.
        let _ = e
            .array(5 + more)
            .and_then(|e| e.u8(self.format))
            .and_then(|e| e.u8(self.flags))
            .and_then(|e| e.u32(self.era))
            .and_then(|e| e.bytes(&self.path_id));
        let _ = e.encode(self.dot);
        e
    }
}

impl EntryEnvelope {
    /// The encoding up to the body.
    pub(super) fn write(era: u32, path_id: [u8; 16], version: &Version, kind: Kind) -> Vec<u8> {
        let head = Envelope {
            format: ENTRY,
            flags: flag::FOR_ALL | flag::IN_KNOWLEDGE,
            era,
            path_id,
            dot: version.dot,
        };
        let past = version.vector != only(version.dot);
        let mut e = head.write(2 + u64::from(past));
        let _ = e.u8(kind.code());
        if past {
            let _ = e.encode(&version.vector);
        }
        e.into_writer()
    }

    pub(super) fn parse(signed: &[u8]) -> Result<Self, RecordError> {
        let head = Envelope::parse(signed)?;
        if head.format != ENTRY {
            return Err(RecordError::Format(head.format));
        }
        Self::rest(signed).map_err(|_| RecordError::Malformed)
    }

    fn rest(signed: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let wrong = minicbor::decode::Error::message;
        let (fields, mut d, head) = Envelope::begin(signed)?;
        let kind = Kind::from_code(d.u8()?);
        let vector: Vector = match fields {
            7 => only(head.dot),
            8 => d.decode()?,
            _ => return Err(wrong("an entry has seven or eight fields")),
        };
        let aad_len = d.position();
        let body = d.bytes()?.len();
        if d.position() != signed.len() || !vector.covers(head.dot) {
            return Err(wrong("not an entry"));
        }
        let version = Version {
            dot: head.dot,
            vector,
        };
        let canonical = Self::write(head.era, head.path_id, &version, kind);
        if canonical != signed[..aad_len] {
            return Err(wrong("not the only encoding"));
        }
        Ok(Self {
            head,
            version,
            kind,
            aad_len,
            body: signed.len() - body..signed.len(),
        })
    }
}

fn only(dot: Dot) -> Vector {
    [dot].into_iter().collect()
}
