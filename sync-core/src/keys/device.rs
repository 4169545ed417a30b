//! A device's own signature in one folder.
//!
//! The X25519 key by which peers know a device can't sign. What a device says for itself (that it started a
//! rotation, that a new key is still the same device) is signed by an Ed25519 key beside it, which is another one
//! in every folder too. It gives no access: what a folder's key signs is the business of [`super::FolderKeys::sign`].

use core::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::{FolderKeys, Role, derive::Step, with_context};

/// What a device signs in a greeting. No other signature may use this context.
const GREETING: &str = "syncd/2 hello";

/// What a device signs with in one folder. Wiped on drop.
pub struct DeviceSigner(SigningKey);

impl DeviceSigner {
    /// One of its own, for a purpose that isn't tied to a folder: from 32 fresh random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key that others check its signatures by.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a message for a purpose that `context` names.
    #[must_use]
    pub fn sign(&self, context: &str, message: &[u8]) -> [u8; 64] {
        self.0.sign(&with_context(context, message)).to_bytes()
    }
}

impl DeviceSigner {
    /// Shows in a greeting that we hold this key: a signature of our role in the handshake and of its hash, so that
    /// it is worth nothing in another session nor sent back in this one.
    #[must_use]
    pub fn greet(&self, handshake_hash: &[u8; 32], role: Role) -> DeviceProof {
        DeviceProof {
            key: self.public(),
            signature: self.sign(GREETING, &statement(handshake_hash, role)),
        }
    }
}

/// A device's Ed25519 key in a folder, and what shows that the sender of a greeting holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceProof {
    /// The key.
    pub key: [u8; 32],
    /// Its signature of role byte and handshake hash, for the context `syncd/2 hello`.
    pub signature: [u8; 64],
}

impl DeviceProof {
    /// Whether who was the side `prover` of the handshake with this hash holds the key.
    #[must_use]
    pub fn check(&self, handshake_hash: &[u8; 32], prover: Role) -> bool {
        let statement = statement(handshake_hash, prover);
        verify_device(&self.key, GREETING, &statement, &self.signature)
    }
}

fn statement(handshake_hash: &[u8; 32], role: Role) -> [u8; 33] {
    let mut statement = [role.code(); 33];
    statement[1..].copy_from_slice(handshake_hash);
    statement
}

impl fmt::Debug for DeviceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceSigner")
    }
}

impl FolderKeys {
    /// What the device with this secret signs with in this folder.
    #[must_use]
    pub fn device_signer(&self, device_secret: &[u8; 32]) -> DeviceSigner {
        let seed =
            Step::device(device_secret).key(b"syncd/1 device-sign", self.folder_id().as_bytes());
        DeviceSigner(SigningKey::from_bytes(&seed))
    }
}

/// Checks the signature of a device that is known by this key. Strict, as all checks are.
#[must_use]
pub fn verify_device(
    public: &[u8; 32],
    context: &str,
    message: &[u8],
    signature: &[u8; 64],
) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(public).is_ok_and(|key| {
        key.verify_strict(&with_context(context, message), &signature)
            .is_ok()
    })
}
