//! The signed link between a device's old and new key.
//!
//! After a rotation a device has other keys, because they are derived from the folder. Whoever trusted the old one
//! goes on to trust the new one by this: the old device key signs both.
//!
//! ```text
//! signed, context "syncd/2 device link" =
//!     old folder id | old Ed25519 key | old X25519 key | new folder id | new Ed25519 key | new X25519 key (32 each)
//! ```
//!
//! The new half isn't sent: it is that of the session on which the link comes, whose greeting proves both new keys. So
//! a link can't be used by anybody else.

use crate::{
    ids::PeerKey,
    keys::{DeviceSigner, FolderId, verify_device},
};

const CONTEXT: &str = "syncd/2 device link";

/// Says that who sends it was known by other keys under the secret before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The folder under the old secret.
    pub old_folder: [u8; 32],
    /// The device's Ed25519 key there.
    pub old_sign: [u8; 32],
    /// Its X25519 key there, by which peers knew it.
    pub old_static: [u8; 32],
    /// The signature by the old Ed25519 key.
    pub signature: [u8; 64],
}

/// One device in one folder, as others know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The folder.
    pub folder: FolderId,
    /// The device's Ed25519 key there.
    pub sign: [u8; 32],
    /// Its X25519 key there.
    pub key: PeerKey,
}

impl Identity {
    fn bytes(&self) -> [u8; 96] {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(self.folder.as_bytes());
        bytes[32..64].copy_from_slice(&self.sign);
        bytes[64..].copy_from_slice(&self.key.0);
        bytes
    }
}

impl Link {
    /// Links the device that `signer` is under the old secret, known there by `old_key`, to its new identity.
    #[must_use]
    pub fn new(
        old_folder: FolderId,
        signer: &DeviceSigner,
        old_key: PeerKey,
        new: &Identity,
    ) -> Self {
        let old = Identity {
            folder: old_folder,
            sign: signer.public(),
            key: old_key,
        };
        Self {
            old_folder: old_folder.0,
            old_sign: old.sign,
            old_static: old_key.0,
            signature: signer.sign(CONTEXT, &[old.bytes(), new.bytes()].concat()),
        }
    }

    /// The old identity, if its key signed that `new` is the same device.
    #[must_use]
    pub fn check(&self, new: &Identity) -> Option<Identity> {
        let old = Identity {
            folder: FolderId(self.old_folder),
            sign: self.old_sign,
            key: PeerKey(self.old_static),
        };
        let message = [old.bytes(), new.bytes()].concat();
        verify_device(&self.old_sign, CONTEXT, &message, &self.signature).then_some(old)
    }
}
