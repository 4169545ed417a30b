//! What follows when the machine's addresses change: a cable, a wireless network, a resume.

use std::{collections::BTreeSet, net::IpAddr};

use actix::{Context, Handler, Message};
use sync_discovery::mechanism::Refresh;
use tracing::info;

use super::PeersActor;
use crate::{supervise::RestartChild, wiring::part};

/// The machine has these addresses now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct NetworkIs(pub(super) BTreeSet<IpAddr>);

impl Handler<NetworkIs> for PeersActor {
    type Result = ();

    fn handle(&mut self, NetworkIs(addresses): NetworkIs, _: &mut Context<Self>) {
        self.network_is(addresses);
    }
}

impl PeersActor {
    /// If these are others than before, every address is tried anew and
    /// every name is looked up anew, whatever pauses were due; a listener that keeps to chosen interfaces
    /// opens their new addresses.
    fn network_is(&mut self, addresses: BTreeSet<IpAddr>) {
        let before = self.addresses.replace(addresses);
        if before.is_none() || before == self.addresses {
            return;
        }
        info!("the addresses of this machine changed");
        self.book.handle_network_changed(self.wires.mono());
        self.wires.discovery.refresh(Refresh::Network);
        if !self.wires.settings().bind().is_empty() {
            let listener = part::LISTENER.to_owned();
            self.wires.root.do_send(RestartChild(listener));
        }
    }
}
