//! The book: what goes in, what comes out by age, and what is told about it.

use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::entry::{
    Added, BookEntry, Entry, EntryState, FailReason, GRACE, PeerTag, Refusal, SETTLED, State,
};
use crate::candidate::{canonical, names_a_host};
use crate::rate::TokenBucket;
use crate::rng::SeededRng;
use crate::{Candidate, Discovered, FolderTag, Source};

const MAX_KNOWN_HOSTS: usize = 1024;
const MAX_INCOMING: usize = 256;
/// Ports of one host that strangers may name for one folder.
const MAX_PORTS_PER_HOST: usize = 16;
const MAX_PAST: usize = 4096;
const MAX_OURS: usize = 256;
/// An address can pass to another device, so even our own is tried again after
/// a while.
const OURS_LIFE: Duration = Duration::from_secs(3600);
/// A dial nobody reported on.
const DIAL_PATIENCE: Duration = Duration::from_secs(60);
/// A live beacon cuts a long delay short, if the last attempt is so long ago.
const LAN_RETRY: Duration = Duration::from_secs(20);

/// What an [`AddressBook`] may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookConfig {
    /// Dials begun a second in the long run.
    pub dials_per_second: u32,
    /// Dials begun at once after a pause.
    pub dial_burst: u32,
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
            dials_per_second: 5,
            dial_burst: 10,
            per_source: 50,
            loopback_from_anywhere: false,
        }
    }
}

/// What is remembered of an address that left the book.
#[derive(Debug, Clone)]
pub(super) struct Past {
    failures: u32,
    next_try: Duration,
    last_error: Option<String>,
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
    pub(super) budget: TokenBucket,
    pub(super) folders: BTreeMap<FolderTag, Folder>,
    pub(super) ours: BTreeMap<SocketAddr, Duration>,
    past: BTreeMap<(FolderTag, SocketAddr), Past>,
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
            budget: TokenBucket::new(config.dials_per_second, config.dial_burst, now),
            config,
            rng: SeededRng::new(seed, "address book"),
            folders: BTreeMap::new(),
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
        self.refused.remove(&folder);
        self.past.retain(|(of, _), _| *of != folder);
        self.last_folder.retain(|_, of| *of != folder);
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
            entry.proven = true;
            entry.last_error = None;
            entry.last_seen = now;
        }
    }

    /// A session ended. The address is tried again after about a second; if
    /// sessions there keep ending within 30 s, the delay grows as for failures.
    pub fn disconnected(
        &mut self,
        folder: FolderTag,
        addr: SocketAddr,
        peer: PeerTag,
        now: Duration,
    ) {
        let addr = canonical(addr);
        if let Some(entry) = self.folders.get_mut(&folder).and_then(|f| f.get_mut(&addr))
            && let State::Connected { since } = entry.state
            && entry.peer == Some(peer)
        {
            entry.state = State::Idle;
            entry.sources.remove(&Source::Incoming);
            if now.saturating_sub(since) >= SETTLED {
                entry.failures = 0;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.next_try = now + entry.delay(Duration::from_secs(1), &mut self.rng);
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
            entry.next_try = entry.next_try.min(now);
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
            let may_dial = self.may_dial_from(*addr, entry, &connected);
            let state = match entry.state {
                State::Dialing { .. } => EntryState::Dialing,
                State::Connected { .. } => EntryState::Connected,
                State::Idle if self.ours.contains_key(addr) => EntryState::Ours,
                State::Idle if entry.peer.is_some_and(|p| connected.contains_key(&p)) => {
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
        let tokens = now + self.budget.wait(now);
        let mut next = self.ours.values().min().copied();
        let mut sooner = |at: Duration| next = Some(next.map_or(at, |n: Duration| n.min(at)));
        for entries in self.folders.values() {
            let connected = Self::connected_peers(entries);
            for (addr, entry) in entries {
                let expiries = entry.sources.values().filter(|e| **e != Duration::MAX);
                expiries.for_each(|expires| sooner(*expires));
                if let State::Dialing { since } = entry.state {
                    sooner(since + DIAL_PATIENCE);
                }
                if let Some(at) = self.may_dial_from(*addr, entry, &connected) {
                    sooner(at.max(tokens));
                }
            }
        }
        next
    }

    fn entry(&mut self, folder: FolderTag, addr: SocketAddr) -> Option<&mut Entry> {
        self.folders.get_mut(&folder)?.get_mut(&canonical(addr))
    }

    fn admit(&mut self, candidate: Candidate, now: Duration) -> Result<Added, Refusal> {
        let Candidate {
            folder,
            source,
            expires,
            ..
        } = candidate;
        let addr = canonical(candidate.addr);
        if addr.port() == 0 || !names_a_host(addr.ip()) {
            return Err(Refusal::Impossible);
        }
        let near = matches!(source, Source::Lan | Source::KnownHost | Source::Invite)
            || source == Source::Incoming;
        let loopback = addr.ip().is_loopback() && !self.config.loopback_from_anywhere;
        if !near && (loopback || is_link_local(addr.ip())) {
            return Err(Refusal::NotFromThere);
        }
        if expires <= now {
            return Err(Refusal::Expired);
        }
        if let Some(entry) = self.entry(folder, addr)
            && let Some(old) = entry.sources.get_mut(&source)
        {
            *old = (*old).max(expires);
            entry.last_seen = now;
            return Ok(Added::Refreshed);
        }
        let entries = self.folders.entry(folder).or_default();
        let most = match source {
            Source::KnownHost => MAX_KNOWN_HOSTS,
            Source::Incoming => MAX_INCOMING,
            _ => self.config.per_source,
        };
        let past = self.past.get(&(folder, addr));
        if count(entries, source) >= most {
            let worse_than = past.map_or(0, |p| p.failures);
            let victim = entries
                .iter()
                .filter(|(_, e)| e.is_hopeless() && e.failures > worse_than)
                .filter(|(_, e)| e.sources.len() == 1 && e.sources.contains_key(&source))
                .max_by_key(|(_, e)| e.failures)
                .map(|(addr, _)| *addr)
                .filter(|_| source != Source::KnownHost)
                .ok_or(Refusal::SourceFull)?;
            if let Some(entry) = entries.remove(&victim) {
                remember(&mut self.past, folder, victim, &entry);
            }
        }
        let known = entries.contains_key(&addr);
        if !known && !near && !addr.ip().is_loopback() {
            let ports = entries
                .keys()
                .filter(|other| other.ip() == addr.ip())
                .count();
            if ports >= MAX_PORTS_PER_HOST {
                return Err(Refusal::HostFull);
            }
        }
        let entry = entries.entry(addr).or_insert_with(|| Entry::new(now));
        if let Some(past) = self.past.remove(&(folder, addr)) {
            entry.failures = past.failures;
            entry.next_try = past.next_try;
            entry.last_error = past.last_error;
        }
        if source == Source::KnownHost {
            // The user names it now: whatever was held against it counts no more.
            entry.next_try = entry.next_try.min(now);
        }
        entry.sources.insert(source, expires);
        entry.last_seen = now;
        Ok(Added::New)
    }

    /// A device that is heard on the LAN is up, so a delay of minutes from the
    /// time when it was down makes no sense.
    fn cut_delay_short(&mut self, folder: FolderTag, addr: SocketAddr, now: Duration) {
        let soon = now + self.rng.between(Duration::ZERO, Duration::from_secs(1));
        if let Some(entry) = self.entry(folder, addr) {
            let rested = |last| now.saturating_sub(last) >= LAN_RETRY;
            if entry.last_attempt.is_none_or(rested) {
                entry.next_try = entry.next_try.min(soon);
            }
        }
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

fn count(entries: &Folder, source: Source) -> usize {
    entries
        .values()
        .filter(|e| e.sources.contains_key(&source))
        .count()
}

fn remember(
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
        next_try: entry.next_try,
        last_error: entry.last_error.clone(),
    };
    past.insert((folder, addr), kept);
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
