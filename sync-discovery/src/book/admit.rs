//! Which candidates are taken into the book, and what their coming changes.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use super::entry::{Added, Entry, Refusal};
use super::store::{AddressBook, MAX_INCOMING, count, remember};
use crate::candidate::{canonical, names_a_host};
use crate::{Candidate, FolderTag, Source};

const MAX_KNOWN_HOSTS: usize = 1024;
/// Ports of one host that strangers may name for one folder.
const MAX_PORTS_PER_HOST: usize = 16;
/// A live beacon cuts a long delay short, if the last attempt is so long ago.
const LAN_RETRY: Duration = Duration::from_secs(20);

impl AddressBook {
    pub(super) fn admit(&mut self, candidate: Candidate, now: Duration) -> Result<Added, Refusal> {
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
            entry.heard = past.heard;
            entry.next_try = past.next_try;
            entry.last_error = past.last_error;
            entry.fresh = false;
        }
        let bit = 1 << source as u8;
        if source == Source::KnownHost {
            // The user names it now: whatever was held against it counts no more.
            entry.try_now(now);
        } else if known && entry.heard & bit == 0 {
            // Somebody else has a reason to think that a peer is there.
            entry.end_pause(now);
        }
        entry.heard |= bit;
        entry.sources.insert(source, expires);
        entry.last_seen = now;
        Ok(Added::New)
    }

    /// A device that is heard on the LAN is up, so a delay of minutes from the
    /// time when it was down makes no sense.
    pub(super) fn cut_delay_short(&mut self, folder: FolderTag, addr: SocketAddr, now: Duration) {
        let soon = now + self.rng.between(Duration::ZERO, Duration::from_secs(1));
        if let Some(entry) = self.entry(folder, addr) {
            let rested = |last| now.saturating_sub(last) >= LAN_RETRY;
            if entry.last_attempt.is_none_or(rested) {
                entry.next_try = entry.next_try.min(soon);
            }
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
