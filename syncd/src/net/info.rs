//! What is known of a session, shared by those who count and those who report.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sync_core::{
    control::{FoundBy, PathKind, Peer, Rates, Transport},
    ids::{PeerKey, SessionId},
    secret::Level,
    time::Utc,
};
use sync_discovery::Source;
use sync_net::paths::PathClass;

/// A session with a peer, for reports.
#[derive(Debug)]
pub(crate) struct PeerInfo {
    /// Its name here.
    pub(crate) session: SessionId,
    /// Who it is.
    pub(crate) peer: PeerKey,
    /// What it calls itself, made harmless.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// How good the way to it is.
    pub(crate) path: PathClass,
    /// How its address became known.
    pub(crate) found_by: Source,
    /// What it has proved to be.
    pub(crate) level: Level,
    /// Since when, ns since 1970.
    pub(crate) since_ns: i64,
    /// Bytes sent.
    pub(crate) sent: AtomicU64,
    /// Bytes received.
    pub(crate) received: AtomicU64,
    /// The same of all sessions since the start: sent, received.
    pub(crate) totals: Arc<[AtomicU64; 2]>,
    pub(super) meter: Mutex<Meter>,
}

/// Rates over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    at: Duration,
    up: u64,
    down: u64,
    rates: Rates,
    round_trip: Option<Duration>,
}

impl PeerInfo {
    /// Bytes went out.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.totals[0].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes came in.
    pub(crate) fn count_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.totals[1].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Looks at the counters again; to be called about once a second.
    pub(crate) fn measure(&self, now: Duration, round_trip: Option<Duration>) {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(meter.at).as_millis() as u64;
        if passed == 0 {
            return;
        }
        let (up, down) = (
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed),
        );
        let rate = |old: u64, new: u64, rate: u64| {
            let current = new.saturating_sub(old).saturating_mul(1000) / passed;
            // Half new, half old: smooth over about two seconds, and zero soon after the last byte.
            if rate == 0 {
                current
            } else {
                (current + rate) / 2
            }
        };
        let rates = Rates {
            up: rate(meter.up, up, meter.rates.up),
            down: rate(meter.down, down, meter.rates.down),
        };
        *meter = Meter {
            at: now,
            up,
            down,
            rates,
            round_trip,
        };
    }

    /// The rates and the round trip as last measured.
    fn measured(&self) -> (Rates, Option<Duration>) {
        let meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        (meter.rates, meter.round_trip)
    }

    /// As the control API says it.
    pub(crate) fn report(&self, in_sync: bool) -> Peer {
        let (rates, round_trip) = self.measured();
        Peer {
            device: self.peer.to_string(),
            name: self.name.clone(),
            address: self.address.to_string(),
            transport: Transport::Tcp,
            path: match self.path {
                PathClass::Lan => PathKind::Lan,
                PathClass::Direct => PathKind::Direct,
                PathClass::Relay => PathKind::Relay,
            },
            found_by: found_by(self.found_by),
            level: self.level,
            in_sync,
            rates,
            // To a thousandth: more says nothing.
            rtt_ms: round_trip.map(|took| took.as_micros() as f64 / 1000.0),
            since: Utc::from_unix_ns(self.since_ns).rfc3339(),
        }
    }
}

/// A source as the control API names it.
pub(crate) const fn found_by(source: Source) -> FoundBy {
    match source {
        Source::Lan => FoundBy::Lan,
        Source::KnownHost => FoundBy::KnownHost,
        Source::Invite => FoundBy::Invite,
        Source::Pex => FoundBy::Pex,
        Source::Tracker => FoundBy::Tracker,
        Source::Dht => FoundBy::Dht,
        Source::Incoming => FoundBy::Incoming,
    }
}
