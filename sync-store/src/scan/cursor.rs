//! Reading the index in the order of a walk.

use std::collections::VecDeque;

use sync_core::{
    index::{Index, IndexEntry, IndexResult},
    path::RelPath,
};

/// Entries read at a time.
const PAGE: usize = 1000;

/// The entries of an index, or of what lies below one directory, in path order.
#[derive(Debug)]
pub(super) struct Cursor<'a, I> {
    index: &'a I,
    below: Option<RelPath>,
    after: Option<RelPath>,
    page: VecDeque<(RelPath, IndexEntry)>,
    ended: bool,
}

impl<'a, I: Index> Cursor<'a, I> {
    pub(super) fn new(index: &'a I, below: Option<RelPath>) -> Self {
        Self {
            index,
            below,
            after: None,
            page: VecDeque::new(),
            ended: false,
        }
    }

    /// A cursor over the whole index from `after` on.
    pub(super) fn after(index: &'a I, after: RelPath) -> Self {
        Self {
            after: Some(after),
            ..Self::new(index, None)
        }
    }

    /// The next entry, which stays.
    pub(super) fn peek(&mut self) -> IndexResult<Option<&(RelPath, IndexEntry)>> {
        if self.page.is_empty() && !self.ended {
            let after = self.after.as_ref();
            let page = match &self.below {
                Some(dir) => self.index.entries_below(dir, after, PAGE)?,
                None => self.index.entries_after(after, PAGE)?,
            };
            self.ended = page.is_empty();
            if let Some((last, _)) = page.last() {
                self.after = Some(last.clone());
            }
            self.page = page.into();
        }
        Ok(self.page.front())
    }

    /// Takes the next entry.
    pub(super) fn next(&mut self) -> IndexResult<Option<(RelPath, IndexEntry)>> {
        self.peek()?;
        Ok(self.page.pop_front())
    }

    /// Leaves out `dir`'s entries, and those below it.
    pub(super) fn skip_below(&mut self, dir: &RelPath) -> IndexResult<()> {
        while let Some((path, _)) = self.peek()? {
            if path > dir && !path.is_below(dir) {
                break;
            }
            self.page.pop_front();
        }
        Ok(())
    }
}
