//! Carrying out what an engine asks for: the part that actors and threads have in the daemon.
//!
//! Each piece of work happens at one moment of virtual time; what it tells the engine comes later, in pieces,
//! so that people and peers act in between.

use std::{sync::atomic::AtomicBool, time::Duration};

use bytes::Bytes;
use sync_core::{
    disk::{Outcome, ScanItem},
    engine::{Input, Output, ScanWhat},
    ids::SessionId,
    index::{Index as _, MemIndex},
    message::{ObjectKind, Request},
    path::RelPath,
};
use sync_store::{
    fs::MemDisk,
    scan::{ScanEvent, Scanner},
};

use super::{node::Node, rng::Rng};

/// Objects of an answer, and whether each is the last one.
pub type Pieces = Vec<(Option<Bytes>, bool)>;

/// An answer for a peer: its session, its name for it, and the objects, of which some are chunks.
pub type Answer = (SessionId, u32, Vec<(Option<Bytes>, bool)>);

/// What a piece of work came to.
#[derive(Debug, Default)]
pub struct Done {
    /// What the engine is told, and how much later.
    pub inputs: Vec<(Duration, Input)>,
    /// An answer for a peer.
    pub answer: Option<(SessionId, u32, Pieces)>,
    /// The machine died over it.
    pub died: bool,
    /// A disk error left something displaced: it is settled later.
    pub unsettled: bool,
}

/// Does one piece of work on a node that is up.
pub fn work(node: &mut Node, output: Output, now: Duration, crash_at: Option<u64>) -> Done {
    let mut rng = node.rng.fork();
    let mut done = Done::default();
    match output {
        Output::Scan { scan, what } => scan_disk(node, scan, &what, now, &mut rng, &mut done),
        Output::Apply { group, actions } => {
            node.disk.set_crash_point(crash_at);
            settle_again(node, now, &mut done);
            let outcomes = match &node.live {
                Some(live) => node.on_disk(now, || live.applier.apply(actions)),
                None => Vec::new(),
            };
            settle_again(node, now, &mut done);
            done.died = node.disk.is_dead();
            node.disk.set_crash_point(None);
            let after = node.rng.millis(0, node.slow_ms);
            done.inputs
                .push((after, Input::Applied { group, outcomes }));
        }
        Output::Flush { flush } => {
            let error = node.index.flush().err().map(|e| e.to_string());
            done.inputs
                .push((rng.millis(0, 5), Input::Flushed { flush, error }));
        }
        Output::Reserve { counters, seqs } => {
            node.durable.counters = node.durable.counters.max(counters);
            node.durable.seqs = node.durable.seqs.max(seqs);
            done.inputs
                .push((rng.millis(0, 5), Input::Reserved { counters, seqs }));
        }
        Output::Temp(job) => {
            let Some(live) = &node.live else { return done };
            let answer = node.on_disk(now, || live.temps.work(job, &node.index));
            let answer = answer.map(|input| (rng.millis(0, 5), input));
            done.inputs.extend(answer);
        }
        Output::Send { .. } | Output::Ban { .. } | Output::Event(_) | Output::IndexFailed(_) => {}
    }
    done
}

/// Gives back what a disk error left in `.sync/tmp`, and has the engine look at it.
pub fn settle_again(node: &Node, now: Duration, done: &mut Done) {
    let Some(live) = &node.live else { return };
    if live.applier.is_unsettled()
        && let Ok(recovered) = node.on_disk(now, || live.applier.recover())
    {
        let paths = recovered.changed();
        if !paths.is_empty() {
            done.inputs
                .push((Duration::from_millis(1), Input::Dirty(paths)));
        }
    }
    done.unsettled = live.applier.is_unsettled();
}

/// Reads what a peer asked for, as the server of objects does.
pub fn serve(node: &Node, session: SessionId, request: &Request, now: Duration) -> Done {
    let mut done = Done::default();
    let Some(live) = &node.live else { return done };
    let ids = &request.objects;
    let Ok(found) = node.on_disk(now, || live.chunks.read(ids, usize::MAX)) else {
        return done;
    };
    if !found.suspects.is_empty() {
        done.inputs
            .push((Duration::from_millis(1), Input::Dirty(found.suspects)));
    }
    let chunks = ids.iter().map(|id| id.kind == ObjectKind::Chunk);
    done.answer = Some((
        session,
        request.id,
        found.objects.into_iter().zip(chunks).collect(),
    ));
    done
}

fn scan_disk(
    node: &Node,
    scan: u64,
    what: &ScanWhat,
    now: Duration,
    rng: &mut Rng,
    done: &mut Done,
) {
    let Some(live) = &node.live else { return };
    if live.applier.is_unsynced() {
        let (skipped, error) = (Vec::new(), Some("not durable".to_owned()));
        let input = Input::ScanDone {
            scan,
            skipped,
            error,
        };
        done.inputs.push((rng.millis(0, node.slow_ms), input));
        return;
    }
    let scanner: &Scanner<MemDisk, MemIndex> = &live.scanner;
    let mut items: Vec<ScanItem> = Vec::new();
    let mut skipped = Vec::new();
    let mut sink = |event: ScanEvent| match event {
        ScanEvent::Items(more) => items.extend(more),
        ScanEvent::Skipped { path, reason } => skipped.push((path, reason.to_string())),
    };
    let cancel = AtomicBool::new(false);
    let result = node.on_disk(now, || match what {
        ScanWhat::All => scanner.scan_all(&mut sink, &cancel),
        ScanWhat::Paths(paths) => scanner.scan_paths(paths, &mut sink, &cancel),
    });
    let mut at = Duration::ZERO;
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(1 + rng.below(12) as usize));
        let wait = if rng.chance(5) { 800 } else { node.slow_ms };
        at += rng.millis(0, wait);
        done.inputs.push((
            at,
            Input::Scanned {
                scan,
                items: std::mem::replace(&mut items, rest),
            },
        ));
    }
    at += rng.millis(0, node.slow_ms);
    let error = result.err().map(|e| e.to_string());
    done.inputs.push((
        at,
        Input::ScanDone {
            scan,
            skipped,
            error,
        },
    ));
}

/// Whether an outcome says that the disk was changed.
pub fn changed(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|o| matches!(o, Outcome::Done { .. }))
}

/// The paths that can be synced among these.
pub fn rel_paths<'a>(paths: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<RelPath> {
    paths
        .into_iter()
        .filter_map(|p| RelPath::parse(p).ok())
        .collect()
}
