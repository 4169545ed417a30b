//! Moves bytes between a stream and a session.
//!
//! It owns the two buffers. Reading goes straight into the buffer that frames
//! are decrypted in; writing takes one frame at a time, so that a control
//! message waits for no more than that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::time::{Sleep, sleep_until};

use crate::frame::{MAX_PLAINTEXT, OVERHEAD};
use crate::session::Session;

use super::{ByteStream, Clock};

/// Room that is made for reading: two full frames and what begins after them.
const READ_ROOM: usize = 2 * (MAX_PLAINTEXT + OVERHEAD);
/// More is made when less than this is left.
const MIN_ROOM: usize = 64 * 1024;
/// Encrypted bytes of small frames that are written together.
const WRITE_BATCH: usize = 64 * 1024;
/// After so many rounds the owner has a look at what else there is to do, such
/// as a control message that was queued in the meantime.
const ROUNDS: usize = 4;
/// How long a goodbye may take to be written and heard.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Pump<S> {
    pub(super) session: Session,
    pub(super) stream: S,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    pub(super) clock: Clock,
    timer: Pin<Box<Sleep>>,
    timer_at: Option<Duration>,
}

impl<S: ByteStream> Pump<S> {
    pub(super) fn new(
        session: Session,
        stream: S,
        input: BytesMut,
        output: BytesMut,
        clock: Clock,
    ) -> Self {
        let timer = Box::pin(sleep_until(clock.at(Duration::ZERO)));
        Self {
            session,
            stream,
            input,
            output,
            clock,
            timer,
            timer_at: None,
        }
    }

    /// Works until the session has events or is over, or for some rounds. With
    /// `read` false nothing is read and events are let lie, while writing goes
    /// on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<()> {
        for _ in 0..ROUNDS {
            let now = self.clock.now();
            self.session.set_receive_paused(!read, now);
            if self.session.next_timeout().is_some_and(|at| at <= now) {
                self.session.handle_timeout(now);
            }
            let mut progress = self.poll_write(cx, now);
            if self.session.is_closed() || (read && self.session.has_events()) {
                return Poll::Ready(());
            }
            progress |= read && self.poll_read(cx);
            if self.session.is_closed() || (read && self.session.has_events()) {
                return Poll::Ready(());
            }
            if !progress && self.poll_timer(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, now: Duration) -> bool {
        if self.output.is_empty() {
            self.output.clear();
            self.session
                .poll_transmit(now, &mut self.output, WRITE_BATCH);
        }
        if self.output.is_empty() {
            return false;
        }
        match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
            Poll::Pending => false,
            Poll::Ready(Ok(written)) if written > 0 => {
                self.output.advance(written);
                true
            }
            Poll::Ready(_) => {
                self.session.handle_disconnect();
                true
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.input.capacity() - self.input.len() < MIN_ROOM {
            // Takes the old memory again if nobody holds any of it any more.
            self.input.reserve(READ_ROOM);
        }
        let stream = Pin::new(&mut self.stream);
        match tokio_util::io::poll_read_buf(stream, cx, &mut self.input) {
            Poll::Pending => false,
            Poll::Ready(Ok(read)) if read > 0 => {
                // An error ends the session and is among its events.
                let _ = self.session.handle_bytes(&mut self.input, self.clock.now());
                true
            }
            Poll::Ready(_) => {
                self.session.handle_disconnect();
                true
            }
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.session.next_timeout() else {
            return Poll::Pending;
        };
        if self.timer_at != Some(at) {
            self.timer.as_mut().reset(self.clock.at(at));
            self.timer_at = Some(at);
        }
        self.timer.as_mut().poll(cx).map(|()| self.timer_at = None)
    }

    /// Writes what is left of a session that ended in good order, and gives the
    /// peer a moment to read it: closing a socket with unread bytes in it would
    /// take the goodbye back.
    pub(super) async fn farewell(mut self) {
        let parting = async {
            self.stream.write_all(&self.output).await?;
            self.stream.shutdown().await?;
            let mut sink = tokio::io::sink();
            tokio::io::copy(&mut self.stream, &mut sink).await
        };
        let _ = tokio::time::timeout(FAREWELL, parting).await;
    }
}
