//! A fixed number of bits, which can be searched a word at a time.

/// Bits that know how many of them are set.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u32,
    ones: u32,
}

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(64) as usize],
            len,
            ones: 0,
        }
    }

    pub(super) fn full(len: u32) -> Self {
        let mut bits = Self {
            words: vec![!0; len.div_ceil(64) as usize],
            len,
            ones: len,
        };
        if let Some(last) = bits.words.last_mut()
            && !len.is_multiple_of(64)
        {
            *last = (1 << (len % 64)) - 1;
        }
        bits
    }

    pub(super) fn count(&self) -> u32 {
        self.ones
    }

    pub(super) fn has(&self, at: u32) -> bool {
        at < self.len && self.words[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    /// Sets a bit; whether that changed it.
    pub(super) fn set(&mut self, at: u32) -> bool {
        let news = at < self.len && !self.has(at);
        if news {
            self.words[(at / 64) as usize] |= 1 << (at % 64);
            self.ones += 1;
        }
        news
    }

    /// Clears a bit; whether that changed it.
    pub(super) fn clear(&mut self, at: u32) -> bool {
        let was = self.has(at);
        if was {
            self.words[(at / 64) as usize] &= !(1 << (at % 64));
            self.ones -= 1;
        }
        was
    }

    /// The first bit from `from` on that is set here, and in `other` if that is given.
    pub(super) fn first_from(&self, from: u32, other: Option<&Self>) -> Option<u32> {
        let start = (from / 64) as usize;
        for (index, word) in self.words.iter().enumerate().skip(start) {
            let mut word = *word;
            if let Some(other) = other {
                word &= other.words.get(index).copied().unwrap_or(0);
            }
            if index == start {
                word &= !0 << (from % 64);
            }
            if word != 0 {
                return Some(index as u32 * 64 + word.trailing_zeros());
            }
        }
        None
    }

    /// The bits of a range as the wire has them: most significant first.
    pub(super) fn to_wire(&self, from: u32, to: u32) -> Vec<u8> {
        let to = to.min(self.len);
        let mut wire = vec![0; to.saturating_sub(from).div_ceil(8) as usize];
        for at in (from..to).filter(|at| self.has(*at)) {
            let bit = at - from;
            wire[(bit / 8) as usize] |= 0x80 >> (bit % 8);
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_found() {
        let mut bits = Bits::new(130);
        assert_eq!(bits.first_from(0, None), None);
        for at in [0, 63, 64, 129] {
            assert!(bits.set(at));
            assert!(!bits.set(at));
        }
        assert!(!bits.set(130));
        assert_eq!(bits.count(), 4);
        assert_eq!(bits.first_from(1, None), Some(63));
        assert_eq!(bits.first_from(65, None), Some(129));
        assert_eq!(bits.first_from(130, None), None);
        let mut other = Bits::new(130);
        other.set(64);
        assert_eq!(bits.first_from(0, Some(&other)), Some(64));
        assert_eq!(bits.to_wire(63, 73), [0b1100_0000, 0]);
        assert!(bits.clear(64) && !bits.clear(64));
        assert_eq!(Bits::full(130).count(), 130);
        assert_eq!(Bits::full(130).first_from(129, None), Some(129));
        assert!(!Bits::full(130).has(130));
    }
}
