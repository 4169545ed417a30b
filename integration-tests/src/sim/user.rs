//! What simulated people do to their files, and which contents that makes and destroys.
//!
//! Every operation is atomic, as seen by the daemon. Contents are named by their hash; almost all are unique,
//! so a content that is found somewhere later can be told from all others.

use std::collections::BTreeSet;

use sync_core::chunk::ContentHash;
use sync_store::fs::{MemDisk, NodeKind};

use super::rng::Rng;

/// One thing that a person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a whole file in place, making it if needed.
    Write(Vec<u8>, Vec<u8>),
    /// Replaces a file by another one renamed over it.
    Replace(Vec<u8>, Vec<u8>),
    /// Writes at the end.
    Append(Vec<u8>, Vec<u8>),
    /// Deletes a file or symlink.
    Delete(Vec<u8>),
    /// Moves a file, a symlink or a directory.
    Rename(Vec<u8>, Vec<u8>),
    /// Makes a directory.
    Mkdir(Vec<u8>),
    /// Deletes a directory with all that is in it.
    RemoveTree(Vec<u8>),
    /// Sets permission bits.
    Chmod(Vec<u8>, u32),
    /// Sets a modification time.
    Touch(Vec<u8>, i64),
    /// Makes a symlink.
    Symlink(Vec<u8>, Vec<u8>),
    /// Deletes a file and makes a directory in its place, with a file in it.
    FileToDir(Vec<u8>, Vec<u8>),
    /// Deletes a directory and makes a file in its place.
    DirToFile(Vec<u8>, Vec<u8>),
}

/// What an operation came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// Contents that now stand somewhere because of it.
    pub created: Vec<ContentHash>,
    /// Contents of which it destroyed a copy.
    pub destroyed: Vec<ContentHash>,
    /// Contents that it moved, or of which it changed time or mode.
    pub handled: Vec<ContentHash>,
    /// Paths that it changed.
    pub paths: Vec<Vec<u8>>,
    /// A single file that it deleted, with what was in it.
    pub deleted: Option<(Vec<u8>, ContentHash)>,
}

impl Op {
    /// The path it is about (the target, of a move).
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Write(p, _)
            | Self::Replace(p, _)
            | Self::Append(p, _)
            | Self::Delete(p)
            | Self::Rename(_, p)
            | Self::Mkdir(p)
            | Self::RemoveTree(p)
            | Self::Chmod(p, _)
            | Self::Touch(p, _)
            | Self::Symlink(p, _)
            | Self::FileToDir(p, _)
            | Self::DirToFile(p, _) => p,
        }
    }

    /// A short description.
    pub fn show(&self) -> String {
        let text = |p: &[u8]| String::from_utf8_lossy(p).into_owned();
        match self {
            Self::Write(p, b) => format!("write {} ({} bytes, {})", text(p), b.len(), short(b)),
            Self::Replace(p, b) => format!("replace {} ({} bytes, {})", text(p), b.len(), short(b)),
            Self::Append(p, b) => format!("append {} ({} bytes)", text(p), b.len()),
            Self::Delete(p) => format!("delete {}", text(p)),
            Self::Rename(from, to) => format!("rename {} to {}", text(from), text(to)),
            Self::Mkdir(p) => format!("mkdir {}", text(p)),
            Self::RemoveTree(p) => format!("remove tree {}", text(p)),
            Self::Chmod(p, mode) => format!("chmod {} {mode:o}", text(p)),
            Self::Touch(p, at) => format!("touch {} {at}", text(p)),
            Self::Symlink(p, to) => format!("symlink {} -> {}", text(p), text(to)),
            Self::FileToDir(p, b) => format!("file to dir {} ({})", text(p), short(b)),
            Self::DirToFile(p, b) => format!("dir to file {} ({})", text(p), short(b)),
        }
    }
}

/// The name of a content in reports: the first digits of its hash.
pub(crate) fn short(bytes: &[u8]) -> String {
    show_hash(&ContentHash::chunk(bytes))
}

pub(crate) fn show_hash(hash: &ContentHash) -> String {
    hash.as_bytes()[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Does it. `None`: it can't be done as things stand, and nothing was changed.
pub fn perform(disk: &MemDisk, op: &Op) -> Option<Effect> {
    let mut effect = Effect {
        paths: vec![op.path().to_vec()],
        ..Effect::default()
    };
    let kind = |path: &[u8]| disk.user_stat(path).map(|s| s.kind);
    use sync_core::disk::DiskKind as K;
    if !parent_is_free(disk, op.path()) {
        return None;
    }
    match op {
        Op::Write(path, bytes) | Op::Replace(path, bytes) => {
            match kind(path) {
                None => {}
                Some(K::File) => effect.destroyed.push(content(disk, path)?),
                Some(_) => return None,
            }
            if matches!(op, Op::Write(..)) {
                disk.user_write(path, bytes).ok()?;
            } else {
                disk.user_replace(path, bytes).ok()?;
            }
            effect.created.push(ContentHash::chunk(bytes));
        }
        Op::Append(path, bytes) => {
            if kind(path) != Some(K::File) {
                return None;
            }
            effect.destroyed.push(content(disk, path)?);
            disk.user_append(path, bytes).ok()?;
            effect.created.push(content(disk, path)?);
        }
        Op::Delete(path) => {
            match kind(path)? {
                K::File => {
                    let old = content(disk, path)?;
                    effect.destroyed.push(old);
                    effect.deleted = Some((path.clone(), old));
                }
                K::Symlink => {}
                _ => return None,
            }
            disk.user_remove(path).ok()?;
        }
        Op::Rename(from, to) => {
            let what = kind(from)?;
            match (what, kind(to)) {
                (_, None) => {}
                (K::File, Some(K::File)) => effect.destroyed.push(content(disk, to)?),
                _ => return None,
            }
            if from == to || below(to, from) {
                return None;
            }
            if what == K::File {
                effect.handled.push(content(disk, from)?);
            } else if what == K::Dir {
                for (path, hash) in files_below(disk, from) {
                    effect.handled.push(hash);
                    effect
                        .paths
                        .push([to.as_slice(), &path[from.len()..]].concat());
                    effect.paths.push(path);
                }
            }
            disk.user_rename(from, to).ok()?;
            effect.paths.push(from.clone());
        }
        Op::Mkdir(path) => {
            if kind(path).is_some() {
                return None;
            }
            disk.user_mkdir(path).ok()?;
        }
        Op::RemoveTree(path) => {
            if kind(path) != Some(K::Dir) {
                return None;
            }
            for (path, hash) in files_below(disk, path) {
                effect.destroyed.push(hash);
                effect.paths.push(path);
            }
            disk.user_remove(path).ok()?;
        }
        Op::Chmod(path, mode) => {
            // A directory that its owner can't enter can't be synced, so nobody makes one.
            let mode = match kind(path)? {
                K::File => {
                    effect.handled.push(content(disk, path)?);
                    *mode
                }
                K::Dir => *mode | 0o700,
                _ => return None,
            };
            disk.user_chmod(path, mode).ok()?;
        }
        Op::Touch(path, at) => {
            if kind(path)? != K::File {
                return None;
            }
            effect.handled.push(content(disk, path)?);
            disk.user_set_mtime(path, *at).ok()?;
        }
        Op::Symlink(path, to) => {
            if kind(path).is_some() {
                return None;
            }
            disk.user_symlink(path, to).ok()?;
        }
        Op::FileToDir(path, bytes) => {
            if kind(path)? != K::File {
                return None;
            }
            effect.destroyed.push(content(disk, path)?);
            disk.user_remove(path).ok()?;
            let inner = [path.as_slice(), b"inner"].join(&b'/');
            disk.user_write(&inner, bytes).ok()?;
            effect.created.push(ContentHash::chunk(bytes));
            effect.paths.push(inner);
        }
        Op::DirToFile(path, bytes) => {
            if kind(path)? != K::Dir {
                return None;
            }
            for (path, hash) in files_below(disk, path) {
                effect.destroyed.push(hash);
                effect.paths.push(path);
            }
            disk.user_remove(path).ok()?;
            disk.user_write(path, bytes).ok()?;
            effect.created.push(ContentHash::chunk(bytes));
        }
    }
    Some(effect)
}

/// Whether everything above a path is a directory or missing.
fn parent_is_free(disk: &MemDisk, path: &[u8]) -> bool {
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(at, _)| at);
    ends.map(|end| disk.user_stat(&path[..end]))
        .all(|stat| stat.is_none_or(|s| s.kind == sync_core::disk::DiskKind::Dir))
}

fn below(path: &[u8], dir: &[u8]) -> bool {
    path.len() > dir.len() && path.starts_with(dir) && path[dir.len()] == b'/'
}

fn content(disk: &MemDisk, path: &[u8]) -> Option<ContentHash> {
    disk.user_read(path)
        .ok()
        .map(|bytes| ContentHash::chunk(&bytes))
}

fn files_below(disk: &MemDisk, dir: &[u8]) -> Vec<(Vec<u8>, ContentHash)> {
    let nodes = disk.snapshot_below(dir).into_iter();
    let files = nodes.filter(|(_, node)| node.kind == NodeKind::File);
    files
        .map(|(path, node)| (path, ContentHash::chunk(&node.bytes)))
        .collect()
}

/// Which names people use: few, so that they meet.
const FILES: &[&str] = &[
    "a.txt",
    "b.txt",
    "c",
    "z.tar.gz",
    "d/a.txt",
    "d/b.bin",
    "d/sub/x",
    "d/sub/y.txt",
    "e/a.txt",
    "e/y",
    "swap",
    "swap/deep/k",
    "e/f/g/h",
    "b",
    ".hidden",
];
const DIRS: &[&str] = &[
    "d",
    "d/sub",
    "e",
    "e/f",
    "e/f/g",
    "swap",
    "swap/deep",
    "new",
    "d/new",
];

/// What people like to do.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Sizes up to a megabyte now and then.
    pub big: bool,
    /// Contents that several people write.
    pub shared: Vec<Vec<u8>>,
    /// The wall clock, for times that are set by hand.
    pub now_ns: i64,
}

fn fresh(rng: &mut Rng, habits: &Habits) -> Vec<u8> {
    let len = match rng.below(100) {
        0..4 => 0,
        4..60 => rng.range(9, 40),
        60..92 => rng.range(3_000, 8_000),
        _ if !habits.big => rng.range(10, 20_000),
        92..96 => rng.range(60_000, 200_000),
        _ => rng.range(250_000, 1_000_000),
    };
    rng.bytes(len as usize)
}

/// Draws something to do on a disk as it is. May turn out to be impossible.
pub fn draw(rng: &mut Rng, disk: &MemDisk, habits: &Habits) -> Option<Op> {
    let tree = disk.snapshot();
    let of = |kind: NodeKind| -> Vec<Vec<u8>> {
        tree.iter()
            .filter(|(_, n)| n.kind == kind)
            .map(|(p, _)| p.clone())
            .collect()
    };
    let (files, dirs) = (of(NodeKind::File), of(NodeKind::Dir));
    let name = |rng: &mut Rng| rng.pick(FILES).map(|p| p.as_bytes().to_vec());
    let dir = |rng: &mut Rng| rng.pick(DIRS).map(|p| p.as_bytes().to_vec());
    let file = |rng: &mut Rng| rng.pick(&files).cloned();
    Some(match rng.below(100) {
        0..22 => Op::Write(name(rng)?, fresh(rng, habits)),
        22..36 => Op::Write(file(rng)?, fresh(rng, habits)),
        36..40 => {
            // A small change in the middle of a file.
            let path = file(rng)?;
            let mut bytes = tree.get(&path)?.bytes.clone();
            let at = rng.below(bytes.len() as u64) as usize;
            let patch = rng.bytes(12);
            bytes.splice(at..at, patch);
            Op::Write(path, bytes)
        }
        40..45 => Op::Replace(file(rng)?, fresh(rng, habits)),
        45..50 => Op::Append(file(rng)?, {
            let n = rng.range(1, 400) as usize;
            rng.bytes(n)
        }),
        50..53 => {
            let path = file(rng)?;
            let bytes = &tree.get(&path)?.bytes;
            Op::Write(path, bytes[..bytes.len() / 2].to_vec())
        }
        53..63 => Op::Delete(file(rng)?),
        63..72 => Op::Rename(file(rng)?, name(rng)?),
        72..75 => Op::Rename(rng.pick(&dirs).cloned()?, dir(rng)?),
        75..78 => Op::Mkdir(dir(rng)?),
        78..82 => Op::RemoveTree(rng.pick(&dirs).cloned()?),
        82..85 => Op::Chmod(file(rng)?, *rng.pick(&[0o644, 0o600, 0o755, 0o444])?),
        85..86 => Op::Chmod(
            rng.pick(&dirs).cloned()?,
            *rng.pick(&[0o755, 0o700, 0o750])?,
        ),
        86..89 => {
            let off = rng.range(0, 10_000_000_000_000_000) as i64;
            Op::Touch(file(rng)?, habits.now_ns - off)
        }
        89..91 => Op::Symlink(name(rng)?, name(rng)?),
        91..93 => Op::FileToDir(file(rng)?, fresh(rng, habits)),
        93..95 => Op::DirToFile(rng.pick(&dirs).cloned()?, fresh(rng, habits)),
        95..98 => Op::Write(name(rng)?, rng.pick(&habits.shared).cloned()?),
        _ => {
            // A symlink or a conflict copy, if there is one.
            let links = of(NodeKind::Symlink);
            Op::Delete(rng.pick(&links).cloned()?)
        }
    })
}

/// All file contents in a tree.
pub(crate) fn contents(
    tree: &std::collections::BTreeMap<Vec<u8>, sync_store::fs::Node>,
) -> BTreeSet<ContentHash> {
    let files = tree.values().filter(|n| n.kind == NodeKind::File);
    files.map(|n| ContentHash::chunk(&n.bytes)).collect()
}
