//! A machine's home in memory: its small files, which are durable once written, and its index, which forgets
//! what was not flushed. The driver opens a folder from it as from real directories.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::{ids::Generation, index::MemIndex, keys::FolderKeys};
use sync_store::{
    driver::{FolderIndex as _, Home, RunMark},
    fs::{Disk as _, MemDisk, RootPresence},
    identity::SmallFiles,
    sled_index::{OpenError, Opened},
};

use super::rng::Rng;

/// The home of one machine. Clones share it.
#[derive(Debug, Clone)]
pub struct SimHome {
    disk: Arc<MemDisk>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    index: MemIndex,
    rng: Rng,
    /// After so many more writes the machine dies, before that write or behind it.
    dies_after: Option<u64>,
    dead: bool,
}

/// A copy of a home.
#[derive(Debug, Clone)]
pub struct Backup {
    files: BTreeMap<String, Vec<u8>>,
    index: MemIndex,
}

impl SimHome {
    /// An empty home of a folder on this disk.
    pub fn new(disk: Arc<MemDisk>, rng: Rng) -> Self {
        Self {
            disk,
            shared: Arc::new(Mutex::new(Shared {
                files: BTreeMap::new(),
                index: MemIndex::new(),
                rng,
                dies_after: None,
                dead: false,
            })),
        }
    }

    /// The index as it is now.
    pub fn index(&self) -> MemIndex {
        self.lock().index.clone()
    }

    /// The index is lost.
    pub fn lose_index(&self) {
        self.lock().index = MemIndex::new();
    }

    /// A copy of what is durable; `None` of a home where the folder was never opened. To put such a one back is to
    /// lose the home: the folder's directory bears a mark that the next identity doesn't know, and waits for the
    /// user.
    pub fn backup(&self) -> Option<Backup> {
        let shared = self.lock();
        (!shared.files.is_empty()).then(|| Backup {
            files: shared.files.clone(),
            index: shared.index.backup(),
        })
    }

    /// Puts a copy in the place of what is here, or its index alone. Then at least one start lies between the
    /// copy and what is beside it.
    pub fn restore(&self, backup: Backup, whole: bool) {
        let mut shared = self.lock();
        shared.index = backup.index;
        if whole {
            shared.files = backup.files;
            return;
        }
        let marks: Vec<String> = shared.files.keys().cloned().collect();
        let ids = marks.iter().filter_map(|name| name.strip_prefix("run-"));
        let later = [(); 2].map(|()| Generation(shared.rng.next() | 1));
        drop(shared);
        for id in ids {
            // It was written once already, so it can be now.
            let _ = RunMark::write(self, id, Some(later[0]), later[1]);
        }
    }

    /// The machine dies after so many more writes.
    pub fn die_after(&self, writes: Option<u64>) {
        self.lock().dies_after = writes;
    }

    /// Whether it died.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The machine has died: what was not durable is gone.
    pub fn crash(&self) {
        let mut shared = self.lock();
        (shared.dead, shared.dies_after) = (false, None);
        shared.index.crash();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home for SimHome {
    type Disk = MemDisk;
    type Index = MemIndex;
    type Files = Self;

    fn files(&self) -> Self {
        self.clone()
    }

    fn open_root(&self) -> io::Result<Arc<MemDisk>> {
        match self.disk.root_presence()? {
            RootPresence::Missing => Err(io::ErrorKind::NotFound.into()),
            RootPresence::NotADirectory => Err(io::ErrorKind::NotADirectory.into()),
            // Whatever stands there now is what is opened.
            _ => {
                self.disk.set_presence(RootPresence::Here);
                Ok(Arc::clone(&self.disk))
            }
        }
    }

    fn open_index(&self, _: &FolderKeys) -> Result<(MemIndex, Opened), OpenError> {
        let index = self.index();
        let fresh = index.is_empty() && matches!(index.generation(), Ok(None));
        let found = if fresh {
            Opened::Fresh
        } else {
            Opened::Existing
        };
        Ok((index, found))
    }

    fn set_index_aside(&self) -> io::Result<PathBuf> {
        self.lose_index();
        Ok("aside".into())
    }
}

impl SmallFiles for SimHome {
    fn read(&self, name: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        let shared = self.lock();
        dead(&shared)?;
        Ok(shared.files.get(name).cloned())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut shared = self.lock();
        dead(&shared)?;
        let mut written = true;
        if let Some(left) = shared.dies_after {
            shared.dies_after = left.checked_sub(1);
            if left == 0 {
                shared.dead = true;
                written = shared.rng.chance(50);
            }
        }
        if written {
            shared.files.insert(name.to_owned(), bytes.to_vec());
        }
        dead(&shared)
    }

    fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        self.lock().files.remove(name);
        Ok("aside".into())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }

    fn random_number(&self) -> io::Result<u64> {
        Ok(self.lock().rng.next() | 1)
    }
}

fn dead(shared: &Shared) -> io::Result<()> {
    match shared.dead {
        true => Err(io::Error::other("the machine has died")),
        false => Ok(()),
    }
}
