//! Two daemons in small: listener, sessions and an owner on each side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use actix::{Actor, Addr, Context, Handler};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::*;
use crate::gate::Gate;
use crate::membership::Level;
use crate::session::{CloseReason, Config, Event, Goodbye, Hello, MAX_CONTROL, SendError};
use crate::stream::{Clock, EVENT_QUEUE, HandshakeLimits, SessionHandle};
use crate::tcp::{Bind, bind, dial};
use crate::testing::TestFolder;

/// Passes on what it is told.
struct Owner {
    sessions: mpsc::UnboundedSender<Box<Connected>>,
    ends: mpsc::UnboundedSender<SessionOver>,
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

impl Handler<SessionOver> for Owner {
    type Result = ();
    fn handle(&mut self, over: SessionOver, _: &mut Self::Context) {
        let _ = self.ends.send(over);
    }
}

/// Two connected sides and what becomes of them.
struct Pair {
    owner: Addr<Owner>,
    ends: mpsc::UnboundedReceiver<SessionOver>,
    listener: Addr<ListenerActor>,
    listener_stopped: mpsc::UnboundedReceiver<()>,
    addr: std::net::SocketAddr,
    ours: Connected,
    theirs: Connected,
}

async fn pair() -> Pair {
    let (sessions, mut got_sessions) = mpsc::unbounded_channel();
    let (told, ends) = mpsc::unbounded_channel();
    let owner = Owner {
        sessions,
        ends: told,
    }
    .start();
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
    let (stopped, listener_stopped) = mpsc::unbounded_channel();
    let on_stop: OnStop = Box::new(move || {
        let _ = stopped.send(());
    });
    let recipient = owner.clone().recipient();
    let listener = ListenerActor::new(sockets, config, recipient, Some(on_stop)).start();
    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let hello = Hello::new("client", 2, 0);
    let ours = dial(addr, folder, hello, Config::default(), clock)
        .await
        .unwrap();
    let theirs = *got_sessions.recv().await.unwrap();
    Pair {
        owner,
        ends,
        listener,
        listener_stopped,
        addr,
        ours,
        theirs,
    }
}

fn start(
    session: u64,
    connected: Connected,
    owner: &Addr<Owner>,
) -> (Addr<PeerActor>, SessionHandle, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let actor = PeerActor::new(session, connected, sender, owner.clone().recipient());
    let handle = actor.handle().clone();
    (actor.start(), handle, events)
}

#[actix::test]
async fn a_peer_is_accepted_talks_and_leaves() {
    let mut pair = pair().await;
    assert_eq!(pair.theirs.established.hello.name, "client");
    let (a, _, mut client_events) = start(1, pair.ours, &pair.owner);
    let (b, bulk, mut server_events) = start(2, pair.theirs, &pair.owner);

    let want = Bytes::from_static(b"want");
    a.send(SendControl(want.clone())).await.unwrap();
    assert_eq!(server_events.recv().await, Some(Event::Control(want)));
    let data = Bytes::from(vec![3; 700_000]);
    bulk.send_bulk(8, data.clone(), true).unwrap();
    let mut received = Vec::new();
    while received.len() < data.len() {
        if let Some(Event::Bulk {
            request: 8, data, ..
        }) = client_events.recv().await
        {
            received.extend_from_slice(&data);
        }
    }
    assert_eq!(received, data);

    a.send(Close(Goodbye::Replaced)).await.unwrap();
    let mut ends = [
        pair.ends.recv().await.unwrap(),
        pair.ends.recv().await.unwrap(),
    ];
    ends.sort_unstable_by_key(|over| over.session);
    let told = ends.map(|over| (over.session, over.reason, over.refused));
    let (local, remote) = (
        CloseReason::Local(Goodbye::Replaced),
        CloseReason::Peer(Goodbye::Replaced),
    );
    assert_eq!(told, [(1, local, None), (2, remote, None)]);
    // Both actors have gone with their sessions.
    while a.connected() || b.connected() {
        tokio::task::yield_now().await;
    }
    pair.listener.send(Stop).await.unwrap();
    pair.listener_stopped.recv().await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(pair.addr).await.is_err(),
        "the port is free again"
    );
}

#[actix::test]
async fn a_message_that_cant_be_queued_ends_the_session() {
    let mut pair = pair().await;
    let (a, _, _events) = start(1, pair.ours, &pair.owner);
    a.do_send(SendControl(Bytes::from(vec![0; MAX_CONTROL + 1])));
    let over = pair.ends.recv().await.unwrap();
    assert_eq!(over.reason, CloseReason::Local(Goodbye::Busy));
    assert_eq!(over.refused, Some(SendError::TooLong));
}

#[actix::test]
async fn a_session_goes_on_when_nobody_has_its_actor() {
    let mut pair = pair().await;
    let (a, _, _events) = start(1, pair.ours, &pair.owner);
    let (b, _, mut server_events) = start(2, pair.theirs, &pair.owner);
    drop(b);
    let word = Bytes::from_static(b"still there?");
    a.do_send(SendControl(word.clone()));
    assert_eq!(server_events.recv().await, Some(Event::Control(word)));
    assert!(pair.ends.try_recv().is_err());
}

/// A stream whose every use is a bug.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Task<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("a test's panic")
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Task<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic!("a test's panic")
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[actix::test]
async fn a_panic_in_a_session_is_told_as_its_end() {
    let mut pair = pair().await;
    pair.ours.stream = Box::new(Broken);
    let (a, _, _events) = start(7, pair.ours, &pair.owner);
    let over = pair.ends.recv().await.unwrap();
    assert_eq!((over.session, over.reason), (7, CloseReason::Disconnected));
    while a.connected() {
        tokio::task::yield_now().await;
    }
}
