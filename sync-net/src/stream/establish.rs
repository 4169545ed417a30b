//! From a stream to an established session.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;

use crate::gate::Gate;
use crate::paths::Route;
use crate::session::{CloseReason, Config, Event, Hello, Session};

use super::pump::Pump;
use super::{ByteStream, Clock, Connected, fresh_entropy};

/// Why a peer wasn't reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// A connection, but no session.
    #[error("no session: {0}")]
    Session(#[from] CloseReason),
}

/// A session for a peer that connected to us, not yet established.
pub fn accept_session(
    gate: &Arc<Gate>,
    hello: Hello,
    config: Config,
    clock: Clock,
) -> io::Result<Session> {
    Ok(Session::accept(
        Arc::clone(gate),
        hello,
        config,
        fresh_entropy()?,
        clock.now(),
    ))
}

/// Carries a session's handshake over a stream. It ends by the session's own
/// deadline at the latest, and until then a stranger hears nothing.
pub async fn establish(
    session: Session,
    stream: Box<dyn ByteStream>,
    route: Route,
    clock: Clock,
) -> Result<Connected, CloseReason> {
    establish_watched(session, stream, route, clock, || true).await
}

/// Like [`establish`]; `on_stranger` is asked once when the peer turns out to
/// be a stranger, and says whether it may stay until the deadline.
pub async fn establish_watched(
    mut session: Session,
    stream: Box<dyn ByteStream>,
    route: Route,
    clock: Clock,
    on_stranger: impl FnOnce() -> bool,
) -> Result<Connected, CloseReason> {
    let mut on_stranger = Some(on_stranger);
    session.set_observed(route.remote);
    let mut pump = Pump::new(session, stream, BytesMut::new(), BytesMut::new(), clock);
    let event = poll_fn(|cx| {
        loop {
            let polled = pump.poll(cx, true);
            if pump.session.is_mute() && on_stranger.take().is_some_and(|stays| !stays()) {
                pump.session.handle_disconnect();
            }
            if let Some(event) = pump.session.poll_event() {
                return Poll::Ready(event);
            }
            if polled.is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    match event {
        Event::Established(established) => {
            // The peer waits for our greeting, maybe longer than for a driver.
            poll_fn(|cx| {
                loop {
                    let polled = pump.poll(cx, false);
                    // What a broken stream didn't take stays in the output for ever.
                    if pump.session.is_closed()
                        || (pump.output.is_empty() && pump.session.is_flushed())
                    {
                        return Poll::Ready(());
                    }
                    if polled.is_pending() {
                        return Poll::Pending;
                    }
                }
            })
            .await;
            if pump.session.is_closed() {
                return Err(ended(&mut pump.session));
            }
            let Pump {
                session,
                stream,
                input,
                output,
                ..
            } = pump;
            let established = *established;
            Ok(Connected {
                established,
                route,
                session,
                stream,
                input,
                output,
                clock,
            })
        }
        Event::Closed(reason) => {
            if matches!(reason, CloseReason::Local(_)) {
                pump.farewell().await;
            }
            Err(reason)
        }
        _ => Err(CloseReason::Disconnected),
    }
}

/// Why a session ended that was just established. What else it has to tell, nobody hears.
fn ended(session: &mut Session) -> CloseReason {
    while let Some(event) = session.poll_event() {
        if let Event::Closed(reason) = event {
            return reason;
        }
    }
    CloseReason::Disconnected
}
