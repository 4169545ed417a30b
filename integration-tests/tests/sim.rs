//! Many seeds of the simulator. See the crate's README for the variables that steer them.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    sync::{Mutex, PoisonError},
    thread,
};

use integration_tests::sim::{MIN_FAULTS, MIN_OPS, Options, Report, Simulation, Totals};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 100;
/// Threads that run them, if `SIM_THREADS` says nothing.
const THREADS: u64 = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .and_then(|text| text.trim().parse().ok())
}

fn options() -> Options {
    Options {
        trace: std::env::var_os("SIM_TRACE").is_some(),
        max_ops: number("SIM_OPS").map(|n| n as usize),
        max_faults: number("SIM_FAULTS").map(|n| n as usize),
        nodes: number("SIM_NODES").map(|n| n as usize),
        ..Options::default()
    }
}

fn run_guarded(seed: u64, options: Options) -> Report {
    let run = std::panic::catch_unwind(|| Simulation::new(seed, options).run());
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let failure = format!("panic: {}", text.unwrap_or_default());
        Report {
            seed,
            trace_hash: 0,
            totals: Totals::default(),
            failure: Some(failure),
        }
    })
}

/// Runs a seed twice, or once if `SIM_ONCE` is set, and sees that it did its share.
fn checked(seed: u64) -> Report {
    let first = run_guarded(seed, options());
    if first.failure.is_some() {
        return first;
    }
    let once = std::env::var_os("SIM_ONCE").is_some();
    let second = (!once).then(|| run_guarded(seed, options()));
    if let Some(second) = second.filter(|second| *second != first) {
        let why = format!("the two runs differ: {first:?} and {second:?}");
        return Report {
            failure: Some(why),
            ..first
        };
    }
    let whole = options().max_ops.is_none() && options().max_faults.is_none();
    let share = first.totals.ops >= MIN_OPS as u64 && first.totals.faults >= MIN_FAULTS as u64;
    if whole && !share {
        let why = format!("too little happened: {:?}", first.totals);
        return Report {
            failure: Some(why),
            ..first
        };
    }
    first
}

#[test]
fn seeds() {
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let start = number("SIM_START").unwrap_or(1);
    let next = AtomicU64::new(start);
    let totals = Mutex::new(Totals::default());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..number("SIM_THREADS").unwrap_or(THREADS) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + count {
                        return;
                    }
                    let report = checked(seed);
                    totals
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(&report.totals);
                    if let Some(why) = report.failure {
                        println!(
                            "SIM_SEED={seed} cargo test -p integration-tests --test sim replay -- \
                             --nocapture   # {why}"
                        );
                        failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(seed);
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{totals:#?}");
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failures.sort_unstable();
    assert!(
        failures.is_empty(),
        "{} of {count} seeds failed: {failures:?}",
        failures.len()
    );
}

/// Repeats the seed in `SIM_SEED`, with every step printed if `SIM_TRACE` is set.
#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else {
        return;
    };
    let report = checked(seed);
    println!("{:#?}", report.totals);
    assert_eq!(report.failure, None, "seed {seed}");
}
