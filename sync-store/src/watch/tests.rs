//! Which events become which dirty paths, and when.

use std::{sync::mpsc::channel, time::Duration};

use proptest::prelude::*;
use sync_core::path::RelPath;

use super::{Coalescer, Dirty, FolderWatcher, WatchEvent};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn paths(texts: &[&str]) -> Option<Dirty> {
    Some(Dirty::Paths(texts.iter().map(|t| path(t)).collect()))
}

#[test]
fn a_path_is_told_once_it_is_quiet() {
    let mut c = Coalescer::new();
    assert_eq!(c.next_timeout(), None);
    c.handle_event(path("a"), ms(0));
    c.handle_event(path("b"), ms(20));
    c.handle_event(path("a"), ms(30));
    assert_eq!(c.next_timeout(), Some(ms(70)));
    assert_eq!(c.poll(ms(69)), None);
    assert_eq!(c.poll(ms(70)), paths(&["b"]));
    assert_eq!(c.next_timeout(), Some(ms(80)));
    assert_eq!(c.poll(ms(80)), paths(&["a"]));
    assert_eq!(c.poll(ms(1000)), None);
}

#[test]
fn a_path_that_never_rests_is_told_at_last() {
    let mut c = Coalescer::new();
    let mut told = Vec::new();
    for n in 0..3000 {
        c.handle_event(path("log"), ms(n));
        told.extend(c.poll(ms(n)).map(|_| n));
    }
    assert_eq!(told, [1000, 2001]);
}

#[test]
fn a_hot_path_waits_for_twice_its_hashing() {
    let mut c = Coalescer::new();
    c.handle_hashing_took(path("vm"), Duration::from_secs(4));
    c.handle_event(path("vm"), ms(0));
    assert_eq!(c.next_timeout(), Some(Duration::from_secs(8)));
    c.handle_hashing_took(path("vm"), Duration::from_secs(4000));
    assert_eq!(c.next_timeout(), Some(Duration::from_secs(60)));
    c.handle_hashing_took(path("vm"), ms(1));
    assert_eq!(c.next_timeout(), Some(ms(50)));
}

#[test]
fn a_flood_in_a_directory_becomes_the_directory() {
    let mut c = Coalescer::new();
    c.handle_event(path("d/deep/x"), ms(0));
    for n in 0..200 {
        c.handle_event(path(&format!("d/{n:03}")), ms(n / 10));
    }
    c.handle_event(path("d/deep/y"), ms(20));
    c.handle_event(path("e"), ms(20));
    assert_eq!(c.poll(ms(100)), paths(&["d", "e"]));
    assert_eq!(c.next_timeout(), None);
    // The same directory again starts anew.
    c.handle_event(path("d/1"), ms(200));
    assert_eq!(c.poll(ms(250)), paths(&["d/1"]));
}

#[test]
fn too_much_becomes_everything() {
    let mut c = Coalescer::new();
    for n in 0..600 {
        c.handle_event(path(&format!("d{}/{n}", n % 20)), ms(0));
    }
    assert_eq!(c.poll(ms(49)), None);
    assert_eq!(c.poll(ms(50)), Some(Dirty::All));
    for n in 0..129 {
        c.handle_event(path(&format!("{n}")), ms(60));
    }
    assert_eq!(c.poll(ms(110)), Some(Dirty::All));
    c.handle_overflow(ms(200));
    assert_eq!(c.next_timeout(), Some(ms(250)));
}

proptest! {
    #[test]
    fn every_event_is_covered(events in proptest::collection::vec("[a-c](/[a-c]){0,3}", 1..300)) {
        let mut c = Coalescer::new();
        for (n, event) in events.iter().enumerate() {
            c.handle_event(path(event), ms(n as u64 / 100));
        }
        match c.poll(ms(1000)) {
            Some(Dirty::Paths(told)) => {
                for event in &events {
                    let event = path(event);
                    prop_assert!(told.iter().any(|t| *t == event || event.is_below(t)));
                }
            }
            other => prop_assert_eq!(other, Some(Dirty::All)),
        }
        prop_assert_eq!(c.next_timeout(), None);
        prop_assert!(c.is_idle());
    }
}

/// Waits for events until one fits. The time is a bound on a hang, not an expectation.
fn wait_for(
    events: &std::sync::mpsc::Receiver<WatchEvent>,
    fits: impl Fn(&WatchEvent) -> bool,
) -> bool {
    while let Ok(event) = events.recv_timeout(Duration::from_secs(20)) {
        if fits(&event) {
            return true;
        }
    }
    false
}

fn tells(event: &WatchEvent, wanted: &RelPath) -> bool {
    matches!(event, WatchEvent::Dirty(Dirty::Paths(all))
        if all.iter().any(|p| p == wanted || wanted.is_below(p)))
}

#[test]
fn changes_on_a_real_disk_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::create_dir_all(root.join("sub/deep")).unwrap();
    std::fs::create_dir_all(root.join(".sync/tmp")).unwrap();
    let (told, events) = channel();
    let watcher = FolderWatcher::start(root, move |event| {
        let _ = told.send(event);
    })
    .unwrap();
    assert!(wait_for(&events, |e| *e == WatchEvent::Dirty(Dirty::All)));
    std::fs::write(root.join(".sync/tmp/x"), b"ours").unwrap();
    std::fs::write(root.join("sub/deep/f"), b"one").unwrap();
    assert!(wait_for(&events, |e| tells(e, &path("sub/deep/f"))));
    // A directory made later is watched too.
    std::fs::create_dir(root.join("new")).unwrap();
    assert!(wait_for(&events, |e| tells(e, &path("new"))));
    std::fs::write(root.join("new/g"), b"two").unwrap();
    assert!(wait_for(&events, |e| tells(e, &path("new/g"))));
    // Both ends of a rename are dirty.
    std::fs::rename(root.join("new/g"), root.join("sub/h")).unwrap();
    let both = std::cell::Cell::new((false, false));
    assert!(wait_for(&events, |e| {
        let (a, b) = both.get();
        both.set((a || tells(e, &path("new/g")), b || tells(e, &path("sub/h"))));
        both.get() == (true, true)
    }));
    drop(watcher);
}

/// A watcher of a new directory, which has begun to watch.
fn watching(root: &std::path::Path) -> (FolderWatcher, std::sync::mpsc::Receiver<WatchEvent>) {
    let (told, events) = channel();
    let watcher = FolderWatcher::start(root, move |event| {
        let _ = told.send(event);
    })
    .unwrap();
    assert!(wait_for(&events, |e| *e == WatchEvent::Dirty(Dirty::All)));
    (watcher, events)
}

#[test]
fn watchers_share_a_thread_and_hear_only_of_their_own() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, of_a) = watching(a.path());
    let (second, of_b) = watching(b.path());
    assert!(first.shares_with(&second));
    std::fs::create_dir(a.path().join("in-a")).unwrap();
    std::fs::create_dir(b.path().join("in-b")).unwrap();
    assert!(wait_for(&of_b, |e| tells(e, &path("in-b"))));
    assert!(wait_for(&of_a, |e| tells(e, &path("in-a"))));
    std::fs::write(b.path().join("in-b/deep"), b"x").unwrap();
    assert!(wait_for(&of_b, |e| tells(e, &path("in-b/deep"))));
    // One leaves; the other is watched as before.
    drop(first);
    std::fs::write(b.path().join("in-b/later"), b"x").unwrap();
    std::fs::write(a.path().join("in-a/later"), b"x").unwrap();
    assert!(wait_for(&of_b, |e| tells(e, &path("in-b/later"))));
    let foreign = |e: WatchEvent| tells(&e, &path("in-a")) || tells(&e, &path("in-b"));
    assert!(!of_b.try_iter().any(foreign));
    assert!(!of_a.try_iter().any(|e| tells(&e, &path("in-b"))));
}

#[test]
fn roots_in_each_other_do_not_take_each_others_watches() {
    let dir = tempfile::tempdir().unwrap();
    let inner_root = dir.path().join("sub/inner");
    std::fs::create_dir_all(inner_root.join("d")).unwrap();
    let (outer, _of_outer) = watching(dir.path());
    let (inner, of_inner) = watching(&inner_root);
    assert!(!outer.shares_with(&inner));
    // The same once more, as when a root is watched anew.
    let (again, of_again) = watching(&inner_root);
    drop((outer, inner));
    assert!(of_inner.iter().count() < 10, "what was dropped has ended");
    std::fs::write(inner_root.join("d/f"), b"x").unwrap();
    assert!(wait_for(&of_again, |e| tells(e, &path("d/f"))));
    drop(again);
    let (_anew, of_anew) = watching(&inner_root);
    std::fs::write(inner_root.join("d/g"), b"x").unwrap();
    assert!(wait_for(&of_anew, |e| tells(e, &path("d/g"))));
}

/// Tells when it is dropped, and whether by a panic.
struct Dropped(std::sync::mpsc::Sender<bool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::panicking());
    }
}

#[test]
fn a_panic_ends_all_watchers_of_a_thread_and_they_can_tell() {
    // In directories that overlap with nobody else's but each other's thread, since others' tests run beside this.
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let hub = super::hub::Hub::start().unwrap();
    let (ended, ends) = channel();
    let start = |root: &std::path::Path, panics: bool| {
        let voice = Dropped(ended.clone());
        let tell = move |_| {
            let _ = &voice;
            assert!(!panics, "a test's panic");
        };
        let root = root.canonicalize().unwrap();
        hub.add(&root, Box::new(tell)).map_err(|_| "it has ended")
    };
    let _calm = start(a.path(), false).unwrap();
    let _panics = start(b.path(), true).unwrap();
    assert!(ends.recv().unwrap());
    assert!(ends.recv().unwrap());
    // Its thread takes nobody any more, and says so once it is gone.
    while start(a.path(), false).is_ok() {
        std::thread::yield_now();
    }
}
