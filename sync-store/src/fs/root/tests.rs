//! The real disk, in temporary directories.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use sync_core::{
    disk::{DiskKind, Meta},
    path::RelPath,
};

use super::*;
use crate::fs::{Marker, RootState, check_root};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn fresh() -> (tempfile::TempDir, RootDisk) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let disk = RootDisk::open(&root).unwrap();
    disk.prepare().unwrap();
    (dir, disk)
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it worked"),
        Err(e) => e.kind(),
    }
}

fn read(disk: &RootDisk, place: Place<'_>) -> Vec<u8> {
    let file = disk.open(place).unwrap();
    let mut bytes = vec![0; 1000];
    let len = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(len);
    bytes
}

fn fifo(at: &Path) {
    rustix::fs::mknodat(
        CWD,
        at,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
}

/// Runs a check with one call per path and with one call per component.
fn both_ways(check: impl Fn(&Path, &RootDisk)) {
    for walk in [false, true] {
        let (dir, disk) = fresh();
        if walk {
            disk.walk_always();
        }
        check(&dir.path().join("root"), &disk);
    }
}

#[test]
fn no_link_leads_outside() {
    both_ways(|root, disk| {
        let outside = root.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), b"secret").unwrap();
        symlink(&outside, root.join("d")).unwrap();
        symlink("../outside/secret", root.join("f")).unwrap();
        let (d, f, inner) = (path("d"), path("f"), path("d/secret"));
        assert_eq!(
            disk.stat(Place::User(&d)).unwrap().unwrap().kind,
            DiskKind::Symlink
        );
        assert_eq!(disk.stat(Place::User(&inner)).unwrap(), None);
        assert!(disk.open(Place::User(&inner)).is_err());
        assert!(disk.open(Place::User(&f)).is_err());
        assert!(disk.open_dir(Place::User(&d)).is_err());
        assert!(disk.make_dir(Place::User(&path("d/new")), 0o755).is_err());
        assert!(disk.make_link(Place::User(&path("d/new")), b"x").is_err());
        assert!(disk.unlink(Place::User(&inner)).is_err());
        assert!(
            disk.rename_new(Place::User(&inner), Place::User(&path("stolen")))
                .is_err()
        );
        assert!(disk.exchange(Place::User(&inner), Place::User(&f)).is_err());
        assert!(
            disk.set_meta(
                Place::User(&f),
                Meta {
                    mtime_ns: 0,
                    mode: 0
                }
            )
            .is_err()
        );
        assert!(disk.clone_to_tmp(Place::User(&f), "t").is_err());
        assert_eq!(
            disk.read_link(Place::User(&f)).unwrap(),
            b"../outside/secret"
        );
        // A temporary or one of our directories that is a link is refused too.
        symlink(outside.join("secret"), root.join(".sync/tmp/t")).unwrap();
        assert!(disk.open_tmp("t").is_err());
        fs::remove_dir(root.join(".sync/archive")).unwrap();
        symlink(&outside, root.join(".sync/archive")).unwrap();
        assert!(disk.prepare().is_err());
        assert!(
            disk.rename_new(Place::User(&f), Place::Archive(&f))
                .is_err()
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    });
}

#[test]
fn files_are_made_moved_swapped_and_copied() {
    both_ways(|root, disk| {
        let (a, b, c) = (path("d/a"), path("d/b"), path("c"));
        disk.make_dir(Place::User(&path("d")), 0o775).unwrap();
        assert_eq!(
            fs::metadata(root.join("d")).unwrap().permissions().mode() & 0o777,
            0o775
        );
        for (name, bytes, to) in [("1", b"one", &a), ("2", b"two", &b)] {
            let file = disk.open_tmp(name).unwrap();
            assert_eq!(file.stat().unwrap().mode, 0o600);
            file.write_all_at(bytes, 0).unwrap();
            file.set_meta(Meta {
                mtime_ns: -1,
                mode: 0o640,
            })
            .unwrap();
            file.sync().unwrap();
            disk.rename_new(Place::Tmp(name), Place::User(to)).unwrap();
        }
        let stat = disk.stat(Place::User(&a)).unwrap().unwrap();
        assert_eq!((stat.mtime_ns, stat.mode, stat.size), (-1, 0o640, 3));
        assert_eq!(
            kind(disk.rename_new(Place::User(&a), Place::User(&b))),
            ErrorKind::AlreadyExists
        );
        disk.exchange(Place::User(&a), Place::User(&b)).unwrap();
        assert_eq!(disk.stat(Place::User(&b)).unwrap().unwrap().ino, stat.ino);
        assert_eq!(read(disk, Place::User(&a)), b"two");
        assert_eq!(
            kind(disk.exchange(Place::User(&a), Place::User(&c))),
            ErrorKind::NotFound
        );
        disk.make_dir(Place::Archive(&path("d")), 0o700).unwrap();
        disk.rename_new(Place::User(&a), Place::Archive(&a))
            .unwrap();
        assert_eq!(read(disk, Place::Archive(&a)), b"two");
        disk.make_dir(Place::Archive(&path("x/y/z")), 0o700)
            .unwrap();
        assert!(root.join(".sync/archive/x/y/z").is_dir());
        disk.clone_to_tmp(Place::User(&b), "copy").unwrap();
        assert_eq!(read(disk, Place::Tmp("copy")), b"one");
        disk.rename_new(Place::Tmp("copy"), Place::User(&c))
            .unwrap();
        disk.unlink(Place::User(&b)).unwrap();
        disk.sync_dir(Place::User(&path("d"))).unwrap();
        disk.sync_dir(Place::Root).unwrap();
        disk.sync_all().unwrap();
        disk.remove_dir(Place::User(&path("d"))).unwrap();
        assert_eq!(read(disk, Place::User(&c)), b"one");
        assert!(disk.free_bytes().unwrap() > 0);
        assert_eq!(
            kind(disk.rename_new(Place::Root, Place::User(&c))),
            ErrorKind::ResourceBusy
        );
    });
}

#[test]
fn copies_equal_their_source() {
    let (dir, disk) = fresh();
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.wrapping_mul(n).to_le_bytes()[1])
        .collect();
    fs::write(dir.path().join("root/f"), &bytes).unwrap();
    fs::write(dir.path().join("root/.sync/tmp/t"), vec![1; 4_000_000]).unwrap();
    disk.clone_to_tmp(Place::User(&path("f")), "t").unwrap();
    assert_eq!(
        fs::read(dir.path().join("root/.sync/tmp/t")).unwrap(),
        bytes
    );
}

#[test]
fn only_regular_files_are_opened_and_a_fifo_does_not_block() {
    both_ways(|root, disk| {
        fifo(&root.join("p"));
        fs::create_dir(root.join("d")).unwrap();
        assert_eq!(
            kind(disk.open(Place::User(&path("p")))),
            ErrorKind::InvalidInput
        );
        assert_eq!(
            kind(disk.open(Place::User(&path("d")))),
            ErrorKind::IsADirectory
        );
        fifo(&root.join(".sync/tmp/t"));
        assert_eq!(kind(disk.open_tmp("t")), ErrorKind::InvalidInput);
        let stat = disk.stat(Place::User(&path("p"))).unwrap().unwrap();
        assert_eq!(stat.kind, DiskKind::Special);
    });
}

#[test]
fn listing_leaves_our_directory_out_and_keeps_odd_names() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, disk) = fresh();
    let root = dir.path().join("root");
    let long = [b'x'; 255];
    let names: [&[u8]; 5] = [b"a", b"new\nline", b"\xff\xfe", b" ", &long];
    for name in names {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
    }
    fs::create_dir_all(root.join("d/.sync")).unwrap();
    let open = disk.open_dir(Place::Root).unwrap();
    let found: Vec<Vec<u8>> = open.names().unwrap().iter().map(<[u8]>::to_vec).collect();
    let mut want: Vec<Vec<u8>> = names.iter().map(|n| n.to_vec()).collect();
    want.push(b"d".to_vec());
    want.sort();
    assert_eq!(found, want);
    assert_eq!(open.names().unwrap().len(), 6, "it can be read again");
    assert_eq!(open.stat(b"gone").unwrap(), None);
    assert_eq!(
        disk.list(Place::User(&path("d"))).unwrap()[0].name,
        b".sync"
    );
    assert_eq!(disk.list(Place::Own("")).unwrap().len(), 2);
    assert_eq!(
        kind(disk.open_dir(Place::User(&path("a")))),
        ErrorKind::NotADirectory
    );
}

#[test]
fn metadata_of_files_that_nobody_may_read_can_be_set() {
    let (dir, disk) = fresh();
    let root = dir.path().join("root");
    fs::write(root.join("f"), b"x").unwrap();
    fs::create_dir(root.join("d")).unwrap();
    for mode in [0, 0o644] {
        let meta = Meta {
            mtime_ns: 1_234_567_891,
            mode,
        };
        disk.set_meta(Place::User(&path("f")), meta).unwrap();
        let stat = disk.stat(Place::User(&path("f"))).unwrap().unwrap();
        assert_eq!((stat.mode, stat.mtime_ns), (mode, 1_234_567_891));
    }
    let before = disk
        .stat(Place::User(&path("d")))
        .unwrap()
        .unwrap()
        .mtime_ns;
    disk.set_meta(
        Place::User(&path("d")),
        Meta {
            mtime_ns: 1,
            mode: 0o055,
        },
    )
    .unwrap();
    let stat = disk.stat(Place::User(&path("d"))).unwrap().unwrap();
    assert_eq!((stat.mode, stat.mtime_ns), (0o755, before));
    // As for a user who may not read it.
    let handle = disk
        .open_at(Place::User(&path("f")), OFlags::PATH, 0)
        .unwrap();
    os::set_meta_unopened(handle.as_fd(), 0o400, Some(77)).unwrap();
    let stat = disk.stat(Place::User(&path("f"))).unwrap().unwrap();
    assert_eq!((stat.mode, stat.mtime_ns), (0o400, 77));
}

#[test]
fn long_and_deep_paths_work() {
    let (_dir, disk) = fresh();
    let mut at = String::new();
    for n in 0..15 {
        let name = format!("{n:02}{}", "x".repeat(250));
        at = if at.is_empty() {
            name
        } else {
            format!("{at}/{name}")
        };
        disk.make_dir(Place::User(&path(&at)), 0o755).unwrap();
    }
    assert!(at.len() > 3700);
    assert_eq!(
        disk.stat(Place::User(&path(&at))).unwrap().unwrap().kind,
        DiskKind::Dir
    );
    disk.make_dir(Place::Archive(&path(&at)), 0o700).unwrap();
}

#[test]
fn the_root_is_known_by_path_and_mark() {
    let (dir, disk) = fresh();
    let mark = Marker([3; 16]);
    assert_eq!(check_root(&disk, &mark), RootState::Empty);
    mark.create(&disk).unwrap();
    assert_eq!(check_root(&disk, &mark), RootState::Ok);
    let (root, aside) = (dir.path().join("root"), dir.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    assert_eq!(check_root(&disk, &mark), RootState::MissingRoot);
    fs::create_dir(&root).unwrap();
    assert_eq!(check_root(&disk, &mark), RootState::Replaced);
    fs::remove_dir(&root).unwrap();
    fs::write(&root, b"").unwrap();
    assert_eq!(check_root(&disk, &mark), RootState::NotADirectory);
    assert!(RootDisk::open(&root).is_err());
    fs::remove_file(&root).unwrap();
    // A root whose path leads over a link is fine.
    symlink(&aside, &root).unwrap();
    let disk = RootDisk::open(&root).unwrap();
    assert_eq!(check_root(&disk, &mark), RootState::Ok);
    let mode = fs::metadata(aside.join(".sync"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}
