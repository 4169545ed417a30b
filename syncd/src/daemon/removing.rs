//! Taking a folder off the list. Its files and its archive stay.

use std::path::Path;

use serde_json::json;
use sync_core::control::{ApiError, EventType, FolderRef, RemovedFolder};
use sync_discovery::FolderTag;
use tracing::{info, warn};

use super::{Daemon, internal};
use crate::{
    asking::end_part,
    folder::open,
    folders::FolderEntry,
    parts,
    roster::RosterEntry,
    wiring::{self, hex, part},
};

impl Daemon {
    /// Forgets a folder, its index, its identity and its secret.
    pub(crate) async fn remove(&mut self, folder: &FolderRef) -> Result<RemovedFolder, ApiError> {
        if let Some(entry) = self.wires.find_secretless(folder) {
            return self.remove_secretless(entry);
        }
        let (tag, entry) = self.wires.find(folder)?;
        let id = hex(&tag.0);
        // Members are told that it is gone, so the roster comes first.
        self.wires.roster().remove(&tag);
        self.announce();
        if let Err(error) = end_part(&self.wires, part::folder(&tag)).await {
            self.put_back(tag, entry);
            return Err(error);
        }
        // Off the list next: after a crash half-way, what is left is of no harm.
        if let Err(error) = self.book.remove(&id) {
            self.put_back(tag, entry);
            wiring::add(&self.wires.root, parts::folder(&self.wires, tag));
            return Err(internal(error));
        }
        self.secrets.remove(&id).map_err(internal)?;
        open::forget(&self.wires.home, &id, true).map_err(internal)?;
        Ok(self.removed(entry.name, &entry.path))
    }

    /// Takes a folder without a secret off the list.
    fn remove_secretless(&mut self, entry: FolderEntry) -> Result<RemovedFolder, ApiError> {
        self.book.remove(&entry.id).map_err(internal)?;
        self.wires.secretless().retain(|e| e.id != entry.id);
        open::forget(&self.wires.home, &entry.id, true).map_err(internal)?;
        Ok(self.removed(entry.name, &entry.path))
    }

    fn put_back(&self, tag: FolderTag, entry: RosterEntry) {
        self.wires.roster().insert(tag, entry);
        self.announce();
    }

    /// Unmarks its directory and says that it is gone.
    fn removed(&self, name: String, path: &Path) -> RemovedFolder {
        if let Err(error) = open::unmark(path) {
            warn!(path = %path.display(), %error, "the mark .sync/id stays in the directory");
        }
        info!(folder = %name, "removed; its files stay");
        let path = path.to_string_lossy().into_owned();
        let data = json!({ "path": path });
        self.wires
            .events
            .push(EventType::FolderRemoved, Some(&name), data);
        RemovedFolder { name, path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::Policy,
        supervise::{ChildSpec, Reporter},
        wiring::tests,
    };
    use sync_core::{
        control::{ErrorKind, FolderAction},
        options::Values,
        secret::Level,
    };

    #[actix::test]
    async fn nothing_is_changed_of_a_folder_that_does_not_end() {
        let (dir, wires) = tests::wires();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let mut daemon = Daemon::load(std::sync::Arc::clone(&wires), Values::default()).unwrap();
        let (tag, entry) = tests::roster_folder(&wires, &root);
        let id = hex(&tag.0);
        let listed = FolderEntry::new(
            entry.name.clone(),
            root.clone(),
            id.clone(),
            Level::ReadWrite,
            entry.options.clone(),
        );
        daemon.book.put(listed.clone()).unwrap();
        let index = wires.home.index(&id);
        std::fs::create_dir(&index).unwrap();
        let (sender, mut reporters) = tokio::sync::mpsc::unbounded_channel::<Reporter>();
        let spec = ChildSpec {
            name: part::folder(&tag),
            policy: Policy::vital(),
            factory: Box::new(move |reporter| {
                sender.send(reporter).map_err(|e| e.to_string())?;
                Ok(Box::new(|| {}) as _)
            }),
        };
        wiring::add(&wires.root, spec);
        let busy = reporters.recv().await.unwrap();

        // What would be waited for is over at once.
        tokio::time::pause();
        let folder = FolderRef::Name("folder".into());
        let error = daemon.remove(&folder).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        for action in [
            FolderAction::Adopt,
            FolderAction::Move(root.to_string_lossy().into_owned()),
        ] {
            let error = daemon.act(&folder, action).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
        }
        assert_eq!(daemon.book.entries(), [listed]);
        assert!(wires.roster().contains_key(&tag) && index.is_dir());
        // It comes back once it has ended.
        drop(busy);
        drop(reporters.recv().await.unwrap());
    }
}
