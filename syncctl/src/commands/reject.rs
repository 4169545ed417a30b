//! `reject`.

use super::{Command, Ended, decide};
use crate::{Out, client::Client};

/// Fetch back what held deletions took
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl reject Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        decide::run(client, &self.folder, false, out).await
    }
}
