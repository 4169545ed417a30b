//! Sessions over real sockets of the loopback interface.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::gate::Gate;
use crate::membership::Level;
use crate::session::{Event, Goodbye};
use crate::stream::{EVENT_QUEUE, accept_session, drive};
use crate::testing::TestFolder;

#[tokio::test]
async fn everything_arrives_over_tcp() {
    let listener = bind(&Bind::Interfaces(vec!["lo".into()]), 0)
        .unwrap()
        .remove(0);
    let addr = listener.local_addr().unwrap();
    let gate = Arc::new(Gate::new(vec![TestFolder::shared(1, 20, Level::ReadOnly)]).unwrap());
    let clock = Clock::start();
    let hello = Hello::new("x", 1, 0);
    let server = tokio::spawn(async move {
        let (stream, remote) = listener.accept().await.unwrap();
        tune(&stream);
        let session =
            accept_session(&gate, Hello::new("y", 2, 0), Config::default(), clock).unwrap();
        establish(session, Box::new(stream), route_to(remote), clock)
            .await
            .unwrap()
    });
    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let a = dial(addr, folder, hello, Config::default(), clock)
        .await
        .unwrap();
    let b = server.await.unwrap();
    assert_eq!(a.established.level, Level::ReadOnly);
    let route = Route {
        transport: TCP,
        path: PathClass::Lan,
        remote: Some(addr),
    };
    assert_eq!(a.route, route);

    let (a_events, mut a_got) = mpsc::channel(EVENT_QUEUE);
    let (b_events, mut b_got) = mpsc::channel(EVENT_QUEUE);
    let (a_handle, a_task) = drive(a, a_events);
    let (b_handle, b_task) = drive(b, b_events);
    let (a_task, b_task) = (tokio::spawn(a_task), tokio::spawn(b_task));
    let total = 20_usize << 20;
    let sender = tokio::spawn(async move {
        let piece = Bytes::from(vec![7; 1 << 20]);
        for n in 1..=20 {
            a_handle.bulk_ready().await;
            a_handle.send_bulk(3, piece.clone(), n == 20).unwrap();
        }
        a_handle
    });
    b_handle.send_control(Bytes::from_static(b"hi")).unwrap();
    let mut received = 0;
    while let Some(event) = b_got.recv().await {
        let Event::Bulk {
            request: 3,
            data,
            last,
        } = event
        else {
            continue;
        };
        assert!(data.iter().all(|byte| *byte == 7));
        received += data.len();
        if last {
            break;
        }
    }
    assert_eq!(received, total);
    let a_handle = sender.await.unwrap();
    assert_eq!(a_handle.bulk_queued_bytes(), 0);
    a_handle.close(Goodbye::Stopping);
    assert_eq!(a_task.await.unwrap(), CloseReason::Local(Goodbye::Stopping));
    assert_eq!(b_task.await.unwrap(), CloseReason::Peer(Goodbye::Stopping));
    let mut last = None;
    while let Some(event) = a_got.recv().await {
        last = Some(event);
    }
    assert_eq!(
        last,
        Some(Event::Closed(CloseReason::Local(Goodbye::Stopping)))
    );
    assert!(a_handle.send_control(Bytes::new()).is_err());
}
