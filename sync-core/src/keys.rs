//! The keys of a folder, all derived from its secret.
//!
//! This module owns the way from a [`Secret`] to every key that a folder uses,
//! and the operations with those keys. Keys never leave it except where other
//! code has to feed them to a handshake or an announcement. It must never
//! print one, and wipes them when the last holder is gone.
//!
//! ```text
//! S   read-write secret, 21 random bytes
//! ├── signing key (Ed25519); pk = its verifying key
//! └── r   read secret
//!     ├── with pk: keys of readers: path names, record bodies and their
//!     │            nonces, proof of the read-only level, chunk seed
//!     └── e   net secret
//!         └── with pk: keys of all members: handshake, local network,
//!                      probes, rendezvous
//! ```
//!
//! Each arrow is HKDF-SHA256 under its own labels and leads one way only. So a
//! read-only secret can be made from a read-write one but not the reverse, and
//! the keys that a member without read access will hold tell nothing of the
//! readers' keys. The verifying key goes into all keys below it, so that two
//! folders never share a key even if somebody builds a read-only secret out of
//! the parts of two others.

pub(crate) mod derive;
mod device;
pub(crate) mod once;
mod proof;
mod read;
#[cfg(test)]
mod tests;

use core::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use device::{DeviceProof, DeviceSigner, verify_device};
pub use proof::{LevelProof, Role};
pub use read::{OpenError, ReadKeys, SEAL_OVERHEAD};

use crate::secret::{Level, Secret, for_each_value, symbol_of};
use derive::Step;

/// The name of a folder: the same for all its members and all levels.
///
/// It is the hash of the folder's verifying key. It gives no access, so it may
/// stand in logs and file names; but it links a user to a folder, so it isn't
/// sent to strangers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub [u8; 32]);

impl FolderId {
    /// The id of the folder whose signatures this key checks.
    fn of(verifying_key: &VerifyingKey) -> Self {
        Self(hash(&[b"syncd/1 folder-id", verifying_key.as_bytes()]))
    }

    /// All its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first 16 Base32 symbols, 80 bits: enough to tell folders apart, short
/// enough to read.
impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(16);
        for_each_value(&self.0[..10], |value| text.push(symbol_of(value)));
        f.pad(&text)
    }
}

impl fmt::Debug for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FolderId({self})")
    }
}

/// All keys of a folder that its secret gives. Clones share them.
#[derive(Clone)]
pub struct FolderKeys(Arc<Keys>);

struct Keys {
    level: Level,
    folder_id: FolderId,
    signing: Option<SigningKey>,
    verifying: VerifyingKey,
    read: Option<ReadKeys>,
    psk: Zeroizing<[u8; 32]>,
    lan: Zeroizing<[u8; 32]>,
    probe: Zeroizing<[u8; 32]>,
    rendezvous: Zeroizing<[u8; 32]>,
    candidates: Zeroizing<[u8; 32]>,
}

impl FolderKeys {
    /// Derives the keys of a secret.
    #[must_use]
    pub fn derive(secret: &Secret) -> Self {
        let read_only = secret.to_read_only();
        let signing = match secret {
            Secret::ReadWrite(secret) => Some(derive::signing_key(secret.bytes())),
            Secret::ReadOnly(_) => None,
        };
        let verifying = *read_only.verifying_key();
        let net = Step::net(&derive::net_secret(read_only.read()), verifying.as_bytes());
        Self(Arc::new(Keys {
            level: secret.level(),
            folder_id: FolderId::of(&verifying),
            signing,
            verifying,
            read: Some(ReadKeys::derive(read_only.read(), verifying.as_bytes())),
            psk: net.key(b"syncd/1 noise-psk", b""),
            lan: net.key(b"syncd/1 lan", b""),
            probe: net.key(b"syncd/1 probe", b""),
            rendezvous: net.key(b"syncd/1 rendezvous-key", b""),
            candidates: net.key(b"syncd/2 candidates", b""),
        }))
    }

    /// What the secret allows.
    #[must_use]
    pub fn level(&self) -> Level {
        self.0.level
    }

    /// The name of the folder.
    #[must_use]
    pub fn folder_id(&self) -> FolderId {
        self.0.folder_id
    }

    /// The Ed25519 key that checks the folder's signatures. It isn't secret.
    #[must_use]
    pub fn verifying_key(&self) -> &[u8; 32] {
        self.0.verifying.as_bytes()
    }

    /// The key that every handshake between members starts with.
    #[must_use]
    pub fn psk(&self) -> &[u8; 32] {
        &self.0.psk
    }

    /// The key by which members recognise each other's announcements on the
    /// local network.
    #[must_use]
    pub fn lan_key(&self) -> &[u8; 32] {
        &self.0.lan
    }

    /// The key by which members recognise each other's probes of an address.
    #[must_use]
    pub fn probe_key(&self) -> &[u8; 32] {
        &self.0.probe
    }

    /// The key by which members seal the ways to themselves for each other.
    #[must_use]
    pub fn candidates_key(&self) -> &[u8; 32] {
        &self.0.candidates
    }

    /// Under which id members meet on a day, counted in UTC days since 1970.
    /// It changes daily, so that a place that helps members to meet can't
    /// follow a folder for longer.
    #[must_use]
    pub fn rendezvous(&self, utc_day: u64) -> [u8; 32] {
        hash(&[
            b"syncd/1 rendezvous",
            &self.0.rendezvous[..],
            &utc_day.to_be_bytes(),
        ])
    }

    /// The X25519 private key that a device uses in this folder. It is another
    /// one in every folder, so that folders can't be linked by it.
    #[must_use]
    pub fn static_key(&self, device_secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        Step::device(device_secret).key(b"syncd/1 noise-static", &self.0.folder_id.0)
    }

    /// Signs a message for a purpose that `context` names. `None` without
    /// read-write access.
    #[must_use]
    pub fn sign(&self, context: &str, message: &[u8]) -> Option<[u8; 64]> {
        let signing = self.0.signing.as_ref()?;
        Some(signing.sign(&with_context(context, message)).to_bytes())
    }

    /// Checks a signature for a purpose.
    ///
    /// It is the strict check: keys and signatures that some programs accept
    /// and others refuse are refused, so that all members judge alike.
    #[must_use]
    pub fn verify(&self, context: &str, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0
            .verifying
            .verify_strict(&with_context(context, message), &signature)
            .is_ok()
    }

    /// The keys of readers; `None` for members that must not read.
    #[must_use]
    pub fn read(&self) -> Option<&ReadKeys> {
        self.0.read.as_ref()
    }
}

impl fmt::Debug for FolderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FolderKeys")
    }
}

/// What is signed: the length of the context in 8 bytes, high byte first, the
/// context, the message. The length keeps the two apart.
fn with_context(context: &str, message: &[u8]) -> Vec<u8> {
    let mut signed = Vec::with_capacity(8 + context.len() + message.len());
    signed.extend_from_slice(&(context.len() as u64).to_be_bytes());
    signed.extend_from_slice(context.as_bytes());
    signed.extend_from_slice(message);
    signed
}

/// SHA-256 of the parts, one after the other. All but the last have a fixed
/// length wherever it is used.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
