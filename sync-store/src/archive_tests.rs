use super::*;
use crate::fs::MemDisk;
use proptest::prelude::*;

const NOW: i64 = 1_795_334_400_123_000_000;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn disk() -> Arc<MemDisk> {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    Arc::new(disk)
}

fn put(archive: &Archive<MemDisk>, at: &str, bytes: &[u8], now: i64) -> RelPath {
    archive.disk.user_write(".sync/tmp/t", bytes).unwrap();
    archive.take(Place::Tmp("t"), &path(at), now).unwrap()
}

#[test]
fn names_can_be_read_back() {
    let disk = disk();
    let archive = Archive::new(Arc::clone(&disk));
    let one = put(&archive, "dir/sub/report.txt", b"1", NOW);
    assert_eq!(
        one.display(),
        "dir/sub/report (archived 2026-11-22 08-00-00-123).txt"
    );
    let two = put(&archive, "dir/sub/report.txt", b"2", NOW);
    assert_eq!(
        two.display(),
        "dir/sub/report (archived 2026-11-22 08-00-00-124).txt"
    );
    put(&archive, "dir/.profile", b"3", NOW);
    put(&archive, "top", b"4", NOW);
    let mut items = archive.list(None, 10).unwrap();
    items.sort_by(|a, b| a.stored.cmp(&b.stored));
    let shown: Vec<_> = items.iter().map(|i| i.original.display()).collect();
    assert_eq!(
        shown,
        [
            "dir/.profile",
            "dir/sub/report.txt",
            "dir/sub/report.txt",
            "top"
        ]
    );
    assert_eq!(items[1].archived_ns, NOW);
    assert_eq!(archive.list(Some(&path("dir/sub")), 10).unwrap().len(), 2);
    assert_eq!(archive.list(Some(&path("top")), 10).unwrap().len(), 1);
    assert_eq!(archive.list(None, 3).unwrap().len(), 3);
}

#[test]
fn odd_paths_find_a_place() {
    let disk = disk();
    let archive = Archive::new(Arc::clone(&disk));
    let long = "ä".repeat(127);
    let stored = put(&archive, &long, b"long", NOW);
    assert!(stored.name().len() <= MAX_COMPONENT && std::str::from_utf8(stored.name()).is_ok());
    // A path too long to bear the mark.
    let deep = [
        vec!["d".repeat(250); 15].join("/"),
        "e".repeat(320)[..250].to_owned(),
    ]
    .join("/");
    let stored = put(&archive, &deep, b"deep", NOW);
    assert!(stored.as_bytes().len() <= 4096);
    // A directory where the archive holds a file of that very name.
    let inside = format!("{}/f", stored.display());
    assert!(
        disk.user_read([b".sync/archive/", stored.as_bytes()].concat())
            .is_ok()
    );
    if RelPath::parse(inside.as_bytes()).is_ok() {
        put(&archive, &inside, b"inside", NOW);
    }
    let files = disk.snapshot_below(".sync/archive").into_values();
    let bytes: Vec<_> = files.map(|n| n.bytes).filter(|b| !b.is_empty()).collect();
    assert!(bytes.contains(&b"long".to_vec()) && bytes.contains(&b"deep".to_vec()));
}

#[test]
fn pruning_spares_the_last_day() {
    let disk = disk();
    let archive = Archive::new(Arc::clone(&disk));
    for days in [40, 31, 29, 10, 2, 0] {
        put(
            &archive,
            &format!("d{days}/f"),
            &[1; 1_000],
            NOW - days * DAY,
        );
    }
    let policy = ArchivePolicy {
        days: 30,
        max_bytes: 0,
    };
    let pruned = archive.prune(policy, NOW).unwrap();
    assert_eq!(
        pruned,
        Pruned {
            files: 2,
            bytes: 2_000,
            left: 4_000
        }
    );
    assert!(
        disk.user_stat(".sync/archive/d40").is_none(),
        "empty directories go"
    );
    let pruned = archive
        .prune(
            ArchivePolicy {
                days: 30,
                max_bytes: 2_500,
            },
            NOW,
        )
        .unwrap();
    assert_eq!(
        pruned,
        Pruned {
            files: 2,
            bytes: 2_000,
            left: 2_000
        }
    );
    assert!(
        archive
            .list(None, 9)
            .unwrap()
            .iter()
            .all(|i| i.archived_ns >= NOW - 2 * DAY)
    );
    let pruned = archive
        .prune(
            ArchivePolicy {
                days: 0,
                max_bytes: 1,
            },
            NOW,
        )
        .unwrap();
    assert_eq!(
        pruned,
        Pruned {
            files: 1,
            bytes: 1_000,
            left: 1_000
        }
    );
    // Something of a clock in the future is not older than anything.
    put(&archive, "future", b"x", NOW + 300 * DAY);
    assert_eq!(
        archive
            .prune(
                ArchivePolicy {
                    days: 1,
                    max_bytes: 1
                },
                NOW
            )
            .unwrap()
            .files,
        0
    );
}

proptest! {
    #[test]
    fn every_moment_is_read_back(millis in -2_000_000_000_000_i64..9_000_000_000_000, name in "[a-z.( )]{1,40}") {
        let Ok(original_path) = RelPath::parse(name.as_bytes()) else { return Ok(()) };
        let stored = stored_path(&original_path, millis, MAX_COMPONENT, false).unwrap();
        prop_assert_eq!(original(&stored), Some((original_path, millis * 1_000_000)));
    }
}

/// A name that looks as if it had been archived long ago doesn't shorten the time it is kept.
#[test]
fn a_mark_in_a_name_is_not_taken_for_ours() {
    let disk = disk();
    let archive = Archive::new(Arc::clone(&disk));
    let names = [
        "f.x (archived 2020-01-01 00-00-00-000)",
        "f (archived 2020-01-01 00-00-00-000)",
        "f (archived 2020-01-01 00-00-00-000).x",
        "f.x (archived 99999999999999999-1-1 1-1-1-1)",
    ];
    for name in names {
        put(&archive, name, b"kept", NOW);
    }
    let items = archive.list(None, 10).unwrap();
    assert_eq!(items.len(), names.len());
    for item in items {
        assert_eq!(item.archived_ns, NOW, "{item:?}");
        assert!(
            names.contains(&item.original.display().to_string().as_str()),
            "{item:?}"
        );
    }
    let policy = ArchivePolicy {
        days: 30,
        ..ArchivePolicy::default()
    };
    assert_eq!(archive.prune(policy, NOW + DAY).unwrap().files, 0);
}
