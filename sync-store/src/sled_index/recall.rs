//! The blocks of a packed map that were read last.
//!
//! Files that lie side by side are worked on one after the other, several times: when their records come, when their
//! contents are here, when peers are told. Reading a block from the engine costs about a hundred times what looking
//! into it does, so a few stay at hand until the next write. It never answers from before a write: whoever asks says
//! how often the index was written to.

use std::collections::VecDeque;

use sync_core::index::IndexResult;

use super::{
    db::{Db, Item},
    packed::Packed,
};

/// Blocks at hand. Neighbours in two or three places are looked at in turn.
const BLOCKS: usize = 4;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Recall {
    writes: u64,
    blocks: VecDeque<Block>,
}

#[derive(Debug)]
struct Block {
    item: Item,
    /// Where the next block begins, once that was asked for; none may follow.
    end: Option<Option<Item>>,
}

impl Recall {
    /// The value of `key`, as it is after so many writes.
    pub(super) fn value(
        &mut self,
        db: &Db,
        map: &Packed,
        key: &[u8],
        writes: u64,
    ) -> IndexResult<Option<Vec<u8>>> {
        if self.writes != writes {
            self.writes = writes;
            self.blocks.clear();
        }
        let full = map.key(key);
        let begins = |block: &Block| block.item.0.as_ref() <= full.as_slice();
        let known = self.blocks.iter_mut().filter(|block| begins(block));
        // The nearest; whether it is the right one shows below.
        if let Some(block) = known.max_by(|a, b| a.item.0.cmp(&b.item.0)) {
            if let Some(answer) = map.find(db, &block.item.1, key)? {
                return Ok(answer);
            }
            let end = match &block.end {
                Some(end) => end,
                None => {
                    let end = map.after(db, &block.item.0)?;
                    block.end.insert(end)
                }
            };
            match end {
                Some((next, _)) if next.as_ref() <= full.as_slice() => {}
                _ => return Ok(None),
            }
        }
        let Some(item) = map.block(db, key)? else {
            return Ok(None);
        };
        let answer = map.find(db, &item.1, key)?;
        self.blocks.truncate(BLOCKS - 1);
        self.blocks.push_front(Block { item, end: None });
        Ok(answer.flatten())
    }
}
