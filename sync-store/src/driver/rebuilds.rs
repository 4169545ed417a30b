//! How often the index was set aside because peers knew more of us than it did.
//!
//! Whoever may write can claim so of us, honestly or not, and each time everything is hashed anew under another replica
//! id. So it happens a few times a day at most, and a new start doesn't begin to count anew: the file beside the
//! identity holds the times, in seconds since 1970, as decimal numbers.

use std::io;

use crate::identity::SmallFiles;

/// Most rebuilds within [`WITHIN_S`].
const MOST: usize = 3;
/// A day, in seconds.
const WITHIN_S: u64 = 86_400;
/// Longest file.
const MAX: u64 = 256;

/// When the last rebuilds were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rebuilds(Vec<i64>);

impl Rebuilds {
    /// Reads the file of a folder. What isn't a number in it doesn't count, and one that is too long says nothing.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn read<F: SmallFiles>(files: &F, id: &str) -> io::Result<Self> {
        let bytes = match files.read(&file_name(id), MAX) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            read => read?,
        };
        let bytes = bytes.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        Ok(Self(
            text.split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect(),
        ))
    }

    /// Makes this durable.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn write<F: SmallFiles>(&self, files: &F, id: &str) -> io::Result<()> {
        let times: Vec<_> = self.0.iter().map(i64::to_string).collect();
        files.write(&file_name(id), times.join(" ").as_bytes())
    }

    /// Counts one more, if there may be one. What lies more than a day off, be it by a clock that was set, is past.
    pub(super) fn add(&mut self, now_s: i64) -> bool {
        self.0.retain(|at| at.abs_diff(now_s) < WITHIN_S);
        let room = self.0.len() < MOST;
        if room {
            self.0.push(now_s);
        }
        room
    }
}

fn file_name(id: &str) -> String {
    format!("rebuilds-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PrivateDir;

    #[test]
    fn a_new_start_does_not_begin_to_count_anew() {
        let dir = tempfile::tempdir().unwrap();
        let files = &PrivateDir::new(dir.path());
        let day = WITHIN_S as i64;
        for now in 0..3 {
            let mut rebuilds = Rebuilds::read(files, "x").unwrap();
            assert!(rebuilds.add(day + now));
            rebuilds.write(files, "x").unwrap();
        }
        let mut rebuilds = Rebuilds::read(files, "x").unwrap();
        assert!(!rebuilds.add(day + 3));
        assert!(!rebuilds.clone().add(2 * day - 1));
        assert!(rebuilds.clone().add(2 * day));
        // The clock was wrong when they were counted.
        assert!(rebuilds.add(-day));
        std::fs::write(dir.path().join("rebuilds-x"), "5 \u{fffd} x 7").unwrap();
        assert_eq!(Rebuilds::read(files, "x").unwrap(), Rebuilds(vec![5, 7]));
        std::fs::write(dir.path().join("rebuilds-x"), "9 ".repeat(1_000)).unwrap();
        assert_eq!(Rebuilds::read(files, "x").unwrap(), Rebuilds::default());
        let most = Rebuilds(vec![i64::MIN; MOST]);
        most.write(files, "x").unwrap();
        assert_eq!(Rebuilds::read(files, "x").unwrap(), most);
    }
}
