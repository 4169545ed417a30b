//! What sessions ask and tell each other about who holds what.

use std::time::Duration;

use super::content::{Key, Stage, Watch};
use super::{FetchOutput, Fetcher, WHO_HAS_EVERY};
use crate::ids::SessionId;
use crate::manifest::ContentRoot;
use crate::message::{Have, MAX_CONTENTS};

/// How often a session hears what we have got of a content.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(500);
/// A content that stands still for so long gives its place to others.
const STALL: Duration = Duration::from_secs(10);
/// Chunks that one report speaks of; a quarter of a message.
const REPORT_CHUNKS: u32 = 1 << 21;
/// New chunks further apart than this are reported apart.
const REPORT_GAP: u32 = 512;

impl Fetcher {
    /// A session asks what we hold of a content. Returns what is here of one that is being fetched (`None`: none of
    /// the fetcher's business), and lets the session know from now on what comes.
    pub fn handle_who_has(&mut self, session: SessionId, content: ContentRoot) -> Option<Have> {
        let content = self.contents.get_mut(self.names.get(&content)?)?;
        if content.is_small() || !self.peers.contains_key(&session) {
            return None;
        }
        let mut have = Have {
            content: content.root,
            whole: false,
            first: 0,
            bits: Vec::new(),
        };
        let mut heard = 0;
        if let Stage::Chunks(chunks) = &content.stage
            && !chunks.log.is_empty()
        {
            have.bits = chunks.wire(0, REPORT_CHUNKS);
            if chunks.count() <= REPORT_CHUNKS {
                heard = chunks.log.len();
            }
        }
        content.watchers.insert(
            session,
            Watch {
                heard,
                next: self.now + REPORT_EVERY,
            },
        );
        Some(have)
    }

    /// Tells what has come since the last time.
    pub(super) fn report(&mut self) {
        let keys: Vec<_> = self.active.iter().copied().collect();
        keys.into_iter().for_each(|key| self.report_due(key, false));
    }

    /// Tells what has come, now that all is here.
    pub(super) fn report_last(&mut self, key: Key) {
        self.report_due(key, true);
    }

    fn report_due(&mut self, key: Key, all: bool) {
        let now = self.now;
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let Stage::Chunks(chunks) = &content.stage else {
            return;
        };
        for (session, watch) in &mut content.watchers {
            if watch.heard >= chunks.log.len() || (now < watch.next && !all) {
                continue;
            }
            let mut news = chunks.log[watch.heard..].to_vec();
            watch.heard = chunks.log.len();
            watch.next = now + REPORT_EVERY;
            news.sort_unstable();
            let mut start = 0;
            for end in 1..=news.len() {
                let ends = news.get(end).is_none_or(|next| {
                    next - news[end - 1] > REPORT_GAP || next - news[start] >= REPORT_CHUNKS
                });
                if ends {
                    let (from, to) = (news[start], news[end - 1] + 1);
                    let bits = chunks.wire(from, to);
                    let content = content.root;
                    let have = Have {
                        content,
                        whole: false,
                        first: u64::from(from),
                        bits,
                    };
                    self.outputs
                        .push_back(FetchOutput::Announce(*session, have));
                    start = end;
                }
            }
        }
    }

    /// Sets the clock of questions, if it wasn't running.
    pub(super) fn start_who_has(&mut self) {
        if self.orphans.is_empty() && self.active.is_empty() {
            self.who_has_at = self.now + WHO_HAS_EVERY;
        }
    }

    pub(super) fn ask_who_has(&mut self, session: Option<SessionId>, roots: &[ContentRoot]) {
        if !self.peers.is_empty() {
            for roots in roots.chunks(MAX_CONTENTS) {
                self.outputs
                    .push_back(FetchOutput::WhoHas(session, roots.to_vec()));
            }
        }
    }

    /// Asks about what came to be wanted a moment ago, and still has no holder.
    pub(super) fn ask_due(&mut self) {
        if self.now < self.ask_soon_at || self.ask_soon.is_empty() {
            return;
        }
        let mut roots = std::mem::take(&mut self.ask_soon);
        roots.retain(|root| {
            let key = self.names.get(root);
            key.is_some_and(|key| self.orphans.contains(key))
        });
        self.ask_who_has(None, &roots);
    }

    /// Asks about everything that can't go on, and lets others have the places of what stands still.
    pub(super) fn ask_again(&mut self) {
        if self.now < self.who_has_at {
            return;
        }
        self.who_has_at = self.now + WHO_HAS_EVERY;
        let mut still = Vec::new();
        for key in &self.active {
            let Some(content) = self.contents.get(key) else {
                continue;
            };
            let (progress, busy) = match &content.stage {
                Stage::Pages(pages) => (pages.progress, !pages.local.is_empty()),
                Stage::Chunks(chunks) => (chunks.progress, chunks.awaits_disk()),
                _ => continue,
            };
            let first = super::Item {
                key: *key,
                part: super::Part::Whole,
            };
            let next = self.under_way.range(first..).next();
            let asked = next.is_some_and(|(item, _)| item.key == *key);
            if !busy && !asked && self.now >= progress + WHO_HAS_EVERY {
                still.push((*key, content.root, self.now >= progress + STALL));
            }
        }
        let orphans = self
            .orphans
            .iter()
            .filter_map(|key| Some(self.contents.get(key)?.root));
        let mut roots: Vec<_> = orphans.collect();
        roots.extend(still.iter().map(|(_, root, _)| *root));
        roots.sort_unstable();
        roots.dedup();
        self.ask_who_has(None, &roots);
        for (key, ..) in still.into_iter().filter(|(_, _, long)| *long) {
            if !self.waiting.is_empty() {
                self.deactivate(key);
                self.activate();
            }
        }
    }
}
