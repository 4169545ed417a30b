//! Tests of the scheduler: single rules here, all of them together in `world`.

use std::collections::BTreeSet;

use super::*;
use crate::manifest::{Manifest, ManifestBuilder};
use crate::message::{MAX_IN_FLIGHT, ObjectId, ObjectKind};

mod complaints;
mod numbers;
mod paths;
mod rules;
mod sim;
mod world;

const MS: Duration = Duration::from_millis(1);

/// The session of this number.
fn s(number: u64) -> SessionId {
    SessionId(number)
}

/// Bytes that only this name has.
fn data(name: u64, len: usize) -> Bytes {
    let pattern = *blake3::hash(&name.to_be_bytes()).as_bytes();
    pattern.iter().copied().cycle().take(len).collect()
}

/// A small content and its bytes.
fn small(name: u64, len: usize) -> (ContentRoot, Bytes) {
    let bytes = data(name, len);
    (ContentRoot::single(ContentHash::chunk(&bytes)), bytes)
}

/// A big file with the chunks of these names, all but the last of 16 KiB.
fn big(names: &[u64]) -> (Manifest, BTreeMap<ContentHash, Bytes>) {
    let mut builder = ManifestBuilder::new();
    let mut all = BTreeMap::new();
    for name in names {
        let bytes = data(*name, 16 << 10);
        let hash = ContentHash::chunk(&bytes);
        builder
            .push(ChunkRef {
                hash,
                len: bytes.len() as u32,
            })
            .expect("fits");
        all.insert(hash, bytes);
    }
    (builder.finish(), all)
}

fn drain(fetcher: &mut Fetcher, now: Duration) -> Vec<FetchOutput> {
    let outputs = std::iter::from_fn(|| fetcher.poll(now)).collect();
    check(fetcher);
    outputs
}

fn requests(outputs: &[FetchOutput]) -> Vec<(SessionId, Request)> {
    let send = |output: &FetchOutput| match output {
        FetchOutput::Send(session, request) => Some((*session, request.clone())),
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

/// Everything that must be true between two calls.
fn check(f: &Fetcher) {
    let mut total = 0;
    for (session, peer) in &f.peers {
        let open = peer.requests.values().flat_map(|asked| &asked.slots);
        let open: u64 = open
            .filter(|slot| !slot.answered)
            .map(|slot| u64::from(slot.cost))
            .sum();
        assert_eq!(peer.in_flight, open, "{session:?}");
        assert!(peer.in_flight + peer.writing <= MAX_IN_FLIGHT);
        assert!((peer::MIN_WINDOW..=MAX_IN_FLIGHT).contains(&peer.window));
        total += open;
        let mut cost = 0;
        for key in &peer.small {
            let content = &f.contents[key];
            assert!(matches!(content.stage, Stage::Small { queued: true, .. }));
            assert!(content.holders.contains_key(session));
            cost += holders::small_cost(content.size);
        }
        assert_eq!(peer.small_cost, cost);
        for (id, asked) in &peer.requests {
            let of_use = asked.slots.iter().any(|slot| slot.live);
            assert!(of_use, "request {id} of {session:?} is of no use");
            for (at, slot) in (0_u16..).zip(&asked.slots).filter(|(_, slot)| slot.live) {
                assert!(!slot.answered);
                let asks = &f.under_way[&slot.item];
                assert!(
                    asks.iter()
                        .any(|a| (a.session, a.id, a.slot) == (*session, *id, at))
                );
            }
        }
    }
    let mut held_small = (0, 0);
    for (key, content) in &f.contents {
        assert_eq!(f.names[&content.root], *key);
        assert_eq!(f.orphans.contains(key), content.holders.is_empty());
        assert!(
            content
                .holders
                .keys()
                .all(|session| f.peers.contains_key(session))
        );
        let waits = matches!(content.stage, Stage::Waiting) && !content.holders.is_empty();
        assert_eq!(f.waiting.contains(key), waits);
        let active = matches!(content.stage, Stage::Pages(_) | Stage::Chunks(_));
        assert_eq!(f.active.contains(key), active);
        match &content.stage {
            Stage::Small { queued, numbers } => {
                for (session, _) in numbers {
                    assert!(content.holders.contains_key(session));
                }
                let item = Item {
                    key: *key,
                    part: Part::Whole,
                };
                assert_eq!(!queued, f.under_way.contains_key(&item));
                for session in content.holders.keys().filter(|_| *queued) {
                    assert!(f.peers[session].small.contains(key));
                }
                if !content.holders.is_empty() {
                    held_small = (held_small.0 + 1, held_small.1 + content.size);
                }
            }
            Stage::Chunks(chunks) => total += chunks.writers().map(|(_, len)| len).sum::<u64>(),
            Stage::Waiting | Stage::Pages(_) => {}
        }
    }
    assert_eq!(f.small, held_small);
    assert_eq!(f.total, total);
    assert!(f.total <= MAX_TOTAL_IN_FLIGHT);
    assert!(f.active.len() <= MAX_ACTIVE);
    assert_eq!(f.names.len(), f.contents.len());
    for (item, asks) in &f.under_way {
        assert!(f.contents.contains_key(&item.key));
        assert!((1..=2).contains(&asks.len()), "{asks:?}");
    }
}
