//! What the owner of the sessions can be told by others, and the way to it.
//!
//! It owns nothing, and knows no actor: who takes these messages is in [`orders`](super::orders).

use actix::{Message, Recipient};
use sync_core::{control::Candidate, ids::SessionId};
use sync_discovery::{Discovered, FolderTag};
use sync_net::actor::NewSession;
use tokio::sync::oneshot;

use crate::slot::Reach;

/// News of a folder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FolderNews {
    /// It is on the list, and about to be opened.
    Comes(FolderTag),
    /// Its actor is up: its members may be dialled and let in.
    Up(FolderTag),
    /// Its actor is down, for a while or for good.
    Down(FolderTag),
    /// The user wants its members looked for now.
    Refresh(FolderTag),
}

/// What a folder has to say of a session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct OfSession {
    pub(crate) session: SessionId,
    pub(crate) verdict: Verdict,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    /// The peer misbehaves; what it did.
    Ban(String),
    /// Nothing is awaited on it any more.
    Drained,
}

/// Asks for every candidate of a folder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ListCandidates {
    /// The folder.
    pub(crate) folder: FolderTag,
    /// Who asks.
    pub(crate) reply: oneshot::Sender<Vec<Candidate>>,
}

/// The way to the owner of the sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeersDoor {
    pub(crate) folders: Recipient<FolderNews>,
    pub(crate) verdicts: Recipient<OfSession>,
    pub(crate) lists: Recipient<ListCandidates>,
    /// What mechanisms of discovery find.
    pub(crate) found: Recipient<Discovered>,
    /// Who comes in.
    pub(crate) sessions: Recipient<NewSession>,
}

impl Reach for PeersDoor {
    fn is_up(&self) -> bool {
        self.folders.connected()
    }
}
