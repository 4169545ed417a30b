//! What a session is for: strangers apart, everything arrives, in order.

use super::*;

#[test]
fn all_levels_establish_and_know_each_other() {
    for (ours, theirs) in [
        (Level::ReadWrite, Level::ReadWrite),
        (Level::ReadWrite, Level::ReadOnly),
        (Level::ReadOnly, Level::ReadWrite),
        (Level::ReadOnly, Level::ReadOnly),
    ] {
        // The responder finds the folder among others.
        let folders: Vec<_> = (1..=9)
            .map(|id| TestFolder::shared(id, 20, theirs))
            .collect();
        let mut pair = Pair::with(
            TestFolder::shared(7, 10, ours),
            &folders,
            &Config::default(),
        );
        pair.settle();
        let (a, b) = (pair.a.established().unwrap(), pair.b.established().unwrap());
        assert_eq!((a.level, b.level), (theirs, ours));
        assert_eq!((a.folder_id, b.folder_id), ([7; 32], [7; 32]));
        assert_eq!((a.initiator, b.initiator), (true, false));
        assert_eq!(a.handshake_hash, b.handshake_hash);
        assert_eq!(a.peer_static, crate::handshake::public_key(&[20; 32]));
        assert_eq!(b.peer_static, crate::handshake::public_key(&[10; 32]));
        assert_eq!(
            (a.hello.name.as_str(), b.hello.name.as_str()),
            ("responder", "initiator")
        );
        assert_eq!(
            (a.hello.port, b.hello.boot_nonce, a.version),
            (2222, 11, VERSION)
        );
        assert_eq!((a.hello.era, b.hello.era), (3, 3));
        let device = |seed| sync_core::keys::DeviceSigner::from_seed(&[seed; 32]).public();
        assert_eq!((a.device_key, b.device_key), (device(20), device(10)));
        assert_eq!(
            pair.a.session.rtt(),
            Some(Duration::ZERO),
            "each is measured at once"
        );
    }
}

#[test]
fn messages_arrive_whole_in_order_at_every_fragmentation() {
    for step in 1..=70 {
        let mut pair = Pair::new(&Config::default());
        let mut sent = false;
        for _ in 0..8 {
            let (to_b, to_a) = (pair.a.output(secs(0)), pair.b.output(secs(0)));
            to_b.chunks(step)
                .for_each(|chunk| pair.b.feed(chunk, secs(0)));
            to_a.chunks(step)
                .for_each(|chunk| pair.a.feed(chunk, secs(0)));
            if pair.a.session.is_open() && !sent {
                sent = true;
                for n in 0..5_u8 {
                    pair.a
                        .session
                        .send_control(Bytes::from(vec![n; 31]))
                        .unwrap();
                    pair.a
                        .session
                        .send_bulk(5, Bytes::from(vec![n; 40]), n == 4)
                        .unwrap();
                }
            }
        }
        assert_eq!(
            pair.b.controls(),
            (0..5_u8).map(|n| vec![n; 31]).collect::<Vec<_>>()
        );
        assert_eq!(pair.b.bulk(5).len(), 200, "in steps of {step} bytes");
    }
}

#[test]
fn long_control_messages_are_cut_and_joined() {
    let mut pair = Pair::open(&Config::default());
    for length in [
        0,
        1,
        crate::frame::MAX_DATA,
        crate::frame::MAX_DATA + 1,
        MAX_CONTROL,
    ] {
        let message: Bytes = (0..length).map(|n| (n % 251) as u8).collect();
        pair.a.session.send_control(message.clone()).unwrap();
        pair.settle();
        assert_eq!(pair.b.controls().last(), Some(&message));
    }
    let long = Bytes::from(vec![0; MAX_CONTROL + 1]);
    assert_eq!(pair.a.session.send_control(long), Err(SendError::TooLong));
}

#[test]
fn control_overtakes_bulk_at_every_frame() {
    let mut pair = Pair::open(&Config::default());
    let bulk = Bytes::from(vec![1; 3 << 20]);
    pair.a.session.send_bulk(9, bulk.clone(), true).unwrap();
    let mut first = BytesMut::new();
    pair.a.session.poll_transmit(secs(0), &mut first, 1);
    assert!(first.len() <= crate::frame::MAX_PLAINTEXT + crate::frame::OVERHEAD);
    pair.a
        .session
        .send_control(Bytes::from_static(b"quick"))
        .unwrap();
    pair.b.feed(&first, secs(0));
    pair.settle();
    let order: Vec<_> = pair.b.events.iter().skip(1).collect();
    assert!(matches!(order[0], Event::Bulk { last: false, .. }));
    assert!(
        matches!(order[1], Event::Control(_)),
        "right after the frame under way"
    );
    assert_eq!(
        order
            .iter()
            .filter(|e| matches!(e, Event::Bulk { last: true, .. }))
            .count(),
        1
    );
    assert_eq!(pair.b.bulk(9), bulk);
}

#[test]
fn the_unsent_buffer_and_the_queues_are_bounded() {
    let config = Config {
        bulk_low_water: 1000,
        bulk_limit: 5000,
        control_limit: 100,
        ..Config::default()
    };
    let mut pair = Pair::open(&config);
    let session = &mut pair.a.session;
    session
        .send_bulk(1, Bytes::from(vec![0; 5000]), false)
        .unwrap();
    assert_eq!(
        session.send_bulk(1, Bytes::from_static(b"x"), true),
        Err(SendError::QueueFull)
    );
    assert_eq!(session.bulk_queued_bytes(), 5000);
    session.send_control(Bytes::from(vec![0; 99])).unwrap();
    assert_eq!(
        session.send_control(Bytes::new()),
        Err(SendError::QueueFull)
    );
    let mut out = BytesMut::from(&[0; 10][..]);
    session.poll_transmit(secs(0), &mut out, 10);
    assert_eq!(out.len(), 10, "nothing goes into a full buffer");
    pair.settle();
    assert_eq!(
        pair.a
            .events
            .iter()
            .filter(|e| **e == Event::BulkDrained)
            .count(),
        1
    );
    // Below the mark nothing is reported; cancelling reports as well.
    pair.a
        .session
        .send_bulk(1, Bytes::from(vec![0; 900]), true)
        .unwrap();
    pair.settle();
    assert_eq!(
        pair.a
            .events
            .iter()
            .filter(|e| **e == Event::BulkDrained)
            .count(),
        1
    );
    pair.a
        .session
        .send_bulk(2, Bytes::from(vec![0; 2000]), true)
        .unwrap();
    pair.a.session.cancel_bulk(2);
    pair.settle();
    assert_eq!(
        pair.a
            .events
            .iter()
            .filter(|e| **e == Event::BulkDrained)
            .count(),
        2
    );
}

#[test]
fn keys_change_under_way_without_notice() {
    let rekey = crate::frame::RekeyLimits {
        frames: 3,
        bytes: 1 << 18,
        age: secs(3600),
    };
    let mut pair = Pair::open(&Config {
        rekey,
        ..Config::default()
    });
    for round in 0..20_u8 {
        pair.a
            .session
            .send_control(Bytes::from(vec![round; 10]))
            .unwrap();
        pair.b
            .session
            .send_control(Bytes::from(vec![round; 20]))
            .unwrap();
        pair.a
            .session
            .send_bulk(1, Bytes::from(vec![round; 300_000]), false)
            .unwrap();
        pair.settle();
    }
    assert_eq!((pair.a.controls().len(), pair.b.controls().len()), (20, 20));
    assert_eq!(pair.b.bulk(1).len(), 6_000_000);
    assert_eq!(pair.a.closed(), None);
}

#[test]
fn a_goodbye_comes_after_control_and_instead_of_bulk() {
    let mut pair = Pair::open(&Config::default());
    pair.a
        .session
        .send_bulk(1, Bytes::from(vec![0; 1 << 20]), true)
        .unwrap();
    pair.a
        .session
        .send_control(Bytes::from_static(b"one more thing"))
        .unwrap();
    pair.a.session.close(Goodbye::Replaced, secs(0));
    assert_eq!(
        pair.a.session.send_control(Bytes::new()),
        Err(SendError::NotOpen)
    );
    pair.settle();
    assert_eq!(pair.b.controls().len(), 1);
    assert!(pair.b.bulk(1).is_empty());
    assert_eq!(pair.a.closed(), Some(CloseReason::Local(Goodbye::Replaced)));
    assert_eq!(pair.b.closed(), Some(CloseReason::Peer(Goodbye::Replaced)));
    for code in 0..20 {
        assert_eq!(Goodbye::from_code(code).code(), code);
    }
}

#[test]
fn without_a_common_version_both_part_in_good_order() {
    let mut pair = Pair::new(&Config::default());
    pair.b.session.hello.min_version = VERSION + 1;
    pair.b.session.hello.max_version = 9;
    pair.settle();
    let reasons = (pair.a.closed().unwrap(), pair.b.closed().unwrap());
    let version = |reason| {
        matches!(
            reason,
            CloseReason::Local(Goodbye::Version) | CloseReason::Peer(Goodbye::Version)
        )
    };
    assert!(version(reasons.0) && version(reasons.1), "{reasons:?}");
    assert!(pair.a.established().is_none());
}

#[test]
fn kinds_that_a_later_version_may_add_are_skipped() {
    let mut pair = Pair::open(&Config::default());
    for (kind, open) in [(200, true), (99, false)] {
        let mut out = BytesMut::new();
        let link = pair.a.session.link.as_mut().unwrap();
        link.sealer.seal(kind, &[b"?"], secs(0), &mut out).unwrap();
        pair.b.feed(&out, secs(0));
        assert_eq!(pair.b.session.is_open(), open);
    }
    assert_eq!(pair.b.closed(), Some(SessionError::Unexpected(99).into()));
}

#[test]
fn each_side_learns_where_the_other_sees_it() {
    let remote = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (told, heard) in [
        ("203.0.113.9:40000", Some("203.0.113.9:40000")),
        ("[2001:db8::1]:7", Some("[2001:db8::1]:7")),
        ("[::ffff:203.0.113.9]:7", Some("203.0.113.9:7")),
        // What is nobody's address isn't said.
        ("203.0.113.9:0", None),
        ("0.0.0.0:7", None),
    ] {
        let mut pair = Pair::new(&Config::default());
        pair.a.session.set_observed(Some(remote(told)));
        pair.settle();
        let (a, b) = (pair.a.established().unwrap(), pair.b.established().unwrap());
        assert_eq!(b.hello.observed, heard.map(remote), "{told}");
        assert_eq!(a.hello.observed, None, "who can't tell says nothing");
    }
}
