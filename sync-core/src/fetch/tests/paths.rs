//! What time does: stalls, requests that became useless, and windows that follow the path.

use super::rules::{SEC, begin, fetcher};
use super::sim::{Peer, Sim};
use super::*;

#[test]
fn what_stands_still_gives_its_place_away() {
    let mut f = fetcher(1);
    let files: Vec<_> = (0..5)
        .map(|file| big(&[file * 10, file * 10 + 1]).0)
        .collect();
    for manifest in &files {
        f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    }
    assert_eq!(f.active_contents().count(), MAX_ACTIVE);
    let _ = begin(&mut f, &files[0], Duration::ZERO);
    for manifest in &files[..3] {
        f.no_holder(manifest.root, s(1));
    }
    for manifest in &files[1..3] {
        f.supply_page(manifest.root.hash, Some(manifest.pages[0].bytes.clone()));
        f.handle_temp_checked(manifest.root, vec![]);
        f.handle_local(manifest.root, vec![(0, false), (1, false)]);
    }
    for step in 1..60 {
        let now = SEC * step;
        for (session, request) in requests(&drain(&mut f, now)) {
            for index in 0..request.objects.len() {
                f.handle_object(session, request.id, index, None, now);
            }
        }
        f.handle_timeout(now);
    }
    let active: Vec<_> = f.active_contents().collect();
    assert!(
        active.contains(&files[3].root) || active.contains(&files[4].root),
        "{active:?}"
    );
}

/// One peer with one large file; the window that comes of it.
fn window_for(rate: u64, latency: Duration) -> (u64, Duration) {
    let mut sim = Sim::new(3);
    let root = sim.add_file(&(0..3000).collect::<Vec<_>>());
    let whole = BTreeSet::from([root]);
    sim.peers.insert(
        s(1),
        Peer {
            honest: true,
            whole,
            rate,
            latency,
            ..Peer::default()
        },
    );
    sim.fetcher.add_peer(s(1), Duration::ZERO);
    sim.want(root, &[s(1)]);
    sim.run(SEC * 600);
    assert!(sim.done.contains(&root));
    (sim.fetcher.peers[&s(1)].window, sim.now)
}

#[test]
fn the_window_follows_the_path() {
    // 100 MB/s over 100 ms hold 10 MB; with less than that the path would idle.
    let (window, took) = window_for(100 << 20, MS * 100);
    assert!(window >= 8 << 20, "{window}");
    assert!(took < MS * 2000, "{took:?}");
    // A narrow path queues for seconds with the window of the start.
    let (window, _) = window_for(1 << 20, MS * 20);
    assert!((256 << 10..=768 << 10).contains(&window), "{window}");
}

#[test]
fn a_request_is_taken_back_with_its_last_use() {
    let mut f = fetcher(1);
    let (first, second) = (small(1, 100), small(2, 100));
    f.want(first.0, 100, &[s(1)], MS);
    f.want(second.0, 100, &[s(1)], MS);
    let sent = requests(&drain(&mut f, MS));
    assert_eq!(sent[0].1.objects.len(), 2);
    f.forget(first.0);
    assert!(drain(&mut f, MS).is_empty(), "the other one is of use");
    f.handle_object(s(1), sent[0].1.id, 1, Some(second.1), MS);
    let outputs = drain(&mut f, MS);
    assert!(outputs.contains(&FetchOutput::Cancel(s(1), vec![sent[0].1.id])));
    assert_eq!((f.status().in_flight, f.next_timeout()), (0, None));
    f.handle_object(s(1), sent[0].1.id, 0, Some(first.1), MS);
    assert_eq!(f.peers[&s(1)].bad, 0, "its answer may have been on its way");
}
