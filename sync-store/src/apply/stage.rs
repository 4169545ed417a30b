//! Step one: new content into temporaries, verified before anything else happens.

use std::{collections::BTreeSet, io};

use sync_core::{
    disk::{Action, DiskKind, DiskStat, Displaced, Expect, Meta, Outcome, Source},
    manifest::ContentRoot,
    observe::untouched,
    path::RelPath,
};

use super::{
    Applier, ApplyPolicy, FEW,
    journal::{self, NEW, SWAP, Swap},
    trouble, verify,
};
use crate::{
    fs::{Disk, DiskFile, Place},
    temps,
};

/// What is ready for an action.
#[derive(Debug)]
pub(super) enum Staged {
    /// It came to an end already.
    Settled(Outcome),
    /// It needs no temporary.
    Bare,
    /// The temporary to be placed, and its stat.
    Temp { name: String, stat: DiskStat },
}

/// One action, ready to be placed.
#[derive(Debug)]
pub(super) struct Stage<F> {
    pub(super) staged: Staged,
    /// What the note says about it, if it may displace something.
    pub(super) swap: Option<Swap>,
    /// Kept open for a group that is synced file by file.
    pub(super) file: Option<F>,
}

impl<F> Stage<F> {
    fn settled(outcome: Outcome) -> Self {
        Self {
            staged: Staged::Settled(outcome),
            swap: None,
            file: None,
        }
    }

    fn bare() -> Self {
        Self {
            staged: Staged::Bare,
            swap: None,
            file: None,
        }
    }

    /// The outcome if nothing could be made durable.
    pub(super) fn give_up(self, e: &io::Error, action: &Action) -> Outcome {
        match self.staged {
            Staged::Settled(outcome) => outcome,
            _ => match trouble::outcome(e, action.path()) {
                Outcome::Stale | Outcome::NotEmpty => trouble::failed(e.to_string()),
                other => other,
            },
        }
    }
}

/// Free bytes that may still be used, once known.
struct Room {
    left: Option<u64>,
    min_free: u64,
}

impl<D: Disk> Applier<D> {
    pub(super) fn stage(&self, group: &[Action], policy: ApplyPolicy) -> Vec<Stage<D::File>> {
        let mut room = Room {
            left: None,
            min_free: policy.min_free,
        };
        let mut touched: BTreeSet<&RelPath> = BTreeSet::new();
        let mut full: Option<Outcome> = None;
        let mut stages = Vec::with_capacity(group.len());
        let mut files = 0;
        for (i, action) in group.iter().enumerate() {
            if let Some(full) = &full {
                stages.push(Stage::settled(full.clone()));
                continue;
            }
            // An earlier action of the group may make the path what is expected.
            let first = !touched.contains(action.path())
                && action.path().ancestors().all(|dir| !touched.contains(&dir));
            let mut stage = self.stage_one(action, &group[i + 1..], first, &mut room);
            if let Staged::Settled(outcome @ Outcome::DiskFull { .. }) = &stage.staged {
                full = Some(outcome.clone());
            }
            // More than a few are synced together, and need not be kept open.
            // Counted are files, not places in the group: directories before them are none.
            files += usize::from(matches!(stage.staged, Staged::Temp { .. }));
            if files > FEW {
                stage.file = None;
            }
            stages.push(stage);
            touched.insert(action.path());
            if let Action::Rename { from, .. } = action {
                touched.insert(from);
            }
        }
        if files > FEW {
            stages.iter_mut().for_each(|s| s.file = None);
        }
        stages
    }

    fn stage_one(
        &self,
        action: &Action,
        later: &[Action],
        first: bool,
        room: &mut Room,
    ) -> Stage<D::File> {
        let result = match action {
            Action::File {
                path,
                source,
                content,
                size,
                meta,
                expect,
                displaced,
            } => {
                if first && let Some(stale) = self.is_stale(path, expect) {
                    return Stage::settled(stale);
                }
                let mut name = self.names.next(prefix(expect));
                if let Source::Temp(temp) = source {
                    name = journal::with_partial(&name, &temps::name(temp));
                }
                let again = later.iter().any(
                    |a| matches!(a, Action::File { source: Source::Temp(c), .. } if c == content),
                );
                self.write_file(&name, source, content, *size, *meta, again, room)
                    .map(|made| {
                        made.map(|(file, stat)| {
                            let swap = swap(&name, path, expect, displaced, Some((stat, *content)));
                            Stage {
                                staged: Staged::Temp {
                                    name: name.clone(),
                                    stat,
                                },
                                swap,
                                file: Some(file),
                            }
                        })
                    })
                    .inspect(|made| {
                        if made.is_err() {
                            self.drop_ours(&name);
                        }
                    })
                    .inspect_err(|_| self.drop_ours(&name))
            }
            Action::Symlink {
                path,
                target,
                expect,
                displaced,
            } => {
                if first && let Some(stale) = self.is_stale(path, expect) {
                    return Stage::settled(stale);
                }
                let name = self.names.next(prefix(expect));
                self.write_link(&name, target, room).map(|stat| {
                    let mut swap = swap(&name, path, expect, displaced, None);
                    if let Some(swap) = &mut swap {
                        swap.ours = Some(stat);
                    }
                    Ok(Stage {
                        staged: Staged::Temp { name, stat },
                        swap,
                        file: None,
                    })
                })
            }
            Action::Dir {
                path,
                expect,
                displaced,
                ..
            }
            | Action::Remove {
                path,
                expect,
                displaced,
            } => {
                let name = self.names.next(SWAP);
                let swap = swap(&name, path, expect, displaced, None);
                Ok(Ok(Stage {
                    swap,
                    ..Stage::bare()
                }))
            }
            Action::Meta { .. } | Action::Rename { .. } => Ok(Ok(Stage::bare())),
        };
        match result {
            Ok(Ok(stage)) => stage,
            Ok(Err(outcome)) => Stage::settled(outcome),
            Err(e) => Stage::settled(match trouble::outcome(&e, action.path()) {
                // Trouble with a temporary says nothing about the path.
                Outcome::Stale | Outcome::NotEmpty => trouble::failed(format!(
                    "the folder's own directory .sync/tmp can't be used ({e})"
                )),
                other => other,
            }),
        }
    }

    /// A look before anything is written, so that a stale action costs nothing.
    fn is_stale(&self, path: &RelPath, expect: &Expect) -> Option<Outcome> {
        match (self.disk.stat(Place::User(path)), expect) {
            (Ok(None), Expect::Absent) => None,
            (Ok(Some(now)), Expect::Stat(known)) if untouched(known, &now) => None,
            (Ok(_), _) => Some(Outcome::Stale),
            (Err(e), _) => Some(trouble::outcome(&e, path)),
        }
    }

    /// Writes, verifies and dates a temporary. The inner error is for content that isn't right.
    #[expect(clippy::too_many_arguments, reason = "the parts of one action")]
    fn write_file(
        &self,
        name: &str,
        source: &Source,
        content: &ContentRoot,
        size: u64,
        meta: Meta,
        again: bool,
        room: &mut Room,
    ) -> io::Result<Result<(D::File, DiskStat), Outcome>> {
        let file = match source {
            Source::Bytes(bytes) => {
                if !verify::is_content(bytes, size, content, self.seed) {
                    return Ok(Err(Outcome::BadSource));
                }
                self.reserve(room, size)?;
                let file = self.disk.open_tmp(name)?;
                file.write_all_at(bytes, 0)?;
                file
            }
            Source::CopyOf(from) => {
                match self.disk.stat(Place::User(from))? {
                    Some(stat) if stat.kind == DiskKind::File && stat.size == size => {}
                    _ => return Ok(Err(Outcome::BadSource)),
                }
                self.reserve(room, size)?;
                match self.disk.clone_to_tmp(Place::User(from), name) {
                    Ok(_) => {}
                    Err(e) if trouble::stops_all(&e) => return Err(e),
                    Err(_) => return Ok(Err(Outcome::BadSource)),
                }
                let file = self.disk.open_tmp(name)?;
                if verify::content_of(&file, size, self.seed)? != Some(*content) {
                    return Ok(Err(Outcome::BadSource));
                }
                file
            }
            Source::Temp(temp) => {
                let made = if again {
                    self.reserve(room, size)?;
                    self.temps.clone_to(temp, name)?
                } else {
                    self.temps.take(temp, size, name)?
                };
                let Some(stat) = made.filter(|s| s.kind == DiskKind::File && s.size >= size) else {
                    return Ok(Err(Outcome::BadSource));
                };
                let file = self.disk.open_tmp(name)?;
                if stat.size > size {
                    file.set_len(size)?;
                }
                file
            }
        };
        match file.set_meta(meta) {
            Err(e) if !trouble::meta_is_refused(&e) => return Err(e),
            _ => {}
        }
        let stat = file.stat()?;
        Ok(Ok((file, stat)))
    }

    fn write_link(&self, name: &str, target: &[u8], room: &mut Room) -> io::Result<DiskStat> {
        self.reserve(room, 0)?;
        self.disk.make_link(Place::Tmp(name), target)?;
        self.disk
            .stat(Place::Tmp(name))?
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn reserve(&self, room: &mut Room, bytes: u64) -> io::Result<()> {
        let left = match room.left {
            Some(left) => left,
            None => {
                let free = self.disk.free_bytes()?;
                free.checked_sub(room.min_free)
                    .ok_or(io::ErrorKind::StorageFull)?
            }
        };
        room.left = Some(left.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?);
        Ok(())
    }
}

/// Whether what is expected at a path would be displaced into `.sync/tmp`.
fn displaces(expect: &Expect) -> Option<&DiskStat> {
    match expect {
        Expect::Stat(stat) if matches!(stat.kind, DiskKind::File | DiskKind::Symlink) => Some(stat),
        _ => None,
    }
}

fn prefix(expect: &Expect) -> &'static str {
    if displaces(expect).is_some() {
        SWAP
    } else {
        NEW
    }
}

fn swap(
    name: &str,
    path: &RelPath,
    expect: &Expect,
    displaced: &Displaced,
    ours: Option<(DiskStat, ContentRoot)>,
) -> Option<Swap> {
    let expect = *displaces(expect)?;
    let copy = match displaced {
        Displaced::Archive => None,
        Displaced::Copy(to) => Some(to.clone()),
    };
    let (ours, content) = ours.unzip();
    Some(Swap {
        tmp: name.to_owned(),
        path: path.clone(),
        expect,
        ours,
        content,
        copy,
    })
}
