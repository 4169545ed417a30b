//! What the simulated disk promises.

use std::{io, sync::Arc};

use proptest::prelude::*;
use sync_core::{
    disk::{DiskKind, Meta},
    path::RelPath,
};

use super::*;
use crate::fs::{Disk, DiskFile, Place};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("it worked"),
        Err(e) => e.kind(),
    }
}

/// Places a file as the applier does, as far as `steps` goes.
fn place(disk: &MemDisk, bytes: &[u8], to: &RelPath, synced: bool) {
    disk.prepare().unwrap();
    let file = disk.open_tmp("t").unwrap();
    file.write_all_at(bytes, 0).unwrap();
    if synced {
        file.sync().unwrap();
    }
    disk.rename_new(Place::Tmp("t"), Place::User(to)).unwrap();
}

#[test]
fn what_was_not_synced_is_lost() {
    let disk = MemDisk::new();
    disk.user_write("mine", b"safe").unwrap();
    place(&disk, b"new", &path("new"), true);
    assert_eq!(disk.user_read("new").unwrap(), b"new");
    disk.crash_losing_all();
    assert_eq!(disk.snapshot().keys().collect::<Vec<_>>(), [b"mine"]);
    assert!(disk.user_stat(".sync").is_none());

    place(&disk, b"new", &path("new"), true);
    disk.sync_dir(Place::Root).unwrap();
    disk.crash_losing_all();
    assert_eq!(disk.user_read("new").unwrap(), b"new");
    assert!(disk.user_stat(".sync/tmp/t").is_none());
}

#[test]
fn a_rename_of_unsynced_bytes_leaves_an_empty_file() {
    let disk = MemDisk::new();
    place(&disk, b"bytes", &path("f"), false);
    disk.sync_dir(Place::Root).unwrap();
    disk.crash_losing_all();
    assert_eq!(disk.user_read("f").unwrap(), b"");
}

#[test]
fn pages_survive_one_by_one() {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    let file = disk.open_tmp("t").unwrap();
    disk.sync_all().unwrap();
    file.write_all_at(&[7; 10_000], 0).unwrap();
    disk.crash(&mut |lost| matches!(lost, Unsynced::Write { offset: 4096, .. }));
    let bytes = disk.user_read(".sync/tmp/t").unwrap();
    assert_eq!(bytes, [vec![0; 4096], vec![7; 4096]].concat());
    assert!(
        file.read_at(&mut [0], 0).is_err(),
        "a file opened before the crash is dead"
    );
}

#[test]
fn names_in_one_directory_survive_in_order() {
    let disk = MemDisk::new();
    for name in ["a", "b", "c"] {
        disk.make_dir(Place::User(&path(name)), 0o755).unwrap();
    }
    // The second is dropped, so the third can't be kept.
    disk.crash(&mut |lost| lost != Unsynced::Names(&[b"b"]));
    assert_eq!(disk.snapshot().keys().collect::<Vec<_>>(), [b"a"]);
}

#[test]
fn a_move_between_directories_happens_in_both_or_neither() {
    for seed in 0..64 {
        let disk = MemDisk::new();
        disk.user_write("a/f", b"x").unwrap();
        disk.user_mkdir("b").unwrap();
        let (from, to) = (path("a/f"), path("b/f"));
        disk.rename_new(Place::User(&from), Place::User(&to))
            .unwrap();
        disk.rename_new(Place::User(&to), Place::User(&path("b/g")))
            .unwrap();
        disk.crash_seeded(seed);
        let files = disk
            .snapshot()
            .into_values()
            .filter(|n| n.kind == NodeKind::File)
            .count();
        assert_eq!(files, 1, "seed {seed}");
    }
}

#[test]
fn syncing_a_directory_brings_what_it_follows_from() {
    let disk = MemDisk::new();
    disk.user_write("a/f", b"x").unwrap();
    disk.user_mkdir("b").unwrap();
    disk.user_mkdir("c").unwrap();
    disk.rename_new(Place::User(&path("a/f")), Place::User(&path("b/f")))
        .unwrap();
    disk.rename_new(Place::User(&path("b/f")), Place::User(&path("c/f")))
        .unwrap();
    disk.sync_dir(Place::User(&path("c"))).unwrap();
    disk.crash_losing_all();
    assert_eq!(disk.user_read("c/f").unwrap(), b"x");
    assert!(disk.user_stat("a/f").is_none() && disk.user_stat("b/f").is_none());
}

#[test]
fn exchange_swaps_and_links_share() {
    let disk = MemDisk::new();
    disk.user_write("a", b"one").unwrap();
    disk.user_write("b", b"two").unwrap();
    let (a, b) = (path("a"), path("b"));
    let ino = disk.stat(Place::User(&a)).unwrap().unwrap().ino;
    disk.exchange(Place::User(&a), Place::User(&b)).unwrap();
    assert_eq!(disk.user_read("a").unwrap(), b"two");
    assert_eq!(disk.stat(Place::User(&b)).unwrap().unwrap().ino, ino);
    disk.user_hard_link("b", "c").unwrap();
    disk.user_append("c", b"!").unwrap();
    assert_eq!(disk.user_read("b").unwrap(), b"one!");
    assert_eq!(
        kind(disk.exchange(Place::User(&a), Place::User(&path("no")))),
        io::ErrorKind::NotFound
    );
    disk.set_features(MemFeatures {
        exchange: false,
        ..MemFeatures::default()
    });
    assert_eq!(
        kind(disk.exchange(Place::User(&a), Place::User(&b))),
        io::ErrorKind::Unsupported
    );
}

#[test]
fn refusals_are_those_of_posix() {
    let disk = MemDisk::new();
    disk.user_write("d/f", b"x").unwrap();
    disk.user_symlink("l", b"/etc/passwd").unwrap();
    disk.user_fifo("p").unwrap();
    let (d, f, l, p) = (path("d"), path("d/f"), path("l"), path("p"));
    assert_eq!(
        kind(disk.remove_dir(Place::User(&d))),
        io::ErrorKind::DirectoryNotEmpty
    );
    assert_eq!(
        kind(disk.unlink(Place::User(&d))),
        io::ErrorKind::IsADirectory
    );
    assert_eq!(
        kind(disk.rename_new(Place::User(&d), Place::User(&l))),
        io::ErrorKind::AlreadyExists
    );
    assert_eq!(
        kind(disk.rename_new(Place::User(&d), Place::User(&path("d/e")))),
        io::ErrorKind::InvalidInput
    );
    assert!(disk.open(Place::User(&l)).is_err());
    assert!(disk.open(Place::User(&p)).is_err());
    assert_eq!(disk.read_link(Place::User(&l)).unwrap(), b"/etc/passwd");
    assert_eq!(disk.stat(Place::User(&path("l/x"))).unwrap(), None);
    assert_eq!(disk.stat(Place::User(&path("d/f/x"))).unwrap(), None);
    assert_eq!(
        kind(disk.open(Place::User(&path("d/f/x")))),
        io::ErrorKind::NotADirectory
    );
    disk.user_chmod("d", 0).unwrap();
    assert_eq!(
        kind(disk.open_dir(Place::User(&d))),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(
        kind(disk.stat(Place::User(&f))),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(disk.stat(Place::User(&d)).unwrap().unwrap().mode, 0o700);
    disk.set_meta(
        Place::User(&d),
        Meta {
            mtime_ns: 5,
            mode: 0o050,
        },
    )
    .unwrap();
    assert_eq!(disk.stat(Place::User(&d)).unwrap().unwrap().mode, 0o750);
    disk.set_meta(
        Place::User(&f),
        Meta {
            mtime_ns: 5,
            mode: 0o640,
        },
    )
    .unwrap();
    let stat = disk.stat(Place::User(&f)).unwrap().unwrap();
    assert_eq!(
        (stat.kind, stat.mtime_ns, stat.mode),
        (DiskKind::File, 5, 0o640)
    );
}

#[test]
fn operations_fail_as_told() {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    let file = disk.open_tmp("t").unwrap();
    disk.fail_ops(Some(OpKind::Write), 1, 1, MemDisk::EIO);
    file.write_all_at(b"1", 0).unwrap();
    assert_eq!(
        file.write_all_at(b"2", 0).unwrap_err().raw_os_error(),
        Some(MemDisk::EIO)
    );
    file.write_all_at(b"3", 0).unwrap();

    disk.set_capacity(Some(5));
    assert_eq!(disk.free_bytes().unwrap(), 4);
    assert_eq!(
        kind(file.write_all_at(b"123456", 0)),
        io::ErrorKind::StorageFull
    );
    disk.set_capacity(None);

    disk.set_hook(Some(Arc::new(|op: &Op<'_>| {
        (op.path == b"secret").then(|| io::Error::from_raw_os_error(MemDisk::EACCES))
    })));
    assert_eq!(
        kind(disk.stat(Place::User(&path("secret")))),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(disk.stat(Place::User(&path("other"))).unwrap(), None);
}

#[test]
fn a_crash_point_stops_everything_until_power_is_back() {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    disk.sync_all().unwrap();
    disk.set_crash_point(Some(1));
    disk.make_dir(Place::User(&path("a")), 0o755).unwrap();
    assert!(disk.stat(Place::Root).is_ok() && !disk.is_dead());
    assert!(disk.make_dir(Place::User(&path("b")), 0o755).is_err());
    assert!(disk.stat(Place::Root).is_err() && disk.is_dead());
    disk.crash_keeping_all();
    assert_eq!(disk.snapshot().keys().collect::<Vec<_>>(), [b"a"]);
    assert!(disk.make_dir(Place::User(&path("b")), 0o755).is_ok());
}

#[test]
fn an_open_file_without_a_name_can_be_read() {
    let disk = MemDisk::new();
    disk.user_write("f", b"still here").unwrap();
    let file = disk.open(Place::User(&path("f"))).unwrap();
    disk.user_remove("f").unwrap();
    disk.sync_all().unwrap();
    let mut buf = [0; 5];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5);
    assert_eq!(&buf, b"still");
}

proptest! {
    /// Whatever is done and lost, the tree stays a tree, and what the user wrote stays.
    #[test]
    fn crashes_keep_the_tree_whole(
        steps in proptest::collection::vec((0..7_u8, 0..6_usize, 0..6_usize), 1..40),
        seed: u64,
    ) {
        let names = ["a", "b", "a/a", "a/b", "b/a", "b/a/b"];
        let disk = MemDisk::new();
        disk.user_write("keep/me", b"precious").unwrap();
        for (op, x, y) in steps {
            let (x, y) = (path(names[x]), path(names[y]));
            let (x, y) = (Place::User(&x), Place::User(&y));
            // Many of these are refused, as they would be on any disk.
            let _ = match op {
                0 | 1 => disk.make_dir(x, 0o755),
                2 | 3 => disk.rename_new(x, y),
                4 => disk.exchange(x, y),
                5 => disk.remove_dir(x),
                _ => disk.sync_dir(x),
            };
        }
        let before = disk.snapshot();
        if seed.is_multiple_of(4) {
            disk.crash_keeping_all();
            prop_assert_eq!(&before, &disk.snapshot());
        }
        disk.crash_seeded(seed);
        prop_assert_eq!(disk.user_read("keep/me").unwrap(), b"precious");
        // No directory is left inside itself, and none has two names.
        let dirs: Vec<u64> = disk
            .snapshot()
            .into_keys()
            .filter_map(|path| disk.user_stat(path).map(|stat| stat.ino))
            .collect();
        let distinct: std::collections::BTreeSet<u64> = dirs.iter().copied().collect();
        prop_assert_eq!(distinct.len(), dirs.len());
    }
}
