//! Manifest pages, and where chunks lie.
//!
//! Pages are numbered as they come and stored by number, so that they are written in order; two
//! [`Runs`] lead from the hash of a page to its number, and from the hash of a chunk to its places. A page
//! that several contents share is stored once; a chunk has a place in each of them, because any of the files may
//! go first.
//!
//! Pages that no content needs any more are found by mark and sweep, a bounded step at a time: all
//! contents of all entries are walked from the top, and what was not met is deleted. Pages stored after
//! the sweep began are spared. It never deletes a page of a content that some entry has on disk.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use sync_core::{
    chunk::ContentHash,
    index::{ChunkPlace, IndexResult, ManifestPut},
    manifest::{ContentRoot, MAX_PAGE, Page},
};

use super::{
    db::{Db, Stage},
    key,
    packed::successor,
    runs::{HASH, Runs},
};

const FORMAT: u8 = 1;
/// Places in contents that went, before a sweep is wanted: about 8 MB.
const MAX_DEAD: u64 = 1 << 17;

/// Pages and places.
#[derive(Debug)]
pub(super) struct Manifests {
    numbers: Runs,
    places: Runs,
    next_page: u64,
    /// About how many places lie in contents that went since the last sweep.
    dead: u64,
    sweep: Option<Sweep>,
}

#[derive(Debug)]
struct Sweep {
    /// Pages from this number on are too new to be judged.
    limit: u64,
    /// Where marking goes on; `None` when all entries were seen.
    mark_after: Option<Vec<u8>>,
    marked_all: bool,
    /// Where deleting goes on.
    delete_from: u64,
    /// Short hashes of the pages that stay.
    live: HashSet<[u8; HASH]>,
    todo: Vec<ContentRoot>,
}

/// How far a sweep got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepStep {
    /// Pages deleted in this step.
    pub removed: u64,
    /// Whether the sweep is complete, or none was begun.
    pub done: bool,
}

impl Manifests {
    pub(super) fn open(db: &Db) -> IndexResult<Self> {
        let (low, high) = ([key::PAGE], successor(&[key::PAGE]));
        let next_page = match db.below(&low, &high)? {
            Some((last, _)) => page_number(db, &last[1..])? + 1,
            None => 1,
        };
        let numbers = Runs::open(db, key::PAGE_NUMBERS)?;
        let places = Runs::open(db, key::PLACES)?;
        Ok(Self {
            numbers,
            places,
            next_page,
            dead: 0,
            sweep: None,
        })
    }

    /// Writes both runs of `from` into `to`, each as one.
    pub(super) fn copy_merged(
        &self,
        from: &Db,
        to: &Db,
        step: &mut impl FnMut() -> IndexResult<()>,
    ) -> IndexResult<()> {
        let all = None::<fn(&[u8], &[u8]) -> IndexResult<bool>>;
        self.numbers.copy_merged(from, to, step, all)?;
        self.places.copy_merged(from, to, step, all)
    }

    /// Reads both runs again.
    pub(super) fn reopen(&mut self, db: &Db) -> IndexResult<()> {
        self.numbers = Runs::open(db, key::PAGE_NUMBERS)?;
        self.places = Runs::open(db, key::PLACES)?;
        Ok(())
    }

    /// The page with this hash.
    pub(super) fn page(&self, db: &Db, hash: &ContentHash) -> IndexResult<Option<Bytes>> {
        find_page(db, &self.numbers, hash)
    }

    /// Where the chunk with this hash lies, or lay.
    pub(super) fn places(
        &self,
        db: &Db,
        hash: &ContentHash,
        f: &mut dyn FnMut(ChunkPlace) -> bool,
    ) -> IndexResult<()> {
        // Of a record in several runs the newest counts.
        let mut seen = HashSet::new();
        self.places.find(db, &short(hash), |content, value| {
            Ok(!seen.insert(content.to_vec()) || f(decode_place(db, value)?))
        })
    }

    /// Stores manifests.
    pub(super) fn change(
        &mut self,
        db: &Db,
        stage: &mut Stage,
        puts: Vec<ManifestPut>,
    ) -> IndexResult<()> {
        let (mut numbers, mut places) = (BTreeMap::new(), BTreeMap::new());
        let mut stored = HashSet::new();
        for put in puts {
            for (hash, page) in put.pages {
                if page.len() > MAX_PAGE || !stored.insert(hash) {
                    continue;
                }
                if find_page(db, &self.numbers, &hash)?.is_some() {
                    if let Some(sweep) = &mut self.sweep {
                        sweep.live.insert(short(&hash));
                    }
                    continue;
                }
                let number = self.next_page;
                self.next_page += 1;
                let mut value = Vec::with_capacity(33 + page.len());
                value.push(FORMAT);
                value.extend_from_slice(&hash.0);
                value.extend_from_slice(&page);
                stage.put(page_key(number), value);
                // The number is part of the key: pages whose short hashes collide are all found.
                numbers.insert(
                    [&short(&hash)[..], &number.to_be_bytes()].concat(),
                    Vec::new(),
                );
            }
            let mut offset = 0;
            for chunk in put.chunks {
                let place = ChunkPlace {
                    content: put.content,
                    offset,
                    len: chunk.len,
                };
                let key = [short(&chunk.hash), short(&put.content.hash)].concat();
                places.insert(key, encode_place(&place));
                offset += u64::from(chunk.len);
            }
        }
        let old_numbers = &self.numbers;
        let mut last: Option<(ContentHash, bool)> = None;
        self.places.change(db, stage, places, |_, value| {
            let root = decode_place(db, value)?.content.hash;
            if let Some((_, known)) = last.filter(|(hash, _)| *hash == root) {
                return Ok(known);
            }
            let known = find_page(db, old_numbers, &root)?.is_some();
            last = Some((root, known));
            Ok(known)
        })?;
        self.numbers.change(db, stage, numbers, |key, _| {
            let number = key.get(HASH..).unwrap_or_default();
            Ok(db.read(&page_key(page_number(db, number)?))?.is_some())
        })
    }

    /// Notes during a sweep that an entry came to have this content.
    pub(super) fn spare(&mut self, content: ContentRoot) {
        if let Some(sweep) = self.sweep.as_mut().filter(|_| content.height > 0) {
            sweep.todo.push(content);
        }
    }

    /// Notes that a content with about so many chunks went from a path.
    pub(super) fn add_dead(&mut self, chunks: u64) {
        self.dead = self.dead.saturating_add(chunks);
    }

    /// Whether enough went to make a sweep worth while.
    pub(super) fn wants_sweep(&self) -> bool {
        self.sweep.is_none() && self.dead > MAX_DEAD
    }

    /// Begins a sweep of the pages that there are now.
    pub(super) fn begin_sweep(&mut self) {
        self.sweep = Some(Sweep {
            limit: self.next_page,
            mark_after: Some(Vec::new()),
            marked_all: false,
            delete_from: 0,
            live: HashSet::new(),
            todo: Vec::new(),
        });
    }

    /// Where the sweep wants to read entries on; `None` if it has seen them all.
    pub(super) fn sweep_mark_from(&mut self, also: &[ContentRoot]) -> Option<Vec<u8>> {
        let sweep = self.sweep.as_mut()?;
        sweep.todo.extend(also.iter().filter(|c| c.height > 0));
        sweep.mark_after.clone()
    }

    /// Tells the sweep how far entries were read, and what contents were met.
    pub(super) fn sweep_marked(&mut self, upto: Option<Vec<u8>>, contents: Vec<ContentRoot>) {
        if let Some(sweep) = &mut self.sweep {
            sweep.marked_all = upto.is_none();
            sweep.mark_after = upto;
            sweep.todo.extend(contents);
        }
    }

    /// Marks what was met, and deletes up to `limit` pages once all is marked.
    pub(super) fn sweep_step(
        &mut self,
        db: &Db,
        stage: &mut Stage,
        limit: usize,
    ) -> IndexResult<SweepStep> {
        let Some(mut sweep) = self.sweep.take() else {
            return Ok(SweepStep {
                removed: 0,
                done: true,
            });
        };
        while let Some(root) = sweep.todo.pop() {
            self.mark(db, &mut sweep.live, root)?;
        }
        let mut step = SweepStep::default();
        if sweep.marked_all {
            let high = page_key(sweep.limit);
            for _ in 0..limit {
                let Some((at, value)) = db.ceiling(&page_key(sweep.delete_from), &high)? else {
                    step.done = true;
                    break;
                };
                sweep.delete_from = page_number(db, &at[1..])? + 1;
                let hash = page_hash(db, &value)?;
                if !sweep.live.contains(&short(&hash)) {
                    stage.remove(at.to_vec());
                    step.removed += 1;
                    self.numbers.add_stale(1);
                    // A leaf has an entry of 36 bytes for each chunk; inner pages are few.
                    self.places.add_stale((value.len() / 36) as u64);
                }
            }
        }
        if step.done {
            // Their pages are gone: from now on the places are known to be stale.
            self.places.add_stale(std::mem::take(&mut self.dead));
        } else {
            self.sweep = Some(sweep);
        }
        Ok(step)
    }

    /// Marks all stored pages of a content.
    fn mark(&self, db: &Db, live: &mut HashSet<[u8; HASH]>, root: ContentRoot) -> IndexResult<()> {
        let mut todo = vec![(root.hash, root.height)];
        while let Some((hash, height)) = todo.pop() {
            if !live.insert(short(&hash)) || height < 2 {
                continue;
            }
            let Some(bytes) = find_page(db, &self.numbers, &hash)? else {
                continue;
            };
            // A page that can't be read has no children to keep; whoever uses it will find out.
            if let Ok(Page::Inner(children)) = Page::decode(&bytes, height, &hash) {
                todo.extend(children.iter().map(|child| (child.hash, height - 1)));
            }
        }
        Ok(())
    }
}

fn find_page(db: &Db, numbers: &Runs, hash: &ContentHash) -> IndexResult<Option<Bytes>> {
    let mut found = None;
    numbers.find(db, &short(hash), |number, _| {
        let Some(page) = db.read(&page_key(page_number(db, number)?))? else {
            return Ok(true);
        };
        if page_hash(db, &page)? == *hash {
            found = Some(Bytes::copy_from_slice(&page[33..]));
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

pub(super) fn short(hash: &ContentHash) -> [u8; HASH] {
    let [a, b, c, d, e, f, g, h, ..] = hash.0;
    [a, b, c, d, e, f, g, h]
}

fn page_key(number: u64) -> Vec<u8> {
    let mut key = vec![key::PAGE];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn page_number(db: &Db, bytes: &[u8]) -> IndexResult<u64> {
    let number = bytes.try_into().map(u64::from_be_bytes);
    number.map_err(|_| db.corrupt("the number of a page is malformed"))
}

fn page_hash(db: &Db, value: &[u8]) -> IndexResult<ContentHash> {
    match value.split_first_chunk::<33>() {
        Some((&[FORMAT, ref hash @ ..], _)) => Ok(ContentHash(*hash)),
        _ => Err(db.corrupt("a stored page is malformed")),
    }
}

/// The content's hash (32 bytes), its height (1), the offset (8), the length (4); the format first.
fn encode_place(place: &ChunkPlace) -> Vec<u8> {
    let mut out = Vec::with_capacity(46);
    out.push(FORMAT);
    out.extend_from_slice(&place.content.hash.0);
    out.push(place.content.height);
    out.extend_from_slice(&place.offset.to_be_bytes());
    out.extend_from_slice(&place.len.to_be_bytes());
    out
}

fn decode_place(db: &Db, bytes: &[u8]) -> IndexResult<ChunkPlace> {
    let parse = || {
        let (&[FORMAT], rest) = bytes.split_first_chunk()? else {
            return None;
        };
        let (hash, rest) = rest.split_first_chunk()?;
        let (&[height], rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        Some(ChunkPlace {
            content: ContentRoot {
                hash: ContentHash(*hash),
                height,
            },
            offset: u64::from_be_bytes(*offset),
            len: u32::from_be_bytes(rest.try_into().ok()?),
        })
    };
    parse().ok_or_else(|| db.corrupt("the place of a chunk is malformed"))
}
