//! What is decided about paths, case by case; [`model`] has all cases of two devices.

mod model;

use std::time::Duration;

use sync_core::ids::SessionId;

use super::{HOLD, PathClass, PathFacts, PathOutput, Paths, RETIRE_FOR, Word};

const LOW: [u8; 32] = [1; 32];
const HIGH: [u8; 32] = [2; 32];
const NOW: Duration = Duration::from_secs(1_000);

fn facts(class: PathClass, host: u8) -> PathFacts {
    PathFacts {
        class,
        by_system: true,
        remote: Some([10, 0, 0, host].into()),
        boot_nonce: 7,
    }
}

fn id(n: u64) -> SessionId {
    SessionId(n)
}

fn outputs(paths: &mut Paths) -> Vec<PathOutput> {
    std::iter::from_fn(|| paths.poll_output()).collect()
}

fn chooser() -> Paths {
    Paths::new(&LOW, &HIGH)
}

fn follower() -> Paths {
    Paths::new(&HIGH, &LOW)
}

#[test]
fn the_only_path_is_used_without_a_word() {
    for mut paths in [chooser(), follower()] {
        paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
        assert_eq!(outputs(&mut paths), [PathOutput::Use(id(1))]);
        assert_eq!(paths.next_timeout(), None);
    }
}

#[test]
fn a_nearer_path_takes_over_and_the_other_is_kept() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Direct, 1), NOW);
    outputs(&mut paths);
    paths.handle_up(id(2), facts(PathClass::Lan, 2), NOW);
    assert_eq!(
        outputs(&mut paths),
        [
            PathOutput::Probe(id(1)),
            PathOutput::Use(id(2)),
            PathOutput::Say(id(2), Word::Use(1_000_000)),
            PathOutput::Say(id(1), Word::Standby),
        ]
    );
    paths.handle_heard(id(1), NOW);
    assert_eq!(outputs(&mut paths), []);
}

#[test]
fn a_second_dial_is_retired_once_the_first_answers() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Lan, 1), NOW);
    let all = outputs(&mut paths);
    assert!(all.contains(&PathOutput::Probe(id(1))));
    assert!(!all.contains(&PathOutput::Say(id(2), Word::Retire)));
    paths.handle_heard(id(1), NOW);
    let retired = [
        PathOutput::Say(id(2), Word::Retire),
        PathOutput::Drain(id(2)),
    ];
    let all = outputs(&mut paths);
    assert!(retired.iter().all(|o| all.contains(o)), "{all:?}");
    paths.handle_drained(id(2), NOW);
    assert_eq!(outputs(&mut paths), []);
    paths.handle_word(id(2), Word::Retire, NOW);
    let all = outputs(&mut paths);
    assert_eq!(all, [PathOutput::Lost(id(2)), PathOutput::Close(id(2))]);
}

#[test]
fn what_is_never_drained_ends_nevertheless() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Lan, 1), NOW);
    paths.handle_heard(id(1), NOW);
    outputs(&mut paths);
    paths.handle_timeout(NOW + RETIRE_FOR);
    assert!(outputs(&mut paths).contains(&PathOutput::Close(id(2))));
}

#[test]
fn a_first_that_is_dead_gives_way_to_the_second() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Lan, 1), NOW);
    outputs(&mut paths);
    paths.handle_quiet(id(1), NOW);
    let all = outputs(&mut paths);
    let used = all.iter().position(|o| *o == PathOutput::Use(id(2)));
    let lost = all.iter().position(|o| *o == PathOutput::Lost(id(1)));
    assert!(used.is_some() && used < lost, "{all:?}");
}

#[test]
fn who_was_started_anew_has_one_path() {
    for mut paths in [chooser(), follower()] {
        paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
        paths.handle_up(id(2), facts(PathClass::Lan, 2), NOW);
        outputs(&mut paths);
        let anew = PathFacts {
            boot_nonce: 8,
            ..facts(PathClass::Relay, 3)
        };
        paths.handle_up(id(3), anew, NOW);
        let all = outputs(&mut paths);
        assert_eq!(paths.used(), Some(id(3)));
        assert!(all.contains(&PathOutput::Close(id(1))), "{all:?}");
        assert!(all.contains(&PathOutput::Close(id(2))), "{all:?}");
        let used = all.iter().position(|o| *o == PathOutput::Use(id(3)));
        let lost = all.iter().position(|o| *o == PathOutput::Lost(id(1)));
        assert!(used < lost, "{all:?}");
    }
}

#[test]
fn equals_are_changed_slowly() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Direct, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Direct, 2), NOW);
    let mut now = NOW;
    while paths.used() == Some(id(1)) && now < NOW + 3 * HOLD {
        paths.handle_round_trip(id(1), Duration::from_millis(100));
        paths.handle_round_trip(id(2), Duration::from_millis(74));
        now = paths.next_timeout().unwrap();
        paths.handle_timeout(now);
    }
    let took = now - NOW;
    assert!(
        took >= HOLD && took <= HOLD + Duration::from_secs(10),
        "{took:?}"
    );
    // What is a little faster changes nothing.
    for _ in 0..100 {
        paths.handle_round_trip(id(1), Duration::from_millis(60));
        now = paths.next_timeout().unwrap();
        paths.handle_timeout(now);
    }
    assert_eq!(paths.used(), Some(id(2)));
}

#[test]
fn the_follower_goes_where_it_is_told_and_back() {
    let mut paths = follower();
    paths.handle_up(id(1), facts(PathClass::Direct, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Direct, 2), NOW);
    paths.handle_word(id(2), Word::Use(5), NOW);
    assert_eq!(paths.used(), Some(id(2)));
    // An older word that took longer.
    paths.handle_word(id(1), Word::Use(4), NOW);
    assert_eq!(paths.used(), Some(id(2)));
    outputs(&mut paths);
    paths.handle_quiet(id(2), NOW);
    let all = outputs(&mut paths);
    assert!(
        all.contains(&PathOutput::Say(id(1), Word::Use(0))),
        "{all:?}"
    );
    assert!(all.contains(&PathOutput::Lost(id(2))), "{all:?}");
    paths.handle_heard(id(2), NOW);
    assert_eq!(paths.used(), Some(id(2)));
}

#[test]
fn the_last_that_lives_is_not_ended_for_a_choice() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Lan, 1), NOW);
    paths.handle_heard(id(1), NOW);
    outputs(&mut paths);
    paths.handle_quiet(id(1), NOW);
    assert_eq!(paths.used(), Some(id(2)));
    paths.handle_word(id(2), Word::Retire, NOW);
    paths.handle_drained(id(2), NOW);
    paths.handle_timeout(NOW + RETIRE_FOR);
    let all = outputs(&mut paths);
    assert!(!all.contains(&PathOutput::Close(id(2))), "{all:?}");
}

#[test]
fn a_retired_path_is_kept_while_no_other_answers() {
    let mut paths = chooser();
    paths.handle_up(id(1), facts(PathClass::Lan, 1), NOW);
    paths.handle_up(id(2), facts(PathClass::Lan, 1), NOW);
    paths.handle_heard(id(1), NOW);
    outputs(&mut paths);
    paths.handle_quiet(id(2), NOW);
    paths.handle_quiet(id(1), NOW);
    paths.handle_timeout(NOW + RETIRE_FOR);
    let all = outputs(&mut paths);
    assert!(!all.contains(&PathOutput::Close(id(2))), "{all:?}");
    paths.handle_heard(id(2), NOW + RETIRE_FOR);
    assert_eq!(paths.used(), Some(id(2)));
}
