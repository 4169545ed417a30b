use proptest::prelude::*;

use super::*;
use crate::{keys::FolderKeys, secret::Secret};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn samples() -> Vec<NetMessage> {
    let reach = |addresses: &[&str], through| Reach {
        key: PeerKey([7; 32]),
        addresses: addresses.iter().map(|a| address(a)).collect(),
        through,
    };
    vec![
        NetMessage::Pex(Pex {
            added: vec![
                reach(&["192.0.2.1:29170", "[2001:db8::1]:29170"], None),
                reach(&[], Some([9; 16])),
            ],
            dropped: vec![PeerKey([8; 32])],
        }),
        NetMessage::PunchAsk {
            attempt: [1; 16],
            handle: [9; 16],
            candidates: vec![2; 160],
        },
        NetMessage::PunchOffer {
            attempt: [3; 16],
            candidates: vec![2; 160],
        },
        NetMessage::PunchAnswer {
            attempt: [3; 16],
            candidates: Some(vec![4; 160]),
        },
        NetMessage::PunchAnswer {
            attempt: [3; 16],
            candidates: None,
        },
        NetMessage::Observed(address("203.0.113.9:40000")),
        NetMessage::HandOver(vec![5; 300]),
        NetMessage::Link(Link {
            old_folder: [1; 32],
            old_sign: [2; 32],
            old_static: [3; 32],
            signature: [4; 64],
        }),
    ]
}

fn candidates() -> Candidates {
    Candidates {
        key: PeerKey([7; 32]),
        issued: 1_795_334_400,
        attempt: 3,
        paths: vec![
            Path {
                kind: PathKind::Local,
                address: address("[fd00::1]:29170"),
            },
            Path {
                kind: PathKind::Reflexive,
                address: address("203.0.113.9:40000"),
            },
        ],
        relays: vec![Relay {
            address: address("192.0.2.5:443"),
            token: [6; 32],
        }],
    }
}

fn keys() -> FolderKeys {
    FolderKeys::derive(&Secret::generate(std::array::from_fn(|i| i as u8)))
}

#[test]
fn messages_read_back() {
    for message in samples() {
        assert_eq!(NetMessage::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn what_is_later_is_skipped() {
    let later = [0x82, 0x18, 99, 0x83, 1, 2, 3];
    assert_eq!(NetMessage::decode(&later), Ok(NetMessage::Unknown(99)));
    // An observed address with a second field.
    let mut more = vec![0x82, 4, 0x82, 0x46, 192, 0, 2, 1, 0x71, 0xf2];
    more.extend([0x63, b'n', b'e', b'w']);
    assert_eq!(
        NetMessage::decode(&more),
        Ok(NetMessage::Observed(address("192.0.2.1:29170")))
    );
    // A refusal with null in place of nothing.
    let mut refused = vec![0x82, 3, 0x82, 0x50];
    refused.extend([3; 16]);
    refused.push(0xf6);
    assert_eq!(NetMessage::decode(&refused), Ok(samples()[4].clone()));
}

#[test]
fn what_is_too_much_or_useless_is_refused() {
    let too_many = NetMessage::Pex(Pex {
        added: Vec::new(),
        dropped: vec![PeerKey([1; 32]); MAX_PEERS + 1],
    });
    assert_eq!(
        NetMessage::decode(&too_many.encode()),
        Err(NetMessageError::TooMany)
    );
    // Four billion peers are not allocated for.
    assert_eq!(
        NetMessage::decode(&[0x82, 0, 0x82, 0x9a, 0xff, 0xff, 0xff, 0xff]),
        Err(NetMessageError::TooMany)
    );
    let nowhere = NetMessage::Pex(Pex {
        added: vec![Reach {
            key: PeerKey([1; 32]),
            addresses: Vec::new(),
            through: None,
        }],
        dropped: Vec::new(),
    });
    assert_eq!(
        NetMessage::decode(&nowhere.encode()),
        Err(NetMessageError::Malformed)
    );
    let long = NetMessage::HandOver(vec![0; MAX_HANDOVER + 1]);
    assert_eq!(
        NetMessage::decode(&long.encode()),
        Err(NetMessageError::TooMany)
    );
    assert_eq!(
        NetMessage::decode(&vec![0; MAX_NET_MESSAGE + 1]),
        Err(NetMessageError::TooLarge(MAX_NET_MESSAGE + 1))
    );
    let mut after = samples()[5].encode();
    after.push(0);
    assert_eq!(NetMessage::decode(&after), Err(NetMessageError::Malformed));
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    for text in [
        "0.0.0.0:1",
        "[::]:1",
        "255.255.255.255:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "192.0.2.1:0",
    ] {
        assert_eq!(from_bytes(&to_bytes(address(text))), None, "{text}");
    }
    let clothed = address("[::ffff:192.0.2.1]:7");
    assert_eq!(from_bytes(&to_bytes(clothed)), Some(address("192.0.2.1:7")));
    let mut raw = vec![0; 10];
    raw.extend([0xff, 0xff, 192, 0, 2, 1, 0, 7]);
    assert_eq!(from_bytes(&raw), None);
    for length in (0..20).filter(|n| ![ADDRESS_V4, ADDRESS_V6].contains(n)) {
        assert_eq!(from_bytes(&vec![1; length]), None);
    }
}

#[test]
fn candidates_open_for_members_alone_and_show_no_length() {
    let (keys, candidates) = (keys(), candidates());
    let sealed = candidates.seal(&keys, [1; 16]);
    assert_eq!(Candidates::open(&keys, &sealed).as_ref(), Some(&candidates));
    let other = FolderKeys::derive(&Secret::generate([1; 21]));
    assert_eq!(Candidates::open(&other, &sealed), None);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(Candidates::open(&keys, &changed), None, "byte {at}");
    }
    let less = Candidates {
        paths: candidates.paths[..1].to_vec(),
        ..candidates.clone()
    };
    assert_eq!(less.seal(&keys, [1; 16]).len(), sealed.len());
    let full = Candidates {
        issued: u64::MAX,
        attempt: u32::MAX,
        paths: vec![candidates.paths[0]; MAX_PATHS + 3],
        relays: vec![candidates.relays[0]; MAX_RELAYS + 3],
        ..candidates
    };
    let sealed = full.seal(&keys, [1; 16]);
    assert!(sealed.len() <= MAX_SEALED);
    let read = Candidates::open(&keys, &sealed).unwrap();
    assert_eq!(
        (read.paths.len(), read.relays.len()),
        (MAX_PATHS, MAX_RELAYS)
    );
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..8) {
        let _ = NetMessage::decode(&bytes);
        let _ = Candidates::open(&keys(), &bytes);
        let mut changed = samples()[at].encode();
        for (i, b) in bytes.iter().enumerate() {
            let len = changed.len();
            changed[i % len] ^= b;
        }
        let _ = NetMessage::decode(&changed);
    }
}

/// As control messages cross the wire: encoded, sent through the door, read.
fn through_the_door(control: &NetControl) -> NetControl {
    use crate::message::Message;
    let bytes = Message::from(control.to_message()).encode();
    match Message::decode(&bytes).unwrap() {
        Message::Net(message) => NetControl::read(&message).unwrap(),
        other => panic!("another door: {other:?}"),
    }
}

#[test]
fn control_messages_of_sessions_are_read_as_they_were_written() {
    let all = samples().into_iter().map(NetControl::Peers);
    for control in all.chain([
        NetControl::Use(7),
        NetControl::Standby,
        NetControl::Retire,
        NetControl::Unknown(68),
        NetControl::Unknown(127),
    ]) {
        assert_eq!(through_the_door(&control), control);
    }
}

#[test]
fn control_messages_of_later_versions_are_ignored_and_wrong_ones_refused() {
    use crate::message::NetMessage as Raw;
    let raw = |number, body: Vec<u8>| {
        NetControl::read(&Raw {
            number,
            body: body.into(),
        })
    };
    // A longer body of a known one, and a kind of message about peers that isn't known.
    assert_eq!(raw(66, vec![1, 2, 3]), Ok(NetControl::Standby));
    let later = NetMessage::Unknown(99).encode();
    assert_eq!(
        raw(64, later),
        Ok(NetControl::Peers(NetMessage::Unknown(99)))
    );
    // What is malformed, and what is too long.
    assert_eq!(raw(64, vec![]), Err(NetMessageError::Malformed));
    assert_eq!(raw(64, vec![0x82, 0, 0]), Err(NetMessageError::Malformed));
    let long = vec![0; MAX_NET_MESSAGE + 1];
    assert_eq!(
        raw(64, long),
        Err(NetMessageError::TooLarge(MAX_NET_MESSAGE + 1))
    );
}
