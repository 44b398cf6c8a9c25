//! Which files a table's glob names.
//!
//! Files are ordered by path, so that two readings of the same state give the same rows in the same order.
//! Symbolic links to directories are not followed: a loop must not hang a query.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::source::{SourceError, SourceErrorKind, SourceName};

/// A file that belongs to a table.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// Relative to the source's root, with `/`.
    pub(super) name: Arc<str>,
    pub(super) size: u64,
    /// Since 1970; 0 where the file system does not tell.
    pub(super) modified_nanos: u128,
}

/// The files a glob names, ordered by path.
pub(super) fn find(source: &SourceName, root: &Path, glob: &str) -> Result<Vec<FoundFile>, SourceError> {
    let pattern: Vec<&str> = glob.split('/').filter(|part| !part.is_empty()).collect();
    let mut found = Vec::new();
    walk(source, root, root, &pattern, &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

fn walk(
    source: &SourceName,
    root: &Path,
    directory: &Path,
    pattern: &[&str],
    found: &mut Vec<FoundFile>,
) -> Result<(), SourceError> {
    let Some((first, rest)) = pattern.split_first() else { return Ok(()) };
    if *first == "**" {
        walk(source, root, directory, rest, found)?;
    }
    let entries = std::fs::read_dir(directory).map_err(|error| unreadable(source, root, directory, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(source, root, directory, error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().map_err(|error| unreadable(source, root, directory, error))?;
        if kind.is_dir() {
            if *first == "**" {
                walk(source, root, &entry.path(), pattern, found)?;
            } else if !rest.is_empty() && matches(first, &name) {
                walk(source, root, &entry.path(), rest, found)?;
            }
        } else if rest.is_empty() && *first != "**" && matches(first, &name) {
            let path = entry.path();
            let metadata =
                std::fs::metadata(&path).map_err(|error| unreadable(source, root, &path, error))?;
            if metadata.is_file() {
                let modified_nanos = metadata
                    .modified()
                    .ok()
                    .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
                    .map_or(0, |at| at.as_nanos());
                let name = relative(root, &path);
                found.push(FoundFile { path, name, size: metadata.len(), modified_nanos });
            }
        }
    }
    Ok(())
}

/// Whether a name matches one part of a glob, with `*` and `?`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(at) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || c == at => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star, from)) = retry else { return false };
                p = star + 1;
                n = from + 1;
                retry = Some((star, n));
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

/// A path below the root as it is shown: relative, with `/`.
pub(super) fn relative(root: &Path, path: &Path) -> Arc<str> {
    let shown = path.strip_prefix(root).unwrap_or(path);
    shown.to_string_lossy().replace('\\', "/").into()
}

/// The error for something that cannot be opened or read.
pub(super) fn unreadable(
    source: &SourceName,
    root: &Path,
    path: &Path,
    error: std::io::Error,
) -> SourceError {
    let (what, shown) = if path == root {
        ("directory", root.display().to_string())
    } else {
        ("file", relative(root, path).to_string())
    };
    let kind = if path == root { SourceErrorKind::Unreachable } else { SourceErrorKind::NotFound };
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist",
        std::io::ErrorKind::PermissionDenied => "may not be read",
        std::io::ErrorKind::InvalidData => "is not of the declared format",
        _ => "cannot be read",
    };
    SourceError::new(kind, format!("{what} \"{shown}\" of source \"{source}\" {why}"))
        .with_source(source)
        .with_hint(format!("check sources.{source}.files.root and the permissions"))
        .with_cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_a_shell_does() {
        for (pattern, name, expected) in [
            ("*.ndjson", "a.ndjson", true),
            ("*.ndjson", "a.ndjson.tmp", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*", "", true),
            ("é*", "été", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_in_order() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/2.txt", "b/1.txt", "a.txt", "b/c/3.txt", "b/3.csv"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let source = SourceName::try_new("files").unwrap();
        let names = |glob: &str| -> Vec<String> {
            find(&source, root.path(), glob).unwrap().iter().map(|file| file.name.to_string()).collect()
        };
        assert_eq!(names("**/*.txt"), ["a.txt", "b/1.txt", "b/2.txt", "b/c/3.txt"]);
        assert_eq!(names("b/*.txt"), ["b/1.txt", "b/2.txt"]);
        assert_eq!(names("a.txt"), ["a.txt"]);
        assert!(names("*.xml").is_empty());
        let error = find(&source, &root.path().join("gone"), "*").unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Unreachable);
    }
}
