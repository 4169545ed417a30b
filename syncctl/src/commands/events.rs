//! `events`: what happens, one JSON object a line.

use super::{Command, Ended};
use crate::{Exit, Failure, Out, client::Client};

/// Follow what happens, one JSON object a line
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl events --since 0")]
pub(crate) struct Args {
    /// Begin after this event; 0 begins with the oldest that is kept [default: with the next to happen]
    #[arg(long, value_name = "N")]
    since: Option<u64>,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let mut events = client.events(self.since).await?;
        let mut stopping = false;
        loop {
            match events.next().await {
                Ok(Some(event)) => {
                    // Folders that close tell of it after the daemon said that it stops.
                    stopping |= event.get("type").is_some_and(|kind| kind == "stopping");
                    out.line(&event.to_string())?;
                }
                Ok(None) if stopping => return Ok(Exit::Done),
                Ok(None) => {
                    return Err(Failure::failed(
                        "the daemon ended the stream of events",
                        None,
                    ));
                }
                Err(reason) => {
                    return Err(Failure::failed(
                        format!("the stream of events broke off: {reason}"),
                        None,
                    ));
                }
            }
        }
    }
}
