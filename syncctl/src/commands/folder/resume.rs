//! `folder resume`.

use clap::ArgGroup;

use super::{
    super::{Command, Ended},
    each,
};
use crate::{Out, client::Client};

/// Let a paused folder go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder resume Sync")]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Args {
    /// Its name or path
    #[arg(group = "which")]
    folder: Option<String>,
    /// Every folder
    #[arg(long, group = "which")]
    all: bool,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        each(client, self.folder.as_deref(), "resume", "resumed", out).await
    }
}
