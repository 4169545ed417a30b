//! The keys of those who may read: names, record bodies and chunk cuts.
//!
//! They are derived once; the key schedules of the cipher and of the MACs are
//! kept, because they are used for every record of a folder. Bodies are sealed
//! by a cipher that stays safe under one nonce for all (AES-GCM-SIV, RFC 8452);
//! what that tells is said at [`ReadKeys::seal_body`].

use core::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::derive::Step;
use crate::secret::SECRET_BYTES;

/// How many bytes the tag at the end of a sealed body has.
const TAG: usize = 16;
/// The nonce of all bodies.
const NONCE: [u8; 12] = [0; 12];

/// By how many bytes a sealed body is longer than the plain one.
pub const SEAL_OVERHEAD: usize = TAG;

/// Why a sealed body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is shorter than a tag.
    #[error("the sealed body is too short to be one")]
    TooShort,
    /// It was sealed under another key or for another record, or was changed.
    #[error("the sealed body does not belong here or was changed")]
    Forged,
}

/// The keys of those who may read.
pub struct ReadKeys {
    name: Hmac<Sha256>,
    level: Hmac<Sha256>,
    seal: Aes256GcmSiv,
    /// Key of bodies that the version before sealed.
    former: Zeroizing<[u8; 32]>,
    chunk_seed: Zeroizing<u64>,
}

impl ReadKeys {
    /// Derives them. Keys for chunks stored as ciphertext will be taken from
    /// the same level under the label `syncd/1 data`, which is kept free.
    pub(super) fn derive(read_secret: &[u8; SECRET_BYTES], verifying_key: &[u8; 32]) -> Self {
        let step = Step::content(read_secret, verifying_key);
        let seal: Zeroizing<[u8; 32]> = step.key(b"syncd/2 meta", b"");
        Self {
            name: mac(&step, b"syncd/1 name"),
            level: mac(&step, b"syncd/1 level-read-only"),
            seal: Aes256GcmSiv::new((&*seal).into()),
            former: step.key(b"syncd/1 meta", b""),
            chunk_seed: Zeroizing::new(u64::from_be_bytes(*step.key(b"syncd/1 chunk-seed", b""))),
        }
    }

    /// The name of a path for those who must not read it.
    ///
    /// Equal paths have equal ids within a folder and unrelated ones in any
    /// two folders; nobody without the read key can tell which path it is.
    #[must_use]
    pub fn path_id(&self, path: &[u8]) -> [u8; 16] {
        let full = self.name.clone().chain_update(path).finalize().into_bytes();
        let mut id = [0; 16];
        id.copy_from_slice(&full[..16]);
        id
    }

    /// Seals the body of a record: ciphertext, tag.
    ///
    /// `aad` is not part of the result; it must be given again to open it, so
    /// that a body can't be moved to another record.
    ///
    /// No random number and no counter goes in. So every device seals the same
    /// body to the same bytes, and nothing has to survive a crash or the
    /// restore of a backup. In return it can be seen that two bodies with the
    /// same `aad` are equal, and nothing else.
    #[must_use]
    pub fn seal_body(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .seal
            .encrypt_inout_detached(&Nonce::from(NONCE), aad, (&mut sealed[..]).into())
            .expect("a record body is far below the 64 GiB that the cipher can seal");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens a sealed body.
    ///
    /// # Errors
    ///
    /// If it isn't what [`ReadKeys::seal_body`] made from some plaintext and
    /// this `aad`. Two different sealed bodies never open to the same
    /// plaintext under the same `aad`.
    pub fn open_body(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG>()
            .ok_or(OpenError::TooShort)?;
        let mut body = ciphertext.to_vec();
        self.seal
            .decrypt_inout_detached(
                &Nonce::from(NONCE),
                aad,
                (&mut body[..]).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError::Forged)?;
        Ok(body)
    }

    /// Opens a body that the version before sealed: nonce, ciphertext, tag of AES-256-GCM.
    ///
    /// # Errors
    ///
    /// If it was sealed under another key or for another `aad`, or was changed.
    pub(crate) fn open_former_body(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (nonce, rest) = sealed
            .split_first_chunk::<12>()
            .ok_or(OpenError::TooShort)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(OpenError::TooShort)?;
        let mut body = ciphertext.to_vec();
        Aes256Gcm::new((&*self.former).into())
            .decrypt_inout_detached(
                &Nonce::from(*nonce),
                aad,
                (&mut body[..]).into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError::Forged)?;
        Ok(body)
    }

    /// The seed of the table that decides where files are cut into chunks. It
    /// differs per folder, so that the sizes of chunks don't tell which known
    /// file they belong to.
    #[must_use]
    pub fn chunk_seed(&self) -> u64 {
        *self.chunk_seed
    }

    /// The MAC by which a reader proves that it is one.
    pub(super) fn level_mac(&self) -> Hmac<Sha256> {
        self.level.clone()
    }
}

impl fmt::Debug for ReadKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadKeys")
    }
}

/// A MAC with the key of a label.
fn mac(step: &Step, label: &[u8]) -> Hmac<Sha256> {
    let key: Zeroizing<[u8; 32]> = step.key(label, b"");
    <Hmac<Sha256> as KeyInit>::new_from_slice(&key[..]).expect("HMAC takes a key of any length")
}
