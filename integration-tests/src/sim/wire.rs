//! The simulation's half that has to do with links: dialling, bytes on their way, sessions' events.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sync_core::{
    engine::{Arrival, Input},
    ids::SessionId,
    message::{Message, object_head},
};

use super::{
    Event, Simulation,
    net::{Conn, End, NetEvent, Pair, node_at, side_of},
};

impl Simulation {
    /// An engine learns that a session is gone.
    pub(crate) fn peer_down(&mut self, number: usize, session: SessionId) {
        let Some(live) = &mut self.nodes[number].live else {
            return;
        };
        if live.sessions.remove(&session).is_some() {
            self.tell(number, Input::PeerDown { session });
        }
    }

    /// A connection, if it still stands.
    pub(super) fn conn(&self, pair: Pair, conn: u64) -> Option<&Conn> {
        self.links.get(&pair)?.conns.iter().find(|c| c.id == conn)
    }

    pub(super) fn end(&mut self, pair: Pair, conn: u64, side: usize) -> Option<&mut End> {
        let conns = &mut self.links.get_mut(&pair)?.conns;
        let conn = conns.iter_mut().find(|c| c.id == conn)?;
        conn.ends.get_mut(side)
    }

    /// There may be something to send.
    pub(super) fn kick(&mut self, pair: Pair, conn: u64, side: usize) {
        let now = self.now;
        let Some(end) = self.end(pair, conn, side).filter(|end| !end.pumping) else {
            return;
        };
        end.pumping = true;
        let at = end.busy_until.max(now);
        self.heap.push(at, Event::Pump(pair, conn, side));
    }

    pub(super) fn set_timer(&mut self, pair: Pair, conn: u64, side: usize) {
        let (boot, now) = (self.nodes[node_at(pair, side)].boot, self.now);
        let Some(end) = self.end(pair, conn, side) else {
            return;
        };
        let Some(at) = end.endpoint.next_timeout() else {
            return;
        };
        let at = (boot + at).max(now + Duration::from_millis(1));
        if end.timer.is_none_or(|due| at < due || due < now) {
            end.timer = Some(at);
            self.heap.push(at, Event::Timer(pair, conn, side));
        }
    }

    pub(crate) fn timer(&mut self, pair: Pair, conn: u64, side: usize) {
        let mono = self.nodes[node_at(pair, side)].now(self.now).mono;
        let now = self.now;
        let Some(end) = self.end(pair, conn, side) else {
            return;
        };
        if end.timer != Some(now) {
            return;
        }
        end.timer = None;
        end.endpoint.handle_timeout(mono);
        self.session_events(pair, conn, side);
        self.kick(pair, conn, side);
    }

    pub(crate) fn pump(&mut self, pair: Pair, conn: u64, side: usize) {
        let (now, mono) = (self.now, self.nodes[node_at(pair, side)].now(self.now).mono);
        let Some(link) = self.links.get(&pair) else {
            return;
        };
        let (latency, jitter, width) = (link.latency, link.jitter_ms, link.width);
        let stalls_until = link.stalls_until;
        let jitter = self.rng.millis(0, jitter);
        let Some(end) = self.end(pair, conn, side) else {
            return;
        };
        end.pumping = false;
        let mut out = BytesMut::new();
        end.endpoint.transmit(mono, &mut out);
        if out.is_empty() {
            return self.session_events(pair, conn, side);
        }
        let takes = Duration::from_nanos(out.len() as u64 * 1_000_000_000 / width.max(1));
        end.busy_until = now + takes;
        let sets_out = end.busy_until.max(stalls_until);
        end.arrives = end.arrives.max(sets_out + latency + jitter);
        end.pumping = true;
        let (again, arrives) = (end.busy_until, end.arrives);
        self.totals.wire_bytes += out.len() as u64;
        self.heap
            .push(arrives, Event::Arrive(pair, conn, 1 - side, out.freeze()));
        self.heap.push(again, Event::Pump(pair, conn, side));
        self.session_events(pair, conn, side);
    }

    pub(crate) fn arrive(&mut self, pair: Pair, conn: u64, side: usize, bytes: &Bytes) {
        let mono = self.nodes[node_at(pair, side)].now(self.now).mono;
        let Some(end) = self.end(pair, conn, side) else {
            return;
        };
        end.input.extend_from_slice(bytes);
        end.endpoint.handle(&mut end.input, mono);
        let node = node_at(pair, side);
        self.trace.step(
            self.now,
            node,
            "arrive",
            &(bytes.len() as u64).to_le_bytes(),
        );
        self.session_events(pair, conn, side);
        self.kick(pair, conn, side);
    }

    /// What the session at one end has to tell. Once it stands, its folder must have taken it first.
    pub(super) fn session_events(&mut self, pair: Pair, conn: u64, side: usize) {
        let number = node_at(pair, side);
        loop {
            let live = self.nodes[number].live.as_ref();
            let taken = |s: SessionId| live.is_some_and(|live| live.sessions.contains_key(&s));
            let stands = self.conn(pair, conn).and_then(|c| c.ends[side].session);
            if stands.is_some_and(|session| !taken(session)) {
                break;
            }
            let Some(event) = self
                .end(pair, conn, side)
                .and_then(|end| end.endpoint.event())
            else {
                break;
            };
            match event {
                NetEvent::Up(peer, level, boot) => {
                    self.established(pair, conn, side, (peer, level, boot));
                }
                NetEvent::Control(bytes) => {
                    let Some(session) = self.end(pair, conn, side).and_then(|e| e.session) else {
                        continue;
                    };
                    match Message::decode(&bytes) {
                        Ok(Message::Engine(message)) => {
                            self.tell(number, Input::Message { session, message });
                        }
                        Ok(Message::Objects(message)) => self.objects(number, session, message),
                        Ok(Message::Net(message)) => self.said(number, session, &message),
                        Ok(Message::Unknown(_)) => {}
                        Err(e) => self.fail(format!("node {number} can't read a message: {e}")),
                    }
                }
                NetEvent::Bulk(request, data, last) => {
                    self.bulk(pair, conn, side, request, &data, last);
                }
                NetEvent::Quiet => self.quiet(pair, conn, side),
                NetEvent::Heard => self.heard_again(pair, conn, side),
                NetEvent::Closed(why) => {
                    let now = self.now;
                    self.trace
                        .line(now, number, || format!("session {conn} closed: {why}"));
                    self.break_conn(pair, conn);
                    return;
                }
            }
        }
        self.set_timer(pair, conn, side);
    }

    fn bulk(&mut self, pair: Pair, conn: u64, side: usize, request: u32, data: &Bytes, last: bool) {
        let number = node_at(pair, side);
        let Some(end) = self.end(pair, conn, side) else {
            return;
        };
        let Some(session) = end.session else { return };
        let (reader, count) = end.readers.entry(request).or_default();
        reader.push(data);
        let mut objects = Vec::new();
        let mut wrong = None;
        loop {
            match reader.next_object() {
                Ok(Some(object)) => {
                    objects.push((*count, object));
                    *count += 1;
                }
                Ok(None) => break,
                Err(e) => {
                    wrong = Some(e.to_string());
                    break;
                }
            }
        }
        if last {
            end.readers.remove(&request);
        }
        if let Some(e) = wrong {
            return self.fail(format!("node {number} can't read an answer: {e}"));
        }
        let arrival = |(index, object)| Arrival {
            request,
            index,
            object,
        };
        let objects: Vec<_> = objects.into_iter().map(arrival).collect();
        if !objects.is_empty() {
            self.tell(number, Input::Objects { session, objects });
        }
    }

    /// The connection of a session, if it still stands.
    fn session_end(&mut self, number: usize, session: SessionId) -> Option<(Pair, u64, usize)> {
        let (pair, conn) = *self.nodes[number].live.as_ref()?.sessions.get(&session)?;
        let side = side_of(pair, number);
        self.end(pair, conn, side)?;
        Some((pair, conn, side))
    }

    /// Sends a control message; into the void, if the connection has broken.
    pub(crate) fn send(&mut self, number: usize, session: SessionId, bytes: Bytes) {
        let Some((pair, conn, side)) = self.session_end(number, session) else {
            return;
        };
        let sent = self
            .end(pair, conn, side)
            .is_some_and(|end| end.endpoint.send_control(bytes));
        if sent {
            self.kick(pair, conn, side);
        }
    }

    /// Sends the objects of an answer.
    pub(crate) fn answer(
        &mut self,
        number: usize,
        session: SessionId,
        request: u32,
        objects: Vec<(Option<Bytes>, bool)>,
    ) {
        let cancelled = self.nodes[number].live.as_mut();
        if cancelled.is_some_and(|live| live.cancelled.remove(&(session, request))) {
            return;
        }
        let Some((pair, conn, side)) = self.session_end(number, session) else {
            return;
        };
        let count = objects.len();
        for (at, (object, is_chunk)) in objects.into_iter().enumerate() {
            let last = at + 1 == count;
            let head = Bytes::copy_from_slice(&object_head(object.as_ref()));
            if let Some(bytes) = object.as_ref().filter(|_| is_chunk) {
                self.totals.chunk_bytes += bytes.len() as u64;
            }
            let Some(end) = self.end(pair, conn, side) else {
                return;
            };
            match object {
                Some(bytes) if !bytes.is_empty() => {
                    end.endpoint.send_bulk(request, head, false);
                    end.endpoint.send_bulk(request, bytes, last);
                }
                _ => {
                    end.endpoint.send_bulk(request, head, last);
                }
            }
        }
        self.kick(pair, conn, side);
    }

    /// A peer took requests back.
    pub(crate) fn stop_serving(&mut self, number: usize, session: SessionId, requests: &[u32]) {
        let Some((pair, conn, side)) = self.session_end(number, session) else {
            return;
        };
        if let Some(end) = self.end(pair, conn, side) {
            for request in requests {
                end.endpoint.cancel_bulk(*request);
            }
        }
    }
}
