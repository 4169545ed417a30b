//! `completions`: what a shell needs to complete a command line.

use clap_complete::Shell;

use super::Ended;
use crate::{Exit, Out, cli};

pub(crate) fn run(shell: Shell, out: &mut Out) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "syncctl", &mut script);
    out.raw(&script)?;
    Ok(Exit::Done)
}
