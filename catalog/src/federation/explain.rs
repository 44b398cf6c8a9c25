//! How a leaf explains itself: what is sent to the source, what stays here, and why.
//!
//! Shown by `EXPLAIN` and by tests as proof of push-down. It must never show a secret; literals of the user's own
//! statement are shown.

use std::fmt;

use datafusion::logical_expr::Expr;

use super::Reason;
use super::figures::FragmentFigures;

/// What happened to a filter that was not simply sent as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Rewritten,
    Superset,
    Kept,
}

/// A filter the gate did not simply pass, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptFilter {
    fate: Fate,
    text: String,
    reason: Reason,
}

impl KeptFilter {
    pub(super) fn rewritten(expr: &Expr, reason: Reason) -> Self {
        Self { fate: Fate::Rewritten, text: text_of(expr), reason }
    }

    pub(super) fn superset(expr: &Expr, reason: Reason) -> Self {
        Self { fate: Fate::Superset, text: text_of(expr), reason }
    }

    pub(super) fn kept(expr: &Expr, reason: Reason) -> Self {
        Self { fate: Fate::Kept, text: text_of(expr), reason }
    }

    /// An operator that is evaluated here, by its own words.
    pub(super) fn kept_operator(text: impl Into<String>, reason: Reason) -> Self {
        Self { fate: Fate::Kept, text: text.into(), reason }
    }

    /// An operator that is evaluated at the source in other words.
    pub(super) fn rewritten_operator(text: impl Into<String>, reason: Reason) -> Self {
        Self { fate: Fate::Rewritten, text: text.into(), reason }
    }
}

/// Long expressions are cut: the plan's other lines show them whole.
fn text_of(expr: &Expr) -> String {
    const LIMIT: usize = 400;
    let text = expr.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// What was not simply sent as it stands, and why; empty if all was.
pub(super) fn verdicts(kept: &[KeptFilter], bare: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (fate, label) in [(Fate::Rewritten, "rewrite"), (Fate::Superset, "superset"), (Fate::Kept, "kept")] {
        let filters = kept.iter().filter(|filter| filter.fate == fate);
        let filters: Vec<String> =
            filters.map(|filter| format!("{} ({})", filter.text, filter.reason)).collect();
        if !filters.is_empty() {
            parts.push(format!("{label}: {}", filters.join(", ")));
        }
    }
    if bare {
        parts.push("kept: all but columns (push-down is off)".to_owned());
    }
    parts.join(" ")
}

/// Writes a leaf's one line of `EXPLAIN`; after a run with what came.
pub(super) fn write_leaf(f: &mut fmt::Formatter<'_>, leaf: &FragmentFigures) -> fmt::Result {
    write!(f, "FederatedScan source={}", leaf.source)?;
    if let Some(rows) = leaf.estimated.rows {
        write!(f, " est_rows={rows}")?;
    }
    if let Some(bytes) = leaf.estimated.bytes {
        write!(f, " est_bytes={}", readable(bytes))?;
    }
    write!(f, " sent: {}", leaf.sent)?;
    if !leaf.verdicts.is_empty() {
        write!(f, " {}", leaf.verdicts)?;
    }
    if let Some(sent) = &leaf.runtime {
        write!(f, " runtime: {sent}")?;
    }
    if let Some(read) = &leaf.as_of {
        write!(f, " as_of={read}")?;
    }
    let Some(rows) = leaf.actual.rows else { return Ok(()) };
    write!(f, " rows={rows}")?;
    if let Some(bytes) = leaf.actual.bytes {
        write!(f, " bytes={}", readable(bytes))?;
    }
    if let Some(bytes) = leaf.minimal.bytes {
        write!(f, " minimal={}", readable(bytes))?;
    }
    if leaf.retries > 0 {
        write!(f, " retries={}", leaf.retries)?;
    }
    Ok(())
}

/// Bytes as a person reads them: whole numbers of a unit, as PostgreSQL's `pg_size_pretty` has them.
fn readable(bytes: usize) -> String {
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 10 * 1024 {
            return format!("{size} {unit}");
        }
        size = (size + 512) / 1024;
    }
    format!("{size} TB")
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn sizes_are_whole_numbers_of_their_unit() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (48 * 1024 + 511, "48 kB"),
            (48 * 1024 + 512, "49 kB"),
            (20 << 20, "20 MB"),
            (5 << 40, "5120 GB"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }
}
