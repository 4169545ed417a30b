//! What peers tell each other about reaching peers, and about changes of their keys.
//!
//! These messages concern the daemon's peers and not one folder's index, so they have a door of their own and
//! numbers of their own. This module owns their encoding and their limits: nothing is allocated for more than a
//! message may have, and a message that isn't one is refused as a whole. What they mean and who may send them stands
//! in `docs/protocol/later.md`; it must never be decided here.
//!
//! A message is CBOR `[number, body]`, the body an array of fields of which those after the known ones are skipped.

mod address;
mod candidates;
mod control;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

pub use address::{ADDRESS_V4, ADDRESS_V6, from_bytes, to_bytes};
pub use candidates::{Candidates, MAX_PATHS, MAX_RELAYS, MAX_SEALED, Path, PathKind, Relay};
pub use control::NetControl;

use crate::{ids::PeerKey, rotation::Link};
use std::net::SocketAddr;

/// Largest of these messages, in bytes.
pub const MAX_NET_MESSAGE: usize = 128 << 10;
/// Most peers that one message adds, and that one message drops.
pub const MAX_PEERS: usize = 50;
/// Most addresses of one peer.
pub const MAX_ADDRESSES: usize = 8;
/// Largest sealed hand-over, in bytes.
pub const MAX_HANDOVER: usize = 96 << 10;

/// Why bytes are not such a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NetMessageError {
    /// Longer than [`MAX_NET_MESSAGE`].
    #[error("a message of {0} bytes; at most 128 KiB are allowed")]
    TooLarge(usize),
    /// Not the encoding of a message.
    #[error("a malformed message")]
    Malformed,
    /// A list or a byte string is longer than allowed.
    #[error("a message has more items than allowed")]
    TooMany,
}

/// A random name for a way to a peer, given out by who has that way. It means nothing to anybody else.
pub type Handle = [u8; 16];

/// A message about peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetMessage {
    /// Peers that the sender has, or lost, since it last said so.
    Pex(Pex),
    /// To the middle: help us to reach whom you named by this handle.
    PunchAsk {
        /// The asker's name for this attempt.
        attempt: Handle,
        /// From [`Reach::through`].
        handle: Handle,
        /// [`Candidates`] of the asker, sealed.
        candidates: Vec<u8>,
    },
    /// From the middle: somebody wants to reach you.
    PunchOffer {
        /// The middle's name for this attempt.
        attempt: Handle,
        /// Those of the asker.
        candidates: Vec<u8>,
    },
    /// From the target to the middle, and from there to the asker.
    PunchAnswer {
        /// The name under which the receiver knows the attempt.
        attempt: Handle,
        /// Those of the target; `None`: it can't be reached.
        candidates: Option<Vec<u8>>,
    },
    /// The address at which the sender sees the receiver.
    Observed(SocketAddr),
    /// A rotation of the folder's secret, sealed for the receiver; see [`crate::rotation::HandOver`].
    HandOver(Vec<u8>),
    /// The sender was known by another key under the secret before.
    Link(Link),
    /// A message of a later version: ignored.
    Unknown(u64),
}

/// What changed among the sender's peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pex {
    /// Who is connected and wasn't.
    pub added: Vec<Reach>,
    /// Who isn't any more.
    pub dropped: Vec<PeerKey>,
}

/// How a peer can be reached; one of the two ways at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its static key in the folder.
    pub key: PeerKey,
    /// Where it takes sessions, as far as the sender has seen it work.
    pub addresses: Vec<SocketAddr>,
    /// Reach it through the sender, by this handle.
    pub through: Option<Handle>,
}

impl NetMessage {
    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::with_capacity(64));
        // Writing to a vector can't fail.
        let _ = self.write(&mut e);
        e.into_writer()
    }

    fn write(
        &self,
        e: &mut Encoder<Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        e.array(2)?;
        match self {
            Self::Pex(pex) => {
                e.u8(0)?.array(2)?.array(pex.added.len() as u64)?;
                for reach in &pex.added {
                    e.array(2 + u64::from(reach.through.is_some()))?;
                    e.bytes(&reach.key.0)?.array(reach.addresses.len() as u64)?;
                    for address in &reach.addresses {
                        e.bytes(&to_bytes(*address))?;
                    }
                    if let Some(handle) = &reach.through {
                        e.bytes(handle)?;
                    }
                }
                e.array(pex.dropped.len() as u64)?;
                for key in &pex.dropped {
                    e.bytes(&key.0)?;
                }
            }
            Self::PunchAsk {
                attempt,
                handle,
                candidates,
            } => {
                e.u8(1)?
                    .array(3)?
                    .bytes(attempt)?
                    .bytes(handle)?
                    .bytes(candidates)?;
            }
            Self::PunchOffer {
                attempt,
                candidates,
            } => {
                e.u8(2)?.array(2)?.bytes(attempt)?.bytes(candidates)?;
            }
            Self::PunchAnswer {
                attempt,
                candidates,
            } => {
                e.u8(3)?
                    .array(1 + u64::from(candidates.is_some()))?
                    .bytes(attempt)?;
                if let Some(candidates) = candidates {
                    e.bytes(candidates)?;
                }
            }
            Self::Observed(address) => {
                e.u8(4)?.array(1)?.bytes(&to_bytes(*address))?;
            }
            Self::HandOver(sealed) => {
                e.u8(5)?.array(1)?.bytes(sealed)?;
            }
            Self::Link(link) => {
                e.u8(6)?
                    .array(4)?
                    .bytes(&link.old_folder)?
                    .bytes(&link.old_sign)?;
                e.bytes(&link.old_static)?.bytes(&link.signature)?;
            }
            Self::Unknown(number) => {
                e.u64(*number)?.array(0)?;
            }
        }
        Ok(())
    }

    /// Reads a message from outside.
    ///
    /// # Errors
    ///
    /// [`NetMessageError`]; the message is not to be used in part.
    pub fn decode(bytes: &[u8]) -> Result<Self, NetMessageError> {
        if bytes.len() > MAX_NET_MESSAGE {
            return Err(NetMessageError::TooLarge(bytes.len()));
        }
        let mut d = Decoder::new(bytes);
        if read::array(&mut d)? != 2 {
            return Err(NetMessageError::Malformed);
        }
        let number = d.u64()?;
        let message = match number {
            0 => read::fields(&mut d, 2, |d, _| {
                Ok(Self::Pex(Pex {
                    added: read::list(d, MAX_PEERS, reach)?,
                    dropped: read::list(d, MAX_PEERS, |d| Ok(PeerKey(read::fixed(d)?)))?,
                }))
            })?,
            1 => read::fields(&mut d, 3, |d, _| {
                Ok(Self::PunchAsk {
                    attempt: read::fixed(d)?,
                    handle: read::fixed(d)?,
                    candidates: read::bytes(d, MAX_SEALED)?,
                })
            })?,
            2 => read::fields(&mut d, 2, |d, _| {
                Ok(Self::PunchOffer {
                    attempt: read::fixed(d)?,
                    candidates: read::bytes(d, MAX_SEALED)?,
                })
            })?,
            3 => read::fields(&mut d, 1, |d, more| {
                Ok(Self::PunchAnswer {
                    attempt: read::fixed(d)?,
                    candidates: read::optional(d, more, |d| read::bytes(d, MAX_SEALED))?,
                })
            })?,
            4 => read::fields(&mut d, 1, |d, _| Ok(Self::Observed(read::address(d)?)))?,
            5 => read::fields(&mut d, 1, |d, _| {
                Ok(Self::HandOver(read::bytes(d, MAX_HANDOVER)?))
            })?,
            6 => read::fields(&mut d, 4, |d, _| {
                Ok(Self::Link(Link {
                    old_folder: read::fixed(d)?,
                    old_sign: read::fixed(d)?,
                    old_static: read::fixed(d)?,
                    signature: read::fixed(d)?,
                }))
            })?,
            number => return Ok(Self::Unknown(number)),
        };
        if d.position() != bytes.len() {
            return Err(NetMessageError::Malformed);
        }
        Ok(message)
    }
}

fn reach(d: &mut Decoder<'_>) -> Result<Reach, NetMessageError> {
    let reach = read::fields(d, 2, |d, more| {
        Ok(Reach {
            key: PeerKey(read::fixed(d)?),
            addresses: read::list(d, MAX_ADDRESSES, read::address)?,
            through: read::optional(d, more, read::fixed)?,
        })
    })?;
    // Somebody who can't be reached in any way isn't worth a word.
    if reach.addresses.is_empty() && reach.through.is_none() {
        return Err(NetMessageError::Malformed);
    }
    Ok(reach)
}
