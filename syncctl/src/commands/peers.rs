//! `peers`: who is connected, and how.

use serde_json::Value;
use sync_core::control::{Folder, Peer};

use super::{Command, Ended};
use crate::{
    Exit, Out,
    client::Client,
    table::{Cell, Table},
    text,
};

/// Show the connected peers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl peers Sync")]
pub(crate) struct Args {
    /// Its name or path [default: every folder]
    folder: Option<String>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let folders: Vec<Value> = match &self.folder {
            Some(folder) => vec![client.get(&client.folder(folder).await?).await?],
            None => client.read(client.get("/folders").await?)?,
        };
        if out.json {
            let mut all = Vec::new();
            for folder in folders {
                for mut peer in folder["peers"].as_array().cloned().unwrap_or_default() {
                    peer["folder"] = folder["name"].clone();
                    all.push(peer);
                }
            }
            out.json(&all)?;
            return Ok(Exit::Done);
        }
        let folders = folders
            .into_iter()
            .map(|folder| client.read(folder))
            .collect::<Result<Vec<Folder>, _>>()?;
        out.table(
            &table(&folders),
            "nobody is connected; `syncctl discover FOLDER` shows who was looked for",
        )?;
        Ok(Exit::Done)
    }
}

/// The peers of some folders.
pub(crate) fn table(folders: &[Folder]) -> Table {
    let mut table = Table::new(&[
        "FOLDER", "PEER", "DEVICE", "ADDRESS", "VIA", "FOUND BY", "LEVEL", "UP", "DOWN", "RTT",
        "IN SYNC",
    ])
    .spare(&["DEVICE", "LEVEL", "RTT", "FOUND BY", "VIA"])
    .wrap(&["FOLDER", "PEER"]);
    for folder in folders {
        for peer in &folder.peers {
            table.row(row(&folder.name, peer));
        }
    }
    table
}

fn row(folder: &str, peer: &Peer) -> Vec<Cell> {
    let rtt = peer
        .rtt_ms
        .map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.1}"));
    let shown_rtt = if peer.rtt_ms.is_some() {
        format!("{rtt} ms")
    } else {
        rtt.clone()
    };
    vec![
        Cell::text(folder),
        Cell::text(if peer.name.is_empty() {
            "-"
        } else {
            &peer.name
        }),
        // The whole identifier is for scripts; its beginning is enough to tell devices apart.
        Cell::text(&peer.device)
            .shown(text::safe(&peer.device.chars().take(8).collect::<String>())),
        Cell::text(&peer.address),
        Cell::text(&format!("{} {}", peer.path, peer.transport)),
        Cell::text(peer.found_by.as_str()),
        Cell::text(peer.level.as_str()),
        Cell::rate(peer.rates.up),
        Cell::rate(peer.rates.down),
        Cell::text(&rtt).shown(shown_rtt).right(),
        Cell::yes(peer.in_sync),
    ]
}
