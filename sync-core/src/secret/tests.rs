//! Tests of the written form: the check, case by case and for every pattern.

use proptest::prelude::*;

use super::text::{CHECK_SYMBOLS, check_values, encode, remainder, symbol_of, value_of};
use super::*;

const READ_WRITE: &str = "AAAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQTW";
const READ_ONLY: &str =
    "BFLAIUH6DD72TTNPHLKSDUCA2WRCNULGZV4THYATGQ66W5FAFX753RNXVKA2H25LYDRY5V24EPZKBMR4VMDMKWWP";

fn counting() -> Secret {
    Secret::generate(core::array::from_fn(|index| index as u8))
}

/// The valid text of given data symbols, even if no program would write it.
fn with_check(symbols: &str) -> String {
    let values: Vec<u8> = symbols.bytes().filter_map(value_of).collect();
    assert_eq!(values.len(), symbols.len());
    let check = check_values(&values);
    format!("{symbols}{}{}", symbol_of(check[0]), symbol_of(check[1]))
}

fn values_of(text: &str) -> Vec<u8> {
    text.bytes().filter_map(value_of).collect()
}

fn text_of(values: &[u8]) -> String {
    values.iter().map(|value| symbol_of(*value)).collect()
}

#[test]
fn texts_are_the_known_ones() {
    assert_eq!(counting().reveal().as_str(), READ_WRITE);
    assert_eq!(counting().to_read_only().reveal().as_str(), READ_ONLY);
    assert_eq!(
        (READ_WRITE.len(), READ_ONLY.len()),
        (READ_WRITE_SYMBOLS, READ_ONLY_SYMBOLS)
    );
    assert_eq!((READ_WRITE_SYMBOLS, READ_ONLY_SYMBOLS), (37, 88));
}

#[test]
fn both_kinds_are_read_in_any_case_and_trimmed() {
    let read_write = counting();
    let read_only = Secret::from(read_write.to_read_only());
    for (text, secret) in [(READ_WRITE, &read_write), (READ_ONLY, &read_only)] {
        assert_eq!(Secret::parse(text).as_ref(), Ok(secret));
        let lower = format!(" \t{}\r\n", text.to_ascii_lowercase());
        assert_eq!(Secret::parse(&lower).as_ref(), Ok(secret));
    }
    assert_eq!(read_write.level(), Level::ReadWrite);
    assert_eq!(read_only.level(), Level::ReadOnly);
    assert_ne!(read_write, read_only);
    assert_eq!(Secret::from(read_only.to_read_only()), read_only);
}

/// The check is linear, so an error goes unseen for one secret exactly if it
/// goes unseen for all: it is enough to look at the errors. This tries every
/// single wrong symbol at every place.
#[test]
fn every_single_wrong_symbol_is_caught() {
    for length in [READ_WRITE_SYMBOLS, READ_ONLY_SYMBOLS] {
        for place in 0..length {
            for difference in 1..32 {
                let mut pattern = vec![0; length];
                pattern[place] = difference;
                assert_ne!(remainder(&pattern), 0, "{length} symbols, place {place}");
            }
        }
    }
}

/// Every swap of two different symbols, at every two places: neighbours, those
/// further apart, the type letter and the check symbols among them. A swap
/// adds the same difference at both places.
#[test]
fn every_swap_is_caught() {
    for length in [READ_WRITE_SYMBOLS, READ_ONLY_SYMBOLS] {
        for first in 0..length {
            for second in first + 1..length {
                for difference in 1..32 {
                    let mut pattern = vec![0; length];
                    pattern[first] = difference;
                    pattern[second] = difference;
                    assert_ne!(remainder(&pattern), 0, "{length}: {first} and {second}");
                }
            }
        }
    }
}

/// Any two neighbours changed in any way are a burst of ten bits.
#[test]
fn every_change_of_two_neighbours_is_caught() {
    for length in [READ_WRITE_SYMBOLS, READ_ONLY_SYMBOLS] {
        for place in 0..length - 1 {
            for change in 1..1024_u16 {
                let mut pattern = vec![0; length];
                pattern[place] = (change >> 5) as u8;
                pattern[place + 1] = (change & 31) as u8;
                assert_ne!(remainder(&pattern), 0, "{length} symbols, place {place}");
            }
        }
    }
}

/// The same through the front door, for one secret of each kind.
#[test]
fn no_slip_is_ever_accepted() {
    for text in [READ_WRITE, READ_ONLY] {
        let values = values_of(text);
        for place in 0..values.len() {
            for other in 0..32 {
                let mut wrong = values.clone();
                wrong[place] = other;
                let wrong = text_of(&wrong);
                if wrong == text {
                    continue;
                }
                let error = Secret::parse(&wrong).expect_err("one symbol is wrong");
                if place > 0 {
                    assert_eq!(
                        error,
                        SecretError::Check {
                            symbols: text.len()
                        }
                    );
                }
            }
            for second in place + 1..values.len() {
                let mut swapped = values.clone();
                swapped.swap(place, second);
                if swapped != values {
                    assert!(Secret::parse(&text_of(&swapped)).is_err());
                }
            }
            let mut cut = values.clone();
            cut.remove(place);
            assert!(Secret::parse(&text_of(&cut)).is_err());
            let mut doubled = values.clone();
            doubled.insert(place, values[place]);
            assert!(Secret::parse(&text_of(&doubled)).is_err());
        }
    }
}

#[test]
fn the_type_letter_is_under_the_check() {
    let as_other = format!("B{}", &READ_WRITE[1..]);
    assert_eq!(
        Secret::parse(&as_other),
        Err(SecretError::Length {
            level: Level::ReadOnly,
            expected: 88,
            found: 37
        })
    );
    // Were the lengths alike, the check would tell it.
    let as_other = values_of(&as_other);
    let (checked, check) = as_other.split_at(as_other.len() - CHECK_SYMBOLS);
    assert_ne!(check_values(checked), check);
}

#[test]
fn spare_bits_must_be_zero() {
    // 34 symbols hold 170 bits, two more than 21 bytes; 85 symbols one more
    // than 53 bytes.
    for (text, spare) in [(READ_WRITE, 2), (READ_ONLY, 1)] {
        let data = values_of(&text[..text.len() - CHECK_SYMBOLS]);
        for bits in 1..1 << spare {
            let mut data = data.clone();
            *data.last_mut().expect("not empty") |= bits;
            let text = with_check(&text_of(&data));
            assert_eq!(Secret::parse(&text), Err(SecretError::SpareBits));
        }
        assert_eq!(with_check(&text_of(&data)), text);
    }
}

#[test]
fn a_row_of_one_symbol_is_no_secret() {
    for symbol in ["A", "a"] {
        assert_eq!(
            Secret::parse(&symbol.repeat(37)),
            Err(SecretError::Check { symbols: 37 })
        );
    }
}

#[test]
fn what_is_not_a_secret_is_refused_for_its_own_reason() {
    for empty in ["", " ", "\n\t "] {
        assert_eq!(Secret::parse(empty), Err(SecretError::Empty));
    }
    let length = |level, expected, found| {
        Err(SecretError::Length {
            level,
            expected,
            found,
        })
    };
    assert_eq!(Secret::parse("A"), length(Level::ReadWrite, 37, 1));
    assert_eq!(
        Secret::parse(&READ_WRITE[..36]),
        length(Level::ReadWrite, 37, 36)
    );
    assert_eq!(
        Secret::parse(&"A".repeat(41)),
        length(Level::ReadWrite, 37, 41)
    );
    assert_eq!(
        Secret::parse(&READ_ONLY[..87]),
        length(Level::ReadOnly, 88, 87)
    );
    assert_eq!(
        Secret::parse(&"A".repeat(1025)),
        Err(SecretError::TooLong {
            found: 1025,
            limit: 1024
        })
    );
    let character = |position| Err(SecretError::Character { position });
    assert_eq!(Secret::parse("0"), character(1));
    assert_eq!(
        Secret::parse(&READ_WRITE.replacen('4', "8", 1)),
        character(27)
    );
    assert_eq!(Secret::parse("AB CD"), character(3));
    assert_eq!(Secret::parse("ABÄCD"), character(3));
    // Dashes aren't in standard Base64.
    assert_eq!(Secret::parse(&"ABCDE-".repeat(10)), character(6));
    for (letter, error) in [
        ('C', SecretError::OneTime),
        ('D', SecretError::Foreign),
        ('E', SecretError::Foreign),
        ('F', SecretError::EncryptedOnly),
        ('G', SecretError::UnknownType),
        ('7', SecretError::UnknownType),
    ] {
        for text in [format!("{letter}"), format!("{letter}{}", &READ_WRITE[1..])] {
            assert_eq!(Secret::parse(&text), Err(error.clone()));
            assert_eq!(Secret::parse(&text.to_lowercase()), Err(error.clone()));
        }
    }
}

#[test]
fn long_base64_is_a_custom_secret_and_short_is_not() {
    let body = "abcdefghij".repeat(4);
    assert_eq!(body.len(), 40);
    assert_eq!(
        Secret::parse(&format!("{body}+")),
        Err(SecretError::Custom { position: 41 })
    );
    assert_eq!(
        Secret::parse(&format!("{body}8==")),
        Err(SecretError::Custom { position: 41 })
    );
    assert_eq!(
        Secret::parse(&format!("0{}", &body[1..])),
        Err(SecretError::Character { position: 1 })
    );
    // The padding doesn't count, and nothing may follow it.
    assert_eq!(
        Secret::parse(&format!("{body}=")),
        Err(SecretError::Character { position: 41 })
    );
    assert_eq!(
        Secret::parse(&format!("{body}==={body}")),
        Err(SecretError::Character { position: 41 })
    );
    // Base32 symbols alone are a typed secret whatever their number.
    assert_eq!(
        Secret::parse(&format!("{body}a")),
        Err(SecretError::Length {
            level: Level::ReadWrite,
            expected: 37,
            found: 41
        })
    );
}

#[test]
fn unusable_verifying_keys_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    let mut above = [0xff; 32];
    above[31] = 0x7f;
    let mut not_a_point = [0; 32];
    not_a_point[0] = 2;
    for start in 0xed..=0xff {
        above[0] = start;
        assert_eq!(
            ReadOnlySecret::from_parts([7; 21], above),
            Err(SecretError::VerifyingKey)
        );
    }
    // Small order, small order in another encoding, no point at all.
    for key in [[0; 32], one, not_a_point] {
        assert_eq!(
            ReadOnlySecret::from_parts([7; 21], key),
            Err(SecretError::VerifyingKey)
        );
        let mut bytes = [7; 53];
        bytes[21..].copy_from_slice(&key);
        assert_eq!(
            Secret::parse(&encode(b'B', &bytes)),
            Err(SecretError::VerifyingKey)
        );
    }
}

#[test]
fn parts_make_the_same_read_only_secret() {
    let whole = counting().to_read_only();
    let parts = ReadOnlySecret::from_parts(*whole.read(), *whole.verifying_key().as_bytes());
    assert_eq!(parts, Ok(whole));
}

#[test]
fn nothing_shows_a_secret() {
    let secret = counting();
    let read_only = secret.to_read_only();
    assert_eq!(format!("{secret:?}"), "Secret::ReadWrite");
    assert_eq!(
        format!("{:#?}", Secret::from(read_only.clone())),
        "Secret::ReadOnly"
    );
    assert_eq!(format!("{read_only:?}"), "ReadOnlySecret");
    let Secret::ReadWrite(inner) = secret else {
        unreachable!()
    };
    assert_eq!(format!("{inner:#?}"), "ReadWriteSecret");
}

#[test]
fn levels_have_stable_names_and_numbers() {
    for (level, code, name) in [
        (Level::ReadWrite, 1, "read-write"),
        (Level::ReadOnly, 2, "read-only"),
        (Level::Encrypted, 3, "encrypted"),
    ] {
        assert_eq!((level.code(), level.as_str()), (code, name));
        assert_eq!(level.to_string(), name);
        assert_eq!(Level::from_code(code), Some(level));
    }
    assert_eq!((Level::from_code(0), Level::from_code(4)), (None, None));
    assert!(Level::ReadWrite.can_write() && !Level::ReadOnly.can_write());
    assert!(Level::ReadOnly.can_read() && !Level::Encrypted.can_read());
}

proptest! {
    #[test]
    fn every_secret_survives_its_text(bytes: [u8; SECRET_BYTES]) {
        let secret = Secret::generate(bytes);
        let read_only = Secret::from(secret.to_read_only());
        for secret in [secret, read_only] {
            let text = secret.reveal();
            prop_assert_eq!(text.capacity(), text.len());
            prop_assert_eq!(Secret::parse(&text), Ok(secret));
        }
    }

    /// That the exhaustive tests may look at errors instead of texts.
    #[test]
    fn the_check_is_linear(
        pairs in prop::collection::vec((0_u8..32, 0_u8..32), 3..100),
    ) {
        let (mut text, pattern): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
        let end = text.len() - CHECK_SYMBOLS;
        let check = check_values(&text[..end]);
        text[end..].copy_from_slice(&check);
        let wrong: Vec<u8> = text.iter().zip(&pattern).map(|(a, b)| a ^ b).collect();
        let passes = check_values(&wrong[..end]) == wrong[end..];
        prop_assert_eq!(passes, remainder(&pattern) == 0);
    }

    /// Any text at all is answered without a panic, and no error quotes it.
    #[test]
    fn errors_never_quote_the_text(text in "[A-Za-z0-9+/=]{6,100}|\\PC{6,60}") {
        if let Err(error) = Secret::parse(&text) {
            let shown = format!("{error} {error:?}").to_lowercase();
            // Six symbols in a row could hardly be in a message by chance.
            let symbols: Vec<char> = text.to_lowercase().chars().collect();
            for part in symbols.windows(6) {
                let part: String = part.iter().collect();
                if part.trim() == part && !part.is_empty() {
                    prop_assert!(!shown.contains(&part), "{}", part);
                }
            }
        }
    }
}
