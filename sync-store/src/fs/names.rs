//! The names of one directory, held compactly: a directory may have a million of them.

/// Names of one directory in byte order.
///
/// All names lie in one buffer, so a name costs its bytes and eight more.
#[derive(Debug, Clone, Default)]
pub struct Names {
    bytes: Vec<u8>,
    /// Start and length of each name.
    spans: Vec<(u32, u16)>,
}

impl Names {
    /// No names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a name; [`Names::sort`] must follow. A name that is longer than 64 KiB, or the bytes
    /// beyond 4 GiB in one directory, are refused: `false`.
    #[must_use]
    pub fn push(&mut self, name: &[u8]) -> bool {
        let (Ok(start), Ok(len)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len()))
        else {
            return false;
        };
        self.bytes.extend_from_slice(name);
        self.spans.push((start, len));
        true
    }

    /// Sorts the names by their bytes.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans
            .sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The name at a position.
    pub fn at(&self, index: usize) -> Option<&[u8]> {
        self.spans.get(index).map(|span| slice(&self.bytes, *span))
    }

    /// All names in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.spans.iter().map(|span| slice(&self.bytes, *span))
    }
}

fn slice(bytes: &[u8], (start, len): (u32, u16)) -> &[u8] {
    let start = start as usize;
    &bytes[start..start + usize::from(len)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_byte_order() {
        let mut names = Names::new();
        for name in [&b"b"[..], b"", b"a!", b"a", b"\xff"] {
            assert!(names.push(name));
        }
        assert!(!names.push(&vec![b'x'; 70_000]));
        names.sort();
        let all: Vec<_> = names.iter().collect();
        assert_eq!(all, [&b""[..], b"a", b"a!", b"b", b"\xff"]);
        assert_eq!(names.at(3), Some(&b"b"[..]));
        assert_eq!(names.at(5), None);
        assert_eq!(names.len(), 5);
    }
}
