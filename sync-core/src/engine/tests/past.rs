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
    for runs in [2, 5] {
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
