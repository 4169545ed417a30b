use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

fn signer() -> DeviceSigner {
    DeviceSigner::from_seed(&[3; 32])
}

fn invitation() -> Invitation {
    Invitation::new(std::array::from_fn(|i| i as u8), &signer().public())
}

#[test]
fn its_text_reads_back_in_any_case() {
    let text = invitation().reveal();
    assert_eq!(text.len(), INVITATION_SYMBOLS);
    assert_eq!(Invitation::parse(&text), Ok(invitation()));
    assert_eq!(
        Invitation::parse(&format!(" {}\n", text.to_lowercase())),
        Ok(invitation())
    );
    // It is no folder's secret.
    assert_eq!(Secret::parse(&text), Err(SecretError::OneTime));
}

#[test]
fn every_wrong_symbol_is_noticed() {
    let text = invitation().reveal();
    for at in 0..text.len() {
        for symbol in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".chars() {
            let mut changed: Vec<char> = text.chars().collect();
            if std::mem::replace(&mut changed[at], symbol) != symbol {
                let changed: String = changed.into_iter().collect();
                assert!(Invitation::parse(&changed).is_err(), "{at}");
            }
        }
    }
    assert!(Invitation::parse(&text[1..]).is_err());
    assert!(Invitation::parse(&Secret::generate([1; 21]).reveal()).is_err());
}

#[test]
fn only_the_inviter_proves_itself_and_only_once() {
    let (invitation, hash) = (invitation(), [5; 32]);
    let proof = Invitation::prove(&signer(), Role::Responder, &hash);
    assert!(invitation.check(Role::Responder, &hash, &proof));
    assert!(!invitation.check(Role::Initiator, &hash, &proof));
    assert!(!invitation.check(Role::Responder, &[6; 32], &proof));
    let other = DeviceSigner::from_seed(&[4; 32]);
    assert!(!invitation.check(
        Role::Responder,
        &hash,
        &Invitation::prove(&other, Role::Responder, &hash)
    ));
    for at in 0..proof.len() {
        let mut changed = proof.clone();
        changed[at] ^= 1;
        assert!(!invitation.check(Role::Responder, &hash, &changed));
        assert!(!invitation.check(Role::Responder, &hash, &proof[..at]));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(text in ".{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
        let _ = Invitation::parse(&text);
        prop_assert!(!invitation().check(Role::Responder, &[5; 32], &bytes));
    }
}
