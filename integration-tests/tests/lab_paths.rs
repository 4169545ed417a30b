//! Two machines with two cables between them: whatever happens to one, the other carries on.
//!
//! The first cable that is used falls silent in the middle of a transfer: nothing is reported, packets just don't
//! arrive. Prints how long nothing came. See `integration_tests::lab` for what it needs.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use integration_tests::{
    cluster::{Machine, assert_same},
    lab::{CABLE, Lab, SECOND},
    programs,
};

const SIZE: u64 = 96 << 20;
const MEGABITS: u32 = 200;

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed().as_secs() < 60, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cable_that_falls_silent_in_a_transfer_is_replaced_by_the_other() {
    let Some(lab) = Lab::with([&["10.77.1.1/24"], &["10.77.1.2/24"]]) else {
        return;
    };
    lab.put(SECOND, [&["10.77.2.1/24"], &["10.77.2.2/24"]]);
    for cable in [CABLE, SECOND] {
        lab.limit(cable, MEGABITS);
    }
    let [first, second] = lab.names();
    let mut a = Machine::inside(&programs!(), first).unwrap();
    let mut b = Machine::inside(&programs!(), second).unwrap();
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    b.start(Some(&secret), &[]).unwrap();
    let here = ["10.77.1.2", "10.77.2.2"];
    // Both cables lead to the other machine, and both are kept.
    until("two sessions", || {
        let found = a.json(&["discover", "folder"]).unwrap().to_string();
        here.iter().all(|address| found.contains(address))
            && found.matches("connected").count() >= 2
    });
    // xorshift64*: nothing in it comes twice.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..SIZE / 8)
        .flat_map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
        })
        .collect();
    fs::write(a.folder().join("big"), bytes).unwrap();
    let came = |cable: &str| lab.counters(cable).received;
    until("a third to come", || came(CABLE) + came(SECOND) > SIZE / 3);
    let before = [CABLE, SECOND].map(came);
    let (used, other) = match before[0] > before[1] {
        true => (CABLE, SECOND),
        false => (SECOND, CABLE),
    };
    // One carries the bytes, the other next to nothing.
    assert!(before[0].min(before[1]) < SIZE / 50, "{before:?}");
    lab.silence(used);
    let silent = Instant::now();
    let start = came(other);
    until("the other cable to carry it", || {
        came(other) > start + (1 << 20)
    });
    let gap = silent.elapsed();
    let there = b.folder().join("big");
    until("all to come", || there.exists());
    // Until the silence is noticed some of what was asked was on its way and lost.
    let all = came(CABLE) + came(SECOND);
    println!(
        "a silent cable cost {} ms; {:.2} % more than the file came",
        gap.as_millis(),
        (all as f64 / SIZE as f64 - 1.0) * 100.0
    );
    assert!(all < SIZE + SIZE / 4, "{all} bytes for {SIZE}");
    a.wait(1, 60).unwrap();
    assert_same(&a.folder(), &b.folder());
    assert!(a.stop().unwrap());
    assert!(b.stop().unwrap());
}
