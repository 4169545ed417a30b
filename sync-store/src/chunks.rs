//! One answer to "give me object H", from whichever place holds it.
//!
//! Chunk bytes lie in the synced files themselves and in the temporaries of unfinished ones; manifest
//! pages lie in the index. A file may have been edited since it was indexed: a chunk of it is given away unhashed only if the file's
//! stat is the indexed one before and after the read, and nobody doubts that chunk; all else is hashed. What
//! is wrong isn't given away: the next holder is tried and the path is reported as suspect, to be scanned again.
//!
//! Owns nothing and changes nothing.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sync_core::{
    chunk::{ContentHash, MAX_CHUNK},
    disk::{DiskKind, DiskStat},
    ids::Seq,
    index::{ChunkPlace, Index, IndexEntry, IndexResult, flag},
    manifest::ContentRoot,
    message::{ObjectId, ObjectKind},
    path::RelPath,
};

use crate::{
    apply::verify,
    fs::{Disk, DiskFile, Place},
    temps::Temps,
};

/// Holders that are tried for one object.
const MAX_HOLDERS: usize = 4;
/// Contents that are looked at for one chunk. Those that are gone cost a look into the index.
const MAX_PLACES: usize = 256;
/// Changes that are looked up at once.
const NUMBERS: usize = 256;
/// Neighbouring chunks of one file are read together up to this many bytes.
const MAX_RUN: u64 = 4 << 20;

/// What a read brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// One per object asked for, in order, as far as the read went; `None` if it isn't here.
    pub objects: Vec<Option<Bytes>>,
    /// Paths that don't hold what the index says. Each once.
    pub suspects: Vec<RelPath>,
}

/// Reads chunks and pages of one folder.
#[derive(Debug)]
pub struct ChunkStore<D: Disk, I> {
    disk: Arc<D>,
    index: I,
    temps: Arc<Temps<D>>,
}

/// The file that was read last: most requests ask for neighbours.
struct Last<F> {
    content: ContentRoot,
    path: RelPath,
    file: F,
    /// Its stat when it was indexed, if that can be trusted to show any edit.
    known: Option<DiskStat>,
}

/// Chunks that came wrong to whom they were sent: they are hashed, whatever a file's stat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubted {
    /// Just these.
    These(BTreeSet<ContentHash>),
    /// So many that every chunk is doubted.
    All,
}

impl Doubted {
    /// No chunk is doubted.
    #[must_use]
    pub fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    /// Whether a chunk is to be hashed.
    #[must_use]
    pub fn has(&self, hash: &ContentHash) -> bool {
        match self {
            Self::These(these) => these.contains(hash),
            Self::All => true,
        }
    }

    /// A chunk came wrong. After `most` of them all are doubted.
    pub fn add(&mut self, hash: ContentHash, most: usize) {
        if let Self::These(these) = self {
            these.insert(hash);
            if these.len() > most {
                *self = Self::All;
            }
        }
    }
}

impl<D: Disk, I: Index> ChunkStore<D, I> {
    /// A store that answers from this disk, this index and these temporaries.
    pub fn new(disk: Arc<D>, index: I, temps: Arc<Temps<D>>) -> Self {
        Self { disk, index, temps }
    }

    /// The index that says where things lie.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// Reads objects, from the first on, until `max_bytes` are gathered or all are done; always at least
    /// one. The number of [`Found::objects`] says how many are done, and the caller goes on from there.
    /// So a read holds no more than `max_bytes` and one chunk beyond, of at most [`MAX_CHUNK`] bytes. What is `doubted`
    /// is hashed also where the stat says that nothing has changed.
    ///
    /// # Errors
    ///
    /// Only those of the index; what can't be read from the disk is not here.
    pub fn read(
        &self,
        ids: &[ObjectId],
        max_bytes: usize,
        doubted: &Doubted,
    ) -> IndexResult<Found> {
        let mut found = Found::default();
        let mut last = None;
        let mut room = max_bytes;
        while let Some(id) = ids.get(found.objects.len()) {
            let at = found.objects.len();
            if at > 0 && room == 0 {
                break;
            }
            if id.kind == ObjectKind::Page {
                found.objects.push(self.index.page(&id.hash)?);
            } else {
                let run = match self.places(&id.hash, 1)?.first() {
                    Some(place) => self.run(&ids[at..], *place, room)?,
                    None => Vec::new(),
                };
                let end = at + run.len().max(1);
                found.objects.resize(end, None);
                let (ids, out) = (&ids[at..end], &mut found.objects[at..end]);
                let mut way = Way {
                    last: &mut last,
                    suspects: &mut found.suspects,
                    doubted,
                };
                self.read_run(ids, &run, out, &mut way)?;
                for (id, slot) in ids.iter().zip(out) {
                    if slot.is_none() {
                        self.elsewhere(id, slot, &mut way)?;
                    }
                }
            }
            let read: usize = found.objects[at..].iter().flatten().map(Bytes::len).sum();
            room = room.saturating_sub(read);
        }
        Ok(found)
    }

    /// Reads contents of one chunk by our numbers for the changes that have them, which rise; from the first on, until
    /// `max_bytes` are gathered or all are done; always at least one. `None` for what has no such number any more, isn't
    /// here, or has more than one chunk.
    ///
    /// # Errors
    ///
    /// Only those of the index; what can't be read from the disk is not here.
    pub fn read_numbered(&self, numbers: &[Seq], max_bytes: usize) -> IndexResult<Found> {
        let mut found = Found::default();
        let mut room = max_bytes;
        let mut page = Vec::new().into_iter().peekable();
        let mut page_end = 0;
        while let Some(number) = numbers.get(found.objects.len()) {
            let at = found.objects.len();
            if at > 0 && room == 0 {
                break;
            }
            if number.0 > page_end {
                // As much is looked at as is asked for, however it is strewn.
                let neighbours = numbers[at..].windows(2).take(NUMBERS - 1);
                let next =
                    neighbours.take_while(|pair| pair[0].0.checked_add(1) == Some(pair[1].0));
                let count = 1 + next.count();
                let before = Seq(number.0.saturating_sub(1));
                page = self
                    .index
                    .changes_after(before, count)?
                    .into_iter()
                    .peekable();
                page_end = number.0.saturating_add(count as u64 - 1);
            }
            while page.next_if(|(seq, _)| seq < number).is_some() {}
            let object = match page.next_if(|(seq, _)| seq == number) {
                Some((_, path)) => self.numbered(*number, path, &mut found.suspects)?,
                None => None,
            };
            room = room.saturating_sub(object.as_ref().map_or(0, Bytes::len));
            found.objects.push(object);
        }
        Ok(found)
    }

    /// The content of a small file whose newest change has this number.
    fn numbered(
        &self,
        number: Seq,
        path: RelPath,
        suspects: &mut Vec<RelPath>,
    ) -> IndexResult<Option<Bytes>> {
        let shown = |entry: &IndexEntry| {
            let ours = entry.flags & (flag::LOCAL_EDIT | flag::HELD_BACK);
            entry.seq == number.0 && entry.want.is_none() && ours == 0
        };
        let entry = self.index.entry(&path)?.filter(shown);
        let content = entry.and_then(|entry| entry.content);
        let Some(content) = content.filter(|content| content.height == 0) else {
            return Ok(None);
        };
        match self.read_small(&path) {
            Some(bytes) if ContentHash::chunk(&bytes) == content.hash => Ok(Some(bytes.into())),
            _ => {
                suspect(suspects, &path);
                Ok(None)
            }
        }
    }

    fn places(&self, chunk: &ContentHash, limit: usize) -> IndexResult<Vec<ChunkPlace>> {
        let mut places = Vec::new();
        self.index.chunk_places(chunk, &mut |place| {
            places.push(place);
            places.len() < limit
        })?;
        Ok(places)
    }

    /// Looks for a chunk wherever it may be: its first place is out of date.
    fn elsewhere(
        &self,
        id: &ObjectId,
        slot: &mut Option<Bytes>,
        way: &mut Way<'_, D::File>,
    ) -> IndexResult<()> {
        *slot = self.small(&id.hash, way.suspects)?;
        if slot.is_none() {
            *slot = self.partial(&id.hash);
        }
        if slot.is_some() {
            return Ok(());
        }
        for place in self.places(&id.hash, MAX_PLACES)? {
            let (ids, out) = (std::slice::from_ref(id), std::slice::from_mut(slot));
            self.read_run(ids, &[place], out, way)?;
            if slot.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Places of the chunks at the front of `ids` that follow each other in one content, with no more
    /// than `room` bytes unless the first one alone has more.
    fn run(
        &self,
        ids: &[ObjectId],
        first: ChunkPlace,
        room: usize,
    ) -> IndexResult<Vec<ChunkPlace>> {
        let most = MAX_RUN.min(u64::try_from(room).unwrap_or(u64::MAX));
        let mut run = vec![first];
        let mut end = first.offset.saturating_add(u64::from(first.len));
        for id in &ids[1..] {
            if id.kind != ObjectKind::Chunk {
                break;
            }
            let mut next = None;
            self.index.chunk_places(&id.hash, &mut |place| {
                let follows = place.content == first.content && place.offset == end;
                next = next.or(follows.then_some(place));
                next.is_none()
            })?;
            let Some(next) = next else {
                break;
            };
            let len = u64::from(next.len);
            let total = end.saturating_add(len).saturating_sub(first.offset);
            if total > most {
                break;
            }
            end = end.saturating_add(len);
            run.push(next);
        }
        Ok(run)
    }

    fn read_run(
        &self,
        ids: &[ObjectId],
        run: &[ChunkPlace],
        out: &mut [Option<Bytes>],
        way: &mut Way<'_, D::File>,
    ) -> IndexResult<()> {
        let (Some(first), Some(end)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let total = end.offset + u64::from(end.len) - first.offset;
        let sane =
            run.iter().all(|p| p.len <= MAX_CHUNK) && total <= MAX_RUN + u64::from(MAX_CHUNK);
        if sane {
            if way
                .last
                .as_ref()
                .is_some_and(|l| l.content == first.content)
                && let Some(open) = &way.last
            {
                if read_from(open, ids, run, total, way.doubted, out) {
                    return Ok(());
                }
                suspect(way.suspects, &open.path);
            }
            for path in self.index.with_content(&first.content, MAX_HOLDERS)? {
                let Ok(file) = self.disk.open(Place::User(&path)) else {
                    suspect(way.suspects, &path);
                    continue;
                };
                let open = Last {
                    content: first.content,
                    known: self.known(&path, &first.content)?,
                    path,
                    file,
                };
                let whole = read_from(&open, ids, run, total, way.doubted, out);
                if !whole {
                    suspect(way.suspects, &open.path);
                }
                *way.last = Some(open);
                if whole {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The stat that a file with this content had when it was indexed; `None` if an edit since then need not show in it.
    fn known(&self, path: &RelPath, content: &ContentRoot) -> IndexResult<Option<DiskStat>> {
        let entry = self.index.entry(path)?;
        let sure = |entry: &IndexEntry| {
            entry.content == Some(*content) && entry.flags & (flag::RACY | flag::HELD_BACK) == 0
        };
        let stat = entry.filter(sure).and_then(|entry| entry.stat);
        Ok(stat.filter(|stat| stat.kind == DiskKind::File && stat.ctime_ns != 0))
    }

    /// A chunk that is a whole small file.
    fn small(&self, hash: &ContentHash, suspects: &mut Vec<RelPath>) -> IndexResult<Option<Bytes>> {
        for path in self
            .index
            .with_content(&ContentRoot::single(*hash), MAX_HOLDERS)?
        {
            match self.read_small(&path) {
                Some(bytes) if ContentHash::chunk(&bytes) == *hash => {
                    return Ok(Some(bytes.into()));
                }
                _ => suspect(suspects, &path),
            }
        }
        Ok(None)
    }

    fn read_small(&self, path: &RelPath) -> Option<Vec<u8>> {
        let file = self.disk.open(Place::User(path)).ok()?;
        let size = file.stat().ok()?.size;
        if size > u64::from(MAX_CHUNK) {
            return None;
        }
        verify::read_whole(&file, size).ok()
    }

    /// A chunk of an unfinished file.
    fn partial(&self, hash: &ContentHash) -> Option<Bytes> {
        let place = self.temps.find(hash)?;
        let mut bytes = vec![0; place.len as usize];
        let got = self.temps.read_at(&place, &mut bytes).ok()?;
        (got == bytes.len() && ContentHash::chunk(&bytes) == *hash).then(|| bytes.into())
    }
}

/// Fills what isn't filled yet from one file; whether all chunks were right, as far as that was looked at. One read serves all, and
/// the pieces share its buffer.
fn read_from<F: DiskFile>(
    open: &Last<F>,
    ids: &[ObjectId],
    run: &[ChunkPlace],
    total: u64,
    doubted: &Doubted,
    out: &mut [Option<Bytes>],
) -> bool {
    let (Some(first), Ok(len)) = (run.first(), usize::try_from(total)) else {
        return false;
    };
    let file = &open.file;
    let as_known = || {
        open.known
            .is_some_and(|known| file.stat().is_ok_and(|now| now == known))
    };
    let before = as_known();
    let mut buf = vec![0; len];
    let Ok(got) = verify::read_full(file, &mut buf, first.offset) else {
        return false;
    };
    let unchanged = before && as_known();
    buf.truncate(got);
    let buf = Bytes::from(buf);
    let mut whole = true;
    let mut at = 0;
    for ((id, place), slot) in ids.iter().zip(run).zip(out) {
        let end = at + place.len as usize;
        if slot.is_none() {
            if buf.get(at..end).is_some_and(|b| {
                (unchanged && !doubted.has(&id.hash)) || ContentHash::chunk(b) == id.hash
            }) {
                *slot = Some(buf.slice(at..end));
            } else {
                whole = false;
            }
        }
        at = end;
    }
    whole
}

/// What a read takes along.
struct Way<'a, F> {
    last: &'a mut Option<Last<F>>,
    suspects: &'a mut Vec<RelPath>,
    doubted: &'a Doubted,
}

fn suspect(suspects: &mut Vec<RelPath>, path: &RelPath) {
    if !suspects.contains(path) {
        suspects.push(path.clone());
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
