//! The note left before anything of the user's is moved into `.sync/tmp`.
//!
//! Replacing a file swaps it with a temporary, so for a moment the only name of the old file lies in
//! `.sync/tmp`. Before the first such swap of a group a [`Note`] is made durable that says, for each
//! temporary, which path it was swapped with. After a crash [`recover`](super::Applier::recover) reads the
//! notes and gives back, archives or copies what was displaced, so that no leftover of a user's file is
//! ever mistaken for a temporary of ours.
//!
//! Owns the format of notes and the names of temporaries. It never moves anything.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use minicbor::{Decode, Encode};
use sync_core::{
    disk::{DiskStat, Displaced},
    ids::base32_text,
    manifest::ContentRoot,
    path::RelPath,
};

use crate::fs::{Disk, DiskFile, Place};

/// Names of notes begin with this.
pub(crate) const NOTE: &str = "i-";
/// Names of temporaries that are only ever renamed to a place where nothing is.
pub(crate) const NEW: &str = "n-";
/// Names of temporaries that may come to hold what a user wrote.
pub(crate) const SWAP: &str = "x-";
/// Appended to a swap's name: what was moved aside where the file system can't exchange.
pub(crate) const ASIDE: &str = "o";

/// Longest note that is read: a group is far smaller.
const MAX_NOTE: u64 = 64 << 20;
const VERSION: u8 = 1;

/// What one temporary was, or may have been, swapped with.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Swap {
    /// The temporary.
    #[n(0)]
    pub(crate) tmp: String,
    /// The path it is swapped with.
    #[n(1)]
    pub(crate) path: RelPath,
    /// What was expected there.
    #[n(2)]
    pub(crate) expect: DiskStat,
    /// The temporary's own stat before the swap; `None` if it is no file of ours at any time.
    #[n(3)]
    pub(crate) ours: Option<DiskStat>,
    /// Our content, for file systems that number their inodes anew at each mount.
    #[n(4)]
    pub(crate) content: Option<ContentRoot>,
    /// The conflict copy that the displaced file becomes; `None` for the archive.
    #[n(5)]
    pub(crate) copy: Option<RelPath>,
}

impl Swap {
    pub(crate) fn displaced(&self) -> Displaced {
        self.copy
            .clone()
            .map_or(Displaced::Archive, Displaced::Copy)
    }

    pub(crate) fn aside(&self) -> String {
        format!("{}{ASIDE}", self.tmp)
    }
}

/// All swaps of a group.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Note {
    #[n(0)]
    pub(crate) swaps: Vec<Swap>,
}

impl Note {
    /// Version, body, and the body's hash: a torn note is known as such.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        // Writing to a vector can't fail.
        let _ = minicbor::encode(self, &mut bytes);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// `None` for anything that isn't a whole note.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let (version, body) = body.split_first()?;
        if *version != VERSION {
            return None;
        }
        minicbor::decode(body).ok()
    }

    /// Reads a note; `None` if it is torn, which proves that nothing was swapped under it.
    pub(crate) fn read<D: Disk>(disk: &D, name: &str) -> io::Result<Option<Self>> {
        let file = disk.open(Place::Tmp(name))?;
        let size = file.stat()?.size;
        if size > MAX_NOTE {
            return Ok(None);
        }
        Ok(Self::decode(&super::verify::read_whole(&file, size)?))
    }
}

/// The name of a temporary that was a partial file, from which that name can be had again.
pub(crate) fn with_partial(name: &str, partial: &str) -> String {
    format!("{name}+{partial}")
}

/// The name a temporary had as a partial file.
pub(crate) fn partial_of(name: &str) -> Option<&str> {
    name.split_once('+').map(|(_, partial)| partial)
}

/// Gives temporaries names that were never used before, by this run or another.
#[derive(Debug)]
pub(crate) struct TmpNames {
    run: String,
    next: AtomicU64,
}

impl TmpNames {
    pub(crate) fn new() -> Self {
        let mut run = [0; 8];
        if getrandom::fill(&mut run).is_err() {
            // Without randomness the moment of the start tells runs apart.
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            run = now.map_or(0, |d| d.as_nanos() as u64).to_be_bytes();
        }
        Self {
            run: base32_text(&run).to_lowercase(),
            next: AtomicU64::new(0),
        }
    }

    pub(crate) fn next(&self, prefix: &str) -> String {
        format!(
            "{prefix}{}-{}",
            self.run,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::disk::DiskKind;

    #[test]
    fn a_torn_note_is_none() {
        let expect = DiskStat {
            kind: DiskKind::File,
            size: 1,
            mtime_ns: 2,
            ctime_ns: 3,
            mode: 0o644,
            ino: 5,
            dev: 6,
        };
        let swap = Swap {
            tmp: "x-1".into(),
            path: RelPath::parse(b"a/b").unwrap(),
            expect,
            ours: Some(expect),
            content: Some(ContentRoot::empty()),
            copy: None,
        };
        let note = Note { swaps: vec![swap] };
        let bytes = note.encode();
        assert_eq!(Note::decode(&bytes), Some(note));
        for end in 0..bytes.len() {
            assert_eq!(Note::decode(&bytes[..end]), None);
        }
        let mut zeros = bytes.clone();
        zeros[4..].fill(0);
        assert_eq!(Note::decode(&zeros), None);
    }
}
