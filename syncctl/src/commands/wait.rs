//! `wait`: until a folder is in sync, with a progress bar meanwhile.

mod progress;

use std::time::Duration;

use sync_core::control::{Folder, FolderState};
use tokio::time::{Instant, sleep, timeout_at};

use self::progress::Progress;
use super::{Command, Ended, folder::needed};
use crate::{
    Exit, Failure, Out,
    client::Client,
    text::{self, safe},
};

/// How often the folder is looked at: at once for what takes a moment, calmer for what takes long.
const EAGER: Duration = Duration::from_millis(50);
const CALM: Duration = Duration::from_millis(250);
const EAGER_FOR: Duration = Duration::from_secs(5);
/// How long the first look may take, even if less time is given.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Wait until a folder is in sync
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl wait Sync --timeout 60 --peers 2")]
pub(crate) struct Args {
    /// The folder's name or path
    folder: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECS")]
    timeout: Option<u64>,
    /// Wait until so many connected peers are in sync too; with 0, no peer has to be there at all
    #[arg(long, value_name = "N")]
    peers: Option<u32>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let args = &self;
        let began = Instant::now();
        let deadline = args
            .timeout
            .and_then(|seconds| began.checked_add(Duration::from_secs(seconds)));
        let last_answer = deadline.map(|deadline| deadline.max(began + FIRST_LOOK));
        let path = within(last_answer, client.folder(&args.folder), args).await?;
        let mut progress = Progress::new(out.stderr_terminal);
        loop {
            let answer = match within(last_answer, client.get(&path), args).await {
                Ok(answer) => answer,
                Err(failure) => {
                    progress.clear();
                    return Err(failure);
                }
            };
            let folder: Folder = client.read(answer.clone())?;
            match look(&folder, args.peers) {
                Look::Done => {
                    progress.clear();
                    if out.json {
                        out.json(&answer)?;
                    } else {
                        out.line(&done(&folder))?;
                    }
                    if folder.errors > 0 {
                        out.warn(&stuck(&folder));
                    }
                    return Ok(Exit::Done);
                }
                Look::Hopeless(failure) => {
                    progress.clear();
                    return Err(failure);
                }
                Look::NotYet => {}
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                progress.clear();
                return Err(late(&folder, args));
            }
            if let Some(line) = progress.show(&folder, now) {
                out.note(&line);
            }
            let pause = if now - began < EAGER_FOR { EAGER } else { CALM };
            sleep(deadline.map_or(pause, |deadline| pause.min(deadline - now))).await;
        }
    }
}

/// An answer of the daemon, if it comes in time.
async fn within<T>(
    last: Option<Instant>,
    asking: impl Future<Output = Result<T, Failure>>,
    args: &Args,
) -> Result<T, Failure> {
    let Some(last) = last else {
        return asking.await;
    };
    timeout_at(last, asking).await.unwrap_or_else(|_| {
        let waited = text::duration(args.timeout.unwrap_or(0));
        Err(Failure::TimedOut {
            message: format!("after {waited} the daemon doesn't answer"),
            hint: Some("`syncctl status` shows whether it is up".to_owned()),
        })
    })
}

enum Look {
    Done,
    NotYet,
    Hopeless(Failure),
}

/// Whether the wait is over.
fn look(folder: &Folder, peers: Option<u32>) -> Look {
    let name = safe(&folder.name);
    let because = folder
        .reason
        .as_deref()
        .map(|reason| format!(": {}", safe(reason)))
        .unwrap_or_default();
    let word = text::shell_word(&name);
    match folder.state {
        FolderState::Stopped => Look::Hopeless(Failure::failed(
            format!("{name} is stopped{because}"),
            folder
                .hint
                .as_deref()
                .or(Some(&format!("`syncctl folder show {word}` says more"))),
        )),
        FolderState::Held => Look::Hopeless(Failure::failed(
            format!("deletions in {name} are held{because}"),
            Some(&format!(
                "let them go with `syncctl approve {word}`, or fetch the files back with `syncctl reject {word}`"
            )),
        )),
        FolderState::Paused => Look::Hopeless(Failure::failed(
            format!("{name} is paused"),
            Some(&format!("let it go on with `syncctl folder resume {word}`")),
        )),
        FolderState::Scanning | FolderState::Syncing => Look::NotYet,
        FolderState::NoPeers if peers == Some(0) => Look::Done,
        FolderState::NoPeers => Look::NotYet,
        FolderState::InSync if in_sync(folder) >= peers.unwrap_or(0) => Look::Done,
        FolderState::InSync => Look::NotYet,
    }
}

/// How many peers are in sync.
fn in_sync(folder: &Folder) -> u32 {
    folder
        .peers
        .iter()
        .fold(0, |sum, peer| sum + u32::from(peer.in_sync))
}

fn done(folder: &Folder) -> String {
    let with = match in_sync(folder) {
        0 => String::new(),
        peers => format!(" with {}", text::many(peers.into(), "peer", "peers")),
    };
    let name = safe(&folder.name);
    let files = text::many(folder.local.files, "file", "files");
    if folder.state == FolderState::NoPeers {
        return format!(
            "{name} needs nothing, and no peer is connected: {files}, {}",
            text::size(folder.local.bytes)
        );
    }
    format!(
        "{name} is in sync{with}: {files}, {}",
        text::size(folder.local.bytes)
    )
}

fn stuck(folder: &Folder) -> String {
    let (items, are) = (
        text::many(folder.errors, "item", "items"),
        if folder.errors == 1 { "is" } else { "are" },
    );
    let word = text::shell_word(&safe(&folder.name));
    format!("{items} {are} stuck; `syncctl errors {word}` says why")
}

fn late(folder: &Folder, args: &Args) -> Failure {
    let name = safe(&folder.name);
    let word = text::shell_word(&name);
    let (how, hint) = match folder.state {
        FolderState::NoPeers => (
            "needs nothing, but no peer is there to compare with".to_owned(),
            format!("`syncctl discover {word}` shows who was looked for"),
        ),
        FolderState::InSync => (
            format!(
                "is in sync with {}, not with {}",
                text::many(in_sync(folder).into(), "peer", "peers"),
                args.peers.unwrap_or(1)
            ),
            format!("`syncctl peers {word}` shows who is connected"),
        ),
        state => (
            format!("is {state}, it needs {}", needed(folder)),
            format!("`syncctl folder show {word}` and `syncctl errors {word}` say more"),
        ),
    };
    let waited = text::duration(args.timeout.unwrap_or(0));
    Failure::TimedOut {
        message: format!("after {waited} {name} {how}"),
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests;
