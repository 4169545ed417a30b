//! Contents of ours that may stand at a path although the index doesn't say so.
//!
//! An action can put a content in place and still report an error, or be cut off by a crash, and the record
//! that asked for it can be superseded before anybody looks. What a scan finds then is neither what is
//! held nor what is wanted, and would pass for a person's edit. So a content that is superseded while its
//! action is under way, or after one that ended in doubt, is remembered until the path was looked at.
//!
//! What superseded it may not know of it: the two are *rivals*. Then it stays visible as a conflict copy, under the name
//! that everybody gives it; after the loss of an index it may be the only one.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use super::ledger::encode;
use crate::{
    ids::ReplicaId,
    index::{Index, IndexError, IndexResult},
    manifest::ContentRoot,
    path::RelPath,
};

/// The fact with all contents, and the one with the authors of those among them that are rivals.
const PLACED: &[u8] = b"placed";
const RIVALS: &[u8] = b"placed rivals";
/// Contents remembered of one path, and paths.
const MAX_CONTENTS: usize = 16;
const MAX_PATHS: usize = 4_096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Placed {
    contents: BTreeMap<RelPath, Vec<Trace>>,
    /// Paths whose last action ended in doubt.
    unsure: BTreeSet<RelPath>,
}

/// A content that may stand somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trace {
    content: ContentRoot,
    /// Who made the version that had it, if what came after didn't know of that.
    rival: Option<ReplicaId>,
}

fn read<I: Index, T: for<'b> minicbor::Decode<'b, ()>>(
    index: &I,
    name: &[u8],
) -> IndexResult<BTreeMap<ByteVec, Vec<T>>> {
    let Some(bytes) = index.fact(name)? else {
        return Ok(BTreeMap::new());
    };
    minicbor::decode(&bytes).map_err(|e| IndexError::Corrupt(format!("placed: {e}")))
}

impl Placed {
    pub(super) fn read<I: Index>(index: &I) -> IndexResult<Self> {
        let rivals: BTreeMap<_, Vec<(ContentRoot, ReplicaId)>> = read(index, RIVALS)?;
        let all: BTreeMap<_, Vec<ContentRoot>> = read(index, PLACED)?;
        let of = |(path, list): (ByteVec, Vec<ContentRoot>)| {
            let rivals = rivals.get(&path).map_or(&[][..], Vec::as_slice);
            let trace = |content| Trace {
                content,
                rival: rivals
                    .iter()
                    .find(|(c, _)| *c == content)
                    .map(|(_, by)| *by),
            };
            let path = RelPath::parse(&path).ok()?;
            Some((path, list.into_iter().map(trace).collect()))
        };
        let contents: BTreeMap<_, _> = all.into_iter().filter_map(of).collect();
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

    /// `content` may stand at `path`, and comes from a `rival` of what shall be there, or from a version that this
    /// builds on. Whether that is news.
    pub(super) fn remember(
        &mut self,
        path: &RelPath,
        content: ContentRoot,
        rival: Option<ReplicaId>,
    ) -> bool {
        if self.contents.len() >= MAX_PATHS && !self.contents.contains_key(path) {
            return false;
        }
        let list = self.contents.entry(path.clone()).or_default();
        let room = list.len() < MAX_CONTENTS;
        match list.iter_mut().find(|trace| trace.content == content) {
            Some(known) => {
                let news = known.rival.is_none() && rival.is_some();
                known.rival = known.rival.or(rival);
                news
            }
            None if room => {
                list.push(Trace { content, rival });
                true
            }
            None => false,
        }
    }

    /// What stands at `path` is known again; whether anything was remembered of it.
    pub(super) fn forget(&mut self, path: &RelPath) -> bool {
        self.unsure.remove(path);
        self.contents.remove(path).is_some()
    }

    /// Whether `content` at `path` was put there by us.
    pub(super) fn has(&self, path: &RelPath, content: Option<ContentRoot>) -> bool {
        self.trace(path, content).is_some()
    }

    /// Who made the version that had `content`, if what shall be at `path` doesn't know of that.
    pub(super) fn rival(&self, path: &RelPath, content: Option<ContentRoot>) -> Option<ReplicaId> {
        self.trace(path, content)?.rival
    }

    fn trace(&self, path: &RelPath, content: Option<ContentRoot>) -> Option<Trace> {
        let content = content?;
        let mut list = self.contents.get(path)?.iter();
        list.find(|trace| trace.content == content).copied()
    }

    pub(super) fn is_unsure(&self, path: &RelPath) -> bool {
        self.unsure.contains(path)
    }

    /// The facts to keep it under, with their values.
    pub(super) fn facts(&self) -> IndexResult<[(Vec<u8>, Vec<u8>); 2]> {
        fn map<T>(placed: &Placed, of: impl Fn(&Trace) -> Option<T>) -> BTreeMap<ByteVec, Vec<T>> {
            let each = placed.contents.iter().map(|(path, list)| {
                let list = list.iter().filter_map(&of).collect::<Vec<_>>();
                (path.as_bytes().to_vec().into(), list)
            });
            each.filter(|(_, list)| !list.is_empty()).collect()
        }
        let all = map(self, |trace| Some(trace.content));
        let rivals = map(self, |trace| Some((trace.content, trace.rival?)));
        Ok([
            (PLACED.to_vec(), encode(&all)?),
            (RIVALS.to_vec(), encode(&rivals)?),
        ])
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
        let by = ReplicaId(7);
        assert!(placed.remember(&path, content(0), None));
        assert!(!placed.remember(&path, content(0), None));
        for n in 1..100 {
            placed.remember(&path, content(n), (n == 3).then_some(by));
        }
        // Once a rival, always one.
        assert!(placed.remember(&path, content(1), Some(by)));
        assert!(!placed.remember(&path, content(1), None));
        let mut index = MemIndex::new();
        let facts = placed
            .facts()
            .unwrap()
            .map(|(name, value)| (name, Some(value)));
        let facts = facts.to_vec();
        index
            .commit(Batch {
                facts,
                ..Batch::default()
            })
            .unwrap();
        let mut again = Placed::read(&index).unwrap();
        assert!(again.is_unsure(&path) && again.has(&path, Some(content(15))));
        assert!(!again.has(&path, Some(content(16))) && !again.has(&path, None));
        for n in 0..16 {
            let rival = [1, 3].contains(&n).then_some(by);
            assert_eq!(again.rival(&path, Some(content(n))), rival);
        }
        again.looked_at(&path);
        assert!(
            again.is_unsure(&path),
            "only what was found says what stands there"
        );
        assert!(again.forget(&path) && !again.is_unsure(&path));
    }
}
