//! Fills an index with a million files and shows what that costs.
//!
//! ```text
//! cargo run --release -p sync-store --example index_million -- [--files N] [--cache MIB] [--dir DIR]
//! ```
//!
//! The figures of `docs/adr/0001-index-schema.md` come from here. The index is made in a temporary
//! directory, or in `DIR`, which must be empty, and removed afterwards.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use sync_core::{
    chunk::ContentHash,
    disk::{DiskKind, DiskStat},
    entry::Kind,
    ids::{ReplicaId, Seq},
    index::{Batch, Index, IndexEntry},
    manifest::ContentRoot,
    path::RelPath,
    record::RawRecord,
    version::{Dot, Vector, Version},
};
use sync_store::sled_index::{Options, SledIndex};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BATCH: u64 = 1000;
/// Batches between two flushes: about a second of a first scan.
const FLUSH: u64 = 32;

struct Args {
    files: u64,
    cache: u64,
    dir: Option<PathBuf>,
    reopened: bool,
}

fn main() -> Result<()> {
    let args = parse()?;
    let options = Options {
        cache: args.cache << 20,
    };
    if args.reopened {
        return reopen(
            args.dir.as_deref().ok_or("no directory")?,
            options,
            args.files,
        );
    }
    let temp = std::env::temp_dir().join(format!("index-million-{}", std::process::id()));
    let dir = args.dir.unwrap_or(temp);
    let filled = fill(&dir, options, args.files).and_then(|()| {
        // In a process of its own, so that memory is counted from the start.
        let status = Command::new(std::env::current_exe()?)
            .args(["--reopened", "--files", &args.files.to_string()])
            .args(["--cache", &args.cache.to_string(), "--dir"])
            .arg(&dir)
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err("the second process failed".into())
        }
    });
    fs::remove_dir_all(&dir)?;
    filled
}

fn parse() -> Result<Args> {
    let mut parsed = Args {
        files: 1_000_000,
        cache: 16,
        dir: None,
        reopened: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--files" => parsed.files = value()?.parse()?,
            "--cache" => parsed.cache = value()?.parse()?,
            "--dir" => parsed.dir = Some(value()?.into()),
            "--reopened" => parsed.reopened = true,
            _ => return Err(format!("unknown argument {arg}").into()),
        }
    }
    Ok(parsed)
}

fn fill(dir: &Path, options: Options, files: u64) -> Result<()> {
    let start = Instant::now();
    let (mut index, _) = SledIndex::open(dir, options)?;
    let raw = record()?;
    for first in (0..files).step_by(BATCH as usize) {
        let mut batch = Batch::default();
        for n in first..(first + BATCH).min(files) {
            batch.entries.push((path(n)?, Some(entry(n, n + 1, &raw))));
        }
        index.commit(batch)?;
        if first / BATCH % FLUSH == FLUSH - 1 {
            index.flush()?;
        }
    }
    index.flush()?;
    let secs = start.elapsed().as_secs_f64();
    show(
        &format!("{files} files inserted, {:.0}/s", files as f64 / secs),
        secs,
    )?;
    drop(index);
    println!("{:>34} MiB on disk", size(dir)? >> 20);
    Ok(())
}

fn reopen(dir: &Path, options: Options, files: u64) -> Result<()> {
    let start = Instant::now();
    let (mut index, _) = SledIndex::open(dir, options)?;
    show("opened again", start.elapsed().as_secs_f64())?;

    let start = Instant::now();
    let (mut after, mut seen) = (None, 0);
    loop {
        let entries = index.entries_after(after.as_ref(), 1000)?;
        let Some((last, _)) = entries.last() else {
            break;
        };
        seen += entries.len() as u64;
        after = Some(last.clone());
    }
    if seen != files || index.totals()?.local.files != files {
        return Err(format!("{seen} entries of {files}").into());
    }
    show("all entries read in order", start.elapsed().as_secs_f64())?;

    let start = Instant::now();
    let (mut after, mut seen) = (Seq(0), 0);
    loop {
        let changes = index.changes_after(after, 1000)?;
        let Some((last, _)) = changes.last() else {
            break;
        };
        (seen, after) = (seen + changes.len() as u64, *last);
    }
    if seen != files {
        return Err(format!("{seen} changes of {files}").into());
    }
    show("all changes read in order", start.elapsed().as_secs_f64())?;

    let start = Instant::now();
    for n in (0..20_000).map(|n| n * 48_271 % files) {
        if index.with_content(&content(n), 1)?.is_empty() {
            return Err(format!("content {n} isn't found").into());
        }
    }
    show("20,000 found by content", start.elapsed().as_secs_f64())?;

    let (start, raw) = (Instant::now(), record()?);
    for round in 0..20 {
        let mut batch = Batch::default();
        for n in (0..1000).map(|n| (round * 1000 + n) * 48_271 % files) {
            let seq = files + 1 + round * 1000 + batch.entries.len() as u64;
            batch.entries.push((path(n)?, Some(entry(n, seq, &raw))));
        }
        index.commit(batch)?;
        index.flush()?;
    }
    show("20,000 changed at random", start.elapsed().as_secs_f64())?;
    drop(index);
    println!("{:>34} MiB on disk", size(dir)? >> 20);
    Ok(())
}

fn path(n: u64) -> Result<RelPath> {
    let text = format!(
        "src/{:04}-module/{:02}-part/file_{n:06}.rs",
        n / 10_000,
        n / 100 % 100
    );
    Ok(RelPath::parse(text.as_bytes())?)
}

fn content(n: u64) -> ContentRoot {
    ContentRoot {
        hash: ContentHash::chunk(&n.to_le_bytes()),
        height: 0,
    }
}

fn entry(n: u64, seq: u64, raw: &RawRecord) -> IndexEntry {
    let stat = DiskStat {
        kind: DiskKind::File,
        size: 1000 + n,
        mtime_ns: 1_700_000_000_000_000_000 + n as i64 * 1_000_003,
        ctime_ns: 1_700_000_000_000_000_000 + n as i64 * 1_000_007,
        mode: 0o644,
        ino: 1_000_000 + n,
        dev: 65_026,
    };
    IndexEntry {
        seq,
        stat: Some(stat),
        content: Some(content(n)),
        held: Some(raw.clone()),
        ..IndexEntry::default()
    }
}

/// A record of 330 bytes with a true envelope; the proof is as long as one of a batch of sixteen.
fn record() -> Result<RawRecord> {
    let dot = Dot {
        replica: ReplicaId(u64::MAX - 5),
        counter: 1 << 24,
    };
    let mut signed = minicbor::Encoder::new(Vec::new());
    signed.array(7)?.u8(1)?.u32(0)?.bytes(&[7; 16])?;
    signed
        .encode(Version::new(dot, &Vector::new()))?
        .u8(Kind::File.code())?
        .null()?;
    signed.bytes(&[9; 78])?;
    let mut both = minicbor::Encoder::new(Vec::new());
    both.array(2)?.bytes(signed.writer())?.bytes(&[5; 194])?;
    Ok(minicbor::decode(both.writer())?)
}

fn size(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for item in fs::read_dir(dir)? {
        let meta = item?.metadata()?;
        sum += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(sum)
}

/// Prints a figure with the memory used now and at most.
fn show(what: &str, secs: f64) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map_or("?".to_owned(), |kib| (kib / 1024).to_string())
    };
    println!(
        "{what:>38}: {secs:6.2} s, {} MiB resident, {} MiB at most",
        mib("VmRSS"),
        mib("VmHWM")
    );
    Ok(())
}
