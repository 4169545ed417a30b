//! `file`: why a file is as it is.

use std::{ffi::OsString, path::Path};

use sync_core::control::{FileInfo, FileState, Folder};

use super::{Command, Ended};
use crate::{
    Exit, Failure, Out,
    client::{Client, encode},
    paint::Paint,
    text::{self, safe},
};

/// Show why a file is as it is: its version, who holds it, what it waits for
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl file Sync notes/today.txt")]
pub(crate) struct Args {
    /// The folder's name or path
    folder: String,
    /// The file's path in the folder
    path: OsString,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let folder = client.folder(&self.folder).await?;
        let mut path = Path::new(&self.path).to_path_buf();
        if path.is_absolute() {
            let root: Folder = client.read(client.get(&folder).await?)?;
            path = path
                .strip_prefix(&root.path)
                .map(Path::to_path_buf)
                .map_err(|_| {
                    Failure::usage(format!(
                        "{} isn't in the folder {}",
                        path.display(),
                        root.path
                    ))
                })?;
        }
        let bytes = path.as_os_str().as_encoded_bytes();
        let answer = client
            .get(&format!("{folder}/file?path={}", encode(bytes)))
            .await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let file: FileInfo = client.read(answer)?;
        for (key, value) in lines(&file, out) {
            out.line(&if out.stdout_terminal {
                format!("{:<10}{value}", out_key(key))
            } else {
                format!("{key}\t{value}")
            })?;
        }
        Ok(Exit::Done)
    }
}

fn out_key(key: &str) -> String {
    format!("{key} ")
}

fn lines(file: &FileInfo, out: &Out) -> Vec<(&'static str, String)> {
    let person = out.stdout_terminal;
    let size = |bytes: u64| {
        if person {
            text::size(bytes)
        } else {
            bytes.to_string()
        }
    };
    let paint = match file.state {
        FileState::InSync => Paint::Good,
        FileState::Stuck | FileState::Waiting | FileState::LocalEdit => Paint::Bad,
        FileState::Needed | FileState::Fetching | FileState::Changed => Paint::Busy,
        _ => Paint::Faint,
    };
    let mut lines = vec![
        ("file", safe(&file.path)),
        ("folder", safe(&file.folder)),
        ("state", out.paint(paint, file.state.as_str())),
    ];
    let mut add = |key, value: Option<String>| lines.extend(value.map(|value| (key, value)));
    add("why", file.reason.as_deref().map(safe));
    add("waits for", file.waits_for.as_deref().map(safe));
    add(
        "fetched",
        file.progress
            .map(|p| format!("{} of {}", size(p.done), size(p.total))),
    );
    add(
        "next try",
        file.next_try_s.map(|s| format!("in {}", text::duration(s))),
    );
    let executable = if file.executable == Some(true) {
        ", executable"
    } else {
        ""
    };
    add(
        "kind",
        file.kind
            .as_deref()
            .map(|kind| format!("{}{executable}", safe(kind))),
    );
    add("size", file.size.map(size));
    add("changed", file.mtime.as_deref().map(safe));
    add("by", file.author.as_deref().map(safe));
    add(
        "version",
        file.version.as_ref().map(|v| {
            let after: Vec<String> = v
                .vector
                .iter()
                .filter(|dot| dot.replica != v.replica)
                .map(|dot| format!("{}:{}", safe(&dot.replica), dot.counter))
                .collect();
            let own = format!("{}:{}", safe(&v.replica), v.counter);
            if after.is_empty() {
                own
            } else {
                format!("{own}, after {}", after.join(" "))
            }
        }),
    );
    add("content", file.root.as_deref().map(safe));
    if file.kind.is_some() {
        add(
            "held here",
            Some(if file.held { "yes" } else { "no" }.into()),
        );
        let holders: Vec<String> = file
            .holders
            .iter()
            .map(|holder| {
                let name = if holder.name.is_empty() {
                    &holder.device
                } else {
                    &holder.name
                };
                let away = if holder.connected {
                    ""
                } else {
                    " (not connected)"
                };
                format!("{}{away}", safe(name))
            })
            .collect();
        add(
            "held by",
            Some(if holders.is_empty() {
                "nobody known".into()
            } else {
                holders.join(", ")
            }),
        );
    }
    lines
}
