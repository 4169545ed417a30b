//! `discover`: every address where a member may be.

use sync_core::control::{Candidate, CandidateState};

use super::Ended;
use crate::{
    Exit, Out,
    client::Client,
    table::{Cell, Paint, Table},
};

pub(crate) async fn run(client: &Client, folder: &str, out: &mut Out) -> Ended {
    let path = client.folder(folder).await?;
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
    ]);
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
