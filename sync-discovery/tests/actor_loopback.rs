//! The actors on the real loopback interface and the real resolver.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use sync_core::options::{OptionType, Port, Values};
use sync_discovery::actor::{Kind, Order, Setup, StopReason};
use sync_discovery::known_hosts::{KNOWN_HOST, KnownHostsMechanism};
use sync_discovery::lan::{LAN, LAN_PORT, LanMechanism};
use sync_discovery::mechanism::{FolderStatus, Status, Want, WantedFolder};
use sync_discovery::{Candidate, Discovered, FolderTag, Source, Trouble};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Passes what it is told into a channel.
struct Inbox(tokio::sync::mpsc::UnboundedSender<Discovered>);

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<Discovered> for Inbox {
    type Result = ();

    fn handle(&mut self, what: Discovered, _: &mut Self::Context) {
        // The test may have seen enough and gone.
        let _ = self.0.send(what);
    }
}

fn inbox() -> (Recipient<Discovered>, UnboundedReceiver<Discovered>) {
    let (sender, receiver) = unbounded_channel();
    (Inbox(sender).start().recipient(), receiver)
}

async fn candidate(receiver: &mut UnboundedReceiver<Discovered>) -> Candidate {
    match timeout(PATIENCE, receiver.recv()).await {
        Ok(Some(Discovered::Found(candidate))) => candidate,
        other => panic!("no candidate but {other:?}"),
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    socket.local_addr().expect("its number").port()
}

fn folder(options: Values) -> WantedFolder {
    WantedFolder {
        lan_key: [5; 32].into(),
        options,
    }
}

fn setup(want: Want, seed: u8, out: Recipient<Discovered>) -> Setup {
    Setup {
        epoch: Instant::now(),
        seed: [seed; 32],
        want: Arc::new(want),
        out,
        on_stopped: None,
    }
}

async fn status(actor: &Recipient<Order>) -> Status {
    let (reply, answer) = oneshot::channel();
    actor.do_send(Order::Status(reply));
    answer.await.unwrap()
}

async fn folder_status(actor: &Recipient<Order>, tag: FolderTag) -> FolderStatus {
    let (reply, answer) = oneshot::channel();
    actor.do_send(Order::FolderStatus(tag, reply));
    answer.await.unwrap()
}

#[actix::test]
async fn three_daemons_on_one_host_find_each_other() {
    let beacon_port = free_port();
    let tag = FolderTag::from(7);
    let (ended, mut end) = unbounded_channel();
    let kind = Kind::of::<LanMechanism>();
    let mut actors = Vec::new();
    for port in [1001, 1002, 1003] {
        let (out, receiver) = inbox();
        let mut want = Want {
            port,
            bind: vec!["lo".into()],
            options: Values::default().with(&LAN_PORT, Port(beacon_port)),
            ..Want::default()
        };
        let ended = ended.clone();
        let actor = kind.start(Setup {
            on_stopped: Some(Box::new(move |reason| ended.send(reason).unwrap())),
            ..setup(want.clone(), port as u8, out)
        });
        want.folders.insert(tag, folder(Values::default()));
        actor.do_send(Order::Want(Arc::new(want.clone())));
        actors.push((port, actor, receiver, want));
    }
    for (port, actor, receiver, _) in &mut actors {
        let mut missing = vec![1001, 1002, 1003];
        missing.retain(|p| p != port);
        while !missing.is_empty() {
            let found = candidate(receiver).await;
            assert!(found.addr.ip().is_loopback());
            assert_eq!((found.folder, found.source), (tag, Source::Lan));
            assert_ne!(found.addr.port(), *port, "heard itself");
            missing.retain(|p| *p != found.addr.port());
        }
        let status = status(actor).await;
        assert!(status.on);
        assert_eq!(status.detail, format!("UDP port {beacon_port} on lo"));
        // Whatever loopback can't do is nobody's trouble.
        assert_eq!(status.trouble, []);
        let how = folder_status(actor, tag).await.how_found.unwrap();
        assert!(how.contains("(lo, UDP port"), "{how}");
    }
    // Switched off for the folder, it is no longer found so.
    let (_, actor, _, want) = &mut actors[0];
    want.folders
        .insert(tag, folder(Values::default().with(&LAN, false)));
    actor.do_send(Order::Want(Arc::new(want.clone())));
    assert_eq!(folder_status(actor, tag).await.how_found, None);
    for (_, actor, _, _) in &actors {
        actor.send(Order::Stop).await.unwrap();
    }
    drop(actors);
    for _ in 0..3 {
        let reason = timeout(PATIENCE, end.recv()).await.expect("ended in time");
        assert_eq!(reason, Some(StopReason::Asked));
    }
}

#[actix::test]
async fn an_interface_that_is_not_there_is_said() {
    let (out, _receiver) = inbox();
    let want = Want {
        bind: vec!["nowhere0".into()],
        options: Values::default().with(&LAN_PORT, Port(free_port())),
        ..Want::default()
    };
    let actor = Kind::of::<LanMechanism>().start(setup(want, 9, out));
    let trouble = status(&actor).await.trouble;
    assert_eq!(trouble.len(), 1);
    assert_eq!(trouble[0].kind(), "interfaces");
    assert!(trouble[0].remedy().contains("nowhere0"));
    actor.send(Order::Stop).await.unwrap();
}

#[actix::test]
async fn localhost_is_resolved_and_what_is_not_is_said() {
    let (out, mut receiver) = inbox();
    let (one, two, three) = (FolderTag::from(1), FolderTag::from(2), FolderTag::from(3));
    let host = |text: &str| Vec::read(text).unwrap();
    let own = |text: &str| folder(Values::default().with(&KNOWN_HOST, host(text)));
    let mut want = Want::default();
    want.folders.insert(one, own("127.0.0.9:80"));
    want.folders.insert(two, own("localhost:81"));
    // The name of no host, by RFC 6761.
    want.folders.insert(three, own("nas.invalid:82"));
    let actor = Kind::of::<KnownHostsMechanism>().start(setup(want.clone(), 1, out));
    let literal = candidate(&mut receiver).await;
    assert_eq!(literal.addr, "127.0.0.9:80".parse().unwrap());
    let named = candidate(&mut receiver).await;
    assert_eq!(named.folder, two);
    assert!(named.addr.ip().is_loopback());
    assert_eq!(named.addr.port(), 81);

    let unresolved = async {
        loop {
            match folder_status(&actor, three).await.trouble.pop() {
                Some(trouble) => return trouble,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let trouble = timeout(PATIENCE, unresolved).await.expect("said in time");
    assert!(matches!(&trouble, Trouble::Unresolved { host, .. } if host == "nas.invalid:82"));
    assert_eq!(status(&actor).await.trouble, [trouble]);
    assert_eq!(folder_status(&actor, one).await.trouble, []);

    // A host for all folders, and one folder gone.
    want.folders.remove(&three);
    want.options = Values::default().with(&KNOWN_HOST, host("127.0.0.8:83"));
    actor.do_send(Order::Want(Arc::new(want)));
    let all = status(&actor).await;
    assert_eq!((all.detail.as_str(), all.trouble), ("4 known", Vec::new()));
    let mut new = vec![
        candidate(&mut receiver).await,
        candidate(&mut receiver).await,
    ];
    new.retain(|c| c.addr.port() == 83);
    assert_eq!(new.len(), 2);
    actor.send(Order::Stop).await.unwrap();
}
