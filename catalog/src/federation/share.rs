//! A table's files as parts that several processes read, each its own.
//!
//! Whoever divides a leaf fixes the version first: all parts together are the rows of that one version, no more and no
//! fewer, whatever is committed meanwhile. It must never name a place or a secret: a part is a file of the table's own
//! list and a range of its bytes, which mean nothing to whoever has no access to the table.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table's files at one version, ordered by path, as one fragment reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Division {
    /// The table as the as-of vector calls it, such as `silver.calls`.
    pub key: String,
    /// The version whose files these are.
    pub version: i64,
    /// The files.
    pub files: Vec<DividedFile>,
}

/// One file that may be read in parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DividedFile {
    /// Its path as the table's log names it.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A range of a file's bytes; what begins in it is read, so that ranges that touch share nothing and miss nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// The file's path.
    pub path: String,
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

/// What one of several readers reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The version that is read.
    pub version: i64,
    /// Parts of its files; `None` for all of it.
    pub parts: Option<Vec<FilePart>>,
}

impl Share {
    /// All of one version.
    #[must_use]
    pub const fn whole(version: i64) -> Self {
        Self { version, parts: None }
    }
}

impl Division {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// So many shares of about equal size, which together are everything. At least one; some may be empty.
    #[must_use]
    pub fn shares(&self, count: usize) -> Vec<Arc<Share>> {
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        let total = self.bytes();
        // The byte of all files, one after the other, at which a share begins.
        let begins = |number: u64| -> u64 {
            let exact = u128::from(total) * u128::from(number) / u128::from(count);
            u64::try_from(exact).unwrap_or(total)
        };
        (0..count)
            .map(|number| {
                let (from, to) = (begins(number), begins(number + 1));
                let mut parts = Vec::new();
                let mut first = 0;
                for file in &self.files {
                    let (start, end) = (from.max(first), to.min(first + file.size));
                    if start < end {
                        parts.push(FilePart {
                            path: file.path.clone(),
                            start: start - first,
                            end: end - first,
                        });
                    }
                    first += file.size;
                }
                Arc::new(Share { version: self.version, parts: Some(parts) })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_everything_once() {
        for sizes in [vec![], vec![10], vec![1, 1, 1], vec![7, 100, 3, 0, 55], vec![1_000_000, 3]] {
            let files: Vec<DividedFile> = sizes
                .iter()
                .enumerate()
                .map(|(number, size)| DividedFile { path: format!("f{number}"), size: *size })
                .collect();
            let division = Division { key: "silver.t".into(), version: 7, files };
            for count in [0, 1, 2, 3, 8] {
                let shares = division.shares(count);
                assert_eq!(shares.len(), count.max(1));
                for file in &division.files {
                    let mut at = 0;
                    for part in shares.iter().filter_map(|share| share.parts.as_ref()).flatten() {
                        if part.path == file.path {
                            assert_eq!(part.start, at, "{file:?} in {count} shares");
                            at = part.end;
                        }
                    }
                    assert_eq!(at, file.size, "{file:?} in {count} shares");
                }
                assert!(shares.iter().all(|share| share.version == 7));
            }
        }
    }
}
