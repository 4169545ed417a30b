//! How each part is made: one factory each.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use actix::{Actor, Addr};
use sync_discovery::FolderTag;
use sync_net::{
    actor::{ListenerActor, ListenerConfig, Stop as StopListener},
    stream::HandshakeLimits,
    tcp::{Bind, BindError, bind},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{FolderAddr, Wires, part};
use crate::{
    config::Settings,
    control::{Control, ControlSocket},
    discovery,
    folder::{FolderActor, StopFolder},
    net::{FolderComes, FolderDown, FolderUp, PeersActor, StopPeers},
    policy::{Down, Policy},
    supervise::{AddChild, ChildSpec, Reporter, RestartChild, Root},
};

/// The part that owns address book and sessions.
pub(crate) fn peers(wires: &Arc<Wires>) -> ChildSpec {
    let wires = Arc::clone(wires);
    let mut first = true;
    let factory = Box::new(move |reporter| {
        let addr = PeersActor::new(Arc::clone(&wires), reporter).start();
        wires.peers.set(Some(addr.clone()));
        if !std::mem::replace(&mut first, false) {
            // They hold the address of the one before, and the new book must hear everything again.
            wires.root.do_send(RestartChild(part::LISTENER.to_owned()));
            discovery::restart(&wires);
        }
        Ok(Box::new(move || addr.do_send(StopPeers)) as _)
    });
    ChildSpec {
        name: part::PEERS.to_owned(),
        policy: Policy::vital(),
        factory,
    }
}

/// Who takes what others find; looked up at each start.
pub(crate) fn book(wires: &Wires) -> Result<Addr<PeersActor>, &'static str> {
    wires.peers.addr().ok_or("the address book is down")
}

/// Opens the listening sockets as the settings say.
pub(crate) fn open_port(settings: &Settings, port: u16) -> Result<Vec<TcpListener>, BindError> {
    let bind_to = settings.bind();
    let place = match settings.listen().addr {
        Some(addr) => Bind::Addresses(vec![addr]),
        None if bind_to.is_empty() => Bind::All,
        None => Bind::Interfaces(bind_to),
    };
    bind(&place, port)
}

/// The listener. `first` are its sockets for the first start, opened before so that a port in use is told
/// at once.
pub(crate) fn listener(wires: &Arc<Wires>, first: Option<Vec<TcpListener>>) -> ChildSpec {
    let wires = Arc::clone(wires);
    let mut first = first;
    let factory = Box::new(move |reporter: Reporter| {
        let port = wires.port.load(Ordering::Relaxed);
        let sockets = match first.take() {
            Some(sockets) => sockets,
            None => open_port(&wires.settings(), port).map_err(|e| e.to_string())?,
        };
        let addrs: Vec<_> = sockets.iter().filter_map(|s| s.local_addr().ok()).collect();
        let config = ListenerConfig {
            gate: Arc::clone(&wires.gate),
            hello: wires.hello(),
            session: wires.session_config(),
            limits: HandshakeLimits::default(),
            clock: wires.clock,
        };
        let owner = book(&wires)?.recipient();
        *wires
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = addrs;
        let told = Mutex::new(Some(reporter));
        let on_stop = Box::new(move || {
            if let Ok(mut told) = told.lock()
                && let Some(reporter) = told.take()
            {
                reporter.down(Down::Died);
            }
        });
        let addr = ListenerActor::new(sockets, config, owner, Some(on_stop)).start();
        wires.listener.set(Some(addr.clone()));
        Ok(Box::new(move || addr.do_send(StopListener)) as _)
    });
    ChildSpec {
        name: part::LISTENER.to_owned(),
        policy: Policy::vital(),
        factory,
    }
}

/// A folder, on one of the threads that folders share: its engine reads the index, and must not hold up the
/// network.
pub(crate) fn folder(wires: &Arc<Wires>, tag: FolderTag) -> ChildSpec {
    let wires = Arc::clone(wires);
    let name = part::folder(&tag);
    let thread = wires.engines.next();
    let factory = Box::new(move |reporter: Reporter| {
        let entry = wires
            .roster()
            .get(&tag)
            .cloned()
            .ok_or("the folder was removed")?;
        let watch = FolderWatch {
            wires: Arc::clone(&wires),
            tag,
            reporter: Some(reporter),
        };
        let shared = Arc::clone(&wires);
        let addr = FolderActor::start_in_arbiter(&thread, move |_| {
            FolderActor::new(shared, tag, entry, watch)
        });
        wires.folders().insert(
            tag,
            FolderAddr {
                addr: addr.clone(),
                ready: false,
            },
        );
        if let Some(peers) = wires.peers.addr() {
            peers.do_send(FolderComes(tag));
        }
        Ok(Box::new(move || addr.do_send(StopFolder)) as _)
    });
    ChildSpec {
        name,
        policy: Policy::vital(),
        factory,
    }
}

/// Tells everybody when a folder's actor is ready for sessions, and when it is down, however that came.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    wires: Arc<Wires>,
    tag: FolderTag,
    reporter: Option<Reporter>,
}

impl FolderWatch {
    /// The folder can take sessions.
    pub(crate) fn ready(&self, addr: Addr<FolderActor>) {
        self.wires
            .folders()
            .insert(self.tag, FolderAddr { addr, ready: true });
        if let Some(peers) = self.wires.peers.addr() {
            peers.do_send(FolderUp(self.tag));
        }
    }

    /// The folder can't take sessions for now.
    pub(crate) fn not_ready(&self) {
        if let Some(folder) = self.wires.folders().get_mut(&self.tag) {
            folder.ready = false;
        }
        if let Some(peers) = self.wires.peers.addr() {
            peers.do_send(FolderDown(self.tag));
        }
    }

    /// The actor is down, and why.
    pub(crate) fn down(&mut self, down: Down) {
        if let Some(reporter) = self.reporter.take() {
            self.wires.folders().remove(&self.tag);
            if let Some(peers) = self.wires.peers.addr() {
                peers.do_send(FolderDown(self.tag));
            }
            reporter.down(down);
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.down(Down::Died);
    }
}

/// The control API. `first` is its socket for the first start.
pub(crate) fn control(
    wires: &Arc<Wires>,
    first: ControlSocket,
    control: Arc<dyn Control>,
    stop: CancellationToken,
) -> ChildSpec {
    let path = wires.home.socket();
    let mut first = Some(first);
    let factory = Box::new(move |reporter: Reporter| {
        let (first, path) = (first.take(), path.clone());
        let (control, this) = (Arc::clone(&control), stop.child_token());
        let (serving, asked) = (this.clone(), this.clone());
        tokio::spawn(async move {
            let socket = match first {
                Some(socket) => Ok(socket),
                None => ControlSocket::bind(&path).await,
            };
            let served = match socket {
                Ok(socket) => socket.serve(control, serving).await,
                Err(error) => Err(error),
            };
            reporter.down(match served {
                Ok(()) if asked.is_cancelled() => Down::Done,
                Ok(()) => Down::Failed("the control socket was closed".into()),
                Err(error) => Down::Failed(error.to_string()),
            });
        });
        Ok(Box::new(move || this.cancel()) as _)
    });
    ChildSpec {
        name: part::CONTROL.to_owned(),
        policy: Policy::vital(),
        factory,
    }
}

/// Starts a part.
pub(crate) fn add(root: &Addr<Root>, spec: ChildSpec) {
    root.do_send(AddChild(spec));
}
