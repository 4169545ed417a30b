//! What a scan tells, on the simulated disk.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use sync_core::{
    disk::{DiskKind, Found},
    index::{Batch, Index, IndexEntry},
    manifest::manifest_of,
    path::{PathError, RelPath},
};

use super::{lab::*, *};
use crate::fs::{MemDisk, Op, OpKind, RootPresence};

#[test]
fn a_tree_is_told_once() {
    let mut lab = Lab::new();
    lab.disk.user_write("a/b/f", b"one").unwrap();
    lab.disk.user_write("a!", b"two").unwrap();
    lab.disk.user_symlink("z", b"/etc/passwd").unwrap();
    lab.disk.user_write(".sync/id", b"ours").unwrap();
    let told = lab.scan();
    assert_eq!(told.paths(), ["a", "a/b", "a/b/f", "a!", "z"]);
    let Found::Symlink { target, .. } = told.found("z") else {
        panic!()
    };
    assert_eq!(target, b"/etc/passwd");
    lab.check();
    assert!(lab.scan().items.is_empty());
}

#[test]
fn a_large_file_comes_with_its_manifest() {
    let mut lab = Lab::new();
    let bytes: Vec<u8> = (0..600_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    lab.disk.user_write("f", &bytes).unwrap();
    let told = lab.scan();
    let want = manifest_of(&bytes, SEED).unwrap();
    let Found::File { content, .. } = told.found("f") else {
        panic!()
    };
    assert_eq!(*content, want.root);
    assert_eq!(told.items[0].chunks, want.chunks);
    assert_eq!(told.items[0].manifest.len(), want.pages.len());
}

#[test]
fn missing_paths_come_last() {
    let mut lab = Lab::new();
    lab.disk.user_write("a/f", b"one").unwrap();
    lab.disk.user_write("a/g/h", b"two").unwrap();
    lab.disk.user_write("b", b"three").unwrap();
    lab.scan();
    lab.disk.user_remove("a").unwrap();
    lab.disk.user_write("z", b"moved").unwrap();
    let told = lab.scan();
    assert_eq!(told.paths(), ["z", "a", "a/f", "a/g", "a/g/h"]);
    assert!(
        told.items[1..]
            .iter()
            .all(|item| item.found == Found::Absent)
    );
    lab.check();
}

#[test]
fn a_file_in_place_of_a_directory_and_back() {
    let mut lab = Lab::new();
    lab.disk.user_write("x/f", b"one").unwrap();
    lab.scan();
    lab.disk.user_remove("x").unwrap();
    lab.disk.user_write("x", b"a file").unwrap();
    assert_eq!(lab.scan().paths(), ["x", "x/f"]);
    lab.check();
    lab.disk.user_remove("x").unwrap();
    lab.disk.user_write("x/g", b"one").unwrap();
    assert_eq!(lab.scan_paths(&["x/g"]).paths(), ["x", "x/g"]);
    lab.check();
    // By the path of a file that was in it.
    lab.disk.user_remove("x").unwrap();
    lab.disk.user_symlink("x", b"elsewhere").unwrap();
    assert_eq!(lab.scan_paths(&["x/g"]).paths(), ["x", "x/g"]);
    lab.check();
}

#[test]
fn an_unreadable_directory_says_nothing_about_its_content() {
    let mut lab = Lab::new();
    lab.disk.user_write("d/e/f", b"one").unwrap();
    lab.disk.user_write("g", b"two").unwrap();
    lab.scan();
    lab.disk.user_chmod("d/e", 0).unwrap();
    for told in [
        lab.scan(),
        lab.scan_paths(&["d"]),
        lab.scan_paths(&["d/e/f"]),
    ] {
        let last = told.items.last().unwrap();
        assert!(matches!(last.found, Found::Unreadable { .. }), "{last:?}");
        assert!(told.items.iter().all(|item| item.found != Found::Absent));
    }
    lab.disk.user_chmod("d/e", 0o755).unwrap();
    lab.disk.user_chmod("g", 0).unwrap();
    assert!(matches!(lab.scan().found("g"), Found::Unreadable { .. }));
}

#[test]
fn an_error_in_the_middle_of_a_listing_deletes_nothing() {
    let mut lab = Lab::new();
    lab.disk.user_write("d/f", b"one").unwrap();
    lab.scan();
    lab.disk.user_remove("d/f").unwrap();
    lab.disk.set_hook(Some(Arc::new(|op: &Op<'_>| {
        let hit = op.path == b"d" && op.kind == OpKind::List;
        hit.then(|| io::Error::from_raw_os_error(MemDisk::EIO))
    })));
    let told = lab.scan();
    assert_eq!(told.paths(), ["d"]);
    assert!(matches!(told.found("d"), Found::Unreadable { .. }));
    lab.disk.set_hook(None);
    assert_eq!(lab.scan().paths(), ["d/f"]);
}

#[test]
fn a_vanished_device_deletes_nothing() {
    let mut lab = Lab::new();
    lab.disk.user_write("mnt/f", b"one").unwrap();
    lab.disk.user_write("mnt/sub/g", b"two").unwrap();
    lab.disk.user_set_device("mnt", 9).unwrap();
    let mtime = lab.disk.user_stat("mnt/f").unwrap().mtime_ns;
    lab.scan();
    assert!(lab.scan().items.is_empty());
    // Taken out: the empty directory below shows.
    lab.disk.user_remove("mnt").unwrap();
    lab.disk.user_mkdir("mnt").unwrap();
    for told in [
        lab.scan(),
        lab.scan_paths(&["mnt"]),
        lab.scan_paths(&["mnt/sub/g"]),
    ] {
        assert_eq!(told.paths(), ["mnt"]);
        assert!(matches!(told.found("mnt"), Found::Unreadable { .. }));
    }
    // Somebody writes into the empty directory, or another disk takes the place.
    lab.disk.user_write("mnt/other", b"x").unwrap();
    lab.disk.user_write("mnt/f", b"not it").unwrap();
    for told in [lab.scan(), lab.scan_paths(&["mnt/f"])] {
        assert_eq!(told.paths(), ["mnt"]);
    }
    lab.disk.user_set_device("mnt", 10).unwrap();
    assert_eq!(lab.scan().paths(), ["mnt"]);
    // The right one, under another number and with an edit.
    lab.disk.user_remove("mnt").unwrap();
    lab.disk.user_write("mnt/f", b"one").unwrap();
    lab.disk.user_set_mtime("mnt/f", mtime).unwrap();
    lab.disk.user_write("mnt/sub/new", b"three").unwrap();
    lab.disk.user_set_device("mnt", 11).unwrap();
    let told = lab.scan();
    assert_eq!(told.found("mnt/sub/g"), &Found::Absent);
    assert!(matches!(told.found("mnt/sub/new"), Found::File { .. }));
    lab.check();
}

#[test]
fn new_device_numbers_after_a_restart_are_taken_over() {
    let mut lab = Lab::new();
    lab.disk.user_write("d/e/f", b"one").unwrap();
    lab.disk.user_mkdir("d/empty").unwrap();
    lab.scan();
    lab.disk.user_set_device("", 4).unwrap();
    let told = lab.scan();
    assert_eq!(told.paths(), ["d", "d/e", "d/empty"]);
    assert!(
        told.items
            .iter()
            .all(|item| matches!(item.found, Found::Dir { .. }))
    );
    assert!(lab.scan().items.is_empty());
}

#[test]
fn a_missing_root_is_an_error_and_no_deletion() {
    let mut lab = Lab::new();
    for n in 0..10 {
        lab.disk.user_write(format!("f{n}"), b"x").unwrap();
    }
    lab.scan();
    lab.disk.set_presence(RootPresence::Missing);
    assert!(matches!(lab.look(None), Err(ScanError::RootGone)));
    lab.disk.set_presence(RootPresence::Here);
    // It goes away in the middle, and the disk shows nothing where there was something.
    let disk = lab.disk.clone();
    lab.disk.user_remove("f3").unwrap();
    lab.disk.user_remove("f4").unwrap();
    lab.disk.set_hook(Some(Arc::new(move |op: &Op<'_>| {
        if op.path == b"f4" && op.kind == OpKind::Stat {
            disk.set_presence(RootPresence::Another);
        }
        None
    })));
    assert!(matches!(lab.look(None), Err(ScanError::RootGone)));
}

#[test]
fn special_files_are_told_only_where_something_was() {
    let mut lab = Lab::new();
    lab.disk.user_fifo("p").unwrap();
    lab.disk.user_write("q", b"x").unwrap();
    assert_eq!(lab.scan().paths(), ["q"]);
    lab.disk.user_remove("q").unwrap();
    lab.disk.user_fifo("q").unwrap();
    assert_eq!(*lab.scan().found("q"), Found::Special);
    assert_eq!(lab.look(None).unwrap().1.special, 2);
}

#[test]
fn odd_names_are_told_and_impossible_ones_reported() {
    let mut lab = Lab::new();
    let long = "x".repeat(255);
    for name in [
        &b"new\nline"[..],
        b"\xff\xfe",
        long.as_bytes(),
        b".syncignore",
        b"d/.sync",
    ] {
        lab.disk.user_write(name, b"x").unwrap();
    }
    lab.disk.user_write(".SYNC/f", b"x").unwrap();
    let deep = vec!["d"; 129].join("/");
    lab.disk.user_mkdir(&deep).unwrap();
    let told = lab.scan();
    let mut skipped = told.skipped;
    skipped.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        skipped,
        [
            (b".SYNC".to_vec(), PathError::Reserved),
            (deep.into_bytes(), PathError::TooDeep)
        ]
    );
    assert!(
        told.items
            .iter()
            .any(|item| item.path.as_bytes() == b"\xff\xfe")
    );
    assert_eq!(told.items.len(), 5 + 128);
    assert!(lab.scan().items.is_empty());
}

#[test]
fn a_young_file_is_looked_at_again() {
    let mut lab = Lab::new();
    lab.disk.user_write("f", b"one").unwrap();
    let told = lab.peek();
    assert!(matches!(told.found("f"), Found::File { racy: true, .. }));
    lab.take(&told);
    // Written again within the clock's grain, with the same length: only the mark gives it away.
    lab.disk.user_write("f", b"two").unwrap();
    assert!(matches!(
        lab.scan().found("f"),
        Found::File { racy: false, .. }
    ));
    lab.check();
    assert!(lab.scan().items.is_empty());
}

#[test]
fn ignored_paths_are_neither_told_nor_missed() {
    let mut lab = Lab::new();
    lab.disk.user_write("build/f", b"one").unwrap();
    lab.disk.user_write("a.tmp", b"one").unwrap();
    lab.scan();
    lab.options.ignored = Some(Arc::new(|path: &RelPath, kind| {
        assert!(
            !path.is_below(&RelPath::parse(b"build").unwrap()),
            "asked below what is ignored"
        );
        path.name().ends_with(b".tmp") || (path.name() == b"build" && kind == DiskKind::Dir)
    }));
    lab.disk.user_write("build/g", b"two").unwrap();
    lab.disk.user_write("b.tmp", b"two").unwrap();
    lab.disk.user_remove("a.tmp").unwrap();
    assert!(lab.scan().items.is_empty());
    lab.disk.user_remove("build").unwrap();
    assert!(lab.scan().items.is_empty());
}

#[test]
fn dirty_paths_bring_what_they_need() {
    let mut lab = Lab::new();
    lab.disk.user_write("a/b/c/f", b"one").unwrap();
    lab.disk.user_write("z", b"untouched").unwrap();
    assert_eq!(
        lab.scan_paths(&["a/b/c/f"]).paths(),
        ["a", "a/b", "a/b/c", "a/b/c/f"]
    );
    lab.disk.user_write("a/b/g", b"two").unwrap();
    lab.disk.user_remove("a/b/c").unwrap();
    assert_eq!(
        lab.scan_paths(&["a/b/g", "a/b/c/f", "a/b/never"]).paths(),
        ["a/b/g", "a/b/c", "a/b/c/f"]
    );
    assert_eq!(lab.scan_paths(&["a", "a/b", "z"]).paths(), ["z"]);
    lab.check();
}

#[test]
fn a_file_that_is_written_all_the_time_is_busy() {
    let mut lab = Lab::new();
    lab.disk.user_write("f", b"0").unwrap();
    let disk = lab.disk.clone();
    lab.disk.set_hook(Some(Arc::new(move |op: &Op<'_>| {
        if op.kind == OpKind::Read {
            disk.advance_clock_ns(1);
            disk.user_append("f", b"x").unwrap();
        }
        None
    })));
    assert_eq!(*lab.scan().found("f"), Found::Busy);
    lab.disk.set_hook(None);
    lab.scan();
    lab.check();
}

#[test]
fn a_scan_can_be_cancelled() {
    let lab = Lab::new();
    lab.disk.user_write("f", b"0").unwrap();
    let cancel = AtomicBool::new(true);
    let result = lab
        .scanner()
        .scan_all(&mut |_| panic!("told after cancelling"), &cancel);
    assert!(matches!(result, Err(ScanError::Cancelled)));
}

#[test]
fn threads_find_the_same_as_one() {
    let mut lab = Lab::new();
    for n in 0..2000_u32 {
        let bytes = vec![n.to_le_bytes()[0]; (n as usize * 37) % 70_000];
        lab.disk
            .user_write(format!("d{}/f{n}", n % 17), &bytes)
            .unwrap();
    }
    let mut alone = lab.peek().items;
    lab.options.threads = 3;
    let mut together = lab.peek().items;
    alone.sort_by(|a, b| a.path.cmp(&b.path));
    together.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(alone, together);
    lab.scan();
    lab.disk.user_remove("d3").unwrap();
    lab.disk.user_write("z", b"new").unwrap();
    let told = lab.scan();
    assert_eq!(told.items[0].path, path("z"));
    lab.check();
}

#[test]
fn entries_that_are_only_wanted_are_not_missing() {
    let mut lab = Lab::new();
    let entry = IndexEntry::default();
    let batch = Batch {
        entries: vec![(path("wanted"), Some(entry))],
        ..Batch::default()
    };
    lab.index.commit(batch).unwrap();
    assert!(lab.scan().items.is_empty());
}
