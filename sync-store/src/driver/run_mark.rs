//! Whether identity and index belong together: a mark in both, a new one at each start.
//!
//! The file beside the identity holds two marks, that of the last run and the next one, and is written first;
//! then the index gets the next one. So whichever moment a crash chooses, the index holds one of the two. An
//! index with any other mark, or with none while the file has one, is not the one this identity worked with:
//! one of them was restored from a backup, and numbers could be used twice if it went unnoticed.

use std::io;

use sync_core::ids::Generation;

use crate::identity::SmallFiles;

/// Longest file of marks.
const MAX: u64 = 64;

/// The marks in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMark {
    current: u64,
    next: u64,
}

impl RunMark {
    /// Reads the file of a folder, if there is one. A damaged one fits no index, which is the safe side.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn read<F: SmallFiles>(files: &F, id: &str) -> io::Result<Option<Self>> {
        let Some(bytes) = files.read(&Self::file_name(id), MAX)? else {
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
    pub fn fits(this: Option<Self>, index: Option<Generation>) -> bool {
        match (this, index) {
            (None, None) => true,
            (Some(this), Some(Generation(mark))) => {
                mark != 0 && (mark == this.current || mark == this.next)
            }
            _ => false,
        }
    }

    /// Notes durably that the index will get the mark `next`, while it holds `current` now.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn write<F: SmallFiles>(
        files: &F,
        id: &str,
        current: Option<Generation>,
        next: Generation,
    ) -> io::Result<()> {
        let text = format!("{:016x} {:016x}\n", current.unwrap_or_default().0, next.0);
        files.write(&Self::file_name(id), text.as_bytes())
    }

    /// Sees to it that no index fits: the next opening sets the index aside and takes a new replica id.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn spoil<F: SmallFiles>(files: &F, id: &str) -> io::Result<()> {
        Self::write(files, id, None, Generation(0))
    }

    /// The name of a folder's file among the small ones.
    pub fn file_name(id: &str) -> String {
        format!("run-{id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PrivateDir;

    #[test]
    fn a_crash_at_any_moment_of_a_start_is_no_rollback_and_a_restored_backup_is() {
        let dir = tempfile::tempdir().unwrap();
        let files = &PrivateDir::new(dir.path());
        let (a, b, c) = (Generation(0xa), Generation(0xb), Generation(0xc));
        let fits = |index| RunMark::fits(RunMark::read(files, "x").unwrap(), index);
        assert!(fits(None));
        RunMark::write(files, "x", None, a).unwrap();
        assert!(fits(Some(a)));
        RunMark::write(files, "x", Some(a), b).unwrap();
        assert!(fits(Some(a)), "the crash came before the index was written");
        assert!(fits(Some(b)));
        RunMark::write(files, "x", Some(b), c).unwrap();
        assert!(!fits(Some(a)), "an old index");
        assert!(!fits(None), "a lost index");
        assert!(!fits(Some(Generation(0xd))), "an old identity");
        RunMark::spoil(files, "x").unwrap();
        assert!(!fits(Some(c)) && !fits(Some(Generation(0))) && !fits(None));
        std::fs::write(dir.path().join("run-x"), b"rubbish").unwrap();
        assert!(!fits(Some(c)) && !fits(Some(Generation(0))));
        std::fs::remove_file(dir.path().join("run-x")).unwrap();
        assert!(fits(None));
    }
}
