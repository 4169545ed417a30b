//! What a record says about one path.

use minicbor::{Decode, Encode};

use crate::{ids::ReplicaId, manifest::ContentRoot, path::RelPath};

/// Permission bits that travel. Owner, group, set-id and sticky bits stay local.
pub const MODE_MASK: u32 = 0o777;
/// Longest symlink text.
pub const MAX_TARGET: usize = 4096;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link; its text is synced and never followed.
    Symlink,
    /// Nothing any more: a deletion.
    Tombstone,
    /// A kind of a later version: kept and passed on, never touched on disk.
    Other(u8),
}

impl Kind {
    /// The byte that stands for it on disk and wire.
    pub fn code(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Dir => 2,
            Self::Symlink => 3,
            Self::Tombstone => 4,
            Self::Other(code) => code,
        }
    }

    /// Reads a byte back; those unknown here become [`Kind::Other`].
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::File,
            2 => Self::Dir,
            3 => Self::Symlink,
            4 => Self::Tombstone,
            other => Self::Other(other),
        }
    }

    /// Whether a person would see something there.
    pub fn is_live(self) -> bool {
        matches!(self, Self::File | Self::Dir | Self::Symlink)
    }
}

/// One path's state, as its author saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: Kind,
    /// Bytes of a file; 0 for anything else.
    pub size: u64,
    /// Modification time in nanoseconds since 1970; for a tombstone, when the deletion was seen.
    pub mtime_ns: i64,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u32,
    /// What a file holds.
    pub content: Option<ContentRoot>,
    /// What the file held before this version, if it was a file: an index that still holds that content
    /// knows itself to be an ancestor, even when it has lost all its versions.
    pub prev: Option<ContentRoot>,
    /// A symlink's text.
    pub target: Option<Vec<u8>>,
    /// The replica that made this state. A record that only settles a conflict keeps the winner's, so the
    /// same loser has the same name everywhere.
    pub author: ReplicaId,
}

impl Entry {
    /// The deletion of `path`, seen at `unix_ns`, of something that held `prev`.
    pub fn tombstone(
        path: RelPath,
        unix_ns: i64,
        prev: Option<ContentRoot>,
        author: ReplicaId,
    ) -> Self {
        Self {
            path,
            kind: Kind::Tombstone,
            size: 0,
            mtime_ns: unix_ns,
            mode: 0,
            content: None,
            prev,
            target: None,
            author,
        }
    }

    /// Whether both have the same kind and content; time and mode don't count.
    pub fn same_content(&self, other: &Self) -> bool {
        self.kind == other.kind && self.content == other.content && self.target == other.target
    }

    /// Whether a person would see no difference at all.
    pub fn same_state(&self, other: &Self) -> bool {
        let meta = match self.kind {
            Kind::File => self.mtime_ns == other.mtime_ns && self.mode == other.mode,
            Kind::Dir => self.mode == other.mode,
            _ => true,
        };
        self.same_content(other) && meta
    }

    /// Checks what the types can't: that the fields fit the kind, and bounds.
    pub(crate) fn is_consistent(&self) -> bool {
        let file = self.kind == Kind::File;
        let link = self.kind == Kind::Symlink;
        match self.kind {
            Kind::Other(_) => true,
            _ => {
                self.content.is_some() == file
                    && self.target.is_some() == link
                    && (file || self.size == 0)
                    && self.mode & !MODE_MASK == 0
                    && self
                        .target
                        .as_ref()
                        .is_none_or(|t| !t.is_empty() && t.len() <= MAX_TARGET && !t.contains(&0))
            }
        }
    }
}

/// The sealed part of a record, in its wire form. Fields are numbered; later versions may append.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Body {
    #[n(0)]
    pub(crate) path: RelPath,
    #[n(1)]
    pub(crate) size: u64,
    #[n(2)]
    pub(crate) mtime_ns: i64,
    #[n(3)]
    pub(crate) mode: u32,
    #[n(4)]
    pub(crate) content: Option<ContentRoot>,
    #[n(5)]
    pub(crate) prev: Option<ContentRoot>,
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) target: Option<Vec<u8>>,
    /// Absent if it is the dot's replica.
    #[n(7)]
    pub(crate) author: Option<ReplicaId>,
}
