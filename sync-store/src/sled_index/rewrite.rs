//! Writing an index anew: what takes its garbage away, and what brings an index of the version before to today's
//! format.
//!
//! sled never gives space back by itself: an index that was filled is twice as large as what it holds, and a
//! copy in the order of keys into a fresh database costs less than anything else (`docs/adr/0008-compaction.md`).
//!
//! It owns the names `NAME.next` (being written, or the old one while it goes) and `NAME.former` (the old one, on
//! file systems that can't exchange two names) beside the index. At any moment one whole index stands under its
//! own name or as `NAME.former`; after a crash [`put_back`] gives it its name again. It must never let a database that
//! isn't durable take the name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sync_core::index::IndexResult;

use super::db::{Db, Item, Stage};

/// Items in one step, which bounds memory.
const STEP: usize = 256;
/// Steps between two flushes: sled uses space again only when what replaced it is durable.
const FLUSH: usize = 8;

/// Where the new one is written.
pub(super) fn next(dir: &Path) -> PathBuf {
    beside(dir, ".next")
}

fn former(dir: &Path) -> PathBuf {
    beside(dir, ".former")
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    dir.with_file_name(name)
}

/// Gives the old one its name back, if a crash came between two renames. To be called before the index is opened.
pub(super) fn put_back(dir: &Path) -> io::Result<()> {
    if dir.join("db").exists() || !former(dir).join("db").exists() {
        return Ok(());
    }
    remove(dir)?;
    fs::rename(former(dir), dir)?;
    sync_parent(dir)
}

/// Deletes what a crash left beside a whole index. Only for who holds its lock.
pub(super) fn remove_leftovers(dir: &Path) -> io::Result<()> {
    remove(&next(dir))?;
    remove(&former(dir))
}

/// Copies the items for which `keep` says so.
pub(super) fn copy(
    from: &Db,
    to: &Db,
    mut keep: impl FnMut(&Item) -> IndexResult<bool>,
) -> IndexResult<()> {
    let mut stage = Stage::default();
    let (mut n, mut steps) = (0, 0);
    from.walk(&[], |item| {
        if keep(&item)? {
            stage.put(item.0.to_vec(), item.1.to_vec());
            n += 1;
        }
        if n == STEP {
            n = 0;
            to.apply(std::mem::take(&mut stage))?;
            steps += 1;
            if steps % FLUSH == 0 {
                to.flush()?;
            }
        }
        Ok(())
    })?;
    to.apply(stage)
}

/// Puts `NAME.next` in the place of the index and deletes the old one. Both must be closed.
///
/// # Errors
///
/// Those of the disk; the index is the old one or the new one then.
pub(super) fn replace(dir: &Path) -> io::Result<()> {
    let next = next(dir);
    sync_all(&next)?;
    match renameat_with(CWD, &next, CWD, dir, RenameFlags::EXCHANGE) {
        Ok(()) => {
            sync_parent(dir)?;
            remove(&next)
        }
        // The file system, or the system, doesn't know how.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            let former = former(dir);
            remove(&former)?;
            fs::rename(dir, &former)?;
            fs::rename(&next, dir)?;
            sync_parent(dir)?;
            remove(&former)
        }
        Err(e) => Err(e.into()),
    }
}

/// Bytes that a directory's files take on the disk.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for item in fs::read_dir(dir)? {
        let item = item?;
        sum += match item.metadata() {
            Ok(meta) if meta.is_dir() => size(&item.path())?,
            Ok(meta) => meta.blocks() * 512,
            // Deleted meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e),
        };
    }
    Ok(sum)
}

/// Bytes that may still be written where `dir` lies.
pub(super) fn room(dir: &Path) -> io::Result<u64> {
    let fs = rustix::fs::statvfs(dir)?;
    Ok(fs.f_bavail.saturating_mul(fs.f_frsize))
}

fn sync_all(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            fs::File::open(path)?.sync_all()?;
        }
    }
    fs::File::open(dir)?.sync_all()
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    match dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
