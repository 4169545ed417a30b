//! Chunks that come wrong, and what follows for whoever sent them.

use super::rules::{begin, fetcher};
use super::*;
use crate::message::BadChunk;

fn complaints(outputs: &[FetchOutput]) -> Vec<(SessionId, BadChunk)> {
    let complain = |output: &FetchOutput| match output {
        FetchOutput::Complain(session, complaint) => Some((*session, *complaint)),
        _ => None,
    };
    outputs.iter().filter_map(complain).collect()
}

/// A peer answers the first chunk of a request with something else; what follows.
fn answer_wrongly(
    f: &mut Fetcher,
    manifest: &Manifest,
    asked: &(SessionId, Request),
) -> Vec<FetchOutput> {
    let (session, request) = asked;
    let hash = request.objects[0].hash;
    let index = manifest.chunks.iter().position(|c| c.hash == hash).unwrap();
    let len = manifest.chunks[index].len as usize;
    f.handle_object(*session, request.id, 0, Some(data(99, len)), MS);
    drain(f, MS);
    f.handle_written(manifest.root, index as u32, false);
    drain(f, MS)
}

#[test]
fn what_is_wrong_is_told_and_asked_once_more_before_it_counts() {
    let (manifest, _) = big(&[1, 2]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let first = requests(&begin(&mut f, &manifest, MS)).remove(0);
    let outputs = answer_wrongly(&mut f, &manifest, &first);
    let hash = first.1.objects[0].hash;
    let id = first.1.id;
    assert_eq!(complaints(&outputs), [(s(1), BadChunk { id, hash })]);
    assert_eq!(f.peers[&s(1)].bad, 0);
    let complained = outputs
        .iter()
        .position(|o| matches!(o, FetchOutput::Complain(..)));
    let again = outputs
        .iter()
        .position(|o| matches!(o, FetchOutput::Send(..)));
    assert!(complained < again, "the complaint goes before the question");
    let second = requests(&outputs).remove(0);
    assert_eq!(second.1.objects[0].hash, hash);
    let outputs = answer_wrongly(&mut f, &manifest, &second);
    assert!(complaints(&outputs).is_empty());
    assert_eq!(f.peers[&s(1)].bad, 1);
    let third = requests(&outputs).remove(0);
    answer_wrongly(&mut f, &manifest, &third);
    let fourth = (
        s(1),
        Request {
            id: third.1.id + 1,
            ..third.1
        },
    );
    let outputs = answer_wrongly(&mut f, &manifest, &fourth);
    assert!(outputs.contains(&FetchOutput::Drop(s(1))));
}

#[test]
fn somebody_else_is_asked_where_there_is_one() {
    let (manifest, _) = big(&[1, 2]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let first = requests(&begin(&mut f, &manifest, MS)).remove(0);
    f.add_peer(s(2), MS);
    f.add_holder(manifest.root, s(2));
    let outputs = answer_wrongly(&mut f, &manifest, &first);
    assert_eq!(complaints(&outputs).len(), 1);
    let asked = requests(&outputs);
    assert!(asked.iter().all(|(session, _)| *session == s(2)));
    assert_eq!(asked[0].1.objects[0].hash, first.1.objects[0].hash);
}

#[test]
fn who_is_wrong_too_often_has_no_credit_left() {
    let (manifest, _) = big(&[1, 2]);
    let mut f = fetcher(1);
    f.want(manifest.root, manifest.size, &[s(1)], Duration::ZERO);
    let first = requests(&begin(&mut f, &manifest, MS)).remove(0);
    f.peers.get_mut(&s(1)).unwrap().odd = MAX_ODD;
    let outputs = answer_wrongly(&mut f, &manifest, &first);
    assert!(complaints(&outputs).is_empty());
    assert_eq!(f.peers[&s(1)].bad, 1);
}
