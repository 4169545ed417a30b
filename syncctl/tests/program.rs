//! The program itself: its help, its exit codes, and what it keeps to itself.

#![allow(
    clippy::unwrap_used,
    reason = "a test and its helpers say by a panic what they did not get"
)]

use std::process::Command;

use clap::Parser;
use syncctl::{Cli, cli};

#[test]
fn every_help_has_an_example() {
    fn check(command: &mut clap::Command) {
        let help = command.render_long_help().to_string();
        assert!(
            help.contains("Example"),
            "{} has none:\n{help}",
            command.get_name()
        );
        for line in help
            .lines()
            .filter(|line| line.trim_start().starts_with("syncctl "))
        {
            let words = line.split(['<', '>']).next().unwrap().split_whitespace();
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("the example `{line}` doesn't work: {error}");
            }
        }
        command
            .get_subcommands_mut()
            .filter(|sub| sub.get_name() != "help")
            .for_each(check);
    }
    let mut command = cli::command();
    command.build();
    check(&mut command);
}

/// Runs the program itself.
fn program(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_syncctl"))
        .args(args)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_program_ends_with_the_right_code() {
    assert_eq!(program(&["--version"]).0, Some(0));
    assert!(program(&["--version"]).1.starts_with("syncctl 0."));
    assert_eq!(program(&["folder", "add", "--help"]).0, Some(0));
    assert_eq!(program(&["nonsense"]).0, Some(2));
    assert_eq!(program(&["folder", "pause"]).0, Some(2));
    assert_eq!(program(&["wait", "Docs", "--timeout", "soon"]).0, Some(2));
    assert_eq!(program(&["--home", "/nonexistent", "status"]).0, Some(3));
    let (code, out, error) = program(&["folder", "pause", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["exit"]),
        (&"usage".into(), &2.into())
    );
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the following required"), "{message}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = program(&["completions", shell]);
        assert!(code == Some(0) && script.contains("syncctl"), "{shell}");
    }
    let (code, secret, _) = program(&["secret", "new"]);
    assert_eq!((code, secret.trim_end().len()), (Some(0), 37));
    let (code, _, error) = program(&["folder", "add", "dir", secret.trim_end()]);
    assert!(
        code == Some(2) && !error.contains(secret.trim_end()),
        "{error}"
    );
}
