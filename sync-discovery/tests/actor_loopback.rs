//! The actors on the real loopback interface and the real resolver.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use actix::prelude::*;
use sync_discovery::actor::{
    AddLanFolder, KnownHostsActor, KnownHostsConfig, LanActor, LanActorConfig, LanStatusQuery,
    Stop, StopReason,
};
use sync_discovery::{Candidate, Discovered, FolderTag};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
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

#[actix::test]
async fn three_daemons_on_one_host_find_each_other() {
    let beacon_port = free_port();
    let (folder, key) = (FolderTag::from(7), [5; 32]);
    let (ended, mut end) = unbounded_channel();
    let mut actors = Vec::new();
    for port in [1001, 1002, 1003] {
        let (out, receiver) = inbox();
        let mut config = LanActorConfig::new(Instant::now(), [port as u8; 32], port, out);
        config.beacon_port = beacon_port;
        config.bind = vec!["lo".into()];
        let ended = ended.clone();
        config.on_stopped = Some(Box::new(move |reason| ended.send(reason).unwrap()));
        let addr = LanActor::new(config).start();
        addr.send(AddLanFolder {
            folder,
            lan_key: key,
        })
        .await
        .unwrap();
        actors.push((port, addr, receiver));
    }
    for (port, addr, receiver) in &mut actors {
        let mut missing = vec![1001, 1002, 1003];
        missing.retain(|p| p != port);
        while !missing.is_empty() {
            let found = candidate(receiver).await;
            assert!(found.addr.ip().is_loopback());
            assert_eq!(found.folder, folder);
            assert_ne!(found.addr.port(), *port, "heard itself");
            missing.retain(|p| *p != found.addr.port());
        }
        let status = addr.send(LanStatusQuery).await.unwrap();
        assert_eq!(status.interfaces, ["lo"]);
        assert!(status.stats.matched >= 2);
    }
    for (_, addr, _) in &actors {
        addr.send(Stop).await.unwrap();
    }
    drop(actors);
    for _ in 0..3 {
        let reason = timeout(PATIENCE, end.recv()).await.expect("ended in time");
        assert_eq!(reason, Some(StopReason::Asked));
    }
}

#[actix::test]
async fn localhost_is_resolved() {
    let (out, mut receiver) = inbox();
    let hosts = vec![
        (FolderTag::from(1), "127.0.0.9:80".parse().unwrap()),
        (FolderTag::from(2), "localhost:81".parse().unwrap()),
    ];
    let config = KnownHostsConfig {
        epoch: Instant::now(),
        hosts,
        out,
        on_stopped: None,
    };
    let actor = KnownHostsActor::new(config).start();
    let literal = candidate(&mut receiver).await;
    assert_eq!(literal.addr, "127.0.0.9:80".parse().unwrap());
    let named = candidate(&mut receiver).await;
    assert_eq!(named.folder, FolderTag::from(2));
    assert!(named.addr.ip().is_loopback());
    assert_eq!(named.addr.port(), 81);
    actor.send(Stop).await.unwrap();
}
