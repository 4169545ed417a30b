//! Small identifiers that the whole system shares.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize,
            Deserialize,
        )]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(#[n(0)] pub u64);
    };
}

number! {
    /// One session with a peer, unique within a run of the daemon.
    SessionId
}
number! {
    /// Position in a node's own numbering of its changes; grows with each change, never reused within
    /// a [`Generation`].
    Seq
}
number! {
    /// Drawn at random whenever a node's numbering of changes begins anew.
    Generation
}

/// Who made a version: random, one per device and folder, replaced when the device finds that it was
/// restored from a backup. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ReplicaId(#[n(0)] pub u64);

impl ReplicaId {
    /// The first six Base32 symbols, as shown in the names of conflict copies.
    pub fn short(&self) -> String {
        let mut text = base32_text(&self.0.to_be_bytes());
        text.truncate(6);
        text
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32_text(&self.0.to_be_bytes()))
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A device as its peers in one folder know it: its static X25519 public key there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub [u8; 32]);

impl PeerKey {
    /// The first 13 Base32 symbols: what people see.
    pub fn short(&self) -> String {
        base32_text(&self.0[..8])
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Base32 of RFC 4648 without padding, upper case.
pub fn base32_text(bytes: &[u8]) -> String {
    base32::encode(base32::Alphabet::Rfc4648 { padding: false }, bytes)
}
