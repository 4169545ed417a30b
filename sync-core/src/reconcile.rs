//! What to do with a record from outside: a pure decision over two records of one path.
//!
//! Causality decides first. Between concurrent versions, equal content is no conflict; content that one side
//! names as what it replaced is an ancestor; else [`rank`] picks the same winner on every replica. Nothing here
//! depends on who came online when, and nothing reads a clock.

use std::cmp::Ordering;

use crate::{
    conflict::rank,
    entry::{Entry, Kind},
    knowledge::Knowledge,
    record::Record,
    version::Causality,
};

/// What becomes of a record from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the record that we have.
    Known,
    /// We have a newer one, or ours keeps the name.
    Ignore,
    /// It takes the place of what we have.
    Take,
    /// We knew that version and lack the path: it was deleted, and the deletion is our answer.
    Deleted,
}

/// How the state on disk stands to the record that shall replace it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displacement {
    /// The record builds on it: it may go to the archive.
    Ancestor,
    /// It is a version of its own: it must stay visible as a conflict copy.
    Sibling,
}

/// Decides on `remote`, given the record that peers are told of now (`current`) and all that this index
/// has seen (`knowledge`).
pub fn reconcile(current: Option<&Record>, remote: &Record, knowledge: &Knowledge) -> Verdict {
    let Some(current) = current else {
        // Deletions are kept, so this is rare: an index that lost a path but not what it knows. A version
        // that we have seen and don't have any more was deleted.
        return if knowledge.covers(remote.version.dot) {
            Verdict::Deleted
        } else {
            Verdict::Take
        };
    };
    match current.version.compare(&remote.version) {
        Causality::Equal => Verdict::Known,
        Causality::After => Verdict::Ignore,
        Causality::Before => Verdict::Take,
        Causality::Concurrent => match concurrent(current, remote) {
            Ordering::Less => Verdict::Take,
            _ => Verdict::Ignore,
        },
    }
}

/// Which of two concurrent versions keeps the name; `Greater` if the left one does.
pub fn concurrent(a: &Record, b: &Record) -> Ordering {
    if !a.entry.same_content(&b.entry) {
        match (replaces(&a.entry, &b.entry), replaces(&b.entry, &a.entry)) {
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            _ => {}
        }
    }
    rank((&a.entry, a.version.dot), (&b.entry, b.version.dot))
}

/// How what is on disk (described by `held`, if a record does, and by `found`) stands to `next`.
pub fn displacement(held: Option<&Record>, found: &Entry, next: &Record) -> Displacement {
    let described = held.filter(|h| h.entry.same_content(found));
    let ancestor = described.is_some_and(|h| h.version.compare(&next.version) == Causality::Before)
        || found.same_content(&next.entry)
        || replaces(&next.entry, found);
    if ancestor {
        Displacement::Ancestor
    } else {
        Displacement::Sibling
    }
}

/// Whether `newer` names the content of `older` as what it replaced. A deletion proves nothing: the file
/// that lost its history (a rebuilt index) must not vanish for it.
fn replaces(newer: &Entry, older: &Entry) -> bool {
    newer.kind != Kind::Tombstone
        && older.kind == Kind::File
        && newer.prev.is_some()
        && newer.prev == older.content
}
