//! Real daemons on loopback: started, told and killed as a person would.
//!
//! A daemon keeps to the loopback interface and finds the others by known hosts, so tests can run side by side;
//! or it lives in a network namespace and may use all of the network there. Waiting is `syncctl wait`, or reading what a
//! process prints.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// Where the two programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The daemon.
    pub syncd: PathBuf,
    /// The command line.
    pub syncctl: PathBuf,
}

/// Where the two programs are, for the test that it stands in: only there does cargo say so.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::cluster::Programs {
            syncd: env!("CARGO_BIN_EXE_it-syncd").into(),
            syncctl: env!("CARGO_BIN_EXE_it-syncctl").into(),
        }
    };
}

/// A home of a daemon and a folder beside it, which outlive the process.
#[derive(Debug)]
pub struct Machine {
    programs: Programs,
    dir: tempfile::TempDir,
    namespace: Option<String>,
    child: Option<Child>,
}

impl Machine {
    /// A machine on which nothing runs yet.
    pub fn new(programs: &Programs) -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("folder"))?;
        Ok(Self {
            programs: programs.clone(),
            dir,
            namespace: None,
            child: None,
        })
    }

    /// A machine in the network namespace of this name, which is there already. Its daemon listens and
    /// announces as it would without any settings. Only root may start it.
    pub fn inside(programs: &Programs, namespace: &str) -> io::Result<Self> {
        let mut machine = Self::new(programs)?;
        machine.namespace = Some(namespace.to_owned());
        Ok(machine)
    }

    /// The daemon's home.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The directory that is synced.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("folder")
    }

    /// Starts the daemon; `secret` goes to its standard input if there is one.
    pub fn start(&mut self, secret: Option<&str>, more: &[&str]) -> io::Result<()> {
        let mut command = self.daemon();
        command.arg("--folder").arg(self.folder()).args(more);
        if secret.is_some() {
            command.args(["--secret", "-"]);
        }
        self.start_with(command, secret)
    }

    /// Starts the daemon by this command; `input` goes to its standard input if there is one.
    pub fn start_with(&mut self, mut command: Command, input: Option<&str>) -> io::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        if let (Some(input), Some(stdin)) = (input, child.stdin.as_mut()) {
            writeln!(stdin, "{input}")?;
        }
        drop(child.stdin.take());
        self.child = Some(child);
        self.wait_until_up()
    }

    /// The daemon's process id, if it was started.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The command that would start the daemon: bound to loopback, or free in its namespace.
    pub fn daemon(&self) -> Command {
        let mut command = if let Some(namespace) = &self.namespace {
            // `ip` becomes the daemon, so its process id is the daemon's.
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace]);
            command.arg(&self.programs.syncd).arg("run");
            command
        } else {
            let mut command = Command::new(&self.programs.syncd);
            command.args(["run", "--bind", "lo", "--no-lan", "--listen", "0"]);
            command
        };
        command.args(["--no-dht", "--no-upnp", "--home"]);
        command.arg(self.home());
        command
    }

    fn wait_until_up(&mut self) -> io::Result<()> {
        // A daemon that answers has taken the folder of its command line. Asking is cheap, and bounded.
        for _ in 0..600 {
            if self.ctl(&["status"])?.status.success() {
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                return Err(io::Error::other(format!(
                    "the daemon ended: {status}\n{}",
                    self.log()
                )));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Err(io::Error::other(format!(
            "the daemon doesn't answer\n{}",
            self.log()
        )))
    }

    /// Runs `syncctl` against this machine.
    pub fn ctl(&self, args: &[&str]) -> io::Result<Output> {
        Command::new(&self.programs.syncctl)
            .arg("--home")
            .arg(self.home())
            .args(args)
            .output()
    }

    /// Runs `syncctl --json` and reads what it says.
    pub fn json(&self, args: &[&str]) -> io::Result<Value> {
        let output = Command::new(&self.programs.syncctl)
            .arg("--home")
            .arg(self.home())
            .arg("--json")
            .args(args)
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!(
                "syncctl {args:?}: {said}\n{}",
                self.log()
            )));
        }
        serde_json::from_slice(&output.stdout).map_err(io::Error::other)
    }

    /// The folder's secret, as `syncctl secret show` prints it.
    pub fn secret(&self, more: &[&str]) -> io::Result<String> {
        let output = self.ctl(&[&["secret", "show", "folder"], more].concat())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .next()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(self.log()))
    }

    /// Where the daemon listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let status = self.json(&["status"])?;
        let first = status["listen"][0].as_str().unwrap_or_default().to_owned();
        first
            .parse()
            .map_err(|_| io::Error::other(format!("no listening address in {status}")))
    }

    /// Waits until the folder is in sync with `peers` peers, at most `secs` seconds.
    pub fn wait(&self, peers: usize, secs: u32) -> io::Result<()> {
        let (peers, secs) = (peers.to_string(), secs.to_string());
        let output = self.ctl(&["wait", "folder", "--peers", &peers, "--timeout", &secs])?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let show = self.ctl(&["--json", "folder", "show", "folder"])?.stdout;
        let errors = self.ctl(&["errors"])?.stdout;
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Err(io::Error::other(format!(
            "{said}\n{}\n{}\n{}",
            text(&show),
            text(&errors),
            self.log()
        )))
    }

    /// Ends the daemon at once, as a power cut would.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends the daemon in order.
    pub fn stop(&mut self) -> io::Result<bool> {
        let told = self.ctl(&["shutdown"])?.status.success();
        let ended = match self.child.take() {
            Some(mut child) => child.wait()?.success(),
            None => false,
        };
        Ok(told && ended)
    }

    /// What the daemon has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// One thing in a tree: what, and everything about it that is synced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A file: BLAKE3 of its bytes, size, mtime in ns, mode.
    File([u8; 32], u64, i128, u32),
    /// A directory and its mode.
    Dir(u32),
    /// A symlink and its text.
    Link(PathBuf),
}

/// Everything below `root` but `.sync`, by path.
pub fn tree(root: &Path) -> io::Result<std::collections::BTreeMap<PathBuf, Thing>> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut all = std::collections::BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for item in std::fs::read_dir(&dir)? {
            let path = item?.path();
            let short = path
                .strip_prefix(root)
                .map_err(io::Error::other)?
                .to_path_buf();
            if short == Path::new(".sync") {
                continue;
            }
            let meta = path.symlink_metadata()?;
            let thing = if meta.is_symlink() {
                Thing::Link(std::fs::read_link(&path)?)
            } else if meta.is_dir() {
                todo.push(path);
                Thing::Dir(meta.permissions().mode() & 0o777)
            } else {
                let mtime =
                    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
                let hash = *blake3::hash(&std::fs::read(&path)?).as_bytes();
                Thing::File(hash, meta.len(), mtime, meta.permissions().mode() & 0o777)
            };
            all.insert(short, thing);
        }
    }
    Ok(all)
}

/// Fails with the first difference between two trees.
///
/// # Panics
/// If they differ.
pub fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (
        tree(a).expect("the first tree can be read"),
        tree(b).expect("the second tree can be read"),
    );
    for (path, thing) in &a {
        assert_eq!(Some(thing), b.get(path), "{}", path.display());
    }
    for path in b.keys() {
        assert!(
            a.contains_key(path),
            "{} is only on the second",
            path.display()
        );
    }
}

/// The other side closes this connection within half a minute, and says nothing before.
///
/// # Panics
///
/// If it says something, or never closes.
pub fn assert_closed_in_silence(mut stream: TcpStream) {
    let patience = Some(Duration::from_secs(30));
    assert!(stream.set_read_timeout(patience).is_ok());
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), io::ErrorKind::ConnectionReset, "{e}"),
    }
    assert!(said.is_empty(), "{said:?}");
}
