//! A daemon that is killed in a transfer, at any moment: it finishes after a restart, no path ever shows a part of
//! a file, and little is sent twice. What was sent is what the interfaces counted.
//!
//! `KILLS_MIB`, `KILLS`, `KILLS_MBIT` and `KILLS_SEED` make it larger, longer, faster or the same again:
//!
//! ```text
//! SYNCD_LAB=1 KILLS_MIB=1024 KILLS=20 KILLS_MBIT=0 cargo test --release -p integration-tests --test lab_kills -- --nocapture
//! ```

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use integration_tests::{
    cluster::{Machine, assert_same},
    lab::{CABLE, Lab},
    programs,
};

/// What may be sent twice for each kill: a twentieth of the file or this, whichever is more.
const TWICE: u64 = 32 << 20;
/// Heads of packets and of our own records and manifests, as a part of what is sent: one in this many bytes.
const HEADS: u64 = 50;
/// How long a transfer may stand still.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Numbers that look random: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// Writes `size` bytes that nothing can compress and no two chunks of which are the same.
fn write_random(path: &Path, size: u64, seed: u64) {
    let mut stream = blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof();
    let mut file = fs::File::create(path).unwrap();
    let mut buf = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        stream.fill(&mut buf);
        file.write_all(&buf).unwrap();
    }
}

#[test]
fn killed_at_any_moment_it_finishes_and_sends_little_twice() {
    let Some(lab) = Lab::new() else {
        return;
    };
    let size = setting("KILLS_MIB", 256) << 20;
    let kills = setting("KILLS", 4);
    let megabits = setting("KILLS_MBIT", 1000);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let seed = setting("KILLS_SEED", u64::try_from(now).unwrap());
    println!(
        "KILLS_MIB={} KILLS={kills} KILLS_MBIT={megabits} KILLS_SEED={seed}",
        size >> 20
    );
    if megabits > 0 {
        lab.limit(CABLE, u32::try_from(megabits).unwrap());
    }
    let mut random = Random(seed);
    let [first, second] = lab.names();
    let mut a = Machine::inside(&programs!(), first).unwrap();
    let mut b = Machine::inside(&programs!(), second).unwrap();
    write_random(&a.folder().join("big"), size, seed);
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    // The file is known before anything is killed, so that what is measured is the transfer.
    until("the file to be scanned", || {
        a.json(&["folder", "show", "folder"]).unwrap()["local"]["bytes"] == size
    });
    let there = b.folder().join("big");
    b.start(Some(&secret), &[]).unwrap();

    // Moments, as bytes that have come; the last ones may find the file there already.
    let mut moments: Vec<_> = (0..kills).map(|_| random.below(size + size / 20)).collect();
    moments.sort_unstable();
    let began = Instant::now();
    let (mut in_time, mut killed) = (0, [0_u64; 2]);
    for (n, moment) in moments.iter().enumerate() {
        until("bytes to come", || {
            assert!(
                whole_or_nothing(&there, size),
                "a part of the file is shown"
            );
            lab.counters(CABLE).received >= *moment || there.exists()
        });
        in_time += u64::from(!there.exists());
        let (name, victim) = match n % 2 {
            0 => ("receiver", &mut b),
            _ => ("sender", &mut a),
        };
        killed[n % 2] += 1;
        victim.kill().unwrap();
        let came = lab.counters(CABLE).received;
        println!(
            "{:>6} ms: {name} killed, {} MiB came",
            began.elapsed().as_millis(),
            came >> 20
        );
        assert!(
            whole_or_nothing(&there, size),
            "a part of the file is shown"
        );
        victim.start(None, &[]).unwrap();
    }
    a.wait(1, 300).unwrap();
    b.wait(1, 300).unwrap();
    assert_same(&a.folder(), &b.folder());
    let came = lab.counters(CABLE);
    let bound = size + size / HEADS + kills * TWICE.max(size / 20);
    println!(
        "file {size}, received {}, sent {}: {} more than the file, {:.2} % of it or {:.1} MiB a kill; bound {bound}; \
         kills: {} of the receiver, {} of the sender, {in_time} in the transfer; {:?}",
        came.received,
        came.sent,
        came.received.saturating_sub(size),
        came.received.saturating_sub(size) as f64 * 100.0 / size as f64,
        came.received.saturating_sub(size) as f64 / kills.max(1) as f64 / f64::from(1 << 20),
        killed[0],
        killed[1],
        began.elapsed(),
    );
    assert!(
        in_time * 2 >= kills,
        "the transfer was over too soon to be interrupted"
    );
    assert!(came.received <= bound, "{came:?}, and {bound} is the most");
    assert!(
        came.sent <= bound - size,
        "{came:?}: the receiver sent the file back"
    );
    let left: Vec<_> = fs::read_dir(b.folder().join(".sync/tmp"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "left over: {left:?}");
}

fn whole_or_nothing(path: &Path, size: u64) -> bool {
    fs::metadata(path).map_or(true, |meta| meta.len() == size)
}

/// Looks until it is so. Each look takes a moment, because it starts a program.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
    }
}
