//! The MongoDB source against a real server: types, traps, push-down, streams.
//!
//! Each test makes a database of its own and drops it. What the test server cannot prove is said where it matters:
//! it does not show another connection's running operation, so that a kill of one *while it runs* is proven by what
//! was sent and by the cursor being gone afterwards.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which lints do not recognise as such"
)]

mod collations;
mod meaning;
mod predicates;
mod proofs;
mod shapes;
mod streams;
mod tls;
mod traps;
mod values;

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::prelude::SessionContext;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};
use portolan_catalog::Catalog;
use portolan_catalog::config::MongodbConfig;
use portolan_catalog::federation::FederationOptions;
use portolan_catalog::mongodb::MongodbSource;
use portolan_catalog::source::{SourceError, SourceName};
use tokio::sync::OnceCell;

use crate::leftover::{OLD, fresh, is_left_over, made_before};
use crate::servers;
use crate::session::{session, shown, source_error};

/// What names of databases begin with.
const FAMILY: &str = "portolan_store";

/// A database of its own, and a source over it.
struct Fixture {
    client: Client,
    name: String,
    source: Arc<MongodbSource>,
    catalog: Arc<Catalog>,
    context: SessionContext,
    options: Arc<FederationOptions>,
}

/// Hosts and replica set of the server's URL.
fn server() -> (String, Option<String>) {
    let url = servers::mongodb();
    let rest = url.strip_prefix("mongodb://").unwrap_or(&url);
    let (hosts, options) = rest.split_once('/').unwrap_or((rest, ""));
    let set = options.split(['?', '&']).find_map(|option| option.strip_prefix("replicaSet="));
    (hosts.to_owned(), set.map(str::to_owned))
}

/// Drops databases of killed runs.
async fn drop_left_over(client: &Client, families: &[&str]) {
    for name in client.list_database_names().await.unwrap() {
        if is_left_over(&name, families) {
            // Another run may be dropping it at this moment.
            let _ = client.database(&name).drop().await;
        }
    }
}

#[tokio::test]
async fn only_old_databases_of_the_family_are_dropped() {
    let client = Client::with_uri_str(servers::mongodb()).await.unwrap();
    // Another run's databases are not of this family.
    let family = format!("old_{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let names = [made_before(&family, OLD), fresh(&family), made_before(&format!("{family}_m"), OLD)];
    for name in &names {
        client.database(name).collection::<Document>("t").insert_one(doc! { "n": 1 }).await.unwrap();
    }
    drop_left_over(&client, &[family.as_str()]).await;
    let there = client.list_database_names().await.unwrap();
    assert_eq!(names.each_ref().map(|name| there.contains(name)), [false, true, true]);
    for name in &names {
        client.database(name).drop().await.unwrap();
    }
}

impl Fixture {
    /// `more` is YAML, further keys of the source.
    async fn start(more: &str) -> Self {
        let (hosts, set) = server();
        Self::over(&hosts, set.as_deref(), more).await
    }

    /// The source's server is reached at another address; the test's own client goes straight.
    async fn over(hosts: &str, set: Option<&str>, more: &str) -> Self {
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let name = fresh(FAMILY);
        let set = set.map_or_else(String::new, |set| format!("replica_set: {set}\n"));
        let yaml = format!("hosts: [\"{hosts}\"]\n{set}database: {name}\n{more}\n");
        let config: MongodbConfig = portolan_catalog::yaml::parse(Path::new("test"), &yaml).unwrap();
        let source = Arc::new(MongodbSource::open(SourceName::try_new("docs").unwrap(), config).unwrap());
        let catalog = Catalog::builder().add(Arc::clone(&source) as _).build().unwrap();
        let options = Arc::new(FederationOptions::default());
        let context = session(&catalog, "docs", &options);
        let client = Client::with_uri_str(servers::mongodb()).await.unwrap();
        SWEPT.get_or_init(|| drop_left_over(&client, &[FAMILY, "portolan_load_docs"])).await;
        Self { client, name, source, catalog, context, options }
    }

    async fn end(self) {
        self.database().drop().await.unwrap();
    }

    fn database(&self) -> Database {
        self.client.database(&self.name)
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database().collection(name)
    }

    async fn insert(&self, collection: &str, documents: impl IntoIterator<Item = Document>) {
        self.collection(collection).insert_many(documents).await.unwrap();
    }

    async fn batches(&self, sql: &str, pushdown: bool) -> Result<Vec<RecordBatch>, DataFusionError> {
        self.options.set_pushdown(pushdown);
        self.context.sql(sql).await?.collect().await
    }

    /// Sorted rows as text.
    async fn try_rows(&self, sql: &str, pushdown: bool) -> Result<Vec<String>, DataFusionError> {
        Ok(shown(&self.batches(sql, pushdown).await?))
    }

    /// What comes of a statement, the same with push-down on and off: sorted rows, or an error's text.
    async fn same(&self, sql: &str) -> Result<Vec<String>, String> {
        let mut outcomes = Vec::new();
        for pushdown in [false, true] {
            let outcome = self.try_rows(sql, pushdown).await;
            outcomes.push(outcome.map_err(|error| source_error(&error).to_string()));
        }
        let (on, off) = (outcomes.pop().unwrap(), outcomes.pop().unwrap());
        assert_eq!(on, off, "{sql}: with push-down, and without\n{}", self.leaf(sql).await);
        on
    }

    /// Sorted rows as text, the same with push-down on and off.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let off = self.try_rows(sql, false).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let on = self.try_rows(sql, true).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(on, off, "{sql}: with push-down, and without\n{}", self.leaf(sql).await);
        on
    }

    async fn refused(&self, sql: &str) -> SourceError {
        match self.try_rows(sql, true).await {
            Ok(rows) => panic!("{sql} gave {rows:?}"),
            Err(error) => source_error(&error),
        }
    }

    /// The leaf's line of EXPLAIN.
    async fn leaf(&self, sql: &str) -> String {
        let lines = self.try_rows(&format!("EXPLAIN {sql}"), true).await.unwrap().join("\n");
        lines.lines().find(|line| line.contains("FederatedScan")).unwrap_or_default().trim().to_owned()
    }

    /// Columns of a table with their Arrow types.
    async fn columns(&self, table: &str) -> String {
        let frame = self.context.sql(&format!("SELECT * FROM {table}")).await.unwrap();
        let fields = frame.schema().fields().clone();
        fields
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// `_id`s 1, 2, … for documents that have none.
fn numbered(documents: impl IntoIterator<Item = Document>) -> Vec<Document> {
    documents
        .into_iter()
        .zip(1_i32..)
        .map(|(document, id)| {
            let mut numbered = doc! { "_id": id };
            numbered.extend(document);
            numbered
        })
        .collect()
}
