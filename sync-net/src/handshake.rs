//! The handshake: `Noise_XXpsk0_25519_AESGCM_SHA256`, by the crate `snow`.
//!
//! It owns the three messages and what they yield: two keys, a hash that names
//! this one handshake, and the peer's static key. It must never answer a first
//! message that wasn't made with the key of one of our folders, and it does no
//! IO, reads no clock and draws no random numbers: the ephemeral key is an
//! argument ([`Entropy`]).
//!
//! All payloads are empty and so every message has one fixed length. Nothing
//! else is sent: no magic number, no length, no version, so that the bytes of
//! a handshake look alike for everybody who holds no key of the folder.
//!
//! | Message | Bytes | Tokens | Content |
//! |---|---|---|---|
//! | 1, to the responder | 48 | `psk, e` | 32 ephemeral key, 16 tag of the empty payload |
//! | 2, to the initiator | 96 | `e, ee, s, es` | 32 ephemeral key, 32 + 16 static key sealed, 16 tag |
//! | 3, to the responder | 64 | `s, se` | 32 + 16 static key sealed, 16 tag |

use std::fmt;

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::membership::{Membership, SharedFolder};

/// The full name of the handshake, as the Noise specification spells it.
pub const NOISE_NAME: &str = "Noise_XXpsk0_25519_AESGCM_SHA256";
/// The prologue. It never changes; versions are agreed on in the greeting.
pub const PROLOGUE: &[u8] = b"syncd/1";
/// Length of the first message.
pub const MESSAGE_1: usize = 48;
/// Length of the second message.
pub const MESSAGE_2: usize = 96;
/// Length of the third message.
pub const MESSAGE_3: usize = 64;

/// Why a handshake ended without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's message doesn't belong to this handshake: it was changed on
    /// the way, or whoever sent it doesn't hold the folder's key.
    #[error("the peer's handshake message is not authentic")]
    NotAuthentic,
    /// The handshake couldn't be set up with the keys it was given.
    #[error("the handshake could not be set up")]
    Setup,
    /// The peer's static key is our own: we reached ourselves.
    #[error("the peer is this device itself")]
    OwnKey,
}

/// 32 random bytes that become the ephemeral key of one handshake.
///
/// They come from the caller, so that a simulation can repeat itself. Outside
/// of tests they have to be fresh from the operating system for each session:
/// two handshakes with the same bytes would share a key.
pub struct Entropy(Zeroizing<[u8; 32]>);

impl Entropy {
    /// Takes fresh random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

/// What a finished handshake yields.
pub struct Secrets {
    /// Key of the frames that we send.
    pub send: Zeroizing<[u8; 32]>,
    /// Key of the frames that we receive.
    pub receive: Zeroizing<[u8; 32]>,
    /// The hash over the whole handshake: unique, and equal on both sides.
    pub hash: [u8; 32],
    /// The peer's static public key.
    pub peer_static: [u8; 32],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// The side that starts; it knows the folder.
pub struct Initiator {
    noise: Box<HandshakeState>,
    own_static: [u8; 32],
}

impl Initiator {
    /// Starts a handshake in a folder; the second value is the first message.
    pub fn start(
        folder: &dyn Membership,
        entropy: Entropy,
    ) -> Result<(Self, [u8; MESSAGE_1]), HandshakeError> {
        let (mut noise, own_static) = setup(folder, Some(entropy), true)?;
        let mut message = [0; MESSAGE_1];
        write(&mut noise, &mut message)?;
        Ok((Self { noise, own_static }, message))
    }

    /// Reads the second message; the first value is the third message.
    pub fn finish(
        mut self,
        message: &[u8; MESSAGE_2],
    ) -> Result<([u8; MESSAGE_3], Secrets), HandshakeError> {
        read(&mut self.noise, message)?;
        let mut answer = [0; MESSAGE_3];
        write(&mut self.noise, &mut answer)?;
        Ok((answer, secrets(self.noise, &self.own_static)?))
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Initiator")
    }
}

/// The side that answers; it finds out which folder is meant.
pub struct Responder {
    noise: Box<HandshakeState>,
    own_static: [u8; 32],
}

impl Responder {
    /// The first folder whose key made this message, if there is one.
    ///
    /// The time this takes grows with the number of folders. That tells nobody
    /// anything, as no answer is sent unless one fits.
    #[must_use]
    pub fn recognise<'a>(
        folders: &'a [SharedFolder],
        message: &[u8; MESSAGE_1],
    ) -> Option<&'a SharedFolder> {
        folders.iter().find(|folder| {
            setup(&***folder, None, false)
                .and_then(|(mut noise, _)| read(&mut noise, message))
                .is_ok()
        })
    }

    /// Answers a first message in the folder that it was made for; the second
    /// value is the second message.
    pub fn answer(
        folder: &dyn Membership,
        entropy: Entropy,
        message: &[u8; MESSAGE_1],
    ) -> Result<(Self, [u8; MESSAGE_2]), HandshakeError> {
        let (mut noise, own_static) = setup(folder, Some(entropy), false)?;
        read(&mut noise, message)?;
        let mut answer = [0; MESSAGE_2];
        write(&mut noise, &mut answer)?;
        Ok((Self { noise, own_static }, answer))
    }

    /// Reads the third message.
    pub fn finish(mut self, message: &[u8; MESSAGE_3]) -> Result<Secrets, HandshakeError> {
        read(&mut self.noise, message)?;
        secrets(self.noise, &self.own_static)
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

/// The public key that peers know a private key by.
#[must_use]
pub fn public_key(private: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

fn setup(
    folder: &dyn Membership,
    entropy: Option<Entropy>,
    initiator: bool,
) -> Result<(Box<HandshakeState>, [u8; 32]), HandshakeError> {
    let build = || {
        let params: NoiseParams = NOISE_NAME.parse()?;
        let (psk, private) = (folder.psk(), folder.static_key());
        let builder = Builder::with_resolver(params, Box::new(Resolver(entropy)))
            .psk(0, &psk)?
            .local_private_key(&private[..])?
            .prologue(PROLOGUE)?;
        let state = if initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        };
        state.map(|state| (Box::new(state), public_key(&private)))
    };
    build().map_err(|_: snow::Error| HandshakeError::Setup)
}

fn write(noise: &mut HandshakeState, message: &mut [u8]) -> Result<(), HandshakeError> {
    match noise.write_message(&[], message) {
        Ok(written) if written == message.len() => Ok(()),
        _ => Err(HandshakeError::Setup),
    }
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<(), HandshakeError> {
    match noise.read_message(message, &mut []) {
        Ok(0) => Ok(()),
        _ => Err(HandshakeError::NotAuthentic),
    }
}

fn secrets(
    mut noise: Box<HandshakeState>,
    own_static: &[u8; 32],
) -> Result<Secrets, HandshakeError> {
    let peer_static: [u8; 32] = noise
        .get_remote_static()
        .and_then(|key| key.try_into().ok())
        .ok_or(HandshakeError::NotAuthentic)?;
    if peer_static == *own_static {
        return Err(HandshakeError::OwnKey);
    }
    let hash: [u8; 32] = noise
        .get_handshake_hash()
        .try_into()
        .map_err(|_| HandshakeError::Setup)?;
    let (first, second) = noise.dangerously_get_raw_split();
    let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
    let (send, receive) = if noise.is_initiator() {
        (first, second)
    } else {
        (second, first)
    };
    Ok(Secrets {
        send,
        receive,
        hash,
        peer_static,
    })
}

/// Hands the caller's entropy to snow instead of the system's generator.
struct Resolver(Option<Entropy>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        let bytes = self.0.as_ref().map(|entropy| entropy.0.clone());
        Some(Box::new(OneKey(bytes)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its bytes once; a handshake draws one key only.
struct OneKey(Option<Zeroizing<[u8; 32]>>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(bytes) if bytes.len() == dest.len() => {
                dest.copy_from_slice(&bytes[..]);
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}
