//! A small generator of unpredictable bytes from a seed: HMAC-SHA256 over a
//! counter. It makes nonces and padding that nobody can tell from real tags,
//! and spreads timers. Must never be seeded twice with one seed in one run of
//! the world, or nonces would repeat.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The generator. Its output depends on seed and label only.
pub(crate) struct SeededRng {
    key: Zeroizing<[u8; 32]>,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl SeededRng {
    /// A generator of its own for each `label`, so that two machines may share
    /// one seed.
    pub(crate) fn new(seed: &[u8; 32], label: &str) -> Self {
        Self {
            key: Zeroizing::new(mac(seed, &[label.as_bytes()])),
            counter: 0,
            block: [0; 32],
            used: 32,
        }
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                self.block = mac(&self.key, &[&self.counter.to_be_bytes()]);
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A number below `n`, 0 when `n` is 0. The bias of the multiplication is
    /// below n / 2^64.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(u64::from_be_bytes(self.bytes())) * u128::from(n);
        (wide >> 64) as u64
    }

    /// A duration from `low` to `high`, to the microsecond.
    pub(crate) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high
            .saturating_sub(low)
            .as_micros()
            .min(u128::from(u64::MAX)) as u64;
        low + Duration::from_micros(self.below(span))
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

impl fmt::Debug for SeededRng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededRng")
    }
}

/// HMAC-SHA256 over the parts one after the other.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_seed_and_label_and_is_in_range() {
        let a: [u8; 70] = SeededRng::new(&[1; 32], "a").bytes();
        let again: [u8; 70] = SeededRng::new(&[1; 32], "a").bytes();
        let b: [u8; 70] = SeededRng::new(&[1; 32], "b").bytes();
        assert_eq!(a, again);
        assert_ne!(a, b);
        let mut rng = SeededRng::new(&[2; 32], "a");
        let mut seen = [false; 7];
        for _ in 0..200 {
            seen[rng.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(rng.below(0), 0);
        let (low, high) = (Duration::from_secs(1), Duration::from_secs(2));
        for _ in 0..100 {
            let d = rng.between(low, high);
            assert!(low <= d && d < high);
        }
    }
}
