//! A real directory as a [`Disk`].
//!
//! Every path is resolved beneath the root's handle, and no component may be a link, so neither a
//! hostile name nor a link that is put in place meanwhile leads outside. Handles of inner directories
//! aren't kept between calls: a directory that is moved out of the root must not take later writes with
//! it, and looking a path up anew costs about a microsecond.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RawDir},
    io::Errno,
};
use sync_core::disk::{DiskKind, DiskStat, Meta};

use super::{
    ARCHIVE_DIR, Disk, DiskDir, DiskFile, Names, OWN_DIR, Place, RootPresence, TMP_DIR,
    os::{self, Beneath},
};

/// Read nothing but regular files, and don't wait for the other end of a FIFO.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// The directory of a folder.
#[derive(Debug)]
pub struct RootDisk {
    path: PathBuf,
    beneath: Beneath,
    /// Device and inode of the root when it was opened.
    identity: (u64, u64),
}

impl RootDisk {
    /// Opens a directory as root. The path itself may lead over links; they are followed once, here.
    ///
    /// # Errors
    ///
    /// Those of the operating system; `NotADirectory` if it is something else.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let root = rustix::fs::openat(CWD, &path, DIR | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&root)?;
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Self {
            path,
            beneath: Beneath::new(root),
            identity,
        })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub(super) fn walk_always(&self) {
        self.beneath.walk_always();
    }

    fn open_at(&self, place: Place<'_>, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        self.beneath
            .open(&path_of(place), flags, Mode::from_raw_mode(mode))
    }

    /// Does something with the directory that a place lies in and its name there.
    fn at<T>(
        &self,
        place: Place<'_>,
        act: impl FnOnce(os::Slot<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = path_of(place);
        match path.iter().rposition(|b| *b == b'/') {
            Some(cut) => {
                let dir = self.beneath.open(&path[..cut], HANDLE, Mode::empty())?;
                act((dir.as_fd(), &path[cut + 1..]))
            }
            None if path.is_empty() => Err(Errno::BUSY.into()),
            None => act((self.beneath.root(), &path)),
        }
    }

    fn at_both<T>(
        &self,
        a: Place<'_>,
        b: Place<'_>,
        act: impl FnOnce(os::Slot<'_>, os::Slot<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.at(a, |a| self.at(b, |b| act(a, b)))
    }

    fn open_regular(&self, place: Place<'_>, flags: OFlags, mode: u32) -> io::Result<RootFile> {
        let file = File::from(self.open_at(place, flags, mode)?);
        match os::stat_of(&rustix::fs::fstat(&file)?).kind {
            DiskKind::File => Ok(RootFile { file }),
            DiskKind::Dir => Err(Errno::ISDIR.into()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }
}

/// A place's path from the root.
fn path_of(place: Place<'_>) -> Vec<u8> {
    let own = |parts: &[&[u8]]| {
        let mut path = OWN_DIR.as_bytes().to_vec();
        for part in parts {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        path
    };
    match place {
        Place::Root => Vec::new(),
        Place::User(path) => path.as_bytes().to_vec(),
        Place::Tmp(name) => own(&[TMP_DIR.as_bytes(), name.as_bytes()]),
        Place::Archive(path) => own(&[ARCHIVE_DIR.as_bytes(), path.as_bytes()]),
        Place::Own("") => own(&[]),
        Place::Own(name) => own(&[name.as_bytes()]),
    }
}

/// An open file of a [`RootDisk`].
#[derive(Debug)]
pub struct RootFile {
    file: File,
}

impl DiskFile for RootFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn set_meta(&self, meta: Meta) -> io::Result<()> {
        os::set_meta(&self.file, meta.mode, Some(meta.mtime_ns))
    }

    fn stat(&self) -> io::Result<DiskStat> {
        Ok(os::stat_of(&rustix::fs::fstat(&self.file)?))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn write_back(&self, offset: u64, len: u64) {
        os::write_back(&self.file, offset, len);
    }
}

/// An open directory of a [`RootDisk`].
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    is_root: bool,
}

impl DiskDir for RootDir {
    fn names(&self) -> io::Result<Names> {
        // A directory is read from where its handle stands, so each reading needs a new one.
        let fd = rustix::fs::openat(&self.fd, ".", DIR | OFlags::CLOEXEC, Mode::empty())?;
        let mut names = Names::new();
        let mut buf = Vec::with_capacity(32 * 1024);
        let mut dir = RawDir::new(fd, buf.spare_capacity_mut());
        while let Some(entry) = dir.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || (self.is_root && name == OWN_DIR.as_bytes()) {
                continue;
            }
            if !names.push(name) {
                return Err(io::Error::other("the directory is too large to be listed"));
            }
        }
        names.sort();
        Ok(names)
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<DiskStat>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(os::stat_of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl Disk for RootDisk {
    type File = RootFile;
    type Dir = RootDir;

    fn root_presence(&self) -> io::Result<RootPresence> {
        match rustix::fs::stat(&self.path) {
            Ok(stat) if os::stat_of(&stat).kind != DiskKind::Dir => Ok(RootPresence::NotADirectory),
            Ok(stat) if (stat.st_dev, stat.st_ino) == self.identity => Ok(RootPresence::Here),
            Ok(_) => Ok(RootPresence::Another),
            Err(Errno::NOENT) => Ok(RootPresence::Missing),
            Err(Errno::NOTDIR) => Ok(RootPresence::NotADirectory),
            Err(e) => Err(e.into()),
        }
    }

    fn prepare(&self) -> io::Result<()> {
        for name in ["", TMP_DIR, ARCHIVE_DIR] {
            match self.make_dir(Place::Own(name), 0o700) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // It must be a directory, not a link to one.
                    self.open_at(Place::Own(name), HANDLE, 0)?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn open_dir(&self, place: Place<'_>) -> io::Result<RootDir> {
        let fd = self.open_at(place, DIR, 0)?;
        Ok(RootDir {
            fd,
            is_root: place == Place::Root,
        })
    }

    fn stat(&self, place: Place<'_>) -> io::Result<Option<DiskStat>> {
        if place == Place::Root {
            return Ok(Some(os::stat_of(&rustix::fs::fstat(self.beneath.root())?)));
        }
        let stat = self.at(place, |(dir, name)| {
            Ok(os::stat_of(&rustix::fs::statat(
                dir,
                name,
                AtFlags::SYMLINK_NOFOLLOW,
            )?))
        });
        match stat {
            Err(e) if os::says_absent(&e) => Ok(None),
            other => other.map(Some),
        }
    }

    fn read_link(&self, place: Place<'_>) -> io::Result<Vec<u8>> {
        self.at(place, |(dir, name)| {
            Ok(rustix::fs::readlinkat(dir, name, Vec::with_capacity(256))?.into_bytes())
        })
    }

    fn open(&self, place: Place<'_>) -> io::Result<RootFile> {
        self.open_regular(place, READ, 0)
    }

    fn open_tmp(&self, name: &str) -> io::Result<RootFile> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_regular(Place::Tmp(name), flags, 0o600)
    }

    fn make_dir(&self, place: Place<'_>, mode: u32) -> io::Result<()> {
        let make = |place| {
            self.at(place, |(dir, name)| {
                Ok(rustix::fs::mkdirat(
                    dir,
                    name,
                    Mode::from_raw_mode(mode & 0o777 | 0o700),
                )?)
            })
        };
        let Place::Archive(path) = place else {
            make(place)?;
            if mode & 0o077 == 0 {
                return Ok(());
            }
            // What the process's umask took away.
            return self.set_meta(place, Meta { mtime_ns: 0, mode });
        };
        let mut above: Vec<_> = path.ancestors().collect();
        above.reverse();
        for dir in &above {
            match make(Place::Archive(dir)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        make(place)
    }

    fn make_link(&self, place: Place<'_>, target: &[u8]) -> io::Result<()> {
        let target = std::ffi::OsStr::from_bytes(target);
        self.at(place, |(dir, name)| {
            Ok(rustix::fs::symlinkat(target, dir, name)?)
        })
    }

    fn set_meta(&self, place: Place<'_>, meta: Meta) -> io::Result<()> {
        let handle = self.open_at(place, OFlags::PATH, 0)?;
        let (mode, mtime) = match os::stat_of(&rustix::fs::fstat(&handle)?).kind {
            DiskKind::File => (meta.mode & 0o777, Some(meta.mtime_ns)),
            DiskKind::Dir => (meta.mode & 0o777 | 0o700, None),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        match self.open_at(place, READ, 0) {
            Ok(fd) => {
                let (opened, named) = (rustix::fs::fstat(&fd)?, rustix::fs::fstat(&handle)?);
                if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino) {
                    return Err(Errno::NOENT.into());
                }
                os::set_meta(&fd, mode, mtime)
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                os::set_meta_unopened(handle.as_fd(), mode, mtime)
            }
            Err(e) => Err(e),
        }
    }

    fn rename_new(&self, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        self.at_both(from, to, os::rename_new)
    }

    fn exchange(&self, a: Place<'_>, b: Place<'_>) -> io::Result<()> {
        self.at_both(a, b, os::exchange)
    }

    fn unlink(&self, place: Place<'_>) -> io::Result<()> {
        let flags = AtFlags::empty();
        self.at(place, |(dir, name)| {
            Ok(rustix::fs::unlinkat(dir, name, flags)?)
        })
    }

    fn remove_dir(&self, place: Place<'_>) -> io::Result<()> {
        let flags = AtFlags::REMOVEDIR;
        let removed = self.at(place, |(dir, name)| {
            Ok(rustix::fs::unlinkat(dir, name, flags)?)
        });
        match removed {
            // POSIX lets a file system say either.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::EXIST) => Err(Errno::NOTEMPTY.into()),
            other => other,
        }
    }

    fn clone_to_tmp(&self, from: Place<'_>, to: &str) -> io::Result<bool> {
        let source = self.open(from)?;
        let target = self.open_tmp(to)?;
        target.set_len(0)?;
        os::copy(&source.file, &target.file, source.stat()?.size)
    }

    fn sync_dir(&self, place: Place<'_>) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.open_at(place, DIR, 0)?)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self.beneath.root())?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.beneath.root())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The system's clock, which stamps local disks. A network disk's may differ.
    fn clock_ns(&self) -> i64 {
        let nanos = |d: std::time::Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        }
    }
}

#[cfg(test)]
mod tests;
