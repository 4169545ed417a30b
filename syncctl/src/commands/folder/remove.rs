//! `folder remove`.

use sync_core::control::{Folder, RemovedFolder};

use super::super::{Command, Ended};
use crate::{
    Exit, Failure, Out,
    client::Client,
    text::{self, safe},
};

/// Forget a folder and its secret; its files stay where they are
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder remove Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
    /// Don't ask; where nobody can be asked, this is the default
    #[arg(long, short)]
    yes: bool,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let path = client.folder(&self.folder).await?;
        if !self.yes {
            let folder: Folder = client.read(client.get(&path).await?)?;
            let question = format!(
                "This device forgets {} and its secret, which may be the last copy (`syncctl secret show {}` shows it). Go on?",
                safe(&folder.name),
                text::shell_word(&safe(&folder.name))
            );
            let question = out.pasteable(&question);
            if !out.ask(&question, true)? {
                return Err(Failure::failed("nothing was removed", None));
            }
        }
        let answer = client.delete(&path).await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let removed: RemovedFolder = client.read(answer)?;
        let (name, path) = (safe(&removed.name), safe(&removed.path));
        out.line(&format!(
            "{name} was removed, with its secret; its files stay in {path}"
        ))?;
        Ok(Exit::Done)
    }
}
