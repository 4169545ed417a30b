//! Sessions over pipes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::gate::Gate;
use crate::membership::Level;
use crate::paths::{PathClass, Transport};
use crate::session::{CloseReason, Config, Event, Goodbye, Hello, Session, SessionError};
use crate::testing::TestFolder;

const ROUTE: Route = Route {
    transport: Transport {
        name: "pipe",
        by_system: true,
    },
    path: PathClass::Lan,
    remote: None,
};

/// A pair over a pipe that holds `buffer` bytes each way.
async fn over_pipe(buffer: usize) -> (Connected, Connected) {
    let (near, far) = tokio::io::duplex(buffer);
    let clock = Clock::start();
    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let gate = Arc::new(Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap());
    let (config, hello) = (Config::default(), Hello::new("x", 1, 0));
    let entropy = fresh_entropy().unwrap();
    let a = Session::initiate(folder, hello.clone(), config.clone(), entropy, clock.now()).unwrap();
    let b = accept_session(&gate, hello, config, clock).unwrap();
    let (a, b) = tokio::join!(
        establish(a, Box::new(near), ROUTE, clock),
        establish(b, Box::new(far), ROUTE, clock),
    );
    // Time is paused here: nothing on the way may wait for a timer.
    assert!(clock.now() < Duration::from_millis(1));
    (a.unwrap(), b.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_slow_owner_stops_the_reading_and_not_the_session() {
    let (a, b) = over_pipe(64 * 1024).await;
    let (a_events, mut a_got) = mpsc::channel(4);
    let (b_events, mut b_got) = mpsc::channel(1);
    let (a_handle, a_task) = drive(a, a_events);
    let (b_handle, b_task) = drive(b, b_events);
    let (a_task, b_task) = (tokio::spawn(a_task), tokio::spawn(b_task));
    let piece = Bytes::from(vec![1; 1 << 20]);
    for _ in 0..32 {
        a_handle.send_bulk(1, piece.clone(), false).unwrap();
    }
    // Ten minutes in which nobody takes an event at the far side.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(
        a_handle.bulk_queued_bytes() > 28 << 20,
        "the sender was held up"
    );
    assert!(
        !a_task.is_finished() && !b_task.is_finished(),
        "but nobody gave up"
    );
    b_handle
        .send_control(Bytes::from_static(b"still here"))
        .unwrap();
    while let Some(event) = a_got.recv().await {
        if event == Event::Control(Bytes::from_static(b"still here")) {
            break;
        }
    }
    let mut received = 0;
    while received < 32 << 20 {
        if let Some(Event::Bulk { data, .. }) = b_got.recv().await {
            received += data.len();
        }
    }
    drop(a_handle);
    while b_got.recv().await.is_some() {}
    assert_eq!(b_task.await.unwrap(), CloseReason::Peer(Goodbye::Done));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_closed_on_at_the_deadline_without_a_byte() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let clock = Clock::start();
    let gate = Arc::new(Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap());
    let session = accept_session(&gate, Hello::new("x", 1, 0), Config::default(), clock).unwrap();
    let establishing = tokio::spawn(establish(session, Box::new(far), ROUTE, clock));
    near.write_all(&[9; 5000]).await.unwrap();
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).await.unwrap();
    assert!(heard.is_empty());
    assert!(clock.now() >= Duration::from_secs(10));
    assert_eq!(
        establishing.await.unwrap().unwrap_err(),
        SessionError::Stranger.into()
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_and_a_lost_owner_end_the_session() {
    let (a, b) = over_pipe(1 << 16).await;
    drop(a);
    let (events, mut got) = mpsc::channel(4);
    let (_handle, task) = drive(b, events);
    assert_eq!(task.await, CloseReason::Disconnected);
    let mut last = None;
    while let Some(event) = got.recv().await {
        last = Some(event);
    }
    assert_eq!(last, Some(Event::Closed(CloseReason::Disconnected)));

    let (a, b) = over_pipe(1 << 16).await;
    let (a_events, _a_got) = mpsc::channel(4);
    let (b_events, b_got) = mpsc::channel(4);
    let (a_handle, a_task) = drive(a, a_events);
    let (_b_handle, b_task) = drive(b, b_events);
    drop(b_got);
    a_handle.send_control(Bytes::from_static(b"x")).unwrap();
    let (a, b) = tokio::join!(a_task, b_task);
    assert_eq!(a, CloseReason::Peer(Goodbye::Done));
    assert_eq!(b, CloseReason::Local(Goodbye::Done));
}

/// The peer proves itself and is gone before it has our greeting. It runs on a
/// thread of its own, because a loop within one poll holds up every timer.
#[test]
fn a_peer_that_goes_before_our_greeting_ends_the_handshake() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (done, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let reason = runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            let clock = Clock::start();
            let folder = TestFolder::shared(1, 10, Level::ReadWrite);
            let gate = Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap();
            let (config, hello) = (Config::default(), Hello::new("x", 1, 0));
            let entropy = fresh_entropy().unwrap();
            let mut peer =
                Session::initiate(folder, hello.clone(), config.clone(), entropy, clock.now())
                    .unwrap();
            let session = accept_session(&Arc::new(gate), hello, config, clock).unwrap();
            let mut establishing = Box::pin(establish(session, Box::new(far), ROUTE, clock));
            let (mut out, mut input) = (BytesMut::new(), BytesMut::new());
            peer.poll_transmit(clock.now(), &mut out, 1 << 16);
            near.write_all(&out.split()).await.unwrap();
            // The answer leads to the third flight, which carries the proof too.
            while out.is_empty() {
                tokio::select! {
                    biased;
                    _ = &mut establishing => panic!("it waits for the third flight"),
                    read = near.read_buf(&mut input) => assert_ne!(read.unwrap(), 0),
                }
                peer.handle_bytes(&mut input, clock.now()).unwrap();
                peer.poll_transmit(clock.now(), &mut out, 1 << 16);
            }
            near.write_all(&out).await.unwrap();
            drop(near);
            establishing.await.map(drop).unwrap_err()
        });
        done.send(reason).unwrap();
    });
    let reason = result.recv_timeout(Duration::from_secs(10));
    assert_eq!(reason, Ok(CloseReason::Disconnected));
}
