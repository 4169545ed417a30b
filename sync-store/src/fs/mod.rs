//! The disk behind one trait, so that the scanner, the applier and the chunk store run on a real
//! directory ([`RootDisk`]) and on a simulated one that forgets what was not made durable ([`MemDisk`]).
//!
//! A [`Disk`] is one folder's root. Every path is opened beneath the root without following links. It owns
//! no policy: what may be replaced, archived or deleted is decided by the applier.

mod folding;
mod marker;
mod mem;
mod names;
mod os;
mod root;

use std::io;

use sync_core::{
    disk::{DiskStat, Meta},
    path::RelPath,
};

pub use folding::folds_names;
pub use marker::{MARKER_NAME, Marker, RootState, check_root};
pub use mem::{Hook, MemDir, MemDisk, MemFeatures, MemFile, Node, NodeKind, Op, OpKind, Unsynced};
pub use names::Names;
pub use root::{RootDir, RootDisk, RootFile};

/// The daemon's own directory at the root of every folder.
pub const OWN_DIR: &str = sync_core::path::RESERVED;
/// Where temporaries lie, below [`OWN_DIR`].
pub const TMP_DIR: &str = "tmp";
/// Where displaced files lie, below [`OWN_DIR`].
pub const ARCHIVE_DIR: &str = "archive";

/// A place on the disk: the user's tree, or one of the daemon's own areas under `.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place<'a> {
    /// The root itself.
    Root,
    /// Something in the user's tree.
    User(&'a RelPath),
    /// A temporary: `.sync/tmp/NAME`.
    Tmp(&'a str),
    /// `.sync/archive/PATH`: what peers' changes replaced or deleted.
    Archive(&'a RelPath),
    /// A small file of the daemon: `.sync/NAME`. The empty name is `.sync` itself, and `tmp` and
    /// `archive` are its two directories.
    Own(&'a str),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirItem {
    /// The name's bytes.
    pub name: Vec<u8>,
    /// Its stat, links not followed.
    pub stat: DiskStat,
}

/// What the path of a folder's root leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootPresence {
    /// The directory that was opened.
    Here,
    /// Nothing.
    Missing,
    /// Something else than a directory.
    NotADirectory,
    /// Another directory than the one that was opened, as after a disk was taken out or put in.
    Another,
}

/// An open file, read and written at offsets.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buf.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Sets the length.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Gives it time and mode.
    fn set_meta(&self, meta: Meta) -> io::Result<()>;
    /// Its stat now.
    fn stat(&self) -> io::Result<DiskStat>;
    /// Makes bytes and metadata durable (`fsync`).
    fn sync(&self) -> io::Result<()>;
    /// Lets the system begin to write these bytes to the disk, if it can, so that a later [`sync`](Self::sync) has
    /// less to wait for. Nothing is durable by that.
    fn write_back(&self, _offset: u64, _len: u64) {}
}

/// An open directory. It stays the same directory when it is renamed while it is read.
pub trait DiskDir {
    /// The names in it, sorted by their bytes, without `.`, `..` and, at the root, `.sync`.
    fn names(&self) -> io::Result<Names>;
    /// The stat of one name in it, links not followed; `None` if it is not there (any more).
    fn stat(&self, name: &[u8]) -> io::Result<Option<DiskStat>>;
}

/// One folder's root. All methods are blocking; errors are those of the operating system.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: DiskFile + 'static;
    /// An open directory.
    type Dir: DiskDir;

    /// Whether the root is there: that its path leads to the directory that this disk was opened on.
    /// An error says that it is there but can't be looked at.
    fn root_presence(&self) -> io::Result<RootPresence>;
    /// Makes `.sync` (mode 0700), `.sync/tmp` and `.sync/archive` where they are missing.
    fn prepare(&self) -> io::Result<()>;
    /// Opens a directory to read its names and their stats.
    fn open_dir(&self, place: Place<'_>) -> io::Result<Self::Dir>;

    /// The stat of a place, links not followed; `None` if nothing is there, or if a component above is
    /// missing, is no directory or is a link.
    fn stat(&self, place: Place<'_>) -> io::Result<Option<DiskStat>>;
    /// Names and stats in a directory, in no particular order, without `.`, `..` and, at the root,
    /// `.sync`. An item that vanishes meanwhile is left out.
    /// A directory of any size is better read through [`Disk::open_dir`].
    fn list(&self, place: Place<'_>) -> io::Result<Vec<DirItem>> {
        let dir = self.open_dir(place)?;
        let mut items = Vec::new();
        for name in dir.names()?.iter() {
            if let Some(stat) = dir.stat(name)? {
                items.push(DirItem {
                    name: name.to_vec(),
                    stat,
                });
            }
        }
        Ok(items)
    }
    /// A symlink's text.
    fn read_link(&self, place: Place<'_>) -> io::Result<Vec<u8>>;
    /// Opens a regular file for reading. Anything else is refused without waiting (a FIFO must not block).
    fn open(&self, place: Place<'_>) -> io::Result<Self::File>;
    /// Opens a temporary for reading and writing, making it if it isn't there (mode 0600).
    fn open_tmp(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a directory (and, for [`Place::Archive`], those above it).
    fn make_dir(&self, place: Place<'_>, mode: u32) -> io::Result<()>;
    /// Makes a symlink.
    fn make_link(&self, place: Place<'_>, target: &[u8]) -> io::Result<()>;
    /// Gives a file or directory its time and mode. A directory's time is left alone.
    fn set_meta(&self, place: Place<'_>, meta: Meta) -> io::Result<()>;
    /// Moves; fails with `AlreadyExists` if something is at the target. Never replaces.
    fn rename_new(&self, from: Place<'_>, to: Place<'_>) -> io::Result<()>;
    /// Swaps two places atomically. `Unsupported` where the file system can't.
    fn exchange(&self, a: Place<'_>, b: Place<'_>) -> io::Result<()>;
    /// Removes a file or symlink.
    fn unlink(&self, place: Place<'_>) -> io::Result<()>;
    /// Removes an empty directory; `DirectoryNotEmpty` otherwise.
    fn remove_dir(&self, place: Place<'_>) -> io::Result<()>;
    /// Makes a copy of `from`'s bytes in the temporary `to`, sharing blocks where the file system can
    /// (reflink); returns whether blocks are shared.
    fn clone_to_tmp(&self, from: Place<'_>, to: &str) -> io::Result<bool>;
    /// Makes a directory's names durable (`fsync` of the directory).
    fn sync_dir(&self, place: Place<'_>) -> io::Result<()>;
    /// Makes everything on this file system durable (`syncfs`).
    fn sync_all(&self) -> io::Result<()>;
    /// Bytes that an ordinary user may still write.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Now, in ns since 1970, by the clock that stamps this disk's files.
    fn clock_ns(&self) -> i64;
}
