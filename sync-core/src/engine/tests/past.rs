//! A home that was restored from a backup is found out, whenever the first peer comes that met the lost run.

use super::rig::Rig;

/// Node 0 makes changes that node 1 sees, and is put back to before them; then it runs `runs` times alone, and changes
/// something each time.
fn restored(runs: u64) -> Rig {
    let mut rig = Rig::apart(2, usize::MAX);
    rig.join(0, 1);
    rig.write(0, "before", b"before", 1);
    rig.settle();
    let backup = rig.engines[0].index().backup();
    rig.write(0, "lost", b"lost", 2);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    rig.cut(0, 1);
    let mut index = backup;
    for run in 1..=runs {
        rig.start_from(0, index, run);
        rig.write(0, &format!("after {run}"), b"after", 3);
        rig.settle();
        index = rig.engines[0].index().clone();
    }
    assert!(rig.restored.is_empty());
    rig
}

#[test]
fn a_lost_run_is_seen_at_once() {
    let mut rig = restored(1);
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.restored.first(), Some(&0));
}

/// What later runs made covers the numbers of the lost one.
#[test]
fn a_lost_run_is_seen_after_more_runs() {
    for runs in [2, 5, 40] {
        let mut rig = restored(runs);
        rig.join(0, 1);
        rig.settle();
        assert_eq!(rig.restored.first(), Some(&0), "{runs} runs");
    }
}

#[test]
fn runs_without_a_lost_one_are_no_reason() {
    let mut rig = Rig::apart(2, usize::MAX);
    rig.join(0, 1);
    for run in 1..=5 {
        rig.write(0, &format!("of {run}"), b"text", 1);
        rig.settle();
        rig.cut(0, 1);
        let index = rig.engines[0].index().clone();
        rig.start_from(0, index, run);
        rig.join(0, 1);
        rig.settle();
    }
    assert!(rig.restored.is_empty());
    assert_eq!(rig.tree(1), rig.tree(0));
}

/// A reader can't make a writer believe that it was restored if the lost run made nothing itself, and must not miss what
/// it says afterwards.
#[test]
fn a_reader_that_met_the_lost_run_is_told_everything() {
    let mut rig = Rig::apart(3, 1);
    rig.join(0, 1);
    rig.write(0, "gone", b"gone", 1);
    rig.write(0, "stays", b"stays", 1);
    rig.settle();
    rig.cut(0, 1);
    let backup = rig.engines[0].index().backup();
    // The numbers of the lost run are above those of the next.
    rig.start_from(0, backup.backup(), 5);
    rig.join(0, 2);
    rig.join(0, 1);
    rig.write(2, "passed on", b"passed on", 2);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(2));
    rig.cut(0, 1);
    rig.cut(0, 2);
    rig.start_from(0, backup, 2);
    rig.remove(0, "gone");
    rig.write(0, "new", b"new", 3);
    rig.settle();
    for n in 0..3 {
        rig.join(0, 1);
        rig.settle();
        assert_eq!(rig.tree(1), rig.tree(0));
        rig.cut(0, 1);
        rig.write(0, &format!("newer {n}"), b"newer", 4);
        rig.settle();
    }
    assert!(rig.restored.is_empty());
}

/// A restored home that doesn't know it yet tells what it knows. Whoever has met nobody else must not take what the lost
/// run did for something that was seen, and therefore deleted.
#[test]
fn what_a_lost_run_did_is_not_known_to_whom_its_restored_home_met() {
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(0, 1);
    rig.write(0, "before", b"before", 1);
    rig.settle();
    let backup = rig.engines[0].index().backup();
    rig.write(0, "lost", b"lost", 2);
    rig.settle();
    rig.cut(0, 1);
    rig.remove(0, "lost");
    rig.start_from(0, backup, 1);
    rig.write(0, "after", b"after", 3);
    rig.settle();
    rig.join(0, 2);
    rig.settle();
    assert_eq!(rig.tree(2), rig.tree(0));
    rig.cut(0, 2);
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.read(2, "lost"), Some(b"lost".to_vec()));
    assert_eq!(rig.read(1, "lost"), Some(b"lost".to_vec()));
    assert_eq!(rig.tree(1), rig.tree(2));
    assert!(rig.restored.is_empty());
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.restored.first(), Some(&0));
}
