//! Contents of ours that may stand at a path although the index doesn't say so.
//!
//! An action can put a content in place and still report an error, or be cut off by a crash, and the record
//! that asked for it can be superseded before anybody looks. What a scan finds then is neither what is
//! held nor what is wanted, and would pass for a person's edit. So a content that is superseded while its
//! action is under way, or after one that ended in doubt, is remembered until the path was looked at.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use super::ledger::encode;
use crate::{
    index::{Index, IndexError, IndexResult},
    manifest::ContentRoot,
    path::RelPath,
};

const PLACED: &[u8] = b"placed";
/// Contents remembered of one path, and paths.
const MAX_CONTENTS: usize = 16;
const MAX_PATHS: usize = 4_096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Placed {
    contents: BTreeMap<RelPath, Vec<ContentRoot>>,
    /// Paths whose last action ended in doubt.
    unsure: BTreeSet<RelPath>,
}

impl Placed {
    pub(super) fn read<I: Index>(index: &I) -> IndexResult<Self> {
        let Some(bytes) = index.fact(PLACED)? else {
            return Ok(Self::default());
        };
        let map: BTreeMap<ByteVec, Vec<ContentRoot>> =
            minicbor::decode(&bytes).map_err(|e| IndexError::Corrupt(format!("placed: {e}")))?;
        let contents: BTreeMap<_, _> = map
            .into_iter()
            .filter_map(|(path, list)| Some((RelPath::parse(&path).ok()?, list)))
            .collect();
        Ok(Self {
            unsure: contents.keys().cloned().collect(),
            contents,
        })
    }

    /// The last action at `path` ended in doubt.
    pub(super) fn unsure(&mut self, path: RelPath) {
        self.unsure.insert(path);
    }

    /// A scan looked at `path` and told nothing of it: it is as the index says.
    pub(super) fn looked_at(&mut self, path: &RelPath) {
        if !self.contents.contains_key(path) {
            self.unsure.remove(path);
        }
    }

    /// `content` may stand at `path`; whether that is news.
    pub(super) fn remember(&mut self, path: &RelPath, content: ContentRoot) -> bool {
        if self.contents.len() >= MAX_PATHS && !self.contents.contains_key(path) {
            return false;
        }
        let list = self.contents.entry(path.clone()).or_default();
        let news = list.len() < MAX_CONTENTS && !list.contains(&content);
        if news {
            list.push(content);
        }
        news
    }

    /// What stands at `path` is known again; whether anything was remembered of it.
    pub(super) fn forget(&mut self, path: &RelPath) -> bool {
        self.unsure.remove(path);
        self.contents.remove(path).is_some()
    }

    /// Whether `content` at `path` was put there by us.
    pub(super) fn has(&self, path: &RelPath, content: Option<ContentRoot>) -> bool {
        let list = self.contents.get(path);
        content.is_some_and(|c| list.is_some_and(|l| l.contains(&c)))
    }

    pub(super) fn is_unsure(&self, path: &RelPath) -> bool {
        self.unsure.contains(path)
    }

    /// The fact to keep it under, and its value.
    pub(super) fn fact(&self) -> IndexResult<(Vec<u8>, Vec<u8>)> {
        let contents = self.contents.iter();
        let map: BTreeMap<ByteVec, _> = contents
            .map(|(path, list)| (path.as_bytes().to_vec().into(), list))
            .collect();
        Ok((PLACED.to_vec(), encode(&map)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunk::ContentHash,
        index::{Batch, MemIndex},
    };

    #[test]
    fn what_is_remembered_outlives_a_restart_and_is_bounded() {
        let path = RelPath::parse(b"a").unwrap();
        let content = |n: u8| ContentRoot::single(ContentHash::chunk(&[n]));
        let mut placed = Placed::default();
        assert!(placed.remember(&path, content(0)) && !placed.remember(&path, content(0)));
        for n in 1..100 {
            placed.remember(&path, content(n));
        }
        let (name, value) = placed.fact().unwrap();
        let mut index = MemIndex::new();
        let facts = vec![(name, Some(value))];
        index
            .commit(Batch {
                facts,
                ..Batch::default()
            })
            .unwrap();
        let mut again = Placed::read(&index).unwrap();
        assert!(again.is_unsure(&path) && again.has(&path, Some(content(15))));
        assert!(!again.has(&path, Some(content(16))) && !again.has(&path, None));
        again.looked_at(&path);
        assert!(
            again.is_unsure(&path),
            "only what was found says what stands there"
        );
        assert!(again.forget(&path) && !again.is_unsure(&path));
    }
}
