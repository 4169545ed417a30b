//! `discover`: every address where a member may be.

use sync_core::control::{Candidate, CandidateState};

use super::{Command, Ended};
use crate::{
    Exit, Out,
    client::Client,
    paint::Paint,
    table::{Cell, Table},
};

/// Show every address where a member may be, who told it, and what became of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  syncctl discover Sync")]
pub(crate) struct Args {
    /// Its name or path
    folder: String,
}

impl Command for Args {
    async fn run(self, client: &Client, out: &mut Out) -> Ended {
        let path = client.folder(&self.folder).await?;
        let answer = client.get(&format!("{path}/discover")).await?;
        if out.json {
            out.json(&answer)?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&[
            "ADDRESS",
            "FOUND BY",
            "STATE",
            "LAST SEEN",
            "NEXT TRY",
            "LAST ERROR",
        ])
        .spare(&["LAST SEEN"])
        .wrap(&["ADDRESS", "LAST ERROR"]);
        for candidate in client.read::<Vec<Candidate>>(answer)? {
            let state = Cell::text(candidate.state.as_str()).paint(match candidate.state {
                CandidateState::Connected => Paint::Good,
                CandidateState::Failed | CandidateState::Refused => Paint::Bad,
                CandidateState::Dialling => Paint::Busy,
                _ => Paint::Faint,
            });
            let seen = Cell::seconds(candidate.last_seen_s, "-");
            let seen = match candidate.last_seen_s {
                Some(seconds) => seen.shown(format!("{} ago", crate::text::duration(seconds))),
                None => seen,
            };
            table.row(vec![
                Cell::text(&candidate.addr),
                Cell::text(candidate.source.as_str()),
                state,
                seen,
                Cell::seconds(candidate.next_try_s, "-"),
                Cell::text(candidate.last_error.as_deref().unwrap_or("-")),
            ]);
        }
        out.table(
            &table,
            "no address is known yet; give one with `syncctl folder set FOLDER known_hosts HOST:PORT`",
        )?;
        Ok(Exit::Done)
    }
}
