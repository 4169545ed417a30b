//! `folder …`: adds, lists, changes and removes folders.

use serde_json::{Value, json};
use sync_core::control::{AddFolder, AddedFolder, Folder, MoveFolder, RemovedFolder, SecretText};

use super::{Ended, peers, settings};
use crate::{
    Exit, Failure, Out,
    cli::{AddArgs, FolderCommand, SomeFolders},
    client::{Client, absolute, encode},
    input,
    table::{Cell, Paint, Table, state_paint},
    text::{self, safe},
};

pub(crate) async fn run(client: &Client, command: FolderCommand, out: &mut Out) -> Ended {
    match command {
        FolderCommand::Add(args) => add(client, args, out).await,
        FolderCommand::List => list(client, out).await,
        FolderCommand::Show(args) => show(client, &args.folder, out).await,
        FolderCommand::Remove(args) => remove(client, &args.folder, out).await,
        FolderCommand::Pause(args) => each(client, args, "pause", "paused", out).await,
        FolderCommand::Resume(args) => each(client, args, "resume", "resumed", out).await,
        FolderCommand::Rescan(args) => {
            act(
                client,
                &args.folder,
                "rescan",
                &json!({}),
                "the whole disk is looked at again",
                out,
            )
            .await
        }
        FolderCommand::Adopt(args) => {
            act(
                client,
                &args.folder,
                "adopt",
                &json!({}),
                "what is there now is taken as its root",
                out,
            )
            .await
        }
        FolderCommand::Move(args) => {
            let path = absolute(&args.dir)?;
            let done = format!("its root is {} now", safe(&path));
            act(
                client,
                &args.folder,
                "move",
                &MoveFolder { path },
                &done,
                out,
            )
            .await
        }
        FolderCommand::Set(args) => settings::run(client, args, out).await,
    }
}

async fn add(client: &Client, args: AddArgs, out: &mut Out) -> Ended {
    // A daemon that isn't there is said before a secret is asked for.
    client.connect().await?;
    let secret = match &args.secret {
        Some(argument) => Some(SecretText::new(input::secret(argument, out)?.reveal())),
        None => None,
    };
    let request = AddFolder {
        path: absolute(&args.dir)?,
        secret,
        name: args.name,
        known_hosts: args.known_hosts,
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

async fn list(client: &Client, out: &mut Out) -> Ended {
    let answer = client.get("/folders").await?;
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let folders: Vec<Folder> = client.read(answer)?;
    out.table(&table(&folders), NO_FOLDERS)?;
    Ok(Exit::Done)
}

/// What a person is told who has no folders.
pub(crate) const NO_FOLDERS: &str =
    "there are no folders yet; add one with `syncctl folder add DIR`";

/// Folders, a line each.
pub(crate) fn table(folders: &[Folder]) -> Table {
    let mut table = Table::new(&[
        "FOLDER", "STATE", "LEVEL", "FILES", "SIZE", "NEEDED", "PEERS", "ERRORS", "PATH",
    ]);
    for folder in folders {
        let needed = match (folder.need.is_nothing(), folder.need.bytes) {
            (true, _) => "-".to_owned(),
            (false, 0) => text::many(folder.need.files + folder.need.deletes, "change", "changes"),
            (false, bytes) => text::size(bytes),
        };
        let errors = Cell::count(folder.errors);
        table.row(vec![
            Cell::text(&folder.name),
            Cell::state(folder.state),
            Cell::text(folder.level.as_str()),
            Cell::count(folder.local.files),
            Cell::size(folder.local.bytes),
            Cell::size(folder.need.bytes).shown(needed),
            Cell::count(folder.connected.into()),
            if folder.errors > 0 {
                errors.paint(Paint::Bad)
            } else {
                errors
            },
            Cell::text(&folder.path),
        ]);
    }
    table
}

async fn show(client: &Client, folder: &str, out: &mut Out) -> Ended {
    let answer = client.get(&client.folder(folder).await?).await?;
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
            format!("\n{}", table.aligned(out.color()))
        } else {
            table.plain(Some("peer"))
        };
        out.raw(text.as_bytes())?;
    }
    Ok(Exit::Done)
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

/// What is still to be done, in words.
pub(crate) fn needed(folder: &Folder) -> String {
    let need = &folder.need;
    if need.is_nothing() {
        return "nothing".to_owned();
    }
    let mut parts = Vec::new();
    if need.files > 0 {
        parts.push(text::many(need.files, "file", "files"));
    }
    if need.bytes > 0 {
        parts.push(text::size(need.bytes));
    }
    if need.deletes > 0 {
        parts.push(text::many(need.deletes, "deletion", "deletions"));
    }
    parts.join(", ")
}

async fn remove(client: &Client, folder: &str, out: &mut Out) -> Ended {
    let answer = client.delete(&client.folder(folder).await?).await?;
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let removed: RemovedFolder = client.read(answer)?;
    let (name, path) = (safe(&removed.name), safe(&removed.path));
    out.line(&format!(
        "{name} was removed, with its secret; its files stay in {path}"
    ))?;
    Ok(Exit::Done)
}

pub(super) async fn act(
    client: &Client,
    folder: &str,
    verb: &str,
    body: &impl serde::Serialize,
    done: &str,
    out: &mut Out,
) -> Ended {
    let path = client.folder(folder).await?;
    let answer = client.post(&format!("{path}/{verb}"), body).await?;
    if out.json {
        out.json(&answer)?;
    } else {
        let folder: Folder = client.read(answer)?;
        out.line(&format!("{}: {done}", safe(&folder.name)))?;
    }
    Ok(Exit::Done)
}

/// Does one thing with a folder or with all of them. One that fails doesn't keep the others from it.
async fn each(client: &Client, args: SomeFolders, verb: &str, done: &str, out: &mut Out) -> Ended {
    let Some(folder) = &args.folder else {
        let folders: Vec<Folder> = client.read(client.get("/folders").await?)?;
        let mut answers: Vec<Value> = Vec::new();
        let mut last: Option<Failure> = None;
        for folder in &folders {
            let path = format!("/folders/{}/{verb}", encode(folder.name.as_bytes()));
            match client.post(&path, &json!({})).await {
                Ok(answer) if out.json => answers.push(answer),
                Ok(_) => out.line(&format!("{}: {done}", safe(&folder.name)))?,
                Err(failure) => {
                    out.failure(&failure);
                    last = Some(failure);
                }
            }
        }
        if out.json {
            out.json(&answers)?;
        } else if folders.is_empty() {
            out.note(NO_FOLDERS);
        }
        return Ok(last.map_or(Exit::Done, |failure| failure.exit()));
    };
    act(client, folder, verb, &json!({}), done, out).await
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
