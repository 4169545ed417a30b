//! Two folder engines in one thread: a file that the first one finds is announced to the second one,
//! which says what it wants to do about it. No disk, no network, no clock.

use std::{collections::VecDeque, time::Duration};

use sync_core::{
    disk::{DiskKind, DiskStat, Found, ScanItem},
    engine::{Config, Engine, Input, Output},
    ids::{Generation, PeerKey, ReplicaId, SessionId},
    index::{Index, MemIndex},
    keys::FolderKeys,
    manifest::manifest_of,
    message::{Message, ObjectMessage},
    path::RelPath,
    secret::{Level, Secret},
    time::Now,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = Secret::generate([7; 21]);
    let now = Now {
        mono: Duration::ZERO,
        unix_ns: 0,
    };
    let mut engines = Vec::new();
    for n in 1..=2_u64 {
        let config = Config {
            keys: FolderKeys::derive(&secret),
            era: 0,
            replica: ReplicaId(n),
            counters: 0..1 << 32,
            seqs: 0..1 << 32,
            numbering: Generation(n),
            seed: n,
            rescan_s: 3600,
            paused: false,
        };
        engines.push(Engine::new(config, MemIndex::new(), now)?);
    }
    let session = SessionId(1);
    let level = Level::ReadWrite;
    let mut queue = VecDeque::from([
        (
            0,
            Input::PeerUp {
                session,
                peer: PeerKey([2; 32]),
                level,
            },
        ),
        (
            1,
            Input::PeerUp {
                session,
                peer: PeerKey([1; 32]),
                level,
            },
        ),
    ]);
    while let Some((n, input)) = queue.pop_front() {
        engines[n].handle(input, now);
        while let Some(output) = engines[n].poll_output() {
            match output {
                Output::Scan { scan, .. } => {
                    let items = if n == 0 {
                        vec![found("notes.txt", b"hello")?]
                    } else {
                        Vec::new()
                    };
                    queue.push_back((n, Input::Scanned { scan, items }));
                    queue.push_back((
                        n,
                        Input::ScanDone {
                            scan,
                            skipped: Vec::new(),
                            error: None,
                        },
                    ));
                }
                Output::Flush { flush } => {
                    engines[n].index().flush()?;
                    queue.push_back((n, Input::Flushed { flush, error: None }));
                }
                Output::Send { session, message } => match message {
                    Message::Engine(message) => {
                        queue.push_back((1 - n, Input::Message { session, message }));
                    }
                    // In a real node the server of objects takes this one.
                    Message::Objects(ObjectMessage::Request(request)) => {
                        println!("engine {n} asks for {} object(s)", request.objects.len());
                    }
                    _ => {}
                },
                Output::Event(event) => println!("engine {n}: {event:?}"),
                _ => {}
            }
        }
    }
    println!("engine 1 needs {:?}", engines[1].status()?.totals.need);
    Ok(())
}

fn found(name: &str, bytes: &[u8]) -> Result<ScanItem, Box<dyn std::error::Error>> {
    let stat = DiskStat {
        kind: DiskKind::File,
        size: bytes.len() as u64,
        mtime_ns: 0,
        ctime_ns: 0,
        mode: 0o644,
        ino: 1,
        dev: 1,
    };
    let content = manifest_of(bytes, 1)?.root;
    let found = Found::File {
        stat,
        content,
        racy: false,
    };
    Ok(ScanItem {
        path: RelPath::parse(name.as_bytes())?,
        found,
        manifest: Vec::new(),
        chunks: Vec::new(),
    })
}
