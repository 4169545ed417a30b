//! What one folder must never forget: its replica id, and how far its numbers are used.
//!
//! Numbers are given out from ranges that were reserved in the file before. A start can't know how much of
//! the last range was used, so it begins at its end: numbers are skipped, and none is used twice.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use minicbor::{Decode, Encode};
use sync_core::{ids::ReplicaId, keys::FolderId};

use super::{IdentityError, PrivateDir, SmallFiles, file, private_dir};

const KIND: u8 = 2;
/// Numbers reserved at each start. The engine asks for more long before they run out.
const STEP: u64 = 1 << 24;

/// The identity file of one folder, open.
#[derive(Debug)]
pub struct FolderIdentity<F = PrivateDir> {
    files: F,
    name: String,
    stored: Stored,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Stored {
    #[n(0)]
    replica: ReplicaId,
    /// Counters below this may have been used.
    #[n(1)]
    counters: u64,
    /// Change numbers below this may have been used.
    #[n(2)]
    seqs: u64,
    #[n(4)]
    era: u32,
    #[cbor(n(5), with = "minicbor::bytes")]
    root: [u8; 16],
}

/// Where an identity came from.
#[derive(Debug, PartialEq, Eq)]
pub enum Origin {
    /// There was none: a new replica.
    New,
    /// It was read.
    Kept,
    /// It was damaged and lies at `moved_to` now. What it said is lost, so this is a new replica with a
    /// new root marker, and no number of the old one can be used again. The folder's `.sync/id` won't
    /// fit until the user adopts it.
    Replaced {
        /// The damaged file.
        moved_to: PathBuf,
        /// What didn't fit, for people.
        reason: String,
    },
}

/// Numbers that no start before may have used, and that no later one will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Counters of the replica.
    pub counters: Range<u64>,
    /// Change numbers.
    pub seqs: Range<u64>,
}

/// A new replica in the place of the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReplica {
    /// Its id.
    pub replica: ReplicaId,
    /// Its counters.
    pub counters: Range<u64>,
}

impl FolderIdentity<PrivateDir> {
    /// Opens the identity of `folder` in the directory `dir`, which is made private, see
    /// [`FolderIdentity::open_in`].
    ///
    /// # Errors
    ///
    /// As there, and if the directory can't be made.
    pub fn open(dir: &Path, folder: &FolderId) -> Result<(Self, Reserved, Origin), IdentityError> {
        private_dir(dir).map_err(|source| IdentityError::Io {
            path: dir.to_owned(),
            source,
        })?;
        Self::open_in(PrivateDir::new(dir), folder)
    }
}

impl<F: SmallFiles> FolderIdentity<F> {
    /// Opens the identity of `folder` among these files, or makes one, and reserves a first range of numbers.
    /// One opener at a time: whoever calls holds the daemon's lock.
    ///
    /// # Errors
    ///
    /// A file that can't be read because of the disk, or that is of a later version, is an error and stays
    /// as it is. A damaged one is moved aside, see [`Origin::Replaced`].
    pub fn open_in(files: F, folder: &FolderId) -> Result<(Self, Reserved, Origin), IdentityError> {
        let name = format!("folder-{}", folder_name(folder));
        let (stored, came) = match read(&files, &name) {
            Ok(Some(stored)) => (stored, Origin::Kept),
            Ok(None) => (Stored::draw(&files)?, Origin::New),
            Err(IdentityError::Damaged { what, path }) => {
                let stored = Stored::draw(&files)?;
                let moved_to = at(&files, &name, files.set_aside(&name))?;
                tracing::error!(
                    path = %path.display(), moved_to = %moved_to.display(), what,
                    "the folder's identity file was damaged; a new replica id is taken"
                );
                (
                    stored,
                    Origin::Replaced {
                        moved_to,
                        reason: what,
                    },
                )
            }
            Err(error) => return Err(error),
        };
        let mut this = Self {
            files,
            name,
            stored,
        };
        // A gap of a random size lies between the numbers of two runs: after a backup was restored, a run gives
        // other numbers than the run that was lost, and who is shown one of those knows that it never gave it.
        let gap = || match came {
            Origin::Kept => random_number(&this.files).map(|n| n % MAX_GAP),
            _ => Ok(0),
        };
        let counters = this.stored.counters.saturating_add(gap()?);
        let seqs = this.stored.seqs.saturating_add(gap()?);
        let (next_counters, next_seqs) = (add(counters)?, add(seqs)?);
        this.update(|s| (s.counters, s.seqs) = (next_counters, next_seqs))?;
        let reserved = Reserved {
            counters: counters..next_counters,
            seqs: seqs..next_seqs,
        };
        Ok((this, reserved, came))
    }

    /// Who signs here.
    pub fn replica(&self) -> ReplicaId {
        self.stored.replica
    }

    /// Era of the folder's secret.
    pub fn era(&self) -> u32 {
        self.stored.era
    }

    /// What `.sync/id` at the folder's root must hold.
    pub fn root_marker(&self) -> &[u8; 16] {
        &self.stored.root
    }

    /// Makes the reserved ranges reach up to these ends; an end that was passed already stays. Durable when
    /// it returns. Gives the ends that hold now, counters first.
    pub fn reserve(&mut self, counters: u64, seqs: u64) -> Result<(u64, u64), IdentityError> {
        let counters = counters.max(self.stored.counters);
        let seqs = seqs.max(self.stored.seqs);
        if (counters, seqs) != (self.stored.counters, self.stored.seqs) {
            self.update(|s| (s.counters, s.seqs) = (counters, seqs))?;
        }
        Ok((counters, seqs))
    }

    /// Takes a new replica id, because the old ones were used by a backup of us.
    /// Its counters go on above all that were ever reserved here.
    pub fn new_replica(&mut self) -> Result<NewReplica, IdentityError> {
        let replica = ReplicaId(random_number(&self.files)?);
        let start = self.stored.counters;
        let end = add(start)?;
        self.update(|s| (s.replica, s.counters) = (replica, end))?;
        Ok(NewReplica {
            replica,
            counters: start..end,
        })
    }

    /// Draws a new root marker, to be written to `.sync/id` when the user adopts another root.
    pub fn fresh_root_marker(&mut self) -> Result<[u8; 16], IdentityError> {
        let root = random_bytes(&self.files)?;
        self.update(|s| s.root = root)?;
        Ok(root)
    }

    /// Writes first, and takes the change over only when it is durable.
    fn update(&mut self, change: impl FnOnce(&mut Stored)) -> Result<(), IdentityError> {
        let mut next = self.stored.clone();
        change(&mut next);
        // Encoding to a vector can't fail, and an empty body would be found by the next reading.
        let body = minicbor::to_vec(&next).unwrap_or_default();
        let written = self.files.write(&self.name, &file::seal(KIND, &body));
        at(&self.files, &self.name, written)?;
        self.stored = next;
        Ok(())
    }
}

impl Stored {
    fn draw<F: SmallFiles>(files: &F) -> Result<Self, IdentityError> {
        let replica = ReplicaId(random_number(files)?);
        Ok(Self {
            replica,
            counters: 1,
            seqs: 1,
            era: 0,
            root: random_bytes(files)?,
        })
    }
}

/// A folder's id as names of files show it.
pub fn folder_name(folder: &FolderId) -> String {
    let hex = blake3::Hash::from_bytes(*folder.as_bytes()).to_hex();
    hex.as_str().to_owned()
}

fn read<F: SmallFiles>(files: &F, name: &str) -> Result<Option<Stored>, IdentityError> {
    let path = files.path(name);
    let damaged = |what| IdentityError::Damaged {
        path: path.clone(),
        what,
    };
    let Some(body) = file::unseal(files.read(name, file::MAX_SEALED), &path, KIND)? else {
        return Ok(None);
    };
    let stored: Stored = minicbor::decode(&body).map_err(|e| damaged(e.to_string()))?;
    if stored.replica.0 == 0 || stored.counters == 0 || stored.seqs == 0 {
        return Err(damaged("it holds a number that can't be".to_owned()));
    }
    Ok(Some(stored))
}

fn random_number<F: SmallFiles>(files: &F) -> Result<u64, IdentityError> {
    let number = files.random_number();
    number.map_err(|e| IdentityError::Random(e.to_string()))
}

fn random_bytes<F: SmallFiles>(files: &F) -> Result<[u8; 16], IdentityError> {
    let [low, high] = [random_number(files)?, random_number(files)?];
    Ok(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}

fn at<F: SmallFiles, T>(files: &F, name: &str, result: io::Result<T>) -> Result<T, IdentityError> {
    result.map_err(|source| IdentityError::Io {
        path: files.path(name),
        source,
    })
}

/// Numbers that are left out between two runs, at most.
const MAX_GAP: u64 = 1 << 24;

fn add(start: u64) -> Result<u64, IdentityError> {
    start.checked_add(STEP).ok_or(IdentityError::Exhausted)
}
