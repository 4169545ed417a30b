//! Running the driver's jobs at moments of virtual time: the part that pools of threads have in the daemon.
//!
//! Each job happens at one moment; what it tells the driver comes later, in pieces, so that people and peers act
//! in between.

use std::time::Duration;

use bytes::Bytes;
use sync_core::{
    engine::Input,
    ids::SessionId,
    message::{Contents, ObjectKind, ObjectMessage, Request},
    path::RelPath,
};
use sync_store::{
    chunks::Doubted,
    driver::{Job, JobResult, Lane, Told},
};

use super::{home::SimHome, node::Node, rng::Rng};

/// Objects of an answer, and whether each is the last one.
pub type Pieces = Vec<(Option<Bytes>, bool)>;

/// What a job came to.
#[derive(Debug, Default)]
pub struct Done {
    /// What the driver is told, and how much later.
    pub results: Vec<(Duration, JobResult<SimHome>)>,
    /// The machine died over it.
    pub died: bool,
}

/// What serving a peer came to.
#[derive(Debug, Default)]
pub struct Served {
    /// What the engine is told.
    pub suspects: Option<Input>,
    /// The answer: its session, its name for it, and the objects, of which some are chunks.
    pub answer: Option<(SessionId, u32, Pieces)>,
}

/// Runs a job on a node that is up. `dies`: after so many changes of the disk, or writes of small files.
pub fn run(
    node: &mut Node,
    job: Job<SimHome>,
    now: Duration,
    dies: (Option<u64>, Option<u64>),
) -> Done {
    let mut rng = node.rng.fork();
    let lane = job.lane();
    node.disk.set_crash_point(dies.0);
    node.home.die_after(dies.1);
    let mut told = Vec::new();
    node.on_disk(now, || job.run(&mut |result| told.push(result)));
    let died = node.disk.is_dead() || node.home.is_dead();
    node.disk.set_crash_point(None);
    node.home.die_after(None);
    let mut done = Done {
        died,
        ..Done::default()
    };
    let slow = match lane {
        Lane::Scan | Lane::Apply => node.slow_ms,
        _ => 5,
    };
    let mut at = Duration::ZERO;
    for result in told {
        match &result.told {
            // It is measured on the real clock, which the simulation has nothing to do with.
            Told::Took(..) => {}
            Told::Input(Input::Scanned { .. }) => {
                scatter(result, &mut at, node.slow_ms, &mut rng, &mut done);
            }
            Told::Done => done.results.push((at, result)),
            _ => {
                at += rng.millis(0, slow);
                done.results.push((at, result));
            }
        }
    }
    done
}

/// Tells a scan's findings in small pieces.
fn scatter(
    result: JobResult<SimHome>,
    at: &mut Duration,
    slow_ms: u64,
    rng: &mut Rng,
    done: &mut Done,
) {
    let bare = result.with(Told::Done);
    let Told::Input(Input::Scanned { scan, mut items }) = result.told else {
        return;
    };
    while !items.is_empty() {
        let rest = items.split_off(items.len().min(1 + rng.below(12) as usize));
        let wait = if rng.chance(5) { 800 } else { slow_ms };
        *at += rng.millis(0, wait);
        let items = std::mem::replace(&mut items, rest);
        let told = Told::Input(Input::Scanned { scan, items });
        done.results.push((*at, bare.with(told)));
    }
}

/// Reads what a peer asked for, as the server of objects does.
pub fn serve(node: &Node, session: SessionId, question: &ObjectMessage, now: Duration) -> Served {
    let mut served = Served::default();
    let open = node.live.as_ref().and_then(|live| live.driver.open());
    let Some(open) = open else { return served };
    let chunks = &open.parts().chunks;
    let (id, found, kinds) = match question {
        ObjectMessage::Request(Request { id, objects }) => {
            let doubted = node.live.as_ref().map_or_else(Doubted::none, |live| {
                let doubted = live.doubted.get(&session);
                doubted.cloned().unwrap_or_else(Doubted::none)
            });
            let found = node.on_disk(now, || chunks.read(objects, usize::MAX, &doubted));
            let kinds = objects.iter().map(|id| id.kind == ObjectKind::Chunk);
            (*id, found, kinds.collect::<Vec<_>>())
        }
        ObjectMessage::Contents(Contents { id, numbers }) => {
            let found = node.on_disk(now, || chunks.read_numbered(numbers, usize::MAX));
            (*id, found, vec![true; numbers.len()])
        }
        ObjectMessage::Cancel(_) | ObjectMessage::BadChunk(_) => return served,
    };
    let Ok(found) = found else { return served };
    if !found.suspects.is_empty() {
        served.suspects = Some(Input::Dirty(found.suspects));
    }
    served.answer = Some((session, id, found.objects.into_iter().zip(kinds).collect()));
    served
}

/// The paths that can be synced among these.
pub fn rel_paths<'a>(paths: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<RelPath> {
    paths
        .into_iter()
        .filter_map(|p| RelPath::parse(p).ok())
        .collect()
}
