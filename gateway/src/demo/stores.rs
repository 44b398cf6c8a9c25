//! The simulated port in the stores that a port's file names: real servers instead of embedded ones.
//!
//! Each source gets what its kind is for: tables of the port-management system, documents, streams. Sources that
//! only read (files, the weather API, PostgreSQL, lakes) get nothing, and are named. It must never load half of a plan
//! as if it were whole: a loader marks what it has finished, and begins again where it was cut off.

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat};
use datafusion::arrow::array::{Array, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType};
use portolan_catalog::config::{SourceConfig, SourcesConfig};
use portolan_catalog::source::SourceName;
use portolan_catalog::{kafka, mongodb, mysql};
use portolan_simulator::{Movement, Port};
use serde_json::{Map, Value};

use super::feeds::DemoPlan;

/// Where the documents go, as in the demo's files.
const DOCUMENTS: &str = "port_call_events";

/// Where the positions go.
const POSITIONS: &str = "ais_positions";

/// Where the movements go.
const MOVEMENTS: &str = "vessel_movements";

/// Partitions of a topic; a ship's positions stay in one, and so do a call's movements.
const PARTITIONS: i32 = 3;

/// Fills every source that can be filled. Returns one line for each source: what it got.
///
/// # Errors
/// The first source that refuses, and two MySQL sources: which of them is the port-management system is not clear.
pub async fn fill_stores(
    sources: &SourcesConfig,
    plan: &DemoPlan,
    port: &Port,
) -> anyhow::Result<Vec<(String, String)>> {
    let systems = sources.0.values().filter(|source| matches!(source, SourceConfig::Mysql(_))).count();
    if systems > 1 {
        bail!("{systems} sources are MySQL databases, and the port-management system is one");
    }
    let plan = plan.fingerprint();
    let mut told = Vec::new();
    for (name, source) in &sources.0 {
        let got = Box::pin(fill(name, source, &plan, port)).await?;
        told.push((name.to_string(), got));
    }
    Ok(told)
}

async fn fill(name: &SourceName, source: &SourceConfig, plan: &str, port: &Port) -> anyhow::Result<String> {
    let said = |rows: u64, what: &str| match rows {
        0 => format!("has its {what} already"),
        rows => format!("{rows} {what}"),
    };
    match source {
        SourceConfig::Mysql(config) => {
            let tables: Vec<mysql::LoadTable<'_>> = port
                .tos_tables()
                .iter()
                .map(|table| mysql::LoadTable {
                    name: table.name,
                    ddl: &table.mysql,
                    batches: &table.batches,
                })
                .collect();
            Ok(said(mysql::load(name, config, plan, &tables).await?, "rows of the port-management system"))
        }
        SourceConfig::Mongodb(config) => {
            let declared = config.tables.get(DOCUMENTS).and_then(|table| table.collection.as_deref());
            let documents = documents(port.events());
            let stored = mongodb::load(name, config, plan, declared.unwrap_or(DOCUMENTS), documents).await?;
            Ok(said(stored, "documents"))
        }
        SourceConfig::Kafka(config) => {
            let mut got = Vec::new();
            for (table, what) in [(POSITIONS, "positions"), (MOVEMENTS, "movements")] {
                let Some(declared) = config.topics.get(table) else { continue };
                let messages = match table {
                    POSITIONS => port.ais().map(positions).transpose()?.unwrap_or_default(),
                    _ => port.movements().map(movement).collect(),
                };
                let topic = declared.topic.as_deref().unwrap_or(table);
                let sent = kafka::load(name, config, plan, topic, PARTITIONS, messages).await?;
                got.push(said(sent, what));
            }
            if got.is_empty() {
                return Ok(format!(
                    "is not filled, as it declares no table \"{POSITIONS}\" or \"{MOVEMENTS}\""
                ));
            }
            Ok(got.join(", "))
        }
        SourceConfig::Postgres(_)
        | SourceConfig::Lake(_)
        | SourceConfig::Files(_)
        | SourceConfig::Rest(_) => Ok("is not filled".to_owned()),
    }
}

/// A document for each line. A line that was cut off is kept as the text it is.
fn documents(lines: &str) -> impl Iterator<Item = mongodb::LoadDocument> {
    lines.lines().map(|line| match serde_json::from_str::<Value>(line) {
        Ok(document @ Value::Object(_)) => mongodb::LoadDocument { call: call(&document), document },
        _ => mongodb::LoadDocument { call: None, document: Value::String(line.to_owned()) },
    })
}

/// The call a document says it is about, as three of its generations spell it.
fn call(document: &Value) -> Option<String> {
    ["callNo", "portcallId", "portCallId", "portCallID"]
        .iter()
        .find_map(|key| document.get(key)?.as_str().map(str::to_owned))
}

/// A message for each movement, keyed by call; its time is that of sending.
fn movement(movement: Movement<'_>) -> kafka::LoadMessage {
    kafka::LoadMessage {
        key: movement.port_call_id.to_owned(),
        payload: movement.line.to_owned(),
        timestamp: movement.sent.saturating_mul(1_000),
    }
}

/// One JSON object a position, keyed by ship.
fn positions(batch: &RecordBatch) -> anyhow::Result<Vec<kafka::LoadMessage>> {
    let schema = batch.schema();
    let at = |name: &str| {
        schema.index_of(name).map(|at| batch.column(at)).with_context(|| format!("positions lack \"{name}\""))
    };
    let ships = at("mmsi")?.as_string::<i32>();
    let times = at("ts")?.as_primitive::<TimestampMicrosecondType>();
    let mut messages = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut object = Map::new();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            object.insert(field.name().clone(), json(column, row)?);
        }
        messages.push(kafka::LoadMessage {
            key: ships.value(row).to_owned(),
            payload: Value::Object(object).to_string(),
            timestamp: times.value(row).div_euclid(1_000),
        });
    }
    Ok(messages)
}

fn json(array: &dyn Array, row: usize) -> anyhow::Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time =
                DateTime::from_timestamp_micros(micros).context("a position has a time beyond time")?;
            time.to_rfc3339_opts(SecondsFormat::Micros, true).into()
        }
        other => bail!("a position has a value of type {other}"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn a_line_that_is_no_document_is_kept_as_text() {
        let found: Vec<_> =
            documents("{\"callNo\":\"A1\"}\n{\"callNo\":\"A\n{\"portCallID\":\"B2\"}\n").collect();
        let calls: Vec<_> = found.iter().map(|document| document.call.as_deref()).collect();
        assert_eq!(calls, [Some("A1"), None, Some("B2")]);
        assert_eq!(found[1].document, Value::String("{\"callNo\":\"A".to_owned()));
    }

    #[test]
    fn a_movement_is_keyed_by_its_call_and_stays_what_it_is() {
        let made = movement(Movement { port_call_id: "SNDKR26000001", sent: 90, line: "{\"schema_ver" });
        assert_eq!((made.key.as_str(), made.timestamp), ("SNDKR26000001", 90_000));
        assert_eq!(made.payload, "{\"schema_ver");
    }

    #[test]
    fn a_position_is_an_object_with_its_own_time() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("mmsi", Arc::new(StringArray::from(vec!["663000001"]))),
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_500_001]).with_timezone("UTC"))),
            ("lat", Arc::new(Float64Array::from(vec![14.68]))),
            ("heading", Arc::new(Int32Array::from(vec![None]))),
        ];
        let made = positions(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        assert_eq!((made[0].key.as_str(), made[0].timestamp), ("663000001", 1_500));
        assert_eq!(
            made[0].payload,
            r#"{"mmsi":"663000001","ts":"1970-01-01T00:00:01.500001Z","lat":14.68,"heading":null}"#
        );
    }
}
