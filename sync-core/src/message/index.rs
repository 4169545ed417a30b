//! What engines say to each other about their indexes.
//!
//! Each side numbers its own changes. It says so with [`Head`]; the other asks for all after the number that it has
//! reached with [`Ask`]; [`Records`] follow in order of number, and [`BurstEnd`] when nothing is left to say. Each
//! body is a CBOR array of its fields in the order in which they stand here:
//!
//! ```text
//! 0 Head      [generation, last, replica]
//! 1 Ask       [generation, after, newest group or null, era, knowledge, listed]
//! 2 Records   [after, upto, [announcement, …], [[number, hash of 8 bytes, holds], …], held]
//! 3 BurstEnd  [upto, knowledge, [knowledge, forgot] or null]
//! 4 Progress  [reached, files, bytes]
//! 7 Arrived   dots
//! 8 Missing   [number, …], ascending
//! 9 Aside     [upto, [announcement, …]]
//! ```
//!
//! Knowledge is the changes that were seen ([`Knowledge`]), dots are ranges ([`Dots`](crate::dots::Dots)), held is what the sender
//! holds by its numbers ([`Held`]), an announcement is in [`super::announce`].
//! What answers a peer's index (Ask, Progress, Arrived, Missing) goes over the session over which its last Head came.
//!
//! **What is told.** Of each change above `after`, in order of number: nothing if the asker has it, because its
//! knowledge covers it, it said that it arrived, or it told us of it; else its record in full. A record that is
//! *contested* is told in full to everybody who didn't tell us of it. Once we have forgotten deletions, who begins
//! has no cursor, and who was away until then doesn't know of these: to it **everything that lives is listed**, from
//! number 1, what it has by a [`Stub`], as far as we knew of it when the list began. An `after` of the same numbering still
//! counts: up to there the asker has the changes, whatever its knowledge says. The first [`BurstEnd`] after that ends
//! the list, by `listed`. Then the asker asks with [`Missing`] for the records of stubs that it doesn't hold
//! (answered by [`Aside`]), and announces to everybody, contested, each record that lives here, is covered by
//! `listed`, and wasn't named by a lister that may write: its deletion was forgotten there, and is the answer. Who takes over
//! knowledge from a lister who *forgot* has forgotten the same deletions, and lists to all who haven't come further than
//! that. When the asker is through, `listed` in its next [`Ask`] is true.

use minicbor::{Decode, Encode};

use crate::{
    held::Held,
    ids::{Generation, ReplicaId, Seq},
    knowledge::Knowledge,
    record::Group,
};

use super::announce::Announce;

/// Most records in one message.
pub const MAX_RECORDS: usize = 1_000;
/// Most stubs in one message.
pub const MAX_STUBS: usize = 20_000;
/// Most numbers in one message.
pub const MAX_MISSING: usize = 1_000;

/// Who the sender is as a numberer of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// Its numbering.
    #[n(0)]
    pub generation: Generation,
    /// Its last number.
    #[n(1)]
    pub last: Seq,
    /// The replica that signs its changes.
    #[n(2)]
    pub replica: ReplicaId,
}

/// Asks for changes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ask {
    /// The numbering that `after` belongs to; the receiver starts at 0 if it isn't its own.
    #[n(0)]
    pub generation: Generation,
    /// The last number that the asker holds.
    #[n(1)]
    pub after: Seq,
    /// The newest record that the asker holds of the receiver's own making. If the receiver never made
    /// it, the receiver was restored from a backup.
    #[n(2)]
    pub newest: Option<Group>,
    /// The era of the asker's secret. Knowledge of another era holds nothing back.
    #[n(3)]
    pub era: u32,
    /// What the asker knows: what this covers isn't sent to it in full.
    #[n(4)]
    pub knowledge: Knowledge,
    /// Everything that lives was listed for the asker once, in this numbering.
    #[n(5)]
    pub listed: bool,
}

/// Changes of the sender's index: every number above `after` and up to `upto` is told here, or left out because
/// the receiver has it. Taken only by who has reached `after`; others ask again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Records {
    /// Where the last message ended.
    #[n(0)]
    pub after: Seq,
    /// Where this one ends.
    #[n(1)]
    pub upto: Seq,
    /// Changes in full, at most [`MAX_RECORDS`]; in order of number but for those of one announcement.
    #[n(2)]
    pub changes: Vec<Announce>,
    /// Changes that the asker's knowledge covers, where all that lives is listed; at most [`MAX_STUBS`].
    #[n(3)]
    pub stubs: Vec<Stub>,
    /// Of what was left out: changes whose content the sender holds, with its numbers for them.
    #[n(4)]
    pub holds: Held,
}

/// Names a change that the asker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Stub {
    /// The sender's number for it.
    #[n(0)]
    pub seq: Seq,
    /// The first eight bytes of SHA-256 over the signed bytes of its record.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub tag: [u8; 8],
    /// Whether the sender holds the content.
    #[n(2)]
    pub holds: bool,
}

/// Ends a burst.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BurstEnd {
    /// All changes up to here have been sent.
    #[n(0)]
    pub upto: Seq,
    /// What the sender knew when it had made that change, as far as it didn't say so in this stream before.
    #[n(1)]
    pub knowledge: Knowledge,
    /// Present once, at the first end of a burst after a question of one who wasn't listed to, or is below the
    /// number at which deletions were forgotten: everything that lives has been named.
    #[n(2)]
    pub listed: Option<Listed>,
}

/// What a list of all that lives is worth.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Listed {
    /// What the sender knew when the list began. What it learned later isn't named. Empty if it has forgotten
    /// nothing: then its changes alone say all, and nothing is named.
    #[n(0)]
    pub knowledge: Knowledge,
    /// It has forgotten deletions: its knowledge covers some that it can't tell of.
    #[n(1)]
    pub forgot: bool,
}

/// Asks for the records of stubs: numbers of the receiver's, ascending, at most [`MAX_MISSING`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Missing(#[n(0)] pub Vec<Seq>);

/// Records of stubs that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Aside {
    /// Everything that was asked for up to here is told, or has no longer that number.
    #[n(0)]
    pub upto: Seq,
    /// The records, at most [`MAX_RECORDS`].
    #[n(1)]
    pub changes: Vec<Announce>,
}

/// How far the sender has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The receiver's number up to which everything was taken in.
    #[n(0)]
    pub reached: Seq,
    /// Items that the sender still needs from anybody.
    #[n(1)]
    pub files: u64,
    /// Their bytes.
    #[n(2)]
    pub bytes: u64,
}

impl Listed {
    /// Of one who has forgotten deletions.
    pub fn forgetful(knowledge: Knowledge) -> Self {
        let forgot = true;
        Self { knowledge, forgot }
    }
}

impl Records {
    /// Whether it has no more of anything than it may.
    pub(super) fn is_bounded(&self) -> bool {
        are_bounded(&self.changes) && self.stubs.len() <= MAX_STUBS
    }
}

impl Aside {
    /// Whether it has no more than it may.
    pub(super) fn is_bounded(&self) -> bool {
        are_bounded(&self.changes)
    }
}

fn are_bounded(changes: &[Announce]) -> bool {
    changes.iter().map(Announce::len).sum::<usize>() <= MAX_RECORDS
}
