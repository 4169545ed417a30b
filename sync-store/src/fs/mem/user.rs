//! What the simulated user does to the disk.
//!
//! These operations can't fail by an injected fault, don't count, and are durable at once. Directories
//! above are made where they are missing. Paths are bytes with `/` between names; they may lead into
//! `.sync`. A path that can't be used is an error, so that a test notices.

use std::{collections::BTreeMap, io, sync::Arc};

use rustix::io::Errno;
use sync_core::disk::DiskStat;

use super::{
    MemDisk,
    disk::split,
    state::{Body, NameOp, Names, ROOT, State},
};
use crate::fs::OWN_DIR;

/// What a [`Node`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A socket, FIFO or device.
    Special,
}

/// Something in a snapshot of a [`MemDisk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// A file's bytes or a symlink's text; empty else.
    pub bytes: Vec<u8>,
    /// Modification time, ns since 1970.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
}

impl MemDisk {
    /// Writes a whole file in place, making it (mode 0644) or truncating it first.
    pub fn user_write(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            let ino = file_at(state, path)?;
            state.set_len(ino, 0)?;
            state.write(ino, bytes, 0)?;
            state.sync(ino)
        })
    }

    /// Replaces a file the way careful programs do: a new file under another name, renamed over.
    pub fn user_replace(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            let mut beside = path.to_vec();
            let Some(last) = beside.last_mut() else {
                return Err(Errno::ISDIR.into());
            };
            *last = b".replacement~";
            let ino = file_at(state, &beside)?;
            state.write(ino, bytes, 0)?;
            state.sync(ino)?;
            Self::move_at(state, &beside, path, true)
        })
    }

    /// Writes at the end of a file, making it if it is missing.
    pub fn user_append(&self, path: impl AsRef<[u8]>, bytes: &[u8]) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            let ino = file_at(state, path)?;
            let end = state.stat(ino)?.size;
            state.write(ino, bytes, end)?;
            state.sync(ino)
        })
    }

    /// Makes a directory; nothing happens if it is there.
    pub fn user_mkdir(&self, path: impl AsRef<[u8]>) -> io::Result<()> {
        self.user(path.as_ref(), make_dirs)
    }

    /// Makes a symlink.
    pub fn user_symlink(&self, path: impl AsRef<[u8]>, target: &[u8]) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            Self::make_at(state, path, Body::Link(target.to_vec()), 0o777).map(drop)
        })
    }

    /// Makes a FIFO.
    pub fn user_fifo(&self, path: impl AsRef<[u8]>) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            Self::make_at(state, path, Body::Special, 0o644).map(drop)
        })
    }

    /// Gives a file a second name.
    pub fn user_hard_link(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> io::Result<()> {
        let from = split(from.as_ref());
        self.user(to.as_ref(), |state, to| {
            let ino = state.need(&from)?;
            let (dir, name) = state.slot(to)?;
            state.rename(NameOp {
                sets: vec![(dir, name, Some(ino))],
                moves_dir: false,
            });
            Ok(())
        })
    }

    /// Sets permission bits. Missing read permission of a file or directory is enforced.
    pub fn user_chmod(&self, path: impl AsRef<[u8]>, mode: u32) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            let ino = state.need(path)?;
            state.set_meta(ino, mode & 0o777, None)?;
            state.sync(ino)
        })
    }

    /// Sets a modification time.
    pub fn user_set_mtime(&self, path: impl AsRef<[u8]>, mtime_ns: i64) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            let ino = state.need(path)?;
            let mode = state.inode(ino)?.now.mode;
            state.set_meta(ino, mode, Some(mtime_ns))?;
            state.sync(ino)
        })
    }

    /// Moves something, replacing a file at the target.
    pub fn user_rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> io::Result<()> {
        let from = split(from.as_ref());
        self.user(to.as_ref(), |state, to| {
            let above = state.slot(&from)?.0;
            Self::move_at(state, &from, to, true)?;
            state.sync_names([above]);
            Ok(())
        })
    }

    /// Removes a file, or a directory and all below it.
    pub fn user_remove(&self, path: impl AsRef<[u8]>) -> io::Result<()> {
        self.user(path.as_ref(), |state, path| {
            state.need(path)?;
            let (dir, name) = state.slot(path)?;
            state.rename(NameOp {
                sets: vec![(dir, name, None)],
                moves_dir: false,
            });
            Ok(())
        })
    }

    /// A file's bytes.
    pub fn user_read(&self, path: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        let state = self.state();
        match &state.inode(state.need(&split(path.as_ref()))?)?.now.body {
            Body::File(data) => Ok(data.to_vec()),
            _ => Err(Errno::ISDIR.into()),
        }
    }

    /// The stat of a path, if something is there.
    pub fn user_stat(&self, path: impl AsRef<[u8]>) -> Option<DiskStat> {
        let state = self.state();
        let ino = state.find(&split(path.as_ref())).ok()??;
        state.stat(ino).ok()
    }

    /// Lets a path and all below it lie on another device, as after mounting.
    pub fn user_set_device(&self, path: impl AsRef<[u8]>, dev: u64) -> io::Result<()> {
        let mut state = self.state();
        let mut todo = vec![state.need(&split(path.as_ref()))?];
        while let Some(ino) = todo.pop() {
            if let Some(inode) = state.inodes.get_mut(&ino) {
                inode.dev = dev;
                if let Body::Dir(names) = &inode.now.body {
                    todo.extend(names.values());
                }
            }
        }
        Ok(())
    }

    /// Everything in the user's tree, without `.sync`.
    pub fn snapshot(&self) -> BTreeMap<Vec<u8>, Node> {
        let mut nodes = self.snapshot_below("");
        let own = [OWN_DIR.as_bytes(), b"/"].concat();
        nodes.retain(|path, _| path != OWN_DIR.as_bytes() && !path.starts_with(&own));
        nodes
    }

    /// Everything below a directory (such as `.sync/archive`), by its path from the root.
    pub fn snapshot_below(&self, dir: impl AsRef<[u8]>) -> BTreeMap<Vec<u8>, Node> {
        let state = self.state();
        let mut nodes = BTreeMap::new();
        let Ok(Some(top)) = state.find(&split(dir.as_ref())) else {
            return nodes;
        };
        let mut todo = vec![(dir.as_ref().to_vec(), top)];
        while let Some((above, ino)) = todo.pop() {
            let Ok(names) = state.names(ino) else {
                continue;
            };
            for (name, ino) in names {
                let path = if above.is_empty() {
                    name.clone()
                } else {
                    [above.as_slice(), name].join(&b'/')
                };
                let Ok(inode) = state.inode(*ino) else {
                    continue;
                };
                let (kind, bytes) = match &inode.now.body {
                    Body::File(data) => (NodeKind::File, data.to_vec()),
                    Body::Dir(_) => (NodeKind::Dir, Vec::new()),
                    Body::Link(target) => (NodeKind::Symlink, target.clone()),
                    Body::Special => (NodeKind::Special, Vec::new()),
                };
                if kind == NodeKind::Dir {
                    todo.push((path.clone(), *ino));
                }
                let (mtime_ns, mode) = (inode.now.mtime, inode.now.mode);
                nodes.insert(
                    path,
                    Node {
                        kind,
                        bytes,
                        mtime_ns,
                        mode,
                    },
                );
            }
        }
        nodes
    }

    /// Does something at a path whose parents are made first, and makes the names on the way durable.
    fn user(
        &self,
        path: &[u8],
        act: impl FnOnce(&mut State, &[&[u8]]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state();
        let path = split(path);
        let above = &path[..path.len().saturating_sub(1)];
        make_dirs(&mut state, above)?;
        let mut dirs = vec![ROOT];
        for end in 1..path.len() {
            dirs.push(state.need(&path[..end])?);
        }
        act(&mut state, &path)?;
        state.sync_names(dirs);
        Ok(())
    }
}

fn make_dirs(state: &mut State, path: &[&[u8]]) -> io::Result<()> {
    for end in 1..=path.len() {
        match state.find(&path[..end])? {
            Some(ino) => state.names(ino).map(drop)?,
            None => drop(MemDisk::make_at(
                state,
                &path[..end],
                Body::Dir(Names::new()),
                0o755,
            )?),
        }
    }
    Ok(())
}

fn file_at(state: &mut State, path: &[&[u8]]) -> io::Result<u64> {
    match state.find(path)? {
        Some(ino) => match &state.inode(ino)?.now.body {
            Body::File(_) => Ok(ino),
            _ => Err(Errno::ISDIR.into()),
        },
        None => MemDisk::make_at(state, path, Body::File(Arc::default()), 0o644),
    }
}
