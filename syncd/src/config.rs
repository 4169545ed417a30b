//! The settings: as typed, then checked, then in force.
//!
//! [`Options`] is what one source says, the command line or `config.toml`; both know the same names. The
//! command line goes [over](Options::over) the file, and [`Settings`] is what results, with nothing left
//! open. Everything wrong in the file is told with its line and column and with what to do.
//!
//! This module owns the meaning of the settings and reads one file. It must never change that file: it is
//! the person's.

use std::{
    fs, io,
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::known_host;

/// The port for peers, unless told otherwise.
pub const PEER_PORT: u16 = 29_170;
/// The UDP port of the beacons on the local network, unless told otherwise.
pub const LAN_PORT: u16 = 29_171;
/// The longest device name, in bytes.
pub const MAX_NAME: usize = 64;
/// The largest configuration file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Where to listen for peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// One address; all if `None`.
    pub addr: Option<IpAddr>,
    /// The TCP port; 0 for any free one.
    pub port: u16,
}

impl Listen {
    /// Reads `[ADDR:]PORT`, with brackets around an IPv6 address.
    ///
    /// # Errors
    ///
    /// Says what it takes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not [ADDRESS:]PORT, such as 29170, 192.168.1.5:29170 or [::1]:0")
        };
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
}

/// What one source says; what it leaves out is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `name`: what this device is called.
    pub name: Option<String>,
    /// `listen`: the address and port for peers.
    pub listen: Option<Listen>,
    /// `bind`: the network interfaces to keep to.
    pub bind: Vec<String>,
    /// `known-host`: addresses of members, for all folders.
    pub known_hosts: Vec<String>,
    /// `no-lan`: stay silent on the local network.
    pub no_lan: Option<bool>,
    /// `lan-port`: the UDP port of the beacons.
    pub lan_port: Option<u16>,
    /// `no-dht`: for a later version.
    pub no_dht: Option<bool>,
    /// `no-upnp`: for a later version.
    pub no_upnp: Option<bool>,
    /// `log`: how much is logged.
    pub log: Option<String>,
    /// `log-json`: whether the log is JSON.
    pub log_json: Option<bool>,
}

impl Options {
    /// These options where they say something, the `lower` ones elsewhere.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        let list = |upper: Vec<String>, lower| if upper.is_empty() { lower } else { upper };
        Self {
            name: self.name.or(lower.name),
            listen: self.listen.or(lower.listen),
            bind: list(self.bind, lower.bind),
            known_hosts: list(self.known_hosts, lower.known_hosts),
            no_lan: self.no_lan.or(lower.no_lan),
            lan_port: self.lan_port.or(lower.lan_port),
            no_dht: self.no_dht.or(lower.no_dht),
            no_upnp: self.no_upnp.or(lower.no_upnp),
            log: self.log.or(lower.log),
            log_json: self.log_json.or(lower.log_json),
        }
    }

    /// Reads `config.toml`; a file that isn't there says nothing.
    ///
    /// # Errors
    ///
    /// Names the file, the place in it, and what to do.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fail = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(meta) if meta.len() > MAX_FILE => {
                return Err(fail(io::Error::other("it is larger than 1 MiB")));
            }
            _ => {}
        }
        Self::parse(&fs::read_to_string(path).map_err(fail)?, path)
    }

    /// Reads the text of a configuration file; `path` is only for errors.
    ///
    /// # Errors
    ///
    /// Names the file, the place in it, and what to do.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let at = |span: Option<Range<usize>>, message: String| {
            let (line, column) = position(text, span.map_or(0, |s| s.start));
            ConfigError::Wrong {
                path: path.to_owned(),
                line,
                column,
                message,
            }
        };
        let raw: Raw = toml::from_str(text).map_err(|e| at(e.span(), e.message().to_owned()))?;
        let checked = |value: Option<Spanned<String>>, check: fn(&str) -> Result<(), String>| {
            value
                .map(|value| {
                    check(value.get_ref()).map_err(|m| at(Some(value.span()), m))?;
                    Ok(value.into_inner())
                })
                .transpose()
        };
        let listen = raw.listen.map(|value| {
            let parsed = match value.get_ref() {
                toml::Value::Integer(port) => Listen::parse(&port.to_string()),
                toml::Value::String(text) => Listen::parse(text),
                _ => Err("`listen` takes a port number, or \"ADDRESS:PORT\" in quotes".to_owned()),
            };
            parsed.map_err(|m| at(Some(value.span()), m))
        });
        let mut known_hosts = Vec::new();
        for host in raw.known_host.unwrap_or_default() {
            known_host::check(host.get_ref()).map_err(|e| at(Some(host.span()), e))?;
            known_hosts.push(host.into_inner());
        }
        if let Some(port) = raw.lan_port.as_ref().filter(|port| *port.get_ref() == 0) {
            let message = "`lan-port` is the same on all devices, so it can't be any free one: it takes 1 to 65535";
            return Err(at(Some(port.span()), message.to_owned()));
        }
        Ok(Self {
            name: checked(raw.name, check_device_name)?,
            listen: listen.transpose()?,
            bind: raw.bind.unwrap_or_default(),
            known_hosts,
            no_lan: raw.no_lan,
            lan_port: raw.lan_port.map(Spanned::into_inner),
            no_dht: raw.no_dht,
            no_upnp: raw.no_upnp,
            log: checked(raw.log, check_log)?,
            log_json: raw.log_json,
        })
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    name: Option<Spanned<String>>,
    listen: Option<Spanned<toml::Value>>,
    bind: Option<Vec<String>>,
    known_host: Option<Vec<Spanned<String>>>,
    no_lan: Option<bool>,
    lan_port: Option<Spanned<u16>>,
    no_dht: Option<bool>,
    no_upnp: Option<bool>,
    log: Option<Spanned<String>>,
    log_json: Option<bool>,
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

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What this device is called.
    pub name: String,
    /// Where to listen for peers.
    pub listen: Listen,
    /// The interfaces to keep to; all if empty.
    pub bind: Vec<String>,
    /// Addresses of members, for all folders.
    pub known_hosts: Vec<String>,
    /// Whether to speak on the local network.
    pub lan: bool,
    /// The UDP port of the beacons.
    pub lan_port: u16,
    /// How much is logged.
    pub log: Option<String>,
    /// Whether the log is JSON.
    pub log_json: bool,
}

impl From<Options> for Settings {
    fn from(options: Options) -> Self {
        Self {
            name: options.name.unwrap_or_else(host_name),
            listen: options.listen.unwrap_or(Listen {
                addr: None,
                port: PEER_PORT,
            }),
            bind: options.bind,
            known_hosts: options.known_hosts,
            lan: !options.no_lan.unwrap_or(false),
            lan_port: options.lan_port.unwrap_or(LAN_PORT),
            log: options.log,
            log_json: options.log_json.unwrap_or(false),
        }
    }
}

impl Settings {
    /// The names of the settings that differ and need a new start.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != new.listen),
            ("bind", self.bind != new.bind),
            ("lan-port", self.lan_port != new.lan_port),
            ("log-json", self.log_json != new.log_json),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }

    /// The names of the settings that differ and change at once.
    #[must_use]
    pub fn changes_now(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("name", self.name != new.name),
            ("known-host", self.known_hosts != new.known_hosts),
            ("no-lan", self.lan != new.lan),
            ("log", self.log != new.log),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Whether a device may be called so.
///
/// # Errors
///
/// Says what is wrong.
pub fn check_device_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err("a device's name has 1 to 64 bytes and no control characters".into());
    }
    Ok(())
}

/// Whether a text says how much to log.
///
/// # Errors
///
/// Says what is wrong.
pub fn check_log(text: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if !text.trim().is_empty() => Ok(()),
        _ => Err(
            "`log` takes error, warn, info, debug or trace, or PART=LEVEL,... as RUST_LOG does"
                .into(),
        ),
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
    use super::*;

    fn parse(text: &str) -> Result<Options, ConfigError> {
        Options::parse(text, Path::new("/home/x/config.toml"))
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_option_is_read() {
        let options = parse(
            "name = \"desk\"\nlisten = \"127.0.0.1:0\"\nbind = [\"lo\"]\nknown-host = [\"a.example:1\", \"[::1]:2\"]\n\
             no-lan = true\nlan-port = 7\nno-dht = true\nno-upnp = true\nlog = \"debug\"\nlog-json = true\n",
        )
        .unwrap();
        let settings = Settings::from(options);
        assert_eq!(settings.name, "desk");
        assert_eq!(
            settings.listen,
            Listen {
                addr: Some([127, 0, 0, 1].into()),
                port: 0
            }
        );
        assert_eq!(settings.known_hosts, ["a.example:1", "[::1]:2"]);
        assert!(!settings.lan && settings.log_json);
        assert_eq!(
            Settings::from(parse("listen = 80").unwrap()).listen.port,
            80
        );
        assert_eq!(Settings::from(parse("").unwrap()).listen.port, PEER_PORT);
    }

    #[test]
    fn errors_name_file_line_and_column() {
        assert!(
            error("name = \"x\"\n  nmae = \"y\"\n")
                .starts_with("/home/x/config.toml:2:3: unknown field `nmae`")
        );
        assert!(error("\nname = ").starts_with("/home/x/config.toml:2:"));
        assert!(error("no-lan = 3").starts_with("/home/x/config.toml:1:10: "));
        assert!(
            error("listen = \"80:x\"")
                .starts_with("/home/x/config.toml:1:10: `80:x` is not [ADDRESS:]PORT")
        );
        assert!(error("listen = 70000").starts_with("/home/x/config.toml:1:10: "));
        let hosts = error("known-host = [\n  \"a:1\",\n  \"nö:1\",\n  \"b\"]");
        assert!(hosts.starts_with("/home/x/config.toml:3:3: "), "{hosts}");
        assert!(error("lan-port = 0").starts_with("/home/x/config.toml:1:12: `lan-port` is"));
        assert!(error("log = \"\"").contains("`log` takes"));
        assert!(error("name = \" \"").contains("1 to 64 bytes"));
    }

    #[test]
    fn the_command_line_wins() {
        let file = parse("name = \"file\"\nno-lan = true\nknown-host = [\"f:1\"]").unwrap();
        let line = Options {
            name: Some("line".into()),
            ..Options::default()
        };
        let settings = Settings::from(line.over(file));
        assert_eq!((settings.name.as_str(), settings.lan), ("line", false));
        assert_eq!(settings.known_hosts, ["f:1"]);
    }

    #[test]
    fn changes_are_told_apart() {
        let old = Settings::from(parse("listen = 1").unwrap());
        let new = Settings::from(parse("listen = 2\nno-lan = true\nname = \"other one\"").unwrap());
        assert_eq!(old.needs_restart(&new), ["listen"]);
        assert_eq!(old.changes_now(&new), ["name", "no-lan"]);
    }

    #[test]
    fn listen_takes_addresses_in_brackets() {
        assert_eq!(
            Listen::parse("[::1]:5").unwrap().addr,
            Some("::1".parse().unwrap())
        );
        assert_eq!(
            Listen::parse("0.0.0.0:5").unwrap(),
            Listen {
                addr: None,
                port: 5
            }
        );
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
            assert!(Listen::parse(bad).is_err(), "{bad}");
        }
    }
}
