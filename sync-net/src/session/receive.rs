//! The receiving half of a session: bytes to events.
//!
//! It must look at nothing before it is authenticated, and let nothing through
//! to the owner before the peer is established.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::frame::MAX_PLAINTEXT;
use crate::handshake::{MESSAGE_1, MESSAGE_2, MESSAGE_3};

use super::body::Frame;
use super::hello::{Hello, MAX_HELLO};
use super::types::{
    CloseReason, Established, Event, Goodbye, MAX_CONTROL, MAX_PROOF, SessionError,
};
use super::{Phase, Role, Session};

impl Session {
    /// Takes whatever is complete off the front of `buf`; the caller appends
    /// to its end what the stream gave, and calls this after each time.
    ///
    /// Frames are decrypted in the memory of `buf` and handed out as slices
    /// of it. `buf` never has to hold more than one incomplete frame, that is
    /// [`MAX_PLAINTEXT`] + 20 bytes, for the session to move on. After an
    /// error the session is over and the reason is an event as well.
    pub fn handle_bytes(&mut self, buf: &mut BytesMut, now: Duration) -> Result<(), SessionError> {
        if self.life.received(now) {
            self.events.push_back(Event::Heard);
        }
        while self
            .step(buf, now)
            .inspect_err(|error| self.finish((*error).into()))?
        {}
        Ok(())
    }

    /// Takes one message or frame. `false` when there isn't a whole one.
    fn step(&mut self, buf: &mut BytesMut, now: Duration) -> Result<bool, SessionError> {
        let limit = match &mut self.phase {
            Phase::Message1 { gate, entropy } => {
                let Some(message) = take::<MESSAGE_1>(buf) else {
                    return Ok(false);
                };
                let answer = entropy
                    .take()
                    .and_then(|entropy| gate.answer(&message, entropy, now));
                self.phase = match answer {
                    Some((folder, responder, answer)) => {
                        self.wire.extend_from_slice(&answer);
                        self.folder = Some(folder);
                        Phase::Message3(Some(responder))
                    }
                    None => Phase::Mute,
                };
                return Ok(true);
            }
            Phase::Message2(initiator) => {
                let Some(message) = take::<MESSAGE_2>(buf) else {
                    return Ok(false);
                };
                let Some(initiator) = initiator.take() else {
                    return Err(SessionError::Stranger);
                };
                let (answer, secrets) = initiator.finish(&message)?;
                self.wire.extend_from_slice(&answer);
                self.secure(secrets, now)?;
                return Ok(true);
            }
            Phase::Message3(responder) => {
                let Some(message) = take::<MESSAGE_3>(buf) else {
                    return Ok(false);
                };
                match responder
                    .take()
                    .and_then(|responder| responder.finish(&message).ok())
                {
                    Some(secrets) => self.secure(secrets, now)?,
                    None => self.phase = Phase::Mute,
                }
                return Ok(true);
            }
            Phase::Mute | Phase::Closing(_) | Phase::Closed => {
                buf.clear();
                return Ok(false);
            }
            // Whoever proved nothing yet can't make us hold much.
            Phase::Proof => MAX_PROOF,
            Phase::Greeting(_) => MAX_HELLO,
            Phase::Open => MAX_PLAINTEXT,
        };
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        let Some(frame) = link.opener.open(buf, limit)? else {
            return Ok(false);
        };
        let kind = frame.kind;
        let frame = Frame::parse(frame)?;
        self.handle_frame(frame, kind, now)?;
        Ok(true)
    }

    fn handle_frame(&mut self, frame: Frame, kind: u8, now: Duration) -> Result<(), SessionError> {
        if !matches!(frame, Frame::Pong(_)) {
            self.life.received_something();
        }
        match (&self.phase, frame) {
            (_, Frame::Goodbye(reason)) => self.finish(CloseReason::Peer(reason)),
            (Phase::Proof, Frame::Proof(proof)) => self.handle_proof(&proof)?,
            (Phase::Greeting(_), Frame::Hello(hello)) => self.handle_hello(&hello, now)?,
            (Phase::Open, Frame::Control { part, last }) => self.handle_control(part, last)?,
            (
                Phase::Open,
                Frame::Bulk {
                    request,
                    data,
                    last,
                },
            ) => {
                self.life.received_bulk(now);
                self.events.push_back(Event::Bulk {
                    request,
                    data,
                    last,
                });
            }
            // If pings come faster than we answer, the newest is answered.
            (Phase::Open, Frame::Ping(id)) => self.life.handle_ping(id),
            (Phase::Open, Frame::Pong(id)) => {
                if self.life.handle_pong(id, now) {
                    self.events.push_back(Event::Heard);
                }
            }
            (Phase::Open, Frame::Skipped) => {}
            _ => return Err(SessionError::Unexpected(kind)),
        }
        Ok(())
    }

    fn handle_proof(&mut self, proof: &[u8]) -> Result<(), SessionError> {
        let (Some(folder), Some(link)) = (&self.folder, &self.link) else {
            return Err(SessionError::BadProof);
        };
        let level = folder
            .check_level_proof(&link.hash, self.role.other(), proof)
            .ok_or(SessionError::BadProof)?;
        self.phase = Phase::Greeting(level);
        Ok(())
    }

    fn handle_hello(&mut self, hello: &[u8], now: Duration) -> Result<(), SessionError> {
        let (Phase::Greeting(level), Some(folder), Some(link)) =
            (&self.phase, &self.folder, &self.link)
        else {
            return Err(SessionError::BadHello);
        };
        let hello = Hello::decode(hello).ok_or(SessionError::BadHello)?;
        let Some(version) = self.hello.common_version(&hello) else {
            self.close(Goodbye::Version, now);
            return Ok(());
        };
        let device = hello
            .device
            .filter(|device| device.check(&link.hash, self.role.other()))
            .ok_or(SessionError::BadHello)?;
        let established = Established {
            device_key: device.key,
            peer_static: link.peer_static,
            level: *level,
            version,
            features: self.hello.features & hello.features,
            hello,
            folder_id: folder.folder_id(),
            handshake_hash: link.hash,
            initiator: self.role == Role::Initiator,
        };
        self.phase = Phase::Open;
        self.life.open(now);
        self.events
            .push_back(Event::Established(Box::new(established)));
        Ok(())
    }

    fn handle_control(&mut self, part: Bytes, last: bool) -> Result<(), SessionError> {
        if self.partial.len() + part.len() > MAX_CONTROL {
            return Err(SessionError::ControlTooLong);
        }
        if last && self.partial.is_empty() {
            self.events.push_back(Event::Control(part));
            return Ok(());
        }
        self.partial.extend_from_slice(&part);
        if last {
            let message = std::mem::take(&mut self.partial).freeze();
            self.events.push_back(Event::Control(message));
        }
        Ok(())
    }
}

/// Takes a message of fixed length off the front of a buffer.
fn take<const N: usize>(buf: &mut BytesMut) -> Option<[u8; N]> {
    let message = *buf.first_chunk::<N>()?;
    let _ = buf.split_to(N);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::super::body;
    use super::*;

    #[test]
    fn frames_with_unknown_bits_or_lengths_are_refused() {
        use crate::frame::Opened;
        let parse = |kind, body: &'static [u8]| {
            Frame::parse(Opened {
                kind,
                body: Bytes::from(body),
            })
        };
        for (kind, body) in [
            (body::CONTROL, &b""[..]),
            (body::CONTROL, b"\x02x"),
            (body::CONTROL, b"\x00"),
            (body::BULK, b"\0\0\0\x01"),
            (body::BULK, b"\0\0\0\x01\x00"),
            (body::BULK, b"\0\0\0\x01\x80x"),
            (body::PING, b"1234567"),
            (body::PONG, b"123456789"),
            (body::GOODBYE, b"\0"),
        ] {
            assert_eq!(parse(kind, body), Err(SessionError::BadFrame(kind)));
        }
        assert_eq!(parse(8, b""), Err(SessionError::Unexpected(8)));
        assert_eq!(parse(128, b"x"), Ok(Frame::Skipped));
        assert_eq!(
            parse(body::BULK, b"\0\0\x01\0\x01"),
            Ok(Frame::Bulk {
                request: 256,
                data: Bytes::new(),
                last: true
            })
        );
    }
}
