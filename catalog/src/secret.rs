//! Secrets: where they come from, and a value nobody can print by accident.
//!
//! Configuration names a file or an environment variable; a value written into the configuration is refused. The
//! resolved value has no `Display`, and its `Debug` says `[REDACTED]`. It is read when it is used, so a rotated
//! secret needs no restart.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::source::{SourceError, SourceErrorKind};

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// The content of a file; one trailing line break is not part of it.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// `Auth` naming the file or variable that is missing or unreadable; never the value.
    pub fn resolve(&self) -> Result<SecretString, SourceError> {
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let message = format!("secret file \"{}\" cannot be read", path.display());
                    SourceError::new(SourceErrorKind::Auth, message)
                        .with_hint("check the path and its permissions")
                        .with_cause(error)
                })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Ok(SecretString::from(text.strip_suffix('\r').unwrap_or(text)))
            }
            Self::Env(name) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "this is the one place secrets enter by environment"
                )]
                let value = std::env::var(name);
                value.map(SecretString::from).map_err(|_| {
                    let message = format!("environment variable \"{name}\" is not set");
                    SourceError::new(SourceErrorKind::Auth, message)
                        .with_hint(format!("set {name}, or use {{ file: … }}"))
                })
            }
        }
    }
}

/// Said when somebody writes the secret itself into the configuration.
pub(crate) const PLAINTEXT_REFUSED: &str =
    "a secret must not be written here; use { file: <path> } or { env: <variable> }";

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reference;

        impl<'de> Visitor<'de> for Reference {
            type Value = SecretRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ file: <path> } or { env: <variable> }")
            }

            // The value is not repeated: an error text may end in a log.
            fn visit_str<E: serde::de::Error>(self, _value: &str) -> Result<SecretRef, E> {
                Err(E::custom(PLAINTEXT_REFUSED))
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<SecretRef, M::Error> {
                let Some(kind) = map.next_key::<String>()? else {
                    return Err(serde::de::Error::custom(
                        "a secret needs { file: <path> } or { env: <variable> }",
                    ));
                };
                let secret = match kind.as_str() {
                    "file" => SecretRef::File(map.next_value()?),
                    "env" => SecretRef::Env(map.next_value()?),
                    other => return Err(serde::de::Error::unknown_field(other, &["file", "env"])),
                };
                match map.next_key::<String>()? {
                    None => Ok(secret),
                    Some(_) => Err(serde::de::Error::custom("a secret has one origin: file or env")),
                }
            }
        }

        deserializer.deserialize_any(Reference)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_file_loses_one_line_break_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret \n\n").unwrap();
        let secret = SecretRef::File(file.path().into()).resolve().unwrap();
        assert_eq!(secret.expose_secret(), "s3cret \n");
        assert!(!format!("{secret:?}").contains("s3cret"));
    }

    #[test]
    fn a_missing_origin_is_named() {
        let error = SecretRef::Env("PORTOLAN_NO_SUCH_VARIABLE".into()).resolve().unwrap_err();
        assert_eq!(error.message, "environment variable \"PORTOLAN_NO_SUCH_VARIABLE\" is not set");
        let error = SecretRef::File("/nonexistent/secret".into()).resolve().unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Auth);
    }
}
