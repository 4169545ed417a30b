//! Where small files lie, behind a trait: so that what never may be forgotten is written by the same code on a
//! real disk and in a simulation that breaks off between any two writes.
//!
//! A file is written whole and durably, or not at all. This module owns no name among them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::file;

/// A place for small files. Everything blocks.
pub trait SmallFiles: fmt::Debug + Send + 'static {
    /// The bytes of a file, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the disk; `InvalidData` if it is longer than `max` bytes.
    fn read(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>>;
    /// Replaces a file. Durable when it returns; after a crash on the way the old one is whole.
    ///
    /// # Errors
    ///
    /// Those of the disk; then the old file stands.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Moves a damaged file to another name, over an older one, and tells where it lies now.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    fn set_aside(&self, name: &str) -> io::Result<PathBuf>;
    /// Where a file lies, for people.
    fn path(&self, name: &str) -> PathBuf;
    /// A random number that isn't 0.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    fn random_number(&self) -> io::Result<u64>;
}

/// A directory that only its owner may read.
#[derive(Debug, Clone)]
pub struct PrivateDir {
    dir: PathBuf,
}

impl PrivateDir {
    /// The directory at this path, which is there.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }
}

impl SmallFiles for PrivateDir {
    fn read(&self, name: &str, max: u64) -> io::Result<Option<Vec<u8>>> {
        file::read_bounded(&self.dir.join(name), max)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        file::write_atomic(&self.dir, name, bytes, 0o600)
    }

    fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let to = self.dir.join(format!("{name}.damaged"));
        fs::rename(self.dir.join(name), &to)?;
        file::sync_dir(&self.dir)?;
        Ok(to)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn random_number(&self) -> io::Result<u64> {
        super::random_number().map_err(io::Error::other)
    }
}
