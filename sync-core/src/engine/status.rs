//! What an engine tells about itself.

use crate::{
    ids::{PeerKey, SessionId},
    index::Totals,
    path::RelPath,
    secret::Level,
    trouble::Trouble,
};

/// State of a folder: the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is done, for a reason.
    Stopped,
    /// The user paused it.
    Paused,
    /// Deletions wait for the user.
    Held,
    /// The disk is being looked at as a whole.
    Scanning,
    /// Something is needed or under way.
    Syncing,
    /// Nothing is needed, and at least one peer was compared to the end.
    InSync,
    /// Nothing is needed, and nobody is there to compare with.
    NoPeers,
}

impl State {
    /// As the control API names it.
    pub fn as_str(self) -> &'static str {
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

/// A folder at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderStatus {
    /// Its state.
    pub state: State,
    /// Why it is stopped.
    pub reason: Option<Trouble>,
    /// Counts of what is here, what exists, and what is needed.
    pub totals: Totals,
    /// Sessions that stand.
    pub peers: Vec<PeerStatus>,
    /// Conflict copies that are known.
    pub conflicts: u64,
    /// Items that can't be synced here.
    pub errors: u64,
    /// Edits of a read-only folder that stay local.
    pub local_edits: u64,
    /// Files whose deletion is held back.
    pub held: u64,
    /// Changes made by a later version, which are kept and passed on but can't be read.
    pub later: u64,
}

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its name here.
    pub session: SessionId,
    /// Who it is.
    pub peer: PeerKey,
    /// What it has proved to be.
    pub level: Level,
    /// Both sides are at the other's last change and need nothing.
    pub in_sync: bool,
    /// Items that the peer needs.
    pub needs_files: u64,
    /// Their bytes.
    pub needs_bytes: u64,
}

/// Something that is stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    /// Where, in the author's bytes.
    pub path: Vec<u8>,
    /// Why.
    pub reason: Trouble,
    /// Seconds until it is tried again, if it will be.
    pub next_try_s: Option<u64>,
}

/// Why a path is as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Where.
    pub path: RelPath,
    /// What is known of it, a line each.
    pub lines: Vec<(String, String)>,
}
