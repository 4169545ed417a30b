//! `status`: the whole picture on one screen.

use std::time::Duration;

use console::{Term, truncate_str};
use sync_core::control::Status;
use tokio::time::sleep;

use super::{Ended, folder, peers};
use crate::{
    Exit, Failure, Out,
    cli::StatusArgs,
    client::Client,
    table::Paint,
    text::{self, safe},
};

/// Home, and erase to the end of the screen (ECMA-48 CUP and ED).
const REDRAW: &str = "\x1b[H\x1b[J";

pub(crate) async fn run(client: &Client, args: &StatusArgs, out: &mut Out) -> Ended {
    loop {
        let answer = client.get("/status").await?;
        if out.json {
            out.json(&answer)?;
        } else {
            let status: Status = client.read(answer)?;
            let text = if out.stdout_terminal {
                for_person(&status, out)
            } else {
                for_script(&status)
            };
            draw(&text, args.watch, out)?;
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn draw(text: &str, watch: bool, out: &mut Out) -> Result<(), Failure> {
    if !(watch && out.stdout_terminal) {
        return out.raw(text.as_bytes());
    }
    // More lines than the screen has would scroll the first ones away each second, and a line that is
    // wrapped counts twice.
    let (height, width) = Term::stdout().size();
    let fit = usize::from(height).max(4) - 2;
    let lines: Vec<_> = text
        .lines()
        .map(|line| truncate_str(line, width.into(), "…"))
        .collect();
    let mut screen = format!("{REDRAW}{}", lines[..lines.len().min(fit)].join("\r\n"));
    if lines.len() > fit {
        screen.push_str(&format!("\r\n… {} more lines", lines.len() - fit));
    }
    screen.push_str("\r\n");
    out.raw(screen.as_bytes())
}

fn for_person(status: &Status, out: &Out) -> String {
    let device = &status.device;
    let mut text = format!(
        "{} ({}), syncd {}, up {}\n",
        out.paint(Paint::Strong, &safe(&device.name)),
        safe(&device.id),
        safe(&status.version),
        text::duration(status.uptime_s)
    );
    let mut line = |key: &str, value: &str| text.push_str(&format!("  {key:<13}{value}\n"));
    let join = |list: &[String]| {
        list.iter()
            .map(|text| safe(text))
            .collect::<Vec<_>>()
            .join(", ")
    };
    line(
        "listening on",
        &if status.listen.is_empty() {
            "nothing".into()
        } else {
            join(&status.listen)
        },
    );
    if !status.external.is_empty() {
        line("reachable at", &join(&status.external));
    }
    if let Some(nat) = &status.nat {
        line("NAT", &safe(nat));
    }
    let found: Vec<String> = status
        .discovery
        .iter()
        .map(|way| match (&way.detail, way.on) {
            (Some(detail), true) => format!("{} ({})", safe(&way.name), safe(detail)),
            (None, true) => safe(&way.name),
            (_, false) => out.paint(Paint::Faint, &format!("{} (off)", safe(&way.name))),
        })
        .collect();
    line(
        "found by",
        &if found.is_empty() {
            "nothing".into()
        } else {
            found.join(", ")
        },
    );
    let rates = &status.rates;
    line(
        "rates",
        &format!(
            "up {}, down {}",
            text::rate(rates.up),
            text::rate(rates.down)
        ),
    );
    text.push('\n');
    if status.folders.is_empty() {
        text.push_str(folder::NO_FOLDERS);
        text.push('\n');
        return text;
    }
    text.push_str(&folder::table(&status.folders).aligned(out.color()));
    for folder in &status.folders {
        if let Some(reason) = &folder.reason {
            let name = out.paint(Paint::Bad, &safe(&folder.name));
            text.push_str(&format!("\n{name}: {}", safe(reason)));
            if let Some(hint) = &folder.hint {
                text.push_str(&format!("\n  {}", safe(hint)));
            }
            text.push('\n');
        }
    }
    text.push('\n');
    let peers = peers::table(&status.folders);
    if peers.is_empty() {
        text.push_str("nobody is connected\n");
    } else {
        text.push_str(&peers.aligned(out.color()));
    }
    text
}

/// Lines that each begin with a word saying what they are about.
fn for_script(status: &Status) -> String {
    let mut text = format!("version\t{}\n", safe(&status.version));
    text.push_str(&format!(
        "device\t{}\t{}\n",
        safe(&status.device.id),
        safe(&status.device.name)
    ));
    text.push_str(&format!("uptime\t{}\n", status.uptime_s));
    let ways = status
        .discovery
        .iter()
        .filter(|way| way.on)
        .map(|way| &way.name);
    for (word, list) in [
        ("listen", status.listen.iter().collect::<Vec<_>>()),
        ("external", status.external.iter().collect()),
        ("nat", status.nat.iter().collect()),
        ("found-by", ways.collect()),
    ] {
        for item in list {
            text.push_str(&format!("{word}\t{}\n", safe(item)));
        }
    }
    text.push_str(&format!(
        "rates\t{}\t{}\n",
        status.rates.up, status.rates.down
    ));
    text.push_str(&folder::table(&status.folders).plain(Some("folder")));
    for folder in &status.folders {
        if let Some(reason) = &folder.reason {
            text.push_str(&format!("why\t{}\t{}\n", safe(&folder.name), safe(reason)));
        }
    }
    text.push_str(&peers::table(&status.folders).plain(Some("peer")));
    text
}
