use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{
    ids::{PeerKey, ReplicaId},
    keys::FolderKeys,
    net_message::NetMessage,
    secret::Secret,
    version::Dot,
};

const DEVICE: [u8; 32] = [10; 32];
const KEPT: [u8; 32] = [20; 32];

fn old() -> FolderKeys {
    FolderKeys::derive(&Secret::generate(std::array::from_fn(|i| i as u8)))
}

fn new() -> Secret {
    Secret::generate([42; 21])
}

/// The key by which peers know a device in a folder.
fn key_of(keys: &FolderKeys, device: &[u8; 32]) -> PeerKey {
    let private = x25519_dalek::StaticSecret::from(*keys.static_key(device));
    PeerKey(x25519_dalek::PublicKey::from(&private).to_bytes())
}

fn hand_over(secret: Secret) -> HandOver {
    let knowledge = [(3, 9), (5, 70_000)]
        .into_iter()
        .map(|(replica, counter)| Dot {
            replica: ReplicaId(replica),
            counter,
        });
    HandOver {
        era: 2,
        secret: NewSecret(secret),
        chunk_seed: Zeroizing::new(7),
        data_keys: vec![(0, Zeroizing::new([8; 32])), (1, Zeroizing::new([9; 32]))],
        knowledge: knowledge.collect(),
        rotator: old().device_signer(&DEVICE).public(),
        started: 1_795_334_400,
    }
}

fn sealed(hand_over: &HandOver) -> Vec<u8> {
    let old = old();
    let signer = old.device_signer(&DEVICE);
    hand_over
        .seal(&old, &signer, key_of(&old, &KEPT), [100; 32])
        .unwrap()
}

fn opened(sealed: &[u8]) -> Result<HandOver, HandOverError> {
    HandOver::open(&old(), &old().static_key(&KEPT), sealed)
}

#[test]
fn a_kept_device_opens_it_at_its_level() {
    let read_only = Secret::ReadOnly(new().to_read_only());
    for secret in [new(), read_only] {
        let given = hand_over(secret);
        assert_eq!(opened(&sealed(&given)), Ok(given));
    }
}

#[test]
fn nobody_else_opens_it_and_no_byte_can_change() {
    let sealed = sealed(&hand_over(new()));
    let other = HandOver::open(&old(), &old().static_key(&DEVICE), &sealed);
    assert_eq!(other, Err(HandOverError::NotForUs));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        // The highest bit of an X25519 key is not looked at, but it is part of the key of the box.
        assert_eq!(opened(&changed), Err(HandOverError::NotForUs), "byte {at}");
    }
    let mut small = sealed;
    small[..32].fill(0);
    assert_eq!(opened(&small), Err(HandOverError::NotForUs));
}

#[test]
fn who_may_not_write_makes_none_and_nobody_rotates_for_another() {
    let read_only = FolderKeys::derive(&Secret::ReadOnly(
        Secret::generate(std::array::from_fn(|i| i as u8)).to_read_only(),
    ));
    let (given, to) = (hand_over(new()), key_of(&old(), &KEPT));
    let signer = old().device_signer(&DEVICE);
    assert_eq!(
        given.seal(&read_only, &signer, to, [100; 32]),
        Err(HandOverError::CannotSign)
    );
    let other = old().device_signer(&KEPT);
    assert_eq!(
        given.seal(&old(), &other, to, [100; 32]),
        Err(HandOverError::CannotSign)
    );
}

#[test]
fn eras_only_rise() {
    let key = || Zeroizing::new([1; 32]);
    for (era, data_keys) in [
        (0, Vec::new()),
        (2, vec![(2, key())]),
        (2, vec![(1, key()), (0, key())]),
        (2, vec![(1, key()), (1, key())]),
    ] {
        let bad = HandOver {
            era,
            data_keys,
            ..hand_over(new())
        };
        let old = old();
        let made = bad.seal(
            &old,
            &old.device_signer(&DEVICE),
            key_of(&old, &KEPT),
            [1; 32],
        );
        assert_eq!(made, Err(HandOverError::Malformed));
    }
}

#[test]
fn the_largest_fits_a_message() {
    let knowledge = (1..=crate::version::MAX_REPLICAS as u64).map(|i| Dot {
        replica: ReplicaId(u64::MAX - i),
        counter: u64::MAX,
    });
    let most = HandOver {
        era: 1_000,
        data_keys: (0..MAX_DATA_KEYS as u32)
            .map(|era| (era, Zeroizing::new([1; 32])))
            .collect(),
        knowledge: knowledge.collect(),
        ..hand_over(Secret::ReadOnly(new().to_read_only()))
    };
    let sealed = sealed(&most);
    assert_eq!(opened(&sealed), Ok(most));
    let message = NetMessage::HandOver(sealed);
    assert_eq!(NetMessage::decode(&message.encode()), Ok(message));
}

#[test]
fn a_link_holds_for_one_device_and_one_new_key() {
    let (old, new) = (old(), FolderKeys::derive(&new()));
    let identity = |device| Identity {
        folder: new.folder_id(),
        sign: new.device_signer(device).public(),
        key: key_of(&new, device),
    };
    let mine = identity(&DEVICE);
    let link = Link::new(
        old.folder_id(),
        &old.device_signer(&DEVICE),
        key_of(&old, &DEVICE),
        &mine,
    );
    let before = link.check(&mine).unwrap();
    assert_eq!(before.key, key_of(&old, &DEVICE));
    assert_eq!(before.folder, old.folder_id());
    // Somebody else shows it, or shows it with another past.
    assert_eq!(link.check(&identity(&KEPT)), None);
    let other_past = Link {
        old_static: [1; 32],
        ..link
    };
    assert_eq!(other_past.check(&mine), None);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(opened(&bytes).is_err());
    }
}
