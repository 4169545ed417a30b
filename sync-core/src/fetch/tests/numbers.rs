//! Small contents asked for by the holder's numbers.

use super::rules::{SEC, fetcher};
use super::*;
use crate::{ids::Seq, message::Contents};

fn contents(outputs: &[FetchOutput]) -> Vec<(SessionId, Contents)> {
    let send = |output: &FetchOutput| match output {
        FetchOutput::SendContents(session, contents) => Some((*session, contents.clone())),
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

/// Wants small contents of session 1, each under this number or, for 0, under none.
fn want(f: &mut Fetcher, numbers: &[u64]) {
    for (name, number) in (0..).zip(numbers) {
        let (root, bytes) = small(name, 100);
        f.want(root, bytes.len() as u64, &[s(1)], Duration::ZERO);
        if *number > 0 {
            f.name_at(root, s(1), Seq(*number));
        }
    }
}

fn numbers(contents: &Contents) -> Vec<u64> {
    contents.numbers.iter().map(|seq| seq.0).collect()
}

#[test]
fn what_has_numbers_is_asked_for_by_them_in_their_order() {
    let mut f = fetcher(1);
    want(&mut f, &[30, 10, 0, 20]);
    let outputs = drain(&mut f, Duration::ZERO);
    let (_, asked) = &contents(&outputs)[0];
    assert_eq!(numbers(asked), [10, 20, 30]);
    let (_, named) = &requests(&outputs)[0];
    assert_eq!(named.objects[0].hash, small(2, 100).0.hash);
    assert_ne!(asked.id, named.id);
    for (index, name) in [1, 3, 0].into_iter().enumerate() {
        f.handle_object(s(1), asked.id, index, Some(small(name, 100).1), MS);
    }
    let outputs = drain(&mut f, MS);
    let done = |o: &FetchOutput| matches!(o, FetchOutput::SmallDone { .. });
    assert_eq!(outputs.iter().filter(|o| done(o)).count(), 3);
}

#[test]
fn a_thousand_ride_in_one_question() {
    let mut f = fetcher(1);
    let all: Vec<u64> = (1..=1_500).collect();
    want(&mut f, &all);
    let asked = contents(&drain(&mut f, Duration::ZERO));
    assert_eq!(asked[0].1.numbers.len(), 512, "a quarter of the window");
    assert_eq!(numbers(&asked[1].1), (513..=1_024).collect::<Vec<_>>());
}

#[test]
fn what_is_not_there_under_its_number_is_asked_for_by_hash() {
    let mut f = fetcher(1);
    want(&mut f, &[5, 6]);
    let (_, asked) = contents(&drain(&mut f, Duration::ZERO)).remove(0);
    f.handle_object(s(1), asked.id, 0, None, MS);
    // Another content than the one that was told of.
    f.handle_object(s(1), asked.id, 1, Some(small(9, 100).1), MS);
    let outputs = drain(&mut f, MS);
    assert!(contents(&outputs).is_empty());
    let (_, request) = requests(&outputs).remove(0);
    assert_eq!(request.objects.len(), 2);
    for (index, name) in [0, 1].into_iter().enumerate() {
        f.handle_object(s(1), request.id, index, Some(small(name, 100).1), 2 * MS);
    }
    drain(&mut f, 2 * MS);
    assert_eq!(f.status().wanted, 0);
}

#[test]
fn one_number_for_two_contents_is_asked_for_twice() {
    let mut f = fetcher(1);
    want(&mut f, &[5, 5, 6]);
    let asked = contents(&drain(&mut f, Duration::ZERO));
    let asked: Vec<_> = asked.iter().map(|(_, asked)| numbers(asked)).collect();
    assert_eq!(asked, [vec![5, 6], vec![5]]);
}

#[test]
fn who_sends_wrong_contents_without_end_is_dropped() {
    let mut f = fetcher(1);
    let all: Vec<u64> = (1..=MAX_ODD.into()).collect();
    want(&mut f, &all);
    let asked = contents(&drain(&mut f, Duration::ZERO));
    let mut dropped = Vec::new();
    for (_, asked) in asked {
        for index in 0..asked.numbers.len() {
            f.handle_object(s(1), asked.id, index, Some(Bytes::from_static(b"lie")), MS);
            dropped.extend(drain(&mut f, MS));
        }
    }
    assert!(dropped.contains(&FetchOutput::Drop(s(1))));
}

#[test]
fn whoever_else_holds_it_is_asked_when_the_first_goes() {
    let mut f = fetcher(2);
    want(&mut f, &[5, 6, 7]);
    assert_eq!(contents(&drain(&mut f, Duration::ZERO)).len(), 1);
    for name in 0..3 {
        let root = small(name, 100).0;
        f.add_holder(root, s(2));
        f.name_at(root, s(2), Seq(70 - name));
    }
    f.remove_peer(s(1));
    let asked = contents(&drain(&mut f, SEC));
    assert_eq!((asked[0].0, numbers(&asked[0].1)), (s(2), vec![68, 69, 70]));
    // A number of one who isn't a holder, or isn't there, names nothing.
    let (root, bytes) = small(8, 100);
    f.want(root, bytes.len() as u64, &[], SEC);
    f.name_at(root, s(2), Seq(3));
    f.name_at(root, s(9), Seq(3));
    assert!(contents(&drain(&mut f, SEC)).is_empty());
}
