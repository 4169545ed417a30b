//! A folder's keys, as the handshake asks for them.

use std::fmt;

use sync_core::{
    ids::PeerKey,
    keys::{DeviceSigner, FolderKeys},
};
use sync_net::{DeviceProof, Level, Membership, Role};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// A folder as this device takes part in it.
pub(crate) struct Member {
    keys: FolderKeys,
    static_key: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    signer: DeviceSigner,
}

impl Member {
    /// From the folder's keys and the device's secret.
    #[must_use]
    pub(crate) fn new(keys: FolderKeys, device_secret: &[u8; 32]) -> Self {
        let static_key = keys.static_key(device_secret);
        let public = PublicKey::from(&StaticSecret::from(*static_key)).to_bytes();
        let signer = keys.device_signer(device_secret);
        Self {
            keys,
            static_key,
            public,
            signer,
        }
    }

    /// What peers of this folder know this device by.
    #[must_use]
    pub(crate) fn peer_key(&self) -> PeerKey {
        PeerKey(self.public)
    }

    /// The folder's keys.
    #[must_use]
    pub(crate) fn keys(&self) -> &FolderKeys {
        &self.keys
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({})", self.keys.folder_id())
    }
}

impl Membership for Member {
    fn folder_id(&self) -> [u8; 32] {
        self.keys.folder_id().0
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

    fn check_level_proof(&self, hash: &[u8; 32], prover: Role, proof: &[u8]) -> Option<Level> {
        self.keys.check_level_proof(hash, prover, proof)
    }

    /// The first: no rotation was made in this version.
    fn era(&self) -> u32 {
        0
    }

    fn device_proof(&self, handshake_hash: &[u8; 32], role: Role) -> DeviceProof {
        self.signer.greet(handshake_hash, role)
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
