//! What an error of the operating system means for an action.
//!
//! Owns the words people read when something can't be done here. It decides nothing else.

use std::io;

use rustix::io::Errno;
use sync_core::{disk::Outcome, path::RelPath};

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
        io::ErrorKind::StorageFull | io::ErrorKind::WriteZero => {
            "the disk is full; free some space and it goes on by itself".to_owned()
        }
        io::ErrorKind::QuotaExceeded => {
            "the disk quota is used up; free some space and it goes on by itself".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only; mount it writable".to_owned()
        }
        _ => format!("the disk reports an error ({error}); check the disk and its cables"),
    };
    Outcome::DiskFull { reason }
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
        K::PermissionDenied => failed(format!(
            "no permission to write in the directory of {path}; give the user that runs syncd write \
             permission there"
        )),
        _ if is(Errno::NAMETOOLONG) => failed(format!(
            "the name is too long for this file system; rename {path} to something shorter"
        )),
        _ if is(Errno::ILSEQ) || is(Errno::INVAL) => bad_name(path),
        K::InvalidInput | K::InvalidFilename => bad_name(path),
        K::FileTooLarge => failed("the file is larger than this file system can hold".to_owned()),
        K::CrossesDevices => failed(format!(
            "another file system is mounted above {path}; a synced folder must lie on one file system"
        )),
        K::Unsupported => failed(format!("this file system can't hold {path} ({error})")),
        _ => failed(error.to_string()),
    }
}

fn bad_name(path: &RelPath) -> Outcome {
    failed(format!(
        "this file system can't hold the name {path}; rename it on a device that can"
    ))
}

pub(crate) fn failed(reason: String) -> Outcome {
    Outcome::Failed { reason }
}

/// Whether giving a file its time or mode failed only because this file system keeps none, or because
/// the file belongs to someone else. The content is worth having all the same.
pub(crate) fn meta_is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported | InvalidInput)
}
