//! `events`: what happens, one JSON object a line.

use super::Ended;
use crate::{Exit, Failure, Out, client::Client};

pub(crate) async fn run(client: &Client, since: Option<u64>, out: &mut Out) -> Ended {
    let mut events = client.events(since).await?;
    let mut stopping = false;
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                stopping = event.get("type").is_some_and(|kind| kind == "stopping");
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
