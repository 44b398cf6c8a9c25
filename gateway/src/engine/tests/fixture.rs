//! Tables in memory and a way to ask for rows as text.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use futures::StreamExt;
use portolan_catalog::federation::FederationOptions;

use crate::engine::{Engine, EngineConfig, QueryControl};
use crate::error::QueryError;
use crate::pgtypes::PgType;
use crate::session::{Identity, Session, TableCatalog};

#[derive(Debug)]
struct Tables(Arc<dyn SchemaProvider>);

#[async_trait::async_trait]
impl TableCatalog for Tables {
    fn provider(
        &self,
        _options: Arc<FederationOptions>,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::clone(&self.0)).unwrap();
        catalog.register_schema("tos", Arc::clone(&self.0)).unwrap();
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

pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) session: Session,
}

fn berth() -> MemTable {
    let micros = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros();
    let zoned = TimestampMicrosecondArray::from(vec![
        Some(micros("2024-03-05T10:11:12.5Z")),
        Some(micros("2024-12-31T23:00:00Z")),
        None,
    ])
    .with_timezone("UTC");
    let plain = TimestampMicrosecondArray::from(vec![
        Some(micros("2024-03-05T10:11:12.5Z")),
        Some(micros("2024-12-31T23:00:00Z")),
        None,
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i2", Arc::new(Int16Array::from(vec![Some(1), Some(32767), None]))),
        ("i4", Arc::new(Int32Array::from(vec![Some(7), Some(2_147_483_647), None]))),
        ("i8", Arc::new(Int64Array::from(vec![Some(7), Some(i64::MAX), None]))),
        ("f8", Arc::new(Float64Array::from(vec![Some(2.5), Some(-0.5), None]))),
        (
            "num",
            Arc::new(
                Decimal128Array::from(vec![Some(12_345_i128), Some(-500), None])
                    .with_precision_and_scale(14, 3)
                    .unwrap(),
            ),
        ),
        ("txt", Arc::new(StringArray::from(vec![Some("a"), Some("Bé"), None]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_787), Some(20_089), None]))),
        ("tz", Arc::new(zoned)),
        ("ts", Arc::new(plain)),
    ];
    let schema = Arc::new(Schema::new(
        columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect::<Vec<_>>(),
    ));
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, array)| array).collect())
            .unwrap();
    MemTable::try_new(schema, vec![vec![batch]]).unwrap()
}

/// Columns as a PostgreSQL source declares them: never null, and with what the source says of their types.
fn declared() -> MemTable {
    let field = |name: &str, of: &ArrayRef, pg_type: &str| {
        let metadata = [
            (portolan_catalog::source::PG_TYPE_KEY.to_owned(), pg_type.to_owned()),
            (portolan_catalog::source::SOURCE_TYPE_KEY.to_owned(), pg_type.to_owned()),
        ];
        Field::new(name, of.data_type().clone(), false).with_metadata(metadata.into())
    };
    let i: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 2]));
    let big: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.5, -0.0, 0.0]));
    let word: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3"]));
    let tz: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 2]).with_timezone("UTC"));
    let fields = vec![
        field("i", &i, "integer"),
        field("big", &big, "bigint"),
        field("x", &x, "double precision"),
        field("word", &word, "character varying(8)"),
        field("tz", &tz, "timestamp with time zone"),
    ];
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![i, big, x, word, tz]).unwrap();
    MemTable::try_new(schema, vec![vec![batch]]).unwrap()
}

impl Fixture {
    pub(crate) fn open() -> Self {
        let schema = MemorySchemaProvider::new();
        schema.register_table("t".to_owned(), Arc::new(berth())).unwrap();
        schema.register_table("declared".to_owned(), Arc::new(declared())).unwrap();
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(Tables(Arc::new(schema))),
            semantics: None,
            system: Vec::new(),
            memory_bytes: 256 << 20,
            partitions: 2,
        })
        .unwrap();
        let session = engine.session(Identity { user: "demo".into(), pid: 1, protocol: "internal" });
        Self { engine, session }
    }

    /// Header `name:type|…` and rows as text.
    pub(crate) async fn ask(
        &self,
        sql: &str,
        types: &[Option<PgType>],
        params: Vec<ScalarValue>,
    ) -> Result<(Vec<String>, Vec<Vec<String>>), QueryError> {
        let prepared = self.engine.prepare(&self.session, sql, types).await?;
        let header =
            prepared.columns.iter().map(|column| format!("{}:{}", column.name, column.pg.name())).collect();
        let mut answer =
            self.engine.execute(&self.session, &prepared, params, QueryControl::default()).await?;
        let mut rows = Vec::new();
        let options = FormatOptions::new().with_null("NULL");
        while let Some(batch) = answer.rows.next().await {
            let batch = batch.map_err(QueryError::from)?;
            let formatters: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(formatters.iter().map(|formatter| formatter.value(row).to_string()).collect());
            }
        }
        Ok((header, rows))
    }

    /// One row: its header and values joined with `|`.
    pub(crate) async fn one(&self, sql: &str) -> Result<(String, String), QueryError> {
        let (header, rows) = self.ask(sql, &[], Vec::new()).await?;
        let rows: Vec<String> = rows.into_iter().map(|row| row.join("|")).collect();
        Ok((header.join("|"), rows.join("\n")))
    }
}
