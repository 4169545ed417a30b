//! Whether an index says what its disk shows, and what is wanted in vain.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    chunk::ContentHash,
    disk::{DiskKind, DiskStat},
    index::{Index as _, Need},
    manifest::manifest_of,
    observe::same_stat,
    path::RelPath,
    record::Record,
};
use sync_store::fs::{Disk as _, DiskFile as _, MemDisk, NodeKind, Place};

use super::{
    node::Node,
    oracle::{Tree, walk},
    trace::Shown,
};

pub(super) fn index_fits(node: &Node, ghosts: &BTreeSet<RelPath>) -> Result<(), String> {
    let number = node.number;
    let mut disk = BTreeMap::new();
    if walk(&node.disk, None, &mut disk).is_none() {
        return Err(format!("index: the disk of node {number} can't be read"));
    }
    let entries = node
        .index()
        .entries_after(None, usize::MAX)
        .map_err(|e| e.to_string())?;
    for (path, entry) in entries {
        let (known, there) = (entry.stat, disk.remove(path.as_bytes()));
        let fits = match (known, there) {
            // Without a change time it is to be hashed at the next scan, whatever it shows.
            (Some(a), Some(b)) => same_stat(
                &a,
                &DiskStat {
                    ctime_ns: if a.ctime_ns == 0 { 0 } else { b.ctime_ns },
                    ..b
                },
            ),
            (None, None) => true,
            _ => false,
        };
        if !fits {
            return Err(format!(
                "index: node {number} knows {path:?} as {known:?}, disk {there:?}"
            ));
        }
        if let Some(DiskStat {
            kind: DiskKind::File,
            ..
        }) = known
            && let Some(content) = entry.content.filter(|c| c.height == 0)
        {
            let bytes = read(&node.disk, &path).unwrap_or_default();
            if ContentHash::chunk(&bytes) != content.hash && !bytes.is_empty() {
                return Err(format!(
                    "index: node {number} knows another content of {path:?}"
                ));
            }
        }
    }
    if let Some((path, _)) = disk.first_key_value() {
        return Err(format!("index: node {number} doesn't know {}", Shown(path)));
    }
    let need = node.index().totals().map_err(|e| e.to_string())?.need;
    // What people of a read-only node took away may be missing there for other things.
    let wanted = node
        .index()
        .needs(Need::Content, None, usize::MAX)
        .map_err(|e| e.to_string())?;
    let unobtainable = wanted.iter().filter(|p| ghosts.contains(p)).count() as u64;
    if node.can_write() && need.files + need.deletes > unobtainable {
        return Err(format!("index: node {number} still needs {need:?}"));
    }
    Ok(())
}

/// Paths where something is wanted whose content stands nowhere any more. A machine that lost its index
/// with the news of an overwritten or deleted file leaves such a wish behind at those who had heard of
/// the file and not fetched it. Nothing is lost by it: its own user overwrote or deleted that content.
pub(super) fn ghosts(nodes: &[Node], trees: &[Tree]) -> Result<BTreeSet<RelPath>, String> {
    let mut wanted = Vec::new();
    for node in nodes {
        let paths = node
            .index()
            .needs(Need::Content, None, usize::MAX)
            .map_err(|e| e.to_string())?;
        for path in paths {
            let entry = node.index().entry(&path).map_err(|e| e.to_string())?;
            let Some(want) = entry.and_then(|e| e.want) else {
                continue;
            };
            let record = Record::from_store(&node.keys, want.record).map_err(|e| e.to_string())?;
            wanted.extend(record.entry.content.map(|content| (path, content)));
        }
    }
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let seed = nodes
        .iter()
        .find_map(|n| n.keys.read())
        .map_or(0, |read| read.chunk_seed());
    let files = trees
        .iter()
        .flat_map(|t| t.values())
        .filter(|f| f.kind == NodeKind::File);
    let standing: BTreeSet<_> = files
        .filter_map(|f| manifest_of(&f.bytes, seed).ok())
        .map(|m| m.root)
        .collect();
    Ok(wanted
        .into_iter()
        .filter(|(_, c)| !standing.contains(c))
        .map(|(p, _)| p)
        .collect())
}

fn read(disk: &MemDisk, path: &RelPath) -> Option<Vec<u8>> {
    let file = disk.open(Place::User(path)).ok()?;
    let mut bytes = vec![0; file.stat().ok()?.size as usize];
    let got = file.read_at(&mut bytes, 0).ok()?;
    bytes.truncate(got);
    Some(bytes)
}
