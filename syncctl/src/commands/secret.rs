//! `secret new`, `secret show` and `secret derive`. The secret is the first line of standard output, alone.

use sync_core::{
    control::{SecretShown, SecretText},
    secret::{Level, SECRET_BYTES, Secret},
};
use zeroize::Zeroizing;

use super::Ended;
use crate::{Exit, Failure, Out, cli::SecretCommand, client::Client, input};

pub(crate) async fn run(client: &Client, command: &SecretCommand, out: &mut Out) -> Ended {
    let shown = match command {
        SecretCommand::New => {
            let mut random = Zeroizing::new([0; SECRET_BYTES]);
            getrandom::fill(&mut random[..]).map_err(|error| {
                Failure::failed(format!("the system gave no random bytes: {error}"), None)
            })?;
            reveal(&Secret::generate(*random))
        }
        SecretCommand::Show(args) => {
            let path = client.folder(&args.folder).await?;
            let level = if args.read_only {
                "?level=read-only"
            } else {
                ""
            };
            client.read(client.get(&format!("{path}/secret{level}")).await?)?
        }
        SecretCommand::Derive(args) => {
            let secret = input::secret(&args.secret, out)?;
            reveal(&secret.to_read_only().into())
        }
    };
    show(&shown, out)?;
    Ok(Exit::Done)
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
