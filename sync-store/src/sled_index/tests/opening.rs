//! What opening does about locks, leftovers and damage.

use std::fs;

use rustix::fs::{FlockOperation, flock};
use sync_core::{
    ids::Generation,
    index::{Batch, Index, IndexError},
};

use super::*;
use crate::sled_index::OpenError;

fn filled(dir: &Path) -> SledIndex {
    let mut index = open(dir);
    let entries = (0..300).map(|n| (path(&format!("f{n}")), Some(file(n + 1, n, root(1, 0)))));
    index
        .commit(proven(Batch {
            entries: entries.collect(),
            ..Batch::default()
        }))
        .unwrap();
    index.flush().unwrap();
    index
}

fn how(dir: &Path) -> Opened {
    SledIndex::open(dir, Options::default()).unwrap().1
}

#[test]
fn fresh_then_existing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index/one");
    assert_eq!(how(&dir), Opened::Fresh);
    let mut index = filled(&dir);
    assert_eq!(index.generation().unwrap(), None);
    index.set_generation(Generation(77)).unwrap();
    drop(index);
    assert_eq!(how(&dir), Opened::Existing);
    let index = open(&dir);
    assert_eq!(index.generation().unwrap(), Some(Generation(77)));
    assert_eq!(index.totals().unwrap().local.files, 300);
}

#[test]
fn a_second_opening_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let first = filled(dir.path());
    let clone = first.clone();
    let error = SledIndex::open(dir.path(), Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyOpen(_)), "{error}");
    drop(first);
    assert_eq!(clone.totals().unwrap().local.files, 300);
    drop(clone);
    assert_eq!(how(dir.path()), Opened::Existing);
}

/// sled's threads may drop the last handle late, and a process that is being started holds a copy of it.
#[test]
fn a_lock_that_is_given_back_late_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let held = fs::File::open(dir.path().join("db")).unwrap();
    // Until sled's own threads have dropped theirs.
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let mut held = Some(held);
    let mut looks = 0;
    let pause = || {
        looks += 1;
        if looks == 3 {
            held = None;
        }
        true
    };
    let (index, how) =
        SledIndex::open_patiently(dir.path(), Options::default(), None, pause).unwrap();
    assert_eq!(how, Opened::Existing);
    assert_eq!(index.totals().unwrap().local.files, 300);
    assert!(looks >= 3, "it was opened under a lock");
}

#[test]
fn nothing_is_swept_under_one_who_has_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path());
    let theirs = dir.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&theirs, b"being written").unwrap();
    let error =
        SledIndex::open_patiently(dir.path(), Options::default(), None, || false).unwrap_err();
    assert!(matches!(error, OpenError::AlreadyOpen(_)), "{error}");
    assert!(theirs.exists());
    drop(index);
    assert_eq!(how(dir.path()), Opened::Existing);
    assert!(!theirs.exists());
}

#[test]
fn an_unfinished_snapshot_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    // sled takes the last name for the newest snapshot, and calls the index corrupt if it is torn.
    let planted = dir.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&planted, b"torn").unwrap();
    assert_eq!(how(dir.path()), Opened::Existing);
    assert!(!planted.exists());
    assert_eq!(open(dir.path()).totals().unwrap().local.files, 300);
}

#[test]
fn damage_is_set_aside_and_two_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let beside = |n| home.path().join(format!("index.damaged-{n}"));
    for round in 0..3 {
        drop(filled(&dir));
        fs::write(dir.join("round"), [round]).unwrap();
        fs::write(
            dir.join("snap.FFFFFFFFFFFFFFFF"),
            b"a snapshot that is none",
        )
        .unwrap();
        assert_eq!(
            how(&dir),
            Opened::Rebuilt {
                moved_to: beside(1)
            }
        );
        assert_eq!(open(&dir).entries_after(None, 9).unwrap(), []);
    }
    assert_eq!(fs::read(beside(1).join("round")).unwrap(), [2]);
    assert_eq!(fs::read(beside(2).join("round")).unwrap(), [1]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
}

#[test]
fn settings_of_the_engine_that_make_no_sense_are_damage() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    for damage in [&[0xa7; 62][..], &[0xa7; 9], b"use_compression: maybe"] {
        drop(filled(&dir));
        fs::write(dir.join("conf"), damage).unwrap();
        assert!(matches!(how(&dir), Opened::Rebuilt { .. }), "{damage:?}");
    }
}

#[test]
fn damage_found_later_is_remembered() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("index");
    let index = filled(&dir);
    let found = index.shared.db.corrupt("as a test has it");
    assert!(matches!(found, IndexError::Corrupt(_)));
    assert!(
        matches!(index.entry(&path("f1")), Err(IndexError::Corrupt(_))),
        "it answers still"
    );
    drop(index);
    assert!(matches!(how(&dir), Opened::Rebuilt { .. }));
    assert_eq!(how(&dir), Opened::Existing);
}

#[test]
fn a_later_format_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path());
    let mut stage = crate::sled_index::db::Stage::default();
    stage.put(crate::sled_index::key::FORMAT.to_vec(), vec![9]);
    index.shared.db.apply(stage).unwrap();
    drop(index);
    let error = SledIndex::open(dir.path(), Options::default()).unwrap_err();
    assert!(
        matches!(error, OpenError::Format { format: 9, .. }),
        "{error}"
    );
    assert!(dir.path().join("db").exists());
}

#[test]
fn an_unusable_directory_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"mine").unwrap();
    let error = SledIndex::open(&file, Options::default()).unwrap_err();
    assert!(matches!(error, OpenError::Unavailable { .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}
