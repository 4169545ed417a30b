//! Scenarios by hand in which something fails or is away: each says in its name what must be.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{collections::BTreeSet, time::Duration};

use integration_tests::sim::{
    Simulation,
    faults::Fault,
    script::{done, noise},
    user::Op,
};

#[test]
fn a_crash_at_any_step_of_applying_changes_nothing_in_the_end() {
    for seed in 100..130 {
        let mut sim = Simulation::started(seed, 2, false);
        sim.write(0, "a", b"old");
        sim.write(0, "gone", b"gone");
        sim.write(0, "big", &noise(200_000, seed));
        sim.settle();
        sim.inject(Fault::CrashInApply(1));
        sim.write(0, "a", b"new");
        sim.write(0, "b/c", b"created");
        sim.delete(0, "gone");
        sim.write(0, "big", &noise(250_000, seed));
        sim.pass(Duration::from_secs(40));
        sim.settle();
        assert_eq!(sim.files(1), sim.files(0));
        assert_eq!(sim.files(1).len(), 3, "{:?}", sim.files(1).keys());
        done(sim);
    }
}

#[test]
fn a_lost_index_deletes_and_sends_nothing() {
    let mut sim = Simulation::started(140, 3, false);
    for at in 0..30 {
        sim.write(0, &format!("d/{at}"), &noise(2_000, at));
    }
    sim.settle();
    let (sent, before) = (sim.totals().chunk_bytes, sim.files(1));
    sim.lose_index(1);
    sim.pass(Duration::from_secs(5));
    sim.start_node(1);
    sim.settle();
    assert_eq!(sim.rebuilds(1), 1);
    assert_eq!(sim.totals().chunk_bytes, sent);
    assert!((0..3).all(|n| sim.files(n) == before));
    done(sim);
}

#[test]
fn an_edit_made_while_the_index_was_lost_is_kept() {
    let mut sim = Simulation::started(141, 2, false);
    sim.write(0, "a", b"first");
    sim.write(0, "b", b"other");
    sim.settle();
    sim.lose_index(1);
    sim.write(1, "a", b"edited on the one without index");
    sim.write(0, "b", b"edited on the other");
    sim.pass(Duration::from_secs(5));
    sim.start_node(1);
    sim.settle();
    for node in 0..2 {
        let all: BTreeSet<_> = sim.files(node).into_values().collect();
        assert!(
            all.contains(&b"edited on the one without index"[..]),
            "node {node}"
        );
        assert_eq!(sim.files(node)["b"], b"edited on the other");
    }
    done(sim);
}

#[test]
fn an_index_rolled_back_deletes_nothing() {
    let mut sim = Simulation::started(142, 2, false);
    sim.write(0, "a", b"first");
    sim.settle();
    sim.inject(Fault::Backup(1));
    sim.write(0, "b", b"second");
    sim.write(1, "c", b"third");
    sim.settle();
    sim.inject(Fault::RollBack(1));
    sim.pass(Duration::from_secs(10));
    sim.settle();
    assert_eq!(sim.files(0).len(), 3);
    assert_eq!(sim.rebuilds(1), 1);
    done(sim);
}

fn many_deleted(seed: u64) -> Simulation {
    let mut sim = Simulation::started(seed, 2, false);
    for at in 0..40 {
        sim.write(0, &format!("d/{at}"), &noise(100, at));
    }
    sim.settle();
    sim.must(0, &Op::RemoveTree(b"d".to_vec()));
    sim.pause();
    assert!(sim.held(0) >= 40, "{} held", sim.held(0));
    assert_eq!(
        sim.files(1).len(),
        40,
        "nothing is deleted before somebody says so"
    );
    sim
}

#[test]
fn many_deletions_wait_and_go_when_approved() {
    let mut sim = many_deleted(150);
    sim.approve(0);
    sim.pause();
    assert_eq!((sim.files(0).len(), sim.files(1).len()), (0, 0));
    done(sim);
}

#[test]
fn many_deletions_wait_and_come_back_when_rejected() {
    let mut sim = many_deleted(151);
    sim.reject(0);
    sim.pause();
    assert_eq!((sim.files(0).len(), sim.files(1).len()), (40, 40));
    done(sim);
}

#[test]
fn a_read_only_node_gets_all_and_changes_nothing() {
    let mut sim = Simulation::started(160, 3, true);
    sim.write(0, "a", b"from the first");
    sim.write(1, "d/b", b"from the second");
    sim.settle();
    assert_eq!(sim.files(2).len(), 2);
    sim.write(2, "a", b"edited on the reader");
    sim.write(2, "own", b"its own");
    sim.delete(2, "d/b");
    sim.pause();
    sim.settle();
    for node in 0..2 {
        assert_eq!(sim.files(node)["a"], b"from the first");
        assert_eq!(sim.files(node)["d/b"], b"from the second");
        assert_eq!(sim.files(node).len(), 2);
    }
    assert_eq!(sim.files(2)["a"], b"edited on the reader");
    assert!(sim.local_edits(2) >= 2, "{}", sim.local_edits(2));
    sim.write(0, "later", b"more");
    sim.settle();
    assert_eq!(sim.files(2)["later"], b"more");
    done(sim);
}

#[test]
fn who_slept_long_brings_nothing_back() {
    let mut sim = Simulation::started(170, 3, false);
    for at in 0..12 {
        sim.write(0, &format!("f{at}"), &noise(50, at));
    }
    sim.settle();
    sim.crash_node(2);
    for at in 0..6 {
        sim.delete(1, &format!("f{at}"));
        sim.pass(Duration::from_secs(2));
    }
    sim.write(0, "f7", b"edited while it slept");
    sim.pass(Duration::from_secs(3_000));
    sim.start_node(2);
    sim.settle();
    assert!(
        (0..3).all(|n| sim.files(n).len() == 6),
        "{:?}",
        sim.files(2).keys()
    );
    assert!((0..3).all(|n| sim.copies(n).is_empty()));
    done(sim);
}

#[test]
fn three_parts_meet_again() {
    for seed in 180..190 {
        let mut sim = Simulation::started(seed, 3, false);
        sim.write(0, "d/a", b"base a");
        sim.write(0, "d/b", b"base b");
        sim.settle();
        for node in 0..3 {
            sim.isolate(node);
        }
        sim.pause();
        sim.write(0, "d/a", b"a on 0");
        sim.delete(1, "d/a");
        sim.rename(2, "d/a", "e");
        sim.rename(0, "d/b", "f");
        sim.write(1, "d/b", b"b on 1");
        sim.must(2, &Op::RemoveTree(b"d".to_vec()));
        sim.pause();
        sim.join_all();
        sim.settle();
        let all: BTreeSet<_> = sim.files(0).into_values().collect();
        assert!(all.contains(&b"a on 0"[..]) && all.contains(&b"b on 1"[..]));
        done(sim);
    }
}

#[test]
fn a_chain_passes_changes_on() {
    let mut sim = Simulation::started(191, 3, false);
    sim.cut(0, 2);
    sim.pause();
    sim.write(0, "a", &noise(150_000, 5));
    sim.settle();
    sim.delete(2, "a");
    sim.settle();
    assert!(sim.tree(0).is_empty());
    done(sim);
}

#[test]
fn what_comes_back_after_a_deletion_stays() {
    let mut sim = Simulation::started(192, 2, false);
    sim.write(0, "a", b"the same bytes");
    sim.settle();
    sim.delete(0, "a");
    sim.settle();
    sim.write(1, "a", b"the same bytes");
    sim.settle();
    assert!((0..2).all(|n| sim.files(n).len() == 1));
    done(sim);
}

#[test]
fn a_full_disk_holds_up_and_goes_on() {
    let mut sim = Simulation::started(193, 2, false);
    sim.inject(Fault::Full(1, true));
    sim.write(0, "a", b"small");
    sim.write(0, "b", &noise(200_000, 6));
    sim.pause();
    assert!(sim.files(1).is_empty());
    sim.inject(Fault::Full(1, false));
    sim.settle();
    assert_eq!(sim.files(1).len(), 2);
    done(sim);
}

#[test]
fn a_root_that_goes_away_deletes_nothing() {
    let mut sim = Simulation::started(194, 2, false);
    for at in 0..5 {
        sim.write(0, &format!("f{at}"), &noise(50, at));
    }
    sim.settle();
    sim.inject(Fault::Mounted(1, false));
    sim.inject_after(Duration::from_millis(400), Fault::Noticed(1));
    sim.write(0, "more", b"meanwhile");
    sim.pause();
    assert_eq!(sim.files(0).len(), 6);
    sim.inject(Fault::Mounted(1, true));
    sim.inject(Fault::Noticed(1));
    sim.settle();
    assert_eq!(sim.files(1).len(), 6);
    done(sim);
}

#[test]
fn clocks_ten_years_apart_still_agree() {
    let mut sim = Simulation::scripted(195, 2, false);
    sim.inject(Fault::Skew(1, -10 * 365 * 86_400 * 1_000_000_000));
    sim.start_all();
    sim.write(0, "a", b"one");
    sim.settle();
    sim.write(1, "a", b"two");
    sim.settle();
    sim.write(0, "a", b"three");
    sim.settle();
    assert!((0..2).all(|n| sim.files(n)["a"] == b"three" && sim.copies(n).is_empty()));
    done(sim);
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_looked_at_less_and_less() {
    let mut sim = Simulation::started(880, 2, false);
    sim.nodes()[1].disk.user_fifo("x").unwrap();
    sim.write(0, "x", &noise(20_000, 1));
    sim.pass(Duration::from_secs(300));
    let sent = sim.totals().chunk_bytes;
    assert!(
        (20_000..400_000).contains(&sent),
        "{sent} bytes were sent in vain"
    );
    sim.nodes()[1].disk.user_remove("x").unwrap();
    sim.pass(Duration::from_secs(600));
    sim.settle();
    assert_eq!(sim.files(1), sim.files(0));
    assert_eq!(sim.files(1).len(), 1);
    done(sim);
}
