//! Whether identity and index belong together: a mark in both, a new one at each start.
//!
//! The file beside the identity holds two marks, that of the last run and the next one, and is written first;
//! then the index gets the next one. So whichever moment a crash chooses, the index holds one of the two. An
//! index with any other mark, or with none while the file has one, is not the one this identity worked with:
//! one of them was restored from a backup, and numbers could be used twice if it went unnoticed.

use std::{io, path::Path};

use sync_core::ids::Generation;
use sync_store::identity::{read_bounded, write_atomic};

/// The marks in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunMark {
    current: u64,
    next: u64,
}

impl RunMark {
    /// Reads the file of a folder, if there is one. A damaged one fits no index, which is the safe side.
    pub(super) fn read(dir: &Path, id: &str) -> io::Result<Option<Self>> {
        let Some(bytes) = read_bounded(&dir.join(file_name(id)), 64)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut numbers = text
            .split_whitespace()
            .map(|n| u64::from_str_radix(n, 16).unwrap_or(0));
        let (current, next) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Ok(Some(Self { current, next }))
    }

    /// Whether an index with this mark belongs to the identity.
    pub(super) fn fits(this: Option<Self>, index: Option<Generation>) -> bool {
        match (this, index) {
            (None, None) => true,
            (Some(this), Some(Generation(mark))) => {
                mark != 0 && (mark == this.current || mark == this.next)
            }
            _ => false,
        }
    }

    /// Notes durably that the index will get the mark `next`, while it holds `current` now.
    pub(super) fn write(
        dir: &Path,
        id: &str,
        current: Option<Generation>,
        next: Generation,
    ) -> io::Result<()> {
        let text = format!("{:016x} {:016x}\n", current.unwrap_or_default().0, next.0);
        write_atomic(dir, &file_name(id), text.as_bytes(), 0o600)
    }

    /// Sees to it that no index fits: the next opening sets the index aside and takes a new replica id.
    pub(super) fn spoil(dir: &Path, id: &str) -> io::Result<()> {
        Self::write(dir, id, None, Generation(0))
    }

    /// Forgets the marks of a folder.
    pub(super) fn remove(dir: &Path, id: &str) -> io::Result<()> {
        match std::fs::remove_file(dir.join(file_name(id))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn file_name(id: &str) -> String {
    format!("run-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_at_any_moment_of_a_start_is_no_rollback_and_a_restored_backup_is() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (a, b, c) = (Generation(0xa), Generation(0xb), Generation(0xc));
        let fits = |index| RunMark::fits(RunMark::read(dir, "x").unwrap(), index);
        assert!(fits(None));
        RunMark::write(dir, "x", None, a).unwrap();
        assert!(fits(Some(a)));
        RunMark::write(dir, "x", Some(a), b).unwrap();
        assert!(fits(Some(a)), "the crash came before the index was written");
        assert!(fits(Some(b)));
        RunMark::write(dir, "x", Some(b), c).unwrap();
        assert!(!fits(Some(a)), "an old index");
        assert!(!fits(None), "a lost index");
        assert!(!fits(Some(Generation(0xd))), "an old identity");
        RunMark::spoil(dir, "x").unwrap();
        assert!(!fits(Some(c)) && !fits(Some(Generation(0))) && !fits(None));
        std::fs::write(dir.join("run-x"), b"rubbish").unwrap();
        assert!(!fits(Some(c)) && !fits(Some(Generation(0))));
        RunMark::remove(dir, "x").unwrap();
        RunMark::remove(dir, "x").unwrap();
        assert!(fits(None));
    }
}
