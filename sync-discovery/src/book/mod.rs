//! The address book: all candidates of all folders, and whom to dial next.
//!
//! It merges what every [`Source`](crate::Source) says into one entry for each
//! folder and address, lets entries age, and spends one dial budget on them. It
//! owns what is known about addresses; sockets and sessions belong to others,
//! who ask [`AddressBook::due_dials`] and report back what became of each dial.
//! It must never treat a candidate as a peer: only a finished handshake,
//! reported by [`AddressBook::connected`], does that.
//!
//! # How bogus addresses are kept from starving real ones
//!
//! * Each source keeps at most 50 addresses for each folder (known hosts
//!   excepted). When it is full, a newcomer takes the place of an address that
//!   failed at least twice and was never connected; what is pushed out is
//!   remembered for a while with its failures, so that it can't come back fresh.
//! * Every address has its own growing delay, with jitter: 1 s to 5 min, at most
//!   30 s for known hosts. Silence in answer to a handshake counts for more than
//!   a refusal, as it may be somebody else's service. A session that breaks, or
//!   a connection that is dropped unanswered where a member was found before, is
//!   nobody's failure to prove itself: the pause is 1 s, and 4 s at most.
//! * A pause ends when something changes: the folder opens, the network changes,
//!   another source names the address, a peer comes from there.
//! * Dials are paid from three buckets. First attempts, and first ones after a
//!   change, at what is near, was named by the user, or is a host where a member
//!   was found: 100 a second. First attempts at what strangers may have named: 20
//!   a second. All others: 5 a second. So a flood of the one doesn't delay the
//!   other, and a hundred folders with one new peer are dialled at once.
//! * One host is dialled 32 times at once and 4 times a second until a handshake
//!   there succeeds, so nobody can make this device flood another. Six dials to
//!   one address and 64 in all are under way at most; those at addresses that
//!   failed before leave half of them free.
//! * Near and named sources (LAN, known hosts, invitations) come first, but one
//!   dial in four goes to the others as long as any waits. Within each group
//!   sources take turns, and within a source folders take turns, so no amount of
//!   addresses of one source or one folder delays another by more than its turn.

mod admit;
mod budget;
mod dials;
mod entry;
mod store;

pub use budget::Rate;
pub use entry::{Added, BookEntry, Dial, Ended, EntryState, FailReason, PeerTag, Refusal};
pub use store::{AddressBook, BookConfig};
