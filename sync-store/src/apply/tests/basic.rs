//! Each action in calm weather, and each reason not to do it.

use super::*;
use crate::fs::{MemFeatures, OpKind, Place};
use sync_core::{disk::DiskKind, trouble::Trouble};

fn one(applier: &Applier<MemDisk>, action: Action) -> Outcome {
    applier.apply(vec![action]).remove(0)
}

#[test]
fn create_replace_and_remove() {
    for exchange in [true, false] {
        let disk = mem();
        disk.set_features(MemFeatures {
            exchange,
            ..MemFeatures::default()
        });
        let applier = applier(&disk, true);
        let Outcome::Done {
            stat: Some(made),
            copies,
        } = one(&applier, file("a.txt", b"one", Expect::Absent))
        else {
            panic!("not created")
        };
        assert!(copies.is_empty());
        assert_eq!(disk.user_stat("a.txt"), Some(made));
        assert_eq!(
            (made.mtime_ns, made.mode, made.size),
            (META.mtime_ns, META.mode, 3)
        );
        assert!(is_done(&one(
            &applier,
            file("a.txt", b"two!", Expect::Stat(made))
        )));
        assert_eq!(disk.user_read("a.txt").unwrap(), b"two!");
        assert_eq!(archived(&disk), [b"one".to_vec()]);
        // What was there before the replacement isn't there any more.
        assert_eq!(
            one(&applier, file("a.txt", b"3", Expect::Stat(made))),
            Outcome::Stale
        );
        assert_eq!(
            one(&applier, file("a.txt", b"3", Expect::Absent)),
            Outcome::Stale
        );
        let now = expect(&disk, "a.txt");
        let gone = Outcome::Done {
            stat: None,
            copies: vec![],
        };
        assert_eq!(one(&applier, remove("a.txt", now)), gone);
        assert_eq!(one(&applier, remove("a.txt", now)), gone, "gone already");
        assert_eq!(disk.snapshot().len(), 0);
        assert_eq!(archived(&disk).len(), 2);
        assert_eq!(tmp(&disk), Vec::<String>::new());
        let items = applier.archive().list(None, 10).unwrap();
        assert!(
            items.iter().all(|i| i.original == path("a.txt")),
            "{items:?}"
        );
    }
}

#[test]
fn without_an_archive_nothing_is_kept_but_edits() {
    let disk = mem();
    let applier = applier(&disk, false);
    disk.user_write("a", b"old").unwrap();
    disk.user_write("b", b"old").unwrap();
    let group = vec![
        file("a", b"new", expect(&disk, "a")),
        remove("b", expect(&disk, "b")),
    ];
    assert!(applier.apply(group).iter().all(is_done));
    assert_eq!(contents(&disk), BTreeSet::from([b"new".to_vec()]));
    assert_eq!(tmp(&disk), Vec::<String>::new());
}

#[test]
fn a_group_may_depend_on_itself() {
    let disk = mem();
    let applier = applier(&disk, true);
    disk.user_write("x", b"file where a directory shall be")
        .unwrap();
    let moved = disk
        .user_write("m", b"moved")
        .map(|()| expect(&disk, "m"))
        .unwrap();
    let group = vec![
        dir("x", expect(&disk, "x")),
        dir("x/y", Expect::Absent),
        file("x/y/z", b"deep", Expect::Absent),
        Action::Rename {
            from: path("m"),
            expect_from: moved,
            to: path("x/m"),
            meta: META,
        },
        file("m", b"next", Expect::Absent),
        Action::Symlink {
            path: path("x/l"),
            target: b"y/z".to_vec(),
            expect: Expect::Absent,
            displaced: Displaced::Archive,
        },
    ];
    let outcomes = applier.apply(group);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(disk.user_read("x/y/z").unwrap(), b"deep");
    assert_eq!(disk.user_read("x/m").unwrap(), b"moved");
    assert_eq!(stat(&disk, "x/m").mtime_ns, META.mtime_ns);
    assert_eq!(disk.user_read("m").unwrap(), b"next");
    assert_eq!(stat(&disk, "x/l").kind, DiskKind::Symlink);
    assert_eq!(archived(&disk).len(), 1);
    let before = disk.snapshot();
    disk.crash_losing_all();
    assert_eq!(
        disk.snapshot(),
        before,
        "what is reported as done is durable"
    );
}

#[test]
fn kinds_replace_each_other() {
    let disk = mem();
    let applier = applier(&disk, true);
    disk.user_mkdir("empty").unwrap();
    disk.user_write("full/f", b"stays").unwrap();
    disk.user_symlink("link", b"target").unwrap();
    disk.user_fifo("pipe").unwrap();
    let group = vec![
        file("empty", b"now a file", expect(&disk, "empty")),
        file("full", b"never", expect(&disk, "full")),
        file("link", b"was a link", expect(&disk, "link")),
        file("pipe", b"never", expect(&disk, "pipe")),
        remove("full", expect(&disk, "full")),
        remove("full/f", expect(&disk, "full/f")),
        remove("full", expect(&disk, "full")),
    ];
    let outcomes = applier.apply(group);
    let want = [true, false, true, false, false, true, true];
    assert_eq!(
        outcomes.iter().map(is_done).collect::<Vec<_>>(),
        want,
        "{outcomes:?}"
    );
    assert_eq!(
        (&outcomes[1], &outcomes[4]),
        (&Outcome::NotEmpty, &Outcome::NotEmpty)
    );
    assert_eq!(outcomes[3], Outcome::Stale);
    assert_eq!(disk.user_read("empty").unwrap(), b"now a file");
    assert_eq!(disk.user_read("link").unwrap(), b"was a link");
    assert!(
        contents(&disk).contains(&b"target"[..]),
        "the old link is in the archive"
    );
    assert_eq!(tmp(&disk), Vec::<String>::new());
}

#[test]
fn conflict_copies_are_placed_once() {
    let disk = mem();
    let applier = applier(&disk, true);
    let copy = path("f (conflict AAAAAA 2026-11-22 08-00-00 AAAA).txt");
    for (n, (old, want)) in [(b"mine", 1), (b"mine", 1), (b"else", 2)]
        .into_iter()
        .enumerate()
    {
        disk.user_write("f.txt", old).unwrap();
        let mut action = file("f.txt", b"theirs", expect(&disk, "f.txt"));
        let Action::File { displaced, .. } = &mut action else {
            panic!("a file")
        };
        *displaced = Displaced::Copy(copy.clone());
        let Outcome::Done { copies, .. } = one(&applier, action) else {
            panic!("round {n}")
        };
        assert_eq!(copies.len(), 1);
        assert_eq!(disk.user_read(copies[0].as_bytes()).unwrap(), old);
        assert_eq!(disk.snapshot().len(), 1 + want, "round {n}");
    }
    assert!(archived(&disk).is_empty());
}

#[test]
fn content_is_verified() {
    let disk = mem();
    let applier = applier(&disk, true);
    let big = noise(600_000, 1);
    disk.user_write("big", &big).unwrap();
    disk.user_write("other", &noise(600_000, 2)).unwrap();
    let copy_of = |from: &str| Action::File {
        path: path("copy"),
        source: Source::CopyOf(path(from)),
        content: root_of(&big),
        size: big.len() as u64,
        meta: META,
        expect: Expect::Absent,
        displaced: Displaced::Archive,
    };
    let mut wrong = file("w", b"right", Expect::Absent);
    if let Action::File { source, .. } = &mut wrong {
        *source = Source::Bytes(Bytes::from_static(b"wrong"));
    }
    let mut temp = file("t", b"nowhere", Expect::Absent);
    if let Action::File {
        source, content, ..
    } = &mut temp
    {
        *source = Source::Temp(*content);
    }
    let group = vec![
        copy_of("other"),
        copy_of("none"),
        wrong,
        temp,
        copy_of("big"),
    ];
    let outcomes = applier.apply(group);
    assert_eq!(outcomes[..4], [const { Outcome::BadSource }; 4]);
    assert!(is_done(&outcomes[4]));
    assert_eq!(disk.user_read("copy").unwrap(), big);
    assert_eq!(tmp(&disk), Vec::<String>::new());
}

#[test]
fn one_download_serves_two_paths_and_is_not_lost_to_a_stale_one() {
    let disk = mem();
    let temps = Arc::new(Temps::new(Arc::clone(&disk), 0));
    let author = LocalAuthor(ReplicaId(77));
    let applier = Applier::new(
        Arc::clone(&disk),
        Arc::clone(&temps),
        author,
        SEED,
        ApplyPolicy::default(),
    );
    let big = noise(700_000, 3);
    let manifest = manifest_of(&big, SEED).unwrap();
    let mut at = 0;
    for chunk in &manifest.chunks {
        let end = at + chunk.len as usize;
        let bytes = Bytes::copy_from_slice(&big[at..end]);
        let size = big.len() as u64;
        assert!(
            temps
                .write_chunk(&manifest.root, size, at as u64, &chunk.hash, &bytes)
                .unwrap()
        );
        at = end;
    }
    let from_temp = |at: &str, expect| {
        let mut action = file(at, &big, expect);
        if let Action::File { source, .. } = &mut action {
            *source = Source::Temp(manifest.root);
        }
        action
    };
    disk.user_write("taken", b"x").unwrap();
    // Seen too late to be refused before the temporary is taken: an earlier action touches the path.
    let other = Action::Meta {
        path: path("taken"),
        meta: META,
        expect: expect(&disk, "taken"),
    };
    let outcomes = applier.apply(vec![other, from_temp("taken", Expect::Absent)]);
    assert_eq!(outcomes[1], Outcome::Stale);
    assert_eq!(
        temps.list().unwrap().len(),
        1,
        "the download is still there"
    );
    let found = temps
        .check(&manifest.root, big.len() as u64, &manifest.chunks)
        .unwrap();
    assert!(found.into_iter().all(|there| there));
    let outcomes = applier.apply(vec![
        from_temp("one", Expect::Absent),
        from_temp("two", Expect::Absent),
    ]);
    assert!(outcomes.iter().all(is_done), "{outcomes:?}");
    assert_eq!(disk.user_read("one").unwrap(), big);
    assert_eq!(disk.user_read("two").unwrap(), big);
    assert_ne!(stat(&disk, "one").ino, stat(&disk, "two").ino);
    assert_eq!(tmp(&disk), Vec::<String>::new());
}

#[test]
fn a_full_disk_stops_the_rest() {
    let disk = mem();
    disk.user_write("old", b"old").unwrap();
    let applier = applier(&disk, true);
    disk.set_capacity(Some(1_000));
    let group = vec![
        file("a", b"fits", Expect::Absent),
        file("b", &[1; 2_000], Expect::Absent),
        file("c", b"fits as well", Expect::Absent),
    ];
    let outcomes = applier.apply(group);
    assert!(is_done(&outcomes[0]));
    assert!(matches!(&outcomes[1], Outcome::DiskFull { reason } if *reason == Trouble::DiskFull));
    assert!(matches!(&outcomes[2], Outcome::DiskFull { .. }));
    applier.set_policy(ApplyPolicy {
        archive: true,
        min_free: 999,
    });
    let outcome = one(&applier, file("d", b"xx", Expect::Absent));
    assert!(
        matches!(outcome, Outcome::DiskFull { .. }),
        "space is kept free"
    );
    assert_eq!(tmp(&disk), Vec::<String>::new());
}

#[test]
fn errors_say_what_to_do_and_change_nothing() {
    for (errno, full) in [
        (MemDisk::EACCES, false),
        (MemDisk::EIO, true),
        (MemDisk::ENOSPC, true),
    ] {
        for kind in [
            OpKind::Rename,
            OpKind::Exchange,
            OpKind::OpenTmp,
            OpKind::Sync,
            OpKind::SyncDir,
        ] {
            let disk = mem();
            disk.user_write("r", b"old r").unwrap();
            disk.user_write("d", b"old d").unwrap();
            let applier = applier(&disk, true);
            disk.fail_ops(Some(kind), 0, u64::MAX, errno);
            let group = vec![
                file("r", b"new r", expect(&disk, "r")),
                remove("d", expect(&disk, "d")),
            ];
            let outcomes = applier.apply(group);
            disk.fail_ops(None, 0, 0, 0);
            for outcome in &outcomes {
                match outcome {
                    Outcome::DiskFull { .. } => assert!(full, "{kind:?} {outcome:?}"),
                    Outcome::Failed { .. } => assert!(!full, "{kind:?} {outcome:?}"),
                    Outcome::Done { .. } => {}
                    other => panic!("{kind:?} {other:?}"),
                }
            }
            let kept = contents(&disk);
            let left = disk.snapshot_below(".sync/tmp");
            for old in [b"old r", b"old d"] {
                let there = kept.contains(&old[..]) || left.values().any(|n| n.bytes == old);
                assert!(there, "{kind:?} {errno} lost {old:?}");
            }
            applier.recover().unwrap();
            let kept = contents(&disk);
            assert!(
                kept.contains(&b"old r"[..]) && kept.contains(&b"old d"[..]),
                "{kind:?}"
            );
            assert_eq!(tmp(&disk), Vec::<String>::new(), "{kind:?}");
        }
    }
}

#[test]
fn meta_and_directories() {
    let disk = mem();
    let applier = applier(&disk, true);
    disk.user_write("f", b"x").unwrap();
    disk.user_mkdir("d").unwrap();
    let before = stat(&disk, "f");
    let meta = |at: &str, expect| Action::Meta {
        path: path(at),
        meta: META,
        expect,
    };
    let outcomes = applier.apply(vec![
        meta("f", Expect::Stat(before)),
        Action::Dir {
            path: path("d"),
            mode: 0o700,
            expect: expect(&disk, "d"),
            displaced: Displaced::Archive,
        },
        dir("f", Expect::Absent),
        dir("d", Expect::Absent),
    ]);
    let Outcome::Done {
        stat: Some(after), ..
    } = &outcomes[0]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((after.mtime_ns, after.mode), (META.mtime_ns, META.mode));
    assert_eq!(
        after.ctime_ns, 0,
        "an edit just before would be hidden: look once more"
    );
    assert!(is_done(&outcomes[1]));
    assert_eq!(outcomes[2], Outcome::Stale);
    assert!(is_done(&outcomes[3]));
    assert_eq!(stat(&disk, "d").mode, 0o755);
    assert_eq!(
        one(&applier, meta("f", Expect::Stat(before))),
        Outcome::Stale
    );
    assert_eq!(
        one(&applier, meta("none", Expect::Stat(before))),
        Outcome::Stale
    );
    let missing = one(&applier, file("no/such/dir", b"x", Expect::Absent));
    assert_eq!(missing, Outcome::Stale);
}

#[test]
fn a_torn_note_makes_recovery_careful() {
    let disk = mem();
    let applier = applier(&disk, true);
    disk.user_write(".sync/tmp/i-torn-0", b"half a note")
        .unwrap();
    disk.user_write(".sync/tmp/x-torn-1", b"whose?").unwrap();
    disk.user_write(".sync/tmp/n-torn-2", b"ours").unwrap();
    disk.user_write(".sync/tmp/c-partial-1", b"partial")
        .unwrap();
    let done = applier.recover().unwrap();
    assert_eq!((done.removed, done.settled.len()), (1, 1));
    assert_eq!(contents(&disk), BTreeSet::from([b"whose?".to_vec()]));
    assert_eq!(tmp(&disk), [".sync/tmp/c-partial-1"]);
    assert!(disk.stat(Place::Tmp("c-partial-1")).unwrap().is_some());
}
