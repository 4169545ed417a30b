//! Parts on real sockets of the loopback interface, and what tests of other modules need to have some.

use super::*;
use actix::Actor;

use crate::{
    mechanisms,
    options::{BIND, Interface},
    parts::{listener, open_port, peers},
    roster::FolderSettings,
    supervise::{ChildState, Settled},
};
use sync_core::{
    keys::FolderKeys,
    options::Values,
    secret::{SECRET_BYTES, Secret},
};
use sync_discovery::{Source, lan::LAN};
use sync_net::Member;

/// Wires without parts, and the directory of their home.
pub(crate) fn wires() -> (tempfile::TempDir, Arc<Wires>) {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::default();
    let line = Values::default()
        .with(&BIND, vec![Interface("lo".into())])
        .with(&LAN, false);
    let wires = Wires::new(
        Home::open(&dir.path().join("home")).unwrap(),
        Root::new(board.clone()).start(),
        board,
        LogControl::default(),
        Clock::start(),
        1,
        zeroize::Zeroizing::new([7; 32]),
        Settings::new(line, Values::default()),
    )
    .unwrap();
    (dir, Arc::new(wires))
}

/// A folder with this root on the roster, which has no part yet.
pub(crate) fn roster_folder(wires: &Wires, root: &std::path::Path) -> (FolderTag, RosterEntry) {
    let keys = FolderKeys::derive(&Secret::generate([5; SECRET_BYTES]));
    let tag = FolderTag(keys.folder_id().0);
    let entry = RosterEntry {
        name: "folder".into(),
        path: root.to_owned(),
        member: Arc::new(Member::new(keys, &wires.device_secret)),
        paused: false,
        options: Values::default(),
        settings: FolderSettings::from(&Values::default()),
    };
    wires.roster().insert(tag, entry.clone());
    (tag, entry)
}

/// The address book's part, which comes back without a pause.
pub(crate) fn eager_peers(wires: &Arc<Wires>) -> ChildSpec {
    let mut spec = peers(wires);
    spec.policy.first_pause = Duration::from_millis(1);
    spec
}

#[actix::test]
async fn what_feeds_the_address_book_is_made_anew_with_it() {
    let (_dir, wires) = wires();
    let sockets = open_port(&wires.settings(), 0).unwrap();
    let port = sockets[0].local_addr().unwrap().port();
    wires.port.store(port, Ordering::Relaxed);
    let (sender, mut stops) = tokio::sync::mpsc::unbounded_channel();
    let mut spec = eager_peers(&wires);
    let mut start = spec.factory;
    spec.factory = Box::new(move |reporter| {
        sender.send(start(reporter)?).map_err(|e| e.to_string())?;
        Ok(Box::new(|| {}) as _)
    });
    add(&wires.root, spec);
    add(&wires.root, listener(&wires, Some(sockets)));
    mechanisms::start(&wires);
    wires.root.send(Settled).await.unwrap();
    let addrs = || {
        let (peers, listener) = (wires.peers.get()?, wires.listener.get()?);
        Some((peers, listener, wires.discovery.addr(Source::KnownHost)?))
    };
    let old = addrs().unwrap();
    // It ends, and the root didn't ask for it.
    stops.recv().await.unwrap()();
    let made_anew = async {
        loop {
            match addrs() {
                Some(new) if new.0 != old.0 && new.1 != old.1 && new.2 != old.2 => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let anew = tokio::time::timeout(Duration::from_secs(10), made_anew).await;
    assert!(anew.is_ok(), "{:?}", wires.board);
    // The same port, at once and without a failure.
    wires.root.send(Settled).await.unwrap();
    for part in [part::PEERS, part::LISTENER, "known-host"] {
        assert_eq!(wires.board.state(part), Some(ChildState::Running), "{part}");
    }
    assert_eq!(wires.listening()[0].port(), port);
}

#[actix::test]
async fn folders_share_few_threads_that_end_with_them() {
    let engines = Engines::start().unwrap();
    let all: Vec<_> = (0..100).map(|_| engines.next()).collect();
    assert!(engines.threads.len() <= 4);
    assert!(all.iter().all(|handle| handle.spawn(async {})));
    drop(engines);
    let ended = async {
        for handle in &all {
            while handle.spawn(async {}) {
                tokio::task::yield_now().await;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert!(ended.is_ok());
}
