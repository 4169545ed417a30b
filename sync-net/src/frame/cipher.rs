//! AES-256-GCM, by the crate that this build has for it.
//!
//! `aws-lc-rs` is four times as fast and builds its own C; without the feature
//! of that name `aes-gcm` does the same in Rust. Both are tested against each
//! other. They own a key and nothing else: nonces are the caller's business,
//! and none may ever be used twice with one key.

#[cfg(feature = "aws-lc-rs")]
pub(super) use aws::Cipher;
#[cfg(not(feature = "aws-lc-rs"))]
pub(super) use soft::Cipher;

/// Bytes of a nonce.
const NONCE: usize = 12;

#[cfg(feature = "aws-lc-rs")]
mod aws {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::NONCE;
    use crate::frame::TAG;

    /// A key. `aws-lc` wipes it when it is dropped.
    pub(in crate::frame) struct Cipher(Option<LessSafeKey>);

    impl Cipher {
        pub(in crate::frame) fn new(key: &[u8; 32]) -> Self {
            // It fails only for a key of another length; then nothing is sealed or opened.
            let key = UnboundKey::new(&AES_256_GCM, key);
            Self(key.ok().map(LessSafeKey::new))
        }

        /// Encrypts in place and gives the tag. `None` if the library refused.
        pub(in crate::frame) fn seal(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            plain: &mut [u8],
        ) -> Option<[u8; TAG]> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let key = self.0.as_ref()?;
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain);
            tag.ok()?.as_ref().try_into().ok()
        }

        /// Decrypts ciphertext and tag in place: the plaintext stands at the
        /// front then. `None` if it isn't authentic.
        pub(in crate::frame) fn open(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            sealed: &mut [u8],
        ) -> Option<()> {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let key = self.0.as_ref()?;
            let opened = key.open_in_place(nonce, Aad::from(aad), sealed);
            opened.ok().map(|_| ())
        }
    }
}

#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod soft {
    use aes_gcm::aead::{AeadInOut, KeyInit};
    use aes_gcm::{Aes256Gcm, Nonce, Tag};

    use super::NONCE;
    use crate::frame::TAG;

    /// A key. `aes-gcm` wipes it when it is dropped.
    pub(in crate::frame) struct Cipher(Aes256Gcm);

    impl Cipher {
        pub(in crate::frame) fn new(key: &[u8; 32]) -> Self {
            Self(Aes256Gcm::new(key.into()))
        }

        /// Encrypts in place and gives the tag. `None` if the library refused.
        pub(in crate::frame) fn seal(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            plain: &mut [u8],
        ) -> Option<[u8; TAG]> {
            let nonce = Nonce::from(*nonce);
            let tag = self.0.encrypt_inout_detached(&nonce, aad, plain.into());
            tag.ok()?.as_slice().try_into().ok()
        }

        /// Decrypts ciphertext and tag in place: the plaintext stands at the
        /// front then. `None` if it isn't authentic.
        pub(in crate::frame) fn open(
            &self,
            nonce: &[u8; NONCE],
            aad: &[u8],
            sealed: &mut [u8],
        ) -> Option<()> {
            let start = sealed.len().checked_sub(TAG)?;
            let (sealed, tag) = sealed.split_at_mut(start);
            let (nonce, tag) = (Nonce::from(*nonce), Tag::try_from(&*tag).ok()?);
            self.0
                .decrypt_inout_detached(&nonce, aad, sealed.into(), &tag)
                .ok()
        }
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use proptest::prelude::*;

    use super::{aws, soft};

    proptest! {
        #[test]
        fn one_opens_what_the_other_sealed(
            key: [u8; 32],
            nonce: [u8; 12],
            aad in proptest::collection::vec(any::<u8>(), 0..20),
            plain in proptest::collection::vec(any::<u8>(), 0..3000),
            flip in any::<prop::sample::Index>(),
        ) {
            let (fast, slow) = (aws::Cipher::new(&key), soft::Cipher::new(&key));
            let (mut by_fast, mut by_slow) = (plain.clone(), plain.clone());
            let tag = fast.seal(&nonce, &aad, &mut by_fast).unwrap();
            prop_assert_eq!(slow.seal(&nonce, &aad, &mut by_slow), Some(tag));
            prop_assert_eq!(&by_fast, &by_slow);
            by_fast.extend_from_slice(&tag);
            by_slow.extend_from_slice(&tag);
            let mut spoilt = by_fast.clone();
            let at = flip.index(spoilt.len());
            spoilt[at] ^= 1;
            prop_assert_eq!(fast.open(&nonce, &aad, &mut spoilt.clone()), None);
            prop_assert_eq!(slow.open(&nonce, &aad, &mut spoilt), None);
            prop_assert_eq!(slow.open(&nonce, &aad, &mut by_fast), Some(()));
            prop_assert_eq!(fast.open(&nonce, &aad, &mut by_slow), Some(()));
            prop_assert_eq!(&by_fast[..plain.len()], &plain[..]);
            prop_assert_eq!(&by_slow[..plain.len()], &plain[..]);
        }

        #[test]
        fn what_is_shorter_than_a_tag_is_refused(short in proptest::collection::vec(any::<u8>(), 0..16)) {
            let key = [1; 32];
            prop_assert_eq!(aws::Cipher::new(&key).open(&[0; 12], &[], &mut short.clone()), None);
            prop_assert_eq!(soft::Cipher::new(&key).open(&[0; 12], &[], &mut short.clone()), None);
        }
    }
}
