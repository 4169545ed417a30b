//! Records: what is signed can be read back, and nothing else can.

use proptest::prelude::*;

use super::{
    cipher::{CipherRecord, Head},
    *,
};
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

fn dot(counter: u64) -> Dot {
    Dot {
        replica: ReplicaId(9),
        counter,
    }
}

fn version(counter: u64) -> Version {
    Version::new(dot(counter), &Vector::new())
}

fn signed(n: usize) -> Signed {
    let entries = (0..n)
        .map(|i| (entry(&format!("d/file {i}")), version(i as u64 + 1)))
        .collect();
    sign(&keys(1), 0, entries).unwrap()
}

/// The members of a batch at these places, as a group.
fn group(signed: &Signed, places: u64) -> Group {
    let of = signed.records.iter().map(Record::raw);
    signed.proofs[0]
        .group(of.filter(|raw| places >> raw.seat().place & 1 == 1))
        .unwrap()
}

fn wire(group: &Group) -> Vec<u8> {
    minicbor::to_vec(group).unwrap()
}

fn read(keys: &FolderKeys, bytes: &[u8]) -> Result<Vec<Record>, RecordError> {
    let mut d = Decoder::new(bytes);
    let group: Group = d.decode().map_err(|_| RecordError::Malformed)?;
    if d.position() != bytes.len() {
        return Err(RecordError::Malformed);
    }
    let (records, _) = group.verify(keys, &mut VerifiedRoots::default())?;
    records.into_iter().map(|r| Record::open(keys, r)).collect()
}

#[test]
fn every_size_of_batch_reads_back() {
    for n in [1, 2, 3, 15, 16, 17, 63, 64] {
        let signed = signed(n);
        let whole = u64::MAX >> (64 - n);
        assert_eq!(
            read(&keys(1), &wire(&group(&signed, whole))).unwrap(),
            signed.records
        );
        for (i, record) in signed.records.iter().enumerate() {
            let alone = group(&signed, 1 << i);
            assert_eq!(
                read(&keys(1), &wire(&alone)).unwrap(),
                std::slice::from_ref(record),
                "{i} of {n}"
            );
            let stored = minicbor::to_vec(record.raw()).unwrap();
            let stored: RawRecord = minicbor::decode(&stored).unwrap();
            assert_eq!(stored.seat(), record.raw().seat());
            assert_eq!(&Record::from_store(&keys(1), stored).unwrap(), record);
        }
    }
    let many = signed(130);
    assert_eq!(many.proofs.len(), 3);
    assert_eq!(many.records[129].raw().seat().place, 1);
}

#[test]
fn a_read_only_member_checks_but_cannot_sign() {
    let secret = Secret::generate([1; 21]);
    let reader = FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only()));
    assert!(read(&reader, &wire(&group(&signed(1), 1))).is_ok());
    assert_eq!(
        sign(&reader, 0, vec![(entry("a"), version(1))]).unwrap_err(),
        RecordError::CannotSign
    );
}

#[test]
fn another_folder_refuses() {
    assert_eq!(
        read(&keys(2), &wire(&group(&signed(1), 1))).unwrap_err(),
        RecordError::Signature
    );
}

/// Hashes up the tree as RFC 9162, 2.1.3.2 verifies an inclusion proof: an outsider's reading of the rule.
fn root_by_the_rfc(leaf: [u8; 32], index: u64, size: u64, way: &[[u8; 32]]) -> Option<[u8; 32]> {
    let node = |l: &[u8; 32], r: &[u8; 32]| {
        *blake3::hash(&[b"syncd/2 record node".as_slice(), l, r].concat()).as_bytes()
    };
    if index >= size {
        return None;
    }
    let (mut at, mut f, mut s) = (leaf, index, size - 1);
    for sibling in way {
        if s == 0 {
            return None;
        }
        if f & 1 == 1 || f == s {
            at = node(sibling, &at);
            while f & 1 == 0 && f != 0 {
                (f, s) = (f >> 1, s >> 1);
            }
        } else {
            at = node(&at, sibling);
        }
        (f, s) = (f >> 1, s >> 1);
    }
    (s == 0).then_some(at)
}

#[test]
fn the_tree_is_that_of_rfc_9162() {
    // A record alone: its left-out subtrees from left to right are the inclusion proof, in another order.
    for size in 1..=64_usize {
        let signed = signed(size);
        let root = |bytes: &[u8]| {
            *blake3::hash(&[b"syncd/2 record leaf".as_slice(), bytes].concat()).as_bytes()
        };
        let leaves: Vec<_> = signed
            .records
            .iter()
            .map(|r| root(r.raw().signed()))
            .collect();
        fn mth(d: &[[u8; 32]]) -> [u8; 32] {
            if let [one] = d {
                return *one;
            }
            let mut k = 1;
            while k * 2 < d.len() {
                k *= 2;
            }
            let (l, r) = d.split_at(k);
            *blake3::hash(&[b"syncd/2 record node".as_slice(), &mth(l), &mth(r)].concat())
                .as_bytes()
        }
        fn path(m: usize, d: &[[u8; 32]]) -> Vec<[u8; 32]> {
            if d.len() == 1 {
                return Vec::new();
            }
            let mut k = 1;
            while k * 2 < d.len() {
                k *= 2;
            }
            let (l, r) = d.split_at(k);
            let (mut way, last) = match m < k {
                true => (path(m, l), mth(r)),
                false => (path(m - k, r), mth(l)),
            };
            way.push(last);
            way
        }
        let want = mth(&leaves);
        for (i, leaf) in leaves.iter().enumerate() {
            let way = path(i, &leaves);
            assert_eq!(
                root_by_the_rfc(*leaf, i as u64, size as u64, &way),
                Some(want)
            );
            // The group of this record alone carries these hashes, as many and no others.
            let alone = wire(&group(&signed, 1 << i));
            let mut d = Decoder::new(&alone);
            d.array().unwrap();
            assert_eq!(d.u8().unwrap() as usize, size);
            d.u64().unwrap();
            let mut left_out = d.bytes().unwrap().as_chunks::<32>().0.to_vec();
            let mut way = way;
            left_out.sort();
            way.sort();
            assert_eq!(left_out, way);
        }
        let mut said = vec![size as u8];
        said.extend(want);
        let bytes = wire(&group(&signed, 1));
        let mut d = Decoder::new(&bytes);
        d.array().unwrap();
        let _size_and_places = (d.u8().unwrap(), d.u64().unwrap(), d.bytes().unwrap());
        let signature: [u8; 64] = d.bytes().unwrap().try_into().unwrap();
        assert!(keys(1).verify("syncd/2 records", &said, &signature));
    }
}

type Claims = (u8, [u8; 32], [u8; 64]);

/// Whether bytes read as a group of which all that the signature is about, and the signature, are those of an honest
/// batch. Checking it would say the same a thousand times slower (see the test that does).
fn accepted(bytes: &[u8], honest: &Claims) -> bool {
    let mut d = Decoder::new(bytes);
    let Ok(group) = d.decode::<Group>() else {
        return false;
    };
    d.position() == bytes.len() && group.claims_for_test().as_ref() == Some(honest)
}

#[test]
fn for_every_size_and_place_nothing_but_the_one_proof_is_accepted() {
    for size in 1..=64_usize {
        let members = (0..size).map(|i| Bytes::from(vec![i as u8; 9])).collect();
        let (raw, proof) = sign_bytes(&keys(1), members).unwrap();
        let honest = proof.parts_for_test();
        for (place, raw) in raw.iter().enumerate() {
            let mut bytes = wire(&proof.group([raw]).unwrap());
            assert!(accepted(&bytes, &honest));
            // Every bit of everything: size, places, hashes, signature, signed bytes.
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!accepted(&bytes, &honest), "bit {bit}, {place} of {size}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            // Every other size and place, with as many of the hashes as would fit there.
            let mut d = Decoder::new(&bytes);
            d.array().unwrap();
            let _size_and_places = (d.u8().unwrap(), d.u64().unwrap());
            let left_out = d.bytes().unwrap();
            for other_size in 1..=64_u8 {
                for other_place in 0..64_u32 {
                    // All numbers of hashes are tried for one place of each size; for the others, all of them.
                    let least = if place == size / 2 {
                        0
                    } else {
                        left_out.len() / 32
                    };
                    for hashes in least..=left_out.len() / 32 {
                        let same = usize::from(other_size) == size
                            && other_place as usize == place
                            && hashes * 32 == left_out.len();
                        let mut e = Encoder::new(Vec::with_capacity(400));
                        e.array(5).unwrap().u8(other_size).unwrap();
                        e.u64(1 << other_place).unwrap();
                        e.bytes(&left_out[..hashes * 32]).unwrap();
                        e.bytes(&honest.2).unwrap().array(1).unwrap();
                        e.bytes(raw.signed()).unwrap();
                        assert_eq!(accepted(e.writer(), &honest), same);
                    }
                }
            }
        }
    }
}

#[test]
fn every_changed_byte_is_noticed_by_the_signature_itself() {
    let bytes = wire(&group(&signed(3), 0b010));
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(read(&keys(1), &changed).is_err(), "byte {at}");
        }
    }
    for len in 0..bytes.len() {
        assert!(read(&keys(1), &bytes[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn one_signature_serves_all_groups_of_a_batch() {
    let signed = signed(64);
    let mut known = VerifiedRoots::default();
    for place in 0..64 {
        let group = group(&signed, 1 << place);
        group.verify(&keys(1), &mut known).unwrap();
    }
    assert_eq!(known.len_for_test(), 1);
}

#[test]
fn a_signature_is_looked_at_though_another_of_its_batch_was_good() {
    let signed = signed(3);
    let mut known = VerifiedRoots::default();
    let good = group(&signed, 0b010);
    let mut bytes = wire(&good);
    good.verify(&keys(1), &mut known).unwrap();
    let signature = {
        let (_, _, signature) = group(&signed, 0b010).claims_for_test().unwrap();
        bytes.windows(64).position(|w| w == signature).unwrap()
    };
    bytes[signature] ^= 1;
    let forged: Group = minicbor::decode(&bytes).unwrap();
    let refused = forged.verify(&keys(1), &mut known);
    assert!(matches!(refused, Err(RecordError::Signature)));
}

#[test]
fn groups_are_made_of_what_came_in_other_groups() {
    let signed = signed(40);
    let part = |places| {
        let (records, proof) = group(&signed, places)
            .verify(&keys(1), &mut VerifiedRoots::default())
            .unwrap();
        (records, proof)
    };
    let (mut records, mut proof) = part(0x0f0f);
    let (more, other) = part(0xf0_0000_0001);
    assert!(proof.merge(&other));
    records.extend(more);
    records.dedup_by_key(|r| r.seat().place);
    assert_eq!(proof.places(), 0xf0_0000_0f0f);
    let all = proof
        .group(records.iter().filter(|r| r.seat().place != 0))
        .unwrap();
    assert_eq!(read(&keys(1), &wire(&all)).unwrap().len(), 11);
    assert_eq!(
        wire(&all),
        wire(&group(&signed, 0xf0_0000_0f0e)),
        "whoever makes it"
    );
    // What few need is forgotten, and they can still be shown.
    let long = minicbor::to_vec(&proof).unwrap().len();
    proof.keep(1 << 37);
    assert!(minicbor::to_vec(&proof).unwrap().len() < long);
    let one = proof
        .group(records.iter().filter(|r| r.seat().place == 37))
        .unwrap();
    assert_eq!(wire(&one), wire(&group(&signed, 1 << 37)));
    assert!(proof.group(&records).is_none());
    let stored = minicbor::to_vec(&proof).unwrap();
    assert_eq!(minicbor::decode::<BatchProof>(&stored).unwrap(), proof);
    assert_eq!(proof.id(), signed.proofs[0].id());
}

#[test]
fn proofs_of_two_batches_do_not_mix() {
    let (a, b) = (
        signed(2),
        sign(&keys(1), 0, vec![(entry("other"), version(7))]).unwrap(),
    );
    let mut proof = a.proofs[0].clone();
    assert!(!proof.merge(&b.proofs[0]));
    assert!(proof.group([b.records[0].raw()]).is_none());
}

#[test]
fn two_devices_that_sign_the_same_make_the_same_record() {
    let alone = sign(&keys(1), 3, vec![(entry("x"), version(4))]).unwrap();
    let with_others = (0..9).map(|i| (entry(&format!("y{i}")), version(9 + i)));
    let said = with_others.chain([(entry("x"), version(4))]).collect();
    let among = sign(&keys(1), 3, said).unwrap();
    let (a, b) = (alone.records[0].raw(), among.records[9].raw());
    assert_eq!(a.signed(), b.signed());
    assert_eq!(a, b, "though proofs differ");
    assert_eq!(a.short_hash(), b.short_hash());
    assert_ne!(a.seat(), b.seat());
}

#[test]
fn an_entry_and_a_version_have_one_encoding() {
    let read_keys = keys(1);
    let read = read_keys.read().unwrap();
    let whole = Record::open(&keys(1), signed(1).records[0].raw().clone()).unwrap();
    let plain = minicbor::to_vec(&Body {
        path: whole.entry.path.clone(),
        size: 5,
        mtime_ns: -1,
        mode: 0o640,
        content: whole.entry.content,
        prev: None,
        target: None,
        author: None,
    })
    .unwrap();
    let make = |head: &[u8], plain: &[u8]| {
        let mut bytes = head.to_vec();
        let mut e = Encoder::new(Vec::new());
        e.bytes(&read.seal_body(head, plain)).unwrap();
        bytes.extend(e.into_writer());
        let (raw, _) = sign_bytes(&keys(1), vec![bytes.into()]).unwrap();
        Record::open(&keys(1), raw[0].clone())
    };
    let path_id = read.path_id(whole.entry.path.as_bytes());
    let head = EntryEnvelope::write(0, path_id, &version(1), Kind::File);
    let mut padded = plain.clone();
    padded.resize(plain.len().next_multiple_of(16), 0);
    assert_eq!(make(&head, &padded).unwrap(), whole);
    // A longer filling, one that isn't zero, none.
    let mut long = padded.clone();
    long.extend([0; 16]);
    assert_eq!(make(&head, &long), Err(RecordError::Malformed));
    let mut odd = padded.clone();
    *odd.last_mut().unwrap() = 1;
    assert!(make(&head, &odd).is_err());
    assert_eq!(make(&head, &plain), Err(RecordError::Malformed));
    // Other flags, a number that isn't shortest, a vector that is only the dot.
    let mut flags = head.clone();
    flags[2] = 1;
    assert_eq!(make(&flags, &padded), Err(RecordError::Malformed));
    let mut wide = head.clone();
    wide.splice(3..4, [0x18, 0]);
    assert_eq!(make(&wide, &padded), Err(RecordError::Malformed));
    let mut vector = head.clone();
    vector[0] = 0x88;
    vector.extend(minicbor::to_vec(version(1).vector).unwrap());
    assert_eq!(make(&vector, &padded), Err(RecordError::Malformed));
}

#[test]
fn formats_of_tomorrow_are_kept_and_passed_on() {
    let mut e = Encoder::new(Vec::new());
    e.array(7).unwrap().u8(77).unwrap().u8(0x83).unwrap();
    e.u32(5).unwrap().bytes(&[9; 16]).unwrap();
    e.encode(dot(12)).unwrap();
    e.str("what nobody knows yet").unwrap().bool(true).unwrap();
    let tomorrow = Bytes::from(e.into_writer());
    let (raw, proof) = sign_bytes(&keys(1), vec![tomorrow.clone()]).unwrap();
    let sent = wire(&proof.group(&raw).unwrap());
    let group: Group = minicbor::decode(&sent).unwrap();
    let (got, proof) = group
        .verify(&keys(1), &mut VerifiedRoots::default())
        .unwrap();
    assert_eq!(
        Record::open(&keys(1), got[0].clone()),
        Err(RecordError::Format(77))
    );
    let envelope = got[0].envelope().unwrap();
    assert_eq!(
        (envelope.format, envelope.flags, envelope.era),
        (77, 0x83, 5)
    );
    assert_eq!((envelope.path_id, envelope.dot), ([9; 16], dot(12)));
    let stored: RawRecord = minicbor::decode(&minicbor::to_vec(&got[0]).unwrap()).unwrap();
    assert_eq!(stored.signed(), &tomorrow);
    assert_eq!(wire(&proof.group([&stored]).unwrap()), sent);
    // An entry of an unknown kind is read, as far as it is an entry.
    let mut odd = entry("odd");
    odd.kind = Kind::Other(9);
    let signed = sign(&keys(1), 0, vec![(odd.clone(), version(1))]).unwrap();
    let back = Record::open(&keys(1), signed.records[0].raw().clone()).unwrap();
    assert_eq!(back.entry, odd);
}

#[test]
fn cipher_records_and_heads_read_back() {
    let cipher = CipherRecord {
        era: 1,
        path_id: [7; 16],
        dot: dot(3),
        key_era: 0,
        root: ContentRoot {
            hash: ContentHash([5; 32]),
            height: 1,
        },
        padded_len: 70_000,
    };
    let head = Head {
        era: 1,
        dot: dot(44),
        unix_s: 1_800_000_000,
        knowledge: [dot(44)].into_iter().collect(),
    };
    assert_eq!(CipherRecord::decode(&cipher.encode()), Ok(cipher.clone()));
    assert_eq!(Head::decode(&head.encode()), Ok(head.clone()));
    assert_eq!(Head::decode(&cipher.encode()), Err(RecordError::Format(2)));
    assert_eq!(hex(&cipher.encode()), CIPHER_GOLDEN);
    assert_eq!(hex(&head.encode()), HEAD_GOLDEN);
    let (raw, _) = sign_bytes(&keys(1), vec![cipher.encode()]).unwrap();
    assert_eq!(
        Record::open(&keys(1), raw[0].clone()),
        Err(RecordError::Format(2))
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_those_of_version_2() {
    // Golden: the same on every machine, 32 or 64 bits wide, whatever its byte order.
    let bytes = wire(&group(&signed(2), 0b10));
    let hash = blake3::hash(&bytes).to_hex();
    assert_eq!((bytes.len(), hash.as_str()), GOLDEN);
    assert_eq!(hex(signed(1).records[0].raw().signed()), SIGNED_GOLDEN);
}

#[test]
fn a_record_of_a_small_file_is_small() {
    let mut small = entry("dir0042/file0042123.txt");
    small.mtime_ns = 1_795_334_400_123_456_789;
    small.size = 256;
    let dot = Dot {
        replica: ReplicaId(u64::MAX - 5),
        counter: 70_000,
    };
    let said = vec![(small, Version::new(dot, &Vector::new()))];
    let mut said = said;
    said[0].0.author = dot.replica;
    let signed = sign(&keys(1), 0, said).unwrap();
    assert_eq!(signed.records[0].raw().signed().len(), 135);
}

/// Length and BLAKE3 of the group of the second of two records signed together.
const GOLDEN: (usize, &str) = (
    213,
    "476ed257e149889c3c5bbc0a6825c96fc2e8bef606c4e19af0bb1e354976b000",
);
const SIGNED_GOLDEN: &str = "8701030050cb2658229ab13864e5c0d81148f8066e820901015850637f6fe850f1416154596522b7c8858acd97e854b136e1ec44574af267577570004e6b42f2b83396d278d84c4196bfe0ca9947198b08ae218c884003b8d73eeebfc7d359128c361a65bc0927f24b8d8e";
const CIPHER_GOLDEN: &str = "870201015007070707070707070707070707070707820903008358200505050505050505050505050505050505050505050505050505050505050505011a00011170";
const HEAD_GOLDEN: &str = "8703010150000000000000000000000000000000008209182c1a6b49d2008209182c";

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&keys(1), &bytes);
        let _ = EntryEnvelope::parse(&bytes);
        let _ = minicbor::decode::<BatchProof>(&bytes);
        let _ = CipherRecord::decode(&bytes);
        let _ = Head::decode(&bytes);
    }
}
