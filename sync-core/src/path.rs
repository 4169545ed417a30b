//! Relative paths that are valid by construction.
//!
//! A [`RelPath`] is made only by [`RelPath::parse`] (or from a stored key), so every value of the type is
//! safe to join beneath a folder's root: relative, without `.` or `..`, without NUL, bounded in
//! length and depth, and outside the folder's own `.sync` directory. The bytes are the author's own:
//! nothing is normalised, because a file system that keeps bytes must get the same bytes back.

use std::{cmp::Ordering, fmt, sync::Arc};

use thiserror::Error;

/// Longest path, in bytes, including separators.
pub const MAX_PATH: usize = 4096;
/// Longest single component, in bytes.
pub const MAX_COMPONENT: usize = 255;
/// Most components in one path.
pub const MAX_DEPTH: usize = 128;

/// Name of the directory at a folder's root that belongs to the daemon.
pub const RESERVED: &str = ".sync";

/// Why some bytes are not a path that can be synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// There is nothing in it, or a component is empty (`a//b`, a leading or trailing `/`).
    #[error("a path component is empty")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("`.` and `..` are not allowed in a path")]
    Dots,
    /// It contains a NUL byte.
    #[error("a path may not contain a NUL byte")]
    Nul,
    /// It is longer than [`MAX_PATH`].
    #[error("the path is longer than 4096 bytes")]
    TooLong,
    /// One component is longer than [`MAX_COMPONENT`].
    #[error("a name in the path is longer than 255 bytes")]
    ComponentTooLong,
    /// There are more than [`MAX_DEPTH`] components.
    #[error("the path has more than 128 levels")]
    TooDeep,
    /// Its first component is `.sync`, in some case folding.
    #[error("the name .sync at the root is reserved")]
    Reserved,
}

/// A path relative to a folder's root: bytes, components separated by `/`.
///
/// Ordering is that of a sorted depth-first walk: a directory comes before what is in it, and what is
/// in it before its next sibling. It is the byte order of [`RelPath::key`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<[u8]>);

impl RelPath {
    /// Checks `bytes` and makes them a path.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        let mut depth = 0;
        for (i, part) in bytes.split(|b| *b == b'/').enumerate() {
            Self::check_component(part)?;
            if i == 0 && is_reserved(part) {
                return Err(PathError::Reserved);
            }
            depth += 1;
        }
        if depth > MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        Ok(Self(bytes.into()))
    }

    /// Whether `name` could stand as one component of a path.
    pub fn check_component(name: &[u8]) -> Result<(), PathError> {
        if name.is_empty() {
            return Err(PathError::EmptyComponent);
        }
        if name == b"." || name == b".." {
            return Err(PathError::Dots);
        }
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        if name.len() > MAX_COMPONENT {
            return Err(PathError::ComponentTooLong);
        }
        Ok(())
    }

    /// The path of `name` inside this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::parse(&bytes)
    }

    /// The directory this path lies in, or `None` at the root.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(self.0[..cut].into()))
    }

    /// All directories this path lies in, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        &self.0[start..]
    }

    /// The same path with another last component.
    pub fn with_name(&self, name: &[u8]) -> Result<Self, PathError> {
        match self.parent() {
            Some(parent) => parent.join(name),
            None => Self::parse(name),
        }
    }

    /// Number of components, at least one.
    pub fn depth(&self) -> usize {
        self.0.iter().filter(|b| **b == b'/').count() + 1
    }

    /// Whether this path lies somewhere below `dir`.
    pub fn is_below(&self, dir: &Self) -> bool {
        self.0.len() > dir.0.len() && self.0.starts_with(&dir.0) && self.0[dir.0.len()] == b'/'
    }

    /// The author's bytes, with `/` between components.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The sort key: the same bytes with 0x00 for `/`, so that byte order is the order of a walk.
    pub fn key(&self) -> Vec<u8> {
        self.0
            .iter()
            .map(|b| if *b == b'/' { 0 } else { *b })
            .collect()
    }

    /// Reads a sort key back.
    pub fn from_key(key: &[u8]) -> Result<Self, PathError> {
        let bytes: Vec<u8> = key
            .iter()
            .map(|b| if *b == 0 { b'/' } else { *b })
            .collect();
        Self::parse(&bytes)
    }

    /// The path for people: bytes that are not UTF-8 and control characters are escaped.
    pub fn display(&self) -> String {
        display_bytes(&self.0)
    }
}

/// Whether `name`, at a folder's root, is `.sync` in some case folding. U+017F (long s) folds to `s`.
fn is_reserved(name: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(name) else {
        return false;
    };
    text.replace('\u{17f}', "s").eq_ignore_ascii_case(RESERVED)
}

/// Renders bytes that came from outside so that they can do no harm on a terminal or in a log:
/// control characters become `\u{..}`, and bytes that are not UTF-8 become `\xNN`.
pub fn display_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

/// Bytes of two paths that are compared at once.
const BLOCK: usize = 16;

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        // Neighbours share most of their bytes, which are compared many at once.
        let blocks = self.0.chunks_exact(BLOCK).zip(other.0.chunks_exact(BLOCK));
        let same = BLOCK * blocks.take_while(|(a, b)| a == b).count();
        let fold = |b: &u8| if *b == b'/' { 0 } else { *b };
        let (a, b) = (&self.0[same..], &other.0[same..]);
        a.iter().map(fold).cmp(b.iter().map(fold))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.display())
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

impl<C> minicbor::Encode<C> for RelPath {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for RelPath {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::parse(d.bytes()?).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_could_leave_the_root() {
        for (bytes, want) in [
            (&b""[..], PathError::EmptyComponent),
            (b"/a", PathError::EmptyComponent),
            (b"a/", PathError::EmptyComponent),
            (b"a//b", PathError::EmptyComponent),
            (b".", PathError::Dots),
            (b"a/../b", PathError::Dots),
            (b"a/./b", PathError::Dots),
            (b"a\0b", PathError::Nul),
            (b".sync", PathError::Reserved),
            (b".SYNC/x", PathError::Reserved),
            (".\u{17f}Ync".as_bytes(), PathError::Reserved),
        ] {
            assert_eq!(RelPath::parse(bytes).unwrap_err(), want, "{bytes:?}");
        }
        assert_eq!(
            RelPath::parse(&[b'a'; 256]).unwrap_err(),
            PathError::ComponentTooLong
        );
        assert_eq!(
            RelPath::parse(&vec![b'a'; 5000]).unwrap_err(),
            PathError::TooLong
        );
        assert_eq!(
            RelPath::parse("a/".repeat(200).trim_end_matches('/').as_bytes()),
            Err(PathError::TooDeep)
        );
        assert!(RelPath::parse(b"a/.sync").is_ok());
        assert!(RelPath::parse(b".syncignore").is_ok());
        assert!(RelPath::parse(&[b'\xff'; 255]).is_ok());
    }

    #[test]
    fn order_is_that_of_a_walk() {
        let mut paths: Vec<_> = [&b"a!"[..], b"a/b", b"a", b"a/b/c", b"b", b"a/b!"]
            .iter()
            .map(|p| RelPath::parse(p).unwrap())
            .collect();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(RelPath::display).collect();
        assert_eq!(shown, ["a", "a/b", "a/b/c", "a/b!", "a!", "b"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(display_bytes(b"a\x1b[2J\xff\n"), "a\\u{1b}[2J\\xff\\n");
    }

    proptest! {
        #[test]
        fn key_order_equals_path_order(
            same in "[a-c]{0,40}",
            a in "[a-c/!]{1,20}",
            b in "[a-c/!]{1,20}",
        ) {
            let path = |end: &String| RelPath::parse([&same[..], end].concat().as_bytes());
            if let (Ok(a), Ok(b)) = (path(&a), path(&b)) {
                prop_assert_eq!(a.cmp(&b), a.key().cmp(&b.key()));
                prop_assert_eq!(RelPath::from_key(&a.key()).unwrap(), a);
            }
        }
    }
}
