//! Sealing under a key that is used for one message alone.
//!
//! AES-256-GCM with a nonce of zeros. It must never be given a key twice; whoever calls it derives the key from
//! something fresh and random that travels beside the ciphertext.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead as _, KeyInit as _, Payload},
};
use zeroize::Zeroizing;

use super::derive::Step;

/// By how many bytes the sealed form is longer.
pub(crate) const TAG: usize = 16;

/// A key for one message: HKDF-SHA256 under a label, of a secret and of what makes it fresh.
pub(crate) fn once_key(salt: &[u8], secret: &[u8], fresh: &[u8]) -> Zeroizing<[u8; 32]> {
    Step::new(salt, secret).key(fresh, b"")
}

/// Seals one message.
pub(crate) fn seal_once(key: &[u8; 32], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plain, aad };
    Aes256Gcm::new(key.into())
        .encrypt(&Nonce::default(), payload)
        .expect("messages are far shorter than the 64 GiB that the cipher takes")
}

/// Opens it; `None` if it was sealed otherwise or changed.
pub(crate) fn open_once(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let payload = Payload { msg: sealed, aad };
    let plain = Aes256Gcm::new(key.into()).decrypt(&Nonce::default(), payload);
    plain.ok().map(Zeroizing::new)
}
