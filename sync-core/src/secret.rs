//! Secrets: the short texts that give access to a folder.
//!
//! Whoever holds a secret is a member of its folder; there is no other list of
//! members. This module owns the kinds of secrets, their written form and the
//! reading of it. What is derived from a secret is the business of
//! [`crate::keys`].
//!
//! It must never show a secret by accident: the types have no `Display`,
//! their `Debug` prints the type alone, errors don't quote the text, and
//! memory is wiped on drop. The one way to the text is [`Secret::reveal`].
//! There is no `FromStr` either, because command line and configuration
//! parsers quote the text that a `FromStr` refused.
//!
//! # Written form
//!
//! | Kind | Text | Symbols |
//! |---|---|---|
//! | read-write | `A`, Base32 of the 21 secret bytes, check | 1 + 34 + 2 = 37 |
//! | read-only | `B`, Base32 of the 21 bytes of the read secret and the 32 bytes of the verifying key, check | 1 + 85 + 2 = 88 |
//!
//! Base32 is that of RFC 4648 without padding, in either case. Bits left over
//! in the last data symbol are zero. The two check symbols catch every single
//! wrong symbol and every swap of two symbols, so that a typing error is told
//! instead of opening a new, empty folder.
//!
//! Text of Base32 symbols alone is always taken for a typed secret, whatever
//! its length. Longer Base64 text is set aside for custom secrets, which this
//! version refuses.

mod error;
mod hide;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use core::fmt;

use ed25519_dalek::VerifyingKey;
use zeroize::Zeroizing;

pub use error::SecretError;
pub use hide::hide_secrets;
pub(crate) use text::{for_each_value, symbol_of};

use crate::keys::derive;

/// How many bytes of randomness are in a read-write secret, and how many bytes
/// the read secret and the net secret have: 168 bits.
pub const SECRET_BYTES: usize = 21;

/// How many symbols the text of a read-write secret has.
pub const READ_WRITE_SYMBOLS: usize = 1 + text::symbols_for(SECRET_BYTES) + text::CHECK_SYMBOLS;

/// How many symbols the text of a read-only secret has.
pub const READ_ONLY_SYMBOLS: usize = 1 + text::symbols_for(READ_ONLY_BYTES) + text::CHECK_SYMBOLS;

/// The read secret and the verifying key.
const READ_ONLY_BYTES: usize = SECRET_BYTES + 32;

/// The most that need be read where a secret is expected, in bytes. No secret comes near it.
pub const MAX_INPUT: u64 = 4_096;

/// Longer texts are refused unread. No secret comes near it.
const TEXT_LIMIT: usize = 1024;

/// Base64 text of more symbols than this is a custom secret.
const CUSTOM_ABOVE: usize = 40;

/// What a member may do with a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Reads everything and signs changes.
    ReadWrite,
    /// Reads everything, signs nothing.
    ReadOnly,
    /// Stores and serves ciphertext, reads neither names nor contents. The
    /// level has its code so that the wire is made for it; no secret of this
    /// version gives it.
    Encrypted,
}

impl Level {
    /// The number that stands for the level on the wire and on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::ReadWrite => 1,
            Self::ReadOnly => 2,
            Self::Encrypted => 3,
        }
    }

    /// The level of a number, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::ReadWrite),
            2 => Some(Self::ReadOnly),
            3 => Some(Self::Encrypted),
            _ => None,
        }
    }

    /// The name that people and programs see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Encrypted => "encrypted",
        }
    }

    /// Whether a member of this level may sign changes.
    #[must_use]
    pub const fn can_write(self) -> bool {
        matches!(self, Self::ReadWrite)
    }

    /// Whether a member of this level may see names and contents.
    #[must_use]
    pub const fn can_read(self) -> bool {
        matches!(self, Self::ReadWrite | Self::ReadOnly)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A secret of any kind that this version knows.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Reads and writes.
    ReadWrite(ReadWriteSecret),
    /// Reads.
    ReadOnly(ReadOnlySecret),
}

impl Secret {
    /// Makes a new read-write secret, and by it a new folder.
    ///
    /// The bytes must come fresh from the operating system's random source;
    /// this crate has none of its own. The caller wipes its copy.
    #[must_use]
    pub fn generate(random: [u8; SECRET_BYTES]) -> Self {
        Self::ReadWrite(ReadWriteSecret::from_bytes(random))
    }

    /// Reads a secret. White space around it is ignored, and so is case.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text without quoting any of it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > TEXT_LIMIT {
            return Err(SecretError::TooLong {
                found: text.len(),
                limit: TEXT_LIMIT,
            });
        }
        let mut values = Zeroizing::new(Vec::with_capacity(text.len()));
        for (index, symbol) in text.chars().enumerate() {
            match u8::try_from(symbol).ok().and_then(text::value_of) {
                Some(value) => values.push(value),
                None if is_custom(text) => {
                    return Err(SecretError::Custom {
                        position: index + 1,
                    });
                }
                None => {
                    return Err(SecretError::Character {
                        position: index + 1,
                    });
                }
            }
        }
        match text.as_bytes()[0].to_ascii_uppercase() {
            b'A' => {
                let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
                unpack(&values, Level::ReadWrite, &mut bytes[..])?;
                Ok(Self::ReadWrite(ReadWriteSecret { bytes }))
            }
            b'B' => {
                let mut bytes = Zeroizing::new([0; READ_ONLY_BYTES]);
                unpack(&values, Level::ReadOnly, &mut bytes[..])?;
                let mut read = Zeroizing::new([0; SECRET_BYTES]);
                read.copy_from_slice(&bytes[..SECRET_BYTES]);
                let mut verifying_key = [0; 32];
                verifying_key.copy_from_slice(&bytes[SECRET_BYTES..]);
                let verifying_key = usable_key(&verifying_key)?;
                Ok(Self::ReadOnly(ReadOnlySecret {
                    read,
                    verifying_key,
                }))
            }
            b'C' => Err(SecretError::OneTime),
            b'D' | b'E' => Err(SecretError::Foreign),
            b'F' => Err(SecretError::EncryptedOnly),
            _ => Err(SecretError::UnknownType),
        }
    }

    /// What the secret allows.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::ReadWrite(_) => Level::ReadWrite,
            Self::ReadOnly(_) => Level::ReadOnly,
        }
    }

    /// The read-only secret of the same folder.
    #[must_use]
    pub fn to_read_only(&self) -> ReadOnlySecret {
        match self {
            Self::ReadWrite(secret) => secret.to_read_only(),
            Self::ReadOnly(secret) => secret.clone(),
        }
    }

    /// The bytes of the secret, as its text holds them: what a sealed hand-over carries.
    pub(crate) fn content(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::ReadWrite(secret) => Zeroizing::new(secret.bytes.to_vec()),
            Self::ReadOnly(secret) => {
                Zeroizing::new([&secret.read[..], secret.verifying_key.as_bytes()].concat())
            }
        }
    }

    /// Reads such bytes; `None` if they aren't a secret of this level, or of none that this version knows.
    pub(crate) fn from_content(level: Level, bytes: &[u8]) -> Option<Self> {
        match level {
            Level::ReadWrite => Some(Self::generate(bytes.try_into().ok()?)),
            Level::ReadOnly => {
                let (read, key) = bytes.split_first_chunk::<SECRET_BYTES>()?;
                let secret = ReadOnlySecret::from_parts(*read, key.try_into().ok()?);
                secret.ok().map(Self::ReadOnly)
            }
            Level::Encrypted => None,
        }
    }

    /// The text of the secret, in upper case, in memory that is wiped.
    ///
    /// It is for the eyes of the folder's user and for the file of secrets,
    /// never for logs, events or errors.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        match self {
            Self::ReadWrite(secret) => secret.reveal(),
            Self::ReadOnly(secret) => secret.reveal(),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadWrite(_) => "Secret::ReadWrite",
            Self::ReadOnly(_) => "Secret::ReadOnly",
        })
    }
}

impl From<ReadWriteSecret> for Secret {
    fn from(secret: ReadWriteSecret) -> Self {
        Self::ReadWrite(secret)
    }
}

impl From<ReadOnlySecret> for Secret {
    fn from(secret: ReadOnlySecret) -> Self {
        Self::ReadOnly(secret)
    }
}

/// A secret that gives read-write access: 21 random bytes.
#[derive(Clone)]
pub struct ReadWriteSecret {
    bytes: Zeroizing<[u8; SECRET_BYTES]>,
}

impl ReadWriteSecret {
    /// Takes the bytes of a secret. The caller wipes its copy.
    #[must_use]
    pub fn from_bytes(bytes: [u8; SECRET_BYTES]) -> Self {
        Self {
            bytes: Zeroizing::new(bytes),
        }
    }

    /// The bytes, for the derivation of keys.
    pub(crate) fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.bytes
    }

    /// The read-only secret of the same folder. There is no way back.
    #[must_use]
    pub fn to_read_only(&self) -> ReadOnlySecret {
        ReadOnlySecret {
            read: derive::read_secret(&self.bytes),
            verifying_key: derive::signing_key(&self.bytes).verifying_key(),
        }
    }

    /// The text of the secret; see [`Secret::reveal`].
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        text::encode(b'A', &self.bytes[..])
    }
}

impl PartialEq for ReadWriteSecret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.bytes, &other.bytes)
    }
}

impl Eq for ReadWriteSecret {}

impl fmt::Debug for ReadWriteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadWriteSecret")
    }
}

/// A secret that gives read-only access.
///
/// It holds the read secret, from which everything that readers need is
/// derived, and the verifying key, which can't be derived from it: that would
/// need the signing key, which readers must not have.
#[derive(Clone)]
pub struct ReadOnlySecret {
    read: Zeroizing<[u8; SECRET_BYTES]>,
    verifying_key: VerifyingKey,
}

impl ReadOnlySecret {
    /// Puts a read-only secret together. The caller wipes its copy.
    ///
    /// # Errors
    ///
    /// [`SecretError::VerifyingKey`] if no signature could be trusted under
    /// the key.
    pub fn from_parts(
        read: [u8; SECRET_BYTES],
        verifying_key: [u8; 32],
    ) -> Result<Self, SecretError> {
        let read = Zeroizing::new(read);
        Ok(Self {
            read,
            verifying_key: usable_key(&verifying_key)?,
        })
    }

    /// The read secret, for the derivation of keys.
    pub(crate) fn read(&self) -> &[u8; SECRET_BYTES] {
        &self.read
    }

    /// The key that checks the folder's signatures.
    pub(crate) fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying_key
    }

    /// The text of the secret; see [`Secret::reveal`].
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; READ_ONLY_BYTES]);
        bytes[..SECRET_BYTES].copy_from_slice(&self.read[..]);
        bytes[SECRET_BYTES..].copy_from_slice(self.verifying_key.as_bytes());
        text::encode(b'B', &bytes[..])
    }
}

impl PartialEq for ReadOnlySecret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.read, &other.read) && self.verifying_key == other.verifying_key
    }
}

impl Eq for ReadOnlySecret {}

impl fmt::Debug for ReadOnlySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadOnlySecret")
    }
}

/// Compares without stopping at the first difference, so that the time taken
/// tells nothing about where it is.
fn same(a: &[u8; SECRET_BYTES], b: &[u8; SECRET_BYTES]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

/// Checks the values of a typed secret, type letter first, and unpacks its
/// bytes.
fn unpack(values: &[u8], level: Level, bytes: &mut [u8]) -> Result<(), SecretError> {
    let expected = 1 + text::symbols_for(bytes.len()) + text::CHECK_SYMBOLS;
    if values.len() != expected {
        return Err(SecretError::Length {
            level,
            expected,
            found: values.len(),
        });
    }
    let (checked, check) = values.split_at(expected - text::CHECK_SYMBOLS);
    if text::check_values(checked) != check {
        return Err(SecretError::Check { symbols: expected });
    }
    if !text::unpack(&checked[1..], bytes) {
        return Err(SecretError::SpareBits);
    }
    Ok(())
}

/// Whether text that isn't Base32 would be a custom secret: more than 40
/// symbols of standard Base64, with or without padding.
fn is_custom(text: &str) -> bool {
    let unpadded = text
        .strip_suffix("==")
        .or_else(|| text.strip_suffix('='))
        .unwrap_or(text);
    unpadded.len() > CUSTOM_ABOVE
        && unpadded
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

/// Takes a verifying key if it is the one canonical encoding of a point and
/// the point isn't of small order. Under a key of small order signatures can
/// be made without a signing key, and two encodings of one key would give one
/// folder two names.
fn usable_key(bytes: &[u8; 32]) -> Result<VerifyingKey, SecretError> {
    // The number without its sign bit must be below 2^255 - 19.
    let canonical = bytes[31] & 0x7f != 0x7f
        || bytes[1..31].iter().any(|byte| *byte != 0xff)
        || bytes[0] < 0xed;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| SecretError::VerifyingKey)?;
    if canonical && !key.is_weak() {
        Ok(key)
    } else {
        Err(SecretError::VerifyingKey)
    }
}
