//! Carries what a session receives through the door it is for.
//!
//! One task for each session reads events, decodes messages and puts the objects of answers together, off
//! the engine's thread. Requests go to the server of objects, which bounds what may wait; what is for sessions
//! and addresses goes to [`PeersActor`](super::peers::PeersActor); all else to the folder. It hands the next
//! piece over only when the folder has handled the last one: a slow folder slows its peer down and doesn't fill
//! our memory. Everything from the peer is bounded here before it is kept.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Message as ActorMessage, Recipient};
use bytes::Bytes;
use sync_core::{
    engine::Arrival,
    ids::SessionId,
    message::{MAX_IN_FLIGHT, MAX_OBJECT, Message, MessageError, NetMessage, ObjectReader},
};
use sync_net::{Event, Goodbye, stream::SessionHandle};
use tokio::sync::mpsc;
use tracing::warn;

use super::PeerInfo;
use crate::folder::{
    door::{FromPeer, Received},
    requests::Requests,
};

/// More answers than this don't arrive at once: we never ask so much of one peer.
const MAX_ANSWERS: usize = 1_024;
/// More bytes than this of unfinished objects aren't kept for one peer.
const MAX_HELD: u64 = MAX_IN_FLIGHT + MAX_OBJECT as u64;

/// What concerns a session itself.
#[derive(Debug, ActorMessage)]
#[rtype(result = "()")]
pub(crate) struct FromSession {
    pub(crate) session: SessionId,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// The peer says something about sessions or addresses.
    Said(NetMessage),
    /// It doesn't answer.
    Quiet,
    /// It does, after a probe or silence.
    Heard,
}

/// Where things go.
pub(super) struct Doors {
    pub(super) folder: Recipient<FromPeer>,
    pub(super) objects: Requests,
    pub(super) net: Recipient<FromSession>,
}

/// Runs until the session or the folder is over.
pub(super) async fn run(
    mut events: mpsc::Receiver<Event>,
    info: Arc<PeerInfo>,
    handle: SessionHandle,
    doors: Doors,
) {
    let mut answers = Answers::default();
    while let Some(event) = events.recv().await {
        let done = match event {
            Event::Control(bytes) => {
                info.count_received(bytes.len());
                match Message::decode(&bytes) {
                    Ok(message) => doors.hand_over(info.session, message).await,
                    Err(error) => Err(Stop::Violation(error)),
                }
            }
            Event::Bulk {
                request,
                data,
                last,
            } => {
                info.count_received(data.len());
                match answers.take(request, &data, last) {
                    Ok(objects) if objects.is_empty() => Ok(()),
                    Ok(objects) => doors.tell(info.session, Received::Objects(objects)).await,
                    Err(error) => Err(Stop::Violation(error)),
                }
            }
            Event::Quiet => doors.news(info.session, News::Quiet).await,
            Event::Heard => doors.news(info.session, News::Heard).await,
            Event::BulkDrained | Event::Established(_) | Event::Closed(_) => Ok(()),
        };
        match done {
            Ok(()) => {}
            Err(Stop::Gone) => return,
            Err(Stop::Violation(error)) => {
                warn!(peer = %info.peer, %error, "a peer broke the protocol; its session is closed");
                handle.close(Goodbye::Violation);
                return;
            }
        }
    }
}

/// Why reading ends.
enum Stop {
    /// Nobody takes anything any more.
    Gone,
    /// The peer breaks the rules.
    Violation(MessageError),
}

impl Doors {
    async fn hand_over(&self, session: SessionId, message: Message) -> Result<(), Stop> {
        match message {
            Message::Engine(message) => self.tell(session, Received::Message(message)).await,
            Message::Objects(message) => match self.objects.take(message) {
                true => Ok(()),
                false => Err(Stop::Violation(MessageError::TooMany)),
            },
            Message::Net(message) => self.news(session, News::Said(message)).await,
            Message::Unknown(_) => Ok(()),
        }
    }

    async fn news(&self, session: SessionId, news: News) -> Result<(), Stop> {
        let told = self.net.send(FromSession { session, news }).await;
        told.map_err(|_| Stop::Gone)
    }

    async fn tell(&self, session: SessionId, received: Received) -> Result<(), Stop> {
        let told = self.folder.send(FromPeer { session, received }).await;
        told.map_err(|_| Stop::Gone)
    }
}

/// The answers that are arriving.
#[derive(Debug, Default)]
struct Answers {
    open: BTreeMap<u32, Answer>,
    held: u64,
}

#[derive(Debug, Default)]
struct Answer {
    reader: ObjectReader,
    next: usize,
    held: u64,
}

impl Answers {
    fn take(
        &mut self,
        request: u32,
        data: &Bytes,
        last: bool,
    ) -> Result<Vec<Arrival>, MessageError> {
        if !self.open.contains_key(&request) && self.open.len() >= MAX_ANSWERS {
            return Err(MessageError::TooMany);
        }
        let answer = self.open.entry(request).or_default();
        answer.reader.push(data);
        answer.held += data.len() as u64;
        self.held += data.len() as u64;
        let mut objects = Vec::new();
        while let Some(object) = answer.reader.next_object()? {
            let taken = 4 + object.as_ref().map_or(0, |o| o.len() as u64);
            answer.held = answer.held.saturating_sub(taken);
            self.held = self.held.saturating_sub(taken);
            objects.push(Arrival {
                request,
                index: answer.next,
                object,
            });
            answer.next += 1;
        }
        if last && let Some(done) = self.open.remove(&request) {
            self.held = self.held.saturating_sub(done.held);
            if done.held > 0 {
                return Err(MessageError::Malformed(
                    "an answer ends within an object".into(),
                ));
            }
        }
        if self.held > MAX_HELD {
            return Err(MessageError::TooMany);
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::message::object_head;

    fn answer(objects: &[Option<&'static [u8]>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for object in objects {
            let object = object.map(Bytes::from_static);
            bytes.extend_from_slice(&object_head(object.as_ref()));
            bytes.extend_from_slice(object.as_deref().unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn objects_are_put_together_from_any_pieces() {
        let bytes = answer(&[Some(b"hello"), None, Some(b""), Some(b"world")]);
        for cut in 0..bytes.len() {
            let mut answers = Answers::default();
            let (a, b) = bytes.split_at(cut);
            let mut got = answers.take(9, &Bytes::copy_from_slice(a), false).unwrap();
            got.extend(answers.take(9, &Bytes::copy_from_slice(b), true).unwrap());
            let shown: Vec<_> = got
                .iter()
                .map(|o| (o.request, o.index, o.object.as_deref()))
                .collect();
            let want: [(u32, usize, Option<Bytes>); 4] = [
                (9, 0, Some(Bytes::from_static(b"hello"))),
                (9, 1, None),
                (9, 2, Some(Bytes::new())),
                (9, 3, Some(Bytes::from_static(b"world"))),
            ];
            let want: Vec<_> = want
                .iter()
                .map(|(r, i, o)| (*r, *i, o.as_deref()))
                .collect();
            assert_eq!(shown, want);
            assert!(answers.open.is_empty() && answers.held == 0);
        }
    }

    #[test]
    fn torn_endless_and_too_many_answers_end_the_session() {
        let mut answers = Answers::default();
        let torn = Bytes::from(answer(&[Some(b"hello")])).slice(..6);
        assert!(answers.take(1, &torn, true).is_err());
        let mut answers = Answers::default();
        for request in 0..MAX_ANSWERS as u32 {
            answers
                .take(request, &Bytes::from_static(&[0]), false)
                .unwrap();
        }
        assert!(
            answers
                .take(u32::MAX, &Bytes::from_static(&[0]), false)
                .is_err()
        );
        let mut answers = Answers::default();
        let big = Bytes::from([&MAX_OBJECT.to_be_bytes()[..], &vec![0; 3 << 20]].concat());
        let refused = (0..20).any(|request| answers.take(request, &big, false).is_err());
        assert!(refused, "unfinished objects are bounded");
    }
}
