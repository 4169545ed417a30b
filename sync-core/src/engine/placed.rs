//! Contents of ours that may stand at a path although the index doesn't say so.
//!
//! An action can put a content in place and still report an error, or be cut off by a crash, and the record
//! that asked for it can be superseded before anybody looks. What a scan finds then is neither what is
//! held nor what is wanted, and would pass for a person's edit. So a content that is superseded while its
//! action is under way, or after one that ended in doubt, is remembered until the path was looked at.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;

use super::{Engine, store::encode};
use crate::{
    index::{Index, IndexError, IndexResult},
    manifest::ContentRoot,
    path::RelPath,
    record::Record,
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
}

impl<I: Index> Engine<I> {
    /// The action at `path` failed, perhaps after the step that counts: the path is not worked on before
    /// a scan said what stands there.
    pub(super) fn in_doubt(&mut self, path: RelPath) {
        self.work.placed.unsure.insert(path.clone());
        self.work.stale.insert(path.clone());
        self.scan.dirty.insert(path);
    }

    /// Whether an action of ours may have changed what stands at `path` without the index knowing. What lies in
    /// a directory that couldn't be read is in doubt as well: before a crash it may have been worked on.
    pub(super) fn is_in_doubt(&self, path: &RelPath) -> bool {
        self.in_group(path) || self.work.placed.unsure.contains(path) || self.is_unknown(path)
    }

    /// A scan looked at these paths: what it didn't tell of is as the index says.
    pub(super) fn looked_at<'a>(&mut self, paths: impl Iterator<Item = &'a RelPath>) {
        for path in paths {
            if !self.work.placed.contents.contains_key(path) {
                self.work.placed.unsure.remove(path);
            }
        }
    }

    /// `want` is about to be superseded by another record of its path.
    pub(super) fn superseded(&mut self, path: &RelPath, want: Option<&Record>) -> IndexResult<()> {
        let doubt = self.is_in_doubt(path);
        let Some(content) = want.and_then(|w| w.entry.content).filter(|_| doubt) else {
            return Ok(());
        };
        let placed = &mut self.work.placed;
        if placed.contents.len() >= MAX_PATHS && !placed.contents.contains_key(path) {
            return Ok(());
        }
        let list = placed.contents.entry(path.clone()).or_default();
        if list.len() < MAX_CONTENTS && !list.contains(&content) {
            list.push(content);
            self.write_placed()?;
        }
        Ok(())
    }

    /// Whether `content` at `path` was put there by us.
    pub(super) fn placed_by_us(&self, path: &RelPath, content: Option<ContentRoot>) -> bool {
        let list = self.work.placed.contents.get(path);
        content.is_some_and(|c| list.is_some_and(|l| l.contains(&c)))
    }

    /// What stands at `path` is known again.
    pub(super) fn no_doubt(&mut self, path: &RelPath) -> IndexResult<()> {
        self.work.placed.unsure.remove(path);
        if self.work.placed.contents.remove(path).is_some() {
            self.write_placed()?;
        }
        Ok(())
    }

    fn write_placed(&mut self) -> IndexResult<()> {
        let map: BTreeMap<ByteVec, &Vec<ContentRoot>> = self
            .work
            .placed
            .contents
            .iter()
            .map(|(path, list)| (path.as_bytes().to_vec().into(), list))
            .collect();
        let bytes = encode(&map)?;
        self.put_fact(PLACED.to_vec(), bytes);
        Ok(())
    }
}
