use proptest::prelude::*;

use super::*;

/// Pseudo-random bytes by a formula which needs no library: SplitMix64,
/// big-endian.
pub(crate) fn formula(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    out.truncate(len);
    out
}

pub(crate) fn cuts(chunker: &Chunker, data: &[u8]) -> Vec<usize> {
    let mut rest = data;
    let mut out = Vec::new();
    while let Some(length) = chunker.cut(rest, true) {
        out.push(length);
        rest = &rest[length..];
    }
    out
}

fn small(seed: u64) -> Chunker {
    Chunker::new(ChunkParams::with_average(1024, seed).expect("a valid average"))
}

/// The published crate is the judge of the algorithm: with our table and masks
/// it must cut where we cut.
#[test]
fn agrees_with_the_reference_implementation() {
    for avg in [256_u32, 4096, 65536] {
        for seed in 0..4 {
            let chunker = Chunker::new(ChunkParams::with_average(avg, seed).expect("valid"));
            let doubled = chunker.gear.map(|value| value << 1);
            let bits = avg.trailing_zeros();
            let (small, large) = (mask(bits + 1), mask(bits - 1));
            let data = formula(seed, 1_500_000 + usize::from(seed == 1));
            let mut rest = data.as_slice();
            while let Some(length) = chunker.cut(rest, true) {
                let (_, theirs) = fastcdc::v2020::cut_gear(
                    rest,
                    chunker.params.min() as usize,
                    chunker.params.avg() as usize,
                    chunker.params.max() as usize,
                    small,
                    large,
                    small << 1,
                    large << 1,
                    &*chunker.gear,
                    &doubled,
                );
                assert_eq!(length, theirs, "avg {avg} seed {seed} left {}", rest.len());
                rest = &rest[length..];
            }
        }
    }
}

#[test]
fn sizes_choose_the_average() {
    let avg = |size| ChunkParams::for_size(size, 0).avg();
    assert_eq!(avg(0), 64 << 10);
    assert_eq!(avg((1 << 30) - 1), 64 << 10);
    assert_eq!(avg(1 << 30), 256 << 10);
    assert_eq!(avg((16 << 30) - 1), 256 << 10);
    assert_eq!(avg(16 << 30), 1 << 20);
    assert_eq!(avg(u64::MAX), 1 << 20);
    assert_eq!(ChunkParams::for_size(u64::MAX, 0).max(), MAX_CHUNK);
    for bad in [0, 1, 128, 1000, 2 << 20, u32::MAX] {
        assert!(ChunkParams::with_average(bad, 0).is_none());
    }
}

#[test]
fn the_end_decides_short_windows() {
    let chunker = small(1);
    assert_eq!(chunker.cut(&[], true), None);
    assert_eq!(chunker.cut(&[], false), None);
    assert_eq!(chunker.cut(&[1], true), Some(1));
    assert_eq!(chunker.cut(&[1; 256], true), Some(256));
    assert_eq!(chunker.cut(&[1; 4095], false), None);
    assert!(chunker.cut(&[1; 4096], false).is_some());
}

#[test]
fn seeds_change_the_cuts_and_stay_out_of_logs() {
    let data = formula(9, 100_000);
    assert_ne!(cuts(&small(0x1234_5678), &data), cuts(&small(2), &data));
    let text = format!("{:?}", small(305_419_896));
    assert!(
        !text.contains("305419896") && text.contains("1024"),
        "{text}"
    );
}

#[test]
fn averages_are_near_what_is_asked() {
    let data = formula(3, 16 << 20);
    let chunker = Chunker::new(ChunkParams::for_size(0, 5));
    let lengths = cuts(&chunker, &data);
    let mean = data.len() / lengths.len();
    assert!((56 << 10..96 << 10).contains(&mean), "{mean}");
}

#[test]
fn hashes_print_and_travel() {
    let hash = ContentHash::chunk(b"");
    let hex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(hash.to_string(), hex);
    assert_eq!(format!("{hash:?}"), "af1349b9");
    let bytes = minicbor::to_vec(hash).expect("encodes");
    assert_eq!(bytes.len(), 34);
    assert_eq!(
        minicbor::decode::<ContentHash>(&bytes).expect("decodes"),
        hash
    );
    let short = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![0; 31])).expect("encodes");
    assert!(minicbor::decode::<ContentHash>(&short).is_err());
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (any::<u64>(), 0_usize..40_000).prop_map(|(seed, len)| formula(seed, len)),
        (any::<u8>(), 0_usize..20_000).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u64>(), 1_usize..300, 0_usize..100).prop_map(|(s, l, n)| formula(s, l).repeat(n)),
    ]
}

proptest! {
    #[test]
    fn two_scans_at_once_find_what_one_finds(
        data in content(), start in any::<u64>(), bits in 4_u32..12, seed in any::<u64>(),
    ) {
        let gear = gear_table(seed);
        let fast = scan(&gear, &data, start, mask(bits));
        match (fast, scan_bytes(&gear, &data, start, mask(bits))) {
            (Scan::Hit(a), Scan::Hit(b)) => prop_assert_eq!(a, b),
            (Scan::Missed(a), Scan::Missed(b)) => prop_assert_eq!(a, b),
            _ => prop_assert!(false, "one hit, the other missed"),
        }
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_window_is_filled(
        data in content(), seed in any::<u64>(), fills in prop::collection::vec(1_usize..6000, 1..20),
    ) {
        let chunker = small(seed);
        let whole = cuts(&chunker, &data);
        let (mut start, mut end) = (0, 0);
        let mut streamed = Vec::new();
        let mut fills = fills.iter().cycle();
        loop {
            match chunker.cut(&data[start..end], end == data.len()) {
                Some(length) => {
                    streamed.push(length);
                    start += length;
                }
                None if end == data.len() => break,
                None => end = data.len().min(end + fills.next().copied().unwrap_or(1)),
            }
        }
        prop_assert_eq!(&streamed, &whole);
        prop_assert_eq!(whole.iter().sum::<usize>(), data.len());
        let p = chunker.params();
        for (index, length) in whole.iter().enumerate() {
            prop_assert!(*length > 0 && *length <= p.max() as usize);
            prop_assert!(*length >= p.min() as usize || index + 1 == whole.len());
        }
        prop_assert!(whole.len() as u64 <= p.max_chunks(data.len() as u64));
    }

    #[test]
    fn a_small_edit_moves_few_boundaries(
        seed in any::<u64>(), at in 0_usize..200_000, kind in 0..3, byte in any::<u8>(),
    ) {
        let data = formula(seed, 200_000);
        let mut edited = data.clone();
        match kind {
            0 => edited.insert(at, byte),
            1 => drop(edited.remove(at)),
            _ => edited[at] = byte,
        }
        let chunker = small(7);
        let names = |data: &[u8]| {
            let mut rest = data;
            cuts(&chunker, data).into_iter().map(|length| {
                let (chunk, tail) = rest.split_at(length);
                rest = tail;
                (ContentHash::chunk(chunk), length)
            }).collect::<Vec<_>>()
        };
        let old: std::collections::BTreeSet<_> = names(&data).into_iter().collect();
        let changed: usize =
            names(&edited).iter().filter(|name| !old.contains(*name)).map(|(_, len)| *len).sum();
        // Boundaries meet again within a few chunks; 24 averages is far more
        // than random content ever takes and far less than the whole.
        prop_assert!(changed <= 24 * 1024, "{} bytes changed", changed);
    }
}
