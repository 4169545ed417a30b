//! What `approve` and `reject` have in common: they say what becomes of held deletions.

use serde_json::json;
use sync_core::control::Folder;

use super::Ended;
use crate::{Exit, Out, client::Client, text::safe};

pub(super) async fn run(client: &Client, folder: &str, approve: bool, out: &mut Out) -> Ended {
    let path = client.folder(folder).await?;
    let verb = if approve { "approve" } else { "reject" };
    let answer = client.post(&format!("{path}/{verb}"), &json!({})).await?;
    if out.json {
        out.json(&answer)?;
        return Ok(Exit::Done);
    }
    let folder: Folder = client.read(answer)?;
    let name = safe(&folder.name);
    out.line(&if approve {
        format!("{name}: the held deletions go on")
    } else {
        format!("{name}: the deleted files are fetched back")
    })?;
    Ok(Exit::Done)
}
