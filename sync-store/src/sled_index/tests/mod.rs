mod contract;
mod crash;
mod opening;
mod rewriting;
mod sweep;

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use bytes::Bytes;
use sync_core::{
    chunk::ContentHash,
    disk::{DiskKind, DiskStat},
    entry::Kind,
    ids::ReplicaId,
    index::{Batch, IndexEntry, Need, PeerTag, Want},
    keys::FolderKeys,
    manifest::ContentRoot,
    path::RelPath,
    record::{BatchId, BatchProof, RawRecord, sign_bytes},
    secret::Secret,
    version::Dot,
};

use super::{Opened, Options, SledIndex};

fn open(dir: &Path) -> SledIndex {
    SledIndex::open(dir, Options::default()).unwrap().0
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn root(n: u8, height: u8) -> ContentRoot {
    ContentRoot {
        hash: ContentHash::chunk(&[n]),
        height,
    }
}

/// What proves the records of [`record`], and those that nobody took yet.
#[derive(Default)]
struct Mint {
    proofs: BTreeMap<BatchId, BatchProof>,
    ready: BTreeMap<(u8, usize), Vec<RawRecord>>,
    made: u64,
}

static MINT: Mutex<Mint> = Mutex::new(Mint {
    proofs: BTreeMap::new(),
    ready: BTreeMap::new(),
    made: 0,
});

/// A record with a true envelope and a body of `body` bytes that nobody can open, of a batch of eight. None is given
/// out twice.
fn record(kind: Kind, body: usize) -> RawRecord {
    let mut mint = MINT.lock().unwrap();
    let key = (kind.code(), body);
    if let Some(record) = mint.ready.get_mut(&key).and_then(Vec::pop) {
        return record;
    }
    let bytes = (0..8).map(|_| {
        mint.made += 1;
        let dot = Dot {
            replica: ReplicaId(9),
            counter: mint.made,
        };
        let mut e = minicbor::Encoder::new(Vec::new());
        e.array(7).unwrap().u8(1).unwrap().u8(3).unwrap();
        e.u32(0).unwrap().bytes(&[7; 16]).unwrap();
        e.encode(dot).unwrap().u8(kind.code()).unwrap();
        e.bytes(&vec![3; body]).unwrap();
        e.into_writer().into()
    });
    let bytes = bytes.collect();
    let keys = FolderKeys::derive(&Secret::generate([1; 21]));
    let (mut records, proof) = sign_bytes(&keys, bytes).unwrap();
    mint.proofs.insert(proof.id(), proof);
    let record = records.pop().unwrap();
    assert_eq!(record.kind(), Some(kind));
    mint.ready.insert(key, records);
    record
}

/// The same batch, with what proves its records.
fn proven(mut batch: Batch) -> Batch {
    let mint = MINT.lock().unwrap();
    let mut add = |raw: &RawRecord| {
        let id = raw.seat().batch;
        batch.proofs.extend(mint.proofs.get(&id).cloned());
    };
    for entry in batch.entries.iter().filter_map(|(_, e)| e.as_ref()) {
        entry.held.iter().for_each(&mut add);
        entry.want.iter().for_each(|want| add(&want.record));
    }
    batch
}

fn stat(kind: DiskKind, size: u64) -> DiskStat {
    DiskStat {
        kind,
        size,
        mtime_ns: 1,
        ctime_ns: 2,
        mode: 0o644,
        ino: 3,
        dev: 4,
    }
}

/// A file on disk with its record.
fn file(seq: u64, size: u64, content: ContentRoot) -> IndexEntry {
    IndexEntry {
        seq,
        stat: Some(stat(DiskKind::File, size)),
        content: Some(content),
        held: Some(record(Kind::File, 200)),
        ..IndexEntry::default()
    }
}

fn want(kind: Kind, need: Option<Need>, bytes: u64) -> Want {
    Want {
        record: record(kind, 100),
        need,
        bytes,
        holders: vec![PeerTag(1)],
    }
}

fn page(n: u8, len: usize) -> (ContentHash, Bytes) {
    let bytes = Bytes::from(vec![n; len]);
    (ContentHash::chunk(&bytes), bytes)
}
