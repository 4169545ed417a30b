//! A crash before every single change of the disk, with all, nothing or some of what was not durable kept.

use super::*;
use crate::fs::{MemFeatures, OpKind};

/// What stands at a path before and after, and must be found somewhere in any case.
struct Case {
    at: &'static str,
    before: Option<&'static [u8]>,
    after: Option<&'static [u8]>,
}

const CASES: &[Case] = &[
    Case {
        at: "replace",
        before: Some(b"replace old"),
        after: Some(b"replace new"),
    },
    Case {
        at: "conflict",
        before: Some(b"conflict mine"),
        after: Some(b"conflict theirs"),
    },
    Case {
        at: "removed",
        before: Some(b"removed old"),
        after: None,
    },
    Case {
        at: "created",
        before: None,
        after: Some(b"created new"),
    },
    Case {
        at: "sub/deep",
        before: Some(b"deep old"),
        after: Some(b"deep new"),
    },
    Case {
        at: "link",
        before: Some(b"link old target"),
        after: Some(b"link replaced"),
    },
    Case {
        at: "tolink",
        before: Some(b"tolink old"),
        after: Some(b"new target"),
    },
    Case {
        at: "wasdir",
        before: None,
        after: Some(b"wasdir new"),
    },
    Case {
        at: "todir/child",
        before: None,
        after: Some(b"child new"),
    },
    Case {
        at: "other/from",
        before: Some(b"moved"),
        after: None,
    },
    Case {
        at: "made/to",
        before: None,
        after: Some(b"moved"),
    },
    Case {
        at: "edited",
        before: Some(b"edited by the user just now"),
        after: Some(b"edited new"),
    },
];

pub(super) const EDIT: &[u8] = b"edited by the user just now";

pub(super) fn set_up(exchange: bool) -> (Arc<MemDisk>, Vec<Action>) {
    let disk = mem();
    disk.set_features(MemFeatures {
        exchange,
        ..MemFeatures::default()
    });
    for (at, bytes) in [
        ("replace", &b"replace old"[..]),
        ("conflict", b"conflict mine"),
        ("removed", b"removed old"),
        ("sub/deep", b"deep old"),
        ("tolink", b"tolink old"),
        ("todir", b"todir old"),
        ("other/from", b"moved"),
        ("edited", b"edited old"),
        ("mode", b"mode"),
    ] {
        disk.user_write(at, bytes).unwrap();
    }
    disk.user_mkdir("wasdir").unwrap();
    disk.user_symlink("link", b"link old target").unwrap();
    let mut conflict = file("conflict", b"conflict theirs", expect(&disk, "conflict"));
    if let Action::File { displaced, .. } = &mut conflict {
        *displaced = Displaced::Copy(path("conflict copy"));
    }
    let group = vec![
        file("replace", b"replace new", expect(&disk, "replace")),
        conflict,
        dir("todir", expect(&disk, "todir")),
        file("todir/child", b"child new", Expect::Absent),
        file("created", b"created new", Expect::Absent),
        file("sub/deep", b"deep new", expect(&disk, "sub/deep")),
        file("link", b"link replaced", expect(&disk, "link")),
        Action::Symlink {
            path: path("tolink"),
            target: b"new target".to_vec(),
            expect: expect(&disk, "tolink"),
            displaced: Displaced::Archive,
        },
        file("wasdir", b"wasdir new", expect(&disk, "wasdir")),
        dir("made", Expect::Absent),
        Action::Rename {
            from: path("other/from"),
            expect_from: expect(&disk, "other/from"),
            to: path("made/to"),
            meta: META,
        },
        Action::Meta {
            path: path("mode"),
            meta: META,
            expect: expect(&disk, "mode"),
        },
        file("edited", b"edited new", expect(&disk, "edited")),
        remove("removed", expect(&disk, "removed")),
    ];
    // The user saves "edited" after it was looked at and before it is replaced.
    let user = Arc::clone(&disk);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::AtomicU32::new(0);
    disk.set_hook(Some(Arc::new(move |op| {
        use std::sync::atomic::Ordering::Relaxed;
        if op.kind == OpKind::Stat && op.path == b"edited" {
            seen.fetch_add(1, Relaxed);
        }
        let swap = matches!(op.kind, OpKind::Exchange | OpKind::Rename);
        if swap && seen.load(Relaxed) >= 2 && !done.swap(true, Relaxed) {
            user.user_write("edited", EDIT).unwrap();
        }
        None
    })));
    (disk, group)
}

/// How a group is handed over: as a whole (synced together), or in single actions (synced each).
fn run(disk: &Arc<MemDisk>, group: Vec<Action>, whole: bool) -> Vec<Outcome> {
    let applier = applier(disk, true);
    if whole {
        return applier.apply(group);
    }
    group
        .into_iter()
        .flat_map(|action| applier.apply(vec![action]))
        .collect()
}

fn check(disk: &MemDisk, edited: bool, point: &str) {
    check_files(disk, edited, point);
    assert_eq!(tmp(disk), Vec::<String>::new(), "{point}");
}

/// Everything of the user's stands in the tree or in the archive, and is whole.
pub(super) fn check_files(disk: &MemDisk, edited: bool, point: &str) {
    let tree = disk.snapshot();
    for Case { at, before, after } in CASES {
        let now = tree.get(at.as_bytes()).filter(|n| n.kind != NodeKind::Dir);
        let now = now.map(|n| n.bytes.as_slice());
        let old_edit = *at == "edited" && now == Some(b"edited old");
        assert!(
            now == *before || now == *after || old_edit,
            "{point}: {at} shows {now:?}"
        );
    }
    let kept = contents(disk);
    for bytes in CASES.iter().filter_map(|c| c.before).filter(|b| *b != EDIT) {
        assert!(
            kept.contains(bytes),
            "{point}: lost {}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert!(
        kept.contains(&b"todir old"[..]) && kept.contains(&b"mode"[..]),
        "{point}"
    );
    let edit_there = tree.values().any(|n| n.bytes == EDIT);
    assert!(
        !edited || edit_there,
        "{point}: the user's edit is gone from the tree"
    );
    check_whole(disk, point);
}

/// No file shows anything that nobody wrote.
fn check_whole(disk: &MemDisk, point: &str) {
    let known = |bytes: &[u8]| {
        let cases = CASES.iter().flat_map(|c| [c.before, c.after]).flatten();
        let others = [&b"todir old"[..], b"mode", b"edited old"];
        cases.chain(others).any(|b| b == bytes)
    };
    for (at, node) in disk
        .snapshot()
        .iter()
        .filter(|(_, n)| n.kind != NodeKind::Dir)
    {
        assert!(
            known(&node.bytes),
            "{point}: torn {}",
            String::from_utf8_lossy(at)
        );
    }
}

#[test]
fn old_or_new_at_every_crash() {
    let mut points = 0;
    let keeps = [
        Keep::All,
        Keep::Nothing,
        Keep::Names,
        Keep::Some(1),
        Keep::Some(2),
    ]
    .into_iter()
    .chain((0..8).map(Keep::Most));
    for exchange in [true, false] {
        for whole in [true, false] {
            for keep in keeps.clone() {
                for at in 0.. {
                    let (disk, group) = set_up(exchange);
                    disk.set_crash_point(Some(at));
                    let outcomes = run(&disk, group, whole);
                    let dead = disk.is_dead();
                    let edited = disk.user_read("edited").is_ok_and(|b| b == EDIT)
                        || disk.snapshot_below("").values().any(|n| n.bytes == EDIT);
                    crash(&disk, keep);
                    let point =
                        format!("exchange {exchange}, whole {whole}, {keep:?}, operation {at}");
                    applier(&disk, true).recover().unwrap();
                    check(&disk, edited, &point);
                    points += 1;
                    if !dead {
                        assert!(outcomes.iter().all(is_done), "{outcomes:?}");
                        for case in CASES {
                            let node = disk.snapshot().remove(case.at.as_bytes());
                            assert_eq!(node.as_ref().map(|n| &n.bytes[..]), case.after, "{point}");
                        }
                        break;
                    }
                }
            }
        }
    }
    println!("{points} crashes, each recovered");
}

/// Then nothing tells a torn temporary of ours by what stands at its path.
#[test]
fn a_torn_temporary_is_not_given_to_a_user_who_deleted_the_file() {
    let mut deleted = 0;
    for exchange in [true, false] {
        for whole in [true, false] {
            for seed in 0..16 {
                for at in 0.. {
                    // Other choices at each operation.
                    let keep = Keep::Some(seed << 32 | at);
                    let (disk, group) = set_up(exchange);
                    disk.set_crash_point(Some(at));
                    run(&disk, group, whole);
                    let dead = disk.is_dead();
                    crash(&disk, keep);
                    for case in CASES {
                        deleted += u32::from(disk.user_remove(case.at).is_ok());
                    }
                    applier(&disk, true).recover().unwrap();
                    let point =
                        format!("exchange {exchange}, whole {whole}, {keep:?}, operation {at}");
                    check_whole(&disk, &point);
                    assert_eq!(tmp(&disk), Vec::<String>::new(), "{point}");
                    if !dead {
                        break;
                    }
                }
            }
        }
    }
    assert!(deleted > 1_000, "{deleted}");
}

#[test]
fn a_crash_during_recovery_is_recovered() {
    let mut points = 0;
    for exchange in [true, false] {
        for at in 0.. {
            let mut last = false;
            for second in 0.. {
                let (disk, group) = set_up(exchange);
                disk.set_crash_point(Some(at));
                run(&disk, group, true);
                last = !disk.is_dead();
                let edited = disk.snapshot_below("").values().any(|n| n.bytes == EDIT);
                crash(
                    &disk,
                    if second % 2 == 0 {
                        Keep::All
                    } else {
                        Keep::Some(at)
                    },
                );
                disk.set_crash_point(Some(second));
                let first = applier(&disk, true).recover();
                let dead = disk.is_dead();
                assert!(dead || first.is_ok());
                let keep = match second % 4 {
                    0 => Keep::All,
                    1 => Keep::Nothing,
                    2 => Keep::Names,
                    _ => Keep::Most(second),
                };
                crash(&disk, keep);
                applier(&disk, true).recover().unwrap();
                let point = format!("exchange {exchange}, operation {at}, then {second}");
                check(&disk, edited, &point);
                points += 1;
                if !dead {
                    break;
                }
            }
            if last {
                break;
            }
        }
    }
    println!("{points} pairs of crashes, each recovered");
}
