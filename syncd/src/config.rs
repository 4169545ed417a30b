//! The settings: what the command line and `config.toml` say, and what is in force.
//!
//! Both know the same options by the same names, see [`options`]. The command line goes over the file. Everything
//! wrong in the file is told with its line and column and with what to do.
//!
//! This module reads one file. It must never change that file: it is the person's.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use sync_core::options::{Declaration, Opt, OptionError, OptionType, Places, Shape, Value, Values};
use toml::de::{DeTable, DeValue};

use crate::options::{self, BIND, LISTEN, LOG, Listen, MAX_NAME, NAME};

/// The largest configuration file that is read.
const MAX_FILE: u64 = 1 << 20;

/// The settings in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(Values);

impl Settings {
    /// What the command line and the file say together.
    #[must_use]
    pub fn new(line: Values, file: Values) -> Self {
        Self(line.over(file))
    }

    /// The value of an option.
    #[must_use]
    pub fn get<T: OptionType>(&self, option: &Opt<T>) -> T {
        self.0.get(option)
    }

    /// What was said, for those that look for their own options in it.
    #[must_use]
    pub const fn values(&self) -> &Values {
        &self.0
    }

    /// What this device is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.find(&NAME).map_or_else(host_name, |name| name.0)
    }

    /// Where to listen for peers.
    #[must_use]
    pub fn listen(&self) -> Listen {
        self.get(&LISTEN)
    }

    /// The interfaces to keep to; all if empty.
    #[must_use]
    pub fn bind(&self) -> Vec<String> {
        self.get(&BIND).into_iter().map(|i| i.0).collect()
    }

    /// How much is logged, if anybody says so.
    #[must_use]
    pub fn log(&self) -> Option<String> {
        self.0.find(&LOG).map(|filter| filter.0)
    }

    /// What is in force once `new` was read: all of it but what needs a new start. With the options that changed, and
    /// those that will.
    #[must_use]
    pub fn reload(&self, mut new: Self) -> Reloaded {
        let changes = self.0.changes(&new.0, options::all());
        let (later, now): (Vec<&Declaration>, Vec<_>) =
            changes.into_iter().partition(|option| option.restart);
        for option in &later {
            new.0.keep_of(&self.0, option);
        }
        Reloaded {
            settings: new,
            now,
            later,
        }
    }
}

/// What came of reading the settings anew.
#[derive(Debug)]
pub struct Reloaded {
    /// What is in force.
    pub settings: Settings,
    /// What changed.
    pub now: Vec<&'static Declaration>,
    /// What changes at the next start.
    pub later: Vec<&'static Declaration>,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error("{}:{line}:{column}: {message}; correct the line, or remove it to have the default", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

/// Reads `config.toml`; a file that isn't there says nothing.
///
/// # Errors
///
/// Names the file, the place in it, and what to do.
pub fn read(path: &Path) -> Result<Values, ConfigError> {
    let fail = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Values::default()),
        Ok(meta) if meta.len() > MAX_FILE => {
            return Err(fail(io::Error::other("it is larger than 1 MiB")));
        }
        _ => {}
    }
    parse(&fs::read_to_string(path).map_err(fail)?, path)
}

/// Reads the text of a configuration file; `path` is only for errors.
///
/// # Errors
///
/// Names the file, the place in it, and what to do.
pub fn parse(text: &str, path: &Path) -> Result<Values, ConfigError> {
    let at = |span: Range<usize>, message: String| {
        let (line, column) = position(text, span.start);
        ConfigError::Wrong {
            path: path.to_owned(),
            line,
            column,
            message,
        }
    };
    let table = DeTable::parse(text)
        .map_err(|e| at(e.span().unwrap_or_default(), e.message().to_owned()))?;
    let mut values = Values::default();
    let known = || options::all().filter(|o| o.places.has(Places::FILE));
    for (name, value) in table.get_ref() {
        let option = known().find(|o| o.name == name.get_ref().as_ref());
        let Some(option) = option else {
            let there: Vec<&str> = known().map(|o| o.name).collect();
            let unknown = OptionError::Unknown {
                what: "option",
                name: name.get_ref().chars().take(64).collect(),
                there: there.join(", "),
            };
            return Err(at(name.span(), unknown.to_string()));
        };
        let items = match value.get_ref() {
            DeValue::Array(items) if option.shape == Shape::List => items.iter().collect(),
            _ => vec![value],
        };
        if items.is_empty() {
            values.put(option, Value::List(Vec::new()));
        }
        for item in items {
            let value = read_value(option, item.get_ref()).map_err(|m| at(item.span(), m))?;
            values.put(option, value);
        }
    }
    Ok(values)
}

/// Reads one value of the file.
fn read_value(option: &Declaration, value: &DeValue<'_>) -> Result<Value, String> {
    let name = option.name;
    match (value, option.shape) {
        (DeValue::Boolean(on), Shape::Switch) => Ok(Value::Switch(*on != option.is_negative())),
        (_, Shape::Switch) => Err(format!("`{name}` takes true or false")),
        (DeValue::String(text), _) => option.parse(name, text).map_err(|e| e.to_string()),
        (DeValue::Integer(number), _) if number.radix() == 10 => option
            .parse(name, number.as_str())
            .map_err(|e| e.to_string()),
        _ => Err(format!("`{name}` takes {}", option.takes)),
    }
}

fn host_name() -> String {
    let uname = rustix::system::uname();
    let name: String = uname
        .nodename()
        .to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let name = name.split('.').next().unwrap_or_default();
    let name = up_to(name, MAX_NAME);
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name.to_owned()
    }
}

/// As many whole characters as fit into so many bytes.
fn up_to(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = up_to(text, offset);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use sync_discovery::{known_hosts::KNOWN_HOST, lan::LAN};

    use super::*;
    use crate::options::{DeviceName, LOG_JSON};

    fn parse(text: &str) -> Result<Values, ConfigError> {
        super::parse(text, Path::new("/home/x/config.toml"))
    }

    fn settings(text: &str) -> Settings {
        Settings::new(Values::default(), parse(text).unwrap())
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_option_is_read() {
        let settings = settings(
            "name = \"desk\"\nlisten = \"127.0.0.1:0\"\nbind = [\"lo\"]\nknown-host = [\"a.example:1\", \"[::1]:2\"]\n\
             no-lan = true\nlan-port = 7\nno-dht = true\nno-upnp = true\nlog = \"debug\"\nlog-json = true\n",
        );
        assert_eq!(settings.name(), "desk");
        assert_eq!(
            settings.listen(),
            Listen {
                addr: Some([127, 0, 0, 1].into()),
                port: 0
            }
        );
        let hosts = settings.get(&KNOWN_HOST);
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a.example:1", "[::1]:2"]);
        assert!(!settings.get(&LAN) && settings.get(&LOG_JSON));
        assert_eq!(
            (settings.bind(), settings.log()),
            (vec!["lo".into()], Some("debug".into()))
        );
        // Each that may stand in the file was named above.
        let file = options::all().filter(|o| o.places.has(Places::FILE));
        assert_eq!(file.count(), settings.values().iter().count());
    }

    #[test]
    fn numbers_need_no_quotes_and_one_of_many_no_brackets() {
        assert_eq!(settings("listen = 80").listen().port, 80);
        assert_eq!(settings("").listen().port, 29_170);
        assert_eq!(settings("bind = \"lo\"").bind(), ["lo"]);
        assert!(settings("no-lan = false").get(&LAN));
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let unknown = error("name = \"x\"\n  nmae = \"y\"\n");
        assert!(
            unknown.starts_with(
                "/home/x/config.toml:2:3: there is no option `nmae`; there are: name, "
            ),
            "{unknown}"
        );
        assert!(error("\nname = ").starts_with("/home/x/config.toml:2:"));
        assert!(error("no-lan = 3").starts_with("/home/x/config.toml:1:10: `no-lan` takes true"));
        let listen = error("listen = \"80:x\"");
        assert!(
            listen.starts_with(
                "/home/x/config.toml:1:10: `80:x` is no value for `listen`: it takes [ADDRESS:]PORT"
            ),
            "{listen}"
        );
        assert!(error("listen = 70000").starts_with("/home/x/config.toml:1:10: "));
        assert!(error("listen = 0x50").starts_with("/home/x/config.toml:1:10: "));
        let hosts = error("known-host = [\n  \"a:1\",\n  \"nö:1\",\n  \"b\"]");
        assert!(hosts.starts_with("/home/x/config.toml:3:3: "), "{hosts}");
        let port = error("lan-port = 0");
        assert!(
            port.starts_with(
                "/home/x/config.toml:1:12: `0` is no value for `lan-port`: it takes a port from 1"
            ),
            "{port}"
        );
        assert!(error("log = \"wran\"").contains("warn, info"));
        assert!(error("name = \" \"").contains("1 to 64 bytes"));
        // A setting of folders has no place here.
        assert!(error("rescan = 60").contains("there is no option `rescan`"));
    }

    #[test]
    fn the_command_line_wins() {
        let file = parse("name = \"file\"\nno-lan = true\nknown-host = [\"f:1\"]").unwrap();
        let line = Values::default().with(&NAME, DeviceName("line".into()));
        let settings = Settings::new(line, file);
        assert_eq!(
            (settings.name().as_str(), settings.get(&LAN)),
            ("line", false)
        );
        assert_eq!(settings.get(&KNOWN_HOST)[0].to_string(), "f:1");
    }

    #[test]
    fn a_reload_changes_what_it_can_and_tells_the_rest() {
        let old = settings("listen = 1");
        let reloaded = old.reload(settings("listen = 2\nno-lan = true\nname = \"other one\""));
        let names = |options: &[&Declaration]| options.iter().map(|o| o.name).collect::<Vec<_>>();
        assert_eq!(names(&reloaded.later), ["listen"]);
        assert_eq!(names(&reloaded.now), ["name", "no-lan"]);
        let new = reloaded.settings;
        assert_eq!((new.listen().port, new.name().as_str()), (1, "other one"));
        assert!(!new.get(&LAN));
        // Back at what is in force, nothing changes.
        assert!(new.reload(new.clone()).now.is_empty());
    }
}
