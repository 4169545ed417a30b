//! Any sequence of batches: the index on disk answers every question as the one in memory does.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select};
use sync_core::{
    disk::DiskKind,
    entry::Kind,
    ids::Seq,
    index::{Batch, ChunkPlace, Index, IndexEntry, ManifestPut, MemIndex, Need, Want},
    manifest::{ChunkRef, ContentRoot},
    path::RelPath,
};

use super::*;

#[derive(Debug, Clone)]
struct Draft {
    path: RelPath,
    entry: Option<IndexEntry>,
    numbered: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Draft>, Vec<(u8, Option<u8>)>, Vec<(u8, u8)>),
    Reopen,
    Compact,
}

fn any_path() -> impl Strategy<Value = RelPath> {
    let name = select(vec!["a", "b", "a!", "\u{1}", "zz", "LONG"]);
    proptest::collection::vec(name, 1..4).prop_map(|names| {
        let names: Vec<_> = names
            .iter()
            .map(|n| {
                if *n == "LONG" {
                    "x".repeat(250)
                } else {
                    n.to_string()
                }
            })
            .collect();
        let mut bytes = names.join("/").into_bytes();
        if bytes.ends_with(b"zz") {
            bytes.push(0xff);
        }
        RelPath::parse(&bytes).unwrap()
    })
}

fn any_want() -> impl Strategy<Value = Want> {
    let kind = select(vec![
        Kind::File,
        Kind::Dir,
        Kind::Symlink,
        Kind::Tombstone,
        Kind::Other(9),
    ]);
    let need = select(vec![
        None,
        Some(Need::Dir),
        Some(Need::Content),
        Some(Need::Removal),
    ]);
    (kind, need, 0..1000u64).prop_map(|(kind, need, bytes)| want(kind, need, bytes))
}

fn any_entry() -> impl Strategy<Value = IndexEntry> {
    let on_disk = proptest::option::of((
        select(vec![DiskKind::File, DiskKind::Dir, DiskKind::Symlink]),
        0..10_000u64,
    ));
    let held = proptest::option::of((
        select(vec![Kind::File, Kind::Dir, Kind::Tombstone]),
        select(vec![30, 250, 900, 5000]),
    ));
    let content = proptest::option::of((0..4u8, 0..2u8));
    (on_disk, held, content, proptest::option::of(any_want())).prop_map(
        |(s, held, content, want)| IndexEntry {
            stat: s.map(|(kind, size)| stat(kind, size)),
            content: content.map(|(n, height)| root(n, height)),
            held: held.map(|(kind, body)| record(kind, body)),
            want,
            ..IndexEntry::default()
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let draft = (
        any_path(),
        proptest::option::weighted(0.8, any_entry()),
        any::<bool>(),
    )
        .prop_map(|(path, entry, numbered)| Draft {
            path,
            entry,
            numbered,
        });
    let facts = proptest::collection::vec((0..4u8, proptest::option::of(any::<u8>())), 0..3);
    let manifests = proptest::collection::vec((0..6u8, 0..4u8), 0..3);
    let commit = (proptest::collection::vec(draft, 0..30), facts, manifests)
        .prop_map(|(drafts, facts, manifests)| Step::Commit(drafts, facts, manifests));
    prop_oneof![9 => commit, 1 => Just(Step::Reopen), 1 => Just(Step::Compact)]
}

fn batch(
    drafts: Vec<Draft>,
    facts: Vec<(u8, Option<u8>)>,
    manifests: Vec<(u8, u8)>,
    seq: &mut u64,
) -> Batch {
    let entries = drafts.into_iter().map(|draft| {
        let number = if draft.numbered {
            *seq += 1;
            *seq
        } else {
            0
        };
        (
            draft.path,
            draft.entry.map(|entry| IndexEntry {
                seq: number,
                ..entry
            }),
        )
    });
    let manifests = manifests.into_iter().map(|(n, m)| ManifestPut {
        content: root(m, 1),
        pages: vec![page(n, 100), page(n + 1, 4000)],
        chunks: (n..n + 3)
            .map(|c| ChunkRef {
                hash: ContentHash::chunk(&[c]),
                len: 100 + u32::from(c),
            })
            .collect(),
    });
    proven(Batch {
        entries: entries.collect(),
        facts: facts
            .into_iter()
            .map(|(k, v)| (vec![k], v.map(|v| vec![v; 3])))
            .collect(),
        manifests: manifests.collect(),
        ..Batch::default()
    })
}

/// Reads a list to its end in pieces.
fn paged<T>(limit: usize, mut next: impl FnMut(Option<&T>) -> Vec<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        let part = next(all.last());
        assert!(part.len() <= limit);
        if part.is_empty() {
            return all;
        }
        all.extend(part);
    }
}

fn agree(mem: &MemIndex, sled: &SledIndex, probe: &RelPath, limit: usize) {
    let entries = mem.entries_after(None, usize::MAX).unwrap();
    let found = paged(limit, |last: Option<&(RelPath, IndexEntry)>| {
        sled.entries_after(last.map(|(p, _)| p), limit).unwrap()
    });
    assert_eq!(found, entries);
    assert_eq!(sled.entry(probe).unwrap(), mem.entry(probe).unwrap());
    for (path, entry) in entries.iter().step_by(5) {
        assert_eq!(sled.entry(path).unwrap().as_ref(), Some(entry));
        for after in [None, Some(probe)] {
            assert_eq!(
                sled.entries_below(path, after, limit).unwrap(),
                mem.entries_below(path, after, limit).unwrap()
            );
        }
    }
    // There, not there, and in any direction: what is remembered of the last looks must never show.
    for (path, entry) in entries.iter().rev() {
        let absent = RelPath::parse(&[path.as_bytes(), b"~"].concat()).unwrap();
        assert_eq!(sled.entry(&absent).unwrap(), mem.entry(&absent).unwrap());
        assert_eq!(sled.entry(path).unwrap().as_ref(), Some(entry));
    }
    for (_, entry) in &entries {
        let held = entry.held.iter();
        for raw in held.chain(entry.want.iter().map(|want| &want.record)) {
            let proof = sled.batch(&raw.seat().batch).unwrap();
            assert_eq!(proof, mem.batch(&raw.seat().batch).unwrap());
            assert!(proof.unwrap().group([raw]).is_some(), "it can be shown");
        }
    }
    let changes = paged(limit, |last: Option<&(Seq, RelPath)>| {
        sled.changes_after(last.map_or(Seq(0), |(s, _)| *s), limit)
            .unwrap()
    });
    assert_eq!(changes, mem.changes_after(Seq(0), usize::MAX).unwrap());
    for need in [Need::Dir, Need::Content, Need::Removal] {
        let all = paged(limit, |last| sled.needs(need, last, limit).unwrap());
        assert_eq!(all, mem.needs(need, None, usize::MAX).unwrap());
        let after = Some(probe);
        assert_eq!(
            sled.needs(need, after, limit).unwrap(),
            mem.needs(need, after, limit).unwrap()
        );
    }
    for n in 0..9 {
        for height in 0..2 {
            with_content_agrees(mem, sled, &root(n, height), limit);
        }
        let chunk = ContentHash::chunk(&[n]);
        assert_eq!(places(sled, &chunk), places(mem, &chunk));
        for len in [100, 4000] {
            let (hash, _) = page(n, len);
            assert_eq!(sled.page(&hash).unwrap(), mem.page(&hash).unwrap());
        }
        assert_eq!(sled.fact(&[n]).unwrap(), mem.fact(&[n]).unwrap());
    }
    assert_eq!(sled.totals().unwrap(), mem.totals().unwrap());
}

/// Without their order, which is not promised.
fn places(index: &impl Index, chunk: &ContentHash) -> BTreeSet<(ContentRoot, u64, u32)> {
    let mut all = BTreeSet::new();
    let mut take = |p: ChunkPlace| all.insert((p.content, p.offset, p.len));
    index.chunk_places(chunk, &mut take).unwrap();
    all
}

/// Which paths a limit leaves out is open; nothing else is.
fn with_content_agrees(mem: &MemIndex, sled: &SledIndex, content: &ContentRoot, limit: usize) {
    let all = mem.with_content(content, usize::MAX).unwrap();
    assert_eq!(sled.with_content(content, usize::MAX).unwrap(), all);
    let some = sled.with_content(content, limit).unwrap();
    assert_eq!(some.len(), all.len().min(limit));
    let all: BTreeSet<_> = all.into_iter().collect();
    assert!(some.iter().all(|path| all.contains(path)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn both_indexes_agree(
        steps in proptest::collection::vec(any_step(), 1..16),
        probe in any_path(),
        limit in 1..9usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("index");
        let (mut mem, mut sled, mut seq) = (MemIndex::new(), open(&dir), 0);
        for step in steps {
            match step {
                Step::Commit(drafts, facts, manifests) => {
                    let batch = batch(drafts, facts, manifests, &mut seq);
                    mem.commit(batch.clone()).unwrap();
                    sled.commit(batch).unwrap();
                }
                Step::Reopen => {
                    sled.flush().unwrap();
                    drop(sled);
                    sled = open(&dir);
                }
                Step::Compact => prop_assert!(sled.compact().unwrap().is_some()),
            }
            agree(&mem, &sled, &probe, limit);
        }
    }
}

/// Enough changes of content that runs are merged, and stale records are thrown out.
#[test]
fn merged_runs_lose_nothing_and_forget_what_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let (mut mem, mut sled) = (MemIndex::new(), open(dir.path()));
    let mut seq = 0;
    for round in 0..12u32 {
        for dir in 0..6 {
            let entries = (0..400).map(|n| {
                seq += 1;
                let hash = ContentHash::chunk(&(round / 4 * 7919 + n % 300).to_le_bytes());
                let content = ContentRoot { hash, height: 0 };
                let entry = (n + round) % 50 != 0;
                (
                    path(&format!("d{dir}/f{n}")),
                    entry.then(|| file(seq, u64::from(n), content)),
                )
            });
            let batch = proven(Batch {
                entries: entries.collect(),
                ..Batch::default()
            });
            mem.commit(batch.clone()).unwrap();
            sled.commit(batch).unwrap();
        }
        match round {
            5 => {
                drop(sled);
                sled = open(dir.path());
            }
            7 => {
                // Merged on the way, and what is stale is left out where it is much.
                let done = sled.compact().unwrap().unwrap();
                assert!(done.after < done.before, "{done:?}");
                assert!(sled.read().contents.shape().0 <= 1);
            }
            _ => {}
        }
    }
    agree(&mem, &sled, &path("d3/f7"), 1000);
    for n in 0..300u32 {
        let hash = ContentHash::chunk(&(2 * 7919 + n).to_le_bytes());
        with_content_agrees(&mem, &sled, &ContentRoot { hash, height: 0 }, 5);
        let stale = ContentRoot {
            hash: ContentHash::chunk(&n.to_le_bytes()),
            height: 0,
        };
        assert!(sled.with_content(&stale, 9).unwrap().is_empty());
    }
    let (runs, records) = sled.read().contents.shape();
    assert!(runs < 40, "{runs} runs");
    assert!(
        records < 30_000,
        "{records} records of {} entries",
        mem.len()
    );
}
