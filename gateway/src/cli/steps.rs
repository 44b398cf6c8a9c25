//! The steps of a long start: one moving line on a terminal, one line per step elsewhere.

use std::time::Duration;

use chrono::Utc;
use indicatif::{ProgressBar, ProgressStyle};
use portolan_ingest::Progress;

use super::output;

/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(120);

/// Tells the steps. What a step does in detail is shown on a terminal only.
#[derive(Debug)]
pub(super) struct Steps {
    line: ProgressBar,
}

impl Steps {
    /// Starts telling.
    pub(super) fn new() -> Self {
        let line = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>3} {prefix}  {wide_msg:.dim}") {
            line.set_style(style);
        }
        line.enable_steady_tick(TICK);
        Self { line }
    }

    /// Begins a step.
    pub(super) fn next(&self, what: &str) {
        if self.line.is_hidden() {
            output::say(&format!("{} {what}", Utc::now().format("%H:%M:%S")));
        }
        self.line.set_prefix(what.to_owned());
        self.line.set_message("");
    }

    /// Clears the line.
    pub(super) fn done(&self) {
        self.line.finish_and_clear();
    }
}

impl Progress for Steps {
    fn begin(&self, what: &str, total: Option<u64>) {
        let rows = total.map(|rows| format!(" ({rows} rows)")).unwrap_or_default();
        tracing::info!("{what}{rows}");
        self.line.set_message(format!("{what}{rows}"));
    }

    fn advance(&self, _rows: u64) {}

    fn end(&self) {
        self.line.set_message("");
    }
}
