//! Opening an index: locks, leftovers of crashes, and damage.
//!
//! It owns the names beside the index directory, `NAME.damaged-1` and `-2`, and `NAME.outdated`. It never deletes an index that
//! might be whole: a full disk, an I/O error or a held lock is reported, and only content that was proven
//! to be damaged is moved aside.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use sync_core::{
    index::{IndexError, IndexResult},
    keys::FolderKeys,
    secret::Level,
};
use thiserror::Error;

use super::{
    SledIndex,
    convert::convert,
    db::{DAMAGED, Db, Stage},
    key, rewrite,
};

/// Version of the whole layout.
const FORMAT: u8 = 2;
/// The version before, which is converted.
const FORMER: u8 = 1;
/// Bytes that sled's cache may count. Measured: more makes nothing faster, and memory grows with it.
const CACHE: u64 = 16 << 20;

/// How long a held lock is waited for, and the pause between two looks at it.
///
/// The lock of an index that was just closed may still be held for a moment: sled's pool of threads drops its
/// last handle after the write that it was waited for (measured: 6 of 60 runs of the tests that close an index
/// and open it at once), and a process that was started meanwhile holds a copy of all handles until it executes.
/// So it is with a daemon that was killed and is started anew.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// How to open an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of pages to keep in memory, at least 1 MiB.
    pub cache: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: CACHE }
    }
}

/// What was found when the index was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The index as it was left.
    Existing,
    /// There was none: everything must be scanned.
    Fresh,
    /// It was damaged, lies at `moved_to` now, and a fresh one took its place: everything must be scanned.
    Rebuilt {
        /// The damaged one.
        moved_to: PathBuf,
    },
    /// It was written by the version before; its records were signed anew and nothing else changed.
    Converted {
        /// How many there are.
        entries: u64,
    },
    /// It was written by the version before, and this device has no right to sign its records anew. It lies at
    /// `moved_to` now, and a fresh one took its place: everything must be scanned.
    Outdated {
        /// The old one.
        moved_to: PathBuf,
    },
}

/// Why an index can't be opened. Nothing was changed.
#[derive(Debug, Clone, Error)]
pub enum OpenError {
    /// Another process, or a handle in this one, has it open.
    #[error("the index at {0} is in use by another process")]
    AlreadyOpen(PathBuf),
    /// It was written by a later version.
    #[error("the index at {dir} has format {format}, which this version does not know")]
    Format {
        /// Where.
        dir: PathBuf,
        /// The format found.
        format: u8,
    },
    /// The disk is full or failing, or access is denied. Try again later.
    #[error("the index at {dir} can't be opened: {reason}")]
    Unavailable {
        /// Where.
        dir: PathBuf,
        /// For people.
        reason: String,
    },
}

pub(super) enum Failure {
    Damaged(String),
    /// It has the format of the version before.
    Former(Box<Db>),
    Other(OpenError),
}

impl SledIndex {
    /// Opens the index in `dir`, or makes one. Blocks while the log is read, and up to two seconds if another
    /// has it open: not for an async thread. An index that the version before wrote is set aside.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, Opened), OpenError> {
        Self::open_patiently(dir, options, None, patience())
    }

    /// Opens the index of the folder with these keys. As [`SledIndex::open`], but an index that the version before
    /// wrote is converted if the keys can sign, which takes a while: it is written anew.
    pub fn open_for(
        dir: &Path,
        options: Options,
        keys: &FolderKeys,
    ) -> Result<(Self, Opened), OpenError> {
        Self::open_patiently(dir, options, Some(keys), patience())
    }

    /// Opens the index. `pause` is called each time that the lock is found held, and says whether to look again.
    pub(super) fn open_patiently(
        dir: &Path,
        options: Options,
        keys: Option<&FolderKeys>,
        mut pause: impl FnMut() -> bool,
    ) -> Result<(Self, Opened), OpenError> {
        loop {
            match Self::open_or_rebuild(dir, options, keys) {
                Err(OpenError::AlreadyOpen(_)) if pause() => {}
                result => return result,
            }
        }
    }

    fn open_or_rebuild(
        dir: &Path,
        options: Options,
        keys: Option<&FolderKeys>,
    ) -> Result<(Self, Opened), OpenError> {
        let unavailable = |e: io::Error| OpenError::Unavailable {
            dir: dir.to_owned(),
            reason: e.to_string(),
        };
        let existed = dir.join("db").exists();
        let first = match fs::read_to_string(dir.join(DAMAGED)) {
            Ok(what) => Err(Failure::Damaged(what)),
            Err(_) => open_once(dir, options),
        };
        let first = match (first, keys.filter(|keys| keys.level() == Level::ReadWrite)) {
            (Err(Failure::Former(db)), Some(keys)) => {
                renew(dir, options, db, keys).map(|(index, entries)| {
                    tracing::info!(dir = %dir.display(), entries, "the index was converted");
                    (index, Opened::Converted { entries })
                })
            }
            (first, _) => first.map(|index| match existed {
                true => (index, Opened::Existing),
                false => (index, Opened::Fresh),
            }),
        };
        let opened = match first {
            Ok(opened) => return Ok(opened),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Former(db)) => {
                drop(db);
                wait_closed(dir).map_err(unavailable)?;
                let moved_to = set_outdated_aside(dir).map_err(unavailable)?;
                tracing::warn!(
                    dir = %dir.display(), moved_to = %moved_to.display(),
                    "the index was written by the version before and is rebuilt from the files"
                );
                Opened::Outdated { moved_to }
            }
            Err(Failure::Damaged(what)) => {
                let moved_to = set_aside(dir).map_err(unavailable)?;
                tracing::error!(
                    dir = %dir.display(), moved_to = %moved_to.display(), what,
                    "the index was damaged and is rebuilt from the files"
                );
                Opened::Rebuilt { moved_to }
            }
        };
        match open_once(dir, options) {
            Ok(index) => Ok((index, opened)),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Damaged(reason)) => Err(OpenError::Unavailable {
                dir: dir.to_owned(),
                reason,
            }),
            Err(Failure::Former(_)) => Err(OpenError::Unavailable {
                dir: dir.to_owned(),
                reason: "a fresh index has an old format".to_owned(),
            }),
        }
    }
}

/// Lets whoever waits look again for [`LOCK_PATIENCE`].
fn patience() -> impl FnMut() -> bool {
    let until = Instant::now() + LOCK_PATIENCE;
    move || {
        let patient = Instant::now() < until;
        if patient {
            thread::sleep(LOCK_PAUSE);
        }
        patient
    }
}

/// Waits until sled's own threads have closed the index too: they write to its directory until then.
pub(super) fn wait_closed(dir: &Path) -> io::Result<()> {
    let mut pause = patience();
    let lock = fs::File::open(dir.join("db"))?;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if pause() => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Writes an index of the version before anew, in today's format, and puts it in the old one's place.
fn renew(
    dir: &Path,
    options: Options,
    old: Box<Db>,
    keys: &FolderKeys,
) -> Result<(SledIndex, u64), Failure> {
    let disk = |e: io::Error| {
        Failure::Other(OpenError::Unavailable {
            dir: dir.to_owned(),
            reason: format!("converting it: {e}"),
        })
    };
    let next = rewrite::next(dir);
    fs::create_dir_all(&next).map_err(disk)?;
    let new = Db::new(start(&next, options)?, &next);
    let entries = convert(&old, &new, keys).map_err(failure(dir))?;
    write_format(&new).map_err(failure(dir))?;
    new.flush().map_err(failure(dir))?;
    drop((old, new));
    wait_closed(dir).map_err(disk)?;
    wait_closed(&next).map_err(disk)?;
    rewrite::replace(dir).map_err(disk)?;
    Ok((open_once(dir, options)?, entries))
}

fn open_once(dir: &Path, options: Options) -> Result<SledIndex, Failure> {
    let unavailable = |reason: String| {
        Failure::Other(OpenError::Unavailable {
            dir: dir.to_owned(),
            reason,
        })
    };
    rewrite::put_back(dir).map_err(|e| unavailable(e.to_string()))?;
    fs::create_dir_all(dir).map_err(|e| unavailable(e.to_string()))?;
    if !sweep(dir).map_err(|e| unavailable(e.to_string()))? {
        return Err(Failure::Other(OpenError::AlreadyOpen(dir.to_owned())));
    }
    rewrite::remove_leftovers(dir).map_err(|e| unavailable(e.to_string()))?;
    let db = Db::new(start(dir, options)?, dir);
    match db.read(&key::FORMAT).map_err(failure(dir))?.as_deref() {
        Some(&[FORMAT]) => {}
        Some(&[FORMER]) => return Err(Failure::Former(Box::new(db))),
        Some(&[format]) => {
            return Err(Failure::Other(OpenError::Format {
                dir: dir.to_owned(),
                format,
            }));
        }
        Some(_) => return Err(Failure::Damaged("the format is malformed".to_owned())),
        None => write_format(&db).map_err(failure(dir))?,
    }
    SledIndex::with_db(db, options).map_err(failure(dir))
}

fn write_format(db: &Db) -> IndexResult<()> {
    let mut stage = Stage::default();
    stage.put(key::FORMAT.to_vec(), vec![FORMAT]);
    db.apply(stage)
}

/// Opens the database itself.
pub(super) fn start(dir: &Path, options: Options) -> Result<sled::Db, Failure> {
    let unavailable = |reason: String| {
        Failure::Other(OpenError::Unavailable {
            dir: dir.to_owned(),
            reason,
        })
    };
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(options.cache.max(1 << 20))
        // Commits are made durable by flush() alone: the engine decides when, and a failure of sled's own
        // flusher would go unseen.
        .flush_every_ms(None)
        .mode(sled::Mode::LowSpace);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(sled)) => Ok(sled),
        Ok(Err(sled::Error::Corruption { at, .. })) => Err(Failure::Damaged(format!(
            "the engine reports corruption at {at:?}"
        ))),
        // The engine is pinned, so nobody else wrote a log that it doesn't understand.
        Ok(Err(sled::Error::Unsupported(what))) => Err(Failure::Damaged(what)),
        Ok(Err(sled::Error::Io(e))) if e.to_string().contains("could not acquire lock") => {
            Err(Failure::Other(OpenError::AlreadyOpen(dir.to_owned())))
        }
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(Failure::Damaged(
            "the engine stopped while it read the log".to_owned(),
        )),
    }
}

fn failure(dir: &Path) -> impl Fn(IndexError) -> Failure {
    |error| match error {
        IndexError::Corrupt(what) => Failure::Damaged(what),
        IndexError::Restored => Failure::Damaged(error.to_string()),
        IndexError::Unavailable(reason) => Failure::Other(OpenError::Unavailable {
            dir: dir.to_owned(),
            reason,
        }),
    }
}

/// Deletes snapshots that sled had not finished when it was stopped: it would take one of them for a
/// finished one, and call the index corrupt. Renaming is sled's commit, so nothing is lost.
///
/// False if somebody has the index open, who may be writing one of them just now: nothing was deleted.
fn sweep(dir: &Path) -> io::Result<bool> {
    // The file that sled locks, and in its way. The lock is given back before sled takes it.
    let lock = match fs::File::open(dir.join("db")) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(lock) = &lock {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
    }
    for item in fs::read_dir(dir)? {
        let item = item?;
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(item.path())?;
        }
    }
    Ok(true)
}

/// Moves an index of the version before aside: only one is kept, for none comes after it.
fn set_outdated_aside(dir: &Path) -> io::Result<PathBuf> {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".outdated");
    let to = dir.with_file_name(name);
    if to.exists() {
        fs::remove_dir_all(&to)?;
    }
    fs::rename(dir, &to)?;
    Ok(to)
}

/// Moves a damaged index aside. Two are kept, the newer as `damaged-1`.
fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let beside = |n: u8| {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".damaged-{n}"));
        dir.with_file_name(name)
    };
    let (newer, older) = (beside(1), beside(2));
    if newer.exists() {
        if older.exists() {
            fs::remove_dir_all(&older)?;
        }
        fs::rename(&newer, &older)?;
    }
    fs::rename(dir, &newer)?;
    Ok(newer)
}
