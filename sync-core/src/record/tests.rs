//! Records: what is signed can be read back, and nothing else can.

use proptest::prelude::*;

use super::*;
use crate::{chunk::ContentHash, ids::ReplicaId, manifest::ContentRoot, secret::Secret};

fn keys(n: u8) -> FolderKeys {
    FolderKeys::derive(&Secret::generate([n; 21]))
}

fn entry(name: &str) -> Entry {
    Entry {
        path: RelPath::parse(name.as_bytes()).unwrap(),
        kind: Kind::File,
        size: 5,
        mtime_ns: -1,
        mode: 0o640,
        content: Some(ContentRoot::single(ContentHash::chunk(b"hello"))),
        prev: None,
        target: None,
        author: ReplicaId(9),
    }
}

fn version(counter: u64) -> Version {
    Version::new(
        Dot {
            replica: ReplicaId(9),
            counter,
        },
        &Vector::new(),
    )
}

fn signed(n: usize) -> Vec<Record> {
    let entries = (0..n)
        .map(|i| (entry(&format!("d/file {i}")), version(i as u64 + 1)))
        .collect();
    sign(&keys(1), 0, entries).unwrap()
}

fn wire(record: &Record) -> Vec<u8> {
    minicbor::to_vec(record.raw()).unwrap()
}

fn check(keys: &FolderKeys, bytes: &[u8]) -> Result<Record, RecordError> {
    let raw = minicbor::decode(bytes).map_err(|_| RecordError::Malformed)?;
    Record::verify(keys, raw, &mut VerifiedRoots::default())
}

#[test]
fn every_size_of_batch_reads_back() {
    for n in [1, 2, 3, 15, 16, 17, 40] {
        for record in signed(n) {
            assert_eq!(check(&keys(1), &wire(&record)).unwrap(), record);
            let stored = Record::from_store(&keys(1), record.raw().clone()).unwrap();
            assert_eq!(stored.entry, record.entry);
        }
    }
}

#[test]
fn a_read_only_member_checks_but_cannot_sign() {
    let secret = Secret::generate([1; 21]);
    let reader = FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only()));
    assert!(check(&reader, &wire(&signed(1)[0])).is_ok());
    assert_eq!(
        sign(&reader, 0, vec![(entry("a"), version(1))]).unwrap_err(),
        RecordError::CannotSign
    );
}

#[test]
fn another_folder_refuses() {
    assert_eq!(
        check(&keys(2), &wire(&signed(1)[0])).unwrap_err(),
        RecordError::Signature
    );
}

#[test]
fn every_changed_byte_is_noticed() {
    let bytes = wire(&signed(3)[1]);
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(check(&keys(1), &changed).is_err(), "byte {at}");
        }
    }
    for len in 0..bytes.len() {
        assert!(check(&keys(1), &bytes[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn parts_of_two_records_do_not_fit() {
    let (a, b) = (
        signed(1),
        sign(&keys(1), 0, vec![(entry("other"), version(7))]).unwrap(),
    );
    let mixed = RawRecord {
        signed: a[0].raw.signed.clone(),
        proof: b[0].raw.proof.clone(),
    };
    assert!(Record::verify(&keys(1), mixed, &mut VerifiedRoots::default()).is_err());
}

#[test]
fn one_signature_serves_a_batch() {
    let mut known = VerifiedRoots::default();
    for record in signed(16) {
        Record::verify(&keys(1), record.raw().clone(), &mut known).unwrap();
    }
    assert_eq!(known.recent.len(), 1);
}

#[test]
fn the_bytes_are_those_of_version_1() {
    // Golden: the same on every machine, 32 or 64 bits wide, whatever its byte order.
    let bytes = wire(&signed(2)[1]);
    let hash = blake3::hash(&bytes).to_hex();
    assert_eq!((bytes.len(), hash.as_str()), GOLDEN);
}

/// Length and BLAKE3 of the second of two records signed together.
const GOLDEN: (usize, &str) = (
    216,
    "735d837c8274d9cc6132eca9ebc018cc7f1ab293b9d70db01197206b86ac04e0",
);

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&keys(1), &bytes);
        let _ = Envelope::parse(&bytes);
        let _ = Proof::parse(&bytes);
    }
}
