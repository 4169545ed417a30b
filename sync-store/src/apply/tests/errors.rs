//! A disk that fails for a while, at every single operation: nothing of the user's stays hidden.

use super::{
    crash::{EDIT, check_files, set_up},
    *,
};
use crate::fs::OpKind;

/// More operations than a group and its recovery have.
const OPERATIONS: u64 = 500;

/// Lets `times` operations fail after `at` others, and gives what came of the group.
fn fail(exchange: bool, at: u64, times: u64, point: &str) -> Vec<Outcome> {
    let (disk, group) = set_up(exchange);
    let applier = applier(&disk, true);
    disk.fail_ops(None, at, times, MemDisk::EIO);
    let outcomes = applier.apply(group);
    // Perhaps the disk fails still.
    if applier.is_unsettled() {
        let again = applier.recover();
        assert!(again.is_ok() || applier.is_unsettled(), "{point}");
    }
    disk.fail_ops(None, 0, 0, MemDisk::EIO);
    disk.set_hook(None);
    let hidden = disk.snapshot_below(".sync/tmp");
    let all = disk.snapshot_below("");
    let edited = all.values().any(|node| node.bytes == EDIT);
    if applier.is_unsettled() {
        applier.recover().unwrap();
        assert!(!applier.is_unsettled(), "{point}");
    }
    check_files(&disk, edited, &format!("{point}, in .sync/tmp: {hidden:?}"));
    // A restart does no harm to it either, and leaves no temporary.
    crash(&disk, Keep::All);
    super::applier(&disk, true).recover().unwrap();
    check_files(&disk, edited, &format!("{point}, after a restart"));
    assert_eq!(tmp(&disk), Vec::<String>::new(), "{point}");
    outcomes
}

#[test]
fn an_io_error_at_any_operation_hides_nothing() {
    for exchange in [true, false] {
        for times in [1, 2, 3, 7, 40, OPERATIONS] {
            let mut done = 0;
            for at in 0..OPERATIONS {
                let point = format!("exchange {exchange}, {times} errors from operation {at}");
                let outcomes = fail(exchange, at, times, &point);
                done = if outcomes.iter().all(is_done) {
                    done + 1
                } else {
                    0
                };
            }
            assert!(done > 50, "the group has more operations than are tried");
        }
    }
}

#[test]
fn what_a_failing_disk_hid_is_named_when_it_comes_back() {
    let disk = mem();
    disk.user_write("note", b"as it was").unwrap();
    let applier = applier(&disk, true);
    let group = vec![remove("note", expect(&disk, "note"))];
    // It is moved aside; then neither the archive nor the way back can be used.
    disk.fail_ops(Some(OpKind::Rename), 1, 100, MemDisk::EIO);
    let outcomes = applier.apply(group);
    assert!(
        matches!(outcomes[0], Outcome::DiskFull { .. }),
        "{outcomes:?}"
    );
    assert!(applier.is_unsettled());
    assert!(disk.user_read("note").is_err());
    assert!(applier.recover().is_err() || applier.is_unsettled());
    disk.fail_ops(None, 0, 0, MemDisk::EIO);
    let recovered = applier.recover().unwrap();
    assert_eq!(recovered.changed(), [path("note")]);
    assert_eq!(disk.user_read("note").unwrap(), b"as it was");
    assert!(!applier.is_unsettled());
}

#[test]
fn a_directory_that_stands_after_an_error_outlives_a_power_cut() {
    for at in 0..20 {
        for times in [1, 2, 3] {
            let disk = mem();
            let applier = applier(&disk, true);
            disk.fail_ops(None, at, times, MemDisk::EIO);
            applier.apply(vec![dir("d", Expect::Absent), dir("d/sub", Expect::Absent)]);
            disk.fail_ops(None, 0, 0, MemDisk::EIO);
            if applier.is_unsynced() {
                // Nothing is scanned before this.
                applier.recover().unwrap();
            }
            let before = disk.snapshot();
            crash(&disk, Keep::Nothing);
            let left = disk.snapshot();
            assert!(
                left.keys().eq(before.keys()),
                "{times} errors from operation {at}: {left:?} of {before:?}"
            );
        }
    }
}
