//! A folder as all parts know it: its name, place, keys and settings.
//!
//! It owns nothing: the list in memory is in [`Wires`](crate::wiring::Wires), the one on disk in [`crate::folders`],
//! and changes are made by [`crate::daemon`]. It must never know a part.

use std::{path::PathBuf, sync::Arc};

use sync_core::{
    control::{ARCHIVE_DAYS, MIN_FREE, RESCAN},
    options::Values,
};
use sync_net::Member;

/// A folder, as all parts know it.
#[derive(Debug, Clone)]
pub(crate) struct RosterEntry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) member: Arc<Member>,
    pub(crate) paused: bool,
    /// What its user chose of the options that folders have.
    pub(crate) options: Values,
    /// What of it concerns the disk.
    pub(crate) settings: FolderSettings,
}

/// The settings of a folder that concern its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderSettings {
    /// Days that replaced and deleted files are kept.
    pub(crate) archive_days: u32,
    /// Bytes that are left free.
    pub(crate) min_free: u64,
    /// Seconds between two looks at the whole disk.
    pub(crate) rescan: u64,
}

impl From<&Values> for FolderSettings {
    fn from(options: &Values) -> Self {
        Self {
            archive_days: options.get(&ARCHIVE_DAYS).0,
            min_free: options.get(&MIN_FREE).0,
            rescan: options.get(&RESCAN).0.as_secs(),
        }
    }
}
