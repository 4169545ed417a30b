//! A transport over pipes in memory: two sessions of one process.
//!
//! It owns the pipe. It is there for tests and examples of those who build on
//! this crate, and is the smallest transport to copy from: it makes a stream,
//! says which way it goes and hands it to [`establish`].

use tokio::io::DuplexStream;

use crate::paths::{PathClass, Route, Transport};
use crate::session::{CloseReason, Session};
use crate::stream::{Clock, Connected, establish};

/// This transport.
pub const MEMORY: Transport = Transport {
    name: "memory",
    by_system: true,
};

/// The two ends of a pipe that holds `capacity` bytes each way.
#[must_use]
pub fn pipe(capacity: usize) -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(capacity)
}

/// Establishes one session at an end of a pipe.
pub async fn connect(
    session: Session,
    end: DuplexStream,
    clock: Clock,
) -> Result<Connected, CloseReason> {
    let route = Route {
        transport: MEMORY,
        path: PathClass::Lan,
        remote: None,
    };
    establish(session, Box::new(end), route, clock).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::*;
    use crate::gate::Gate;
    use crate::membership::Level;
    use crate::session::{Config, Event, Goodbye, Hello};
    use crate::stream::{EVENT_QUEUE, accept_session, drive, fresh_entropy};
    use crate::testing::TestFolder;

    #[tokio::test]
    async fn a_session_runs_over_a_pipe() {
        let (near, far) = pipe(1000);
        let clock = Clock::start();
        let (hello, config) = (Hello::new("x", 1, 0), Config::default());
        let a = Session::initiate(
            TestFolder::shared(1, 10, Level::ReadWrite),
            hello.clone(),
            config.clone(),
            fresh_entropy().unwrap(),
            clock.now(),
        )
        .unwrap();
        let gate = Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap();
        let b = accept_session(&Arc::new(gate), hello, config, clock).unwrap();
        let (a, b) = tokio::join!(connect(a, near, clock), connect(b, far, clock));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a.route.transport.to_string(), "memory");
        assert_eq!(b.established.level, Level::ReadWrite);

        let (a_events, _a_got) = mpsc::channel(EVENT_QUEUE);
        let (b_events, mut b_got) = mpsc::channel(EVENT_QUEUE);
        let (a, a_task) = drive(a, a_events);
        let (_b, b_task) = drive(b, b_events);
        let (a_task, b_task) = (tokio::spawn(a_task), tokio::spawn(b_task));
        // Longer than the pipe, so that both ends have to take turns.
        let message = Bytes::from(vec![7; 100_000]);
        a.send_control(message.clone()).unwrap();
        assert_eq!(b_got.recv().await, Some(Event::Control(message)));
        a.close(Goodbye::Done);
        assert_eq!(a_task.await.unwrap(), CloseReason::Local(Goodbye::Done));
        assert_eq!(b_task.await.unwrap(), CloseReason::Peer(Goodbye::Done));
    }
}
