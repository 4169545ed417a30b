//! The LAN beacon on real sockets.
//!
//! Owns the sockets and the list of interfaces, which it looks at every ten seconds. Loopback belongs to the
//! interfaces, so that daemons of one host find each other; what fails there alone isn't worth a word.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use sync_core::options::{Declaration, Opt, Places, Port, Values};
use tokio::net::UdpSocket;

use super::{
    LanBeacon, LanConfig,
    links::Links,
    sockets::{Sockets, Troubles},
    wire::MAX_DATAGRAM,
};
use crate::{
    Discovered, FolderTag, Source, Trouble,
    mechanism::{Events, FolderStatus, Mechanism, Refresh, Status, Tasks, Want},
};

const LOOK_AT_INTERFACES: Duration = Duration::from_secs(10);

/// Whether to speak on the local network at all, and for one folder.
pub const LAN: Opt<bool> = Opt::new(
    "no-lan",
    "lan",
    "Announcing and looking for folders on the local network",
)
.default("on")
.at(Places::LINE.and(Places::FILE).and(Places::FOLDER));

/// The UDP port of the beacon.
pub const LAN_PORT: Opt<Port> = Opt::new(
    "lan-port",
    "lan_port",
    "UDP port of the announcements on the local network, the same on all devices",
)
.default("29171")
.needs_restart();

/// The mechanism. See [`LanBeacon`] for what it does.
#[derive(Debug)]
pub struct LanMechanism {
    beacon: LanBeacon,
    beacon_port: u16,
    bind: Vec<String>,
    folders: BTreeSet<FolderTag>,
    left_out: usize,
    sockets: Option<Sockets>,
    links: Links,
    troubles: Troubles,
    look_at: Duration,
}

/// A datagram.
#[derive(Debug)]
pub struct Heard {
    from: SocketAddr,
    bytes: Vec<u8>,
}

impl Mechanism for LanMechanism {
    const SOURCE: Source = Source::Lan;
    const OPTIONS: &'static [&'static Declaration] = &[&LAN.declaration, &LAN_PORT.declaration];
    type Event = Heard;

    fn enabled(options: &Values) -> bool {
        options.get(&LAN)
    }

    fn new(want: &Want, seed: &[u8; 32], now: Duration) -> Self {
        let config = LanConfig {
            port: want.port,
            folders: Vec::new(),
        };
        let mut new = Self {
            beacon: LanBeacon::new(config, seed, now),
            beacon_port: want.options.get(&LAN_PORT).0,
            bind: want.bind.clone(),
            folders: BTreeSet::new(),
            left_out: 0,
            sockets: None,
            links: Links::default(),
            troubles: Troubles::new(),
            look_at: now,
        };
        new.want(want, now);
        new
    }

    fn start(&mut self, tasks: &mut Tasks<Heard>) -> Result<(), Trouble> {
        let port = self.beacon_port;
        let failed = |error: std::io::Error| Trouble::Port {
            port,
            error: error.to_string(),
        };
        let (sockets, listen) = Sockets::open(port).map_err(failed)?;
        for socket in listen {
            let socket = Arc::new(UdpSocket::from_std(socket).map_err(failed)?);
            tasks.spawn(|events| listen_on(socket, events));
        }
        self.sockets = Some(sockets);
        Ok(())
    }

    fn want(&mut self, want: &Want, now: Duration) {
        self.beacon.change_port(want.port, now);
        let wanted = want.folders.iter();
        let wanted: Vec<_> = wanted.filter(|(_, f)| f.options.get(&LAN)).collect();
        for folder in &self.folders {
            if !wanted.iter().any(|(tag, _)| *tag == folder) {
                self.beacon.remove_folder(*folder);
            }
        }
        self.left_out = 0;
        self.folders.clear();
        for (tag, folder) in wanted {
            // One that is there already with this key stays as it is.
            match self.beacon.add_folder(*tag, *folder.lan_key, now) {
                Ok(()) => {
                    self.folders.insert(*tag);
                }
                Err(_) => self.left_out += 1,
            }
        }
    }

    fn refresh(&mut self, what: Refresh, now: Duration) {
        if what == Refresh::Network {
            self.look_at = now;
        }
    }

    fn handle(&mut self, heard: Heard, now: Duration) {
        if self.links.permits(heard.from) {
            self.beacon.handle_datagram(heard.from, &heard.bytes, now);
        }
    }

    fn drive(&mut self, _: &mut Tasks<Heard>, now: Duration) -> Option<Duration> {
        if self.look_at <= now {
            self.look_at = now + LOOK_AT_INTERFACES;
            self.look_at_interfaces(now);
        }
        self.beacon.handle_timeout(now);
        while let Some(transmit) = self.beacon.poll_transmit() {
            if let Some(sockets) = &self.sockets {
                sockets.send(&transmit, &self.links, &mut self.troubles);
            }
        }
        let next = self.beacon.next_timeout();
        Some(next.map_or(self.look_at, |next| next.min(self.look_at)))
    }

    fn poll(&mut self) -> Option<Discovered> {
        self.beacon.poll_event().map(Discovered::Found)
    }

    fn status(&self) -> Status {
        let mut trouble: Vec<_> = self.troubles.values().cloned().collect();
        if self.left_out > 0 {
            trouble.push(Trouble::TooMany {
                what: "folders",
                left_out: self.left_out,
                most: super::beacon::MAX_FOLDERS,
            });
        }
        let names: Vec<_> = self.links.names().into_iter().collect();
        let on = match names.is_empty() {
            true => String::new(),
            false => format!(" on {}", names.join(", ")),
        };
        Status {
            on: true,
            detail: format!("UDP port {}{on}", self.beacon_port),
            trouble,
        }
    }

    fn folder_status(&self, folder: FolderTag) -> FolderStatus {
        let names: Vec<_> = self.links.names().into_iter().collect();
        let how = match names.is_empty() {
            true => "by beacons on the local network, once there is one".to_owned(),
            false => format!(
                "by beacons on the local network ({}, UDP port {})",
                names.join(", "),
                self.beacon_port
            ),
        };
        FolderStatus {
            how_found: self.folders.contains(&folder).then_some(how),
            trouble: Vec::new(),
        }
    }
}

impl LanMechanism {
    fn look_at_interfaces(&mut self, now: Duration) {
        match Links::read(&self.bind) {
            Ok(links) => {
                self.troubles.remove("interfaces");
                if links != self.links {
                    self.links = links;
                    self.troubles.clear();
                    self.beacon.handle_interfaces_changed(now);
                }
                if self.links.names().is_empty() {
                    let wanted = self.bind.clone();
                    self.troubles
                        .insert("interfaces".to_owned(), Trouble::NoInterface { wanted });
                }
            }
            Err(error) => {
                let error = error.to_string();
                self.troubles
                    .insert("interfaces".to_owned(), Trouble::Interfaces { error });
            }
        }
        if let Some(sockets) = &mut self.sockets {
            sockets.join(&self.links, &mut self.troubles);
        }
    }
}

async fn listen_on(socket: Arc<UdpSocket>, events: Events<Heard>) {
    let mut buffer = [0; MAX_DATAGRAM + 1];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, from)) => {
                let bytes = buffer[..len].to_vec();
                if !events.tell(Heard { from, bytes }).await {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "beacon socket");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
