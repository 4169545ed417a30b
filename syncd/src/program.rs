//! The program: reads the command line, and runs the daemon.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    process::ExitCode,
};

use crate::{
    args::{Cli, Command, Run},
    run::{Start, run},
};
use clap::Parser;
use sync_core::secret::{MAX_INPUT, Secret, hide_secrets};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// The exit code for what was typed wrongly.
const USAGE: u8 = 2;

/// Why the program ends with an error.
enum Failure {
    /// What was typed can't be right.
    Usage(Box<dyn Error>),
    /// It can't run, or broke off.
    Failed(Box<dyn Error>),
}

/// What the program `syncd` does.
pub fn main() -> ExitCode {
    let Command::Run(args) = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return explain(&error),
    };
    match begin(*args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            eprintln!("syncd: {error}");
            USAGE.into()
        }
        Err(Failure::Failed(error)) => {
            eprintln!("syncd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows why what was typed can't be run, or the help that was asked for. The message may quote a secret that
/// stood in the wrong place; it is hidden.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let plain = error.render().to_string();
    let hidden = hide_secrets(&plain);
    if hidden == plain {
        let _ = error.print();
    } else {
        eprint!("{hidden}");
    }
    USAGE.into()
}

fn begin(args: Run) -> Result<(), Failure> {
    let options = args.options();
    let secret = match args.secret {
        Some(given) => {
            let text = read_secret(given).map_err(|e| Failure::Failed(e.into()))?;
            Some(Secret::parse(&text).map_err(|e| Failure::Usage(e.into()))?)
        }
        None => None,
    };
    let Run { home, folder, .. } = args;
    let start = Start {
        home,
        options,
        folder,
        secret,
        foreground: true,
    };
    run(start, CancellationToken::new(), None).map_err(|e| Failure::Failed(e.into()))
}

/// Reads the secret: asked for on a terminal, else the first line of standard input.
fn read_secret(given: String) -> io::Result<Zeroizing<String>> {
    if given != "-" {
        eprintln!(
            "syncd: a secret in a command line can be seen by others on this machine; use `--secret -`"
        );
        return Ok(Zeroizing::new(given));
    }
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Secret of the folder: ").map(Zeroizing::new);
    }
    let mut line = Zeroizing::new(String::new());
    BufReader::new(io::stdin().lock().take(MAX_INPUT)).read_line(&mut line)?;
    Ok(line)
}
