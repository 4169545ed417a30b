//! Whether the peer is there: pings, their round trips, and silence.
//!
//! It owns the times at which something came and went. It never looks at what did.
//!
//! Whoever has sent something, or has received a piece of bulk, expects to hear something: if nothing comes for twice the round trip and 300 ms, half a
//! second at least, it pings; if nothing comes for a round trip and 300 ms, half a second at least, the peer is *quiet*, and after
//! [`GIVEN_UP`] of it dead. So that a full queue, or a peer whose disk is slow, isn't taken for that, whoever
//! receives without having anything to say, or can't read for now, gives a *sign of life* each [`SIGN`]: a pong that
//! answers no ping. Signs are answered by nothing, so two peers at rest are silent.

use std::time::Duration;

use super::types::Config;

/// A peer that was pinged and is quiet for so long is dead.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// How often a side that receives, or can't, says that it lives.
const SIGN: Duration = Duration::from_millis(250);
/// The number of a pong that answers no ping.
const NO_PING: [u8; 8] = [0; 8];

const LEAST_WAIT: Duration = Duration::from_millis(500);
const EXTRA_WAIT: Duration = Duration::from_millis(300);

/// What time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing of note.
    Nothing,
    /// The peer doesn't answer.
    Quiet,
    /// It hasn't for too long.
    Dead,
}

/// Whether the peer of one session is there. See the module.
///
/// Whoever drives it says what came and went, sends the pings and pongs that it wants, and calls
/// [`Life::handle_timeout`] when [`Life::next_timeout`] is reached.
#[derive(Debug)]
pub struct Life {
    received: Duration,
    sent: Duration,
    /// Since when something is expected and nothing has come.
    owed: Option<Duration>,
    /// Since when a ping was to find out whether the peer is there.
    asked: Option<Duration>,
    /// The owner waits for the answer to a ping with this number or a later one.
    probed: Option<u64>,
    quiet: bool,
    /// Something other than a pong came, and nothing went since.
    owes_sign: bool,
    /// Since when nothing is read.
    paused: Option<Duration>,
    want_ping: bool,
    want_pong: Option<[u8; 8]>,
    ping_id: u64,
    ping_sent: Duration,
    ping_open: bool,
    rtt: Option<Duration>,
}

impl Life {
    /// Nothing came or went yet.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            received: now,
            sent: now,
            owed: None,
            asked: None,
            probed: None,
            quiet: false,
            owes_sign: false,
            paused: None,
            want_ping: false,
            want_pong: None,
            ping_id: 0,
            ping_sent: now,
            ping_open: false,
            rtt: None,
        }
    }

    /// The smoothed round trip, once there was one.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether a pong waits to be sent.
    #[must_use]
    pub const fn owes_pong(&self) -> bool {
        self.want_pong.is_some()
    }

    /// The session stands; what went before doesn't count.
    pub fn open(&mut self, now: Duration) {
        (self.want_ping, self.received, self.owed) = (true, now, None);
    }

    /// The session is over: nothing is to be sent any more.
    pub fn end(&mut self) {
        (self.want_ping, self.want_pong) = (false, None);
    }

    /// Bytes came. Whether the peer was quiet.
    pub fn received(&mut self, now: Duration) -> bool {
        self.received = now;
        // What comes may be older than a probe: its answer is waited for on.
        (self.owed, self.asked) = (None, self.probed.map(|_| now));
        std::mem::take(&mut self.quiet)
    }

    /// Bulk came, and more of it may be under way.
    pub fn received_bulk(&mut self, now: Duration) {
        self.owed = Some(now);
    }

    /// It was more than a pong.
    pub fn received_something(&mut self) {
        self.owes_sign = true;
    }

    /// Something other than a pong went.
    pub fn sent(&mut self, now: Duration) {
        (self.sent, self.owes_sign) = (now, false);
        self.owed.get_or_insert(now);
    }

    /// Bulk went. The delay of the path under load is worth knowing as well.
    pub fn sent_bulk(&mut self, config: &Config, now: Duration) {
        self.want_ping |= !self.ping_open && now >= self.ping_sent + config.keepalive;
    }

    /// The body of a pong to send now.
    pub fn take_pong(&mut self, now: Duration) -> Option<[u8; 8]> {
        let id = self.want_pong.take()?;
        (self.sent, self.owes_sign) = (now, false);
        Some(id)
    }

    /// The body of a ping to send now.
    pub fn take_ping(&mut self, now: Duration) -> Option<[u8; 8]> {
        std::mem::take(&mut self.want_ping).then(|| {
            self.ping_id += 1;
            (self.ping_open, self.ping_sent) = (true, now);
            self.sent(now);
            self.ping_id.to_be_bytes()
        })
    }

    /// A ping came. If pings come faster than we answer, the newest is answered.
    pub fn handle_ping(&mut self, id: [u8; 8]) {
        self.want_pong = Some(id);
    }

    /// A pong came. Whether it answers a probe.
    pub fn handle_pong(&mut self, id: [u8; 8], now: Duration) -> bool {
        if self.ping_open && u64::from_be_bytes(id) == self.ping_id {
            self.ping_open = false;
            let sample = now.saturating_sub(self.ping_sent);
            // The smoothing of RFC 6298.
            self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
            if self.probed.is_some_and(|from| self.ping_id >= from) {
                (self.probed, self.asked) = (None, None);
                return true;
            }
        }
        false
    }

    /// The owner wants to know whether the peer is there.
    pub fn probe(&mut self, now: Duration) {
        self.probed = Some(self.ping_id + 1);
        self.want_ping = true;
        self.asked.get_or_insert(now);
    }

    /// While nothing is read, silence means nothing.
    pub fn set_paused(&mut self, paused: bool, now: Duration) {
        if paused {
            self.paused.get_or_insert(now);
        } else if let Some(since) = self.paused.take() {
            self.received = now;
            // That we didn't read says nothing of the way.
            self.ping_sent = (self.ping_sent + now.saturating_sub(since)).min(now);
            self.owed = self.owed.map(|_| now);
            self.asked = self.asked.map(|_| now);
        }
    }

    /// When [`Life::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_timeout(&self, config: &Config) -> Option<Duration> {
        let silence = match (self.asked, self.owed) {
            _ if self.paused.is_some() => None,
            (Some(at), _) if self.quiet => Some(at + GIVEN_UP),
            (Some(at), _) => Some(at + self.patience()),
            (None, owed) => owed.map(|at| at + self.wait()),
        };
        let dead = self
            .paused
            .is_none()
            .then(|| self.received + config.idle_timeout);
        let ping = (!self.want_ping).then(|| self.sent + config.keepalive);
        let sign = self.sign_at();
        [silence, dead, ping, sign].into_iter().flatten().min()
    }

    /// Does what is due. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, config: &Config, now: Duration) -> Due {
        if self.sign_at().is_some_and(|at| now >= at) {
            self.want_pong = Some(NO_PING);
        }
        if now >= self.sent + config.keepalive {
            self.want_ping = true;
        }
        if self.paused.is_some() {
            return Due::Nothing;
        }
        if now >= self.received + config.idle_timeout {
            return Due::Dead;
        }
        match (self.asked, self.owed) {
            (Some(at), _) if now >= at + GIVEN_UP.max(self.patience()) => return Due::Dead,
            (Some(at), _) if !self.quiet && now >= at + self.patience() => {
                self.quiet = true;
                return Due::Quiet;
            }
            (None, Some(at)) if now >= at + self.wait() => self.ask(now),
            _ => {}
        }
        Due::Nothing
    }

    fn ask(&mut self, now: Duration) {
        if self.asked.is_none() {
            (self.asked, self.want_ping) = (Some(now), true);
        }
    }

    /// How long an answer may take, before it is asked for a sign.
    fn wait(&self) -> Duration {
        let rtt = self.rtt.unwrap_or_default();
        (2 * rtt + EXTRA_WAIT).max(LEAST_WAIT)
    }

    /// How long that sign may take.
    fn patience(&self) -> Duration {
        (self.rtt.unwrap_or_default() + EXTRA_WAIT).max(LEAST_WAIT)
    }

    fn sign_at(&self) -> Option<Duration> {
        let due = (self.owes_sign || self.paused.is_some()) && self.want_pong.is_none();
        due.then(|| self.sent + SIGN)
    }
}
