//! Filling real servers: what was loaded is there once, another plan takes its place, and what somebody else made is
//! refused.

#![expect(clippy::unwrap_used, reason = "every function of this file is a test or its reader")]

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use mysql_async::prelude::Queryable as _;
use portolan_catalog::config::{KafkaConfig, MongodbConfig, MysqlConfig};
use portolan_catalog::source::{SourceErrorKind, SourceName};
use portolan_catalog::{kafka, mongodb, mysql};
use serde_json::json;

use super::servers;

fn name() -> SourceName {
    SourceName::try_new("filled").unwrap()
}

/// A name on the server that no other run has; the fixtures of its kind remove what a killed run left.
fn unique(what: &str) -> String {
    super::leftover::fresh(&format!("portolan_load_{what}"))
}

/// A file with a secret, and the text that names it.
fn secret(directory: &tempfile::TempDir, value: &str) -> String {
    let file = directory.path().join("password");
    std::fs::write(&file, value).unwrap();
    format!("{{file: '{}'}}", file.display())
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> T {
    portolan_catalog::yaml::parse(std::path::Path::new("test.yaml"), text).unwrap()
}

#[tokio::test]
async fn tables_of_mysql() {
    let url = servers::mysql();
    let (account, place) = url.strip_prefix("mysql://").unwrap().split_once('@').unwrap();
    let ((user, password), (host, port)) = (account.split_once(':').unwrap(), place.split_once(':').unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (password, database) = (secret(&directory, password), unique("tables"));
    let config: MysqlConfig = parsed(&format!(
        "{{host: {host}, port: {port}, database: {database}, user: {user}, password: {password}}}"
    ));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from_iter_values(0..1_500))),
        (
            "name",
            Arc::new(StringArray::from_iter((0..1_500).map(|n| (n % 7 > 0).then(|| format!("n'{n}\\ é"))))),
        ),
        ("open", Arc::new(BooleanArray::from_iter((0..1_500).map(|n| Some(n % 2 > 0))))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values((0..1_500).map(|n| n * 1_000_001)))),
    ];
    let batches =
        [RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()];
    let ddl = "CREATE TABLE `t` (id int PRIMARY KEY, name varchar(20), `open` bit(1), at datetime(6))";
    let tables = [mysql::LoadTable { name: "t", ddl, batches: &batches }];
    assert_eq!(mysql::load(&name(), &config, "one", &tables).await.unwrap(), 1_500);
    assert_eq!(mysql::load(&name(), &config, "one", &tables).await.unwrap(), 0, "it is there");
    assert_eq!(mysql::load(&name(), &config, "two", &tables).await.unwrap(), 1_500, "another plan");

    let mut there = mysql_async::Conn::new(mysql_async::Opts::from_url(&url).unwrap()).await.unwrap();
    let found: Option<(i64, i64, String, String)> = there
        .query_first(format!(
            "SELECT count(*), sum(`open`), max(name), cast(max(at) AS char) FROM {database}.t WHERE name IS NOT NULL"
        ))
        .await
        .unwrap();
    let last = "1970-01-01 00:24:59.001499".to_owned();
    assert_eq!(found.unwrap(), (1_285, 643, "n'9\\ é".to_owned(), last));

    // Somebody else's database.
    let foreign = unique("foreign");
    there.query_drop(format!("CREATE DATABASE {foreign}")).await.unwrap();
    there.query_drop(format!("CREATE TABLE {foreign}.theirs (a int)")).await.unwrap();
    let refused = mysql::load(&name(), &MysqlConfig { database: foreign.clone(), ..config }, "one", &tables)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Unsupported, "{refused}");
    let kept: Option<i64> =
        there.query_first(format!("SELECT count(*) FROM {foreign}.theirs")).await.unwrap();
    assert_eq!(kept, Some(0));
    for made in [database, foreign] {
        there.query_drop(format!("DROP DATABASE {made}")).await.unwrap();
        there.exec_drop("DELETE FROM portolan_simulated.loads WHERE name = ?", (made,)).await.unwrap();
    }
    there.disconnect().await.unwrap();
}

#[tokio::test]
async fn documents_of_mongodb() {
    let url = servers::mongodb();
    let (hosts, options) = url.strip_prefix("mongodb://").unwrap().split_once("/?").unwrap();
    let set = options.split('&').find_map(|option| option.strip_prefix("replicaSet="));
    let set = set.map(|set| format!(", replica_set: {set}")).unwrap_or_default();
    let database = unique("docs");
    let config: MongodbConfig = parsed(&format!("{{hosts: [{hosts:?}], database: {database}{set}}}"));
    let document = |n: i64| mongodb::LoadDocument {
        call: (n % 2 > 0).then(|| format!("C{n}")),
        document: json!({"n": n, "when": {"at": [n, "x"]}, "none": null}),
    };
    let load = |plan: &'static str, count: i64| {
        let (source, config) = (name(), config.clone());
        async move { mongodb::load(&source, &config, plan, "d", (0..count).map(document)).await }
    };
    assert_eq!(load("one", 1_200).await.unwrap(), 1_200);
    assert_eq!(load("one", 1_200).await.unwrap(), 0, "it is there");
    assert_eq!(load("two", 3).await.unwrap(), 3, "another plan");
    let client = ::mongodb::Client::with_uri_str(&url).await.unwrap();
    let there = client.database(&database).collection::<::mongodb::bson::Document>("d");
    assert_eq!(there.count_documents(::mongodb::bson::doc! { "doc.when.at": "x" }).await.unwrap(), 3);

    let theirs = client.database(&database).collection::<::mongodb::bson::Document>("theirs");
    theirs.insert_one(::mongodb::bson::doc! { "a": 1 }).await.unwrap();
    let refused = mongodb::load(&name(), &config, "one", "theirs", [document(1)]).await.unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Unsupported, "{refused}");
    assert_eq!(theirs.count_documents(::mongodb::bson::doc! {}).await.unwrap(), 1);
    client.database(&database).drop().await.unwrap();
}

#[tokio::test]
async fn messages_of_kafka() {
    let brokers = servers::kafka();
    let config: KafkaConfig = parsed(&format!("{{brokers: [{brokers:?}], topics: {{}}}}"));
    let messages = |count: i64| {
        (0..count)
            .map(|n| kafka::LoadMessage {
                key: format!("k{}", n % 5),
                payload: format!("{{\"n\":{n}}}"),
                timestamp: n,
            })
            .collect::<Vec<_>>()
    };
    let topic = unique("topic");
    let load =
        |plan: &'static str, count: i64| kafka_load(config.clone(), plan, topic.clone(), messages(count));
    assert_eq!(load("one", 2_000).await.unwrap(), 2_000);
    assert_eq!(load("one", 2_000).await.unwrap(), 0, "it is there, old times and all");
    assert_eq!(load("one", 2_001).await.unwrap(), 2_001, "some were missing");
    assert_eq!(load("two", 10).await.unwrap(), 10, "another plan");
}

async fn kafka_load(
    config: KafkaConfig,
    plan: &'static str,
    topic: String,
    messages: Vec<kafka::LoadMessage>,
) -> Result<u64, portolan_catalog::source::SourceError> {
    kafka::load(&name(), &config, plan, &topic, 3, messages).await
}
