//! Two beacons in one process, on a network that is a list in memory.
//!
//! Alice shares two folders, Bob shares one of them and one of his own. Alice
//! announces, Bob recognises the common folder and answers, and both know where
//! the other listens. Run it with
//! `cargo run -p sync-discovery --example lan_beacon`.

use std::net::SocketAddr;
use std::time::Duration;

use sync_discovery::FolderTag;
use sync_discovery::lan::{Destination, LanBeacon, LanConfig};

struct Device {
    name: &'static str,
    socket: SocketAddr,
    beacon: LanBeacon,
}

fn main() {
    let now = Duration::from_secs(1);
    // In real life: keys derived from the folders' secrets, seeds from the
    // operating system.
    let (photos, letters, music) = ([1; 32], [2; 32], [3; 32]);
    let device = |name, socket: ([u8; 4], u16), seed, folders: &[(u64, [u8; 32])]| {
        let folders = folders
            .iter()
            .map(|(n, key)| (FolderTag::from(*n), *key))
            .collect();
        let config = LanConfig {
            port: 29170,
            folders,
        };
        Device {
            name,
            socket: socket.into(),
            beacon: LanBeacon::new(config, &seed, now),
        }
    };
    let mut devices = [
        device(
            "alice",
            ([192, 0, 2, 1], 40001),
            [7; 32],
            &[(1, photos), (2, letters)],
        ),
        device(
            "bob",
            ([192, 0, 2, 2], 40002),
            [8; 32],
            &[(1, photos), (3, music)],
        ),
    ];

    println!("alice announces");
    devices[0].beacon.handle_timeout(now);
    loop {
        let mut wire = Vec::new();
        for device in &mut devices {
            while let Some(transmit) = device.beacon.poll_transmit() {
                wire.push((device.name, device.socket, transmit));
            }
        }
        if wire.is_empty() {
            break;
        }
        for (name, from, transmit) in wire {
            println!(
                "{name:>6} -> {:?}, {} bytes",
                transmit.to,
                transmit.bytes.len()
            );
            for device in &mut devices {
                let hears = match transmit.to {
                    Destination::Broadcast => true,
                    // This network has no IPv6.
                    Destination::Multicast => false,
                    Destination::Unicast(to) => to == device.socket,
                };
                if hears {
                    device.beacon.handle_datagram(from, &transmit.bytes, now);
                }
            }
        }
        for device in &mut devices {
            while let Some(found) = device.beacon.poll_event() {
                println!(
                    "{:>6} learns: a peer of {:?} may be at {} until {:?}",
                    device.name, found.folder, found.addr, found.expires
                );
            }
        }
    }
}
