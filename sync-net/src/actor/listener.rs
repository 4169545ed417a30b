//! The listener: accepts connections and carries their handshakes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::gate::Gate;
use crate::session::{Config, Hello};
use crate::stream::{
    Clock, HandshakeLimits, HandshakeSlots, Slot, accept_session, establish_watched,
};
use crate::tcp::{route_to, tune};

use super::{NewSession, OnStop, Stop};

/// How long to wait when the system has no room for one more connection.
const NO_ROOM: Duration = Duration::from_millis(200);

/// What a listener needs besides its sockets.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The folders that it answers for.
    pub gate: Arc<Gate>,
    /// What it says to peers.
    pub hello: Hello,
    /// The settings of its sessions.
    pub session: Config,
    /// How many handshakes it carries at once.
    pub limits: HandshakeLimits,
    /// The daemon's clock.
    pub clock: Clock,
}

/// Accepts connections on some sockets. It must be started within a tokio
/// runtime, as every actix system is.
pub struct ListenerActor {
    config: ListenerConfig,
    listeners: Vec<TcpListener>,
    owner: Recipient<NewSession>,
    on_stop: Option<OnStop>,
    tasks: Vec<JoinHandle<()>>,
}

impl ListenerActor {
    /// A listener that hands established sessions to `owner`.
    #[must_use]
    pub fn new(
        listeners: Vec<TcpListener>,
        config: ListenerConfig,
        owner: Recipient<NewSession>,
        on_stop: Option<OnStop>,
    ) -> Self {
        Self {
            config,
            listeners,
            owner,
            on_stop,
            tasks: Vec::new(),
        }
    }
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let slots = HandshakeSlots::new(self.config.limits);
        for listener in self.listeners.drain(..) {
            let serving = serve(
                listener,
                self.config.clone(),
                slots.clone(),
                self.owner.clone(),
            );
            self.tasks.push(tokio::spawn(serving));
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Unfinished handshakes end with their tasks.
        self.tasks.iter().for_each(JoinHandle::abort);
        let (tasks, on_stop) = (std::mem::take(&mut self.tasks), self.on_stop.take());
        // The sockets go with their tasks: whoever hears of the end may bind them anew.
        let ending = async move {
            for task in tasks {
                let _ = task.await;
            }
            if let Some(on_stop) = on_stop {
                on_stop();
            }
        };
        // Without a runtime the daemon is gone already, and nobody is left to hear it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(ending);
        }
    }
}

impl Handler<Stop> for ListenerActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl fmt::Debug for ListenerActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerActor")
            .field("tasks", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

/// Accepts for ever. When the task is dropped, so are all handshakes.
async fn serve(
    listener: TcpListener,
    config: ListenerConfig,
    slots: HandshakeSlots,
    owner: Recipient<NewSession>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    // No place: closed at once, without a byte.
                    if let Some(slot) = slots.admit(remote.ip()) {
                        handshakes.spawn(shake(stream, remote, slot, config.clone(), owner.clone()));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(NO_ROOM).await,
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

/// Errors that say nothing about the listening socket.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn shake(
    stream: TcpStream,
    remote: SocketAddr,
    mut slot: Slot,
    config: ListenerConfig,
    owner: Recipient<NewSession>,
) {
    tune(&stream);
    let ListenerConfig {
        gate,
        hello,
        session,
        clock,
        ..
    } = config;
    let Ok(session) = accept_session(&gate, hello, session, clock) else {
        return;
    };
    let watch = || slot.becomes_stranger();
    let established =
        establish_watched(session, Box::new(stream), route_to(remote), clock, watch).await;
    if let Ok(connected) = established {
        // The slot is kept until the owner has taken the session.
        let _ = owner.send(NewSession(Box::new(connected))).await;
    }
    drop(slot);
}
