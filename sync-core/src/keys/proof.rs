//! Proofs of level: after a handshake each side shows what it may do.
//!
//! The handshake itself only shows that a peer is a member, because its key is
//! shared by all levels. A member that must not read could therefore stand
//! between two others and pass their handshakes on. A proof is bound to the
//! hash of one handshake, which differs on the two legs, and to the role of
//! the prover, so that it can be neither passed on nor sent back.
//!
//! | Level | Proof, after the byte of the level |
//! |---|---|
//! | read-write | 64 bytes: Ed25519 signature, context `syncd/1 level`, of role byte and hash |
//! | read-only | 32 bytes: HMAC-SHA256 with the readers' level key of role byte and hash |
//!
//! There is no proof for the encrypted level in this version, and one that
//! claims it is refused: whoever can't prove that it may read is served
//! nothing.

use core::fmt;

use hmac::Mac;

use super::FolderKeys;
use crate::secret::Level;

/// The context of signatures that prove read-write access. No other signature
/// may use it.
const CONTEXT: &str = "syncd/1 level";

/// Which side of a handshake a peer was on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sent the first message.
    Initiator,
    /// It answered.
    Responder,
}

impl Role {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Initiator => 1,
            Self::Responder => 2,
        }
    }
}

/// A proof of level, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct LevelProof(Vec<u8>);

impl LevelProof {
    /// No proof of this version is longer.
    pub const MAX_BYTES: usize = 1 + 64;

    /// The bytes that go to the peer: the level, then what proves it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes that go to the peer.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for LevelProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LevelProof")
    }
}

impl FolderKeys {
    /// Proves our level, as the side `role` of the handshake with this hash.
    #[must_use]
    pub fn level_proof(&self, handshake_hash: &[u8], role: Role) -> LevelProof {
        let mut proof = Vec::with_capacity(LevelProof::MAX_BYTES);
        proof.push(self.level().code());
        if let Some(signature) = self.sign(CONTEXT, &statement(handshake_hash, role)) {
            proof.extend_from_slice(&signature);
        } else if let Some(read) = self.read() {
            let mac = read
                .level_mac()
                .chain_update(statement(handshake_hash, role));
            proof.extend_from_slice(&mac.finalize().into_bytes());
        }
        LevelProof(proof)
    }

    /// Checks the proof of a peer that was the side `prover` of the handshake
    /// with this hash. `None` means that the peer proved nothing and the
    /// session must end.
    #[must_use]
    pub fn check_level_proof(
        &self,
        handshake_hash: &[u8],
        prover: Role,
        proof: &[u8],
    ) -> Option<Level> {
        let (code, proof) = proof.split_first()?;
        let level = Level::from_code(*code)?;
        let statement = statement(handshake_hash, prover);
        let proved = match level {
            Level::ReadWrite => {
                let signature = <&[u8; 64]>::try_from(proof).ok()?;
                self.verify(CONTEXT, &statement, signature)
            }
            Level::ReadOnly => {
                // The comparison takes the same time wherever they differ.
                let mac = self.read()?.level_mac().chain_update(&statement);
                mac.verify_slice(proof).is_ok()
            }
            Level::Encrypted => false,
        };
        proved.then_some(level)
    }
}

/// What is signed or authenticated.
fn statement(handshake_hash: &[u8], role: Role) -> Vec<u8> {
    let mut statement = Vec::with_capacity(1 + handshake_hash.len());
    statement.push(role.code());
    statement.extend_from_slice(handshake_hash);
    statement
}
