//! A token bucket without a clock, for everything here that must not be done
//! too often. Integer arithmetic only, so that runs repeat exactly.

use std::time::Duration;

const NANOS: u64 = 1_000_000_000;

/// Holds at most `burst` tokens and gains `per_second` of them each second.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    per_second: u64,
    burst: u64,
    /// Billionths of a token.
    credit: u64,
    filled: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, burst: u32, now: Duration) -> Self {
        let burst = u64::from(burst.max(1));
        Self {
            per_second: u64::from(per_second.max(1)),
            burst,
            credit: burst * NANOS,
            filled: now,
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_nanos();
        let gained = passed.saturating_mul(u128::from(self.per_second));
        let full = u128::from(self.burst * NANOS);
        self.credit = full.min(u128::from(self.credit).saturating_add(gained)) as u64;
        self.filled = self.filled.max(now);
    }

    /// Takes one token, if there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        self.fill(now);
        let enough = self.credit >= NANOS;
        if enough {
            self.credit -= NANOS;
        }
        enough
    }

    /// How long until [`take`](Self::take) succeeds, zero if it would now.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let mut at = self.clone();
        at.fill(now);
        Duration::from_nanos(NANOS.saturating_sub(at.credit).div_ceil(self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate() {
        let start = Duration::from_secs(100);
        let mut bucket = TokenBucket::new(5, 10, start);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 10);
        let wait = bucket.wait(start);
        assert_eq!(wait, Duration::from_millis(200));
        assert!(!bucket.take(start + wait - Duration::from_nanos(1)));
        assert!(bucket.take(start + wait));
        // A clock that went back gives nothing and breaks nothing.
        assert!(!bucket.take(Duration::ZERO));
        assert_eq!((0..100).filter(|_| bucket.take(Duration::MAX)).count(), 10);
    }
}
