//! Bodies: what the plaintext of a frame is.
//!
//! The kind stands in the header of the frame. Kinds
//! of 128 and more that aren't known are skipped, unknown lower ones end the
//! session, so that a later version can add both hints and necessities.
//!
//! | Kind | Frame | Plaintext |
//! |---|---|---|
//! | 0 | rekey | empty; see the module `frame` |
//! | 1 | proof | the proof of level, 1 to 256 bytes |
//! | 2 | hello | the greeting, at most 1024 bytes |
//! | 3 | control | flags (1 byte), a part of a message; bit 0: the last part |
//! | 4 | bulk | request (4 bytes, high byte first), flags (1 byte), data; bit 0: the last piece |
//! | 5 | ping | 8 bytes |
//! | 6 | pong | the 8 bytes of the ping |
//! | 7 | goodbye | code (2 bytes, high byte first) |
//!
//! Other bits of flags are zero. A part or piece that isn't the last holds at
//! least one byte, and none holds more than 262,144.

use bytes::{Buf, Bytes};

use crate::frame::{MAX_DATA, Opened};

use super::types::{Goodbye, SessionError};

pub(super) const PROOF: u8 = 1;
pub(super) const HELLO: u8 = 2;
pub(super) const CONTROL: u8 = 3;
pub(super) const BULK: u8 = 4;
pub(super) const PING: u8 = 5;
pub(super) const PONG: u8 = 6;
pub(super) const GOODBYE: u8 = 7;

/// Kinds from here on may be skipped.
const SKIPPABLE: u8 = 128;
const LAST: u8 = 1;

/// A frame as received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Proof(Bytes),
    Hello(Bytes),
    Control {
        part: Bytes,
        last: bool,
    },
    Bulk {
        request: u32,
        data: Bytes,
        last: bool,
    },
    Ping([u8; 8]),
    Pong([u8; 8]),
    Goodbye(Goodbye),
    Skipped,
}

impl Frame {
    /// Reads the plaintext of a frame. Nothing is copied.
    pub(super) fn parse(opened: Opened) -> Result<Self, SessionError> {
        let Opened { kind, mut body } = opened;
        let bad = SessionError::BadFrame(kind);
        let frame = match kind {
            PROOF => Self::Proof(body),
            HELLO => Self::Hello(body),
            CONTROL => {
                let last = flags(body.try_get_u8().map_err(|_| bad)?, kind)?;
                check(&body, last)
                    .then_some(Self::Control { part: body, last })
                    .ok_or(bad)?
            }
            BULK => {
                let request = body.try_get_u32().map_err(|_| bad)?;
                let last = flags(body.try_get_u8().map_err(|_| bad)?, kind)?;
                check(&body, last)
                    .then_some(Self::Bulk {
                        request,
                        data: body,
                        last,
                    })
                    .ok_or(bad)?
            }
            PING => Self::Ping((&*body).try_into().map_err(|_| bad)?),
            PONG => Self::Pong((&*body).try_into().map_err(|_| bad)?),
            GOODBYE => {
                let code = <[u8; 2]>::try_from(&*body).map_err(|_| bad)?;
                Self::Goodbye(Goodbye::from_code(u16::from_be_bytes(code)))
            }
            SKIPPABLE.. => Self::Skipped,
            _ => return Err(SessionError::Unexpected(kind)),
        };
        Ok(frame)
    }
}

fn flags(flags: u8, kind: u8) -> Result<bool, SessionError> {
    match flags {
        0 => Ok(false),
        LAST => Ok(true),
        _ => Err(SessionError::BadFrame(kind)),
    }
}

fn check(body: &Bytes, last: bool) -> bool {
    body.len() <= MAX_DATA && (last || !body.is_empty())
}

/// The head of a control frame.
pub(super) fn control_head(last: bool) -> [u8; 1] {
    [u8::from(last) * LAST]
}

/// The head of a bulk frame.
pub(super) fn bulk_head(request: u32, last: bool) -> [u8; 5] {
    let [a, b, c, d] = request.to_be_bytes();
    [a, b, c, d, u8::from(last) * LAST]
}
