//! The command line, as typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    config::{Listen, Options, check_device_name, check_log},
    known_host,
};

/// Keeps folders the same on several machines, with one secret and no server.
#[derive(Debug, Parser)]
#[command(
    name = "syncd",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the daemon can be told to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground, until Ctrl-C or SIGTERM
    Run(Box<Run>),
}

/// How the daemon runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  syncd run --folder ~/Sync              start, and make a secret for a new folder
  syncd run --folder ~/Sync --secret -   the same on the next machine; asks for the secret
  syncd run --no-lan --known-host nas.example.org:29170

Every option but --folder, --secret and --home can stand in config.toml in the home, by the same name
without the dashes; the command line wins. SIGHUP reads the file again.
Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.")]
pub struct Run {
    /// Add this folder if it is new; it is made if it isn't there
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The folder's secret; `-` reads it from standard input, or asks for it on a terminal
    #[arg(
        long,
        value_name = "-",
        requires = "folder",
        allow_hyphen_values = true
    )]
    pub secret: Option<String>,
    /// Where the daemon keeps its own files [default: SYNCD_HOME, else ~/.local/share/syncd]
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// What this device is called [default: the host's name]
    #[arg(long, value_name = "DEVICE", value_parser = device_name)]
    pub name: Option<String>,
    /// Listen for peers here; port 0 takes any free one [default: 29170 on all addresses]
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = Listen::parse)]
    pub listen: Option<Listen>,
    /// Keep to this network interface, for listening and for the local network; may be repeated
    #[arg(long, value_name = "INTERFACE")]
    pub bind: Vec<String>,
    /// Look for members at this address, for all folders; may be repeated
    #[arg(long, value_name = "HOST:PORT", value_parser = host)]
    pub known_host: Vec<String>,
    /// Don't announce or look for folders on the local network
    #[arg(long)]
    pub no_lan: bool,
    /// UDP port of the announcements on the local network, the same on all devices [default: 29171]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub lan_port: Option<u16>,
    /// Keep the distributed hash tables of later versions off; this version has none
    #[arg(long)]
    pub no_dht: bool,
    /// Keep the port mapping of later versions off; this version has none
    #[arg(long)]
    pub no_upnp: bool,
    /// How much is logged: error, warn, info, debug or trace, or as in RUST_LOG
    #[arg(long, value_name = "LEVEL", value_parser = log)]
    pub log: Option<String>,
    /// Log one JSON object a line
    #[arg(long)]
    pub log_json: bool,
}

impl Run {
    /// What the command line says about the settings.
    #[must_use]
    pub fn options(&self) -> Options {
        let on = |flag: bool| flag.then_some(true);
        Options {
            name: self.name.clone(),
            listen: self.listen,
            bind: self.bind.clone(),
            known_hosts: self.known_host.clone(),
            no_lan: on(self.no_lan),
            lan_port: self.lan_port,
            no_dht: on(self.no_dht),
            no_upnp: on(self.no_upnp),
            log: self.log.clone(),
            log_json: on(self.log_json),
        }
    }
}

fn device_name(text: &str) -> Result<String, String> {
    check_device_name(text).map(|()| text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    known_host::check(text).map(|()| text.to_owned())
}

fn log(text: &str) -> Result<String, String> {
    check_log(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run(args: &[&str]) -> Result<Run, clap::Error> {
        let args = ["syncd", "run"].iter().chain(args);
        let Command::Run(run) = Cli::try_parse_from(args)?.command;
        Ok(*run)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        assert_eq!(
            Cli::command().render_version(),
            format!("syncd {}\n", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn options_are_read() {
        let line = "--folder /x --secret - --name desk --listen 127.0.0.1:0 --bind lo --bind eth0 \
                    --known-host a:1 --known-host [::1]:2 --no-lan --lan-port 9 --no-dht --no-upnp \
                    --log debug --log-json --home /h";
        let run = run(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        assert_eq!(run.secret.as_deref(), Some("-"));
        let options = run.options();
        assert_eq!(options.bind, ["lo", "eth0"]);
        assert_eq!(options.known_hosts, ["a:1", "[::1]:2"]);
        assert_eq!(options.listen.unwrap().port, 0);
        assert_eq!((options.no_lan, options.lan_port), (Some(true), Some(9)));
    }

    #[test]
    fn wrong_usage_is_refused_with_code_2() {
        let wrong: [&[&str]; 8] = [
            &["--listen", "x"],
            &["--known-host", "10.0.0.256:80"],
            &["--secret", "-"],
            &["--name", ""],
            &["--lan-port", "70000"],
            &["--lan-port", "0"],
            &["--log", ""],
            &["--nonsense"],
        ];
        for args in wrong {
            assert_eq!(run(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
        assert_eq!(run(&["--help"]).unwrap_err().exit_code(), 0);
    }
}
