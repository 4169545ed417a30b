//! `errors`: what is stuck, why, and when it is tried next.

use serde_json::Value;
use sync_core::control::{ErrorItem, Folder};

use super::{Command, Ended};
use crate::{
    Exit, Out,
    client::{Client, encode},
    table::{Cell, Table},
};

/// Show what is stuck, why, and when it is tried next
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl errors")]
pub(crate) struct Args {
    /// Its name or path [default: every folder]
    folder: Option<String>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let paths = match &self.folder {
            Some(folder) => vec![client.folder(folder).await?],
            None => client
                .read::<Vec<Folder>>(client.get("/folders").await?)?
                .into_iter()
                .map(|folder| format!("/folders/{}", encode(folder.name.as_bytes())))
                .collect(),
        };
        let mut all = Vec::new();
        for path in paths {
            all.extend(client.read::<Vec<Value>>(client.get(&format!("{path}/errors")).await?)?);
        }
        if out.json {
            out.json(&all)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["FOLDER", "FILE", "NEXT TRY", "KIND", "REASON"])
            .spare(&["KIND"])
            .wrap(&["FOLDER", "FILE", "REASON"]);
        for item in all {
            let item: ErrorItem = client.read(item)?;
            table.row(vec![
                Cell::text(&item.folder),
                Cell::text(&item.path),
                Cell::seconds(item.next_try_s, "needs you"),
                Cell::text(&item.kind),
                match item.hint {
                    Some(hint) => Cell::text(&format!("{}; {hint}", item.reason)),
                    None => Cell::text(&item.reason),
                },
            ]);
        }
        out.table(&table, "nothing is stuck")?;
        Ok(Exit::Done)
    }
}
