//! What seemed to be missing, to be looked for again at the end of a scan.

use sync_core::path::RelPath;

/// Most ranges that are kept apart.
const MOST: usize = 4096;

/// Ranges of paths in which entries of the index weren't found on disk.
///
/// Ranges in place of paths keep the memory small when a whole tree is gone. When there are too many they
/// are joined; a range then also holds paths that are there, which is harmless, since all are looked for again.
#[derive(Debug, Default)]
pub(super) struct Gone {
    ranges: Vec<(RelPath, RelPath)>,
    /// The last range may grow: nothing was found on disk since.
    open: bool,
}

impl Gone {
    /// An entry that wasn't found, in path order.
    pub(super) fn add(&mut self, path: RelPath) {
        match self.ranges.last_mut() {
            Some((_, last)) if self.open && *last < path => *last = path,
            _ => self.push(path.clone(), path),
        }
    }

    /// Something was found on disk.
    pub(super) fn close(&mut self) {
        self.open = false;
    }

    /// A path out of order, such as a file that vanished before it was read.
    pub(super) fn add_single(&mut self, path: RelPath) {
        self.push(path.clone(), path);
        self.open = false;
    }

    fn push(&mut self, first: RelPath, last: RelPath) {
        if self.ranges.len() >= MOST {
            self.join(|index| index % 2 == 1);
        }
        self.ranges.push((first, last));
        self.open = true;
    }

    /// All ranges in path order, none overlapping.
    pub(super) fn into_ranges(mut self) -> Vec<(RelPath, RelPath)> {
        self.join(|_| false);
        self.ranges
    }

    /// Sorts, and joins what overlaps and what `with_former` says.
    fn join(&mut self, with_former: impl Fn(usize) -> bool) {
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.sort();
        for (index, (first, last)) in ranges.into_iter().enumerate() {
            match self.ranges.last_mut() {
                Some((_, end)) if first <= *end || with_former(index) => {
                    *end = last.max(end.clone());
                }
                _ => self.ranges.push((first, last)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: usize) -> RelPath {
        RelPath::parse(format!("{n:06}").as_bytes()).unwrap()
    }

    #[test]
    fn ranges_stay_few_and_lose_nothing() {
        let mut gone = Gone::default();
        for n in 0..20_000 {
            gone.add(path(n));
            if n % 2 == 0 {
                gone.close();
            }
        }
        gone.add_single(path(5));
        assert!(gone.ranges.len() <= MOST);
        let ranges = gone.into_ranges();
        for n in 0..20_000 {
            let path = path(n);
            let after = ranges.partition_point(|(first, _)| *first <= path);
            assert!(after > 0 && path <= ranges[after - 1].1, "{path} is lost");
        }
        assert!(ranges.windows(2).all(|w| w[0].1 < w[1].0));
    }
}
