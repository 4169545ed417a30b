//! Temporaries of unfinished files in `.sync/tmp`.
//!
//! A large file arrives chunk by chunk, in any order, into a temporary named after its content. Each
//! chunk is verified before it is written, and all of them again after a restart: a temporary is never
//! trusted because it is there. Verified chunks can be served to peers before the file is whole.
//!
//! Owns the `c-` names in `.sync/tmp` and a bounded number of open files. It never touches the user's
//! tree, and never a file that an applier displaced.

use std::{
    collections::HashSet,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use sync_core::{
    chunk::{ContentHash, MAX_CHUNK},
    disk::{DiskKind, DiskStat},
    ids::base32_text,
    manifest::{ChunkRef, ContentRoot},
};

use crate::{
    apply::{trouble, verify},
    fs::{Disk, DiskFile, Place, TMP_DIR},
};

mod state;
#[cfg(test)]
mod tests;
mod work;

use state::State;

/// Names of temporaries of unfinished files begin with this.
const PARTIAL: &str = "c-";
/// Free space is asked for once per this many bytes.
const BUDGET_STEP: u64 = 64 << 20;
/// Unknown temporaries older than this are removed: seven days.
const MAX_AGE_NS: i64 = 7 * 86_400 * 1_000_000_000;

/// Where a chunk lies in an unfinished file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialPlace {
    /// The content that is being put together.
    pub content: ContentRoot,
    /// Byte offset in it.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
}

/// The temporaries of one folder.
pub struct Temps<D: Disk> {
    disk: Arc<D>,
    min_free: u64,
    state: Mutex<State<D::File>>,
}

impl<D: Disk> fmt::Debug for Temps<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Temps")
            .field("min_free", &self.min_free)
            .finish_non_exhaustive()
    }
}

impl<D: Disk> Temps<D> {
    /// The temporaries on this disk. Writing stops while less than `min_free` bytes would be left free.
    pub fn new(disk: Arc<D>, min_free: u64) -> Self {
        Self {
            disk,
            min_free,
            state: Mutex::default(),
        }
    }

    /// Verifies a chunk and writes it at `offset` of the content, which has `size` bytes in all.
    /// `Ok(false)`: the bytes are not the chunk, or lie outside the file; nothing was written.
    pub fn write_chunk(
        &self,
        content: &ContentRoot,
        size: u64,
        offset: u64,
        hash: &ContentHash,
        bytes: &Bytes,
    ) -> io::Result<bool> {
        let inside = offset
            .checked_add(bytes.len() as u64)
            .is_some_and(|end| end <= size);
        if !inside || ContentHash::chunk(bytes) != *hash {
            return Ok(false);
        }
        self.write_verified(content, size, offset, hash, bytes)?;
        Ok(true)
    }

    /// Takes a chunk from an open local file, if it really is there.
    pub fn copy_chunk(
        &self,
        content: &ContentRoot,
        size: u64,
        offset: u64,
        chunk: &ChunkRef,
        from: Place<'_>,
        from_offset: u64,
    ) -> io::Result<bool> {
        if chunk.len > MAX_CHUNK {
            return Ok(false);
        }
        let file = match self.disk.open(from) {
            Ok(file) => file,
            Err(e) if trouble::stops_all(&e) => return Err(e),
            Err(_) => return Ok(false),
        };
        let mut bytes = vec![0; chunk.len as usize];
        if verify::read_full(&file, &mut bytes, from_offset)? < bytes.len() {
            return Ok(false);
        }
        self.write_chunk(content, size, offset, &chunk.hash, &bytes.into())
    }

    /// Reads the temporary and says which chunks are there. Chunks found are known to
    /// [`find`](Self::find) from then on.
    pub fn check(
        &self,
        content: &ContentRoot,
        size: u64,
        chunks: &[ChunkRef],
    ) -> io::Result<Vec<bool>> {
        let name = name(content);
        let file = match self.disk.open(Place::Tmp(&name)) {
            Ok(file) => file,
            Err(e) if trouble::stops_all(&e) => return Err(e),
            Err(_) => return Ok(vec![false; chunks.len()]),
        };
        let end = file.stat()?.size;
        let mut offset = 0_u64;
        let mut work = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            work.push((offset, *chunk));
            offset = offset.saturating_add(u64::from(chunk.len));
        }
        if offset != size {
            return Ok(vec![false; chunks.len()]);
        }
        let threads = if size < 8 << 20 {
            1
        } else {
            std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
        };
        let share = work.len().div_ceil(threads).max(1);
        let mut found = Vec::with_capacity(work.len());
        std::thread::scope(|scope| {
            let file = &file;
            let check = move |part: &[(u64, ChunkRef)]| -> Vec<bool> {
                let mut buf = Vec::new();
                part.iter()
                    .map(|(at, chunk)| is_there(file, *at, chunk, end, &mut buf))
                    .collect()
            };
            let mut parts = work.chunks(share);
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts
                .map(|part| (part, scope.spawn(move || check(part))))
                .collect();
            found.extend(check(first));
            for (part, other) in others {
                // A panic in a checker is no proof of any chunk.
                found.extend(other.join().unwrap_or_else(|_| vec![false; part.len()]));
            }
        });
        let mut state = self.lock();
        for ((offset, chunk), there) in work.iter().zip(&found) {
            if *there {
                state.remember(content, *offset, &chunk.hash, chunk.len);
            }
        }
        Ok(found)
    }

    /// Whether there is room for the rest of a content of `size` bytes, before any of it is fetched.
    ///
    /// # Errors
    ///
    /// When there isn't, in words for people, and those of the disk.
    pub fn room(&self, content: &ContentRoot, size: u64) -> io::Result<()> {
        let had = self
            .disk
            .stat(Place::Tmp(&name(content)))?
            .map_or(0, |stat| stat.size);
        let (need, free) = (size.saturating_sub(had), self.disk.free_bytes()?);
        if need > 0 && need > free.saturating_sub(self.min_free) {
            return Err(self.full(need, free));
        }
        Ok(())
    }

    fn full(&self, need: u64, free: u64) -> io::Error {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let kept = match self.min_free {
            0 => String::new(),
            kept => format!(", and `min_free` keeps {} MiB of them", mib(kept)),
        };
        io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "the disk is full: {} MiB are needed and {} MiB are free{kept}",
                mib(need),
                free >> 20,
            ),
        )
    }

    /// Where a chunk lies in an unfinished file.
    pub fn find(&self, chunk: &ContentHash) -> Option<PartialPlace> {
        self.lock().chunks.get(chunk).copied()
    }

    /// Reads bytes of an unfinished file; fewer than asked for if it ends before.
    pub fn read_at(&self, place: &PartialPlace, buf: &mut [u8]) -> io::Result<usize> {
        // The slot's file is writable, and reading through it saves an open.
        let slot = self.lock().slot(&place.content);
        match slot {
            Some(slot) => verify::read_full(&slot.file, buf, place.offset),
            None => {
                let file = self.disk.open(Place::Tmp(&name(&place.content)))?;
                verify::read_full(&file, buf, place.offset)
            }
        }
    }

    /// Forgets an unfinished file and removes it.
    pub fn discard(&self, content: &ContentRoot) -> io::Result<()> {
        let mut state = self.lock();
        state.close(content);
        match self.disk.unlink(Place::Tmp(&name(content))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Gives an unfinished file another temporary name, for the applier: no write can reach it any more.
    /// `None` if there is none, or if it has fewer than `size` bytes.
    pub(crate) fn take(
        &self,
        content: &ContentRoot,
        size: u64,
        to: &str,
    ) -> io::Result<Option<DiskStat>> {
        let mut state = self.lock();
        if self
            .disk
            .stat(Place::Tmp(&name(content)))?
            .is_none_or(|stat| stat.size < size)
        {
            return Ok(None);
        }
        state.close(content);
        match self
            .disk
            .rename_new(Place::Tmp(&name(content)), Place::Tmp(to))
        {
            Ok(()) => self.disk.stat(Place::Tmp(to)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Copies a complete temporary to another temporary name, for all but the last use of it.
    pub(crate) fn clone_to(&self, content: &ContentRoot, to: &str) -> io::Result<Option<DiskStat>> {
        match self.disk.clone_to_tmp(Place::Tmp(&name(content)), to) {
            Ok(_) => self.disk.stat(Place::Tmp(to)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The unfinished files: their temporaries' names and stats.
    pub fn list(&self) -> io::Result<Vec<(String, DiskStat)>> {
        let items = match self.disk.list(Place::Own(TMP_DIR)) {
            Ok(items) => items,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let named = items.into_iter().filter_map(|item| {
            let name = String::from_utf8(item.name).ok()?;
            name.starts_with(PARTIAL).then_some((name, item.stat))
        });
        Ok(named.collect())
    }

    /// Removes unfinished files that nothing wrote to for seven days, unless their content is in
    /// `wanted`, and returns how many. What an applier may have displaced is never removed here.
    pub fn sweep(&self, wanted: &[ContentRoot], now_ns: i64) -> io::Result<usize> {
        let keep: HashSet<String> = wanted.iter().map(name).collect();
        let mut removed = 0;
        for (name, stat) in self.list()? {
            let old = now_ns.saturating_sub(stat.mtime_ns) > MAX_AGE_NS;
            if !old || stat.kind != DiskKind::File || keep.contains(&name) {
                continue;
            }
            let state = self.lock();
            if state.open.keys().any(|c| self::name(c) == name) {
                continue;
            }
            self.disk.unlink(Place::Tmp(&name))?;
            removed += 1;
        }
        Ok(removed)
    }

    fn write_verified(
        &self,
        content: &ContentRoot,
        size: u64,
        offset: u64,
        hash: &ContentHash,
        bytes: &Bytes,
    ) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        loop {
            let slot = self.open(content, size, bytes.len() as u64)?;
            {
                let gone = slot.gone.read().unwrap_or_else(PoisonError::into_inner);
                if *gone {
                    continue;
                }
                slot.file.write_all_at(bytes, offset)?;
            }
            if let Some((from, len)) = slot.wrote(offset, len.into()) {
                slot.file.write_back(from, len);
            }
            // Only now, because whoever closes the slot holds the state and waits for writers.
            let mut state = self.lock();
            if state
                .open
                .get(content)
                .is_some_and(|open| Arc::ptr_eq(&open.slot, &slot))
            {
                state.remember(content, offset, hash, len);
            }
            return Ok(());
        }
    }

    fn open(
        &self,
        content: &ContentRoot,
        size: u64,
        len: u64,
    ) -> io::Result<Arc<state::Slot<D::File>>> {
        let mut state = self.lock();
        if state.budget < len {
            let free = self.disk.free_bytes()?;
            let room = free.saturating_sub(self.min_free);
            if room < len {
                return Err(self.full(len, free));
            }
            state.budget = room.min(BUDGET_STEP);
        }
        if let Some(slot) = state.slot(content) {
            state.budget -= len;
            return Ok(slot);
        }
        self.room(content, size)?;
        let file = self.disk.open_tmp(&name(content))?;
        state.budget = state.budget.saturating_sub(len);
        Ok(state.insert(content, file))
    }

    fn lock(&self) -> MutexGuard<'_, State<D::File>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a content's temporary: short, whatever the file is called.
pub(crate) fn name(content: &ContentRoot) -> String {
    let hash = base32_text(&content.hash.as_bytes()[..20]).to_lowercase();
    format!("{PARTIAL}{hash}-{}", content.height)
}

fn is_there<F: DiskFile>(file: &F, at: u64, chunk: &ChunkRef, end: u64, buf: &mut Vec<u8>) -> bool {
    let len = u64::from(chunk.len);
    if chunk.len > MAX_CHUNK || at.checked_add(len).is_none_or(|e| e > end) {
        return false;
    }
    buf.resize(chunk.len as usize, 0);
    let got = verify::read_full(file, buf, at);
    got.is_ok_and(|n| n == buf.len()) && ContentHash::chunk(buf) == chunk.hash
}
