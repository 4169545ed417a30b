//! Writing a small file so that a crash leaves the old one or the new one, and reading it with a bound.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::IdentityError;

const MAGIC: &[u8; 6] = b"syncd\0";
const FORMAT: u8 = 1;
const HASH: usize = 32;
/// Longest sealed file.
pub(super) const MAX_SEALED: u64 = 64 * 1024;

/// Replaces the file `name` in `dir` by one with these bytes and permission bits. When it returns, the new
/// file is durable; after a crash on the way, the old one is whole. One writer at a time for each name.
pub fn write_atomic(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temp = dir.join(temp_name(name));
    // Left over from a crash. Making it anew, and only if nothing is there, keeps others' links out.
    match fs::remove_file(&temp) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = write_temp(&temp, bytes, mode).and_then(|()| fs::rename(&temp, dir.join(name)));
    if let Err(error) = written {
        // The error that counts is the first one; the next write removes what is left.
        let _ = fs::remove_file(&temp);
        return Err(error);
    }
    sync_dir(dir)
}

/// Name of the temporary of `name`.
pub(super) fn temp_name(name: &str) -> String {
    format!(".{name}.tmp")
}

fn write_temp(temp: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(mode);
    }
    let mut file = options.open(temp)?;
    set_mode(temp, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    // Only Unix can open a directory to sync it; elsewhere the file system's journal does it.
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

/// Makes `dir` with all above it, and makes it private to its owner (0700).
pub fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)?;
    if is_exposed(&fs::metadata(dir)?) {
        set_mode(dir, 0o700)
    } else {
        Ok(())
    }
}

/// Reads the file at `path`, if there is one; an error if it is longer than `max` bytes.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is too long",
        ));
    }
    Ok(Some(bytes))
}

/// Whether others than the owner have any right to it.
pub(super) fn is_exposed(meta: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        meta.permissions().mode() & 0o077 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = meta;
        false
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    {
        let _ = (path, mode);
        Ok(())
    }
}

/// Writes a sealed file, 0600.
pub(super) fn write_sealed(
    dir: &Path,
    name: &str,
    kind: u8,
    body: &[u8],
) -> Result<(), IdentityError> {
    write_atomic(dir, name, &seal(kind, body), 0o600).map_err(|source| IdentityError::Io {
        path: dir.join(name),
        source,
    })
}

/// Reads the body of a sealed file, if there is one.
pub(super) fn read_sealed(
    path: &Path,
    kind: u8,
) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    unseal(read_bounded(path, MAX_SEALED), path, kind)
}

/// The bytes of a sealed file: magic, format, kind, body, and BLAKE3 over all of that.
pub(super) fn seal(kind: u8, body: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 + body.len() + HASH));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[FORMAT, kind]);
    bytes.extend_from_slice(body);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

/// The body in the bytes that were read of a sealed file. `path` is for people.
pub(super) fn unseal(
    read: io::Result<Option<Vec<u8>>>,
    path: &Path,
    kind: u8,
) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let damaged = |what: &str| IdentityError::Damaged {
        path: path.to_owned(),
        what: what.into(),
    };
    let bytes = match read {
        Ok(Some(bytes)) => Zeroizing::new(bytes),
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(damaged("it is too long")),
        Err(source) => {
            return Err(IdentityError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let Some((rest, hash)) = bytes.split_last_chunk::<HASH>() else {
        return Err(damaged("it is too short"));
    };
    if blake3::hash(rest) != *hash {
        return Err(damaged("its checksum does not fit"));
    }
    match rest.strip_prefix(MAGIC) {
        Some([FORMAT, k, body @ ..]) if *k == kind => Ok(Some(Zeroizing::new(body.to_vec()))),
        Some([FORMAT, ..]) => Err(damaged("it is a file of another kind")),
        Some(&[format, ..]) => Err(IdentityError::Format {
            path: path.to_owned(),
            format,
        }),
        _ => Err(damaged("it is not an identity file")),
    }
}
