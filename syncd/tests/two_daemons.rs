//! Two daemons of one process, each on a home and a runtime of its own, on the loopback interface.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use sync_core::{options::Values, secret::Secret};
use sync_discovery::{known_hosts::KNOWN_HOST, lan::LAN};
use syncd::{
    options::{DeviceName, LISTEN, Listen, NAME},
    run::{Ready, RunError, Start, run},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// No step takes so long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn on_loopback(port: u16) -> Values {
    let addr = Some([127, 0, 0, 1].into());
    Values::default()
        .with(&LISTEN, Listen { addr, port })
        .with(&LAN, false)
}

struct Daemon {
    ready: Ready,
    stop: CancellationToken,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Daemon {
    fn start(home: &Path, folder: &Path, secret: &Secret, known_hosts: Vec<String>) -> Self {
        let name = home.file_name().unwrap().to_string_lossy().into_owned();
        let hosts = known_hosts.iter().map(|host| host.parse().unwrap());
        let options = on_loopback(0)
            .with(&NAME, DeviceName(name))
            .with(&KNOWN_HOST, hosts.collect());
        let start = Start {
            home: Some(home.to_owned()),
            options,
            folder: Some(folder.to_owned()),
            secret: Some(secret.clone()),
            foreground: false,
        };
        let stop = CancellationToken::new();
        let (up, ready) = oneshot::channel();
        let token = stop.clone();
        let thread = std::thread::spawn(move || run(start, token, Some(up)));
        let Ok(ready) = ready.blocking_recv() else {
            panic!("the daemon didn't start: {:?}", thread.join());
        };
        Self {
            ready,
            stop,
            thread,
        }
    }

    fn end(self) {
        let began = Instant::now();
        self.stop.cancel();
        self.thread.join().unwrap().unwrap();
        assert!(began.elapsed() < PATIENCE);
        assert!(!self.ready.socket.exists());
    }
}

/// Waits until `done` is true.
fn wait(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn holds(path: PathBuf, bytes: &[u8]) -> bool {
    fs::read(path).is_ok_and(|found| found == bytes)
}

#[test]
fn a_tree_becomes_the_same_on_both_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (a, b) = (at("a"), at("b"));
    fs::create_dir_all(a.join("sub/empty")).unwrap();
    let large: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes())
        .collect();
    fs::write(a.join("large"), &large).unwrap();
    fs::write(a.join("sub/odd \n name"), b"small").unwrap();
    fs::set_permissions(a.join("sub/odd \n name"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere", a.join("link")).unwrap();
    let secret = Secret::generate([5; 21]);

    let one = Daemon::start(&at("home-a"), &a, &secret, Vec::new());
    let host = format!("127.0.0.1:{}", one.ready.port);
    let two = Daemon::start(&at("home-b"), &b, &secret, vec![host]);
    wait("the large file", || holds(b.join("large"), &large));
    wait("the small file", || {
        holds(b.join("sub/odd \n name"), b"small")
    });
    wait("the link", || {
        fs::read_link(b.join("link")).is_ok_and(|to| to == Path::new("nowhere"))
    });
    wait("the empty directory", || b.join("sub/empty").is_dir());
    let mode = fs::metadata(b.join("sub/odd \n name"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o100, 0o100);
    let mtime = |dir: &Path| fs::metadata(dir.join("large")).unwrap().modified().unwrap();
    assert_eq!(mtime(&a), mtime(&b));

    // Changes go both ways.
    fs::write(b.join("from b"), b"hello").unwrap();
    wait("a file of the other side", || {
        holds(a.join("from b"), b"hello")
    });
    fs::write(a.join("from b"), b"hello again").unwrap();
    wait("an edit", || holds(b.join("from b"), b"hello again"));
    fs::remove_file(b.join("link")).unwrap();
    wait("a deletion", || {
        fs::symlink_metadata(a.join("link")).is_err()
    });

    // What happens while one is away is caught up with.
    two.end();
    fs::write(a.join("while away"), b"news").unwrap();
    let host = format!("127.0.0.1:{}", one.ready.port);
    let two = Daemon::start(&at("home-b"), &b, &secret, vec![host]);
    wait("what was missed", || holds(b.join("while away"), b"news"));
    two.end();
    one.end();
}

#[test]
fn what_is_in_the_way_of_a_start_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let secret = Secret::generate([6; 21]);
    let one = Daemon::start(&at("home"), &at("folder"), &secret, Vec::new());
    let again = |home: PathBuf, folder: Option<PathBuf>, port: u16| {
        let start = Start {
            home: Some(home),
            options: on_loopback(port),
            folder,
            ..Start::default()
        };
        run(start, CancellationToken::new(), None)
            .unwrap_err()
            .to_string()
    };
    assert!(again(at("home"), None, 0).contains("another syncd"));
    let taken = again(at("home-2"), None, one.ready.port);
    assert!(
        taken.contains("is in use") && taken.contains("--listen"),
        "{taken}"
    );
    let around = again(at("home-3"), Some(dir.path().to_owned()), 0);
    assert!(
        around.contains("contains the daemon's own directory"),
        "{around}"
    );
    fs::write(
        at("home-2").join("config.toml"),
        "no-lan = true\nlisten = \"x\"\n",
    )
    .unwrap();
    let wrong = again(at("home-2"), None, 0);
    assert!(
        wrong.contains("config.toml:2:10: `x` is no value"),
        "{wrong}"
    );
    one.end();
}
