//! What an error of the operating system means for an action.
//!
//! Owns the way from an error of the system to a [`Trouble`]. It decides nothing else.

use std::io;

use rustix::io::Errno;
use sync_core::{disk::Outcome, path::RelPath, trouble::Trouble};

/// Whether an error says that the disk is full, failing or read-only, so that going on is useless.
pub(crate) fn stops_all(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull, WriteZero};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem | WriteZero
    ) || error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// What stops all work, in words.
pub(crate) fn full(error: &io::Error) -> Outcome {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => Trouble::DiskFull,
        io::ErrorKind::QuotaExceeded => Trouble::Quota,
        io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnlyDisk,
        _ => Trouble::DiskFails(error.to_string()),
    };
    Outcome::DiskFull { reason }
}

/// Why something can't be read.
pub(crate) fn unreadable(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Trouble::NotReadable(error.to_string()),
        _ => Trouble::Unreadable(error.to_string()),
    }
}

/// The outcome of an action on `path` that failed with `error`.
pub(crate) fn outcome(error: &io::Error, path: &RelPath) -> Outcome {
    use io::ErrorKind as K;
    if stops_all(error) {
        return full(error);
    }
    let raw = error.raw_os_error();
    let is = |errno: Errno| raw == Some(errno.raw_os_error());
    match error.kind() {
        K::NotFound | K::AlreadyExists | K::NotADirectory | K::IsADirectory => Outcome::Stale,
        K::DirectoryNotEmpty => Outcome::NotEmpty,
        _ if is(Errno::LOOP) => Outcome::Stale,
        K::PermissionDenied => failed(Trouble::Permission(path.clone())),
        _ if is(Errno::NAMETOOLONG) => failed(Trouble::NameTooLong(path.clone())),
        _ if is(Errno::ILSEQ) || is(Errno::INVAL) => failed(Trouble::BadName(path.clone())),
        K::InvalidInput | K::InvalidFilename => failed(Trouble::BadName(path.clone())),
        K::FileTooLarge => failed(Trouble::TooLarge),
        K::CrossesDevices => failed(Trouble::Mounted(path.clone())),
        K::Unsupported => failed(Trouble::Unsupported {
            path: path.clone(),
            error: error.to_string(),
        }),
        _ => failed(error.to_string()),
    }
}

pub(crate) fn failed(reason: impl Into<Trouble>) -> Outcome {
    Outcome::Failed {
        reason: reason.into(),
    }
}

/// Whether giving a file its time or mode failed only because this file system keeps none, or because
/// the file belongs to someone else. The content is worth having all the same.
pub(crate) fn meta_is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported | InvalidInput)
}
