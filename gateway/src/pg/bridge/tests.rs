//! The whole door with a real engine behind it and tables in memory; expected texts are PostgreSQL's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use portolan_catalog::federation::FederationOptions;
use tokio_postgres::types::Type;

use super::*;
use crate::engine::EngineConfig;
use crate::error::QueryError;
use crate::pg::wire_tests::raw::{Door, Raw, bind, door_to, execute, message, parse, sync};
use crate::session::TableCatalog;

#[derive(Debug)]
struct Tables(Arc<dyn SchemaProvider>);

#[async_trait::async_trait]
impl TableCatalog for Tables {
    fn provider(
        &self,
        _: Arc<FederationOptions>,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("port", Arc::clone(&self.0)).unwrap();
        for (name, schema) in extra {
            catalog.register_schema(&name, schema).unwrap();
        }
        Arc::new(catalog)
    }

    fn version(&self) -> u64 {
        1
    }

    async fn refresh(&self, _source: Option<&str>) -> Result<String, QueryError> {
        Ok("memory: 1 table".to_owned())
    }
}

impl RelationNames for Tables {
    fn has_relation(&self, schema: &str, name: &str) -> bool {
        schema == "port" && self.0.table_exist(name)
    }

    fn has_schema(&self, schema: &str) -> bool {
        schema == "port"
    }

    fn is_engine_function(&self, _: &str) -> bool {
        false
    }
}

/// `port.visit`: 3 rows with a NULL each; `port.number`: 100,000 rows.
fn tables() -> Arc<dyn SchemaProvider> {
    let schema = MemorySchemaProvider::new();
    let visit: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("vessel", Arc::new(StringArray::from(vec![Some("Ebène"), Some("O'Hara"), None]))),
        (
            "tonnes",
            Arc::new(
                Decimal128Array::from(vec![Some(1_500), None, Some(-250)])
                    .with_precision_and_scale(14, 3)
                    .unwrap(),
            ),
        ),
        (
            "arrived",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(0), Some(1_700_000_000_500_000), None])
                    .with_timezone("UTC"),
            ),
        ),
    ];
    let number: [(&str, ArrayRef); 1] = [("n", Arc::new(Int64Array::from_iter_values(0..100_000)))];
    for (name, batch) in [
        ("visit", RecordBatch::try_from_iter(visit).unwrap()),
        ("number", RecordBatch::try_from_iter(number).unwrap()),
    ] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        schema.register_table(name.to_owned(), Arc::new(table)).unwrap();
    }
    Arc::new(schema)
}

async fn door() -> Door {
    let tables = tables();
    let engine = Engine::open(EngineConfig {
        tables: Arc::new(Tables(Arc::clone(&tables))),
        semantics: None,
        system: Vec::new(),
        memory_bytes: 256 << 20,
        partitions: 2,
    })
    .unwrap();
    door_to(
        50,
        |_| {},
        |connections| {
            let names = Arc::new(Tables(tables));
            Arc::new(Bridge::new(Arc::new(engine), None, names, Arc::clone(connections)))
        },
    )
    .await
}

#[tokio::test]
async fn rows_come_back_in_postgres_text() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    for (sql, expected) in [
        ("SELECT 1;", vec!["1"]),
        ("select vessel from port.visit where id <= 2 order by id", vec!["Ebène", "O'Hara"]),
        ("select tonnes from port.visit where tonnes is not null order by id", vec!["1.500", "-0.250"]),
        ("select arrived from port.visit where id = 2", vec!["2023-11-14 22:13:20.5+00"]),
        (
            "set timezone to 'Asia/Kolkata'; select arrived from port.visit where id = 2",
            vec!["2023-11-15 03:43:20.5+05:30"],
        ),
        ("show timezone", vec!["Asia/Kolkata"]),
    ] {
        client.query(sql).await;
        assert_eq!(client.first_fields(), expected, "{sql}");
    }
}

#[tokio::test]
async fn errors_have_codes_and_places_in_the_clients_text() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    for (sql, code, place) in [
        ("select 1; selec 2", "42601", Some(11)),
        ("select nosuch from port.visit", "42703", Some(8)),
        ("select * from port.nosuch", "42P01", Some(15)),
        ("insert into port.visit values (1)", "25006", None),
        ("with x as (select 1) insert into port.visit select * from x", "25006", None),
        ("copy (select nosuch from port.visit) to stdout", "42703", Some(14)),
        ("set nosuch = 1", "42704", None),
        ("set timezone = 'Mars/X'", "22023", None),
    ] {
        client.query(sql).await;
        let fault = client.fault();
        assert_eq!(fault.sqlstate, code, "{sql}: {fault}");
        if place.is_some() {
            assert_eq!(fault.position, place, "{sql}: {fault}");
        }
    }
    assert_eq!(client.query("select 1").await, "TDC Z");
}

#[tokio::test]
async fn set_in_a_transaction_is_undone() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("set portolan.pushdown = off; set search_path = port").await;
    client.query("begin").await;
    client.query("set portolan.pushdown = on; set local timezone = 'Asia/Tokyo'").await;
    client.query("select nosuch").await;
    assert_eq!(client.status(), 'E');
    client.query("rollback").await;
    for (name, value) in [("portolan.pushdown", "off"), ("timezone", "UTC"), ("search_path", "port")] {
        client.query(&format!("show {name}")).await;
        assert_eq!(client.first_fields(), [value], "{name}");
    }
    client.query("begin; set local timezone = 'Asia/Tokyo'; commit; show timezone").await;
    assert_eq!(client.first_fields(), ["UTC"]);
    client.query("discard all").await;
    client.query("show portolan.pushdown").await;
    assert_eq!(client.first_fields(), ["on"]);
}

#[tokio::test]
async fn a_driver_prepares_binds_and_reads_binary() {
    let door = door().await;
    let config =
        format!("host=127.0.0.1 port={} user=demo password=demo dbname=portolan", door.address.port());
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let statement = client
        .prepare("select id, vessel, arrived from port.visit where id = $1 or vessel = $2 order by id")
        .await
        .unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::TEXT]);
    assert_eq!(
        statement.columns().iter().map(|column| column.type_().clone()).collect::<Vec<_>>(),
        [Type::INT8, Type::TEXT, Type::TIMESTAMPTZ]
    );
    let rows = client.query(&statement, &[&1_i64, &"O'Hara"]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        rows[1].get::<_, std::time::SystemTime>(2),
        std::time::UNIX_EPOCH + Duration::from_micros(1_700_000_000_500_000)
    );
    client.batch_execute("prepare p (bigint) as select vessel from port.visit where id = $1").await.unwrap();
    let rows = client.simple_query("execute p (1 + 1)").await.unwrap();
    let text = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    assert_eq!(text.as_deref(), Some("O'Hara"));
}

#[tokio::test]
async fn cursors_and_fetch_sizes_walk_through_a_table() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("begin; declare c cursor for select n from port.number order by n").await;
    client.query("move forward 99990 in c").await;
    assert_eq!(client.tags(), ["MOVE 99990"]);
    client.query("fetch all from c").await;
    assert_eq!(client.first_fields().first().map(String::as_str), Some("99990"));
    assert_eq!(client.tags(), ["FETCH 10"]);
    client.query("commit").await;
    let parts = [
        parse("", "select n from port.number", &[]),
        bind("", "", &[], &[], &[]),
        execute("", 60_000),
        execute("", 60_000),
        sync(),
    ];
    client.round(&parts).await;
    assert_eq!(client.tags(), ["SELECT 40000"]);
}

#[tokio::test]
async fn a_cancel_reaches_the_engine() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("select 1").await;
    let endless = "select a.n from port.number a cross join port.number b";
    client.send(&message(b'Q', &[endless.as_bytes(), b"\0"].concat())).await;
    door.until("the statement", |door| door.connections.activity().iter().any(|one| one.state == "active"))
        .await;
    let process_id = client.process_id;
    let start = Instant::now();
    assert!(door.connections.get(process_id).unwrap().cancel());
    client.answer().await;
    assert_eq!(client.code(), "57014");
    assert!(start.elapsed() < Duration::from_secs(2));
    client.query("set statement_timeout = '200ms'").await;
    client.query(endless).await;
    assert_eq!(client.fault().message, "canceling statement due to statement timeout");
    // What was cut off may still hold the query threads for a moment.
    client.query("set statement_timeout = 0").await;
    assert_eq!(client.query("select 1").await, "TDC Z");
}
