//! The archive: what peers' changes replaced or deleted, kept for a while in `.sync/archive/`.
//!
//! A file lies there under its own relative path, its last component marked with the moment of its
//! archiving: `dir/report (archived 2026-11-22 08-00-00-123).txt`. Its bytes, time and mode are as they
//! were, so restoring it is a rename or a copy. The moment is read from the name, because the file's own
//! times are the user's.
//!
//! Owns the names and the pruning. It never touches anything outside `.sync/archive/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use sync_core::{
    chunk::ContentHash,
    disk::DiskKind,
    ids::base32_text,
    path::{MAX_COMPONENT, RelPath},
    time::Utc,
};

use crate::{
    apply::trouble::stops_all,
    fs::{ARCHIVE_DIR, Disk, Place},
};

const SEC: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SEC;
const DAY: i64 = 24 * HOUR;
const MARK: &str = " (archived ";
/// ` (archived 2026-11-22 08-00-00-123)`: 11 + 10 + 1 + 8 + 1 + 3 + 1 bytes.
const SUFFIX: usize = 35;
/// Longest name on the file systems with the least room (those that encrypt names).
const SHORT_COMPONENT: usize = 140;
/// How many names are tried for one moment before giving up.
const TRIES: i64 = 2_000;

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivePolicy {
    /// Whole days a file stays; 0 keeps it for ever.
    pub days: u32,
    /// Most bytes kept, apart from the last 24 hours; 0 for no limit.
    pub max_bytes: u64,
}

impl Default for ArchivePolicy {
    fn default() -> Self {
        Self {
            days: 30,
            max_bytes: 0,
        }
    }
}

/// One archived file or symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedItem {
    /// Where it was in the folder. The name may have been cut to fit.
    pub original: RelPath,
    /// Where it lies below `.sync/archive/`.
    pub stored: RelPath,
    /// When it was archived, ns since 1970, to the millisecond.
    pub archived_ns: i64,
    /// Its size in bytes.
    pub size: u64,
    /// Its own modification time, ns since 1970.
    pub mtime_ns: i64,
}

/// What a pruning did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are left.
    pub left: u64,
}

/// The archive of one folder.
#[derive(Debug)]
pub struct Archive<D> {
    disk: Arc<D>,
}

impl<D> Clone for Archive<D> {
    fn clone(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
        }
    }
}

impl<D: Disk> Archive<D> {
    /// The archive on this disk.
    pub fn new(disk: Arc<D>) -> Self {
        Self { disk }
    }

    /// Moves something into the archive, as what was at `path` at `now_ns`. Returns where it lies.
    /// Nothing there is ever replaced.
    pub(crate) fn take(&self, from: Place<'_>, path: &RelPath, now_ns: i64) -> io::Result<RelPath> {
        let millis = now_ns.div_euclid(1_000_000);
        let mut room = MAX_COMPONENT;
        let mut flat = false;
        let mut made_dir = false;
        let mut tries = 0;
        while tries < TRIES {
            let Some(stored) = stored_path(path, millis + tries, room, flat) else {
                flat = true;
                tries += 1;
                continue;
            };
            match self.disk.rename_new(from, Place::Archive(&stored)) {
                Ok(()) => return Ok(stored),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => tries += 1,
                // The first try of a path usually finds its directory made already.
                Err(e) if e.kind() == io::ErrorKind::NotFound && !made_dir => {
                    self.disk.stat(from)?.ok_or(io::ErrorKind::NotFound)?;
                    made_dir = true;
                    let mut made = BTreeSet::new();
                    if let Err(e) = self.make_room(&stored, &mut BTreeSet::new(), &mut made) {
                        if stops_all(&e) {
                            return Err(e);
                        }
                        flat = true;
                    }
                    // A file must never come to lie in a directory that a crash could take away.
                    for dir in made {
                        self.sync_dir(dir.as_ref())?;
                    }
                }
                Err(e) if stops_all(&e) => return Err(e),
                // A name this file system can't hold, or a directory that is a file in the archive.
                Err(_) if room > SHORT_COMPONENT => room = SHORT_COMPONENT,
                Err(_) if !flat => flat = true,
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Makes the directory for something from `path`, if it isn't among those `known`. The directories
    /// that got new names are added to `changed`, to be made durable from the top down.
    pub(crate) fn make_room(
        &self,
        path: &RelPath,
        known: &mut BTreeSet<RelPath>,
        changed: &mut BTreeSet<Option<RelPath>>,
    ) -> io::Result<()> {
        let Some(dir) = path.parent() else {
            return Ok(());
        };
        if known.contains(&dir) {
            return Ok(());
        }
        if self.disk.stat(Place::Archive(&dir))?.is_none() {
            match self.disk.make_dir(Place::Archive(&dir), 0o700) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            changed.insert(None);
            changed.extend(dir.ancestors().map(Some));
        }
        known.insert(dir);
        Ok(())
    }

    /// Makes the names in one of the archive's directories durable.
    pub(crate) fn sync_dir(&self, dir: Option<&RelPath>) -> io::Result<()> {
        self.disk
            .sync_dir(dir.map_or(Place::Own(ARCHIVE_DIR), Place::Archive))
    }

    /// Up to `limit` archived files whose original path is `prefix` or below it, in no order.
    pub fn list(&self, prefix: Option<&RelPath>, limit: usize) -> io::Result<Vec<ArchivedItem>> {
        let mut items = Vec::new();
        let fits = |p: &RelPath| prefix.is_none_or(|prefix| p == prefix || p.is_below(prefix));
        self.walk(&mut |item| {
            if fits(&item.original) && items.len() < limit {
                items.push(item);
            }
            Ok(items.len() < limit)
        })?;
        Ok(items)
    }

    /// Removes what is too old, then, while there is more than the limit, the oldest; but never
    /// anything of the last 24 hours. Directories left empty go as well.
    pub fn prune(&self, policy: ArchivePolicy, now_ns: i64) -> io::Result<Pruned> {
        // Bytes by hour of archiving: enough to find the cut, whatever the number of files.
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        self.walk(&mut |item| {
            *hours.entry(item.archived_ns.div_euclid(HOUR)).or_default() += item.size;
            Ok(true)
        })?;
        let mut keep_from = match policy.days {
            0 => i64::MIN,
            days => now_ns.saturating_sub(i64::from(days).saturating_mul(DAY)),
        };
        let spared = now_ns.saturating_sub(DAY);
        let mut total: u64 = hours.values().sum();
        for (hour, bytes) in &hours {
            let end = (hour + 1) * HOUR;
            if policy.max_bytes == 0 || total <= policy.max_bytes || end > spared {
                break;
            }
            keep_from = keep_from.max(end);
            total -= bytes;
        }
        let keep_from = keep_from.min(spared);
        let mut pruned = Pruned::default();
        self.walk(&mut |item| {
            if item.archived_ns < keep_from {
                match self.disk.unlink(Place::Archive(&item.stored)) {
                    Ok(()) => {
                        pruned.files += 1;
                        pruned.bytes += item.size;
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            } else {
                pruned.left += item.size;
            }
            Ok(true)
        })?;
        Ok(pruned)
    }

    /// Calls `visit` for each archived thing until it says `false`. Afterwards removes the directories
    /// that are empty. Whatever bears no mark was not put here by us and is passed over.
    fn walk(&self, visit: &mut dyn FnMut(ArchivedItem) -> io::Result<bool>) -> io::Result<()> {
        let mut todo: Vec<(Option<RelPath>, bool)> = vec![(None, false)];
        while let Some((dir, done)) = todo.pop() {
            let place = dir.as_ref().map_or(Place::Own(ARCHIVE_DIR), Place::Archive);
            if done {
                // Not empty is the usual answer.
                let _ = self.disk.remove_dir(place);
                continue;
            }
            let items = match self.disk.list(place) {
                Ok(items) => items,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if dir.is_some() {
                todo.push((dir.clone(), true));
            }
            for item in items {
                let path = match &dir {
                    Some(dir) => dir.join(&item.name),
                    None => RelPath::parse(&item.name),
                };
                let Ok(path) = path else { continue };
                if item.stat.kind == DiskKind::Dir && original(&path).is_none() {
                    todo.push((Some(path), false));
                    continue;
                }
                let Some((original, archived_ns)) = original(&path) else {
                    continue;
                };
                if item.stat.kind == DiskKind::Dir {
                    // A directory that was rescued whole: listed, never pruned blindly.
                    todo.push((Some(path), false));
                    continue;
                }
                let (size, mtime_ns) = (item.stat.size, item.stat.mtime_ns);
                let item = ArchivedItem {
                    original,
                    stored: path,
                    archived_ns,
                    size,
                    mtime_ns,
                };
                if !visit(item)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Where something from `path` lies in the archive; `None` if the path gets too long.
fn stored_path(path: &RelPath, millis: i64, room: usize, flat: bool) -> Option<RelPath> {
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = Utc::from_unix_ns(millis * 1_000_000);
    let suffix = format!(
        "{MARK}{year:04}-{month:02}-{day:02} {hour:02}-{minute:02}-{second:02}-{:03})",
        millis.rem_euclid(1_000)
    );
    if flat {
        let hash = base32_text(&ContentHash::chunk(path.as_bytes()).as_bytes()[..10]);
        return RelPath::parse(format!("{hash}{suffix}").as_bytes()).ok();
    }
    let name = path.name();
    let (stem, ext) = split_extension(name);
    let room = room - suffix.len();
    // Our mark must be the last one in the name.
    let marked = ext.windows(MARK.len()).any(|w| w == MARK.as_bytes());
    let (stem, ext) = if marked || ext.len() > room / 2 {
        (name, &b""[..])
    } else {
        (stem, ext)
    };
    let stem = cut(stem, room - ext.len());
    path.with_name(&[stem, suffix.as_bytes(), ext].concat())
        .ok()
}

/// The path something archived had, and when it was archived.
fn original(stored: &RelPath) -> Option<(RelPath, i64)> {
    let name = stored.name();
    let mark = MARK.as_bytes();
    let at = name.windows(mark.len()).rposition(|w| w == mark)?;
    let suffix = std::str::from_utf8(name.get(at..at + SUFFIX)?).ok()?;
    let inner = suffix.strip_prefix(MARK)?.strip_suffix(')')?;
    let rest = &name[at + SUFFIX..];
    if at == 0 || !(rest.is_empty() || rest[0] == b'.') {
        return None;
    }
    let (date, time) = inner.split_once(' ')?;
    let mut date = date.splitn(3, '-').map(|n| n.parse::<i64>().ok());
    let mut time = time.splitn(4, '-').map(|n| n.parse::<i64>().ok());
    let (y, m, d) = (date.next()??, date.next()??, date.next()??);
    let (h, min, s, ms) = (time.next()??, time.next()??, time.next()??, time.next()??);
    let in_range = (0..=9999).contains(&y)
        && (0..1_000).contains(&ms)
        && (1..=12).contains(&m)
        && (1..=31).contains(&d)
        && (0..24).contains(&h)
        && (0..60).contains(&min)
        && (0..60).contains(&s);
    if !in_range {
        return None;
    }
    let secs = days(y, m, d) * 86_400 + h * 3_600 + min * 60 + s;
    let ns = (secs * 1_000 + ms).checked_mul(1_000_000)?;
    let path = stored.with_name(&[&name[..at], rest].concat()).ok()?;
    Some((path, ns))
}

/// Days since 1970 of a date (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(0) | None => (name, b""),
        Some(dot) => name.split_at(dot),
    }
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
    if end == 0 {
        &stem[..room]
    } else {
        &stem[..end]
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
