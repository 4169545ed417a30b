//! Sweeping what no file needs any more: manifest pages in the index, and old temporaries in `.sync/tmp`.
//!
//! It takes small steps and leaves the index free between them, so that nobody waits for it. It must never
//! remove what a wanted record names: that is being fetched, or waits for a peer.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use sync_core::{
    engine::wanted_contents,
    index::{IndexError, IndexResult},
    keys::FolderKeys,
    manifest::ContentRoot,
    path::RelPath,
};

use super::{FolderIndex, Home, open::Parts};
use crate::{fs::Disk, temps::Temps};

/// Entries or pages that one step looks at while it holds the index.
const STEP: usize = 256;
/// The pause between two steps, in which others have the index.
const PAUSE: Duration = Duration::from_millis(2);

/// What a sweep removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pages: u64,
    temporaries: usize,
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the temporaries can't be looked through: {0}")]
    Disk(#[from] io::Error),
}

/// Sweeps an open folder once. `None` if it was cancelled.
pub(super) fn sweep<H: Home>(parts: &Parts<H>, now_ns: i64) -> Result<Option<Swept>, SweepError> {
    Sweeper {
        index: &parts.index,
        temps: &*parts.temps,
        keys: &parts.keys,
    }
    .sweep(now_ns, &parts.cancel)
}

/// What is swept, and by what it is known what is in use.
struct Sweeper<'a, D: Disk, I> {
    index: &'a I,
    temps: &'a Temps<D>,
    keys: &'a FolderKeys,
}

impl<D: Disk, I: FolderIndex> Sweeper<'_, D, I> {
    /// Sweeps once. `None` if it was cancelled.
    fn sweep(&self, now_ns: i64, cancel: &AtomicBool) -> Result<Option<Swept>, SweepError> {
        let mut swept = Swept::default();
        // What comes to be used from now on is spared by the index, and what is in use already is named here.
        self.index.begin_sweep();
        let Some(mut wanted) = self.wanted(cancel)? else {
            return Ok(None);
        };
        swept.temporaries = self.temps.sweep(&wanted, now_ns)?;
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let step = self.index.sweep_step(STEP, &std::mem::take(&mut wanted))?;
            swept.pages += step.removed;
            if step.done {
                break;
            }
            thread::sleep(PAUSE);
        }
        Ok(Some(swept))
    }

    /// All contents that wanted records name.
    fn wanted(&self, cancel: &AtomicBool) -> IndexResult<Option<Vec<ContentRoot>>> {
        let mut wanted = Vec::new();
        let mut after: Option<RelPath> = None;
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (contents, last) = wanted_contents(self.index, self.keys, after.as_ref(), STEP)?;
            wanted.extend(contents);
            if last.is_none() {
                break;
            }
            after = last;
        }
        wanted.sort_unstable();
        wanted.dedup();
        Ok(Some(wanted))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::{
        fs::RootDisk,
        sled_index::{Options, SledIndex},
    };
    use sync_core::{
        chunk::ContentHash,
        entry::{Entry, Kind},
        ids::ReplicaId,
        index::{Batch, Index as _, IndexEntry, ManifestPut, Need, Want},
        manifest::{ChunkRef, Manifest, ManifestBuilder},
        record::{BatchProof, sign},
        secret::Secret,
        version::{Dot, Vector, Version},
    };

    fn unix_ns() -> i64 {
        RootDisk::open("/").unwrap().clock_ns()
    }

    const DAY: i64 = 86_400 * 1_000_000_000;

    fn manifest(salt: u8) -> Manifest {
        let mut builder = ManifestBuilder::new();
        for n in 0..400_u32 {
            let hash = ContentHash::chunk(&[&n.to_be_bytes()[..], &[salt]].concat());
            builder.push(ChunkRef { hash, len: 1000 }).unwrap();
        }
        builder.finish()
    }

    fn entry(
        keys: &FolderKeys,
        at: &str,
        manifest: &Manifest,
        here: bool,
    ) -> (RelPath, IndexEntry, BatchProof) {
        let path = RelPath::parse(at.as_bytes()).unwrap();
        let author = ReplicaId(7);
        let said = Entry {
            path: path.clone(),
            kind: Kind::File,
            size: manifest.size,
            mtime_ns: 1,
            mode: 0o644,
            content: Some(manifest.root),
            prev: None,
            target: None,
            author,
        };
        let counter = u64::from(at.as_bytes()[0]);
        let dot = Dot {
            replica: author,
            counter,
        };
        let version = Version::new(dot, &Vector::new());
        let mut signed = sign(keys, 0, vec![(said, version)]).unwrap();
        let record = signed.records[0].raw().clone();
        let mut entry = IndexEntry::default();
        if here {
            entry.content = Some(manifest.root);
            entry.held = Some(record);
        } else {
            entry.want = Some(Want {
                record,
                need: Some(Need::Content),
                bytes: manifest.size,
                holders: Vec::new(),
            });
        }
        (path, entry, signed.proofs.remove(0))
    }

    fn has(index: &SledIndex, manifest: &Manifest) -> bool {
        let there = |hash| index.page(hash).unwrap().is_some();
        manifest.pages.iter().all(|page| there(&page.hash))
    }

    #[test]
    fn what_is_wanted_stays_and_what_nobody_needs_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join(".sync/tmp")).unwrap();
        let (mut index, _) =
            SledIndex::open(&dir.path().join("index"), Options::default()).unwrap();
        let keys = FolderKeys::derive(&Secret::generate([7; 21]));
        let [here, wanted, gone] = [1, 2, 3].map(manifest);
        let puts = [&here, &wanted, &gone].map(|m| ManifestPut {
            content: m.root,
            pages: m.pages.iter().map(|p| (p.hash, p.bytes.clone())).collect(),
            chunks: m.chunks.clone(),
        });
        let entries = [
            entry(&keys, "a", &here, true),
            entry(&keys, "b", &wanted, false),
        ];
        index
            .commit(Batch {
                proofs: entries.iter().map(|(_, _, proof)| proof.clone()).collect(),
                entries: entries.map(|(path, entry, _)| (path, Some(entry))).into(),
                manifests: puts.into(),
                ..Batch::default()
            })
            .unwrap();
        let disk = Arc::new(RootDisk::open(&root).unwrap());
        let temps = Arc::new(Temps::new(Arc::clone(&disk), 0));
        for content in [&wanted, &gone] {
            let bytes = bytes::Bytes::from_static(b"a chunk");
            let hash = ContentHash::chunk(&bytes);
            assert!(
                temps
                    .write_chunk(&content.root, content.size, 0, &hash, &bytes)
                    .unwrap()
            );
        }
        // As after a restart, when nothing is open.
        let temps = Arc::new(Temps::new(disk, 0));
        assert_eq!(temps.list().unwrap().len(), 2);
        let sweeper = Sweeper {
            index: &index.clone(),
            temps: &*temps,
            keys: &keys,
        };
        let never = AtomicBool::new(false);
        let swept = sweeper.sweep(unix_ns(), &never).unwrap().unwrap();
        assert_eq!(swept.pages, gone.pages.len() as u64);
        assert_eq!(swept.temporaries, 0, "they may be of use for a week");
        assert!(has(&index, &here) && has(&index, &wanted) && !has(&index, &gone));
        let swept = sweeper.sweep(unix_ns() + 8 * DAY, &never).unwrap().unwrap();
        assert_eq!(
            swept,
            Swept {
                pages: 0,
                temporaries: 1
            }
        );
        assert_eq!(sweeper.temps.list().unwrap().len(), 1);

        // Now it isn't wanted any more.
        let (path, _, _) = entry(sweeper.keys, "b", &wanted, false);
        index
            .commit(Batch {
                entries: vec![(path, None)],
                ..Batch::default()
            })
            .unwrap();
        assert_eq!(
            sweeper.sweep(unix_ns(), &AtomicBool::new(true)).unwrap(),
            None
        );
        let swept = sweeper.sweep(unix_ns() + 8 * DAY, &never).unwrap().unwrap();
        assert_eq!(
            swept,
            Swept {
                pages: wanted.pages.len() as u64,
                temporaries: 1
            }
        );
        assert!(has(&index, &here));
    }
}
