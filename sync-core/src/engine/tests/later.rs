//! What a later version says is kept, passed on, and understood after an upgrade.

use bytes::Bytes;

use super::rig::{Rig, keys};
use crate::{
    engine::Input,
    ids::{ReplicaId, Seq, SessionId},
    message::{Announce, BurstEnd, Change, EngineMessage, Records},
    record::{Envelope, sign_bytes},
    trouble::Trouble,
    version::Dot,
};

/// 0 and 2 speak through 1 only.
fn chain() -> Rig {
    let mut rig = Rig::new(3);
    rig.cut(0, 2);
    rig
}

fn fill(rig: &mut Rig) {
    for i in 0..40 {
        rig.write(0, &format!("f{i}"), format!("content {i}").as_bytes(), 1);
    }
    rig.settle();
}

#[test]
fn what_cannot_be_read_is_passed_on_and_read_after_an_upgrade() {
    let mut rig = chain();
    rig.engines[1].ledger.blind = |head| head.path_id[0] & 1 == 1;
    fill(&mut rig);
    let status = rig.engines[1].status().unwrap();
    assert!(status.later > 0 && status.later < 40, "{status:?}");
    assert_eq!(rig.tree(1).len() as u64, 40 - status.later);
    // The records reach who can read them; the content comes when somebody who holds it is there.
    assert_eq!(rig.records_to[2], 40);
    assert_eq!(rig.engines[2].status().unwrap().totals.global.files, 40);
    assert_eq!(rig.records_to[0], 0);
    rig.cut(0, 1);
    rig.cut(1, 2);
    rig.restart(1);
    assert_eq!(rig.engines[1].status().unwrap().later, 0);
    assert_eq!(rig.engines[1].status().unwrap().totals.global.files, 40);
    rig.join(0, 1);
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    assert_eq!(rig.tree(2), rig.tree(0));
    // Nothing came a second time.
    assert_eq!(rig.records_to[1], 40);
    assert_eq!(rig.records_to[2], 40);
}

#[test]
fn what_cannot_be_read_is_kept_over_a_restart_without_an_upgrade() {
    let mut rig = chain();
    fn blind(head: &Envelope) -> bool {
        head.path_id[0] & 1 == 1
    }
    rig.engines[1].ledger.blind = blind;
    fill(&mut rig);
    let later = rig.engines[1].status().unwrap().later;
    let kept = rig.engines[1].index().clone();
    let mut ledger = super::super::Ledger::new(&super::rig::config(1, false, 1), kept).unwrap();
    ledger.blind = blind;
    assert!(ledger.open_later().unwrap().is_empty());
    assert_eq!(ledger.later(), later);
}

#[test]
fn a_path_of_which_a_later_version_speaks_is_left_alone() {
    let mut rig = chain();
    rig.write(0, "a", b"one", 1);
    rig.settle();
    rig.engines[1].ledger.blind = |head| head.dot.counter == 2;
    rig.write(0, "a", b"two", 2);
    rig.settle();
    assert_eq!(rig.read(1, "a"), Some(b"one".to_vec()));
    // Neither an edit nor a deletion that it can read is carried out over what it can't.
    rig.write(0, "a", b"three", 3);
    rig.settle();
    assert_eq!(rig.read(1, "a"), Some(b"one".to_vec()));
    let errors = rig.engines[1].errors();
    assert_eq!(errors[0].reason, Trouble::Newer);
    // Nothing but errors is left: that is no work, here or for those who look on.
    assert!((0..3).all(|n| rig.in_sync(n)));
    rig.remove(0, "a");
    rig.settle();
    assert_eq!(rig.read(1, "a"), Some(b"one".to_vec()));
    assert_eq!(rig.read(2, "a"), None);
}

/// Node 0 says `n` things in a format of tomorrow, about as many paths.
fn tomorrow(rig: &mut Rig, n: u64) {
    let keys = keys(false);
    for counter in 1..=n {
        let head = Envelope {
            format: 200,
            flags: 3,
            era: 0,
            path_id: [counter as u8; 16],
            dot: Dot {
                replica: ReplicaId(77),
                counter,
            },
        };
        let mut signed = head.write(1).into_writer();
        signed.extend_from_slice(&[0x41, 0]);
        let (raw, proof) = sign_bytes(&keys, vec![Bytes::from(signed)]).unwrap();
        let change = Change {
            seq: Seq(counter),
            holds: false,
            contested: false,
            record: raw[0].clone(),
        };
        let message = EngineMessage::Records(Records {
            after: Seq(counter - 1),
            upto: Seq(counter),
            changes: vec![Announce::new(&proof, vec![change]).unwrap()],
            stubs: Vec::new(),
            holds: Default::default(),
        });
        let session = SessionId(1);
        rig.queue
            .push_back((1, Input::Message { session, message }));
    }
    let last = Dot {
        replica: ReplicaId(77),
        counter: n,
    };
    let message = EngineMessage::BurstEnd(BurstEnd {
        upto: Seq(n),
        knowledge: [last].into_iter().collect(),
        listed: None,
    });
    let session = SessionId(1);
    rig.queue
        .push_back((1, Input::Message { session, message }));
    rig.settle();
}

#[test]
fn a_format_of_tomorrow_goes_through_and_too_much_of_it_is_refused() {
    let mut rig = chain();
    rig.settle();
    tomorrow(&mut rig, 20);
    for n in 1..3 {
        assert_eq!(rig.engines[n].status().unwrap().later, 20, "node {n}");
        assert_eq!(rig.engines[n].status().unwrap().errors, 0);
    }
    // What is known still goes both ways.
    rig.write(2, "known", b"known", 1);
    rig.settle();
    assert_eq!(rig.read(0, "known"), Some(b"known".to_vec()));
    let known = rig.engines[1].ledger.knowledge();
    assert_eq!(known.counter(ReplicaId(77)), 20);
    tomorrow(&mut rig, 400);
    assert_eq!(rig.engines[1].status().unwrap().later, 300);
    let errors = rig.engines[1].errors();
    assert_eq!(errors[0].reason, Trouble::TooMuchNewer);
    // Nothing may look known that wasn't kept.
    let known = rig.engines[1].ledger.knowledge();
    assert_eq!(known.counter(ReplicaId(77)), 20);
    rig.write(0, "still", b"known", 1);
    rig.settle();
    assert_eq!(rig.read(2, "still"), Some(b"known".to_vec()));
}
