//! What a folder can be told by others, and the way to it.
//!
//! It owns nothing, and knows no actor of a folder: who takes these messages is in [`messages`](super::messages).

use std::sync::Arc;

use actix::{Addr, Message, Recipient};
use sync_core::{
    control::{ErrorItem, FileInfo, Folder},
    engine::Arrival,
    ids::SessionId,
    index::IndexError,
    message::EngineMessage,
};
use sync_net::{actor::PeerActor, stream::SessionHandle};
use tokio::sync::oneshot;

use super::requests::Queue;
use crate::{net::PeerInfo, roster::RosterEntry, slot::Reach};

/// The way to a folder.
#[derive(Debug, Clone)]
pub(crate) struct FolderDoor {
    pub(crate) up: Recipient<PeerUp>,
    pub(crate) down: Recipient<PeerDown>,
    pub(crate) ways: Recipient<PeerWay>,
    pub(crate) all_down: Recipient<AllPeersDown>,
    pub(crate) from_peer: Recipient<FromPeer>,
    pub(crate) asks: Recipient<FolderAsk>,
}

impl Reach for FolderDoor {
    fn is_up(&self) -> bool {
        self.asks.connected()
    }
}

/// A session with a member stands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerUp {
    pub(crate) info: Arc<PeerInfo>,
    /// For bulk.
    pub(crate) handle: SessionHandle,
    /// For all else.
    pub(crate) actor: Addr<PeerActor>,
    /// What the peer asks for, to be answered from the folder's store.
    pub(crate) requests: Queue,
}

/// A session is over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerDown {
    pub(crate) session: SessionId,
}

/// What a session with a member, of several, is for.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerWay {
    pub(crate) session: SessionId,
    pub(crate) way: Way,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    /// Index and questions go over it from now on.
    Use,
    /// It doesn't answer, and isn't used.
    Lost,
    /// It is to end: tell when nothing is awaited on it.
    Drain,
}

/// Whoever had the sessions has lost them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AllPeersDown;

/// Something came from a peer.
#[derive(Debug)]
pub(crate) enum Received {
    /// A control message.
    Message(EngineMessage),
    /// Objects of answers.
    Objects(Vec<Arrival>),
}

/// Something came from a peer. The next is sent when this has been handled.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromPeer {
    pub(crate) session: SessionId,
    pub(crate) received: Received,
}

/// What the user wants of a folder.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FolderAsk {
    /// Its state.
    Report(oneshot::Sender<Folder>),
    /// What is stuck.
    Errors(oneshot::Sender<Vec<ErrorItem>>),
    /// Why a file is as it is.
    File(Vec<u8>, oneshot::Sender<Result<FileInfo, IndexError>>),
    /// Let it rest, or go on.
    Pause(bool),
    /// Look at everything.
    Rescan,
    /// Let held deletions go.
    Approve,
    /// Fetch them back.
    Reject,
    /// It has other settings.
    Tune(Box<RosterEntry>),
}
