//! What a scan tells, on the simulated disk.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::AtomicBool},
};

use proptest::prelude::*;
use sync_core::{
    disk::{DiskKind, Found, ScanItem},
    index::{Batch, Index, IndexEntry, MemIndex, flag},
    manifest::manifest_of,
    path::{PathError, RelPath},
};

use super::*;
use crate::fs::{MemDisk, Op, OpKind, RootPresence};

const SEED: u64 = 5;

struct Lab {
    disk: MemDisk,
    index: MemIndex,
    options: ScanOptions,
}

/// What a scan told, flat.
#[derive(Default)]
struct Told {
    items: Vec<ScanItem>,
    skipped: Vec<(Vec<u8>, PathError)>,
}

impl Told {
    fn paths(&self) -> Vec<String> {
        self.items.iter().map(|item| item.path.display()).collect()
    }

    fn found(&self, path: &str) -> &Found {
        let item = self.items.iter().find(|item| item.path.as_bytes() == path.as_bytes());
        &item.unwrap_or_else(|| panic!("nothing was told of {path}")).found
    }
}

impl Lab {
    fn new() -> Self {
        let disk = MemDisk::new();
        let options = ScanOptions::inline(SEED);
        Self { disk, index: MemIndex::new(), options }
    }

    fn scanner(&self) -> Scanner<MemDisk, MemIndex> {
        Scanner::new(Arc::new(self.disk.clone()), self.index.clone(), self.options.clone())
    }

    fn look(&self, paths: Option<&[RelPath]>) -> Result<(Told, ScanSummary), ScanError> {
        let mut told = Told::default();
        let mut sink = |event| match event {
            ScanEvent::Items(items) => {
                assert!(!items.is_empty() && items.len() <= BATCH_ITEMS);
                told.items.extend(items);
            }
            ScanEvent::Skipped { path, reason } => told.skipped.push((path, reason)),
        };
        let cancel = AtomicBool::new(false);
        let summary = match paths {
            Some(paths) => self.scanner().scan_paths(paths, &mut sink, &cancel)?,
            None => self.scanner().scan_all(&mut sink, &cancel)?,
        };
        Ok((told, summary))
    }

    /// Scans without changing the index.
    fn peek(&self) -> Told {
        self.look(None).unwrap().0
    }

    /// Scans, and takes what was told into the index as an engine would, long after the last write.
    fn scan(&mut self) -> Told {
        self.disk.advance_clock_ns(10_000_000_000);
        let told = self.peek();
        self.take(&told);
        told
    }

    fn scan_paths(&mut self, paths: &[&str]) -> Told {
        self.disk.advance_clock_ns(10_000_000_000);
        let paths: Vec<RelPath> = paths.iter().map(|p| path(p)).collect();
        let told = self.look(Some(&paths)).unwrap().0;
        self.take(&told);
        told
    }

    fn take(&mut self, told: &Told) {
        let mut batch = Batch::default();
        for item in &told.items {
            let mut entry = self.index.entry(&item.path).unwrap().unwrap_or_default();
            (entry.content, entry.flags) = (None, 0);
            entry.stat = match &item.found {
                Found::File { stat, content, racy } => {
                    entry.content = Some(*content);
                    entry.flags = if *racy { flag::RACY } else { 0 };
                    Some(*stat)
                }
                Found::Dir { stat } | Found::Symlink { stat, .. } => Some(*stat),
                Found::Absent | Found::Special => None,
                Found::Unreadable { .. } | Found::Busy => continue,
            };
            batch.entries.push((item.path.clone(), Some(entry)));
        }
        self.index.commit(batch).unwrap();
    }

    /// The index holds exactly what stands on the disk.
    fn check(&self) {
        let mut want = BTreeMap::new();
        for (bytes, node) in self.disk.snapshot() {
            let Ok(path) = RelPath::parse(&bytes) else { continue };
            match node.kind {
                crate::fs::NodeKind::File => {
                    want.insert(path, Some(manifest_of(&node.bytes, SEED).unwrap().root));
                }
                crate::fs::NodeKind::Special => {}
                _ => drop(want.insert(path, None)),
            }
        }
        let entries = self.index.entries_after(None, usize::MAX).unwrap();
        let have: BTreeMap<RelPath, _> = entries
            .into_iter()
            .filter(|(_, entry)| entry.stat.is_some())
            .map(|(path, entry)| (path, entry.content))
            .collect();
        assert_eq!(have, want);
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_tree_is_told_once() {
    let mut lab = Lab::new();
    lab.disk.user_write("a/b/f", b"one").unwrap();
    lab.disk.user_write("a!", b"two").unwrap();
    lab.disk.user_symlink("z", b"/etc/passwd").unwrap();
    lab.disk.user_write(".sync/id", b"ours").unwrap();
    let told = lab.scan();
    assert_eq!(told.paths(), ["a", "a/b", "a/b/f", "a!", "z"]);
    let Found::Symlink { target, .. } = told.found("z") else { panic!() };
    assert_eq!(target, b"/etc/passwd");
    lab.check();
    assert!(lab.scan().items.is_empty());
}

#[test]
fn a_large_file_comes_with_its_manifest() {
    let mut lab = Lab::new();
    let bytes: Vec<u8> = (0..600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    lab.disk.user_write("f", &bytes).unwrap();
    let told = lab.scan();
    let want = manifest_of(&bytes, SEED).unwrap();
    let Found::File { content, .. } = told.found("f") else { panic!() };
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
    assert!(told.items[1..].iter().all(|item| item.found == Found::Absent));
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
    for told in [lab.scan(), lab.scan_paths(&["d"]), lab.scan_paths(&["d/e/f"])] {
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
    lab.scan();
    assert!(lab.scan().items.is_empty());
    // Taken out: the empty directory below shows.
    lab.disk.user_remove("mnt").unwrap();
    lab.disk.user_mkdir("mnt").unwrap();
    for told in [lab.scan(), lab.scan_paths(&["mnt"]), lab.scan_paths(&["mnt/sub/g"])] {
        assert_eq!(told.paths(), ["mnt"]);
        assert!(matches!(told.found("mnt"), Found::Unreadable { .. }));
    }
    // Another disk in its place.
    lab.disk.user_write("mnt/other", b"x").unwrap();
    lab.disk.user_set_device("mnt", 10).unwrap();
    assert_eq!(lab.scan().paths(), ["mnt"]);
    lab.options.accept_devices = true;
    assert_eq!(lab.scan().paths(), ["mnt", "mnt/other", "mnt/f", "mnt/sub", "mnt/sub/g"]);
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
    assert!(told.items.iter().all(|item| matches!(item.found, Found::Dir { .. })));
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
    lab.disk.set_hook(Some(Arc::new(move |op: &Op<'_>| {
        if op.path == b"f3" && op.kind == OpKind::Stat {
            disk.set_presence(RootPresence::Another);
        }
        None
    })));
    assert!(lab.look(None).is_err());
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
    for name in [&b"new\nline"[..], b"\xff\xfe", long.as_bytes(), b".syncignore", b"d/.sync"] {
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
        [(b".SYNC".to_vec(), PathError::Reserved), (deep.into_bytes(), PathError::TooDeep)]
    );
    assert!(told.items.iter().any(|item| item.path.as_bytes() == b"\xff\xfe"));
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
    assert!(matches!(lab.scan().found("f"), Found::File { racy: false, .. }));
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
        assert!(!path.is_below(&RelPath::parse(b"build").unwrap()), "asked below what is ignored");
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
    assert_eq!(lab.scan_paths(&["a/b/c/f"]).paths(), ["a", "a/b", "a/b/c", "a/b/c/f"]);
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
    let result = lab.scanner().scan_all(&mut |_| panic!("told after cancelling"), &cancel);
    assert!(matches!(result, Err(ScanError::Cancelled)));
}

#[test]
fn threads_find_the_same_as_one() {
    let mut lab = Lab::new();
    for n in 0..2000_u32 {
        let bytes = vec![n.to_le_bytes()[0]; (n as usize * 37) % 70_000];
        lab.disk.user_write(format!("d{}/f{n}", n % 17), &bytes).unwrap();
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

#[derive(Debug, Clone)]
enum Change {
    Write(usize, u8),
    Mkdir(usize),
    Link(usize),
    Remove(usize),
    Rename(usize, usize),
    Chmod(usize, bool),
}

const NAMES: [&str; 9] = ["a", "a/a", "a/a/a", "a/b", "a!", "a!/a", "b", "b/a", "b/a/c"];

fn change() -> impl Strategy<Value = Change> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), any::<u8>()).prop_map(|(n, b)| Change::Write(n, b)),
        1 => name.clone().prop_map(Change::Mkdir),
        1 => name.clone().prop_map(Change::Link),
        2 => name.clone().prop_map(Change::Remove),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Change::Rename(a, b)),
        1 => (name, any::<bool>()).prop_map(|(n, x)| Change::Chmod(n, x)),
    ]
}

fn apply(disk: &MemDisk, change: &Change) {
    disk.advance_clock_ns(1);
    // What no disk allows (a file below a file) is refused, and nothing happens.
    let _ = match change {
        Change::Write(n, b) => disk.user_write(NAMES[*n], &vec![*b; usize::from(*b) * 300]),
        Change::Mkdir(n) => disk.user_mkdir(NAMES[*n]),
        Change::Link(n) => disk.user_symlink(NAMES[*n], b"a/a"),
        Change::Remove(n) => disk.user_remove(NAMES[*n]),
        Change::Rename(a, b) => disk.user_rename(NAMES[*a], NAMES[*b]),
        Change::Chmod(n, x) => disk.user_chmod(NAMES[*n], if *x { 0o755 } else { 0o644 | 0o100 }),
    };
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// After any changes one scan brings the index in step, and the next one has nothing to tell.
    #[test]
    fn scans_bring_the_index_in_step(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..5),
    ) {
        let mut lab = Lab::new();
        for changes in rounds {
            changes.iter().for_each(|change| apply(&lab.disk, change));
            let told = lab.scan();
            let first_gone = told.items.iter().position(|item| item.found == Found::Absent);
            let after = &told.items[first_gone.unwrap_or(told.items.len())..];
            prop_assert!(after.iter().all(|item| item.found == Found::Absent));
            lab.check();
            prop_assert!(lab.scan().items.is_empty());
        }
    }

    /// The same when only the paths that were touched are looked at.
    #[test]
    fn dirty_paths_bring_the_index_in_step(
        rounds in proptest::collection::vec(proptest::collection::vec(change(), 0..8), 1..5),
    ) {
        let mut lab = Lab::new();
        for changes in rounds {
            changes.iter().for_each(|change| apply(&lab.disk, change));
            let dirty: Vec<&str> = changes
                .iter()
                .flat_map(|change| match change {
                    Change::Write(n, _) | Change::Mkdir(n) | Change::Link(n)
                    | Change::Remove(n) | Change::Chmod(n, _) => vec![NAMES[*n]],
                    Change::Rename(a, b) => vec![NAMES[*a], NAMES[*b]],
                })
                .collect();
            lab.scan_paths(&dirty);
            lab.check();
        }
    }
}

#[test]
fn entries_that_are_only_wanted_are_not_missing() {
    let mut lab = Lab::new();
    let entry = IndexEntry::default();
    let batch = Batch { entries: vec![(path("wanted"), Some(entry))], ..Batch::default() };
    lab.index.commit(batch).unwrap();
    assert!(lab.scan().items.is_empty());
}
