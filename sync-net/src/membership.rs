//! What a session needs to know about a folder, and nothing more.
//!
//! The keys themselves belong to `sync-core`; this crate only asks for a
//! shared key, a static key and the proofs of level. It must never store what
//! it is given beyond the handshake that needed it.

use std::fmt;
use std::sync::Arc;

use sync_core::keys::FolderKeys;
pub use sync_core::keys::Role;
pub use sync_core::secret::Level;
use zeroize::Zeroizing;

/// A folder as one device takes part in it.
///
/// Implementations must be cheap to call: the answering side of a handshake
/// asks every folder for its keys until one fits.
pub trait Membership: Send + Sync {
    /// The name of the folder, the same for all its members.
    fn folder_id(&self) -> [u8; 32];

    /// The key that all members share; every handshake starts with it.
    fn psk(&self) -> Zeroizing<[u8; 32]>;

    /// The X25519 private key of this device in this folder.
    fn static_key(&self) -> Zeroizing<[u8; 32]>;

    /// Proves our level as the side `role` of the handshake with this hash. At
    /// most [`MAX_PROOF`](crate::session::MAX_PROOF) bytes.
    fn level_proof(&self, handshake_hash: &[u8; 32], role: Role) -> Vec<u8>;

    /// Checks the proof of a peer that was the side `prover` of the handshake
    /// with this hash. `None` ends the session.
    fn check_level_proof(
        &self,
        handshake_hash: &[u8; 32],
        prover: Role,
        proof: &[u8],
    ) -> Option<Level>;
}

/// A folder, shared between the sessions that serve it.
pub type SharedFolder = Arc<dyn Membership>;

impl fmt::Debug for dyn Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Membership")
    }
}

/// A folder of `sync-core` on this device.
#[derive(Clone)]
pub struct Member {
    keys: FolderKeys,
    static_key: Zeroizing<[u8; 32]>,
}

impl Member {
    /// The folder of these keys, on the device with this secret.
    #[must_use]
    pub fn new(keys: FolderKeys, device_secret: &[u8; 32]) -> Self {
        let static_key = keys.static_key(device_secret);
        Self { keys, static_key }
    }
}

impl Membership for Member {
    fn folder_id(&self) -> [u8; 32] {
        *self.keys.folder_id().as_bytes()
    }

    fn psk(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.keys.psk())
    }

    fn static_key(&self) -> Zeroizing<[u8; 32]> {
        self.static_key.clone()
    }

    fn level_proof(&self, handshake_hash: &[u8; 32], role: Role) -> Vec<u8> {
        self.keys.level_proof(handshake_hash, role).into_bytes()
    }

    fn check_level_proof(
        &self,
        handshake_hash: &[u8; 32],
        prover: Role,
        proof: &[u8],
    ) -> Option<Level> {
        self.keys.check_level_proof(handshake_hash, prover, proof)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member")
    }
}
