//! The bytes of a beacon. Owns the format and nothing else; it is fixed for
//! ever under version 1, and must never gain a field that stays the same from
//! one datagram to the next.
//!
//! ```text
//! offset  size  field
//!      0     1  version, 1
//!      1     1  kind: 1 announce, 2 answer
//!      2     2  port, big-endian: TCP and UDP port where the sender takes
//!               sessions; 0 when it takes none
//!      4    16  nonce, fresh and random for each datagram made
//!     20   8*n  n tags in random order, n a multiple of 8, 8 <= n <= 144
//! ```
//!
//! The length is therefore 20 + 64 * k bytes with k from 1 to 18: 84 to 1,172.
//! Anything else is not a beacon and is ignored without a word.
//!
//! A tag is the first 8 bytes of
//!
//! ```text
//! announce: HMAC-SHA256(lan_key, "syncd/lan/v1" | 0x01 | port (2) | nonce (16))
//! answer:   HMAC-SHA256(lan_key, "syncd/lan/v1" | 0x02 | port (2) | nonce (16)
//!                                | nonce of the announce answered (16))
//! ```
//!
//! where `lan_key` is 32 bytes that all members of one folder derive from its
//! secret. The list is filled up to a multiple of 8 with random tags, so it
//! shows the number of folders only in steps of 8. The nonce of the announce is
//! *not* in the answer: the asker knows what it asked, and an eavesdropper finds
//! no field of the one datagram in the other.
//!
//! # Test vector
//!
//! `lan_key` = 00 01 02 … 1f, port 29170 (0x71f2), nonce = 16 bytes 0xa0 … 0xaf,
//! nonce of the announce answered = 16 bytes 0xb0 … 0xbf:
//!
//! ```text
//! announce tag  5c 95 13 6e 59 9c 79 af
//! answer tag    e7 89 15 dc 81 f7 8f 14
//! ```

use crate::rng::mac;

/// The only version there is.
pub const VERSION: u8 = 1;
/// Bytes before the tags.
pub const HEADER_LEN: usize = 20;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 16;
/// Bytes of a tag. A stranger hits one of 144 tags of one folder with a chance
/// of 2^-56, and gains an address that will not authenticate.
pub const TAG_LEN: usize = 8;
/// Lists of tags are a multiple of this long.
pub const TAG_GROUP: usize = 8;
/// Most tags in one datagram.
pub const MAX_TAGS: usize = 144;
/// Longest datagram, below every usual path limit even inside a tunnel.
pub const MAX_DATAGRAM: usize = HEADER_LEN + MAX_TAGS * TAG_LEN;

const CONTEXT: &[u8] = b"syncd/lan/v1";

/// A nonce as it stands in a datagram.
pub type Nonce = [u8; NONCE_LEN];
/// A tag as it stands in a datagram.
pub type Tag = [u8; TAG_LEN];

/// What a beacon datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To everybody on the link: "who shares one of these?"
    Announce = 1,
    /// To one asker: "I do."
    Answer = 2,
}

/// Why some bytes are not a beacon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not 20 + 64 * k bytes with k from 1 to 18.
    #[error("{0} bytes is not the length of a beacon")]
    Length(usize),
    /// A version of the future, or something else altogether.
    #[error("unknown beacon version {0}")]
    Version(u8),
    /// Neither announce nor answer.
    #[error("unknown beacon kind {0}")]
    Kind(u8),
}

/// A beacon, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Announce or answer.
    pub kind: Kind,
    /// Port of the sender for sessions, 0 for none.
    pub port: u16,
    /// Fresh for each datagram.
    pub nonce: Nonce,
    /// Tags in the order sent.
    pub tags: Vec<Tag>,
}

impl Beacon {
    /// Reads a datagram. Looks at the length first, so nothing is allocated for
    /// what can't be a beacon.
    ///
    /// # Errors
    /// [`WireError`] says what is wrong; the sender is never told.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let bad_length = WireError::Length(bytes.len());
        let (header, list) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(bad_length)?;
        let (tags, rest) = list.as_chunks::<TAG_LEN>();
        if !rest.is_empty()
            || tags.is_empty()
            || tags.len() > MAX_TAGS
            || !tags.len().is_multiple_of(TAG_GROUP)
        {
            return Err(bad_length);
        }
        let [version, kind, port_high, port_low, nonce @ ..] = *header;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let kind = match kind {
            1 => Kind::Announce,
            2 => Kind::Answer,
            other => return Err(WireError::Kind(other)),
        };
        Ok(Self {
            kind,
            port: u16::from_be_bytes([port_high, port_low]),
            nonce,
            tags: tags.to_vec(),
        })
    }

    /// Writes the datagram. The caller has padded the tags.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.tags.len() * TAG_LEN);
        out.push(VERSION);
        out.push(self.kind as u8);
        out.extend_from_slice(&self.port.to_be_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.tags.as_flattened());
        out
    }
}

/// The tag of a folder in an announce.
#[must_use]
pub fn announce_tag(lan_key: &[u8; 32], port: u16, nonce: &Nonce) -> Tag {
    shorten(mac(
        lan_key,
        &[CONTEXT, &[Kind::Announce as u8], &port.to_be_bytes(), nonce],
    ))
}

/// The tag of a folder in an answer to the announce that carried `asked`.
#[must_use]
pub fn answer_tag(lan_key: &[u8; 32], port: u16, nonce: &Nonce, asked: &Nonce) -> Tag {
    shorten(mac(
        lan_key,
        &[
            CONTEXT,
            &[Kind::Answer as u8],
            &port.to_be_bytes(),
            nonce,
            asked,
        ],
    ))
}

fn shorten(mac: [u8; 32]) -> Tag {
    let [a, b, c, d, e, f, g, h, ..] = mac;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_match_the_vector_in_the_module_head() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let nonce: Nonce = std::array::from_fn(|i| 0xa0 + i as u8);
        let asked: Nonce = std::array::from_fn(|i| 0xb0 + i as u8);
        assert_eq!(
            announce_tag(&key, 29170, &nonce),
            [0x5c, 0x95, 0x13, 0x6e, 0x59, 0x9c, 0x79, 0xaf]
        );
        assert_eq!(
            answer_tag(&key, 29170, &nonce, &asked),
            [0xe7, 0x89, 0x15, 0xdc, 0x81, 0xf7, 0x8f, 0x14]
        );
    }

    #[test]
    fn lengths_and_fields() {
        let beacon = Beacon {
            kind: Kind::Answer,
            port: 0x1234,
            nonce: [7; 16],
            tags: vec![[9; 8]; 16],
        };
        let bytes = beacon.encode();
        assert_eq!(bytes.len(), 20 + 128);
        assert_eq!(&bytes[..4], [1, 2, 0x12, 0x34]);
        assert_eq!(Beacon::decode(&bytes), Ok(beacon));
        for len in 0..1500 {
            let mut bytes = vec![1; len];
            let good = (84..=1172).contains(&len) && (len - 20) % 64 == 0;
            assert_eq!(Beacon::decode(&bytes).is_ok(), good, "{len}");
            if good {
                bytes[0] = 2;
                assert_eq!(Beacon::decode(&bytes), Err(WireError::Version(2)));
                bytes[..2].copy_from_slice(&[1, 3]);
                assert_eq!(Beacon::decode(&bytes), Err(WireError::Kind(3)));
            }
        }
        assert_eq!(MAX_DATAGRAM, 1172);
    }
}
