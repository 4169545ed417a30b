//! One scan: the walk laid beside the index.

use std::sync::atomic::{AtomicBool, Ordering};

use sync_core::{
    disk::{DiskKind, DiskStat, Found, ScanItem},
    index::{Index, IndexEntry},
    observe::{Observation, observe},
    path::RelPath,
    trouble::Trouble,
};

use super::{
    BATCH_BYTES, BATCH_ITEMS, ScanError, ScanEvent, ScanSummary, Scanner,
    cursor::Cursor,
    device::OTHER_DEVICE,
    gone::Gone,
    hash::LARGE,
    pool::{Looked, Pool},
};
use crate::{
    apply::trouble::unreadable,
    fs::{Disk, DiskDir, Names, Place, RootPresence},
};

/// An open directory of the walk.
struct Frame<T> {
    /// `None` is the root.
    path: Option<RelPath>,
    dir: T,
    names: Names,
    next: usize,
    dev: u64,
    /// The device it was on when it was indexed.
    known_dev: Option<u64>,
}

pub(super) struct Run<'a, D: Disk, I> {
    pub(super) scanner: &'a Scanner<D, I>,
    sink: &'a mut dyn FnMut(ScanEvent),
    cancel: &'a AtomicBool,
    pub(super) pool: Pool<'a, D>,
    pub(super) batch: Vec<ScanItem>,
    batch_bytes: usize,
    pub(super) gone: Gone,
    /// Directories of whose content nothing is known.
    pub(super) unknown: Vec<RelPath>,
    pub(super) summary: ScanSummary,
}

impl<'a, D: Disk, I: Index + Clone> Run<'a, D, I> {
    pub(super) fn new(
        scanner: &'a Scanner<D, I>,
        sink: &'a mut dyn FnMut(ScanEvent),
        cancel: &'a AtomicBool,
        pool: Pool<'a, D>,
    ) -> Self {
        Self {
            scanner,
            sink,
            cancel,
            pool,
            batch: Vec::new(),
            batch_bytes: 0,
            gone: Gone::default(),
            unknown: Vec::new(),
            summary: ScanSummary::default(),
        }
    }

    pub(super) fn disk(&self) -> &'a D {
        &self.scanner.disk
    }

    pub(super) fn check_cancel(&self) -> Result<(), ScanError> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(ScanError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Walks everything.
    pub(super) fn walk_root(&mut self) -> Result<(), ScanError> {
        self.check_root()?;
        let disk = self.disk();
        let dir = disk.open_dir(Place::Root).map_err(ScanError::Root)?;
        let names = dir.names().map_err(ScanError::Root)?;
        let dev = match disk.stat(Place::Root).map_err(ScanError::Root)? {
            Some(stat) => stat.dev,
            None => return Err(ScanError::RootGone),
        };
        self.summary.dirs += 1;
        let frame = Frame {
            path: None,
            dir,
            names,
            next: 0,
            dev,
            known_dev: None,
        };
        self.walk(frame, Cursor::new(&self.scanner.index, None))
    }

    /// Looks at some paths and what is below them.
    pub(super) fn walk_paths(&mut self, paths: &[RelPath]) -> Result<(), ScanError> {
        self.check_root()?;
        let mut paths = paths.to_vec();
        paths.sort();
        paths.dedup();
        let mut done: Option<RelPath> = None;
        let mut above_done: Vec<RelPath> = Vec::new();
        for path in paths {
            self.check_cancel()?;
            if done
                .as_ref()
                .is_some_and(|d| path == *d || path.is_below(d))
            {
                continue;
            }
            done = Some(self.walk_path(path, &mut above_done)?);
        }
        Ok(())
    }

    /// Looks at one path, or at the first directory above it that isn't as the index knows it. Returns
    /// what it walked.
    fn walk_path(
        &mut self,
        path: RelPath,
        above_done: &mut Vec<RelPath>,
    ) -> Result<RelPath, ScanError> {
        let mut above: Vec<RelPath> = path.ancestors().collect();
        above.reverse();
        above_done.retain(|dir| path.is_below(dir));
        let root = self.disk().stat(Place::Root).map_err(ScanError::Root)?;
        let mut parent_dev = root.ok_or(ScanError::RootGone)?.dev;
        let mut parent_known = None;
        for at in above.into_iter().chain([path]) {
            let entry = self.scanner.index.entry(&at)?;
            let stat = match self.disk().stat(Place::User(&at)) {
                Ok(stat) => stat,
                Err(e) => {
                    self.unreadable(&at, unreadable(&e));
                    return Ok(at);
                }
            };
            let Some(stat) = stat else {
                if entry.is_some_and(|e| e.stat.is_some()) {
                    self.gone.add_single(at.clone());
                }
                self.all_gone_below(&at)?;
                return Ok(at);
            };
            if self.is_ignored(&at, stat.kind) {
                return Ok(at);
            }
            let known = entry
                .as_ref()
                .and_then(|e| e.stat)
                .filter(|s| s.kind == DiskKind::Dir);
            if stat.kind == DiskKind::Dir
                && !self.device_fits(&at, &stat, known, parent_dev, parent_known)?
            {
                self.unreadable(&at, Trouble::Unreadable(OTHER_DEVICE.into()));
                return Ok(at);
            }
            let seen = above_done.contains(&at);
            if !seen {
                self.see(&at, entry.as_ref(), &stat);
            }
            if stat.kind != DiskKind::Dir {
                self.all_gone_below(&at)?;
                return Ok(at);
            }
            (parent_dev, parent_known) = (stat.dev, known.map(|k| k.dev));
            if !seen {
                above_done.push(at);
            }
        }
        // All directories down to the path itself are there: walk it.
        let Some(path) = above_done.pop() else {
            return Err(ScanError::RootGone);
        };
        let mut cursor = Cursor::new(&self.scanner.index, Some(path.clone()));
        if let Some(frame) = self.enter(&path, parent_dev, parent_known, &mut cursor)? {
            self.walk(frame, cursor)?;
        }
        Ok(path)
    }

    fn all_gone_below(&mut self, dir: &RelPath) -> Result<(), ScanError> {
        let mut cursor = Cursor::new(&self.scanner.index, Some(dir.clone()));
        while let Some((path, entry)) = cursor.next()? {
            if entry.stat.is_some() {
                self.gone.add(path);
            }
        }
        self.gone.close();
        Ok(())
    }

    /// Walks what is below an open directory, beside a cursor over what the index has there.
    fn walk(&mut self, top: Frame<D::Dir>, mut cursor: Cursor<'_, I>) -> Result<(), ScanError> {
        let mut frames = vec![top];
        while let Some(frame) = frames.last_mut() {
            if frame.next.is_multiple_of(64) {
                self.check_cancel()?;
            }
            let Some(name) = frame.names.at(frame.next) else {
                frames.pop();
                continue;
            };
            frame.next += 1;
            let path = match &frame.path {
                Some(dir) => dir.join(name),
                None => RelPath::parse(name),
            };
            let path = match path {
                Ok(path) => path,
                Err(reason) => {
                    let above = frame.path.as_ref().map_or(&b""[..], |dir| dir.as_bytes());
                    let slash = if above.is_empty() { &b""[..] } else { b"/" };
                    self.summary.skipped += 1;
                    (self.sink)(ScanEvent::Skipped {
                        path: [above, slash, name].concat(),
                        reason,
                    });
                    continue;
                }
            };
            let stat = frame.dir.stat(name);
            self.pass(&mut cursor, &path)?;
            let entry = match cursor.peek()? {
                Some((at, _)) if *at == path => cursor.next()?.map(|(_, entry)| entry),
                _ => None,
            };
            let stat = match stat {
                Ok(Some(stat)) => stat,
                Ok(None) => {
                    if entry.is_some_and(|e| e.stat.is_some()) {
                        self.gone.add(path);
                    }
                    continue;
                }
                Err(e) => {
                    self.unreadable(&path, unreadable(&e));
                    cursor.skip_below(&path)?;
                    continue;
                }
            };
            self.gone.close();
            if self.is_ignored(&path, stat.kind) {
                cursor.skip_below(&path)?;
                continue;
            }
            if stat.kind != DiskKind::Dir {
                self.see(&path, entry.as_ref(), &stat);
                self.drain();
                continue;
            }
            let known = entry
                .as_ref()
                .and_then(|e| e.stat)
                .filter(|s| s.kind == DiskKind::Dir);
            let (parent_dev, parent_known) = (frame.dev, frame.known_dev);
            if !self.device_fits(&path, &stat, known, parent_dev, parent_known)? {
                self.unreadable(&path, Trouble::Unreadable(OTHER_DEVICE.into()));
                cursor.skip_below(&path)?;
                continue;
            }
            self.see(&path, entry.as_ref(), &stat);
            let known_dev = known.map(|k| k.dev);
            if let Some(frame) = self.enter(&path, stat.dev, known_dev, &mut cursor)? {
                frames.push(frame);
            }
        }
        // What is left of the index wasn't on disk.
        while let Some((path, entry)) = cursor.next()? {
            if entry.stat.is_some() {
                self.gone.add(path);
            }
        }
        self.gone.close();
        Ok(())
    }

    /// Passes the entries before `path`: they weren't on disk.
    fn pass(&mut self, cursor: &mut Cursor<'_, I>, path: &RelPath) -> Result<(), ScanError> {
        while cursor.peek()?.is_some_and(|(at, _)| at < path) {
            if let Some((at, entry)) = cursor.next()?
                && entry.stat.is_some()
            {
                self.gone.add(at);
            }
        }
        Ok(())
    }

    /// Opens a directory of the walk.
    fn enter(
        &mut self,
        path: &RelPath,
        dev: u64,
        known_dev: Option<u64>,
        cursor: &mut Cursor<'_, I>,
    ) -> Result<Option<Frame<D::Dir>>, ScanError> {
        self.scanner.progress.set_current(Some(path));
        let place = Place::User(path);
        let opened = self
            .disk()
            .open_dir(place)
            .and_then(|dir| dir.names().map(|n| (dir, n)));
        match opened {
            Ok((dir, names)) => {
                self.summary.dirs += 1;
                let path = Some(path.clone());
                Ok(Some(Frame {
                    path,
                    dir,
                    names,
                    next: 0,
                    dev,
                    known_dev,
                }))
            }
            Err(error) => {
                match self.disk().stat(place) {
                    // It went away meanwhile, and all below it; the end of the scan looks again.
                    Ok(None) => self.gone.add_single(path.clone()),
                    Ok(Some(stat)) if stat.kind != DiskKind::Dir => {
                        self.add(path.clone(), Found::Busy);
                        cursor.skip_below(path)?;
                    }
                    _ => {
                        self.unreadable(path, unreadable(&error));
                        cursor.skip_below(path)?;
                    }
                }
                Ok(None)
            }
        }
    }

    pub(super) fn is_ignored(&self, path: &RelPath, kind: DiskKind) -> bool {
        self.scanner
            .options
            .ignored
            .as_ref()
            .is_some_and(|ignored| ignored(path, kind))
    }

    /// Compares what is at a path with what the index has, and looks closely where they differ.
    pub(super) fn see(&mut self, path: &RelPath, entry: Option<&IndexEntry>, stat: &DiskStat) {
        if stat.kind != DiskKind::Dir {
            self.summary.files += 1;
            self.scanner.progress.files.fetch_add(1, Ordering::Relaxed);
        }
        let moved = |e: &IndexEntry| e.stat.is_some_and(|known| known.dev != stat.dev);
        let refresh = stat.kind == DiskKind::Dir && entry.is_some_and(moved);
        if stat.kind == DiskKind::Special {
            self.summary.special += 1;
        }
        if observe(entry, Some(stat)) == Observation::Same && !refresh {
            return;
        }
        match stat.kind {
            DiskKind::Dir => self.add(path.clone(), Found::Dir { stat: *stat }),
            DiskKind::Special => {
                if entry.is_some() {
                    self.add(path.clone(), Found::Special);
                }
            }
            DiskKind::Symlink => self.see_link(path, stat),
            DiskKind::File => {
                if let Some(looked) = self.pool.give(path.clone(), stat.size >= LARGE) {
                    self.looked(looked);
                }
            }
        }
    }

    fn see_link(&mut self, path: &RelPath, stat: &DiskStat) {
        let place = Place::User(path);
        let read = self.disk().read_link(place);
        match (read, self.disk().stat(place)) {
            (_, Ok(None)) => self.gone.add_single(path.clone()),
            (Ok(target), Ok(Some(after))) if after == *stat => {
                self.add(
                    path.clone(),
                    Found::Symlink {
                        stat: *stat,
                        target,
                    },
                );
            }
            (Err(e), Ok(Some(after))) if after == *stat => self.unreadable(path, unreadable(&e)),
            (_, Ok(Some(_))) => self.add(path.clone(), Found::Busy),
            (_, Err(e)) => self.unreadable(path, unreadable(&e)),
        }
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        match looked {
            Looked::Item(item) => self.push(item),
            Looked::Vanished(path) => self.gone.add_single(path),
        }
    }

    /// Takes results of the workers; waits while too many are out.
    fn drain(&mut self) {
        while let Some(looked) = self.pool.take() {
            self.looked(looked);
        }
    }

    fn unreadable(&mut self, path: &RelPath, reason: Trouble) {
        self.unknown.push(path.clone());
        self.add(path.clone(), Found::Unreadable { reason });
    }

    pub(super) fn add(&mut self, path: RelPath, found: Found) {
        self.push(ScanItem {
            path,
            found,
            manifest: Vec::new(),
            chunks: Vec::new(),
        });
    }

    pub(super) fn push(&mut self, item: ScanItem) {
        match &item.found {
            Found::File { stat, .. } => {
                self.summary.hashed += 1;
                self.summary.bytes += stat.size;
            }
            Found::Unreadable { .. } => self.summary.unreadable += 1,
            Found::Busy => self.summary.busy += 1,
            Found::Absent => self.summary.gone += 1,
            _ => {}
        }
        let bytes: usize = item.manifest.iter().map(|(_, page)| page.len() + 32).sum();
        if self.batch_bytes + bytes > BATCH_BYTES {
            self.flush();
        }
        self.batch_bytes += bytes;
        self.batch.push(item);
        if self.batch.len() >= BATCH_ITEMS {
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        self.batch_bytes = 0;
        if !self.batch.is_empty() {
            (self.sink)(ScanEvent::Items(std::mem::take(&mut self.batch)));
        }
    }

    pub(super) fn check_root(&self) -> Result<(), ScanError> {
        match self.disk().root_presence() {
            Ok(RootPresence::Here) => Ok(()),
            Ok(_) => Err(ScanError::RootGone),
            Err(e) => Err(ScanError::Root(e)),
        }
    }
}
