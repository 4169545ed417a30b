//! A lab on this machine: two network namespaces with nothing between them but a cable, or two.
//!
//! It needs root and runs only when `SYNCD_LAB=1` is set; otherwise it says that the test was skipped. The
//! namespaces have no route out, and the host has no end of the cable, so nothing that a daemon sends can leave.

#![allow(clippy::unwrap_used)] // A lab that can't be built says so.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// The interface of each namespace.
pub const CABLE: &str = "cable";
/// The interface of each namespace at the second cable.
pub const SECOND: &str = "second";

fn ip(args: &[&str]) -> io::Result<Output> {
    Command::new("ip").args(args).output()
}

/// Two network namespaces and the cable between them, removed when this is dropped.
#[derive(Debug)]
pub struct Lab {
    names: [String; 2],
}

impl Lab {
    /// Builds the lab, or says why this machine can't have one.
    ///
    /// # Panics
    ///
    /// When a step fails that every machine with namespaces can do.
    #[must_use]
    pub fn new() -> Option<Self> {
        Self::with([
            &["10.77.0.1/24", "fd77::1/64"],
            &["10.77.0.2/24", "fd77::2/64"],
        ])
    }

    /// The same, with these addresses at the two ends.
    ///
    /// # Panics
    ///
    /// When a step fails that every machine with namespaces can do.
    #[must_use]
    pub fn with(addresses: [&[&str]; 2]) -> Option<Self> {
        if let Some(reason) = reason_to_skip() {
            println!("skipped: {reason}");
            return None;
        }
        static LABS: AtomicU32 = AtomicU32::new(0);
        let pid = std::process::id();
        let n = LABS.fetch_add(1, Ordering::Relaxed);
        // From here on, whatever is there already goes when a step below panics.
        let lab = Self {
            names: ["a", "b"].map(|side| format!("syncd-lab-{pid}-{n}{side}")),
        };
        for name in lab.names() {
            let added = ip(&["netns", "add", name]).unwrap();
            if !added.status.success() {
                let said = String::from_utf8_lossy(&added.stderr).into_owned();
                println!(
                    "skipped: network namespaces can't be made here: {}",
                    said.trim()
                );
                return None;
            }
        }
        lab.put(CABLE, addresses);
        for name in lab.names() {
            run(&["-n", name, "link", "set", "lo", "up"]);
            for family in ["-4", "-6"] {
                let routes = run(&["-n", name, family, "route", "show", "default"]);
                assert!(routes.trim().is_empty(), "{name} has a way out: {routes}");
            }
        }
        Some(lab)
    }

    /// Puts one more cable between the two.
    ///
    /// # Panics
    ///
    /// When a step fails that every machine with namespaces can do.
    pub fn put(&self, cable: &str, addresses: [&[&str]; 2]) {
        let [a, b] = self.names();
        // Both ends are made inside: the host never has one.
        run(&[
            "link", "add", cable, "netns", a, "type", "veth", "peer", "name", cable, "netns", b,
        ]);
        for (name, addresses) in [a, b].into_iter().zip(addresses) {
            for address in addresses {
                if address.contains(':') {
                    // Usable at once, without probing. A host without IPv6 refuses, and then IPv4 has to do.
                    let _ = ip(&["-n", name, "addr", "add", address, "nodad", "dev", cable]);
                } else {
                    run(&["-n", name, "addr", "add", address, "brd", "+", "dev", cable]);
                }
            }
            run(&["-n", name, "link", "set", cable, "up"]);
        }
    }

    /// Drops all that comes over a cable, at both ends. Nobody is told.
    ///
    /// # Panics
    ///
    /// When there is no `nft`.
    pub fn silence(&self, cable: &str) {
        for name in self.names() {
            let rules = format!(
                "table netdev silence {{ chain in {{ type filter hook ingress device {cable} priority 0; policy drop; }}; }}"
            );
            let output = Command::new("ip")
                .args(["netns", "exec", name, "nft", &rules])
                .output()
                .unwrap();
            assert!(output.status.success(), "nft: {output:?}");
        }
    }

    /// The names of the two namespaces.
    #[must_use]
    pub fn names(&self) -> [&str; 2] {
        let [a, b] = &self.names;
        [a, b]
    }

    /// Whether the cable's end in a namespace has an address.
    ///
    /// # Panics
    ///
    /// When the interface can't be asked.
    #[must_use]
    pub fn has(&self, name: &str, address: &str) -> bool {
        run(&["-n", name, "addr", "show", "dev", CABLE]).contains(address)
    }

    /// Lets the first namespace send so many megabits a second over a cable, as a slower one would.
    ///
    /// # Panics
    ///
    /// When the kernel has no token bucket.
    pub fn limit(&self, cable: &str, megabits: u32) {
        let rate = format!("{megabits}mbit");
        let output = Command::new("tc")
            .args(["-n", self.names()[0], "qdisc", "add", "dev", cable])
            .args([
                "root", "tbf", "rate", &rate, "burst", "1m", "latency", "20ms",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "tc: {output:?}");
    }

    /// The bytes that the second namespace has received and sent over a cable since that was put, as its interface
    /// counts them: with the heads of all packets, and whoever sent them.
    ///
    /// # Panics
    ///
    /// When the interface can't be asked.
    #[must_use]
    pub fn counters(&self, cable: &str) -> Counters {
        let said = run(&["-n", self.names()[1], "-s", "-j", "link", "show", cable]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let bytes = |way: &str| said[0]["stats64"][way]["bytes"].as_u64().unwrap();
        Counters {
            received: bytes("rx"),
            sent: bytes("tx"),
        }
    }
}

/// What went over the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that came to the second namespace.
    pub received: u64,
    /// Bytes that left it.
    pub sent: u64,
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn reason_to_skip() -> Option<&'static str> {
    if std::env::var_os("SYNCD_LAB").is_none_or(|set| set != "1") {
        return Some("SYNCD_LAB=1 is not set");
    }
    if fs::metadata("/proc/self").map_or(true, |me| me.uid() != 0) {
        return Some("the lab needs root");
    }
    match ip(&["netns", "list"]) {
        Ok(output) if output.status.success() => None,
        _ => Some("`ip netns` doesn't work here"),
    }
}

/// Runs `ip`, which must succeed, and gives what it printed.
fn run(args: &[&str]) -> String {
    let output = ip(args).unwrap();
    assert!(
        output.status.success(),
        "ip {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
