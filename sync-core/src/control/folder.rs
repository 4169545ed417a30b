//! A folder, its peers, and what goes wrong in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{options::Values, secret::Level};

/// A folder, as this daemon sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Folder {
    /// Its name on this device; no two folders share one.
    pub name: String,
    /// Its root on this disk, absolute.
    pub path: String,
    /// What this device may do with it.
    pub level: Level,
    /// How it stands; the first that applies.
    pub state: FolderState,
    /// Why it is stopped or held, or what keeps it busy.
    pub reason: Option<String>,
    /// What sort of reason it is, a word for programs as in [`ErrorItem::kind`], where it is stopped.
    #[serde(default)]
    pub reason_kind: Option<String>,
    /// What to do about it, if there is something to do.
    #[serde(default)]
    pub hint: Option<String>,
    /// How many peers are connected.
    pub connected: u32,
    /// What this index knows to be on this disk, without `.sync`.
    pub local: Counts,
    /// What the folder holds over all devices, as far as it is known here.
    pub global: Counts,
    /// What is still to be done here.
    pub need: Need,
    /// The peers that are connected.
    pub peers: Vec<Peer>,
    /// How many conflict copies there are.
    pub conflicts: u64,
    /// How many items are stuck.
    pub errors: u64,
    /// How many files were edited here that this device may only read.
    pub local_edits: u64,
    /// How many changes a later version made that this one can't read. They are kept and passed on.
    #[serde(default)]
    pub later: u64,
    /// The addresses that were given for it, `host:port`.
    pub known_hosts: Vec<String>,
    /// Its settings by their keys, those that nobody set with their defaults.
    pub settings: Values,
    /// What goes over the wire for it now.
    #[serde(default)]
    pub rates: Rates,
    /// How far the scan is, while one runs.
    #[serde(default)]
    pub scan: Option<ScanProgress>,
    /// The deletions that wait for an answer, if any.
    #[serde(default)]
    pub held: Option<Held>,
}

/// How a folder stands. Of those that apply, the first in this order is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FolderState {
    /// It can't go on; the reason says why.
    Stopped,
    /// Its user paused it.
    Paused,
    /// Deletions wait for `approve` or `reject`.
    Held,
    /// The disk is being looked at.
    Scanning,
    /// Something is still needed here.
    Syncing,
    /// Nothing is needed, and at least one connected peer was compared with to the end.
    InSync,
    /// Nothing is needed, and there is nobody to compare with.
    NoPeers,
}

impl FolderState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Stopped,
        Self::Paused,
        Self::Held,
        Self::Scanning,
        Self::Syncing,
        Self::InSync,
        Self::NoPeers,
    ];

    /// The name that people and programs see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Scanning => "scanning",
            Self::Syncing => "syncing",
            Self::InSync => "in-sync",
            Self::NoPeers => "no-peers",
        }
    }
}

impl fmt::Display for FolderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Files, directories and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes in the files.
    pub bytes: u64,
}

/// What is still to be done. What can't be done for now counts as an error instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Need {
    /// Files to fetch or to change.
    pub files: u64,
    /// Bytes to fetch.
    pub bytes: u64,
    /// Deletions to apply.
    pub deletes: u64,
}

impl Need {
    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.files == 0 && self.bytes == 0 && self.deletes == 0
    }
}

/// Rates in bytes per second, over the last few seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rates {
    /// Sent.
    pub up: u64,
    /// Received.
    pub down: u64,
}

/// How far a scan is. How much there is in all isn't known before its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScanProgress {
    /// Entries looked at.
    pub entries: u64,
    /// Bytes hashed.
    pub bytes: u64,
}

/// Deletions that wait for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Held {
    /// How many.
    pub deletes: u64,
    /// How many files the folder had before them.
    pub of: u64,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Peer {
    /// The device's identifier.
    pub device: String,
    /// The name that it gave itself. It is text from outside: escape it before it is shown.
    pub name: String,
    /// Where it is, `host:port`.
    pub address: String,
    /// What carries the bytes.
    pub transport: Transport,
    /// What way they take.
    pub path: PathKind,
    /// How its address became known.
    pub found_by: FoundBy,
    /// What it may do with the folder.
    pub level: Level,
    /// Whether both sides are at the other's last change and need nothing.
    pub in_sync: bool,
    /// What goes over the wire.
    pub rates: Rates,
    /// The round-trip time in milliseconds, once it was measured.
    pub rtt_ms: Option<f64>,
    /// Since when it is connected.
    pub since: String,
}

/// Makes an enum of names for the API, with `as_str` and `Display`.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
            /// One that this program doesn't know yet.
            #[serde(rename = "unknown", other)]
            Unknown,
        }

        impl $name {
            /// The name that people and programs see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unknown => "unknown",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

names! {
    /// What carries the bytes to a peer.
    Transport {
        /// TCP.
        Tcp = "tcp",
        /// QUIC.
        Quic = "quic",
    }
}

names! {
    /// What way the bytes take to a peer.
    PathKind {
        /// Within one network.
        Lan = "lan",
        /// Across networks, with nobody in between.
        Direct = "direct",
        /// Through a relay.
        Relay = "relay",
    }
}

names! {
    /// How an address became known.
    FoundBy {
        /// A beacon in the local network.
        Lan = "lan",
        /// Another peer told it.
        Pex = "pex",
        /// The user gave it.
        KnownHost = "known-host",
        /// A distributed hash table.
        Dht = "dht",
        /// A tracker.
        Tracker = "tracker",
        /// An invitation.
        Invite = "invite",
        /// The peer came to us.
        Incoming = "incoming",
    }
}

names! {
    /// What became of an address.
    CandidateState {
        /// A session is up there.
        Connected = "connected",
        /// It is being dialled.
        Dialling = "dialling",
        /// It will be dialled.
        Waiting = "waiting",
        /// The last try failed; it will be tried again.
        Failed = "failed",
        /// It answered, but not as a member of this folder.
        Refused = "refused",
        /// It is this device itself.
        Own = "own",
    }
}

/// An address where a member may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Candidate {
    /// `host:port`.
    pub addr: String,
    /// Which mechanism gave it.
    pub source: FoundBy,
    /// What became of it.
    pub state: CandidateState,
    /// How the last try failed, if it did.
    pub last_error: Option<String>,
    /// Seconds until the next try, if one is planned.
    pub next_try_s: Option<u64>,
    /// Seconds since the mechanism last named it.
    pub last_seen_s: Option<u64>,
}

/// An item that is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorItem {
    /// The folder's name.
    pub folder: String,
    /// The path in the folder, as [`super::path_text`] says it.
    pub path: String,
    /// The path's bytes in hexadecimal, given only where the text doesn't say them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// Why it is stuck.
    pub reason: String,
    /// What helps, or what becomes of it by itself.
    #[serde(default)]
    pub hint: Option<String>,
    /// The sort of error, a word for programs, such as `permission`, `no-space` or `busy`.
    pub kind: String,
    /// Seconds until the next try; none if only the user can help.
    pub next_try_s: Option<u64>,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Level {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let levels = [Self::ReadWrite, Self::ReadOnly, Self::Encrypted];
        utoipa::openapi::Object::builder()
            .schema_type(utoipa::openapi::Type::String)
            .description(Some("What a secret allows."))
            .enum_values(Some(levels.map(Self::as_str)))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Level {}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        [Self::ReadWrite, Self::ReadOnly, Self::Encrypted]
            .into_iter()
            .find(|level| level.as_str() == name)
            .ok_or_else(|| de::Error::custom("a level is read-write, read-only or encrypted"))
    }
}
