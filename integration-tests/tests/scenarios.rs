//! Scenarios by hand: each says in its name what must be.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::time::Duration;

use integration_tests::sim::{
    Simulation,
    script::{done, noise},
    user::Op,
};

#[test]
fn a_file_and_a_tree_go_everywhere() {
    let mut sim = Simulation::started(1, 3, false);
    sim.write(0, "a.txt", b"hello");
    sim.write(1, "deep/er/b.bin", &noise(300_000, 1));
    sim.must(2, &Op::Symlink(b"link".to_vec(), b"deep/er".to_vec()));
    sim.must(0, &Op::Mkdir(b"empty".to_vec()));
    sim.settle();
    for node in 0..3 {
        assert_eq!(sim.tree(node).len(), 6, "node {node}");
        assert!(sim.copies(node).is_empty());
    }
    done(sim);
}

#[test]
fn equal_content_that_lies_there_already_is_not_sent() {
    let mut sim = Simulation::scripted(2, 3, false);
    for node in 0..3 {
        sim.write(node, "a.txt", b"the same everywhere");
        sim.write(node, "d/big", &noise(400_000, 2));
    }
    sim.start_all();
    sim.settle();
    assert_eq!(sim.totals().chunk_bytes, 0);
    assert!((0..3).all(|n| sim.copies(n).is_empty()));
    done(sim);
}

#[test]
fn equal_content_with_other_times_is_not_sent_either() {
    let mut sim = Simulation::scripted(3, 2, false);
    for node in 0..2 {
        sim.write(node, "a.txt", b"the same");
        sim.must(
            node,
            &Op::Touch(b"a.txt".to_vec(), 1_700_000_000_000_000_000 + node as i64),
        );
    }
    sim.start_all();
    sim.settle();
    assert_eq!(sim.totals().chunk_bytes, 0);
    assert!((0..2).all(|n| sim.copies(n).is_empty()));
    done(sim);
}

#[test]
fn an_edit_beats_a_deletion() {
    for seed in 10..20 {
        let mut sim = Simulation::started(seed, 2, false);
        sim.write(0, "a.txt", b"first");
        sim.settle();
        sim.isolate(0);
        sim.pause();
        let (edits, deletes) = (seed as usize % 2, 1 - seed as usize % 2);
        sim.write(edits, "a.txt", b"edited meanwhile");
        sim.delete(deletes, "a.txt");
        sim.pause();
        sim.join_all();
        sim.settle();
        for node in 0..2 {
            let files = sim.files(node);
            assert_eq!(
                files.get("a.txt").map(Vec::as_slice),
                Some(&b"edited meanwhile"[..])
            );
            assert_eq!(files.len(), 1, "{:?}", files.keys());
        }
        done(sim);
    }
}

#[test]
fn a_deletion_of_what_nobody_edits_goes_everywhere() {
    let mut sim = Simulation::started(21, 3, false);
    sim.write(0, "d/a.txt", b"one");
    sim.write(0, "d/b.txt", b"two");
    sim.settle();
    sim.delete(1, "d/a.txt");
    sim.settle();
    assert!((0..3).all(|n| sim.files(n).len() == 1));
    sim.must(2, &Op::RemoveTree(b"d".to_vec()));
    sim.settle();
    assert!((0..3).all(|n| sim.tree(n).is_empty()));
    assert!(
        sim.archived(0).contains(&b"one".to_vec()),
        "the archive keeps what peers delete"
    );
    done(sim);
}

#[test]
fn of_two_edits_one_wins_and_the_other_is_a_copy_of_one_name() {
    for seed in 30..40 {
        let mut sim = Simulation::started(seed, 3, false);
        sim.write(0, "d/report.txt", b"base");
        sim.settle();
        for node in 0..3 {
            sim.isolate(node);
        }
        sim.pause();
        sim.write(0, "d/report.txt", b"edited on the first");
        sim.pass(Duration::from_secs(3));
        sim.write(1, "d/report.txt", b"edited on the second, later");
        sim.pause();
        sim.join_all();
        sim.settle();
        let copies = sim.copies(0);
        assert_eq!(copies.len(), 1);
        assert!(copies.values().all(|b| b == b"edited on the first"));
        for node in 0..3 {
            assert_eq!(sim.copies(node), copies);
            assert_eq!(
                sim.files(node)["d/report.txt"],
                b"edited on the second, later"
            );
        }
        done(sim);
    }
}

#[test]
fn three_edits_keep_three_contents() {
    for seed in 40..50 {
        let mut sim = Simulation::started(seed, 3, false);
        sim.write(0, "a", b"base");
        sim.settle();
        for node in 0..3 {
            sim.isolate(node);
        }
        sim.pause();
        for node in 0..3 {
            sim.write(node, "a", format!("edited on {node}").as_bytes());
        }
        sim.pause();
        sim.join_all();
        sim.settle();
        assert_eq!(sim.files(0).len(), 3, "{:?}", sim.files(0).keys());
        done(sim);
    }
}

#[test]
fn two_edits_of_one_person_in_a_row_are_no_conflict() {
    for seed in 50..60 {
        let mut sim = Simulation::started(seed, 2, false);
        for round in 0..20 {
            sim.write(0, "a.txt", format!("round {round}").as_bytes());
            sim.pass(Duration::from_millis(seed * 7 % 90));
        }
        sim.settle();
        assert!(sim.copies(0).is_empty() && sim.copies(1).is_empty());
        done(sim);
    }
}

#[test]
fn moved_files_are_not_sent_again() {
    let mut sim = Simulation::started(60, 3, false);
    for at in 0..50 {
        sim.write(0, &format!("old/{at}"), &noise(3_000, at));
    }
    sim.write(0, "old/big", &noise(500_000, 99));
    sim.settle();
    let sent = sim.totals().chunk_bytes;
    sim.rename(0, "old", "new");
    sim.settle();
    assert_eq!(sim.totals().chunk_bytes, sent, "nothing is sent");
    assert_eq!(
        sim.files(2)
            .keys()
            .filter(|p| p.starts_with("new/"))
            .count(),
        51
    );
    assert_eq!(sim.held(0) + sim.held(1), 0);
    done(sim);
}

#[test]
fn two_moves_of_one_file_keep_both() {
    let mut sim = Simulation::started(61, 2, false);
    sim.write(0, "a", b"moved about");
    sim.settle();
    sim.isolate(0);
    sim.pause();
    sim.rename(0, "a", "b");
    sim.rename(1, "a", "c");
    sim.pause();
    sim.join_all();
    sim.settle();
    assert_eq!(sim.files(1).into_keys().collect::<Vec<_>>(), ["b", "c"]);
    done(sim);
}

#[test]
fn a_new_file_keeps_its_deleted_directory() {
    for seed in 70..76 {
        let mut sim = Simulation::started(seed, 2, false);
        sim.write(0, "d/sub/old", b"old");
        sim.settle();
        sim.isolate(0);
        sim.pause();
        sim.must(0, &Op::RemoveTree(b"d".to_vec()));
        sim.write(1, "d/sub/new", b"new");
        sim.pause();
        sim.join_all();
        sim.settle();
        for node in 0..2 {
            let names: Vec<_> = sim.files(node).into_keys().collect();
            assert_eq!(names, ["d/sub/new"], "node {node}");
        }
        done(sim);
    }
}

#[test]
fn a_directory_beats_a_file_which_becomes_a_copy() {
    for seed in 80..86 {
        let mut sim = Simulation::started(seed, 2, false);
        sim.isolate(0);
        sim.pause();
        sim.write(0, "x", b"a file");
        sim.write(1, "x/inside", b"in a directory");
        sim.pause();
        sim.join_all();
        sim.settle();
        for node in 0..2 {
            assert_eq!(sim.files(node)["x/inside"], b"in a directory");
            assert!(
                sim.copies(node).values().any(|b| b == b"a file"),
                "{:?}",
                sim.files(node)
            );
        }
        done(sim);
    }
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let mut sim = Simulation::started(90, 3, false);
    sim.write(0, "x", b"a file");
    sim.settle();
    sim.must(1, &Op::FileToDir(b"x".to_vec(), b"inner".to_vec()));
    sim.settle();
    assert_eq!(sim.files(2)["x/inner"], b"inner");
    sim.must(2, &Op::DirToFile(b"x".to_vec(), b"a file again".to_vec()));
    sim.settle();
    assert_eq!(sim.files(0)["x"], b"a file again");
    assert!((0..3).all(|n| sim.copies(n).is_empty()));
    done(sim);
}
