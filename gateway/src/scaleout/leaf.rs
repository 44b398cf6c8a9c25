//! A leaf of the lake that several tasks read, each its share; and its form on the wire.
//!
//! In this process it reads all of the version that was chosen. On the wire it is an empty relation whose schema says
//! which table, which version and which parts of which files each task reads: no address, no condition, no secret. A
//! worker puts its own lake's reader in its place.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use portolan_catalog::federation::{
    Division, FederatedScanExec, Fragment, FragmentExecutor, Share, Unfiltered,
};
use portolan_catalog::source::{SourceName, TableDef, TableKind};
use serde::{Deserialize, Serialize};

/// Where an empty relation's schema says what is to be read in its place.
const KEY: &str = "portolan.shares";

/// What a placeholder says.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    source: String,
    schema: String,
    table: String,
    /// One for each task of the stage.
    shares: Vec<Share>,
}

/// A leaf that can be read in shares.
#[derive(Debug)]
pub(super) struct DividedExec {
    home: Arc<FederatedScanExec>,
    division: Arc<Division>,
}

impl DividedExec {
    /// What takes a leaf's place: the divided leaf, below the filter and the projection that the leaf stood for.
    pub(super) fn instead_of(leaf: &FederatedScanExec, division: Division) -> Result<Arc<dyn ExecutionPlan>> {
        let Unfiltered { columns, schema, predicate, shown } = leaf.unfiltered()?;
        let home = Arc::new(leaf.reading(columns, Arc::new(Share::whole(division.version)))?);
        let divided: Arc<dyn ExecutionPlan> = Arc::new(Self { home, division: Arc::new(division) });
        let Some(predicate) = predicate else { return Ok(divided) };
        let projection = (schema.fields().len() > shown).then(|| (0..shown).collect::<Vec<usize>>());
        let filter = FilterExecBuilder::new(predicate, divided).apply_projection(projection)?.build()?;
        Ok(Arc::new(filter))
    }

    /// What is divided.
    pub(super) fn division(&self) -> &Division {
        &self.division
    }

    /// The source that it belongs to.
    pub(super) fn source(&self) -> &SourceName {
        self.home.source()
    }

    /// What so many tasks get in its place; the same for all, each finds its share by its number.
    pub(super) fn placeholder(&self, tasks: usize) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.home.fragment().table;
        let described = Described {
            source: self.source().to_string(),
            schema: table.schema.clone(),
            table: table.name.clone(),
            shares: self.division.shares(tasks).iter().map(|share| share.as_ref().clone()).collect(),
        };
        let text =
            serde_json::to_string(&described).map_err(|cause| DataFusionError::External(cause.into()))?;
        let schema = self.schema();
        let mut metadata = schema.metadata().clone();
        metadata.insert(KEY.to_owned(), text);
        let schema = Schema::new_with_metadata(schema.fields().clone(), metadata);
        Ok(Arc::new(EmptyExec::new(Arc::new(schema))))
    }
}

impl DisplayAs for DividedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "shares of version {}, {} files, {} bytes: ",
            self.division.version,
            self.division.files.len(),
            self.division.bytes()
        )?;
        self.home.fmt_as(format, f)
    }
}

impl ExecutionPlan for DividedExec {
    fn name(&self) -> &'static str {
        "DividedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.home.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a divided leaf has no children") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.home.execute(partition, context)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.home.metrics()
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.home.statistics_from_inputs(inputs, args)
    }
}

/// The lakes that a worker reads, by the name of their source.
pub(super) type Lakes = HashMap<SourceName, Arc<dyn FragmentExecutor>>;

/// The reader of a task's share in the place of a placeholder; `None` for an empty relation that is one.
pub(super) fn told(
    placeholder: &EmptyExec,
    task: usize,
    lakes: &Lakes,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = placeholder.schema();
    let Some(text) = schema.metadata().get(KEY) else { return Ok(None) };
    let Described { source, schema: zone, table, shares } =
        serde_json::from_str(text).map_err(|cause| DataFusionError::External(cause.into()))?;
    let Ok(source) = SourceName::try_new(&source) else { return exec_err!("no lake has such a name") };
    let Some(executor) = lakes.get(&source) else {
        return exec_err!("this worker has no lake \"{source}\"");
    };
    // Names become folders.
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !plain(&zone) || !plain(&table) {
        return exec_err!("no table of a lake has such a name");
    }
    let Some(share) = shares.into_iter().nth(task) else { return exec_err!("task {task} has no share") };
    let table = TableDef {
        schema: zone,
        name: table,
        arrow: without_shares(&schema),
        comment: None,
        primary_key: Vec::new(),
        foreign_keys: Vec::new(),
        row_estimate: None,
        kind: TableKind::Table,
    };
    let fragment = Fragment { share: Some(Arc::new(share)), ..Fragment::whole(Arc::new(table)) };
    let leaf = FederatedScanExec::told(source, fragment, Arc::clone(executor))?;
    Ok(Some(Arc::new(leaf)))
}

fn without_shares(schema: &SchemaRef) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.remove(KEY);
    Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))
}
