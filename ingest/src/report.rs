//! What a job did, in numbers that must add up, and how it tells its progress.
//!
//! A [`Report`] that does not balance is never published: the run ends with class `invariant` instead.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::error::{ErrorClass, IngestError, Result};

/// A half-open data interval `[start, end)`, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant outside.
    pub end: DateTime<Utc>,
}

impl Interval {
    /// The text form used in commits and ledger rows: `start/end`, ISO 8601, UTC.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}/{}",
            self.start.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.end.to_rfc3339_opts(SecondsFormat::Secs, true)
        )
    }
}

/// Row counts of one hop. Every row read has exactly one fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows the hop was given.
    pub read: u64,
    /// Rows in the hop's output.
    pub written: u64,
    /// Rows refused, each with a rule id in quarantine.
    pub quarantined: u64,
    /// Rows equal to one that was kept.
    pub deduplicated: u64,
    /// Rows replaced by a newer version of the same key.
    pub superseded: u64,
    /// Rows the declared SQL leaves out on purpose.
    pub filtered: u64,
}

impl Report {
    /// Sum of all fates.
    #[must_use]
    pub const fn accounted(&self) -> u64 {
        self.written + self.quarantined + self.deduplicated + self.superseded + self.filtered
    }

    /// Adds another hop's counts.
    pub const fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.quarantined += other.quarantined;
        self.deduplicated += other.deduplicated;
        self.superseded += other.superseded;
        self.filtered += other.filtered;
    }

    /// Checks `read = written + superseded + deduplicated + filtered + quarantined`.
    ///
    /// # Errors
    /// Class `invariant`, naming the table and the counts, when the equation is broken.
    pub fn check(&self, table: &str) -> Result<()> {
        if self.read == self.accounted() {
            return Ok(());
        }
        Err(IngestError::invariant(format!(
            "rows of \"{table}\" do not add up: read {} but written {} + superseded {} + deduplicated {} + filtered {} \
             + quarantined {}",
            self.read, self.written, self.superseded, self.deduplicated, self.filtered, self.quarantined
        ))
        .with_hint("nothing was published; the transform loses or multiplies rows: see its SQL"))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "read": self.read, "written": self.written, "quarantined": self.quarantined,
            "deduplicated": self.deduplicated, "superseded": self.superseded, "filtered": self.filtered,
        })
    }
}

/// One hop of a run: which table was made, from how many rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopReport {
    /// `bronze`, `silver`, `gold` or `star`.
    pub hop: &'static str,
    /// Table written, as `zone.name`.
    pub table: String,
    /// Counts, balanced.
    pub counts: Report,
    /// Version of the table afterwards: Delta version, or load batch for the star.
    pub version: i64,
    /// False when the table was already what this input makes it, so nothing was written.
    pub changed: bool,
    /// Rows refused by rule id.
    pub rules: BTreeMap<String, u64>,
    /// Rows a rule met that only warns, by rule id. They were written.
    pub warnings: BTreeMap<String, u64>,
}

/// Why a pipeline's run failed; safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What it means for the operator.
    pub class: ErrorClass,
    /// What failed.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a run did, and all that failed in it.
#[derive(Debug)]
pub struct Attempt {
    /// One report per pipeline that did something or failed.
    pub reports: Vec<RunReport>,
    /// Failures in the order they happened.
    pub failures: Vec<IngestError>,
}

impl Attempt {
    /// The reports, if nothing failed.
    ///
    /// # Errors
    /// The first failure.
    pub fn into_result(self) -> Result<Vec<RunReport>> {
        match self.failures.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(self.reports),
        }
    }
}

/// What one run of one pipeline did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// Identity of the run.
    pub run_id: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Interval asked for.
    pub interval: Interval,
    /// `ok` when something was written, `skipped` when everything was up to date, `failed` with [`Self::error`].
    pub status: &'static str,
    /// Hops in the order they ran.
    pub hops: Vec<HopReport>,
    /// The star's load batch, if this run published.
    pub batch_id: Option<i64>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
}

impl RunReport {
    /// A run that has not done anything yet.
    #[must_use]
    pub fn empty(run_id: String, pipeline: &str, interval: Interval) -> Self {
        Self {
            run_id,
            pipeline: pipeline.to_owned(),
            interval,
            status: "ok",
            hops: Vec::new(),
            batch_id: None,
            duration_ms: 0,
            error: None,
        }
    }

    /// Notes that it failed.
    pub fn fail(&mut self, error: &IngestError) {
        let IngestError { class, message, hint, .. } = error.clone();
        self.status = "failed";
        self.error = Some(Failure { class, message, hint });
    }

    /// Sum of the hops' counts.
    #[must_use]
    pub fn counts(&self) -> Report {
        let mut sum = Report::default();
        for hop in &self.hops {
            sum.add(&hop.counts);
        }
        sum
    }

    /// The machine form: one JSON object, stable keys.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let versions: BTreeMap<&str, i64> =
            self.hops.iter().map(|hop| (hop.table.as_str(), hop.version)).collect();
        let error = self.error.as_ref().map(|failure| {
            json!({"class": failure.class.name(), "message": failure.message, "hint": failure.hint})
        });
        json!({
            "run_id": self.run_id, "pipeline": self.pipeline, "interval": self.interval.text(),
            "status": self.status, "counts": self.counts().json(), "versions": versions,
            "batch_id": self.batch_id.map(|id| id.to_string()), "duration_ms": self.duration_ms, "error": error,
        })
    }
}

/// Where a job tells how far it is. Calls may come from several threads, in order.
pub trait Progress: Send + Sync {
    /// A step starts; `total` in rows when known.
    fn begin(&self, what: &str, total: Option<u64>);
    /// So many more rows are done.
    fn advance(&self, rows: u64);
    /// The step is over, or has failed, perhaps before it began.
    fn end(&self);
}

/// Progress nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _rows: u64) {}
    fn end(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbalanced_report_is_an_invariant_failure() {
        let good =
            Report { read: 10, written: 6, quarantined: 1, deduplicated: 1, superseded: 1, filtered: 1 };
        assert!(good.check("silver.x").is_ok());
        let bad = Report { read: 11, ..good };
        let error = bad.check("silver.x").unwrap_err();
        assert_eq!(error.class, crate::ErrorClass::Invariant);
        assert!(error.message.contains("silver.x"), "{error}");
    }
}
