//! The mark that tells a folder's root from an empty mount point.
//!
//! `.sync/id` holds 16 random bytes, the same ones that the daemon remembers for the folder. Without them, or
//! with others, the root isn't the folder: a disk is missing, or another one is in its place. Then nothing may
//! be concluded from missing files. This module reads and writes the mark and says what the root looks like;
//! what to do about it is the daemon's business.

use std::{fmt, io};

use super::{Disk, DiskFile, Place, RootPresence};
use sync_core::disk::DiskKind;

/// Name of the mark inside `.sync`.
pub const MARKER_NAME: &str = "id";

/// The random mark of one folder on one device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker(pub [u8; 16]);

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Marker {
    /// Reads a mark from its 32 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text: &[u8; 32] = text.trim_ascii().try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? * 16 + low?).ok()?;
        }
        Some(Self(bytes))
    }

    /// The mark on a disk: `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the disk, and `InvalidData` for something that isn't a mark.
    pub fn read<D: Disk>(disk: &D) -> io::Result<Option<Self>> {
        let Some(stat) = disk.stat(Place::Own(MARKER_NAME))? else {
            return Ok(None);
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, ".sync/id is not a mark");
        if stat.kind != DiskKind::File {
            return Err(damaged());
        }
        let file = match disk.open(Place::Own(MARKER_NAME)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut text = [0; 64];
        let mut len = 0;
        while len < text.len() {
            match file.read_at(&mut text[len..], len as u64)? {
                0 => break,
                more => len += more,
            }
        }
        Self::parse(&text[..len]).map(Some).ok_or_else(damaged)
    }

    /// Puts this mark on a disk that has none, durably.
    ///
    /// # Errors
    ///
    /// Those of the disk; `AlreadyExists` if there is a mark.
    pub fn create<D: Disk>(&self, disk: &D) -> io::Result<()> {
        const TMP: &str = "id.new";
        disk.prepare()?;
        let file = disk.open_tmp(TMP)?;
        file.set_len(0)?;
        file.write_all_at(format!("{self}\n").as_bytes(), 0)?;
        file.sync()?;
        disk.rename_new(Place::Tmp(TMP), Place::Own(MARKER_NAME))?;
        disk.sync_dir(Place::Own(super::TMP_DIR))?;
        disk.sync_dir(Place::Own(""))?;
        disk.sync_dir(Place::Root)
    }
}

/// What a folder's root looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootState {
    /// It is the folder's.
    Ok,
    /// Its path leads to nothing.
    MissingRoot,
    /// Its path leads to something else than a directory.
    NotADirectory,
    /// Its path leads to another directory than it did: open it again and look.
    Replaced,
    /// It is an empty directory without a mark, as a mount point without its disk.
    Empty,
    /// It has files but no mark.
    MissingMarker,
    /// It bears the mark of another folder.
    OtherMarker(Marker),
    /// It can't be looked at, or its mark can't be read.
    Unreadable(String),
}

impl RootState {
    /// Why the folder stops, for people; `None` if it needn't.
    pub fn reason(&self) -> Option<String> {
        Some(match self {
            Self::Ok => return None,
            Self::MissingRoot => "the folder's directory is not there".into(),
            Self::NotADirectory => "the folder's path does not lead to a directory".into(),
            Self::Replaced => "the folder's path leads to another directory than before".into(),
            Self::Empty => "the folder's directory is empty and has lost its mark .sync/id".into(),
            Self::MissingMarker => "the folder's directory has lost its mark .sync/id".into(),
            Self::OtherMarker(other) => {
                format!("the directory bears the mark of another folder ({other})")
            }
            Self::Unreadable(why) => format!("the folder's directory can't be read: {why}"),
        })
    }

    /// What the user can do about it, for people.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::Ok => return None,
            Self::MissingRoot | Self::Empty => {
                "mount or connect the disk; `folder move` if the directory lies elsewhere now, \
                 `folder adopt` to fill this one from peers"
            }
            Self::NotADirectory => "`folder move` to where the directory lies now",
            Self::Replaced => "it is opened again by itself",
            Self::MissingMarker | Self::OtherMarker(_) => {
                "`folder adopt` if this is the right directory, else mount the right disk or use \
                 `folder move`"
            }
            Self::Unreadable(_) => "give the daemon permission to read it, or check the disk",
        })
    }
}

/// Looks whether a disk is the folder that bears the mark `expected`.
pub fn check_root<D: Disk>(disk: &D, expected: &Marker) -> RootState {
    let unreadable = |e: io::Error| RootState::Unreadable(e.to_string());
    match disk.root_presence() {
        Ok(RootPresence::Here) => {}
        Ok(RootPresence::Missing) => return RootState::MissingRoot,
        Ok(RootPresence::NotADirectory) => return RootState::NotADirectory,
        Ok(RootPresence::Another) => return RootState::Replaced,
        Err(e) => return unreadable(e),
    }
    match Marker::read(disk) {
        Ok(Some(found)) if found == *expected => RootState::Ok,
        Ok(Some(found)) => RootState::OtherMarker(found),
        Ok(None) => match disk
            .open_dir(Place::Root)
            .and_then(|dir| super::DiskDir::names(&dir))
        {
            Ok(names) if names.is_empty() => RootState::Empty,
            Ok(_) => RootState::MissingMarker,
            Err(e) => unreadable(e),
        },
        Err(e) => unreadable(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::MemDisk;

    #[test]
    fn a_root_is_known_by_its_mark() {
        let (disk, mark, other) = (MemDisk::new(), Marker([7; 16]), Marker([0xab; 16]));
        assert_eq!(check_root(&disk, &mark), RootState::Empty);
        disk.user_write("a", b"x").unwrap();
        assert_eq!(check_root(&disk, &mark), RootState::MissingMarker);
        mark.create(&disk).unwrap();
        assert_eq!(
            mark.create(&disk).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        disk.crash_losing_all();
        assert_eq!(check_root(&disk, &mark), RootState::Ok);
        assert_eq!(check_root(&disk, &other), RootState::OtherMarker(mark));
        disk.set_presence(RootPresence::Missing);
        assert_eq!(check_root(&disk, &mark), RootState::MissingRoot);
        disk.set_presence(RootPresence::Here);
        disk.user_write(".sync/id", b"rubbish").unwrap();
        assert!(matches!(check_root(&disk, &mark), RootState::Unreadable(_)));
        disk.user_remove(".sync").unwrap();
        disk.user_remove("a").unwrap();
        let state = check_root(&disk, &mark);
        assert_eq!(state, RootState::Empty);
        assert!(state.reason().is_some() && state.remedy().is_some());
    }

    #[test]
    fn a_mark_reads_back() {
        let mark = Marker([0x0f; 16]);
        assert_eq!(Marker::parse(mark.to_string().as_bytes()), Some(mark));
        assert_eq!(Marker::parse(b"0f"), None);
        assert_eq!(Marker::parse(&[b'g'; 32]), None);
    }
}
