//! Conflict copies: who keeps the name, and what the other is called.

use std::cmp::Ordering;

use crate::{
    chunk::ContentHash,
    entry::{Entry, Kind},
    ids::{ReplicaId, base32_text},
    path::{MAX_COMPONENT, RelPath},
    time::Utc,
    version::Dot,
};

/// Total order of concurrent states of one path: the greater one keeps the name, on every replica.
///
/// Anything beats a deletion, a directory beats what is not one, then the later mtime wins, then the larger
/// content, then the mode, then the author. Nothing depends on who came online when.
pub fn rank(a: (&Entry, Dot), b: (&Entry, Dot)) -> Ordering {
    let class = |kind: Kind| match kind {
        Kind::Tombstone => 0,
        Kind::Symlink => 1,
        Kind::File => 2,
        Kind::Dir => 3,
        Kind::Other(code) => 4 + u16::from(code),
    };
    let live = |e: &Entry| e.kind != Kind::Tombstone;
    let dir = |e: &Entry| e.kind == Kind::Dir;
    live(a.0)
        .cmp(&live(b.0))
        .then_with(|| dir(a.0).cmp(&dir(b.0)))
        .then_with(|| a.0.mtime_ns.cmp(&b.0.mtime_ns))
        .then_with(|| class(a.0.kind).cmp(&class(b.0.kind)))
        .then_with(|| a.0.content.cmp(&b.0.content))
        .then_with(|| a.0.target.cmp(&b.0.target))
        .then_with(|| a.0.mode.cmp(&b.0.mode))
        .then_with(|| a.1.cmp(&b.1))
}

/// The name of the conflict copy of a file at `path` with this content, last changed by `author` at
/// `mtime_ns`: `STEM (conflict REPLICA6 YYYY-MM-DD HH-MM-SS HASH4).EXT`. The same loser gets the same
/// name everywhere; an existing suffix of this form is replaced; the stem is cut to fit 255 bytes.
pub fn copy_path(
    path: &RelPath,
    author: ReplicaId,
    mtime_ns: i64,
    content: &ContentHash,
) -> RelPath {
    let utc = Utc::from_unix_ns(mtime_ns);
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = utc;
    let hash = base32_text(&content.as_bytes()[..3]);
    let suffix = format!(
        " (conflict {} {year:04}-{month:02}-{day:02} {hour:02}-{minute:02}-{second:02} {})",
        author.short(),
        &hash[..4],
    );
    let name = path.name();
    let (stem, ext) = split_extension(name);
    let stem = strip_suffix(stem);
    let room = MAX_COMPONENT - suffix.len();
    // An extension that would leave no room for the stem isn't one.
    let (stem, ext) = if ext.len() > room / 2 {
        (strip_suffix(name), &b""[..])
    } else {
        (stem, ext)
    };
    let stem = cut(stem, room - ext.len());
    let name = [stem, suffix.as_bytes(), ext].concat();
    // The name is bounded and keeps the path's parent; only a path near 4,096 bytes can be refused, and
    // then the copy goes to the root under the same name.
    path.with_name(&name)
        .or_else(|_| RelPath::parse(&name))
        .unwrap_or_else(|_| path.clone())
}

/// Whether a name is that of a conflict copy.
pub fn is_copy(path: &RelPath) -> bool {
    let (stem, _) = split_extension(path.name());
    strip_suffix(stem).len() < stem.len()
}

fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(0) | None => (name, b""),
        Some(dot) => name.split_at(dot),
    }
}

/// ` (conflict AAAAAA 2026-11-22 08-00-00 AAAA)`: 11 + 6 + 1 + 10 + 1 + 8 + 1 + 4 + 1 bytes.
const SUFFIX: usize = 43;

fn strip_suffix(stem: &[u8]) -> &[u8] {
    let mut stem = stem;
    while let Some(at) = stem.len().checked_sub(SUFFIX) {
        let tail = &stem[at..];
        if at > 0 && tail.starts_with(b" (conflict ") && tail.ends_with(b")") {
            stem = &stem[..at];
        } else {
            break;
        }
    }
    stem
}

/// At most `room` bytes of `stem`, not cut inside a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let mut end = room;
    while end > 0 && stem[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    &stem[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: &[u8]) -> RelPath {
        let path = RelPath::parse(name).unwrap();
        copy_path(
            &path,
            ReplicaId(7),
            1_795_334_400_000_000_000,
            &ContentHash::chunk(b"x"),
        )
    }

    #[test]
    fn names_of_copies() {
        let one = copy(b"d/report.txt");
        assert!(
            one.display()
                .starts_with("d/report (conflict AAAAAA 2026-11-22 08-00-00 "),
            "{one}"
        );
        assert!(one.display().ends_with(").txt"));
        assert!(is_copy(&one));
        assert_eq!(copy(one.as_bytes()), one, "an existing suffix is replaced");
        assert!(
            copy(b".profile")
                .display()
                .starts_with(".profile (conflict")
        );
        assert!(!is_copy(&RelPath::parse(b"a (conflict).txt").unwrap()));
    }

    #[test]
    fn long_names_are_cut_to_fit() {
        let long = "ä".repeat(127) + "b";
        for name in [long.as_bytes(), &[b'x'; 255], b"y.".repeat(127).as_slice()] {
            let copy = copy(name);
            assert!(copy.name().len() <= MAX_COMPONENT && is_copy(&copy));
        }
        assert!(std::str::from_utf8(copy(long.as_bytes()).as_bytes()).is_ok());
    }
}
