//! What swarms decide, on the network of [`world`].

mod world;

use sync_discovery::book::EntryState;

use super::*;
use world::{Event, MS, SECOND, World, key, tag};

/// Two nodes that know each other's address in a folder.
fn pair(folders: u64) -> World {
    let mut world = World::new(2);
    for node in 0..2 {
        world.start(node, folders);
        for n in 0..folders {
            world.find(node, tag(n), 1 - node, Source::KnownHost);
        }
    }
    world
}

#[test]
fn a_hundred_folders_meet_as_soon_as_they_are_open() {
    let mut world = pair(100);
    // They open one after the other, at other times on either side.
    for n in 0..100 {
        world.at(n as u32 * 5 * MS, Event::Up(0, tag(n)));
        world.at((100 - n as u32) * 5 * MS, Event::Up(1, tag(n)));
    }
    world.run(700 * MS);
    for n in 0..100 {
        for node in 0..2 {
            assert_eq!(world.peers(node, tag(n)), [1 - node], "folder {n}");
        }
    }
    // And again after a restart of both.
    for node in 0..2 {
        world.kill(node);
    }
    for node in 0..2 {
        world.start(node, 100);
        for n in 0..100 {
            world.find(node, tag(n), 1 - node, Source::KnownHost);
            world.at(n as u32 * MS, Event::Up(node, tag(n)));
        }
    }
    world.run(400 * MS);
    assert!((0..100).all(|n| world.peers(0, tag(n)) == [1] && world.peers(1, tag(n)) == [0]));
}

#[test]
fn one_restart_brings_everything_back_within_seconds() {
    for knows in [0, 1] {
        let mut world = World::new(2);
        for node in 0..2 {
            world.start(node, 100);
            (0..100).for_each(|n| world.up(node, tag(n)));
        }
        let find = |world: &mut World| {
            (0..100).for_each(|n| world.find(knows, tag(n), 1 - knows, Source::Tracker));
        };
        find(&mut world);
        world.run(60 * SECOND);
        world.kill(1);
        world.run(30 * SECOND);
        assert!(world.peers(0, tag(7)).is_empty());
        world.start(1, 100);
        if knows == 1 {
            find(&mut world);
        }
        (0..100).for_each(|n| world.up(1, tag(n)));
        // Who has to be dialled waits for the next try of one of them, the others follow at once.
        world.run(20 * SECOND);
        let met = (0..100).filter(|n| world.peers(0, tag(*n)) == [1]).count();
        assert_eq!(met, 100, "dialled by {knows}");
    }
}

#[test]
fn one_session_is_left_of_two_whoever_dials_when() {
    for late in 0..12 {
        let mut world = World::new(2);
        for node in 0..2 {
            world.start(node, 1);
            world.up(node, tag(0));
        }
        world.find(0, tag(0), 1, Source::Lan);
        world.run(late * MS);
        world.find(1, tag(0), 0, Source::Lan);
        world.run(2 * SECOND);
        assert_eq!(world.peers(0, tag(0)), [1], "{late}");
        assert_eq!(world.peers(1, tag(0)), [0], "{late}");
        // It stays so, and nobody dials again.
        let dials = world.dials;
        world.run(600 * SECOND);
        assert_eq!((world.peers(0, tag(0)), world.dials), (vec![1], dials));
    }
}

#[test]
fn a_session_waits_a_moment_for_its_folder() {
    for opens in [true, false] {
        let mut world = World::new(2);
        world.start(0, 1);
        world.up(0, tag(0));
        world.start(1, 1);
        world.find(0, tag(0), 1, Source::Lan);
        world.run(5 * SECOND);
        assert!(world.peers(1, tag(0)).is_empty());
        let dials = world.dials;
        if opens {
            world.up(1, tag(0));
            world.run(10 * MS);
            assert_eq!((world.peers(1, tag(0)), world.dials), (vec![0], dials));
        } else {
            // It is told that there is no room, comes again with pauses, and in the end hears nothing.
            world.run(4 * SECOND);
            assert_eq!(world.dials, dials);
            world.run(600 * SECOND);
            assert!(world.peers(1, tag(0)).is_empty() && world.peers(0, tag(0)).is_empty());
            assert!(world.node(1).answered.is_empty());
            assert!((5..40).contains(&world.dials), "{}", world.dials);
            // As soon as it opens they meet, since this side knows the other as well.
            world.find(1, tag(0), 0, Source::Lan);
            world.up(1, tag(0));
            world.run(100 * MS);
            assert_eq!(world.peers(1, tag(0)), [0]);
        }
    }
}

#[test]
fn who_waits_for_folders_is_bounded() {
    let mut world = World::new(1);
    world.start(0, 300);
    let mut come = |folder: u64, n: u8| {
        let facts = Facts {
            folder: tag(folder),
            peer: PeerKey([n; 32]),
            level: Level::ReadWrite,
            remote: SocketAddr::from(([10, 1, 0, n], 50_000)),
            listens: 0,
            path: PathClass::Direct,
            by_system: true,
            boot_nonce: 1,
            dialled: None,
        };
        let swarm = &mut world.node(0).swarm;
        let id = swarm.handle_session(facts, Duration::ZERO);
        let outputs = std::iter::from_fn(|| swarm.poll_output());
        !outputs
            .into_iter()
            .any(|o| matches!(o, Output::TurnAway { session, .. } if session == id))
    };
    assert_eq!((0..50).filter(|n| come(0, *n)).count(), 16);
    assert_eq!((1..300).filter(|folder| come(*folder, 1)).count(), 240);
}

#[test]
fn dropped_dials_and_short_sessions_cost_an_honest_member_little() {
    let mut world = pair(1);
    world.drops = 4;
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
    // Six short sessions one after the other.
    for _ in 0..6 {
        let session = *world.node(0).taken.keys().next().unwrap();
        let now = world.now;
        let (other, end) = world.node(0).ends[&session];
        let run = world.node(other).run;
        world.at(
            Duration::ZERO,
            Event::Over(other, run, end, CloseReason::Disconnected),
        );
        world.with(0, |swarm| {
            swarm.handle_over(session, CloseReason::Disconnected, now)
        });
        world.run(4 * SECOND + 100 * MS);
        assert_eq!(world.peers(0, tag(0)), [1]);
    }
}

#[test]
fn a_peer_that_falls_silent_is_looked_for_before_it_is_given_up() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
    let silent = *world.node(0).taken.keys().next().unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.handle_quiet(silent, now));
    world.run(2 * SECOND + 500 * MS);
    let swarm = &world.node(0).swarm;
    let used = swarm.used(tag(0), key(1));
    assert!(used.is_some() && used != Some(silent), "{used:?}");
    // That it is over at last changes nothing.
    let now = world.now;
    world.with(0, |swarm| {
        swarm.handle_over(silent, CloseReason::Silent, now)
    });
    world.run(5 * SECOND);
    assert_eq!(world.node(0).swarm.used(tag(0), key(1)), used);
}

#[test]
fn when_the_last_that_answers_ends_the_peer_is_looked_for() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    let silent = *world.node(0).taken.keys().next().unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.handle_quiet(silent, now));
    world.run(2 * SECOND + 500 * MS);
    let second = world.node(0).swarm.used(tag(0), key(1)).unwrap();
    assert_ne!(second, silent);
    // That one breaks, and the first is as silent as before.
    let now = world.now;
    let reason = CloseReason::Disconnected;
    world.with(0, |swarm| swarm.handle_over(second, reason, now));
    world.run(2 * SECOND + 500 * MS);
    let third = world.node(0).swarm.used(tag(0), key(1)).unwrap();
    assert!(third != silent && third != second, "{third:?}");
}

#[test]
fn a_session_that_comes_back_ends_the_search() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(5 * SECOND);
    let silent = *world.node(0).taken.keys().next().unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.handle_quiet(silent, now));
    world.run(2 * SECOND + 500 * MS);
    let now = world.now;
    world.with(0, |swarm| swarm.handle_heard(silent, None, now));
    world.run(5 * SECOND);
    let dials = world.dials;
    world.run(60 * SECOND);
    assert_eq!(world.dials, dials, "who is there isn't dialled");
    assert_eq!(world.peers(0, tag(0)), [1]);
}

#[test]
fn who_sends_bad_data_is_refused_for_an_hour() {
    let mut world = pair(2);
    for n in 0..2 {
        world.up(0, tag(n));
        world.up(1, tag(n));
    }
    world.run(SECOND);
    let found =
        |(id, (folder, _)): (&SessionId, &(FolderTag, usize))| (*folder == tag(0)).then_some(*id);
    let session = world.node(0).taken.iter().find_map(found).unwrap();
    let now = world.now;
    world.with(0, |swarm| swarm.ban(session, "bad\nchunks", now));
    world.run(SECOND);
    assert!(
        matches!(&world.node(0).notices[..], [Notice::Banned { peer, reason, .. }]
        if *peer == key(1) && !reason.contains('\n'))
    );
    // In the other folder nothing was proved against it.
    assert_eq!(
        (world.peers(0, tag(0)), world.peers(0, tag(1))),
        (vec![], vec![1])
    );
    let dials = world.dials;
    world.run(3_500 * SECOND);
    assert!(world.peers(0, tag(0)).is_empty());
    // Either side knows the other's address by name: each tries once in 30 s, less a quarter by chance.
    let most = 2 * 3_500 / 22 + 10;
    assert!(world.dials - dials < most, "{}", world.dials - dials);
    world.run(400 * SECOND);
    assert_eq!(world.peers(0, tag(0)), [1]);
}

#[test]
fn a_folder_that_goes_takes_its_sessions_along() {
    let mut world = pair(1);
    world.up(0, tag(0));
    world.up(1, tag(0));
    world.run(SECOND);
    // It is opened anew: they meet again, and a session that is ending doesn't count.
    let now = world.now;
    world.with(0, |swarm| swarm.handle_folder_down(tag(0), now));
    world.run(100 * MS);
    assert!(world.peers(0, tag(0)).is_empty());
    world.up(0, tag(0));
    world.run(100 * MS);
    assert_eq!(
        (world.peers(0, tag(0)), world.peers(1, tag(0))),
        (vec![1], vec![0])
    );
    // It is removed: the other is told so, and isn't dialled nor answered any more.
    world.with(0, |swarm| swarm.remove_folder(tag(0)));
    world.find(0, tag(0), 1, Source::Lan);
    world.run(SECOND);
    assert!(world.node(0).answered.is_empty() && world.node(0).swarm.candidates(tag(0)).is_empty());
    let told = world.node(1).swarm.candidates(tag(0));
    assert!(matches!(
        told[0].state,
        EntryState::Waiting | EntryState::Dialing
    ));
    assert!(world.peers(1, tag(0)).is_empty());
}

#[test]
fn other_addresses_of_the_machine_end_all_pauses() {
    let mut world = World::new(2);
    world.start(0, 1);
    world.up(0, tag(0));
    world.find(0, tag(0), 1, Source::Tracker);
    world.run(200 * SECOND);
    let one = |n: u8| BTreeSet::from([IpAddr::from([192, 0, 2, n])]);
    let now = world.now;
    world.with(0, |swarm| swarm.handle_addresses(one(1), now));
    let dials = world.dials;
    world.run(MS);
    assert_eq!(world.dials, dials, "the first look is no change");
    let now = world.now;
    world.with(0, |swarm| swarm.handle_addresses(one(1), now));
    world.with(0, |swarm| swarm.handle_addresses(one(2), now));
    world.run(MS);
    assert_eq!(world.dials, dials + 1);
}

#[test]
fn a_stop_says_goodbye_and_dials_nobody() {
    let mut world = pair(3);
    (0..2).for_each(|n| {
        world.up(0, tag(n));
        world.up(1, tag(n));
    });
    world.run(SECOND);
    world.with(0, Swarm::stop);
    let dials = world.dials;
    world.find(0, tag(2), 1, Source::Lan);
    world.up(0, tag(2));
    world.run(MS);
    assert!(world.node(0).swarm.is_idle());
    assert_eq!(
        (world.dials, world.node(0).swarm.next_timeout()),
        (dials, None)
    );
}
