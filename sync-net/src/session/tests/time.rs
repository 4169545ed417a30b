//! Deadlines, pings and silence, in virtual time.

use super::*;

/// Lets time pass for both sides until `until`, with a path of some delay.
fn run(pair: &mut Pair, until: Duration, delay: Duration) -> usize {
    let mut frames = 0;
    loop {
        let next = [&pair.a, &pair.b]
            .into_iter()
            .filter_map(|s| s.session.next_timeout())
            .min();
        let Some(next) = next.filter(|next| *next <= until) else {
            pair.now = until;
            return frames;
        };
        pair.now = pair.now.max(next);
        pair.a.session.handle_timeout(pair.now);
        pair.b.session.handle_timeout(pair.now);
        pair.a.collect();
        pair.b.collect();
        loop {
            let (to_b, to_a) = (pair.a.output(pair.now), pair.b.output(pair.now));
            if to_a.is_empty() && to_b.is_empty() {
                break;
            }
            frames += to_a.len() + to_b.len();
            pair.now += delay;
            if !to_b.is_empty() {
                pair.b.feed(&to_b, pair.now);
            }
            if !to_a.is_empty() {
                pair.a.feed(&to_a, pair.now);
            }
        }
    }
}

#[test]
fn an_idle_session_lives_on_few_bytes() {
    let mut pair = Pair::open(&Config::default());
    let bytes = run(&mut pair, secs(24 * 3600), Duration::from_millis(20));
    assert!(pair.a.session.is_open() && pair.b.session.is_open());
    assert!(bytes < 24 * 3600 * 6, "{bytes} bytes in a day");
    let rtt = pair.a.session.rtt().or(pair.b.session.rtt()).unwrap();
    assert!(rtt <= Duration::from_millis(40));
    assert!(
        [&pair.a, &pair.b]
            .iter()
            .any(|s| s.session.rtt() > Some(Duration::from_millis(39)))
    );
}

/// Runs one side alone until it is over; says when, how often it sent something, and when it found the peer quiet.
fn alone(pair: &mut Pair, mut now: Duration) -> (Duration, usize, Duration) {
    let (mut sent, mut quiet) = (0, None);
    while let Some(next) = pair.a.session.next_timeout() {
        assert!(next > now, "time moves on");
        now = next;
        pair.a.session.handle_timeout(now);
        sent += usize::from(!pair.a.output(now).is_empty());
        if pair.a.events.contains(&Event::Quiet) {
            quiet.get_or_insert(now);
        }
    }
    (now, sent, quiet.unwrap())
}

#[test]
fn a_peer_that_does_not_answer_is_quiet_and_then_dead() {
    let mut pair = Pair::open(&Config::default());
    let (dead, pings, quiet) = alone(&mut pair, secs(0));
    assert_eq!(quiet, secs(21), "a ping, half a second, another one");
    assert_eq!(dead, quiet - Duration::from_millis(500) + secs(10));
    assert_eq!(pair.a.closed(), Some(CloseReason::Silent));
    assert_eq!(pings, 2);
}

#[test]
fn silence_is_noticed_within_a_second_of_a_question() {
    let mut pair = Pair::open(&Config::default());
    let question = Bytes::from_static(b"question");
    pair.a.session.send_control(question).unwrap();
    pair.a.output(secs(3));
    let (_, _, quiet) = alone(&mut pair, secs(3));
    assert_eq!(quiet, secs(4));
}

#[test]
fn a_long_way_is_given_up_after_three_round_trips_and_a_little() {
    let mut pair = Pair::open(&Config::default());
    run(&mut pair, secs(600), Duration::from_millis(150));
    let rtt = pair.a.session.rtt().unwrap();
    let (asked, question) = (pair.now, Bytes::from_static(b"question"));
    pair.a.session.send_control(question).unwrap();
    pair.a.output(asked);
    let (_, _, quiet) = alone(&mut pair, asked);
    assert_eq!(quiet, asked + 3 * rtt + Duration::from_millis(600));
    assert!(rtt > Duration::from_millis(200), "{rtt:?}");
}

#[test]
fn a_probe_finds_out_at_once() {
    let mut pair = Pair::open(&Config::default());
    pair.a.session.probe(secs(3));
    let ping = pair.a.output(secs(3));
    pair.b.feed(&ping, secs(3));
    let pong = pair.b.output(secs(3));
    pair.a.feed(&pong, secs(3));
    assert!(pair.a.events.contains(&Event::Heard));
    pair.a.session.probe(secs(4));
    let (_, _, quiet) = alone(&mut pair, secs(4) - Duration::from_nanos(1));
    assert_eq!(quiet, secs(4) + Duration::from_millis(500));
}

#[test]
fn whoever_only_receives_says_that_it_lives_and_then_rests() {
    let mut pair = Pair::open(&Config::default());
    run(&mut pair, secs(1), Duration::from_millis(1));
    for n in 0..100_u64 {
        pair.now = secs(2) + Duration::from_millis(100) * n as u32;
        let data = Bytes::from_static(b"data");
        pair.a.session.send_bulk(1, data, false).unwrap();
        let bytes = pair.a.output(pair.now);
        pair.b.feed(&bytes, pair.now);
        let until = pair.now + Duration::from_millis(50);
        run(&mut pair, until, Duration::from_millis(1));
    }
    assert!(!pair.a.events.contains(&Event::Quiet));
    // Pings of either side apart, nothing goes once all is said.
    let until = pair.now + secs(1);
    run(&mut pair, until, Duration::from_millis(1));
    let until = pair.now + secs(17);
    let bytes = run(&mut pair, until, Duration::from_millis(1));
    assert!(bytes < 200, "{bytes} bytes");
}

#[test]
fn a_peer_that_can_not_read_for_now_lives() {
    let mut pair = Pair::open(&Config::default());
    let mut now = secs(1);
    pair.b.session.set_receive_paused(true, now);
    while now < secs(100) {
        now += Duration::from_millis(50);
        let data = Bytes::from_static(b"data");
        pair.a.session.send_bulk(1, data, false).unwrap();
        pair.a.output(now);
        pair.a.session.handle_timeout(now);
        pair.b.session.handle_timeout(now);
        let sign = pair.b.output(now);
        if !sign.is_empty() {
            pair.a.feed(&sign, now);
        }
    }
    assert!(!pair.a.events.contains(&Event::Quiet));
}

#[test]
fn while_we_do_not_read_the_peer_is_not_dead() {
    let mut pair = Pair::open(&Config::default());
    let session = &mut pair.a.session;
    session.set_receive_paused(true, secs(1));
    session.handle_timeout(secs(300));
    assert!(session.is_open());
    assert!(!pair.a.output(secs(300)).is_empty(), "but it hears from us");
    pair.a.session.set_receive_paused(false, secs(300));
    let (dead, _, quiet) = alone(&mut pair, secs(300));
    assert!(!pair.a.session.is_open());
    assert_eq!(
        (quiet, dead),
        (secs(301), secs(310) + Duration::from_millis(500))
    );
}

#[test]
fn a_handshake_has_a_deadline_at_every_stage() {
    for messages in 0..3 {
        let mut pair = Pair::new(&Config::default());
        for n in 0..messages {
            if n % 2 == 0 {
                let bytes = pair.a.output(secs(0));
                pair.b.feed(&bytes, secs(1));
            } else {
                let bytes = pair.b.output(secs(0));
                pair.a.feed(&bytes, secs(1));
            }
        }
        for side in [&mut pair.a, &mut pair.b] {
            assert_eq!(side.session.next_timeout(), Some(secs(10)));
            side.session
                .handle_timeout(secs(10) - Duration::from_nanos(1));
            side.collect();
            assert_eq!(side.closed(), None);
            side.session.handle_timeout(secs(10));
            side.collect();
            assert_eq!(side.closed(), Some(SessionError::HandshakeTimeout.into()));
            assert_eq!(side.session.next_timeout(), None);
        }
    }
}

#[test]
fn a_goodbye_that_cannot_leave_is_given_up() {
    let mut pair = Pair::open(&Config::default());
    pair.a.session.close(Goodbye::Stopping, secs(5));
    assert_eq!(pair.a.session.next_timeout(), Some(secs(7)));
    pair.a.session.handle_timeout(secs(7));
    pair.a.collect();
    assert_eq!(pair.a.closed(), Some(CloseReason::Local(Goodbye::Stopping)));
}

#[test]
fn under_load_the_delay_is_measured_too() {
    let mut pair = Pair::open(&Config::default());
    for second in 1..=41_u32 {
        let now = secs(u64::from(second));
        pair.now = now;
        pair.a
            .session
            .send_bulk(1, Bytes::from_static(b"data"), false)
            .unwrap();
        let bytes = pair.a.output(now);
        pair.b.feed(&bytes, now + Duration::from_millis(500));
        let bytes = pair.b.output(now + Duration::from_millis(500));
        if !bytes.is_empty() {
            pair.a.feed(&bytes, now + Duration::from_secs(1));
        }
    }
    // Twice a second in between an RTT of zero: 0, 125 ms, 234 ms.
    assert_eq!(pair.a.session.rtt(), Some(Duration::from_micros(234_375)));
}

#[test]
fn bulk_that_stops_coming_is_missed() {
    let mut pair = Pair::open(&Config::default());
    pair.b
        .session
        .send_bulk(1, Bytes::from_static(b"data"), false)
        .unwrap();
    let data = pair.b.output(secs(3));
    // Nothing was sent since that would have to be answered.
    pair.a.feed(&data, secs(3));
    pair.a.session.handle_timeout(secs(3));
    assert!(!pair.a.output(secs(3)).is_empty(), "a sign of life");
    let (_, _, quiet) = alone(&mut pair, secs(3));
    assert_eq!(quiet, secs(4));
}
