//! Invitations: one-time secrets of the kind `C…`.
//!
//! An invitation leads a newcomer to one device, the inviter, and lets it in once. Everything up to the real secret
//! comes from its token alone: where the two meet and the key of their handshake. This module owns its written form
//! and its keys; it must never be taken for a folder's secret, and [`crate::secret::Secret::parse`] refuses it.
//!
//! ```text
//! text  = "C" | Base32(token (16) | first 16 bytes of SHA-256(inviter's invitation key)) | check: 55 symbols
//! keys  = HKDF-SHA256(salt = "syncd/2 invitation", input = token, info): "syncd/1 noise-psk", "syncd/1 lan",
//!         "syncd/1 rendezvous-key" (32 each), used as those of a folder
//! joiner's static key = HKDF-SHA256(salt = "syncd/1 device", input = device secret,
//!         info = "syncd/1 noise-static" | SHA-256(token))
//! inviter's proof = 9 | invitation key (Ed25519, 32) | its signature of role | handshake hash, context
//!         "syncd/2 invitation"; joiner's proof = 8 and nothing else
//! ```
//!
//! The hash in the text keeps whoever reads the invitation on its way from playing the inviter; the joiner proves
//! nothing but that it holds the token.

use core::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    keys::{DeviceSigner, Role, derive::Step, verify_device},
    secret::{SecretError, text},
};

/// Bytes of a token.
pub const TOKEN: usize = 16;
/// Symbols of the text of an invitation.
pub const INVITATION_SYMBOLS: usize = 1 + text::symbols_for(2 * TOKEN) + text::CHECK_SYMBOLS;
/// First byte of the inviter's proof.
pub const INVITER: u8 = 9;
/// The whole proof of the joiner.
pub const JOINER: u8 = 8;

const SALT: &[u8] = b"syncd/2 invitation";
const CONTEXT: &str = "syncd/2 invitation";

/// An invitation as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    token: Zeroizing<[u8; TOKEN]>,
    key_hash: [u8; 16],
}

/// What the two sides of an invitation share, in place of a folder's keys.
pub struct InvitationKeys {
    /// The key that the handshake starts with.
    pub psk: Zeroizing<[u8; 32]>,
    /// That of the tags of beacons.
    pub lan: Zeroizing<[u8; 32]>,
    /// That of the daily place of meeting.
    pub rendezvous: Zeroizing<[u8; 32]>,
}

impl Invitation {
    /// An invitation with a fresh random token, by the device that will prove this Ed25519 key.
    #[must_use]
    pub fn new(token: [u8; TOKEN], inviter: &[u8; 32]) -> Self {
        Self {
            token: Zeroizing::new(token),
            key_hash: key_hash(inviter),
        }
    }

    /// Reads one, in any case.
    ///
    /// # Errors
    ///
    /// Says what is wrong without quoting the text.
    pub fn parse(typed: &str) -> Result<Self, SecretError> {
        let typed = typed.trim();
        let values: Option<Vec<u8>> = typed
            .bytes()
            .take(INVITATION_SYMBOLS + 1)
            .map(text::value_of)
            .collect();
        let values = Zeroizing::new(values.ok_or(SecretError::UnknownType)?);
        if values.first() != text::value_of(b'C').as_ref() || values.len() != INVITATION_SYMBOLS {
            return Err(SecretError::UnknownType);
        }
        let (checked, check) = values.split_at(INVITATION_SYMBOLS - text::CHECK_SYMBOLS);
        if text::check_values(checked) != check {
            return Err(SecretError::Check {
                symbols: INVITATION_SYMBOLS,
            });
        }
        let mut bytes = Zeroizing::new([0; 2 * TOKEN]);
        if !text::unpack(&checked[1..], &mut bytes[..]) {
            return Err(SecretError::SpareBits);
        }
        let mut invitation = Self {
            token: Zeroizing::new([0; TOKEN]),
            key_hash: [0; 16],
        };
        invitation.token.copy_from_slice(&bytes[..TOKEN]);
        invitation.key_hash.copy_from_slice(&bytes[TOKEN..]);
        Ok(invitation)
    }

    /// Its text, for the eyes of who is invited.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; 2 * TOKEN]);
        bytes[..TOKEN].copy_from_slice(&self.token[..]);
        bytes[TOKEN..].copy_from_slice(&self.key_hash);
        text::encode(b'C', &bytes[..])
    }

    /// The keys under which the two meet.
    #[must_use]
    pub fn keys(&self) -> InvitationKeys {
        let step = Step::new(SALT, &self.token[..]);
        InvitationKeys {
            psk: step.key(b"syncd/1 noise-psk", b""),
            lan: step.key(b"syncd/1 lan", b""),
            rendezvous: step.key(b"syncd/1 rendezvous-key", b""),
        }
    }

    /// The X25519 private key that the joiner's device uses; the same as long as it tries.
    #[must_use]
    pub fn joiner_key(&self, device_secret: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let token: [u8; 32] = Sha256::digest(&self.token[..]).into();
        Step::device(device_secret).key(b"syncd/1 noise-static", &token)
    }

    /// The inviter's proof, as the side `role` of the handshake with this hash.
    #[must_use]
    pub fn prove(signer: &DeviceSigner, role: Role, handshake_hash: &[u8]) -> Vec<u8> {
        let signature = signer.sign(CONTEXT, &statement(role, handshake_hash));
        [&[INVITER][..], &signer.public(), &signature].concat()
    }

    /// Whether a proof is that of who wrote this invitation, being the side `role`.
    #[must_use]
    pub fn check(&self, role: Role, handshake_hash: &[u8], proof: &[u8]) -> bool {
        let Some((&INVITER, rest)) = proof.split_first() else {
            return false;
        };
        let Some((key, signature)) = rest.split_first_chunk::<32>() else {
            return false;
        };
        let Ok(signature) = signature.try_into() else {
            return false;
        };
        key_hash(key) == self.key_hash
            && verify_device(key, CONTEXT, &statement(role, handshake_hash), signature)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invitation")
    }
}

impl fmt::Debug for InvitationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationKeys")
    }
}

fn key_hash(key: &[u8; 32]) -> [u8; 16] {
    let full: [u8; 32] = Sha256::digest(key).into();
    let mut half = [0; 16];
    half.copy_from_slice(&full[..16]);
    half
}

fn statement(role: Role, handshake_hash: &[u8]) -> Vec<u8> {
    [&[role.code()][..], handshake_hash].concat()
}

#[cfg(test)]
mod tests;
