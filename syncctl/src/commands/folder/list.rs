//! `folder list`.

use sync_core::control::Folder;

use super::{
    super::{Command, Ended},
    NO_FOLDERS, table,
};
use crate::{Exit, Out, client::Client};

/// List the folders
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder list")]
pub(crate) struct Args {}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let answer = client.get("/folders").await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let folders: Vec<Folder> = client.read(answer)?;
        out.table(&table(&folders), NO_FOLDERS)?;
        Ok(Exit::Done)
    }
}
