//! `folder adopt`.

use serde_json::json;

use super::{
    super::{Command, Ended},
    act,
};
use crate::{Out, client::Client};

/// Say that a folder's root was replaced on purpose
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder adopt Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let done = "what is there now is taken as its root";
        act(client, &self.folder, "adopt", &json!({}), done, out).await
    }
}
