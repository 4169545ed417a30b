//! What the applier promises, on the simulated disk.

mod basic;
mod crash;
mod errors;
mod race;
mod real;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sync_core::{
    chunk::ContentHash,
    disk::{Action, DiskStat, Displaced, Expect, LocalAuthor, Meta, Outcome, Source},
    ids::ReplicaId,
    manifest::{ContentRoot, manifest_of},
    path::RelPath,
};

use super::{Applier, ApplyPolicy};
use crate::{
    fs::{Disk, MemDisk, NodeKind, Unsynced},
    temps::Temps,
};

pub(super) const SEED: u64 = 7;
pub(super) const META: Meta = Meta {
    mtime_ns: 1_500_000_000_000_000_000,
    mode: 0o640,
};

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub(super) fn applier<D: Disk>(disk: &Arc<D>, archive: bool) -> Applier<D> {
    let temps = Arc::new(Temps::new(Arc::clone(disk), 0));
    let policy = ApplyPolicy {
        archive,
        min_free: 0,
    };
    Applier::new(
        Arc::clone(disk),
        temps,
        LocalAuthor(ReplicaId(77)),
        SEED,
        policy,
    )
}

pub(super) fn mem() -> Arc<MemDisk> {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    disk.sync_all().unwrap();
    Arc::new(disk)
}

pub(super) fn root_of(bytes: &[u8]) -> ContentRoot {
    manifest_of(bytes, SEED).unwrap().root
}

/// What the index would expect at a path now.
pub(super) fn expect(disk: &MemDisk, at: &str) -> Expect {
    disk.user_stat(at).map_or(Expect::Absent, Expect::Stat)
}

pub(super) fn stat(disk: &MemDisk, at: &str) -> DiskStat {
    disk.user_stat(at).unwrap()
}

pub(super) fn file(at: &str, bytes: &[u8], expect: Expect) -> Action {
    Action::File {
        path: path(at),
        source: Source::Bytes(Bytes::copy_from_slice(bytes)),
        content: root_of(bytes),
        size: bytes.len() as u64,
        meta: META,
        expect,
        displaced: Displaced::Archive,
    }
}

pub(super) fn remove(at: &str, expect: Expect) -> Action {
    Action::Remove {
        path: path(at),
        expect,
        displaced: Displaced::Archive,
    }
}

pub(super) fn dir(at: &str, expect: Expect) -> Action {
    Action::Dir {
        path: path(at),
        mode: 0o755,
        expect,
        displaced: Displaced::Archive,
    }
}

pub(super) fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

/// The contents of all files, in the user's tree and in the archive.
pub(super) fn contents(disk: &MemDisk) -> BTreeSet<Vec<u8>> {
    let mut all = disk.snapshot();
    all.extend(disk.snapshot_below(".sync/archive"));
    let files = all
        .into_values()
        .filter(|n| matches!(n.kind, NodeKind::File | NodeKind::Symlink));
    files.map(|n| n.bytes).collect()
}

/// Names in `.sync/tmp`.
pub(super) fn tmp(disk: &MemDisk) -> Vec<String> {
    let names = disk.snapshot_below(".sync/tmp").into_keys();
    names
        .map(|n| String::from_utf8_lossy(&n).into_owned())
        .collect()
}

pub(super) fn archived(disk: &MemDisk) -> Vec<Vec<u8>> {
    let nodes = disk.snapshot_below(".sync/archive").into_values();
    nodes
        .filter(|n| n.kind != NodeKind::Dir)
        .map(|n| n.bytes)
        .collect()
}

/// Bytes that make several chunks.
pub(super) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut hash = ContentHash::chunk(&seed.to_be_bytes());
    while out.len() < len {
        out.extend_from_slice(hash.as_bytes());
        hash = ContentHash::chunk(hash.as_bytes());
    }
    out.truncate(len);
    out
}

/// What a crash keeps of what was not durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keep {
    All,
    Nothing,
    /// Names, but no bytes: what a file system does that delays writing.
    Names,
    /// About half.
    Some(u64),
    /// All but one in eight: a name is lost where many that came later in other directories are kept.
    Most(u64),
}

pub(super) fn crash(disk: &MemDisk, keep: Keep) {
    disk.set_hook(None);
    match keep {
        Keep::All => disk.crash_keeping_all(),
        Keep::Nothing => disk.crash_losing_all(),
        Keep::Names => disk.crash(&mut |change| matches!(change, Unsynced::Names(_))),
        Keep::Some(seed) => disk.crash_seeded(seed),
        Keep::Most(seed) => {
            let mut state = seed;
            disk.crash(&mut |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695);
                state >> 61 != 0
            });
        }
    }
}
