//! The last answers and what they were made of, for `system.answers`.
//!
//! A whole answer is noted before its client sees its end; one that was cancelled or failed is none. Bounded by count,
//! and the text of a statement by length: this is for people who ask about an answer they just got, and no log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use portolan_catalog::asof::AsOf;
use portolan_catalog::federation::QueryId;

use super::Staleness;

/// Answers that are remembered.
const MOST: usize = 1_000;
/// Characters of a statement that are.
const MOST_TEXT: usize = 1_000;

/// One answer.
#[derive(Debug, Clone)]
pub struct AnswerRow {
    /// Id of the statement.
    pub query: QueryId,
    /// Who asked.
    pub user: String,
    /// When its last row was out, UTC.
    pub ended_at: DateTime<Utc>,
    /// Rows of it.
    pub rows: u64,
    /// The versions it was made of.
    pub as_of: AsOf,
    /// What is old about it, if anything is.
    pub stale: Option<Arc<Staleness>>,
    /// Why it is not kept for the time when its source is down; `None` if it is kept.
    pub not_kept: Option<String>,
    /// The client's text, its beginning.
    pub sql: String,
}

/// The last answers, oldest first.
#[derive(Debug, Default)]
pub struct Answers(Mutex<VecDeque<AnswerRow>>);

impl Answers {
    /// As much of a statement's text as is remembered.
    pub(super) fn beginning(sql: &str) -> String {
        sql.chars().take(MOST_TEXT).collect()
    }

    /// Notes an answer.
    pub(super) fn note(&self, row: AnswerRow) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= MOST {
            rows.pop_front();
        }
        rows.push_back(row);
    }

    /// The answers a user got, oldest first.
    #[must_use]
    pub fn of(&self, user: &str) -> Vec<AnswerRow> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().filter(|row| row.user == user).cloned().collect()
    }
}
