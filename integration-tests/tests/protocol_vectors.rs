//! The vectors in `docs/PROTOCOL.md` are what the code does. Each name there must be known here.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::collections::BTreeMap;

use sync_core::{
    chunk::{ChunkParams, Chunker},
    keys::{FolderKeys, Role},
    manifest::{manifest_of, manifest_with},
    secret::Secret,
};
use sync_discovery::lan::wire::{announce_tag, answer_tag};

fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../docs/PROTOCOL.md");
    let block = page
        .split("```vectors\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let lines = block
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|l| l.split_once(" = ").unwrap())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
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
    let computed = [
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
    ];
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
