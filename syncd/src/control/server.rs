//! The socket: who may connect, and when the file comes and goes.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Control, router};

/// The longest path of a Unix socket, in bytes, without the zero at its end.
const MAX_SOCKET_PATH: usize = 107;

/// How long requests may go on after the shutdown began.
const DRAIN: Duration = Duration::from_secs(2);

/// Why there is no control API.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Somebody answers on the socket.
    #[error("another daemon answers on {}; stop it first, or use another --home", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has the socket's name.
    #[error("{} is there and isn't a socket; move it away", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system has a limit for the paths of sockets.
    #[error(
        "{} is too long for a socket's path, {MAX_SOCKET_PATH} bytes is the most; use a shorter --home",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The socket's file can't be made.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The listener failed for good.
    #[error("the control socket {} failed: {source}", path.display())]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The control API on a Unix socket, from the start of the daemon to its stop: binds the socket, and
/// serves until `shutdown` is cancelled.
///
/// # Errors
///
/// When the socket can't be had; see [`ControlError`].
pub async fn serve(
    socket: &Path,
    control: Arc<dyn Control>,
    shutdown: CancellationToken,
) -> Result<(), ControlError> {
    ControlSocket::bind(socket)
        .await?
        .serve(control, shutdown)
        .await
}

/// A bound control socket, for a daemon that wants to know early that it has it. The file goes when
/// this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

impl ControlSocket {
    /// Makes the socket, 0600. The file of a daemon that is gone is replaced; that of a living one isn't.
    ///
    /// Two daemons that bind at the same moment are kept apart by the lock on their home, not by this.
    ///
    /// # Errors
    ///
    /// When somebody listens there, something else has the name, or the file can't be made.
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let fail = |source| ControlError::Bind {
            path: path.to_owned(),
            source,
        };
        // Bound under another name, so that nobody sees the socket before its mode is right.
        let fresh = path.with_extension("new");
        if fresh.as_os_str().len() > MAX_SOCKET_PATH || path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(ControlError::PathTooLong {
                path: path.to_owned(),
            });
        }
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(ControlError::NotASocket {
                    path: path.to_owned(),
                });
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => {
                    return Err(ControlError::InUse {
                        path: path.to_owned(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(fail(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).map_err(fail)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).map_err(fail)?;
        fs::rename(&fresh, path).map_err(fail)?;
        let inode = fs::symlink_metadata(path).map_err(fail)?.ino();
        Ok(Self {
            listener,
            file: SocketFile {
                path: path.to_owned(),
                inode,
            },
        })
    }

    /// Serves until `shutdown` is cancelled, then lets the requests that run end, for two seconds at most.
    ///
    /// # Errors
    ///
    /// When the listener fails for good.
    pub async fn serve(
        self,
        control: Arc<dyn Control>,
        shutdown: CancellationToken,
    ) -> Result<(), ControlError> {
        let Self { listener, file } = self;
        let app = router(control, shutdown.clone());
        let listener = Guarded {
            listener,
            owner: rustix::process::geteuid().as_raw(),
        };
        let serving =
            axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let too_late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            done = serving => done.map_err(|source| ControlError::Serve { path: file.path.clone(), source }),
            () = too_late => {
                debug!("requests were still running when the control socket closed");
                Ok(())
            }
        }
    }
}

/// Removes the file when the socket is done with, unless another daemon's is in its place by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Lets only the daemon's own user and root in.
#[derive(Debug)]
struct Guarded {
    listener: UnixListener,
    owner: u32,
}

impl Listener for Guarded {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match stream.peer_cred() {
                    Ok(peer) if may_connect(peer.uid(), self.owner) => return (stream, address),
                    Ok(peer) => warn!(
                        uid = peer.uid(),
                        "another user was turned away from the control socket"
                    ),
                    Err(error) => {
                        warn!(%error, "a control connection without credentials was turned away")
                    }
                },
                Err(error) => {
                    // Mostly a lack of file descriptors, which passes; without a pause this would spin.
                    warn!(%error, "the control socket cannot take a connection");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Whether a process of user `peer` may talk to a daemon of user `owner`. Root can read the daemon's
/// files anyhow.
pub(super) const fn may_connect(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}
