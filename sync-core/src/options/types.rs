//! The types that options have, as people write them. Crates with types of their own implement [`OptionType`] for
//! them.

use std::{str::FromStr, time::Duration};

use bytesize::ByteSize;

use super::Value;

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Naming it is all.
    Switch,
    /// One value.
    One,
    /// Any number of values.
    List,
}

/// A type that the value of an option can have.
pub trait OptionType: Sized {
    /// Whether it is one value, many or none.
    const SHAPE: Shape = Shape::One;
    /// The word that stands for it in the help.
    const WORD: &'static str;
    /// What it takes, to go on after "it takes".
    const TAKES: &'static str;

    /// Reads it as a person writes it, without white space around it.
    ///
    /// # Errors
    ///
    /// Says what it takes; a sentence that begins with a small letter.
    fn read(text: &str) -> Result<Self, String>;

    /// The value as it is kept. [`read`](Self::read) takes the text of it.
    fn value(&self) -> Value;
}

/// The most items of a list.
const MAX_ITEMS: usize = 256;

/// What is said of a value that doesn't fit.
fn takes<T: OptionType>() -> String {
    format!("it takes {}", T::TAKES)
}

impl OptionType for bool {
    const SHAPE: Shape = Shape::Switch;
    const WORD: &'static str = "on|off";
    const TAKES: &'static str = "on or off";

    fn read(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(true),
            "off" | "false" | "no" => Ok(false),
            _ => Err(takes::<Self>()),
        }
    }

    fn value(&self) -> Value {
        Value::Switch(*self)
    }
}

impl OptionType for String {
    const WORD: &'static str = "TEXT";
    const TAKES: &'static str = "a text";

    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn value(&self) -> Value {
        Value::Text(self.clone())
    }
}

/// Several, with commas between them.
impl<T: OptionType> OptionType for Vec<T> {
    const SHAPE: Shape = Shape::List;
    const WORD: &'static str = T::WORD;
    const TAKES: &'static str = T::TAKES;

    fn read(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim);
        let items: Self = items
            .filter(|item| !item.is_empty())
            .map(T::read)
            .collect::<Result<_, _>>()?;
        if items.len() > MAX_ITEMS {
            return Err(format!(
                "{} are too many, {MAX_ITEMS} are the most",
                items.len()
            ));
        }
        Ok(items)
    }

    fn value(&self) -> Value {
        Value::List(self.iter().map(|item| item.value().to_string()).collect())
    }
}

/// A number that is digits only, as people mean it: no sign.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// A port that isn't 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port(pub u16);

impl OptionType for Port {
    const WORD: &'static str = "PORT";
    const TAKES: &'static str =
        "a port from 1 to 65535; all devices share it, so it can't be any free one";

    fn read(text: &str) -> Result<Self, String> {
        let port = number(text).filter(|port| *port != 0);
        port.map(Self).ok_or_else(takes::<Self>)
    }

    fn value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// A number of days, up to a hundred years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub u32);

impl OptionType for Days {
    const WORD: &'static str = "DAYS";
    const TAKES: &'static str = "a number of days, such as 30; 0 for none, 36500 is the most";

    fn read(text: &str) -> Result<Self, String> {
        let days = number(text).or_else(|| {
            let span = humantime::parse_duration(text).ok()?.as_secs();
            span.is_multiple_of(86_400)
                .then(|| u32::try_from(span / 86_400).ok())?
        });
        let days = days.filter(|days| *days <= 36_500);
        days.map(Self).ok_or_else(takes::<Self>)
    }

    fn value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// A number of bytes, up to 1 EiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl OptionType for Size {
    const WORD: &'static str = "SIZE";
    const TAKES: &'static str =
        "a number of bytes, or one with a unit such as 500MB (decimal) or 2 GiB (binary)";

    fn read(text: &str) -> Result<Self, String> {
        // A number too large for the type becomes the largest there is, and so it is refused as well.
        let size: Option<ByteSize> = text.parse().ok();
        size.filter(|size| size.0 <= 1 << 60)
            .map(|size| Self(size.0))
            .ok_or_else(takes::<Self>)
    }

    fn value(&self) -> Value {
        Value::Number(self.0)
    }
}

/// A time from one second to 31 days, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl OptionType for Span {
    const WORD: &'static str = "TIME";
    const TAKES: &'static str =
        "a time such as 90m, 1h or 1h 30m, or a number of seconds; from 1s to 31days";

    fn read(text: &str) -> Result<Self, String> {
        let span = number(text)
            .map(Duration::from_secs)
            .or_else(|| humantime::parse_duration(text).ok());
        let fits = |span: &Duration| {
            span.subsec_nanos() == 0 && (1..=31 * 86_400).contains(&span.as_secs())
        };
        span.filter(fits).map(Self).ok_or_else(takes::<Self>)
    }

    fn value(&self) -> Value {
        Value::Number(self.0.as_secs())
    }
}
