//! Each record goes to each member once; who slept for a year brings nothing back.

use std::time::Duration;

use super::rig::Rig;
use crate::{
    engine::Input,
    ids::{ReplicaId, Seq, SessionId},
    index::Index,
    message::{BurstEnd, EngineMessage, Records},
    path::RelPath,
    version::{Dot, MAX_REPLICAS},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Directories have records, too; here are none.
const FILES: usize = 200;

fn fill(rig: &mut Rig, n: usize) {
    for i in 0..FILES {
        rig.write(n, &format!("f{i}"), format!("content {i}").as_bytes(), 1);
    }
}

/// Deletions of long ago are forgotten everywhere who is awake.
fn a_year(rig: &mut Rig) {
    for _ in 0..3 {
        rig.sleep(122 * DAY);
    }
}

fn forgot(rig: &Rig, n: usize, name: &str) -> bool {
    let path = RelPath::parse(name.as_bytes()).unwrap();
    rig.engines[n].index().entry(&path).unwrap().is_none()
}

#[test]
fn in_a_mesh_each_record_comes_to_each_member_once() {
    let mut rig = Rig::new(5);
    rig.settle();
    fill(&mut rig, 0);
    rig.settle();
    for n in 1..5 {
        assert_eq!(rig.tree(n), rig.tree(0));
        assert_eq!(rig.records_to[n], FILES, "node {n}");
        assert!(rig.in_sync(n));
    }
    assert_eq!(rig.records_to[0], 0);
}

#[test]
fn in_a_chain_each_record_goes_on() {
    let mut rig = Rig::new(4);
    for (a, b) in [(0, 2), (0, 3), (1, 3)] {
        rig.cut(a, b);
    }
    fill(&mut rig, 0);
    rig.settle();
    for n in 1..4 {
        assert_eq!(rig.tree(n), rig.tree(0));
        assert_eq!(rig.records_to[n], FILES, "node {n}");
        assert!(rig.in_sync(n));
    }
}

#[test]
fn what_both_know_already_is_not_sent_again() {
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(0, 1);
    rig.join(0, 2);
    fill(&mut rig, 0);
    rig.settle();
    let before = rig.records_to.clone();
    // They have never met, and have forgotten nothing.
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.records_to, before);
    assert_eq!(rig.stubs_to, vec![0, 0, 0]);
    assert!(rig.in_sync(1) && rig.in_sync(2));
}

#[test]
fn who_forgot_lists_all_that_lives_once() {
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(0, 1);
    rig.join(0, 2);
    fill(&mut rig, 0);
    rig.settle();
    rig.remove(0, "f7");
    a_year(&mut rig);
    let before = rig.records_to.clone();
    for _ in 0..2 {
        rig.join(1, 2);
        rig.settle();
        assert_eq!(rig.records_to, before);
        assert_eq!(rig.stubs_to, vec![0, FILES - 1, FILES - 1]);
        assert!(rig.in_sync(1) && rig.in_sync(2));
        rig.cut(1, 2);
    }
}

#[test]
fn what_arrived_is_told_before_it_is_durable() {
    let mut rig = Rig::new(3);
    rig.settle();
    // 2 takes long to make it durable, and says to 1 that it has come.
    rig.slow_flushes(Some(2));
    fill(&mut rig, 0);
    rig.settle();
    assert_eq!(rig.records_to[2], FILES);
    rig.slow_flushes(None);
    rig.settle();
    assert_eq!(rig.records_to[2], FILES);
    assert_eq!(rig.tree(2), rig.tree(0));
}

#[test]
fn a_second_session_brings_nothing_twice_and_takes_over_where_the_first_ends() {
    let mut rig = Rig::new(2);
    fill(&mut rig, 0);
    rig.settle();
    let second = rig.join_again(0, 1);
    rig.settle();
    assert_eq!(rig.records_to, vec![0, FILES]);
    for n in 0..2 {
        rig.queue.push_back((n, Input::Prefer { session: second }));
    }
    rig.settle();
    assert_eq!(rig.records_to, vec![0, FILES]);
    assert_eq!(rig.stubs_to, vec![0, 0]);
    for n in 0..2 {
        let session = SessionId(1);
        rig.queue.push_back((n, Input::PeerDown { session }));
    }
    rig.write(0, "more", b"over the second", 2);
    rig.settle();
    assert_eq!(rig.read(1, "more"), Some(b"over the second".to_vec()));
    assert_eq!(rig.records_to, vec![0, FILES + 1]);
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn a_session_that_only_one_side_prefers_is_enough() {
    let mut rig = Rig::new(2);
    rig.settle();
    let session = rig.join_again(0, 1);
    rig.queue.push_back((0, Input::Prefer { session }));
    fill(&mut rig, 0);
    rig.write(1, "other", b"way", 1);
    rig.settle();
    assert_eq!(rig.tree(0), rig.tree(1));
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

/// Greetings over two sessions overtake each other; the older session may break then.
fn greetings_overtake(breaks: bool) {
    let mut rig = Rig::new(2);
    let (first, second) = (SessionId(1), rig.join_again(0, 1));
    let prefer = Input::Prefer { session: second };
    rig.queue.push_back((0, prefer));
    let greeting = |rig: &Rig, over: SessionId| {
        let is = |(to, input): &(usize, Input)| {
            let message = match input {
                Input::Message { session, message } if *session == over => message,
                _ => return false,
            };
            *to == 1 && matches!(message, EngineMessage::Head(_))
        };
        rig.queue.iter().position(is)
    };
    let (old, new) = loop {
        if let (Some(old), Some(new)) = (greeting(&rig, first), greeting(&rig, second)) {
            break (old, new);
        }
        assert!(rig.step(), "it greets over both");
    };
    assert!(old < new);
    rig.queue.swap(old, new);
    if breaks {
        while greeting(&rig, first).is_some() {
            rig.step();
        }
        rig.lose(first);
        for n in 0..2 {
            rig.queue.push_back((n, Input::PeerDown { session: first }));
        }
    }
    fill(&mut rig, 0);
    rig.settle();
    assert_eq!(rig.tree(0), rig.tree(1));
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn greetings_over_two_sessions_may_overtake_each_other() {
    greetings_overtake(false);
}

#[test]
fn a_greeting_that_came_late_does_not_outlive_its_session() {
    greetings_overtake(true);
}

/// The path is changed while two messages with changes are under way over the old one.
fn switch(loses: bool) -> Rig {
    const MANY: usize = 2_000;
    let mut rig = Rig::new(2);
    rig.settle();
    let second = rig.join_again(0, 1);
    rig.settle();
    for i in 0..MANY {
        rig.write(0, &format!("f{i}"), format!("content {i}").as_bytes(), 1);
    }
    while rig.batches_under_way(1) < 2 {
        assert!(rig.step(), "two were never under way");
    }
    for n in 0..2 {
        rig.queue.push_back((n, Input::Prefer { session: second }));
    }
    if loses {
        let session = SessionId(1);
        rig.lose(session);
        for n in 0..2 {
            rig.queue.push_back((n, Input::PeerDown { session }));
        }
    }
    rig.settle();
    assert_eq!(rig.tree(1).len(), MANY);
    assert_eq!(rig.tree(1), rig.tree(0));
    assert!(rig.in_sync(0) && rig.in_sync(1));
    rig
}

#[test]
fn a_path_is_changed_with_two_batches_under_way() {
    // Nothing comes twice if all of it comes.
    assert_eq!(switch(false).records_to, vec![0, 2_000]);
    // What is lost is told again: four messages at most.
    let told = switch(true).records_to[1];
    assert!((2_000..=4_048).contains(&told), "{told}");
}

#[test]
fn small_contents_are_asked_for_by_number_of_whoever_holds_them() {
    let mut rig = Rig::new(2);
    fill(&mut rig, 0);
    rig.settle();
    assert_eq!(rig.tree(1), rig.tree(0));
    assert_eq!(rig.asked_by_number as u64, rig.objects_sent);
    // A third one, that meets only who was told of them, hears of its numbers.
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(0, 1);
    rig.join(1, 2);
    fill(&mut rig, 0);
    rig.settle();
    assert_eq!(rig.tree(2), rig.tree(0));
    assert_eq!(rig.asked_by_number as u64, rig.objects_sent);
    assert_eq!(rig.objects_sent as usize, 2 * FILES);
}

#[test]
fn in_a_mesh_contents_go_by_number_too() {
    let mut rig = Rig::new(4);
    fill(&mut rig, 0);
    rig.settle();
    for n in 1..4 {
        assert_eq!(rig.tree(n), rig.tree(0));
    }
    assert_eq!(rig.asked_by_number as u64, rig.objects_sent);
}

#[test]
fn what_was_edited_where_only_reading_is_allowed_is_not_sent_for_what_it_was() {
    let mut rig = Rig::with_read_only(3, 1);
    rig.cut(0, 2);
    rig.cut(1, 2);
    fill(&mut rig, 0);
    rig.settle();
    rig.write(1, "f3", b"an edit that stays here", 9);
    rig.settle();
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.read(2, "f3"), None);
    assert_eq!(rig.tree(2).len(), FILES - 1);
}

#[test]
fn a_gap_is_not_taken_but_asked_for_again() {
    let mut rig = Rig::new(2);
    fill(&mut rig, 0);
    rig.settle();
    let records = Records {
        after: Seq(1 << 20),
        upto: Seq(1 << 21),
        changes: Vec::new(),
        stubs: Vec::new(),
        holds: Default::default(),
    };
    let message = EngineMessage::Records(records);
    let session = SessionId(1);
    rig.queue
        .push_back((1, Input::Message { session, message }));
    rig.write(0, "more", b"after it", 2);
    rig.settle();
    assert_eq!(rig.tree(0), rig.tree(1));
    assert!(rig.in_sync(0) && rig.in_sync(1));
}

#[test]
fn a_sleeper_of_a_year_with_a_cursor_brings_nothing_back() {
    let mut rig = Rig::new(3);
    fill(&mut rig, 0);
    rig.settle();
    rig.cut(0, 1);
    rig.cut(1, 2);
    rig.remove(0, "f7");
    rig.remove(0, "f8");
    rig.write(1, "f8", b"edited by the sleeper", 5);
    rig.write(0, "new", b"made meanwhile", 5);
    a_year(&mut rig);
    for n in [0, 2] {
        assert!(forgot(&rig, n, "f7") && forgot(&rig, n, "f8"));
    }
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.read(1, "f7"), None);
    // An edit beats a deletion, also a forgotten one.
    let edited = Some(b"edited by the sleeper".to_vec());
    assert_eq!(rig.read(0, "f8"), edited);
    assert_eq!(rig.read(2, "f8"), edited);
    assert_eq!(rig.read(1, "new"), Some(b"made meanwhile".to_vec()));
    assert_eq!(rig.tree(1), rig.tree(0));
    assert_eq!(rig.tree(2), rig.tree(0));
}

#[test]
fn a_sleeper_who_never_met_the_one_it_meets_brings_nothing_back() {
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(0, 1);
    rig.join(0, 2);
    fill(&mut rig, 0);
    rig.settle();
    rig.cut(0, 1);
    rig.remove(0, "f7");
    a_year(&mut rig);
    assert!(forgot(&rig, 2, "f7"));
    rig.cut(0, 2);
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.read(1, "f7"), None);
    assert_eq!(rig.tree(1), rig.tree(2));
}

/// The later joiner never saw the file, nor its deletion.
fn meets_only_a_later_joiner(mut rig: Rig) {
    rig.join(0, 1);
    fill(&mut rig, 0);
    rig.settle();
    rig.cut(0, 1);
    rig.remove(0, "f7");
    a_year(&mut rig);
    assert!(forgot(&rig, 0, "f7"));
    rig.join(0, 2);
    rig.settle();
    assert!(forgot(&rig, 2, "f7"));
    rig.cut(0, 2);
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.read(1, "f7"), None);
    assert_eq!(rig.tree(1).len(), FILES - 1);
    assert_eq!(rig.tree(1), rig.tree(2));
    assert!(rig.in_sync(1) && rig.in_sync(2));
}

#[test]
fn a_sleeper_who_meets_only_a_later_joiner_brings_nothing_back() {
    meets_only_a_later_joiner(Rig::apart(3, usize::MAX));
    // Nor does one that can't sign.
    meets_only_a_later_joiner(Rig::apart(3, 1));
}

#[test]
fn nor_does_one_who_knew_the_later_joiner_when_it_was_empty() {
    let mut rig = Rig::apart(3, usize::MAX);
    rig.join(1, 2);
    rig.settle();
    rig.cut(1, 2);
    meets_only_a_later_joiner(rig);
}

#[test]
fn who_reads_only_takes_nothing_away_by_a_list() {
    // The reader was told of everything by the writer, and holds nothing of it: its index is of another folder.
    let mut rig = Rig::with_read_only(3, 2);
    rig.cut(1, 2);
    fill(&mut rig, 0);
    rig.settle();
    rig.cut(0, 2);
    rig.cut(0, 1);
    rig.join(1, 2);
    rig.settle();
    assert_eq!(rig.tree(1).len(), FILES);
}

#[test]
fn who_comes_late_hears_of_each_record_about_once() {
    let mut rig = Rig::new(4);
    for n in 0..3 {
        rig.cut(n, 3);
    }
    fill(&mut rig, 0);
    rig.settle();
    for n in 0..3 {
        rig.join(n, 3);
    }
    rig.settle();
    assert_eq!(rig.tree(3), rig.tree(0));
    assert_eq!(rig.records_to[3], FILES);
}

#[test]
fn who_is_back_before_it_has_looked_at_its_disk_is_in_sync_again() {
    let mut rig = Rig::new(2);
    fill(&mut rig, 0);
    rig.settle();
    rig.cut(0, 1);
    rig.restart(1);
    rig.join(0, 1);
    rig.settle();
    assert!(rig.in_sync(0) && rig.in_sync(1));
    assert_eq!(rig.records_to, vec![0, FILES]);
}

#[test]
fn made_up_replicas_do_not_fill_what_we_know() {
    let mut rig = Rig::new(2);
    rig.settle();
    for round in 0..4 {
        let made_up = (0..MAX_REPLICAS as u64 - 1).map(|n| Dot {
            replica: ReplicaId(1_000_000 * (round + 1) + n),
            counter: 1,
        });
        let end = EngineMessage::BurstEnd(BurstEnd {
            upto: Seq(0),
            knowledge: made_up.collect(),
            listed: None,
        });
        let (session, message) = (SessionId(1), end);
        rig.queue
            .push_back((1, Input::Message { session, message }));
    }
    rig.settle();
    let known = rig.engines[1].ledger.knowledge().len();
    assert!((1_000..1_100).contains(&known), "{known}");
    // Who really makes changes is known all the same, also to a newcomer: every message is read back here.
    rig.write(0, "a", b"by 0", 1);
    rig.write(1, "b", b"by 1", 1);
    rig.settle();
    rig.cut(0, 1);
    rig.join(0, 1);
    rig.settle();
    assert_eq!(rig.tree(0), rig.tree(1));
    let ours = rig.engines[1].ledger.knowledge();
    assert!(ours.counter(ReplicaId(1)) > 0 && ours.counter(ReplicaId(2)) > 0);
}
