//! One rule at a time.

use super::*;

pub(super) const SEC: Duration = Duration::from_secs(1);

/// A fetcher with these many peers.
pub(super) fn fetcher(peers: u64) -> Fetcher {
    let mut f = Fetcher::new(7);
    (1..=peers).for_each(|number| f.add_peer(s(number), Duration::ZERO));
    f
}

/// Brings a big content to where its chunks are asked for: nothing of it is here. Returns the first requests.
pub(super) fn begin(f: &mut Fetcher, manifest: &Manifest, now: Duration) -> Vec<FetchOutput> {
    loop {
        let outputs = drain(f, now);
        for output in &outputs {
            match output {
                FetchOutput::NeedPages(hashes) => {
                    for hash in hashes {
                        let page = manifest.pages.iter().find(|page| page.hash == *hash);
                        f.supply_page(*hash, page.map(|page| page.bytes.clone()));
                    }
                }
                FetchOutput::Temp(TempJob::Check { content, .. }) => {
                    f.handle_temp_checked(*content, Vec::new());
                }
                FetchOutput::Temp(TempJob::CopyLocal {
                    content, chunks, ..
                }) => {
                    let none = chunks.iter().map(|(index, ..)| (*index, false)).collect();
                    f.handle_local(*content, none);
                }
                _ => {}
            }
        }
        if !requests(&outputs).is_empty() || outputs.is_empty() {
            return outputs;
        }
    }
}

/// The numbers of the chunks asked for.
fn asked(outputs: &[FetchOutput], manifest: &Manifest) -> Vec<(SessionId, usize)> {
    let objects = requests(outputs)
        .into_iter()
        .flat_map(|(session, request)| {
            request
                .objects
                .into_iter()
                .map(move |object| (session, object.hash))
        });
    let index = |hash| {
        manifest
            .chunks
            .iter()
            .position(|chunk| chunk.hash == hash)
            .expect("one")
    };
    objects
        .map(|(session, hash)| (session, index(hash)))
        .collect()
}

#[test]
fn small_ones_ride_together() {
    let mut f = fetcher(1);
    for name in 0..1000 {
        let (root, bytes) = small(name, 100);
        f.want(root, bytes.len() as u64, &[s(1)], Duration::ZERO);
    }
    assert!(f.capacity());
    let sent = requests(&drain(&mut f, Duration::ZERO));
    let sizes: Vec<_> = sent
        .iter()
        .map(|(_, request)| request.objects.len())
        .collect();
    assert_eq!(
        sizes,
        [256, 256, 256],
        "the rest isn't worth a request while others are queued"
    );
    assert_eq!(
        sent[0].1.objects[5].hash,
        small(5, 100).0.hash,
        "in order of want"
    );
    for index in 0..256 {
        f.handle_object(
            s(1),
            sent[0].1.id,
            index,
            Some(small(index as u64, 100).1),
            MS,
        );
    }
    let outputs = drain(&mut f, MS);
    assert_eq!(
        outputs
            .iter()
            .filter(|o| matches!(o, FetchOutput::SmallDone { .. }))
            .count(),
        256
    );
    assert!(requests(&outputs).is_empty());
    for index in 0..256 {
        f.handle_object(
            s(1),
            sent[1].1.id,
            index,
            Some(small(256 + index as u64, 100).1),
            MS,
        );
    }
    assert_eq!(requests(&drain(&mut f, MS))[0].1.objects.len(), 1000 - 768);
}

#[test]
fn one_complete_peer_is_asked_in_order() {
    let (manifest, _) = big(&(0..60).collect::<Vec<_>>());
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let order = asked(&begin(&mut f, &manifest, Duration::ZERO), &manifest);
    assert_eq!(
        order,
        (0..60).map(|index| (s(1), index)).collect::<Vec<_>>()
    );
    assert!(f.status().peers[0].in_flight <= 1 << 20);
}

#[test]
fn the_rarest_comes_first_among_unfinished_peers() {
    let (manifest, _) = big(&(0..200).collect::<Vec<_>>());
    let (content, size) = (manifest.root, manifest.size);
    let starts: BTreeSet<_> = (0..5)
        .map(|seed| {
            let mut f = Fetcher::new(seed);
            (1..=3).for_each(|number| f.add_peer(s(number), Duration::ZERO));
            f.want(content, size, &[s(1)], Duration::ZERO);
            // Both unfinished peers hold 0..188, one of them 192..200 too.
            let mut bits = vec![0xff; 23];
            bits.push(0xf0);
            f.handle_have(
                s(2),
                &Have {
                    content,
                    whole: false,
                    first: 0,
                    bits: bits.clone(),
                },
            );
            bits.push(0xff);
            f.handle_have(
                s(3),
                &Have {
                    content,
                    whole: false,
                    first: 0,
                    bits,
                },
            );
            let outputs = begin(&mut f, &manifest, Duration::ZERO);
            let order = asked(&outputs, &manifest);
            let from_whole: Vec<_> = order
                .iter()
                .filter(|(p, _)| *p == s(1))
                .map(|(_, i)| *i)
                .collect();
            let mut first = from_whole[..12].to_vec();
            first.sort_unstable();
            assert_eq!(first, (188..200).collect::<Vec<_>>(), "{from_whole:?}");
            assert!(order.iter().all(|(p, i)| *p != s(2) || *i < 188));
            from_whole[12]
        })
        .collect();
    assert!(starts.len() > 2, "a random start: {starts:?}");
}

#[test]
fn equal_chunks_are_asked_for_once() {
    let (manifest, chunks) = big(&[1, 2, 1, 1, 3, 2]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let outputs = begin(&mut f, &manifest, Duration::ZERO);
    let (session, request) = requests(&outputs).remove(0);
    assert_eq!(request.objects.len(), 3);
    for (index, object) in request.objects.iter().enumerate() {
        f.handle_object(
            session,
            request.id,
            index,
            Some(chunks[&object.hash].clone()),
            MS,
        );
    }
    let outputs = drain(&mut f, MS);
    let mut places: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            FetchOutput::Temp(TempJob::Write { index, offset, .. }) => Some((*index, *offset)),
            _ => None,
        })
        .collect();
    places.sort_unstable();
    assert_eq!(
        places,
        (0..6).map(|i| (i, u64::from(i) << 14)).collect::<Vec<_>>()
    );
    assert_eq!(f.status().in_flight, 3 << 14, "until written");
    (0..6).for_each(|index| f.handle_written(manifest.root, index, true));
    let outputs = drain(&mut f, MS);
    assert!(matches!(&outputs[..], [FetchOutput::BigDone { pages, .. }] if pages.len() == 1));
    assert!(f.is_idle());
    assert_eq!((f.status().in_flight, f.next_timeout()), (0, None));
}

#[test]
fn what_is_here_already_is_not_asked_for() {
    let (manifest, _) = big(&[1, 2, 3, 4]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let _ = drain(&mut f, MS);
    f.supply_page(manifest.root.hash, Some(manifest.pages[0].bytes.clone()));
    let _ = drain(&mut f, MS);
    f.handle_temp_checked(manifest.root, vec![true, false]);
    let outputs = drain(&mut f, MS);
    let [FetchOutput::Temp(TempJob::CopyLocal { chunks, .. })] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!(
        chunks.iter().map(|(index, ..)| *index).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(f.progress(manifest.root), Some((1 << 14, 1 << 16)));
    f.handle_local(
        manifest.root,
        vec![(1, true), (2, false), (3, true), (3, false), (99, true)],
    );
    let outputs = drain(&mut f, MS);
    assert_eq!(asked(&outputs, &manifest), [(s(1), 2)]);
    assert_eq!(f.status().bytes_missing, 1 << 14);
    f.forget(manifest.root);
    assert_eq!(drain(&mut f, MS), [FetchOutput::Cancel(s(1), vec![0])]);
    f.handle_object(s(1), 0, 0, Some(data(3, 16 << 10)), MS);
    assert!(
        f.is_idle(),
        "what comes for a request taken back is ignored"
    );
}

#[test]
fn impossible_announcements_fail() {
    let mut f = fetcher(1);
    let (root, bytes) = small(1, 100);
    f.want(root, 99, &[s(1)], MS);
    let _ = drain(&mut f, MS);
    f.handle_object(s(1), 0, 0, Some(bytes), MS);
    let outputs = drain(&mut f, MS);
    let size = FetchError::Size;
    assert_eq!(
        outputs,
        [FetchOutput::Failed {
            content: root,
            size: 99,
            error: size
        }]
    );
    f.want(root, 1 << 30, &[s(1)], MS);
    assert!(matches!(
        drain(&mut f, MS)[..],
        [FetchOutput::Failed { .. }]
    ));
    f.want(ContentRoot::empty(), 0, &[], MS);
    assert!(matches!(
        drain(&mut f, MS)[..],
        [FetchOutput::SmallDone { .. }]
    ));
    let (manifest, _) = big(&[1, 2, 3]);
    f.want(manifest.root, manifest.size + 1, &[s(1)], MS);
    let _ = drain(&mut f, MS);
    f.supply_page(manifest.root.hash, Some(manifest.pages[0].bytes.clone()));
    let outputs = drain(&mut f, MS);
    assert!(matches!(
        outputs[..],
        [FetchOutput::Failed {
            error: FetchError::Manifest(_),
            ..
        }]
    ));
    assert!(f.is_idle());
}

#[test]
fn three_bad_objects_drop_a_peer() {
    let mut f = fetcher(2);
    for round in 0..3 {
        let (root, _) = small(round, 100);
        f.want(root, 100, &[s(1)], MS);
        let sent = requests(&drain(&mut f, MS));
        f.add_holder(root, s(2));
        f.handle_object(s(1), sent[0].1.id, 0, Some(data(99, 100)), MS);
        let outputs = drain(&mut f, MS);
        let again = requests(&outputs);
        assert_eq!(again[0].0, s(2), "the other one is asked");
        assert_eq!(outputs.contains(&FetchOutput::Drop(s(1))), round == 2);
        f.handle_object(s(2), again[0].1.id, 0, Some(small(round, 100).1), MS);
        let _ = drain(&mut f, MS);
    }
    assert!(f.rates(s(1)).is_none());
    for _ in 0..3 {
        f.handle_object(s(2), 77, 0, Some(data(1, 1)), MS);
    }
    assert_eq!(
        drain(&mut f, MS),
        [FetchOutput::Drop(s(2))],
        "never asked for"
    );
}

#[test]
fn a_chunk_refused_by_the_disk_is_fetched_elsewhere() {
    let (manifest, _) = big(&[1, 2]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let sent = requests(&begin(&mut f, &manifest, MS));
    f.add_peer(s(2), MS);
    f.add_holder(manifest.root, s(2));
    f.handle_object(s(1), sent[0].1.id, 0, Some(data(9, 16 << 10)), MS);
    assert!(matches!(
        drain(&mut f, MS).last(),
        Some(FetchOutput::Temp(TempJob::Write { index: 0, .. }))
    ));
    f.handle_written(manifest.root, 0, false);
    f.handle_written(manifest.root, 0, false);
    assert_eq!(asked(&drain(&mut f, MS), &manifest), [(s(2), 0)]);
    // A wrong length doesn't even reach the disk.
    f.handle_object(s(1), sent[0].1.id, 1, Some(data(2, 100)), MS);
    assert_eq!(asked(&drain(&mut f, MS), &manifest), [(s(2), 1)]);
}

#[test]
fn silence_moves_what_was_asked_for() {
    let mut f = fetcher(2);
    let (root, bytes) = small(1, 100);
    f.want(root, 100, &[s(1)], Duration::ZERO);
    assert_eq!(requests(&drain(&mut f, Duration::ZERO)).len(), 1);
    f.handle_timeout(29 * SEC);
    assert!(requests(&drain(&mut f, 29 * SEC)).is_empty());
    f.handle_timeout(30 * SEC);
    let outputs = drain(&mut f, 30 * SEC);
    assert!(outputs.contains(&FetchOutput::Cancel(s(1), vec![0])));
    assert!(f.rates(s(1)).expect("there").slow);
    let again = requests(&outputs);
    assert_eq!(again[0].0, s(1), "nobody else holds it");
    f.handle_object(s(1), 0, 0, Some(bytes.clone()), 31 * SEC);
    assert!(drain(&mut f, 31 * SEC).is_empty());
    f.handle_object(s(1), again[0].1.id, 0, Some(bytes), 31 * SEC);
    assert!(matches!(
        drain(&mut f, 31 * SEC)[..],
        [FetchOutput::SmallDone { .. }]
    ));
    assert!(!f.rates(s(1)).expect("there").slow);
}

#[test]
fn an_idle_peer_takes_over_what_is_late() {
    let mut f = fetcher(2);
    let (root, bytes) = small(1, 100);
    f.want(root, 100, &[s(1), s(2)], Duration::ZERO);
    let first = requests(&drain(&mut f, Duration::ZERO));
    assert_eq!(first.len(), 1);
    f.handle_timeout(SEC);
    assert!(drain(&mut f, SEC).is_empty());
    f.handle_timeout(2 * SEC);
    let second = requests(&drain(&mut f, 2 * SEC));
    assert_eq!(second.len(), 1);
    assert_ne!(first[0].0, second[0].0);
    f.handle_timeout(4 * SEC);
    assert!(drain(&mut f, 4 * SEC).is_empty(), "twice is enough");
    f.handle_object(second[0].0, second[0].1.id, 0, Some(bytes.clone()), 5 * SEC);
    let outputs = drain(&mut f, 5 * SEC);
    assert!(outputs.contains(&FetchOutput::Cancel(first[0].0, vec![first[0].1.id])));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, FetchOutput::SmallDone { .. }))
    );
    f.handle_object(first[0].0, first[0].1.id, 0, Some(bytes), 6 * SEC);
    assert!(drain(&mut f, 6 * SEC).is_empty());
    assert_eq!(f.peers[&first[0].0].bad, 0, "without a penalty");
}

#[test]
fn what_nobody_holds_is_asked_about() {
    let mut f = fetcher(2);
    let (root, bytes) = small(1, 100);
    f.want(root, 100, &[s(9)], Duration::ZERO);
    // What its holder says by itself meanwhile isn't asked.
    let (told, _) = small(2, 100);
    f.want(told, 100, &[], Duration::ZERO);
    assert!(drain(&mut f, MS).is_empty());
    let soon = f.next_timeout().unwrap();
    assert_eq!(soon, 400 * MS);
    f.add_holder(told, s(2));
    let outputs = drain(&mut f, soon);
    assert_eq!(outputs[0], FetchOutput::WhoHas(None, vec![root]));
    assert_eq!(requests(&outputs).len(), 1);
    f.forget(told);
    drain(&mut f, soon);
    f.add_peer(s(3), SEC);
    assert_eq!(
        drain(&mut f, SEC),
        [FetchOutput::WhoHas(Some(s(3)), vec![root])]
    );
    assert_eq!(f.next_timeout(), Some(5 * SEC));
    f.handle_timeout(5 * SEC);
    assert_eq!(
        drain(&mut f, 5 * SEC),
        [FetchOutput::WhoHas(None, vec![root])]
    );
    f.handle_have(
        s(2),
        &Have {
            content: root,
            whole: true,
            first: 0,
            bits: vec![],
        },
    );
    let sent = requests(&drain(&mut f, 5 * SEC));
    f.handle_object(s(2), sent[0].1.id, 0, None, 6 * SEC);
    assert!(drain(&mut f, 6 * SEC).is_empty());
    assert_eq!(
        (f.status().without_holder, f.next_timeout()),
        (1, Some(11 * SEC))
    );
    f.add_holder(root, s(1));
    let sent = requests(&drain(&mut f, 6 * SEC));
    f.remove_peer(s(1));
    assert!(drain(&mut f, 6 * SEC).is_empty());
    f.add_holder(root, s(3));
    assert_eq!(requests(&drain(&mut f, 6 * SEC)).len(), 1);
    f.handle_object(s(1), sent[0].1.id, 0, Some(bytes), 6 * SEC);
    assert!(drain(&mut f, 6 * SEC).is_empty(), "that session is over");
}

#[test]
fn those_who_asked_hear_what_comes() {
    let (manifest, chunks) = big(&(0..20).collect::<Vec<_>>());
    let root = manifest.root;
    let mut f = fetcher(2);
    assert_eq!(f.handle_who_has(s(2), root), None);
    f.want(root, manifest.size, &[s(1)], Duration::ZERO);
    let empty = Have {
        content: root,
        whole: false,
        first: 0,
        bits: vec![],
    };
    assert_eq!(f.handle_who_has(s(2), root), Some(empty));
    let (_, request) = requests(&begin(&mut f, &manifest, SEC)).remove(0);
    let arrive = |f: &mut Fetcher, index: usize| {
        let hash = request.objects[index].hash;
        let at = manifest
            .chunks
            .iter()
            .position(|chunk| chunk.hash == hash)
            .expect("one");
        f.handle_object(s(1), request.id, index, Some(chunks[&hash].clone()), SEC);
        let _ = drain(f, SEC);
        f.handle_written(root, at as u32, true);
        at as u64
    };
    let first = arrive(&mut f, 0);
    assert_eq!(f.next_timeout(), Some(500 * MS));
    f.handle_timeout(SEC);
    let news = |first| Have {
        content: root,
        whole: false,
        first,
        bits: vec![0x80],
    };
    assert_eq!(
        drain(&mut f, SEC),
        [FetchOutput::Announce(s(2), news(first))]
    );
    let second = arrive(&mut f, 1);
    f.handle_timeout(SEC + 499 * MS);
    assert!(drain(&mut f, SEC + 499 * MS).is_empty());
    f.handle_timeout(SEC + 500 * MS);
    let outputs = drain(&mut f, SEC + 500 * MS);
    assert_eq!(outputs, [FetchOutput::Announce(s(2), news(second))]);
    let bits = f.handle_who_has(s(2), root).expect("fetched").bits;
    assert_eq!(bits.iter().map(|byte| byte.count_ones()).sum::<u32>(), 2);
}

#[test]
fn a_session_that_rests_answers_to_the_end_and_is_asked_for_nothing_more() {
    let mut f = fetcher(2);
    let (first, bytes) = small(1, 100);
    f.want(first, 100, &[s(1)], Duration::ZERO);
    let sent = requests(&drain(&mut f, Duration::ZERO));
    assert_eq!(sent[0].0, s(1));
    f.rest_peer(s(1));
    // What is under way isn't asked for again, and nothing new is asked there.
    let (second, _) = small(2, 100);
    f.want(second, 100, &[s(1)], MS);
    f.add_holder(first, s(2));
    assert!(requests(&drain(&mut f, MS)).is_empty());
    f.handle_object(s(1), sent[0].1.id, 0, Some(bytes), 2 * MS);
    let outputs = drain(&mut f, 2 * MS);
    assert!(matches!(outputs[..], [FetchOutput::SmallDone { content, .. }] if content == first));
    f.add_holder(second, s(2));
    let sent = requests(&drain(&mut f, 2 * MS));
    assert_eq!((sent.len(), sent[0].0), (1, s(2)));
    // Back in use, it is asked as before.
    f.rest_peer(s(2));
    f.add_peer(s(1), 3 * MS);
    let (third, _) = small(3, 100);
    f.want(third, 100, &[s(1), s(2)], 3 * MS);
    let sent = requests(&drain(&mut f, 3 * MS));
    assert_eq!((sent.len(), sent[0].0), (1, s(1)));
}

#[test]
fn what_a_session_that_rests_left_unanswered_is_asked_elsewhere_when_it_ends() {
    let mut f = fetcher(2);
    let (root, _) = small(1, 100);
    f.want(root, 100, &[s(1)], Duration::ZERO);
    assert_eq!(requests(&drain(&mut f, Duration::ZERO))[0].0, s(1));
    f.rest_peer(s(1));
    f.add_holder(root, s(2));
    assert!(requests(&drain(&mut f, MS)).is_empty());
    f.remove_peer(s(1));
    let sent = requests(&drain(&mut f, MS));
    assert_eq!((sent.len(), sent[0].0), (1, s(2)));
    assert_eq!(
        f.status().in_flight,
        f.rates(s(2)).map_or(0, |r| r.in_flight)
    );
}

#[test]
fn what_was_asked_of_a_silent_session_is_asked_anew_and_its_late_answer_does_no_harm() {
    let mut f = fetcher(2);
    let (root, bytes) = small(1, 100);
    f.want(root, 100, &[s(1), s(2)], Duration::ZERO);
    let first = requests(&drain(&mut f, Duration::ZERO)).remove(0);
    let (used, other) = (first.0, if first.0 == s(1) { s(2) } else { s(1) });
    // One that is still asked isn't given up.
    f.give_up(used);
    assert!(drain(&mut f, MS).is_empty());
    f.rest_peer(used);
    f.give_up(used);
    let outputs = drain(&mut f, MS);
    assert!(outputs.contains(&FetchOutput::Cancel(used, vec![first.1.id])));
    let again = requests(&outputs);
    assert_eq!((again.len(), again[0].0), (1, other));
    f.handle_object(used, first.1.id, 0, Some(bytes.clone()), 2 * MS);
    assert_eq!(f.peers[&used].bad, 0);
    // Back in use, the numbers of its requests go on.
    f.add_peer(used, 3 * MS);
    f.rest_peer(other);
    let (next, _) = small(2, 100);
    f.want(next, 100, &[used], 3 * MS);
    let sent = requests(&drain(&mut f, 3 * MS));
    assert_eq!(sent[0].0, used);
    assert_ne!(sent[0].1.id, first.1.id);
}
