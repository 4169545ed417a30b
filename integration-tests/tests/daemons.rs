//! Real daemons on loopback, told by the real command line.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
    time::{Duration, SystemTime},
};

use integration_tests::{
    cluster::{Machine, assert_closed_in_silence, assert_same},
    programs,
};

fn machine() -> Machine {
    Machine::new(&programs!()).unwrap()
}

/// Two machines that share a folder; the second one has `level`.
fn pair(level: &[&str]) -> (Machine, Machine) {
    let (mut a, mut b) = (machine(), machine());
    a.start(None, &[]).unwrap();
    let secret = a.secret(level).unwrap();
    let host = a.address().unwrap().to_string();
    b.start(Some(&secret), &["--known-host", &host]).unwrap();
    (a, b)
}

fn populate(root: &std::path::Path) {
    fs::create_dir_all(root.join("deep/er/still")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir(root.join("private")).unwrap();
    fs::set_permissions(root.join("private"), fs::Permissions::from_mode(0o700)).unwrap();
    let long = "n".repeat(255);
    for (name, bytes) in [
        ("plain.txt", &b"hello"[..]),
        ("deep/er/still/here", b"x"),
        ("with space and\nnewline", b"odd"),
        ("zero", b""),
        (long.as_str(), b"long"),
        ("private/key", b"secret"),
    ] {
        fs::write(root.join(name), bytes).unwrap();
    }
    fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"not \xff utf8")),
        b"bytes",
    )
    .unwrap();
    fs::set_permissions(root.join("plain.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.join("private/key"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("plain.txt", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    let big: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    fs::write(root.join("big.bin"), &big).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::options()
        .write(true)
        .open(root.join("plain.txt"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    for i in 0..300 {
        fs::write(root.join(format!("deep/small {i}")), format!("content {i}")).unwrap();
    }
}

#[test]
fn a_tree_of_everything_is_the_same_on_both() {
    let (a, b) = pair(&[]);
    populate(&a.folder());
    assert!(
        a.ctl(&["folder", "rescan", "folder"])
            .unwrap()
            .status
            .success()
    );
    a.wait(1, 60).unwrap();
    b.wait(1, 60).unwrap();
    assert_same(&a.folder(), &b.folder());
    let show = b.json(&["folder", "show", "folder"]).unwrap();
    assert_eq!(show["state"], "in-sync");
    assert_eq!(show["need"]["files"], 0);
    assert_eq!(show["conflicts"], 0);
}

#[test]
fn a_read_only_machine_gets_all_and_changes_nothing() {
    let (a, b) = pair(&["--read-only"]);
    fs::write(a.folder().join("given"), b"by a").unwrap();
    assert!(
        a.ctl(&["folder", "rescan", "folder"])
            .unwrap()
            .status
            .success()
    );
    a.wait(1, 60).unwrap();
    b.wait(1, 60).unwrap();
    assert_eq!(fs::read(b.folder().join("given")).unwrap(), b"by a");
    fs::write(b.folder().join("given"), b"by b, who may not").unwrap();
    fs::write(b.folder().join("own"), b"by b").unwrap();
    assert!(
        b.ctl(&["folder", "rescan", "folder"])
            .unwrap()
            .status
            .success()
    );
    b.wait(1, 60).unwrap();
    a.wait(1, 60).unwrap();
    assert_eq!(fs::read(a.folder().join("given")).unwrap(), b"by a");
    assert!(!a.folder().join("own").exists());
    assert_eq!(
        b.json(&["folder", "show", "folder"]).unwrap()["local_edits"],
        2
    );
    assert_eq!(
        b.json(&["folder", "show", "folder"]).unwrap()["level"],
        "read-only"
    );
}

#[test]
fn killed_in_the_middle_it_finishes_after_a_restart() {
    let (a, mut b) = pair(&[]);
    let host = a.address().unwrap().to_string();
    let big: Vec<u8> = (0..16_000_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    fs::write(a.folder().join("big.bin"), &big).unwrap();
    // `wait` speaks of what the daemon has noticed, so it has to notice the file before.
    assert!(
        a.ctl(&["folder", "rescan", "folder"])
            .unwrap()
            .status
            .success()
    );
    for _ in 0..3 {
        // At whatever moment this comes, the path shows nothing or the whole file.
        b.kill().unwrap();
        let there = b.folder().join("big.bin");
        assert!(!there.exists() || fs::read(&there).unwrap() == big);
        b.start(None, &["--known-host", &host]).unwrap();
    }
    a.wait(1, 120).unwrap();
    b.wait(1, 120).unwrap();
    // A kill is no restored backup: nothing told was less than durable.
    assert!(!b.log().contains("restored"), "{}", b.log());
    assert_same(&a.folder(), &b.folder());
}

#[test]
fn a_stranger_gets_no_byte() {
    let (a, _b) = pair(&[]);
    let mut stream = TcpStream::connect(a.address().unwrap()).unwrap();
    stream.write_all(&[0x5a; 48]).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // The daemon closes after its deadline and says nothing before.
    assert_closed_in_silence(stream);
    assert!(a.ctl(&["status"]).unwrap().status.success());
}

#[test]
fn mistakes_are_explained_and_have_their_exit_codes() {
    let mut a = machine();
    let status = a.ctl(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&status.stderr).contains("syncd run"));
    a.start(None, &[]).unwrap();
    let second = a.daemon().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    for (args, code) in [
        (&["folder", "add", "/dev/null/none"][..], 1),
        (&["folder", "show", "nothing"], 1),
        (&["folder", "frobnicate"], 2),
        (&["wait", "folder", "--peers", "1", "--timeout", "1"], 4),
    ] {
        let output = a.ctl(args).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    let inside = a.folder().join("inside");
    fs::create_dir(&inside).unwrap();
    for dir in [inside, a.home(), a.home().parent().unwrap().to_path_buf()] {
        let output = a.ctl(&["folder", "add", dir.to_str().unwrap()]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{dir:?}");
    }
    assert!(a.stop().unwrap());
    fs::write(a.home().join("config.toml"), "name = \"x\"\nlisten = [\n").unwrap();
    let broken = a.daemon().output().unwrap();
    assert_eq!(broken.status.code(), Some(1));
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert!(said.contains("config.toml") && said.contains('2'), "{said}");
}
