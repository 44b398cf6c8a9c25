//! How a leaf explains itself: what is sent to the source, what stays here, and why.
//!
//! Shown by `EXPLAIN` and by tests as proof of push-down. It must never show a secret; literals of the user's own
//! statement are shown.

use std::fmt;

use datafusion::logical_expr::Expr;

use super::statistics::{estimate, whole};
use super::{Fragment, FragmentExecutor, Reason};
use crate::source::SourceName;

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

/// Writes a leaf's one line of `EXPLAIN`.
pub(super) fn write_leaf(
    f: &mut fmt::Formatter<'_>,
    source: &SourceName,
    executor: &dyn FragmentExecutor,
    fragment: &Fragment,
    kept: &[KeptFilter],
    projected_here: bool,
) -> fmt::Result {
    write!(f, "FederatedScan source={source}")?;
    if let Some(rows) = estimate(fragment, executor).and_then(|estimate| whole(estimate.rows)) {
        write!(f, " est_rows={rows}")?;
    }
    write!(f, " sent: {}", executor.describe(fragment))?;
    for (fate, label) in [(Fate::Rewritten, "rewrite"), (Fate::Superset, "superset"), (Fate::Kept, "kept")] {
        let mut first = true;
        for filter in kept.iter().filter(|filter| filter.fate == fate) {
            let lead = if first { format!(" {label}: ") } else { ", ".to_owned() };
            write!(f, "{lead}{} ({})", filter.text, filter.reason)?;
            first = false;
        }
    }
    if projected_here {
        f.write_str(" kept: projection (push-down is off)")?;
    }
    Ok(())
}
