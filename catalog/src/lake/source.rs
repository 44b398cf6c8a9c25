//! The lake as a source of queries: every zone a schema, every table read at one version.
//!
//! Filters that cannot fail go down: this executor plans them with the same engine that would evaluate them above, so
//! what it evaluates is equal by construction, and files are pruned by their statistics on the way. What may fail on a
//! value is kept, because the reader would not say how it failed.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::failure::damaged;
use super::{Lake, TablePath, lists, share};
use crate::asof::SourceVersion;
use crate::copies::CopyCommit;
use crate::federation::{
    Division, ExecContext, Fragment, FragmentExecutor, ListRoom, QueryContext, TableStatistics, Verdict,
    cannot_fail, in_parts, readers, share_left,
};
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

/// The lake's zones as SQL schemas.
#[derive(Debug, Clone)]
pub struct LakeSource {
    name: SourceName,
    pub(super) lake: Lake,
    /// Put before a zone's name to make its SQL schema.
    prefix: String,
    /// What the logs told of their tables when they were last listed.
    told: Arc<RwLock<HashMap<TablePath, Arc<TableStatistics>>>>,
}

/// Tables whose columns are asked for at a time.
const SIDE_BY_SIDE: usize = 8;

impl LakeSource {
    /// Offers a lake under a source name; its schemas are the zones' names.
    #[must_use]
    pub fn new(name: SourceName, lake: Lake) -> Self {
        Self { name, lake, prefix: String::new(), told: Arc::default() }
    }

    /// Offers a lake beside the port's own: its schemas are `<source>_<zone>`.
    #[must_use]
    pub fn beside(name: SourceName, lake: Lake) -> Self {
        let prefix = format!("{name}_");
        Self { name, lake, prefix, told: Arc::default() }
    }

    /// The table of the lake behind a table of ours.
    pub(super) fn path_of(&self, table: &TableDef) -> TablePath {
        let zone = table.schema.strip_prefix(&self.prefix).unwrap_or(&table.schema);
        TablePath::new(zone, &table.name)
    }

    /// The version at which a statement reads a table, the pinned one or the one its first leaf found: all of its leaves
    /// read the same, whatever is committed meanwhile. `None` if there is no such table.
    async fn version_for(
        &self,
        path: &TablePath,
        context: &QueryContext,
    ) -> Result<Option<i64>, SourceError> {
        if let Some(pinned) = context.pins.of(&self.name, &path.to_string()) {
            return Ok(Some(pinned));
        }
        let key = format!("lake {} {path}", self.name);
        let Some(first) = context.shared.get_or_make(&key, OnceCell::<Option<i64>>::new) else {
            return Ok(None);
        };
        let found = first.get_or_try_init(|| self.lake.version(path)).await;
        found.copied().map_err(|error| self.named(error))
    }

    /// The plan of a fragment at its share's version, or the statement's; its share is not cut out of it yet.
    pub(super) async fn planned(
        &self,
        path: &TablePath,
        fragment: &Fragment,
        context: &QueryContext,
    ) -> Result<(i64, Arc<dyn ExecutionPlan>), SourceError> {
        let wanted = match &fragment.share {
            Some(share) => Some(share.version),
            None => self.version_for(path, context).await?,
        };
        let (version, provider) =
            self.lake.provider(path, wanted).await.map_err(|error| self.named(error))?;
        let failed = |cause: DataFusionError| self.named(damaged(path, cause));
        let plan = plan(fragment, provider).map_err(failed)?;
        let planner = self.lake.planner(share_left(fragment, self));
        let physical = Box::pin(planner.create_physical_plan(&plan)).await.map_err(failed)?;
        Ok((version, physical))
    }

    /// The error as one of this source. A damaged log or file is its failure; of kind `Data` is a value out of its
    /// type's range.
    fn named(&self, mut error: SourceError) -> SourceError {
        if error.kind == SourceErrorKind::Data {
            error.kind = SourceErrorKind::Remote;
        }
        if error.source_name.is_some() { error } else { error.with_source(&self.name) }
    }
}

#[async_trait]
impl Source for LakeSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Lake
    }

    fn schemas(&self) -> Vec<String> {
        super::ZONES.iter().map(|zone| format!("{}{zone}", self.prefix)).collect()
    }

    async fn check(&self) -> Health {
        let found = self.lake.reach().await;
        Health {
            state: if found.is_ok() { HealthState::Up } else { HealthState::Down },
            checked_at: Utc::now(),
            error: found.err().map(|error| error.to_string()),
            server_version: None,
        }
    }

    /// Tables whose log can be read. A damaged table is left out here and named by the query that reads it.
    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        let mut tables = Vec::new();
        let paths = self.lake.list().await.map_err(|error| self.named(error))?;
        let asked = paths.into_iter().map(|path| async move {
            let described = self.lake.described(&path).await;
            (path, described)
        });
        let mut answers = futures::stream::iter(asked).buffered(SIDE_BY_SIDE);
        let mut told = HashMap::new();
        while let Some((path, described)) = answers.next().await {
            let arrow = match described {
                Ok((arrow, known)) => {
                    told.insert(path.clone(), Arc::new(known));
                    arrow
                }
                // A store that stopped answering must not look like a lake that lost tables.
                Err(error) if error.kind == SourceErrorKind::Unreachable => return Err(self.named(error)),
                Err(error) => {
                    // Said by whoever asks for it, and not at every listing.
                    tracing::info!(source = %self.name, table = %path, error = %error, "table of the lake left out");
                    continue;
                }
            };
            tables.push(Arc::new(TableDef {
                schema: format!("{}{}", self.prefix, path.zone),
                name: path.name.clone(),
                arrow,
                comment: None,
                primary_key: Vec::new(),
                foreign_keys: Vec::new(),
                row_estimate: None,
                kind: TableKind::Table,
            }));
        }
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(tables)
    }

    async fn obstacle(&self, schema: &str, table: &str) -> Option<SourceError> {
        let path = TablePath::new(schema, table);
        let listed = self.lake.list().await.is_ok_and(|tables| tables.contains(&path));
        if !listed {
            return None;
        }
        self.lake.schema(&path).await.err().map(|error| self.named(error))
    }

    async fn copies(&self, schema: &str, table: &str) -> Result<(String, Vec<CopyCommit>), SourceError> {
        let zone = schema.strip_prefix(&self.prefix).unwrap_or(schema);
        let path = TablePath::new(zone, table);
        let commits = self.lake.history(&path).await.map_err(|error| self.named(error))?;
        let commits =
            commits.into_iter().map(|(version, record)| CopyCommit { version, origin: record.origin });
        Ok((path.to_string(), commits.collect()))
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        let mut newest = 0_i64;
        for path in self.lake.list().await.map_err(|error| self.named(error))? {
            newest +=
                self.lake.version(&path).await.map_err(|error| self.named(error))?.unwrap_or_default() + 1;
        }
        Ok(SourceVersion::Delta(newest))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl FragmentExecutor for LakeSource {
    /// The reader evaluates conditions while it decodes files, and is given those that cannot fail there.
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        if cannot_fail(table, expr) {
            Verdict::Exact
        } else {
            Verdict::Keep("it may fail on a value, or differ from one evaluation to the next".into())
        }
    }

    /// A first statement is planned by what the log told when the tables were listed.
    fn statistics(&self, table: &TableDef) -> Option<Arc<TableStatistics>> {
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
        told.get(&self.path_of(table)).map(Arc::clone)
    }

    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        let (_, known) =
            self.lake.described(&self.path_of(table)).await.map_err(|error| self.named(error))?;
        Ok(Some(known))
    }

    fn list_room(&self) -> ListRoom {
        ListRoom::UNWRITTEN
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let columns: Vec<&str> = fragment
            .projection
            .iter()
            .map(|index| fragment.table.arrow.field(*index).name().as_str())
            .collect();
        let mut text = format!(
            "delta {}.{} columns [{}]",
            fragment.table.schema,
            fragment.table.name,
            columns.join(", ")
        );
        for (index, filter) in fragment.filters.iter().enumerate() {
            text.push_str(if index == 0 { " where " } else { " and " });
            text.push_str(&filter.expr.human_display().to_string());
        }
        if let Some(limit) = fragment.limit {
            text.push_str(&format!(" limit {limit}"));
        }
        text
    }

    async fn divide(
        &self,
        fragment: &Fragment,
        context: &QueryContext,
    ) -> Result<Option<Division>, SourceError> {
        let path = self.path_of(&fragment.table);
        let (read, _) = lists::apart(fragment);
        let (version, physical) = self.planned(&path, &read, context).await?;
        let failed = |cause: DataFusionError| self.named(damaged(&path, cause));
        let Some(files) = share::files(&physical).map_err(failed)? else { return Ok(None) };
        let division = Division { key: path.to_string(), version, files };
        // Not everything can be cut: deletion vectors count rows from a file's start.
        let tried = division.shares(2).first().map(|first| share::only(physical, first));
        Ok(matches!(tried, Some(Ok(_))).then_some(division))
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let path = self.path_of(&fragment.table);
        let key = path.to_string();
        let (read, long) = lists::apart(fragment);
        let (version, physical) = self.planned(&path, &read, &context).await?;
        context.as_of.record(&self.name, Some(&key), SourceVersion::Delta(version));
        let failed = |cause: DataFusionError| self.named(damaged(&path, cause));
        let physical = match &fragment.share {
            Some(share) => share::only(physical, share).map_err(failed)?,
            None => physical,
        };
        let physical = in_parts(physical, readers()).await.map_err(failed)?;
        let physical = lists::filtered(physical, &read, long, fragment.projection.len()).map_err(failed)?;
        let stream = execute_stream(physical, self.lake.state.task_ctx()).map_err(failed)?;
        // Types are the contract's: the reader may deliver views or another spelling of UTC.
        let wanted = Arc::new(
            fragment
                .table
                .arrow
                .project(&fragment.projection)
                .map_err(|cause| failed(DataFusionError::from(cause)))?,
        );
        let source = self.clone();
        let schema = Arc::clone(&wanted);
        let rows = stream
            .map_err(move |cause| match of_a_condition(&cause) {
                true => cause,
                false => source.named(damaged(&path, cause)).into(),
            })
            .and_then(move |batch| {
                let cast = conform(&batch, &wanted).map_err(DataFusionError::from);
                async move { cast }
            });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// Whether a failure is of a condition's value, such as a division by zero, and not of the table: it is then the
/// statement's own, as if the condition were evaluated above the leaf.
fn of_a_condition(error: &DataFusionError) -> bool {
    use datafusion::arrow::error::ArrowError;
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::CastError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::ParseError(_)
        ),
        DataFusionError::External(error) => {
            !error.is::<deltalake::DeltaTableError>()
                && !error.is::<object_store::Error>()
                && !error.is::<std::io::Error>()
        }
        _ => false,
    }
}

fn conform(
    batch: &datafusion::arrow::array::RecordBatch,
    wanted: &datafusion::arrow::datatypes::SchemaRef,
) -> Result<datafusion::arrow::array::RecordBatch, SourceError> {
    let refused = |cause: datafusion::arrow::error::ArrowError| {
        SourceError::new(SourceErrorKind::Data, "a file of the lake has other columns than its table")
            .with_cause(cause)
    };
    let columns = batch
        .columns()
        .iter()
        .zip(wanted.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                datafusion::arrow::compute::cast(column, field.data_type())
            }
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    datafusion::arrow::array::RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
        .map_err(refused)
}

/// The plan of a fragment over the table's provider.
fn plan(
    fragment: &Fragment,
    provider: Arc<dyn TableProvider>,
) -> Result<datafusion::logical_expr::LogicalPlan, DataFusionError> {
    const ALIAS: &str = "t";
    let column = |name: &str| Expr::Column(Column::new(Some(ALIAS), name));
    let mut plan = LogicalPlanBuilder::scan(ALIAS, provider_as_source(provider), None)?;
    for filter in &fragment.filters {
        let qualified = filter.expr.clone().transform(|node| {
            Ok(match node {
                Expr::Column(found) => Transformed::yes(column(&found.name)),
                other => Transformed::no(other),
            })
        })?;
        plan = plan.filter(qualified.data)?;
    }
    let columns: Vec<Expr> =
        fragment.projection.iter().map(|index| column(fragment.table.arrow.field(*index).name())).collect();
    plan = plan.project(columns)?;
    if let Some(limit) = fragment.limit {
        plan = plan.limit(0, Some(limit))?;
    }
    plan.build()
}
