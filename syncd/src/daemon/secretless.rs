//! Folders on the list whose secret is gone from `secrets.toml`: they are shown as stopped, taken back when
//! their secret is given again, and can be taken off the list. Nothing else is done to them.

use std::path::Path;

use sync_core::{
    control::{ApiError, ErrorKind},
    keys::FolderKeys,
    secret::Secret,
};

use super::Daemon;
use crate::{
    folders::{self, FolderEntry},
    wiring::hex,
};

impl Daemon {
    /// The folders that a new one at this path must not overlap. One at the very same path that waits for its
    /// secret isn't in the way of getting it.
    pub(super) fn others(&self, path: &Path) -> Vec<&FolderEntry> {
        let path = folders::true_path(path);
        let secretless = self.wires.secretless();
        let waits = |e: &FolderEntry| e.path == path && secretless.iter().any(|s| s.id == e.id);
        self.book.entries().iter().filter(|e| !waits(e)).collect()
    }

    /// What lies at this path may be a folder that waits for its secret; then it takes that one only.
    pub(super) fn check_secretless(
        &self,
        path: &Path,
        secret: Option<&Secret>,
    ) -> Result<(), ApiError> {
        let id = secret.map(|s| hex(&FolderKeys::derive(s).folder_id().0));
        let secretless = self.wires.secretless();
        let conflict = |message: String, entry: &FolderEntry| {
            Err(ApiError::new(ErrorKind::Conflict, message).with_hint(folders::give_secret(entry)))
        };
        if let Some(entry) = secretless.iter().find(|e| e.path == path)
            && id.as_ref() != Some(&entry.id)
        {
            let which = match id {
                Some(_) => ", and the one that was given is another folder's",
                None => "",
            };
            let (name, shown) = (&entry.name, path.display());
            return conflict(
                format!(
                    "{shown} is the folder `{name}`, whose secret isn't in secrets.toml{which}"
                ),
                entry,
            );
        }
        if let Some(entry) = secretless.iter().find(|e| Some(&e.id) == id.as_ref())
            && entry.path != path
        {
            let (name, at) = (&entry.name, entry.path.display());
            return conflict(
                format!("this is the secret of the folder `{name}` at {at}"),
                entry,
            );
        }
        Ok(())
    }

    /// The entry of a folder that waits for this secret, as it was.
    pub(super) fn back_with_secret(&self, keys: &FolderKeys) -> Option<FolderEntry> {
        let id = hex(&keys.folder_id().0);
        let found = self.wires.secretless().iter().find(|e| e.id == id).cloned();
        found.map(|mut entry| {
            entry.level = keys.level();
            entry
        })
    }
}
