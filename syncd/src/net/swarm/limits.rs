//! How many sessions there may be: a decision alone, without actors or clocks.
//!
//! An identity costs nothing for whoever holds a folder's secret, and a session costs memory and a file handle
//! here. So sessions are counted for each folder, for each source address and in all; who is connected stays, and
//! who comes too many is refused. It must never refuse the session
//! of a peer that is to replace its others.

use std::net::IpAddr;

use sync_core::ids::PeerKey;
use sync_discovery::{FolderTag, network_of};

use super::Facts;

/// Sessions in one folder.
const PER_FOLDER: usize = 256;
/// Sessions in one folder from one address: a house or an office behind one router.
const PER_SOURCE: usize = 64;
/// Sessions in all folders. Each holds a file handle, of which a process commonly has 1,024.
const IN_ALL: usize = 512;
/// Beyond the limits of a folder and of all folders, for further sessions of a peer that is here: one to fall back on, or
/// the first after its device was started anew.
const RESERVE: usize = 32;
/// Sessions of one peer in one folder: the two that are kept, and two more that are being closed or are to replace them.
const PER_PEER: usize = 4;

/// Whose a session is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Party {
    pub(super) folder: FolderTag,
    pub(super) peer: PeerKey,
    pub(super) source: IpAddr,
}

impl Party {
    pub(super) fn of(facts: &Facts) -> Self {
        Self {
            folder: facts.folder,
            peer: facts.peer,
            source: facts.remote.ip(),
        }
    }
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Sessions of one device in a folder.
    Peer,
    /// Sessions of a folder from one address.
    Source,
    /// Sessions of a folder.
    Folder,
    /// Sessions of all folders.
    All,
}

impl Full {
    /// The reason as people read it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Peer => "this device has more sessions than it needs",
            Self::Source => "there are 64 connections from this address already",
            Self::Folder => "there are 256 connections to this folder already",
            Self::All => "there are 512 connections already",
        }
    }
}

/// Whether there is room for one more session beside these.
pub(super) fn room(sessions: impl Iterator<Item = Party>, new: Party) -> Result<(), Full> {
    let (mut all, mut folder, mut source, mut peer) = (0, 0, 0, 0);
    let from = network_of(new.source);
    for one in sessions {
        all += 1;
        if one.folder == new.folder {
            folder += 1;
            source += usize::from(network_of(one.source) == from);
            peer += usize::from(one.peer == new.peer);
        }
    }
    match peer {
        PER_PEER.. => Err(Full::Peer),
        // It may take the place of another, or be one of many that never do.
        1.. if folder < PER_FOLDER + RESERVE && all < IN_ALL + RESERVE => Ok(()),
        _ if folder >= PER_FOLDER => Err(Full::Folder),
        _ if source >= PER_SOURCE => Err(Full::Source),
        _ if all >= IN_ALL => Err(Full::All),
        _ => Ok(()),
    }
}

/// Whether a folder has so many sessions, or all folders together, that the next ones may be refused again.
pub(super) fn nearly_full(sessions: impl Iterator<Item = Party>, folder: FolderTag) -> bool {
    let (mut all, mut here) = (0, 0);
    for one in sessions {
        all += 1;
        here += usize::from(one.folder == folder);
    }
    // One address may fill its share of the folder by itself.
    all >= IN_ALL / 2 || here >= PER_SOURCE / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn party(folder: u8, peer: usize, source: IpAddr) -> Party {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(peer as u64).to_be_bytes());
        Party {
            folder: FolderTag([folder; 32]),
            peer: PeerKey(key),
            source,
        }
    }

    fn far(n: usize) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n as u32).to_be_bytes())
    }

    /// Lets them come one after the other; gives those who are in, and the first refusal.
    fn come(parties: impl Iterator<Item = Party>) -> (Vec<Party>, Option<Full>) {
        let (mut inside, mut first) = (Vec::new(), None);
        for party in parties {
            match room(inside.iter().copied(), party) {
                Ok(()) => inside.push(party),
                Err(full) => first = first.or(Some(full)),
            }
        }
        (inside, first)
    }

    #[test]
    fn identities_are_free_and_sessions_are_not() {
        let (inside, full) = come((0..5_000).map(|n| party(1, n, far(n))));
        assert_eq!((inside.len(), full), (PER_FOLDER, Some(Full::Folder)));
        // Those who are in stay, and may replace their session.
        assert_eq!(room(inside.iter().copied(), inside[7]), Ok(()));
        // Also whoever had two, and was started anew.
        let two = [&inside[..], &inside[7..8]].concat();
        assert_eq!(room(two.iter().copied(), inside[7]), Ok(()));
        // Another folder isn't kept out by it.
        let other = party(2, 0, far(9_000));
        assert_eq!(room(inside.iter().copied(), other), Ok(()));
        // It is said once, and again only after it was over.
        let nearly = |n: usize| nearly_full(inside.iter().copied().take(n), FolderTag([1; 32]));
        assert!(nearly(PER_FOLDER - 1) && !nearly(3));
    }

    #[test]
    fn one_address_does_not_fill_a_folder() {
        let (inside, full) = come((0..5_000).map(|n| party(1, n, far(1))));
        assert_eq!((inside.len(), full), (PER_SOURCE, Some(Full::Source)));
        assert_eq!(
            room(inside.iter().copied(), party(1, 9_999, far(2))),
            Ok(())
        );
        let v6 = |n: usize| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16));
        let (inside, full) = come((0..5_000).map(|n| party(1, n, v6(n))));
        assert_eq!((inside.len(), full), (PER_SOURCE, Some(Full::Source)));
    }

    #[test]
    fn many_folders_do_not_use_up_all_handles() {
        let (inside, full) = come((0..5_000).map(|n| party((n % 100) as u8, n, far(n))));
        assert_eq!((inside.len(), full), (IN_ALL, Some(Full::All)));
    }

    #[test]
    fn second_sessions_have_a_reserve_and_no_more() {
        let twice = |n: usize| (0..n).chain(0..n);
        let (inside, full) = come(twice(PER_FOLDER).map(|n| party(1, n, far(n))));
        assert_eq!(inside.len(), PER_FOLDER + RESERVE);
        assert_eq!(full, Some(Full::Folder));
        let (inside, full) = come(twice(IN_ALL).map(|n| party((n % 100) as u8, n, far(n))));
        assert_eq!(inside.len(), IN_ALL + RESERVE);
        assert_eq!(full, Some(Full::All));
    }

    #[test]
    fn one_identity_has_few_sessions() {
        let (inside, full) = come((0..50).map(|_| party(1, 1, far(1))));
        assert_eq!((inside.len(), full), (PER_PEER, Some(Full::Peer)));
    }
}
