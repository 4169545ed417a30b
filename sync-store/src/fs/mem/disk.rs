//! The simulated disk as the daemon sees it.

use std::io;

use rustix::io::Errno;
use sync_core::disk::{DiskKind, DiskStat, Meta};

use super::{
    MemDisk, OpKind,
    state::{Body, NameOp, Names as NameMap, ROOT},
};
use crate::fs::{
    ARCHIVE_DIR, Disk, DiskDir, DiskFile, Names, OWN_DIR, Place, RootPresence, TMP_DIR,
};

/// A place's path from the root.
pub(super) fn path_of(place: Place<'_>) -> Vec<u8> {
    let own = |rest: &[&[u8]]| {
        let parts = [&[OWN_DIR.as_bytes()][..], rest].concat();
        parts.join(&b'/')
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

/// A path's components.
pub(super) fn split(path: &[u8]) -> Vec<&[u8]> {
    if path.is_empty() {
        Vec::new()
    } else {
        path.split(|b| *b == b'/').collect()
    }
}

/// An open file of a [`MemDisk`].
#[derive(Debug)]
pub struct MemFile {
    disk: MemDisk,
    ino: u64,
    epoch: u64,
    path: Vec<u8>,
}

impl MemFile {
    fn op<T>(
        &self,
        kind: OpKind,
        act: impl FnOnce(&mut super::State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.begin(kind, &self.path)?;
        if state.epoch != self.epoch {
            return Err(Errno::BADF.into());
        }
        act(&mut state)
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch
            && let Some(inode) = state.inodes.get_mut(&self.ino)
        {
            inode.opens = inode.opens.saturating_sub(1);
        }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.op(OpKind::Read, |state| {
            let Body::File(data) = &state.inode(self.ino)?.now.body else {
                return Err(Errno::ISDIR.into());
            };
            let start = usize::try_from(offset).map_or(data.len(), |at| at.min(data.len()));
            let len = buf.len().min(data.len() - start);
            buf[..len].copy_from_slice(&data[start..start + len]);
            Ok(len)
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.op(OpKind::Write, |state| state.write(self.ino, buf, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.op(OpKind::SetLen, |state| state.set_len(self.ino, len))
    }

    fn set_meta(&self, meta: Meta) -> io::Result<()> {
        self.op(OpKind::SetMeta, |state| {
            state.set_meta(self.ino, meta.mode & 0o777, Some(meta.mtime_ns))
        })
    }

    fn stat(&self) -> io::Result<DiskStat> {
        self.op(OpKind::Stat, |state| state.stat(self.ino))
    }

    fn sync(&self) -> io::Result<()> {
        self.op(OpKind::Sync, |state| state.sync(self.ino))
    }
}

/// An open directory of a [`MemDisk`].
#[derive(Debug)]
pub struct MemDir {
    disk: MemDisk,
    ino: u64,
    path: Vec<u8>,
}

impl DiskDir for MemDir {
    fn names(&self) -> io::Result<Names> {
        let state = self.disk.begin(OpKind::List, &self.path)?;
        let mut names = Names::new();
        for name in state.names(self.ino)?.keys() {
            if self.ino != ROOT || name != OWN_DIR.as_bytes() {
                // Names here have 255 bytes at most.
                let _ = names.push(name);
            }
        }
        Ok(names)
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<DiskStat>> {
        let slash = if self.path.is_empty() { &b""[..] } else { b"/" };
        let path = [&self.path, slash, name].concat();
        let state = self.disk.begin(OpKind::Stat, &path)?;
        match state.names(self.ino)?.get(name) {
            Some(ino) => state.stat(*ino).map(Some),
            None => Ok(None),
        }
    }
}

impl MemDisk {
    fn open_ino(&self, state: &mut super::State, ino: u64, path: Vec<u8>) -> MemFile {
        if let Some(inode) = state.inodes.get_mut(&ino) {
            inode.opens += 1;
        }
        MemFile {
            disk: self.clone(),
            ino,
            epoch: state.epoch,
            path,
        }
    }

    /// Makes something at a path where nothing may be.
    pub(super) fn make_at(
        state: &mut super::State,
        path: &[&[u8]],
        body: Body,
        mode: u32,
    ) -> io::Result<u64> {
        let (dir, name) = state.slot(path)?;
        if state.names(dir)?.contains_key(&name) {
            return Err(Errno::EXIST.into());
        }
        let dev = state.inode(dir)?.dev;
        let ino = state.make(body, mode, dev);
        state.rename(NameOp {
            sets: vec![(dir, name, Some(ino))],
            moves_dir: false,
        });
        Ok(ino)
    }

    /// Moves; `replace` says whether something may be at the target.
    pub(super) fn move_at(
        state: &mut super::State,
        from: &[&[u8]],
        to: &[&[u8]],
        replace: bool,
    ) -> io::Result<()> {
        let ino = state.need(from)?;
        let (from_dir, from_name) = state.slot(from)?;
        let (to_dir, to_name) = state.slot(to)?;
        let moves_dir = state.is_dir(ino);
        if to.starts_with(from) && to.len() > from.len() {
            return Err(Errno::INVAL.into());
        }
        if let Some(old) = state.names(to_dir)?.get(&to_name) {
            if !replace {
                return Err(Errno::EXIST.into());
            }
            if *old == ino {
                return Ok(());
            }
            match (moves_dir, state.names(*old)) {
                (false, Ok(_)) => return Err(Errno::ISDIR.into()),
                (true, Err(_)) => return Err(Errno::NOTDIR.into()),
                (true, Ok(names)) if !names.is_empty() => return Err(Errno::NOTEMPTY.into()),
                _ => {}
            }
        }
        let sets = vec![(from_dir, from_name, None), (to_dir, to_name, Some(ino))];
        state.rename(NameOp {
            sets,
            moves_dir: moves_dir && from_dir != to_dir,
        });
        Ok(())
    }

    fn make_dir_at(
        state: &mut super::State,
        path: &[&[u8]],
        mode: u32,
        with_parents: bool,
    ) -> io::Result<()> {
        if with_parents {
            for end in 1..path.len() {
                if state.find(&path[..end])?.is_none() {
                    let body = Body::Dir(NameMap::new());
                    Self::make_at(state, &path[..end], body, 0o700)?;
                }
            }
        }
        Self::make_at(state, path, Body::Dir(NameMap::new()), mode & 0o777 | 0o700).map(drop)
    }
}

impl Disk for MemDisk {
    type File = MemFile;
    type Dir = MemDir;

    fn root_presence(&self) -> io::Result<RootPresence> {
        Ok(self.state().presence)
    }

    fn prepare(&self) -> io::Result<()> {
        for name in ["", TMP_DIR, ARCHIVE_DIR] {
            match self.make_dir(Place::Own(name), 0o700) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn open_dir(&self, place: Place<'_>) -> io::Result<MemDir> {
        let path = path_of(place);
        let state = self.begin(OpKind::List, &path)?;
        let ino = state.need(&split(&path))?;
        state.names(ino)?;
        if state.inode(ino)?.now.mode & 0o400 == 0 {
            return Err(Errno::ACCESS.into());
        }
        drop(state);
        Ok(MemDir {
            disk: self.clone(),
            ino,
            path,
        })
    }

    fn stat(&self, place: Place<'_>) -> io::Result<Option<DiskStat>> {
        let path = path_of(place);
        let state = self.begin(OpKind::Stat, &path)?;
        match state.find(&split(&path))? {
            Some(ino) => state.stat(ino).map(Some),
            None => Ok(None),
        }
    }

    fn read_link(&self, place: Place<'_>) -> io::Result<Vec<u8>> {
        let path = path_of(place);
        let state = self.begin(OpKind::ReadLink, &path)?;
        match &state.inode(state.need(&split(&path))?)?.now.body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn open(&self, place: Place<'_>) -> io::Result<MemFile> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::Open, &path)?;
        let ino = state.need(&split(&path))?;
        let stat = state.stat(ino)?;
        match stat.kind {
            DiskKind::File if stat.mode & 0o400 != 0 => Ok(self.open_ino(&mut state, ino, path)),
            DiskKind::File => Err(Errno::ACCESS.into()),
            DiskKind::Dir => Err(Errno::ISDIR.into()),
            DiskKind::Symlink => Err(Errno::LOOP.into()),
            DiskKind::Special => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn open_tmp(&self, name: &str) -> io::Result<MemFile> {
        let path = path_of(Place::Tmp(name));
        let mut state = self.begin(OpKind::OpenTmp, &path)?;
        let ino = match state.find(&split(&path))? {
            Some(ino) if state.stat(ino)?.kind == DiskKind::File => ino,
            Some(_) => return Err(io::ErrorKind::InvalidInput.into()),
            None => {
                let body = Body::File(std::sync::Arc::default());
                Self::make_at(&mut state, &split(&path), body, 0o600)?
            }
        };
        Ok(self.open_ino(&mut state, ino, path))
    }

    fn make_dir(&self, place: Place<'_>, mode: u32) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::MakeDir, &path)?;
        let archive = matches!(place, Place::Archive(_));
        Self::make_dir_at(&mut state, &split(&path), mode, archive)
    }

    fn make_link(&self, place: Place<'_>, target: &[u8]) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::MakeLink, &path)?;
        if target.is_empty() {
            return Err(Errno::NOENT.into());
        }
        Self::make_at(
            &mut state,
            &split(&path),
            Body::Link(target.to_vec()),
            0o777,
        )
        .map(drop)
    }

    fn set_meta(&self, place: Place<'_>, meta: Meta) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::SetMeta, &path)?;
        let ino = state.need(&split(&path))?;
        match state.stat(ino)?.kind {
            DiskKind::File => state.set_meta(ino, meta.mode & 0o777, Some(meta.mtime_ns)),
            DiskKind::Dir => state.set_meta(ino, meta.mode & 0o777 | 0o700, None),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn rename_new(&self, from: Place<'_>, to: Place<'_>) -> io::Result<()> {
        let (from, to) = (path_of(from), path_of(to));
        let mut state = self.begin(OpKind::Rename, &from)?;
        Self::move_at(&mut state, &split(&from), &split(&to), false)
    }

    fn exchange(&self, a: Place<'_>, b: Place<'_>) -> io::Result<()> {
        let (a, b) = (path_of(a), path_of(b));
        let mut state = self.begin(OpKind::Exchange, &a)?;
        let (a, b) = (split(&a), split(&b));
        if !state.features.exchange {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if a.starts_with(&b) || b.starts_with(&a) {
            return Err(Errno::INVAL.into());
        }
        let (a_ino, b_ino) = (state.need(&a)?, state.need(&b)?);
        let ((a_dir, a_name), (b_dir, b_name)) = (state.slot(&a)?, state.slot(&b)?);
        let moves_dir = a_dir != b_dir && (state.is_dir(a_ino) || state.is_dir(b_ino));
        let sets = vec![(a_dir, a_name, Some(b_ino)), (b_dir, b_name, Some(a_ino))];
        state.rename(NameOp { sets, moves_dir });
        Ok(())
    }

    fn unlink(&self, place: Place<'_>) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::Unlink, &path)?;
        if state.is_dir(state.need(&split(&path))?) {
            return Err(Errno::ISDIR.into());
        }
        let (dir, name) = state.slot(&split(&path))?;
        state.rename(NameOp {
            sets: vec![(dir, name, None)],
            moves_dir: false,
        });
        Ok(())
    }

    fn remove_dir(&self, place: Place<'_>) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::RemoveDir, &path)?;
        if !state.names(state.need(&split(&path))?)?.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        let (dir, name) = state.slot(&split(&path))?;
        state.rename(NameOp {
            sets: vec![(dir, name, None)],
            moves_dir: false,
        });
        Ok(())
    }

    fn clone_to_tmp(&self, from: Place<'_>, to: &str) -> io::Result<bool> {
        drop(self.begin(OpKind::Clone, &path_of(from))?);
        let source = self.open(from)?;
        let target = self.open_tmp(to)?;
        let data = {
            let state = self.state();
            match &state.inode(source.ino)?.now.body {
                Body::File(data) => data.clone(),
                _ => return Err(Errno::ISDIR.into()),
            }
        };
        target.set_len(0)?;
        target.write_all_at(&data, 0)?;
        Ok(self.state().features.reflink)
    }

    fn sync_dir(&self, place: Place<'_>) -> io::Result<()> {
        let path = path_of(place);
        let mut state = self.begin(OpKind::SyncDir, &path)?;
        let ino = state.need(&split(&path))?;
        state.names(ino)?;
        state.sync_names([ino]);
        state.sync(ino)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.begin(OpKind::SyncAll, b"")?.sync_all();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state
            .capacity
            .map_or(1 << 40, |capacity| capacity.saturating_sub(state.used())))
    }

    fn clock_ns(&self) -> i64 {
        self.state().clock
    }
}
