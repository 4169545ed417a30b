use super::*;
use crate::{
    net::door::ListCandidates,
    policy::Policy,
    supervise::ChildSpec,
    wiring::{self, part, tests},
};
use std::net::SocketAddr;

use sync_core::control::CandidateState;
use sync_net::{SessionError, handshake::HandshakeError};
use tokio::sync::oneshot;

#[actix::test]
async fn an_address_of_our_own_is_not_dialled_again() {
    let (dir, wires) = tests::wires();
    let (folder, _) = tests::roster_folder(&wires, dir.path());
    let (started, mut addrs) = mpsc::unbounded_channel();
    let shared = Arc::clone(&wires);
    let factory = Box::new(move |reporter| {
        let addr = PeersActor::new(Arc::clone(&shared), reporter).start();
        started.send(addr).map_err(|e| e.to_string())?;
        Ok(Box::new(|| {}) as _)
    });
    let spec = ChildSpec {
        name: part::PEERS.to_owned(),
        policy: Policy::vital(),
        factory,
    };
    wiring::add(&wires.root, spec);
    let peers = addrs.recv().await.unwrap();
    // Whatever is sent there stays on this machine.
    let addr: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let candidate = sync_discovery::Candidate {
        folder,
        addr,
        source: Source::KnownHost,
        expires: wires.mono() + Duration::from_secs(3600),
    };
    peers.send(Discovered::Found(candidate)).await.unwrap();
    let own = SessionError::Handshake(HandshakeError::OwnKey);
    let dialled = Dialled {
        dial: Dial {
            folder,
            addr,
            source: Source::KnownHost,
        },
        result: Err(DialError::Session(own.into())),
    };
    peers.send(dialled).await.unwrap();
    let (reply, answer) = oneshot::channel();
    peers.send(ListCandidates { folder, reply }).await.unwrap();
    let lines = answer.await.unwrap();
    assert_eq!((lines.len(), lines[0].state), (1, CandidateState::Own));

    // Another machine may have the address in another network.
    for (address, own) in [("192.0.2.7", true), ("198.51.100.1", false)] {
        let addresses = [address.parse().unwrap()].into();
        peers.send(NetworkIs(addresses)).await.unwrap();
        let (reply, answer) = oneshot::channel();
        peers.send(ListCandidates { folder, reply }).await.unwrap();
        let state = answer.await.unwrap()[0].state;
        assert_eq!(state == CandidateState::Own, own, "{state:?}");
    }
}

#[tokio::test]
async fn the_end_of_a_task_that_panics_is_told() {
    assert_eq!(unless_it_panics(async { 3 }).await.unwrap(), 3);
    let broken = unless_it_panics(async { panic!("a test's panic") });
    assert!(broken.await.map(|(): ()| ()).is_err());
}
