//! The settings of a folder as they stand. What settings there are, only the daemon knows.

use sync_core::{
    control::{Folder, OptionInfo},
    options::Value,
};

use crate::{
    Failure,
    client::Client,
    text::{self, safe},
};

/// A setting as it stands in a folder.
pub(crate) struct Setting {
    pub(super) info: OptionInfo,
    pub(super) value: Value,
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
