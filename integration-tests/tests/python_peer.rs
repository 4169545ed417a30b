//! A second implementation of the protocol, in Python, written from its pages alone: it derives every vector and
//! syncs with the real daemon. See `integration-tests/peer`.
//!
//! It needs Python 3.11 with `venv`, and three packages from PyPI, which go into a virtual environment below the
//! target directory. Where these can't be had each test says that it was skipped, unless `SYNCD_PEER=1` is set.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use integration_tests::{
    cluster::{Machine, assert_same, tree},
    programs,
};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// The interpreter of the environment, made at the first call; `None` where it can't be made.
fn python() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let made = environment();
        let required = std::env::var_os("SYNCD_PEER").is_some();
        if let Err(reason) = &made {
            assert!(!required, "no environment for the Python peer: {reason}");
            eprintln!("skipped: no environment for the Python peer: {reason}");
        }
        made.ok()
    });
    found.as_deref()
}

/// Makes the environment that the list of packages asks for, or finds it.
fn environment() -> io::Result<PathBuf> {
    let list = Path::new(HERE).join("peer/requirements.txt");
    let name = blake3::hash(&fs::read(&list)?).to_hex();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-peer-{}", &name[..16]));
    let interpreter = root.join("bin/python");
    if interpreter.exists() {
        return Ok(interpreter);
    }
    // It is put together elsewhere, so that one which was left half made is never used.
    let draft = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let python = ["python3", "python3.13", "python3.12", "python3.11"]
        .into_iter()
        .find(|name| {
            run(Command::new(name).args(["-c", "import sys; assert sys.version_info >= (3, 11)"]))
                .is_ok()
        })
        .ok_or_else(|| io::Error::other("there is no Python 3.11"))?;
    run(Command::new(python).args(["-m", "venv"]).arg(draft.path()))?;
    let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    run(Command::new(draft.path().join("bin/python"))
        .args(pip)
        .arg("-r")
        .arg(&list))?;
    // Another test may have been faster; its environment is as good.
    if fs::rename(draft.path(), &root).is_ok() {
        let _gone = draft.keep();
    }
    Ok(interpreter)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// What the peer prints when it is in sync with the daemon; it gives up by itself after two minutes.
fn join(python: &Path, daemon: SocketAddr, secret: &str, dir: &Path) -> String {
    let mut child = Command::new(python)
        .args(["-m", "peer", "join"])
        .arg(daemon.to_string())
        .arg(dir)
        .current_dir(HERE)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{secret}").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A daemon with a tree of 200 small files and one of 10 MiB.
fn daemon() -> Machine {
    let mut machine = Machine::new(&programs!()).unwrap();
    let root = machine.folder();
    for i in 0..200 {
        let dir = root.join(format!("dir {}", i % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join(format!("fil\u{e9} {i}")),
            format!("{i}\n").repeat(i),
        )
        .unwrap();
    }
    fs::write(root.join("big"), big()).unwrap();
    fs::set_permissions(root.join("big"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    symlink("dir 1/nowhere", root.join("link")).unwrap();
    machine.start(None, &[]).unwrap();
    rescan(&machine);
    machine
}

fn big() -> Vec<u8> {
    (0..2_621_440_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect()
}

fn rescan(machine: &Machine) {
    let output = machine.ctl(&["folder", "rescan", "folder"]).unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn it_derives_every_vector() {
    let Some(python) = python() else { return };
    let mut command = Command::new(python);
    command.args(["-m", "peer", "vectors", "../docs"]);
    command
        .current_dir(HERE)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command).unwrap();
}

#[test]
fn it_syncs_with_the_daemon_both_ways() {
    let Some(python) = python() else { return };
    let machine = daemon();
    let (address, secret) = (machine.address().unwrap(), machine.secret(&[]).unwrap());
    let peer = tempfile::tempdir().unwrap();
    fs::create_dir(peer.path().join("mine")).unwrap();
    fs::write(peer.path().join("mine/small"), b"from the peer").unwrap();
    fs::write(peer.path().join("mine/large"), &big()[..3_000_000]).unwrap();
    let said = join(python, address, &secret, peer.path());
    assert!(said.contains("3 signed here"), "{said}");
    // All small files but the empty one.
    assert!(said.contains(" 199 of them by number"), "{said}");
    assert_same(&machine.folder(), peer.path());

    // An edit and a deletion on each side. Of the large file only what is new crosses.
    let edited = [b"a byte more".as_slice(), &big()].concat();
    fs::write(machine.folder().join("big"), edited).unwrap();
    fs::remove_file(machine.folder().join("dir 1/fil\u{e9} 1")).unwrap();
    rescan(&machine);
    fs::write(peer.path().join("dir 2/fil\u{e9} 2"), b"edited by the peer").unwrap();
    fs::remove_file(peer.path().join("mine/small")).unwrap();
    let said = join(python, address, &secret, peer.path());
    let fetched = said.split(" objects of ").nth(1).unwrap();
    let fetched: u64 = fetched.split(' ').next().unwrap().parse().unwrap();
    assert!(fetched < 1 << 20, "{said}");
    assert_same(&machine.folder(), peer.path());
    let there = tree(&machine.folder()).unwrap();
    assert!(there.contains_key(Path::new("mine/large")));
    assert!(!there.contains_key(Path::new("mine/small")));
    assert!(!there.contains_key(Path::new("dir 1/fil\u{e9} 1")));
    let errors = machine.json(&["errors"]).unwrap();
    assert_eq!(errors.as_array().map(Vec::len), Some(0), "{errors}");
}

#[test]
fn two_edits_of_one_file_are_both_kept_whoever_wins() {
    let Some(python) = python() else { return };
    let mut machine = Machine::new(&programs!()).unwrap();
    machine.start(None, &[]).unwrap();
    for name in ["one", "two"] {
        fs::write(machine.folder().join(name), b"both know this").unwrap();
    }
    rescan(&machine);
    let (address, secret) = (machine.address().unwrap(), machine.secret(&[]).unwrap());
    let peer = tempfile::tempdir().unwrap();
    join(python, address, &secret, peer.path());
    // The later one keeps the name: once the daemon's, once the peer's.
    let edit = |dir: &Path, name: &str, text: &str, secs: u64| {
        fs::write(dir.join(name), text).unwrap();
        let file = fs::File::options()
            .write(true)
            .open(dir.join(name))
            .unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        file.set_modified(time).unwrap();
    };
    edit(&machine.folder(), "one", "the daemon's one", 1_700_000_002);
    edit(&machine.folder(), "two", "the daemon's two", 1_700_000_001);
    edit(peer.path(), "one", "the peer's one", 1_700_000_001);
    edit(peer.path(), "two", "the peer's two", 1_700_000_002);
    rescan(&machine);
    join(python, address, &secret, peer.path());
    assert_same(&machine.folder(), peer.path());
    let all = tree(peer.path()).unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    for (name, stays, goes) in [
        ("one", "the daemon's one", "the peer's one"),
        ("two", "the peer's two", "the daemon's two"),
    ] {
        let read = |path: &Path| fs::read_to_string(peer.path().join(path)).unwrap();
        assert_eq!(read(Path::new(name)), stays);
        let copy = format!("{name} (conflict ");
        let copy = all
            .keys()
            .find(|path| path.to_string_lossy().starts_with(&copy))
            .unwrap();
        assert_eq!(read(copy), goes);
        assert!(copy.to_string_lossy().contains("2023-11-14 22-13-21"));
    }
}

#[test]
fn with_a_read_only_secret_it_fetches_alone() {
    let Some(python) = python() else { return };
    let machine = daemon();
    let secret = machine.secret(&["--read-only"]).unwrap();
    let peer = tempfile::tempdir().unwrap();
    fs::write(peer.path().join("own"), b"not for others").unwrap();
    let said = join(python, machine.address().unwrap(), &secret, peer.path());
    assert!(said.contains("0 signed here"), "{said}");
    assert!(!machine.folder().join("own").exists());
    fs::remove_file(peer.path().join("own")).unwrap();
    assert_same(&machine.folder(), peer.path());
}
