//! The store in memory: the tables themselves, evaluated by the engine's own expressions, or wrongly on purpose.
//!
//! It is the reference when it behaves, and a planted bug when it does not: it then claims that a source's own
//! meaning is exact, which is the mistake the oracle exists to find.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::federation::{
    ExecContext, Fragment, FragmentExecutor, FragmentSort, Verdict, local_verdict, run_on_stream,
};
use portolan_catalog::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

use crate::table::LogicalTable;

/// Rows of one batch: small, so that a table is several.
const BATCH: usize = 7;

/// How the store misunderstands what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Not at all.
    Good,
    /// Text is equal whatever its case, and it says that is exact.
    CaselessEqual,
    /// A range keeps rows beyond its upper bound, and it says that is exact.
    LooseRange,
    /// `<>` and `NOT IN` keep rows without a value, and it says that is exact.
    NullsDiffer,
    /// A top-N is taken with nulls at the other end, and it says that is exact.
    NullsAside,
}

/// The tables in memory.
#[derive(Debug)]
pub(crate) struct MemorySource {
    name: SourceName,
    executor: Arc<MemoryExecutor>,
}

#[derive(Debug)]
struct MemoryExecutor {
    manner: Manner,
    tables: BTreeMap<String, (Arc<TableDef>, RecordBatch)>,
}

impl MemorySource {
    pub(crate) fn new(name: SourceName, manner: Manner, tables: &[LogicalTable]) -> anyhow::Result<Self> {
        let mut held = BTreeMap::new();
        for table in tables {
            let rows = table.batch(&[])?;
            let definition = TableDef {
                schema: name.to_string(),
                name: table.name.to_owned(),
                arrow: rows.schema(),
                comment: None,
                primary_key: vec![],
                foreign_keys: vec![],
                row_estimate: u64::try_from(rows.num_rows()).ok(),
                kind: TableKind::Table,
            };
            held.insert(table.name.to_owned(), (Arc::new(definition), rows));
        }
        Ok(Self { name, executor: Arc::new(MemoryExecutor { manner, tables: held }) })
    }
}

impl MemoryExecutor {
    /// What the store makes of a condition.
    fn misread(&self, table: &TableDef, expr: &Expr) -> datafusion::common::Result<Expr> {
        let schema = datafusion::common::DFSchema::try_from(Arc::clone(&table.arrow))?;
        let text = |expr: &Expr| matches!(expr.get_type(&schema), Ok(DataType::Utf8));
        let rewritten = expr.clone().transform(|node| {
            Ok(match (self.manner, node) {
                (
                    Manner::CaselessEqual,
                    Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }),
                ) if text(&left) => {
                    let (left, right) = (Box::new(lower(*left)), Box::new(lower(*right)));
                    Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
                }
                (Manner::LooseRange, Expr::Between(Between { expr, negated: false, low, .. })) => {
                    Transformed::yes(expr.gt_eq(*low))
                }
                (Manner::LooseRange, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Lt, right })) => {
                    Transformed::yes(left.lt_eq(*right))
                }
                (Manner::NullsDiffer, Expr::BinaryExpr(BinaryExpr { left, op: Operator::NotEq, right })) => {
                    let missing = left.clone().is_null();
                    Transformed::yes(left.not_eq(*right).or(missing))
                }
                (Manner::NullsDiffer, Expr::InList(InList { expr, list, negated: true })) => {
                    let missing = expr.clone().is_null();
                    Transformed::yes(expr.in_list(list, true).or(missing))
                }
                (_, node) => Transformed::no(node),
            })
        })?;
        Ok(rewritten.data)
    }
}

#[async_trait]
impl FragmentExecutor for MemoryExecutor {
    fn verdict(&self, _table: &TableDef, expr: &Expr) -> Verdict {
        local_verdict(expr)
    }

    fn sort_verdict(&self, _column: &Field, _key: &FragmentSort) -> Verdict {
        match self.manner {
            Manner::NullsAside => Verdict::Exact,
            _ => Verdict::Keep("only a planted bug orders here".into()),
        }
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let filters: Vec<String> = fragment.filters.iter().map(|filter| filter.expr.to_string()).collect();
        format!("{} where {}", fragment.table.name, filters.join(" and "))
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let failed =
            |error| SourceError::new(SourceErrorKind::Remote, "the store in memory failed").with_cause(error);
        let Some((table, rows)) = self.tables.get(&fragment.table.name) else {
            return Err(SourceError::new(SourceErrorKind::NotFound, "no such table in memory"));
        };
        let mut asked = fragment.clone();
        for filter in &mut asked.filters {
            filter.expr = self.misread(table, &filter.expr).map_err(failed)?;
        }
        let pieces: Vec<_> = (0..rows.num_rows())
            .step_by(BATCH)
            .map(|at| Ok(rows.slice(at, BATCH.min(rows.num_rows() - at))))
            .collect();
        let stream = RecordBatchStreamAdapter::new(rows.schema(), futures::stream::iter(pieces));
        let sort = std::mem::take(&mut asked.sort);
        let limit = if sort.is_empty() { None } else { asked.limit.take() };
        // A failing condition is the statement's own error, as if it were evaluated above the leaf.
        let rows = run_on_stream(Box::pin(stream), &asked).map_err(failed)?;
        if sort.is_empty() {
            return Ok(rows);
        }
        let schema = rows.schema();
        let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(failed)?;
        let first = misplaced(&concat_batches(&schema, &batches), &sort, limit).map_err(failed)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(first)]))))
    }
}

/// The first rows in an order that has its nulls at the wrong end.
fn misplaced(
    rows: &Result<RecordBatch, ArrowError>,
    sort: &[FragmentSort],
    limit: Option<usize>,
) -> datafusion::common::Result<RecordBatch> {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return datafusion::common::exec_err!("no batch: {error}"),
    };
    let keys: Vec<SortColumn> = sort
        .iter()
        .map(|key| SortColumn {
            values: Arc::clone(rows.column(key.column)),
            options: Some(SortOptions { descending: key.descending, nulls_first: !key.nulls_first }),
        })
        .collect();
    let order = lexsort_to_indices(&keys, limit)?;
    Ok(take_record_batch(rows, &order)?)
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Files
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(self.executor.tables.values().map(|(table, _)| Arc::clone(table)).collect())
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
