//! A run of the daemon, from the home's lock to the last flush.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use actix::{Actor, System};
use serde_json::json;
use sync_core::{
    control::{
        AddedFolder, ApiError, ErrorKind, EventType, Folder, FolderRef, SecretText, check_name,
    },
    keys::FolderKeys,
    options::Values,
    secret::Secret,
};
use sync_net::{stream::Clock, tcp::BindError};
use sync_store::identity::{DeviceIdentity, IdentityError};
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::{self, ConfigError, Settings},
    control::{Control, ControlError, ControlSocket, NewFolder},
    control_impl::DaemonControl,
    daemon::{Daemon, LoadError},
    home::{Home, HomeError},
    lock::{Lock, LockError},
    log, mechanisms, parts, say, shutdown,
    supervise::{Board, Root, Settled},
    wiring::{self, Wires, unix_ns},
};

/// What a run starts with.
#[derive(Debug, Default)]
pub struct Start {
    /// The home, if it isn't the usual one.
    pub home: Option<PathBuf>,
    /// What the command line says.
    pub options: Values,
    /// A folder to add if it is new.
    pub folder: Option<PathBuf>,
    /// The secret of that folder.
    pub secret: Option<Secret>,
    /// Whether this process is the daemon: it logs, listens for signals and says what it does.
    pub foreground: bool,
}

/// A daemon that is up.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The TCP port that it listens on.
    pub port: u16,
    /// Its control socket.
    pub socket: PathBuf,
}

/// Why the daemon can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The lock on its home.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its folders.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its port.
    #[error("{0}; {hint}", hint = bind_hint(.0))]
    Bind(#[from] BindError),
    /// Its control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The folder of the command line.
    #[error("{0}")]
    Folder(#[from] ApiError),
    /// Both an address and interfaces to listen on.
    #[error("an address in --listen and --bind exclude each other; give one of them")]
    TwoPlaces,
    /// The system.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn bind_hint(error: &BindError) -> &'static str {
    match error {
        BindError::InUse(_) => {
            "stop the other program, or use another port with --listen (0 takes any free one)"
        }
        BindError::Permission(_) => "use a port above 1023 with --listen",
        BindError::NotOurs(_) | BindError::NoInterface(_) => {
            "`ip address` shows what this machine has"
        }
        _ => "--listen and --bind choose another place",
    }
}

/// Runs a daemon until `stop` is cancelled, or until a signal or the control API asks for it. Blocks; each
/// daemon of a process needs a thread of its own. `ready` hears when it is up.
///
/// # Errors
///
/// When it can't start. Once it is up, nothing but a stop ends it.
pub fn run(
    start: Start,
    stop: CancellationToken,
    ready: Option<oneshot::Sender<Ready>>,
) -> Result<(), RunError> {
    run_and(start, stop, ready, |result| result)
}

/// Like [`run`]; `ended` is called when all parts have stopped in order and nothing is left but to end the
/// threads, one of which may be waiting for a name server.
pub(crate) fn run_and(
    start: Start,
    stop: CancellationToken,
    ready: Option<oneshot::Sender<Ready>>,
    ended: impl FnOnce(Result<(), RunError>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let home = Home::open(&Home::locate(start.home.as_deref())?)?;
    let lock = Lock::take(&home.lock())?;
    let settings = Settings::new(start.options.clone(), config::read(&home.config())?);
    if settings.listen().addr.is_some() && !settings.bind().is_empty() {
        return Err(RunError::TwoPlaces);
    }
    // Sessions are driven on these threads; the actors' own thread is the one that blocks here.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(32)
        .thread_name("syncd-net")
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            doing: "starting threads",
            source,
        })?;
    let system = System::with_tokio_rt(|| runtime);
    let result = ended(system.block_on(serve(start, home, settings, stop, ready)));
    System::current().stop();
    // Ends the threads of the folders.
    let _ = system.run();
    drop(lock);
    result
}

async fn serve(
    start: Start,
    home: Home,
    settings: Settings,
    stop: CancellationToken,
    ready: Option<oneshot::Sender<Ready>>,
) -> Result<(), RunError> {
    let log = if start.foreground {
        log::start(&settings)
    } else {
        Default::default()
    };
    let device = DeviceIdentity::load_or_create(&home.identity(), unix_ns())?;
    let sockets = parts::open_port(&settings, settings.listen().port)?;
    let control_socket = ControlSocket::bind(&home.socket()).await?;
    let no_random = |e: getrandom::Error| RunError::System {
        doing: "drawing a random number",
        source: std::io::Error::other(e),
    };
    let boot_nonce = getrandom::u64().map_err(no_random)?;
    let board = Board::default();
    let root = Root::new(board.clone()).start();
    let secret = zeroize::Zeroizing::new(*device.secret());
    let wires = Wires::new(
        home,
        root,
        board,
        log,
        Clock::start(),
        boot_nonce,
        secret,
        settings,
    );
    let wires = Arc::new(wires.map_err(|source| RunError::System {
        doing: "starting threads",
        source,
    })?);
    let port = sockets
        .first()
        .and_then(|s| s.local_addr().ok())
        .map_or(0, |addr| addr.port());
    wires.port.store(port, Ordering::Relaxed);
    let daemon = Daemon::load(Arc::clone(&wires), start.options)?;
    let daemon = Arc::new(Mutex::new(daemon));
    let api = DaemonControl {
        wires: Arc::clone(&wires),
        daemon: Arc::clone(&daemon),
        stop: stop.clone(),
    };

    let root = &wires.root;
    wiring::add(root, parts::peers(&wires));
    wiring::add(root, parts::listener(&wires, Some(sockets)));
    mechanisms::start(&wires);
    daemon.lock().await.start_folders();
    if start.foreground {
        shutdown::watch_signals(stop.clone(), daemon).map_err(|source| RunError::System {
            doing: "listening for signals",
            source,
        })?;
    }
    info!(version = env!("CARGO_PKG_VERSION"), device = %wires.device_id(), port, home = %wires.home.path().display(), "running");
    wires.events.push(
        EventType::Started,
        None,
        json!({ "version": env!("CARGO_PKG_VERSION") }),
    );

    // The mechanisms are up: they can be told of a new folder, and the line about how to be found knows them.
    let _ = wires.root.send(Settled).await;
    let begun = match start.folder {
        Some(path) => begin_folder(&api, path, start.secret).await.map(Some),
        None => Ok(None),
    };
    if let Ok(folder) = &begun {
        // Clients that came earlier wait in the socket's queue: whoever gets an answer finds the folder.
        let control: Arc<dyn Control> = Arc::new(api.clone());
        let serving = CancellationToken::new();
        wiring::add(
            root,
            parts::control(&wires, control_socket, control, serving),
        );
        let _ = wires.root.send(Settled).await;
        if let Some(Begun { folder, secret }) = folder
            && start.foreground
        {
            let found = say::how_found(&wires, folder).await;
            // A closed standard output is no reason not to sync.
            let _ = say::print(folder, secret.as_ref(), &found);
        }
        if let Some(ready) = ready {
            // Whoever waited may have gone.
            let _ = ready.send(Ready {
                port,
                socket: wires.home.socket(),
            });
        }
        stop.cancelled().await;
    }
    shutdown::stop_all(&wires).await;
    begun.map(drop)
}

/// The folder of the command line, as it is told to the person.
struct Begun {
    folder: Folder,
    /// Its secret, unless the person gave it.
    secret: Option<SecretText>,
}

/// Adds the folder of the command line if it is new.
async fn begin_folder(
    api: &DaemonControl,
    path: PathBuf,
    secret: Option<Secret>,
) -> Result<Begun, RunError> {
    let path = std::path::absolute(&path).map_err(|source| RunError::System {
        doing: "finding the folder's directory",
        source,
    })?;
    let given = secret.is_some();
    let known = api
        .wires
        .find(&FolderRef::Path(path.to_string_lossy().into_owned()))
        .ok();
    let (folder, made) = match known {
        Some((_, entry)) => {
            let other = secret.is_some_and(|s| {
                FolderKeys::derive(&s).folder_id() != entry.member.keys().folder_id()
            });
            if other {
                return Err(ApiError::new(
                    ErrorKind::Conflict,
                    format!(
                        "{} is the folder `{}` already, with another secret",
                        path.display(),
                        entry.name
                    ),
                )
                .with_hint(
                    "leave --secret out, choose another directory, or remove that folder first",
                )
                .into());
            }
            let name = FolderRef::Name(entry.name);
            let folder = api.folder(name.clone()).await?;
            let shown = api.secret(name, None).await?;
            (folder, Some(shown.secret))
        }
        None => {
            let last = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            check_name(&last)?;
            let new = NewFolder {
                path,
                make: true,
                secret,
                name: None,
                options: Values::default(),
            };
            let AddedFolder { folder, secret } = api.add_folder(new).await?;
            (folder, secret)
        }
    };
    Ok(Begun {
        folder,
        secret: made.filter(|_| !given),
    })
}
