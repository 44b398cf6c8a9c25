//! One database of its own on the real server, seen as two sources through a session with the cut.

use std::num::NonZeroU16;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, Result};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use portolan_catalog::Catalog;
use portolan_catalog::federation::{FederationOptions, QueryContext, physical_optimizer_rules};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::{Source, SourceError, SourceName};
use serde_json::Value;
use tokio_postgres::{Client, Config, NoTls};

/// Rows that stores are known to tell apart differently, and a table with a key for them to point at.
pub(crate) const SEED: &str = r#"
CREATE SCHEMA port;
CREATE SCHEMA other;
CREATE TYPE port.mood AS ENUM ('zeal', 'calm', 'anger');
CREATE TABLE port.berth (id int4 PRIMARY KEY, code text NOT NULL, depth numeric(6,2), zone text);
INSERT INTO port.berth VALUES (0, 'b', 1.10, 'Dakar'), (1, 'B', NULL, 'DAKAR'), (7, 'a', 12.00, NULL),
  (-1, 'É', 0.01, 'x'), (2147483647, 'z', 9999.99, 'Dakar');
CREATE TABLE port.mark (name text PRIMARY KEY, weight int2);
INSERT INTO port.mark VALUES ('Dakar', 1), ('DAKAR', 2), ('a', 3), ('a ', 4), ('nobody', NULL);
CREATE TABLE port.t (
  i2 int2, i4 int4, i8 int8, txt text, vc varchar(8), bp bpchar(5), n numeric(10,2), u numeric,
  f float8, ok bool, day date, at timestamp, seen timestamptz, m port.mood, id uuid, doc jsonb,
  lo text COLLATE "POSIX", dic text COLLATE pg_c_utf8);
INSERT INTO port.t VALUES
  (1, 1, 9223372036854775807, 'Dakar', 'Dakar', 'a', 1.50, 1.5, 'NaN', true, '2026-01-01', '2026-01-01 00:00', '2026-01-01 00:00Z', 'zeal', '00000000-0000-0000-0000-000000000001', '{"a":1}', 'Dakar', 'b'),
  (-1, -1, -9223372036854775808, 'DAKAR', 'DAKAR', 'a    ', -0.01, 0, '-0', false, '0001-01-01', '0001-01-01 00:00', '0001-01-01 00:00Z', 'calm', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]', 'DAKAR', 'B'),
  (0, 0, 0, 'dákar', '', '', 0, 0.00, 0, NULL, 'infinity', 'infinity', 'infinity', 'anger', NULL, 'null', 'dákar', 'a'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (32767, 2147483647, 9007199254740993, 'it''s', 'a ', 'ab', 99999999.99, 12345678901234567890.0123456789, 'Infinity', true, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999Z', 'zeal', NULL, '"x"', 'a', 'É'),
  (-32768, -2147483648, 1, 'a\', 'a', 'b', -99999999.99, -1, '-Infinity', false, '1969-12-31', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999Z', 'calm', NULL, '1.10', 'A', '_'),
  (7, 7, 7, E'x\ny', '%', '%', 7, 7, 1.5, true, '2026-03-29', '2026-03-29 02:30', '2026-03-29 01:00Z', NULL, NULL, NULL, NULL, '%'),
  (7, 7, 7, ''';--', '_', '_', 7, 7, 1.5, true, '2026-03-29', '2026-03-29 02:30', '2026-03-29 01:00Z', 'anger', NULL, NULL, 'ss', 'ss'),
  (1, 1, 1, 'a', 'ß', 'É', 0.10, 0.1, 0.1, false, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00Z', 'calm', NULL, NULL, 'ß', 'ß'),
  (1, 1, 1, 'a ', 'ss', 'E', 0.10, 0.1, 0.3, false, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00Z', 'calm', NULL, NULL, 'É', 'e');
CREATE TABLE port.many AS
  SELECT g::int4 AS id, (g % 100)::int4 AS bucket, ('k' || g % 1000)::text AS label, (g::numeric / 4)::numeric(14,2) AS amount
  FROM generate_series(1, 20000) g;
ALTER TABLE port.many ADD PRIMARY KEY (id);
CREATE TABLE other.few AS SELECT g::int4 AS id, 'few'::text AS label FROM generate_series(100, 109) g;
CREATE TABLE other.half AS SELECT (g * 2)::int4 AS id FROM generate_series(1, 5000) g;
CREATE TABLE other.none (id int4);
-- Whoever asks it for a row gets an error.
CREATE VIEW port.untouched AS SELECT id, bucket / (bucket - bucket) AS bucket FROM port.many;
ANALYZE;
"#;

pub(crate) struct Fixture {
    admin: Client,
    database: String,
    /// A connection into the database itself.
    pub(crate) client: Client,
    pub(crate) context: SessionContext,
    /// How to log in to the database as its owner.
    pub(crate) config: Config,
    connections: NonZeroU16,
    options: Arc<FederationOptions>,
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) fn source(
    name: &str,
    config: &Config,
    connections: NonZeroU16,
    namespace: &str,
) -> Arc<PostgresSource> {
    let name = SourceName::try_new(name).unwrap();
    let pool = PostgresPool::with_connections(&name, config.clone(), connections).unwrap();
    Arc::new(PostgresSource::new(name, pool, namespace))
}

/// A session with the cut over both namespaces and further sources.
fn session(
    config: &Config,
    connections: NonZeroU16,
    more: &[Arc<PostgresSource>],
    options: &Arc<FederationOptions>,
) -> SessionContext {
    let mut catalog = Catalog::builder().add(source("ops", config, connections, "port")).add(source(
        "side",
        config,
        connections,
        "other",
    ));
    for source in more {
        catalog = catalog.add(Arc::clone(source) as Arc<dyn Source>);
    }
    let catalog = catalog.build().unwrap();
    let mut config =
        SessionConfig::new().with_target_partitions(2).with_default_catalog_and_schema("portolan", "ops");
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.hash_join_inlist_pushdown_max_distinct_values = 10_000;
    optimizer.hash_join_inlist_pushdown_max_size = 1 << 20;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(options), vec![]));
    context
}

/// What one statement gave: its columns' types, and its rows in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) types: Vec<DataType>,
    pub(crate) rows: Vec<String>,
}

impl Fixture {
    /// A database filled with the seed.
    pub(crate) async fn start() -> Self {
        Self::with_connections(NonZeroU16::new(4).unwrap()).await
    }

    /// As [`Fixture::start`], with so many connections a source.
    pub(crate) async fn with_connections(connections: NonZeroU16) -> Self {
        let mut config: Config = crate::servers::postgres().parse().unwrap();
        let admin = connect(&config).await;
        let database = crate::database::new_database(&admin, "planner").await;
        config.dbname(&database);
        let client = connect(&config).await;
        client.batch_execute(SEED).await.unwrap();
        let options = Arc::new(FederationOptions::default());
        let context = session(&config, connections, &[], &options);
        Self { admin, database, client, context, config, connections, options }
    }

    /// The same database, and one namespace of it once more as a source of its own.
    pub(crate) fn and(self, name: &str, config: &Config, namespace: &str) -> Self {
        let more = source(name, config, self.connections, namespace);
        let context = session(&self.config, self.connections, &[more], &self.options);
        Self { context, ..self }
    }

    /// The same database, and a namespace of it once more as a source for which something is declared, in JSON: which
    /// tables are shown, and types of columns.
    pub(crate) fn declaring(self, name: &str, namespace: &str, tables: Value, columns: Value) -> Self {
        let more = Arc::into_inner(source(name, &self.config, self.connections, namespace)).unwrap();
        let (tables, columns) =
            (serde_json::from_value(tables).unwrap(), serde_json::from_value(columns).unwrap());
        let more = Arc::new(more.declaring(tables, columns));
        let context = session(&self.config, self.connections, &[more], &self.options);
        Self { context, ..self }
    }

    pub(crate) async fn stop(self) {
        drop(self.context);
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        self.admin.batch_execute(&drop).await.unwrap();
    }

    /// A statement with a context of its own.
    async fn statement(&self, sql: &str) -> Result<DataFrame> {
        let mut state = self.context.state();
        state.config_mut().set_extension(Arc::new(QueryContext::default()));
        let plan = state.create_logical_plan(sql).await?;
        Ok(DataFrame::new(state, plan))
    }

    pub(crate) async fn run(&self, sql: &str, pushdown: bool) -> std::result::Result<Outcome, String> {
        self.options.set_pushdown(pushdown);
        let frame = self.statement(sql).await.map_err(|error| error.to_string())?;
        let types = frame.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        Ok(Outcome { types, rows: batches.iter().flat_map(shown).collect() })
    }

    /// What a source says to a statement that it cannot answer.
    pub(crate) async fn refusal(&self, sql: &str, pushdown: bool) -> SourceError {
        self.options.set_pushdown(pushdown);
        let error = match self.statement(sql).await {
            Ok(frame) => frame.collect().await.unwrap_err(),
            Err(error) => error,
        };
        match error.find_root() {
            DataFusionError::External(error) => error.downcast_ref::<SourceError>().unwrap().clone(),
            other => panic!("{sql}: {other}"),
        }
    }

    /// Runs a statement with push-down on and off; the same rows must come back. Gives the leaves' lines.
    pub(crate) async fn same(&self, sql: &str) -> Vec<String> {
        let (mut on, mut off) = (self.run(sql, true).await, self.run(sql, false).await);
        for outcome in [&mut on, &mut off].into_iter().flatten() {
            outcome.rows.sort();
        }
        let leaves = self.leaves(sql).await;
        assert!(off.is_ok(), "{sql}: {off:?}");
        assert_eq!(on, off, "{sql}\n{leaves:#?}");
        leaves
    }

    /// As [`Fixture::same`], and the order of the rows must be the same too. Gives the leaves' lines.
    pub(crate) async fn same_order(&self, sql: &str) -> Vec<String> {
        let (on, off) = (self.run(sql, true).await, self.run(sql, false).await);
        let leaves = self.leaves(sql).await;
        assert!(off.is_ok(), "{sql}: {off:?}");
        assert_eq!(on, off, "{sql}\n{leaves:#?}");
        leaves
    }

    pub(crate) async fn leaves(&self, sql: &str) -> Vec<String> {
        self.explain(&format!("EXPLAIN {sql}")).await
    }

    /// The leaves' lines of a given EXPLAIN.
    pub(crate) async fn explain(&self, sql: &str) -> Vec<String> {
        let Ok(outcome) = self.run(sql, true).await else { return vec![] };
        let text = outcome.rows.join("\n");
        text.lines()
            .filter(|line| line.contains("FederatedScan"))
            .map(|line| line.trim().to_owned())
            .collect()
    }

    pub(crate) async fn plan(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        self.options.set_pushdown(true);
        self.statement(sql).await.unwrap().create_physical_plan().await.unwrap()
    }
}

fn shown(batch: &RecordBatch) -> Vec<String> {
    let format = FormatOptions::default().with_null("∅").with_display_error(true);
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &format).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}
