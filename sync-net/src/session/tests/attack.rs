//! What strangers, meddlers and hostile members can't do.

use proptest::prelude::*;

use super::*;
use crate::handshake::{MESSAGE_1, MESSAGE_2, MESSAGE_3};
use crate::membership::{DeviceProof, Membership};

#[test]
fn a_stranger_gets_silence_until_the_deadline() {
    let folders = [TestFolder::shared(1, 20, Level::ReadWrite)];
    let stranger = initiate(
        TestFolder::shared(2, 10, Level::ReadWrite),
        &Config::default(),
        1,
    );
    let mut a = Side::new(stranger);
    let mut b = Side::new(accept(&gate(&folders), &Config::default(), 2, secs(0)));
    let message = a.output(secs(0));
    assert_eq!(message.len(), MESSAGE_1);
    for _ in 0..100 {
        b.feed(&message, secs(1));
        b.feed(&[0; 5000], secs(1));
        assert!(b.output(secs(1)).is_empty(), "not one byte");
        assert!(b.input.is_empty(), "and nothing is kept");
    }
    assert!(b.session.is_mute() && b.events.is_empty());
    assert_eq!(
        b.session.next_timeout(),
        Some(secs(10)),
        "as if nothing had come"
    );
    b.session.handle_timeout(secs(10));
    b.collect();
    assert!(b.output(secs(10)).is_empty());
    assert_eq!(b.closed(), Some(SessionError::Stranger.into()));
}

#[test]
fn a_repeated_first_message_gets_silence() {
    let gate = gate(&[TestFolder::shared(1, 20, Level::ReadWrite)]);
    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let message = Side::new(initiate(folder, &Config::default(), 1)).output(secs(0));
    let answer = |at| {
        let mut b = Side::new(accept(&gate, &Config::default(), 2, secs(at)));
        b.feed(&message, secs(at));
        b.output(secs(at)).len()
    };
    assert_eq!(answer(0), MESSAGE_2);
    assert_eq!((answer(0), answer(599)), (0, 0));
}

/// Carries one session from its first byte to a control message and a piece
/// of bulk each way; one byte of one direction is changed on the way.
fn with_changed_byte(from_initiator: bool, position: usize, mask: u8) -> (Pair, bool) {
    let mut pair = Pair::new(&Config::default());
    let (mut at, mut hit, mut said) = (0, false, false);
    for _ in 0..4 {
        pair.settle_with(|direction, bytes| {
            if direction != from_initiator {
                return;
            }
            if let Some(byte) = position.checked_sub(at).and_then(|n| bytes.get_mut(n)) {
                *byte ^= mask;
                hit = true;
            }
            at += bytes.len();
        });
        if !said && pair.a.session.is_open() && pair.b.session.is_open() {
            said = true;
            for side in [&mut pair.a, &mut pair.b] {
                side.session
                    .send_control(Bytes::from_static(b"control"))
                    .unwrap();
                side.session
                    .send_bulk(1, Bytes::from_static(b"bulk"), true)
                    .unwrap();
            }
        }
    }
    (pair, hit)
}

#[test]
fn a_changed_byte_anywhere_ends_the_session_and_delivers_nothing_after_it() {
    for from_initiator in [true, false] {
        let mut position = 0;
        loop {
            let (mut pair, hit) = with_changed_byte(from_initiator, position, 0x10);
            if !hit {
                break;
            }
            // A changed length may leave the receiver waiting for bytes that
            // never come: then time ends it.
            for side in [&mut pair.a, &mut pair.b] {
                side.session.handle_timeout(secs(60));
                side.collect();
            }
            let victim = if from_initiator { &pair.b } else { &pair.a };
            assert!(
                victim.closed().is_some(),
                "byte {position} from initiator {from_initiator}"
            );
            let handshake = if from_initiator {
                MESSAGE_1 + MESSAGE_3
            } else {
                MESSAGE_2
            };
            if position < handshake {
                assert!(!pair.a.delivered() && !pair.b.delivered());
                assert!(pair.b.established().is_none());
            }
            for event in victim
                .events
                .iter()
                .filter(|e| matches!(e, Event::Control(_)))
            {
                assert_eq!(*event, Event::Control(Bytes::from_static(b"control")));
            }
            assert!(victim.bulk(1).is_empty() || victim.bulk(1) == b"bulk");
            position += 1;
        }
        assert!(
            position > 300,
            "the whole stream was tried, {position} bytes"
        );
    }
}

#[test]
fn a_false_proof_is_refused() {
    for liar_dials in [true, false] {
        let make = |device, liar| -> SharedFolder {
            Arc::new(TestFolder {
                folder: 1,
                device,
                level: Level::ReadOnly,
                liar,
            })
        };
        let mut pair = Pair::with(
            make(10, liar_dials),
            &[make(20, !liar_dials)],
            &Config::default(),
        );
        pair.settle();
        let honest = if liar_dials { &pair.b } else { &pair.a };
        assert_eq!(honest.closed(), Some(SessionError::BadProof.into()));
        assert!(honest.established().is_none());
    }
}

#[test]
fn a_proof_cannot_be_sent_back_or_passed_on() {
    // A member that can prove nothing itself: it holds the shared key only,
    // and sends back the proof that it was shown.
    struct Reflector(std::sync::Mutex<Vec<u8>>, TestFolder, Vec<u8>);
    impl Membership for Reflector {
        fn folder_id(&self) -> [u8; 32] {
            self.1.folder_id()
        }
        fn psk(&self) -> zeroize::Zeroizing<[u8; 32]> {
            self.1.psk()
        }
        fn static_key(&self) -> zeroize::Zeroizing<[u8; 32]> {
            self.1.static_key()
        }
        fn level_proof(&self, _: &[u8; 32], _: Role) -> Vec<u8> {
            self.2.clone()
        }
        fn check_level_proof(&self, _: &[u8; 32], _: Role, proof: &[u8]) -> Option<Level> {
            *self.0.lock().unwrap() = proof.to_vec();
            Some(Level::ReadWrite)
        }
        fn era(&self) -> u32 {
            self.1.era()
        }
        fn device_proof(&self, hash: &[u8; 32], role: Role) -> DeviceProof {
            self.1.device_proof(hash, role)
        }
    }
    let honest = TestFolder {
        folder: 1,
        device: 10,
        level: Level::ReadWrite,
        liar: false,
    };
    let middle = |proof| {
        let folder = TestFolder {
            folder: 1,
            device: 66,
            level: Level::Encrypted,
            liar: false,
        };
        Arc::new(Reflector(std::sync::Mutex::new(Vec::new()), folder, proof))
    };
    // The same entropy twice gives the same hash: what the honest side shows
    // as the initiator is what the reflector sends as the responder.
    let first = middle(vec![0]);
    let shown: SharedFolder = Arc::clone(&first) as _;
    let honest: SharedFolder = Arc::new(honest);
    let mut pair = Pair::with(Arc::clone(&honest), &[shown], &Config::default());
    pair.settle();
    assert_eq!(pair.a.closed(), Some(SessionError::BadProof.into()));
    let proof = first.0.lock().unwrap().clone();
    assert!(!proof.is_empty());
    let mut pair = Pair::with(honest, &[middle(proof.clone()) as _], &Config::default());
    pair.settle();
    assert_eq!(
        pair.a.closed(),
        Some(SessionError::BadProof.into()),
        "sent back"
    );
    // Passed on to another session, in the right role.
    let other = TestFolder::shared(1, 20, Level::ReadWrite);
    let mut pair = Pair::with(middle(proof) as _, &[other], &Config::default());
    pair.settle();
    assert_eq!(
        pair.b.closed(),
        Some(SessionError::BadProof.into()),
        "passed on"
    );
}

/// A member whose proof of device is another's.
struct Borrower(TestFolder, MakeProof);

type MakeProof = Box<dyn Fn(&[u8; 32], Role) -> DeviceProof + Send + Sync>;

impl Membership for Borrower {
    fn folder_id(&self) -> [u8; 32] {
        self.0.folder_id()
    }
    fn psk(&self) -> zeroize::Zeroizing<[u8; 32]> {
        self.0.psk()
    }
    fn static_key(&self) -> zeroize::Zeroizing<[u8; 32]> {
        self.0.static_key()
    }
    fn level_proof(&self, hash: &[u8; 32], role: Role) -> Vec<u8> {
        self.0.level_proof(hash, role)
    }
    fn check_level_proof(&self, hash: &[u8; 32], role: Role, proof: &[u8]) -> Option<Level> {
        self.0.check_level_proof(hash, role, proof)
    }
    fn era(&self) -> u32 {
        self.0.era()
    }
    fn device_proof(&self, hash: &[u8; 32], role: Role) -> DeviceProof {
        (self.1)(hash, role)
    }
}

#[test]
fn a_device_shows_that_it_holds_its_key_in_this_session_and_role() {
    fn folder(device: u8) -> TestFolder {
        TestFolder {
            folder: 1,
            device,
            level: Level::ReadWrite,
            liar: false,
        }
    }
    let refused = |proof: MakeProof| {
        let borrower: SharedFolder = Arc::new(Borrower(folder(10), proof));
        let honest = TestFolder::shared(1, 20, Level::ReadWrite);
        let mut pair = Pair::with(borrower, &[honest], &Config::default());
        pair.settle();
        let hello = SessionError::BadHello.into();
        pair.b.closed() == Some(hello) && pair.b.established().is_none()
    };
    let of = |device| move |hash: &[u8; 32], role| folder(device).device_proof(hash, role);
    assert!(!refused(Box::new(of(10))), "its own");
    assert!(
        refused(Box::new(move |hash, role| DeviceProof {
            key: of(20)(hash, role).key,
            ..of(10)(hash, role)
        })),
        "another's key"
    );
    assert!(
        refused(Box::new(move |hash, role| of(10)(hash, role.other()))),
        "sent back"
    );
    assert!(
        refused(Box::new(move |_, role| of(10)(&[7; 32], role))),
        "passed on"
    );
    assert!(
        refused(Box::new(move |hash, role| DeviceProof {
            key: [0; 32],
            ..of(10)(hash, role)
        })),
        "no key at all"
    );
}

#[test]
fn reaching_oneself_is_an_error_of_its_own() {
    let folder = TestFolder::shared(1, 10, Level::ReadWrite);
    let mut pair = Pair::with(Arc::clone(&folder), &[folder], &Config::default());
    pair.settle();
    let own = crate::handshake::HandshakeError::OwnKey;
    assert_eq!(pair.a.closed(), Some(SessionError::Handshake(own).into()));
    assert!(pair.b.established().is_none());
}

/// Seals one frame with the keys of `a` and shows it to `b`.
fn inject(pair: &mut Pair, kind: u8, body: &[u8]) {
    let mut out = BytesMut::new();
    let link = pair.a.session.link.as_mut().unwrap();
    link.sealer.seal(kind, &[body], pair.now, &mut out).unwrap();
    pair.b.feed(&out, pair.now);
}

#[test]
fn a_hostile_member_gets_no_further_than_the_rules() {
    let cases: [(u8, &[u8], SessionError); 8] = [
        (body::PROOF, b"again", SessionError::Unexpected(body::PROOF)),
        (body::HELLO, b"again", SessionError::Unexpected(body::HELLO)),
        (body::CONTROL, b"", SessionError::BadFrame(body::CONTROL)),
        (
            body::CONTROL,
            b"\x00",
            SessionError::BadFrame(body::CONTROL),
        ),
        (
            body::BULK,
            b"\0\0\0\0\x02",
            SessionError::BadFrame(body::BULK),
        ),
        (body::PING, b"", SessionError::BadFrame(body::PING)),
        (
            body::GOODBYE,
            b"\0\0\0",
            SessionError::BadFrame(body::GOODBYE),
        ),
        (8, b"", SessionError::Unexpected(8)),
    ];
    for (kind, body, error) in cases {
        let mut pair = Pair::open(&Config::default());
        inject(&mut pair, kind, body);
        assert_eq!(pair.b.closed(), Some(error.into()));
        assert!(!pair.b.delivered());
    }
}

#[test]
fn an_endless_control_message_is_cut_off() {
    let mut pair = Pair::open(&Config::default());
    let part = [&[0][..], &vec![7; crate::frame::MAX_DATA]].concat();
    for _ in 0..4 {
        inject(&mut pair, body::CONTROL, &part);
        assert!(pair.b.session.is_open());
    }
    inject(&mut pair, body::CONTROL, b"\x00x");
    assert_eq!(pair.b.closed(), Some(SessionError::ControlTooLong.into()));
    assert_eq!(pair.b.session.partial.capacity(), 0, "its memory is free");
}

#[test]
fn a_flood_of_pings_draws_one_answer() {
    let mut pair = Pair::open(&Config::default());
    for n in 0..1000_u64 {
        inject(&mut pair, body::PING, &n.to_be_bytes());
    }
    let answer = pair.b.output(pair.now);
    assert_eq!(answer.len(), 8 + crate::frame::OVERHEAD);
}

#[test]
fn before_the_proof_only_little_can_be_held() {
    let mut pair = Pair::new(&Config::default());
    let bytes = pair.a.output(secs(0));
    pair.b.feed(&bytes, secs(0));
    let bytes = pair.b.output(secs(0));
    pair.a.feed(&bytes, secs(0));
    let bytes = pair.a.output(secs(0));
    pair.b.feed(&bytes[..MESSAGE_3], secs(0));
    pair.b.feed(&[0, 2, 0, body::PROOF], secs(0));
    let error = crate::frame::FrameError::TooLong {
        length: 512,
        limit: MAX_PROOF,
    };
    assert_eq!(pair.b.closed(), Some(SessionError::Frame(error).into()));
}

proptest! {
    #[test]
    fn garbage_at_any_stage_is_harmless(
        stage in 0..5_usize,
        garbage in prop::collection::vec(any::<u8>(), 1..3000),
        cut in 1..200_usize,
    ) {
        let mut pair = Pair::new(&Config::default());
        for n in 0..stage {
            if n % 2 == 0 {
                let bytes = pair.a.output(secs(0));
                pair.b.feed(&bytes, secs(0));
            } else {
                let bytes = pair.b.output(secs(0));
                pair.a.feed(&bytes, secs(0));
            }
        }
        for side in [&mut pair.a, &mut pair.b] {
            garbage.chunks(cut).for_each(|chunk| side.feed(chunk, secs(0)));
            prop_assert!(!side.delivered());
            prop_assert!(side.input.capacity() <= 16_384);
        }
    }

    #[test]
    fn authentic_frames_of_any_content_never_panic(
        frames in prop::collection::vec((1..=255_u8, prop::collection::vec(any::<u8>(), 0..64)), 1..40),
    ) {
        let mut pair = Pair::open(&Config::default());
        for (kind, body) in &frames {
            if pair.b.session.is_open() {
                inject(&mut pair, *kind, body);
            }
        }
        let _ = pair.b.output(pair.now);
    }
}
