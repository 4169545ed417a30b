//! The ways to a device, sealed for the members of a folder, so that a tracker or a DHT can carry them.
//!
//! ```text
//! sealed = salt (16, random) | AES-256-GCM(key, nonce = zeros, aad = none, plain)
//! key    = HKDF-SHA256(salt = "syncd/2 candidates", input = the folder's candidates key, info = salt)
//! plain  = CBOR [static key, issued, attempt, paths, relays], then zeros up to a multiple of 128 bytes
//! path   = [kind, address], relay = [address, token]
//! ```
//!
//! Nothing in it is signed: any member can make one. Like every address it is believed only after a handshake.

use std::net::SocketAddr;

use minicbor::{Decoder, Encoder};

use super::{NetMessageError, read, to_bytes};
use crate::{
    ids::PeerKey,
    keys::{
        FolderKeys,
        once::{TAG, once_key, open_once, seal_once},
    },
};

/// Most paths in one set.
pub const MAX_PATHS: usize = 16;
/// Most relays in one set.
pub const MAX_RELAYS: usize = 4;
/// Longest sealed form, in bytes.
pub const MAX_SEALED: usize = 1_024;

const LABEL: &[u8] = b"syncd/2 candidates";
const SALT: usize = 16;
const PAD: usize = 128;

/// Where an address of a device comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// One of its own interfaces.
    Local,
    /// As others see it.
    Reflexive,
    /// A router forwards it.
    Mapped,
    /// Its owner says so.
    Advertised,
    /// A kind of a later version: not to be used.
    Other(u8),
}

/// One way to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Where it comes from.
    pub kind: PathKind,
    /// The address.
    pub address: SocketAddr,
}

/// A relay where a device waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relay {
    /// The relay.
    pub address: SocketAddr,
    /// What the device waits under, random and new each day.
    pub token: [u8; 32],
}

/// All ways to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// Its static key in the folder.
    pub key: PeerKey,
    /// When they were collected, in seconds since 1970 by its own clock; a larger one replaces a smaller one.
    pub issued: u64,
    /// Grows whenever the device begins to try anew; others then try at the same time.
    pub attempt: u32,
    /// Best first.
    pub paths: Vec<Path>,
    /// Best first.
    pub relays: Vec<Relay>,
}

impl PathKind {
    const fn code(self) -> u8 {
        match self {
            Self::Local => 0,
            Self::Reflexive => 1,
            Self::Mapped => 2,
            Self::Advertised => 3,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Local,
            1 => Self::Reflexive,
            2 => Self::Mapped,
            3 => Self::Advertised,
            code => Self::Other(code),
        }
    }
}

impl Candidates {
    /// Seals them for the members of a folder. `salt` must be fresh and random. What is above [`MAX_PATHS`] and
    /// [`MAX_RELAYS`] is left out.
    #[must_use]
    pub fn seal(&self, keys: &FolderKeys, salt: [u8; SALT]) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(2 * PAD));
        // Writing to a vector can't fail.
        let _ = self.write(&mut e);
        let mut plain = e.into_writer();
        plain.resize(plain.len().next_multiple_of(PAD), 0);
        let key = once_key(LABEL, keys.candidates_key(), &salt);
        [salt.as_slice(), &seal_once(&key, b"", &plain)].concat()
    }

    fn write(
        &self,
        e: &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        let paths = &self.paths[..self.paths.len().min(MAX_PATHS)];
        let relays = &self.relays[..self.relays.len().min(MAX_RELAYS)];
        e.array(5)?
            .bytes(&self.key.0)?
            .u64(self.issued)?
            .u32(self.attempt)?;
        e.array(paths.len() as u64)?;
        for path in paths {
            e.array(2)?
                .u8(path.kind.code())?
                .bytes(&to_bytes(path.address))?;
        }
        e.array(relays.len() as u64)?;
        for relay in relays {
            e.array(2)?
                .bytes(&to_bytes(relay.address))?
                .bytes(&relay.token)?;
        }
        Ok(())
    }

    /// Opens what a member sealed; `None` if it isn't that.
    #[must_use]
    pub fn open(keys: &FolderKeys, sealed: &[u8]) -> Option<Self> {
        if sealed.len() > MAX_SEALED || sealed.len() < SALT + TAG {
            return None;
        }
        let (salt, sealed) = sealed.split_first_chunk::<SALT>()?;
        let key = once_key(LABEL, keys.candidates_key(), salt);
        let plain = open_once(&key, b"", sealed)?;
        let mut d = Decoder::new(&plain);
        let candidates = Self::parse(&mut d).ok()?;
        let padding = plain.get(d.position()..)?;
        padding.iter().all(|byte| *byte == 0).then_some(candidates)
    }

    fn parse(d: &mut Decoder<'_>) -> Result<Self, NetMessageError> {
        read::fields(d, 5, |d, _| {
            Ok(Self {
                key: PeerKey(read::fixed(d)?),
                issued: d.u64()?,
                attempt: d.u32()?,
                paths: read::list(d, MAX_PATHS, |d| {
                    read::fields(d, 2, |d, _| {
                        let kind = PathKind::from_code(d.u8()?);
                        let address = read::address(d)?;
                        Ok(Path { kind, address })
                    })
                })?,
                relays: read::list(d, MAX_RELAYS, |d| {
                    read::fields(d, 2, |d, _| {
                        let address = read::address(d)?;
                        let token = read::fixed(d)?;
                        Ok(Relay { address, token })
                    })
                })?,
            })
        })
    }
}
