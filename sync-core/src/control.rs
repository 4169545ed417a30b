//! The vocabulary of the control API: what a client may ask a daemon, and what it is told.
//!
//! The daemon's server, the command line and the web page share these types, so that none of them can
//! drift from the others. A field is added when there is something new to say; it is never renamed and
//! never changes its meaning, because scripts depend on it.
//!
//! | unit | of |
//! |---|---|
//! | bytes | every size |
//! | bytes per second | every rate |
//! | RFC 3339 UTC text | every moment |
//! | seconds, in a field ending in `_s` | every duration |
//!
//! The module owns the shapes and the checks that need nothing but the text. It must never do IO, read
//! a clock, or let a secret out through `Debug`.

mod error;
mod event;
mod file;
mod folder;
mod home;
mod request;
mod setting;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use error::{ApiError, ErrorKind};
pub use event::{Event, EventType};
pub use file::{Dot, FileInfo, FileState, Holder, Transferred, VersionInfo, path_text};
pub use folder::{
    Candidate, CandidateState, Counts, ErrorItem, Folder, FolderState, FoundBy, Held, Need,
    PathKind, Peer, Rates, ScanProgress, Transport,
};
pub use home::locate_home;
pub use request::{
    AddFolder, AddedFolder, FolderAction, FolderRef, MoveFolder, OptionInfo, RemovedFolder,
    SecretShown, SecretText, SetFolder, Stopping, check_name,
};
pub use setting::{ARCHIVE_DAYS, DISK_SETTINGS, MIN_FREE, RESCAN};

/// The greatest body of a request, in bytes. The server refuses more before it reads it.
pub const MAX_BODY: u64 = 64 * 1024;

/// The name of the socket in the daemon's home.
pub const SOCKET_NAME: &str = "control.sock";

/// What begins every path of this version of the API, but for `/healthz` and `/metrics`.
pub const API_PREFIX: &str = "/api/v1";

/// The state of the daemon as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The daemon's version, `X.Y.Z`.
    pub version: String,
    /// This device.
    pub device: Device,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The addresses that it listens on for peers, `host:port`.
    pub listen: Vec<String>,
    /// The addresses under which it can be reached from outside, as far as it knows.
    pub external: Vec<String>,
    /// The kind of NAT before it, if that has been found out.
    pub nat: Option<String>,
    /// The ways by which other devices find this one.
    #[serde(default)]
    pub discovery: Vec<Mechanism>,
    /// Every folder, by name.
    pub folders: Vec<Folder>,
    /// What goes over the wire now, for all folders together.
    pub rates: Rates,
    /// What went over the wire since the start, for all folders together.
    #[serde(default)]
    pub traffic: Traffic,
}

/// A device, as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Device {
    /// The device's identifier.
    pub id: String,
    /// The name that its owner gave it.
    pub name: String,
}

/// One way to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Mechanism {
    /// Which way: a name as in [`FoundBy`].
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// What is worth knowing about it: its port, how many hosts, or why it doesn't work.
    pub detail: Option<String>,
    /// What is wrong with it at present, and what helps.
    #[serde(default)]
    pub trouble: Vec<Trouble>,
}

/// Something that is wrong and stays so until it is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trouble {
    /// What sort of trouble it is, a word for programs.
    pub kind: String,
    /// What is wrong. It begins with a small letter and ends without a full stop.
    pub message: String,
    /// What to do about it, if there is something to do.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Bytes that went over the wire, in both directions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// Bytes sent.
    pub up: u64,
    /// Bytes received.
    pub down: u64,
}
