//! How fast a session moves bulk over loopback TCP, next to plain TCP.
//!
//! `cargo run --release -p sync-net --features tcp --example throughput -- 4096`
//!
//! The number is MiB for each run. Both ends are in one process with one
//! worker thread each, so two cores are used in full.

mod support;

use std::time::Instant;

use bytes::Bytes;
use sync_net::Event;
use sync_net::stream::{EVENT_QUEUE, drive};
use sync_net::tcp::{connect, tune};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const PIECE: usize = 256 * 1024;

fn main() -> Result<(), support::Failure> {
    let mib: usize = std::env::args()
        .nth(1)
        .map_or(Ok(1024), |arg| arg.parse())?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    for _ in 0..3 {
        let start = cpu_seconds();
        let plain = runtime.block_on(plain(mib << 20))?;
        let middle = cpu_seconds();
        let session = runtime.block_on(session(mib << 20))?;
        let gigabytes = (mib << 20) as f64 / 1e9;
        println!(
            "plain TCP {plain:.2} GB/s, {:.2} CPU s/GB; session {session:.2} GB/s, {:.2} CPU s/GB",
            (middle - start) / gigabytes,
            (cpu_seconds() - middle) / gigabytes,
        );
    }
    Ok(())
}

/// CPU time of this process so far, both ends together; 0 where the system
/// doesn't tell. On a busy machine it says more than the time of day.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    // User and system time, in hundredths of a second.
    fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// One socket, written and read in pieces of 256 KiB.
async fn plain(total: usize) -> Result<f64, support::Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let writer = tokio::spawn(async move {
        let mut stream = connect(addr).await?;
        let piece = vec![7; PIECE];
        for _ in 0..total / PIECE {
            stream.write_all(&piece).await?;
        }
        stream.shutdown().await
    });
    let (mut stream, _) = listener.accept().await?;
    tune(&stream);
    let started = Instant::now();
    let reader = tokio::spawn(async move {
        let (mut piece, mut sum) = (vec![0; 2 * PIECE], 0);
        loop {
            match stream.read(&mut piece).await? {
                0 => return Ok::<_, std::io::Error>(sum),
                n => sum += n,
            }
        }
    });
    let received = reader.await??;
    writer.await??;
    Ok(received as f64 / started.elapsed().as_secs_f64() / 1e9)
}

/// The same bytes as bulk of a session.
async fn session(total: usize) -> Result<f64, support::Failure> {
    let (near, far) = support::pair().await?;
    let (near_events, mut near_got) = mpsc::channel(EVENT_QUEUE);
    let (far_events, mut far_got) = mpsc::channel(EVENT_QUEUE);
    let (near, near_task) = drive(near, near_events);
    let (far, far_task) = drive(far, far_events);
    let tasks = [tokio::spawn(near_task), tokio::spawn(far_task)];
    let listening = tokio::spawn(async move { while near_got.recv().await.is_some() {} });
    let started = Instant::now();
    let sender = tokio::spawn(async move {
        let piece = Bytes::from(vec![7; PIECE]);
        let pieces = total / PIECE;
        for n in 1..=pieces {
            near.bulk_ready().await;
            near.send_bulk(1, piece.clone(), n == pieces)?;
        }
        Ok::<_, support::Failure>(near)
    });
    let mut received = 0;
    while let Some(event) = far_got.recv().await {
        if let Event::Bulk { data, last, .. } = event {
            received += data.len();
            if last {
                break;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    drop((sender.await??, far, far_got));
    for task in tasks {
        task.await?;
    }
    listening.await?;
    Ok(received as f64 / seconds / 1e9)
}
