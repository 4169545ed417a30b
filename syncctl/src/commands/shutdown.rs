//! `shutdown`: stops the daemon and waits until it is gone.

use std::{process, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{Command, Ended};
use crate::{Exit, Failure, Out, client::Client};

/// The daemon promises to be gone within 10 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stop the daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl shutdown")]
pub(crate) struct Args {}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let daemon = client
            .connect()
            .await?
            .peer_cred()
            .ok()
            .and_then(|peer| peer.pid());
        // Taken before the daemon is asked to stop: afterwards the number could be another process's.
        let process = daemon
            .filter(|pid| u32::try_from(*pid) != Ok(process::id()))
            .and_then(watch);
        let answer = client.post("/shutdown", &json!({})).await?;
        let gone = async {
            while client.connect().await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            if let Some(process) = process {
                process.ended().await;
            }
        };
        timeout(PATIENCE, gone)
            .await
            .map_err(|_| Failure::TimedOut {
                message: format!(
                    "the daemon was told to stop, and still runs after {} s",
                    PATIENCE.as_secs()
                ),
                hint: Some("its log says what keeps it".into()),
            })?;
        if out.json {
            out.json(&answer)?;
        } else {
            out.line("the daemon has stopped")?;
        }
        Ok(Exit::Done)
    }
}

#[cfg(target_os = "linux")]
use linux::watch;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;

    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };

    use super::PATIENCE;

    /// A process whose end can be waited for. Other than a process number, it never comes to mean
    /// another process.
    pub(super) struct Watched(OwnedFd);

    impl Watched {
        /// Waits for the end, no longer than the patience lasts.
        pub(super) async fn ended(self) {
            let wait = move || {
                let patience = Timespec::try_from(PATIENCE).ok();
                // Were it to fail, the socket's end would have to do.
                let _ = poll(
                    &mut [PollFd::new(&self.0, PollFlags::IN)],
                    patience.as_ref(),
                );
            };
            let _ = tokio::task::spawn_blocking(wait).await;
        }
    }

    pub(super) fn watch(pid: i32) -> Option<Watched> {
        pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty())
            .ok()
            .map(Watched)
    }
}

#[cfg(not(target_os = "linux"))]
use portable::watch;

#[cfg(not(target_os = "linux"))]
mod portable {
    /// Where the end of a process that isn't a child can't be waited for, the socket's end has to do.
    pub(super) struct Watched;

    impl Watched {
        pub(super) async fn ended(self) {}
    }

    pub(super) fn watch(_pid: i32) -> Option<Watched> {
        None
    }
}
