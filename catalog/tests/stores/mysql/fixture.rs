//! A database of a test's own, sources over it, and statements run through a session with push-down on or off.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Row};
use portolan_catalog::Catalog;
use portolan_catalog::config::{ColumnTypes, MysqlConfig, TablePatterns};
use portolan_catalog::federation::{FederationOptions, Fragment, QueryContext, physical_optimizer_rules};
use portolan_catalog::limits::SourceLimits;
use portolan_catalog::mysql::{MysqlSource, MysqlTls, ZeroDates};
use portolan_catalog::secret::SecretRef;
use portolan_catalog::source::{Source as _, SourceError, SourceName, TableDef};
use tokio::sync::OnceCell;

use crate::leftover::{fresh, is_left_over};
use crate::servers;

/// What names of databases begin with.
pub(super) const FAMILY: &str = "pt";

/// A fresh database and an account with every right on it.
pub(super) struct Database {
    pub(super) name: String,
    pub(super) admin: Conn,
    options: Opts,
    secrets: tempfile::TempDir,
}

impl Database {
    pub(super) async fn new() -> Self {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let database = Self::named(fresh(FAMILY)).await;
        let families = [FAMILY, "portolan_load_tables", "portolan_load_foreign"];
        SWEPT.get_or_init(async || drop_left_over(&mut database.another().await, &families).await).await;
        database
    }

    pub(super) async fn named(name: String) -> Self {
        let options = Opts::from_url(&servers::mysql()).unwrap();
        let mut admin =
            Conn::new(OptsBuilder::from_opts(options.clone()).prefer_socket(false)).await.unwrap();
        admin.query_drop("SET NAMES utf8mb4").await.unwrap();
        admin.query_drop("SET sql_mode = '', time_zone = '+00:00'").await.unwrap();
        let quoted = name.replace('`', "``");
        admin.query_drop(format!("CREATE DATABASE `{quoted}` CHARACTER SET utf8mb4")).await.unwrap();
        admin.query_drop(format!("USE `{quoted}`")).await.unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("password"), options.pass().unwrap_or_default()).unwrap();
        Self { name, admin, options, secrets }
    }

    /// Runs statements separated by lines that end with a semicolon.
    pub(super) async fn run(&mut self, sql: &str) {
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            if let Err(error) = self.admin.query_drop(statement).await {
                panic!("{error}: {statement}");
            }
        }
    }

    pub(super) async fn number(&mut self, sql: &str) -> u64 {
        self.admin.query_first::<Row, _>(sql).await.unwrap().unwrap().get_opt::<u64, _>(0).unwrap().unwrap()
    }

    /// Makes a view `million` of the numbers `n` from 1 to 1,000,000: MySQL has no sequences of that kind.
    pub(super) async fn number_a_million(&mut self) {
        self.run(
            "CREATE TABLE digit (d int);
             INSERT INTO digit VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
             CREATE VIEW million AS SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 100000 * f.d AS n
               FROM digit a, digit b, digit c, digit d, digit e, digit f",
        )
        .await;
    }

    /// Whether the server is MariaDB: some types are its own, and some only MySQL's.
    pub(super) async fn is_maria(&mut self) -> bool {
        let version: Option<String> = self.admin.query_first("SELECT @@version").await.unwrap();
        version.unwrap().contains("MariaDB")
    }

    /// Statements with a query's tag that run at the server now.
    pub(super) async fn running(&mut self, query: &str) -> u64 {
        let sql = format!(
            "SELECT count(*) FROM information_schema.processlist \
             WHERE id <> connection_id() AND info LIKE '%portolan/{query}%'"
        );
        self.number(&sql).await
    }

    pub(super) fn config(&self) -> MysqlConfig {
        MysqlConfig {
            host: self.options.ip_or_hostname().to_owned(),
            port: self.options.tcp_port(),
            database: self.name.clone(),
            user: self.options.user().unwrap_or_default().to_owned(),
            password: Some(SecretRef::File(self.password())),
            connections: 4.try_into().unwrap(),
            limits: SourceLimits::default(),
            fallback: None,
            tls: MysqlTls::Disable,
            tls_ca: None,
            zero_dates: ZeroDates::Error,
            tables: TablePatterns::default(),
            columns: ColumnTypes::default(),
        }
    }

    /// One more connection to it.
    pub(super) async fn another(&self) -> Conn {
        let options = OptsBuilder::from_opts(self.options.clone()).prefer_socket(false);
        Conn::new(options.db_name(Some(self.name.clone()))).await.unwrap()
    }

    pub(super) fn password(&self) -> PathBuf {
        self.secrets.path().join("password")
    }

    pub(super) fn address(&self) -> (String, u16) {
        (self.options.ip_or_hostname().to_owned(), self.options.tcp_port())
    }

    pub(super) fn source(&self) -> Arc<MysqlSource> {
        open("ops", &self.config())
    }

    pub(super) fn session(&self, zero_dates: ZeroDates) -> Session {
        Session::new(vec![open("ops", &MysqlConfig { zero_dates, ..self.config() })])
    }

    pub(super) async fn finish(mut self) {
        let quoted = self.name.replace('`', "``");
        self.admin.query_drop(format!("DROP DATABASE `{quoted}`")).await.unwrap();
        self.admin.disconnect().await.unwrap();
    }
}

/// Drops databases of killed runs that nobody is connected to.
pub(super) async fn drop_left_over(admin: &mut Conn, families: &[&str]) {
    let unused = "SELECT s.schema_name FROM information_schema.schemata s WHERE NOT EXISTS \
                  (SELECT 1 FROM information_schema.processlist p WHERE p.db = s.schema_name)";
    let names: Vec<String> = admin.query(unused).await.unwrap();
    for name in names.iter().filter(|name| is_left_over(name, families)) {
        // Another run may be dropping it at this moment, and only some have been loaded into.
        let _ = admin.query_drop(format!("DROP DATABASE IF EXISTS `{name}`")).await;
        let _ = admin.exec_drop("DELETE FROM portolan_simulated.loads WHERE name = ?", (name,)).await;
    }
}

pub(super) fn open(name: &str, config: &MysqlConfig) -> Arc<MysqlSource> {
    Arc::new(MysqlSource::open(SourceName::try_new(name).unwrap(), config))
}

/// The table of a name, as the source tells it now.
pub(super) async fn table(source: &MysqlSource, name: &str) -> Arc<TableDef> {
    let tables = source.tables().await.unwrap();
    tables.into_iter().find(|table| table.name == name).unwrap()
}

/// All batches of a fragment.
pub(super) async fn read(source: &MysqlSource, fragment: &Fragment) -> Result<Vec<RecordBatch>, SourceError> {
    let context = Arc::new(QueryContext::default());
    let stream = source.executor().execute(fragment, context).await?;
    stream.try_collect().await.map_err(|error| source_error(&error))
}

pub(super) fn source_error(error: &datafusion::common::DataFusionError) -> SourceError {
    match error.find_root() {
        datafusion::common::DataFusionError::External(error) => {
            error.downcast_ref::<SourceError>().unwrap().clone()
        }
        other => panic!("no source error: {other}"),
    }
}

/// Rows as text, in the order they came.
pub(super) fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let format = FormatOptions::default().with_null("∅").with_display_error(true);
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"),
            );
        }
    }
    rows
}

/// A session over sources, the first of which is the default schema.
pub(super) struct Session {
    pub(super) context: SessionContext,
    pub(super) catalog: Arc<Catalog>,
    options: Arc<FederationOptions>,
    pub(super) sources: Vec<Arc<MysqlSource>>,
    pub(super) query: Arc<QueryContext>,
}

impl Session {
    pub(super) fn new(sources: Vec<Arc<MysqlSource>>) -> Self {
        let mut builder = Catalog::builder();
        for source in &sources {
            let source: Arc<dyn portolan_catalog::source::Source> = Arc::<MysqlSource>::clone(source);
            builder = builder.add(source);
        }
        let catalog = builder.build().unwrap();
        let options = Arc::new(FederationOptions::default());
        let query = Arc::new(QueryContext::default());
        let mut config = SessionConfig::new()
            .with_target_partitions(2)
            .with_default_catalog_and_schema("portolan", sources[0].name().as_str())
            .with_extension(Arc::clone(&query));
        let optimizer = &mut config.options_mut().optimizer;
        optimizer.hash_join_inlist_pushdown_max_distinct_values = 10_000;
        optimizer.hash_join_inlist_pushdown_max_size = 1 << 20;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_physical_optimizer_rules(physical_optimizer_rules())
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(&options), vec![]));
        Self { context, catalog, options, sources, query }
    }

    /// Rows as text in their order, or the error as text.
    pub(super) async fn rows(&self, sql: &str, pushdown: bool) -> Result<Vec<String>, String> {
        self.options.set_pushdown(pushdown);
        Ok(self.outcome(sql, pushdown).await?.1)
    }

    /// The types of the columns that came, none where no row did, and the rows.
    async fn outcome(&self, sql: &str, pushdown: bool) -> Result<(Vec<DataType>, Vec<String>), String> {
        self.options.set_pushdown(pushdown);
        let frame = self.context.sql(sql).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        let rows = shown(&batches);
        let of = |batch: &RecordBatch| -> Vec<DataType> {
            batch.schema().fields().iter().map(|field| field.data_type().clone()).collect()
        };
        let types = batches.iter().find(|batch| batch.num_rows() > 0).map(of).unwrap_or_default();
        Ok((types, rows))
    }

    /// The rows, which must be the same with push-down on and off.
    pub(super) async fn same(&self, sql: &str) -> Vec<String> {
        let on = self.outcome(sql, true).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let off = self.outcome(sql, false).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let (on_types, mut on) = on;
        let (off_types, mut off) = off;
        if !sql.contains("ORDER BY") {
            on.sort();
            off.sort();
        }
        assert_eq!(on, off, "{sql}\n{}", self.leaf(sql).await);
        assert_eq!(on_types, off_types, "{sql}\n{}", self.leaf(sql).await);
        on
    }

    /// The first leaf's line of EXPLAIN.
    pub(super) async fn leaf(&self, sql: &str) -> String {
        self.leaves(sql).await.into_iter().next().unwrap_or_default()
    }

    /// The leaves' lines of EXPLAIN.
    pub(super) async fn leaves(&self, sql: &str) -> Vec<String> {
        let lines = self.rows(&format!("EXPLAIN {sql}"), true).await.unwrap().join("\n");
        let leaves = lines.lines().filter(|line| line.contains("FederatedScan"));
        leaves.map(|line| line.trim().to_owned()).collect()
    }
}
