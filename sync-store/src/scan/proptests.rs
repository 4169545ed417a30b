//! Scans of trees that changed at random.

use proptest::prelude::*;
use sync_core::disk::Found;

use super::lab::*;
use crate::fs::MemDisk;

#[derive(Debug, Clone)]
enum Change {
    Write(usize, u8),
    Mkdir(usize),
    Link(usize),
    Remove(usize),
    Rename(usize, usize),
    Chmod(usize, bool),
}

const NAMES: [&str; 9] = [
    "a", "a/a", "a/a/a", "a/b", "a!", "a!/a", "b", "b/a", "b/a/c",
];

fn change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), any::<u8>()).prop_map(|(n, b)| Change::Write(n, b)),
        1 => name.clone().prop_map(Change::Mkdir),
        1 => name.clone().prop_map(Change::Link),
        2 => name.clone().prop_map(Change::Remove),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Change::Rename(a, b)),
        1 => (name, any::<bool>()).prop_map(|(n, x)| Change::Chmod(n, x)),
    ]
}

fn apply(disk: &MemDisk, change: &Change) {
    disk.advance_clock_ns(1);
    // What no disk allows (a file below a file) is refused, and nothing happens.
    let _ = match change {
        Change::Write(n, b) => disk.user_write(NAMES[*n], &vec![*b; usize::from(*b) * 300]),
        Change::Mkdir(n) => disk.user_mkdir(NAMES[*n]),
        Change::Link(n) => disk.user_symlink(NAMES[*n], b"a/a"),
        Change::Remove(n) => disk.user_remove(NAMES[*n]),
        Change::Rename(a, b) => disk.user_rename(NAMES[*a], NAMES[*b]),
        Change::Chmod(n, x) => disk.user_chmod(NAMES[*n], if *x { 0o755 } else { 0o644 | 0o100 }),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// After any changes one scan brings the index in step, and the next one has nothing to tell.
    #[test]
    fn scans_bring_the_index_in_step(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..5),
    ) {
        let mut lab = Lab::new();
        for changes in rounds {
            changes.iter().for_each(|change| apply(&lab.disk, change));
            let told = lab.scan();
            let first_gone = told.items.iter().position(|item| item.found == Found::Absent);
            let after = &told.items[first_gone.unwrap_or(told.items.len())..];
            prop_assert!(after.iter().all(|item| item.found == Found::Absent));
            lab.check();
            prop_assert!(lab.scan().items.is_empty());
        }
    }

    /// The same when only the paths that were touched are looked at.
    #[test]
    fn dirty_paths_bring_the_index_in_step(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..8), 1..5),
    ) {
        let mut lab = Lab::new();
        for changes in rounds {
            changes.iter().for_each(|change| apply(&lab.disk, change));
            let dirty: Vec<&str> = changes
                .iter()
                .flat_map(|change| match change {
                    Change::Write(n, _) | Change::Mkdir(n) | Change::Link(n)
                    | Change::Remove(n) | Change::Chmod(n, _) => vec![NAMES[*n]],
                    Change::Rename(a, b) => vec![NAMES[*a], NAMES[*b]],
                })
                .collect();
            lab.scan_paths(&dirty);
            lab.check();
        }
    }
}
