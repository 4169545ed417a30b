//! The beacon machine itself: when to announce, whom to answer, what to believe.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use zeroize::Zeroizing;

use super::limits::{Limits, NONCE_LIFE};
use super::wire::{Beacon, Kind, MAX_TAGS, Nonce, TAG_GROUP, Tag, announce_tag, answer_tag};
use crate::candidate::{canonical, names_a_host};
use crate::rng::SeededRng;
use crate::{Candidate, FolderTag, Source};

const INTERVAL: Duration = Duration::from_secs(30);
const CANDIDATE_LIFE: Duration = Duration::from_secs(90);
/// Between two announces, however often interfaces and folders change.
const MIN_GAP: Duration = Duration::from_millis(500);
pub(super) const MAX_FOLDERS: usize = 4096;
/// Datagrams to each destination in one announce; folders that don't fit have
/// their turn 30 seconds later.
const MAX_DATAGRAMS: usize = 8;
const MAX_OWN_NONCES: usize = 512;
/// Announces whose answers are still welcome. Answers come at once, so this is
/// two full announces to both destinations.
const MAX_ASKED: usize = 2 * 2 * MAX_DATAGRAMS;
const MAX_QUEUED: usize = 4096;

/// What a [`LanBeacon`] starts with.
#[derive(Default)]
pub struct LanConfig {
    /// Port where sessions are taken, TCP and UDP; 0 when none are.
    pub port: u16,
    /// Folders with the key that all their members derive for the beacon.
    pub folders: Vec<(FolderTag, [u8; 32])>,
}

impl fmt::Debug for LanConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanConfig")
            .field("port", &self.port)
            .field("folders", &self.folders.len())
            .finish()
    }
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// The IPv4 broadcast address of every interface, on the beacon port.
    Broadcast,
    /// The IPv6 beacon group on every interface, on the beacon port.
    Multicast,
    /// One socket.
    Unicast(SocketAddr),
}

/// A datagram to send from the daemon's own socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// What.
    pub bytes: Vec<u8>,
}

/// More than 4,096 folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the beacon takes at most {MAX_FOLDERS} folders")]
pub struct TooManyFolders;

/// Counters since the start, for a report on what the beacon does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LanStats {
    /// Datagrams handed to the sockets as announces.
    pub announces_sent: u64,
    /// Answers handed to the sockets.
    pub answers_sent: u64,
    /// Datagrams heard, whatever they were.
    pub heard: u64,
    /// Of these: not a beacon, or from an impossible address.
    pub malformed: u64,
    /// Of these: our own voice.
    pub own: u64,
    /// Of these: over a limit, so not looked at.
    pub limited: u64,
    /// Of these: for other people's folders.
    pub foreign: u64,
    /// Of these: a repetition of an announce already honoured.
    pub repeated: u64,
    /// Of these: from a peer of one of our folders.
    pub matched: u64,
}

struct Asked {
    nonce: Nonce,
    at: Duration,
    folders: Vec<FolderTag>,
}

/// The machine. See the [module](super) for what it is for.
///
/// Call [`handle_timeout`](Self::handle_timeout) when
/// [`next_timeout`](Self::next_timeout) has come, and empty
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event)
/// after each `handle_*`.
pub struct LanBeacon {
    port: u16,
    folders: BTreeMap<FolderTag, Zeroizing<[u8; 32]>>,
    rng: SeededRng,
    due: Duration,
    last_announce: Option<Duration>,
    /// Where the next announce goes on when not all folders fit into one.
    cursor: Option<FolderTag>,
    own: VecDeque<(Nonce, Duration)>,
    asked: VecDeque<Asked>,
    limits: Limits,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Candidate>,
    stats: LanStats,
}

impl LanBeacon {
    /// A beacon that announces as soon as it has a folder. Folders beyond the
    /// limit of 4,096 are left out. The seed must be fresh: from the operating
    /// system, or from a test.
    #[must_use]
    pub fn new(config: LanConfig, seed: &[u8; 32], now: Duration) -> Self {
        let folders = config.folders.into_iter().take(MAX_FOLDERS);
        Self {
            port: config.port,
            folders: folders.map(|(f, key)| (f, Zeroizing::new(key))).collect(),
            rng: SeededRng::new(seed, "lan beacon"),
            due: now,
            last_announce: None,
            cursor: None,
            own: VecDeque::new(),
            asked: VecDeque::new(),
            limits: Limits::new(now),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            stats: LanStats::default(),
        }
    }

    /// Adds a folder, or gives it another key, and announces soon. One that is
    /// there with this key stays as it is.
    ///
    /// # Errors
    /// [`TooManyFolders`] when 4,096 are there already.
    pub fn add_folder(
        &mut self,
        folder: FolderTag,
        lan_key: [u8; 32],
        now: Duration,
    ) -> Result<(), TooManyFolders> {
        if self.folders.len() >= MAX_FOLDERS && !self.folders.contains_key(&folder) {
            return Err(TooManyFolders);
        }
        let new = Zeroizing::new(lan_key);
        if self.folders.get(&folder) != Some(&new) {
            self.folders.insert(folder, new);
            self.announce_soon(now);
        }
        Ok(())
    }

    /// Forgets a folder: it is announced and answered no more.
    pub fn remove_folder(&mut self, folder: FolderTag) {
        self.folders.remove(&folder);
        self.events.retain(|candidate| candidate.folder != folder);
    }

    /// Announces another port from now on.
    pub fn change_port(&mut self, port: u16, now: Duration) {
        if self.port != port {
            self.port = port;
            self.announce_soon(now);
        }
    }

    /// To be called when an interface or an address came or went.
    pub fn handle_interfaces_changed(&mut self, now: Duration) {
        self.announce_soon(now);
    }

    /// To be called when the time of [`next_timeout`](Self::next_timeout) has
    /// come; at any other time it does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        while self
            .own
            .front()
            .is_some_and(|(_, at)| now.saturating_sub(*at) >= NONCE_LIFE)
        {
            self.own.pop_front();
        }
        while self
            .asked
            .front()
            .is_some_and(|a| now.saturating_sub(a.at) >= NONCE_LIFE)
        {
            self.asked.pop_front();
        }
        if self.folders.is_empty() || now < self.due {
            return;
        }
        self.announce(now);
        self.last_announce = Some(now);
        // Devices that were started together drift apart.
        let spread = INTERVAL / 10;
        self.due = now + self.rng.between(INTERVAL - spread, INTERVAL + spread);
    }

    /// Takes a datagram from either socket. `from` is the sender's socket.
    pub fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8], now: Duration) {
        self.stats.heard += 1;
        let from = canonical(from);
        let beacon = match Beacon::decode(bytes) {
            Ok(beacon) if from.port() != 0 && names_a_host(from.ip()) => beacon,
            _ => {
                self.stats.malformed += 1;
                return;
            }
        };
        if self.own.iter().any(|(nonce, _)| *nonce == beacon.nonce) {
            self.stats.own += 1;
        } else if self.limits.may_inspect(from.ip(), now) {
            match beacon.kind {
                Kind::Announce => self.handle_announce(from, beacon, now),
                Kind::Answer => self.handle_answer(from, beacon, now),
            }
        } else {
            self.stats.limited += 1;
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next address learned. The same one comes again with every beacon
    /// heard, with a later expiry.
    pub fn poll_event(&mut self) -> Option<Candidate> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do;
    /// `None` while there is no folder.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        (!self.folders.is_empty()).then_some(self.due)
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> LanStats {
        self.stats
    }

    fn announce_soon(&mut self, now: Duration) {
        let earliest = self
            .last_announce
            .map_or(now, |last| now.max(last + MIN_GAP));
        self.due = self.due.min(earliest);
    }

    fn announce(&mut self, now: Duration) {
        let folders = self.folders_of_this_turn();
        for to in [Destination::Broadcast, Destination::Multicast] {
            // Each destination has nonces of its own, so that the IPv4 and the
            // IPv6 beacon of one device have nothing in common.
            for chunk in folders.chunks(MAX_TAGS) {
                let nonce: Nonce = self.rng.bytes();
                let keys = chunk.iter().filter_map(|folder| self.folders.get(folder));
                let tags = keys
                    .map(|key| announce_tag(key, self.port, &nonce))
                    .collect();
                self.send(to, Kind::Announce, nonce, tags, now);
                self.stats.announces_sent += 1;
                self.asked.push_back(Asked {
                    nonce,
                    at: now,
                    folders: chunk.to_vec(),
                });
                if self.asked.len() > MAX_ASKED {
                    self.asked.pop_front();
                }
            }
        }
    }

    /// All folders, or as many as may be announced at once, going round.
    fn folders_of_this_turn(&mut self) -> Vec<FolderTag> {
        let most = MAX_DATAGRAMS * MAX_TAGS;
        let start = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.folders.range((start, Bound::Unbounded));
        let turn: Vec<_> = after
            .chain(self.folders.iter())
            .map(|(folder, _)| *folder)
            .take(most.min(self.folders.len()))
            .collect();
        self.cursor = (self.folders.len() > most)
            .then(|| turn.last().copied())
            .flatten();
        turn
    }

    fn handle_announce(&mut self, from: SocketAddr, mut beacon: Beacon, now: Duration) {
        beacon.tags.sort_unstable();
        let matching: Vec<FolderTag> = self
            .folders
            .iter()
            .filter(|(_, key)| {
                let tag = announce_tag(key, beacon.port, &beacon.nonce);
                beacon.tags.binary_search(&tag).is_ok()
            })
            .map(|(folder, _)| *folder)
            // More can only be folders that share a key; the answer must not
            // grow beyond the announce.
            .take(beacon.tags.len())
            .collect();
        if matching.is_empty() {
            self.stats.foreign += 1;
            return;
        }
        if !self.limits.honour(&beacon.nonce, from, now) {
            self.stats.repeated += 1;
            return;
        }
        self.stats.matched += 1;
        for folder in &matching {
            self.found(*folder, from, beacon.port, now);
        }
        if self.limits.may_answer(from.ip(), now) {
            let nonce: Nonce = self.rng.bytes();
            let keys = matching
                .iter()
                .filter_map(|folder| self.folders.get(folder));
            let tags = keys
                .map(|key| answer_tag(key, self.port, &nonce, &beacon.nonce))
                .collect();
            self.send(Destination::Unicast(from), Kind::Answer, nonce, tags, now);
            self.stats.answers_sent += 1;
        }
    }

    fn handle_answer(&mut self, from: SocketAddr, mut beacon: Beacon, now: Duration) {
        beacon.tags.sort_unstable();
        let matching = self.asked.iter().rev().find_map(|asked| {
            if now.saturating_sub(asked.at) >= NONCE_LIFE {
                return None;
            }
            let matches = |folder: &&FolderTag| {
                self.folders.get(*folder).is_some_and(|key| {
                    let tag = answer_tag(key, beacon.port, &beacon.nonce, &asked.nonce);
                    beacon.tags.binary_search(&tag).is_ok()
                })
            };
            let found: Vec<_> = asked.folders.iter().filter(matches).copied().collect();
            (!found.is_empty()).then_some(found)
        });
        let Some(matching) = matching else {
            self.stats.foreign += 1;
            return;
        };
        self.stats.matched += 1;
        for folder in matching {
            self.found(folder, from, beacon.port, now);
        }
    }

    /// Reports a peer, unless it takes no sessions.
    fn found(&mut self, folder: FolderTag, from: SocketAddr, port: u16, now: Duration) {
        if port == 0 || self.events.len() >= MAX_QUEUED {
            return;
        }
        let mut addr = from;
        addr.set_port(port);
        let expires = now + CANDIDATE_LIFE;
        self.events.push_back(Candidate {
            folder,
            addr,
            source: Source::Lan,
            expires,
        });
    }

    /// Pads, shuffles and queues, and remembers the nonce as ours.
    fn send(
        &mut self,
        to: Destination,
        kind: Kind,
        nonce: Nonce,
        mut tags: Vec<Tag>,
        now: Duration,
    ) {
        let padded = tags.len().max(1).next_multiple_of(TAG_GROUP);
        while tags.len() < padded {
            tags.push(self.rng.bytes());
        }
        self.rng.shuffle(&mut tags);
        self.own.push_back((nonce, now));
        if self.own.len() > MAX_OWN_NONCES {
            self.own.pop_front();
        }
        if self.transmits.len() < MAX_QUEUED {
            let bytes = Beacon {
                kind,
                port: self.port,
                nonce,
                tags,
            }
            .encode();
            self.transmits.push_back(Transmit { to, bytes });
        }
    }
}

impl fmt::Debug for LanBeacon {
    /// Without keys and nonces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LanBeacon")
            .field("port", &self.port)
            .field("folders", &self.folders.len())
            .field("due", &self.due)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
