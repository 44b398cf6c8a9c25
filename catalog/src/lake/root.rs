//! Where a lake lies: a directory, or a folder of an HDFS.

use std::path::{Path, PathBuf};

use url::Url;

use crate::source::{SourceError, SourceErrorKind};

/// The root of a lake, as configured. Naming it contacts nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LakeRoot {
    /// A directory of this machine.
    Directory(PathBuf),
    /// `hdfs://host:port/folder`, or `hdfs://nameservice/folder` with Hadoop's own configuration. Ends in a slash.
    Hdfs(Url),
}

impl LakeRoot {
    /// Reads a root: a URL if it has a scheme, else a path that starts from a directory.
    ///
    /// # Errors
    /// `Unsupported` for a scheme other than `hdfs` and `viewfs`, `Data` for a URL that is none.
    pub fn parse(text: &str, base: &Path) -> Result<Self, SourceError> {
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::Directory(base.join(text)));
        };
        if !matches!(scheme, "hdfs" | "viewfs") {
            let message = format!("a lake cannot lie on \"{scheme}\"");
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_hint("name a directory, or a URL such as hdfs://namenode:8020/lake"));
        }
        let refused = || {
            SourceError::new(SourceErrorKind::Data, "the lake's URL cannot be right")
                .with_hint("write hdfs://namenode:8020/lake, without user, password, query or fragment")
        };
        let mut url = Url::parse(text).map_err(|_| refused())?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain || !url.has_host() {
            return Err(refused());
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self::Hdfs(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_a_directory_or_a_folder_of_an_hdfs() {
        let parse = |text: &str| LakeRoot::parse(text, Path::new("/base"));
        assert_eq!(parse("lake").unwrap(), LakeRoot::Directory("/base/lake".into()));
        assert_eq!(parse("/lake").unwrap(), LakeRoot::Directory("/lake".into()));
        for (text, expected) in [
            ("hdfs://nn:8020/lake", "hdfs://nn:8020/lake/"),
            ("hdfs://nn:8020", "hdfs://nn:8020/"),
            ("hdfs://ns/a/b/", "hdfs://ns/a/b/"),
        ] {
            let LakeRoot::Hdfs(url) = parse(text).unwrap() else { panic!("{text}") };
            assert_eq!(url.as_str(), expected);
        }
        for (text, kind) in [
            ("s3://bucket/lake", SourceErrorKind::Unsupported),
            ("hdfs:///lake", SourceErrorKind::Data),
            ("hdfs://me:secret@nn/lake", SourceErrorKind::Data),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind, kind, "{text}");
            assert!(error.hint.is_some() && !error.message.contains("secret"), "{error}");
        }
    }
}
