//! Two daemons in small: listener, sessions and an owner on each side.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::gate::Gate;
use crate::membership::Level;
use crate::session::{Config, Goodbye, Hello};
use crate::tcp::{Bind, Clock, HandshakeLimits, bind, dial};
use crate::testing::TestFolder;

/// Passes on what it is told.
struct Owner {
    sessions: mpsc::UnboundedSender<Box<Connected>>,
    events: mpsc::UnboundedSender<PeerEvent>,
}

impl Actor for Owner {
    type Context = Context<Self>;
}

impl Handler<NewSession> for Owner {
    type Result = ();
    fn handle(&mut self, NewSession(connected): NewSession, _: &mut Self::Context) {
        let _ = self.sessions.send(connected);
    }
}

impl Handler<PeerEvent> for Owner {
    type Result = ();
    fn handle(&mut self, event: PeerEvent, _: &mut Self::Context) {
        let _ = self.events.send(event);
    }
}

fn owner() -> (
    Addr<Owner>,
    mpsc::UnboundedReceiver<Box<Connected>>,
    mpsc::UnboundedReceiver<PeerEvent>,
) {
    let (sessions, got_sessions) = mpsc::unbounded_channel();
    let (events, got_events) = mpsc::unbounded_channel();
    (Owner { sessions, events }.start(), got_sessions, got_events)
}

#[actix::test]
async fn a_peer_is_accepted_talks_and_leaves() {
    let (server, mut sessions, mut server_events) = owner();
    let (client, _, mut client_events) = owner();
    let clock = Clock::start();
    let config = ListenerConfig {
        gate: Arc::new(Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap()),
        hello: Hello::new("server", 1, 0),
        session: Config::default(),
        limits: HandshakeLimits::default(),
        clock,
    };
    let sockets = bind(&Bind::Interfaces(vec!["lo".into()]), 0).unwrap();
    let addr = sockets[0].local_addr().unwrap();
    let (stopped, mut was_stopped) = mpsc::unbounded_channel();
    let note = |what: &'static str| -> Option<OnStop> {
        let stopped = stopped.clone();
        Some(Box::new(move || {
            let _ = stopped.send(what);
        }))
    };
    let recipient = server.clone().recipient();
    let listener = ListenerActor::new(sockets, config, recipient, note("listener")).start();

    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let hello = Hello::new("client", 2, 0);
    let ours = dial(addr, folder, hello, Config::default(), clock)
        .await
        .unwrap();
    let theirs = sessions.recv().await.unwrap();
    assert_eq!(theirs.established.hello.name, "client");
    let a = PeerActor::new(1, Box::new(ours), client.recipient(), note("a")).start();
    let b = PeerActor::new(2, theirs, server.recipient(), note("b")).start();

    a.send(SendControl(Bytes::from_static(b"want")))
        .await
        .unwrap()
        .unwrap();
    let event = server_events.recv().await.unwrap();
    assert_eq!(
        (event.session, event.event),
        (2, Event::Control(Bytes::from_static(b"want")))
    );
    let data = Bytes::from(vec![3; 700_000]);
    b.send(SendBulk {
        request: 8,
        data: data.clone(),
        last: true,
    })
    .await
    .unwrap()
    .unwrap();
    let mut received = Vec::new();
    while received.len() < data.len() {
        if let Event::Bulk {
            request: 8, data, ..
        } = client_events.recv().await.unwrap().event
        {
            received.extend_from_slice(&data);
        }
    }
    assert_eq!(received, data);
    assert_eq!(b.send(QueuedBulk).await.unwrap(), 0);
    b.send(Probe).await.unwrap().unwrap();
    b.send(CancelBulk(8)).await.unwrap().unwrap();

    a.send(Close(Goodbye::Replaced)).await.unwrap();
    let reason = server_events.recv().await.unwrap().closed();
    assert_eq!(reason, Some(CloseReason::Peer(Goodbye::Replaced)));
    listener.send(Stop).await.unwrap();
    let mut names = vec![];
    for _ in 0..3 {
        names.push(was_stopped.recv().await.unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "listener"]);
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "the port is free again"
    );
}
