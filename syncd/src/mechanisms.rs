//! The mechanisms of discovery as parts of the daemon: how they are started, switched, asked and ended.
//!
//! It works through the list in [`crate::discovery`], which owns what they are wanted for and where they are, and
//! knows no single one of them.

use std::sync::{Arc, atomic::Ordering};

use sync_core::control;
use sync_discovery::{
    FolderTag, Trouble,
    actor::{Kind, OnStopped, Order, Setup, StopReason},
    mechanism::{Status, Want},
};

use crate::{
    asking::end_part,
    discovery::MECHANISMS,
    policy::{Down, Policy},
    supervise::{ChildSpec, ChildState, Reporter, RestartChild},
    wiring::{self, Wires, part},
};

/// The name of the part that a mechanism is.
fn name_of(kind: &Kind) -> String {
    kind.source.to_string()
}

/// Starts the mechanisms that are switched on.
pub(crate) fn start(wires: &Arc<Wires>) {
    let options = &wires.discovery.wanted().options;
    for kind in MECHANISMS.iter().filter(|kind| kind.enabled(options)) {
        wiring::add(&wires.root, child(wires, *kind));
    }
}

/// Makes those anew that run: the address book that they told is gone.
pub(crate) fn restart(wires: &Wires) {
    for kind in MECHANISMS {
        wires.root.do_send(RestartChild(name_of(kind)));
    }
}

/// Ends all mechanisms.
pub(crate) async fn end(wires: &Wires) {
    for kind in MECHANISMS {
        // One that is slow ends with the process.
        let _ = end_part(wires, name_of(kind)).await;
    }
}

/// Takes what is wanted from now on, and starts and ends those that were switched.
pub(crate) async fn reload(wires: &Arc<Wires>, want: Want) {
    let old = wires.discovery.wanted();
    let new = want.options.clone();
    wires.discovery.set(want);
    for kind in MECHANISMS {
        let (was, will) = (kind.enabled(&old.options), kind.enabled(&new));
        if was == will {
            continue;
        }
        // Even one that is to be started may still be ending.
        let ended = end_part(wires, name_of(kind)).await;
        if !will {
            wires.discovery.ended(kind.source);
        } else if ended.is_ok() {
            wiring::add(&wires.root, child(wires, *kind));
        }
    }
}

/// How a mechanism is made.
pub(crate) fn child(wires: &Arc<Wires>, kind: Kind) -> ChildSpec {
    let wires = Arc::clone(wires);
    let name = name_of(&kind);
    let factory = Box::new(move |reporter| {
        let out = wires.book()?.found;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| e.to_string())?;
        let mechanism = kind.start(Setup {
            epoch: wires.epoch,
            seed,
            want: wires.discovery.wanted(),
            out,
            on_stopped: Some(on_stopped(reporter)),
        });
        wires.discovery.started(kind.source, mechanism.clone());
        Ok(Box::new(move || mechanism.do_send(Order::Stop)) as _)
    });
    ChildSpec {
        name,
        policy: Policy::optional(),
        factory,
    }
}

fn on_stopped(reporter: Reporter) -> OnStopped {
    Box::new(move |reason| {
        reporter.down(match reason {
            StopReason::Asked => Down::Done,
            StopReason::Failed(trouble) => Down::Failed(format!("{trouble}; {}", trouble.remedy())),
            StopReason::Died => Down::Died,
        });
    })
}

/// How each mechanism fares.
async fn status(wires: &Wires) -> Vec<control::Mechanism> {
    let want = wires.discovery.wanted();
    let mut all = Vec::with_capacity(MECHANISMS.len());
    for kind in MECHANISMS {
        let down = match wires.board.state(&name_of(kind)) {
            _ if !kind.enabled(&want.options) => Some("switched off".to_owned()),
            Some(ChildState::Waiting { reason, .. } | ChildState::Failed { reason }) => {
                Some(reason)
            }
            _ => None,
        };
        let status = match down {
            Some(detail) => Status {
                detail,
                ..Status::default()
            },
            None => wires
                .discovery
                .status_of(kind.source)
                .await
                .unwrap_or_default(),
        };
        all.push(control::Mechanism {
            name: kind.source.to_string(),
            on: status.on,
            detail: Some(status.detail).filter(|detail| !detail.is_empty()),
            trouble: status.trouble.iter().map(told).collect(),
        });
    }
    all
}

/// Each way to be found, for reports: all mechanisms, and the port.
pub(crate) async fn report(wires: &Wires) -> Vec<control::Mechanism> {
    let mut all = status(wires).await;
    let port = wires.port.load(Ordering::Relaxed);
    let down = match wires.board.state(part::LISTENER) {
        Some(ChildState::Waiting { reason, .. } | ChildState::Failed { reason }) => Some(reason),
        _ => None,
    };
    all.push(control::Mechanism {
        name: "incoming".to_owned(),
        on: down.is_none(),
        detail: Some(down.unwrap_or_else(|| format!("TCP port {port}"))),
        trouble: Vec::new(),
    });
    all
}

/// Trouble as the control API says it.
fn told(trouble: &Trouble) -> control::Trouble {
    control::Trouble {
        kind: trouble.kind().to_owned(),
        message: trouble.to_string(),
        hint: Some(trouble.remedy()),
    }
}

/// The hosts of a folder that have no address, as `discover` shows them among the addresses.
pub(crate) async fn without_address(wires: &Wires, folder: FolderTag) -> Vec<control::Candidate> {
    let mut all = Vec::new();
    for (source, status) in wires.discovery.of_folder(folder).await {
        for trouble in status.trouble {
            let Trouble::Unresolved { host, .. } = &trouble else {
                continue;
            };
            all.push(control::Candidate {
                addr: host.clone(),
                source: crate::net::found_by(source),
                state: control::CandidateState::Failed,
                last_error: Some(trouble.to_string()),
                next_try_s: None,
                last_seen_s: None,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use sync_core::options::{OptionType, Port, Values};
    use sync_discovery::{
        known_hosts::KNOWN_HOST,
        lan::{LAN, LAN_PORT},
    };

    use super::*;
    use crate::{parts, supervise::Settled, wiring::tests};

    #[actix::test]
    async fn mechanisms_follow_the_switches_and_say_how_they_fare() {
        let (dir, wires) = tests::wires();
        let (tag, mut entry) = tests::roster_folder(&wires, dir.path());
        let hosts = Vec::read("nas.invalid:1,127.0.0.1:2").unwrap();
        entry.options = Values::default().with(&KNOWN_HOST, hosts);
        wires.roster().insert(tag, entry);
        wires.discovery.set(wires.want());
        wiring::add(&wires.root, parts::peers(&wires));
        start(&wires);
        wires.root.send(Settled).await.unwrap();

        let all = status(&wires).await;
        let names: Vec<_> = all.iter().map(|m| (m.name.as_str(), m.on)).collect();
        assert_eq!(names, [("lan", false), ("known-host", true)]);
        assert_eq!(all[0].detail.as_deref(), Some("switched off"));
        assert_eq!(all[1].detail.as_deref(), Some("2 known"));

        // The name of no host is said, with what helps, and stands among the addresses.
        let unresolved = async {
            loop {
                match without_address(&wires, tag).await.pop() {
                    Some(candidate) => return candidate,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let patience = std::time::Duration::from_secs(30);
        let shown = tokio::time::timeout(patience, unresolved).await.unwrap();
        assert_eq!(shown.addr, "nas.invalid:1");
        let trouble = &status(&wires).await[1].trouble;
        assert_eq!(trouble[0].kind, "unresolved");
        assert!(trouble[0].hint.as_ref().unwrap().contains("name server"));

        // A port that nobody else has.
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = Port(socket.local_addr().unwrap().port());
        drop(socket);
        let mut want = wires.want();
        want.options = want.options.with(&LAN, true).with(&LAN_PORT, port);
        reload(&wires, want.clone()).await;
        wires.root.send(Settled).await.unwrap();
        let lan = status(&wires).await.remove(0);
        assert!(lan.on && lan.detail.unwrap().ends_with(" on lo"));
        let found = wires.discovery.of_folder(tag).await;
        assert!(found.iter().all(|(_, status)| status.how_found.is_some()));
        want.options = want.options.with(&LAN, false);
        reload(&wires, want).await;
        assert!(!status(&wires).await[0].on);
        assert_eq!(wires.board.state("lan"), None);
    }
}
