//! Scans a directory and prints how long it took: `scan_tree DIR [THREADS]`.
//!
//! The first scan meets an empty index and reads everything; the second one meets what the first one found.

use std::{
    error::Error,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use sync_core::{
    disk::Found,
    index::{Batch, Index, IndexEntry, MemIndex},
};
use sync_store::{
    fs::RootDisk,
    scan::{ScanEvent, ScanOptions, Scanner},
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().ok_or("usage: scan_tree DIR [THREADS]")?;
    let mut options = ScanOptions::new(1);
    if let Some(threads) = args.next() {
        options.threads = threads.to_str().ok_or("THREADS is a number")?.parse()?;
    }
    let mut index = MemIndex::new();
    let scanner = Scanner::new(Arc::new(RootDisk::open(dir)?), index.clone(), options);
    let cancel = AtomicBool::new(false);
    for name in ["cold index", "warm index"] {
        let mut found = Vec::new();
        let start = Instant::now();
        let mut sink = |event| match event {
            ScanEvent::Items(items) => found.extend(items),
            ScanEvent::Skipped { path, reason } => {
                println!("skipped {}: {reason}", String::from_utf8_lossy(&path));
            }
        };
        let summary = scanner.scan_all(&mut sink, &cancel)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name}: {seconds:.3} s, {} files ({:.0}/s), {} dirs, {} hashed, {:.0} MB ({:.2} GB/s)",
            summary.files,
            summary.files as f64 / seconds,
            summary.dirs,
            summary.hashed,
            summary.bytes as f64 / 1e6,
            summary.bytes as f64 / 1e9 / seconds,
        );
        let mut batch = Batch::default();
        for item in found {
            let (stat, content) = match item.found {
                Found::File { stat, content, .. } => (Some(stat), Some(content)),
                Found::Dir { stat } | Found::Symlink { stat, .. } => (Some(stat), None),
                _ => (None, None),
            };
            let entry = IndexEntry {
                stat,
                content,
                ..IndexEntry::default()
            };
            batch.entries.push((item.path, Some(entry)));
        }
        index.commit(batch)?;
    }
    Ok(())
}
