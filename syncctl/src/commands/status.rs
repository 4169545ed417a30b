//! `status`: the whole picture on one screen.

use std::time::Duration;

use console::{Term, truncate_str};
use sync_core::control::{FolderState, Status};
use tokio::time::sleep;

use super::{Command, Ended, folder, peers, verdict};
use crate::{
    Exit, Failure, Out,
    client::Client,
    paint::Paint,
    text::{self, safe},
};

/// Home, and erase to the end of the screen (ECMA-48 CUP and ED).
const REDRAW: &str = "\x1b[H\x1b[J";

/// Show this device, its folders and its peers
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl status --watch")]
pub(crate) struct Args {
    /// Show it again every second
    #[arg(long)]
    watch: bool,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
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
                draw(&text, self.watch, out)?;
            }
            if !self.watch {
                return Ok(Exit::Done);
            }
            sleep(Duration::from_secs(1)).await;
        }
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
    let wrong = verdict::wrong(status);
    if wrong.is_empty() {
        text.push_str(&format!(
            "  {}\n",
            out.paint(Paint::Good, &verdict::well(status))
        ));
    }
    for wrong in wrong {
        text.push_str(&format!("  {}\n", out.paint(Paint::Bad, &wrong.what)));
        if let Some(remedy) = wrong.remedy {
            text.push_str(&format!("    {}\n", out.pasteable(&remedy)));
        }
    }
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
    text.push_str(&folder::table(&status.folders).aligned(out.look()));
    for folder in &status.folders {
        let told = matches!(folder.state, FolderState::Stopped | FolderState::Held);
        if let Some(reason) = folder.reason.as_ref().filter(|_| !told) {
            text.push_str(&format!("\n{}: {}\n", safe(&folder.name), safe(reason)));
        }
    }
    text.push('\n');
    let peers = peers::table(&status.folders);
    if peers.is_empty() {
        text.push_str("nobody is connected\n");
    } else {
        text.push_str(&peers.aligned(out.look()));
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
    for mechanism in &status.discovery {
        for trouble in &mechanism.trouble {
            let (kind, message) = (safe(&trouble.kind), safe(&trouble.message));
            text.push_str(&format!(
                "trouble\t{}\t{kind}\t{message}\n",
                safe(&mechanism.name)
            ));
        }
    }
    text.push_str(&peers::table(&status.folders).plain(Some("peer")));
    text
}
