//! The jobs: land sources, remake what changed, publish, record.
//!
//! What must be done is decided from the lake's own log: a derived table carries the fingerprint of its definition and
//! its inputs in its last commit, and is remade exactly when that differs. So a run killed anywhere is repeated by the
//! next one without a repair, and the same input again writes nothing.

mod bronze;
mod plan;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use portolan_catalog::Catalog;
use portolan_catalog::federation::FragmentExecutor;
use portolan_catalog::files::FilesSource;
use portolan_catalog::lake::{Commit, CommitRecord, Lake, TableOptions, TablePath};
use portolan_catalog::postgres::{PostgresPool, server_error};
use portolan_catalog::source::TableDef;
use sha2::{Digest as _, Sha256};

use crate::crosswalk::hex;
use crate::error::{ErrorClass, IngestError, Result};
use crate::pipeline::Pipelines;
use crate::pipeline::model::{TableName, TableSpec, Zone};
use crate::report::{HopReport, Interval, Progress, RunReport};
use crate::{land, ledger, publish, quarantine, refine};
use plan::Plan;

/// What a run needs: where data comes from, where it goes, and what to do.
#[derive(Debug)]
pub struct IngestConfig {
    /// Sources by name, for typed reads.
    pub catalog: Arc<Catalog>,
    /// File sources by SQL schema, for records as received and their content digests.
    pub files: BTreeMap<String, Arc<FilesSource>>,
    /// The lake all zones live in.
    pub lake: Lake,
    /// Warehouse for ledger and star; `None` runs without either.
    pub warehouse: Option<PostgresPool>,
    /// Checked pipelines.
    pub pipelines: Pipelines,
}

/// The ingest jobs of one configuration.
#[derive(Debug)]
pub struct Ingest {
    config: IngestConfig,
}

impl Ingest {
    /// Takes a configuration. Contacts nobody.
    #[must_use]
    pub const fn open(config: IngestConfig) -> Self {
        Self { config }
    }

    pub(crate) const fn lake(&self) -> &Lake {
        &self.config.lake
    }

    pub(crate) fn files(&self, schema: &str) -> Option<&Arc<FilesSource>> {
        self.config.files.get(schema)
    }

    pub(crate) const fn warehouse(&self) -> Option<&PostgresPool> {
        self.config.warehouse.as_ref()
    }

    /// Rows of a published gold table, in the star's types.
    pub(crate) async fn read_published(&self, path: &TablePath) -> Result<Vec<RecordBatch>> {
        let context = refine::session(&self.config.pipelines.crosswalks)?;
        let (_, provider) = self.lake().provider(path, None).await?;
        let read = context.read_table(provider)?.collect().await?;
        match publish::contract(&path.name) {
            Some(contract) => {
                let schema = contract.schema();
                read.iter().map(|batch| contract.conform(batch, &schema)).collect()
            }
            None => Ok(read),
        }
    }

    pub(crate) async fn source_table(
        &self,
        schema: &str,
        table: &str,
    ) -> Result<(Arc<dyn FragmentExecutor>, Arc<TableDef>)> {
        let found = self.config.catalog.find_table(schema, table).await?;
        let (source, table) = found.ok_or_else(|| {
            IngestError::new(ErrorClass::Config, format!("no source has a table \"{schema}.{table}\""))
                .with_hint("check the pipeline's source and the configured sources")
        })?;
        Ok((source.executor(), table))
    }

    /// The newest commit of ours in a table's log.
    pub(crate) async fn last_commit(&self, path: &TablePath) -> Result<Option<(i64, CommitRecord)>> {
        if self.lake().version(path).await?.is_none() {
            return Ok(None);
        }
        Ok(self.lake().history(path).await?.into_iter().max_by_key(|(version, _)| *version))
    }

    /// Creates the ledger in the warehouse if it is not there, and the star if a pipeline publishes to it.
    ///
    /// # Errors
    /// The warehouse's refusal.
    pub async fn bootstrap(&self) -> Result<()> {
        if let Some(pool) = &self.config.warehouse {
            ledger::ensure(pool).await?;
            if self.config.pipelines.publishes() {
                publish::ensure(pool).await?;
            }
        }
        Ok(())
    }

    /// Runs every pipeline: lands all sources, remakes what changed, publishes the star.
    ///
    /// # Errors
    /// The first failure; what was committed before stays and is found by the next run.
    pub async fn run_all(&self, interval: Interval, progress: &dyn Progress) -> Result<Vec<RunReport>> {
        self.run_some(None, interval, progress).await
    }

    /// Lands one pipeline's source, then remakes and publishes whatever that changes.
    ///
    /// # Errors
    /// Class `config` for an unknown name; otherwise as [`Ingest::run_all`].
    pub async fn run(
        &self,
        pipeline: &str,
        interval: Interval,
        progress: &dyn Progress,
    ) -> Result<RunReport> {
        if !self.config.pipelines.names().contains(&pipeline) {
            let names = self.config.pipelines.names().join(", ");
            return Err(IngestError::new(ErrorClass::Config, format!("there is no pipeline \"{pipeline}\""))
                .with_hint(format!("pipelines: {names}")));
        }
        let reports = self.run_some(Some(pipeline), interval, progress).await?;
        reports
            .into_iter()
            .find(|report| report.pipeline == pipeline)
            .ok_or_else(|| IngestError::invariant(format!("pipeline \"{pipeline}\" gave no report")))
    }

    async fn run_some(
        &self,
        only: Option<&str>,
        interval: Interval,
        progress: &dyn Progress,
    ) -> Result<Vec<RunReport>> {
        let started = Instant::now();
        let run_id = run_id(interval);
        let mut hops: Vec<(String, HopReport)> = Vec::new();
        for pipeline in &self.config.pipelines.pipelines {
            let Some(spec) = &pipeline.source else { continue };
            if only.is_some_and(|only| only != pipeline.name) {
                continue;
            }
            let hop = Box::pin(land::land(self, pipeline, spec, interval, progress)).await;
            hops.push((
                pipeline.name.clone(),
                hop.map_err(|e| e.context(format!("land \"{}\"", pipeline.name)))?,
            ));
        }
        let plans = self.plans().await?;
        let made = Box::pin(self.derive(&plans, interval, progress, &mut hops)).await?;
        let mut reports = self.reports(&run_id, interval, &hops, started);
        self.publish(&plans, made, &mut reports, progress).await?;
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for report in &mut reports {
            report.duration_ms = elapsed;
        }
        Ok(reports)
    }

    /// Remakes every stale table. Gives the batches of published tables that were made.
    async fn derive(
        &self,
        plans: &HashMap<TableName, Plan>,
        interval: Interval,
        progress: &dyn Progress,
        hops: &mut Vec<(String, HopReport)>,
    ) -> Result<HashMap<String, Vec<RecordBatch>>> {
        let pipelines = &self.config.pipelines;
        let context = refine::session(&pipelines.crosswalks)?;
        let mut known: HashSet<TableName> = HashSet::new();
        let mut bronze_rows: HashMap<TableName, (u64, Vec<RecordBatch>)> = HashMap::new();
        let mut published = HashMap::new();
        for spec in &pipelines.tables {
            let Some(plan) = plans.get(&spec.table) else { continue };
            if !plan.stale {
                continue;
            }
            for input in &spec.inputs {
                if known.insert(input.clone()) {
                    let provider = match pipelines.bronze_of(input) {
                        Some(pipeline) => {
                            let (schema, batches) = self.bronze(&context, pipeline).await?;
                            let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                            bronze_rows.insert(input.clone(), (rows, batches.clone()));
                            refine::memory(schema, batches)?
                        }
                        None => self.lake().provider(&path(input), None).await?.1,
                    };
                    refine::register(&context, input, provider)?;
                }
            }
            let own = pipelines.pipelines.iter().find(|pipeline| pipeline.name == spec.pipeline);
            let own = own.map(|pipeline| TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() });
            let input = own.as_ref().and_then(|own| bronze_rows.get(own));
            progress.begin(&format!("make {}", spec.table), input.map(|(rows, _)| *rows));
            let started = Instant::now();
            let made =
                Box::pin(refine::make(&context, &spec.resolved(), input.map(|(rows, _)| *rows))).await?;
            tracing::debug!(table = %spec.table, rows = made.counts.written, ms = started.elapsed().as_millis(), "made");
            refine::register(
                &context,
                &spec.table,
                refine::memory(Arc::clone(&made.schema), made.batches.clone())?,
            )?;
            known.insert(spec.table.clone());
            if spec.stored {
                if !made.refused.is_empty() {
                    let rows = input.map(|(_, batches)| batches.as_slice()).unwrap_or_default();
                    let batch = quarantine::batch(spec, &made.refused, rows)?;
                    self.replace(
                        spec,
                        "quarantine",
                        batch.schema(),
                        vec![batch],
                        &plan.fingerprint,
                        interval,
                        &made,
                    )
                    .await?;
                }
                let zone = spec.table.zone.name();
                let version = self
                    .replace(
                        spec,
                        zone,
                        Arc::clone(&made.schema),
                        made.batches.clone(),
                        &plan.fingerprint,
                        interval,
                        &made,
                    )
                    .await?;
                let hop = HopReport {
                    hop: zone,
                    table: spec.table.to_string(),
                    counts: made.counts,
                    version,
                    changed: true,
                    rules: made.rules,
                };
                hops.push((spec.pipeline.clone(), hop));
            }
            if let Some(target) = &spec.publish {
                published.insert(target.clone(), made.batches);
            }
            progress.end();
        }
        Ok(published)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one private step, used for a table and for its quarantine"
    )]
    async fn replace(
        &self,
        spec: &TableSpec,
        zone: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        fingerprint: &str,
        interval: Interval,
        made: &refine::Made,
    ) -> Result<i64> {
        let path = TablePath::new(zone, &spec.table.name);
        let options = TableOptions { comment: spec.comment.clone(), ..TableOptions::default() };
        self.lake().ensure_table(&path, &schema, &options).await?;
        let last = self.last_commit(&path).await?;
        let counts = [
            ("read", made.counts.read),
            ("written", made.counts.written),
            ("quarantined", made.counts.quarantined),
            ("deduplicated", made.counts.deduplicated),
            ("superseded", made.counts.superseded),
            ("filtered", made.counts.filtered),
        ];
        let commit = Commit {
            pipeline: spec.pipeline.clone(),
            app_id: format!("{}/{zone}.{}", spec.pipeline, spec.table.name),
            seq: last.map_or(1, |(_, record)| record.seq + 1),
            interval: interval.text(),
            counts: counts.into_iter().map(|(name, rows)| (name.to_owned(), rows)).collect(),
            digest: Some(fingerprint.to_owned()),
        };
        Ok(self.lake().replace(&path, batches, None, &commit).await?.version())
    }

    fn reports(
        &self,
        run_id: &str,
        interval: Interval,
        hops: &[(String, HopReport)],
        started: Instant,
    ) -> Vec<RunReport> {
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut reports = Vec::new();
        for name in self.config.pipelines.names() {
            let hops: Vec<HopReport> =
                hops.iter().filter(|(pipeline, _)| pipeline == name).map(|(_, hop)| hop.clone()).collect();
            if hops.is_empty() {
                continue;
            }
            let status = if hops.iter().any(|hop| hop.changed) { "ok" } else { "skipped" };
            reports.push(RunReport {
                run_id: run_id.to_owned(),
                pipeline: name.to_owned(),
                interval,
                status,
                hops,
                batch_id: None,
                duration_ms: elapsed,
            });
        }
        reports
    }

    async fn publish(
        &self,
        plans: &HashMap<TableName, Plan>,
        mut made: HashMap<String, Vec<RecordBatch>>,
        reports: &mut Vec<RunReport>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(pool) = &self.config.warehouse else { return Ok(()) };
        let targets: Vec<&TableSpec> =
            self.config.pipelines.tables.iter().filter(|spec| spec.publish.is_some()).collect();
        let mut hash = Sha256::new();
        for spec in &targets {
            hash.update(plans.get(&spec.table).map(|plan| plan.fingerprint.as_str()).unwrap_or_default());
        }
        let fingerprint = hex(&hash.finalize());
        if targets.is_empty() || publish::is_loaded(pool, &fingerprint).await? {
            let lease = pool.lease().await?;
            lease
                .batch_execute(&ledger::statements(reports))
                .await
                .map_err(|error| server_error(None, "record the run", error))?;
            lease.release();
            return Ok(());
        }
        progress.begin("load the star", None);
        let mut gold = Vec::new();
        for spec in targets {
            let Some(target) = &spec.publish else { continue };
            let batches = match made.remove(target) {
                Some(batches) => batches,
                None => self.read_published(&path(&spec.table)).await?,
            };
            gold.push((target.clone(), batches));
        }
        if reports.is_empty() {
            let run_id = run_id(Interval { start: Utc::now(), end: Utc::now() });
            reports.push(RunReport {
                run_id,
                pipeline: "star".to_owned(),
                interval: Interval { start: Utc::now(), end: Utc::now() },
                status: "ok",
                hops: Vec::new(),
                batch_id: None,
                duration_ms: 0,
            });
        }
        Box::pin(publish::load(pool, &gold, &fingerprint, reports)).await?;
        progress.end();
        Ok(())
    }
}

impl TableSpec {
    /// The spec with the star's contract where it publishes and declares none.
    pub(crate) fn resolved(&self) -> Self {
        let mut spec = self.clone();
        if let (None, Some(target)) = (&spec.contract, &spec.publish) {
            spec.contract = publish::contract(target);
        }
        spec
    }
}

fn path(table: &TableName) -> TablePath {
    TablePath::new(table.zone.name(), &table.name)
}

fn run_id(interval: Interval) -> String {
    let text = format!("{}|{}", interval.text(), Utc::now().timestamp_micros());
    hex(&Sha256::digest(text)).chars().take(20).collect()
}
