//! What waits to be sent: control messages, then bulk.
//!
//! It owns the two queues and their bounds. It hands out one frame's worth at
//! a time, control first, so that a control message waits for at most the
//! frame that is being written.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::MAX_DATA;

use super::types::{Config, MAX_CONTROL, SendError};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: VecDeque<Bytes>,
    control_bytes: usize,
    bulk: VecDeque<Piece>,
    bulk_bytes: usize,
    above_low_water: bool,
}

#[derive(Debug)]
struct Piece {
    request: u32,
    data: Bytes,
    last: bool,
}

/// The next thing to send.
#[derive(Debug)]
pub(super) enum Next {
    Control {
        part: Bytes,
        last: bool,
    },
    Bulk {
        request: u32,
        data: Bytes,
        last: bool,
    },
}

impl Outbox {
    pub(super) fn push_control(
        &mut self,
        message: Bytes,
        config: &Config,
    ) -> Result<(), SendError> {
        if message.len() > MAX_CONTROL {
            return Err(SendError::TooLong);
        }
        // An empty message costs something too.
        let cost = message.len() + 1;
        if self.control_bytes + cost > config.control_limit {
            return Err(SendError::QueueFull);
        }
        self.control_bytes += cost;
        self.control.push_back(message);
        Ok(())
    }

    pub(super) fn push_bulk(
        &mut self,
        request: u32,
        data: Bytes,
        last: bool,
        config: &Config,
    ) -> Result<(), SendError> {
        if data.is_empty() && !last {
            return Ok(());
        }
        if self.bulk_bytes + data.len() > config.bulk_limit {
            return Err(SendError::QueueFull);
        }
        self.bulk_bytes += data.len();
        self.above_low_water |= self.bulk_bytes > config.bulk_low_water;
        self.bulk.push_back(Piece {
            request,
            data,
            last,
        });
        Ok(())
    }

    /// Forgets what waits for a request.
    pub(super) fn cancel(&mut self, request: u32) {
        self.bulk.retain(|piece| piece.request != request);
        self.bulk_bytes = self.bulk.iter().map(|piece| piece.data.len()).sum();
    }

    pub(super) fn clear_bulk(&mut self) {
        self.bulk.clear();
        self.bulk_bytes = 0;
        self.above_low_water = false;
    }

    pub(super) const fn bulk_bytes(&self) -> usize {
        self.bulk_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.bulk.is_empty()
    }

    /// Takes the next part of a control message, else the next piece of bulk.
    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(message) = self.control.front_mut() {
            let part = message.split_to(message.len().min(MAX_DATA));
            self.control_bytes -= part.len();
            let last = message.is_empty();
            if last {
                self.control_bytes -= 1;
                self.control.pop_front();
            }
            return Some(Next::Control { part, last });
        }
        let piece = self.bulk.front_mut()?;
        let data = piece.data.split_to(piece.data.len().min(MAX_DATA));
        self.bulk_bytes -= data.len();
        let (request, done, last) = (piece.request, piece.data.is_empty(), piece.last);
        if done {
            self.bulk.pop_front();
        }
        Some(Next::Bulk {
            request,
            data,
            last: last && done,
        })
    }

    /// Whether the bulk queue has just run low; true once each time.
    pub(super) fn drained(&mut self, config: &Config) -> bool {
        let drained = self.above_low_water && self.bulk_bytes <= config.bulk_low_water;
        self.above_low_water &= !drained;
        drained
    }
}
