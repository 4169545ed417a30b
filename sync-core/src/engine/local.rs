//! What a scan's findings mean.
//!
//! Content that the index already knows for a path makes no version: it adopts the record that speaks of
//! it, whoever wrote it. So a crash between a rename and its commit, a rebuilt index and a folder seeded by
//! hand are all the same case, and none makes a conflict.

use std::time::Duration;

use super::{Engine, Event, ledger::live_dir, scans::Seen};
use crate::{
    disk::{DiskKind, DiskStat, Found, ScanItem},
    entry::{Entry, Kind, MODE_MASK},
    index::{Index, IndexEntry, IndexResult, ManifestPut, flag},
    path::RelPath,
    reconcile::concurrent,
    record::Record,
    trouble::Trouble,
    version::Vector,
};

/// How long a racy file is left alone before it is looked at again.
const RACY_RECHECK: Duration = Duration::from_millis(2_100);

impl<I: Index> Engine<I> {
    pub(super) fn scanned(&mut self, scan: u64, items: Vec<ScanItem>) -> IndexResult<()> {
        if !self.scans.is_running(scan) {
            return Ok(());
        }
        for item in items {
            if self.is_touched(&item.path) {
                self.scans.look_at(item.path);
                continue;
            }
            if !matches!(item.found, Found::Unreadable { .. } | Found::Busy) {
                self.planner.seen(&item.path);
            }
            self.found(item)?;
        }
        self.planner.walk_again();
        Ok(())
    }

    /// Whether we have changed `path` since the running scan began: what it says may be old.
    pub(super) fn is_touched(&self, path: &RelPath) -> bool {
        self.scans.is_touched(path) || self.planner.in_group(path)
    }

    fn found(&mut self, item: ScanItem) -> IndexResult<()> {
        let ScanItem {
            path,
            found,
            manifest,
            chunks,
        } = item;
        match found {
            Found::File {
                stat,
                content,
                racy,
            } => {
                if racy {
                    let at = self.now.mono + RACY_RECHECK;
                    self.scans.look_later(path.clone(), at);
                }
                if content.height > 0 {
                    self.ledger.put_manifest(ManifestPut {
                        content,
                        pages: manifest,
                        chunks,
                    });
                }
                let entry = Entry {
                    path,
                    kind: Kind::File,
                    size: stat.size,
                    mtime_ns: stat.mtime_ns,
                    mode: stat.mode & MODE_MASK,
                    content: Some(content),
                    prev: None,
                    target: None,
                    author: self.ledger.replica(),
                };
                self.live(entry, stat, racy)
            }
            Found::Dir { stat } => self.live(
                live_dir(path, stat.mode & MODE_MASK, self.ledger.replica()),
                stat,
                false,
            ),
            Found::Symlink { stat, target } => {
                let entry = Entry {
                    kind: Kind::Symlink,
                    target: Some(target),
                    mode: 0,
                    ..live_dir(path, 0, self.ledger.replica())
                };
                self.live(entry, stat, false)
            }
            Found::Absent => {
                self.scans.note_gone(path);
                Ok(())
            }
            Found::Special => {
                if self.ledger.entry(&path)?.is_some_and(|e| e.want.is_some()) {
                    self.stick(&path, Trouble::Special);
                }
                Ok(())
            }
            Found::Unreadable { reason } => {
                // What stands there is unknown: nothing may be done to it, or said about it.
                self.planner.doubt(path.clone());
                let wanted = self.ledger.entry(&path)?.is_some_and(|e| e.want.is_some());
                let soon = if wanted { 5 } else { 60 };
                let at = self.now.mono + Duration::from_secs(soon);
                self.scans.look_later(path.clone(), at);
                self.scans.note_unread(path.clone());
                self.stick_as(&path, reason, false);
                Ok(())
            }
            Found::Busy => {
                self.stick_as(&path, Trouble::Changing, false);
                // Each look may read all of it: they become rarer.
                let pause = self.notes.next_try(&path).unwrap_or_default();
                let soon = pause.min(self.now.mono + Duration::from_secs(60));
                self.scans.look_later(path, soon);
                Ok(())
            }
        }
    }

    /// The disk shows something at a path.
    fn live(&mut self, mut found: Entry, stat: DiskStat, racy: bool) -> IndexResult<()> {
        let path = found.path.clone();
        self.notes.mended(&path);
        let old = self.ledger.entry(&path)?;
        let held = self.ledger.open_held(old.as_ref())?;
        let want = self.ledger.open_want(old.as_ref())?;
        let was_dir = old
            .as_ref()
            .and_then(|e| e.stat)
            .is_some_and(|s| s.kind == DiskKind::Dir);
        if was_dir && found.kind != Kind::Dir {
            self.gone_below(&path)?;
        }
        let mut entry = old.clone().unwrap_or_default();
        entry.stat = Some(stat);
        entry.content = found.content;
        entry.flags &= !(flag::RACY | flag::HELD_BACK | flag::LOCAL_EDIT);
        if racy {
            entry.flags |= flag::RACY;
        }
        if let Some(held) = held.as_ref().filter(|h| h.entry.kind == found.kind) {
            if held.entry.same_state(&found) {
                self.no_doubt(&path)?;
                self.ledger.put(path, entry, false);
                return Ok(());
            }
            found.prev = held.entry.content;
        }
        // A directory whose deletion was accepted but which still holds things of its own stays as it is.
        let kept = found.kind == Kind::Dir
            && old
                .as_ref()
                .and_then(|e| e.stat)
                .is_some_and(|s| s.kind == DiskKind::Dir);
        if kept
            && want.is_none()
            && held
                .as_ref()
                .is_some_and(|h| h.entry.kind == Kind::Tombstone)
        {
            self.ledger.put(path, entry, false);
            return Ok(());
        }
        if let Some(want) = &want {
            if want.entry.same_content(&found) {
                return self.found_wanted(found, entry, want);
            }
            let ancestor = want.entry.kind != Kind::Tombstone && want.entry.prev.is_some();
            let ancestor = ancestor && want.entry.prev == found.content;
            if found.kind == Kind::File
                && (ancestor || self.planner.placed().has(&path, found.content))
            {
                self.ledger.put(path, entry, false);
                return Ok(());
            }
        }
        self.no_doubt(&path)?;
        if !self.ledger.can_sign() {
            entry.flags |= flag::LOCAL_EDIT;
            self.ledger.put(path, entry, false);
            return Ok(());
        }
        self.revive_parent(&path)?;
        if let Some(parent) = path.parent()
            && self.ledger.entry(&parent)?.is_none()
        {
            self.scans.look_at(parent);
        }
        let mut past = held
            .as_ref()
            .map_or_else(Vector::new, |h| h.version.vector.clone());
        match want {
            // A deletion that wasn't carried out yet loses against what stands here.
            Some(want) if want.entry.kind == Kind::Tombstone => past.merge(&want.version.vector),
            Some(want) => return self.edited_meanwhile(found, entry, &past, want),
            None => {}
        }
        self.changed(&path, found.kind);
        self.author(found, &past, entry);
        Ok(())
    }

    /// The disk shows the content that is wanted: it was put there by us before a crash, or by the user.
    fn found_wanted(
        &mut self,
        found: Entry,
        mut entry: IndexEntry,
        want: &Record,
    ) -> IndexResult<()> {
        let path = found.path.clone();
        if want.entry.same_state(&found) {
            self.no_doubt(&path)?;
            entry.held = Some(want.raw().clone());
            entry.want = None;
            self.drop_work(&path);
            self.ledger.put(path, entry, true);
        } else if self.ledger.can_sign() && found.mtime_ns > want.entry.mtime_ns {
            self.no_doubt(&path)?;
            let past = want.version.vector.clone();
            self.author(
                Entry {
                    prev: want.entry.content,
                    ..found
                },
                &past,
                entry,
            );
        } else {
            // Time and mode are given to it by the planner.
            self.ledger.put(path, entry, false);
        }
        Ok(())
    }

    /// A local edit and a wanted record that don't know of each other.
    fn edited_meanwhile(
        &mut self,
        found: Entry,
        mut entry: IndexEntry,
        past: &Vector,
        want: Record,
    ) -> IndexResult<()> {
        let path = found.path.clone();
        self.changed(&path, found.kind);
        entry.flags |= flag::CONTESTED;
        self.author(found, past, entry.clone());
        // Signed at once, so that both can be compared.
        let wanted = entry.want.take();
        let signed = self.ledger.entry(&path)?;
        let Some(ours) = self.ledger.open_held(signed.as_ref())? else {
            return Ok(());
        };
        if concurrent(&ours, &want) == std::cmp::Ordering::Less
            && let Some(mut entry) = signed
        {
            // Theirs keeps the name; ours becomes a copy when theirs is put in place.
            entry.want = wanted;
            self.ledger.put(path, entry, true);
        }
        Ok(())
    }

    pub(super) fn changed(&mut self, path: &RelPath, kind: Kind) {
        let what = kind_word(kind);
        self.event(Event::LocalChange {
            path: path.clone(),
            what,
        });
    }

    /// Something lives below a directory that is recorded as deleted, or as something else: the
    /// directory lives too.
    pub(super) fn revive_parent(&mut self, path: &RelPath) -> IndexResult<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let Some(entry) = self.ledger.entry(&parent)? else {
            return Ok(());
        };
        let on_disk = entry.stat.is_some_and(|s| s.kind == DiskKind::Dir);
        let announced_dir = entry
            .announced()
            .is_some_and(|raw| raw.kind() == Some(Kind::Dir));
        if announced_dir || !on_disk || !self.ledger.can_sign() {
            return Ok(());
        }
        let past = self.past_of_dir(Some(&entry))?.0;
        self.revive_parent(&parent)?;
        let mode = entry.stat.map_or(0o755, |s| s.mode & MODE_MASK);
        self.author(live_dir(parent, mode, self.ledger.replica()), &past, entry);
        Ok(())
    }

    pub(super) fn scan_done(
        &mut self,
        scan: u64,
        skipped: Vec<(Vec<u8>, String)>,
        error: Option<String>,
    ) -> IndexResult<()> {
        let Some(Seen {
            all,
            asked,
            unread,
            gone,
            touched,
        }) = self.scans.end(scan, error.is_some(), self.now.mono)
        else {
            return Ok(());
        };
        let (gone, again): (Vec<_>, Vec<_>) = gone
            .into_iter()
            .partition(|p| !touched.contains(p) && !self.planner.in_group(p));
        self.scans.look_at_each(again);
        self.gone(gone)?;
        if error.is_none() {
            let told = |p: &&RelPath| !unread.contains(*p) && !touched.contains(*p);
            for path in asked.iter().filter(told) {
                self.planner.seen(path);
                self.planner.placed_mut().looked_at(path);
            }
        } else {
            // The disk is in trouble: the same paths again, a little later.
            let soon = self.now.mono + Duration::from_secs(2);
            for path in asked {
                self.scans.look_later(path, soon);
            }
        }
        if all {
            self.notes.set_skipped(skipped);
            if error.is_none() {
                self.planner.seen_all_but(&unread);
            }
        }
        self.planner.walk_again();
        Ok(())
    }
}

/// The word for a kind in events.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Dir => "dir",
        Kind::Symlink => "symlink",
        Kind::Tombstone => "deleted",
        Kind::Other(_) => "other",
    }
}
