use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::chunk::tests::formula;

/// 1 MiB of [`formula`] with state 0, for two seeds: 64-bit, 32-bit, little and
/// big endian devices must all arrive here.
const GOLDEN: [(u64, &str); 2] = [
    (
        1,
        "1:7a6594637dee05123a56f3ef0e8b1d572d033ef0eae8364b84177a31a985eac1",
    ),
    (
        2,
        "1:3badf3ee1f8364e82bc4ef26279c2a0fd3050d97a7ea8f1ae1c401dd4134c09b",
    ),
];

/// The same with an average of 256 bytes, so that there are three heights.
const GOLDEN_TALL: &str = "3:56359bd0856027286a8596181368c6c7fc7ad3fedec9cfbce18ab239d33344cc";

fn chunker(seed: u64) -> Chunker {
    Chunker::new(ChunkParams::with_average(256, seed).expect("a valid average"))
}

fn params() -> ChunkParams {
    *chunker(0).params()
}

fn describe(data: &[u8]) -> Manifest {
    manifest_with(data, &chunker(1)).expect("small enough")
}

/// A list of chunks which could be a file's, without the file.
fn invented(seed: u64, count: usize) -> Manifest {
    let mut builder = ManifestBuilder::new();
    for bytes in formula(seed, count * 32).chunks_exact(32) {
        builder
            .push(ChunkRef {
                hash: ContentHash::chunk(bytes),
                len: 100,
            })
            .expect("fits");
    }
    builder.finish()
}

fn reader(manifest: &Manifest) -> ManifestReader {
    ManifestReader::with_params(manifest.root, manifest.size, params()).expect("plausible")
}

/// Feeds a reader from the pages of a manifest.
fn read(manifest: &Manifest, limit: usize) -> Result<Vec<ChunkRef>, ManifestError> {
    let mut reader = reader(manifest);
    loop {
        let wanted = reader.wanted(limit);
        if wanted.is_empty() {
            return Ok(reader.chunks().expect("complete").collect());
        }
        for (hash, height) in wanted {
            let page = manifest
                .pages
                .iter()
                .find(|p| p.hash == hash && p.height == height);
            reader.supply(hash, &page.expect("a page of the manifest").bytes)?;
        }
    }
}

/// A manifest with a single page of these entries, right or wrong.
fn forged(page: &Page, height: u8, size: u64) -> (ManifestReader, ContentHash, bytes::Bytes) {
    let bytes = page.encode();
    let hash = page_hash(height, &bytes);
    let root = ContentRoot { hash, height };
    (
        ManifestReader::with_params(root, size, params()).expect("plausible"),
        hash,
        bytes,
    )
}

fn refused(page: &Page, height: u8, size: u64) -> ManifestError {
    let (mut reader, hash, bytes) = forged(page, height, size);
    let error = reader.supply(hash, &bytes).expect_err("refused");
    assert!(!error.blames_sender());
    assert_eq!(reader.supply(hash, &bytes), Err(error));
    assert!(reader.wanted(9).is_empty() && reader.chunks().is_none() && !reader.is_complete());
    error
}

fn chunk(name: u32, len: u32) -> ChunkRef {
    // The last byte is 0xff, so that no such chunk ends a page.
    let mut hash = ContentHash::chunk(&name.to_be_bytes());
    hash.0[31] = 0xff;
    ChunkRef { hash, len }
}

#[test]
fn golden_roots() {
    let data = formula(0, 1 << 20);
    for (seed, root) in GOLDEN {
        assert_eq!(
            manifest_of(&data, seed).expect("small").root.to_string(),
            root,
            "seed {seed}"
        );
    }
    assert_eq!(describe(&data).root.to_string(), GOLDEN_TALL);
}

#[test]
fn small_files_have_no_pages() {
    let empty = manifest_of(b"", 1).expect("small");
    assert_eq!(empty.root, ContentRoot::empty());
    assert!(empty.pages.is_empty() && empty.chunks.is_empty());
    assert_eq!(read(&empty, 1).expect("good"), []);
    let one = manifest_of(b"hello", 1).expect("small");
    assert_eq!(one.root, ContentRoot::single(ContentHash::chunk(b"hello")));
    assert_eq!(read(&one, 1).expect("good"), one.chunks);
    assert!(ManifestReader::new(empty.root, 1).is_err());
    assert!(ManifestReader::new(one.root, 0).is_err());
    assert!(ManifestReader::new(one.root, (256 << 10) + 1).is_err());
    assert!(
        ManifestReader::new(
            ContentRoot {
                height: 1,
                ..one.root
            },
            16 << 10
        )
        .is_err()
    );
    assert!(
        ManifestReader::new(
            ContentRoot {
                height: 9,
                ..one.root
            },
            1 << 30
        )
        .is_err()
    );
    assert!(
        ManifestReader::new(
            ContentRoot {
                height: 8,
                ..one.root
            },
            1 << 50
        )
        .is_err()
    );
}

#[test]
fn roots_travel() {
    let root = ContentRoot {
        hash: ContentHash::chunk(b"x"),
        height: 3,
    };
    let bytes = minicbor::to_vec(root).expect("encodes");
    assert_eq!(
        minicbor::decode::<ContentRoot>(&bytes).expect("decodes"),
        root
    );
    let high = minicbor::to_vec(ContentRoot { height: 9, ..root }).expect("encodes");
    assert!(minicbor::decode::<ContentRoot>(&high).is_err());
}

#[test]
fn repeated_content_shares_pages() {
    let zeros = describe(&vec![0; 1 << 20]);
    assert_eq!(read(&zeros, 3).expect("good"), zeros.chunks);
    assert!(
        zeros.pages.len() <= 2 * usize::from(zeros.root.height),
        "{}",
        zeros.pages.len()
    );
    let names: BTreeSet<_> = zeros.pages.iter().map(|page| page.hash).collect();
    assert_eq!(names.len(), zeros.pages.len());
}

#[test]
fn the_largest_file_is_low_enough() {
    // Sixteen entries per page is the worst that the rule allows.
    let chunks = ChunkParams::for_size(MAX_FILE_SIZE, 0).max_chunks(MAX_FILE_SIZE);
    assert!(u32::try_from(chunks).is_ok());
    assert!((MIN_ENTRIES as u64).pow(7) >= chunks);
    const { assert!(7 < MAX_HEIGHT) };
}

#[test]
fn the_builder_refuses_impossible_chunks() {
    let mut builder = ManifestBuilder::new();
    assert_eq!(builder.push(chunk(0, 0)), Err(ManifestError::Entry));
    assert_eq!(
        builder.push(chunk(0, (4 << 20) + 1)),
        Err(ManifestError::Entry)
    );
    assert_eq!(builder.size(), 0);
    assert_eq!(builder.finish().root, ContentRoot::empty());
}

#[test]
fn impossible_pages_are_refused() {
    use ManifestError::{Entry, Shape, Sum};
    let leaf = |lens: &[u32]| {
        Page::Leaf(
            (0..)
                .zip(lens)
                .map(|(name, len)| chunk(name, *len))
                .collect::<Vec<_>>(),
        )
    };
    // Chunks have 64 to 1,024 bytes here.
    assert_eq!(refused(&leaf(&[0, 200]), 1, 200), Entry);
    assert_eq!(refused(&leaf(&[63, 137]), 1, 200), Entry);
    assert_eq!(refused(&leaf(&[1025, 5]), 1, 1030), Entry);
    assert_eq!(refused(&leaf(&[100, 100]), 1, 201), Sum);
    assert_eq!(refused(&leaf(&[200]), 1, 200), Shape);
    let (mut good, hash, bytes) = forged(&leaf(&[199, 1]), 1, 200);
    assert_eq!(good.supply(hash, &bytes), Ok(()));
    assert_eq!(good.supply(hash, &bytes), Ok(()));
    assert_eq!(good.chunk_count(), Some(2));

    // A page which goes on past its end, and one with too many entries.
    let mut entries: Vec<_> = (0..40).map(|name| chunk(name, 64)).collect();
    entries[20].hash.0[31] = 0;
    assert_eq!(refused(&Page::Leaf(entries), 1, 40 * 64), Shape);
    let entries: Vec<_> = (0..114).map(|name| chunk(name, 64)).collect();
    let bytes = Page::Leaf(entries).encode();
    let error = Page::decode(&bytes, 1, &page_hash(1, &bytes));
    assert_eq!(
        error,
        Err(ManifestError::WrongHash),
        "longer than a page may be"
    );

    // Numbers which would overflow.
    let wide = PageRef {
        hash: ContentHash([1; 32]),
        bytes: u64::MAX,
        chunks: u32::MAX,
    };
    assert_eq!(refused(&Page::Inner(vec![wide, wide]), 2, 1 << 20), Entry);
    let wide = PageRef {
        bytes: 1 << 43,
        chunks: u32::MAX,
        ..wide
    };
    assert_eq!(
        refused(&Page::Inner(vec![wide; 2]), 2, 1 << 44),
        ManifestError::TooLarge
    );
    // The same page with two sizes.
    let a = PageRef {
        hash: ContentHash([1; 32]),
        bytes: 16 * 64,
        chunks: 16,
    };
    let b = PageRef {
        bytes: 17 * 64,
        chunks: 17,
        ..a
    };
    assert_eq!(refused(&Page::Inner(vec![a, b]), 2, 33 * 64), Sum);
    // A page in the middle with fewer entries than a page has.
    let few = PageRef {
        bytes: 15 * 64,
        chunks: 15,
        ..a
    };
    assert_eq!(refused(&Page::Inner(vec![few, a]), 2, 31 * 64), Shape);
    // A version from the future.
    let mut later = leaf(&[100, 100]).encode().to_vec();
    later[0] = 2;
    assert_eq!(
        Page::decode(&later, 1, &page_hash(1, &later)),
        Err(ManifestError::Version)
    );
    assert_eq!(
        Page::decode(&[], 1, &page_hash(1, &[])),
        Err(ManifestError::Version)
    );
    assert_eq!(
        Page::decode(&[1], 1, &page_hash(1, &[1])),
        Err(ManifestError::Length)
    );
    assert_eq!(
        Page::decode(&[1], 0, &page_hash(0, &[1])),
        Err(ManifestError::Height(0))
    );
}

/// Two heights by hand: an early end is only good at the end of the file.
#[test]
fn only_the_last_page_may_end_early() {
    let build = |ends_well: bool, short: bool| {
        let mut first: Vec<_> = (0..20).map(|name| chunk(name, 64)).collect();
        first[19].len = if short { 63 } else { 64 };
        first[19].hash.0[31] = if ends_well { 0 } else { 1 };
        let second: Vec<_> = (20..22).map(|name| chunk(name, 64)).collect();
        let leaves = [Page::Leaf(first), Page::Leaf(second)];
        let entries = leaves.iter().map(|leaf| {
            let (bytes, chunks) = leaf.totals().expect("small");
            PageRef {
                hash: page_hash(1, &leaf.encode()),
                bytes,
                chunks,
            }
        });
        let top = Page::Inner(entries.collect());
        let (size, _) = top.totals().expect("small");
        let (mut reader, hash, bytes) = forged(&top, 2, size);
        reader.supply(hash, &bytes)?;
        assert_eq!(reader.wanted(1).len(), 1);
        assert_eq!(reader.wanted(9).len(), 2);
        for leaf in leaves {
            let bytes = leaf.encode();
            reader.supply(page_hash(1, &bytes), &bytes)?;
        }
        Ok(reader.chunks().expect("complete").count())
    };
    assert_eq!(build(true, false), Ok(22));
    assert_eq!(build(false, false), Err(ManifestError::Shape));
    assert_eq!(build(true, true), Err(ManifestError::Entry));
}

/// A few kilobytes which claim to be billions of chunks cost a few kilobytes.
#[test]
fn repetition_costs_no_memory() {
    // Every hash ends a page after 113 or 93 entries only.
    let leaf = Page::Leaf(vec![
        ChunkRef {
            len: 256 << 10,
            ..chunk(1, 1)
        };
        113
    ]);
    let mut pages = vec![leaf.encode()];
    let (mut bytes, mut chunks) = leaf.totals().expect("fits");
    for height in 2..=5 {
        let hash = page_hash(height - 1, pages.last().expect("one"));
        let count = if height == 5 { 2 } else { 93 };
        // A page hash with low bits zero would end a page early; these do not.
        let page = Page::Inner(vec![
            PageRef {
                hash,
                bytes,
                chunks
            };
            count
        ]);
        let Some(sums) = page.totals() else { break };
        (bytes, chunks) = sums;
        pages.push(page.encode());
    }
    let height = u8::try_from(pages.len()).expect("few");
    let root = ContentRoot {
        hash: page_hash(height, &pages[pages.len() - 1]),
        height,
    };
    let mut reader = ManifestReader::new(root, bytes).expect("plausible");
    for (height, page) in (1..=height).zip(&pages).rev() {
        assert_eq!(reader.wanted(100).len(), 1);
        reader.supply(page_hash(height, page), page).expect("good");
    }
    assert_eq!(reader.chunk_count(), Some(chunks));
    assert_eq!(reader.held.len(), pages.len());
    assert!(chunks > 900_000, "{chunks}");
}

proptest! {
    #[test]
    fn readers_rebuild_what_builders_built(
        seed in any::<u64>(), count in 0_usize..6000, limit in 1_usize..200,
    ) {
        let manifest = invented(seed, count);
        prop_assert!(manifest.root.height <= 4);
        for page in &manifest.pages {
            let decoded = Page::decode(&page.bytes, page.height, &page.hash).expect("good");
            prop_assert_eq!(decoded.encode(), page.bytes.clone());
        }
        prop_assert_eq!(manifest.pages.last().map_or(manifest.root.hash, |p| p.hash), manifest.root.hash);
        prop_assert_eq!(read(&manifest, limit), Ok(manifest.chunks.clone()));
    }

    #[test]
    fn an_edit_changes_few_pages(
        seed in any::<u64>(), at in 0_usize..400_000, kind in 0..3, byte in any::<u8>(),
    ) {
        let data = formula(seed, 400_000);
        let mut edited = data.clone();
        match kind {
            0 => edited.insert(at, byte),
            1 => drop(edited.remove(at)),
            _ => edited[at] = byte,
        }
        let (old, new) = (describe(&data), describe(&edited));
        let known: BTreeSet<_> = old.pages.iter().map(|page| page.hash).collect();
        let changed: usize =
            new.pages.iter().filter(|p| !known.contains(&p.hash)).map(|p| p.bytes.len()).sum();
        // About a page for each of three heights; of about 1,500 chunks.
        prop_assert!(changed <= 10 * MAX_PAGE, "{} bytes of pages changed", changed);
        let chunks: BTreeSet<_> = old.chunks.iter().collect();
        let fresh = new.chunks.iter().filter(|chunk| !chunks.contains(chunk)).count();
        prop_assert!(fresh <= 40, "{} chunks changed", fresh);
    }

    #[test]
    fn garbage_is_never_a_page(
        bytes in prop::collection::vec(any::<u8>(), 0..5000), height in any::<u8>(), hash in any::<[u8; 32]>(),
    ) {
        let hash = ContentHash(hash);
        prop_assert!(Page::decode(&bytes, height, &hash).is_err());
        // Even garbage with the right hash only passes if it reads back alike.
        if let Ok(page) = Page::decode(&bytes, height, &page_hash(height, &bytes)) {
            prop_assert_eq!(&page.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn a_changed_page_is_never_accepted(
        seed in any::<u64>(), count in 2_usize..2000, which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>(),
    ) {
        let manifest = invented(seed, count);
        let page = which.get(&manifest.pages);
        let mut bytes = page.bytes.to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        prop_assert_eq!(
            Page::decode(&bytes, page.height, &page.hash), Err(ManifestError::WrongHash)
        );
        for other in (0..=9).filter(|other| *other != page.height) {
            prop_assert!(Page::decode(&page.bytes, other, &page.hash).is_err());
        }
        // An author can sign any page: then it fails for what it says, or it is
        // another good manifest, but nothing panics.
        let forged_hash = page_hash(page.height, &bytes);
        let root = ContentRoot { hash: forged_hash, height: page.height };
        if let Ok(mut reader) = ManifestReader::with_params(root, manifest.size, params()) {
            let _ = reader.supply(forged_hash, &bytes);
            if let Some(chunks) = reader.chunks() {
                prop_assert_eq!(chunks.map(|c| u64::from(c.len)).sum::<u64>(), manifest.size);
            }
        }
        let mut reader = reader(&manifest);
        prop_assert_eq!(reader.supply(forged_hash, &bytes), Err(ManifestError::NotWanted));
        prop_assert!(!reader.wanted(1).is_empty());
    }
}
