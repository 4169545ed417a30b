//! How soon an address is dialled: budgets, pauses, and what ends them.

use super::*;

/// Lets sessions at one address end at once, ten times; gives the pauses after them.
fn pauses_after(ended: Ended) -> Vec<Duration> {
    let mut book = book();
    let a = addr("10.0.0.1:1");
    add(&mut book, "10.0.0.1:1", Source::Tracker, u64::MAX, secs(0));
    let (mut now, mut pauses) = (secs(0), Vec::new());
    for _ in 0..10 {
        assert_eq!(book.due_dials(now, 9).len(), 1);
        book.connected(F, a, P, now);
        book.disconnected(F, a, P, ended, now);
        let next = line(&book, "10.0.0.1:1").next_try.unwrap();
        pauses.push(next - now);
        now = next;
    }
    assert_eq!(book.due_dials(now, 9).len(), 1);
    book.connected(F, a, P, now);
    book.disconnected(F, a, P, Ended::Over, now + secs(30));
    // One that lasted begins anew.
    assert!(line(&book, "10.0.0.1:1").next_try.unwrap() <= now + secs(31));
    pauses
}

#[test]
fn a_member_whose_sessions_break_is_tried_again_soon() {
    let pauses = pauses_after(Ended::Over);
    assert!(
        pauses[0] <= secs(1) && pauses.iter().all(|p| *p <= secs(4)),
        "{pauses:?}"
    );
    assert!(pauses[9] >= secs(3), "{pauses:?}");
}

#[test]
fn a_member_that_turns_us_away_is_left_in_peace() {
    for (reason, total) in [(FailReason::Busy, 600), (FailReason::Rejected, 1_200)] {
        let pauses = pauses_after(Ended::TurnedAway(reason));
        assert!(pauses.iter().sum::<Duration>() > secs(total), "{pauses:?}");
    }
}

#[test]
fn a_dropped_dial_costs_an_honest_member_seconds_at_most() {
    let mut book = book();
    let a = addr("10.0.0.1:1");
    add(&mut book, "10.0.0.1:1", Source::Lan, u64::MAX, secs(0));
    run(&mut book, secs(0), secs(1), &[a], FailReason::Other);
    book.disconnected(F, a, P, Ended::Over, secs(40));
    let log = run(&mut book, secs(40), secs(100), &[], FailReason::Dropped);
    let gaps: Vec<_> = log.windows(2).map(|w| w[1].0 - w[0].0).collect();
    let most = secs(4) + Duration::from_millis(200);
    assert!(
        gaps.len() > 12 && gaps.iter().all(|gap| *gap <= most),
        "{gaps:?}"
    );
    // Where nobody was ever found it may be any service that hangs up.
    add(
        &mut book,
        "10.0.0.2:1",
        Source::Tracker,
        u64::MAX,
        secs(100),
    );
    let log = run(&mut book, secs(100), secs(400), &[], FailReason::Dropped);
    let there = log.iter().filter(|(_, d)| d.addr != a).count();
    assert!(there <= 10, "{there}");
}

#[test]
fn pauses_end_when_something_changes() {
    let failing = || {
        let mut book = book();
        add(&mut book, "10.0.0.1:1", Source::Tracker, u64::MAX, secs(0));
        run(&mut book, secs(0), secs(1000), &[], FailReason::TimedOut);
        assert!(line(&book, "10.0.0.1:1").next_try.unwrap() > secs(1010));
        book
    };
    let next = |book: &AddressBook| line(book, "10.0.0.1:1").next_try.unwrap();
    // Somebody else names it: once, however often it is taken back and named again.
    let mut book = failing();
    add(&mut book, "10.0.0.1:1", Source::Pex, 5, secs(1000));
    assert!(next(&book) <= secs(1001));
    run(&mut book, secs(1000), secs(1006), &[], FailReason::TimedOut);
    let before = next(&book);
    add(&mut book, "10.0.0.1:1", Source::Pex, 5, secs(1010));
    assert_eq!(next(&book), before);
    // A peer comes from there, in any folder.
    let mut book = failing();
    book.connected(FolderTag([2; 32]), addr("10.0.0.1:50000"), P, secs(1000));
    assert!(next(&book) <= secs(1001));
    // From elsewhere it says nothing.
    let mut book = failing();
    book.connected(F, addr("10.0.0.9:50000"), P, secs(1000));
    assert!(next(&book) > secs(1010));
}

#[test]
fn a_hundred_folders_with_one_new_peer_are_dialled_within_a_fifth_of_a_second() {
    for (source, real) in [
        (Source::Lan, true),
        (Source::KnownHost, true),
        (Source::Tracker, true),
    ] {
        let mut book = book();
        let peer = addr("10.0.0.1:1");
        for folder in 0..100 {
            let folder = FolderTag::from(folder);
            let candidate = Candidate {
                folder,
                addr: peer,
                source,
                expires: Duration::MAX,
            };
            book.add(candidate, secs(0));
        }
        // Each handshake takes 5 ms.
        let (mut now, mut dialled, mut under_way) = (secs(0), 0, Vec::new());
        while dialled < 100 && now < secs(5) {
            let dials = book.due_dials(now, 100);
            assert!(
                under_way.len() + dials.len() <= 6,
                "the peer would drop more"
            );
            dialled += dials.len();
            under_way.extend(dials);
            now += Duration::from_millis(5);
            for dial in under_way.drain(..) {
                assert!(real);
                book.connected(dial.folder, dial.addr, P, now);
            }
        }
        assert!(
            dialled == 100 && now <= Duration::from_millis(200),
            "{source} {now:?}"
        );
    }
}

#[test]
fn dead_addresses_do_not_use_up_what_a_new_one_needs() {
    let mut book = book();
    // Nobody answers at any of these: each dial lasts five seconds.
    for i in 0..200 {
        let expires = Duration::MAX;
        book.add(
            Candidate {
                folder: F,
                addr: bogus(i),
                source: Source::KnownHost,
                expires,
            },
            secs(0),
        );
    }
    let (mut now, mut under_way) = (secs(0), Vec::new());
    let mut step = |book: &mut AddressBook, now: Duration| {
        under_way.retain(|(at, dial): &(Duration, Dial)| {
            let over = now >= *at + secs(5);
            if over {
                book.failed(F, dial.addr, FailReason::TimedOut, "", now);
            }
            !over
        });
        let dials = book.due_dials(now, 100);
        under_way.extend(dials.iter().map(|dial| (now, *dial)));
        assert!(under_way.len() <= 64);
        dials
    };
    while now < secs(60) {
        step(&mut book, now);
        now += Duration::from_millis(100);
    }
    add(&mut book, "10.0.0.1:1", Source::Lan, 90, now);
    assert!(
        step(&mut book, now)
            .iter()
            .any(|dial| dial.addr == addr("10.0.0.1:1"))
    );
}

#[test]
fn who_came_by_itself_is_not_dialled_where_it_listens() {
    let mut book = book();
    let (listens, from) = ("10.0.0.1:1", addr("10.0.0.1:50000"));
    add(&mut book, listens, Source::KnownHost, u64::MAX, secs(0));
    book.connected(F, from, P, secs(0));
    book.claimed(F, addr(listens), P);
    assert_eq!(line(&book, listens).state, EntryState::ConnectedElsewhere);
    assert!(book.due_dials(secs(1), 9).is_empty());
    // Somebody else was found there: what this one says counts for nothing.
    let mut other = self::book();
    add(&mut other, listens, Source::KnownHost, u64::MAX, secs(0));
    run(
        &mut other,
        secs(0),
        secs(1),
        &[addr(listens)],
        FailReason::Other,
    );
    other.disconnected(F, addr(listens), P, Ended::Over, secs(60));
    let liar = PeerTag([8; 32]);
    other.connected(F, from, liar, secs(60));
    other.claimed(F, addr(listens), liar);
    assert_eq!(other.due_dials(secs(62), 9).len(), 1);
    // It goes: the address is dialled again.
    book.disconnected(F, from, P, Ended::Over, secs(100));
    assert_eq!(book.due_dials(secs(102), 9).len(), 1);
}
