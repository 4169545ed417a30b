//! Compaction and conversion: what they may be cut off at, and what they make.

use std::fs;

use sync_core::{
    index::{Batch, Index},
    record::Record,
    version::Vector,
};

use super::*;
use crate::sled_index::{db::Db, db::Stage, open::start, rewrite};

fn filled(dir: &Path, files: u64) -> SledIndex {
    let mut index = open(dir);
    for first in (0..files).step_by(500) {
        let entries = (first..first + 500).map(|n| {
            let content = root((n % 200) as u8, 0);
            (path(&format!("d/{n:05}")), Some(file(n + 1, n, content)))
        });
        index
            .commit(proven(Batch {
                entries: entries.collect(),
                ..Batch::default()
            }))
            .unwrap();
    }
    index.flush().unwrap();
    index
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn it_is_wanted_when_the_index_has_grown_by_half() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    assert!(!filled(&dir, 500).wants_compaction(), "it is small");
    let mut index = filled(&dir, 20_000);
    assert!(index.wants_compaction());
    index.compact().unwrap().unwrap();
    assert!(!index.wants_compaction());
    assert_eq!(names(home.path()), ["index"]);
    // It is remembered over a restart.
    drop(index);
    index = open(&dir);
    assert!(!index.wants_compaction());
    assert_eq!(index.totals().unwrap().local.files, 20_000);
}

#[test]
fn readers_and_writers_go_on_while_it_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 5_000);
    std::thread::scope(|s| {
        let compacting = index.clone();
        let compactor = s.spawn(move || {
            // Whoever writes comes first.
            let mut done = 0;
            for _ in 0..200 {
                done += u32::from(compacting.compact().unwrap().is_some());
            }
            done
        });
        let mut writer = index.clone();
        let mut n = 0;
        while !compactor.is_finished() {
            n += 1;
            let content = root((n % 100) as u8, 0);
            writer
                .commit(proven(Batch {
                    entries: vec![(path("d/new"), Some(file(100_000 + n, n, content)))],
                    ..Batch::default()
                }))
                .unwrap();
            assert!(index.entry(&path("d/00042")).unwrap().is_some());
            let found = index.with_content(&content, 1_000).unwrap();
            assert!(found.contains(&path("d/new")));
        }
        assert!(n > 0);
        compactor.join().unwrap();
    });
    assert!(index.compact().unwrap().is_some());
    assert_eq!(index.totals().unwrap().local.files, 5_001);
}

/// The names as a crash can leave them.
#[test]
fn a_replacement_cut_off_anywhere_leaves_one_whole_index() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let (next, former) = (rewrite::next(&dir), home.path().join("index.former"));
    let count = || open(&dir).totals().unwrap().local.files;
    drop(filled(&dir, 1_000));

    // While the copy was written.
    fs::create_dir(&next).unwrap();
    fs::write(next.join("db"), b"half").unwrap();
    assert_eq!(count(), 1_000);
    assert_eq!(names(home.path()), ["index"]);

    // After the exchange, while the old one was deleted.
    fs::create_dir(&next).unwrap();
    fs::write(next.join("conf"), b"old").unwrap();
    assert_eq!(count(), 1_000);
    assert_eq!(names(home.path()), ["index"]);

    // Between two renames: the old one comes back, for nobody knows how far the new one got.
    fs::rename(&dir, &former).unwrap();
    fs::create_dir(&next).unwrap();
    fs::write(next.join("db"), b"whole or not").unwrap();
    assert_eq!(count(), 1_000);
    assert_eq!(names(home.path()), ["index"]);

    // After both.
    fs::create_dir(&former).unwrap();
    fs::write(former.join("db"), b"old").unwrap();
    assert_eq!(count(), 1_000);
    assert_eq!(names(home.path()), ["index"]);
}

/// Who opens an index that another has open must not touch what that one is writing.
#[test]
fn a_copy_being_written_is_safe_from_others() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let index = filled(&dir, 500);
    fs::create_dir(rewrite::next(&dir)).unwrap();
    assert!(SledIndex::open(&dir, Options::default()).is_err());
    assert_eq!(names(home.path()), ["index", "index.next"]);
    drop(index);
}

/// Both indexes were written by the version before, in two devices of one folder with 20 files in `dir`, one of
/// them changed and one deleted, and a few around it.
fn of_format_1(dir: &Path, items: &str) {
    fs::create_dir_all(dir).unwrap();
    let db = Db::new(start(dir, Options::default()).ok().unwrap(), dir);
    let bytes = |hex: &str| -> Vec<u8> {
        let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
    };
    let mut stage = Stage::default();
    for line in items.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').unwrap();
        stage.put(bytes(name), bytes(value));
    }
    db.apply(stage).unwrap();
    db.flush().unwrap();
}

const A: &str = include_str!("format_1/a.hex");
const B: &str = include_str!("format_1/b.hex");

fn keys() -> FolderKeys {
    let secret = "AMFNCNOU7QUZHR4YUXYEQ7NAGQBME7N25HAGY";
    FolderKeys::derive(&Secret::parse(secret).unwrap())
}

/// The records that peers are told of, by path.
fn told(index: &SledIndex) -> BTreeMap<RelPath, (Record, RawRecord)> {
    let entries = index.entries_after(None, usize::MAX).unwrap();
    let told = entries.into_iter().map(|(path, entry)| {
        let raw = entry.announced().unwrap().clone();
        let proof = index.batch(&raw.seat().batch).unwrap().unwrap();
        let group = proof.group([&raw]).unwrap();
        let verified = group.verify(&keys(), &mut Default::default()).unwrap();
        assert_eq!(verified.0[0].signed(), raw.signed());
        (path, (Record::open(&keys(), raw.clone()).unwrap(), raw))
    });
    told.collect()
}

#[test]
fn an_index_of_the_version_before_is_signed_anew() {
    let home = tempfile::tempdir().unwrap();
    let (dir, other) = (home.path().join("a"), home.path().join("b"));
    of_format_1(&dir, A);
    of_format_1(&other, B);
    let (index, how) = SledIndex::open_for(&dir, Options::default(), &keys()).unwrap();
    assert_eq!(how, Opened::Converted { entries: 28 });
    assert_eq!(names(home.path()), ["a", "b"]);

    let records = told(&index);
    assert_eq!(records.len(), 28);
    let deleted: Vec<_> = records
        .iter()
        .filter(|(_, (record, _))| record.entry.kind == Kind::Tombstone)
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(deleted, ["dir/f9", "gone"], "deletions aren't forgotten");
    let link = &records[&path("link")].0.entry;
    assert_eq!(link.target.as_deref(), Some(&b"dir/f1"[..]));

    // Versions, numbers, facts and places of chunks are those of before.
    let knowledge: Vector = minicbor::decode(&index.fact(b"knowledge").unwrap().unwrap()).unwrap();
    for (record, _) in records.values() {
        assert!(knowledge.covers(record.version.dot));
    }
    let changes = index.changes_after(sync_core::ids::Seq(0), 1_000).unwrap();
    assert_eq!(changes.len(), 28);
    let large = index.entry(&path("large")).unwrap().unwrap();
    assert_eq!(
        index.with_content(&large.content.unwrap(), 9).unwrap(),
        [path("large")]
    );
    assert!(index.page(&large.content.unwrap().hash).unwrap().is_some());
    assert_eq!(index.totals().unwrap().local.files, 23);

    // Two devices that were converted hold the same records, signed bytes and all.
    let (second, _) = SledIndex::open_for(&other, Options::default(), &keys()).unwrap();
    assert_eq!(told(&second), records);

    drop(index);
    let (_, how) = SledIndex::open_for(&dir, Options::default(), &keys()).unwrap();
    assert_eq!(how, Opened::Existing);
}

#[test]
fn newest_records_can_be_shown_after_a_conversion() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a");
    of_format_1(&dir, A);
    let (index, _) = SledIndex::open_for(&dir, Options::default(), &keys()).unwrap();
    let newest: Vec<_> = A
        .lines()
        .filter(|line| line.starts_with("666e65776573742f"))
        .map(|line| u64::from_str_radix(&line[16..32], 16).unwrap())
        .collect();
    assert_eq!(newest.len(), 2);
    for replica in newest {
        let name = [&b"newest/"[..], &replica.to_be_bytes()].concat();
        let fact = index.fact(&name).unwrap().unwrap();
        let (counter, group): (u64, sync_core::record::Group) = minicbor::decode(&fact).unwrap();
        let (records, _) = group.verify(&keys(), &mut Default::default()).unwrap();
        let dot = records[0].dot().unwrap();
        assert_eq!((dot.replica, dot.counter), (ReplicaId(replica), counter));
    }
}

/// A crash in the middle of it leaves the old one, and it is done again.
#[test]
fn a_conversion_that_was_cut_off_begins_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a");
    of_format_1(&dir, A);
    of_format_1(
        &rewrite::next(&dir),
        A[..A.len() / 2].rsplit_once('\n').unwrap().0,
    );
    let (index, how) = SledIndex::open_for(&dir, Options::default(), &keys()).unwrap();
    assert_eq!(how, Opened::Converted { entries: 28 });
    assert_eq!(told(&index).len(), 28);
}

#[test]
fn who_cannot_sign_sets_it_aside() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a");
    of_format_1(&dir, A);
    let secret = Secret::parse("AMFNCNOU7QUZHR4YUXYEQ7NAGQBME7N25HAGY").unwrap();
    let reader = FolderKeys::derive(&Secret::ReadOnly(secret.to_read_only()));
    let (index, how) = SledIndex::open_for(&dir, Options::default(), &reader).unwrap();
    let moved_to = home.path().join("a.outdated");
    assert_eq!(how, Opened::Outdated { moved_to });
    assert_eq!(index.entries_after(None, 9).unwrap(), []);
    assert_eq!(names(home.path()), ["a", "a.outdated"]);
}

/// An entry that can't be read is damage: what stands on the disk is scanned anew.
#[test]
fn damage_in_an_old_index_is_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a");
    let line = A.lines().find(|line| line.starts_with("6564")).unwrap();
    let mut damaged = line.to_owned();
    // The sealed body comes after a null.
    let at = damaged.find("f658").unwrap() + 40;
    damaged.replace_range(at..at + 8, "00000000");
    of_format_1(&dir, &A.replace(line, &damaged));
    let (_, how) = SledIndex::open_for(&dir, Options::default(), &keys()).unwrap();
    assert!(matches!(how, Opened::Rebuilt { .. }), "{how:?}");
}
