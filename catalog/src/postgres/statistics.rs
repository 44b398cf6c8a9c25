//! What the server's ANALYZE knows of a table: rows, nulls, different values, common ones, and a histogram.
//!
//! Read from `pg_class` and `pg_stats`, which show only what the account may read; nothing is counted for us.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use tokio_postgres::{Client, Error, Row};

use crate::declared::DeclaredType;
use crate::federation::{ColumnSummary, TableStatistics};
use crate::source::TableDef;

const ROWS: &str = "SELECT c.reltuples::float8 FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

const COLUMNS: &str = "SELECT attname::text, null_frac::float8, n_distinct::float8, \
    most_common_vals::text::text[], most_common_freqs::float8[], histogram_bounds::text::text[], avg_width::float8 \
    FROM pg_catalog.pg_stats WHERE schemaname = $1 AND tablename = $2 AND NOT inherited";

/// Longest text that is kept as a common value or a bound.
const MAX_TEXT: usize = 200;

pub(super) async fn gather(
    client: &Client,
    namespace: &str,
    table: &TableDef,
) -> Result<TableStatistics, Error> {
    let counted = match client.query_opt(ROWS, &[&namespace, &table.name]).await? {
        Some(row) => Some(row.try_get::<_, f64>(0)?).filter(|rows| *rows >= 0.0),
        None => None,
    };
    let rows = counted.and_then(|rows| format!("{rows:.0}").parse().ok()).or(table.row_estimate);
    let mut statistics = TableStatistics { rows, ..TableStatistics::default() };
    for row in client.query(COLUMNS, &[&namespace, &table.name]).await? {
        let name: String = row.try_get(0)?;
        let Ok(field) = table.arrow.field_with_name(&name) else { continue };
        // Values are listed there in the order of another type.
        if !matches!(DeclaredType::of(field), None | Some(DeclaredType::Numeric(..))) {
            continue;
        }
        let summary = summary(&row, field.data_type(), rows)?;
        statistics.columns.insert(name, summary);
    }
    Ok(statistics)
}

fn summary(row: &Row, ty: &DataType, rows: Option<u64>) -> Result<ColumnSummary, Error> {
    let distinct: f64 = row.try_get(2)?;
    // A negative number is a share of the rows.
    let distinct = match (distinct, rows) {
        (share, Some(rows)) if share < 0.0 => Some(-share * rows as f64),
        (count, _) if count > 0.0 => Some(count),
        _ => None,
    };
    let common: Option<Vec<String>> = row.try_get(3)?;
    let shares: Option<Vec<f64>> = row.try_get(4)?;
    let common = common.unwrap_or_default().into_iter().zip(shares.unwrap_or_default());
    let bounds: Option<Vec<String>> = row.try_get(5)?;
    let nulls: f64 = row.try_get(1)?;
    let width: Option<f64> = row.try_get(6)?;
    let bounds: Option<Vec<ScalarValue>> =
        bounds.unwrap_or_default().into_iter().map(|text| value(text, ty)).collect();
    Ok(ColumnSummary {
        nulls,
        distinct,
        common: common.filter_map(|(text, share)| Some((value(text, ty)?, share))).collect(),
        bounds: bounds.filter(|bounds| bounds.len() > 1).unwrap_or_default(),
        // The server means values that are not null, and counts the length's own byte.
        width: width.map(|width| (width - 1.0).max(0.0) * (1.0 - nulls)).filter(|_| varies(ty)),
    })
}

/// Whether values of the type have lengths of their own.
fn varies(ty: &DataType) -> bool {
    ty.primitive_width().is_none() && !matches!(ty, DataType::Boolean | DataType::FixedSizeBinary(_))
}

fn value(text: String, ty: &DataType) -> Option<ScalarValue> {
    if text.len() > MAX_TEXT {
        return None;
    }
    ScalarValue::try_from_string(text, ty).ok().filter(|value| !value.is_null())
}
