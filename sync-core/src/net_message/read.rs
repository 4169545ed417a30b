//! Reading CBOR from outside: each length is checked before anything is allocated for it.

use std::net::SocketAddr;

use minicbor::{Decoder, data::Type};

use super::{NetMessageError, from_bytes};

/// Most fields of one array; later versions have room.
const MAX_FIELDS: u64 = 32;

impl From<minicbor::decode::Error> for NetMessageError {
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Malformed
    }
}

/// The length of an array, which must be definite.
pub(crate) fn array(d: &mut Decoder<'_>) -> Result<u64, NetMessageError> {
    d.array()?.ok_or(NetMessageError::Malformed)
}

/// An array of `least` fields or more. `read` takes the known ones, and one more (see [`optional`]) if its second
/// argument says so; the rest is skipped.
pub(crate) fn fields<'b, T>(
    d: &mut Decoder<'b>,
    least: u64,
    read: impl FnOnce(&mut Decoder<'b>, &mut u64) -> Result<T, NetMessageError>,
) -> Result<T, NetMessageError> {
    let count = array(d)?;
    if !(least..=MAX_FIELDS).contains(&count) {
        return Err(NetMessageError::Malformed);
    }
    let mut more = count - least;
    let value = read(d, &mut more)?;
    for _ in 0..more {
        d.skip()?;
    }
    Ok(value)
}

/// A field that may be left out at the end, or be null.
pub(crate) fn optional<'b, T>(
    d: &mut Decoder<'b>,
    more: &mut u64,
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, NetMessageError>,
) -> Result<Option<T>, NetMessageError> {
    if *more == 0 {
        return Ok(None);
    }
    *more -= 1;
    if d.datatype()? == Type::Null {
        d.null()?;
        return Ok(None);
    }
    read(d).map(Some)
}

/// A list of at most `most` items.
pub(crate) fn list<'b, T>(
    d: &mut Decoder<'b>,
    most: usize,
    mut read: impl FnMut(&mut Decoder<'b>) -> Result<T, NetMessageError>,
) -> Result<Vec<T>, NetMessageError> {
    let count = array(d)?;
    if count > most as u64 {
        return Err(NetMessageError::TooMany);
    }
    (0..count).map(|_| read(d)).collect()
}

/// A byte string of exactly this length.
pub(crate) fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], NetMessageError> {
    d.bytes()?
        .try_into()
        .map_err(|_| NetMessageError::Malformed)
}

/// A byte string of at most `most` bytes, and not an empty one.
pub(crate) fn bytes(d: &mut Decoder<'_>, most: usize) -> Result<Vec<u8>, NetMessageError> {
    let bytes = d.bytes()?;
    match bytes.len() {
        0 => Err(NetMessageError::Malformed),
        len if len > most => Err(NetMessageError::TooMany),
        _ => Ok(bytes.to_vec()),
    }
}

/// An address.
pub(crate) fn address(d: &mut Decoder<'_>) -> Result<SocketAddr, NetMessageError> {
    from_bytes(d.bytes()?).ok_or(NetMessageError::Malformed)
}
