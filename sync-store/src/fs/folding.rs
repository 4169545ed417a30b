//! Whether a file system takes two names for one.

use std::io;

use super::{Disk, Place};

/// The name of the trial, and two that a file system may take for it: in another case, and with the accent as a
/// character of its own.
const TRIAL: &str = "trial-\u{e9}";
const TWINS: [&str; 2] = ["TRIAL-\u{e9}", "trial-e\u{301}"];

/// Whether the file system of a folder takes names for the same that aren't, tried with a temporary. Such a
/// folder can't hold what others can, and a file that was renamed from one such name to the other shows under both.
///
/// # Errors
///
/// Those of the disk.
pub fn folds_names<D: Disk>(disk: &D) -> io::Result<bool> {
    disk.prepare()?;
    drop(disk.open_tmp(TRIAL)?);
    let shown = TWINS.map(|twin| disk.stat(Place::Tmp(twin)));
    disk.unlink(Place::Tmp(TRIAL))?;
    let mut folds = false;
    for stat in shown {
        folds |= stat?.is_some();
    }
    Ok(folds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{MemDisk, RootDisk};

    #[test]
    fn a_usual_file_system_tells_names_apart_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RootDisk::open(dir.path()).unwrap();
        assert!(!folds_names(&disk).unwrap());
        assert!(disk.list(Place::Own("tmp")).unwrap().is_empty());
        let disk = MemDisk::new();
        assert!(!folds_names(&disk).unwrap());
        // As a file system shows it that folds: one file under both names.
        disk.user_write(".sync/tmp/TRIAL-\u{e9}", b"").unwrap();
        assert!(folds_names(&disk).unwrap());
    }
}
