//! Fills a MySQL or MariaDB database with simulated tables, so that there is a source to read.
//!
//! It must never touch a database that it did not make: what it makes is written down in a database of its own,
//! beside the sources', and any other database with tables is refused. A load that was cut off is begun again.

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, Timelike as _};
use datafusion::arrow::array::{Array, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Params, Value};
use secrecy::ExposeSecret as _;

use super::MysqlConfig;
use super::pool::tls;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Database that tells what was loaded.
const MARKS: &str = "portolan_simulated";

/// Rows of one statement, at most.
const ROWS: usize = 500;

/// Parameters of one statement, at most: the protocol counts them in 16 bits.
const PARAMETERS: usize = 65_535;

/// One table to make and fill.
#[derive(Debug, Clone, Copy)]
pub struct LoadTable<'a> {
    /// Its name, unquoted.
    pub name: &'a str,
    /// One `CREATE TABLE` of it, for the current database.
    pub ddl: &'a str,
    /// Its rows, columns as in the statement.
    pub batches: &'a [RecordBatch],
}

/// Makes the source's database and fills it, unless the same `plan` is there. Returns the rows loaded now.
///
/// The account needs the rights to make databases.
///
/// # Errors
/// `Unsupported` for a database that something else made; what the server says; `Data` for a type that has no
/// counterpart.
pub async fn load(
    name: &SourceName,
    config: &MysqlConfig,
    plan: &str,
    tables: &[LoadTable<'_>],
) -> Result<u64, SourceError> {
    let failed = |what: String| {
        move |error: mysql_async::Error| {
            let kind = match error {
                mysql_async::Error::Io(_) => SourceErrorKind::Unreachable,
                _ => SourceErrorKind::Remote,
            };
            SourceError::new(kind, format!("source \"{name}\": {what}")).with_source(name).with_cause(error)
        }
    };
    let password = config.password.as_ref().map(|secret| secret.resolve()).transpose()?;
    let options = OptsBuilder::default()
        .ip_or_hostname(config.host.clone())
        .tcp_port(config.port)
        .user(Some(config.user.clone()))
        .pass(password.map(|password| password.expose_secret().to_owned()))
        .prefer_socket(false)
        .ssl_opts(tls(config));
    let mut connection = Conn::new(options).await.map_err(failed("no connection for loading".into()))?;
    let database = &config.database;
    let prepare = || failed(format!("database \"{database}\" cannot be prepared"));
    for statement in [
        "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', unique_checks = 0".to_owned(),
        format!("CREATE DATABASE IF NOT EXISTS {MARKS}"),
        format!(
            "CREATE TABLE IF NOT EXISTS {MARKS}.loads (name varchar(64) PRIMARY KEY, plan varchar(500), whole int)"
        ),
    ] {
        connection.query_drop(statement).await.map_err(prepare())?;
    }
    let mark: Option<(String, i64)> = connection
        .exec_first(format!("SELECT plan, whole FROM {MARKS}.loads WHERE name = ?"), (database,))
        .await
        .map_err(prepare())?;
    match mark {
        Some((loaded, 1)) if loaded == plan => {
            connection.disconnect().await.map_err(prepare())?;
            return Ok(0);
        }
        Some(_) => {}
        None => {
            let count = "SELECT count(*) FROM information_schema.tables WHERE table_schema = ?";
            let there: Option<i64> = connection.exec_first(count, (database,)).await.map_err(prepare())?;
            if there.unwrap_or_default() > 0 {
                let message =
                    format!("source \"{name}\": database \"{database}\" has tables that no simulation made");
                return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                    .with_source(name)
                    .with_hint("name another database, or drop this one yourself"));
            }
        }
    }
    let quoted = quote(database);
    connection
        .exec_drop(format!("REPLACE INTO {MARKS}.loads VALUES (?, ?, 0)"), (database, plan))
        .await
        .map_err(prepare())?;
    for statement in [
        format!("DROP DATABASE IF EXISTS {quoted}"),
        format!("CREATE DATABASE {quoted} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
        format!("USE {quoted}"),
    ] {
        connection.query_drop(statement).await.map_err(prepare())?;
    }
    let mut rows = 0;
    for table in tables {
        let fill = || failed(format!("table \"{}\" cannot be loaded", table.name));
        connection.query_drop(table.ddl).await.map_err(fill())?;
        connection.query_drop("START TRANSACTION").await.map_err(fill())?;
        for batch in table.batches {
            rows += batch.num_rows() as u64;
            for (statement, values) in statements(name, table.name, batch)? {
                connection.exec_drop(statement, Params::Positional(values)).await.map_err(fill())?;
            }
        }
        connection.query_drop("COMMIT").await.map_err(fill())?;
        connection.query_drop(format!("ANALYZE TABLE {}", quote(table.name))).await.map_err(fill())?;
    }
    connection
        .exec_drop(format!("UPDATE {MARKS}.loads SET whole = 1 WHERE name = ?"), (database,))
        .await
        .map_err(prepare())?;
    connection.disconnect().await.map_err(prepare())?;
    Ok(rows)
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Insertions of a batch: the text, and the values in its order.
fn statements(
    source: &SourceName,
    table: &str,
    batch: &RecordBatch,
) -> Result<Vec<(String, Vec<Value>)>, SourceError> {
    let columns = batch.num_columns();
    let most = (PARAMETERS / columns.max(1)).clamp(1, ROWS);
    let names: Vec<String> = batch.schema().fields().iter().map(|field| quote(field.name())).collect();
    let row = format!("({})", vec!["?"; columns].join(", "));
    let mut made = Vec::new();
    let mut first = 0;
    while first < batch.num_rows() {
        let rows = most.min(batch.num_rows() - first);
        let mut values = Vec::with_capacity(rows * columns);
        for at in first..first + rows {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                values.push(value(column, at).ok_or_else(|| {
                    let place = format!("{source}.{table}.{}", field.name());
                    let message =
                        format!("\"{place}\" has a value that cannot be loaded as {}", field.data_type());
                    SourceError::new(SourceErrorKind::Data, message).with_source(source)
                })?);
            }
        }
        let text = format!(
            "INSERT INTO {} ({}) VALUES {}",
            quote(table),
            names.join(", "),
            vec![row.as_str(); rows].join(", ")
        );
        made.push((text, values));
        first += rows;
    }
    Ok(made)
}

/// One value; `None` for a type or time that MySQL does not have.
fn value(array: &dyn Array, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return Some(Value::NULL);
    }
    Some(match array.data_type() {
        DataType::Boolean => Value::Int(i64::from(array.as_boolean().value(row))),
        DataType::Int16 => Value::Int(i64::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => Value::Int(i64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Utf8 => Value::Bytes(array.as_string::<i32>().value(row).as_bytes().to_vec()),
        DataType::Decimal128(..) => {
            Value::Bytes(array.as_primitive::<Decimal128Type>().value_as_string(row).into_bytes())
        }
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            let date = DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?.date_naive();
            instant(date.and_hms_opt(0, 0, 0)?)?
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            instant(DateTime::from_timestamp_micros(micros)?.naive_utc())?
        }
        _ => return None,
    })
}

/// A time in the range that MySQL's `datetime` has.
fn instant(time: NaiveDateTime) -> Option<Value> {
    let first = NaiveDate::from_ymd_opt(1000, 1, 1)?;
    let small = |part: u32| u8::try_from(part).ok();
    let year = u16::try_from(time.year()).ok().filter(|year| time.date() >= first && *year <= 9999)?;
    Some(Value::Date(
        year,
        small(time.month())?,
        small(time.day())?,
        small(time.hour())?,
        small(time.minute())?,
        small(time.second())?,
        time.nanosecond() / 1_000,
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Int32Array, TimestampMicrosecondArray,
    };

    use super::*;

    fn one(array: impl Array + 'static) -> Option<Value> {
        value(&array, 0)
    }

    #[test]
    fn values_are_what_the_server_stores() {
        assert_eq!(one(Date32Array::from(vec![-1])), Some(Value::Date(1969, 12, 31, 0, 0, 0, 0)));
        let sentinel = TimestampMicrosecondArray::from(vec![253_402_214_400_000_000]);
        assert_eq!(one(sentinel), Some(Value::Date(9999, 12, 31, 0, 0, 0, 0)));
        let before = TimestampMicrosecondArray::from(vec![-1]);
        assert_eq!(one(before), Some(Value::Date(1969, 12, 31, 23, 59, 59, 999_999)));
        let early = TimestampMicrosecondArray::from(vec![-40_000_000_000_000_000]);
        assert_eq!(one(early), None, "before the year 1000");
        let weight = Decimal128Array::from(vec![-1_005]).with_precision_and_scale(12, 3).unwrap();
        assert_eq!(one(weight), Some(Value::Bytes(b"-1.005".to_vec())));
        assert_eq!(one(Int32Array::from(vec![None])), Some(Value::NULL));
    }

    #[test]
    fn every_row_is_in_one_statement_and_names_are_quoted() {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1_201));
        let batch = RecordBatch::try_from_iter([("a`b", numbers)]).unwrap();
        let source = SourceName::try_new("tos").unwrap();
        let made = statements(&source, "t", &batch).unwrap();
        assert_eq!(made.iter().map(|(_, values)| values.len()).collect::<Vec<_>>(), [500, 500, 201]);
        assert!(made.iter().all(|(text, _)| text.starts_with("INSERT INTO `t` (`a``b`) VALUES (?), ")));
        assert_eq!(made[2].1[200], Value::Int(1_200));
    }
}
