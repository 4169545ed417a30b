//! `folder add`.

use std::path::Path;

use sync_core::control::{AddFolder, AddedFolder, SecretText};

use super::super::{Command, Ended};
use crate::{
    Exit, Failure, Out,
    client::{Client, absolute},
    input,
    text::{self, safe},
};

/// Add a folder, and make its directory if it isn't there; without a secret, a new one is made and printed on the
/// first line
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  syncctl folder add ~/Sync\n  syncctl folder add ~/Sync --secret - < secret.txt"
)]
pub(crate) struct Args {
    /// The directory
    #[arg(value_name = "DIR")]
    dir: String,
    /// The folder's secret; `-` reads it from standard input, or asks for it on a terminal
    #[arg(long, value_name = "-", hide_default_value = true)]
    secret: Option<String>,
    /// What to call it here [default: the directory's name]
    #[arg(long)]
    name: Option<String>,
    /// The address of a member; may be given several times
    #[arg(long = "known-host", value_name = "HOST:PORT")]
    known_hosts: Vec<String>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        // A daemon that isn't there is said before a secret is asked for.
        client.connect().await?;
        let secret = match &self.secret {
            Some(argument) => Some(SecretText::new(input::secret(argument, out)?.reveal())),
            None => None,
        };
        let path = absolute(&self.dir)?;
        if !Path::new(&path).exists() {
            let question = format!("{} isn't there; make it?", safe(&path));
            if !out.ask(&question, true)? {
                return Err(Failure::failed("nothing was added", None));
            }
        }
        let request = AddFolder {
            path,
            make: true,
            secret,
            name: self.name,
            known_hosts: self.known_hosts,
        };
        let answer = client.post("/folders", &request).await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let AddedFolder { folder, secret } = client.read(answer)?;
        if let Some(secret) = &secret {
            out.line(secret.reveal())?;
        }
        let name = safe(&folder.name);
        out.line(&format!(
            "{name} was added: {} ({})",
            safe(&folder.path),
            folder.level
        ))?;
        if secret.is_some() && out.stdout_terminal {
            let home = std::env::var("HOME").unwrap_or_default();
            let dir = directory_elsewhere(&folder.path, &home);
            out.note(&format!(
                "The first line is its secret. On the next machine run\n  syncd run --folder {dir} --secret -\n\
                 and give it there. `syncctl secret show {}` shows it again.",
                text::shell_word(&folder.name)
            ));
        }
        Ok(Exit::Done)
    }
}

/// A folder's root as a shell on another machine takes it: below the home there, if it is so here.
fn directory_elsewhere(path: &str, home: &str) -> String {
    let below = path
        .strip_prefix(home.trim_end_matches('/'))
        .filter(|_| !home.is_empty())
        .and_then(|rest| rest.strip_prefix('/'));
    match below {
        // In quotes a shell wouldn't take `~` for the home.
        Some("") => "~/".to_owned(),
        Some(rest) => format!("~/{}", text::shell_word(&safe(rest))),
        None => text::shell_word(&safe(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_the_next_machine_keeps_the_home_out_of_quotes() {
        let elsewhere = |path| directory_elsewhere(path, "/home/eve/");
        assert_eq!(elsewhere("/home/eve/Sync"), "~/Sync");
        assert_eq!(elsewhere("/home/eve/My Photos"), "~/'My Photos'");
        assert_eq!(elsewhere("/home/eve2/x"), "/home/eve2/x");
        assert_eq!(elsewhere("/mnt/big disk"), "'/mnt/big disk'");
        assert_eq!(directory_elsewhere("/x", ""), "/x");
    }
}
