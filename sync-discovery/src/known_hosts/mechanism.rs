//! The known hosts on the resolver of the operating system.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use sync_core::options::{Declaration, Opt, OptionType, Places, Value};

use super::{HostPort, KnownHosts, machine::MAX_HOSTS};
use crate::{
    Discovered, FolderTag, Source, Trouble,
    mechanism::{FolderStatus, Mechanism, Refresh, Status, Tasks, Want},
};

/// More than the machine uses, less than a hostile name server may send.
const MAX_TAKEN: usize = 64;

/// The hosts that the user wrote down: for all folders on the command line and in `config.toml`, for one in its
/// settings.
pub const KNOWN_HOST: Opt<Vec<HostPort>> = Opt::new(
    "known-host",
    "known_hosts",
    "Look for members at this address; may be given several times",
)
.at(Places::LINE.and(Places::FILE).and(Places::FOLDER));

impl OptionType for HostPort {
    const WORD: &'static str = "HOST:PORT";
    const TAKES: &'static str =
        "the address of a host with its port, such as nas.example.org:29170";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: super::HostPortError| error.to_string())
    }

    fn value(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// The mechanism. See [`KnownHosts`] for what it does.
#[derive(Debug)]
pub struct KnownHostsMechanism {
    machine: KnownHosts,
    wanted: BTreeSet<(FolderTag, HostPort)>,
    left_out: usize,
}

/// What the resolver said.
#[derive(Debug)]
pub struct Resolved {
    name: String,
    result: Result<Vec<SocketAddr>, String>,
}

impl Mechanism for KnownHostsMechanism {
    const SOURCE: Source = Source::KnownHost;
    const OPTIONS: &'static [&'static Declaration] = &[&KNOWN_HOST.declaration];
    type Event = Resolved;

    fn new(want: &Want, _: &[u8; 32], now: Duration) -> Self {
        let mut new = Self {
            machine: KnownHosts::new(),
            wanted: BTreeSet::new(),
            left_out: 0,
        };
        new.want(want, now);
        new
    }

    fn want(&mut self, want: &Want, now: Duration) {
        let for_all = want.options.get(&KNOWN_HOST);
        let wanted: BTreeSet<_> = want
            .folders
            .iter()
            .flat_map(|(tag, folder)| {
                let own = folder.options.get(&KNOWN_HOST);
                let hosts = own.into_iter().chain(for_all.clone());
                hosts.map(|host| (*tag, host))
            })
            .collect();
        for (folder, host) in self.wanted.difference(&wanted) {
            self.machine.remove(*folder, host);
        }
        self.left_out = 0;
        for (folder, host) in &wanted {
            // One that is there already stays as it is.
            if self.machine.add(*folder, host.clone(), now).is_err() {
                self.left_out += 1;
            }
        }
        self.wanted = wanted;
    }

    fn refresh(&mut self, what: Refresh, now: Duration) {
        match what {
            Refresh::Folder(folder) => self.machine.refresh(folder, now),
            Refresh::Network => {
                let folders: BTreeSet<_> = self.wanted.iter().map(|(folder, _)| *folder).collect();
                for folder in folders {
                    self.machine.refresh(folder, now);
                }
            }
        }
    }

    fn handle(&mut self, Resolved { name, result }: Resolved, now: Duration) {
        self.machine.handle_resolved(&name, result, now);
    }

    fn drive(&mut self, tasks: &mut Tasks<Resolved>, now: Duration) -> Option<Duration> {
        self.machine.handle_timeout(now);
        while let Some(resolve) = self.machine.poll_resolve() {
            tasks.spawn(|events| async move {
                let result = look_up(&resolve.name).await;
                let name = resolve.name;
                events.tell(Resolved { name, result }).await;
            });
        }
        self.machine.next_timeout()
    }

    fn poll(&mut self) -> Option<Discovered> {
        self.machine.poll_event()
    }

    fn status(&self) -> Status {
        let hosts = self.wanted.len();
        let folders: BTreeSet<_> = self.wanted.iter().map(|(folder, _)| *folder).collect();
        let mut trouble: BTreeSet<_> = folders
            .into_iter()
            .flat_map(|f| self.unresolved(f))
            .collect();
        if self.left_out > 0 {
            trouble.insert(Trouble::TooMany {
                what: "known hosts",
                left_out: self.left_out,
                most: MAX_HOSTS,
            });
        }
        Status {
            on: hosts > 0,
            detail: format!("{hosts} known"),
            trouble: trouble.into_iter().collect(),
        }
    }

    fn folder_status(&self, folder: FolderTag) -> FolderStatus {
        let of_folder = self.wanted.iter().filter(|(of, _)| *of == folder);
        let hosts: Vec<_> = of_folder.map(|(_, host)| host.to_string()).collect();
        FolderStatus {
            how_found: (!hosts.is_empty()).then(|| format!("by asking {}", hosts.join(", "))),
            trouble: self.unresolved(folder).collect(),
        }
    }
}

impl KnownHostsMechanism {
    fn unresolved(&self, folder: FolderTag) -> impl Iterator<Item = Trouble> {
        self.machine.hosts(folder).filter_map(|(host, error)| {
            Some(Trouble::Unresolved {
                host: host.to_string(),
                error: error?.to_owned(),
            })
        })
    }
}

async fn look_up(name: &str) -> Result<Vec<SocketAddr>, String> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => Ok(found.take(MAX_TAKEN).collect()),
        Err(error) => Err(error.to_string()),
    }
}
