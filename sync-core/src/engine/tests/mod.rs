//! Two and three engines over toy disks, in virtual time. The whole-system simulator lives in
//! integration-tests; here each rule of the engine has its smallest test.

mod big;
mod disk;
mod exchange;
mod later;
mod past;
mod rig;
mod rivals;
mod years;

use rig::Rig;

#[test]
fn a_file_made_on_one_side_stands_on_the_other() {
    let mut rig = Rig::new(2);
    rig.write(0, "a.txt", b"hello", 1);
    rig.write(0, "d/b.txt", b"deep", 1);
    rig.write(0, "d/empty", b"", 1);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    assert_eq!(rig.read(1, "d/b.txt"), Some(b"deep".to_vec()));
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn nothing_is_put_on_disk_before_its_record_is_durable() {
    let mut rig = Rig::new(2);
    rig.settle();
    rig.slow_flushes(Some(1));
    rig.write(0, "a.txt", b"hello", 1);
    rig.settle();
    assert_eq!(rig.read(1, "a.txt"), None);
    rig.slow_flushes(None);
    rig.settle();
    assert_eq!(rig.read(1, "a.txt"), Some(b"hello".to_vec()));
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn an_edit_replaces_and_a_deletion_deletes() {
    let mut rig = Rig::new(2);
    rig.write(0, "a", b"one", 1);
    rig.write(0, "b", b"two", 1);
    rig.settle();
    rig.write(1, "a", b"three", 2);
    rig.remove(1, "b");
    rig.settle();
    assert_eq!(rig.read(0, "a"), Some(b"three".to_vec()));
    assert_eq!(rig.read(0, "b"), None);
    assert_eq!(rig.tree(1), rig.tree(0));
}

#[test]
fn two_edits_keep_both() {
    let mut rig = Rig::new(2);
    rig.write(0, "a", b"base", 1);
    rig.settle();
    rig.cut(0, 1);
    rig.write(0, "a", b"older", 2);
    rig.write(1, "a", b"newer", 3);
    rig.settle();
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    assert_eq!(rig.read(0, "a"), Some(b"newer".to_vec()));
    let all: Vec<_> = rig.tree(0).into_values().collect();
    assert!(all.contains(&b"older".to_vec()), "{:?}", rig.tree(0));
    assert_eq!(all.len(), 2);
}

#[test]
fn an_edit_beats_a_deletion() {
    let mut rig = Rig::new(2);
    rig.write(0, "a", b"base", 1);
    rig.settle();
    rig.cut(0, 1);
    rig.remove(0, "a");
    rig.write(1, "a", b"edited", 2);
    rig.settle();
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.read(0, "a"), Some(b"edited".to_vec()));
    assert_eq!(rig.tree(1), rig.tree(0));
}

#[test]
fn equal_content_on_both_sides_is_no_conflict_and_is_not_sent() {
    let mut rig = Rig::new(2);
    rig.write(0, "a", b"same", 1);
    rig.write(1, "a", b"same", 2);
    rig.settle();
    assert_eq!(rig.tree(0).len(), 1);
    assert_eq!(rig.mtime(0, "a"), Some(2));
    assert_eq!(rig.mtime(1, "a"), Some(2));
    assert_eq!(rig.objects_sent, 0);
}

#[test]
fn a_move_sends_no_content() {
    let mut rig = Rig::new(2);
    rig.write(0, "d/a", b"content", 1);
    rig.settle();
    let before = rig.objects_sent;
    rig.rename(0, "d/a", "e/b");
    rig.settle();
    assert_eq!(rig.read(1, "e/b"), Some(b"content".to_vec()));
    assert_eq!(rig.read(1, "d/a"), None);
    assert_eq!(rig.objects_sent, before);
}

#[test]
fn a_new_file_revives_its_deleted_directory() {
    let mut rig = Rig::new(2);
    rig.write(0, "d/a", b"x", 1);
    rig.settle();
    rig.cut(0, 1);
    rig.remove(0, "d/a");
    rig.remove(0, "d");
    rig.write(1, "d/new", b"y", 2);
    rig.settle();
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.read(0, "d/new"), Some(b"y".to_vec()));
    assert_eq!(rig.read(0, "d/a"), None);
    assert_eq!(rig.tree(1), rig.tree(0));
}

#[test]
fn many_deletions_wait_for_the_user() {
    let mut rig = Rig::new(2);
    for i in 0..40 {
        rig.write(0, &format!("f{i}"), format!("{i}").as_bytes(), 1);
    }
    rig.settle();
    rig.remove_all(0);
    rig.settle();
    assert_eq!(rig.tree(1).len(), 40);
    assert_eq!(rig.state(0), super::State::Held);
    rig.reject(0);
    rig.settle();
    assert_eq!(rig.tree(0).len(), 40);
    rig.remove_all(0);
    rig.settle();
    rig.approve(0);
    rig.settle();
    assert_eq!(rig.tree(1).len(), 0);
}

#[test]
fn a_read_only_member_changes_nothing_elsewhere() {
    let mut rig = Rig::with_read_only(2, 1);
    rig.write(0, "a", b"signed", 1);
    rig.settle();
    rig.write(1, "a", b"mine", 5);
    rig.write(1, "own", b"mine", 5);
    rig.settle();
    assert_eq!(rig.read(0, "a"), Some(b"signed".to_vec()));
    assert_eq!(rig.read(0, "own"), None);
    rig.write(0, "a", b"newer", 9);
    rig.settle();
    assert_eq!(rig.read(1, "a"), Some(b"newer".to_vec()));
    assert!(rig.tree(1).values().any(|v| v == b"mine"));
}

#[test]
fn a_third_member_gets_all_from_whoever_is_there() {
    let mut rig = Rig::new(3);
    rig.cut(0, 2);
    rig.write(0, "a", b"relayed", 1);
    rig.settle();
    rig.cut(0, 1);
    rig.settle();
    assert_eq!(rig.read(2, "a"), Some(b"relayed".to_vec()));
}

#[test]
fn a_directory_and_a_file_at_one_path_keep_both() {
    let mut rig = Rig::new(2);
    rig.cut(0, 1);
    rig.write(0, "x", b"a file", 9);
    rig.write(1, "x/inside", b"in a dir", 1);
    rig.settle();
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    let all: Vec<_> = rig.tree(0).into_values().collect();
    assert!(
        all.contains(&b"a file".to_vec()) && all.contains(&b"in a dir".to_vec()),
        "{:?}",
        rig.tree(0)
    );
}

#[test]
fn many_held_deletions_are_decided_page_by_page() {
    let mut rig = Rig::new(2);
    for i in 0..2_500 {
        rig.write(0, &format!("f{i}"), format!("{i}").as_bytes(), 1);
        if i % 500 == 0 {
            rig.settle();
        }
    }
    rig.settle();
    for approve in [false, true] {
        rig.remove_all(0);
        rig.settle();
        assert_eq!(rig.state(0), super::State::Held);
        let before = rig.engines[0].index().largest_batch();
        assert!(before <= 1_100, "{before}");
        match approve {
            true => rig.approve(0),
            false => rig.reject(0),
        }
        rig.settle();
        let left = if approve { 0 } else { 2_500 };
        assert_eq!((rig.tree(0).len(), rig.tree(1).len()), (left, left));
        assert!(rig.in_sync(0) && rig.in_sync(1));
    }
    assert!(rig.engines[0].index().largest_batch() <= 1_100);
}
