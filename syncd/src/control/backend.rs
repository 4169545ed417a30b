//! What the control server needs of the daemon.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use sync_core::{
    control::{
        AddFolder, AddedFolder, ApiError, Candidate, ErrorItem, FileInfo, Folder, FolderAction,
        FolderRef, RemovedFolder, SecretShown, Status, check_name,
    },
    options::Values,
    secret::{Level, Secret},
};
use sync_discovery::known_hosts::KNOWN_HOST;

use super::EventLog;

/// The longest path of a folder's root, in bytes: what Linux takes.
const MAX_PATH: usize = 4095;

/// An answer that comes later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send + 'a>>;

/// What the daemon must be able to do for its control API.
///
/// The server has checked the form of everything that it passes on; whether a folder exists and whether
/// a path can be used is for the implementation to say. A folder that isn't there is
/// [`ApiError::unknown_folder`].
pub trait Control: Send + Sync + 'static {
    /// The state of everything.
    fn status(&self) -> Answer<'_, Status>;

    /// The state of one folder.
    fn folder(&self, folder: FolderRef) -> Answer<'_, Folder>;

    /// Adds a folder. When the answer is there, the folder survives a restart.
    fn add_folder(&self, request: NewFolder) -> Answer<'_, AddedFolder>;

    /// Forgets a folder and its secret, and leaves its files alone.
    fn remove_folder(&self, folder: FolderRef) -> Answer<'_, RemovedFolder>;

    /// Does something with a folder and answers with how it stands afterwards. When the answer is there,
    /// what was asked survives a restart.
    fn act(&self, folder: FolderRef, action: FolderAction) -> Answer<'_, Folder>;

    /// Why the file at these path bytes is as it is. A path of which nothing is known isn't an error.
    fn file(&self, folder: FolderRef, path: Vec<u8>) -> Answer<'_, FileInfo>;

    /// Every address where a member may be.
    fn candidates(&self, folder: FolderRef) -> Answer<'_, Vec<Candidate>>;

    /// Every item that is stuck; at most some thousands, the ones to be tried next first.
    fn errors(&self, folder: FolderRef) -> Answer<'_, Vec<ErrorItem>>;

    /// The secret of a folder: of this level, or else the strongest that is held.
    fn secret(&self, folder: FolderRef, level: Option<Level>) -> Answer<'_, SecretShown>;

    /// Begins an orderly stop and answers without waiting for its end.
    fn shutdown(&self) -> Answer<'_, ()>;

    /// Where the events are.
    fn events(&self) -> Arc<EventLog>;
}

/// A request for a new folder whose form has been checked.
#[derive(Debug, Clone)]
pub struct NewFolder {
    /// Its root, absolute.
    pub path: PathBuf,
    /// Whether its root is made if it isn't there.
    pub make: bool,
    /// Its secret; without one, a new read-write secret is to be made.
    pub secret: Option<Secret>,
    /// Its name; without one, the last part of the path.
    pub name: Option<String>,
    /// What was chosen of the options that folders have.
    pub options: Values,
}

impl NewFolder {
    /// Checks the form of a request: an absolute path, a well-formed secret, a usable name and addresses.
    ///
    /// # Errors
    ///
    /// Says what is wrong, without quoting the secret.
    pub fn parse(request: AddFolder) -> Result<Self, ApiError> {
        let secret = request
            .secret
            .map(|text| Secret::parse(text.reveal()))
            .transpose()
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        if let Some(name) = &request.name {
            check_name(name)?;
        }
        let mut options = Values::default();
        if !request.known_hosts.is_empty() {
            let hosts = &KNOWN_HOST.declaration;
            let read = hosts.parse("known_hosts", &request.known_hosts.join(","));
            options.set(
                hosts,
                read.map_err(|error| ApiError::bad_request(error.to_string()))?,
            );
        }
        Ok(Self {
            path: absolute(&request.path)?,
            make: request.make,
            secret,
            name: request.name,
            options,
        })
    }
}

/// Takes a root's path if it is absolute and the system could open it.
pub(super) fn absolute(path: &str) -> Result<PathBuf, ApiError> {
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err(ApiError::bad_request(
            "the folder's path is too long or has a zero byte in it",
        ));
    }
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(ApiError::bad_request(format!(
            "`{}` isn't an absolute path",
            path.display()
        )))
    }
}
