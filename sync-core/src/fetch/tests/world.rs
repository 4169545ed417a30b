//! Whole transfers among random peers.

use proptest::prelude::*;

use super::sim::{Event, Peer, Rng, Sim};
use super::*;

/// A world with random contents and peers, some of which lie; everything is wanted.
fn world(seed: u64) -> (Sim, BTreeSet<ContentRoot>) {
    let mut sim = Sim::new(seed);
    let mut rng = Rng(seed ^ 77);
    let mut roots = Vec::new();
    for name in 0..rng.below(60) {
        let (root, bytes) = small(name, 1 + rng.below(9000) as usize);
        sim.add_object(ObjectKind::Chunk, bytes, root.hash, root);
        roots.push(root);
    }
    for file in 0..rng.below(7) {
        let count = 2 + rng.below(90);
        let names: Vec<_> = (0..count)
            .map(|_| file * 1000 + 1000 + rng.below(count * 2))
            .collect();
        let root = sim.add_file(&names);
        roots.push(root);
        for page in sim.files[&root].pages.clone() {
            if rng.percent(30) {
                sim.local_pages.insert(page.hash);
            }
        }
    }
    let count = 1 + rng.below(6);
    let mut reachable = BTreeSet::new();
    let mut parts: BTreeMap<ContentRoot, BTreeSet<u32>> = BTreeMap::new();
    for number in 1..=count {
        let mut peer = Peer {
            honest: rng.percent(60),
            latency: MS * (1 + rng.below(150) as u32),
            rate: 1 << (15 + rng.below(12)),
            ..Peer::default()
        };
        for root in &roots {
            let file = sim.files.get(root).map(|file| file.chunks.len() as u64);
            match (rng.below(3), file) {
                (0, _) => {
                    peer.whole.insert(*root);
                }
                (1, Some(chunks)) => {
                    let share = rng.below(101);
                    let held = (0..chunks as u32).filter(|_| rng.percent(share));
                    let held: BTreeSet<_> = held.collect();
                    peer.parts.insert(*root, held);
                }
                _ => {}
            }
        }
        if peer.honest {
            reachable.extend(peer.whole.iter().copied());
            for (root, held) in &peer.parts {
                parts.entry(*root).or_default().extend(held);
            }
        } else {
            peer.wrong = rng.below(60);
            peer.missing = rng.below(40);
            peer.silent = rng.below(60);
            let leaves = rng.percent(40);
            if leaves {
                sim.at(MS * rng.below(20_000) as u32, Event::Leave(s(number)));
            }
        }
        sim.peers.insert(s(number), peer);
        sim.fetcher.add_peer(s(number), Duration::ZERO);
    }
    for (root, held) in parts {
        let names = |at: &u32| sim.files[&root].chunks[*at as usize];
        let held: BTreeSet<_> = held.iter().map(names).collect();
        let all: BTreeSet<_> = sim.files[&root].chunks.iter().copied().collect();
        if held == all {
            reachable.insert(root);
        }
    }
    for root in roots {
        let mut holders = Vec::new();
        for (session, peer) in &sim.peers {
            // Liars say that they hold everything.
            let claims = !peer.honest || peer.whole.contains(&root);
            if claims && rng.percent(70) {
                holders.push(*session);
            }
        }
        sim.want(root, &holders);
        if rng.percent(30) {
            let session = s(1 + rng.below(count));
            let _ = sim.fetcher.handle_who_has(session, root);
        }
    }
    (sim, reachable)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_an_honest_peer_holds_is_fetched(seed in any::<u64>()) {
        let (mut sim, reachable) = world(seed);
        sim.run(Duration::from_secs(1500));
        let missed: Vec<_> = reachable.difference(&sim.done).collect();
        prop_assert!(missed.is_empty(), "{:?} of {:?}", missed, reachable.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_trace(seed in any::<u64>()) {
        let traces: Vec<_> = (0..2).map(|_| {
            let (mut sim, _) = world(seed);
            sim.run(Duration::from_secs(100));
            (sim.trace.finalize(), sim.now)
        }).collect();
        prop_assert_eq!(traces[0], traces[1]);
    }

    #[test]
    fn forgetting_everything_leaves_nothing(seed in any::<u64>(), after in 0_u32..3000) {
        forget_everything(seed, after);
    }
}

fn forget_everything(seed: u64, after: u32) {
    let (mut sim, _) = world(seed);
    sim.run(MS * after);
    for content in sim.fetcher.names.keys().copied().collect::<Vec<_>>() {
        sim.fetcher.forget(content);
        check(&sim.fetcher);
    }
    while sim.fetcher.poll(sim.now).is_some() {}
    assert!(sim.fetcher.is_idle());
    assert_eq!(
        sim.fetcher.status().in_flight,
        0,
        "all requests are taken back"
    );
    assert_eq!(sim.fetcher.next_timeout(), None);
    assert_eq!(sim.fetcher.status().bytes_missing, 0);
    assert!(sim.fetcher.under_way.is_empty());
}

/// A request of which some objects came by another peer, and the others from this one, was never taken back.
#[test]
fn forgetting_leaves_nothing_of_what_was_abandoned_piece_by_piece() {
    forget_everything(7_464_868_742_873_989_918, 2577);
}
