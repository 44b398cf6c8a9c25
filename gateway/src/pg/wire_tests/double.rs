//! A backend that generates rows, so that the wire loop is tested alone.
//!
//! Its language: `select 1`, `rows N` (lazy), `rows N then fail`, `hang`, `nul`, `echo` (its parameters as a row),
//! `relay` (an answer as bytes).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt};

use crate::pg::backend::*;
use crate::pg::classify::Class;
use crate::pg::fault::Fault;
use crate::pgtypes::{PgType, oid};

/// How many streams live.
#[derive(Debug, Default)]
pub(super) struct Double {
    pub(super) streams: Arc<AtomicUsize>,
}

#[async_trait]
impl Backend for Double {
    async fn open(&self, _: &Login) -> Result<Box<dyn BackendSession>, Fault> {
        let defaults = BTreeMap::from(
            [
                ("timezone", "UTC"),
                ("application_name", ""),
                ("statement_timeout", "0"),
                ("server_version", "17.5"),
                ("client_encoding", "UTF8"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(Box::new(DoubleSession { streams: Arc::clone(&self.streams), defaults, changed: BTreeMap::new() }))
    }
}

#[derive(Debug)]
struct DoubleSession {
    streams: Arc<AtomicUsize>,
    defaults: BTreeMap<String, String>,
    changed: BTreeMap<String, String>,
}

/// Counts a stream while it lives.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl DoubleSession {
    fn stream(
        &self,
        schema: SchemaRef,
        batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    ) -> SendableRecordBatchStream {
        self.streams.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.streams));
        let batches = batches.map(move |batch| {
            let _ = &alive;
            batch
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }

    fn value(&self, name: &str) -> Option<String> {
        let name = name.to_ascii_lowercase();
        self.changed.get(&name).or_else(|| self.defaults.get(&name)).cloned()
    }
}

fn rows(total: usize) -> (SchemaRef, impl Iterator<Item = RecordBatch>) {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let batches = (0..total.div_ceil(8192)).map({
        let schema = Arc::clone(&schema);
        move |index| {
            let (from, to) = (index * 8192, total.min(index * 8192 + 8192));
            let values = (from..to).map(|value| i64::try_from(value).unwrap());
            let array: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
            RecordBatch::try_new(Arc::clone(&schema), vec![array]).unwrap()
        }
    });
    (schema, batches)
}

fn number(sql: &str) -> usize {
    sql.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or(0)
}

#[async_trait]
impl BackendSession for DoubleSession {
    fn classify(&self, sql: &str) -> Result<Class, Fault> {
        let tokens = crate::pg::statement::lex::lex(sql)?;
        Ok(crate::pg::statement::session(sql, &tokens)?.unwrap_or(Class::Data))
    }

    async fn prepare(&mut self, sql: &str, _: &Class, types: &[u32], _: bool) -> Result<Prepared, Fault> {
        let word = sql.split([' ', '(']).next().unwrap_or_default();
        let column = |name: &str, oid: u32| Column::new(name, PgType::new(oid));
        let (columns, parameters): (Vec<Column>, Vec<u32>) = match word.to_ascii_lowercase().as_str() {
            "select" if sql == "select 1" => (vec![column("?column?", oid::INT4)], Vec::new()),
            "select" if sql.starts_with("SELECT (") => (vec![column("?column?", oid::TEXT)], Vec::new()),
            "rows" | "hang" => (vec![column("n", oid::INT8)], Vec::new()),
            "nul" => (vec![column("broken", oid::TEXT)], Vec::new()),
            "relay" => (vec![column("relname", oid::NAME)], Vec::new()),
            "echo" => (types.iter().map(|oid| column("echo", *oid)).collect(), types.to_vec()),
            _ => return Err(Fault::new("42P01", "relation \"nosuch\" does not exist").at(6)),
        };
        let route = if word == "relay" { Route::Shadow } else { Route::Engine };
        Ok(Prepared {
            sql: Arc::from(sql),
            route,
            columns: Some(columns.into()),
            parameters: parameters.into(),
            tag: "SELECT",
            plan: Arc::new(()),
        })
    }

    async fn execute(&mut self, prepared: &Prepared, run: Run) -> Result<Outcome, Fault> {
        let sql = prepared.sql.as_ref();
        let one = |array: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("v", array)]).unwrap();
            (batch.schema(), futures::stream::iter([Ok(batch)]))
        };
        let stream = if sql == "select 1" {
            let (schema, rows) = one(Arc::new(Int32Array::from(vec![1])));
            self.stream(schema, rows)
        } else if let Some(literal) = sql.strip_prefix("SELECT (") {
            let (schema, rows) =
                one(Arc::new(StringArray::from(vec![literal.trim_end_matches(')').to_owned()])));
            self.stream(schema, rows)
        } else if sql.starts_with("nul") {
            let (schema, rows) = one(Arc::new(StringArray::from(vec!["a\0b"])));
            self.stream(schema, rows)
        } else if sql.starts_with("rows") {
            let (schema, batches) = rows(number(sql));
            let failure =
                sql.contains("then fail").then(|| Err(DataFusionError::Execution("division by zero".into())));
            self.stream(schema, futures::stream::iter(batches.map(Ok).chain(failure)))
        } else if sql.starts_with("hang") {
            let (schema, _) = rows(0);
            self.stream(schema, futures::stream::pending())
        } else if sql.starts_with("relay") {
            let row = Bytes::from_static(b"D\0\0\0\x12\0\x01\0\0\0\x08pg_class");
            return Ok(Outcome::Relayed(Box::new(Relayed {
                columns: prepared.columns.clone(),
                formats: vec![Format::Text],
                rows: vec![row.clone(), row.clone(), row],
                tag: "SELECT 3".to_owned(),
                ..Relayed::default()
            })));
        } else {
            let fields: Vec<Field> =
                run.values.iter().map(|value| Field::new("echo", value.data_type(), true)).collect();
            let schema = Arc::new(Schema::new(fields));
            let arrays = run.values.iter().map(|value| value.to_array().unwrap()).collect();
            let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
            self.stream(schema, futures::stream::iter([Ok(batch)]))
        };
        Ok(Outcome::Rows { rows: stream, notices: Vec::new() })
    }

    fn fault(&self, error: DataFusionError) -> Fault {
        match error {
            DataFusionError::Execution(text) => Fault::new("22012", text),
            other => Fault::new("XX000", other.to_string()),
        }
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        if self.value(name).is_none() {
            return Err(Fault::new("42704", format!("unrecognized configuration parameter \"{name}\"")));
        }
        self.changed.insert(name.to_ascii_lowercase(), value.to_owned());
        Ok(())
    }

    async fn reset(&mut self, name: &str) -> Result<(), Fault> {
        self.changed.remove(&name.to_ascii_lowercase());
        Ok(())
    }

    fn reset_all(&mut self) {
        self.changed.clear();
    }

    fn seal_defaults(&mut self) {
        self.defaults.append(&mut self.changed);
    }

    async fn show(&mut self, name: &str) -> Result<(String, String), Fault> {
        let missing = || Fault::new("42704", format!("unrecognized configuration parameter \"{name}\""));
        Ok((name.to_owned(), self.value(name).ok_or_else(missing)?))
    }

    async fn show_all(&mut self) -> Result<Vec<(String, String, String)>, Fault> {
        Ok(Vec::new())
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.value(name)
    }

    fn snapshot(&self) -> BTreeMap<String, String> {
        self.changed.clone()
    }

    fn restore(&mut self, snapshot: BTreeMap<String, String>) {
        self.changed = snapshot;
    }

    fn reported(&self) -> Vec<(&'static str, String)> {
        ["server_version", "TimeZone", "application_name"]
            .into_iter()
            .map(|name| (name, self.value(name).unwrap_or_default()))
            .chain([("client_encoding", "UTF8".to_owned()), ("integer_datetimes", "on".to_owned())])
            .collect()
    }

    fn transaction(&mut self, _: TransactionEvent) {}
}
