mod contract;
mod crash;
mod opening;
mod sweep;

use std::path::Path;

use bytes::Bytes;
use sync_core::{
    chunk::ContentHash,
    disk::{DiskKind, DiskStat},
    entry::Kind,
    ids::ReplicaId,
    index::{IndexEntry, Need, PeerTag, Want},
    manifest::ContentRoot,
    path::RelPath,
    record::RawRecord,
    version::{Dot, Vector, Version},
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

/// A record with a true envelope and a body of `body` bytes that nobody can open.
fn record(kind: Kind, body: usize) -> RawRecord {
    let version = Version::new(
        Dot {
            replica: ReplicaId(9),
            counter: 5,
        },
        &Vector::new(),
    );
    let mut signed = minicbor::Encoder::new(Vec::new());
    signed
        .array(7)
        .unwrap()
        .u8(1)
        .unwrap()
        .u32(0)
        .unwrap()
        .bytes(&[7; 16])
        .unwrap();
    signed
        .encode(version)
        .unwrap()
        .u8(kind.code())
        .unwrap()
        .null()
        .unwrap();
    signed.bytes(&vec![3; body.max(28)]).unwrap();
    let mut both = minicbor::Encoder::new(Vec::new());
    both.array(2)
        .unwrap()
        .bytes(signed.writer())
        .unwrap()
        .bytes(&[5; 66])
        .unwrap();
    let record: RawRecord = minicbor::decode(both.writer()).unwrap();
    assert_eq!(record.kind(), Some(kind));
    record
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
