//! What the core and the disk say to each other: states found, actions wanted, results.
//!
//! Every action carries what it expects to find. The applier looks before it replaces anything and
//! reports instead of writing when the disk differs, so an edit made a moment ago is never overwritten.

use minicbor::{Decode, Encode};

use crate::{
    ids::ReplicaId,
    manifest::{ChunkRef, ContentRoot},
    path::RelPath,
    trouble::Trouble,
};

/// What kind of thing the disk shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum DiskKind {
    /// A regular file.
    #[n(1)]
    File,
    /// A directory.
    #[n(2)]
    Dir,
    /// A symbolic link.
    #[n(3)]
    Symlink,
    /// A socket, FIFO or device: never synced, never replaced.
    #[n(4)]
    Special,
}

/// A file's stat, as far as sync cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct DiskStat {
    /// What it is.
    #[n(0)]
    pub kind: DiskKind,
    /// Bytes, for a file; 0 else.
    #[n(1)]
    pub size: u64,
    /// Modification time, ns since 1970.
    #[n(2)]
    pub mtime_ns: i64,
    /// Change time, ns since 1970.
    #[n(3)]
    pub ctime_ns: i64,
    /// Permission bits (`0o777`).
    #[n(4)]
    pub mode: u32,
    /// Inode number.
    #[n(5)]
    pub ino: u64,
    /// Device number.
    #[n(6)]
    pub dev: u64,
}

/// What a path shows, once looked at closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file whose bytes were read between two equal stats.
    File {
        /// Its stat.
        stat: DiskStat,
        /// Its content.
        content: ContentRoot,
        /// Its mtime is so young that a later write might not change it; look again.
        racy: bool,
    },
    /// A directory.
    Dir {
        /// Its stat.
        stat: DiskStat,
    },
    /// A symlink and its text.
    Symlink {
        /// Its stat.
        stat: DiskStat,
        /// Its text.
        target: Vec<u8>,
    },
    /// Nothing there (any more).
    Absent,
    /// A socket, FIFO or device.
    Special,
    /// Something is there that can't be read now: unknown, not deleted.
    Unreadable {
        /// Why.
        reason: Trouble,
    },
    /// It went on changing while it was read; look again later.
    Busy,
}

/// One path looked at by a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanItem {
    /// Where.
    pub path: RelPath,
    /// What was found.
    pub found: Found,
    /// Manifest of a file of several chunks, to be stored; empty for others.
    pub manifest: Vec<Page>,
    /// Its chunks in order, for files of several chunks.
    pub chunks: Vec<ChunkRef>,
}

/// A manifest page and its hash.
pub type Page = (crate::chunk::ContentHash, bytes::Bytes);

/// What an action expects at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// Exactly what the index knows: same kind, size, mtime and inode.
    Stat(DiskStat),
}

/// Where the bytes of a file to be placed come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A complete temporary of this content in `.sync/tmp`.
    Temp(ContentRoot),
    /// Bytes in hand: a small file.
    Bytes(bytes::Bytes),
    /// A local file known to hold the content: copied (reflinked where possible) and verified.
    CopyOf(RelPath),
}

/// What to do with what a replacement or deletion displaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Displaced {
    /// It is an ancestor: into the archive, where people can restore it.
    Archive,
    /// It is a version of its own: it becomes the conflict copy of this name.
    Copy(RelPath),
}

/// Time and mode to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Modification time, ns since 1970.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
}

/// One step on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes a directory, or gives an existing one its mode.
    Dir {
        /// Where.
        path: RelPath,
        /// Permission bits.
        mode: u32,
        /// What should be there now: nothing, a directory, or a file that is displaced.
        expect: Expect,
        /// For a file in its place.
        displaced: Displaced,
    },
    /// Puts a file at a path.
    File {
        /// Where.
        path: RelPath,
        /// Its bytes.
        source: Source,
        /// Its content, verified before it is placed.
        content: ContentRoot,
        /// Its size in bytes.
        size: u64,
        /// Its time and mode.
        meta: Meta,
        /// What should be there now.
        expect: Expect,
        /// For what is there now.
        displaced: Displaced,
    },
    /// Puts a symlink at a path.
    Symlink {
        /// Where.
        path: RelPath,
        /// Its text.
        target: Vec<u8>,
        /// What should be there now.
        expect: Expect,
        /// For what is there now.
        displaced: Displaced,
    },
    /// Gives a file or directory its time and mode; the content is right already.
    Meta {
        /// Where.
        path: RelPath,
        /// Its time and mode. A directory's time is left alone.
        meta: Meta,
        /// What should be there now.
        expect: Expect,
    },
    /// Moves a file.
    Rename {
        /// From where.
        from: RelPath,
        /// What should be there.
        expect_from: Expect,
        /// To where; nothing may be there.
        to: RelPath,
        /// Its time and mode afterwards.
        meta: Meta,
    },
    /// Takes a file, symlink or empty directory away. A directory that still holds something stays.
    Remove {
        /// Where.
        path: RelPath,
        /// What should be there.
        expect: Expect,
        /// For a file.
        displaced: Displaced,
    },
}

impl Action {
    /// The path whose state the action decides (for a rename, the target).
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Dir { path, .. }
            | Self::File { path, .. }
            | Self::Symlink { path, .. }
            | Self::Meta { path, .. }
            | Self::Remove { path, .. } => path,
            Self::Rename { to, .. } => to,
        }
    }
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done and durable; what the path shows now (`None` after a removal).
    Done {
        /// The stat found after our own write.
        stat: Option<DiskStat>,
        /// Conflict copies that came to be on the way, to be looked at by a scan.
        copies: Vec<RelPath>,
    },
    /// The disk isn't as expected; nothing was changed. The path must be looked at again.
    Stale,
    /// The directory still holds something and stays.
    NotEmpty,
    /// The source of a copy or the temporary doesn't have the content (any more).
    BadSource,
    /// It can't be done here, for as long as the reason stands: a name the file system can't hold,
    /// permission, and so on. Tried again later.
    Failed {
        /// Why.
        reason: Trouble,
    },
    /// The disk is full or failing: nothing more is tried until it is better.
    DiskFull {
        /// Why.
        reason: Trouble,
    },
}

/// Why a chunk couldn't be written into a temporary. It is never the fault of the peer that sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteTrouble {
    /// The disk takes nothing more: nothing is fetched until it is better.
    Full(Trouble),
    /// This file can't be written now; it is tried again later.
    Failed(Trouble),
}

/// Who we are, for the names of conflict copies that the applier makes of unexpected edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAuthor(pub ReplicaId);
