//! Several beacons in virtual time on a network in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use sync_discovery::lan::wire::{Beacon, HEADER_LEN, Kind, MAX_DATAGRAM};
use sync_discovery::lan::{Destination, LanBeacon, LanConfig, Transmit};
use sync_discovery::{Candidate, FolderTag, Source};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn folder(n: u64) -> (FolderTag, [u8; 32]) {
    let mut key = [0x77; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    (FolderTag::from(n), key)
}

fn beacon(port: u16, seed: u8, folders: impl IntoIterator<Item = u64>) -> LanBeacon {
    let folders = folders.into_iter().map(folder).collect();
    LanBeacon::new(LanConfig { port, folders }, &[seed; 32], Duration::ZERO)
}

fn sent(beacon: &mut LanBeacon) -> Vec<Transmit> {
    std::iter::from_fn(|| beacon.poll_transmit()).collect()
}

fn found(beacon: &mut LanBeacon) -> Vec<Candidate> {
    std::iter::from_fn(|| beacon.poll_event()).collect()
}

/// The broadcast datagrams of one announce.
fn announce(beacon: &mut LanBeacon, now: Duration) -> Vec<Vec<u8>> {
    beacon.handle_timeout(now);
    let all = sent(beacon).into_iter();
    all.filter(|t| t.to == Destination::Broadcast)
        .map(|t| t.bytes)
        .collect()
}

/// Devices on one link, each with the socket it sends from.
struct Net {
    devices: Vec<(SocketAddr, LanBeacon)>,
    now: Duration,
}

impl Net {
    /// One hop: all that is queued is sent and heard, by the sender as well.
    fn hop(&mut self) {
        let mut wire = Vec::new();
        for (from, beacon) in &mut self.devices {
            wire.extend(sent(beacon).into_iter().map(|transmit| (*from, transmit)));
        }
        for (from, transmit) in wire {
            for (own, beacon) in &mut self.devices {
                let hears = match transmit.to {
                    Destination::Broadcast => true,
                    Destination::Multicast => false,
                    Destination::Unicast(to) => to == *own,
                };
                if hears {
                    beacon.handle_datagram(from, &transmit.bytes, self.now);
                }
            }
        }
    }
}

#[test]
fn two_devices_find_each_other_in_one_round_trip() {
    let a: SocketAddr = "10.0.0.1:40001".parse().unwrap();
    let b: SocketAddr = "10.0.0.2:40002".parse().unwrap();
    let devices = vec![
        (a, beacon(1000, 1, [1, 2, 3])),
        (b, beacon(2000, 2, [3, 4, 1])),
    ];
    let mut net = Net {
        devices,
        now: secs(5),
    };
    // Only the first one speaks; the other has its turn much later.
    net.devices[0].1.handle_timeout(secs(5));
    net.hop();
    net.hop();
    for (device, peer) in [(0, "10.0.0.2:2000"), (1, "10.0.0.1:1000")] {
        let found = found(&mut net.devices[device].1);
        let expected = [1, 3].map(|n| Candidate {
            folder: FolderTag::from(n),
            addr: peer.parse().unwrap(),
            source: Source::Lan,
            expires: secs(95),
        });
        assert_eq!(found, expected);
    }
    assert!(
        net.devices.iter_mut().all(|(_, b)| sent(b).is_empty()),
        "it ends there"
    );
}

#[test]
fn three_daemons_on_one_host() {
    let device = |i: u16| {
        let from = SocketAddr::from(([192, 0, 2, 7], 50_000 + i));
        (from, beacon(1000 + i, i as u8, [9]))
    };
    let mut net = Net {
        devices: (0..3).map(device).collect(),
        now: secs(1),
    };
    for (_, beacon) in &mut net.devices {
        beacon.handle_timeout(secs(1));
    }
    net.hop();
    net.hop();
    for (i, (_, beacon)) in net.devices.iter_mut().enumerate() {
        let ports: BTreeSet<u16> = found(beacon).iter().map(|c| c.addr.port()).collect();
        let mut others = BTreeSet::from([1000, 1001, 1002]);
        others.remove(&(1000 + i as u16));
        assert_eq!(ports, others);
        assert_eq!(beacon.stats().own, 1);
    }
}

#[test]
fn times_of_announces() {
    let mut a = beacon(1, 1, []);
    assert_eq!(a.next_timeout(), None, "nothing to say");
    a.add_folder(FolderTag::from(1), [1; 32], secs(3)).unwrap();
    assert_eq!(a.next_timeout(), Some(Duration::ZERO));
    assert_eq!(announce(&mut a, secs(3)).len(), 1);
    let mut last = secs(3);
    for _ in 0..20 {
        let next = a.next_timeout().unwrap();
        let gap = next - last;
        assert!((secs(27)..=secs(33)).contains(&gap), "{gap:?}");
        assert!(announce(&mut a, next - Duration::from_nanos(1)).is_empty());
        assert_eq!(announce(&mut a, next).len(), 1);
        last = next;
    }
    // A hundred changes at once make one announce, half a second later.
    for n in 0..100 {
        a.handle_interfaces_changed(last);
        a.add_folder(FolderTag::from(n), [n as u8; 32], last)
            .unwrap();
    }
    assert!(announce(&mut a, last).is_empty());
    assert_eq!(a.next_timeout(), Some(last + Duration::from_millis(500)));
    assert_eq!(announce(&mut a, last + Duration::from_millis(500)).len(), 1);
}

#[test]
fn a_peer_without_a_port_is_answered_but_no_candidate() {
    let from = "10.0.0.1:5".parse().unwrap();
    let (mut silent, mut other) = (beacon(0, 1, [1]), beacon(7, 2, [1]));
    let datagram = announce(&mut silent, secs(1)).remove(0);
    other.handle_datagram(from, &datagram, secs(1));
    assert!(found(&mut other).is_empty());
    let answer = sent(&mut other).remove(0);
    silent.handle_datagram("10.0.0.2:6".parse().unwrap(), &answer.bytes, secs(1));
    assert_eq!(found(&mut silent)[0].addr, "10.0.0.2:7".parse().unwrap());
}

#[test]
fn answers_count_only_under_a_recent_nonce_of_ours() {
    let to_a = "10.0.0.2:6".parse().unwrap();
    let (mut a, mut b) = (beacon(5, 1, [1]), beacon(7, 2, [1]));
    let datagram = announce(&mut a, secs(1)).remove(0);
    b.handle_datagram("10.0.0.1:5".parse().unwrap(), &datagram, secs(1));
    let answer = sent(&mut b).remove(0).bytes;

    let mut stranger = beacon(5, 3, [1]);
    announce(&mut stranger, secs(1));
    stranger.handle_datagram(to_a, &answer, secs(1));
    assert!(
        found(&mut stranger).is_empty(),
        "it asked under another nonce"
    );

    a.handle_datagram(to_a, &answer, secs(600));
    assert_eq!(found(&mut a).len(), 1);
    a.handle_datagram(to_a, &answer, secs(601));
    assert!(found(&mut a).is_empty(), "ten minutes are over");
    assert!(sent(&mut a).is_empty(), "an answer is never answered");

    let mut forged = answer;
    forged[3] ^= 1;
    a.handle_datagram(to_a, &forged, secs(2));
    assert!(found(&mut a).is_empty(), "the port is under the key");
}

#[test]
fn replays_are_bounded_and_reflection_is_limited() {
    let (mut a, mut b) = (beacon(5, 1, [1]), beacon(7, 2, [1]));
    let datagram = announce(&mut a, secs(1)).remove(0);
    for i in 0..250 {
        let from = SocketAddr::from(([10, 0, 1, i], 99));
        b.handle_datagram(from, &datagram, secs(1));
        b.handle_datagram(from, &datagram, secs(1));
    }
    assert_eq!(found(&mut b).len(), 4);
    let answers = sent(&mut b);
    assert_eq!(answers.len(), 4);
    assert!(answers.iter().all(|t| t.bytes.len() <= datagram.len()));

    // A member that floods gets no more than its share either.
    let mut b = beacon(7, 2, [1]);
    let from = "10.0.0.1:5".parse().unwrap();
    for i in 0..1000 {
        a.handle_interfaces_changed(secs(10 + i));
        let datagram = announce(&mut a, secs(10 + i)).remove(0);
        b.handle_datagram(from, &datagram, secs(10));
    }
    assert_eq!(sent(&mut b).len(), 20);
    assert_eq!(b.stats().limited, 1000 - 60);
}

#[test]
fn many_folders_take_turns() {
    let mut a = beacon(5, 1, 0..3000);
    let mut b = beacon(7, 2, [0, 1500, 2999]);
    let mut seen = BTreeSet::new();
    let mut now = secs(1);
    for turn in 0..3 {
        let datagrams = announce(&mut a, now);
        assert_eq!(datagrams.len(), 8, "turn {turn}");
        for datagram in datagrams {
            assert_eq!(datagram.len(), MAX_DATAGRAM);
            b.handle_datagram("10.0.0.1:5".parse().unwrap(), &datagram, now);
        }
        seen.extend(found(&mut b).iter().map(|c| c.folder));
        // Answers to every datagram of a turn are recognised.
        for answer in sent(&mut b) {
            if matches!(answer.to, Destination::Unicast(_)) {
                a.handle_datagram("10.0.0.2:6".parse().unwrap(), &answer.bytes, now);
                assert!(!found(&mut a).is_empty());
            }
        }
        now = a.next_timeout().unwrap();
    }
    assert_eq!(seen.len(), 3);
    for n in 3000..4096 {
        a.add_folder(FolderTag::from(n), [0; 32], now).unwrap();
    }
    assert!(a.add_folder(FolderTag::from(4096), [0; 32], now).is_err());
    assert!(a.add_folder(FolderTag::from(0), [0; 32], now).is_ok());
}

#[test]
fn ipv6_keeps_its_scope_and_mapped_addresses_become_ipv4() {
    let (mut a, mut b) = (beacon(5, 1, [1]), beacon(7, 2, [1]));
    for (from, peer) in [
        ("[fe80::1%4]:99", "[fe80::1%4]:5"),
        ("[::ffff:10.0.0.9]:99", "10.0.0.9:5"),
    ] {
        let now = a.next_timeout().unwrap();
        let datagram = announce(&mut a, now).remove(0);
        b.handle_datagram(from.parse().unwrap(), &datagram, now);
        assert_eq!(found(&mut b)[0].addr, peer.parse().unwrap());
    }
}

#[test]
fn debug_shows_no_key() {
    let config = LanConfig {
        port: 5,
        folders: vec![(FolderTag::from(1), [0xab; 32])],
    };
    let text = format!("{config:?}");
    let beacon = LanBeacon::new(config, &[0xcd; 32], secs(0));
    let text = format!("{text}{beacon:?}");
    for leak in ["171", "205", "ab", "cd"] {
        assert!(!text.replace("LanBeacon", "").contains(leak), "{text}");
    }
}

/// No run of six bytes of `a` stands anywhere in `b`, headers apart.
fn nothing_in_common(a: &[u8], b: &[u8]) -> bool {
    let runs: BTreeSet<&[u8]> = a[4..].windows(6).collect();
    !b[4..].windows(6).any(|run| runs.contains(run))
}

proptest! {
    #[test]
    fn no_field_repeats_in_a_capture(count in 1_u64..200, seed: u8) {
        let (mut a, mut b) = (beacon(5, seed, 0..count), beacon(7, seed ^ 0xff, 0..count));
        let mut capture = Vec::new();
        for _ in 0..3 {
            let now = a.next_timeout().unwrap();
            a.handle_timeout(now);
            for transmit in sent(&mut a) {
                b.handle_datagram("10.0.0.1:5".parse().unwrap(), &transmit.bytes, now);
                capture.push(transmit.bytes);
            }
        }
        capture.extend(sent(&mut b).into_iter().map(|t| t.bytes));
        for (i, one) in capture.iter().enumerate() {
            // What a stranger sees: version, kind, port, and a count in eights.
            prop_assert_eq!(one[0], 1);
            prop_assert!((one.len() - HEADER_LEN).is_multiple_of(64) && one.len() <= MAX_DATAGRAM);
            for other in &capture[..i] {
                prop_assert!(nothing_in_common(one, other));
            }
        }
        let lengths: BTreeSet<usize> = capture.iter().map(Vec::len).collect();
        if count <= 144 {
            let padded = count.next_multiple_of(8) as usize;
            prop_assert_eq!(lengths, BTreeSet::from([HEADER_LEN + 8 * padded]));
        }
    }

    #[test]
    fn garbage_is_survived(
        datagrams in prop::collection::vec(
            (any::<[u8; 4]>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..1500)), 0..20),
        seconds in prop::collection::vec(any::<u32>(), 20),
    ) {
        let mut a = beacon(5, 1, [1, 2]);
        for ((ip, port, bytes), at) in datagrams.iter().zip(seconds) {
            let now = secs(at.into());
            a.handle_datagram(SocketAddr::from((*ip, *port)), bytes, now);
            a.handle_timeout(now);
        }
        prop_assert!(found(&mut a).is_empty());
    }

    #[test]
    fn decoding_and_encoding_agree(
        kind in 1_u8..3,
        rest in prop::collection::vec(any::<u8>(), 18 + 64),
        groups in 1_usize..18,
    ) {
        let mut bytes = vec![1, kind];
        bytes.extend_from_slice(&rest[..18]);
        for _ in 0..groups {
            bytes.extend_from_slice(&rest[18..]);
        }
        let read = Beacon::decode(&bytes).unwrap();
        prop_assert_eq!(read.kind == Kind::Announce, kind == 1);
        prop_assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn a_changed_bit_finds_nobody_new(at in 0_usize..84, bit in 0_u8..8) {
        let (mut a, mut b) = (beacon(5, 1, [1]), beacon(7, 2, [1]));
        let mut datagram = announce(&mut a, secs(1)).remove(0);
        datagram[at] ^= 1 << bit;
        b.handle_datagram("10.0.0.1:5".parse().unwrap(), &datagram, secs(1));
        // Only a bit in the padding may go unnoticed, and then the port is right.
        prop_assert!(found(&mut b).iter().all(|c| c.addr.port() == 5));
        if at < HEADER_LEN {
            prop_assert_eq!(b.stats().matched, 0);
        }
    }
}
