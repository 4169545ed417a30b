//! What a simulated disk remembers, now and after a crash.
//!
//! Owns the rule of what survives: bytes and metadata of a file once it was synced, names once their
//! directory was. Names change in operations that are atomic, and within one directory they survive in
//! order, as they do on a file system with a journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use rustix::io::Errno;
use sync_core::disk::{DiskKind, DiskStat};

use super::{MemFeatures, Unsynced};
use crate::fs::RootPresence;

/// The inode of the root.
pub(super) const ROOT: u64 = 2;
/// Stands for all directories in the order of operations that move directories.
const ALL_DIRS: u64 = 0;
/// Writes are lost or kept in pieces of this size.
const PAGE: usize = 4096;

pub(super) type Names = BTreeMap<Vec<u8>, u64>;

#[derive(Debug, Clone)]
pub(super) enum Body {
    File(Arc<Vec<u8>>),
    Dir(Names),
    Link(Vec<u8>),
    Special,
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    pub(super) ctime: i64,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { at: u64, bytes: Vec<u8>, mtime: i64 },
    Len(u64, i64),
    Meta { mode: u32, mtime: i64 },
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) now: Image,
    durable: Image,
    pending: Vec<Pending>,
    pub(super) dev: u64,
    pub(super) opens: u32,
}

/// One change of names that happens as a whole: directory, name, what it leads to.
#[derive(Debug, Clone)]
pub(super) struct NameOp {
    pub(super) sets: Vec<(u64, Vec<u8>, Option<u64>)>,
    /// It moves a directory to another parent. Such moves keep their order among all directories,
    /// or a crash could leave two directories inside each other.
    pub(super) moves_dir: bool,
}

impl NameOp {
    fn touches(&self) -> impl Iterator<Item = u64> {
        let all = self.moves_dir.then_some(ALL_DIRS);
        self.sets.iter().map(|(dir, _, _)| *dir).chain(all)
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_ino: u64,
    log: Vec<NameOp>,
    pub(super) clock: i64,
    pub(super) epoch: u64,
    pub(super) capacity: Option<u64>,
    pub(super) features: MemFeatures,
    pub(super) presence: RootPresence,
    gc_at: usize,
}

impl State {
    pub(super) fn new() -> Self {
        let mut state = Self {
            inodes: BTreeMap::new(),
            next_ino: ROOT,
            log: Vec::new(),
            clock: 1_600_000_000_000_000_000,
            epoch: 0,
            capacity: None,
            features: MemFeatures::default(),
            presence: RootPresence::Here,
            gc_at: 256,
        };
        state.make(Body::Dir(Names::new()), 0o755, 1);
        state
    }

    pub(super) fn inode(&self, ino: u64) -> io::Result<&Inode> {
        self.inodes.get(&ino).ok_or_else(|| Errno::NOENT.into())
    }

    fn inode_mut(&mut self, ino: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn names(&self, ino: u64) -> io::Result<&Names> {
        match &self.inode(ino)?.now.body {
            Body::Dir(names) => Ok(names),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// The inode at a path; `None` if nothing is there or a component above isn't a directory.
    pub(super) fn find(&self, path: &[&[u8]]) -> io::Result<Option<u64>> {
        let mut at = ROOT;
        for name in path {
            let inode = self.inode(at)?;
            let Body::Dir(names) = &inode.now.body else {
                return Ok(None);
            };
            if inode.now.mode & 0o100 == 0 {
                return Err(Errno::ACCESS.into());
            }
            let Some(next) = names.get(*name) else {
                return Ok(None);
            };
            at = *next;
        }
        Ok(Some(at))
    }

    /// The inode at a path, which must exist.
    pub(super) fn need(&self, path: &[&[u8]]) -> io::Result<u64> {
        match self.find(path)? {
            Some(ino) => Ok(ino),
            None => Err(self.why_missing(path)),
        }
    }

    fn why_missing(&self, path: &[&[u8]]) -> io::Error {
        for end in (0..path.len()).rev() {
            if let Ok(Some(ino)) = self.find(&path[..end]) {
                return match self.names(ino) {
                    Ok(_) => Errno::NOENT.into(),
                    Err(e) => e,
                };
            }
        }
        Errno::NOENT.into()
    }

    /// The directory that a path lies in, writable, and its name there.
    pub(super) fn slot(&self, path: &[&[u8]]) -> io::Result<(u64, Vec<u8>)> {
        let Some((name, above)) = path.split_last() else {
            return Err(Errno::BUSY.into());
        };
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG.into());
        }
        let dir = self.need(above)?;
        self.names(dir)?;
        if self.inode(dir)?.now.mode & 0o200 == 0 {
            return Err(Errno::ACCESS.into());
        }
        Ok((dir, name.to_vec()))
    }

    pub(super) fn is_dir(&self, ino: u64) -> bool {
        self.names(ino).is_ok()
    }

    pub(super) fn stat(&self, ino: u64) -> io::Result<DiskStat> {
        let inode = self.inode(ino)?;
        let (kind, size) = match &inode.now.body {
            Body::File(data) => (DiskKind::File, data.len() as u64),
            Body::Dir(_) => (DiskKind::Dir, 0),
            Body::Link(_) => (DiskKind::Symlink, 0),
            Body::Special => (DiskKind::Special, 0),
        };
        let kept = if kind == DiskKind::Dir { 0o700 } else { 0 };
        Ok(DiskStat {
            kind,
            size,
            mtime_ns: inode.now.mtime,
            ctime_ns: inode.now.ctime,
            mode: inode.now.mode & 0o777 | kept,
            ino,
            dev: inode.dev,
        })
    }

    /// Makes an inode without a name.
    pub(super) fn make(&mut self, body: Body, mode: u32, dev: u64) -> u64 {
        let ino = self.next_ino;
        self.next_ino += 1;
        let (mtime, ctime) = (self.clock, self.clock);
        let empty = match &body {
            Body::File(_) => Body::File(Arc::default()),
            Body::Dir(_) => Body::Dir(Names::new()),
            other => other.clone(),
        };
        let durable = Image {
            body: empty,
            mode,
            mtime,
            ctime,
        };
        let now = Image {
            body,
            mode,
            mtime,
            ctime,
        };
        self.inodes.insert(
            ino,
            Inode {
                now,
                durable,
                pending: Vec::new(),
                dev,
                opens: 0,
            },
        );
        ino
    }

    /// Changes names, as a whole.
    pub(super) fn rename(&mut self, op: NameOp) {
        let clock = self.clock;
        for (dir, name, target) in &op.sets {
            if let Some(inode) = self.inodes.get_mut(dir) {
                (inode.now.mtime, inode.now.ctime) = (clock, clock);
                let old = set_name(&mut inode.now.body, name, *target);
                for ino in old.into_iter().chain(*target) {
                    if let Some(inode) = self.inodes.get_mut(&ino) {
                        inode.now.ctime = clock;
                    }
                }
            }
        }
        self.log.push(op);
        if self.inodes.len() >= self.gc_at {
            self.collect();
            self.gc_at = 256.max(2 * self.inodes.len());
        }
    }

    /// Writes into a file, not durably.
    pub(super) fn write(&mut self, ino: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mtime = self.clock;
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        let Body::File(data) = &self.inode(ino)?.now.body else {
            return Err(Errno::ISDIR.into());
        };
        self.room_for(end.saturating_sub(data.len() as u64))?;
        let inode = self.inode_mut(ino)?;
        write_into(&mut inode.now.body, bytes, offset)?;
        (inode.now.mtime, inode.now.ctime) = (mtime, mtime);
        let mut at = offset;
        for piece in bytes.chunks(PAGE) {
            inode.pending.push(Pending::Write {
                at,
                bytes: piece.to_vec(),
                mtime,
            });
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// Sets a file's length, not durably.
    pub(super) fn set_len(&mut self, ino: u64, len: u64) -> io::Result<()> {
        let mtime = self.clock;
        let inode = self.inode_mut(ino)?;
        resize(&mut inode.now.body, len)?;
        (inode.now.mtime, inode.now.ctime) = (mtime, mtime);
        inode.pending.push(Pending::Len(len, mtime));
        Ok(())
    }

    /// Sets mode and, for anything but a directory, time; not durably.
    pub(super) fn set_meta(&mut self, ino: u64, mode: u32, mtime: Option<i64>) -> io::Result<()> {
        let clock = self.clock;
        let inode = self.inode_mut(ino)?;
        let mtime = mtime.unwrap_or(inode.now.mtime);
        (inode.now.mode, inode.now.mtime, inode.now.ctime) = (mode, mtime, clock);
        inode.pending.push(Pending::Meta { mode, mtime });
        Ok(())
    }

    /// Makes an inode's bytes and metadata durable, not its names.
    pub(super) fn sync(&mut self, ino: u64) -> io::Result<()> {
        let inode = self.inode_mut(ino)?;
        inode.pending.clear();
        let names = match &inode.durable.body {
            Body::Dir(names) => Some(names.clone()),
            _ => None,
        };
        inode.durable = inode.now.clone();
        if let Some(names) = names {
            inode.durable.body = Body::Dir(names);
        }
        Ok(())
    }

    /// Makes the names of some directories durable, and what these changes follow from.
    pub(super) fn sync_names(&mut self, dirs: impl IntoIterator<Item = u64>) {
        let mut wanted: BTreeSet<u64> = dirs.into_iter().collect();
        let mut chosen = vec![false; self.log.len()];
        for (op, chosen) in self.log.iter().zip(&mut chosen).rev() {
            if op.touches().any(|dir| wanted.contains(&dir)) {
                *chosen = true;
                wanted.extend(op.touches());
            }
        }
        let mut rest = Vec::new();
        for (op, chosen) in std::mem::take(&mut self.log).into_iter().zip(chosen) {
            if chosen {
                self.commit(&op)
            } else {
                rest.push(op)
            }
        }
        self.log = rest;
    }

    /// Makes everything durable.
    pub(super) fn sync_all(&mut self) {
        for op in std::mem::take(&mut self.log) {
            self.commit(&op);
        }
        let all: Vec<u64> = self.inodes.keys().copied().collect();
        for ino in all {
            // Every number comes from the table itself.
            let _ = self.sync(ino);
        }
        self.collect();
    }

    fn commit(&mut self, op: &NameOp) {
        for (dir, name, target) in &op.sets {
            if let Some(inode) = self.inodes.get_mut(dir) {
                set_name(&mut inode.durable.body, name, *target);
            }
        }
    }

    /// Loses what isn't durable, except for what `keep` chooses to keep.
    pub(super) fn crash(&mut self, keep: &mut dyn FnMut(Unsynced<'_>) -> bool) {
        let mut blocked = BTreeSet::new();
        for op in std::mem::take(&mut self.log) {
            let names: Vec<&[u8]> = op.sets.iter().map(|(_, name, _)| name.as_slice()).collect();
            let free = op.touches().all(|dir| !blocked.contains(&dir));
            if free && keep(Unsynced::Names(&names)) {
                self.commit(&op);
            } else {
                blocked.extend(op.touches());
            }
        }
        let live = self.reachable(|inode| &inode.durable.body);
        self.inodes.retain(|ino, _| live.contains(ino));
        for (ino, inode) in &mut self.inodes {
            for pending in std::mem::take(&mut inode.pending) {
                let image = &mut inode.durable;
                match pending {
                    Pending::Write { at, bytes, mtime } => {
                        if keep(Unsynced::Write {
                            ino: *ino,
                            offset: at,
                            len: bytes.len(),
                        }) {
                            let _ = write_into(&mut image.body, &bytes, at);
                            image.mtime = mtime;
                        }
                    }
                    Pending::Len(len, mtime) => {
                        if keep(Unsynced::Len { ino: *ino, len }) {
                            let _ = resize(&mut image.body, len);
                            image.mtime = mtime;
                        }
                    }
                    Pending::Meta { mode, mtime } => {
                        if keep(Unsynced::Meta { ino: *ino }) {
                            (image.mode, image.mtime) = (mode, mtime);
                        }
                    }
                }
            }
            inode.opens = 0;
            inode.now = inode.durable.clone();
        }
        self.epoch += 1;
    }

    /// Forgets inodes that no name, open file or unsynced change leads to.
    fn collect(&mut self) {
        let mut live = self.reachable(|inode| &inode.now.body);
        live.extend(self.reachable(|inode| &inode.durable.body));
        live.extend(
            self.log
                .iter()
                .flat_map(|op| &op.sets)
                .filter_map(|set| set.2),
        );
        live.extend(self.log.iter().flat_map(|op| &op.sets).map(|set| set.0));
        self.inodes
            .retain(|ino, inode| inode.opens > 0 || live.contains(ino));
    }

    fn reachable(&self, body: impl Fn(&Inode) -> &Body) -> BTreeSet<u64> {
        let mut seen = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(Body::Dir(names)) = todo
            .pop()
            .map(|ino| self.inodes.get(&ino).map_or(&Body::Special, &body))
        {
            for ino in names.values() {
                if !seen.insert(*ino) {
                    continue;
                }
                if self
                    .inodes
                    .get(ino)
                    .is_some_and(|i| matches!(body(i), Body::Dir(_)))
                {
                    todo.push(*ino);
                }
            }
        }
        seen
    }

    /// Bytes in all files.
    pub(super) fn used(&self) -> u64 {
        let sizes = self.inodes.values().map(|inode| match &inode.now.body {
            Body::File(data) => data.len() as u64,
            _ => 0,
        });
        sizes.sum()
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }
}

fn set_name(body: &mut Body, name: &[u8], target: Option<u64>) -> Option<u64> {
    let Body::Dir(names) = body else { return None };
    match target {
        Some(ino) => names.insert(name.to_vec(), ino),
        None => names.remove(name),
    }
}

fn write_into(body: &mut Body, bytes: &[u8], offset: u64) -> io::Result<()> {
    let Body::File(data) = body else {
        return Err(Errno::ISDIR.into());
    };
    let data = Arc::make_mut(data);
    let start = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
    let end = start.checked_add(bytes.len()).ok_or(Errno::FBIG)?;
    if data.len() < end {
        data.resize(end, 0);
    }
    data[start..end].copy_from_slice(bytes);
    Ok(())
}

fn resize(body: &mut Body, len: u64) -> io::Result<()> {
    let Body::File(data) = body else {
        return Err(Errno::ISDIR.into());
    };
    Arc::make_mut(data).resize(usize::try_from(len).map_err(|_| Errno::FBIG)?, 0);
    Ok(())
}
