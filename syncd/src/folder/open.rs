//! Opening a folder: root, identity, index, recovery, in the order that keeps every promise.
//!
//! 1. The root must be there and bear its mark; a new folder is given one.
//! 2. The identity reserves numbers that no start before has used.
//! 3. The index is opened. If it isn't the one that this identity worked with, it is set aside and a new replica
//!    begins: nothing is lost by that, since the files are the truth.
//! 4. What a crash left in `.sync/tmp` is settled, before anything is scanned.
//!
//! All of it blocks, and runs in a thread of its own.

use std::{fs, io, path::Path, sync::Arc};

use sync_core::{
    disk::LocalAuthor,
    engine::{Config, is_ahead},
    ids::Generation,
    index::{Index, IndexError},
    keys::FolderKeys,
};
use sync_store::{
    apply::{Applier, ApplyPolicy},
    fs::{Disk, Marker, Place, RootDisk, RootState, check_root, folds_names},
    identity::{Came, FolderIdentity, IdentityError, Reserved},
    sled_index::{OpenError, Opened as IndexOpened, Options, SledIndex},
    temps::Temps,
};
use tracing::{info, warn};

use super::run_mark::RunMark;
use crate::wiring::RosterEntry;

/// A folder's parts, ready to work.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) disk: Arc<RootDisk>,
    pub(super) marker: Marker,
    pub(super) index: SledIndex,
    pub(super) temps: Arc<Temps<RootDisk>>,
    pub(super) applier: Arc<Applier<RootDisk>>,
    pub(super) identity: FolderIdentity,
    /// What people should hear of.
    pub(super) notices: Vec<String>,
}

/// Why a folder can't be opened now.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFolderError {
    /// The root isn't there, or isn't the right one: looked at again every few seconds.
    #[error("{reason}")]
    Root {
        /// Why.
        reason: String,
        /// What helps.
        remedy: Option<&'static str>,
    },
    /// The identity file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The index.
    #[error(transparent)]
    Index(#[from] OpenError),
    /// The index, once it was open.
    #[error(transparent)]
    InIndex(#[from] IndexError),
    /// The disk.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a folder's own things lie.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) identity: std::path::PathBuf,
    pub(super) index: std::path::PathBuf,
    pub(super) id: String,
}

/// What the user chose, for the applier.
pub(super) fn policy(entry: &RosterEntry) -> ApplyPolicy {
    ApplyPolicy {
        archive: entry.settings.archive_days > 0,
        min_free: entry.settings.min_free,
    }
}

/// Opens the folder.
pub(super) fn open(entry: &RosterEntry, places: &Places) -> Result<Opened, OpenFolderError> {
    let keys = entry.member.keys().clone();
    let mut notices = Vec::new();
    let disk = open_root(&entry.path)?;
    let (mut identity, reserved, came) = FolderIdentity::open(&places.identity, &keys.folder_id())?;
    let marker = Marker(*identity.root_marker());
    // A folder that was never opened to the end has no mark yet: whoever was killed in its first opening left
    // an identity without one. Its index is empty, so a wrong directory could only be added to.
    let mark =
        RunMark::read(&places.identity, &places.id).map_err(io_at("reading the run mark"))?;
    let first = came == Came::New || mark.is_none();
    if first && Marker::read(&*disk).is_ok_and(|found| found.is_none()) {
        marker
            .create(&*disk)
            .map_err(io_at("making the folder's mark .sync/id"))?;
    }
    if let Came::Replaced { reason, .. } = &came {
        notices.push(format!(
            "the identity file was damaged ({reason}); a new replica begins"
        ));
    }
    let state = check_root(&*disk, &marker);
    if let Some(reason) = state.reason() {
        return Err(OpenFolderError::Root {
            reason,
            remedy: state.remedy(),
        });
    }
    if folds_names(&*disk).map_err(io_at("trying the file system in .sync/tmp"))? {
        return Err(OpenFolderError::Root {
            reason: "its file system takes names for the same that differ only in case, or in how an accent is \
                     written; there a rename would look like a deletion"
                .to_owned(),
            remedy: Some("move the folder to a file system that tells such names apart"),
        });
    }
    let (index, reserved) = open_index(places, &keys, &mut identity, reserved, &mut notices)?;
    let numbering = random_number().map_err(io_at("drawing a random number"))?;
    let seed = random_number().map_err(io_at("drawing a random number"))?;
    let temps = Arc::new(Temps::new(Arc::clone(&disk), entry.settings.min_free));
    let chunk_seed = chunk_seed(&keys);
    let applier = Arc::new(Applier::new(
        Arc::clone(&disk),
        Arc::clone(&temps),
        LocalAuthor(identity.replica()),
        chunk_seed,
        policy(entry),
    ));
    let recovered = applier
        .recover()
        .map_err(io_at("settling what the last run left in .sync/tmp"))?;
    if !recovered.put_back.is_empty() || !recovered.settled.is_empty() || recovered.left > 0 {
        info!(
            put_back = recovered.put_back.len(),
            settled = recovered.settled.len(),
            left = recovered.left,
            "what the last run left behind was settled"
        );
    }
    let config = Config {
        era: identity.era(),
        replica: identity.replica(),
        counters: reserved.counters,
        seqs: reserved.seqs,
        numbering: Generation(numbering),
        seed,
        rescan_s: entry.settings.rescan,
        paused: entry.paused,
        keys,
    };
    Ok(Opened {
        config,
        disk,
        marker,
        index,
        temps,
        applier,
        identity,
        notices,
    })
}

fn open_root(path: &Path) -> Result<Arc<RootDisk>, OpenFolderError> {
    match RootDisk::open(path) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(e) => {
            let state = match e.kind() {
                io::ErrorKind::NotFound => RootState::MissingRoot,
                io::ErrorKind::NotADirectory => RootState::NotADirectory,
                _ => RootState::Unreadable(e.to_string()),
            };
            let reason = state.reason().unwrap_or_default();
            Err(OpenFolderError::Root {
                reason,
                remedy: state.remedy(),
            })
        }
    }
}

/// Opens the index and makes sure that it belongs to the identity.
fn open_index(
    places: &Places,
    keys: &FolderKeys,
    identity: &mut FolderIdentity,
    reserved: Reserved,
    notices: &mut Vec<String>,
) -> Result<(SledIndex, Reserved), OpenFolderError> {
    let mark =
        RunMark::read(&places.identity, &places.id).map_err(io_at("reading the run mark"))?;
    let (mut index, found) = SledIndex::open_for(&places.index, Options::default(), keys)?;
    let mut anew = false;
    match &found {
        IndexOpened::Rebuilt { moved_to } => {
            anew = true;
            notices.push(format!(
                "the index was damaged and lies at {} now; it is rebuilt from the files",
                moved_to.display()
            ));
        }
        IndexOpened::Outdated { moved_to } => {
            anew = true;
            notices.push(format!(
                "the index was written by the version before and lies at {} now; it is rebuilt from the files",
                moved_to.display()
            ));
        }
        IndexOpened::Fresh if mark.is_some() => {
            anew = true;
            notices.push("the index was gone; it is rebuilt from the files".to_owned());
        }
        IndexOpened::Fresh => {}
        IndexOpened::Existing | IndexOpened::Converted { .. } => {
            let us = identity.replica();
            let (counters, seqs) = (reserved.counters.start, reserved.seqs.start);
            if !RunMark::fits(mark, index.generation()?) || is_ahead(&index, us, counters, seqs)? {
                anew = true;
                drop(index);
                let aside =
                    set_aside(&places.index).map_err(io_at("moving the old index aside"))?;
                notices.push(format!(
                    "the index and the identity don't belong together, so one of them was restored from a \
                     backup; the index lies at {} now and is rebuilt from the files",
                    aside.display()
                ));
                index = SledIndex::open_for(&places.index, Options::default(), keys)?.0;
            }
        }
    }
    let mut reserved = reserved;
    if anew {
        let new = identity.new_replica()?;
        warn!(replica = %new.replica, "a new replica begins");
        reserved.counters = new.counters;
    }
    let next = Generation(random_number().map_err(io_at("drawing a random number"))?);
    RunMark::write(&places.identity, &places.id, index.generation()?, next)
        .map_err(io_at("writing the run mark"))?;
    index.set_generation(next)?;
    index.flush()?;
    Ok((index, reserved))
}

/// Moves an index aside; one is kept.
fn set_aside(index: &Path) -> io::Result<std::path::PathBuf> {
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
        RunMark::remove(&home.identity(), id)?;
        match fs::remove_file(home.identity().join(format!("folder-{id}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
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

/// The folder's seed for cutting chunks.
pub(super) fn chunk_seed(keys: &FolderKeys) -> u64 {
    keys.read().map_or(0, |read| read.chunk_seed())
}

fn random_number() -> io::Result<u64> {
    getrandom::u64().map(|n| n.max(1)).map_err(io::Error::other)
}

fn io_at(doing: &'static str) -> impl Fn(io::Error) -> OpenFolderError {
    move |source| OpenFolderError::Io { doing, source }
}
