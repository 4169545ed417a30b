//! Two devices that share a folder find each other on the loopback interface,
//! prove their level, exchange a message and part.
//!
//! `cargo run -p sync-net --features tcp --example hello`

mod support;

use bytes::Bytes;
use sync_net::session::Goodbye;
use sync_net::stream::{EVENT_QUEUE, drive};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), support::Failure> {
    let (near, far) = support::pair().await?;
    println!("near: {}", support::describe(&near.established));
    println!("far:  {}", support::describe(&far.established));

    let (near_events, mut near_got) = mpsc::channel(EVENT_QUEUE);
    let (far_events, mut far_got) = mpsc::channel(EVENT_QUEUE);
    let (near, near_task) = drive(near, near_events);
    let (_far, far_task) = drive(far, far_events);
    let tasks = [tokio::spawn(near_task), tokio::spawn(far_task)];

    near.send_control(Bytes::from_static(b"hello over there"))?;
    println!("far got:  {:?}", far_got.recv().await);
    near.close(Goodbye::Done);
    println!("far got:  {:?}", far_got.recv().await);
    println!("near got: {:?}", near_got.recv().await);
    for task in tasks {
        println!("ended: {}", task.await?);
    }
    Ok(())
}
