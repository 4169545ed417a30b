//! `approve`.

use super::{Command, Ended, decide};
use crate::{Out, client::Client};

/// Let held deletions go
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl approve Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        decide::run(client, &self.folder, true, out).await
    }
}
