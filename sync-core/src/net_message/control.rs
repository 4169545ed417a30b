//! The control messages of those who keep sessions: which session carries what, and messages about peers.
//!
//! They go through the door `Net` of [`crate::message`]; the body of each is a byte string.
//!
//! | number | message | body |
//! |---|---|---|
//! | 64 | Peers | one [`NetMessage`], at most 128 KiB |
//! | 65 | Use | the number of the choice, 8 bytes, high byte first: from here on the sender's index and questions go over this session |
//! | 66 | Standby | empty: the sender sends no index and asks for nothing here any more, and answers to the end |
//! | 67 | Retire | empty: as Standby, and the session ends when what was asked on it is answered |
//!
//! Bodies of 65 to 67 may become longer; what stands there is skipped.

use bytes::Bytes;

use super::{NetMessage, NetMessageError};
use crate::message;

const PEERS: u8 = 64;
const USE: u8 = 65;
const STANDBY: u8 = 66;
const RETIRE: u8 = 67;

/// A control message of those who keep sessions. See the module's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetControl {
    /// About peers, and how they are reached.
    Peers(NetMessage),
    /// The sender uses this session. Who chooses numbers its choices upwards; 0 is said by who doesn't.
    Use(u64),
    /// The sender stands by here.
    Standby,
    /// The sender wants this session to end once all is answered.
    Retire,
    /// A message of a later version: ignored.
    Unknown(u8),
}

impl NetControl {
    /// As the control message that is sent.
    #[must_use]
    pub fn to_message(&self) -> message::NetMessage {
        let (number, body) = match self {
            Self::Peers(message) => (PEERS, message.encode().into()),
            Self::Use(number) => (USE, Bytes::copy_from_slice(&number.to_be_bytes())),
            Self::Standby => (STANDBY, Bytes::new()),
            Self::Retire => (RETIRE, Bytes::new()),
            Self::Unknown(number) => (*number, Bytes::new()),
        };
        message::NetMessage { number, body }
    }

    /// Reads what came through the door.
    ///
    /// # Errors
    ///
    /// [`NetMessageError`] if a message about peers isn't one, or a choice has no number; the sender breaks the
    /// rules.
    pub fn read(message: &message::NetMessage) -> Result<Self, NetMessageError> {
        Ok(match message.number {
            PEERS => Self::Peers(NetMessage::decode(&message.body)?),
            USE => {
                let number = message
                    .body
                    .first_chunk()
                    .ok_or(NetMessageError::Malformed)?;
                Self::Use(u64::from_be_bytes(*number))
            }
            STANDBY => Self::Standby,
            RETIRE => Self::Retire,
            number => Self::Unknown(number),
        })
    }
}
