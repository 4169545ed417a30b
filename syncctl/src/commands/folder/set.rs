//! `folder set`: changes a setting; without a value it shows them with what they take.

use sync_core::control::{Folder, SetFolder};

use super::{
    super::{Command, Ended},
    act, settings,
};
use crate::{
    Exit, Failure, Out,
    client::Client,
    table::{Cell, Table},
    text::{self, safe},
};

/// Change a setting, or list those there are, what they take and how they stand
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncctl folder set Sync\n  syncctl folder set Sync known_hosts nas.lan:29170\n  syncctl folder set Sync min_free 2GB\n  syncctl folder set Sync rescan 90m"
)]
pub(crate) struct Args {
    /// The folder's name or path
    folder: String,
    /// Which setting [default: list them all]
    key: Option<String>,
    /// What it is to be [default: show it]
    value: Option<String>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        if let (Some(key), Some(value)) = (self.key.clone(), self.value) {
            let done = format!("{} is set to {}", safe(&key), safe(&value));
            let body = SetFolder { key, value };
            return act(client, &self.folder, "set", &body, &done, out).await;
        }
        let answer = client.get(&client.folder(&self.folder).await?).await?;
        let folder: Folder = client.read(answer)?;
        let mut all = settings::of(client, &folder).await?;
        if let Some(key) = self.key {
            all.retain(|setting| setting.info.key.as_ref() == Some(&key));
            if all.is_empty() {
                return Err(Failure::usage(format!(
                    "there is no setting `{key}`; `syncctl folder set {}` lists them",
                    text::shell_word(&self.folder)
                )));
            }
        }
        if out.json {
            let values: Vec<_> = all
                .iter()
                .map(|setting| {
                    let mut info = serde_json::to_value(&setting.info).unwrap_or_default();
                    info["now"] = serde_json::to_value(&setting.value).unwrap_or_default();
                    info
                })
                .collect();
            out.json(&values)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["SETTING", "NOW", "DEFAULT", "WHAT FOR", "TAKES"])
            .spare(&["DEFAULT"])
            .wrap(&["NOW", "WHAT FOR", "TAKES"]);
        for setting in &all {
            table.row(vec![
                Cell::text(setting.info.key.as_deref().unwrap_or_default()),
                Cell::text(&setting.value.to_string()).shown(setting.shown()),
                Cell::text(setting.info.default.as_deref().unwrap_or("-")),
                Cell::text(&setting.info.help),
                Cell::text(&setting.info.takes),
            ]);
        }
        out.table(&table, "this daemon has no settings for folders")?;
        Ok(Exit::Done)
    }
}
