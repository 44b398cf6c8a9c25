//! Surrogate keys that any host, and PostgreSQL itself, computes alike.

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};

/// Reserved member: the source gave nothing.
pub const UNKNOWN: i64 = -1;
/// Reserved member: the attribute does not apply, such as the cargo of a call without cargo.
pub const NOT_APPLICABLE: i64 = -2;
/// Reserved member: the source gave a code that no crosswalk resolves.
pub const UNRESOLVED: i64 = -3;

/// The key of a member's version: the first 8 bytes of SHA-256 over `dim`, `natural_key` and `valid_from`, joined by
/// the unit separator 0x1F, as a big-endian number without its sign bit.
///
/// `valid_from` is written as `2026-01-31T00:00:00.000000Z`. Members without versions, and facts, use the start
/// of time that their caller fixes (1900-01-01). In SQL:
/// `('x' || encode(substr(sha256(convert_to(dim || E'\x1F' || nk || E'\x1F' || valid_from, 'UTF8')), 1, 8), 'hex'))::bit(64)::int8 & 9223372036854775807`.
#[must_use]
pub fn surrogate_key(dim: &str, natural_key: &str, valid_from: DateTime<Utc>) -> i64 {
    let mut hash = Sha256::new();
    hash.update(dim.as_bytes());
    hash.update([0x1F]);
    hash.update(natural_key.as_bytes());
    hash.update([0x1F]);
    hash.update(valid_from.to_rfc3339_opts(SecondsFormat::Micros, true).as_bytes());
    let digest = hash.finalize();
    let mut first = [0_u8; 8];
    for (to, from) in first.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    i64::from_be_bytes(first) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fixed_forever() {
        let start = "1900-01-01T00:00:00Z".parse().unwrap();
        // printf 'vessel\x1F9074729\x1F1900-01-01T00:00:00.000000Z' | sha256sum
        assert_eq!(surrogate_key("vessel", "9074729", start), KNOWN);
        assert_ne!(surrogate_key("vessel", "9074729", start), surrogate_key("vessel", "907472", start));
        assert!(surrogate_key("cargo", "", start) >= 0);
    }

    const KNOWN: i64 = 162477289963294780;
}
