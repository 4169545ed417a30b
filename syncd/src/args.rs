//! The command line, as typed.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand};
use sync_core::options::{Declaration, Places, Shape, Value, Values};

use crate::options;

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
    /// The options that `config.toml` knows too.
    #[command(flatten)]
    pub options: Line,
}

/// What the command line says of the options.
#[derive(Debug, Clone, Default)]
pub struct Line(pub Values);

impl Line {
    fn declared() -> impl Iterator<Item = &'static Declaration> {
        options::all().filter(|option| option.places.has(Places::LINE))
    }

    fn take(&mut self, matches: &ArgMatches) {
        for option in Self::declared() {
            if option.shape == Shape::Switch {
                if matches.get_flag(option.key) {
                    self.0.set(option, Value::Switch(!option.is_negative()));
                }
            } else {
                for value in matches.get_many::<Value>(option.key).into_iter().flatten() {
                    self.0.put(option, value.clone());
                }
            }
        }
    }
}

impl FromArgMatches for Line {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut line = Self::default();
        line.take(matches);
        Ok(line)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.take(matches);
        Ok(())
    }
}

impl Args for Line {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Self::declared().map(arg))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// An option as clap takes it.
fn arg(option: &'static Declaration) -> Arg {
    let arg = Arg::new(option.key)
        .long(option.name)
        .help(option.explained_on_line());
    match option.shape {
        Shape::Switch => arg.action(ArgAction::SetTrue),
        Shape::One => arg
            .value_name(option.word)
            .value_parser(move |text: &str| option.read(text)),
        Shape::List => arg
            .value_name(option.word)
            .value_parser(move |text: &str| option.read(text))
            .action(ArgAction::Append),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use clap::CommandFactory;
    use sync_core::options::Port;
    use sync_discovery::{
        known_hosts::KNOWN_HOST,
        lan::{LAN, LAN_PORT},
    };

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
        let settings = Settings::new(run.options.0, Values::default());
        assert_eq!(settings.bind(), ["lo", "eth0"]);
        let hosts = settings.get(&KNOWN_HOST);
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1", "[::1]:2"]);
        assert_eq!(settings.listen().port, 0);
        assert_eq!(
            (settings.get(&LAN), settings.get(&LAN_PORT)),
            (false, Port(9))
        );
        // Each that may stand there was named above.
        assert_eq!(Line::declared().count(), settings.values().iter().count());
    }

    #[test]
    fn what_was_not_said_is_left_to_the_file() {
        assert_eq!(
            run(&["--folder", "/x"]).unwrap().options.0,
            Values::default()
        );
    }

    #[test]
    fn wrong_usage_is_refused_with_code_2() {
        let wrong: [&[&str]; 9] = [
            &["--listen", "x"],
            &["--known-host", "10.0.0.256:80"],
            &["--secret", "-"],
            &["--name", ""],
            &["--lan-port", "70000"],
            &["--lan-port", "0"],
            &["--log", ""],
            &["--log", "wran"],
            &["--nonsense"],
        ];
        for args in wrong {
            assert_eq!(run(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
        let level = run(&["--log", "wran"]).unwrap_err().to_string();
        assert!(
            level.contains("off, error, warn, info, debug or trace"),
            "{level}"
        );
        assert_eq!(run(&["--help"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn the_help_is_made_from_the_declarations() {
        let help = run(&["--help"]).unwrap_err().to_string();
        for line in [
            "--listen <[ADDR:]PORT>",
            "[default: 29170]",
            "[default: the host's name]",
            "Switch off announcing and looking for folders",
        ] {
            assert!(help.contains(line), "{line} isn't in\n{help}");
        }
    }
}
