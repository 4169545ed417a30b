//! Where a folder's things lie on this device, and what its user may do to a root that isn't open.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sync_core::keys::FolderKeys;
use sync_store::{
    apply::ApplyPolicy,
    archive::ArchivePolicy,
    driver::{Home as FolderHome, RunMark, Settings},
    fs::{Disk, Marker, Place, RootDisk, check_root},
    identity::{FolderIdentity, PrivateDir, private_dir},
    sled_index::{OpenError, Opened, Options, SledIndex},
};

use crate::roster::RosterEntry;

/// Where a folder's own things lie.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) identity: PathBuf,
    pub(super) index: PathBuf,
}

/// The things of a folder, as its driver opens them.
#[derive(Debug, Clone)]
pub(super) struct OnDisk {
    pub(super) root: PathBuf,
    pub(super) places: Places,
}

impl FolderHome for OnDisk {
    type Disk = RootDisk;
    type Index = SledIndex;
    type Files = PrivateDir;

    fn files(&self) -> PrivateDir {
        PrivateDir::new(&self.places.identity)
    }

    fn open_root(&self) -> io::Result<Arc<RootDisk>> {
        private_dir(&self.places.identity)?;
        RootDisk::open(&self.root).map(Arc::new)
    }

    fn open_index(&self, keys: &FolderKeys) -> Result<(SledIndex, Opened), OpenError> {
        SledIndex::open_for(&self.places.index, Options::default(), keys)
    }

    fn set_index_aside(&self) -> io::Result<PathBuf> {
        set_aside(&self.places.index)
    }
}

/// What the user chose, for the driver.
pub(super) fn settings(entry: &RosterEntry) -> Settings {
    let days = entry.settings.archive_days;
    Settings {
        rescan_s: entry.settings.rescan,
        paused: entry.paused,
        policy: ApplyPolicy {
            archive: days > 0,
            min_free: entry.settings.min_free,
        },
        // Without an archive nothing new comes into it; what is there goes after a day.
        archive: ArchivePolicy {
            days: days.max(1),
            ..ArchivePolicy::default()
        },
        // Hashing must not take the whole machine: two threads are past most disks.
        hash_threads: 2,
    }
}

/// Moves an index aside; one is kept.
fn set_aside(index: &Path) -> io::Result<PathBuf> {
    let mut name = index.file_name().unwrap_or_default().to_owned();
    name.push(".rolled-back");
    let aside = index.with_file_name(name);
    match fs::remove_dir_all(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(index, &aside)?;
    Ok(aside)
}

/// Forgets a folder's own things, but for what lies in its root.
pub(crate) fn forget(home: &crate::home::Home, id: &str, with_identity: bool) -> io::Result<()> {
    match fs::remove_dir_all(home.index(id)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if with_identity {
        for name in [RunMark::file_name(id), format!("folder-{id}")] {
            match fs::remove_file(home.identity().join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Takes the mark away from a folder's root, so that it may become a folder anew. Files and archive stay.
pub(crate) fn unmark(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(".sync").join("id")) {
        Err(e)
            if e.kind() != io::ErrorKind::NotFound && e.kind() != io::ErrorKind::NotADirectory =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}

/// Gives a root a fresh mark, because its user says that it is the right one.
pub(crate) fn adopt(
    path: &Path,
    home: &crate::home::Home,
    keys: &FolderKeys,
) -> Result<(), String> {
    let disk = RootDisk::open(path).map_err(|e| e.to_string())?;
    let (mut identity, ..) =
        FolderIdentity::open(&home.identity(), &keys.folder_id()).map_err(|e| e.to_string())?;
    let marker = Marker(identity.fresh_root_marker().map_err(|e| e.to_string())?);
    if disk
        .stat(Place::Own("id"))
        .map_err(|e| e.to_string())?
        .is_some()
    {
        disk.unlink(Place::Own("id")).map_err(|e| e.to_string())?;
    }
    marker.create(&disk).map_err(|e| e.to_string())
}

/// Whether a root bears the mark of this folder.
pub(crate) fn bears_mark(
    path: &Path,
    home: &crate::home::Home,
    keys: &FolderKeys,
) -> Result<(), String> {
    let disk = RootDisk::open(path).map_err(|e| e.to_string())?;
    let (identity, ..) =
        FolderIdentity::open(&home.identity(), &keys.folder_id()).map_err(|e| e.to_string())?;
    match check_root(&disk, &Marker(*identity.root_marker())).reason() {
        None => Ok(()),
        Some(reason) => Err(reason),
    }
}
