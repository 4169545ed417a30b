//! Whose turn it is to be dialled.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::time::Duration;

use super::budget::{Sort, UnderWay};
use super::entry::{Dial, Entry, PeerTag, State};
use super::store::{AddressBook, Folder};
use crate::{FolderTag, Source};

/// How often a peer that is connected from afar is tried on the LAN.
const BETTER_PATH: Duration = Duration::from_secs(300);
/// One dial in so many goes to distant sources first.
const DISTANT_TURN: u64 = 4;

/// How a connected peer is reached.
pub(super) struct Reached {
    lan: bool,
    ips: Vec<IpAddr>,
}

/// Waiting addresses by source, then folder, each list best last.
type Waiting = BTreeMap<Source, BTreeMap<FolderTag, Vec<SocketAddr>>>;

const fn is_near(source: Source) -> bool {
    matches!(source, Source::Lan | Source::KnownHost | Source::Invite)
}

impl AddressBook {
    /// Takes up to `limit` addresses to dial now, within the budget, and notes
    /// them as being dialled. The caller reports on each with
    /// [`connected`](Self::connected), [`failed`](Self::failed) or
    /// [`ours`](Self::ours); after a minute without a report the book takes it
    /// as failed.
    pub fn due_dials(&mut self, now: Duration, limit: usize) -> Vec<Dial> {
        self.handle_timeout(now);
        let mut dials = Vec::new();
        let mut under_way = self.under_way();
        let mut sorts = self.waiting(now);
        for sort in Sort::ALL {
            let Some(waiting) = sorts.get_mut(&sort) else {
                continue;
            };
            while dials.len() < limit
                && under_way.has_room(sort)
                && self.budget.wait(sort, now).is_zero()
            {
                let Some(dial) = self.pick(waiting) else {
                    break;
                };
                // What can't be dialled for its host's sake keeps its place.
                if !under_way.has_room_at(dial.addr)
                    || !self.budget.wait_for(dial.addr.ip(), now).is_zero()
                {
                    continue;
                }
                self.budget.take(sort, dial.addr.ip(), now);
                under_way.add(dial.addr);
                self.dialing(dial.folder, dial.addr, now);
                dials.push(dial);
            }
        }
        dials
    }

    pub(super) fn under_way(&self) -> UnderWay {
        let mut under_way = UnderWay::default();
        for entries in self.folders.values() {
            let dialled = |(_, e): &(&SocketAddr, &Entry)| matches!(e.state, State::Dialing { .. });
            entries
                .iter()
                .filter(dialled)
                .for_each(|(addr, _)| under_way.add(*addr));
        }
        under_way
    }

    /// The bucket that pays for a dial.
    pub(super) fn sort_of(&self, addr: SocketAddr, entry: &Entry) -> Sort {
        match entry.dialable() {
            _ if !entry.fresh => Sort::Again,
            Some(source) if is_near(source) || self.budget.is_proven(addr.ip()) => Sort::Near,
            _ => Sort::Far,
        }
    }

    /// From when an address may be dialled; `None` if not as things stand.
    pub(super) fn may_dial_from(
        &self,
        addr: SocketAddr,
        entry: &Entry,
        connected: &BTreeMap<PeerTag, Reached>,
    ) -> Option<Duration> {
        let best = entry.dialable()?;
        if entry.state != State::Idle || self.ours.contains_key(&addr) {
            return None;
        }
        let Some(reached) = entry.leads_to().and_then(|peer| connected.get(&peer)) else {
            return Some(entry.next_try);
        };
        // Its peer is here already. A second way to it is only of use if it is
        // a LAN and the first is not.
        let better = best == Source::Lan && !reached.lan && !reached.ips.contains(&addr.ip());
        let rested = entry
            .last_attempt
            .map_or(Duration::ZERO, |last| last + BETTER_PATH);
        better.then(|| entry.next_try.max(rested))
    }

    pub(super) fn connected_peers(entries: &Folder) -> BTreeMap<PeerTag, Reached> {
        let mut peers: BTreeMap<PeerTag, Reached> = BTreeMap::new();
        for (addr, entry) in entries {
            if let (State::Connected { .. }, Some(peer)) = (entry.state, entry.peer) {
                let lan = entry.sources.contains_key(&Source::Lan);
                let reached = peers.entry(peer).or_insert(Reached {
                    lan,
                    ips: Vec::new(),
                });
                reached.lan |= lan;
                reached.ips.push(addr.ip());
            }
        }
        peers
    }

    fn waiting(&self, now: Duration) -> BTreeMap<Sort, Waiting> {
        let mut sorts: BTreeMap<Sort, Waiting> = BTreeMap::new();
        let awake = |(folder, _): &(&FolderTag, &Folder)| !self.resting.contains(folder);
        for (folder, entries) in self.folders.iter().filter(awake) {
            let connected = Self::connected_peers(entries);
            let due = entries.iter().filter(|(addr, entry)| {
                let from = self.may_dial_from(**addr, entry, &connected);
                from.is_some_and(|from| from <= now)
            });
            for (addr, entry) in due {
                if let Some(source) = entry.dialable() {
                    let waiting = sorts.entry(self.sort_of(*addr, entry)).or_default();
                    let of_source = waiting.entry(source).or_default();
                    of_source.entry(*folder).or_default().push(*addr);
                }
            }
        }
        let lists = sorts.values_mut().flat_map(BTreeMap::values_mut);
        for (folder, list) in lists.flatten() {
            let rank = |addr: &SocketAddr| {
                let entry = self.folders.get(folder).and_then(|f| f.get(addr));
                // Worked before, then fewest failures, then longest due.
                entry.map(|e| (!e.proven, e.failures, e.next_try))
            };
            list.sort_by_cached_key(rank);
            list.reverse();
        }
        sorts
    }

    /// The next one in turn: group, then source, then folder.
    fn pick(&mut self, waiting: &mut Waiting) -> Option<Dial> {
        self.turn = self.turn.wrapping_add(1);
        let distant_first = self.turn.is_multiple_of(DISTANT_TURN);
        let wanted = |source: &Source| is_near(*source) != distant_first;
        let any_wanted = waiting.keys().any(wanted);
        let near = if any_wanted {
            !distant_first
        } else {
            distant_first
        };
        let group = usize::from(near);

        let sources = || {
            waiting
                .keys()
                .copied()
                .filter(|source| is_near(*source) == near)
        };
        let after = self.last_source[group].and_then(|last| sources().find(|s| *s > last));
        let source = after.or_else(|| sources().next())?;
        let folders = waiting.get_mut(&source)?;
        let start = match self.last_folder.get(&source) {
            Some(last) => Bound::Excluded(*last),
            None => Bound::Unbounded,
        };
        let after = folders
            .range((start, Bound::Unbounded))
            .next()
            .map(|(folder, _)| *folder);
        let folder = after.or_else(|| folders.keys().next().copied())?;
        let list = folders.get_mut(&folder)?;
        let addr = list.pop()?;
        if list.is_empty() {
            folders.remove(&folder);
        }
        if folders.is_empty() {
            waiting.remove(&source);
        }
        self.last_source[group] = Some(source);
        self.last_folder.insert(source, folder);
        Some(Dial {
            folder,
            addr,
            source,
        })
    }
}
