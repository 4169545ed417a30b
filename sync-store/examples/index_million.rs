//! Fills an index with a million files and shows what that costs.
//!
//! ```text
//! cargo run --release -p sync-store --example index_million -- [--files N] [--cache MIB] [--edit PERCENT] [--dir DIR]
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
    entry::{Entry, Kind},
    ids::{ReplicaId, Seq},
    index::{Batch, Index, IndexEntry},
    keys::FolderKeys,
    manifest::ContentRoot,
    path::RelPath,
    record::sign,
    secret::Secret,
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
    /// How many of a hundred files are changed at the end.
    edit: u64,
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
            args.edit,
        );
    }
    let temp = std::env::temp_dir().join(format!("index-million-{}", std::process::id()));
    let dir = args.dir.unwrap_or(temp);
    let filled = fill(&dir, options, args.files).and_then(|()| {
        // In a process of its own, so that memory is counted from the start.
        let status = Command::new(std::env::current_exe()?)
            .args(["--reopened", "--files", &args.files.to_string()])
            .args(["--cache", &args.cache.to_string()])
            .args(["--edit", &args.edit.to_string(), "--dir"])
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
        edit: 0,
        dir: None,
        reopened: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--files" => parsed.files = value()?.parse()?,
            "--cache" => parsed.cache = value()?.parse()?,
            "--edit" => parsed.edit = value()?.parse()?,
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
    let keys = keys();
    for first in (0..files).step_by(BATCH as usize) {
        let numbers: Vec<_> = (first..(first + BATCH).min(files)).collect();
        index.commit(batch(&keys, &numbers, first + 1)?)?;
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
    compact(&index, files)?;
    drop(index);
    println!("{:>34} MiB on disk", size(dir)? >> 20);
    Ok(())
}

fn compact(index: &SledIndex, files: u64) -> Result<()> {
    let start = Instant::now();
    let done = index.compact()?.ok_or("it could not be compacted")?;
    let what = format!(
        "compacted, {} to {} bytes a file",
        done.before / files,
        done.after / files
    );
    show(&what, start.elapsed().as_secs_f64())
}

fn reopen(dir: &Path, options: Options, files: u64, edit: u64) -> Result<()> {
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

    let (start, keys) = (Instant::now(), keys());
    let mut seq = files + 1;
    for round in 0..20 {
        let numbers: Vec<_> = (0..1000)
            .map(|n| (round * 1000 + n) * 48_271 % files)
            .collect();
        index.commit(batch(&keys, &numbers, seq)?)?;
        seq += 1000;
        index.flush()?;
    }
    show("20,000 changed at random", start.elapsed().as_secs_f64())?;
    if edit > 0 {
        println!("{:>34} MiB on disk", size(dir)? >> 20);
        let start = Instant::now();
        for first in (0..files * edit / 100).step_by(1000) {
            let numbers: Vec<_> = (first..first + 1000).map(|n| n * 48_271 % files).collect();
            index.commit(batch(&keys, &numbers, seq)?)?;
            seq += 1000;
            if first % 32_000 == 0 {
                index.flush()?;
            }
        }
        index.flush()?;
        show(
            &format!("{edit} % changed at random"),
            start.elapsed().as_secs_f64(),
        )?;
    }
    compact(&index, files)?;
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

fn keys() -> FolderKeys {
    FolderKeys::derive(&Secret::generate([7; 21]))
}

/// Files with these numbers as they are found on disk and signed, 64 at a time.
fn batch(keys: &FolderKeys, numbers: &[u64], seq: u64) -> Result<Batch> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let replica = ReplicaId(u64::MAX - 5);
    let said = (seq..).zip(&numbers).map(|(counter, n)| {
        let entry = Entry {
            path: path(*n)?,
            kind: Kind::File,
            size: 1000 + n,
            mtime_ns: mtime(*n),
            mode: 0o644,
            content: Some(content(*n)),
            prev: None,
            target: None,
            author: replica,
        };
        Ok((
            entry,
            Version::new(Dot { replica, counter }, &Vector::new()),
        ))
    });
    let signed = sign(keys, 0, said.collect::<Result<_>>()?)?;
    let entries = (seq..).zip(signed.records).zip(numbers);
    Ok(Batch {
        entries: entries
            .map(|((seq, record), n)| {
                let stat = DiskStat {
                    kind: DiskKind::File,
                    size: 1000 + n,
                    mtime_ns: mtime(n),
                    ctime_ns: mtime(n) + 1_000_007,
                    mode: 0o644,
                    ino: 1_000_000 + n,
                    dev: 65_026,
                };
                let entry = IndexEntry {
                    seq,
                    stat: Some(stat),
                    content: record.entry.content,
                    held: Some(record.raw().clone()),
                    ..IndexEntry::default()
                };
                (record.entry.path.clone(), Some(entry))
            })
            .collect(),
        proofs: signed.proofs,
        ..Batch::default()
    })
}

fn mtime(n: u64) -> i64 {
    1_700_000_000_000_000_000 + n as i64 * 1_000_003
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
