//! What a session tells its owner, and what its owner may set.

use std::time::Duration;

use bytes::Bytes;

use crate::frame::{FrameError, RekeyLimits};
use crate::handshake::HandshakeError;
use crate::membership::Level;

use super::hello::Hello;

/// The longest control message.
pub const MAX_CONTROL: usize = 1024 * 1024;
/// The longest proof of level.
pub const MAX_PROOF: usize = 256;

/// The settings of a session. The defaults are those of the product; tests and
/// simulations shrink them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// From the first byte to [`Event::Established`]; then the session ends.
    pub handshake_timeout: Duration,
    /// A ping is sent when nothing else was sent for so long.
    pub keepalive: Duration,
    /// The peer is dead when not one byte came for so long.
    pub idle_timeout: Duration,
    /// How long a goodbye may wait for its turn on the wire.
    pub close_timeout: Duration,
    /// [`Event::BulkDrained`] comes when less than this waits to be sent.
    pub bulk_low_water: usize,
    /// More bulk bytes than this are not queued.
    pub bulk_limit: usize,
    /// More bytes of control messages than this are not queued.
    pub control_limit: usize,
    /// When we take a new key for what we send.
    pub rekey: RekeyLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(2),
            bulk_low_water: 1 << 20,
            bulk_limit: 64 << 20,
            control_limit: 16 << 20,
            rekey: RekeyLimits::default(),
        }
    }
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer proved who it is and what it may do, and greeted. Always first,
    /// except for [`Event::Closed`].
    Established(Box<Established>),
    /// A control message, whole.
    Control(Bytes),
    /// A piece of a bulk answer. Pieces of one request come in order.
    Bulk {
        /// The request that is answered.
        request: u32,
        /// The bytes, in the memory they were received in.
        data: Bytes,
        /// Whether this was all for that request.
        last: bool,
    },
    /// The bulk queue was longer than [`Config::bulk_low_water`] and isn't any
    /// more: there is room for more.
    BulkDrained,
    /// The peer doesn't answer. The session ends after 10 seconds of that; until then it may come back.
    Quiet,
    /// It was quiet, or was [probed](super::Session::probe), and something came.
    Heard,
    /// The session is over. Always last.
    Closed(CloseReason),
}

/// The facts about an established session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The peer's static public key in this folder: who it is.
    pub peer_static: [u8; 32],
    /// The peer's Ed25519 key in this folder, which it proved to hold.
    pub device_key: [u8; 32],
    /// What the peer proved that it may do.
    pub level: Level,
    /// The peer's greeting.
    pub hello: Hello,
    /// The protocol version that both will speak.
    pub version: u16,
    /// The features that both know.
    pub features: u64,
    /// The folder.
    pub folder_id: [u8; 32],
    /// The hash of the handshake: the same on both sides, unlike any other's.
    pub handshake_hash: [u8; 32],
    /// Whether we dialled.
    pub initiator: bool,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// We ended it and said so.
    #[error("closed here: {0}")]
    Local(Goodbye),
    /// The peer ended it and said so.
    #[error("closed by the peer: {0}")]
    Peer(Goodbye),
    /// Something was wrong.
    #[error("{0}")]
    Failed(#[from] SessionError),
    /// Nothing came from the peer for too long.
    #[error("the peer is silent")]
    Silent,
    /// The byte stream ended or broke without a goodbye.
    #[error("the connection broke")]
    Disconnected,
}

/// Why a side ends a session in good order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Goodbye {
    /// Nothing more to say.
    #[error("done")]
    Done,
    /// The daemon stops.
    #[error("the daemon stops")]
    Stopping,
    /// Another session with the same peer is kept instead.
    #[error("another connection is kept")]
    Replaced,
    /// The folder isn't served here any more.
    #[error("the folder was removed")]
    FolderRemoved,
    /// No protocol version is spoken by both.
    #[error("no common protocol version")]
    Version,
    /// The peer broke the rules above the session.
    #[error("protocol violation")]
    Violation,
    /// Too busy for one more session.
    #[error("busy")]
    Busy,
    /// The folder has a new secret.
    #[error("the folder has a new secret")]
    Rotated,
    /// A code that this version doesn't know.
    #[error("code {0}")]
    Other(u16),
}

impl Goodbye {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::Stopping => 1,
            Self::Replaced => 2,
            Self::FolderRemoved => 3,
            Self::Version => 4,
            Self::Violation => 5,
            Self::Busy => 6,
            Self::Rotated => 7,
            Self::Other(code) => code,
        }
    }

    /// The meaning of a number.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Stopping,
            2 => Self::Replaced,
            3 => Self::FolderRemoved,
            4 => Self::Version,
            5 => Self::Violation,
            6 => Self::Busy,
            7 => Self::Rotated,
            code => Self::Other(code),
        }
    }
}

/// What broke a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Who connected holds no key of our folders, or repeated an old message.
    /// It was left in silence until the deadline.
    #[error("a stranger")]
    Stranger,
    /// The session wasn't established in time.
    #[error("the handshake took too long")]
    HandshakeTimeout,
    /// A frame was wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer's proof of level is wrong.
    #[error("the peer did not prove what it may do")]
    BadProof,
    /// The peer's greeting can't be read, or isn't signed by the device that it names.
    #[error("the peer's greeting is malformed")]
    BadHello,
    /// A frame of this kind isn't allowed at this point.
    #[error("a frame of kind {0} out of place")]
    Unexpected(u8),
    /// A frame of this kind has a wrong form.
    #[error("a malformed frame of kind {0}")]
    BadFrame(u8),
    /// A control message is longer than allowed.
    #[error("a control message of more than {MAX_CONTROL} bytes")]
    ControlTooLong,
}

/// Why something wasn't queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session isn't established, or not any more.
    #[error("the session is not open")]
    NotOpen,
    /// The message is longer than [`MAX_CONTROL`].
    #[error("a control message of more than {MAX_CONTROL} bytes")]
    TooLong,
    /// Too much waits already; try again later.
    #[error("the queue is full")]
    QueueFull,
}
