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
//!   a refusal, as it may be somebody else's service.
//! * At most 5 dials a second are begun in the long run. Near and named sources
//!   (LAN, known hosts, invitations) come first, but one dial in four goes to
//!   the others as long as any waits. Within each group sources take turns, and
//!   within a source folders take turns, so no amount of addresses of one source
//!   or one folder delays another by more than its turn.

mod dials;
mod entry;
mod store;

pub use entry::{Added, BookEntry, Dial, EntryState, FailReason, PeerTag, Refusal};
pub use store::{AddressBook, BookConfig};
