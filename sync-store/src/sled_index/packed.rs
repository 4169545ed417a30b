//! A sorted map that keeps many small items in each value of the engine.
//!
//! sled holds at most 16 items in a leaf and about 250 bytes of memory for each leaf, so a million items
//! of their own cost much memory and, above all, time. Here neighbouring items share a **block** of at
//! most `max` bytes (unless one item is longer) under the key of the first; keys inside a block are stored without the part
//! they share with their predecessor. The invariant: a block's key is at most the key of its first item,
//! and above that of the last item of the block before.
//!
//! It owns the blocks under one prefix. It never writes by itself: changes go into a [`Stage`].

use std::collections::BTreeMap;

use sync_core::index::IndexResult;

use super::db::{Db, Item, Stage};

/// First byte of each block.
const FORMAT: u8 = 1;

/// The map under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    prefix: Vec<u8>,
    /// The first key after all keys with the prefix.
    high: Vec<u8>,
    /// Longest block in bytes.
    max: usize,
}

/// A key and its value, outside of a block.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// A change: the key, and what stood there.
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    pub(super) old: Option<&'a [u8]>,
}

impl Packed {
    /// Short blocks cost less for a change in the middle, long ones less for each item.
    pub(super) fn new(prefix: &[u8], max: usize) -> Self {
        Self {
            prefix: prefix.to_vec(),
            high: successor(prefix),
            max,
        }
    }

    /// The value of `key`.
    pub(super) fn value(&self, db: &Db, key: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        let Some((_, block)) = db.floor(&self.prefix, &self.key(key))? else {
            return Ok(None);
        };
        let mut items = Items::new(&block);
        while let Some((at, value)) = items.next(db)? {
            if at >= key {
                return Ok((at == key).then(|| value.to_vec()));
            }
        }
        Ok(None)
    }

    /// Hands all items from `from` on (without it, if `!inclusive`) to `f`, in order, until it says `false`.
    pub(super) fn walk(
        &self,
        db: &Db,
        from: &[u8],
        inclusive: bool,
        mut f: impl FnMut(&[u8], &[u8]) -> IndexResult<bool>,
    ) -> IndexResult<()> {
        let (low, high) = (&self.prefix, &self.high);
        let mut block = match db.floor(low, &self.key(from))? {
            Some(block) => Some(block),
            None => db.ceiling(low, high)?,
        };
        while let Some((block_key, bytes)) = block {
            let mut items = Items::new(&bytes);
            while let Some((key, value)) = items.next(db)? {
                if (key > from || (inclusive && key == from)) && !f(key, value)? {
                    return Ok(());
                }
            }
            block = db.above(&block_key, high)?;
        }
        Ok(())
    }

    /// Hands all keys below `before` to `f`, the last first, until it says `false`.
    pub(super) fn walk_back(
        &self,
        db: &Db,
        before: &[u8],
        mut f: impl FnMut(&[u8]) -> IndexResult<bool>,
    ) -> IndexResult<()> {
        let low = &self.prefix;
        let mut block = db.below(low, &self.key(before))?;
        while let Some((block_key, bytes)) = block {
            for (key, _) in decode(db, &bytes)?.iter().rev() {
                if key.as_slice() < before && !f(key)? {
                    return Ok(());
                }
            }
            block = db.below(low, &block_key)?;
        }
        Ok(())
    }

    /// Puts `changes` into `stage`; `seen` is told of each with its old value, in order of key.
    pub(super) fn change(
        &self,
        db: &Db,
        stage: &mut Stage,
        changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        mut seen: impl FnMut(Change<'_>) -> IndexResult<()>,
    ) -> IndexResult<()> {
        let (low, high) = (&self.prefix, &self.high);
        let mut changes = changes.into_iter().peekable();
        while let Some((first, _)) = changes.peek() {
            let first = self.key(first);
            let block = match db.floor(low, &first)? {
                Some(block) => Some(block),
                None => db.ceiling(low, high)?,
            };
            let mut edit = match block {
                Some((key, bytes)) => {
                    // Only before the very first block can a change lie below the block's key.
                    if key.as_ref() > first.as_slice() {
                        stage.remove(key.to_vec());
                    }
                    let next = db.above(&key, high)?;
                    let key = first.min(key.to_vec());
                    Edit {
                        key,
                        old: decode(db, &bytes)?,
                        next,
                        new: Vec::new(),
                        appended: true,
                    }
                }
                None => Edit {
                    key: first,
                    old: vec![],
                    next: None,
                    new: vec![],
                    appended: true,
                },
            };
            loop {
                self.merge(&mut edit, &mut changes, &mut seen)?;
                // A block that has become short takes the next one in, and goes on with its changes.
                let size = block_size(&edit.new);
                let Some((next_key, next)) = edit.next.take_if(|(_, next)| {
                    size < self.max / 4 && size + next.len() < self.max / 4 * 3
                }) else {
                    break;
                };
                stage.remove(next_key.to_vec());
                edit.old = decode(db, &next)?;
                edit.next = db.above(&next_key, high)?;
                edit.appended = false;
            }
            self.write(edit, stage);
        }
        Ok(())
    }

    /// Moves the block's items to `new`, with all changes that fall before the next block.
    fn merge(
        &self,
        edit: &mut Edit,
        changes: &mut std::iter::Peekable<impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>>,
        seen: &mut impl FnMut(Change<'_>) -> IndexResult<()>,
    ) -> IndexResult<()> {
        let end = edit
            .next
            .as_ref()
            .map(|(key, _)| key.get(self.prefix.len()..).unwrap_or_default().to_vec());
        let mut old = std::mem::take(&mut edit.old).into_iter().peekable();
        while let Some((key, new)) =
            changes.next_if(|(key, _)| end.as_ref().is_none_or(|end| key < end))
        {
            while let Some(item) = old.next_if(|(at, _)| *at < key) {
                edit.new.push(item);
            }
            let before = old.next_if(|(at, _)| *at == key).map(|(_, value)| value);
            edit.appended &= before.is_none() && old.peek().is_none();
            seen(Change {
                key: &key,
                old: before.as_deref(),
            })?;
            if let Some(new) = new {
                edit.new.push((key, new));
            }
        }
        edit.new.extend(old);
        Ok(())
    }

    /// Cuts the items into blocks: full ones if items were only added at the end, as a first scan
    /// does, else equal ones, which leaves room for more in between.
    fn write(&self, edit: Edit, stage: &mut Stage) {
        if edit.new.is_empty() {
            stage.remove(edit.key);
            return;
        }
        let total = block_size(&edit.new);
        let room = self.max - 1;
        let target = if edit.appended {
            room
        } else {
            (total / total.div_ceil(room)).max(1)
        };
        let mut key = edit.key;
        let (mut writer, mut estimate) = (BlockWriter::new(), 0);
        for pair in &edit.new {
            let size = pair_size(&writer.last, pair);
            // In equal blocks the last item may cross the target, so that no small rest is left over.
            let full = if edit.appended {
                estimate + size > target
            } else {
                estimate >= target
            };
            if estimate > 0 && (full || estimate + size > room) {
                let block_key = std::mem::replace(&mut key, self.key(&pair.0));
                stage.put(
                    block_key,
                    std::mem::replace(&mut writer, BlockWriter::new()).bytes,
                );
                estimate = 0;
            }
            writer.push(&pair.0, &pair.1);
            estimate += size;
        }
        stage.put(key, writer.bytes);
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }
}

/// The smallest key above all keys that begin with `prefix`, which must not be all 0xff.
pub(super) fn successor(prefix: &[u8]) -> Vec<u8> {
    let keep = prefix.iter().rposition(|b| *b != 0xff).map_or(0, |i| i + 1);
    let mut next = prefix[..keep].to_vec();
    if let Some(last) = next.last_mut() {
        *last += 1;
    }
    next
}

/// All items of a block.
pub(super) fn decode(db: &Db, block: &[u8]) -> IndexResult<Vec<Pair>> {
    let (mut items, mut all) = (Items::new(block), Vec::new());
    while let Some((key, value)) = items.next(db)? {
        all.push((key.to_vec(), value.to_vec()));
    }
    Ok(all)
}

/// A block being changed.
struct Edit {
    key: Vec<u8>,
    old: Vec<Pair>,
    new: Vec<Pair>,
    next: Option<Item>,
    appended: bool,
}

/// At most what an item takes in a block after the item with key `last`.
fn pair_size(last: &[u8], (key, value): &Pair) -> usize {
    key.len() - shared(last, key) + value.len() + 9
}

fn shared(last: &[u8], key: &[u8]) -> usize {
    last.iter().zip(key).take_while(|(a, b)| a == b).count()
}

/// At most what the items take in one block.
fn block_size(items: &[Pair]) -> usize {
    let mut last: &[u8] = &[];
    items
        .iter()
        .map(|pair| pair_size(std::mem::replace(&mut last, &pair.0), pair))
        .sum()
}

/// Encodes a block: the format, then for each item the length shared with the key before, the length of
/// the rest, the rest, the length of the value, the value. Lengths are LEB128.
#[derive(Debug)]
pub(super) struct BlockWriter {
    pub(super) bytes: Vec<u8>,
    last: Vec<u8>,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![FORMAT],
            last: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let shared = shared(&self.last, key);
        put_len(&mut self.bytes, shared);
        put_len(&mut self.bytes, key.len() - shared);
        self.bytes.extend_from_slice(&key[shared..]);
        put_len(&mut self.bytes, value.len());
        self.bytes.extend_from_slice(value);
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
    }
}

fn put_len(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads a block. Every length is checked against what is left.
pub(super) struct Items<'a> {
    rest: &'a [u8],
    started: bool,
    key: Vec<u8>,
}

impl<'a> Items<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self {
            rest: block,
            started: false,
            key: Vec::new(),
        }
    }

    /// The next item; an error if the block is not one.
    pub(super) fn next(&mut self, db: &Db) -> IndexResult<Option<(&[u8], &'a [u8])>> {
        match self.parse() {
            Some(true) => {}
            Some(false) => return Ok(None),
            None => return Err(db.corrupt("a block of items is malformed")),
        }
        let Some(value) = self.len().and_then(|n| self.take(n)) else {
            return Err(db.corrupt("a block of items is cut short"));
        };
        Ok(Some((&self.key, value)))
    }

    /// Reads the next key; `Some(false)` at the end, `None` if the bytes make no sense.
    fn parse(&mut self) -> Option<bool> {
        if !self.started {
            self.started = true;
            if self.take(1)? != [FORMAT] {
                return None;
            }
        }
        if self.rest.is_empty() {
            return Some(false);
        }
        let shared = self.len()?;
        let rest = self.len()?;
        let rest = self.take(rest)?;
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        Some(true)
    }

    fn len(&mut self) -> Option<usize> {
        let mut n = 0usize;
        for shift in [0, 7, 14, 21] {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            n |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }
}
