//! What the rig's toy disks do: being looked at and being changed.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::rig::{Node, Rig};
use crate::{
    disk::{Action, DiskKind, DiskStat, Displaced, Expect, Found, Outcome, ScanItem, Source},
    engine::{Input, ScanWhat},
    index::Index,
    manifest::{ContentRoot, manifest_of},
    observe::{Observation, observe},
    path::RelPath,
};

impl Rig {
    pub(super) fn scan(&mut self, n: usize, scan: u64, what: ScanWhat) {
        let index = self.engines[n].index().clone();
        let mut paths: BTreeSet<RelPath> = self.disks[n].keys().cloned().collect();
        paths.extend(
            index
                .entries_after(None, usize::MAX)
                .unwrap()
                .into_iter()
                .map(|(p, _)| p),
        );
        if let ScanWhat::Paths(only) = what {
            paths.retain(|p| only.iter().any(|o| p == o || p.is_below(o)));
        }
        let mut items = Vec::new();
        let mut gone = Vec::new();
        for p in paths {
            let entry = index.entry(&p).unwrap();
            let node = self.disks[n].get(&p);
            let found = match observe(entry.as_ref(), node.map(|f| &f.stat)) {
                Observation::Same => continue,
                Observation::Gone => {
                    gone.push(ScanItem {
                        path: p,
                        found: Found::Absent,
                        manifest: vec![],
                        chunks: vec![],
                    });
                    continue;
                }
                Observation::Look => {
                    let node = node.unwrap();
                    match node.stat.kind {
                        _ if self.unreadable.contains(&(n, p.clone())) => {
                            let reason = "input/output error".into();
                            Found::Unreadable { reason }
                        }
                        DiskKind::Dir => Found::Dir { stat: node.stat },
                        _ => Found::File {
                            stat: node.stat,
                            content: manifest_of(&node.bytes, 1).unwrap().root,
                            racy: false,
                        },
                    }
                }
            };
            items.push(Self::seen(p, found, node.map(|node| &node.bytes)));
        }
        items.extend(gone);
        self.queue.push_back((n, Input::Scanned { scan, items }));
        self.queue.push_back((
            n,
            Input::ScanDone {
                scan,
                skipped: vec![],
                error: None,
            },
        ));
    }

    pub(super) fn apply(&mut self, n: usize, action: Action) -> Outcome {
        let target = action.path().clone();
        let there = self.disks[n].get(&target).cloned();
        let (expect, displaced) = match &action {
            Action::Dir {
                expect, displaced, ..
            }
            | Action::File {
                expect, displaced, ..
            }
            | Action::Symlink {
                expect, displaced, ..
            }
            | Action::Remove {
                expect, displaced, ..
            } => (*expect, displaced.clone()),
            Action::Meta { expect, .. } => (*expect, Displaced::Archive),
            Action::Rename { .. } => (Expect::Absent, Displaced::Archive),
        };
        let fits = match (expect, &there) {
            (Expect::Absent, None) => true,
            (Expect::Stat(want), Some(node)) => {
                want == node.stat || want.kind == DiskKind::Dir && node.stat.kind == DiskKind::Dir
            }
            _ => false,
        };
        if !fits {
            return Outcome::Stale;
        }
        let below = self.disks[n].keys().any(|p| p.is_below(&target));
        if below && !matches!(action, Action::Dir { .. }) {
            return Outcome::NotEmpty;
        }
        if let Some(parent) = target.parent()
            && self.disks[n]
                .get(&parent)
                .is_none_or(|d| d.stat.kind != DiskKind::Dir)
        {
            return Outcome::Stale;
        }
        if let (Some(node), Displaced::Copy(copy)) = (&there, &displaced) {
            self.disks[n].insert(copy.clone(), node.clone());
        }
        let stat = match action {
            Action::Dir { mode, .. } => {
                self.ino += 1;
                let stat = DiskStat {
                    kind: DiskKind::Dir,
                    size: 0,
                    mtime_ns: 0,
                    ctime_ns: 0,
                    mode,
                    ino: self.ino,
                    dev: 1,
                };
                self.disks[n].insert(
                    target,
                    Node {
                        stat,
                        bytes: Bytes::new(),
                    },
                );
                Some(stat)
            }
            Action::File {
                source,
                content,
                meta,
                ..
            } => {
                let bytes = match source {
                    Source::Bytes(bytes) => bytes,
                    Source::CopyOf(from) => self.disks[n]
                        .get(&from)
                        .map(|f| f.bytes.clone())
                        .unwrap_or_default(),
                    Source::Temp(content) => {
                        self.temps.remove(&(n, content)).unwrap_or_default().into()
                    }
                };
                if manifest_of(&bytes, 1).unwrap().root != content
                    && content != ContentRoot::empty()
                {
                    return Outcome::BadSource;
                }
                Some(self.put_file(n, &target, bytes, meta.mtime_ns, meta.mode))
            }
            Action::Meta { meta, .. } => {
                let node = self.disks[n].get_mut(&target).unwrap();
                (node.stat.mtime_ns, node.stat.mode) = (meta.mtime_ns, meta.mode);
                Some(node.stat)
            }
            Action::Rename {
                from,
                meta,
                expect_from,
                ..
            } => {
                let Some(node) = self.disks[n]
                    .get(&from)
                    .filter(|f| expect_from == Expect::Stat(f.stat))
                    .cloned()
                else {
                    return Outcome::Stale;
                };
                self.disks[n].remove(&from);
                Some(self.put_file(n, &target, node.bytes, meta.mtime_ns, meta.mode))
            }
            Action::Remove { .. } => {
                self.disks[n].remove(&target);
                None
            }
            Action::Symlink { .. } => panic!("the rig has no symlinks"),
        };
        Outcome::Done {
            stat,
            copies: vec![],
        }
    }
}
