//! The greeting: who speaks, and which versions and features it knows.
//!
//! It owns the encoding of [`Hello`], a CBOR map with numbered fields. Fields
//! that aren't known are skipped, so that later versions can add some.
//!
//! | Field | Type | Content |
//! |---|---|---|
//! | 0 | unsigned | lowest protocol version that is spoken |
//! | 1 | unsigned | highest one |
//! | 2 | unsigned | features, one bit each |
//! | 3 | unsigned | boot nonce: random, another one at each start of the daemon |
//! | 4 | text | device name, at most 64 bytes |
//! | 5 | unsigned | port that the daemon listens on, 0 if none |

use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};

/// The only version of the protocol that is spoken. Records of version 1 had another form.
pub const VERSION: u16 = 2;
/// The longest device name, in bytes of UTF-8.
pub const MAX_NAME: usize = 64;
/// The longest greeting that is read, unknown fields included.
pub const MAX_HELLO: usize = 1024;

/// What a side says about itself once a session is secure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version it speaks.
    pub min_version: u16,
    /// Highest protocol version it speaks.
    pub max_version: u16,
    /// One bit for each optional feature it knows.
    pub features: u64,
    /// Random number drawn when the daemon started. A new one from a peer says
    /// that older sessions with it are dead.
    pub boot_nonce: u64,
    /// What its owner calls the device, as it was sent: it can hold anything.
    /// Show [`Hello::display_name`].
    pub name: String,
    /// Port that it listens on, 0 if it doesn't.
    pub port: u16,
}

impl Hello {
    /// A greeting of this version of the protocol. The name is cut at 64 bytes.
    #[must_use]
    pub fn new(name: &str, boot_nonce: u64, port: u16) -> Self {
        let name = cut(name).to_owned();
        Self {
            min_version: VERSION,
            max_version: VERSION,
            features: 0,
            boot_nonce,
            name,
            port,
        }
    }

    /// The name with everything escaped that could move a cursor, colour a
    /// terminal or turn the direction of text.
    #[must_use]
    pub fn display_name(&self) -> String {
        let mut shown = String::with_capacity(self.name.len());
        for c in self.name.chars() {
            let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
            if c.is_control() || turns {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        shown
    }

    /// The highest version that both sides speak.
    #[must_use]
    pub fn common_version(&self, other: &Self) -> Option<u16> {
        let version = self.max_version.min(other.max_version);
        (version >= self.min_version.max(other.min_version)).then_some(version)
    }

    /// The bytes that go to the peer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let name = cut(&self.name);
        let mut e = Encoder::new(&mut bytes);
        let written = e.map(6).and_then(|e| {
            e.u8(0)?
                .u16(self.min_version)?
                .u8(1)?
                .u16(self.max_version)?;
            e.u8(2)?.u64(self.features)?.u8(3)?.u64(self.boot_nonce)?;
            e.u8(4)?.str(name)?.u8(5)?.u16(self.port)
        });
        debug_assert!(written.is_ok(), "a vector takes all bytes");
        bytes
    }

    /// Reads a greeting. `None` if it isn't one: too long, a field twice or
    /// with another type, a field missing, bytes left over.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_HELLO {
            return None;
        }
        decode(bytes).ok()
    }
}

/// As many whole characters as fit into a name.
fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME).rev().find(|end| name.is_char_boundary(*end));
    if name.len() <= MAX_NAME {
        name
    } else {
        &name[..end.unwrap_or(0)]
    }
}

fn decode(bytes: &[u8]) -> Result<Hello, Error> {
    let mut d = Decoder::new(bytes);
    let (mut min, mut max, mut features, mut boot, mut name, mut port) =
        (None, None, None, None, None, None);
    let fields = d
        .map()?
        .ok_or_else(|| Error::message("indefinite length"))?;
    for _ in 0..fields {
        let again = match d.u32()? {
            0 => min.replace(d.u16()?).is_some(),
            1 => max.replace(d.u16()?).is_some(),
            2 => features.replace(d.u64()?).is_some(),
            3 => boot.replace(d.u64()?).is_some(),
            4 => name.replace(d.str()?).is_some(),
            5 => port.replace(d.u16()?).is_some(),
            _ => {
                d.skip()?;
                false
            }
        };
        if again {
            return Err(Error::message("a field twice"));
        }
    }
    let missing = || Error::message("a field is missing");
    let name = name.ok_or_else(missing)?;
    if d.position() != bytes.len() || name.len() > MAX_NAME {
        return Err(Error::message("too long"));
    }
    Ok(Hello {
        min_version: min.ok_or_else(missing)?,
        max_version: max.ok_or_else(missing)?,
        features: features.ok_or_else(missing)?,
        boot_nonce: boot.ok_or_else(missing)?,
        name: name.to_owned(),
        port: port.ok_or_else(missing)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_wrote() {
        let hello = Hello {
            features: u64::MAX,
            ..Hello::new("Anna's laptop", 7, 65_535)
        };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }

    #[test]
    fn unknown_fields_are_skipped_and_wrong_ones_refused() {
        let hello = Hello::new("x", 1, 2);
        let mut later = hello.encode();
        later[0] += 1;
        later.extend_from_slice(&[0x18, 99, 0x82, 0x01, 0x62, b'h', b'i']);
        assert_eq!(Hello::decode(&later), Some(hello.clone()));
        let mut twice = hello.encode();
        twice[0] += 1;
        twice.extend_from_slice(&[5, 3]);
        assert_eq!(Hello::decode(&twice), None);
        for length in 0..hello.encode().len() {
            assert_eq!(Hello::decode(&hello.encode()[..length]), None);
        }
        let long = Hello {
            name: "x".repeat(65),
            ..hello
        };
        assert_eq!(
            Hello::decode(&long.encode()).map(|h| h.name.len()),
            Some(64)
        );
    }

    #[test]
    fn names_are_cut_between_characters_and_shown_without_tricks() {
        assert_eq!(Hello::new(&"ä".repeat(40), 0, 0).name.len(), 64);
        assert_eq!(
            Hello::new(&format!("x{}", "ä".repeat(40)), 0, 0).name.len(),
            63
        );
        let shown = Hello::new("a\u{1b}[31m\u{202e}b", 0, 0).display_name();
        assert_eq!(shown, "a\\u{1b}[31m\\u{202e}b");
    }

    #[test]
    fn versions_meet_where_the_ranges_overlap() {
        let range = |min_version, max_version| Hello {
            min_version,
            max_version,
            ..Hello::new("", 0, 0)
        };
        assert_eq!(range(1, 3).common_version(&range(2, 9)), Some(3));
        assert_eq!(range(1, 1).common_version(&range(2, 9)), None);
    }
}
