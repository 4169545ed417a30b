//! Pages that nothing needs go; pages that anything needs stay.

use sync_core::{
    index::{Batch, Index, ManifestPut},
    manifest::{ChunkRef, EncodedPage, Manifest, ManifestBuilder},
};

use super::*;

/// A manifest of `n` chunks; those from `from` on differ with `salt`.
fn manifest(n: u32, from: u32, salt: u8) -> Manifest {
    let mut builder = ManifestBuilder::new();
    for i in 0..n {
        let salt = if i < from { 0 } else { salt };
        let hash = ContentHash::chunk(&[&i.to_le_bytes()[..], &[salt]].concat());
        builder
            .push(ChunkRef {
                hash,
                len: 1000 + i,
            })
            .unwrap();
    }
    builder.finish()
}

fn put(manifest: &Manifest) -> ManifestPut {
    let page = |p: &EncodedPage| (p.hash, p.bytes.clone());
    ManifestPut {
        content: manifest.root,
        pages: manifest.pages.iter().map(page).collect(),
        chunks: manifest.chunks.clone(),
    }
}

fn set(index: &mut SledIndex, at: &str, seq: u64, manifest: Option<&Manifest>) {
    let entry = manifest.map(|m| file(seq, m.size, m.root));
    let manifests = manifest.map(put).into_iter().collect();
    index
        .commit(proven(Batch {
            entries: vec![(path(at), entry)],
            manifests,
            ..Batch::default()
        }))
        .unwrap();
}

/// Sweeps to the end in small steps; gives the number of pages deleted.
fn sweep(index: &SledIndex, also: &[ContentRoot]) -> u64 {
    index.begin_sweep();
    finish(index, also)
}

/// Goes on to the end.
fn finish(index: &SledIndex, also: &[ContentRoot]) -> u64 {
    let mut removed = 0;
    for _ in 0..10_000 {
        let step = index.sweep_step(3, also).unwrap();
        removed += step.removed;
        if step.done {
            return removed;
        }
    }
    panic!("the sweep doesn't end");
}

fn has(index: &SledIndex, manifest: &Manifest) -> bool {
    manifest
        .pages
        .iter()
        .all(|p| index.page(&p.hash).unwrap().as_ref() == Some(&p.bytes))
}

#[test]
fn shared_pages_survive_and_others_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (old, new) = (manifest(3000, 0, 1), manifest(3000, 2500, 2));
    let half = manifest(3000, 2500, 3);
    assert!(old.root.height > 1 && new.root.height > 1);
    set(&mut index, "a", 1, Some(&old));
    set(&mut index, "b", 2, Some(&new));
    set(&mut index, "c", 3, Some(&half));
    assert_eq!(sweep(&index, &[]), 0);
    set(&mut index, "a", 4, None);
    set(&mut index, "c", 5, None);
    assert!(sweep(&index, &[]) > 0);
    assert!(has(&index, &new));
    assert!(!has(&index, &old) && !has(&index, &half));
    drop(index);
    let index = open(dir.path());
    assert!(has(&index, &new) && !has(&index, &old));
    assert_eq!(sweep(&index, &[]), 0);
}

#[test]
fn contents_that_are_being_fetched_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let coming = manifest(500, 0, 1);
    index
        .commit(proven(Batch {
            manifests: vec![put(&coming)],
            ..Batch::default()
        }))
        .unwrap();
    assert_eq!(sweep(&index, &[coming.root]), 0);
    assert!(has(&index, &coming));
    assert!(sweep(&index, &[]) > 0);
    assert!(!has(&index, &coming));
}

#[test]
fn what_comes_during_a_sweep_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (again, fresh) = (manifest(800, 0, 1), manifest(700, 0, 2));
    for n in 0..40 {
        set(&mut index, &format!("f{n:02}"), n + 1, None);
        let entry = file(n + 1, 5, root(1, 0));
        let entries = vec![(path(&format!("f{n:02}")), Some(entry))];
        index
            .commit(proven(Batch {
                entries,
                ..Batch::default()
            }))
            .unwrap();
    }
    index
        .commit(proven(Batch {
            manifests: vec![put(&again)],
            ..Batch::default()
        }))
        .unwrap();
    index.begin_sweep();
    // The sweep has passed "f00" when the file comes back there, with pages stored long before.
    assert!(!index.sweep_step(3, &[]).unwrap().done);
    set(&mut index, "f00", 90, Some(&again));
    set(&mut index, "f01", 91, Some(&fresh));
    finish(&index, &[]);
    assert!(has(&index, &again) && has(&index, &fresh));
}

#[test]
fn what_comes_to_be_in_use_after_the_beginning_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let (early, late) = (manifest(500, 0, 1), manifest(400, 0, 2));
    let stored = |manifest: &Manifest| Batch {
        manifests: vec![put(manifest)],
        ..Batch::default()
    };
    index.commit(proven(stored(&early))).unwrap();
    // One that was given up has no say in the next.
    index.begin_sweep();
    assert_eq!(index.sweep_step(0, &[]).unwrap().removed, 1);
    index.commit(proven(stored(&early))).unwrap();
    index.begin_sweep();
    index.commit(proven(stored(&late))).unwrap();
    assert_eq!(finish(&index, &[early.root]), 0);
    assert!(has(&index, &early) && has(&index, &late));
    let idle = index.sweep_step(9, &[]).unwrap();
    assert!(idle.done && idle.removed == 0, "none was begun");
}

/// A large file that changes all the time leaves a place for each of its chunks behind with each change.
#[test]
fn places_in_contents_that_went_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut index = open(dir.path());
    let mut swept = 0;
    for version in 0..100_u32 {
        let content = manifest(3000, 2900, version as u8);
        // As long as a file of so many chunks is.
        let entry = file(u64::from(version) + 1, 3000 << 16, content.root);
        index
            .commit(proven(Batch {
                entries: vec![(path("log"), Some(entry))],
                manifests: vec![put(&content)],
                ..Batch::default()
            }))
            .unwrap();
        if index.wants_sweep() {
            swept += 1;
            sweep(&index, &[]);
        }
    }
    assert!(swept > 0);
    // Each of a few commits takes a step of the merge that drops them.
    for n in 0..200 {
        set(&mut index, "small", 1000 + n, None);
        let other = manifest(2, 0, 200);
        set(&mut index, "small", 2000 + n, Some(&other));
    }
    let mut places = 0;
    let first = ContentHash::chunk(&[&0_u32.to_le_bytes()[..], &[0]].concat());
    index
        .chunk_places(&first, &mut |_| {
            places += 1;
            true
        })
        .unwrap();
    assert!(places < 60, "{places} places of one chunk");
}
