//! The task that drives an established session.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::session::{CloseReason, Event, Goodbye};

use super::handle::{Command, Waiting};
use super::pump::Pump;
use super::{ByteStream, Connected, SessionHandle};

/// A good length for the channel of events: some frames, so that reading goes
/// on while the owner is at work, and little memory.
pub const EVENT_QUEUE: usize = 16;

/// Drives a session over its stream: spawn the future as a task.
///
/// All events but [`Event::Established`] go to `events`. While that is full,
/// nothing is read, so that a slow owner slows the peer down and not our
/// memory up; writing and pings go on. The future ends when the session is
/// over; [`Event::Closed`] was sent then, if there was room for it, and its
/// reason is the value of the future.
pub fn drive(
    connected: Connected,
    events: mpsc::Sender<Event>,
) -> (
    SessionHandle,
    impl Future<Output = CloseReason> + Send + 'static,
) {
    let Connected {
        session,
        stream,
        input,
        output,
        clock,
        ..
    } = connected;
    let (handle, commands, waiting) = SessionHandle::new(session.config());
    let driver = Driver {
        events: PollSender::new(events),
        commands: Some(commands),
        waiting,
        bulk_taken: 0,
        reason: None,
    };
    (handle, async move {
        // Made inside the task, since a timer belongs to its runtime.
        let pump = Pump::new(session, stream, input, output, clock);
        driver.run(pump).await
    })
}

struct Driver {
    events: PollSender<Event>,
    commands: Option<mpsc::UnboundedReceiver<Command>>,
    waiting: Arc<Waiting>,
    /// Bytes of bulk in the session when the books were last balanced.
    bulk_taken: usize,
    reason: Option<CloseReason>,
}

impl Driver {
    async fn run(mut self, mut pump: Pump<Box<dyn ByteStream>>) -> CloseReason {
        poll_fn(|cx| self.poll(&mut pump, cx)).await;
        // No handle can queue anything from here on, and nobody waits for it.
        self.commands = None;
        self.waiting.drained.notify_waiters();
        let reason = self.reason.unwrap_or(CloseReason::Disconnected);
        if matches!(reason, CloseReason::Local(_)) {
            pump.farewell().await;
        }
        reason
    }

    fn poll(&mut self, pump: &mut Pump<Box<dyn ByteStream>>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.take_commands(pump, cx);
            let blocked = self.deliver(pump, cx);
            if pump.session.is_closed() {
                return if blocked {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                };
            }
            let polled = pump.poll(cx, !blocked);
            self.balance(pump);
            if polled.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Moves what the handles sent into the session.
    fn take_commands(&mut self, pump: &mut Pump<Box<dyn ByteStream>>, cx: &mut Context<'_>) {
        let session = &mut pump.session;
        while let Some(commands) = &mut self.commands {
            match commands.poll_recv(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => {
                    self.commands = None;
                    session.close(Goodbye::Done, pump.clock.now());
                }
                Poll::Ready(Some(Command::Control(message))) => {
                    self.waiting
                        .control
                        .fetch_sub(message.len() + 1, Ordering::Relaxed);
                    // The handle kept the same limits; a session that is over
                    // says so by its events.
                    let _ = session.send_control(message);
                }
                Poll::Ready(Some(Command::Bulk {
                    request,
                    data,
                    last,
                })) => {
                    self.bulk_taken += data.len();
                    let _ = session.send_bulk(request, data, last);
                }
                Poll::Ready(Some(Command::Cancel(request))) => session.cancel_bulk(request),
                Poll::Ready(Some(Command::Probe)) => session.probe(pump.clock.now()),
                Poll::Ready(Some(Command::Close(reason))) => {
                    session.close(reason, pump.clock.now());
                }
            }
        }
    }

    /// Hands events on while there is room. `true` if some are left.
    fn deliver(&mut self, pump: &mut Pump<Box<dyn ByteStream>>, cx: &mut Context<'_>) -> bool {
        while pump.session.has_events() {
            match self.events.poll_reserve(cx) {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) => {
                    let Some(event) = pump.session.poll_event() else {
                        break;
                    };
                    if let Event::Closed(reason) = &event {
                        self.reason = Some(*reason);
                    }
                    let _ = self.events.send_item(event);
                }
                Poll::Ready(Err(_)) => {
                    // Nobody listens any more.
                    while let Some(event) = pump.session.poll_event() {
                        if let Event::Closed(reason) = event {
                            self.reason = Some(reason);
                        }
                    }
                    pump.session.close(Goodbye::Done, pump.clock.now());
                }
            }
        }
        false
    }

    /// Tells the handles how much bulk has left the queue.
    fn balance(&mut self, pump: &Pump<Box<dyn ByteStream>>) {
        if let Some(took) = pump.session.rtt() {
            let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
            self.waiting.round_trip.store(took, Ordering::Relaxed);
        }
        let queued = pump.session.bulk_queued_bytes();
        if queued < self.bulk_taken {
            self.waiting
                .bulk
                .fetch_sub(self.bulk_taken - queued, Ordering::Relaxed);
            self.bulk_taken = queued;
            self.waiting.drained.notify_waiters();
        }
    }
}
