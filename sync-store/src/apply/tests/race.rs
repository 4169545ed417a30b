//! A user who edits while a group is applied: whatever they wrote is found afterwards.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::fs::MemFeatures;

#[derive(Debug, Clone, Copy)]
enum Edit {
    /// In place.
    Write,
    /// A new file renamed over.
    Replace,
    Append,
    Remove,
    /// Under another name.
    MoveAway,
    /// The directory that it lies in, under another name.
    MoveDir,
    /// A directory with a file in it where a file was.
    Dir,
    /// The same size, and the old modification time.
    Disguise,
}

const PATHS: [&str; 6] = ["a", "b", "d/c", "d/e", "f", "g"];

fn edits() -> impl Strategy<Value = Vec<(u64, usize, Edit)>> {
    let edit = prop_oneof![
        Just(Edit::Write),
        Just(Edit::Replace),
        Just(Edit::Append),
        Just(Edit::Remove),
        Just(Edit::MoveAway),
        Just(Edit::MoveDir),
        Just(Edit::Dir),
        Just(Edit::Disguise),
    ];
    prop::collection::vec((0..120_u64, 0..PATHS.len(), edit), 0..6)
}

/// What the user last wrote and didn't destroy.
struct Ledger {
    ops: u64,
    todo: Vec<(u64, usize, Edit)>,
    alive: BTreeSet<Vec<u8>>,
    copies: u64,
}

impl Ledger {
    fn act(&mut self, disk: &MemDisk) {
        self.ops += 1;
        let now = self.ops;
        let (due, later) = self.todo.drain(..).partition(|(at, ..)| *at <= now);
        self.todo = later;
        for (_, which, edit) in due {
            self.edit(disk, PATHS[which], edit);
        }
    }

    fn edit(&mut self, disk: &MemDisk, at: &str, edit: Edit) {
        disk.advance_clock_ns(1_000_000);
        self.copies += 1;
        let text = format!("user edit number {}", self.copies).into_bytes();
        let old = disk.user_read(at).ok();
        let is_dir = disk.user_stat(at).is_some() && old.is_none();
        if is_dir {
            return;
        }
        let new = match edit {
            Edit::Write => disk.user_write(at, &text).map(|()| Some(text)),
            Edit::Replace => disk.user_replace(at, &text).map(|()| Some(text)),
            Edit::Append => {
                let whole = [old.clone().unwrap_or_default(), text.clone()].concat();
                disk.user_append(at, &text).map(|()| Some(whole))
            }
            Edit::Remove => disk.user_remove(at).map(|()| None),
            Edit::MoveAway => {
                let to = format!("moved {}", self.copies);
                disk.user_rename(at, to).map(|()| old.clone())
            }
            Edit::MoveDir => {
                let to = format!("moved dir {}", self.copies);
                let _ = disk.user_rename("d", to);
                return;
            }
            Edit::Dir => {
                let _ = disk.user_remove(at);
                disk.user_write(format!("{at}/inside"), &text)
                    .map(|()| Some(text))
            }
            Edit::Disguise => {
                let Some(known) = disk.user_stat(at) else {
                    return;
                };
                let bytes = vec![b'A' + (self.copies % 26) as u8; known.size as usize];
                disk.user_replace(at, &bytes).unwrap();
                disk.user_set_mtime(at, known.mtime_ns).unwrap();
                disk.user_chmod(at, known.mode).map(|()| Some(bytes))
            }
        };
        // An edit where a parent is a file, or nothing is there to move, didn't happen.
        let Ok(new) = new else { return };
        if let Some(old) = old {
            self.alive.remove(&old);
        }
        self.alive.extend(new);
    }
}

fn group(disk: &MemDisk) -> Vec<Action> {
    let mut conflict = file("b", b"b from afar", expect(disk, "b"));
    if let Action::File { displaced, .. } = &mut conflict {
        *displaced = Displaced::Copy(path("b copy"));
    }
    vec![
        file("a", b"a from afar", expect(disk, "a")),
        conflict,
        file("d/c", b"c from afar", expect(disk, "d/c")),
        remove("d/e", expect(disk, "d/e")),
        dir("f", expect(disk, "f")),
        Action::Rename {
            from: path("g"),
            expect_from: expect(disk, "g"),
            to: path("d/g"),
            meta: META,
        },
        file("h", b"h from afar", Expect::Absent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1_500)))]

    #[test]
    fn what_the_user_writes_survives(
        edits in edits(),
        exchange: bool,
        archive: bool,
        single: bool,
        crash in prop::option::of((0..90_u64, 0..40_u64)),
    ) {
        let disk = mem();
        disk.set_features(MemFeatures { exchange, ..MemFeatures::default() });
        for at in PATHS {
            disk.user_write(at, format!("old {at}").as_bytes()).unwrap();
        }
        disk.advance_clock_ns(5_000_000_000);
        let group = group(&disk);
        // Without an archive what is replaced as expected may go; a conflict copy may not.
        let alive: BTreeSet<Vec<u8>> = if archive {
            PATHS.iter().map(|at| format!("old {at}").into_bytes()).collect()
        } else {
            [b"old b".to_vec(), b"old g".to_vec()].into()
        };
        let ledger = Arc::new(Mutex::new(Ledger { ops: 0, todo: edits, alive, copies: 0 }));
        let (hooked, user) = (Arc::clone(&ledger), Arc::clone(&disk));
        disk.set_hook(Some(Arc::new(move |_| {
            hooked.lock().unwrap().act(&user);
            None
        })));
        disk.set_crash_point(crash.map(|c| c.0));
        let applier = applier(&disk, archive);
        if single {
            for action in group {
                applier.apply(vec![action]);
            }
        } else {
            applier.apply(group);
        }
        match crash {
            Some((_, 0)) => super::crash(&disk, Keep::Nothing),
            Some((_, 1)) => super::crash(&disk, Keep::All),
            Some((_, 2)) => super::crash(&disk, Keep::Names),
            Some((_, seed @ 3..8)) => super::crash(&disk, Keep::Some(seed)),
            Some((_, seed)) => super::crash(&disk, Keep::Most(seed)),
            None => disk.set_hook(None),
        }
        let applier = super::applier(&disk, archive);
        applier.recover().unwrap();
        let kept = contents(&disk);
        for bytes in &ledger.lock().unwrap().alive {
            prop_assert!(kept.contains(bytes), "lost {:?}", String::from_utf8_lossy(bytes));
        }
        let left = tmp(&disk);
        prop_assert!(left.is_empty(), "left {left:?}");
    }
}

/// An edit that keeps size and modification time, made before the group is applied, shows in the change time.
#[test]
fn an_edit_in_disguise_is_left_alone() {
    for archive in [true, false] {
        let disk = mem();
        for at in ["replaced", "removed", "moved", "dated", "todir"] {
            disk.user_write(at, b"old").unwrap();
        }
        let group = vec![
            file("replaced", b"new", expect(&disk, "replaced")),
            remove("removed", expect(&disk, "removed")),
            Action::Rename {
                from: path("moved"),
                expect_from: expect(&disk, "moved"),
                to: path("elsewhere"),
                meta: META,
            },
            Action::Meta {
                path: path("dated"),
                meta: META,
                expect: expect(&disk, "dated"),
            },
            dir("todir", expect(&disk, "todir")),
        ];
        for at in ["replaced", "removed", "moved", "dated", "todir"] {
            let known = stat(&disk, at);
            disk.advance_clock_ns(1_000_000);
            disk.user_write(at, &at.as_bytes()[..3]).unwrap();
            disk.user_set_mtime(at, known.mtime_ns).unwrap();
        }
        let outcomes = applier(&disk, archive).apply(group);
        assert!(
            outcomes.iter().all(|o| *o == Outcome::Stale),
            "{outcomes:?}"
        );
        for at in ["replaced", "removed", "moved", "dated", "todir"] {
            assert_eq!(disk.user_read(at).unwrap(), &at.as_bytes()[..3]);
        }
    }
}
