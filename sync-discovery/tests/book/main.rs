//! The address book in virtual time.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

mod pacing;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use sync_discovery::book::{
    Added, AddressBook, BookConfig, BookEntry, Dial, Ended, EntryState, FailReason, PeerTag,
    Refusal,
};
use sync_discovery::{Candidate, FolderTag, Source};

const F: FolderTag = FolderTag([1; 32]);
const P: PeerTag = PeerTag([9; 32]);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn book() -> AddressBook {
    AddressBook::new(BookConfig::default(), &[3; 32], Duration::ZERO)
}

fn add(book: &mut AddressBook, text: &str, source: Source, life: u64, now: Duration) -> Added {
    let expires = now.saturating_add(secs(life));
    book.add(
        Candidate {
            folder: F,
            addr: addr(text),
            source,
            expires,
        },
        now,
    )
}

fn line(book: &AddressBook, text: &str) -> BookEntry {
    let mut all = book.snapshot(F).into_iter();
    all.find(|e| e.addr == addr(text)).expect("in the book")
}

fn bogus(i: u32) -> SocketAddr {
    let [_, b, c, d] = i.to_be_bytes();
    SocketAddr::from(([100, 64 + b, c, d], 6000))
}

/// Runs the book in steps of 100 ms; every dial fails but those to `real`.
/// Gives the time of each dial.
fn run(
    book: &mut AddressBook,
    from: Duration,
    until: Duration,
    real: &[SocketAddr],
    reason: FailReason,
) -> Vec<(Duration, Dial)> {
    let mut log = Vec::new();
    let mut now = from;
    while now < until {
        for dial in book.due_dials(now, 100) {
            log.push((now, dial));
            if real.contains(&dial.addr) {
                book.connected(dial.folder, dial.addr, P, now);
            } else {
                book.failed(dial.folder, dial.addr, reason, "", now);
            }
        }
        now += Duration::from_millis(100);
    }
    log
}

#[test]
fn ten_thousand_bogus_addresses_starve_nobody() {
    let mut book = book();
    let sources = [Source::Tracker, Source::Dht, Source::Pex];
    for folder in 0..40 {
        for i in 0..10_000 {
            let (folder, addr) = (FolderTag::from(folder), bogus(i));
            let source = sources[i as usize % 3];
            book.add(
                Candidate {
                    folder,
                    addr,
                    source,
                    expires: Duration::MAX,
                },
                secs(0),
            );
        }
        assert_eq!(book.snapshot(FolderTag::from(folder)).len(), 150);
    }
    let flood = run(&mut book, secs(0), secs(60), &[], FailReason::Silence);
    // First dials at strangers' word, and later ones: each has its budget, and uses it.
    let mut seen = std::collections::BTreeSet::new();
    let (first, again): (Vec<_>, Vec<_>) = flood
        .iter()
        .partition(|(_, dial)| seen.insert((dial.folder, dial.addr)));
    assert!(first.len() <= 40 + 20 * 60, "{}", first.len());
    assert!(first.len() >= 20 * 60, "{}", first.len());
    assert!(again.len() <= 10 + 5 * 60, "{}", again.len());
    assert!(again.len() >= 5 * 50, "{}", again.len());
    for (at, _) in &flood {
        let in_second = |log: &[&(Duration, Dial)]| {
            let second = *at..*at + secs(1);
            log.iter().filter(|(t, _)| second.contains(t)).count()
        };
        assert!(in_second(&first) <= 60 && in_second(&again) <= 15);
    }
    // And nobody is flooded by us.
    let mut hosts = BTreeMap::<_, usize>::new();
    for (_, dial) in &flood {
        *hosts.entry(dial.addr.ip()).or_default() += 1;
    }
    assert!(hosts.values().all(|dials| *dials <= 32 + 4 * 60));

    // Into the middle of it comes one real address from each kind of source.
    let real = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(addr);
    let now = secs(60);
    for (addr, source) in real
        .into_iter()
        .zip([Source::Lan, Source::KnownHost, Source::Invite])
    {
        book.add(
            Candidate {
                folder: F,
                addr,
                source,
                expires: Duration::MAX,
            },
            now,
        );
    }
    let log = run(&mut book, now, secs(70), &real, FailReason::Silence);
    for addr in real {
        let at = log.iter().find(|(_, d)| d.addr == addr).map(|(at, _)| *at);
        let soon = Duration::from_millis(200);
        assert!(at.is_some_and(|at| at - now <= soon), "{addr} {at:?}");
    }
}

#[test]
fn a_distant_source_has_its_turn_beside_a_flooded_near_one() {
    let mut book = book();
    for folder in 0..100 {
        for i in 0..50 {
            let (folder, addr) = (FolderTag::from(folder), bogus(i));
            book.add(
                Candidate {
                    folder,
                    addr,
                    source: Source::Lan,
                    expires: Duration::MAX,
                },
                secs(0),
            );
            let addr = bogus(i + 100);
            book.add(
                Candidate {
                    folder,
                    addr,
                    source: Source::Dht,
                    expires: Duration::MAX,
                },
                secs(0),
            );
        }
    }
    run(&mut book, secs(0), secs(20), &[], FailReason::Silence);
    add(&mut book, "10.0.0.1:1", Source::Pex, 1000, secs(20));
    let log = run(
        &mut book,
        secs(20),
        secs(30),
        &[addr("10.0.0.1:1")],
        FailReason::Silence,
    );
    let at = log
        .iter()
        .find(|(_, d)| d.addr == addr("10.0.0.1:1"))
        .map(|(at, _)| *at - secs(20))
        .expect("dialled");
    assert!(at <= Duration::from_millis(200), "after {at:?}");
}

#[test]
fn a_real_address_is_found_among_the_bogus_ones_of_its_own_source() {
    let mut book = book();
    let real = addr("10.0.0.1:1");
    let mut now = secs(0);
    let mut found = None;
    // Each minute a tracker names 200 addresses, the real one at a place that
    // changes and is beyond the room of 50 for the first twenty times.
    for minute in 0..60 {
        let place = 199 - minute * 7 % 200;
        for i in 0..200 {
            let addr = if i == place {
                real
            } else {
                bogus(minute * 200 + i)
            };
            let expires = now + secs(600);
            book.add(
                Candidate {
                    folder: F,
                    addr,
                    source: Source::Tracker,
                    expires,
                },
                now,
            );
        }
        let log = run(
            &mut book,
            now,
            now + secs(60),
            &[real],
            FailReason::TimedOut,
        );
        if log.iter().any(|(_, d)| d.addr == real) {
            found.get_or_insert(minute);
        }
        now += secs(60);
        assert!(book.snapshot(F).len() <= 50);
    }
    assert!(
        found.is_some_and(|minute| (1..40).contains(&minute)),
        "{found:?}"
    );
}

#[test]
fn delays_grow_to_their_limits() {
    for (source, reason, most) in [
        (Source::Tracker, FailReason::TimedOut, 300),
        (Source::Tracker, FailReason::Silence, 300),
        (Source::KnownHost, FailReason::Refused, 30),
        (Source::KnownHost, FailReason::Silence, 30),
    ] {
        let mut book = book();
        add(&mut book, "10.0.0.1:1", source, u64::MAX, secs(0));
        let log = run(&mut book, secs(0), secs(3600), &[], reason);
        let gaps: Vec<_> = log.windows(2).map(|w| w[1].0 - w[0].0).collect();
        let first = if reason == FailReason::Silence { 8 } else { 1 };
        assert!(
            gaps[0] <= secs(first) + Duration::from_millis(100),
            "{gaps:?}"
        );
        let limit = secs(most);
        assert!(
            gaps.iter()
                .all(|gap| *gap <= limit + Duration::from_millis(100))
        );
        assert!(
            gaps.last().is_some_and(|gap| *gap >= limit * 3 / 4),
            "{gaps:?}"
        );
        let entry = line(&book, "10.0.0.1:1");
        assert_eq!(entry.last_error.as_deref(), Some(reason.as_str()));
        assert_eq!(entry.failures as usize, log.len());
    }
}

#[test]
fn a_live_beacon_ends_a_long_delay() {
    let mut book = book();
    add(&mut book, "10.0.0.1:1", Source::Tracker, 100_000, secs(0));
    run(&mut book, secs(0), secs(2000), &[], FailReason::TimedOut);
    let wait = line(&book, "10.0.0.1:1")
        .next_try
        .unwrap()
        .saturating_sub(secs(2000));
    let now = secs(2000);
    add(&mut book, "10.0.0.1:1", Source::Lan, 90, now);
    let entry = line(&book, "10.0.0.1:1");
    assert_eq!(entry.sources, [Source::Lan, Source::Tracker]);
    assert!(wait > secs(1) && entry.next_try.unwrap() <= now + secs(1));
    // But each beacon does not make a dial: not within 20 s of the last.
    let log = run(&mut book, now, now + secs(2), &[], FailReason::TimedOut);
    assert_eq!(log.len(), 1);
    let before = line(&book, "10.0.0.1:1").next_try;
    add(&mut book, "10.0.0.1:1", Source::Lan, 90, now + secs(2));
    assert_eq!(line(&book, "10.0.0.1:1").next_try, before);
}

#[test]
fn age_and_withdrawal() {
    let mut book = book();
    add(&mut book, "10.0.0.1:1", Source::Lan, 90, secs(0));
    add(
        &mut book,
        "10.0.0.2:1",
        Source::KnownHost,
        u64::MAX,
        secs(0),
    );
    assert_eq!(
        add(&mut book, "10.0.0.1:1", Source::Lan, 90, secs(50)),
        Added::Refreshed
    );
    book.handle_timeout(secs(139));
    assert_eq!(book.snapshot(F).len(), 2);
    book.handle_timeout(secs(140));
    assert_eq!(book.snapshot(F).len(), 1, "LAN ages, known hosts don't");
    book.withdraw(F, addr("10.0.0.2:1"), Source::KnownHost, secs(140));
    assert_eq!(book.snapshot(F), []);
    assert_eq!(book.next_timeout(secs(140)), None);
    // A session outlives what led to it, and the address gets some more tries.
    add(&mut book, "10.0.0.1:1", Source::Lan, 90, secs(200));
    run(
        &mut book,
        secs(200),
        secs(201),
        &[addr("10.0.0.1:1")],
        FailReason::Other,
    );
    book.handle_timeout(secs(1000));
    assert_eq!(line(&book, "10.0.0.1:1").state, EntryState::Connected);
}

#[test]
fn expired_addresses_come_back_with_their_failures() {
    let mut book = book();
    add(&mut book, "10.0.0.1:1", Source::Tracker, 60, secs(0));
    run(&mut book, secs(0), secs(61), &[], FailReason::Silence);
    assert_eq!(book.snapshot(F), []);
    add(&mut book, "10.0.0.1:1", Source::Tracker, 60, secs(61));
    let entry = line(&book, "10.0.0.1:1");
    assert!(
        entry.failures >= 3 && entry.next_try.unwrap() > secs(62),
        "{entry:?}"
    );
    book.refresh_now(F, secs(62));
    assert_eq!(
        book.due_dials(secs(62), 9).len(),
        1,
        "unless the user wants it now"
    );
}

#[test]
fn own_addresses_and_second_ways_are_not_dialled() {
    let mut book = book();
    let (a, b, lan) = ("10.0.0.1:1", "10.0.0.2:1", "192.168.0.9:1");
    add(&mut book, a, Source::Tracker, 100_000, secs(0));
    assert_eq!(book.due_dials(secs(0), 9).len(), 1);
    book.ours(addr(a), secs(0));
    assert_eq!(line(&book, a).state, EntryState::Ours);
    assert_eq!(line(&book, a).next_try, None);
    assert!(book.due_dials(secs(3000), 9).is_empty());
    book.handle_network_changed(secs(3001));
    assert_eq!(book.due_dials(secs(3001), 9).len(), 1);
    book.connected(F, addr(a), P, secs(3001));

    // The same peer by another address: once, and not again while it is here.
    add(&mut book, b, Source::Pex, 100_000, secs(3001));
    assert_eq!(book.due_dials(secs(3002), 9).len(), 1);
    book.connected(F, addr(b), P, secs(3002));
    book.disconnected(F, addr(b), P, Ended::Over, secs(3003));
    assert_eq!(line(&book, b).state, EntryState::ConnectedElsewhere);
    assert!(book.due_dials(secs(9000), 9).is_empty());

    // A LAN is a better way, and is tried.
    add(&mut book, lan, Source::Lan, 1000, secs(9000));
    let dials = book.due_dials(secs(9001), 9);
    assert_eq!(
        dials,
        [Dial {
            folder: F,
            addr: addr(lan),
            source: Source::Lan
        }]
    );
    book.connected(F, addr(lan), P, secs(9001));

    // When all is lost, all are tried again.
    for text in [a, lan] {
        book.disconnected(F, addr(text), P, Ended::Over, secs(9100));
    }
    assert_eq!(book.due_dials(secs(9102), 9).len(), 3);
}

#[test]
fn incoming_sessions_are_shown_but_not_dialled() {
    let mut book = book();
    book.connected(F, addr("10.0.0.1:40000"), P, secs(0));
    let entry = line(&book, "10.0.0.1:40000");
    assert_eq!(
        (entry.state, &entry.sources[..]),
        (EntryState::Connected, &[Source::Incoming][..])
    );
    book.disconnected(F, addr("10.0.0.1:40000"), P, Ended::Over, secs(5));
    assert_eq!(book.snapshot(F), []);
}

#[test]
fn a_folder_that_rests_is_not_dialled() {
    let mut book = book();
    add(&mut book, "10.0.0.1:1", Source::KnownHost, 1000, secs(0));
    book.rest(F);
    assert!(book.due_dials(secs(0), 9).is_empty());
    // Only until it is forgotten.
    assert_eq!(book.next_timeout(secs(0)), Some(secs(1000)));
    assert_eq!(line(&book, "10.0.0.1:1").next_try, None);
    book.wake(F, secs(5));
    assert_eq!(book.next_timeout(secs(5)), Some(secs(5)));
    assert_eq!(book.due_dials(secs(5), 9).len(), 1);
}

#[test]
fn a_dial_nobody_reports_on_is_given_up() {
    let mut book = book();
    add(&mut book, "10.0.0.1:1", Source::Lan, 1000, secs(0));
    assert_eq!(book.due_dials(secs(0), 9).len(), 1);
    assert_eq!(line(&book, "10.0.0.1:1").state, EntryState::Dialing);
    assert!(book.due_dials(secs(59), 9).is_empty());
    book.handle_timeout(secs(60));
    let entry = line(&book, "10.0.0.1:1");
    assert_eq!(entry.last_error.as_deref(), Some(FailReason::Lost.as_str()));
    assert_eq!(book.due_dials(secs(62), 9).len(), 1);
}

#[test]
fn refused_candidates_are_counted() {
    let mut book = book();
    let now = secs(5);
    for (text, source, refusal) in [
        ("0.0.0.0:1", Source::Lan, Refusal::Impossible),
        ("10.0.0.1:0", Source::Lan, Refusal::Impossible),
        ("[ff02::1]:1", Source::Lan, Refusal::Impossible),
        ("127.0.0.1:1", Source::Tracker, Refusal::NotFromThere),
        ("[fe80::1]:1", Source::Dht, Refusal::NotFromThere),
    ] {
        assert_eq!(
            add(&mut book, text, source, 9, now),
            Added::Refused(refusal),
            "{text}"
        );
    }
    assert_eq!(
        add(&mut book, "127.0.0.1:1", Source::Lan, 9, now),
        Added::New
    );
    assert_eq!(
        add(&mut book, "10.0.0.1:1", Source::Dht, 0, now),
        Added::Refused(Refusal::Expired)
    );
    for port in 1..=16 {
        assert_eq!(
            add(&mut book, &format!("10.0.0.2:{port}"), Source::Dht, 9, now),
            Added::New
        );
    }
    let more = add(&mut book, "10.0.0.2:99", Source::Dht, 9, now);
    assert_eq!(more, Added::Refused(Refusal::HostFull));
    let counts: BTreeMap<_, _> = book.refusals(F).collect();
    assert_eq!(counts[&Refusal::Impossible], 3);
    assert_eq!(counts[&Refusal::NotFromThere], 2);
}

proptest! {
    #[test]
    fn any_order_of_calls_keeps_the_limits(
        calls in prop::collection::vec((0_u8..10, 0_u8..6, 0_usize..7, 0_u64..40_000), 0..300),
    ) {
        let mut book = book();
        let mut now = secs(0);
        let (mut dialled, mut again) = (0_u64, 0_u64);
        for (call, host, source, step) in calls {
            now += Duration::from_millis(step);
            let a = SocketAddr::from(([10, 0, 0, host], 1));
            let source = Source::ALL[source];
            let ended = if step % 2 == 0 { Ended::Over } else { Ended::TurnedAway(FailReason::Busy) };
            match call {
                0..=3 => {
                    let expires = now + Duration::from_millis(step * 10);
                    book.add(Candidate { folder: F, addr: a, source, expires }, now);
                }
                4 => book.failed(F, a, FailReason::Silence, "x", now),
                5 => book.connected(F, a, PeerTag([host / 2; 32]), now),
                6 => book.disconnected(F, a, PeerTag([host / 2; 32]), ended, now),
                7 => book.ours(a, now),
                8 => book.withdraw(F, a, source, now),
                _ => book.refresh_now(F, now),
            }
            let before = book.snapshot(F);
            let due = book.next_timeout(now);
            let dials = book.due_dials(now, 3);
            if !dials.is_empty() {
                prop_assert!(due.is_some_and(|due| due <= now), "{due:?} {now:?}");
            }
            for dial in &dials {
                prop_assert_ne!(dial.source, Source::Incoming);
                // A dial given up in the same call may be taken up again.
                let state = before.iter().find(|e| e.addr == dial.addr).map(|e| e.state);
                prop_assert_ne!(state, Some(EntryState::Connected));
            }
            dialled += dials.len() as u64;
            // What failed to prove itself, or wasn't there, has the smallest budget, unless something changed.
            let failed = |dial: &&Dial| before.iter().any(|e| e.addr == dial.addr && e.failures > 0);
            if call == 4 {
                again += dials.iter().filter(failed).count() as u64;
            }
            let seconds = now.as_millis() as u64;
            prop_assert!(again <= 10 + seconds * 5 / 1000 + 1 + 2 * 6 * 7);
            prop_assert!(dialled <= 250 + seconds * 125 / 1000 + 1);
            let under_way = book.snapshot(F).iter().filter(|e| e.state == EntryState::Dialing).count();
            prop_assert!(under_way <= 64);
        }
    }
}
