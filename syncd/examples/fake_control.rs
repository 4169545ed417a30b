//! Serves the control API of a daemon that does nothing, so that a client can be tried by hand:
//!
//! ```text
//! cargo run -p syncd --features fake-control --example fake_control -- /tmp/fake-home
//! syncctl --home /tmp/fake-home status
//! ```
//!
//! Its folder `Photos` fetches 60 MB each second until nothing is needed any more.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use sync_core::control::{FolderState, Need, SOCKET_NAME};
use syncd::control::{fake::FakeControl, serve};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let home = PathBuf::from(std::env::args().nth(1).ok_or("usage: fake_control HOME")?);
    std::fs::create_dir_all(&home)?;
    let stop = CancellationToken::new();
    let fake = FakeControl::sample(stop.clone());
    tokio::spawn(fetch(Arc::clone(&fake)));
    serve(&home.join(SOCKET_NAME), fake, stop).await?;
    Ok(())
}

/// Lets the folder come nearer to being in sync.
async fn fetch(fake: Arc<FakeControl>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.edit_folder("Photos", |folder| {
            folder.need.bytes = folder.need.bytes.saturating_sub(6_000_000);
            folder.need.files = folder.need.bytes.div_ceil(4_000_000);
            if folder.need.bytes == 0 {
                folder.need = Need::default();
                folder.state = FolderState::InSync;
            }
        });
    }
}
