//! Why one file is as it is.

use serde::{Deserialize, Serialize};

/// What the daemon knows of one path in a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileInfo {
    /// The folder's name.
    pub folder: String,
    /// The path in the folder; see [`path_text`].
    pub path: String,
    /// The path's bytes in hexadecimal, given only where the text doesn't say them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// How it stands.
    pub state: FileState,
    /// Why it stands so, in a sentence, where the state doesn't say it all.
    pub reason: Option<String>,
    /// `file`, `directory`, `symlink`, `deletion` or `unknown`; none if no record of it is known.
    pub kind: Option<String>,
    /// Bytes of content.
    pub size: Option<u64>,
    /// When its content was last changed.
    pub mtime: Option<String>,
    /// Whether its owner may execute it.
    pub executable: Option<bool>,
    /// The content root in hexadecimal.
    pub root: Option<String>,
    /// The version that the folder agrees on.
    pub version: Option<VersionInfo>,
    /// The device that made the version, by name where it is known.
    pub author: Option<String>,
    /// Whether this disk holds that version.
    pub held: bool,
    /// The peers known to hold that version.
    pub holders: Vec<Holder>,
    /// What it waits for, if it waits.
    pub waits_for: Option<String>,
    /// How far its transfer is, while it runs.
    pub progress: Option<Transferred>,
    /// Seconds until it is tried again, if it is stuck.
    pub next_try_s: Option<u64>,
}

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileState {
    /// This disk holds the version that the folder agrees on.
    InSync,
    /// A newer version is known and queued.
    Needed,
    /// A newer version is being fetched.
    Fetching,
    /// A newer version is known, and something must happen before it can be fetched or applied.
    Waiting,
    /// It can't be synced for now; it is tried again later.
    Stuck,
    /// A change on this disk is being recorded.
    Changed,
    /// It was edited here, in a folder that this device may only read.
    LocalEdit,
    /// It was deleted.
    Deleted,
    /// An ignore pattern covers it.
    Ignored,
    /// Nothing at this path is known.
    Absent,
    /// A state that this program doesn't know yet.
    #[serde(other)]
    Unknown,
}

impl FileState {
    /// The name that people and programs see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::Needed => "needed",
            Self::Fetching => "fetching",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
            Self::Changed => "changed",
            Self::LocalEdit => "local-edit",
            Self::Deleted => "deleted",
            Self::Ignored => "ignored",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// A version: who made it, and what it came after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionInfo {
    /// The replica that made it.
    pub replica: String,
    /// The number that it gave to it.
    pub counter: u64,
    /// The last change of each replica that the version takes into account.
    pub vector: Vec<Dot>,
}

/// One replica's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Dot {
    /// The replica.
    pub replica: String,
    /// Its number.
    pub counter: u64,
}

/// A peer that holds a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Holder {
    /// The device's identifier.
    pub device: String,
    /// Its name, empty if it isn't known.
    pub name: String,
    /// Whether it can be asked now.
    pub connected: bool,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transferred {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A path as the API says it: the text, and its bytes in hexadecimal if the text doesn't say them all.
///
/// JSON has no way to say bytes that aren't UTF-8. They stand as `\xNN` in the text, and because a name
/// may hold a backslash of its own, the exact bytes then go beside it.
#[must_use]
pub fn path_text(bytes: &[u8]) -> (String, Option<String>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (text.to_owned(), None);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (text, Some(hex))
}
