//! The known-hosts machine in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use sync_discovery::known_hosts::{HostPort, KnownHosts};
use sync_discovery::{Discovered, FolderTag, Source};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn host(text: &str) -> HostPort {
    text.parse().expect(text)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

/// What the machine said: `+` found, `-` taken back.
fn said(machine: &mut KnownHosts) -> Vec<(char, SocketAddr)> {
    std::iter::from_fn(|| machine.poll_event())
        .map(|event| match event {
            Discovered::Found(c) => {
                assert_eq!((c.source, c.expires), (Source::KnownHost, Duration::MAX));
                ('+', c.addr)
            }
            Discovered::Gone { addr, source, .. } => {
                assert_eq!(source, Source::KnownHost);
                ('-', addr)
            }
        })
        .collect()
}

#[test]
fn literals_are_reported_at_once_and_never_resolved() {
    let mut machine = KnownHosts::new();
    let folder = FolderTag::from(1);
    machine.add(folder, host("10.0.0.1:5"), secs(1)).unwrap();
    machine.add(folder, host("[fe80::1%2]:5"), secs(1)).unwrap();
    machine.add(folder, host("10.0.0.1:5"), secs(1)).unwrap();
    assert_eq!(
        said(&mut machine),
        [('+', addr("10.0.0.1:5")), ('+', addr("[fe80::1%2]:5"))]
    );
    assert_eq!(machine.poll_resolve(), None);
    assert_eq!(machine.next_timeout(), None);
    machine.remove(folder, &host("10.0.0.1:5"));
    assert_eq!(said(&mut machine), [('-', addr("10.0.0.1:5"))]);
    machine.remove_folder(folder);
    assert_eq!(said(&mut machine), [('-', addr("[fe80::1%2]:5"))]);
}

#[test]
fn a_name_follows_its_addresses() {
    let mut machine = KnownHosts::new();
    let (one, two) = (FolderTag::from(1), FolderTag::from(2));
    machine.add(one, host("Nas.example:5"), secs(0)).unwrap();
    machine.add(two, host("nas.example:6"), secs(0)).unwrap();
    assert_eq!(machine.poll_resolve().unwrap().name, "nas.example");
    assert_eq!(
        machine.poll_resolve(),
        None,
        "one question serves both folders"
    );

    let answer = vec![addr("10.0.0.1:0"), addr("10.0.0.1:9"), addr("0.0.0.0:0")];
    machine.handle_resolved("nas.example", Ok(answer), secs(1));
    assert_eq!(
        said(&mut machine),
        [('+', addr("10.0.0.1:5")), ('+', addr("10.0.0.1:6"))]
    );

    assert_eq!(machine.next_timeout(), Some(secs(301)));
    machine.handle_timeout(secs(300));
    assert_eq!(machine.poll_resolve(), None);
    machine.handle_timeout(secs(301));
    assert!(machine.poll_resolve().is_some());
    machine.handle_resolved("nas.example", Ok(vec![addr("10.0.0.2:0")]), secs(302));
    assert_eq!(
        said(&mut machine),
        [
            ('-', addr("10.0.0.1:5")),
            ('+', addr("10.0.0.2:5")),
            ('-', addr("10.0.0.1:6")),
            ('+', addr("10.0.0.2:6")),
        ]
    );
    machine.refresh(one, secs(303));
    assert!(machine.poll_resolve().is_some(), "at once when asked for");
    machine.handle_resolved("nas.example", Err("broken".into()), secs(304));
    assert_eq!(said(&mut machine), [], "a failure takes nothing back");
    assert_eq!(
        machine.hosts(one).next(),
        Some((&host("nas.example:5"), Some("broken")))
    );
}

#[test]
fn failures_back_off_to_ten_minutes() {
    let mut machine = KnownHosts::new();
    machine
        .add(FolderTag::from(1), host("nas:5"), secs(0))
        .unwrap();
    let mut now = secs(0);
    for wait in [60, 120, 240, 480, 600, 600, 600] {
        assert!(machine.poll_resolve().is_some());
        let result = if wait == 120 {
            Ok(vec![])
        } else {
            Err("no".into())
        };
        machine.handle_resolved("nas", result, now);
        assert_eq!(machine.next_timeout(), Some(now + secs(wait)));
        now += secs(wait);
        machine.handle_timeout(now);
    }
}

#[test]
fn a_silent_resolver_and_a_long_answer_are_bounded() {
    let mut machine = KnownHosts::new();
    let folder = FolderTag::from(1);
    for i in 0..20 {
        machine
            .add(folder, host(&format!("h{i}.example:5")), secs(0))
            .unwrap();
    }
    let asked: Vec<_> = std::iter::from_fn(|| machine.poll_resolve()).collect();
    assert_eq!(asked.len(), 8);
    let many = (0..200)
        .map(|i| SocketAddr::from(([10, 0, 1, i], 0)))
        .collect();
    machine.handle_resolved(&asked[0].name, Ok(many), secs(1));
    assert_eq!(said(&mut machine).len(), 16);
    assert!(machine.poll_resolve().is_some(), "the free place is used");
    machine.handle_timeout(secs(61));
    let next: Vec<_> = std::iter::from_fn(|| machine.poll_resolve()).collect();
    assert_eq!(next.len(), 8, "silence frees the places");
    machine.handle_resolved("never.asked", Ok(vec![addr("10.0.0.1:0")]), secs(62));
    assert_eq!(said(&mut machine), []);
}
