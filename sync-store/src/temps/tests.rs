use super::{state::MAX_OPEN, work::trouble_of, *};
use crate::fs::MemDisk;
use rustix::io::Errno;
use sync_core::{
    disk::{Meta, WriteTrouble},
    manifest::manifest_of,
    path::RelPath,
    trouble::Trouble,
};

fn setup() -> (Arc<MemDisk>, Temps<MemDisk>) {
    let disk = MemDisk::new();
    disk.prepare().unwrap();
    let disk = Arc::new(disk);
    let temps = Temps::new(Arc::clone(&disk), 0);
    (disk, temps)
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

#[test]
fn chunks_in_any_order_verified_served_and_checked() {
    let (disk, temps) = setup();
    let bytes = noise(900_000);
    let size = bytes.len() as u64;
    let manifest = manifest_of(&bytes, 1).unwrap();
    let mut places = Vec::new();
    let mut at = 0_usize;
    for chunk in &manifest.chunks {
        places.push((at, *chunk));
        at += chunk.len as usize;
    }
    let piece = |at: usize, c: &ChunkRef| Bytes::copy_from_slice(&bytes[at..at + c.len as usize]);
    let (last, first) = (*places.last().unwrap(), places[0]);
    let root = manifest.root;
    let put = |(at, c): (usize, ChunkRef)| {
        temps
            .write_chunk(&root, size, at as u64, &c.hash, &piece(at, &c))
            .unwrap()
    };
    assert!(put(last));
    assert!(put(first));
    assert!(
        !temps
            .write_chunk(&root, size, 0, &last.1.hash, &piece(0, &first.1))
            .unwrap()
    );
    assert!(
        !temps
            .write_chunk(&root, size, size, &first.1.hash, &piece(0, &first.1))
            .unwrap()
    );
    let place = temps.find(&last.1.hash).unwrap();
    let mut buf = vec![0; place.len as usize];
    assert_eq!(temps.read_at(&place, &mut buf).unwrap(), buf.len());
    assert_eq!(ContentHash::chunk(&buf), last.1.hash);
    // After a restart only what is really there counts.
    let temps = Temps::new(Arc::clone(&disk), 0);
    assert_eq!(temps.find(&last.1.hash), None);
    let found = temps.check(&root, size, &manifest.chunks).unwrap();
    let want: Vec<_> = (0..places.len())
        .map(|i| i == 0 || i + 1 == places.len())
        .collect();
    assert_eq!(found, want);
    assert!(temps.find(&last.1.hash).is_some());
    let name = format!(".sync/tmp/{}", name(&root));
    let mut torn = disk.user_read(&name).unwrap();
    torn[0] ^= 1;
    torn.pop();
    disk.user_write(&name, &torn).unwrap();
    assert!(
        temps
            .check(&root, size, &manifest.chunks)
            .unwrap()
            .iter()
            .all(|there| !there)
    );
    temps.discard(&root).unwrap();
    temps.discard(&root).unwrap();
    assert_eq!(temps.find(&last.1.hash), None);
    assert!(temps.list().unwrap().is_empty());
}

#[test]
fn local_chunks_are_reused_if_they_are_true() {
    let (disk, temps) = setup();
    let bytes = noise(500_000);
    let manifest = manifest_of(&bytes, 1).unwrap();
    let old = [&b"inserted"[..], &bytes].concat();
    disk.user_write("old", &old).unwrap();
    let from = RelPath::parse(b"old").unwrap();
    let size = bytes.len() as u64;
    let mut at = 0;
    for chunk in &manifest.chunks {
        let copy = |offset| {
            temps
                .copy_chunk(&manifest.root, size, at, chunk, Place::User(&from), offset)
                .unwrap()
        };
        assert!(!copy(at));
        assert!(copy(at + 8));
        at += u64::from(chunk.len);
    }
    assert!(
        temps
            .check(&manifest.root, size, &manifest.chunks)
            .unwrap()
            .iter()
            .all(|t| *t)
    );
    let taken = temps.take(&manifest.root, size, "n-1").unwrap().unwrap();
    assert_eq!(taken.size, size);
    assert_eq!(temps.take(&manifest.root, size, "n-2").unwrap(), None);
    assert_eq!(temps.find(&manifest.chunks[0].hash), None);
    assert_eq!(disk.user_read(".sync/tmp/n-1").unwrap(), bytes);
}

#[test]
fn space_is_kept_and_few_files_are_open() {
    let (disk, temps) = setup();
    disk.set_capacity(Some(1_000_000));
    let one = Bytes::from(noise(1_000));
    let hash = ContentHash::chunk(&one);
    let root = |n: u8| ContentRoot {
        hash: ContentHash([n; 32]),
        height: 1,
    };
    let full = temps
        .write_chunk(&root(0), 2_000_000, 0, &hash, &one)
        .unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    // The same is told before anything is fetched, and it says what is missing.
    let told = temps.room(&root(0), 2_000_000).unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::StorageFull);
    assert!(told.to_string().contains("2 MiB are needed"), "{told}");
    temps.room(&root(0), 3_000).unwrap();
    for n in 1..=200 {
        assert!(temps.write_chunk(&root(n), 3_000, 0, &hash, &one).unwrap());
    }
    assert_eq!(temps.lock().open.len(), MAX_OPEN);
    assert_eq!(temps.list().unwrap().len(), 200);
    let strict = Temps::new(Arc::clone(&disk), 900_000);
    let full = strict
        .write_chunk(&root(1), 3_000, 0, &hash, &one)
        .unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn only_old_unknown_partials_are_swept() {
    let (disk, temps) = setup();
    let root = |n: u8| ContentRoot {
        hash: ContentHash([n; 32]),
        height: 1,
    };
    let names: Vec<_> = (1..=3).map(|n| name(&root(n))).collect();
    let others = ["x-displaced-1", "x-displaced-1o", "n-new-2", "i-note-3"];
    for name in names.iter().map(String::as_str).chain(others) {
        disk.user_write(format!(".sync/tmp/{name}"), b"x").unwrap();
    }
    let now = disk.clock_ns() + MAX_AGE_NS + 1;
    disk.set_clock_ns(now);
    let fresh = Meta {
        mtime_ns: now,
        mode: 0o600,
    };
    disk.set_meta(Place::Tmp(&names[1]), fresh).unwrap();
    assert_eq!(temps.sweep(&[root(1)], now).unwrap(), 1);
    let left: Vec<_> = temps
        .list()
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert!(left.contains(&names[0]) && left.contains(&names[1]) && left.len() == 2);
    for name in others {
        assert!(
            disk.stat(Place::Tmp(name)).unwrap().is_some(),
            "{name} must stay"
        );
    }
}

#[test]
fn writers_and_takers_do_not_deadlock() {
    let (disk, temps) = setup();
    let bytes = Bytes::from(noise(1_000));
    let hash = ContentHash::chunk(&bytes);
    let root = ContentRoot {
        hash: ContentHash([9; 32]),
        height: 1,
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    assert!(temps.write_chunk(&root, 1_000, 0, &hash, &bytes).unwrap());
                }
            });
        }
        for n in 0..300 {
            let name = format!("n-{n}");
            if temps.take(&root, 1_000, &name).unwrap().is_some() {
                disk.unlink(Place::Tmp(&name)).unwrap();
            }
        }
    });
}

#[test]
fn only_a_full_disk_is_full() {
    let of = |errno: Errno| trouble_of(&io::Error::from(errno));
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
        assert!(matches!(of(errno), WriteTrouble::Full(_)), "{errno}");
    }
    for errno in [Errno::IO, Errno::ACCESS, Errno::MFILE, Errno::NOENT] {
        assert!(matches!(of(errno), WriteTrouble::Failed(_)), "{errno}");
    }
    assert!(matches!(
        of(Errno::IO),
        WriteTrouble::Failed(Trouble::DiskFails(_))
    ));
}
