//! Tells others when a folder can take sessions, and when it is down.

use std::sync::Arc;

use sync_discovery::FolderTag;

use super::door::FolderDoor;
use crate::{net::door::FolderNews, policy::Down, supervise::Reporter, wiring::Wires};

/// Tells everybody when a folder's actor is ready for sessions, and when it is down, however that came.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    wires: Arc<Wires>,
    tag: FolderTag,
    reporter: Option<Reporter>,
}

impl FolderWatch {
    /// For one actor of a folder.
    pub(crate) fn new(wires: Arc<Wires>, tag: FolderTag, reporter: Reporter) -> Self {
        let reporter = Some(reporter);
        Self {
            wires,
            tag,
            reporter,
        }
    }

    /// The folder can take sessions.
    pub(crate) fn ready(&self, door: FolderDoor) {
        self.wires.set_folder(self.tag, door, true);
        self.tell(FolderNews::Up(self.tag));
    }

    /// The folder can't take sessions for now.
    pub(crate) fn not_ready(&self) {
        self.wires.folder_not_ready(self.tag);
        self.tell(FolderNews::Down(self.tag));
    }

    /// The actor is down, and why.
    pub(crate) fn down(&mut self, down: Down) {
        if let Some(reporter) = self.reporter.take() {
            self.wires.remove_folder(self.tag);
            self.tell(FolderNews::Down(self.tag));
            reporter.down(down);
        }
    }

    fn tell(&self, news: FolderNews) {
        if let Some(peers) = self.wires.peers.get() {
            peers.folders.do_send(news);
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        self.down(Down::Died);
    }
}
