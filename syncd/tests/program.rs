//! The program itself: its exit codes, and what it keeps to itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test and its helpers say by a panic what they did not get"
)]

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Runs the program with this standard input. It must end by itself.
fn program(args: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_syncd"))
        .args(args)
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let secret = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDE";
    for args in [
        &["run", "--folder", "x", secret][..],
        &["run", "--folder", "x", "--known-host", secret],
        &["run", &format!("--{secret}")],
        &[secret],
    ] {
        let (code, error) = program(args, b"");
        assert_eq!(code, Some(2), "{error}");
        assert!(!error.contains(&secret[4..12]), "{error}");
    }
    assert_eq!(program(&["--version"], b"").0, Some(0));
}

#[test]
fn a_mistyped_secret_is_wrong_usage() {
    let folder = [
        "run",
        "--home",
        "/nonexistent/x",
        "--folder",
        "x",
        "--secret",
    ];
    let mistyped = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDE";
    let (code, error) = program(&[&folder[..], &[mistyped]].concat(), b"");
    assert!(code == Some(2) && !error.contains(mistyped), "{error}");
    // Nobody's gigabytes are read for a secret.
    let long = vec![b'A'; 1 << 20];
    let (code, error) = program(&[&folder[..], &["-"]].concat(), &long);
    assert!(code == Some(2) && error.contains("4096"), "{error}");
}
