//! Executors for tests: one with a scripted verdict, one that evaluates in memory.

use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;

use super::{ExecContext, Fragment, FragmentExecutor, Verdict};
use crate::source::{SourceError, SourceErrorKind, TableDef};

/// Answers every conjunct with the same verdict and runs nothing.
#[derive(Debug)]
pub(crate) struct Scripted(Verdict);

impl Scripted {
    pub(crate) fn always(verdict: Verdict) -> Self {
        Self(verdict)
    }
}

#[async_trait]
impl FragmentExecutor for Scripted {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        self.0.clone()
    }

    fn describe(&self, _fragment: &Fragment) -> String {
        "nothing".into()
    }

    async fn execute(
        &self,
        _fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        Err(SourceError::new(SourceErrorKind::Unsupported, "a scripted executor runs nothing"))
    }
}
