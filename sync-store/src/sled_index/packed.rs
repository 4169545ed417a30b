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

/// First byte of each block: values as they are, or without what they share with the one before.
const PLAIN: u8 = 1;
const SHARED: u8 = 2;

/// The map under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    prefix: Vec<u8>,
    /// The first key after all keys with the prefix.
    high: Vec<u8>,
    /// Longest block in bytes.
    max: usize,
    /// How new blocks are written.
    format: u8,
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
            format: PLAIN,
        }
    }

    /// Neighbouring values have a beginning in common, which is not to be stored again.
    pub(super) fn sharing_values(self) -> Self {
        Self {
            format: SHARED,
            ..self
        }
    }

    /// The value of `key`.
    pub(super) fn value(&self, db: &Db, key: &[u8]) -> IndexResult<Option<Vec<u8>>> {
        match self.block(db, key)? {
            Some((_, block)) => Ok(self.find(db, &block, key)?.flatten()),
            None => Ok(None),
        }
    }

    /// The block that `key` lies in, if it is anywhere.
    pub(super) fn block(&self, db: &Db, key: &[u8]) -> IndexResult<Option<Item>> {
        db.floor(&self.prefix, &self.key(key))
    }

    /// The block after the one that begins at `block_key`.
    pub(super) fn after(&self, db: &Db, block_key: &[u8]) -> IndexResult<Option<Item>> {
        db.above(block_key, &self.high)
    }

    /// What a block says of `key`: its value, or that there is none (`Some(None)`); `None` if it ends before.
    pub(super) fn find(
        &self,
        db: &Db,
        block: &[u8],
        key: &[u8],
    ) -> IndexResult<Option<Option<Vec<u8>>>> {
        let mut items = Items::new(block);
        while let Some((at, value)) = items.next(db)? {
            if at >= key {
                return Ok(Some((at == key).then(|| value.to_vec())));
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
                let size = self.block_size(&edit.new);
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
        let total = self.block_size(&edit.new);
        let room = self.max - 1;
        let target = if edit.appended {
            room
        } else {
            (total / total.div_ceil(room)).max(1)
        };
        let mut key = edit.key;
        let (mut writer, mut estimate) = (BlockWriter::of(self.format), 0);
        for pair in &edit.new {
            let size = writer.size(&pair.0, &pair.1);
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
                    std::mem::replace(&mut writer, BlockWriter::of(self.format)).bytes,
                );
                estimate = 0;
            }
            writer.push(&pair.0, &pair.1);
            estimate += size;
        }
        stage.put(key, writer.bytes);
    }

    /// At most what the items take in one block.
    fn block_size(&self, items: &[Pair]) -> usize {
        let mut writer = BlockWriter::of(self.format);
        let sizes = items.iter().map(|(key, value)| {
            let size = writer.size(key, value);
            writer.follow(key, value);
            size
        });
        sizes.sum()
    }

    /// The key in the engine.
    pub(super) fn key(&self, key: &[u8]) -> Vec<u8> {
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

fn shared(last: &[u8], key: &[u8]) -> usize {
    last.iter().zip(key).take_while(|(a, b)| a == b).count()
}

/// Encodes a block: the format, then for each item the length shared with the key before, the length of
/// the rest, the rest, the length of the value, the value. In the format [`SHARED`] values are written as keys are.
/// Lengths are LEB128.
#[derive(Debug)]
pub(super) struct BlockWriter {
    pub(super) bytes: Vec<u8>,
    format: u8,
    last: Pair,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self::of(PLAIN)
    }

    fn of(format: u8) -> Self {
        Self {
            bytes: vec![format],
            format,
            last: Pair::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    /// At most what an item would take now.
    fn size(&self, key: &[u8], value: &[u8]) -> usize {
        let value = match self.format {
            SHARED => value.len() - shared(&self.last.1, value) + 4,
            _ => value.len(),
        };
        key.len() - shared(&self.last.0, key) + value + 9
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        put_rest(&mut self.bytes, &self.last.0, key);
        if self.format == SHARED {
            put_rest(&mut self.bytes, &self.last.1, value);
        } else {
            put_len(&mut self.bytes, value.len());
            self.bytes.extend_from_slice(value);
        }
        self.follow(key, value);
    }

    /// What comes next is written as after this.
    fn follow(&mut self, key: &[u8], value: &[u8]) {
        replace(&mut self.last.0, key);
        if self.format == SHARED {
            replace(&mut self.last.1, value);
        }
    }
}

fn replace(last: &mut Vec<u8>, new: &[u8]) {
    last.clear();
    last.extend_from_slice(new);
}

fn put_rest(out: &mut Vec<u8>, last: &[u8], this: &[u8]) {
    let shared = shared(last, this);
    put_len(out, shared);
    put_len(out, this.len() - shared);
    out.extend_from_slice(&this[shared..]);
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
    /// Of the block; `None` before its first item.
    format: Option<u8>,
    last: Pair,
}

impl<'a> Items<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self {
            rest: block,
            format: None,
            last: Pair::default(),
        }
    }

    /// The next item; an error if the block is not one.
    pub(super) fn next(&mut self, db: &Db) -> IndexResult<Option<(&[u8], &[u8])>> {
        match self.parse() {
            Some(true) => Ok(Some((&self.last.0, &self.last.1))),
            Some(false) => Ok(None),
            None => Err(db.corrupt("a block of items is malformed")),
        }
    }

    /// Reads the next item; `Some(false)` at the end, `None` if the bytes make no sense.
    fn parse(&mut self) -> Option<bool> {
        let format = match self.format {
            Some(format) => format,
            None => self.take(1)?[0],
        };
        self.format = Some(format);
        if self.rest.is_empty() {
            return Some(false);
        }
        let mut last = std::mem::take(&mut self.last);
        self.rest_of(&mut last.0)?;
        match format {
            PLAIN => {
                let n = self.len()?;
                replace(&mut last.1, self.take(n)?);
            }
            SHARED => self.rest_of(&mut last.1)?,
            _ => return None,
        }
        self.last = last;
        Some(true)
    }

    /// Makes of `last` what was written after it.
    fn rest_of(&mut self, last: &mut Vec<u8>) -> Option<()> {
        let (shared, rest) = (self.len()?, self.len()?);
        let rest = self.take(rest)?;
        if shared > last.len() {
            return None;
        }
        last.truncate(shared);
        last.extend_from_slice(rest);
        Some(())
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
