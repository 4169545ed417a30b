//! Several links between two nodes: what is said of them, what is noticed, and what must hold of them at rest.

use sync_core::{ids::SessionId, message::NetMessage, net_message::NetControl};
use sync_net::paths::KEPT;

use super::{
    Simulation,
    net::{Pair, node_at, pair, side_of},
};

impl Simulation {
    /// A peer said something about a session.
    pub(super) fn said(&mut self, number: usize, session: SessionId, message: &NetMessage) {
        match NetControl::read(message) {
            Ok(word) => self.swarm(number, |swarm, now| swarm.handle_word(session, &word, now)),
            Err(e) => self.fail(format!("node {number} can't read a word: {e}")),
        }
    }

    pub(super) fn probe(&mut self, number: usize, session: SessionId) {
        let node = &self.nodes[number];
        let mono = node.now(self.now).mono;
        let Some((pair, conn)) = node.conns.get(&session).copied() else {
            return;
        };
        let side = side_of(pair, number);
        if let Some(end) = self.end(pair, conn, side) {
            end.endpoint.probe(mono);
            self.kick(pair, conn, side);
            self.set_timer(pair, conn, side);
        }
    }

    /// The peer of a session doesn't answer.
    pub(super) fn quiet(&mut self, pair: Pair, conn: u64, side: usize) {
        let session = self
            .conn(pair, conn)
            .and_then(|conn| conn.ends[side].session);
        if let Some(session) = session {
            self.totals.silences += 1;
            self.swarm(node_at(pair, side), |swarm, now| {
                swarm.handle_quiet(session, now);
            });
        }
    }

    /// It does, after a probe or silence.
    pub(super) fn heard_again(&mut self, pair: Pair, conn: u64, side: usize) {
        let end = self.conn(pair, conn).map(|conn| &conn.ends[side]);
        let Some((session, took)) =
            end.and_then(|end| Some((end.session?, end.endpoint.round_trip())))
        else {
            return;
        };
        self.swarm(node_at(pair, side), |swarm, now| {
            swarm.handle_heard(session, took, now);
        });
    }

    /// At rest both sides of each pair use one connection, and keep few.
    pub(super) fn ways_agree(&self) -> Result<(), String> {
        let folder = self.tag();
        for (a, b) in (0..self.nodes.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
            let used = |here: usize, there: usize| {
                let node = &self.nodes[here];
                let swarm = node.swarm.as_ref()?;
                let session = swarm.used(folder, self.nodes[there].id.key)?;
                node.conns.get(&session).map(|(pair, conn)| (pair.2, *conn))
            };
            let (there, back) = (used(a, b), used(b, a));
            if there != back {
                return Err(format!("n{a} and n{b} use {there:?} and {back:?}"));
            }
            let conns = |link: u8| {
                self.links
                    .get(&pair(a, b, link))
                    .map_or(0, |l| l.conns.len())
            };
            if conns(0) + conns(1) > KEPT {
                return Err(format!("n{a} and n{b} keep too many connections"));
            }
        }
        Ok(())
    }
}
