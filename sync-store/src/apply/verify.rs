//! Reading files back and naming their content.
//!
//! Nothing is placed, served or dropped as a duplicate on trust: its bytes are read and hashed here.

use std::io;

use sync_core::{
    chunk::{ChunkParams, Chunker, ContentHash},
    manifest::{ChunkRef, ContentRoot, ManifestBuilder, manifest_of},
};

use crate::fs::DiskFile;

/// Reads until `buf` is full or the file ends; returns how much.
pub(crate) fn read_full<F: DiskFile>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// The first `size` bytes of a file, or fewer if it is shorter. The caller bounds `size`.
pub(crate) fn read_whole<F: DiskFile>(file: &F, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; size];
    let got = read_full(file, &mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// The content of a file of `size` bytes, cut with the folder's seed; `None` if it is not that long.
pub(crate) fn content_of<F: DiskFile>(
    file: &F,
    size: u64,
    seed: u64,
) -> io::Result<Option<ContentRoot>> {
    let chunker = Chunker::new(ChunkParams::for_size(size, seed));
    let max = chunker.params().max() as usize;
    let capacity = usize::try_from(size)
        .unwrap_or(usize::MAX)
        .saturating_add(1)
        .min(max * 4);
    let mut window = vec![0; capacity];
    let mut builder = ManifestBuilder::new();
    let (mut filled, mut offset, mut at_end) = (0, 0_u64, false);
    loop {
        if !at_end {
            let got = read_full(file, &mut window[filled..], offset)?;
            at_end = filled + got < window.len();
            offset += got as u64;
            filled += got;
            if offset > size {
                // It grew meanwhile; the window may be too small for what it is now.
                return Ok(None);
            }
        }
        let mut start = 0;
        while let Some(len) = chunker.cut(&window[start..filled], at_end) {
            let hash = ContentHash::chunk(&window[start..start + len]);
            let len32 = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?;
            if builder.push(ChunkRef { hash, len: len32 }).is_err() {
                return Ok(None);
            }
            start += len;
        }
        if at_end {
            break;
        }
        window.copy_within(start..filled, 0);
        filled -= start;
    }
    Ok((builder.size() == size).then(|| builder.finish().root))
}

/// Whether bytes in hand are the content they should be.
pub(crate) fn is_content(bytes: &[u8], size: u64, content: &ContentRoot, seed: u64) -> bool {
    if bytes.len() as u64 != size {
        return false;
    }
    if content.height == 0 {
        return ContentHash::chunk(bytes) == content.hash;
    }
    manifest_of(bytes, seed).is_ok_and(|m| m.root == *content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::disk::{DiskStat, Meta};

    struct Slice(Vec<u8>);

    impl DiskFile for Slice {
        fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            // Short reads, as a real file may give.
            let n = rest.len().min(buf.len()).min(100_000);
            buf[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
        fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn set_meta(&self, _: Meta) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn stat(&self) -> io::Result<DiskStat> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn streaming_names_content_as_the_core_does() {
        let mut state = 1_u32;
        let mut noise = |n: usize| -> Vec<u8> {
            let step = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            };
            (0..n).map(step).collect()
        };
        for n in [
            0, 1, 15_000, 262_143, 262_144, 262_145, 1_048_576, 1_048_577, 3_000_000,
        ] {
            let bytes = noise(n);
            let want = manifest_of(&bytes, 9).unwrap().root;
            assert!(is_content(&bytes, n as u64, &want, 9));
            let file = Slice(bytes);
            assert_eq!(content_of(&file, n as u64, 9).unwrap(), Some(want), "{n}");
            assert_eq!(content_of(&file, n as u64 + 1, 9).unwrap(), None);
            for grown in [n / 2, n.saturating_sub(1)] {
                let expected = (grown == n).then_some(want);
                assert_eq!(content_of(&file, grown as u64, 9).unwrap(), expected);
            }
        }
    }
}
