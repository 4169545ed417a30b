use super::*;
use crate::fs::MemDisk;
use sync_core::{
    index::{Batch, IndexEntry, ManifestPut, MemIndex},
    manifest::{Manifest, manifest_of},
};

struct Bench {
    disk: Arc<MemDisk>,
    index: MemIndex,
    temps: Arc<Temps<MemDisk>>,
    doubted: Doubted,
}

impl Bench {
    fn new() -> Self {
        let disk = MemDisk::new();
        disk.prepare().unwrap();
        let disk = Arc::new(disk);
        let temps = Arc::new(Temps::new(Arc::clone(&disk), 0));
        Self {
            disk,
            index: MemIndex::new(),
            temps,
            doubted: Doubted::none(),
        }
    }

    fn add(&mut self, at: &str, bytes: &[u8]) -> Manifest {
        self.disk.user_write(at, bytes).unwrap();
        let manifest = manifest_of(bytes, 1).unwrap();
        let entry = IndexEntry {
            content: Some(manifest.root),
            ..IndexEntry::default()
        };
        let mut batch = Batch::default();
        batch.entries.push((path(at), Some(entry)));
        if manifest.root.height > 0 {
            batch.manifests.push(ManifestPut {
                content: manifest.root,
                pages: manifest
                    .pages
                    .iter()
                    .map(|p| (p.hash, p.bytes.clone()))
                    .collect(),
                chunks: manifest.chunks.clone(),
            });
        }
        self.index.commit(batch).unwrap();
        manifest
    }

    /// Sets what the index says of a path, as our change of this number.
    fn note(&mut self, at: &str, seq: u64, change: impl FnOnce(&mut IndexEntry)) {
        let mut entry = self.index.entry(&path(at)).unwrap().unwrap();
        entry.seq = seq;
        change(&mut entry);
        let mut batch = Batch::default();
        batch.entries.push((path(at), Some(entry)));
        self.index.commit(batch).unwrap();
    }

    fn numbered(&self, numbers: &[u64], max_bytes: usize) -> Found {
        let (disk, temps) = (Arc::clone(&self.disk), Arc::clone(&self.temps));
        let store = ChunkStore::new(disk, self.index.clone(), temps);
        let numbers: Vec<_> = numbers.iter().copied().map(Seq).collect();
        store.read_numbered(&numbers, max_bytes).unwrap()
    }

    fn read(&self, ids: &[ObjectId]) -> Found {
        self.read_some(ids, usize::MAX)
    }

    fn read_some(&self, ids: &[ObjectId], max_bytes: usize) -> Found {
        let store = ChunkStore::new(
            Arc::clone(&self.disk),
            self.index.clone(),
            Arc::clone(&self.temps),
        );
        store.read(ids, max_bytes, &self.doubted).unwrap()
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut out);
    out
}

fn chunk(hash: ContentHash) -> ObjectId {
    ObjectId {
        kind: ObjectKind::Chunk,
        hash,
    }
}

fn ids(manifest: &Manifest) -> Vec<ObjectId> {
    let pages = manifest.pages.iter().map(|p| ObjectId {
        kind: ObjectKind::Page,
        hash: p.hash,
    });
    pages
        .chain(manifest.chunks.iter().map(|c| chunk(c.hash)))
        .collect()
}

#[test]
fn small_contents_are_found_by_number_and_nothing_else_is() {
    let mut bench = Bench::new();
    for (at, seq) in [
        ("a", 5),
        ("b", 6),
        ("c", 9),
        ("edited", 10),
        ("held", 11),
        ("gone", 12),
    ] {
        bench.add(at, at.as_bytes());
        bench.note(at, seq, |_| {});
    }
    bench.add("big", &noise(900_000, 1));
    bench.note("big", 7, |_| {});
    bench.note("edited", 10, |entry| entry.flags = flag::LOCAL_EDIT);
    bench.note("held", 11, |entry| entry.flags = flag::HELD_BACK);
    bench.disk.user_write("gone", b"something else").unwrap();
    let all = [0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, u64::MAX];
    let found = bench.numbered(&all, usize::MAX);
    let shown: Vec<_> = found.objects.iter().map(|o| o.as_deref()).collect();
    let (a, b, c): (&[u8], &[u8], &[u8]) = (b"a", b"b", b"c");
    let none = None;
    let want = [none, none, Some(a), Some(b), none, none, Some(c)];
    assert_eq!(shown[..7], want);
    assert_eq!(shown[7..], [none; 5]);
    assert_eq!(found.suspects, [path("gone")]);
    // What has another number by now, or is wanted anew, isn't found under the old one.
    bench.note("a", 20, |_| {});
    let found = bench.numbered(&[5, 20], usize::MAX);
    assert_eq!(found.objects, [None, Some(Bytes::from_static(b"a"))]);
}

#[test]
fn a_read_by_number_ends_where_there_is_no_more_room() {
    let mut bench = Bench::new();
    for n in 1..=9_u8 {
        bench.add(&format!("f{n}"), &[n; 100]);
        bench.note(&format!("f{n}"), n.into(), |_| {});
    }
    let all: Vec<u64> = (1..=9).collect();
    assert_eq!(bench.numbered(&all, 250).objects.len(), 3);
    assert_eq!(bench.numbered(&all, 0).objects.len(), 1);
    assert_eq!(bench.numbered(&[], 0).objects.len(), 0);
}

#[test]
fn everything_is_found_and_true() {
    let mut bench = Bench::new();
    let bytes = noise(9_000_000, 1);
    let manifest = bench.add("big", &bytes);
    bench.add("small", b"tiny");
    bench.add("empty", b"");
    let mut ids = ids(&manifest);
    ids.insert(3, chunk(ContentHash::chunk(b"tiny")));
    ids.push(chunk(ContentHash::chunk(b"")));
    ids.push(chunk(ContentHash::chunk(b"unknown")));
    let found = bench.read(&ids);
    assert!(found.suspects.is_empty());
    assert_eq!(found.objects.last(), Some(&None));
    assert_eq!(found.objects[3].as_deref(), Some(&b"tiny"[..]));
    for (id, object) in ids.iter().zip(&found.objects[..ids.len() - 1]) {
        let object = object.as_ref().unwrap();
        assert!(id.kind == ObjectKind::Page || ContentHash::chunk(object) == id.hash);
    }
}

#[test]
fn an_edited_file_is_suspect_and_the_next_holder_serves() {
    let mut bench = Bench::new();
    let bytes = noise(1_500_000, 2);
    let manifest = bench.add("one", &bytes);
    let ids = ids(&manifest);
    let mut edited = bytes.clone();
    edited[700_000] ^= 1;
    bench.disk.user_write("one", &edited).unwrap();
    let found = bench.read(&ids);
    assert_eq!(found.suspects, [path("one")]);
    assert_eq!(
        found.objects.iter().filter(|o| o.is_none()).count(),
        1,
        "only what changed is gone"
    );
    bench.add("two", &bytes);
    let found = bench.read(&ids);
    assert_eq!(found.suspects, [path("one")]);
    assert!(found.objects.iter().all(Option::is_some));
    bench.disk.user_remove("one").unwrap();
    bench.disk.user_write("two", &bytes[..800_000]).unwrap();
    let found = bench.read(&ids);
    assert_eq!(found.suspects.len(), 2);
    bench.add("small", b"tiny");
    bench.disk.user_write("small", b"tinY").unwrap();
    let found = bench.read(&[chunk(ContentHash::chunk(b"tiny"))]);
    assert_eq!(
        found,
        Found {
            objects: vec![None],
            suspects: vec![path("small")]
        }
    );
}

#[test]
fn an_unchanged_stat_stands_for_the_hash_unless_the_chunk_is_doubted() {
    let mut bench = Bench::new();
    let bytes = noise(1_500_000, 2);
    let manifest = bench.add("one", &bytes);
    let ids = ids(&manifest);
    // Changed so that no stat shows it.
    let mut changed = bytes.clone();
    changed[700_000] ^= 1;
    bench.disk.user_write("one", &changed).unwrap();
    let stat = bench.disk.user_stat("one");
    bench.note("one", 1, |entry| entry.stat = stat);
    let wrong = |found: &Found| {
        let each = ids.iter().zip(&found.objects);
        let wrong = each.filter(|(id, object)| {
            let bytes = object.as_deref().unwrap_or_default();
            id.kind == ObjectKind::Chunk && ContentHash::chunk(bytes) != id.hash
        });
        wrong.map(|(id, _)| id.hash).collect::<Vec<_>>()
    };
    let found = bench.read(&ids);
    assert!(found.suspects.is_empty() && found.objects.iter().all(Option::is_some));
    let bad = wrong(&found);
    assert_eq!(bad.len(), 1);
    // Whoever got it complains: it is hashed, found wrong, and to be looked at.
    bench.doubted.add(bad[0], 9);
    let found = bench.read(&ids);
    assert_eq!(found.suspects, [path("one")]);
    assert_eq!(found.objects.iter().filter(|o| o.is_none()).count(), 1);
    bench.doubted = Doubted::All;
    assert_eq!(bench.read(&ids).suspects, [path("one")]);
    bench.doubted = Doubted::none();
    // Any other stat, and one that shows too little, makes it hash.
    let stat = stat.unwrap();
    let mtime_ns = stat.mtime_ns + 1;
    for other in [
        DiskStat { mtime_ns, ..stat },
        DiskStat {
            ctime_ns: 0,
            ..stat
        },
        DiskStat {
            ino: stat.ino + 1,
            ..stat
        },
    ] {
        bench.note("one", 1, |entry| entry.stat = Some(other));
        assert_eq!(bench.read(&ids).suspects, [path("one")]);
    }
    bench.note("one", 1, |entry| {
        entry.stat = Some(stat);
        entry.flags = flag::RACY;
    });
    assert_eq!(bench.read(&ids).suspects, [path("one")]);
}

#[test]
fn after_too_many_complaints_everything_is_doubted() {
    let mut doubted = Doubted::none();
    let hash = |n: u8| ContentHash::chunk(&[n]);
    for n in 0..9 {
        doubted.add(hash(n), 9);
    }
    assert!(doubted.has(&hash(8)) && !doubted.has(&hash(9)));
    doubted.add(hash(9), 9);
    assert_eq!(doubted, Doubted::All);
    assert!(doubted.has(&hash(200)));
}

#[test]
fn chunks_of_unfinished_files_are_served() {
    let bench = Bench::new();
    let bytes = noise(600_000, 3);
    let manifest = manifest_of(&bytes, 1).unwrap();
    let first = manifest.chunks[0];
    let piece = Bytes::copy_from_slice(&bytes[..first.len as usize]);
    let size = bytes.len() as u64;
    assert!(
        bench
            .temps
            .write_chunk(&manifest.root, size, 0, &first.hash, &piece)
            .unwrap()
    );
    let found = bench.read(&[chunk(first.hash), chunk(manifest.chunks[1].hash)]);
    assert_eq!(found.objects, [Some(piece), None]);
    assert!(found.suspects.is_empty());
}

/// Two files share a chunk, and either may go first.
#[test]
fn a_shared_chunk_is_found_when_the_newer_file_is_gone() {
    for first_goes in [false, true] {
        let mut bench = Bench::new();
        let bytes = noise(900_000, 3);
        let mut edited = bytes.clone();
        edited[850_000] ^= 1;
        let one = bench.add("one", &bytes);
        let two = bench.add("two", &edited);
        let shared = two.chunks.iter().filter(|c| one.chunks.contains(c));
        assert!(shared.count() > 3);
        let (gone, left) = match first_goes {
            true => ("one", &two),
            false => ("two", &one),
        };
        bench.disk.user_remove(gone).unwrap();
        let batch = Batch {
            entries: vec![(path(gone), None)],
            ..Batch::default()
        };
        bench.index.commit(batch).unwrap();
        let found = bench.read(&ids(left));
        assert!(found.objects.iter().all(Option::is_some));
        assert_eq!(found.suspects, []);
    }
}

/// Whoever asks doesn't choose how much is held in memory at once.
#[test]
fn a_read_stops_at_its_budget_and_goes_on_from_there() {
    const BUDGET: usize = 1 << 20;
    let mut bench = Bench::new();
    let bytes = noise(9_000_000, 4);
    let manifest = bench.add("big", &bytes);
    let largest = manifest.chunks.iter().map(|c| c.len as usize).max();
    let size = |found: &Found| {
        found
            .objects
            .iter()
            .flatten()
            .map(Bytes::len)
            .sum::<usize>()
    };

    let ids = ids(&manifest);
    let (mut done, mut reads) = (Vec::new(), 0);
    while done.len() < ids.len() {
        let found = bench.read_some(&ids[done.len()..], BUDGET);
        assert!(!found.objects.is_empty());
        assert!(size(&found) < BUDGET + largest.unwrap());
        done.extend(found.objects);
        reads += 1;
    }
    assert_eq!(done, bench.read(&ids).objects);
    assert!(reads > 4);

    // The same chunk again and again, after many that aren't here.
    let mut same = vec![chunk(ContentHash::chunk(b"unknown")); 20];
    same.extend(vec![chunk(manifest.chunks[0].hash); 256]);
    let found = bench.read_some(&same, BUDGET);
    assert!(found.objects.len() > 20 && size(&found) < BUDGET + largest.unwrap());
    assert_eq!(bench.read_some(&same[20..], 0).objects.len(), 1);
}
