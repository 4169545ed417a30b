//! The program: reads the command line, and runs the daemon.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    process::ExitCode,
};

use crate::{
    args::{Cli, Command, Run},
    run::{RunError, Start, run_and},
};
use clap::Parser;
use sync_core::secret::{MAX_INPUT, Secret, hide_secrets};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// The exit codes.
const DONE: u8 = 0;
const FAILED: u8 = 1;
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
        Ok(()) => DONE.into(),
        Err(Failure::Usage(error)) => say(&*error, USAGE).into(),
        Err(Failure::Failed(error)) => say(&*error, FAILED).into(),
    }
}

/// Says why, and gives the code back.
fn say(error: &dyn Error, code: u8) -> u8 {
    eprintln!("syncd: {error}");
    code
}

/// Ends the process. All is stopped in order, and a thread that still waits for a name server would only
/// hold it up. The system lets go of the lock on the home.
fn leave(result: Result<(), RunError>) -> Result<(), RunError> {
    let code = match result {
        Ok(()) => DONE,
        Err(error) => say(&error, FAILED),
    };
    std::process::exit(code.into());
}

/// Shows why what was typed can't be run, or the help that was asked for. The message may quote a secret that
/// stood in the wrong place; it is hidden.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return DONE.into();
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
    let options = args.options.0.clone();
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
    run_and(start, CancellationToken::new(), None, leave).map_err(|e| Failure::Failed(e.into()))
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
