//! How many handshakes run at once, in all and from one place.
//!
//! Pure counting; the listener asks before it answers a connection. Strangers
//! that were recognised wait in a room of their own, so that they don't take
//! the places of members.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The limits of [`HandshakeSlots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Handshakes at once.
    pub total: usize,
    /// Handshakes and strangers at once from one IPv4 address or IPv6 /64.
    pub per_address: usize,
    /// Strangers that are left in silence at once; more are dropped.
    pub strangers: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            total: 64,
            per_address: 8,
            strangers: 256,
        }
    }
}

/// Counts running handshakes. Clones share the count.
#[derive(Debug, Clone)]
pub struct HandshakeSlots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: HandshakeLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    handshakes: usize,
    strangers: usize,
    places: BTreeMap<IpAddr, usize>,
}

impl HandshakeSlots {
    /// Starts with none.
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Self {
        Self(Arc::new(Shared {
            limits,
            counts: Mutex::default(),
        }))
    }

    /// A place for a connection from an address, if there is one. It is given
    /// back when the slot is dropped.
    #[must_use]
    pub fn admit(&self, addr: IpAddr) -> Option<Slot> {
        let place = place(addr);
        let mut counts = self.0.counts();
        let here = counts.places.get(&place).copied().unwrap_or(0);
        if counts.handshakes >= self.0.limits.total || here >= self.0.limits.per_address {
            return None;
        }
        counts.handshakes += 1;
        counts.places.insert(place, here + 1);
        Some(Slot {
            shared: Arc::clone(&self.0),
            place,
            stranger: false,
        })
    }
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    place: IpAddr,
    stranger: bool,
}

impl Slot {
    /// Moves to the strangers' room. `false` if that is full: drop the
    /// connection.
    pub fn becomes_stranger(&mut self) -> bool {
        let mut counts = self.shared.counts();
        if !self.stranger && counts.strangers < self.shared.limits.strangers {
            counts.handshakes -= 1;
            counts.strangers += 1;
            self.stranger = true;
        }
        self.stranger
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.shared.counts();
        if self.stranger {
            counts.strangers -= 1;
        } else {
            counts.handshakes -= 1;
        }
        if let Some(here) = counts.places.get_mut(&self.place) {
            *here -= 1;
            if *here == 0 {
                counts.places.remove(&self.place);
            }
        }
    }
}

/// Whoever has one IPv6 address has the whole /64.
fn place(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let slots = HandshakeSlots::new(HandshakeLimits {
            total: 3,
            per_address: 2,
            strangers: 1,
        });
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = slots.admit(a).unwrap();
        let mut second = slots.admit("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(slots.admit(a).is_none(), "both are one address");
        let mut third = slots.admit(b).unwrap();
        assert!(
            slots.admit("10.0.0.3".parse().unwrap()).is_none(),
            "all taken"
        );
        assert!(second.becomes_stranger());
        assert!(!third.becomes_stranger(), "one stranger is enough");
        assert!(
            slots.admit(a).is_none(),
            "a stranger still counts where it came from"
        );
        assert!(slots.admit("10.0.0.3".parse().unwrap()).is_some());
        drop((first, second, third));
        let counts = slots.0.counts();
        assert_eq!(
            (counts.handshakes, counts.strangers, counts.places.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn an_ipv6_network_is_one_place() {
        let slots = HandshakeSlots::new(HandshakeLimits {
            per_address: 1,
            ..HandshakeLimits::default()
        });
        let _slot = slots.admit("2001:db8::1".parse().unwrap()).unwrap();
        assert!(slots.admit("2001:db8::ffff:1".parse().unwrap()).is_none());
        assert!(slots.admit("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
