//! What the fetch scheduler asks of the temporaries.

use std::io;

use sync_core::{
    disk::{Outcome, WriteTrouble},
    engine::Input,
    fetch::TempJob,
    index::{ChunkPlace, Index, IndexError},
    manifest::{ChunkRef, ContentRoot},
    trouble::Trouble,
};
use tracing::debug;

use super::Temps;
use crate::{
    apply::trouble,
    fs::{Disk, Place},
};

/// Contents that are looked at for one chunk.
const MAX_SOURCES: usize = 16;

impl<D: Disk> Temps<D> {
    /// Does a piece of work and returns the answer for the engine, if there is one. `index` says where local
    /// files hold a chunk. Blocks.
    pub fn work(&self, job: TempJob, index: &impl Index) -> Option<Input> {
        let written = |content, index, result: io::Result<bool>| {
            let (ok, trouble) = match result {
                Ok(ok) => (ok, None),
                Err(error) => (false, Some(trouble_of(&error))),
            };
            Input::Written {
                content,
                index,
                ok,
                trouble,
            }
        };
        Some(match job {
            TempJob::Check {
                content,
                size,
                chunks,
            } => {
                // Told before any of it is fetched.
                if let Err(error) = self.room(&content, size) {
                    return Some(written(content, 0, Err(error)));
                }
                let have = self.check(&content, size, &chunks).unwrap_or_else(|error| {
                    debug!(%error, "a temporary can't be checked");
                    vec![false; chunks.len()]
                });
                Input::TempChecked { content, have }
            }
            TempJob::CopyLocal {
                content,
                size,
                chunks,
            } => {
                let copy = |(number, offset, chunk): &(u32, u64, ChunkRef)| {
                    let copied = self.copy_local(index, &content, size, *offset, chunk);
                    // What can't be copied is fetched.
                    (*number, copied.unwrap_or(false))
                };
                let results = chunks.iter().map(copy).collect();
                Input::CopiedLocal { content, results }
            }
            TempJob::Write {
                content,
                size,
                offset,
                index,
                hash,
                bytes,
            } => {
                let result = self.write_chunk(&content, size, offset, &hash, &bytes);
                written(content, index, result)
            }
            TempJob::Drop { content } => {
                if let Err(error) = self.discard(&content) {
                    debug!(%error, "a temporary stays until it is a week old");
                }
                return None;
            }
        })
    }

    /// Takes a chunk from any local file that holds it.
    fn copy_local(
        &self,
        index: &impl Index,
        content: &ContentRoot,
        size: u64,
        offset: u64,
        chunk: &ChunkRef,
    ) -> io::Result<bool> {
        let unavailable = |e: IndexError| io::Error::other(e.to_string());
        let mut sources = vec![(ContentRoot::single(chunk.hash), 0)];
        let mut add = |place: ChunkPlace| {
            sources.push((place.content, place.offset));
            sources.len() < MAX_SOURCES
        };
        index
            .chunk_places(&chunk.hash, &mut add)
            .map_err(unavailable)?;
        for (source, from) in sources {
            for path in index.with_content(&source, 4).map_err(unavailable)? {
                if self.copy_chunk(content, size, offset, chunk, Place::User(&path), from)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// What an error of [`Temps::write_chunk`] means: whether the whole disk takes nothing more, or this file.
pub(super) fn trouble_of(error: &io::Error) -> WriteTrouble {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull, WriteZero};
    if error.kind() == StorageFull && error.raw_os_error().is_none() {
        // Our own: it says all there is to say.
        return WriteTrouble::Full(Trouble::KeptFree(error.to_string()));
    }
    let full = matches!(
        error.kind(),
        StorageFull | QuotaExceeded | WriteZero | ReadOnlyFilesystem
    );
    match trouble::full(error) {
        Outcome::DiskFull { reason } if full => WriteTrouble::Full(reason),
        Outcome::DiskFull { reason } if trouble::stops_all(error) => WriteTrouble::Failed(reason),
        _ => {
            WriteTrouble::Failed(format!("its bytes can't be written to .sync/tmp: {error}").into())
        }
    }
}
