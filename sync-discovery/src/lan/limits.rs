//! How much work and how many answers strangers on the link can get out of us.
//! Owns a bounded table of senders and of announces already honoured.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::wire::Nonce;
use crate::rate::TokenBucket;

/// How long a nonce is remembered, ours or theirs.
pub(super) const NONCE_LIFE: Duration = Duration::from_secs(600);

const MAX_SENDERS: usize = 1024;
const MAX_HONOURED: usize = 1024;
/// An announce comes from one address for each network its sender is on; more
/// than a few are replays.
const MAX_ADDRESSES_PER_NONCE: usize = 4;

#[derive(Debug)]
struct Sender {
    inspect: TokenBucket,
    answer: TokenBucket,
    used: Duration,
}

/// The limits of one beacon.
#[derive(Debug)]
pub(super) struct Limits {
    senders: BTreeMap<IpAddr, Sender>,
    inspect: TokenBucket,
    answer: TokenBucket,
    honoured: BTreeMap<Nonce, Vec<SocketAddr>>,
    honoured_order: VecDeque<(Duration, Nonce)>,
}

impl Limits {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            senders: BTreeMap::new(),
            inspect: TokenBucket::new(200, 400, now),
            answer: TokenBucket::new(50, 100, now),
            honoured: BTreeMap::new(),
            honoured_order: VecDeque::new(),
        }
    }

    /// Whether a datagram from `ip` may cost us hashes now.
    pub(super) fn may_inspect(&mut self, ip: IpAddr, now: Duration) -> bool {
        // The sender's own allowance goes first: one noisy host must not use up
        // what belongs to all.
        self.sender(ip, now).inspect.take(now) && self.inspect.take(now)
    }

    /// Whether `ip` may be sent an answer now.
    pub(super) fn may_answer(&mut self, ip: IpAddr, now: Duration) -> bool {
        self.sender(ip, now).answer.take(now) && self.answer.take(now)
    }

    /// Notes that an announce that matched came from `from`. False when it is a
    /// repetition, or comes from too many places.
    pub(super) fn honour(&mut self, nonce: &Nonce, from: SocketAddr, now: Duration) -> bool {
        self.forget_old(now);
        if let Some(places) = self.honoured.get_mut(nonce) {
            let fresh = places.len() < MAX_ADDRESSES_PER_NONCE && !places.contains(&from);
            if fresh {
                places.push(from);
            }
            return fresh;
        }
        if self.honoured.len() >= MAX_HONOURED {
            self.forget_oldest();
        }
        self.honoured.insert(*nonce, vec![from]);
        self.honoured_order.push_back((now, *nonce));
        true
    }

    fn forget_old(&mut self, now: Duration) {
        while let Some((at, _)) = self.honoured_order.front() {
            if now.saturating_sub(*at) < NONCE_LIFE {
                break;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, nonce)) = self.honoured_order.pop_front() {
            self.honoured.remove(&nonce);
        }
    }

    fn sender(&mut self, ip: IpAddr, now: Duration) -> &mut Sender {
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&ip) {
            let idle_longest = self.senders.iter().min_by_key(|(_, s)| s.used);
            if let Some(victim) = idle_longest.map(|(ip, _)| *ip) {
                self.senders.remove(&victim);
            }
        }
        let sender = self.senders.entry(ip).or_insert_with(|| Sender {
            inspect: TokenBucket::new(20, 60, now),
            answer: TokenBucket::new(5, 20, now),
            used: now,
        });
        sender.used = now;
        sender
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_noisy_host_leaves_room_for_others() {
        let now = Duration::from_secs(1);
        let mut limits = Limits::new(now);
        let noisy = IpAddr::from([10, 0, 0, 1]);
        let granted = (0..10_000)
            .filter(|_| limits.may_inspect(noisy, now))
            .count();
        assert_eq!(granted, 60);
        assert!(limits.may_inspect(IpAddr::from([10, 0, 0, 2]), now));
    }

    #[test]
    fn tables_stay_bounded() {
        let now = Duration::from_secs(1);
        let mut limits = Limits::new(now);
        for i in 0..5000_u32 {
            let ip = IpAddr::from(i.to_be_bytes());
            limits.may_inspect(ip, now);
            let mut nonce = [0; 16];
            nonce[..4].copy_from_slice(&i.to_be_bytes());
            limits.honour(&nonce, SocketAddr::new(ip, 1), now);
        }
        assert_eq!(limits.senders.len(), MAX_SENDERS);
        assert_eq!(limits.honoured.len(), MAX_HONOURED);
        assert_eq!(limits.honoured_order.len(), MAX_HONOURED);
    }

    #[test]
    fn a_nonce_is_honoured_from_few_places() {
        let now = Duration::from_secs(1);
        let mut limits = Limits::new(now);
        let at = |i: u8| SocketAddr::from(([10, 0, 0, i], 1));
        assert!(limits.honour(&[1; 16], at(1), now));
        assert!(!limits.honour(&[1; 16], at(1), now));
        let more = (2..100).filter(|i| limits.honour(&[1; 16], at(*i), now));
        assert_eq!(more.count(), 3);
        assert!(limits.honour(&[1; 16], at(1), now + NONCE_LIFE));
    }
}
