//! What was said of options, checked.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Declaration, Opt, OptionType, Places, Shape};

/// The value of an option, as it stands in JSON and TOML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Switch(bool),
    /// A number in the base unit: bytes, seconds, days.
    Number(u64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<String>),
}

impl fmt::Display for Value {
    /// As a person could write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => f.write_str(if *on { "on" } else { "off" }),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// What one source says: the command line, `config.toml`, the settings of a folder. Options that it doesn't name
/// aren't in here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(BTreeMap<String, Value>);

impl Values {
    /// These values where they say something, the `lower` ones elsewhere.
    #[must_use]
    pub fn over(self, mut lower: Self) -> Self {
        lower.0.extend(self.0);
        lower
    }

    /// With this option set. For programs; what people write goes through [`Declaration::parse`].
    #[must_use]
    pub fn with<T: OptionType>(mut self, option: &Opt<T>, value: T) -> Self {
        self.0
            .insert(option.declaration.key.to_owned(), value.value());
        self
    }

    /// Like these values, but for this option, which is as in `other`.
    pub fn keep_of(&mut self, other: &Self, option: &Declaration) {
        match other.0.get(option.key) {
            Some(value) => self.0.insert(option.key.to_owned(), value.clone()),
            None => self.0.remove(option.key),
        };
    }

    /// With the default of every option of the table that may stand at this place and isn't there.
    #[must_use]
    pub fn complete<'a>(
        mut self,
        table: impl Iterator<Item = &'a Declaration>,
        place: Places,
    ) -> Self {
        for option in table.filter(|o| o.places.has(place)) {
            let default = match option.shape {
                _ if !option.default.is_empty() => option.read(option.default).ok(),
                Shape::List => Some(Value::List(Vec::new())),
                _ => None,
            };
            if let Some(default) = default {
                self.0.entry(option.key.to_owned()).or_insert(default);
            }
        }
        self
    }

    /// Sets an option to a value that its [`Declaration`] has read; a list takes the items in addition to those it has.
    pub fn put(&mut self, option: &Declaration, value: Value) {
        match (self.0.get_mut(option.key), value) {
            (Some(Value::List(items)), Value::List(more)) => items.extend(more),
            (_, value) => self.set(option, value),
        }
    }

    /// Sets an option to a value that its [`Declaration`] has read.
    pub fn set(&mut self, option: &Declaration, value: Value) {
        self.0.insert(option.key.to_owned(), value);
    }

    /// Sets what has this key to a value that was checked elsewhere.
    pub fn insert(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// The value of an option; its default if nothing was said.
    ///
    /// # Panics
    ///
    /// If the option has neither a value nor a default; ask [`find`](Self::find) for those.
    #[must_use]
    pub fn get<T: OptionType>(&self, option: &Opt<T>) -> T {
        self.find(option).unwrap_or_else(|| {
            T::read(option.declaration.default)
                .unwrap_or_else(|_| panic!("`{}` has a good default", option.declaration.name))
        })
    }

    /// The value of an option, if something was said. What a later version wrote and this one can't read isn't
    /// there.
    #[must_use]
    pub fn find<T: OptionType>(&self, option: &Opt<T>) -> Option<T> {
        let value = self.0.get(option.declaration.key)?;
        T::read(&value.to_string()).ok()
    }

    /// What was said of the option with this key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Everything that was said, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The options of the table whose values differ in `new`, defaults taken into account.
    pub fn changes<'a>(
        &self,
        new: &Self,
        table: impl Iterator<Item = &'a Declaration>,
    ) -> Vec<&'a Declaration> {
        let of = |values: &Self, option: &Declaration| match values.0.get(option.key) {
            Some(value) => Some(value.clone()),
            None => option.read(option.default).ok(),
        };
        table
            .filter(|option| of(self, option) != of(new, option))
            .collect()
    }
}

/// Any value by any key: which there are is said by the table of declarations, which whoever publishes the schema has.
#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Values {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::Object::builder()
            .description(Some("Options by their keys."))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Values {
    fn name() -> std::borrow::Cow<'static, str> {
        "Settings".into()
    }
}
