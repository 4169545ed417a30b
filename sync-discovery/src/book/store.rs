//! The book: what goes in, what comes out by age, and what is told about it.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::{Budget, Rate, Sort};
use super::entry::{
    Added, BookEntry, Ended, Entry, EntryState, FailReason, GRACE, PeerTag, Refusal, State,
};
use crate::candidate::{canonical, network_of};
use crate::rng::SeededRng;
use crate::{Candidate, Discovered, FolderTag, Source};

pub(super) const MAX_INCOMING: usize = 256;
const MAX_PAST: usize = 4096;
const MAX_OURS: usize = 256;
/// An address can pass to another device, so even our own is tried again after
/// a while.
const OURS_LIFE: Duration = Duration::from_secs(3600);
/// A dial nobody reported on.
const DIAL_PATIENCE: Duration = Duration::from_secs(60);

/// What an [`AddressBook`] may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookConfig {
    /// First dials to addresses that are near, named by the user, or of hosts
    /// where a member was found.
    pub near: Rate,
    /// First dials to addresses that strangers may have named.
    pub far: Rate,
    /// Dials to addresses that failed before.
    pub again: Rate,
    /// Addresses of each source for each folder; known hosts may have 1,024.
    pub per_source: usize,
    /// Take loopback addresses from peers, trackers and hash tables too. Only
    /// for several daemons on one host: else a stranger could point us at the
    /// private services of this machine.
    pub loopback_from_anywhere: bool,
}

impl Default for BookConfig {
    fn default() -> Self {
        Self {
            near: Rate {
                per_second: 100,
                burst: 200,
            },
            far: Rate {
                per_second: 20,
                burst: 40,
            },
            again: Rate {
                per_second: 5,
                burst: 10,
            },
            per_source: 50,
            loopback_from_anywhere: false,
        }
    }
}

/// What is remembered of an address that left the book.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) failures: u32,
    pub(super) heard: u8,
    pub(super) next_try: Duration,
    pub(super) last_error: Option<String>,
}

pub(super) type Folder = BTreeMap<SocketAddr, Entry>;

/// All candidates of all folders. See the [module](super).
///
/// Times are on the caller's monotonic time, the same that the mechanisms use
/// for the expiry of their candidates.
#[derive(Debug)]
pub struct AddressBook {
    pub(super) config: BookConfig,
    pub(super) rng: SeededRng,
    pub(super) budget: Budget,
    pub(super) folders: BTreeMap<FolderTag, Folder>,
    /// Folders that take no session now.
    pub(super) resting: BTreeSet<FolderTag>,
    pub(super) ours: BTreeMap<SocketAddr, Duration>,
    pub(super) past: BTreeMap<(FolderTag, SocketAddr), Past>,
    refused: BTreeMap<FolderTag, BTreeMap<Refusal, u64>>,
    pub(super) turn: u64,
    pub(super) last_source: [Option<Source>; 2],
    pub(super) last_folder: BTreeMap<Source, FolderTag>,
}

impl AddressBook {
    /// An empty book. The seed only spreads delays.
    #[must_use]
    pub fn new(config: BookConfig, seed: &[u8; 32], now: Duration) -> Self {
        Self {
            budget: Budget::new([config.near, config.far, config.again], now),
            config,
            rng: SeededRng::new(seed, "address book"),
            folders: BTreeMap::new(),
            resting: BTreeSet::new(),
            ours: BTreeMap::new(),
            past: BTreeMap::new(),
            refused: BTreeMap::new(),
            turn: 0,
            last_source: [None; 2],
            last_folder: BTreeMap::new(),
        }
    }

    /// Takes what a mechanism says. A candidate of a folder the book has not
    /// seen opens that folder; [`remove_folder`](Self::remove_folder) closes it.
    pub fn handle_discovered(&mut self, what: Discovered, now: Duration) {
        match what {
            Discovered::Found(candidate) => {
                self.add(candidate, now);
            }
            Discovered::Gone {
                folder,
                addr,
                source,
            } => self.withdraw(folder, addr, source, now),
        }
    }

    /// Adds a candidate or moves its expiry.
    pub fn add(&mut self, candidate: Candidate, now: Duration) -> Added {
        let Candidate { folder, source, .. } = candidate;
        let added = match self.admit(candidate, now) {
            Ok(added) => added,
            Err(refusal) => {
                let counts = self.refused.entry(folder).or_default();
                *counts.entry(refusal).or_default() += 1;
                return Added::Refused(refusal);
            }
        };
        if source == Source::Lan {
            self.cut_delay_short(folder, canonical(candidate.addr), now);
        }
        added
    }

    /// Takes a candidate back for one source. A session that is up stays.
    pub fn withdraw(&mut self, folder: FolderTag, addr: SocketAddr, source: Source, now: Duration) {
        if let Some(entry) = self.entry(folder, addr) {
            entry.sources.remove(&source);
        }
        self.purge_folder(folder, now);
    }

    /// Forgets everything about a folder.
    pub fn remove_folder(&mut self, folder: FolderTag) {
        self.folders.remove(&folder);
        self.resting.remove(&folder);
        self.refused.remove(&folder);
        self.past.retain(|(of, _), _| *of != folder);
        self.last_folder.retain(|_, of| *of != folder);
    }

    /// Candidates of this folder are kept but not dialled, until it is [woken](Self::wake).
    pub fn rest(&mut self, folder: FolderTag) {
        self.resting.insert(folder);
    }

    /// The folder's candidates may be dialled, all of them now.
    pub fn wake(&mut self, folder: FolderTag, now: Duration) {
        self.resting.remove(&folder);
        self.refresh_now(folder, now);
    }

    /// A dial was begun that the book did not ask for. Dials from
    /// [`due_dials`](Self::due_dials) are noted already.
    pub fn dialing(&mut self, folder: FolderTag, addr: SocketAddr, now: Duration) {
        if let Some(entry) = self.entry(folder, addr)
            && entry.state == State::Idle
        {
            entry.state = State::Dialing { since: now };
            entry.last_attempt = Some(now);
        }
    }

    /// A dial came to nothing. `detail` is text for a report, cut to 200
    /// characters.
    pub fn failed(
        &mut self,
        folder: FolderTag,
        addr: SocketAddr,
        reason: FailReason,
        detail: &str,
        now: Duration,
    ) {
        let addr = canonical(addr);
        if let Some(entry) = self.folders.get_mut(&folder).and_then(|f| f.get_mut(&addr))
            && !matches!(entry.state, State::Connected { .. })
        {
            entry.fail(reason, detail, &mut self.rng, now);
        }
        self.purge_folder(folder, now);
    }

    /// A handshake succeeded at this address, dialled by us or by the peer. An
    /// unknown address is one that the peer dialled from.
    pub fn connected(&mut self, folder: FolderTag, addr: SocketAddr, peer: PeerTag, now: Duration) {
        let addr = canonical(addr);
        let entries = self.folders.entry(folder).or_default();
        let full = count(entries, Source::Incoming) >= MAX_INCOMING;
        if let btree_map::Entry::Vacant(vacant) = entries.entry(addr)
            && !full
        {
            let mut entry = Entry::new(now);
            entry.sources.insert(Source::Incoming, Duration::MAX);
            vacant.insert(entry);
        }
        if let Some(entry) = entries.get_mut(&addr) {
            entry.state = State::Connected { since: now };
            entry.peer = Some(peer);
            entry.claimed = None;
            entry.proven = true;
            entry.last_error = None;
            entry.last_seen = now;
        }
        self.budget.proven(addr.ip(), now);
        // Somebody of ours is up there: pauses from when it wasn't make no sense.
        let host = network_of(addr.ip());
        let there = |(at, _): &(&SocketAddr, &mut Entry)| network_of(at.ip()) == host;
        let all = self.folders.values_mut().flat_map(BTreeMap::iter_mut);
        for (_, entry) in all.filter(there).filter(|(_, e)| e.state == State::Idle) {
            entry.end_pause(now);
        }
    }

    /// A peer that came by itself says that it listens at this address. As long as it is connected, and nobody
    /// else was found there, the address isn't dialled: it would only be a second session with that peer.
    pub fn claimed(&mut self, folder: FolderTag, addr: SocketAddr, peer: PeerTag) {
        if let Some(entry) = self.entry(folder, addr) {
            entry.claimed = Some(peer);
        }
    }

    /// A session ended. The address is tried again after about a second, and
    /// after four at most if sessions there keep breaking; if the peer turned us
    /// away, after a delay that grows as for failures.
    pub fn disconnected(
        &mut self,
        folder: FolderTag,
        addr: SocketAddr,
        peer: PeerTag,
        ended: Ended,
        now: Duration,
    ) {
        let addr = canonical(addr);
        if let Some(entry) = self.folders.get_mut(&folder).and_then(|f| f.get_mut(&addr))
            && let State::Connected { since } = entry.state
            && entry.peer == Some(peer)
        {
            entry.sources.remove(&Source::Incoming);
            match ended {
                Ended::Over => entry.over(since, &mut self.rng, now),
                Ended::TurnedAway(reason) => entry.fail(reason, "", &mut self.rng, now),
            }
            entry.last_seen = now;
            // What worked a moment ago is worth a few more tries.
            for expires in entry.sources.values_mut() {
                *expires = (*expires).max(now + GRACE);
            }
        }
        self.purge_folder(folder, now);
    }

    /// The handshake showed that this address is our own: it is not dialled
    /// again, in any folder, for an hour or until the network changes.
    pub fn ours(&mut self, addr: SocketAddr, now: Duration) {
        let addr = canonical(addr);
        if self.ours.len() >= MAX_OURS {
            self.ours.pop_first();
        }
        self.ours.insert(addr, now + OURS_LIFE);
        for entry in self.folders.values_mut().filter_map(|f| f.get_mut(&addr)) {
            if matches!(entry.state, State::Dialing { .. }) {
                entry.state = State::Idle;
            }
        }
    }

    /// The network changed: own addresses are forgotten and everything may be
    /// tried again, within the budget.
    pub fn handle_network_changed(&mut self, now: Duration) {
        self.ours.clear();
        self.budget.forget_hosts();
        let folders: Vec<_> = self.folders.keys().copied().collect();
        for folder in folders {
            self.refresh_now(folder, now);
        }
    }

    /// Ends all delays of a folder. The budget still holds.
    pub fn refresh_now(&mut self, folder: FolderTag, now: Duration) {
        for entry in self
            .folders
            .get_mut(&folder)
            .into_iter()
            .flat_map(BTreeMap::values_mut)
        {
            entry.try_now(now);
        }
    }

    /// Every candidate of a folder and what became of it, by address.
    #[must_use]
    pub fn snapshot(&self, folder: FolderTag) -> Vec<BookEntry> {
        let Some(entries) = self.folders.get(&folder) else {
            return Vec::new();
        };
        let connected = Self::connected_peers(entries);
        let lines = entries.iter().map(|(addr, entry)| {
            let may_dial = self
                .may_dial_from(*addr, entry, &connected)
                .filter(|_| !self.resting.contains(&folder));
            let state = match entry.state {
                State::Dialing { .. } => EntryState::Dialing,
                State::Connected { .. } => EntryState::Connected,
                State::Idle if self.ours.contains_key(addr) => EntryState::Ours,
                State::Idle if entry.leads_to().is_some_and(|p| connected.contains_key(&p)) => {
                    EntryState::ConnectedElsewhere
                }
                State::Idle => EntryState::Waiting,
            };
            BookEntry {
                addr: *addr,
                sources: entry.sources.keys().copied().collect(),
                state,
                peer: entry.peer,
                last_error: entry.last_error.clone(),
                failures: entry.failures,
                next_try: may_dial,
                last_seen: entry.last_seen,
            }
        });
        lines.collect()
    }

    /// How many candidates of a folder were not taken, and why.
    pub fn refusals(&self, folder: FolderTag) -> impl Iterator<Item = (Refusal, u64)> {
        let counts = self.refused.get(&folder).into_iter().flatten();
        counts.map(|(refusal, count)| (*refusal, *count))
    }

    /// Lets time pass: drops what expired and gives up dials nobody reported
    /// on. [`due_dials`](Self::due_dials) does it too.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.ours.retain(|_, until| now < *until);
        self.budget.handle_timeout(now);
        for entry in self.folders.values_mut().flat_map(BTreeMap::values_mut) {
            if let State::Dialing { since } = entry.state
                && now.saturating_sub(since) >= DIAL_PATIENCE
            {
                entry.fail(FailReason::Lost, "", &mut self.rng, now);
            }
        }
        let folders: Vec<_> = self.folders.keys().copied().collect();
        for folder in folders {
            self.purge_folder(folder, now);
        }
    }

    /// When [`due_dials`](Self::due_dials) or
    /// [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_timeout(&self, now: Duration) -> Option<Duration> {
        let waits = Sort::ALL.map(|sort| self.budget.wait(sort, now));
        let under_way = self.under_way();
        let mut next = self.ours.values().min().copied();
        let mut sooner = |at: Duration| next = Some(next.map_or(at, |n: Duration| n.min(at)));
        for (folder, entries) in &self.folders {
            let rests = self.resting.contains(folder);
            let connected = Self::connected_peers(entries);
            for (addr, entry) in entries {
                let expiries = entry.sources.values().filter(|e| **e != Duration::MAX);
                expiries.for_each(|expires| sooner(*expires));
                if let State::Dialing { since } = entry.state {
                    sooner(since + DIAL_PATIENCE);
                }
                let may_dial = self.may_dial_from(*addr, entry, &connected);
                if let Some(at) = may_dial.filter(|_| !rests) {
                    if at > now {
                        sooner(at);
                        continue;
                    }
                    // Else the end of a dial under way is waited for.
                    let sort = self.sort_of(*addr, entry);
                    if under_way.has_room(sort) && under_way.has_room_at(*addr) {
                        let host = self.budget.wait_for(addr.ip(), now);
                        sooner(now + waits[sort as usize].max(host));
                    }
                }
            }
        }
        next
    }

    pub(super) fn entry(&mut self, folder: FolderTag, addr: SocketAddr) -> Option<&mut Entry> {
        self.folders.get_mut(&folder)?.get_mut(&canonical(addr))
    }

    fn purge_folder(&mut self, folder: FolderTag, now: Duration) {
        let Some(entries) = self.folders.get_mut(&folder) else {
            return;
        };
        let past = &mut self.past;
        entries.retain(|addr, entry| {
            entry.drop_expired(now);
            let over = entry.is_over();
            if over && entry.failures > 0 {
                remember(past, folder, *addr, entry);
            }
            !over
        });
    }
}

pub(super) fn count(entries: &Folder, source: Source) -> usize {
    entries
        .values()
        .filter(|e| e.sources.contains_key(&source))
        .count()
}

pub(super) fn remember(
    past: &mut BTreeMap<(FolderTag, SocketAddr), Past>,
    folder: FolderTag,
    addr: SocketAddr,
    entry: &Entry,
) {
    if past.len() >= MAX_PAST {
        let due_first = past
            .iter()
            .min_by_key(|(_, p)| p.next_try)
            .map(|(key, _)| *key);
        if let Some(key) = due_first {
            past.remove(&key);
        }
    }
    let kept = Past {
        failures: entry.failures,
        heard: entry.heard,
        next_try: entry.next_try,
        last_error: entry.last_error.clone(),
    };
    past.insert((folder, addr), kept);
}
