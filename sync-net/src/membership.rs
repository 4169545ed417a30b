//! What a session needs to know about a folder, and nothing more.
//!
//! The keys themselves belong to `sync-core`; this crate only asks for a
//! shared key, a static key and the proofs of level. It must never store what
//! it is given beyond the handshake that needed it.

use std::fmt;
use std::sync::Arc;

use sync_core::ids::PeerKey;
pub use sync_core::keys::{DeviceProof, Role};
use sync_core::keys::{DeviceSigner, FolderKeys};
pub use sync_core::secret::Level;
use zeroize::Zeroizing;

use crate::handshake::public_key;

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
    peer_key: PeerKey,
    signer: Arc<DeviceSigner>,
}

impl Member {
    /// The folder of these keys, on the device with this secret.
    #[must_use]
    pub fn new(keys: FolderKeys, device_secret: &[u8; 32]) -> Self {
        let static_key = keys.static_key(device_secret);
        let peer_key = PeerKey(public_key(&static_key));
        let signer = Arc::new(keys.device_signer(device_secret));
        Self {
            keys,
            static_key,
            peer_key,
            signer,
        }
    }

    /// What members of this folder know the device by.
    #[must_use]
    pub const fn peer_key(&self) -> PeerKey {
        self.peer_key
    }

    /// The folder's keys.
    #[must_use]
    pub const fn keys(&self) -> &FolderKeys {
        &self.keys
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
        write!(f, "Member({})", self.keys.folder_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::secret::Secret;

    #[test]
    fn members_prove_their_level_to_each_other() {
        let secret = Secret::generate([7; 21]);
        let writer = Member::new(FolderKeys::derive(&secret), &[1; 32]);
        let reader = Member::new(FolderKeys::derive(&secret.to_read_only().into()), &[2; 32]);
        assert_eq!(writer.folder_id(), reader.folder_id());
        assert_eq!(writer.psk(), reader.psk());
        assert_ne!(writer.peer_key(), reader.peer_key());
        let hash = [3; 32];
        let proof = reader.level_proof(&hash, Role::Initiator);
        assert_eq!(
            writer.check_level_proof(&hash, Role::Initiator, &proof),
            Some(Level::ReadOnly)
        );
        assert_eq!(
            writer.check_level_proof(&hash, Role::Responder, &proof),
            None
        );
        let proof = writer.level_proof(&hash, Role::Responder);
        assert_eq!(
            reader.check_level_proof(&hash, Role::Responder, &proof),
            Some(Level::ReadWrite)
        );
        let other = Member::new(FolderKeys::derive(&Secret::generate([8; 21])), &[1; 32]);
        assert_ne!(
            other.peer_key(),
            writer.peer_key(),
            "a device can't be followed across folders"
        );
    }
}
