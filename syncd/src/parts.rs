//! How each part is made: one factory each. The parts of discovery are made in [`crate::mechanisms`].

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use actix::Actor;
use sync_discovery::FolderTag;
use sync_net::{
    actor::{ListenerActor, ListenerConfig, Stop as StopListener},
    stream::HandshakeLimits,
    tcp::{Bind, BindError, bind},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Settings,
    control::{Control, ControlSocket},
    folder::{FolderActor, StopFolder, watch::FolderWatch},
    mechanisms,
    net::{PeersActor, StopPeers, door::FolderNews},
    policy::{Down, Policy},
    supervise::{ChildSpec, Reporter, RestartChild},
    wiring::{Wires, part},
};

/// The part that owns address book and sessions.
pub(crate) fn peers(wires: &Arc<Wires>) -> ChildSpec {
    let wires = Arc::clone(wires);
    let mut first = true;
    let factory = Box::new(move |reporter| {
        let addr = PeersActor::new(Arc::clone(&wires), reporter).start();
        wires.peers.set(addr.clone().into());
        if !std::mem::replace(&mut first, false) {
            // They hold the address of the one before, and the new book must hear everything again.
            wires.root.do_send(RestartChild(part::LISTENER.to_owned()));
            mechanisms::restart(&wires);
        }
        Ok(Box::new(move || addr.do_send(StopPeers)) as _)
    });
    ChildSpec {
        name: part::PEERS.to_owned(),
        policy: Policy::vital(),
        factory,
    }
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
        let owner = wires.book()?.sessions;
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
        wires.listener.set(addr.clone());
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
        let watch = FolderWatch::new(Arc::clone(&wires), tag, reporter);
        let shared = Arc::clone(&wires);
        let addr = FolderActor::start_in_arbiter(&thread, move |_| {
            FolderActor::new(shared, tag, entry, watch)
        });
        wires.set_folder(tag, addr.clone().into(), false);
        if let Some(peers) = wires.peers.get() {
            peers.folders.do_send(FolderNews::Comes(tag));
        }
        Ok(Box::new(move || addr.do_send(StopFolder)) as _)
    });
    ChildSpec {
        name,
        policy: Policy::vital(),
        factory,
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
