//! The written form of secrets: Base32 symbols and the two check symbols.
//!
//! This module owns the alphabet, the packing of bytes into 5-bit symbols and
//! the check. It knows nothing about which letters mean what. It must never
//! put a secret into memory that isn't wiped afterwards, nor into an error.
//!
//! # The check
//!
//! The check is a CRC of 10 bits over the 5-bit values of all the symbols in
//! the order in which they are read, the type letter included, most
//! significant bit first. Its polynomial is
//! `x^10 + x^9 + x^5 + x^4 + x + 1`, which is `(x + 1)(x^9 + x^4 + 1)`, and
//! its ten bits are appended as two symbols, the high one first.
//!
//! * One wrong symbol, or two neighbours swapped, changes at most ten bits in
//!   a row. A CRC of degree ten with a constant term catches every such
//!   change, at any place, whether it touches the type letter, the data or the
//!   check symbols.
//! * Swapping two symbols that stand `k` places apart changes the text by
//!   `d(x) (x^(5k) + 1)` with `d` of degree four or less. The factor
//!   `x^9 + x^4 + 1` is primitive, so it divides `x^n + 1` only if `n` is a
//!   multiple of 511. Hence a swap of *any* two symbols is caught in every
//!   text of fewer than 511 symbols, and so is one doubled symbol mistaken for
//!   another (`AA` for `BB`).
//! * The register starts with all ten bits set, so a row of `A`s, whose
//!   values are all zero, isn't a secret.
//!
//! The tests check the first two claims for every pattern at both lengths.
//! One mistake of another kind goes unseen once in 1024 times.

use zeroize::Zeroizing;

/// The Base32 alphabet of RFC 4648; the place of a symbol is its value.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The polynomial without its highest term.
const POLYNOMIAL: u16 = 0x233;

/// The ten bits of the register.
const MASK: u16 = 0x3ff;

/// The register before the first symbol.
const START: u16 = MASK;

/// How many symbols the check takes.
pub(crate) const CHECK_SYMBOLS: usize = 2;

/// How many symbols hold `bytes` bytes.
pub(crate) const fn symbols_for(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// The value of a symbol, in either case; `None` if it isn't in the alphabet.
pub(crate) const fn value_of(symbol: u8) -> Option<u8> {
    match symbol {
        b'A'..=b'Z' => Some(symbol - b'A'),
        b'a'..=b'z' => Some(symbol - b'a'),
        b'2'..=b'7' => Some(symbol - b'2' + 26),
        _ => None,
    }
}

/// The symbol of a 5-bit value; higher bits are ignored.
pub(crate) fn symbol_of(value: u8) -> char {
    char::from(ALPHABET[usize::from(value & 31)])
}

/// Feeds one 5-bit value into the register.
const fn feed(register: u16, value: u8) -> u16 {
    let mut register = register ^ ((value as u16) << 5);
    let mut bit = 0;
    while bit < 5 {
        let carry = register & 0x200 != 0;
        register = (register << 1) & MASK;
        if carry {
            register ^= POLYNOMIAL;
        }
        bit += 1;
    }
    register
}

/// The two check values of the given values.
pub(crate) fn check_values(values: &[u8]) -> [u8; CHECK_SYMBOLS] {
    let register = values
        .iter()
        .fold(START, |register, value| feed(register, *value));
    [((register >> 5) & 31) as u8, (register & 31) as u8]
}

/// The remainder of an error pattern, check symbols included. It is zero
/// exactly if the pattern, added to a valid text, gives a valid text.
#[cfg(test)]
pub(super) fn remainder(pattern: &[u8]) -> u16 {
    let (head, check) = pattern.split_at(pattern.len() - CHECK_SYMBOLS);
    let register = head
        .iter()
        .fold(0, |register, value| feed(register, *value));
    register ^ (u16::from(check[0]) << 5) ^ u16::from(check[1])
}

/// Calls `each` with the 5-bit values of `bytes`; the last one is filled up
/// with zero bits.
pub(crate) fn for_each_value(bytes: &[u8], mut each: impl FnMut(u8)) {
    let mut pending: u16 = 0;
    let mut bits = 0;
    for byte in bytes {
        pending = (pending << 8) | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            each(((pending >> bits) & 31) as u8);
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        each(((pending << (5 - bits)) & 31) as u8);
    }
}

/// The text of a secret: its type letter, its bytes and the check.
pub(crate) fn encode(letter: u8, bytes: &[u8]) -> Zeroizing<String> {
    let length = 1 + symbols_for(bytes.len()) + CHECK_SYMBOLS;
    // Both are sized beforehand: growing would leave a copy behind unwiped.
    let mut values = Zeroizing::new(Vec::with_capacity(length));
    values.extend(value_of(letter));
    for_each_value(bytes, |value| values.push(value));
    let check = check_values(&values);
    values.extend_from_slice(&check);
    let mut text = Zeroizing::new(String::with_capacity(length));
    for value in values.iter() {
        text.push(symbol_of(*value));
    }
    text
}

/// Packs values into bytes. Returns whether the values fill `bytes` exactly
/// and the spare bits of the last one are zero.
pub(crate) fn unpack(values: &[u8], bytes: &mut [u8]) -> bool {
    if values.len() != symbols_for(bytes.len()) {
        return false;
    }
    let mut pending: u16 = 0;
    let mut bits = 0;
    let mut places = bytes.iter_mut();
    for value in values {
        pending = (pending << 5) | u16::from(value & 31);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            if let Some(place) = places.next() {
                *place = (pending >> bits) as u8;
            }
            pending &= (1 << bits) - 1;
        }
    }
    pending == 0
}
