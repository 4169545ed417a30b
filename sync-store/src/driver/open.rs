//! Opening a folder: root, identity, index, recovery, in the order that keeps every promise.
//!
//! 1. The root must be there and bear its mark; a new folder is given one.
//! 2. The identity reserves numbers that no start before has used.
//! 3. The index is opened. If it isn't the one that this identity worked with, it is set aside and a new replica
//!    begins: nothing is lost by that, since the files are the truth.
//! 4. What a crash left in `.sync/tmp` is settled, before anything is scanned.

use std::{
    fmt, io,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use sync_core::{
    disk::LocalAuthor,
    engine::{Config, is_ahead},
    ids::Generation,
    index::{Index as _, IndexError},
    keys::FolderKeys,
};
use tracing::{info, warn};

use super::{FolderIndex as _, Home, RunMark, Settings, rebuilds::Rebuilds};
use crate::{
    apply::Applier,
    chunks::ChunkStore,
    fs::{Marker, RootState, check_root, folds_names},
    identity::{FolderIdentity, IdentityError, Origin, Reserved, SmallFiles as _, folder_name},
    scan::{ScanOptions, Scanner},
    sled_index::{OpenError, Opened as IndexOpened},
    temps::Temps,
};

/// An open folder's parts, shared by its jobs.
pub struct Parts<H: Home> {
    /// Where they come from.
    pub(super) home: Arc<H>,
    /// The root.
    pub disk: Arc<H::Disk>,
    pub(super) marker: Marker,
    /// The index.
    pub index: H::Index,
    pub(super) temps: Arc<Temps<H::Disk>>,
    pub(super) applier: Applier<H::Disk>,
    pub(super) scanner: Scanner<H::Disk, H::Index>,
    /// What peers are served from. The index stays open as long as somebody has it.
    pub chunks: Arc<ChunkStore<H::Disk, H::Index>>,
    pub(super) keys: FolderKeys,
    pub(super) identity: Mutex<FolderIdentity<H::Files>>,
    /// Scans and sweeps break off.
    pub(super) cancel: AtomicBool,
}

impl<H: Home> fmt::Debug for Parts<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A folder that was opened.
#[derive(Debug)]
pub struct Opened<H: Home> {
    pub(super) config: Config,
    pub(super) parts: Parts<H>,
    /// What people should hear of.
    pub(super) notices: Vec<String>,
    /// The index is a new one in the place of an old one.
    pub(super) rebuilt: bool,
    /// When it was set aside because peers knew more of us.
    pub(super) rebuilds: Rebuilds,
}

/// Why a folder can't be opened now.
#[derive(Debug, thiserror::Error)]
pub enum OpenFolderError {
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

/// Opens the folder. Blocks.
pub(super) fn open<H: Home>(
    home: Arc<H>,
    keys: FolderKeys,
    settings: &Settings,
) -> Result<Opened<H>, OpenFolderError> {
    let id = folder_name(&keys.folder_id());
    let mut notices = Vec::new();
    let disk = home.open_root().map_err(|e| root_error(&e))?;
    let (mut identity, reserved, came) = FolderIdentity::open_in(home.files(), &keys.folder_id())?;
    let marker = Marker(*identity.root_marker());
    // A folder that was never opened to the end has no mark yet: whoever was killed in its first opening left
    // an identity without one. Its index is empty, so a wrong directory could only be added to.
    let mark = RunMark::read(&home.files(), &id).map_err(io_at("reading the run mark"))?;
    let rebuilds =
        Rebuilds::read(&home.files(), &id).map_err(io_at("reading when the index was rebuilt"))?;
    let first = came == Origin::New || mark.is_none();
    if first && Marker::read(&*disk).is_ok_and(|found| found.is_none()) {
        marker
            .create(&*disk)
            .map_err(io_at("making the folder's mark .sync/id"))?;
    }
    if let Origin::Replaced { reason, .. } = &came {
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
    let (index, reserved, rebuilt) = open_index(
        &*home,
        &keys,
        &id,
        &mut identity,
        reserved,
        mark,
        &mut notices,
    )?;
    let draw = || home.files().random_number();
    let numbering = draw().map_err(io_at("drawing a random number"))?;
    let seed = draw().map_err(io_at("drawing a random number"))?;
    let temps = Arc::new(Temps::new(Arc::clone(&disk), settings.policy.min_free));
    let chunk_seed = keys.read().map_or(0, |read| read.chunk_seed());
    let applier = Applier::new(
        Arc::clone(&disk),
        Arc::clone(&temps),
        LocalAuthor(identity.replica()),
        chunk_seed,
        settings.policy,
    );
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
        rescan_s: settings.rescan_s,
        paused: settings.paused,
        keys: keys.clone(),
    };
    let options = ScanOptions {
        threads: settings.hash_threads,
        ..ScanOptions::new(chunk_seed)
    };
    let scanner = Scanner::new(Arc::clone(&disk), index.clone(), options);
    let chunks = ChunkStore::new(Arc::clone(&disk), index.clone(), Arc::clone(&temps));
    let parts = Parts {
        home,
        disk,
        marker,
        index,
        temps,
        applier,
        scanner,
        chunks: Arc::new(chunks),
        keys,
        identity: Mutex::new(identity),
        cancel: AtomicBool::new(false),
    };
    Ok(Opened {
        config,
        parts,
        notices,
        rebuilt,
        rebuilds,
    })
}

fn root_error(e: &io::Error) -> OpenFolderError {
    let state = match e.kind() {
        io::ErrorKind::NotFound => RootState::MissingRoot,
        io::ErrorKind::NotADirectory => RootState::NotADirectory,
        _ => RootState::Unreadable(e.to_string()),
    };
    OpenFolderError::Root {
        reason: state.reason().unwrap_or_default(),
        remedy: state.remedy(),
    }
}

/// Opens the index and makes sure that it belongs to the identity. Tells whether it is a new one in the place of
/// an old one.
fn open_index<H: Home>(
    home: &H,
    keys: &FolderKeys,
    id: &str,
    identity: &mut FolderIdentity<H::Files>,
    mut reserved: Reserved,
    mark: Option<RunMark>,
    notices: &mut Vec<String>,
) -> Result<(H::Index, Reserved, bool), OpenFolderError> {
    let (mut index, found) = home.open_index(keys)?;
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
                let aside = home
                    .set_index_aside()
                    .map_err(io_at("moving the old index aside"))?;
                notices.push(format!(
                    "the index and the identity don't belong together, so one of them was restored from a \
                     backup; the index lies at {} now and is rebuilt from the files",
                    aside.display()
                ));
                index = home.open_index(keys)?.0;
            }
        }
    }
    if anew {
        let new = identity.new_replica()?;
        warn!(replica = %new.replica, "a new replica begins");
        reserved.counters = new.counters;
    }
    let files = home.files();
    let next = files.random_number();
    let next = Generation(next.map_err(io_at("drawing a random number"))?);
    RunMark::write(&files, id, index.generation()?, next).map_err(io_at("writing the run mark"))?;
    index.set_generation(next)?;
    index.flush()?;
    Ok((index, reserved, anew))
}

fn io_at(doing: &'static str) -> impl Fn(io::Error) -> OpenFolderError {
    move |source| OpenFolderError::Io { doing, source }
}
