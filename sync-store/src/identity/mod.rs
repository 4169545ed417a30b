//! The small files that must never be lost or rolled back: who we are, and which numbers are used.
//!
//! Everything that an index can't rebuild lies here, each thing in a file of its own, written whole to a
//! temporary, made durable, renamed, and the directory made durable. A file is checked by a hash when it is
//! read; damage is told, never guessed around.
//!
//! It owns the files it is given names for. It never writes a secret anywhere else, never shows one in
//! `Debug` or in an error, and never hands out a number that an earlier start may have used.

mod device;
mod file;
mod files;
mod folder;
mod secrets;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use device::DeviceIdentity;
pub use file::{private_dir, read_bounded, write_atomic};
pub use files::{PrivateDir, SmallFiles};
pub use folder::{FolderIdentity, NewReplica, Origin, Reserved, folder_name};
pub use secrets::SecretsFile;

/// Why an identity file can't be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// It can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are not what was written. It is left as it is.
    #[error("{path} is damaged ({what}); restore it from a backup, or remove it to start anew")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What doesn't fit.
        what: String,
    },
    /// It was written by a later version.
    #[error("{path} has format {format}, which this version does not know")]
    Format {
        /// Which file.
        path: PathBuf,
        /// The format found.
        format: u8,
    },
    /// Others than its owner can read it, and that can't be changed.
    #[error("{path} can be read by others; make it private with `chmod 600`")]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The numbers of a replica are used up.
    #[error("no numbers are left for this replica")]
    Exhausted,
}

/// `N` random bytes from the system.
fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| IdentityError::Random(e.to_string()))?;
    Ok(bytes)
}

/// A random number that isn't 0.
fn random_number() -> Result<u64, IdentityError> {
    loop {
        match u64::from_be_bytes(random()?) {
            0 => {}
            number => return Ok(number),
        }
    }
}
