use std::sync::{Arc, Mutex};

use actix::prelude::*;
use sync_core::options::Values;
use sync_discovery::{Source, actor::Order};

use super::Daemon;
use crate::{
    control::NewFolder,
    parts,
    supervise::Settled,
    wiring::{self, Wires, tests},
};

/// A mechanism that notes how many folders are wanted, and how many are answered for by then.
struct Spy {
    wires: Arc<Wires>,
    seen: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Actor for Spy {
    type Context = Context<Self>;
}

impl Handler<Order> for Spy {
    type Result = ();

    fn handle(&mut self, order: Order, _: &mut Self::Context) {
        if let Order::Want(want) = order {
            let both = (want.folders.len(), self.wires.gate.folders());
            self.seen.lock().unwrap().push(both);
        }
    }
}

/// Whoever hears of a folder may come at once; a stranger's silence would cost it many seconds.
#[actix::test]
async fn a_folder_is_announced_when_its_members_are_answered() {
    let (dir, wires) = tests::wires();
    wiring::add(&wires.root, parts::peers(&wires));
    wires.root.send(Settled).await.unwrap();
    let seen = Arc::default();
    let spy = Spy {
        wires: Arc::clone(&wires),
        seen: Arc::clone(&seen),
    };
    let spy = spy.start();
    wires
        .discovery
        .started(Source::Lan, spy.clone().recipient());
    let mut daemon = Daemon::load(Arc::clone(&wires), Values::default()).unwrap();
    for name in ["one", "two"] {
        let new = NewFolder {
            path: dir.path().join(name),
            make: true,
            secret: None,
            name: None,
            options: Values::default(),
        };
        daemon.add(new).await.unwrap();
    }
    // What was sent before this has been taken.
    spy.send(Order::Want(wires.discovery.wanted()))
        .await
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [(0, 0), (1, 1), (2, 2), (2, 2)]);
}
