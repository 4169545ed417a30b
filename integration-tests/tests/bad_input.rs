//! What people, other programs and disks do to a daemon: it says what is wrong, stays up, and loses nothing.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use integration_tests::{
    cluster::{Machine, assert_closed_in_silence, assert_same},
    programs,
};

fn machine() -> Machine {
    Machine::new(&programs!()).unwrap()
}

/// Runs `syncctl`, which must succeed.
fn done(machine: &Machine, args: &[&str]) {
    let output = machine.ctl(args).unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// Looks until the folder is so, at most for half a minute; each look takes a moment.
fn until(machine: &Machine, is_so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let show = machine.json(&["folder", "show", "folder"]).unwrap();
        if is_so(&show) {
            return show;
        }
        assert!(std::time::Instant::now() < end, "{show}\n{}", machine.log());
    }
}

/// The only index in the home.
fn index_of(machine: &Machine) -> PathBuf {
    let mut all = fs::read_dir(machine.home().join("index")).unwrap();
    all.next().unwrap().unwrap().path()
}

#[test]
fn a_damaged_index_is_rebuilt_and_nothing_is_lost() {
    let mut a = machine();
    let mut b = machine();
    for i in 0..200 {
        fs::write(a.folder().join(format!("file {i}")), format!("content {i}")).unwrap();
    }
    a.start(None, &[]).unwrap();
    let host = a.address().unwrap().to_string();
    let secret = a.secret(&[]).unwrap();
    b.start(Some(&secret), &["--known-host", &host]).unwrap();
    b.wait(1, 60).unwrap();

    let index = index_of(&b);
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 4] = [
        ("in the middle", |index| {
            let db = index.join("db");
            let mut bytes = fs::read(&db).unwrap();
            for byte in bytes.iter_mut().skip(600).step_by(4096) {
                *byte ^= 0x55;
            }
            fs::write(&db, bytes).unwrap();
        }),
        ("cut off", |index| {
            let db = fs::File::options()
                .write(true)
                .open(index.join("db"))
                .unwrap();
            db.set_len(db.metadata().unwrap().len() / 3).unwrap();
        }),
        ("its settings", |index| {
            fs::write(index.join("conf"), [0xa7; 62]).unwrap();
        }),
        ("all of it", |index| fs::remove_dir_all(index).unwrap()),
    ];
    for (n, (name, damage)) in damages.into_iter().enumerate() {
        assert!(b.stop().unwrap());
        damage(&index);
        // Both sides go on meanwhile, and one file goes on each.
        fs::write(b.folder().join(format!("made here: {name}")), name).unwrap();
        fs::write(a.folder().join(format!("made there: {name}")), name).unwrap();
        done(&a, &["folder", "rescan", "folder"]);
        b.start(None, &["--known-host", &host]).unwrap();
        b.wait(1, 60).unwrap();
        a.wait(1, 60).unwrap();
        assert_same(&a.folder(), &b.folder());
        let files = fs::read_dir(b.folder()).unwrap().flatten();
        let names: Vec<_> = files.map(|f| f.file_name()).collect();
        assert!(
            !names
                .iter()
                .any(|n| n.to_string_lossy().contains("conflict")),
            "{name}: {names:?}"
        );
        // A log that is wrong in the middle is taken by the engine for one that ends there: the index is an
        // older one then, and whether that matters, peers tell.
        let told = b.log().matches("a new replica begins").count();
        assert!(told >= n, "{name}: {}", b.log());
    }
    // 200, two for each damage, and `.sync`.
    assert_eq!(fs::read_dir(b.folder()).unwrap().count(), 209);
}

#[test]
fn a_full_disk_is_told_and_what_is_missing_comes_when_there_is_room() {
    let mut a = machine();
    let mut b = machine();
    a.start(None, &[]).unwrap();
    let host = a.address().unwrap().to_string();
    let secret = a.secret(&[]).unwrap();
    b.start(Some(&secret), &["--known-host", &host]).unwrap();
    b.wait(1, 60).unwrap();
    // No disk has so much room.
    done(
        &b,
        &["folder", "set", "folder", "min_free", "1000000000000000000"],
    );
    b.wait(1, 60).unwrap();
    let big: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect();
    fs::write(a.folder().join("big"), &big).unwrap();
    fs::write(a.folder().join("small"), b"small").unwrap();
    done(&a, &["folder", "rescan", "folder"]);
    let show = until(&b, |show| {
        show["state"] == "stopped" && show["global"]["files"] == 2
    });
    assert!(
        show["reason"]
            .as_str()
            .unwrap()
            .contains("the disk is full"),
        "{show}"
    );
    let errors = b.json(&["errors"]).unwrap();
    assert_eq!(errors[0]["kind"], "no-space", "{errors}");
    let status = b.ctl(&["status"]).unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("the disk is full"));
    // Nothing was fetched that there is no room for, and nothing is taken for the user's.
    assert!(
        b.json(&["status"]).unwrap()["traffic"]["down"]
            .as_u64()
            .unwrap()
            < 1_000_000
    );
    let here: Vec<_> = fs::read_dir(b.folder()).unwrap().flatten().collect();
    assert!(
        here.iter()
            .all(|f| f.file_name() == ".sync" || f.file_name() == "small"),
        "{here:?}"
    );

    done(&b, &["folder", "set", "folder", "min_free", "0"]);
    until(&b, |show| show["state"] == "in-sync");
    a.wait(1, 60).unwrap();
    assert_same(&a.folder(), &b.folder());
    assert_eq!(b.json(&["errors"]).unwrap(), serde_json::json!([]));
}

#[test]
fn a_crowd_of_strangers_hears_nothing_and_keeps_no_member_out() {
    let mut a = machine();
    let mut b = machine();
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    let port = a.address().unwrap().port();
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", a.pid().unwrap())).unwrap();
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = resident();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for n in 0..200_u16 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        // The beginning of a handshake, then nothing; nonsense; or a flood that promises more.
        let _ = match n % 4 {
            0 => stream.write_all(&[0]),
            1 => stream.write_all(&[0x5a; 48]),
            2 => stream.write_all(&vec![0xff; 200_000]),
            _ => Ok(()),
        };
        crowd.push(stream);
    }
    assert!(
        resident() < before + 32 * 1024,
        "{before} KiB, then {} KiB",
        resident()
    );
    // The crowd comes from one address; a member from another one is let in at once.
    let local: SocketAddr = (std::net::Ipv6Addr::LOCALHOST, port).into();
    let host = match TcpStream::connect(local) {
        Ok(_) => local.to_string(),
        // Without IPv6 there is no other address here.
        Err(_) => {
            crowd.clear();
            a.address().unwrap().to_string()
        }
    };
    b.start(Some(&secret), &["--known-host", &host]).unwrap();
    b.wait(1, 60).unwrap();
    crowd.into_iter().for_each(assert_closed_in_silence);
    done(&a, &["status"]);
}

#[test]
fn a_lost_secret_stops_its_folder_until_it_is_given_again() {
    let mut a = machine();
    fs::write(a.folder().join("file"), b"kept").unwrap();
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    assert!(a.stop().unwrap());
    fs::remove_file(a.home().join("secrets.toml")).unwrap();

    // The folder must not become another one without anybody noticing.
    let output = a.daemon().arg("--folder").arg(a.folder()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("secrets.toml") && said.contains("--secret -"),
        "{said}"
    );

    a.start_with(a.daemon(), None).unwrap();
    let show = a.json(&["folder", "show", "folder"]).unwrap();
    assert_eq!(show["state"], "stopped");
    assert!(
        show["hint"].as_str().unwrap().contains("--secret -"),
        "{show}"
    );
    assert_eq!(a.json(&["errors"]).unwrap().as_array().unwrap().len(), 1);
    let dir = a.folder();
    let add = ["folder", "add", dir.to_str().unwrap()];
    assert_eq!(a.ctl(&add).unwrap().status.code(), Some(1));
    let back = a.ctl(&[&add[..], &["--secret", &secret]].concat()).unwrap();
    assert!(back.status.success(), "{back:?}");
    until(&a, |show| {
        show["state"] == "no-peers" && show["local"]["files"] == 1
    });
    assert_eq!(a.secret(&[]).unwrap(), secret);
}

#[test]
fn killed_while_a_folder_is_added_it_opens_after_a_restart() {
    let mut a = machine();
    fs::write(a.folder().join("file"), b"kept").unwrap();
    a.start(None, &[]).unwrap();
    until(&a, |show| show["state"] == "no-peers");
    a.kill().unwrap();
    // The identity is written first; then the folder's mark, the run mark and the index.
    fs::remove_file(a.folder().join(".sync/id")).unwrap();
    fs::remove_dir_all(a.home().join("index")).unwrap();
    let identity = fs::read_dir(a.home().join("identity")).unwrap().flatten();
    let marks: Vec<_> = identity
        .map(|file| file.path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("run-")
        })
        .collect();
    assert_eq!(marks.len(), 1);
    fs::remove_file(&marks[0]).unwrap();
    a.start(None, &[]).unwrap();
    until(&a, |show| {
        show["state"] == "no-peers" && show["local"]["files"] == 1
    });
    // Once it was opened, a directory without the mark isn't touched.
    assert!(a.stop().unwrap());
    fs::remove_file(a.folder().join(".sync/id")).unwrap();
    a.start(None, &[]).unwrap();
    let show = until(&a, |show| show["state"] == "stopped");
    assert!(
        show["reason"].as_str().unwrap().contains(".sync/id"),
        "{show}"
    );
    assert!(!a.folder().join(".sync/id").exists());
}

#[test]
fn a_refused_folder_leaves_nothing_behind() {
    let mut a = machine();
    a.start(None, &[]).unwrap();
    assert!(a.stop().unwrap());
    let file = a.home().with_file_name("a file");
    fs::write(&file, b"x").unwrap();
    for (dir, words) in [
        (a.folder().join("new/deep"), "lies inside the folder"),
        (
            a.home().join("new"),
            "lies inside the daemon's own directory",
        ),
        (file, "is not a directory"),
    ] {
        let output = a.daemon().arg("--folder").arg(&dir).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{dir:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{said}");
    }
    assert!(!a.folder().join("new").exists());
    assert!(!a.home().join("new").exists());
}

/// A run that is lost with its home, and the one after it, give changes of their own.
#[test]
fn a_home_restored_from_a_backup_loses_nothing() {
    let (mut a, mut b) = (machine(), machine());
    fs::write(a.folder().join("first"), "first").unwrap();
    a.start(None, &[]).unwrap();
    let host = a.address().unwrap().to_string();
    let secret = a.secret(&[]).unwrap();
    let meet = |a: &Machine, b: &mut Machine, secret: Option<&str>| {
        b.start(secret, &["--known-host", &host]).unwrap();
        b.wait(1, 60).unwrap();
        a.wait(1, 60).unwrap();
        assert_same(&a.folder(), &b.folder());
    };
    meet(&a, &mut b, Some(&secret));
    assert!(b.stop().unwrap());
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let done = std::process::Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status();
        assert!(done.unwrap().success());
    };
    let backup = b.home().with_extension("backup");
    copy(&b.home(), &backup);

    // The run that will be lost.
    fs::write(b.folder().join("in the lost run"), "1").unwrap();
    fs::write(b.folder().join("first"), "edited in the lost run").unwrap();
    meet(&a, &mut b, None);
    assert!(b.stop().unwrap());
    fs::remove_dir_all(b.home()).unwrap();
    copy(&backup, &b.home());

    // As many changes as there were before, and more.
    for i in 0..5 {
        fs::write(b.folder().join(format!("after it {i}")), "2").unwrap();
    }
    meet(&a, &mut b, None);
    for there in ["in the lost run", "after it 0", "after it 4"] {
        assert!(a.folder().join(there).is_file(), "{there}\n{}", b.log());
    }
    let first = fs::read(a.folder().join("first")).unwrap();
    assert_eq!(first, b"edited in the lost run");
    let copies = fs::read_dir(a.folder()).unwrap().flatten();
    let copies = copies.filter(|f| f.file_name().to_string_lossy().contains("conflict"));
    assert_eq!(copies.count(), 0, "nothing was edited in two ways");
}
