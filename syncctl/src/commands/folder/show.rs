//! `folder show`: everything about a folder.

use sync_core::control::Folder;

use super::{
    super::{Command, Ended, peers},
    needed, settings,
};
use crate::{
    Exit, Out,
    client::Client,
    paint::{Paint, state_paint},
    text::{self, safe},
};

/// Show everything about a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl folder show Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let answer = client.get(&client.folder(&self.folder).await?).await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let folder: Folder = client.read(answer)?;
        let settings = settings::of(client, &folder).await?;
        let mut lines = lines(&folder, out);
        lines.extend(settings.iter().map(|setting| {
            let value = if out.stdout_terminal {
                setting.shown()
            } else {
                setting.plain()
            };
            (setting.key(), value)
        }));
        for (key, value) in lines {
            out.line(&if out.stdout_terminal {
                format!("{key:<14}{value}")
            } else {
                format!("{key}\t{value}")
            })?;
        }
        if !folder.peers.is_empty() {
            let table = peers::table(std::slice::from_ref(&folder));
            let text = if out.stdout_terminal {
                format!("\n{}", table.aligned(out.look()))
            } else {
                table.plain(Some("peer"))
            };
            out.raw(text.as_bytes())?;
        }
        Ok(Exit::Done)
    }
}

fn lines(folder: &Folder, out: &Out) -> Vec<(&'static str, String)> {
    let person = out.stdout_terminal;
    let counts = |c: sync_core::control::Counts| {
        format!(
            "{}, {}, {}",
            text::many(c.files, "file", "files"),
            text::many(c.dirs, "directory", "directories"),
            text::size(c.bytes)
        )
    };
    let mut lines = vec![
        ("folder", safe(&folder.name)),
        ("path", safe(&folder.path)),
        ("level", folder.level.to_string()),
        (
            "state",
            out.paint(state_paint(folder.state), folder.state.as_str()),
        ),
    ];
    lines.extend(folder.reason.as_deref().map(|reason| ("why", safe(reason))));
    lines.extend(folder.hint.as_deref().map(|hint| ("to do", safe(hint))));
    if let Some(scan) = folder.scan {
        let entries = text::many(scan.entries, "entry", "entries");
        lines.push(("scanned", format!("{entries}, {}", text::size(scan.bytes))));
    }
    lines.push(("here", counts(folder.local)));
    lines.push(("everywhere", counts(folder.global)));
    lines.push(("needed", needed(folder)));
    if let Some(held) = folder.held {
        let deletes = text::many(held.deletes, "deletion", "deletions");
        lines.push((
            "held",
            format!("{deletes} of {}", text::many(held.of, "file", "files")),
        ));
    }
    for (key, number) in [
        ("conflicts", folder.conflicts),
        ("errors", folder.errors),
        ("local edits", folder.local_edits),
        ("of a newer syncd", folder.later),
    ] {
        if number > 0 || !person {
            let number = text::count(number);
            lines.push((
                key,
                if person {
                    out.paint(Paint::Bad, &number)
                } else {
                    number
                },
            ));
        }
    }
    lines
}
