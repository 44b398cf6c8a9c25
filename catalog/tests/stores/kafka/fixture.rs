//! A catalog with one Kafka source, queried as a gateway session queries it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use portolan_catalog::Catalog;
use portolan_catalog::federation::{FederationOptions, Fragment, QueryContext};
use portolan_catalog::kafka::{KafkaConfig, KafkaSource};
use portolan_catalog::source::{Source, SourceError, SourceName};

use super::broker::brokers;

/// The source is named `events`; its tables are given as YAML.
pub(super) struct Fixture {
    pub(super) source: Arc<KafkaSource>,
    pub(super) context: SessionContext,
    pub(super) options: Arc<FederationOptions>,
    pub(super) query: Arc<QueryContext>,
}

impl Fixture {
    pub(super) fn new(topics: &str) -> Self {
        Self::at(&brokers(), topics, "", None)
    }

    /// With the brokers, the topics, further keys of the source, and the statement's time to live.
    pub(super) fn at(brokers: &str, topics: &str, more: &str, within: Option<Duration>) -> Self {
        let text = format!("brokers: [\"{brokers}\"]\ntopics: {topics}\n{more}\n");
        let config: KafkaConfig =
            portolan_catalog::yaml::parse(std::path::Path::new("kafka.yaml"), &text).unwrap();
        let source = Arc::new(KafkaSource::open(SourceName::try_new("events").unwrap(), config).unwrap());
        let shared: Arc<dyn Source> = Arc::clone(&source) as Arc<dyn Source>;
        let catalog = Catalog::builder().add(shared).build().unwrap();
        let options = Arc::new(FederationOptions::default());
        let query = Arc::new(QueryContext {
            deadline: within.map(|within| Instant::now() + within),
            ..QueryContext::default()
        });
        let config = SessionConfig::new()
            .with_target_partitions(2)
            .with_default_catalog_and_schema("portolan", "events")
            .with_extension(Arc::clone(&query));
        let context = SessionContext::new_with_config(config);
        context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(&options), vec![]));
        Self { source, context, options, query }
    }

    /// One table `t` over a topic with these columns.
    pub(super) fn table(topic: &str, columns: &str) -> Self {
        Self::new(&format!("{{ t: {{ topic: {topic}, columns: {columns} }} }}"))
    }

    /// Rows as text, sorted.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<String>, String> {
        let frame = self.context.sql(sql).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        let format = FormatOptions::default().with_null("∅").with_display_error(true);
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|array| ArrayFormatter::try_new(array, &format).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
            }
        }
        rows.sort();
        Ok(rows)
    }

    pub(super) async fn count(&self, sql: &str) -> usize {
        self.rows(sql).await.unwrap().len()
    }

    /// The leaf's line of `EXPLAIN`, or of `EXPLAIN ANALYZE` with the rows that arrived.
    pub(super) async fn leaf(&self, explain: &str, sql: &str) -> String {
        let plan = self.rows(&format!("{explain} {sql}")).await.unwrap().join("\n");
        plan.lines().find(|line| line.contains("FederatedScan")).unwrap_or_default().trim().to_owned()
    }

    /// The whole table `t`, straight from the executor.
    pub(super) async fn stream(&self) -> Result<SendableRecordBatchStream, SourceError> {
        let tables = self.source.tables().await?;
        let table = tables.into_iter().find(|table| table.name == "t").unwrap();
        self.source.executor().execute(&Fragment::whole(table), Arc::clone(&self.query)).await
    }
}
