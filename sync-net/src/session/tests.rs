//! A pair of sessions in memory and in virtual time.

mod attack;
mod flow;
mod time;
mod vectors;

use super::*;
use crate::testing::{TestFolder, secs};

/// One side: the session, what it received and hasn't understood, what it says.
struct Side {
    session: Session,
    input: BytesMut,
    events: Vec<Event>,
}

impl Side {
    fn new(session: Session) -> Self {
        Self {
            session,
            input: BytesMut::new(),
            events: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8], now: Duration) {
        self.input.extend_from_slice(bytes);
        let _ = self.session.handle_bytes(&mut self.input, now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    fn output(&mut self, now: Duration) -> BytesMut {
        let mut out = BytesMut::new();
        self.session.poll_transmit(now, &mut out, usize::MAX);
        self.collect();
        out
    }

    fn established(&self) -> Option<&Established> {
        self.events.iter().find_map(|event| match event {
            Event::Established(established) => Some(&**established),
            _ => None,
        })
    }

    fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    fn controls(&self) -> Vec<Bytes> {
        let controls = self.events.iter().filter_map(|event| match event {
            Event::Control(message) => Some(message.clone()),
            _ => None,
        });
        controls.collect()
    }

    fn bulk(&self, wanted: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in &self.events {
            if let Event::Bulk { request, data, .. } = event {
                assert_eq!(*request, wanted);
                bytes.extend_from_slice(data);
            }
        }
        bytes
    }

    /// Whether anything of the peer's got through.
    fn delivered(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Control(_) | Event::Bulk { .. }))
    }
}

struct Pair {
    a: Side,
    b: Side,
    now: Duration,
}

fn initiate(folder: SharedFolder, config: &Config, entropy: u8) -> Session {
    let hello = Hello::new("initiator", 11, 1111);
    let entropy = Entropy::new([entropy; 32]);
    Session::initiate(folder, hello, config.clone(), entropy, Duration::ZERO).unwrap()
}

fn accept(gate: &Arc<Gate>, config: &Config, entropy: u8, now: Duration) -> Session {
    let hello = Hello::new("responder", 22, 2222);
    Session::accept(
        Arc::clone(gate),
        hello,
        config.clone(),
        Entropy::new([entropy; 32]),
        now,
    )
}

fn gate(folders: &[SharedFolder]) -> Arc<Gate> {
    Arc::new(Gate::new(folders.to_vec()).unwrap())
}

impl Pair {
    fn new(config: &Config) -> Self {
        Self::with(
            TestFolder::shared(1, 10, Level::ReadWrite),
            &[TestFolder::shared(1, 20, Level::ReadWrite)],
            config,
        )
    }

    fn with(ours: SharedFolder, theirs: &[SharedFolder], config: &Config) -> Self {
        Self {
            a: Side::new(initiate(ours, config, 100)),
            b: Side::new(accept(&gate(theirs), config, 200, Duration::ZERO)),
            now: Duration::ZERO,
        }
    }

    fn open(config: &Config) -> Self {
        let mut pair = Self::new(config);
        pair.settle();
        assert!(pair.a.session.is_open() && pair.b.session.is_open());
        pair
    }

    /// Carries bytes to and fro until both are quiet.
    fn settle(&mut self) {
        self.settle_with(|_, _| {});
    }

    /// The same; `meddle` sees all bytes on their way, `true` from the
    /// initiator.
    fn settle_with(&mut self, mut meddle: impl FnMut(bool, &mut BytesMut)) {
        loop {
            let mut to_b = self.a.output(self.now);
            let mut to_a = self.b.output(self.now);
            if to_a.is_empty() && to_b.is_empty() {
                return;
            }
            meddle(true, &mut to_b);
            meddle(false, &mut to_a);
            if !to_b.is_empty() {
                self.b.feed(&to_b, self.now);
            }
            if !to_a.is_empty() {
                self.a.feed(&to_a, self.now);
            }
        }
    }
}
