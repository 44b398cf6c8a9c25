//! EXPLAIN in PostgreSQL's shape: one column `QUERY PLAN`, one line per row.
//!
//! The lines are the physical plan's; leaves of sources say what was sent, what stayed here and why. ANALYZE runs the
//! statement to its end, throws the rows away and adds what each operator measured.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::sql::sqlparser::ast::{AnalyzeFormatKind, Statement, UtilityOption};

use crate::error::{ErrorCode, QueryError};

/// What EXPLAIN was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExplainMode {
    pub(super) analyze: bool,
    pub(super) verbose: bool,
}

/// Splits an EXPLAIN from the statement it explains.
pub(super) fn split(statement: Statement) -> Result<(Statement, Option<ExplainMode>), QueryError> {
    let Statement::Explain { analyze, verbose, statement, format, options, query_plan, estimate, .. } =
        statement
    else {
        return Ok((statement, None));
    };
    let mut mode = ExplainMode { analyze, verbose };
    let text = |kind: &AnalyzeFormatKind| kind.to_string().to_ascii_uppercase().contains("TEXT");
    if format.as_ref().is_some_and(|kind| !text(kind)) || query_plan || estimate {
        return Err(
            QueryError::unsupported("this EXPLAIN format").with_hint("use EXPLAIN or EXPLAIN (FORMAT text)")
        );
    }
    for UtilityOption { name, arg } in options.unwrap_or_default() {
        let on = arg.as_ref().is_none_or(|arg| {
            matches!(arg.to_string().to_ascii_lowercase().trim_matches('\''), "true" | "on" | "1")
        });
        match name.value.to_ascii_lowercase().as_str() {
            "analyze" => mode.analyze = on,
            "verbose" => mode.verbose = on,
            "costs" | "timing" | "summary" | "buffers" | "settings" | "wal" | "memory" | "generic_plan" => {}
            "format"
                if arg.as_ref().is_some_and(|arg| arg.to_string().to_ascii_lowercase().contains("text")) => {}
            "format" => {
                return Err(QueryError::unsupported("this EXPLAIN format").with_hint("use FORMAT text"));
            }
            other => {
                return Err(QueryError::new(
                    ErrorCode::SyntaxError,
                    format!("unrecognized EXPLAIN option \"{other}\""),
                ));
            }
        }
    }
    Ok((*statement, Some(mode)))
}

/// The schema of every EXPLAIN.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, false)]))
}

/// The lines of a plan.
pub(super) fn lines(
    plan: &dyn ExecutionPlan,
    mode: ExplainMode,
    footer: Option<String>,
) -> Result<RecordBatch, QueryError> {
    let shown = if mode.analyze {
        DisplayableExecutionPlan::with_metrics(plan).indent(mode.verbose).to_string()
    } else {
        DisplayableExecutionPlan::new(plan).indent(mode.verbose).to_string()
    };
    let mut lines: Vec<String> =
        shown.lines().map(|line| line.replace('\u{1}', "#")).filter(|line| !line.trim().is_empty()).collect();
    lines.extend(footer);
    RecordBatch::try_new(schema(), vec![Arc::new(StringArray::from(lines))])
        .map_err(|error| QueryError::internal(&error))
}
