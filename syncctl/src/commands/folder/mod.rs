//! `folder …`: adds, lists, changes and removes folders.

mod add;
mod adopt;
mod list;
mod move_to;
mod pause;
mod remove;
mod rescan;
mod resume;
mod set;
mod settings;
mod show;

use serde_json::{Value, json};
use sync_core::control::Folder;

use super::{Command, Ended};
use crate::{
    Exit, Failure, Out,
    client::{Client, encode},
    paint::Paint,
    table::{Cell, Table},
    text::{self, safe},
};

/// Add, list, change and remove folders
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder add ~/Sync --name Sync")]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Folders,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        self.what.run(client, out).await
    }
}

super::commands! {
    /// What can be done with folders.
    Folders {
        Add(add::Args),
        List(list::Args),
        Show(show::Args),
        Remove(remove::Args),
        Pause(pause::Args),
        Resume(resume::Args),
        Rescan(rescan::Args),
        Set(set::Args),
        Move(move_to::Args),
        Adopt(adopt::Args),
    }
}

/// What a person is told who has no folders.
pub(crate) const NO_FOLDERS: &str =
    "there are no folders yet; add one with `syncctl folder add DIR`";

/// Folders, a line each.
pub(crate) fn table(folders: &[Folder]) -> Table {
    let mut table = Table::new(&[
        "FOLDER", "STATE", "LEVEL", "FILES", "SIZE", "NEEDED", "PEERS", "ERRORS", "PATH",
    ])
    .spare(&["LEVEL", "FILES", "PEERS", "SIZE"])
    .wrap(&["FOLDER", "PATH"]);
    for folder in folders {
        let needed = match (folder.need.is_nothing(), folder.need.bytes) {
            (true, _) => "-".to_owned(),
            (false, 0) => text::many(folder.need.files + folder.need.deletes, "change", "changes"),
            (false, bytes) => text::size(bytes),
        };
        let errors = Cell::count(folder.errors);
        table.row(vec![
            Cell::text(&folder.name),
            Cell::state(folder.state),
            Cell::text(folder.level.as_str()),
            Cell::count(folder.local.files),
            Cell::size(folder.local.bytes),
            Cell::size(folder.need.bytes).shown(needed),
            Cell::count(folder.connected.into()),
            if folder.errors > 0 {
                errors.paint(Paint::Bad)
            } else {
                errors
            },
            Cell::text(&folder.path),
        ]);
    }
    table
}

/// What is still to be done, in words.
pub(crate) fn needed(folder: &Folder) -> String {
    let need = &folder.need;
    if need.is_nothing() {
        return "nothing".to_owned();
    }
    let mut parts = Vec::new();
    if need.files > 0 {
        parts.push(text::many(need.files, "file", "files"));
    }
    if need.bytes > 0 {
        parts.push(text::size(need.bytes));
    }
    if need.deletes > 0 {
        parts.push(text::many(need.deletes, "deletion", "deletions"));
    }
    parts.join(", ")
}

async fn act(
    client: &Client,
    folder: &str,
    verb: &str,
    body: &impl serde::Serialize,
    done: &str,
    out: &mut Out,
) -> Ended {
    let path = client.folder(folder).await?;
    let answer = client.post(&format!("{path}/{verb}"), body).await?;
    if out.json {
        out.json(&answer)?;
    } else {
        let folder: Folder = client.read(answer)?;
        out.line(&format!("{}: {done}", safe(&folder.name)))?;
    }
    Ok(Exit::Done)
}

/// Does one thing with a folder or with all of them. One that fails doesn't keep the others from it.
async fn each(
    client: &Client,
    folder: Option<&str>,
    verb: &str,
    done: &str,
    out: &mut Out,
) -> Ended {
    let Some(folder) = folder else {
        let folders: Vec<Folder> = client.read(client.get("/folders").await?)?;
        let mut answers: Vec<Value> = Vec::new();
        let mut last: Option<Failure> = None;
        for folder in &folders {
            let path = format!("/folders/{}/{verb}", encode(folder.name.as_bytes()));
            match client.post(&path, &json!({})).await {
                Ok(answer) if out.json => answers.push(answer),
                Ok(_) => out.line(&format!("{}: {done}", safe(&folder.name)))?,
                Err(failure) => {
                    out.failure(&failure);
                    last = Some(failure);
                }
            }
        }
        if out.json {
            out.json(&answers)?;
        } else if folders.is_empty() {
            out.note(NO_FOLDERS);
        }
        return Ok(last.map_or(Exit::Done, |failure| failure.exit()));
    };
    act(client, folder, verb, &json!({}), done, out).await
}
