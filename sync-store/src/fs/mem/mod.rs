//! A simulated disk that forgets what was not made durable.
//!
//! [`MemDisk`] behaves as a POSIX file system does in the worst case it allows: bytes survive a crash once
//! their file was synced, names once their directory was, and everything else survives or not as a
//! chooser decides. It is deterministic, its clock is set by hand, and any operation can be made to fail.
//! Tests and the simulator use it in place of [`RootDisk`](super::RootDisk). It must never be used to
//! keep anything.

mod disk;
mod state;
mod user;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::RootPresence;
pub use disk::{MemDir, MemFile};
use state::State;
pub use user::{Node, NodeKind};

/// What a [`MemDisk`]'s file system can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemFeatures {
    /// Two names can be swapped.
    pub exchange: bool,
    /// Copies share blocks.
    pub reflink: bool,
}

impl Default for MemFeatures {
    fn default() -> Self {
        Self {
            exchange: true,
            reflink: false,
        }
    }
}

/// Something that a crash may lose, as shown to the chooser that keeps or drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// A change of names (all of them change, or none).
    Names(&'a [&'a [u8]]),
    /// Up to 4 KiB written into a file.
    Write {
        /// The file's inode.
        ino: u64,
        /// Where in it.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
    /// A file's length.
    Len {
        /// The file's inode.
        ino: u64,
        /// The length that was set.
        len: u64,
    },
    /// Time and mode.
    Meta {
        /// The inode.
        ino: u64,
    },
}

/// The kinds of operation that can be counted and made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum OpKind {
    Stat,
    List,
    ReadLink,
    Open,
    Read,
    OpenTmp,
    Write,
    SetLen,
    SetMeta,
    MakeDir,
    MakeLink,
    Rename,
    Exchange,
    Unlink,
    RemoveDir,
    Clone,
    Sync,
    SyncDir,
    SyncAll,
}

impl OpKind {
    /// Whether the operation changes the disk or what survives a crash. Only those count as crash points.
    pub fn mutates(self) -> bool {
        !matches!(
            self,
            Self::Stat | Self::List | Self::ReadLink | Self::Open | Self::Read
        )
    }
}

/// One operation, as shown to a fault hook before it happens.
#[derive(Debug, Clone, Copy)]
pub struct Op<'a> {
    /// What is about to happen.
    pub kind: OpKind,
    /// The path it is about, from the root (the first one, if there are two).
    pub path: &'a [u8],
}

/// A fault hook: an error to fail the operation with, or `None` to let it happen.
pub type Hook = dyn Fn(&Op<'_>) -> Option<io::Error> + Send + Sync;

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct MemDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    mutations: u64,
    crash_at: Option<u64>,
    dead: bool,
    fail: Option<Failure>,
    hook: Option<Arc<Hook>>,
}

struct Failure {
    kind: Option<OpKind>,
    skip: u64,
    times: u64,
    errno: i32,
}

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemDisk")
            .field("mutations", &self.mutations())
            .finish_non_exhaustive()
    }
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemDisk {
    /// The error number of a full disk.
    pub const ENOSPC: i32 = rustix::io::Errno::NOSPC.raw_os_error();
    /// The error number of a failing disk.
    pub const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
    /// The error number of missing permission.
    pub const EACCES: i32 = rustix::io::Errno::ACCESS.raw_os_error();

    /// An empty disk, its clock in September 2020.
    pub fn new() -> Self {
        let state = Mutex::new(State::new());
        Self {
            shared: Arc::new(Shared {
                state,
                faults: Mutex::default(),
            }),
        }
    }

    /// Sets the clock, in ns since 1970.
    pub fn set_clock_ns(&self, now: i64) {
        self.state().clock = now;
    }

    /// Moves the clock on.
    pub fn advance_clock_ns(&self, by: i64) {
        let mut state = self.state();
        state.clock = state.clock.saturating_add(by);
    }

    /// Sets what the file system can do.
    pub fn set_features(&self, features: MemFeatures) {
        self.state().features = features;
    }

    /// Sets how many bytes fit; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Sets what the root's path leads to. While it isn't [`RootPresence::Here`], every operation
    /// fails as on a disk that was taken out.
    pub fn set_presence(&self, presence: RootPresence) {
        self.state().presence = presence;
    }

    /// Sets the fault hook. It is called before every operation of the daemon, without any lock.
    pub fn set_hook(&self, hook: Option<Arc<Hook>>) {
        self.faults().hook = hook;
    }

    /// Lets `skip` operations of a kind (of any kind, if `None`) happen, then fails `times` of them with
    /// an error number, such as [`MemDisk::ENOSPC`]. Replaces the failure set before.
    pub fn fail_ops(&self, kind: Option<OpKind>, skip: u64, times: u64, errno: i32) {
        self.faults().fail = Some(Failure {
            kind,
            skip,
            times,
            errno,
        });
    }

    /// How many operations that mutate ([`OpKind::mutates`]) happened.
    pub fn mutations(&self) -> u64 {
        self.faults().mutations
    }

    /// Lets `count` more mutating operations happen. The next one, and then everything, fails until
    /// [`MemDisk::crash`]. `None` takes the point away.
    pub fn set_crash_point(&self, count: Option<u64>) {
        let mut faults = self.faults();
        faults.crash_at = count.map(|count| faults.mutations + count);
    }

    /// Whether the crash point was reached.
    pub fn is_dead(&self) -> bool {
        self.faults().dead
    }

    /// Power fails and comes back: what was not durable is gone, except for what `keep` chooses to
    /// keep. Open files are dead. The crash point and a set failure are taken away; the hook stays.
    ///
    /// Changes of names are offered in the order they were made. One that is dropped drops all later
    /// ones in the same directories without asking.
    pub fn crash(&self, keep: &mut dyn FnMut(Unsynced<'_>) -> bool) {
        self.state().crash(keep);
        let mut faults = self.faults();
        faults.dead = false;
        faults.crash_at = None;
        faults.fail = None;
    }

    /// A crash that loses all that was not durable.
    pub fn crash_losing_all(&self) {
        self.crash(&mut |_| false);
    }

    /// A crash of the process alone: the disk keeps everything.
    pub fn crash_keeping_all(&self) {
        self.crash(&mut |_| true);
    }

    /// A crash that keeps about half, chosen by the seed.
    pub fn crash_seeded(&self, seed: u64) {
        let mut state = seed;
        self.crash(&mut |_| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) & 1 == 0
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.shared
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation of the daemon, fails it if it shall fail, and gives the disk to do it on.
    fn begin(&self, kind: OpKind, path: &[u8]) -> io::Result<MutexGuard<'_, State>> {
        let hook = {
            let mut faults = self.faults();
            if kind.mutates() && !faults.dead {
                faults.dead = faults.crash_at.is_some_and(|at| faults.mutations >= at);
            }
            if faults.dead {
                return Err(io::Error::other("the simulated machine has crashed"));
            }
            if kind.mutates() {
                faults.mutations += 1;
            }
            if let Some(fail) = &mut faults.fail
                && fail.kind.is_none_or(|k| k == kind)
            {
                if fail.skip > 0 {
                    fail.skip -= 1;
                } else if fail.times > 0 {
                    fail.times -= 1;
                    return Err(io::Error::from_raw_os_error(fail.errno));
                }
            }
            faults.hook.clone()
        };
        if let Some(error) = hook.and_then(|hook| hook(&Op { kind, path })) {
            return Err(error);
        }
        let state = self.state();
        if state.presence != RootPresence::Here {
            return Err(rustix::io::Errno::NOENT.into());
        }
        Ok(state)
    }
}
