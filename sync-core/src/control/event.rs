//! What the daemon tells those who listen.

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its number; grows by one with each event and begins at 1 when the daemon starts.
    pub id: u64,
    /// When it happened.
    pub time: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// The folder that it happened in, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// More about it; an object whose fields depend on the type. It never holds a secret.
    pub data: serde_json::Value,
}

/// The types of events, and what is in [`Event::data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventType {
    /// The daemon is ready. `version`.
    Started,
    /// The daemon is about to stop.
    Stopping,
    /// The settings were read again. `changed`: the names of those that changed.
    ConfigReloaded,
    /// A folder was added. `path`, `level`.
    FolderAdded,
    /// A folder was removed; its files were left alone. `path`.
    FolderRemoved,
    /// A folder is in another state. `state`, `reason`, `kind`.
    FolderState,
    /// A setting of a folder changed. `key`.
    FolderSettings,
    /// A session with a peer is up. `device`, `name`, `address`.
    PeerConnected,
    /// A session with a peer ended. `device`, `name`, `reason`.
    PeerDisconnected,
    /// This disk was changed to follow a peer. `path`, `kind`, `action`.
    FileApplied,
    /// A change on this disk was recorded. `path`, `kind`, `action`.
    FileChanged,
    /// Two changes met, and one was kept beside the other. `path`, `copy`.
    Conflict,
    /// An item is stuck. `path`, `kind`, `reason`, `hint`.
    ItemError,
    /// An item is stuck no longer. `path`.
    ItemRecovered,
    /// Deletions wait for an answer. `deletes`.
    Held,
    /// Events were lost to the listener, because more happened than are kept, or because the daemon
    /// was started anew. `first`, `last`: the numbers of those lost, where known.
    Gap,
    /// A type that this program doesn't know yet.
    #[serde(other)]
    Unknown,
}

impl EventType {
    /// The name that programs see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::ConfigReloaded => "config-reloaded",
            Self::FolderAdded => "folder-added",
            Self::FolderRemoved => "folder-removed",
            Self::FolderState => "folder-state",
            Self::FolderSettings => "folder-settings",
            Self::PeerConnected => "peer-connected",
            Self::PeerDisconnected => "peer-disconnected",
            Self::FileApplied => "file-applied",
            Self::FileChanged => "file-changed",
            Self::Conflict => "conflict",
            Self::ItemError => "item-error",
            Self::ItemRecovered => "item-recovered",
            Self::Held => "held",
            Self::Gap => "gap",
            Self::Unknown => "unknown",
        }
    }
}
