//! How many dials may be begun: of each sort, to one host, and at once.
//!
//! It owns the token buckets and what is known of hosts as a whole; counts of dials under way are handed in. It
//! must never choose among addresses: that is done where they are known.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::candidate::network_of;
use crate::rate::TokenBucket;

/// Dials under way at once, in all: each holds a file handle, for seconds if nobody answers.
const UNDER_WAY: usize = 64;
/// Of these, dials to what a stranger may have named.
const UNDER_WAY_FAR: usize = 48;
/// Of these, dials to what failed before. So dead addresses never use up what new ones need.
const UNDER_WAY_AGAIN: usize = 32;
/// Dials under way to one address. A daemon carries eight handshakes at once from one place and drops what is
/// more; two are left for others behind the same router.
const UNDER_WAY_ADDRESS: usize = 6;
/// Dials under way to all ports of one host.
const UNDER_WAY_HOST: usize = 16;
/// Dials to a host where no handshake has succeeded yet.
const UNPROVEN_HOST: Rate = Rate {
    per_second: 4,
    burst: 32,
};
/// Hosts that are remembered.
const MAX_HOSTS: usize = 4096;
/// How long one is remembered that isn't dialled.
const HOST_LIFE: Duration = Duration::from_secs(600);

/// So many a second in the long run, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: u32,
    /// At once after a pause.
    pub burst: u32,
}

/// A sort of dial, each with a bucket of its own. In this order they are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// The first one, or the first since something changed, to an address that is near, that the user named, or
    /// whose host has shown to be one of ours.
    Near,
    /// The first one to an address that a stranger may have named.
    Far,
    /// To an address that failed before.
    Again,
}

impl Sort {
    pub(super) const ALL: [Self; 3] = [Self::Near, Self::Far, Self::Again];
}

/// Counts of dials under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    all: usize,
    addresses: BTreeMap<SocketAddr, usize>,
    hosts: BTreeMap<IpAddr, usize>,
}

impl UnderWay {
    pub(super) fn add(&mut self, addr: SocketAddr) {
        self.all += 1;
        *self.addresses.entry(addr).or_default() += 1;
        *self.hosts.entry(network_of(addr.ip())).or_default() += 1;
    }

    /// Whether one more of a sort may be under way.
    pub(super) fn has_room(&self, sort: Sort) -> bool {
        self.all
            < match sort {
                Sort::Near => UNDER_WAY,
                Sort::Far => UNDER_WAY_FAR,
                Sort::Again => UNDER_WAY_AGAIN,
            }
    }

    /// Whether one more may be under way to an address.
    pub(super) fn has_room_at(&self, addr: SocketAddr) -> bool {
        let here = self.addresses.get(&addr).copied().unwrap_or(0);
        let host = self.hosts.get(&network_of(addr.ip())).copied().unwrap_or(0);
        here < UNDER_WAY_ADDRESS && host < UNDER_WAY_HOST
    }
}

#[derive(Debug)]
struct Host {
    bucket: TokenBucket,
    /// A handshake has succeeded with it, in any folder.
    proven: bool,
    used: Duration,
}

/// The buckets.
#[derive(Debug)]
pub(super) struct Budget {
    sorts: [TokenBucket; 3],
    hosts: BTreeMap<IpAddr, Host>,
}

impl Budget {
    /// Full buckets, in the order of [`Sort::ALL`].
    pub(super) fn new(rates: [Rate; 3], now: Duration) -> Self {
        Self {
            sorts: rates.map(|rate| TokenBucket::new(rate.per_second, rate.burst, now)),
            hosts: BTreeMap::new(),
        }
    }

    /// How long until a dial of this sort may be begun.
    pub(super) fn wait(&self, sort: Sort, now: Duration) -> Duration {
        self.sorts[sort as usize].wait(now)
    }

    /// How long until this host may be dialled.
    pub(super) fn wait_for(&self, ip: IpAddr, now: Duration) -> Duration {
        match self.hosts.get(&network_of(ip)) {
            Some(host) if !host.proven => host.bucket.wait(now),
            _ => Duration::ZERO,
        }
    }

    /// A dial is begun.
    pub(super) fn take(&mut self, sort: Sort, ip: IpAddr, now: Duration) {
        self.sorts[sort as usize].take(now);
        let host = self.host(ip, now);
        host.used = now;
        host.bucket.take(now);
    }

    /// A handshake with this host succeeded.
    pub(super) fn proven(&mut self, ip: IpAddr, now: Duration) {
        let host = self.host(ip, now);
        host.proven = true;
        host.used = now;
    }

    /// Whether one did.
    pub(super) fn is_proven(&self, ip: IpAddr) -> bool {
        self.hosts.get(&network_of(ip)).is_some_and(|h| h.proven)
    }

    /// Addresses may have passed to others.
    pub(super) fn forget_hosts(&mut self) {
        self.hosts.clear();
    }

    /// Forgets what was long ago.
    pub(super) fn handle_timeout(&mut self, now: Duration) {
        self.hosts.retain(|_, host| now < host.used + HOST_LIFE);
    }

    fn host(&mut self, ip: IpAddr, now: Duration) -> &mut Host {
        let network = network_of(ip);
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(&network) {
            let stalest = self.hosts.iter().min_by_key(|(_, h)| (h.proven, h.used));
            if let Some(ip) = stalest.map(|(ip, _)| *ip) {
                self.hosts.remove(&ip);
            }
        }
        let Rate { per_second, burst } = UNPROVEN_HOST;
        self.hosts.entry(network).or_insert_with(|| Host {
            bucket: TokenBucket::new(per_second, burst, now),
            proven: false,
            used: now,
        })
    }
}
