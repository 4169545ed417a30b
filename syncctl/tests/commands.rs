//! The commands against a daemon that only pretends, over a real socket: what they print, and how they end.

#![allow(
    clippy::unwrap_used,
    reason = "a test and its helpers say by a panic what they did not get"
)]

use std::{path::PathBuf, sync::Arc};

use clap::Parser;
use serde_json::Value;
use sync_core::control::{FolderState, Need};
use syncctl::{Captured, Cli, Exit, Out, run};
use syncd::control::{
    Control, ControlSocket,
    fake::{self, FakeControl},
};
use tokio_util::sync::CancellationToken;

struct Daemon {
    home: tempfile::TempDir,
    fake: Arc<FakeControl>,
    stop: CancellationToken,
}

/// How a command ended and what it printed.
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

impl Daemon {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let fake = FakeControl::sample(stop.clone());
        let socket = ControlSocket::bind(&home.path().join("control.sock"))
            .await
            .unwrap();
        tokio::spawn(socket.serve(fake.clone(), stop.clone()));
        Self { home, fake, stop }
    }

    /// Runs a command as if typed in a terminal.
    async fn shown(&self, line: &str) -> Ran {
        typed(self.home.path().into(), line, "", true).await
    }

    /// Runs a command as if in a script.
    async fn piped(&self, line: &str) -> Ran {
        typed(self.home.path().into(), line, "", false).await
    }

    async fn with_stdin(&self, line: &str, stdin: &str) -> Ran {
        typed(self.home.path().into(), line, stdin, false).await
    }

    async fn json(&self, line: &str) -> Value {
        let ran = self.piped(&format!("--json {line}")).await;
        assert_eq!(ran.exit, Exit::Done, "{line}: {}", ran.err);
        serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("{line}: {error}: {}", ran.out))
    }
}

async fn typed(home: PathBuf, line: &str, stdin: &str, terminal: bool) -> Ran {
    let (mut out, captured): (Out, Captured) = Out::captured(stdin, terminal);
    let words = ["syncctl", "--home", home.to_str().unwrap()]
        .into_iter()
        .chain(line.split_whitespace());
    let exit = run(
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")),
        &mut out,
    );
    let exit = exit.await;
    // Hints name the home, so that they can be pasted; here it is another one each time.
    let named = format!("syncctl --home {} ", home.display());
    Ran {
        exit,
        out: captured.stdout().replace(&named, "syncctl "),
        err: captured.stderr().replace(&named, "syncctl "),
    }
}

/// Every command that needs a daemon, in a form that the sample takes.
const NEED_A_DAEMON: [&str; 22] = [
    "status",
    "folder add /new/Music",
    "folder list",
    "folder show Docs",
    "folder remove Docs",
    "folder pause Docs",
    "folder pause --all",
    "folder resume Docs",
    "folder rescan Docs",
    "folder set Docs lan off",
    "folder move Docs /elsewhere",
    "folder adopt Docs",
    "file Docs a.txt",
    "wait Docs",
    "secret show Docs",
    "peers",
    "discover Docs",
    "errors",
    "events --since 0",
    "approve Docs",
    "reject Docs",
    "shutdown",
];

#[tokio::test]
async fn without_a_daemon_each_command_says_how_to_start_it() {
    let home = tempfile::tempdir().unwrap();
    for line in NEED_A_DAEMON {
        let ran = typed(home.path().into(), line, "", false).await;
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::NoDaemon, ""), "{line}");
        let home = home.path().display();
        assert_eq!(
            ran.err,
            format!(
                "error: no daemon is running for the home {home}\n  start it with `syncd run --home {home}`\n"
            )
        );
    }
    let ran = typed(home.path().into(), "--json status", "", false).await;
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["exit"]),
        (&"no-daemon".into(), &3.into())
    );
}

#[tokio::test]
async fn status_for_people_and_for_scripts() {
    let daemon = Daemon::start().await;
    assert_eq!(
        daemon.shown("status").await.out,
        "\
desk (7KQ2M4XA), syncd 0.1.0, up 2 h 13 min
  2 items in Photos are stuck
    `syncctl errors Photos` says why
  listening on 0.0.0.0:29170, [::]:29170
  found by     lan (port 29171), known-host (1 host)
  rates        up 1.2 MiB/s, down 50.0 MiB/s

FOLDER  STATE    LEVEL       FILES      SIZE   NEEDED  PEERS  ERRORS  PATH
Docs    in-sync  read-write     10  20.0 KiB        -      1       0  /home/u/Docs
Photos  syncing  read-only   1,200   4.5 GiB  3.0 GiB      1       2  /home/u/Photos

FOLDER  PEER              DEVICE    ADDRESS          VIA      FOUND BY    LEVEL          UP        DOWN     RTT  IN SYNC
Docs    lap\\u{1b}[31mtop  LAP3K5VZ  192.0.2.9:41234  lan tcp  lan         read-write  0 B/s       0 B/s  0.4 ms  yes
Photos  nas               NAS7B2QX  192.0.2.7:29170  lan tcp  known-host  read-write  0 B/s  50.0 MiB/s  0.4 ms  yes
"
    );
    assert_eq!(
        daemon.piped("status").await.out,
        "version\t0.1.0\ndevice\t7KQ2M4XA\tdesk\nuptime\t8000\nlisten\t0.0.0.0:29170\nlisten\t[::]:29170\n\
         found-by\tlan\nfound-by\tknown-host\nrates\t1258291\t52428800\n\
         folder\tDocs\tin-sync\tread-write\t10\t20480\t0\t1\t0\t/home/u/Docs\n\
         folder\tPhotos\tsyncing\tread-only\t1200\t4831838208\t3221225472\t1\t2\t/home/u/Photos\n\
         peer\tDocs\tlap\\u{1b}[31mtop\tLAP3K5VZ\t192.0.2.9:41234\tlan tcp\tlan\tread-write\t0\t0\t0.4\tyes\n\
         peer\tPhotos\tnas\tNAS7B2QX\t192.0.2.7:29170\tlan tcp\tknown-host\tread-write\t0\t52428800\t0.4\tyes\n"
    );
    let status = daemon.json("status").await;
    assert_eq!(status["folders"][1]["need"]["bytes"], 3_221_225_472_u64);
    assert_eq!(status["device"]["name"], "desk");
}

#[tokio::test]
async fn changes_of_a_later_version_are_counted_and_said_to_wait() {
    let daemon = Daemon::start().await;
    assert!(!daemon.shown("status").await.out.contains("newer syncd"));
    daemon.fake.edit_folder("Docs", |folder| folder.later = 3);
    let shown = daemon.shown("status").await.out;
    let wrong = "3 changes in Docs can't be read: a device runs a newer syncd";
    assert!(shown.contains(wrong), "{shown}");
    assert!(shown.contains("install that version here too"), "{shown}");
    let folder = daemon.json("folder show Docs").await;
    assert_eq!(folder["later"], 3, "{folder}");
}

/// Every line of every table fits the screen, and nothing that tells rows apart is left out.
#[tokio::test]
async fn tables_fit_the_screen() {
    let daemon = Daemon::start().await;
    daemon.fake.edit_folder("Photos", |folder| {
        folder.path = "/mnt/storage/family/pictures and films/since 1998".into();
    });
    let home = daemon.home.path().to_str().unwrap();
    for line in [
        "status",
        "folder list",
        "folder set Docs",
        "peers",
        "discover Photos",
        "errors",
    ] {
        let mut rows = Vec::new();
        for width in [80, 200] {
            let (out, captured) = Out::captured("", true);
            let words = ["syncctl", "--home", home]
                .into_iter()
                .chain(line.split_whitespace());
            let cli = Cli::try_parse_from(words).unwrap();
            let exit = run(cli, &mut out.with_width(width).with_color()).await;
            assert_eq!(exit, Exit::Done);
            let shown = captured.stdout();
            for line in shown.lines() {
                let wide = console::measure_text_width(line);
                // Sentences outside of tables are wrapped by the terminal.
                let sentence = line.starts_with("  ") || line.starts_with("not shown");
                assert!(
                    wide <= width || sentence,
                    "{wide} at {width}: {line}\n{shown}"
                );
            }
            rows.push(shown);
        }
        assert!(!rows[1].contains("not shown"), "{}", rows[1]);
    }
    let narrow = typed_at(&daemon, "peers", 80).await;
    assert!(narrow.contains("192.0.2.7:29170"), "{narrow}");
    assert!(
        narrow.contains("not shown for want of room: DEVICE"),
        "{narrow}"
    );
}

async fn typed_at(daemon: &Daemon, line: &str, width: usize) -> String {
    let (out, captured) = Out::captured("", true);
    let home = daemon.home.path().to_str().unwrap();
    let words = ["syncctl", "--home", home]
        .into_iter()
        .chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap();
    run(cli, &mut out.with_width(width)).await;
    captured.stdout()
}

#[tokio::test]
async fn a_new_folder_prints_its_secret_first_and_alone() {
    let daemon = Daemon::start().await;
    let added = daemon
        .piped("folder add /new/Music --known-host nas:29170")
        .await;
    let mut lines = added.out.lines();
    assert_eq!(lines.next().map(str::len), Some(37));
    assert_eq!(
        lines.next(),
        Some("Music was added: /new/Music (read-write)")
    );
    assert_eq!(added.err, "");
    let again = daemon.piped("folder add /new/Music").await;
    assert_eq!(again.exit, Exit::Failed);
    assert_eq!(
        again.err,
        "error: there is a folder `Music` already\n  give another name with --name\n"
    );
    // On a terminal the next step is told, without the secret in it.
    let shown = daemon.shown("folder add /new/Films").await;
    assert!(
        shown
            .err
            .contains("syncd run --folder /new/Films --secret -"),
        "{}",
        shown.err
    );
    assert!(!shown.err.contains(shown.out.lines().next().unwrap()));
}

#[tokio::test]
async fn a_secret_comes_by_standard_input() {
    let daemon = Daemon::start().await;
    let secret = daemon.piped("secret new").await.out;
    let weaker = daemon
        .with_stdin("secret derive - --read-only", &secret)
        .await;
    assert_eq!(
        (
            weaker.exit,
            weaker.out.trim_end().len(),
            weaker.err.as_str()
        ),
        (Exit::Done, 88, "")
    );
    let added = daemon
        .with_stdin("folder add /new/Music --secret -", &weaker.out)
        .await;
    assert_eq!(added.out, "Music was added: /new/Music (read-only)\n");
    assert_eq!(daemon.piped("secret show Music").await.out, weaker.out);
    let argument = daemon
        .piped(&format!("folder add /new/Films --secret {secret}"))
        .await;
    assert_eq!(argument.exit, Exit::Done);
    assert!(
        argument
            .err
            .starts_with("warning: a secret on a command line"),
        "{}",
        argument.err
    );
    assert!(!argument.err.contains(secret.trim()));
    let shorter = secret.trim_end()[..36].to_owned();
    let mistyped = daemon
        .with_stdin("folder add /new/Other --secret -", &shorter)
        .await;
    assert_eq!(mistyped.exit, Exit::Usage);
    assert!(
        mistyped
            .err
            .starts_with("error: a read-write secret has 37 symbols"),
        "{}",
        mistyped.err
    );
    assert_eq!(
        daemon
            .piped("secret show Photos --read-only")
            .await
            .out
            .trim_end()
            .len(),
        88
    );
    assert_eq!(daemon.json("secret show Docs").await["level"], "read-write");
}

#[tokio::test]
async fn folders_are_changed() {
    let daemon = Daemon::start().await;
    for (line, said) in [
        ("folder pause Docs", "Docs: paused\n"),
        ("folder resume --all", "Docs: resumed\nPhotos: resumed\n"),
        (
            "folder rescan Docs",
            "Docs: the whole disk is looked at again\n",
        ),
        (
            "folder set Docs min_free 2GB",
            "Docs: min_free is set to 2GB\n",
        ),
        (
            "folder move Docs /elsewhere",
            "Docs: its root is /elsewhere now\n",
        ),
        (
            "folder adopt /elsewhere",
            "Docs: what is there now is taken as its root\n",
        ),
        (
            "folder remove Docs",
            "Docs was removed, with its secret; its files stay in /elsewhere\n",
        ),
    ] {
        let ran = daemon.piped(line).await;
        assert_eq!(
            (ran.exit, ran.out.as_str(), ran.err.as_str()),
            (Exit::Done, said, ""),
            "{line}"
        );
    }
    let gone = daemon.piped("folder show Docs").await;
    assert_eq!(gone.exit, Exit::Failed);
    assert!(
        gone.err
            .starts_with("error: there is no folder `Docs`\n  `syncctl folder list`"),
        "{}",
        gone.err
    );
    let size = daemon.piped("folder set Photos min_free 2parsec").await;
    assert_eq!(size.exit, Exit::Usage);
    assert!(
        size.err.contains("500MB (decimal) or 2 GiB (binary)"),
        "{}",
        size.err
    );
    let key = daemon.piped("folder set Photos colour red").await;
    assert_eq!(key.exit, Exit::Usage);
    assert!(
        key.err
            .contains("there are: archive_days, min_free, rescan, lan, known_hosts"),
        "{}",
        key.err
    );
    assert_eq!(
        daemon.json("folder pause --all").await[0]["state"],
        "paused"
    );
    assert_eq!(
        daemon.json("folder list").await.as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn one_folder_in_full() {
    let daemon = Daemon::start().await;
    daemon
        .fake
        .edit_folder("Photos", |folder| fake::hold(folder, 900, 1_200));
    let shown = daemon.shown("folder show Photos").await.out;
    for line in [
        "state         held\n",
        "why           900 of 1200 files were deleted within 10 minutes\n",
        "here          1,200 files, 31 directories, 4.5 GiB\n",
        "needed        800 files, 3.0 GiB, 2 deletions\n",
        "known_hosts   nas.lan:29170\n",
        "rescan        1 h\n",
        "archive_days  30 days\n",
    ] {
        assert!(shown.contains(line), "{line:?} isn't in\n{shown}");
    }
    assert!(
        daemon
            .piped("folder show Photos")
            .await
            .out
            .contains("\npeer\tPhotos\tnas\t")
    );
}

#[tokio::test]
async fn held_deletions_are_decided_once() {
    let daemon = Daemon::start().await;
    for (line, said) in [
        ("approve Docs", "Docs: the held deletions go on\n"),
        ("reject Docs", "Docs: the deleted files are fetched back\n"),
    ] {
        daemon
            .fake
            .edit_folder("Docs", |folder| fake::hold(folder, 30, 40));
        assert_eq!(daemon.piped(line).await.out, said);
        assert_eq!(daemon.piped(line).await.exit, Exit::Failed);
    }
}

#[tokio::test]
async fn lists_are_shown() {
    let daemon = Daemon::start().await;
    assert_eq!(
        daemon.shown("discover Photos").await.out,
        "\
ADDRESS              FOUND BY    STATE           LAST SEEN  NEXT TRY  LAST ERROR
192.0.2.7:29170      known-host  connected         3 s ago         -  -
[2001:db8::7]:29170  lan         failed     1 min 10 s ago      42 s  no route to host
"
    );
    assert_eq!(
        daemon.piped("errors").await.out,
        "Photos\t2026/raw\\n1.dng\t60\tpermission\tthe directory can't be written\n\
         Photos\tbad\\xff\t-\tname\tthis file system can't hold the name\n"
    );
    assert_eq!(daemon.shown("errors Docs").await.out, "nothing is stuck\n");
    assert_eq!(daemon.piped("errors Docs").await.out, "");
    assert_eq!(daemon.json("errors").await[1]["path_hex"], "626164ff");
    assert_eq!(daemon.json("peers").await[1]["folder"], "Photos");
    assert_eq!(daemon.json("discover Photos").await[1]["next_try_s"], 42);
    assert_eq!(
        daemon.piped("peers Photos").await.out.split('\t').nth(1),
        Some("nas")
    );
}

#[tokio::test]
async fn a_file_is_explained() {
    let daemon = Daemon::start().await;
    daemon.fake.edit(|state| {
        let known = state.files[&("Photos".to_owned(), b"2026/img 1.jpg".to_vec())].clone();
        state
            .files
            .insert(("Photos".into(), b"a.jpg".to_vec()), known);
    });
    let shown = daemon.shown("file Photos a.jpg").await.out;
    for line in [
        "state     fetching\n",
        "waits for chunks from nas\n",
        "fetched   1.0 MiB of 5.0 MiB\n",
        "version   3f2a:17, after 9c01:4\n",
        "held here no\n",
        "held by   nas\n",
    ] {
        assert!(shown.contains(line), "{line:?} isn't in\n{shown}");
    }
    assert_eq!(
        daemon.json("file Photos /home/u/Photos/a.jpg").await["state"],
        "fetching"
    );
    assert_eq!(
        daemon.piped("file Photos nothing").await.out,
        "file\tnothing\nfolder\tPhotos\nstate\tabsent\n"
    );
    assert_eq!(
        daemon.piped("file Photos /etc/passwd").await.exit,
        Exit::Usage
    );
}

#[tokio::test]
async fn wait_ends_when_it_can() {
    let daemon = Daemon::start().await;
    let done = daemon.piped("wait Docs --peers 1").await;
    assert_eq!(
        (done.exit, done.out.as_str()),
        (
            Exit::Done,
            "Docs is in sync with 1 peer: 10 files, 20.0 KiB\n"
        )
    );
    assert_eq!(daemon.json("wait Docs").await["state"], "in-sync");

    let late = daemon.piped("wait Photos --timeout 0").await;
    assert_eq!(late.exit, Exit::TimedOut);
    assert!(
        late.err.starts_with(
            "error: after 0 s Photos is syncing, it needs 800 files, 3.0 GiB, 2 deletions\n"
        ),
        "{}",
        late.err
    );
    let late = daemon.piped("wait Docs --peers 2 --timeout 0").await;
    assert!(
        late.err
            .starts_with("error: after 0 s Docs is in sync with 1 peer, not with 2\n"),
        "{}",
        late.err
    );

    daemon.fake.edit_folder("Docs", |folder| {
        folder.state = FolderState::Stopped;
        folder.reason = Some("its root is gone".into());
        folder.hint = Some("`syncctl folder move Docs DIR` says where it is".into());
    });
    let stopped = daemon.piped("wait Docs").await;
    assert_eq!(stopped.exit, Exit::Failed);
    assert_eq!(
        stopped.err,
        "error: Docs is stopped: its root is gone\n  `syncctl folder move Docs DIR` says where it is\n"
    );
}

#[tokio::test]
async fn wait_sees_the_change() {
    let daemon = Daemon::start().await;
    let waiting = daemon.piped("wait Photos --timeout 60");
    let change = async {
        // The wait has begun when its first request was answered; whichever comes first, it must end.
        tokio::task::yield_now().await;
        daemon.fake.edit_folder("Photos", |folder| {
            folder.need = Need::default();
            folder.state = FolderState::InSync;
        });
    };
    let (done, ()) = tokio::join!(waiting, change);
    assert_eq!(done.exit, Exit::Done);
    assert!(
        done.err
            .contains("2 items are stuck; `syncctl errors Photos`"),
        "{}",
        done.err
    );
}

#[tokio::test]
async fn events_are_lines_until_the_daemon_stops() {
    let daemon = Daemon::start().await;
    daemon.piped("folder pause Docs").await;
    let (mut out, captured) = Out::captured("", false);
    let home = daemon.home.path().to_str().unwrap();
    let cli = Cli::try_parse_from(["syncctl", "--home", home, "events", "--since", "0"]).unwrap();
    let stop = async {
        while !captured.stdout().ends_with('\n') {
            tokio::task::yield_now().await;
        }
        daemon.fake.shutdown().await.unwrap();
    };
    let (exit, ()) = tokio::join!(run(cli, &mut out), stop);
    assert_eq!((exit, captured.stderr().as_str()), (Exit::Done, ""));
    let types: Vec<Value> = captured
        .stdout()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types, ["folder-state", "stopping"]);
}

#[tokio::test]
async fn shutdown_waits_for_the_end() {
    let daemon = Daemon::start().await;
    let ran = daemon.piped("shutdown").await;
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (Exit::Done, "the daemon has stopped\n")
    );
    assert!(daemon.stop.is_cancelled());
    assert_eq!(daemon.piped("status").await.exit, Exit::NoDaemon);
}
