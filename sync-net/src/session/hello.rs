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
//! | 6 | unsigned | era of the folder's secret |
//! | 7 | 6 or 18 bytes | address at which the sender sees the receiver; absent if it can't tell |
//! | 8 | 32 bytes | the device's Ed25519 key in this folder |
//! | 9 | 64 bytes | signature by it of role byte and handshake hash, for the context `syncd/2 hello` |
//!
//! An owner says what stands in 0 to 5; the session adds the rest.

use std::net::SocketAddr;

use minicbor::decode::Error;
use minicbor::{Decoder, Encoder};
use sync_core::keys::DeviceProof;
use sync_core::net_message::{from_bytes, to_bytes};

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
    /// Era of the folder's secret. The session writes its folder's.
    pub era: u32,
    /// Where the sender sees the receiver, if the stream tells. Only a hint:
    /// any member may say anything.
    pub observed: Option<SocketAddr>,
    /// The device's key in the folder, and the proof that it holds it. `None`
    /// until a session has made it; a greeting without it is refused.
    pub device: Option<DeviceProof>,
}

impl Hello {
    /// A greeting of this version of the protocol. The name is cut at 64 bytes.
    /// It lacks what only a session knows: era, observed address and device.
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
            era: 0,
            observed: None,
            device: None,
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
        let mut bytes = Vec::with_capacity(256);
        let name = cut(&self.name);
        let mut e = Encoder::new(&mut bytes);
        let fields = 7 + u64::from(self.observed.is_some()) + 2 * u64::from(self.device.is_some());
        let written = e.map(fields).and_then(|e| {
            e.u8(0)?
                .u16(self.min_version)?
                .u8(1)?
                .u16(self.max_version)?;
            e.u8(2)?.u64(self.features)?.u8(3)?.u64(self.boot_nonce)?;
            e.u8(4)?.str(name)?.u8(5)?.u16(self.port)?;
            e.u8(6)?.u32(self.era)?;
            if let Some(observed) = self.observed {
                e.u8(7)?.bytes(&to_bytes(observed))?;
            }
            if let Some(device) = &self.device {
                e.u8(8)?.bytes(&device.key)?;
                e.u8(9)?.bytes(&device.signature)?;
            }
            Ok(())
        });
        debug_assert!(written.is_ok(), "a vector takes all bytes");
        bytes
    }

    /// Reads a greeting. `None` if it isn't one: too long, a field twice or
    /// with another type or length, a field missing, bytes left over. Whether
    /// the device's signature is right is for the session, which knows of what.
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
    let (mut era, mut observed, mut key, mut signature) = (None, None, None, None);
    let wrong = || Error::message("a field of the wrong form");
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
            6 => era.replace(d.u32()?).is_some(),
            7 => observed
                .replace(from_bytes(d.bytes()?).ok_or_else(wrong)?)
                .is_some(),
            8 => key
                .replace(<[u8; 32]>::try_from(d.bytes()?).map_err(|_| wrong())?)
                .is_some(),
            9 => signature
                .replace(<[u8; 64]>::try_from(d.bytes()?).map_err(|_| wrong())?)
                .is_some(),
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
        era: era.ok_or_else(missing)?,
        observed,
        device: Some(DeviceProof {
            key: key.ok_or_else(missing)?,
            signature: signature.ok_or_else(missing)?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A greeting as a session completes it.
    fn whole(name: &str) -> Hello {
        Hello {
            era: 9,
            observed: Some(SocketAddr::from(([203, 0, 113, 9], 40_000))),
            device: Some(DeviceProof {
                key: [1; 32],
                signature: [2; 64],
            }),
            ..Hello::new(name, 1, 2)
        }
    }

    #[test]
    fn it_reads_what_it_wrote() {
        let hello = Hello {
            features: u64::MAX,
            boot_nonce: u64::MAX,
            era: u32::MAX,
            port: 65_535,
            ..whole("Anna's laptop")
        };
        assert_eq!(Hello::decode(&hello.encode()), Some(hello.clone()));
        let blind = Hello {
            observed: None,
            ..hello
        };
        assert_eq!(Hello::decode(&blind.encode()), Some(blind));
    }

    #[test]
    fn the_longest_greeting_leaves_room_for_what_comes() {
        let hello = Hello {
            features: u64::MAX,
            boot_nonce: u64::MAX,
            era: u32::MAX,
            observed: Some(SocketAddr::from(([1; 8], 40_000))),
            ..whole(&"x".repeat(MAX_NAME))
        };
        assert!(hello.encode().len() < MAX_HELLO / 3);
    }

    #[test]
    fn fields_of_another_length_or_form_are_refused() {
        let field = |number: u8, body: &[u8]| {
            // Every field of a whole greeting but this one, then this one.
            let whole = whole("x").encode();
            let mut d = Decoder::new(&whole);
            let mut others = Vec::new();
            let fields = d.map().unwrap().unwrap();
            for _ in 0..fields {
                let start = d.position();
                let found = d.u8().unwrap();
                d.skip().unwrap();
                if found != number {
                    others.extend_from_slice(&whole[start..d.position()]);
                }
            }
            Hello::decode(&[&[0xaa][..], &others, &[number], body].concat())
        };
        let bytes = |len: u8| [&[0x58, len][..], &vec![1; usize::from(len)]].concat();
        assert!(field(6, &[3]).is_some());
        assert!(field(7, &bytes(6)).is_some() && field(7, &bytes(18)).is_some());
        assert!(field(8, &bytes(32)).is_some() && field(9, &bytes(64)).is_some());
        // An era of 64 bits; a text; addresses of other lengths, and with port 0.
        assert_eq!(field(6, &[0x1b, 1, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(field(6, &[0x61, b'x']), None);
        for len in [0, 5, 7, 17, 19] {
            assert_eq!(field(7, &bytes(len)), None, "{len}");
        }
        assert_eq!(field(7, &[0x46, 1, 2, 3, 4, 0, 0]), None);
        for len in [0, 31, 33] {
            assert_eq!(field(8, &bytes(len)), None, "{len}");
        }
        for len in [63, 65, 255] {
            assert_eq!(field(9, &bytes(len)), None, "{len}");
        }
        // A text in the place of bytes.
        let text = [&[0x78, 32][..], &[b'x'; 32]].concat();
        assert_eq!(field(8, &text), None);
    }

    #[test]
    fn a_greeting_without_a_device_is_refused() {
        let hello = Hello {
            device: None,
            ..whole("x")
        };
        assert_eq!(Hello::decode(&hello.encode()), None);
    }

    #[test]
    fn unknown_fields_are_skipped_and_wrong_ones_refused() {
        let hello = whole("x");
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
