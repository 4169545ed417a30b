//! What a session needs to know about a folder, and nothing more.
//!
//! The keys themselves belong to `sync-core`; this crate only asks for a
//! shared key, a static key and the proofs of level. It must never store what
//! it is given beyond the handshake that needed it.

use std::fmt;
use std::sync::Arc;

pub use sync_core::keys::{DeviceProof, Role};
use sync_core::keys::{DeviceSigner, FolderKeys};
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

    /// The era of the folder's secret.
    fn era(&self) -> u32;

    /// Shows in the greeting which Ed25519 key this device has in the folder.
    fn device_proof(&self, handshake_hash: &[u8; 32], role: Role) -> DeviceProof;
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
    signer: Arc<DeviceSigner>,
}

impl Member {
    /// The folder of these keys, on the device with this secret.
    #[must_use]
    pub fn new(keys: FolderKeys, device_secret: &[u8; 32]) -> Self {
        let static_key = keys.static_key(device_secret);
        let signer = Arc::new(keys.device_signer(device_secret));
        Self {
            keys,
            static_key,
            signer,
        }
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

    /// The first: no rotation was made in this version.
    fn era(&self) -> u32 {
        0
    }

    fn device_proof(&self, handshake_hash: &[u8; 32], role: Role) -> DeviceProof {
        self.signer.greet(handshake_hash, role)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Member")
    }
}
