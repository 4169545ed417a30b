//! The settings of a folder: shown with what they take, and changed. What settings there are, only the daemon knows.

use sync_core::{
    control::{Folder, OptionInfo, SetFolder},
    options::Value,
};

use super::{Ended, folder::act};
use crate::{
    Exit, Failure, Out,
    cli::SetArgs,
    client::Client,
    table::{Cell, Table},
    text::{self, safe},
};

/// `folder set`: changes a setting; without a value it shows them.
pub(crate) async fn run(client: &Client, args: SetArgs, out: &mut Out) -> Ended {
    if let (Some(key), Some(value)) = (args.key.clone(), args.value) {
        let done = format!("{} is set to {}", safe(&key), safe(&value));
        let body = SetFolder { key, value };
        return act(client, &args.folder, "set", &body, &done, out).await;
    }
    let answer = client.get(&client.folder(&args.folder).await?).await?;
    let folder: Folder = client.read(answer)?;
    let mut all = of(client, &folder).await?;
    if let Some(key) = args.key {
        all.retain(|setting| setting.info.key.as_ref() == Some(&key));
        if all.is_empty() {
            return Err(Failure::usage(format!(
                "there is no setting `{key}`; `syncctl folder set {}` lists them",
                text::shell_word(&args.folder)
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
    let mut table = Table::new(&["SETTING", "NOW", "DEFAULT", "WHAT FOR", "TAKES"]);
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

/// A setting as it stands in a folder.
pub(crate) struct Setting {
    info: OptionInfo,
    value: Value,
}

impl Setting {
    /// Its key.
    pub(crate) fn key(&self) -> &str {
        self.info.key.as_deref().unwrap_or_default()
    }

    /// The value as a script reads it.
    pub(crate) fn plain(&self) -> String {
        safe(&self.value.to_string())
    }

    /// The value as a person reads it.
    pub(crate) fn shown(&self) -> String {
        match (&self.value, self.info.value.as_str()) {
            (Value::Number(bytes), "SIZE") => text::size(*bytes),
            (Value::Number(seconds), "TIME") => text::duration(*seconds),
            (Value::Number(days), "DAYS") => text::many(*days, "day", "days"),
            (Value::List(items), _) if items.is_empty() => "-".to_owned(),
            (Value::List(items), _) => safe(&items.join(", ")),
            (value, _) => safe(&value.to_string()),
        }
    }
}

/// The settings of a folder, as far as the daemon tells what they are.
pub(crate) async fn of(client: &Client, folder: &Folder) -> Result<Vec<Setting>, Failure> {
    let options: Vec<OptionInfo> = client.read(client.get("/options").await?)?;
    let setting = |info: OptionInfo| {
        let value = folder.settings.value(info.key.as_deref()?)?.clone();
        Some(Setting { info, value })
    };
    Ok(options.into_iter().filter_map(setting).collect())
}
