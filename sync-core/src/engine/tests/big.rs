//! Files of several chunks, and disks that can't take them.

use std::time::Duration;

use bytes::Bytes;

use super::rig::Rig;
use crate::{
    chunk::ContentHash,
    disk::{DiskKind, Found, ScanItem, WriteTrouble},
    engine::{Input, State},
    fetch::TempJob,
    ids::Seq,
    index::Index,
    manifest::{Manifest, manifest_of},
    message::{ObjectId, ObjectKind},
    path::RelPath,
    trouble::Trouble,
};

fn manifest(bytes: &[u8]) -> Manifest {
    manifest_of(bytes, 1).unwrap()
}

impl Rig {
    /// What a node sends of its files and pages.
    /// The content of the change that has this number at `n`.
    pub(super) fn numbered(&self, n: usize, number: Seq) -> Option<Bytes> {
        let index = self.engines[n].index();
        let found = index.changes_after(Seq(number.0 - 1), 1).unwrap();
        let (_, path) = found.into_iter().find(|(seq, _)| *seq == number)?;
        let entry = index.entry(&path).unwrap()?;
        entry.content.filter(|_| entry.want.is_none())?;
        Some(self.disks[n].get(&path)?.bytes.clone())
    }

    pub(super) fn object(&self, n: usize, id: &ObjectId) -> Option<Bytes> {
        if id.kind == ObjectKind::Page {
            return self.engines[n].index().page(&id.hash).unwrap();
        }
        let mut files = self.disks[n]
            .values()
            .filter(|f| f.stat.kind == DiskKind::File);
        files.find_map(|file| {
            if ContentHash::chunk(&file.bytes) == id.hash {
                return Some(file.bytes.clone());
            }
            let mut at = 0;
            manifest(&file.bytes).chunks.iter().find_map(|chunk| {
                let from = at;
                at += chunk.len as usize;
                (chunk.hash == id.hash).then(|| file.bytes.slice(from..at))
            })
        })
    }

    /// What a scan says of a path.
    pub(super) fn seen(path: RelPath, found: Found, bytes: Option<&Bytes>) -> ScanItem {
        let (mut pages, mut chunks) = (Vec::new(), Vec::new());
        if let (Found::File { content, .. }, Some(bytes)) = (&found, bytes)
            && content.height > 0
        {
            let manifest = manifest(bytes);
            pages = manifest
                .pages
                .into_iter()
                .map(|p| (p.hash, p.bytes))
                .collect();
            chunks = manifest.chunks;
        }
        ScanItem {
            path,
            found,
            manifest: pages,
            chunks,
        }
    }

    /// Work on unfinished files: nothing is ever there already.
    pub(super) fn use_temps(&mut self, n: usize, job: TempJob) {
        let input = match job {
            TempJob::Check {
                content, chunks, ..
            } => Input::TempChecked {
                content,
                have: vec![false; chunks.len()],
            },
            TempJob::CopyLocal {
                content, chunks, ..
            } => Input::CopiedLocal {
                content,
                results: chunks.iter().map(|(index, ..)| (*index, false)).collect(),
            },
            TempJob::Write {
                content,
                size,
                offset,
                index,
                hash,
                bytes,
            } => {
                let trouble = self.trouble.clone();
                let ok = trouble.is_none() && ContentHash::chunk(&bytes) == hash;
                if ok {
                    let temp = self.temps.entry((n, content));
                    let temp = temp.or_insert_with(|| vec![0; size as usize]);
                    let at = offset as usize;
                    temp[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                Input::Written {
                    content,
                    index,
                    ok,
                    trouble,
                }
            }
            TempJob::Drop { .. } => return,
        };
        self.queue.push_back((n, input));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        (0..self.engines.len()).for_each(|n| self.queue.push_back((n, Input::Tick)));
        self.settle();
    }
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut hash = ContentHash::chunk(b"noise");
    while out.len() < len {
        out.extend_from_slice(hash.as_bytes());
        hash = ContentHash::chunk(hash.as_bytes());
    }
    out
}

#[test]
fn an_error_of_the_disk_is_shown_for_the_file_and_tried_again() {
    let mut rig = Rig::new(2);
    let bytes = noise(600_000);
    rig.trouble = Some(WriteTrouble::Failed(Trouble::DiskFails("EIO".into())));
    rig.write(0, "big", &bytes, 5);
    rig.write(0, "small", b"fits", 5);
    // Were it blamed on the peer, the peer would be banned after three, which the rig doesn't expect.
    rig.settle();
    assert_eq!(rig.read(1, "big"), None);
    assert_eq!(
        rig.read(1, "small").as_deref(),
        Some(&b"fits"[..]),
        "others go on"
    );
    let errors = rig.engines[1].errors();
    let [error] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(error.path, b"big");
    assert_eq!(error.reason, Trouble::DiskFails("EIO".into()));
    assert_eq!(
        rig.engines[1].status().unwrap().reason,
        None,
        "the disk isn't full"
    );
    rig.trouble = None;
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.read(1, "big").as_deref(), Some(&bytes[..]));
    assert!(rig.engines[1].errors().is_empty());
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn a_full_disk_holds_up_the_folder_until_there_is_room() {
    let mut rig = Rig::new(2);
    let bytes = noise(600_000);
    rig.trouble = Some(WriteTrouble::Full(Trouble::DiskFull));
    rig.write(0, "big", &bytes, 5);
    rig.settle();
    assert_eq!(rig.read(1, "big"), None);
    let status = rig.engines[1].status().unwrap();
    assert_eq!(status.reason, Some(Trouble::DiskFull));
    assert!(rig.engines[1].errors().is_empty());
    rig.trouble = None;
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.read(1, "big").as_deref(), Some(&bytes[..]));
    assert_eq!(rig.state(1), State::InSync);
}
