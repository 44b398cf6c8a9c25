//! The jobs: land sources, remake what changed, publish, record.
//!
//! What must be done is decided from the lake's own log: a derived table carries the fingerprint of its definition and
//! its inputs in its last commit, and is remade exactly when that differs. So a run killed anywhere is repeated by the
//! next one without a repair, and the same input again writes nothing. A source that cannot be landed, or a table whose
//! log is damaged, costs itself and what is made of it; the others go on.

mod bronze;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
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
use crate::report::{Attempt, HopReport, Interval, Progress, RunReport};
use crate::{land, ledger, publish, quarantine, refine};
use plan::{Plan, Plans};

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

/// What was read and made so far.
struct Derived {
    context: SessionContext,
    /// Tables the session knows.
    known: HashSet<TableName>,
    /// Bronze by name: how many rows, and which.
    bronze_rows: HashMap<TableName, (u64, Vec<RecordBatch>)>,
    published: HashMap<String, Vec<RecordBatch>>,
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
    /// The first failure, after everything else was done; what was committed stays and is found by the next run.
    pub async fn run_all(&self, interval: Interval, progress: &dyn Progress) -> Result<Vec<RunReport>> {
        self.attempt(interval, progress).await.into_result()
    }

    /// As [`Ingest::run_all`], with the reports of what was done beside all failures.
    pub async fn attempt(&self, interval: Interval, progress: &dyn Progress) -> Attempt {
        Box::pin(self.attempt_some(None, interval, progress)).await
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
        let reports = Box::pin(self.attempt_some(Some(pipeline), interval, progress)).await.into_result()?;
        reports
            .into_iter()
            .find(|report| report.pipeline == pipeline)
            .ok_or_else(|| IngestError::invariant(format!("pipeline \"{pipeline}\" gave no report")))
    }

    async fn attempt_some(&self, only: Option<&str>, interval: Interval, progress: &dyn Progress) -> Attempt {
        // A feed that was mended a moment ago is looked for again.
        self.config.catalog.refresh();
        let started = Instant::now();
        let run_id = run_id(interval);
        let mut hops: Vec<(String, HopReport)> = Vec::new();
        let mut failures: Vec<(String, IngestError)> = Vec::new();
        for pipeline in &self.config.pipelines.pipelines {
            let Some(spec) = &pipeline.source else { continue };
            if only.is_some_and(|only| only != pipeline.name) {
                continue;
            }
            match Box::pin(land::land(self, pipeline, spec, interval, &run_id, progress)).await {
                Ok(hop) => hops.push((pipeline.name.clone(), hop)),
                Err(error) => {
                    progress.end();
                    let error = error.context(format!("land \"{}\"", pipeline.name));
                    failures.push((pipeline.name.clone(), error));
                }
            }
        }
        let plans = self.plans(&mut failures).await;
        let made = match Box::pin(self.derive(&plans, interval, progress, &mut hops)).await {
            Ok(made) => Some(made),
            Err(failure) => {
                progress.end();
                failures.push(failure);
                None
            }
        };
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut reports = self.reports(&run_id, interval, &hops, &failures, elapsed);
        if let Err(error) = Box::pin(self.publish(&plans, made, &mut reports, progress)).await {
            progress.end();
            let mut failed = RunReport::empty(run_id, "star", interval);
            failed.fail(&error);
            failures.push(("star".to_owned(), error));
            // What kept the star from being loaded need not keep the ledger from saying so.
            reports.push(failed);
            if let Err(error) = self.record(&reports).await {
                tracing::debug!(%error, "the failed run is not in the ledger");
            }
        }
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for report in &mut reports {
            report.duration_ms = elapsed;
        }
        Attempt { reports, failures: failures.into_iter().map(|(_, error)| error).collect() }
    }

    /// Remakes every stale table. Gives the batches of published tables that were made.
    ///
    /// # Errors
    /// The first failure, with the pipeline of the table that could not be made.
    async fn derive(
        &self,
        plans: &Plans,
        interval: Interval,
        progress: &dyn Progress,
        hops: &mut Vec<(String, HopReport)>,
    ) -> Result<HashMap<String, Vec<RecordBatch>>, (String, IngestError)> {
        let pipelines = &self.config.pipelines;
        let mut derived = Derived {
            context: refine::session(&pipelines.crosswalks).map_err(|error| ("star".to_owned(), error))?,
            known: HashSet::new(),
            bronze_rows: HashMap::new(),
            published: HashMap::new(),
        };
        for spec in &pipelines.tables {
            let Some(plan) = plans.tables.get(&spec.table).filter(|plan| plan.stale) else { continue };
            let hop = Box::pin(self.derive_one(spec, plan, interval, progress, &mut derived)).await;
            hops.extend(
                hop.map_err(|error| (spec.pipeline.clone(), error))?.map(|hop| (spec.pipeline.clone(), hop)),
            );
        }
        Ok(derived.published)
    }

    async fn derive_one(
        &self,
        spec: &TableSpec,
        plan: &Plan,
        interval: Interval,
        progress: &dyn Progress,
        derived: &mut Derived,
    ) -> Result<Option<HopReport>> {
        let pipelines = &self.config.pipelines;
        let context = &derived.context;
        for input in &spec.inputs {
            if derived.known.insert(input.clone()) {
                let provider = match pipelines.bronze_of(input) {
                    Some(pipeline) => {
                        let (schema, batches) = self.bronze(context, pipeline).await?;
                        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                        derived.bronze_rows.insert(input.clone(), (rows, batches.clone()));
                        refine::memory(schema, batches)?
                    }
                    None => self.lake().provider(&path(input), None).await?.1,
                };
                refine::register(context, input, provider)?;
            }
        }
        let own = pipelines.pipelines.iter().find(|pipeline| pipeline.name == spec.pipeline);
        let own = own.map(|pipeline| TableName { zone: Zone::Bronze, name: pipeline.bronze.clone() });
        let input = own.as_ref().and_then(|own| derived.bronze_rows.get(own));
        progress.begin(&format!("make {}", spec.table), input.map(|(rows, _)| *rows));
        let started = Instant::now();
        let made = Box::pin(refine::make(context, &spec.resolved(), input.map(|(rows, _)| *rows))).await?;
        tracing::debug!(table = %spec.table, rows = made.counts.written, ms = started.elapsed().as_millis(), "made");
        refine::register(
            context,
            &spec.table,
            refine::memory(Arc::clone(&made.schema), made.batches.clone())?,
        )?;
        derived.known.insert(spec.table.clone());
        let mut hop = None;
        if spec.stored {
            if !made.refused.is_empty() {
                let rows = input.map(|(_, batches)| batches.as_slice()).unwrap_or_default();
                let batch = quarantine::batch(spec, &made.refused, rows)?;
                let schema = batch.schema();
                self.replace(spec, "quarantine", schema, vec![batch], plan, interval, &made).await?;
            }
            let zone = spec.table.zone.name();
            let (schema, batches) = (Arc::clone(&made.schema), made.batches.clone());
            let version = self.replace(spec, zone, schema, batches, plan, interval, &made).await?;
            hop = Some(HopReport {
                hop: zone,
                table: spec.table.to_string(),
                counts: made.counts,
                version,
                changed: true,
                rules: made.rules,
                warnings: made.warnings,
            });
        }
        if let Some(target) = &spec.publish {
            derived.published.insert(target.clone(), made.batches);
        }
        progress.end();
        Ok(hop)
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
        plan: &Plan,
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
            digest: Some(plan.fingerprint.clone()),
            origin: plan.origin.clone(),
        };
        Ok(self.lake().replace(&path, batches, None, &commit).await?.version())
    }

    /// One report per pipeline that did something or failed. Those that failed come first, so that the last one is a
    /// success if there is any.
    fn reports(
        &self,
        run_id: &str,
        interval: Interval,
        hops: &[(String, HopReport)],
        failures: &[(String, IngestError)],
        elapsed: u64,
    ) -> Vec<RunReport> {
        let mut reports = Vec::new();
        for name in self.config.pipelines.names() {
            let mut report = RunReport::empty(run_id.to_owned(), name, interval);
            report.hops =
                hops.iter().filter(|(pipeline, _)| pipeline == name).map(|(_, hop)| hop.clone()).collect();
            report.duration_ms = elapsed;
            if !report.hops.iter().any(|hop| hop.changed) {
                report.status = "skipped";
            }
            if let Some((_, error)) = failures.iter().find(|(pipeline, _)| pipeline == name) {
                report.fail(error);
            } else if report.hops.is_empty() {
                continue;
            }
            reports.push(report);
        }
        reports.sort_by_key(|report| report.error.is_none());
        reports
    }

    /// Writes reports to the ledger.
    async fn record(&self, reports: &[RunReport]) -> Result<()> {
        let Some(pool) = &self.config.warehouse else { return Ok(()) };
        let lease = pool.lease().await?;
        lease
            .batch_execute(&ledger::statements(reports))
            .await
            .map_err(|error| server_error(None, "record the run", error))?;
        lease.release();
        Ok(())
    }

    /// Loads the star if gold is another, and records the run. Without `made`, or with a table lost, the star stays.
    async fn publish(
        &self,
        plans: &Plans,
        made: Option<HashMap<String, Vec<RecordBatch>>>,
        reports: &mut Vec<RunReport>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Some(pool) = &self.config.warehouse else { return Ok(()) };
        let targets: Vec<&TableSpec> =
            self.config.pipelines.tables.iter().filter(|spec| spec.publish.is_some()).collect();
        let lost = targets.iter().any(|spec| plans.lost.contains(&spec.table));
        let Some(mut made) = made.filter(|_| !lost && !targets.is_empty()) else {
            return self.record(reports).await;
        };
        let mut hash = Sha256::new();
        for spec in &targets {
            let plan = plans.tables.get(&spec.table);
            hash.update(plan.map(|plan| plan.fingerprint.as_str()).unwrap_or_default());
        }
        let fingerprint = hex(&hash.finalize());
        if publish::is_loaded(pool, &fingerprint).await? {
            return self.record(reports).await;
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
        if reports.iter().all(|report| report.error.is_some()) {
            let now = Interval { start: Utc::now(), end: Utc::now() };
            let run_id = reports.first().map_or_else(|| run_id(now), |report| report.run_id.clone());
            reports.push(RunReport::empty(run_id, "star", now));
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
