//! What `status` says first: whether all is well, and if not, what is wrong and what helps.

use sync_core::control::{Folder, FolderState, Status};

use crate::text::{self, safe};

/// Something that wants a person's attention.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong.
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

/// Everything that is wrong, the worst first.
pub(super) fn wrong(status: &Status) -> Vec<Wrong> {
    let mut all: Vec<Wrong> = status.folders.iter().flat_map(of_folder).collect();
    for mechanism in &status.discovery {
        for trouble in &mechanism.trouble {
            all.push(Wrong {
                what: format!("{}: {}", safe(&mechanism.name), safe(&trouble.message)),
                remedy: trouble.hint.as_deref().map(safe),
            });
        }
    }
    all
}

fn of_folder(folder: &Folder) -> Vec<Wrong> {
    let name = safe(&folder.name);
    let word = text::shell_word(&name);
    let mut all = Vec::new();
    let why = || {
        folder
            .reason
            .as_deref()
            .map(|reason| format!(": {}", safe(reason)))
            .unwrap_or_default()
    };
    match folder.state {
        FolderState::Stopped => all.push(Wrong {
            what: format!("{name} is stopped{}", why()),
            remedy: folder.hint.as_deref().map(safe),
        }),
        FolderState::Held => all.push(Wrong {
            what: format!("deletions in {name} wait for an answer{}", why()),
            remedy: Some(format!(
                "`syncctl approve {word}` lets them go, `syncctl reject {word}` fetches the files back"
            )),
        }),
        _ => {}
    }
    if folder.errors > 0 {
        let items = text::many(folder.errors, "item", "items");
        let are = if folder.errors == 1 { "is" } else { "are" };
        all.push(Wrong {
            what: format!("{items} in {name} {are} stuck"),
            remedy: Some(format!("`syncctl errors {word}` says why")),
        });
    }
    if folder.local_edits > 0 {
        let files = text::many(folder.local_edits, "file", "files");
        all.push(Wrong {
            what: format!("{files} in {name} changed here, where they may only be read"),
            remedy: Some("change them on a device that may write".to_owned()),
        });
    }
    if folder.later > 0 {
        let changes = text::many(folder.later, "change", "changes");
        all.push(Wrong {
            what: format!("{changes} in {name} can't be read: a device runs a newer syncd"),
            remedy: Some(
                "install that version here too; the files concerned are left as they are until then"
                    .to_owned(),
            ),
        });
    }
    all
}

/// One line about the whole, for when nothing is wrong.
pub(super) fn well(status: &Status) -> String {
    let of = |state| status.folders.iter().filter(|f| f.state == state).count();
    let total = status.folders.len();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let folders = |n: usize| text::many(count(n), "folder", "folders");
    let busy = of(FolderState::Syncing) + of(FolderState::Scanning);
    if total == 0 {
        "no folders yet".to_owned()
    } else if busy > 0 {
        format!("{} of {} at work", count(busy), folders(total))
    } else if of(FolderState::InSync) == total {
        format!("all is in sync: {}", folders(total))
    } else if of(FolderState::NoPeers) > 0 {
        format!(
            "{} with nobody to compare with",
            folders(of(FolderState::NoPeers))
        )
    } else {
        format!(
            "{} of {} paused",
            count(of(FolderState::Paused)),
            folders(total)
        )
    }
}
