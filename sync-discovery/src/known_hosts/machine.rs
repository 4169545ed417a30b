//! The machine: which names to resolve when, and what came of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::host_port::{Host, HostPort};
use crate::candidate::{canonical, names_a_host};
use crate::{Candidate, Discovered, FolderTag, Source};

const AFTER_SUCCESS: Duration = Duration::from_secs(300);
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// A resolver that has said nothing for so long is taken to have failed.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ADDRESSES: usize = 16;
pub(super) const MAX_HOSTS: usize = 4096;
const MAX_IN_FLIGHT: usize = 8;

/// A name to ask the resolver for. Its answer goes to
/// [`KnownHosts::handle_resolved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The name, valid as a host name.
    pub name: String,
}

/// More than 4,096 known hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_HOSTS} known hosts")]
pub struct TooManyHosts;

#[derive(Debug)]
struct Name {
    /// The last good answer; ports in it mean nothing.
    addresses: Vec<SocketAddr>,
    /// When to ask, or until when to wait for the answer.
    due: Duration,
    in_flight: bool,
    failures: u32,
    error: Option<String>,
}

/// The known hosts of all folders. See the [module](super).
#[derive(Debug, Default)]
pub struct KnownHosts {
    hosts: BTreeSet<(FolderTag, HostPort)>,
    names: BTreeMap<String, Name>,
    /// What was reported and not taken back.
    reported: BTreeSet<(FolderTag, SocketAddr)>,
    resolves: VecDeque<Resolve>,
    events: VecDeque<Discovered>,
}

impl KnownHosts {
    /// No hosts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a host to a folder. A literal address is reported at once, a name
    /// when it is resolved.
    ///
    /// # Errors
    /// [`TooManyHosts`] when 4,096 are there already.
    pub fn add(
        &mut self,
        folder: FolderTag,
        host: HostPort,
        now: Duration,
    ) -> Result<(), TooManyHosts> {
        let entry = (folder, host);
        if self.hosts.contains(&entry) {
            return Ok(());
        }
        if self.hosts.len() >= MAX_HOSTS {
            return Err(TooManyHosts);
        }
        if let Host::Name(name) = entry.1.host() {
            self.names.entry(name.to_owned()).or_insert_with(|| Name {
                addresses: Vec::new(),
                due: now,
                in_flight: false,
                failures: 0,
                error: None,
            });
        }
        self.hosts.insert(entry);
        self.report(folder);
        self.handle_timeout(now);
        Ok(())
    }

    /// Removes a host; its addresses are taken back unless another host of the
    /// folder has them too.
    pub fn remove(&mut self, folder: FolderTag, host: &HostPort) {
        self.hosts.remove(&(folder, host.clone()));
        self.forget_unused_names();
        self.report(folder);
    }

    /// Removes all hosts of a folder.
    pub fn remove_folder(&mut self, folder: FolderTag) {
        self.hosts.retain(|(of, _)| *of != folder);
        self.forget_unused_names();
        self.report(folder);
    }

    /// Resolves the names of a folder again now: the user asked for it, or the
    /// network changed.
    pub fn refresh(&mut self, folder: FolderTag, now: Duration) {
        for (_, host) in self.hosts.iter().filter(|(of, _)| *of == folder) {
            if let Host::Name(name) = host.host()
                && let Some(state) = self.names.get_mut(name)
                && !state.in_flight
            {
                state.due = now;
            }
        }
        self.handle_timeout(now);
    }

    /// Takes the answer of the resolver. Ports in it are ignored; at most 16
    /// addresses are used; an empty list counts as a failure. After a failure
    /// the addresses known so far stay.
    pub fn handle_resolved(
        &mut self,
        name: &str,
        result: Result<Vec<SocketAddr>, String>,
        now: Duration,
    ) {
        let Some(state) = self.names.get_mut(name) else {
            return;
        };
        state.in_flight = false;
        let found = result.map(usable);
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                state.addresses = addresses;
                state.failures = 0;
                state.error = None;
                state.due = now + AFTER_SUCCESS;
            }
            Ok(_) => state.failed("no usable address".to_owned(), now),
            Err(error) => state.failed(error, now),
        }
        let of_name = |host: &HostPort| matches!(host.host(), Host::Name(n) if n == name);
        let folders: BTreeSet<_> = self
            .hosts
            .iter()
            .filter(|(_, host)| of_name(host))
            .map(|(folder, _)| *folder)
            .collect();
        for folder in folders {
            self.report(folder);
        }
        self.handle_timeout(now);
    }

    /// To be called when the time of [`next_timeout`](Self::next_timeout) has
    /// come.
    pub fn handle_timeout(&mut self, now: Duration) {
        for state in self
            .names
            .values_mut()
            .filter(|s| s.in_flight && s.due <= now)
        {
            state.in_flight = false;
            state.failed("the resolver did not answer".to_owned(), now);
        }
        let mut free = MAX_IN_FLIGHT.saturating_sub(self.in_flight());
        let mut due: Vec<_> = self
            .names
            .iter_mut()
            .filter(|(_, state)| !state.in_flight && state.due <= now)
            .collect();
        due.sort_by_key(|(_, state)| state.due);
        for (name, state) in due {
            if free == 0 {
                break;
            }
            free -= 1;
            state.in_flight = true;
            state.due = now + PATIENCE;
            self.resolves.push_back(Resolve { name: name.clone() });
        }
    }

    /// The next name to resolve; at most eight wait for an answer.
    pub fn poll_resolve(&mut self) -> Option<Resolve> {
        self.resolves.pop_front()
    }

    /// The next address found or taken back.
    pub fn poll_event(&mut self) -> Option<Discovered> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Duration> {
        let full = self.in_flight() >= MAX_IN_FLIGHT;
        let states = self.names.values();
        states.filter(|s| s.in_flight || !full).map(|s| s.due).min()
    }

    /// The hosts of a folder with the last error of each, for a report.
    pub fn hosts(&self, folder: FolderTag) -> impl Iterator<Item = (&HostPort, Option<&str>)> {
        let of_folder = self.hosts.iter().filter(move |(of, _)| *of == folder);
        of_folder.map(|(_, host)| {
            let error = match host.host() {
                Host::Name(name) => self.names.get(name).and_then(|s| s.error.as_deref()),
                Host::Literal(_) => None,
            };
            (host, error)
        })
    }

    fn in_flight(&self) -> usize {
        self.names.values().filter(|s| s.in_flight).count()
    }

    fn forget_unused_names(&mut self) {
        let used: BTreeSet<&str> = self
            .hosts
            .iter()
            .filter_map(|(_, host)| match host.host() {
                Host::Name(name) => Some(name),
                Host::Literal(_) => None,
            })
            .collect();
        self.names.retain(|name, _| used.contains(name.as_str()));
        self.resolves
            .retain(|resolve| used.contains(resolve.name.as_str()));
    }

    /// Tells the difference between what the folder's hosts mean now and what
    /// was said before. Addresses still valid are said again only when new.
    fn report(&mut self, folder: FolderTag) {
        let mut wanted = BTreeSet::new();
        for (_, host) in self.hosts.iter().filter(|(of, _)| *of == folder) {
            match host.host() {
                Host::Literal(addr) => {
                    wanted.insert(addr);
                }
                Host::Name(name) => {
                    let state = self.names.get(name);
                    for addr in state.map(|s| &s.addresses[..]).unwrap_or_default() {
                        let mut addr = *addr;
                        addr.set_port(host.port());
                        wanted.insert(addr);
                    }
                }
            }
        }
        let said: BTreeSet<SocketAddr> = self
            .reported
            .iter()
            .filter(|(of, _)| *of == folder)
            .map(|(_, addr)| *addr)
            .collect();
        let source = Source::KnownHost;
        for addr in said.difference(&wanted).copied() {
            self.reported.remove(&(folder, addr));
            self.events.push_back(Discovered::Gone {
                folder,
                addr,
                source,
            });
        }
        for addr in wanted.difference(&said).copied() {
            self.reported.insert((folder, addr));
            let expires = Duration::MAX;
            self.events.push_back(Discovered::Found(Candidate {
                folder,
                addr,
                source,
                expires,
            }));
        }
    }
}

impl Name {
    fn failed(&mut self, error: String, now: Duration) {
        let factor = 1 << self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        self.due = now + LONGEST_RETRY.min(FIRST_RETRY * factor);
        self.error = Some(error);
    }
}

/// The first few addresses that can be a host, each once, with port 0.
fn usable(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut out = Vec::new();
    for addr in addresses {
        let mut addr = canonical(addr);
        addr.set_port(0);
        if out.len() < MAX_ADDRESSES && names_a_host(addr.ip()) && !out.contains(&addr) {
            out.push(addr);
        }
    }
    out
}
