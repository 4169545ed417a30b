//! The hand-over: a folder's new secret, sealed for one device that is kept.
//!
//! ```text
//! sealed = ephemeral X25519 key (32) | AES-256-GCM(key, nonce = zeros, aad = old folder id | receiver's key, plain)
//! key    = HKDF-SHA256(salt = "syncd/2 hand-over",
//!                      input = X25519(ephemeral, receiver's key) | the old folder's noise-psk,
//!                      info = ephemeral key | receiver's key)
//! plain  = CBOR [content (byte string), signature of the old folder's key (64), signature of the rotator (64)]
//! content = CBOR [1, era, level, secret, chunk seed (8) or null, data keys, knowledge, rotator (32), started]
//! ```
//!
//! The receiver's key is its X25519 key in the old folder. `secret` is what stands in the text of a secret of that
//! level between letter and check (21 or 53 bytes), `data keys` the list of `[era, key]` of earlier eras, eras
//! rising, `knowledge` the rotator's when it began, `rotator` its Ed25519 device key in the old folder, `started`
//! seconds since 1970. Both signatures are over the content as it stands, context `syncd/2 rotation`: the first
//! shows that a member that could write made it, the second which device that was, so that trust in it can decide.
//!
//! The ephemeral key is drawn for one hand-over to one device, so the key is used once. The text of the CBOR must
//! never be logged.

use core::fmt;

use minicbor::{Decoder, Encoder, data::Type};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    ids::PeerKey,
    keys::{
        DeviceSigner, FolderKeys,
        once::{TAG, once_key, open_once, seal_once},
        verify_device,
    },
    knowledge::Knowledge,
    net_message::{MAX_HANDOVER, NetMessageError, read},
    secret::{Level, Secret},
};

/// Most earlier eras whose data keys one hand-over carries.
pub const MAX_DATA_KEYS: usize = 64;

const FORMAT: u8 = 1;
const LABEL: &[u8] = b"syncd/2 hand-over";
const CONTEXT: &str = "syncd/2 rotation";

/// Why a hand-over was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandOverError {
    /// It isn't sealed for this device, or was changed.
    #[error("the hand-over is not for this device")]
    NotForUs,
    /// What was sealed isn't a hand-over.
    #[error("the hand-over is malformed")]
    Malformed,
    /// A later format, or a level that this version doesn't know.
    #[error("the hand-over is of a later version")]
    Later,
    /// The old folder's key, or the device that claims to have rotated, didn't sign it.
    #[error("the hand-over is not signed by whom it names")]
    Signature,
    /// We hold no signing key of the old folder.
    #[error("only a read-write secret can rotate")]
    CannotSign,
}

/// The secret that is handed over.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSecret(pub Secret);

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewSecret({})", self.0.level())
    }
}

/// What a kept device is given.
#[derive(Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The new era; eras only rise.
    pub era: u32,
    /// The new secret, at the receiver's level.
    pub secret: NewSecret,
    /// The folder's chunk seed, which stays, so that no file is cut anew.
    pub chunk_seed: Zeroizing<u64>,
    /// Data keys of earlier eras, eras rising.
    pub data_keys: Vec<(u32, Zeroizing<[u8; 32]>)>,
    /// What the rotator knew when it began: what a cut-off device did above that isn't signed anew.
    pub knowledge: Knowledge,
    /// The device that started the rotation: its Ed25519 key in the old folder.
    pub rotator: [u8; 32],
    /// When, in seconds since 1970 by its clock.
    pub started: u64,
}

impl HandOver {
    /// Seals it for a device of the old folder, as the rotator.
    ///
    /// `ephemeral` must be fresh and random for each call.
    ///
    /// # Errors
    ///
    /// [`HandOverError::CannotSign`] without the old folder's signing key or if `signer` isn't the rotator,
    /// [`HandOverError::Malformed`] for what no receiver would take.
    pub fn seal(
        &self,
        old: &FolderKeys,
        signer: &DeviceSigner,
        receiver: PeerKey,
        ephemeral: [u8; 32],
    ) -> Result<Vec<u8>, HandOverError> {
        let content = self.content().map_err(|_| HandOverError::Malformed)?;
        Self::parse(&content)?;
        let by_folder = old
            .sign(CONTEXT, &content)
            .ok_or(HandOverError::CannotSign)?;
        if signer.public() != self.rotator {
            return Err(HandOverError::CannotSign);
        }
        let by_device = signer.sign(CONTEXT, &content);
        let mut plain = Zeroizing::new(Vec::with_capacity(content.len() + 160));
        // Writing to a vector can't fail.
        let _ = Encoder::new(&mut *plain)
            .array(3)
            .and_then(|e| e.bytes(&content)?.bytes(&by_folder)?.bytes(&by_device));
        let ephemeral = StaticSecret::from(ephemeral);
        let public = PublicKey::from(&ephemeral).to_bytes();
        let key = box_key(old, &ephemeral, &receiver.0, &public, &receiver.0)
            .ok_or(HandOverError::Malformed)?;
        let sealed = seal_once(&key, &aad(old, &receiver.0), &plain);
        if public.len() + sealed.len() > MAX_HANDOVER {
            return Err(HandOverError::Malformed);
        }
        Ok([public.as_slice(), &sealed].concat())
    }

    /// Opens one, as the device with this X25519 private key in the old folder.
    ///
    /// # Errors
    ///
    /// See [`HandOverError`]. Whether the rotator is trusted, and whether the era is a new one, is for the caller.
    pub fn open(
        old: &FolderKeys,
        private: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Self, HandOverError> {
        if sealed.len() > MAX_HANDOVER || sealed.len() < 32 + TAG {
            return Err(HandOverError::NotForUs);
        }
        let (public, sealed) = sealed
            .split_first_chunk::<32>()
            .ok_or(HandOverError::NotForUs)?;
        let private = StaticSecret::from(*private);
        let own = PublicKey::from(&private).to_bytes();
        let key = box_key(old, &private, public, public, &own).ok_or(HandOverError::NotForUs)?;
        let plain = open_once(&key, &aad(old, &own), sealed).ok_or(HandOverError::NotForUs)?;
        let mut d = Decoder::new(&plain);
        let (content, by_folder, by_device) = read::fields(&mut d, 3, |d, _| {
            let content = Zeroizing::new(read::bytes(d, MAX_HANDOVER)?);
            Ok((content, read::fixed(d)?, read::fixed(d)?))
        })?;
        if d.position() != plain.len() {
            return Err(HandOverError::Malformed);
        }
        if !old.verify(CONTEXT, &content, &by_folder) {
            return Err(HandOverError::Signature);
        }
        let hand_over = Self::parse(&content)?;
        if !verify_device(&hand_over.rotator, CONTEXT, &content, &by_device) {
            return Err(HandOverError::Signature);
        }
        Ok(hand_over)
    }

    fn content(
        &self,
    ) -> Result<Zeroizing<Vec<u8>>, minicbor::encode::Error<std::convert::Infallible>> {
        // A vector that grows would leave a copy behind unwiped.
        let room = 256
            + self.data_keys.len() * 48
            + self.knowledge.len() * 12
            + self.knowledge.ranges() * 18;
        let mut content = Zeroizing::new(Vec::with_capacity(room));
        let mut e = Encoder::new(&mut *content);
        e.array(9)?.u8(FORMAT)?.u32(self.era)?;
        e.u8(self.secret.0.level().code())?
            .bytes(&self.secret.0.content())?;
        e.bytes(&self.chunk_seed.to_be_bytes())?
            .array(self.data_keys.len() as u64)?;
        for (era, key) in &self.data_keys {
            e.array(2)?.u32(*era)?.bytes(&key[..])?;
        }
        e.encode(&self.knowledge)?
            .bytes(&self.rotator)?
            .u64(self.started)?;
        Ok(content)
    }

    fn parse(content: &[u8]) -> Result<Self, HandOverError> {
        let mut d = Decoder::new(content);
        let hand_over = read::fields(&mut d, 9, |d, _| {
            if d.u8()? != FORMAT {
                return Ok(None);
            }
            let era = d.u32()?;
            let level = Level::from_code(d.u8()?);
            let secret = Zeroizing::new(read::bytes(d, 64)?);
            // Who only stores ciphertext is given no seed.
            let seed = match d.datatype()? {
                Type::Null => d.null().map(|()| None)?,
                _ => Some(Zeroizing::new(u64::from_be_bytes(read::fixed(d)?))),
            };
            let data_keys = read::list(d, MAX_DATA_KEYS, |d| {
                read::fields(d, 2, |d, _| Ok((d.u32()?, Zeroizing::new(read::fixed(d)?))))
            })?;
            let knowledge = d.decode()?;
            let (rotator, started) = (read::fixed(d)?, d.u64()?);
            let secret = level.and_then(|level| Secret::from_content(level, &secret));
            let (Some(secret), Some(chunk_seed)) = (secret, seed) else {
                return Ok(None);
            };
            Ok(Some(Self {
                era,
                secret: NewSecret(secret),
                chunk_seed,
                data_keys,
                knowledge,
                rotator,
                started,
            }))
        })?;
        let hand_over = hand_over.ok_or(HandOverError::Later)?;
        let rising = hand_over.data_keys.is_sorted_by(|a, b| a.0 < b.0);
        let earlier = hand_over
            .data_keys
            .last()
            .is_none_or(|(era, _)| *era < hand_over.era);
        if d.position() != content.len() || !rising || !earlier || hand_over.era == 0 {
            return Err(HandOverError::Malformed);
        }
        Ok(hand_over)
    }
}

impl From<NetMessageError> for HandOverError {
    fn from(_: NetMessageError) -> Self {
        Self::Malformed
    }
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver")
            .field("era", &self.era)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

fn aad(old: &FolderKeys, receiver: &[u8; 32]) -> [u8; 64] {
    let mut aad = [0; 64];
    aad[..32].copy_from_slice(old.folder_id().as_bytes());
    aad[32..].copy_from_slice(receiver);
    aad
}

/// The key of a box; `None` for a key of small order, under which everybody would share a key.
fn box_key(
    old: &FolderKeys,
    private: &StaticSecret,
    other: &[u8; 32],
    ephemeral: &[u8; 32],
    receiver: &[u8; 32],
) -> Option<Zeroizing<[u8; 32]>> {
    let shared = private.diffie_hellman(&PublicKey::from(*other));
    let mut input = Zeroizing::new([0; 64]);
    input[..32].copy_from_slice(shared.as_bytes());
    input[32..].copy_from_slice(old.psk());
    let fresh = [ephemeral.as_slice(), receiver].concat();
    shared
        .was_contributory()
        .then(|| once_key(LABEL, &input[..], &fresh))
}
