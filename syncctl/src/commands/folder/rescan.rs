//! `folder rescan`.

use serde_json::json;

use super::{
    super::{Command, Ended},
    act,
};
use crate::{Out, client::Client};

/// Look at a folder's whole disk again
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder rescan Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let done = "the whole disk is looked at again";
        act(client, &self.folder, "rescan", &json!({}), done, out).await
    }
}
