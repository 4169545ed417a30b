//! Deletions that needn't be remembered any more.
//!
//! A deletion is kept so that those who were away learn of it. After thirty days it goes; knowledge still covers what
//! it deleted, so that an old copy is never taken for a new file, and who comes later is told of all that lives.

use std::time::Duration;

use super::Engine;
use crate::{
    entry::Kind,
    index::{Index, IndexEntry, IndexResult},
    path::RelPath,
};

/// How long a deletion is kept, in nanoseconds.
const KEPT_NS: i64 = 30 * 24 * 3_600 * 1_000_000_000;
/// When it is first looked for old ones, and how often then.
const FIRST: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Entries looked at at once, and the pause after them.
const PAGE: usize = 500;
const PAUSE: Duration = Duration::from_millis(20);

/// How far it was looked for old deletions.
#[derive(Debug)]
pub(super) struct Forgetting {
    after: Option<RelPath>,
    due: Duration,
}

impl Forgetting {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            after: None,
            due: now + FIRST,
        }
    }

    pub(super) fn next_timeout(&self) -> Duration {
        self.due
    }
}

impl<I: Index> Engine<I> {
    /// Forgets deletions that are old enough, a page at a time.
    pub(super) fn forget_old(&mut self) -> IndexResult<()> {
        let now = self.now.mono;
        if now < self.forgetting.due || !self.notes.active() || !self.scans.first_done() {
            return Ok(());
        }
        let after = self.forgetting.after.take();
        let page = self.ledger.index().entries_after(after.as_ref(), PAGE)?;
        let last = page.last().filter(|_| page.len() == PAGE);
        self.forgetting.after = last.map(|(path, _)| path.clone());
        let pause = if last.is_some() { PAUSE } else { EVERY };
        self.forgetting.due = now + pause;
        for (path, _) in page {
            let Some(entry) = self.ledger.entry(&path)? else {
                continue;
            };
            if self.is_forgettable(&path, &entry)? {
                self.ledger.forget(path, &entry)?;
            }
        }
        Ok(())
    }

    /// Whether an entry is nothing but a deletion that was carried out long ago and was told to everybody here.
    fn is_forgettable(&self, path: &RelPath, entry: &IndexEntry) -> IndexResult<bool> {
        let told = entry.seq <= self.ledger.durable() && entry.seq <= self.peers.released();
        let held = entry.held.as_ref();
        let deletion = held.is_some_and(|raw| raw.kind() == Some(Kind::Tombstone));
        let settled = told && !self.ledger.is_beyond_us(path);
        if !settled || !deletion || entry.stat.is_some() || entry.want.is_some() {
            return Ok(false);
        }
        let Some(record) = self.ledger.open_held(Some(entry))? else {
            return Ok(false);
        };
        let old = record.entry.mtime_ns.saturating_add(KEPT_NS) < self.now.unix_ns;
        // Else an old copy would be taken for a new file.
        let known = self.ledger.knowledge().covers_all(&record.version.vector);
        Ok(old && known && !self.planner.is_active(path))
    }
}
