//! The options that the daemon itself has, and the table of all there are.
//!
//! Each is declared here once, or by the mechanism or the folder that it belongs to; the command line, `config.toml`,
//! the settings of folders, the reload and the help are made from [`all`].

use std::net::IpAddr;

use sync_core::{
    control::DISK_SETTINGS,
    options::{Declaration, Opt, OptionType, Value},
};

use crate::discovery::MECHANISMS;

/// What this device is called.
pub const NAME: Opt<DeviceName> =
    Opt::new("name", "name", "What this device is called").default_help("the host's name");

/// Where to listen for peers.
pub const LISTEN: Opt<Listen> = Opt::new(
    "listen",
    "listen",
    "Listen for peers here, on all addresses unless one is given; port 0 takes any free one",
)
.default("29170")
.needs_restart();

/// The network interfaces to keep to.
pub const BIND: Opt<Vec<Interface>> = Opt::new(
    "bind",
    "bind",
    "Keep to this network interface, for listening and for the local network; may be given several times",
)
.needs_restart();

/// For a later version.
pub const DHT: Opt<bool> = Opt::new(
    "no-dht",
    "dht",
    "The distributed hash tables of later versions; this version has none",
)
.default("on");

/// For a later version.
pub const UPNP: Opt<bool> = Opt::new(
    "no-upnp",
    "upnp",
    "The port mapping of later versions; this version has none",
)
.default("on");

/// How much is logged.
pub const LOG: Opt<LogFilter> =
    Opt::new("log", "log", "How much is logged").default_help("RUST_LOG, else info");

/// Whether the log is JSON.
pub const LOG_JSON: Opt<bool> = Opt::new("log-json", "log_json", "Log one JSON object a line")
    .default("off")
    .needs_restart();

const OWN: &[&Declaration] = &[
    &NAME.declaration,
    &LISTEN.declaration,
    &BIND.declaration,
    &DHT.declaration,
    &UPNP.declaration,
    &LOG.declaration,
    &LOG_JSON.declaration,
];

/// Every option there is.
pub fn all() -> impl Iterator<Item = &'static Declaration> + Clone {
    let own = OWN.iter().chain(DISK_SETTINGS);
    let brought = MECHANISMS.iter().flat_map(|kind| kind.options);
    own.chain(brought).copied()
}

/// The longest device name, in bytes.
pub const MAX_NAME: usize = 64;

/// The name of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceName(pub String);

impl OptionType for DeviceName {
    const WORD: &'static str = "DEVICE";
    const TAKES: &'static str = "a name of 1 to 64 bytes without control characters";

    fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
            return Err(format!("it takes {}", Self::TAKES));
        }
        Ok(Self(text.to_owned()))
    }

    fn value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// The name of a network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(pub String);

impl OptionType for Interface {
    const WORD: &'static str = "INTERFACE";
    const TAKES: &'static str = "the name of a network interface, as `ip address` shows it";

    fn read(text: &str) -> Result<Self, String> {
        // Linux takes no longer names (IFNAMSIZ); other systems name theirs more freely.
        if text.is_empty()
            || text.len() > 64
            || text.contains(|c: char| c.is_whitespace() || c == '/')
        {
            return Err(format!("it takes {}", Self::TAKES));
        }
        Ok(Self(text.to_owned()))
    }

    fn value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

/// Where to listen for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// One address; all if `None`.
    pub addr: Option<IpAddr>,
    /// The TCP port; 0 for any free one.
    pub port: u16,
}

impl OptionType for Listen {
    const WORD: &'static str = "[ADDR:]PORT";
    const TAKES: &'static str = "[ADDRESS:]PORT, such as 29170, 192.168.1.5:29170 or [::1]:0";

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("it takes {}", Self::TAKES);
        let (addr, port) = match text.rsplit_once(':') {
            None => (None, text),
            Some((addr, port)) => {
                let bare = addr.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                let addr: IpAddr = bare.unwrap_or(addr).parse().map_err(|_| wrong())?;
                if addr.is_ipv6() && bare.is_none() {
                    return Err(wrong());
                }
                (Some(addr), port)
            }
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        Ok(Self {
            addr: addr.filter(|a| !a.is_unspecified()),
            port,
        })
    }

    fn value(&self) -> Value {
        Value::Text(match self.addr {
            None => self.port.to_string(),
            Some(addr) => std::net::SocketAddr::new(addr, self.port).to_string(),
        })
    }
}

/// How much is logged: a level, or levels of parts as in `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(pub String);

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl OptionType for LogFilter {
    const WORD: &'static str = "LEVEL";
    const TAKES: &'static str =
        "off, error, warn, info, debug or trace, or PART=LEVEL,... as in RUST_LOG";

    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("it takes {}", Self::TAKES);
        for part in text.split(',') {
            // A word that is no level would be taken for the name of a part, of which then all is logged.
            let level = part
                .rsplit_once('=')
                .map_or(part, |(_, level)| level)
                .trim();
            if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
                return Err(wrong());
            }
        }
        tracing_subscriber::EnvFilter::builder()
            .parse(text)
            .map_err(|_| wrong())?;
        Ok(Self(text.to_owned()))
    }

    fn value(&self) -> Value {
        Value::Text(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sync_core::options::{Places, Shape, Values};

    use super::*;

    #[test]
    fn every_declaration_is_sound() {
        let (mut keys, mut names) = (BTreeSet::new(), BTreeSet::new());
        for option in all() {
            let name = option.name;
            assert!(keys.insert(option.key), "{name} twice");
            assert!(names.insert(name), "{name} twice");
            assert!(
                option
                    .key
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            assert!(option.help.starts_with(char::is_uppercase) && !option.help.ends_with('.'));
            assert!(!option.takes.is_empty() && !option.word.is_empty());
            match option.shape {
                Shape::Switch => {
                    assert!(["on", "off"].contains(&option.default), "{name}");
                    // Named by what it switches.
                    assert_eq!(option.is_negative(), name.starts_with("no-"), "{name}");
                }
                Shape::One if option.default.is_empty() => {
                    assert!(!option.default_help.is_empty(), "{name} has no default");
                }
                _ => drop(option.read(option.default).unwrap()),
            }
            let line = option.places.has(Places::LINE);
            assert_eq!(line, option.places.has(Places::FILE), "{name}");
            assert!(line || option.places.has(Places::FOLDER), "{name}");
        }
    }

    /// The page is written from the declarations: `SYNCD_WRITE_DOCS=1 cargo test -p syncd options`.
    #[test]
    fn the_page_of_options_is_up_to_date() {
        let row = |name: &str, option: &Declaration, effect: &str| {
            let plain = |text: &str| text.replace('|', "\\|");
            let default = [option.default, option.default_help, "-"];
            let default = default.iter().find(|text| !text.is_empty()).unwrap();
            let line = name == option.name && option.places.has(Places::FILE);
            let (help, default, takes) = match option.shape {
                Shape::Switch if line => (
                    option.explained_on_line(),
                    &"-",
                    "nothing; in the file true or false",
                ),
                _ => (option.help.to_owned(), default, option.takes),
            };
            let (help, takes) = (plain(&help), plain(takes));
            format!("| `{name}` | {help} | {default} | {takes} |{effect}\n")
        };
        let mut page = "# Options\n\nMade from the declarations in the code. Don't edit this page: a test says how it \
                        is written.\n\n## Of the daemon\nOn the command line with two hyphens before the name, in \
                        `config.toml` without. The command line wins. SIGHUP reads the file again.\n\n\
                        | name | what for | default | takes | a change takes effect |\n|---|---|---|---|---|\n"
            .to_owned();
        for option in all().filter(|o| o.places.has(Places::FILE)) {
            let effect = match option.restart {
                true => " at the next start |",
                false => " at a reload |",
            };
            page.push_str(&row(option.name, option, effect));
        }
        page.push_str(
            "\n## Of a folder\nSet by `syncctl folder set FOLDER KEY VALUE`, at once.\n\n\
             | key | what for | default | takes |\n|---|---|---|---|\n",
        );
        for option in all().filter(|o| o.places.has(Places::FOLDER)) {
            page.push_str(&row(option.key, option, ""));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPTIONS.md");
        if std::env::var_os("SYNCD_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page);
    }

    #[test]
    fn folders_have_the_settings_that_scripts_depend_on() {
        let settings = Values::default().complete(all(), Places::FOLDER);
        let value = serde_json::to_value(settings).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            ["archive_days", "known_hosts", "lan", "min_free", "rescan"]
        );
        assert_eq!(value["lan"], true);
    }

    #[test]
    fn listen_takes_addresses_in_brackets() {
        let port = |port| Listen { addr: None, port };
        assert_eq!(
            Listen::read("[::1]:5").unwrap().addr,
            Some("::1".parse().unwrap())
        );
        assert_eq!(Listen::read("0.0.0.0:5"), Ok(port(5)));
        for good in ["5", "[::1]:0", "127.0.0.1:80"] {
            let read = Listen::read(good).unwrap();
            assert_eq!(read.value().to_string(), good);
        }
        for bad in [
            "",
            "x",
            "::1:5",
            "1.2.3.4:",
            "1.2.3.4:+5",
            "-1",
            "65536",
            "[::1:5",
        ] {
            assert!(Listen::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for good in ["debug", "WARN", "sync_net=trace,info", "off"] {
            assert!(LogFilter::read(good).is_ok(), "{good}");
        }
        for bad in ["wran", "", "sync_net", "info,", "sync_net=wran"] {
            let error = LogFilter::read(bad).unwrap_err();
            assert!(error.contains("warn, info"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_looked_up_is_refused() {
        let hosts = &sync_discovery::known_hosts::KNOWN_HOST.declaration;
        for good in ["nas:29170", "[fe80::1%3]:1", "192.0.2.1:2"] {
            assert!(hosts.read(good).is_ok());
        }
        for bad in [
            "nas",
            "nas:0",
            "nas:+1",
            "fe80::1:1",
            "a b:1",
            "10.0.0.256:80",
            "0.0.0.0:1",
            "a..b:1",
        ] {
            let error = hosts.parse("known_hosts", bad).unwrap_err().to_string();
            assert!(
                error.contains(bad) && error.len() > bad.len() + 30,
                "{error}"
            );
        }
        let zone = hosts.read("[fe80::1%eth0]:29170").unwrap_err();
        assert!(zone.contains("by its number"), "{zone}");
        assert!(hosts.read(&vec!["nas:1"; 257].join(",")).is_err());
    }
}
