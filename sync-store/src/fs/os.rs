//! What differs between operating systems: opening beneath a directory without following links, moving
//! without replacing, and copying by reference. Linux is what is here; another system gets its own
//! versions of these few functions. Nothing else in the crate calls the operating system for files.

use std::{
    io,
    num::NonZeroU64,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{
        Advice, AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec,
        Timestamps, UTIME_OMIT,
    },
    io::Errno,
};
use sync_core::disk::{DiskKind, DiskStat};

/// Longest path that is handed to the kernel in one piece.
const ONE_PIECE: usize = 3500;

/// Opens paths beneath a directory.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
    /// The kernel can do it in one call (`openat2`, since Linux 5.6; some sandboxes forbid it).
    one_call: AtomicBool,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        let beneath = Self {
            root,
            one_call: AtomicBool::new(true),
        };
        let probe = beneath.one_call(b".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        beneath.one_call.store(probe.is_ok(), Ordering::Relaxed);
        beneath
    }

    /// As on a kernel without `openat2`.
    #[cfg(test)]
    pub(super) fn walk_always(&self) {
        self.one_call.store(false, Ordering::Relaxed);
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens `path` (the root itself, if empty). No component may be a link, the last one neither.
    pub(super) fn open(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let path = if path.is_empty() { b"." } else { path };
        if path.len() <= ONE_PIECE && self.one_call.load(Ordering::Relaxed) {
            return self.one_call(path, flags, mode);
        }
        let mut at: Option<OwnedFd> = None;
        let mut rest = path;
        while let Some(cut) = rest.iter().position(|b| *b == b'/') {
            let (name, tail) = rest.split_at(cut);
            let dir = at.as_ref().map_or(self.root(), AsFd::as_fd);
            at = Some(step(
                dir,
                name,
                OFlags::PATH | OFlags::DIRECTORY,
                Mode::empty(),
            )?);
            rest = &tail[1..];
        }
        step(
            at.as_ref().map_or(self.root(), AsFd::as_fd),
            rest,
            flags,
            mode,
        )
    }

    fn one_call(&self, path: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.root, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < 16 => tries += 1,
                other => return Ok(other?),
            }
        }
    }
}

fn step(dir: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    if name == b".." || name.is_empty() {
        return Err(Errno::XDEV.into());
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(dir, name, flags, mode)?;
    // With O_PATH a link at the end is opened itself; O_DIRECTORY refuses it.
    if flags.contains(OFlags::PATH)
        && !flags.contains(OFlags::DIRECTORY)
        && stat_of(&rustix::fs::fstat(&fd)?).kind == DiskKind::Symlink
    {
        return Err(Errno::LOOP.into());
    }
    Ok(fd)
}

/// Whether an error of a look-up says that nothing is there: a component is missing, is no
/// directory or is a link, or no such name can exist.
pub(super) fn says_absent(e: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(e),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::XDEV)
    )
}

/// A stat as sync sees it.
pub(super) fn stat_of(stat: &Stat) -> DiskStat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => DiskKind::File,
        FileType::Directory => DiskKind::Dir,
        FileType::Symlink => DiskKind::Symlink,
        _ => DiskKind::Special,
    };
    // What the owner may do with a directory isn't synced.
    let kept = if kind == DiskKind::Dir { 0o700 } else { 0 };
    DiskStat {
        kind,
        size: if kind == DiskKind::File {
            u64::try_from(stat.st_size).unwrap_or(0)
        } else {
            0
        },
        mtime_ns: nanos(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        ctime_ns: nanos(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        mode: (stat.st_mode & 0o777) | kept,
        ino: stat.st_ino,
        dev: stat.st_dev,
    }
}

/// Nanoseconds, as far as an `i64` goes (1677 to 2262).
fn nanos(secs: i128, nanos: i128) -> i64 {
    let all = secs * 1_000_000_000 + nanos;
    i64::try_from(all).unwrap_or(if all < 0 { i64::MIN } else { i64::MAX })
}

fn times(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    }
}

fn mode_of(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

/// Begins to write a range of a file to the disk, without waiting for it. Linux does so when it is told that the
/// range isn't needed any more; what isn't on disk yet stays in memory.
pub(super) fn write_back(file: impl AsFd, offset: u64, len: u64) {
    if let Some(len) = NonZeroU64::new(len) {
        // It is only advice.
        let _ = rustix::fs::fadvise(file, offset, Some(len), Advice::DontNeed);
    }
}

/// Sets an open thing's mode and, unless `None`, its time.
pub(super) fn set_meta(fd: impl AsFd, mode: u32, mtime_ns: Option<i64>) -> io::Result<()> {
    rustix::fs::fchmod(&fd, mode_of(mode))?;
    if let Some(mtime) = mtime_ns {
        rustix::fs::futimens(&fd, &times(mtime))?;
    }
    Ok(())
}

/// The same for something that can be named but not opened for reading, through its `O_PATH` handle.
pub(super) fn set_meta_unopened(
    handle: BorrowedFd<'_>,
    mode: u32,
    mtime_ns: Option<i64>,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmodat(CWD, name.as_str(), mode_of(mode), AtFlags::empty())?;
    if let Some(mtime) = mtime_ns {
        rustix::fs::utimensat(CWD, name.as_str(), &times(mtime), AtFlags::empty())?;
    }
    Ok(())
}

/// A directory and a name in it.
pub(super) type Slot<'a> = (BorrowedFd<'a>, &'a [u8]);

/// Moves without replacing.
pub(super) fn rename_new(from: Slot<'_>, to: Slot<'_>) -> io::Result<()> {
    rename_with(from, to, RenameFlags::NOREPLACE)
}

/// Swaps two names.
pub(super) fn exchange(a: Slot<'_>, b: Slot<'_>) -> io::Result<()> {
    rename_with(a, b, RenameFlags::EXCHANGE)
}

fn rename_with(from: Slot<'_>, to: Slot<'_>, flags: RenameFlags) -> io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, flags) {
        // File systems that don't know the flags answer INVAL.
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
        other => Ok(other?),
    }
}

/// Makes `to` (empty) a copy of `from`; whether blocks are shared.
pub(super) fn copy(from: impl AsFd, to: impl AsFd, size: u64) -> io::Result<bool> {
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        return Ok(true);
    }
    let (mut read_at, mut write_at) = (0, 0);
    let mut in_kernel = true;
    let mut buf = Vec::new();
    loop {
        if in_kernel && read_at < size {
            let want = usize::try_from(size - read_at)
                .unwrap_or(usize::MAX)
                .min(1 << 30);
            let copied = rustix::fs::copy_file_range(
                &from,
                Some(&mut read_at),
                &to,
                Some(&mut write_at),
                want,
            );
            match copied {
                // Zero before the end: some file systems can't and say it so.
                Ok(0) => in_kernel = false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(e.into()),
                Err(_) => in_kernel = false,
            }
            continue;
        }
        // The rest, and whatever was appended meanwhile, by hand.
        buf.resize(1 << 20, 0);
        let len = match rustix::io::pread(&from, &mut buf[..], read_at) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if len == 0 {
            return Ok(false);
        }
        let mut done = 0;
        while done < len {
            match rustix::io::pwrite(&to, &buf[done..len], write_at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    done += more;
                    write_at += more as u64;
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        read_at += len as u64;
    }
}
