//! One daemon for each home: a lock that the system takes back when the process ends, however it ends.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Why the lock can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error(
        "another syncd{} runs on {}; stop it first (`syncctl shutdown`), or use another --home",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        home.display()
    )]
    Held {
        /// The home.
        home: PathBuf,
        /// The other process, if it wrote its number down.
        pid: Option<u32>,
    },
    /// The file can't be made or locked.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The lock; let go when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    /// Takes the lock file at `path`.
    ///
    /// # Errors
    ///
    /// When another process has it, or the file can't be made.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let fail = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.open(path).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = (&file).take(32).read_to_string(&mut text);
                let home = path.parent().unwrap_or(path).to_owned();
                return Err(LockError::Held {
                    home,
                    pid: text.trim().parse().ok(),
                });
            }
            Err(e) => return Err(fail(e.into())),
        }
        // Only for the message above; the lock holds without it.
        let written = file.set_len(0).and_then(|()| file.rewind());
        let _ = written.and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err();
        assert!(
            matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id())
        );
        assert!(error.to_string().contains("another syncd"), "{error}");
        drop(lock);
        Lock::take(&path).unwrap();
    }
}
