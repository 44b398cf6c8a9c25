//! What is remembered of files that have not changed: a small one's digest, a Parquet file's footer.
//!
//! Ten thousand files are listed for every statement, but each is opened again only where it changed. A file that was
//! written a moment ago is not remembered: it could change again without its size or its time telling. What is
//! remembered must never stand for more than the file's path, size and time of modification together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parquet::errors::ParquetError;
use sha2::{Digest as _, Sha256};

use super::listing::FoundFile;
use super::parquet::{Footer, describe};

/// Files up to this size are digested by content, larger ones by size and time of modification.
const DIGEST_CONTENT_UP_TO: u64 = 64 * 1024;
/// A file this old has the time of its last change: the grain of a file system's clock is finer.
const SETTLED: Duration = Duration::from_secs(2);
/// Files remembered at most; beyond, all are forgotten and learned anew.
const MOST: usize = 200_000;

/// Files of whose columns figures are kept: plans gain little by more, and each takes some kilobytes.
const WITH_FIGURES: usize = 2_000;

/// What is known of one state of one file.
#[derive(Debug, Clone, Default)]
struct Known {
    size: u64,
    modified_nanos: u128,
    content: Option<[u8; 32]>,
    footer: Option<Footer>,
}

/// The files of one source.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    files: Mutex<HashMap<PathBuf, Known>>,
    opened: AtomicU64,
}

impl Remembered {
    /// Files opened so far to look into them.
    #[cfg(test)]
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A digest over path, size, time of modification, and the content of small files.
    pub(super) fn digest(&self, files: &[FoundFile]) -> String {
        let mut hash = Sha256::new();
        for file in files {
            hash.update(file.name.as_bytes());
            hash.update([0]);
            hash.update(file.size.to_le_bytes());
            match self.content(file) {
                Some(content) => hash.update(content),
                None => hash.update(file.modified_nanos.to_le_bytes()),
            }
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What the footer of a Parquet file tells.
    pub(super) fn footer(&self, file: &FoundFile) -> Result<Footer, ParquetError> {
        if let Some(footer) = self.of(file).footer {
            return Ok(footer);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut footer = describe(file)?;
        let known = self.files.lock().unwrap_or_else(PoisonError::into_inner).len();
        if known >= WITH_FIGURES {
            footer.figures = Arc::default();
        }
        self.learn(file, |known| known.footer = Some(footer.clone()));
        Ok(footer)
    }

    fn content(&self, file: &FoundFile) -> Option<[u8; 32]> {
        if file.size > DIGEST_CONTENT_UP_TO {
            return None;
        }
        if let Some(content) = self.of(file).content {
            return Some(content);
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let content: [u8; 32] = Sha256::digest(std::fs::read(&file.path).ok()?).into();
        self.learn(file, |known| known.content = Some(content));
        Some(content)
    }

    /// What is known of the file's present state.
    fn of(&self, file: &FoundFile) -> Known {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&Known| known.size == file.size && known.modified_nanos == file.modified_nanos;
        files.get(&file.path).filter(same).cloned().unwrap_or_default()
    }

    fn learn(&self, file: &FoundFile, what: impl FnOnce(&mut Known)) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        if file.modified_nanos == 0 || file.modified_nanos.saturating_add(SETTLED.as_nanos()) > now {
            return;
        }
        let mut known = self.of(file);
        known.size = file.size;
        known.modified_nanos = file.modified_nanos;
        what(&mut known);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= MOST {
            files.clear();
        }
        files.insert(file.path.clone(), known);
    }
}
