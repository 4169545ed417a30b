//! Killed at any moment, the index holds all that was flushed, and no part of a batch.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use sync_core::index::{Batch, Index};

use super::*;

const DIR: &str = "SYNC_STORE_CRASH_TEST";
const FILES: u64 = 60;

/// Not a test of its own: what the killed process does.
#[test]
#[ignore = "started by a_killed_process_loses_nothing_flushed"]
fn commit_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let mut index = open(Path::new(&dir));
    let start = round(&index);
    for n in start + 1..start + 100_000 {
        let entries = (0..FILES).map(|f| {
            let content = root((n % 250) as u8, 0);
            (
                path(&format!("dir/{f:03}")),
                Some(file(n * FILES + f, n, content)),
            )
        });
        let facts = vec![(b"round".to_vec(), Some(n.to_be_bytes().to_vec()))];
        index
            .commit(proven(Batch {
                entries: entries.collect(),
                facts,
                ..Batch::default()
            }))
            .unwrap();
        if n % 5 == 0 {
            index.compact().unwrap().unwrap();
        }
        if n % 3 == 0 {
            index.flush().unwrap();
            println!("\nflushed {n}");
        }
    }
}

fn round(index: &SledIndex) -> u64 {
    let fact = index.fact(b"round").unwrap();
    fact.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()))
}

#[test]
fn a_killed_process_loses_nothing_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let name = concat!(module_path!(), "::commit_until_killed");
    let name = name.split_once("::").unwrap().1;
    for life in 1..5u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut flushed = 0;
        let marks = out.lines().map_while(Result::ok);
        for mark in marks.filter_map(|l| l.strip_prefix("flushed ")?.parse::<u64>().ok()) {
            flushed = mark;
            if mark >= life * 60 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let index = open(dir.path());
        let reached = round(&index);
        assert!(
            flushed > 0 && reached >= flushed,
            "flushed {flushed}, found {reached}"
        );
        let entries = index.entries_after(None, usize::MAX).unwrap();
        assert_eq!(entries.len() as u64, FILES);
        let whole = |e: &IndexEntry| e.stat.unwrap().size == reached && e.seq / FILES == reached;
        assert!(
            entries.iter().all(|(_, e)| whole(e)),
            "a batch was torn at {reached}"
        );
        let changes = index
            .changes_after(sync_core::ids::Seq(0), usize::MAX)
            .unwrap();
        assert_eq!(changes.len() as u64, FILES);
        let content = root((reached % 250) as u8, 0);
        assert_eq!(
            index.with_content(&content, usize::MAX).unwrap().len() as u64,
            FILES
        );
        assert_eq!(index.totals().unwrap().local.bytes, FILES * reached);
    }
}
