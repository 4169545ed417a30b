//! `folder move`.

use sync_core::control::MoveFolder;

use super::{
    super::{Command, Ended},
    act,
};
use crate::{
    Out,
    client::{Client, absolute},
    text::safe,
};

/// Say that a folder's root is elsewhere now
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder move Sync /mnt/big/Sync")]
pub(crate) struct Args {
    /// The folder's name or old path
    folder: String,
    /// Where its root is now
    #[arg(value_name = "DIR")]
    dir: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let path = absolute(&self.dir)?;
        let done = format!("its root is {} now", safe(&path));
        let body = MoveFolder { path };
        act(client, &self.folder, "move", &body, &done, out).await
    }
}
