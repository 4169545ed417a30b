//! Tests of the frame layer, with its golden vectors.

use proptest::prelude::*;

use super::*;
use crate::testing::{hex, secs};

fn pair(limits: RekeyLimits) -> (Sealer, Opener) {
    let key = std::array::from_fn(|i| i as u8);
    (Sealer::new(&key, limits, Duration::ZERO), Opener::new(&key))
}

fn seal(sealer: &mut Sealer, kind: u8, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    sealer
        .seal(kind, &[body], Duration::ZERO, &mut out)
        .unwrap();
    out
}

#[test]
fn golden_vectors() {
    // Key 00 01 .. 1f; a rekey is due after each two frames.
    let limits = RekeyLimits {
        frames: 2,
        ..RekeyLimits::default()
    };
    let (mut sealer, mut opener) = pair(limits);
    let mut wire = BytesMut::new();
    let mut frames = Vec::new();
    for (kind, body) in [
        (3, &b"\x01hello"[..]),
        (5, b"\0\0\0\0\0\0\0\x01"),
        (4, b"\0\0\0\x07\x01abc"),
    ] {
        let frame = seal(&mut sealer, kind, body);
        frames.push(hex(&frame));
        wire.extend_from_slice(&frame);
    }
    assert_eq!(
        frames,
        [
            "000006030fd4d0b2d94361cd3d7d33dfab7c4a4fbe81f98c11c2",
            "0000080515d6bffc44f4301f5533d628c189941b545ec6de9e0ceb0a",
            // The rekey frame comes first.
            "00000000b18c1a91716aa2bf512b4eec9b29f547000008041b35633f8ca0a4ec20b6090be506ebff28a7cd76394bddab",
        ]
    );
    for (kind, body) in [
        (3, &b"\x01hello"[..]),
        (5, b"\0\0\0\0\0\0\0\x01"),
        (4, b"\0\0\0\x07\x01abc"),
    ] {
        let frame = opener.open(&mut wire, MAX_PLAINTEXT).unwrap().unwrap();
        assert_eq!((frame.kind, &frame.body[..]), (kind, body));
    }
    assert!(wire.is_empty());
}

#[test]
fn rekey_by_bytes_frames_and_age() {
    let none = RekeyLimits {
        bytes: u64::MAX,
        frames: u64::MAX,
        age: Duration::MAX,
    };
    for (limits, now) in [
        (RekeyLimits { bytes: 10, ..none }, Duration::ZERO),
        (RekeyLimits { frames: 3, ..none }, Duration::ZERO),
        (
            RekeyLimits {
                age: secs(3600),
                ..none
            },
            secs(1800),
        ),
    ] {
        let (mut sealer, mut opener) = pair(limits);
        let (mut wire, mut rekeys, mut before) = (BytesMut::new(), 0, 0);
        for n in 0..20_u8 {
            sealer
                .seal(3, &[&[n; 5]], now * u32::from(n), &mut wire)
                .unwrap();
            rekeys += usize::from(wire.len() - before == 25 + 20);
            before = wire.len();
        }
        assert!((5..=10).contains(&rekeys), "{rekeys} rekeys for {limits:?}");
        for n in 0..20_u8 {
            let frame = opener.open(&mut wire, MAX_PLAINTEXT).unwrap().unwrap();
            assert_eq!(frame.body, vec![n; 5]);
        }
        assert_eq!(sealer.keyed.counter, opener.keyed.counter);
        assert_eq!(
            sealer.keyed.counter,
            20 + rekeys as u64,
            "counters are never set back"
        );
    }
}

#[test]
fn counters_never_wrap() {
    let (mut sealer, mut opener) = pair(RekeyLimits::default());
    sealer.keyed.counter = u64::MAX - 1;
    opener.keyed.counter = u64::MAX - 1;
    let mut last = seal(&mut sealer, 3, b"last");
    assert!(opener.open(&mut last, MAX_PLAINTEXT).unwrap().is_some());
    let mut out = BytesMut::new();
    let result = sealer.seal(3, &[b"x"], Duration::ZERO, &mut out);
    assert_eq!(result, Err(FrameError::Exhausted));
    assert!(out.is_empty());
    let mut more = BytesMut::zeroed(OVERHEAD);
    more[3] = 3;
    assert_eq!(
        opener.open(&mut more, MAX_PLAINTEXT),
        Err(FrameError::Exhausted)
    );
}

#[test]
fn nothing_is_reserved_for_a_length_that_is_not_allowed() {
    for (length, limit) in [
        (MAX_PLAINTEXT + 1, MAX_PLAINTEXT),
        (0xff_ffff, 1 << 30),
        (257, 256),
    ] {
        let (_, mut opener) = pair(RekeyLimits::default());
        let mut buf = BytesMut::from(&header(length, 3)[..]);
        let capacity = buf.capacity();
        let limit_seen = limit.min(MAX_PLAINTEXT);
        let error = FrameError::TooLong {
            length,
            limit: limit_seen,
        };
        assert_eq!(opener.open(&mut buf, limit), Err(error));
        assert_eq!(buf.capacity(), capacity);
    }
    let (mut sealer, _) = pair(RekeyLimits::default());
    let long = vec![0; MAX_PLAINTEXT + 1];
    assert!(
        sealer
            .seal(3, &[&long], Duration::ZERO, &mut BytesMut::new())
            .is_err()
    );
}

#[test]
fn a_full_frame_is_opened_without_copying() {
    let (mut sealer, mut opener) = pair(RekeyLimits::default());
    let mut wire = seal(&mut sealer, 4, &vec![7; MAX_PLAINTEXT]);
    let address = wire.as_ptr() as usize;
    let frame = opener.open(&mut wire, MAX_PLAINTEXT).unwrap().unwrap();
    assert_eq!(frame.body.as_ptr() as usize, address + HEADER);
    assert_eq!(frame.body, vec![7; MAX_PLAINTEXT]);
}

#[test]
fn order_repetition_and_omission_are_seen() {
    let make = || {
        let (mut sealer, opener) = pair(RekeyLimits::default());
        let frames: Vec<_> = (0..3).map(|n| seal(&mut sealer, 3, &[n])).collect();
        (frames, opener)
    };
    for order in [[0, 0], [1, 0], [0, 2]] {
        let (frames, mut opener) = make();
        let result = order.iter().try_for_each(|n| {
            opener
                .open(&mut frames[*n].clone(), MAX_PLAINTEXT)
                .map(|_| ())
        });
        assert_eq!(result, Err(FrameError::NotAuthentic));
        // And from then on nothing is accepted.
        assert!(opener.open(&mut frames[1].clone(), MAX_PLAINTEXT).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_however_it_is_cut(
        bodies in prop::collection::vec((1..=255_u8, prop::collection::vec(any::<u8>(), 0..300)), 1..20),
        cuts in prop::collection::vec(1..400_usize, 1..50),
    ) {
        let (mut sealer, mut opener) = pair(RekeyLimits { frames: 4, ..RekeyLimits::default() });
        let mut wire = BytesMut::new();
        for (kind, body) in &bodies {
            let (a, b) = body.split_at(body.len() / 2);
            sealer.seal(*kind, &[a, b], Duration::ZERO, &mut wire).unwrap();
        }
        let (mut got, mut buf, mut cut) = (Vec::new(), BytesMut::new(), cuts.iter().cycle());
        while !wire.is_empty() {
            let n = (*cut.next().unwrap()).min(wire.len());
            buf.extend_from_slice(&wire.split_to(n));
            while let Some(frame) = opener.open(&mut buf, MAX_PLAINTEXT).unwrap() {
                got.push((frame.kind, frame.body.to_vec()));
            }
        }
        prop_assert_eq!(got, bodies);
    }

    #[test]
    fn a_changed_bit_is_seen(bit in 0..8_u32, byte in 0..60_usize, body in prop::collection::vec(any::<u8>(), 40..=40)) {
        let (mut sealer, mut opener) = pair(RekeyLimits::default());
        let mut wire = seal(&mut sealer, 3, &body);
        wire[byte] ^= 1 << bit;
        // A changed length can also make it wait for more; never give a frame.
        prop_assert!(!matches!(opener.open(&mut wire, MAX_PLAINTEXT), Ok(Some(_))));
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
        let (_, mut opener) = pair(RekeyLimits::default());
        let mut buf = BytesMut::from(&garbage[..]);
        prop_assert!(!matches!(opener.open(&mut buf, MAX_PLAINTEXT), Ok(Some(_))));
    }
}
