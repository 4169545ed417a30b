//! The raw answer to a question for objects: for each, in order, its length as four big-endian bytes and then its
//! bytes; length 2^32 - 1 stands for "I don't hold it".
//!
//! An object that fills much of the piece in which it came is handed on as a part of that piece, not copied.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{MAX_OBJECT, MessageError};

/// Length that stands for "I don't hold it".
const MISSING: u32 = u32::MAX;
/// An object with less than this part of its piece is copied: kept, it would keep the whole piece.
const SHARES: usize = 4;
/// Memory that is taken for an object before its bytes are here.
const FIRST_ROOM: usize = 256 << 10;

/// Puts an object into an answer: its length as four big-endian bytes, then its bytes. The returned
/// head precedes the bytes, so that they need not be copied.
pub fn object_head(object: Option<&Bytes>) -> [u8; 4] {
    object.map_or(MISSING, |o| o.len() as u32).to_be_bytes()
}

/// Reads the objects of one answer from the pieces in which it arrives.
#[derive(Debug, Default)]
pub struct ObjectReader {
    /// What is left of the last piece, and how long that was.
    piece: Bytes,
    piece_len: usize,
    /// The beginning of a head, or of an object, that came in pieces before.
    begun: BytesMut,
    expected: Option<usize>,
}

impl ObjectReader {
    /// A reader at the start of an answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece of the answer. Best after all objects before it were taken out.
    pub fn push(&mut self, piece: &Bytes) {
        self.piece = match self.piece.is_empty() {
            true => piece.clone(),
            false => [&self.piece[..], &piece[..]].concat().into(),
        };
        self.piece_len = self.piece.len();
    }

    /// The next whole object (`None` inside: the peer doesn't hold it), if it has arrived.
    pub fn next_object(&mut self) -> Result<Option<Option<Bytes>>, MessageError> {
        let len = match self.expected {
            Some(len) => len,
            None => {
                let Some(mut head) = self.take(4) else {
                    return Ok(None);
                };
                let len = head.get_u32();
                if len == MISSING {
                    return Ok(Some(None));
                }
                if len > MAX_OBJECT {
                    return Err(MessageError::ObjectTooLarge(len));
                }
                *self.expected.insert(len as usize)
            }
        };
        let object = self.take(len);
        if object.is_some() {
            self.expected = None;
        }
        Ok(object.map(Some))
    }

    /// The next `len` bytes, if they are here.
    fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.begun.is_empty() && self.piece.len() >= len {
            let part = self.piece.split_to(len);
            let kept = len >= self.piece_len / SHARES;
            return Some(match kept {
                true => part,
                false => Bytes::copy_from_slice(&part),
            });
        }
        if self.begun.is_empty() {
            self.begun.reserve(len.min(FIRST_ROOM));
        }
        let missing = len - self.begun.len();
        let more = self.piece.split_to(missing.min(self.piece.len()));
        self.begun.extend_from_slice(&more);
        (self.begun.len() == len).then(|| std::mem::take(&mut self.begun).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_arrive_in_any_pieces() {
        let objects = [
            Some(Bytes::from_static(b"one")),
            None,
            Some(Bytes::new()),
            Some(Bytes::from(vec![7; 1000])),
        ];
        let mut wire = Vec::new();
        for object in &objects {
            wire.extend(object_head(object.as_ref()));
            wire.extend(object.iter().flatten());
        }
        for piece in [1, 2, 3, 7, 64, wire.len()] {
            let (mut reader, mut got) = (ObjectReader::new(), Vec::new());
            for part in wire.chunks(piece) {
                reader.push(&Bytes::copy_from_slice(part));
                while let Some(object) = reader.next_object().unwrap() {
                    got.push(object);
                }
            }
            assert_eq!(got, objects);
            // Also for who takes nothing out before all is in.
            let mut late = ObjectReader::new();
            for part in wire.chunks(piece) {
                late.push(&Bytes::copy_from_slice(part));
            }
            let all = std::iter::from_fn(|| late.next_object().unwrap());
            assert_eq!(all.collect::<Vec<_>>(), objects);
        }
        let mut reader = ObjectReader::new();
        reader.push(&Bytes::copy_from_slice(&(MAX_OBJECT + 1).to_be_bytes()));
        assert_eq!(
            reader.next_object(),
            Err(MessageError::ObjectTooLarge(MAX_OBJECT + 1))
        );
    }

    #[test]
    fn what_fills_its_piece_is_not_copied_and_a_crumb_keeps_no_piece() {
        let (large, crumb) = (Bytes::from(vec![7; 9_000]), Bytes::from_static(b"crumb"));
        let mut wire = Vec::new();
        for object in [&large, &crumb] {
            wire.extend(object_head(Some(object)));
            wire.extend_from_slice(object);
        }
        let wire = Bytes::from(wire);
        let within = |object: &Bytes| wire.as_ptr_range().contains(&object.as_ptr());
        let mut reader = ObjectReader::new();
        reader.push(&wire);
        let mut next = || reader.next_object().unwrap().unwrap().unwrap();
        let (first, second) = (next(), next());
        assert_eq!((&first, &second), (&large, &crumb));
        assert!(within(&first) && !within(&second));
    }
}
