//! Tests of the key hierarchy. The constants were computed by a second,
//! independent program; a change of one breaks every folder that exists.

use proptest::prelude::*;

use super::*;
use crate::secret::ReadOnlySecret;

const VERIFYING_KEY: &str = "267c026687bd6e9405bffbb8b6f550347d75781c71daeb847e5416479560d8ab";
const READ_SECRET: &str = "2ac08a1fc31ff539b5e75aa43a081ab444da2cd9af";
const NET_SECRET: &str = "ce7a8cc552e964ddba9a40decda354513e1f2c319f";
const FOLDER_ID: &str = "8aa75ff256b28119d575ee02d8ee083b553084355cdb12ea63d7bb95e4172be9";
const FOLDER_ID_SHORT: &str = "RKTV74SWWKARTVLV";
const PSK: &str = "ec689625b772971b5927a5a33fa44be5ae725aa45e9f799d002339af5d1192d0";
const LAN_KEY: &str = "e85241a825aac67ff34229517161b63d5dcf4df4efd6abdf69b8807b08df63f7";
const PROBE_KEY: &str = "d2398b9dfe5b5c01ea2c608e43e089f237cce371d3d6d795e0e3c72567cb8b6a";
const RENDEZVOUS_DAY_20000: &str =
    "a5c05a389a78e4815c2e72d2067b366dd6a480eb3a7f8eec3e433976ba2b3020";
const CHUNK_SEED: u64 = 0x001b_e9d2_2e31_496c;
const PATH: &str = "Fotos/Ä.jpg";
const PATH_ID: &str = "78f6c802e06a110de1bfa9927d21191b";
const SEALED: &str = "7e0b1fe5b8c415d09bb89ea657c004d18f916ab834cc7d80a33f2a";
const SEALED_EMPTY: &str = "7152e71bca938dbe372cdd56180391e7";
const STATIC_KEY: &str = "2f0d833de5beefdadc274fe46886d4fb369e31f54086fac24edeb7a3c360eb86";
const SIGNATURE: &str = "9d487900949e34d38ab31e47124b5889b78e7a84e35cea09657b3f17ccd78eeebbc059d34404bd1a37a9d4fac2e03dca21a758d7e578a0e925f289888d1ac40f";
const PROOF_READ_WRITE_INITIATOR: &str = "01e19b2d4cc37755acbb9c90b58ef0af2de39bcebff8c84e9b1705d934675c66084e0217d82b5b34b7972ab30954123d60ee44d125a7023fe41f052dbd4b28c006";
const PROOF_READ_ONLY_RESPONDER: &str =
    "02e01deda584093e1d972c99bbed118589b4262ef788f6171a9fcdf4bde589dc6e";

const AAD: &[u8] = b"record header";
const BODY: &[u8] = b"record body";
const HASH: [u8; 32] = [0x5a; 32];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret() -> Secret {
    Secret::generate(core::array::from_fn(|index| index as u8))
}

fn read_write() -> FolderKeys {
    FolderKeys::derive(&secret())
}

fn read_only() -> FolderKeys {
    FolderKeys::derive(&secret().to_read_only().into())
}

fn other_folder() -> FolderKeys {
    FolderKeys::derive(&Secret::generate([9; 21]))
}

fn readers(keys: &FolderKeys) -> &ReadKeys {
    keys.read().expect("both levels of this version read")
}

#[test]
fn all_keys_are_the_known_ones_at_both_levels() {
    assert_eq!(hex(secret().to_read_only().read()), READ_SECRET);
    assert_eq!(
        hex(&derive::net_secret(secret().to_read_only().read())[..]),
        NET_SECRET
    );
    for keys in [read_write(), read_only()] {
        assert_eq!(hex(keys.verifying_key()), VERIFYING_KEY);
        assert_eq!(hex(keys.folder_id().as_bytes()), FOLDER_ID);
        assert_eq!(keys.folder_id().to_string(), FOLDER_ID_SHORT);
        assert_eq!(hex(keys.psk()), PSK);
        assert_eq!(hex(keys.lan_key()), LAN_KEY);
        assert_eq!(hex(keys.probe_key()), PROBE_KEY);
        assert_eq!(hex(&keys.rendezvous(20_000)), RENDEZVOUS_DAY_20000);
        assert_eq!(hex(&keys.static_key(&[0x42; 32])[..]), STATIC_KEY);
        let read = readers(&keys);
        assert_eq!(read.chunk_seed(), CHUNK_SEED);
        assert_eq!(hex(&read.path_id(PATH.as_bytes())), PATH_ID);
        assert_eq!(hex(&read.seal_body(AAD, BODY)), SEALED);
        assert_eq!(hex(&read.seal_body(b"", b"")), SEALED_EMPTY);
    }
    let signature = read_write()
        .sign("syncd/1 test", b"message")
        .expect("read-write");
    assert_eq!(hex(&signature), SIGNATURE);
    let proof = read_write().level_proof(&HASH, Role::Initiator);
    assert_eq!(hex(proof.as_bytes()), PROOF_READ_WRITE_INITIATOR);
    let proof = read_only().level_proof(&HASH, Role::Responder);
    assert_eq!(hex(&proof.into_bytes()), PROOF_READ_ONLY_RESPONDER);
}

#[test]
fn folders_share_nothing() {
    let (one, two) = (read_write(), other_folder());
    assert_ne!(one.folder_id(), two.folder_id());
    assert_ne!(one.psk(), two.psk());
    assert_ne!(one.rendezvous(0), two.rendezvous(0));
    assert_ne!(one.static_key(&[1; 32]), two.static_key(&[1; 32]));
    assert_ne!(readers(&one).path_id(b"a"), readers(&two).path_id(b"a"));
    assert_ne!(readers(&one).chunk_seed(), readers(&two).chunk_seed());
    let sealed = readers(&one).seal_body(AAD, BODY);
    assert_eq!(
        readers(&two).open_body(AAD, &sealed),
        Err(OpenError::Forged)
    );
}

/// A read secret under another folder's verifying key opens neither folder.
#[test]
fn the_verifying_key_goes_into_every_key() {
    let read = *secret().to_read_only().read();
    let mixed = ReadOnlySecret::from_parts(read, *other_folder().verifying_key());
    let mixed = FolderKeys::derive(&mixed.expect("a usable key").into());
    let honest = read_only();
    assert_ne!(mixed.psk(), honest.psk());
    assert_ne!(mixed.lan_key(), honest.lan_key());
    assert_ne!(mixed.probe_key(), honest.probe_key());
    assert_ne!(mixed.rendezvous(1), honest.rendezvous(1));
    assert_ne!(
        readers(&mixed).path_id(b"a"),
        readers(&honest).path_id(b"a")
    );
    let proof = mixed.level_proof(&HASH, Role::Initiator);
    assert_eq!(
        honest.check_level_proof(&HASH, Role::Initiator, proof.as_bytes()),
        None
    );
}

#[test]
fn keys_differ_among_each_other_and_by_their_context() {
    let keys = read_write();
    let all = [
        *keys.psk(),
        *keys.lan_key(),
        *keys.probe_key(),
        keys.rendezvous(1),
    ];
    for (index, key) in all.iter().enumerate() {
        assert!(!all[index + 1..].contains(key));
    }
    assert_ne!(keys.rendezvous(1), keys.rendezvous(256));
    assert_ne!(keys.static_key(&[1; 32]), keys.static_key(&[2; 32]));
}

#[test]
fn only_writers_sign_and_all_check() {
    let (writer, reader) = (read_write(), read_only());
    assert_eq!(
        (writer.level(), reader.level()),
        (Level::ReadWrite, Level::ReadOnly)
    );
    assert_eq!(reader.sign("a", b"b"), None);
    let signature = writer.sign("a", b"bc").expect("read-write");
    for keys in [&writer, &reader, &writer.clone()] {
        assert!(keys.verify("a", b"bc", &signature));
        assert!(!keys.verify("b", b"bc", &signature));
        assert!(!keys.verify("ab", b"c", &signature));
        assert!(!keys.verify("", b"abc", &signature));
        assert!(!keys.verify("a", b"bd", &signature));
    }
    assert!(!other_folder().verify("a", b"bc", &signature));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!reader.verify("a", b"bc", &changed));
    }
}

/// The group's order added to the scalar gives a second signature that a lax
/// check would take.
#[test]
fn a_second_form_of_a_signature_is_refused() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let keys = read_write();
    let mut signature = keys.sign("a", b"b").expect("read-write");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(!keys.verify("a", b"b", &signature));
}

#[test]
fn every_changed_bit_of_a_sealed_body_is_refused() {
    let keys = read_only();
    let read = readers(&keys);
    let sealed = read.seal_body(AAD, BODY);
    assert_eq!(sealed.len(), BODY.len() + SEAL_OVERHEAD);
    assert_eq!(read.open_body(AAD, &sealed).as_deref(), Ok(BODY));
    assert_eq!(
        read.open_body(b"record heade", &sealed),
        Err(OpenError::Forged)
    );
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read.open_body(AAD, &changed), Err(OpenError::Forged));
    }
    for length in 0..sealed.len() {
        let error = if length < SEAL_OVERHEAD {
            OpenError::TooShort
        } else {
            OpenError::Forged
        };
        assert_eq!(read.open_body(AAD, &sealed[..length]), Err(error));
    }
}

/// Whoever holds the read key could seal under another nonce; such a body
/// would be a second encoding of the same record.
#[test]
fn a_nonce_of_ones_own_choice_is_refused() {
    use aes_gcm_siv::aead::{AeadInOut, KeyInit};
    let keys = read_only();
    let read = readers(&keys);
    let secret = secret().to_read_only();
    let key: [u8; 32] =
        *Step::content(secret.read(), keys.verifying_key()).key(b"syncd/2 meta", b"");
    let mut body = BODY.to_vec();
    let tag = aes_gcm_siv::Aes256GcmSiv::new((&key).into())
        .encrypt_inout_detached(&[7; 12].into(), AAD, (&mut body[..]).into())
        .unwrap();
    body.extend_from_slice(&tag);
    assert_eq!(read.open_body(AAD, &body), Err(OpenError::Forged));
}

#[test]
fn what_is_aad_and_what_is_body_is_told_apart() {
    let keys = read_write();
    let (one, two) = (
        readers(&keys).seal_body(b"ab", b"c"),
        readers(&keys).seal_body(b"a", b"bc"),
    );
    assert_ne!(one[one.len() - 16..], two[two.len() - 16..]);
}

#[test]
fn a_level_is_proved_to_either_level() {
    for prover in [read_write(), read_only()] {
        for checker in [read_write(), read_only()] {
            for role in [Role::Initiator, Role::Responder] {
                let proof = prover.level_proof(&HASH, role);
                assert!(proof.as_bytes().len() <= LevelProof::MAX_BYTES);
                let level = checker.check_level_proof(&HASH, role, proof.as_bytes());
                assert_eq!(level, Some(prover.level()));
            }
        }
    }
}

#[test]
fn a_proof_is_good_for_one_handshake_and_one_side() {
    let checker = read_write();
    let mut other_hash = HASH;
    other_hash[31] ^= 1;
    for prover in [read_write(), read_only()] {
        let proof = prover.level_proof(&HASH, Role::Initiator);
        let proof = proof.as_bytes();
        assert_eq!(
            checker.check_level_proof(&HASH, Role::Initiator.other(), proof),
            None
        );
        assert_eq!(
            checker.check_level_proof(&other_hash, Role::Initiator, proof),
            None
        );
        assert_eq!(
            checker.check_level_proof(&HASH[..31], Role::Initiator, proof),
            None
        );
        assert_eq!(
            other_folder().check_level_proof(&HASH, Role::Initiator, proof),
            None
        );
        for length in 0..proof.len() {
            assert_eq!(
                checker.check_level_proof(&HASH, Role::Initiator, &proof[..length]),
                None
            );
        }
        let longer = [proof, &[0]].concat();
        assert_eq!(
            checker.check_level_proof(&HASH, Role::Initiator, &longer),
            None
        );
        for bit in 0..proof.len() * 8 {
            let mut changed = proof.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                checker.check_level_proof(&HASH, Role::Initiator, &changed),
                None
            );
        }
    }
}

#[test]
fn the_encrypted_level_cannot_be_claimed() {
    let checker = read_write();
    let code = Level::Encrypted.code();
    for claim in [
        vec![code],
        [&[code][..], &[0; 32]].concat(),
        [&[code][..], &[0; 64]].concat(),
    ] {
        assert_eq!(
            checker.check_level_proof(&HASH, Role::Initiator, &claim),
            None
        );
    }
}

#[test]
fn keys_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    shared(&read_write());
}

#[test]
fn nothing_shows_a_key() {
    let keys = read_write();
    assert_eq!(format!("{keys:?}"), "FolderKeys");
    assert_eq!(format!("{:#?}", readers(&keys)), "ReadKeys");
    assert_eq!(
        format!("{:?}", keys.level_proof(&HASH, Role::Initiator)),
        "LevelProof"
    );
    assert_eq!(
        format!("{:?}", keys.folder_id()),
        format!("FolderId({FOLDER_ID_SHORT})")
    );
    assert_eq!(
        format!("{:>18}|", keys.folder_id()),
        format!("  {FOLDER_ID_SHORT}|")
    );
}

proptest! {
    #[test]
    fn what_is_sealed_opens(aad: Vec<u8>, body: Vec<u8>) {
        let (writer, reader) = (read_write(), read_only());
        let sealed = readers(&writer).seal_body(&aad, &body);
        prop_assert_eq!(&readers(&reader).seal_body(&aad, &body), &sealed);
        prop_assert_eq!(readers(&reader).open_body(&aad, &sealed), Ok(body));
    }

    #[test]
    fn junk_is_refused(hash: [u8; 32], junk: Vec<u8>) {
        let keys = read_only();
        prop_assert!(readers(&keys).open_body(AAD, &junk).is_err());
        prop_assert_eq!(keys.check_level_proof(&hash, Role::Initiator, &junk), None);
    }
}
