//! Which contents are in use besides those that stand on this disk: for those who sweep what nobody needs.

use super::ledger::open_stored;
use crate::{
    index::{Index, IndexResult, Need},
    keys::FolderKeys,
    manifest::ContentRoot,
    path::RelPath,
};

/// The contents, of more than one chunk, that wanted records name: those being fetched, those that have arrived
/// and aren't placed yet, and those that wait for a peer. One page of at most `limit` paths after `after`; with
/// it, the path to go on after, if there may be more.
///
/// It reads the index only, so it needs no engine and may run on another thread. What comes to be wanted behind
/// the walk is missed: whoever sweeps must spare what is newer than the walk.
///
/// # Errors
///
/// Those of the index, and a stored record that can't be opened: then nothing should be swept.
pub fn wanted_contents<I: Index>(
    index: &I,
    keys: &FolderKeys,
    after: Option<&RelPath>,
    limit: usize,
) -> IndexResult<(Vec<ContentRoot>, Option<RelPath>)> {
    let paths = index.needs(Need::Content, after, limit)?;
    let mut contents = Vec::new();
    for path in &paths {
        let Some(want) = index.entry(path)?.and_then(|entry| entry.want) else {
            continue;
        };
        let content = open_stored(keys, &want.record)?.entry.content;
        contents.extend(content.filter(|content| content.height > 0));
    }
    Ok((contents, paths.into_iter().last()))
}
