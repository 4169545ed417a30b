//! Folders for the unit tests of this crate.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use sync_core::keys::DeviceSigner;

use crate::membership::{DeviceProof, Level, Membership, Role, SharedFolder};

/// A folder with keys made of single bytes.
pub(crate) struct TestFolder {
    pub(crate) folder: u8,
    pub(crate) device: u8,
    pub(crate) level: Level,
    /// Spoils the proof.
    pub(crate) liar: bool,
}

impl TestFolder {
    pub(crate) fn shared(folder: u8, device: u8, level: Level) -> SharedFolder {
        Arc::new(Self {
            folder,
            device,
            level,
            liar: false,
        })
    }

    fn mac(&self, level: Level, hash: &[u8; 32], role: Role) -> Vec<u8> {
        let level = match level {
            Level::ReadWrite => 1,
            Level::ReadOnly => 2,
            Level::Encrypted => 3,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&[self.folder, level]).unwrap();
        mac.update(&[u8::from(role == Role::Initiator)]);
        mac.update(hash);
        let mut proof = vec![level];
        proof.extend_from_slice(&mac.finalize().into_bytes());
        proof
    }
}

impl Membership for TestFolder {
    fn folder_id(&self) -> [u8; 32] {
        [self.folder; 32]
    }

    fn psk(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new([self.folder ^ 0x55; 32])
    }

    fn static_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new([self.device; 32])
    }

    fn level_proof(&self, handshake_hash: &[u8; 32], role: Role) -> Vec<u8> {
        let mut proof = self.mac(self.level, handshake_hash, role);
        proof[9] ^= u8::from(self.liar);
        proof
    }

    fn check_level_proof(&self, hash: &[u8; 32], prover: Role, proof: &[u8]) -> Option<Level> {
        [Level::ReadWrite, Level::ReadOnly]
            .into_iter()
            .find(|level| self.mac(*level, hash, prover) == proof)
    }

    fn era(&self) -> u32 {
        3
    }

    fn device_proof(&self, handshake_hash: &[u8; 32], role: Role) -> DeviceProof {
        DeviceSigner::from_seed(&[self.device; 32]).greet(handshake_hash, role)
    }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
