//! `secret new`, `secret show` and `secret derive`. The secret is the first line of standard output, alone.

use sync_core::{
    control::{SecretShown, SecretText},
    secret::{Level, SECRET_BYTES, Secret},
};
use zeroize::Zeroizing;

use super::{Command, Ended};
use crate::{Exit, Failure, Out, client::Client, input};

/// Make, show and derive secrets
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl secret show Sync --read-only")]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Secrets,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        self.what.run(client, out).await
    }
}

super::commands! {
    /// What can be done with secrets.
    Secrets {
        New(New),
        Show(Show),
        Derive(Derive),
    }
}

/// Make a new read-write secret; needs no daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl secret new > secret.txt")]
pub(crate) struct New {}

impl Command for New {
    async fn run(self, _: &Client, out: &mut Out) -> Ended {
        let mut random = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut random[..]).map_err(|error| {
            Failure::failed(format!("the system gave no random bytes: {error}"), None)
        })?;
        show(&reveal(&Secret::generate(*random)), out)?;
        Ok(Exit::Done)
    }
}

/// Show a folder's secret
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl secret show Sync --read-only")]
pub(crate) struct Show {
    /// The folder's name or path
    folder: String,
    /// Show the secret that only allows to read
    #[arg(long)]
    read_only: bool,
}

impl Command for Show {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let path = client.folder(&self.folder).await?;
        let level = if self.read_only {
            "?level=read-only"
        } else {
            ""
        };
        let shown = client.read(client.get(&format!("{path}/secret{level}")).await?)?;
        show(&shown, out)?;
        Ok(Exit::Done)
    }
}

/// Make a weaker secret of a secret; needs no daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl secret derive - --read-only < secret.txt")]
pub(crate) struct Derive {
    /// The secret; `-` reads it from standard input, or asks for it on a terminal
    #[arg(value_name = "-")]
    secret: String,
    /// Make the secret that only allows to read
    #[arg(long, required = true)]
    read_only: bool,
}

impl Command for Derive {
    async fn run(self, _: &Client, out: &mut Out) -> Ended {
        let secret = input::secret(&self.secret, out)?;
        show(&reveal(&secret.to_read_only().into()), out)?;
        Ok(Exit::Done)
    }
}

fn reveal(secret: &Secret) -> SecretShown {
    SecretShown {
        secret: SecretText::new(secret.reveal()),
        level: secret.level(),
    }
}

/// Prints a secret, and for a person, beside it, what it is good for.
fn show(shown: &SecretShown, out: &mut Out) -> Result<(), Failure> {
    if out.json {
        return out.json(shown);
    }
    out.line(shown.secret.reveal())?;
    if out.stdout_terminal {
        out.note(match shown.level {
            Level::ReadWrite => "Whoever has this secret can read and change the folder.",
            Level::ReadOnly => {
                "Whoever has this secret can read the folder, and change nothing on others."
            }
            Level::Encrypted => "Whoever has this secret can store the folder without reading it.",
        });
    }
    Ok(())
}
