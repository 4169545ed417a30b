//! From a file's bytes to the name of its content.
//!
//! Small files are read into one reused window and cut there. Large ones are cut by several threads at
//! once: each takes a segment and cuts it as if a chunk began at its start. That is a guess, but the place
//! where a chunk ends depends on nothing before its beginning, so once the true row of chunks meets one of
//! the guessed ends, all guessed chunks after it are true. Only the few before are cut again.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sync_core::{
    chunk::{ChunkParams, Chunker, ContentHash},
    disk::{DiskStat, Page},
    manifest::{ChunkRef, ContentRoot, ManifestBuilder, ManifestError},
    observe::same_stat,
};

use crate::fs::DiskFile;

/// Bytes of a file that are in memory at a time, for each thread.
const WINDOW: usize = 4 << 20;
/// What one thread cuts at a time of a large file; small in tests, which then have many seams.
const SEGMENT: u64 = if cfg!(test) { 1 << 20 } else { 32 << 20 };
/// From this size on a file is cut by several threads.
pub(super) const LARGE: u64 = 2 * SEGMENT;
/// How often a file that changes meanwhile is read again.
const TRIES: usize = 3;

/// What was read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// The name of the content.
    pub content: ContentRoot,
    /// Bytes in the file.
    pub size: u64,
    /// Manifest pages, for a file of several chunks; empty for others.
    pub pages: Vec<Page>,
    /// All chunks in order, for a file of several chunks; empty for others.
    pub chunks: Vec<ChunkRef>,
}

/// What came of reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOutcome {
    /// It was read between two equal stats.
    Steady {
        /// The stat.
        stat: DiskStat,
        /// What was read.
        hashed: Hashed,
    },
    /// It changed each time.
    Busy,
}

/// Reads a file and names its content.
///
/// # Errors
///
/// Those of the disk; `ResourceBusy` if the file changed each of three times.
pub fn hash_content(file: &impl DiskFile, seed: u64) -> io::Result<Hashed> {
    match FileHasher::new(seed).hash(file, 1)? {
        HashOutcome::Steady { hashed, .. } => Ok(hashed),
        HashOutcome::Busy => Err(io::ErrorKind::ResourceBusy.into()),
    }
}

/// Reads files one after another with one gear table and one window.
#[derive(Debug)]
pub struct FileHasher {
    chunker: Chunker,
    window: Vec<u8>,
    /// Counts the bytes read, for progress.
    bytes: u64,
}

impl FileHasher {
    /// A hasher for a folder's chunk seed.
    pub fn new(seed: u64) -> Self {
        Self::with_chunker(Chunker::new(ChunkParams::for_size(0, seed)))
    }

    /// A hasher that shares a gear table.
    pub fn with_chunker(chunker: Chunker) -> Self {
        Self {
            chunker,
            window: Vec::new(),
            bytes: 0,
        }
    }

    /// Reads a file until two equal stats enclose the reading, three times at most. `threads` cut a
    /// large file together (0 and 1: only the caller's).
    ///
    /// # Errors
    ///
    /// Those of the disk. A file larger than any may be is `FileTooLarge`.
    pub fn hash<F: DiskFile>(&mut self, file: &F, threads: usize) -> io::Result<HashOutcome> {
        for _ in 0..TRIES {
            let before = file.stat()?;
            let chunker = self.chunker.for_size(before.size);
            let hashed = if before.size >= LARGE && threads > 1 {
                hash_together(file, before.size, &chunker, threads)?
            } else {
                self.hash_alone(file, before.size, &chunker)?
            };
            let after = file.stat()?;
            if let Some(hashed) = hashed
                && same_stat(&before, &after)
            {
                self.bytes += before.size;
                return Ok(HashOutcome::Steady {
                    stat: before,
                    hashed,
                });
            }
        }
        Ok(HashOutcome::Busy)
    }

    /// Bytes of all files hashed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hash_alone<F: DiskFile>(
        &mut self,
        file: &F,
        size: u64,
        chunker: &Chunker,
    ) -> io::Result<Option<Hashed>> {
        let mut builder = ManifestBuilder::new();
        let mut reader = Reader {
            file,
            size,
            window: &mut self.window,
            at: 0,
            start: 0,
            len: 0,
        };
        while let Some(chunk) = reader.next(chunker)? {
            builder.push(chunk).map_err(too_large)?;
        }
        if reader.ended_early() || file.read_at(&mut [0], size)? > 0 {
            return Ok(None);
        }
        Ok(Some(finish(builder)))
    }
}

fn too_large(_: ManifestError) -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

fn finish(builder: ManifestBuilder) -> Hashed {
    let manifest = builder.finish();
    let several = manifest.root.height > 0;
    Hashed {
        content: manifest.root,
        size: manifest.size,
        pages: manifest
            .pages
            .into_iter()
            .map(|page| (page.hash, page.bytes))
            .collect(),
        chunks: if several { manifest.chunks } else { Vec::new() },
    }
}

/// Cuts chunks from a position of a file of known size on.
struct Reader<'a, F> {
    file: &'a F,
    size: u64,
    window: &'a mut Vec<u8>,
    /// Where the next chunk begins in the file.
    at: u64,
    /// Where the next chunk begins in the window.
    start: usize,
    /// How far the window is filled.
    len: usize,
}

impl<F: DiskFile> Reader<'_, F> {
    /// The next chunk; `None` at the end, and if the file ends before its size.
    fn next(&mut self, chunker: &Chunker) -> io::Result<Option<ChunkRef>> {
        loop {
            let at_end = self.at + (self.len - self.start) as u64 >= self.size;
            if let Some(cut) = chunker.cut(&self.window[self.start..self.len], at_end) {
                let chunk = &self.window[self.start..self.start + cut];
                let len = u32::try_from(cut).map_err(|_| io::ErrorKind::InvalidData)?;
                let chunk = ChunkRef {
                    hash: ContentHash::chunk(chunk),
                    len,
                };
                self.start += cut;
                self.at += cut as u64;
                return Ok(Some(chunk));
            }
            if at_end || !self.fill(chunker.params().max() as usize)? {
                return Ok(None);
            }
        }
    }

    /// Moves the rest to the front and reads on; `false` if the file ended.
    fn fill(&mut self, max: usize) -> io::Result<bool> {
        self.window.copy_within(self.start..self.len, 0);
        self.len -= self.start;
        self.start = 0;
        // A small file needs no more than its size; a chunk must fit with room to read on.
        let rest = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let want = rest.min(WINDOW.max(2 * max));
        if self.window.len() < want {
            self.window.resize(want, 0);
        }
        let mut filled = false;
        while self.len < want {
            let offset = self.at + self.len as u64;
            match self
                .file
                .read_at(&mut self.window[self.len..want], offset)?
            {
                0 => break,
                more => {
                    self.len += more;
                    filled = true;
                }
            }
        }
        Ok(filled)
    }

    fn ended_early(&self) -> bool {
        self.at < self.size
    }
}

/// A segment, cut as if a chunk began at its start.
struct Guess {
    chunks: Vec<ChunkRef>,
    ended_early: bool,
}

/// Hands finished segments to the thread that puts them in a row.
struct Segments {
    next: AtomicU64,
    stop: AtomicBool,
    done: Mutex<BTreeMap<u64, io::Result<Guess>>>,
    ready: std::sync::Condvar,
}

fn hash_together<F: DiskFile>(
    file: &F,
    size: u64,
    chunker: &Chunker,
    threads: usize,
) -> io::Result<Option<Hashed>> {
    let count = size.div_ceil(SEGMENT);
    let segments = Segments {
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        done: Mutex::new(BTreeMap::new()),
        ready: std::sync::Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut window = Vec::new();
                loop {
                    let index = segments.next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || segments.stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let guess = guess(file, size, chunker, &mut window, index * SEGMENT);
                    let mut done = segments.done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(index, guess);
                    segments.ready.notify_one();
                }
            });
        }
        let hashed = join(file, size, chunker, count, &segments);
        segments.stop.store(true, Ordering::Relaxed);
        hashed
    })
}

fn guess<F: DiskFile>(
    file: &F,
    size: u64,
    chunker: &Chunker,
    window: &mut Vec<u8>,
    from: u64,
) -> io::Result<Guess> {
    let end = (from + SEGMENT).min(size);
    let mut reader = Reader {
        file,
        size,
        window,
        at: from,
        start: 0,
        len: 0,
    };
    let mut chunks = Vec::new();
    while reader.at < end {
        match reader.next(chunker)? {
            Some(chunk) => chunks.push(chunk),
            None => {
                return Ok(Guess {
                    chunks,
                    ended_early: true,
                });
            }
        }
    }
    Ok(Guess {
        chunks,
        ended_early: false,
    })
}

fn join<F: DiskFile>(
    file: &F,
    size: u64,
    chunker: &Chunker,
    count: u64,
    segments: &Segments,
) -> io::Result<Option<Hashed>> {
    let mut builder = ManifestBuilder::new();
    let mut window = Vec::new();
    for index in 0..count {
        let guess = {
            let mut done = segments.done.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match done.remove(&index) {
                    Some(guess) => break guess?,
                    None => {
                        done = segments
                            .ready
                            .wait(done)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            }
        };
        if guess.ended_early {
            return Ok(None);
        }
        let (start, end) = (index * SEGMENT, ((index + 1) * SEGMENT).min(size));
        let mut reader = Reader {
            file,
            size,
            window: &mut window,
            at: builder.size(),
            start: 0,
            len: 0,
        };
        let mut guessed_at = start;
        let mut guessed = guess.chunks.into_iter();
        while reader.at < end {
            // Guessed chunks that begin before the true position are wrong.
            while guessed_at < reader.at {
                match guessed.next() {
                    Some(chunk) => guessed_at += u64::from(chunk.len),
                    None => break,
                }
            }
            if guessed_at == reader.at {
                for chunk in guessed.by_ref() {
                    builder.push(chunk).map_err(too_large)?;
                }
                break;
            }
            match reader.next(chunker)? {
                Some(chunk) => builder.push(chunk).map_err(too_large)?,
                None => return Ok(None),
            }
        }
    }
    if builder.size() != size || file.read_at(&mut [0], size)? > 0 {
        return Ok(None);
    }
    Ok(Some(finish(builder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Disk, MemDisk, Place};
    use sync_core::{manifest::manifest_of, path::RelPath};

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut x = seed | 1;
        let step = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()
        };
        (0..len.div_ceil(8)).flat_map(step).take(len).collect()
    }

    fn check(data: &[u8], threads: usize) {
        let disk = MemDisk::new();
        disk.user_write("f", data).unwrap();
        let file = disk
            .open(Place::User(&RelPath::parse(b"f").unwrap()))
            .unwrap();
        let want = manifest_of(data, 7).unwrap();
        let outcome = FileHasher::new(7).hash(&file, threads).unwrap();
        let HashOutcome::Steady { hashed, stat } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(hashed.content, want.root);
        assert_eq!(hashed.size, data.len() as u64);
        assert_eq!(stat.size, data.len() as u64);
        if want.root.height > 0 {
            assert_eq!(hashed.chunks, want.chunks);
            let pages: Vec<_> = want.pages.into_iter().map(|p| (p.hash, p.bytes)).collect();
            assert_eq!(hashed.pages, pages);
        } else {
            assert!(hashed.chunks.is_empty() && hashed.pages.is_empty());
        }
    }

    #[test]
    fn files_of_all_sizes_are_named_as_in_memory() {
        for len in [
            0,
            1,
            16_384,
            16_385,
            100_000,
            WINDOW - 1,
            WINDOW,
            WINDOW + 1,
            9_000_000,
        ] {
            check(&noise(len, len as u64), 1);
        }
        check(&vec![0; 5_000_000], 1);
    }

    #[test]
    fn several_threads_find_the_same_chunks() {
        let large = usize::try_from(LARGE).unwrap();
        check(&noise(7 * large + 12_345, 3), 3);
        check(&noise(large + 1, 4), 2);
        // Without any cut by content the guesses never meet the truth, or only by chance.
        check(&vec![1; 3 * large + 70_000], 2);
        check(&[vec![1; large + 70_001], noise(large, 5)].concat(), 2);
    }

    #[test]
    fn a_file_that_never_rests_is_busy() {
        let disk = MemDisk::new();
        disk.user_write("f", b"some bytes").unwrap();
        let file = disk
            .open(Place::User(&RelPath::parse(b"f").unwrap()))
            .unwrap();
        let user = disk.clone();
        disk.set_hook(Some(std::sync::Arc::new(move |op: &crate::fs::Op<'_>| {
            if op.kind == crate::fs::OpKind::Read {
                user.advance_clock_ns(1);
                user.user_write("f", b"other byte").unwrap();
            }
            None
        })));
        assert_eq!(
            FileHasher::new(1).hash(&file, 0).unwrap(),
            HashOutcome::Busy
        );
        let error = hash_content(&file, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    }
}
