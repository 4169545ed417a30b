//! What the fetcher says about itself.

use std::time::Duration;

use super::content::Stage;
use super::gossip::REPORT_EVERY;
use super::{Fetcher, MAX_SMALL, MAX_SMALL_BYTES, MAX_WANTED, WHO_HAS_EVERY};
use crate::ids::SessionId;
use crate::manifest::ContentRoot;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchStatus {
    /// Contents wanted.
    pub wanted: usize,
    /// Contents of them that nobody is known to hold.
    pub without_holder: usize,
    /// Bytes that are not here yet.
    pub bytes_missing: u64,
    /// Bytes under way or waiting to be written, over all peers.
    pub in_flight: u64,
    /// Each session.
    pub peers: Vec<PeerStatus>,
}

/// How things stand with one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which.
    pub session: SessionId,
    /// Bytes per second received lately; 0 when nothing is under way.
    pub rate: u64,
    /// Bytes asked for and not answered.
    pub in_flight: u64,
    /// Bytes answered that wait to be written.
    pub writing: u64,
    /// Bytes that the two may come to.
    pub window: u64,
    /// How long a request takes, averaged.
    pub latency: Duration,
    /// It left requests without an answer.
    pub slow: bool,
}

impl Fetcher {
    /// How things stand.
    #[must_use]
    pub fn status(&self) -> FetchStatus {
        let active = self
            .active
            .iter()
            .filter_map(|key| match &self.contents.get(key)?.stage {
                Stage::Chunks(chunks) => Some(chunks.done_bytes),
                _ => None,
            });
        FetchStatus {
            wanted: self.contents.len(),
            without_holder: self.orphans.len(),
            bytes_missing: self.wanted_bytes.saturating_sub(active.sum()),
            in_flight: self.total,
            peers: self
                .peers
                .keys()
                .filter_map(|session| self.rates(*session))
                .collect(),
        }
    }

    /// How things stand with one session.
    #[must_use]
    pub fn rates(&self, session: SessionId) -> Option<PeerStatus> {
        let peer = self.peers.get(&session)?;
        Some(PeerStatus {
            session,
            rate: if peer.in_flight == 0 { 0 } else { peer.rate },
            in_flight: peer.in_flight,
            writing: peer.writing,
            window: peer.window,
            latency: peer.usual,
            slow: peer.slow,
        })
    }

    /// The bytes of a wanted content that are here, and its size.
    #[must_use]
    pub fn progress(&self, content: ContentRoot) -> Option<(u64, u64)> {
        let content = self.contents.get(self.names.get(&content)?)?;
        let done = match &content.stage {
            Stage::Chunks(chunks) => chunks.done_bytes,
            _ => 0,
        };
        Some((done, content.size))
    }

    /// The big contents that are being collected.
    pub fn active_contents(&self) -> impl Iterator<Item = ContentRoot> + '_ {
        self.active
            .iter()
            .filter_map(|key| Some(self.contents.get(key)?.root))
    }

    /// Whether nothing is wanted and nothing is left to say.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.contents.is_empty() && self.outputs.is_empty()
    }

    /// Whether more should be wanted. Contents that nobody holds don't count as small ones, lest they keep others out.
    #[must_use]
    pub fn capacity(&self) -> bool {
        self.small.0 < MAX_SMALL
            && self.small.1 < MAX_SMALL_BYTES
            && self.contents.len() < MAX_WANTED
    }

    /// When [`handle_timeout`](Self::handle_timeout) should be called, if nothing else happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let silence = self
            .peers
            .values()
            .filter_map(|peer| peer.deadline(super::ask::PATIENCE));
        let who_has = !(self.orphans.is_empty() && self.active.is_empty());
        let end_game = !self.under_way.is_empty() && self.peers.len() > 1;
        let reports = self.active.iter().filter_map(|key| self.contents.get(key));
        let reports = reports.flat_map(|content| {
            let log = match &content.stage {
                Stage::Chunks(chunks) => chunks.log.len(),
                _ => 0,
            };
            let due = content
                .watchers
                .values()
                .filter(move |watch| watch.heard < log);
            due.map(|watch| watch.next)
        });
        debug_assert!(REPORT_EVERY < WHO_HAS_EVERY);
        let soon = (!self.ask_soon.is_empty()).then_some(self.ask_soon_at);
        silence
            .chain(who_has.then_some(self.who_has_at))
            .chain(end_game.then_some(self.end_game_at))
            .chain(reports)
            .chain(soon)
            .min()
    }
}
