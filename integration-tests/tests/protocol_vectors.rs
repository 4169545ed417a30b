//! The vectors in `docs/PROTOCOL.md` and the pages below it are what the code does. Each name there must be known here.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{collections::BTreeMap, path, time::Duration};

use bytes::BytesMut;
use sync_core::{
    chunk::{ChunkParams, Chunker, ContentHash},
    conflict::copy_path,
    entry::{Entry, Kind},
    ids::{PeerKey, ReplicaId, Seq},
    invitation::Invitation,
    keys::{DeviceSigner, FolderKeys, Role},
    knowledge::Knowledge,
    manifest::{ContentRoot, manifest_of, manifest_with},
    message::{
        Announce, BadChunk, Change, Contents, EngineMessage, Message, ObjectMessage, Records,
    },
    net_message::{Candidates, NetControl, NetMessage, Path, PathKind, Pex, Reach, Relay},
    path::RelPath,
    record::{
        Group,
        cipher::{CipherRecord, Head},
        sign,
    },
    rotation::{HandOver, Identity, Link, NewSecret},
    secret::Secret,
    version::{Dot, Vector, Version},
};
use sync_discovery::lan::wire::{announce_tag, answer_tag};
use sync_net::{
    Entropy, Hello, Member,
    frame::{RekeyLimits, Sealer},
    handshake::{self, Initiator, Responder},
};

/// The vectors of all pages.
fn documented() -> BTreeMap<String, String> {
    let docs = path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages = vec![docs.join("PROTOCOL.md")];
    let more = std::fs::read_dir(docs.join("protocol")).unwrap();
    pages.extend(more.map(|page| page.unwrap().path()));
    let mut all = BTreeMap::new();
    for page in pages {
        let page = std::fs::read_to_string(page).unwrap();
        for block in page.split("```vectors\n").skip(1) {
            let block = block.split("```").next().unwrap();
            for line in block
                .lines()
                .filter(|l| !l.starts_with('#') && !l.is_empty())
            {
                let (name, value) = line.split_once(" = ").unwrap();
                let before = all.insert(name.to_owned(), value.to_owned());
                assert_eq!(before, None, "{name} stands twice");
            }
        }
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A mebibyte of SplitMix64 (Steele, Lea and Flood, 2014) from state 0.
fn noise() -> Vec<u8> {
    let mut state = 0_u64;
    let mut data = Vec::with_capacity(1 << 20);
    while data.len() < 1 << 20 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        data.extend_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    data
}

/// A control message of those who keep sessions, as it is sent.
fn control(control: &NetControl) -> String {
    hex(&Message::from(control.to_message()).encode())
}

/// The greeting of the page on sessions.
fn greeting(keys: &FolderKeys) -> Hello {
    let signer = keys.device_signer(&[10; 32]);
    let hello = Hello {
        era: 3,
        observed: Some("203.0.113.9:40000".parse().unwrap()),
        device: Some(signer.greet(&[0x5a; 32], Role::Initiator)),
        ..Hello::new("Anna", 7, 29_170)
    };
    assert_eq!(Hello::decode(&hello.encode()), Some(hello.clone()));
    hello
}

/// The handshake of the page: its messages, its hash, and the initiator's keys.
fn transcript() -> Vec<(&'static str, String)> {
    let keys = FolderKeys::derive(&Secret::generate([42; 21]));
    let [a, b] = [10, 20].map(|device| Member::new(keys.clone(), &[device; 32]));
    let (initiator, first) = Initiator::start(&a, Entropy::new([100; 32])).unwrap();
    let (_responder, second) = Responder::answer(&b, Entropy::new([200; 32]), &first).unwrap();
    let (third, secrets) = initiator.finish(&second).unwrap();
    vec![
        ("handshake.message-1", hex(&first)),
        ("handshake.message-2", hex(&second)),
        ("handshake.message-3", hex(&third)),
        ("handshake.hash", hex(&secrets.hash)),
        ("handshake.initiator-key", hex(&secrets.send[..])),
        ("handshake.responder-key", hex(&secrets.receive[..])),
    ]
}

/// A ping, a rekey, and the last part of a control message.
fn frames() -> Vec<(&'static str, String)> {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let limits = RekeyLimits {
        frames: 1,
        ..RekeyLimits::default()
    };
    let (mut sealer, mut out) = (
        Sealer::new(&key, limits, Duration::ZERO),
        BytesMut::default(),
    );
    for (kind, parts) in [(5, &[&b"12345678"[..]][..]), (3, &[b"\x01", b"hello"])] {
        sealer.seal(kind, parts, Duration::ZERO, &mut out).unwrap();
    }
    vec![("frame.three-around-a-rekey", hex(&out))]
}

/// Lengths of the chunks of `data`.
fn lengths(chunker: &Chunker, data: &[u8]) -> String {
    let (mut rest, mut lengths) = (data, Vec::new());
    while let Some(length) = chunker.cut(rest, true) {
        lengths.push(length.to_string());
        rest = &rest[length..];
    }
    lengths.join(" ")
}

/// The messages about peers of the page.
fn net_messages() -> Vec<(&'static str, String)> {
    let at = |text: &str| text.parse().unwrap();
    let reach = |addresses: &[&str], through| Reach {
        key: PeerKey([7; 32]),
        addresses: addresses.iter().map(|a| at(a)).collect(),
        through,
    };
    let pex = Pex {
        added: vec![
            reach(&["192.0.2.1:29170", "[2001:db8::1]:29170"], None),
            reach(&[], Some([9; 16])),
        ],
        dropped: vec![PeerKey([8; 32])],
    };
    let answer = |candidates| NetMessage::PunchAnswer {
        attempt: [3; 16],
        candidates,
    };
    let messages = [
        ("net.pex", NetMessage::Pex(pex)),
        (
            "net.punch-ask",
            NetMessage::PunchAsk {
                attempt: [1; 16],
                handle: [9; 16],
                candidates: vec![2; 160],
            },
        ),
        (
            "net.punch-offer",
            NetMessage::PunchOffer {
                attempt: [3; 16],
                candidates: vec![2; 160],
            },
        ),
        ("net.punch-answer", answer(Some(vec![4; 160]))),
        ("net.punch-refused", answer(None)),
        (
            "net.observed",
            NetMessage::Observed(at("203.0.113.9:40000")),
        ),
    ];
    let messages = messages.map(|(name, message)| (name, hex(&message.encode())));
    let candidates = Candidates {
        key: PeerKey([7; 32]),
        issued: 1_795_334_400,
        attempt: 3,
        paths: vec![
            Path {
                kind: PathKind::Local,
                address: at("[fd00::1]:29170"),
            },
            Path {
                kind: PathKind::Reflexive,
                address: at("203.0.113.9:40000"),
            },
        ],
        relays: vec![Relay {
            address: at("192.0.2.5:443"),
            token: [6; 32],
        }],
    };
    let keys = FolderKeys::derive(&Secret::generate(std::array::from_fn(|i| i as u8)));
    let sealed = ("candidates.sealed", hex(&candidates.seal(&keys, [1; 16])));
    let key = ("keys.candidates", hex(keys.candidates_key()));
    messages.into_iter().chain([key, sealed]).collect()
}

/// A rotation from the first secret of the page to the second one.
fn rotation() -> Vec<(&'static str, String)> {
    let old = FolderKeys::derive(&Secret::generate(std::array::from_fn(|i| i as u8)));
    let secret = Secret::generate([42; 21]);
    let new = FolderKeys::derive(&secret);
    let static_key = |keys: &FolderKeys, device: [u8; 32]| {
        PeerKey(handshake::public_key(&keys.static_key(&device)))
    };
    let signer = old.device_signer(&[10; 32]);
    let identity = Identity {
        folder: new.folder_id(),
        sign: new.device_signer(&[10; 32]).public(),
        key: static_key(&new, [10; 32]),
    };
    let link = Link::new(
        old.folder_id(),
        &signer,
        static_key(&old, [10; 32]),
        &identity,
    );
    let dot = |(replica, counter)| Dot {
        replica: ReplicaId(replica),
        counter,
    };
    let known: Vector = [(3, 9), (5, 70_000)].into_iter().map(dot).collect();
    let hand_over = HandOver {
        era: 2,
        secret: NewSecret(Secret::ReadOnly(secret.to_read_only())),
        chunk_seed: 7_u64.into(),
        data_keys: vec![(0, [8_u8; 32].into()), (1, [9_u8; 32].into())],
        knowledge: Knowledge::from(&known),
        rotator: signer.public(),
        started: 1_795_334_400,
    };
    let sealed = hand_over.seal(&old, &signer, static_key(&old, [20; 32]), [100; 32]);
    vec![
        ("keys.device-sign", hex(&signer.public())),
        ("net.link", hex(&NetMessage::Link(link).encode())),
        ("hand-over.sealed", hex(&sealed.unwrap())),
    ]
}

/// The invitation of the page.
fn invitation() -> Vec<(&'static str, String)> {
    let signer = DeviceSigner::from_seed(&[3; 32]);
    let invitation = Invitation::new(std::array::from_fn(|i| i as u8), &signer.public());
    let keys = invitation.keys();
    let proof = Invitation::prove(&signer, Role::Responder, &[0x5a; 32]);
    vec![
        ("invitation.text", invitation.reveal().to_string()),
        ("invitation.psk", hex(&keys.psk[..])),
        ("invitation.rendezvous-key", hex(&keys.rendezvous[..])),
        (
            "invitation.joiner-static",
            hex(&invitation.joiner_key(&[20; 32])[..]),
        ),
        ("invitation.proof", hex(&proof)),
    ]
}

/// The records, groups and the announcement of the pages.
fn records(keys: &FolderKeys) -> Vec<(&'static str, String)> {
    let replica = ReplicaId(9);
    let dot = |counter| Dot { replica, counter };
    let hello = ContentRoot {
        hash: ContentHash::chunk(b"hello"),
        height: 0,
    };
    let files = (0..5_u64).map(|number| {
        let entry = Entry {
            path: RelPath::parse(format!("d/file {number}").as_bytes()).unwrap(),
            kind: Kind::File,
            size: 5,
            mtime_ns: -1,
            mode: 0o640,
            content: Some(hello),
            prev: None,
            target: None,
            author: replica,
        };
        (entry, Version::new(dot(number + 1), &Vector::new()))
    });
    let signed = sign(keys, 0, files.collect()).unwrap();
    let raw: Vec<_> = signed.records.iter().map(|r| r.raw().clone()).collect();
    let deletion = Entry {
        path: RelPath::parse(b"d/file 0").unwrap(),
        kind: Kind::Tombstone,
        size: 0,
        mtime_ns: 1_795_334_400_000_000_000,
        mode: 0,
        content: None,
        prev: Some(hello),
        target: None,
        author: ReplicaId(3),
    };
    let past: Vector = [Dot {
        replica: ReplicaId(3),
        counter: 4,
    }]
    .into_iter()
    .collect();
    let deletion = sign(keys, 0, vec![(deletion, Version::new(dot(6), &past))]).unwrap();
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
    let proof = &signed.proofs[0];
    let changes =
        [(0, 7, true), (2, 9, false)].map(|(place, seq, holds): (usize, u64, bool)| Change {
            seq: Seq(seq),
            holds,
            contested: false,
            record: raw[place].clone(),
        });
    let announcement = Announce::new(proof, changes.to_vec()).unwrap();
    let cbor = |group: Option<Group>| hex(&minicbor::to_vec(group.unwrap()).unwrap());
    vec![
        ("record.file", hex(raw[0].signed())),
        ("record.deletion", hex(deletion.records[0].raw().signed())),
        ("record.cipher", hex(&cipher.encode())),
        ("record.head", hex(&head.encode())),
        ("record.group-of-all", cbor(proof.group(&raw))),
        ("record.group-of-two", cbor(proof.group([&raw[0], &raw[2]]))),
        ("exchange.arrived", hex(&arrived())),
        ("exchange.held", hex(&held())),
        ("exchange.contents", hex(&contents())),
        ("exchange.bad-chunk", hex(&bad_chunk())),
        (
            "record.announcement",
            hex(&minicbor::to_vec(&announcement).unwrap()),
        ),
    ]
}

/// What is held: a few runs of changes of two replicas, with their numbers.
fn held() -> Vec<u8> {
    let runs = [
        (9, 1..=500, 1_001),
        (9, 502..=502, 1_501),
        (9, 510..=511, 40),
        (12, 7..=7, 42),
    ];
    let held = runs.into_iter().flat_map(|(replica, counters, first)| {
        let replica = ReplicaId(replica);
        let each = counters.zip(first..);
        each.map(move |(counter, number)| (Dot { replica, counter }, Seq(number)))
    });
    let message: Message = EngineMessage::Records(Records {
        after: Seq(3),
        upto: Seq(1_501),
        changes: Vec::new(),
        stubs: Vec::new(),
        holds: held.collect(),
    })
    .into();
    message.encode().to_vec()
}

/// A question for contents by number.
fn contents() -> Vec<u8> {
    let numbers = (1_001..=1_500).chain([1_502, 1_510, 1_511]);
    let numbers = numbers.map(Seq).collect();
    let message: Message = ObjectMessage::Contents(Contents { id: 7, numbers }).into();
    message.encode().to_vec()
}

/// A complaint about a chunk.
fn bad_chunk() -> Vec<u8> {
    let (id, hash) = (7, ContentHash([5; 32]));
    let message: Message = ObjectMessage::BadChunk(BadChunk { id, hash }).into();
    message.encode().to_vec()
}

/// What arrived: a few ranges of two replicas.
fn arrived() -> Vec<u8> {
    let ranges = [(9, 1..=500), (9, 502..=502), (9, 510..=511), (12, 7..=7)];
    let dots = ranges.into_iter().flat_map(|(replica, counters)| {
        let replica = ReplicaId(replica);
        counters.map(move |counter| Dot { replica, counter })
    });
    let message: Message = EngineMessage::Arrived(dots.collect()).into();
    message.encode().to_vec()
}

#[test]
fn the_page_says_what_the_code_does() {
    let bytes: [u8; 21] = std::array::from_fn(|i| i as u8);
    let secret = Secret::generate(bytes);
    let keys = FolderKeys::derive(&secret);
    let read = keys.read().unwrap();
    let read_only = FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only()));
    let data = noise();
    let small = Chunker::new(ChunkParams::with_average(256, 1).unwrap());
    let lan_key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let nonce: [u8; 16] = std::array::from_fn(|i| 0xa0 + i as u8);
    let asked: [u8; 16] = std::array::from_fn(|i| 0xb0 + i as u8);
    let mut computed = vec![
        ("secret.read-write", secret.reveal().to_string()),
        (
            "secret.read-only",
            secret.to_read_only().reveal().to_string(),
        ),
        ("keys.verifying", hex(keys.verifying_key())),
        ("keys.folder-id", hex(keys.folder_id().as_bytes())),
        ("keys.psk", hex(keys.psk())),
        ("keys.lan", hex(keys.lan_key())),
        ("keys.probe", hex(keys.probe_key())),
        ("keys.rendezvous.20000", hex(&keys.rendezvous(20_000))),
        ("keys.chunk-seed", hex(&read.chunk_seed().to_be_bytes())),
        (
            "keys.path-id",
            hex(&read.path_id("Fotos/\u{c4}.jpg".as_bytes())),
        ),
        (
            "keys.seal",
            hex(&read.seal_body(b"record header", b"record body")),
        ),
        ("keys.static", hex(&keys.static_key(&[0x42; 32])[..])),
        (
            "keys.sign",
            hex(&keys.sign("syncd/1 test", b"message").unwrap()),
        ),
        (
            "proof.read-write.initiator",
            hex(keys.level_proof(&[0x5a; 32], Role::Initiator).as_bytes()),
        ),
        (
            "control.peers",
            control(&NetControl::Peers(NetMessage::Observed(
                "203.0.113.9:40000".parse().unwrap(),
            ))),
        ),
        (
            "control.use",
            control(&NetControl::Use(0x0102_0304_0506_0708)),
        ),
        ("control.standby", control(&NetControl::Standby)),
        ("control.retire", control(&NetControl::Retire)),
        ("hello.initiator", hex(&greeting(&keys).encode())),
        (
            "proof.read-only.responder",
            hex(read_only
                .level_proof(&[0x5a; 32], Role::Responder)
                .as_bytes()),
        ),
        (
            "content.seed1",
            manifest_of(&data, 1).unwrap().root.to_string(),
        ),
        (
            "content.seed2",
            manifest_of(&data, 2).unwrap().root.to_string(),
        ),
        (
            "content.seed1.average256",
            manifest_with(&data, &small).unwrap().root.to_string(),
        ),
        ("lan.announce", hex(&announce_tag(&lan_key, 29_170, &nonce))),
        (
            "lan.answer",
            hex(&answer_tag(&lan_key, 29_170, &nonce, &asked)),
        ),
        (
            "content.lengths.seed1.average256",
            lengths(&small, &data[..4096]),
        ),
        (
            "conflict.copy",
            copy_path(
                &RelPath::parse(b"d/report.txt").unwrap(),
                ReplicaId(7),
                1_795_334_400_000_000_000,
                &ContentHash::chunk(b"x"),
            )
            .display(),
        ),
    ];
    computed.extend(records(&keys));
    computed.extend(transcript());
    computed.extend(frames());
    computed.extend(net_messages());
    computed.extend(rotation());
    computed.extend(invitation());
    let documented = documented();
    for (name, value) in &computed {
        assert_eq!(documented.get(*name), Some(value), "{name}");
    }
    assert_eq!(
        documented.len(),
        computed.len(),
        "every vector on the page is checked"
    );
}
