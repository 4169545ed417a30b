//! What two peers say to each other once a session stands.
//!
//! Control messages are CBOR: an array of a number and a body with numbered fields, of which unknown ones are
//! skipped. Everything is bounded before it is used. Chunk bytes don't travel in messages: they are the raw
//! answer to an [`ObjectMessage::Request`] or an [`ObjectMessage::Contents`], read by [`ObjectReader`].
//!
//! Each message has one [`Door`], and its number alone says which:
//!
//! | numbers | door | who takes it |
//! |---|---|---|
//! | 0 to 31 | [`Door::Engine`] | the folder's engine |
//! | 32 to 63 | [`Door::Objects`] | the server of objects of the session |
//! | 64 to 127 | [`Door::Net`] | whoever keeps the sessions; bodies are opaque here |
//! | others | none | nobody |
//!
//! A number that a door doesn't know is ignored, so later versions may add to each.

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode, Encoder, bytes::ByteVec};
use thiserror::Error;

use crate::{chunk::ContentHash, dots::Dots, manifest::ContentRoot};

pub mod announce;
pub mod answer;
pub mod contents;
pub mod index;

pub use announce::{Announce, Change, Facts};
pub use answer::{ObjectReader, object_head};
pub use contents::Contents;
pub use index::{
    Aside, Ask, BurstEnd, Head, Listed, MAX_MISSING, MAX_RECORDS, MAX_STUBS, Missing, Progress,
    Records, Stub,
};

/// Largest control message, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Most objects in one request.
pub const MAX_OBJECTS: usize = 1_024;
/// Most contents asked for or answered in one message.
pub const MAX_CONTENTS: usize = 1_024;
/// Largest object (a chunk of the largest size class).
pub const MAX_OBJECT: u32 = 4 << 20;
/// Bytes of objects that a peer may have under way to us at once.
pub const MAX_IN_FLIGHT: u64 = 32 << 20;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message of {0} bytes; at most 1 MiB is allowed")]
    TooLarge(usize),
    /// Not the encoding of a message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// More items than the message may have.
    #[error("a message has more items than allowed")]
    TooMany,
    /// An object is longer than it may be.
    #[error("an object of {0} bytes was announced; at most 4 MiB is allowed")]
    ObjectTooLarge(u32),
}

/// Which part of a node takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The folder's engine: index exchange, and who holds what.
    Engine,
    /// The server of objects: what a peer asks for, and takes back.
    Objects,
    /// Whoever keeps sessions and addresses.
    Net,
}

impl Door {
    /// The door of messages with this number; `None` if it is kept for later.
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            0..=31 => Some(Self::Engine),
            32..=63 => Some(Self::Objects),
            64..=127 => Some(Self::Net),
            _ => None,
        }
    }
}

/// A control message, by the door it goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// For the folder's engine.
    Engine(EngineMessage),
    /// For the server of objects.
    Objects(ObjectMessage),
    /// For whoever keeps the sessions.
    Net(NetMessage),
    /// A message of a later version: ignored.
    Unknown(u64),
}

/// What one folder's engine says to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineMessage {
    /// First word of each side.
    Head(Head),
    /// Asks for all changes after a number.
    Ask(Ask),
    /// Changes, in order of number.
    Records(Records),
    /// Ends a burst of changes.
    BurstEnd(BurstEnd),
    /// How far the sender has come with our changes.
    Progress(Progress),
    /// Asks which of these contents the peer holds, whole or in part.
    WhoHas(Vec<ContentRoot>),
    /// Says what the sender holds.
    Have(Vec<Have>),
    /// These changes have come to the sender in this session: they needn't be passed on to it. They may not be
    /// durable yet, so this is worth nothing in another session.
    Arrived(Dots),
    /// Asks for what stands behind stubs.
    Missing(Missing),
    /// What stands behind stubs.
    Aside(Aside),
}

/// What is said to a server of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectMessage {
    /// Asks for objects.
    Request(Request),
    /// Takes requests back; what is already under way may still arrive.
    Cancel(Vec<u32>),
    /// Asks for small contents by the receiver's numbers.
    Contents(Contents),
    /// Says that a chunk came wrong.
    BadChunk(BadChunk),
}

/// What those who keep sessions say to each other: read there, opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetMessage {
    /// Its number, from 64 to 127.
    pub number: u8,
    /// Its body, in the encoding that the number says.
    pub body: Bytes,
}

impl From<EngineMessage> for Message {
    fn from(message: EngineMessage) -> Self {
        Self::Engine(message)
    }
}

impl From<ObjectMessage> for Message {
    fn from(message: ObjectMessage) -> Self {
        Self::Objects(message)
    }
}

impl From<NetMessage> for Message {
    fn from(message: NetMessage) -> Self {
        Self::Net(message)
    }
}

/// What a peer holds of one content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// Which content.
    #[n(0)]
    pub content: ContentRoot,
    /// All of it.
    #[n(1)]
    pub whole: bool,
    /// Else the number of the first chunk that `bits` speaks of.
    #[n(2)]
    pub first: u64,
    /// A bit for each chunk from there, most significant first; empty if nothing is held.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub bits: Vec<u8>,
}

/// What an object is. Numbers 2 and up are kept for ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum ObjectKind {
    /// A chunk of a file.
    #[n(0)]
    Chunk,
    /// A manifest page.
    #[n(1)]
    Page,
}

/// Names an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct ObjectId {
    /// What it is.
    #[n(0)]
    pub kind: ObjectKind,
    /// Its hash.
    #[n(1)]
    pub hash: ContentHash,
}

/// Asks for objects. They come in this order as the raw answer under `id`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// The asker's name for the answer.
    #[n(0)]
    pub id: u32,
    /// What it asks for.
    #[n(1)]
    pub objects: Vec<ObjectId>,
}

/// A chunk of an answer has another hash than was asked for. Whoever sent it may have read it unhashed, because the
/// file looked as it did when it was indexed: it reads that chunk again, and hashes it, when it is asked for it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct BadChunk {
    /// The asker's name for the answer.
    #[n(0)]
    pub id: u32,
    /// The hash that was asked for.
    #[n(1)]
    pub hash: ContentHash,
}

impl Message {
    /// The bytes to send.
    pub fn encode(&self) -> Bytes {
        fn with<T: Encode<()>>(number: u64, body: &T) -> Bytes {
            let mut e = Encoder::new(Vec::with_capacity(128));
            // Writing to a vector can't fail.
            let _ = e.array(2).and_then(|e| e.u64(number));
            let _ = e.encode(body);
            e.into_writer().into()
        }
        match self {
            Self::Engine(message) => match message {
                EngineMessage::Head(b) => with(0, b),
                EngineMessage::Ask(b) => with(1, b),
                EngineMessage::Records(b) => with(2, b),
                EngineMessage::BurstEnd(b) => with(3, b),
                EngineMessage::Progress(b) => with(4, b),
                EngineMessage::WhoHas(b) => with(5, b),
                EngineMessage::Have(b) => with(6, b),
                EngineMessage::Arrived(b) => with(7, b),
                EngineMessage::Missing(b) => with(8, b),
                EngineMessage::Aside(b) => with(9, b),
            },
            Self::Objects(message) => match message {
                ObjectMessage::Request(b) => with(32, b),
                ObjectMessage::Cancel(b) => with(33, b),
                ObjectMessage::Contents(b) => with(34, b),
                ObjectMessage::BadChunk(b) => with(35, b),
            },
            Self::Net(NetMessage { number, body }) => {
                with(u64::from(*number), &ByteVec::from(body.to_vec()))
            }
            Self::Unknown(n) => with(*n, &()),
        }
    }

    /// The door it goes through.
    pub fn door(&self) -> Option<Door> {
        match self {
            Self::Engine(_) => Some(Door::Engine),
            Self::Objects(_) => Some(Door::Objects),
            Self::Net(_) => Some(Door::Net),
            Self::Unknown(_) => None,
        }
    }

    /// Reads a message from outside.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError::TooLarge(bytes.len()));
        }
        let mut d = Decoder::new(bytes);
        let malformed = |e: minicbor::decode::Error| MessageError::Malformed(e.to_string());
        if d.array().map_err(malformed)? != Some(2) {
            return Err(MessageError::Malformed("not an array of two".into()));
        }
        let number = d.u64().map_err(malformed)?;
        let message = match number {
            0 => EngineMessage::Head(d.decode().map_err(malformed)?).into(),
            1 => EngineMessage::Ask(d.decode().map_err(malformed)?).into(),
            2 => {
                let records: Records = d.decode().map_err(malformed)?;
                if !records.is_bounded() {
                    return Err(MessageError::TooMany);
                }
                EngineMessage::Records(records).into()
            }
            3 => EngineMessage::BurstEnd(d.decode().map_err(malformed)?).into(),
            4 => EngineMessage::Progress(d.decode().map_err(malformed)?).into(),
            5 => EngineMessage::WhoHas(list(&mut d, MAX_CONTENTS)?).into(),
            6 => EngineMessage::Have(list(&mut d, MAX_CONTENTS)?).into(),
            7 => EngineMessage::Arrived(d.decode().map_err(malformed)?).into(),
            8 => EngineMessage::Missing(Missing(list(&mut d, MAX_MISSING)?)).into(),
            9 => {
                let aside: Aside = d.decode().map_err(malformed)?;
                if !aside.is_bounded() {
                    return Err(MessageError::TooMany);
                }
                EngineMessage::Aside(aside).into()
            }
            32 => {
                let request: Request = d.decode().map_err(malformed)?;
                if request.objects.len() > MAX_OBJECTS {
                    return Err(MessageError::TooMany);
                }
                ObjectMessage::Request(request).into()
            }
            33 => ObjectMessage::Cancel(list(&mut d, MAX_OBJECTS)?).into(),
            34 => ObjectMessage::Contents(d.decode().map_err(malformed)?).into(),
            35 => ObjectMessage::BadChunk(d.decode().map_err(malformed)?).into(),
            number @ 64..=127 => NetMessage {
                number: number as u8,
                body: Bytes::copy_from_slice(d.bytes().map_err(malformed)?),
            }
            .into(),
            n => return Ok(Self::Unknown(n)),
        };
        if d.position() != bytes.len() {
            return Err(MessageError::Malformed("bytes after the end".into()));
        }
        Ok(message)
    }
}

fn list<'b, T: Decode<'b, ()>>(d: &mut Decoder<'b>, max: usize) -> Result<Vec<T>, MessageError> {
    let malformed = |e: minicbor::decode::Error| MessageError::Malformed(e.to_string());
    let n = d.array().map_err(malformed)?;
    let n = n.ok_or_else(|| MessageError::Malformed("list of indefinite length".into()))?;
    if n > max as u64 {
        return Err(MessageError::TooMany);
    }
    (0..n).map(|_| d.decode().map_err(malformed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Generation, ReplicaId, Seq},
        knowledge::Knowledge,
        version::Dot,
    };
    use proptest::prelude::*;

    fn samples() -> Vec<Message> {
        let content = ContentRoot::single(ContentHash::chunk(b"x"));
        let hash = content.hash;
        let dot = Dot {
            replica: ReplicaId(3),
            counter: 9,
        };
        let knowledge: Knowledge = [dot].into_iter().collect();
        let engine = [
            EngineMessage::Head(Head {
                generation: Generation(1),
                last: Seq(2),
                replica: ReplicaId(3),
            }),
            EngineMessage::Ask(Ask {
                generation: Generation(1),
                after: Seq(0),
                newest: None,
                era: 1,
                knowledge: knowledge.clone(),
                listed: true,
            }),
            EngineMessage::Records(Records {
                after: Seq(3),
                upto: Seq(9),
                changes: Vec::new(),
                stubs: vec![Stub {
                    seq: Seq(4),
                    tag: [7; 8],
                    holds: true,
                }],
                holds: [(dot, Seq(8))].into_iter().collect(),
            }),
            EngineMessage::Arrived([dot].into_iter().collect()),
            EngineMessage::BurstEnd(BurstEnd {
                upto: Seq(7),
                knowledge,
                listed: Some(Listed {
                    knowledge: Knowledge::new(),
                    forgot: true,
                }),
            }),
            EngineMessage::Missing(Missing(vec![Seq(3), Seq(9)])),
            EngineMessage::Aside(Aside {
                upto: Seq(9),
                changes: Vec::new(),
            }),
            EngineMessage::Progress(Progress {
                reached: Seq(7),
                files: 1,
                bytes: 2,
            }),
            EngineMessage::WhoHas(vec![content]),
            EngineMessage::Have(vec![Have {
                content,
                whole: false,
                first: 8,
                bits: vec![0x80],
            }]),
        ];
        let objects = [
            ObjectMessage::Request(Request {
                id: 4,
                objects: vec![ObjectId {
                    kind: ObjectKind::Page,
                    hash,
                }],
            }),
            ObjectMessage::Cancel(vec![1, 2]),
            ObjectMessage::BadChunk(BadChunk { id: 7, hash }),
            ObjectMessage::Contents(Contents {
                id: 8,
                numbers: [3, 4, 5, 9].map(Seq).to_vec(),
            }),
        ];
        let net = NetMessage {
            number: 64,
            body: Bytes::from_static(b"opaque"),
        };
        let engine = engine.into_iter().map(Message::from);
        let objects = objects.into_iter().map(Message::from);
        engine.chain(objects).chain([net.into()]).collect()
    }

    #[test]
    fn messages_read_back() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn the_number_alone_says_through_which_door_a_message_goes() {
        for message in samples() {
            let bytes = message.encode();
            let mut d = Decoder::new(&bytes);
            assert_eq!(d.array().unwrap(), Some(2));
            let number = d.u64().unwrap();
            assert_eq!(message.door(), Door::of(number), "{message:?}");
            assert!(message.door().is_some());
        }
        // What no door knows yet reaches nobody.
        for number in [10_u8, 31, 36, 63, 128, 200] {
            let bytes = [0x82, 0x18, number, 0x80];
            let unknown = Message::decode(&bytes).unwrap();
            assert_eq!(unknown, Message::Unknown(number.into()));
            assert_eq!(unknown.door(), None);
        }
    }

    #[test]
    fn what_is_unknown_is_skipped_and_what_is_too_much_refused() {
        assert_eq!(
            Message::decode(&[0x82, 0x18, 200, 0x80]).unwrap(),
            Message::Unknown(200)
        );
        // A Head with a fourth field of a later version.
        assert!(matches!(
            Message::decode(&[0x82, 0, 0x84, 1, 2, 3, 4]),
            Ok(Message::Engine(EngineMessage::Head(_)))
        ));
        let many = Message::from(ObjectMessage::Cancel(vec![0; MAX_OBJECTS + 1])).encode();
        assert_eq!(Message::decode(&many), Err(MessageError::TooMany));
        assert!(matches!(
            Message::decode(&vec![0; MAX_MESSAGE + 1]),
            Err(MessageError::TooLarge(_))
        ));
        // A list that claims four billion items must not be allocated for.
        assert_eq!(
            Message::decode(&[0x82, 5, 0x9a, 0xff, 0xff, 0xff, 0xff]),
            Err(MessageError::TooMany)
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..samples().len()) {
            let _ = Message::decode(&bytes);
            let mut changed = samples()[at].encode().to_vec();
            for (i, b) in bytes.iter().enumerate() {
                let len = changed.len();
                changed[i % len] ^= b;
            }
            let _ = Message::decode(&changed);
        }
    }
}
