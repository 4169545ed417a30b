//! What must always hold, and what must hold once everything is quiet.
//!
//! Contents are unique, so each can be followed. What is checked, with the names used in failures:
//!
//! - **torn** (after each change of a disk by the daemon): every file shows bytes that a person wrote as a whole.
//! - **read-only** (likewise): a content that was only ever written on a read-only node stands nowhere else.
//! - **lost** (at rest): a content that a person wrote, and of which no person ever destroyed a copy on a
//!   read-write node, stands in the tree, under its name or as a conflict copy. The archive isn't enough,
//!   because nobody decided against the content. Contents written on a read-only node must still be on
//!   that node, be it below `.sync`. This errs on the side of silence: if one of two people
//!   destroys a copy then nothing is demanded, and empty files are left out.
//! - **apart** (at rest): all read-write nodes show the same tree: names, kinds, bytes, link texts, modes, and times
//!   of files. A read-only node does too, except at, above and below paths that its own people changed,
//!   for conflict copies of what they wrote, and for what no index speaks of because they were lost.
//! - **risen** (at rest): a file, not a conflict copy, that a person deleted, whose content the node's durable index held at that path,
//!   and that nobody ever handled otherwise anywhere, doesn't stand at that path again. Only for paths that people
//!   of one node alone ever touched, and in runs in which no
//!   index was lost: a rebuilt index may bring a deleted file back.
//! - **copies** (at rest): no conflict copy of a conflict copy, and none twice (unless two people wrote the same,
//!   or an index was lost: then a content has two authors, who stand in the names).
//! - **index** (at rest): every index says of each path what the disk shows, and needs nothing (but a read-only
//!   node may, for its people can take a directory away that only others can bring back).
//!   Contents that stand on no disk any more, because somebody's index was lost and its people deleted the file
//!   before it was rebuilt, are needed in vain: these paths are left out.
//! - **mirror** (at rest): where only one node's people did anything and no index was lost, all trees are that
//!   node's, without any conflict copy.

use std::collections::{BTreeMap, BTreeSet};

use sync_core::{
    chunk::ContentHash,
    conflict::is_copy,
    disk::{DiskKind, DiskStat},
    index::{Index as _, MemIndex},
    observe::same_stat,
    path::RelPath,
};
use sync_store::fs::{Disk as _, DiskDir as _, MemDisk, Node as DiskNode, NodeKind, Place};

use super::{
    fits::{ghosts, index_fits},
    node::Node,
    trace::Shown,
    user::{Effect, contents, show_hash},
};

/// What is known of one content.
#[derive(Debug, Clone, Default)]
struct Content {
    /// Nodes whose people wrote it.
    authors: BTreeSet<usize>,
    /// Times that somebody wrote it, moved it, or gave it time or mode.
    handled: u32,
    /// Nodes whose people deleted it, and those whose people wrote something over it.
    deleters: BTreeSet<usize>,
    editors: BTreeSet<usize>,
    /// Somebody destroyed a copy of it on a read-write node, or anywhere if only read-only nodes had it.
    destroyed: bool,
}

/// A file that was deleted and may not come back.
#[derive(Debug, Clone)]
struct Deleted {
    path: Vec<u8>,
    content: ContentHash,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    contents: BTreeMap<ContentHash, Content>,
    read_only: BTreeSet<usize>,
    deleted: Vec<Deleted>,
    /// Paths that people of read-only nodes changed.
    local: BTreeMap<usize, BTreeSet<Vec<u8>>>,
    /// Nodes whose people ever touched a path.
    hands: BTreeMap<Vec<u8>, BTreeSet<usize>>,
    /// Nodes whose people did anything.
    busy: BTreeSet<usize>,
    /// Times that one node's people deleted what another's edited.
    pub edit_delete_races: u64,
    /// Some index was lost or rolled back.
    pub index_lost: bool,
    /// Files as last looked at, so that only changed ones are read.
    seen: BTreeMap<usize, BTreeMap<Vec<u8>, DiskStat>>,
}

impl Oracle {
    /// A judge of nodes of which these are read-only.
    pub fn new(read_only: BTreeSet<usize>) -> Self {
        Self {
            read_only,
            ..Self::default()
        }
    }

    /// Somebody did something on a node. `index` is what the daemon there has durably, to say whether it
    /// knew what was deleted.
    pub fn user(&mut self, node: usize, effect: &Effect, index: &MemIndex) {
        let local = self.read_only.contains(&node);
        self.busy.insert(node);
        for path in &effect.paths {
            self.hands.entry(path.clone()).or_default().insert(node);
        }
        for hash in &effect.created {
            let content = self.contents.entry(*hash).or_default();
            content.authors.insert(node);
            content.handled += 1;
        }
        for hash in &effect.handled {
            self.contents.entry(*hash).or_default().handled += 1;
        }
        for hash in &effect.destroyed {
            let content = self.contents.entry(*hash).or_default();
            let only_here = content.authors.iter().all(|n| self.read_only.contains(n));
            content.destroyed |= !local || only_here;
            let (own, other) = match effect.created.is_empty() {
                true => (&mut content.deleters, &content.editors),
                false => (&mut content.editors, &content.deleters),
            };
            let raced = other.iter().any(|n| *n != node);
            self.edit_delete_races += u64::from(own.insert(node) && raced);
        }
        if local {
            self.local
                .entry(node)
                .or_default()
                .extend(effect.paths.iter().cloned());
            return;
        }
        let Some((path, content)) = &effect.deleted else {
            return;
        };
        let Ok(rel) = RelPath::parse(path) else {
            return;
        };
        let entry = index.backup().entry(&rel).ok().flatten();
        let known = entry.is_some_and(|e| {
            let held = e
                .held
                .as_ref()
                .is_some_and(|h| h.kind() == Some(sync_core::entry::Kind::File));
            held && e.want.is_none()
                && e.content
                    .is_some_and(|c| c.height == 0 && c.hash == *content)
        });
        if known {
            self.deleted.push(Deleted {
                path: path.clone(),
                content: *content,
            });
        }
    }

    /// All contents on this disk may go away with it.
    pub fn forgive(&mut self, disk: &MemDisk) {
        for hash in contents(&disk.snapshot()) {
            self.contents.entry(hash).or_default().destroyed = true;
        }
    }

    /// Looks at what the daemon did to a disk.
    ///
    /// # Errors
    ///
    /// What must never be.
    pub fn step(&mut self, node: &Node) -> Result<(), String> {
        let mut now = BTreeMap::new();
        if walk(&node.disk, None, &mut now).is_none() {
            return Ok(());
        }
        let before = self.seen.remove(&node.number).unwrap_or_default();
        let mut result = Ok(());
        for (path, stat) in &now {
            if stat.kind == DiskKind::File && !before.get(path).is_some_and(|s| same_stat(s, stat))
            {
                result = result.and_then(|()| self.check_file(node, path));
            }
        }
        self.seen.insert(node.number, now);
        result
    }

    fn check_file(&self, node: &Node, path: &[u8]) -> Result<(), String> {
        let Ok(bytes) = node.disk.user_read(path) else {
            return Ok(());
        };
        let hash = ContentHash::chunk(&bytes);
        let (number, shown, name) = (node.number, Shown(path), show_hash(&hash));
        let Some(content) = self.contents.get(&hash) else {
            return Err(format!(
                "torn: node {number} shows {shown} with {} bytes ({name}) that nobody wrote",
                bytes.len()
            ));
        };
        let foreign = !content.authors.is_empty()
            && content
                .authors
                .iter()
                .all(|n| self.read_only.contains(n) && *n != number);
        if foreign && !bytes.is_empty() {
            return Err(format!(
                "read-only: node {number} shows {shown} ({name}), written on a read-only node"
            ));
        }
        Ok(())
    }

    /// Whether something is wanted that stands nowhere any more, so that somebody asks around in vain.
    pub fn in_vain(&self, nodes: &[Node]) -> bool {
        let trees: Vec<_> = nodes.iter().map(|n| n.disk.snapshot()).collect();
        ghosts(nodes, &trees).is_ok_and(|ghosts| !ghosts.is_empty())
    }

    /// Judges a cluster at rest.
    ///
    /// # Errors
    ///
    /// The first thing that isn't as it must be.
    pub fn judge(&self, nodes: &[Node]) -> Result<(), String> {
        let trees: Vec<_> = nodes.iter().map(|n| n.disk.snapshot()).collect();
        let ghosts = ghosts(nodes, &trees)?;
        self.together(nodes, &trees, &ghosts)?;
        self.nothing_lost(nodes, &trees)?;
        self.nothing_risen(nodes, &trees)?;
        for (node, tree) in nodes.iter().zip(&trees) {
            self.copies(node, tree)?;
            index_fits(node, &ghosts)?;
        }
        self.mirror(nodes, &trees)
    }

    fn together(
        &self,
        nodes: &[Node],
        trees: &[Tree],
        ghosts: &BTreeSet<RelPath>,
    ) -> Result<(), String> {
        let Some(first) = nodes.iter().position(Node::can_write) else {
            return Ok(());
        };
        for (node, tree) in nodes.iter().zip(trees) {
            let local = self.local.get(&node.number);
            let kept: Vec<_> = tree
                .keys()
                .filter(|p| !trees[first].contains_key(*p))
                .filter(|p| self.own_copy(node.number, p) || self.forgotten(node, nodes, p))
                .collect();
            let paths: BTreeSet<_> = tree.keys().chain(trees[first].keys()).collect();
            for path in paths {
                let (a, b) = (trees[first].get(path), tree.get(path));
                if same(a, b)
                    || ghosts.iter().any(|g| g.as_bytes() == &path[..])
                    || local.is_some_and(|l| l.iter().any(|p| related(p, path)))
                    || kept.iter().any(|p| related(p, path))
                {
                    continue;
                }
                return Err(format!(
                    "apart: {} is {} on node {} and {} on node {}",
                    Shown(path),
                    show(a),
                    nodes[first].number,
                    show(b),
                    node.number
                ));
            }
        }
        Ok(())
    }

    /// Whether this is a conflict copy on a read-only node: it can't publish what it keeps, and a writer
    /// may have had no need of that copy. The directory that it lies in stays, too.
    fn own_copy(&self, node: usize, path: &[u8]) -> bool {
        self.read_only.contains(&node) && find(path, b" (conflict ").is_some()
    }

    /// Whether a read-only node shows what no index speaks of any more. If those who could sign have lost
    /// theirs, and so has this node, then a file whose deletion was forgotten is one of its people's own.
    fn forgotten(&self, node: &Node, nodes: &[Node], path: &[u8]) -> bool {
        let known = |node: &Node| {
            let entry = RelPath::parse(path).ok().map(|p| node.index().entry(&p));
            !matches!(entry, Some(Ok(e)) if e.as_ref().is_none_or(|e| e.announced().is_none()))
        };
        self.index_lost && self.read_only.contains(&node.number) && !nodes.iter().any(known)
    }

    fn nothing_lost(&self, nodes: &[Node], trees: &[Tree]) -> Result<(), String> {
        let mut shared = BTreeSet::new();
        let mut own = BTreeMap::new();
        for (node, tree) in nodes.iter().zip(trees) {
            if node.can_write() {
                shared.extend(contents(tree));
            } else {
                own.insert(node.number, contents(&node.disk.snapshot_below("")));
            }
        }
        let empty = ContentHash::chunk(b"");
        for (hash, content) in &self.contents {
            if content.destroyed || *hash == empty || content.authors.is_empty() {
                continue;
            }
            let writer = content.authors.iter().any(|n| !self.read_only.contains(n));
            let there = if writer {
                shared.contains(hash)
            } else {
                content
                    .authors
                    .iter()
                    .any(|n| own.get(n).is_some_and(|all| all.contains(hash)))
            };
            if !there {
                let where_else: Vec<_> = nodes
                    .iter()
                    .flat_map(|n| {
                        n.disk
                            .snapshot_below("")
                            .into_iter()
                            .map(move |f| (n.number, f))
                    })
                    .filter(|(_, (_, f))| ContentHash::chunk(&f.bytes) == *hash)
                    .map(|(n, (p, _))| format!("node {n} {}", Shown(&p)))
                    .collect();
                return Err(format!(
                    "lost: content {} written on nodes {:?} stands in no tree (found: {where_else:?})",
                    show_hash(hash),
                    content.authors
                ));
            }
        }
        Ok(())
    }

    fn copies(&self, node: &Node, tree: &Tree) -> Result<(), String> {
        for (path, _) in tree.iter().filter(|(_, f)| f.kind == NodeKind::File) {
            let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
            let Some(at) = find(name, b" (conflict ") else {
                continue;
            };
            if find(&name[at + 1..], b" (conflict ").is_some() {
                return Err(format!(
                    "copies: {} on node {} is a copy of a copy",
                    Shown(path),
                    node.number
                ));
            }
        }
        Ok(())
    }

    fn nothing_risen(&self, nodes: &[Node], trees: &[Tree]) -> Result<(), String> {
        if self.index_lost {
            return Ok(());
        }
        for deleted in &self.deleted {
            if self
                .hands
                .get(&deleted.path)
                .is_some_and(|nodes| nodes.len() > 1)
            {
                continue;
            }
            if self
                .contents
                .get(&deleted.content)
                .is_none_or(|c| c.handled != 1)
            {
                continue;
            }
            // Whoever still holds the loser of a conflict makes the copy, even after another's was deleted.
            if RelPath::parse(&deleted.path).is_ok_and(|p| is_copy(&p)) {
                continue;
            }
            for (node, tree) in nodes.iter().zip(trees) {
                let now = tree.get(&deleted.path).filter(|n| n.kind == NodeKind::File);
                if now.is_some_and(|n| ContentHash::chunk(&n.bytes) == deleted.content) {
                    let (path, number) = (Shown(&deleted.path), node.number);
                    return Err(format!(
                        "risen: {path} was deleted and stands on node {number}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn mirror(&self, nodes: &[Node], trees: &[Tree]) -> Result<(), String> {
        let [only] = self.busy.iter().copied().collect::<Vec<_>>()[..] else {
            return Ok(());
        };
        if self.index_lost || self.read_only.contains(&only) {
            return Ok(());
        }
        let copy = |path: &&Vec<u8>| RelPath::parse(path).is_ok_and(|p| is_copy(&p));
        for (node, tree) in nodes.iter().zip(trees) {
            if let Some(path) = tree.keys().find(copy) {
                let (path, number) = (Shown(path), node.number);
                return Err(format!(
                    "mirror: one writer and yet the conflict copy {path} on node {number}"
                ));
            }
        }
        Ok(())
    }
}

pub(super) type Tree = BTreeMap<Vec<u8>, DiskNode>;

/// All stats in a tree, without `.sync`; `None` if the disk doesn't answer.
pub(super) fn walk(
    disk: &MemDisk,
    dir: Option<&RelPath>,
    into: &mut BTreeMap<Vec<u8>, DiskStat>,
) -> Option<()> {
    let open = disk.open_dir(dir.map_or(Place::Root, Place::User)).ok()?;
    for name in open.names().ok()?.iter() {
        let stat = open.stat(name).ok()??;
        let path = match dir {
            Some(dir) => dir.join(name).ok()?,
            None => RelPath::parse(name).ok()?,
        };
        into.insert(path.as_bytes().to_vec(), stat);
        if stat.kind == DiskKind::Dir {
            walk(disk, Some(&path), into)?;
        }
    }
    Some(())
}

fn same(a: Option<&DiskNode>, b: Option<&DiskNode>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return a.is_none() && b.is_none();
    };
    a.kind == b.kind
        && a.bytes == b.bytes
        && match a.kind {
            NodeKind::File => a.mode == b.mode && a.mtime_ns == b.mtime_ns,
            // The owner's own rights to a directory aren't synced: without them nothing could be placed in it.
            NodeKind::Dir => a.mode | 0o700 == b.mode | 0o700,
            _ => true,
        }
}

fn show(node: Option<&DiskNode>) -> String {
    let Some(node) = node else {
        return "missing".into();
    };
    match node.kind {
        NodeKind::File => {
            let hash = show_hash(&ContentHash::chunk(&node.bytes));
            format!(
                "file {hash} of {} bytes, mode {:o}, time {}",
                node.bytes.len(),
                node.mode,
                node.mtime_ns
            )
        }
        NodeKind::Symlink => format!("a link to {}", Shown(&node.bytes)),
        kind => format!("{kind:?} of mode {:o}", node.mode),
    }
}

/// Whether two paths are the same, or one is above the other.
fn related(a: &[u8], b: &[u8]) -> bool {
    let above = |a: &[u8], b: &[u8]| b.starts_with(a) && b.get(a.len()) == Some(&b'/');
    a == b || above(a, b) || above(b, a)
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|w| w == part)
}
