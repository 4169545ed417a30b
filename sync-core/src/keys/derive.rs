//! The steps of the key hierarchy.
//!
//! Every step is HKDF-SHA256 (RFC 5869): the salt names the level of the
//! hierarchy, the info names the key, and no two keys share both. This module
//! owns the labels. They are part of the protocol: a change of one makes
//! every folder a different folder.

use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::secret::SECRET_BYTES;

/// Salt of the step from the read-write secret.
const SALT_SECRET: &[u8] = b"syncd/1 secret";
/// Salt of the step from the read secret to the net secret.
const SALT_READ: &[u8] = b"syncd/1 read";
/// Salt of the keys that all members share.
const SALT_NET: &[u8] = b"syncd/1 net";
/// Salt of the keys that readers share.
const SALT_CONTENT: &[u8] = b"syncd/1 content";
/// Salt of the keys of one device.
const SALT_DEVICE: &[u8] = b"syncd/1 device";

/// One level of the hierarchy, from which keys are taken by their labels.
pub(crate) struct Step(Hkdf<Sha256>);

impl Step {
    /// The keys that come from `input` under the salt of its level.
    pub(crate) fn new(salt: &[u8], input: &[u8]) -> Self {
        Self(Hkdf::new(Some(salt), input))
    }

    /// The level of the keys that all members share.
    pub(super) fn net(net_secret: &[u8; SECRET_BYTES], verifying_key: &[u8; 32]) -> Self {
        Self::new(SALT_NET, &join(net_secret, verifying_key)[..])
    }

    /// The level of the keys that readers share.
    pub(super) fn content(read_secret: &[u8; SECRET_BYTES], verifying_key: &[u8; 32]) -> Self {
        Self::new(SALT_CONTENT, &join(read_secret, verifying_key)[..])
    }

    /// The level of the keys of one device.
    pub(crate) fn device(device_secret: &[u8; 32]) -> Self {
        Self::new(SALT_DEVICE, device_secret)
    }

    /// The key of a label, bound to a context that may be empty.
    pub(crate) fn key<const N: usize>(&self, label: &[u8], context: &[u8]) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        self.0
            .expand_multi_info(&[label, context], &mut key[..])
            .expect("keys are far shorter than the 8160 bytes that HKDF can give");
        key
    }
}

/// The signing key of a read-write secret.
pub(crate) fn signing_key(secret: &[u8; SECRET_BYTES]) -> SigningKey {
    SigningKey::from_bytes(&Step::new(SALT_SECRET, secret).key(b"syncd/1 write-sign", b""))
}

/// The read secret of a read-write secret.
pub(crate) fn read_secret(secret: &[u8; SECRET_BYTES]) -> Zeroizing<[u8; SECRET_BYTES]> {
    Step::new(SALT_SECRET, secret).key(b"syncd/1 read-secret", b"")
}

/// The net secret of a read secret.
pub(super) fn net_secret(read_secret: &[u8; SECRET_BYTES]) -> Zeroizing<[u8; SECRET_BYTES]> {
    Step::new(SALT_READ, read_secret).key(b"syncd/1 net-secret", b"")
}

/// A secret and the verifying key. Both have a fixed length, so that the two
/// can't be divided in another way.
fn join(secret: &[u8; SECRET_BYTES], verifying_key: &[u8; 32]) -> Zeroizing<[u8; 53]> {
    let mut joined = Zeroizing::new([0; SECRET_BYTES + 32]);
    joined[..SECRET_BYTES].copy_from_slice(secret);
    joined[SECRET_BYTES..].copy_from_slice(verifying_key);
    joined
}
