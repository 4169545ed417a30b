//! What the owner of the sessions tells the rest of the daemon, and people.

use std::sync::Arc;

use serde_json::json;
use sync_core::control::EventType;
use sync_discovery::{FolderTag, mechanism::Refresh};
use sync_net::{CloseReason, SharedFolder};
use tracing::{info, warn};

use super::{
    PeerInfo,
    peers::PeersActor,
    swarm::{Full, Notice},
};
use crate::{supervise::RestartChild, wiring::part};

impl PeersActor {
    /// Strangers and members of a folder that is down hear nothing.
    pub(super) fn open_gate(&self) {
        let roster = self.wires.roster();
        let answered = self.swarm.answered().filter_map(|tag| roster.get(&tag));
        let folders = answered
            .map(|e| Arc::clone(&e.member) as SharedFolder)
            .collect();
        if let Err(error) = self.wires.gate.replace_folders(folders) {
            warn!(%error, "incoming connections are answered for the old list of folders");
        }
    }

    /// A cable, a wireless network, a resume: names are looked up anew, and a listener that keeps to chosen interfaces
    /// opens their new addresses.
    pub(super) fn network_changed(&self) {
        info!("the addresses of this machine changed");
        self.wires.discovery.refresh(Refresh::Network);
        if !self.wires.settings().bind().is_empty() {
            let listener = part::LISTENER.to_owned();
            self.wires.root.do_send(RestartChild(listener));
        }
    }

    pub(super) fn notice(&self, notice: Notice) {
        let name = |folder| {
            let roster = self.wires.roster();
            roster.get(folder).map_or(String::new(), |e| e.name.clone())
        };
        match notice {
            Notice::Banned {
                folder,
                peer,
                reason,
            } => {
                warn!(folder = name(&folder), device = %peer, reason, "refused for an hour");
            }
            Notice::Full {
                folder,
                remote,
                full,
            } => {
                let (folder, reason) = (name(&folder), Full::reason(full));
                warn!(folder, %remote, reason, "connections are refused until there is room");
            }
        }
    }

    pub(super) fn event(
        &self,
        kind: EventType,
        info: &PeerInfo,
        folder: FolderTag,
        reason: Option<CloseReason>,
    ) {
        let name = self.wires.roster().get(&folder).map(|e| e.name.clone());
        let mut data = json!({
            "device": info.peer.to_string(),
            "name": info.name,
            "address": info.address.to_string(),
        });
        if let (Some(data), Some(reason)) = (data.as_object_mut(), reason) {
            data.insert("reason".into(), reason.to_string().into());
        }
        self.wires.events.push(kind, name.as_deref(), data);
    }
}
