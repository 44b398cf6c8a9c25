//! What statements read of sources, kept for a while after they ended.
//!
//! Only figures and texts are kept, never a plan or a row; long texts are cut, and the oldest reads go first.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use portolan_catalog::federation::{FragmentFigures, QueryId};

use super::RunningQuery;

/// Reads that are kept.
const KEPT: usize = 1_000;
/// Longest text that is kept, characters.
const LONGEST: usize = 2_000;

/// One read of one source by one statement.
#[derive(Debug, Clone)]
pub struct Read {
    /// The statement.
    pub query: QueryId,
    /// Whose statement.
    pub user: String,
    /// When the statement started, UTC.
    pub started_at: DateTime<Utc>,
    /// What the statement does, or how it ended: planning, running, done, failed, dropped.
    pub state: String,
    /// Which of the statement's reads, from 1.
    pub number: usize,
    /// What was asked, and what came.
    pub figures: FragmentFigures,
}

pub(super) fn reads_of(query: &RunningQuery, state: &str, figures: Vec<FragmentFigures>) -> Vec<Read> {
    let read = |(at, figures): (usize, FragmentFigures)| Read {
        query: query.query,
        user: query.identity.user.clone(),
        started_at: query.started_at,
        state: state.to_owned(),
        number: at + 1,
        figures,
    };
    figures.into_iter().enumerate().map(read).collect()
}

/// The reads of the last statements that ended.
#[derive(Debug, Default)]
pub(super) struct EndedReads(Mutex<VecDeque<Read>>);

impl EndedReads {
    pub(super) fn add(&self, mut reads: Vec<Read>) {
        if reads.is_empty() {
            return;
        }
        for read in &mut reads {
            cut(&mut read.figures.sent);
            cut(&mut read.figures.verdicts);
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(reads);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }

    /// A user's, oldest first.
    pub(super) fn of(&self, user: &str) -> Vec<Read> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().filter(|read| read.user == user).cloned().collect()
    }
}

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(at);
        text.push('…');
        text.shrink_to_fit();
    }
}
