//! The privileged lab: daemons in network namespaces, with nothing between them but a cable.
//!
//! See `integration_tests::lab` for what it needs; without it each test says that it was skipped.

#![allow(clippy::unwrap_used)] // A test that can't go on says so.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use integration_tests::{
    cluster::{Machine, assert_same},
    lab::{CABLE, Lab},
    programs,
};
use sync_discovery::lan::{
    BEACON_GROUP, BEACON_PORT,
    wire::{Beacon, HEADER_LEN, Kind, TAG_GROUP, TAG_LEN},
};

#[test]
fn two_machines_on_one_cable_find_each_other_and_sync() {
    let Some(lab) = Lab::new() else {
        return;
    };
    let [first, second] = lab.names();
    let mut a = Machine::inside(&programs!(), first).unwrap();
    let mut b = Machine::inside(&programs!(), second).unwrap();
    fs::write(a.folder().join("from a"), b"over the cable").unwrap();
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    // Neither is told an address of the other.
    b.start(Some(&secret), &[]).unwrap();
    // First the one that has the file: the other one can't miss what hasn't been found yet.
    a.wait(1, 60).unwrap();
    b.wait(1, 60).unwrap();
    assert_eq!(
        fs::read(b.folder().join("from a")).unwrap(),
        b"over the cable"
    );
    assert_same(&a.folder(), &b.folder());

    let peers = [&a, &b].map(|machine| {
        let show = machine.json(&["folder", "show", "folder"]).unwrap();
        assert_eq!(show["known_hosts"], serde_json::json!([]));
        show["peers"][0].clone()
    });
    for peer in &peers {
        assert_eq!(peer["path"], "lan", "{peer}");
    }
    // Whoever dialled knows the address from a beacon; the other one took the call.
    assert!(
        peers.iter().any(|peer| peer["found_by"] == "lan"),
        "{peers:?}"
    );
    assert!(a.stop().unwrap());
    assert!(b.stop().unwrap());
}

/// What two machines have when a cable is put between them and nobody gives addresses.
#[test]
fn link_local_addresses_are_enough() {
    let Some(lab) = Lab::with([&["fe80::1/64"], &["fe80::2/64"]]) else {
        return;
    };
    let [first, second] = lab.names();
    if !lab.has(first, "fe80::1") {
        println!("skipped: this host has no IPv6");
        return;
    }
    let mut a = Machine::inside(&programs!(), first).unwrap();
    let mut b = Machine::inside(&programs!(), second).unwrap();
    fs::write(a.folder().join("from a"), b"without an address").unwrap();
    a.start(None, &[]).unwrap();
    let secret = a.secret(&[]).unwrap();
    b.start(Some(&secret), &[]).unwrap();
    a.wait(1, 60).unwrap();
    b.wait(1, 60).unwrap();
    assert_same(&a.folder(), &b.folder());
    assert!(a.stop().unwrap());
    assert!(b.stop().unwrap());
}

#[test]
fn beacons_on_the_wire_have_nothing_in_common() {
    let Some(lab) = Lab::new() else {
        return;
    };
    let [first, second] = lab.names();
    let Some(capture) = Capture::start(second) else {
        println!("skipped: there is no tcpdump");
        return;
    };
    let mut a = Machine::inside(&programs!(), first).unwrap();
    let mut heard = Vec::new();
    let broadcasts = |heard: &[Datagram]| heard.iter().filter(|d| d.from.is_ipv4()).count();

    a.start(None, &[]).unwrap();
    capture.until(&mut heard, |heard| broadcasts(heard) >= 1);
    // A new folder is announced at once, together with the others.
    for n in 1..=2 {
        let more = a.folder().with_file_name(format!("more {n}"));
        fs::create_dir(&more).unwrap();
        let added = a.ctl(&["folder", "add", more.to_str().unwrap()]).unwrap();
        assert!(added.status.success(), "{added:?}");
        capture.until(&mut heard, |heard| broadcasts(heard) > n);
    }
    // After a restart the daemon must not begin its random numbers again.
    assert!(a.stop().unwrap());
    let before: BTreeSet<_> = heard.iter().map(|d| d.from).collect();
    a.start(None, &[]).unwrap();
    capture.until(&mut heard, |heard| {
        heard.iter().any(|d| !before.contains(&d.from))
    });
    assert!(a.stop().unwrap());

    assert!(heard.len() >= 4);
    println!(
        "{} beacons captured, {} of them IPv4",
        heard.len(),
        broadcasts(&heard)
    );
    let mut seen = BTreeSet::new();
    for datagram in &heard {
        let bytes = &datagram.payload;
        match datagram.to {
            IpAddr::V4(to) => assert_eq!(to, Ipv4Addr::new(10, 77, 0, 255)),
            IpAddr::V6(to) => assert_eq!(to, BEACON_GROUP),
        }
        // Three folders look like eight, as one does.
        assert_eq!(bytes.len(), HEADER_LEN + TAG_GROUP * TAG_LEN);
        let beacon = Beacon::decode(bytes).unwrap();
        assert_eq!(beacon.kind, Kind::Announce);
        assert!(beacon.tags.len().is_multiple_of(TAG_GROUP));
        // Only version, kind and port may be the same, and they are the first 4 bytes.
        let windows: BTreeSet<[u8; 8]> = bytes[4..]
            .windows(8)
            .filter_map(|window| window.try_into().ok())
            .collect();
        for window in windows {
            assert!(seen.insert(window), "{window:02x?} was in another beacon");
        }
    }
}

/// A UDP datagram as it was on the wire.
struct Datagram {
    from: SocketAddr,
    to: IpAddr,
    payload: Vec<u8>,
}

/// A running `tcpdump` that shows the beacons on the cable. It ends by itself after a minute, and then whoever
/// still waits for a beacon fails.
struct Capture {
    child: Child,
    datagrams: mpsc::Receiver<Datagram>,
}

impl Capture {
    /// Starts it at this end of the cable, and comes back when it listens; `None` if there is no `tcpdump`.
    fn start(namespace: &str) -> Option<Self> {
        let version = Command::new("tcpdump").arg("--version").output();
        if version.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let filter = format!("udp dst port {BEACON_PORT}");
        let mut child = Command::new("timeout")
            .args(["60", "ip", "netns", "exec", namespace])
            .args(["tcpdump", "-i", CABLE, "-n", "-U", "--immediate-mode"])
            .args(["-c", "100", "-w", "-", &filter])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdout, stderr) = child.stdout.take().zip(child.stderr.take()).unwrap();
        let (sender, datagrams) = mpsc::channel();
        let capture = Self { child, datagrams };
        let mut said = Vec::new();
        let mut lines = BufReader::new(stderr).lines();
        while let Some(Ok(line)) = lines.next() {
            said.push(line);
            if said
                .last()
                .is_some_and(|line| line.contains("listening on"))
            {
                break;
            }
        }
        assert!(
            said.last()
                .is_some_and(|line| line.contains("listening on")),
            "tcpdump: {said:?}"
        );
        std::thread::spawn(move || {
            // Keeps the pipe open, so that tcpdump can say goodbye.
            let _lines = lines;
            let _ = read_capture(&mut stdout, &sender);
        });
        Some(capture)
    }

    /// Collects datagrams until they are `enough`.
    fn until(&self, heard: &mut Vec<Datagram>, enough: impl Fn(&[Datagram]) -> bool) {
        while !enough(heard) {
            match self.datagrams.recv() {
                Ok(datagram) => heard.push(datagram),
                Err(_) => panic!("the capture ended after {} beacons", heard.len()),
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // `timeout` hands the signal on to tcpdump; it could not if it were killed.
        let _ = Command::new("sh")
            .args(["-c", "kill \"$0\"", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// Reads what `tcpdump -w` writes (pcap-savefile(5)): a head of 24 bytes, then for each packet 16 bytes, of
/// which the third number is the length that follows. Numbers are in the order of this machine.
fn read_capture(stream: &mut impl Read, sender: &mpsc::Sender<Datagram>) -> io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    loop {
        let mut head = [[0; 4]; 4];
        stream.read_exact(head.as_flattened_mut())?;
        let length = u32::from_ne_bytes(head[2]);
        let mut frame = Vec::new();
        stream.take(length.into()).read_to_end(&mut frame)?;
        if let Some(datagram) = datagram(&frame)
            && sender.send(datagram).is_err()
        {
            return Ok(());
        }
    }
}

/// Takes the datagram out of an Ethernet frame; `None` if there is none.
fn datagram(frame: &[u8]) -> Option<Datagram> {
    let (ethernet, packet) = frame.split_first_chunk::<14>()?;
    let (from, to, udp): (IpAddr, IpAddr, _) = match ethernet[12..] {
        [0x08, 0x00] => {
            let [from, to] = *packet.get(12..20)?.as_chunks::<4>().0 else {
                return None;
            };
            let head = usize::from(packet[0] & 0x0f) * 4;
            (from.into(), to.into(), packet.get(head..)?)
        }
        [0x86, 0xdd] => {
            let [from, to] = *packet.get(8..40)?.as_chunks::<16>().0 else {
                return None;
            };
            let [from, to] = [from, to].map(Ipv6Addr::from);
            (from.into(), to.into(), packet.get(40..)?)
        }
        _ => return None,
    };
    let (udp, payload) = udp.split_first_chunk::<8>()?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]])).checked_sub(8)?;
    Some(Datagram {
        from: (from, u16::from_be_bytes([udp[0], udp[1]])).into(),
        to,
        payload: payload.get(..length)?.to_vec(),
    })
}
