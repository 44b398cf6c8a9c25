//! Which file of a table's log is damaged, and what to do about it.
//!
//! The kernel's errors name neither file nor line, so the log is looked through once it could not be read. Nothing here
//! repairs anything.

use std::path::Path;

use super::{Lake, TablePath, damaged, directory_of};
use crate::source::SourceError;

impl Lake {
    /// The error for a table whose log cannot be read: which file of it, as far as a look at the log tells.
    pub(super) fn unreadable(
        &self,
        path: &TablePath,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> SourceError {
        let mut error = damaged(path, cause);
        let Some(folder) = self.location(path).ok().and_then(|location| directory_of(&location)) else {
            return error;
        };
        if let Some((file, what)) = find(&folder.join("_delta_log")) {
            error
                .message
                .push_str(&format!(": file \"{}/{}/_delta_log/{file}\" {what}", path.zone, path.name));
        }
        let next = if path.zone == "bronze" {
            "the next ingest lands its source anew, without the earlier snapshots"
        } else {
            "the next ingest makes the table again from bronze"
        };
        error.with_hint(format!(
            "put the file back from a copy, or move \"{}\" away: {next}",
            folder.display()
        ))
    }
}

/// The first commit of a log, by version, that is no commit, and what is wrong with it.
fn find(log: &Path) -> Option<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(log)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    files.iter().find_map(|file| {
        let name = file.file_name()?.to_string_lossy().into_owned();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Some((name, "is not text".to_owned()));
            }
            Err(error) => return Some((name, format!("cannot be opened: {error}"))),
        };
        if text.trim().is_empty() {
            return Some((name, "is empty".to_owned()));
        }
        let bad = text.lines().position(|line| {
            !line.trim().is_empty()
                && !serde_json::from_str::<serde_json::Value>(line).is_ok_and(|action| action.is_object())
        })?;
        Some((name, format!("is damaged in line {}", bad + 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_damaged_commit_is_found() {
        let log = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(log.path().join(name), bytes).unwrap();
        write("00000000000000000000.json", b"{\"protocol\": {}}\n{\"metaData\": {}}\n");
        write("_last_checkpoint", b"garbage");
        assert_eq!(find(log.path()), None);
        write("00000000000000000003.json", b"");
        write("00000000000000000002.json", b"{}\n\n{\"add\": {\"pa");
        let found = |name: &str, what: &str| Some((name.to_owned(), what.to_owned()));
        assert_eq!(find(log.path()), found("00000000000000000002.json", "is damaged in line 3"));
        write("00000000000000000002.json", b"{}\n");
        assert_eq!(find(log.path()), found("00000000000000000003.json", "is empty"));
        write("00000000000000000001.json", b"\xff\xfe");
        assert_eq!(find(log.path()), found("00000000000000000001.json", "is not text"));
        assert_eq!(find(&log.path().join("gone")), None);
    }
}
