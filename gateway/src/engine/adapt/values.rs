//! The one type of a column of VALUES, where PostgreSQL chooses another than the planner would.
//!
//! Told from what is written: casts, typed literals and numbers. A cell that says nothing of its type is left alone.

use datafusion::sql::sqlparser::ast::{DataType, Expr, TimezoneInfo, UnaryOperator, Value, Values};

use super::forms::{cast, quoted, take};

/// A quoted literal in VALUES takes the type that another row names for its column; numbers are floats beside a float.
pub(super) fn one_type(values: &mut Values) {
    floats_beside_floats(values);
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for column in 0..width {
        let named = values.rows.iter().find_map(|row| match row.content.get(column)? {
            Expr::TypedString(typed) => Some(typed.data_type.clone()),
            Expr::Cast { data_type, .. } => Some(data_type.clone()),
            Expr::Interval(_) => Some(DataType::Interval { fields: None, precision: None }),
            _ => None,
        });
        let Some(mut data_type) = named else { continue };
        if let Some(zoned) = with_zone(values, column) {
            data_type = zoned;
        }
        for row in &mut values.rows {
            if let Some(cell) = row.content.get_mut(column)
                && (quoted(cell).is_some() || is_zoned(&data_type) && is_date(cell))
            {
                let inner = take(cell);
                *cell = cast(inner, data_type.clone());
            }
        }
    }
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone))
}

/// The type with time zone that a cell of a column names: others beside it are instants too.
fn with_zone(values: &Values, column: usize) -> Option<DataType> {
    let cells = values.rows.iter().filter_map(|row| row.content.get(column));
    let mut types = cells.filter_map(|cell| match cell {
        Expr::TypedString(typed) => Some(&typed.data_type),
        Expr::Cast { data_type, .. } => Some(data_type),
        _ => None,
    });
    types.find(|of| is_zoned(of)).cloned()
}

/// Whether an expression is a written date or a cast to one.
fn is_date(cell: &Expr) -> bool {
    match cell {
        Expr::TypedString(typed) => typed.data_type == DataType::Date,
        Expr::Cast { data_type, .. } => *data_type == DataType::Date,
        _ => false,
    }
}

/// Whether a type is a float, and whether that of double precision.
fn float(data_type: &DataType) -> Option<bool> {
    let name = data_type.to_string().to_ascii_lowercase();
    match name.split('(').next().unwrap_or_default().trim() {
        "double precision" | "double" | "float8" | "float64" => Some(true),
        // PostgreSQL's float without a length is double precision.
        "float" => Some(name.len() == "float".len()),
        "real" | "float4" => Some(false),
        _ => None,
    }
}

/// PostgreSQL takes the float where floats and other numbers are one column of VALUES; the planner would take numeric,
/// which has no NaN.
fn floats_beside_floats(values: &mut Values) {
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for column in 0..width {
        let cells = values.rows.iter().filter_map(|row| row.content.get(column));
        let floats: Vec<bool> = cells
            .filter_map(|cell| match cell {
                Expr::TypedString(typed) => float(&typed.data_type),
                Expr::Cast { data_type, .. } => float(data_type),
                _ => None,
            })
            .collect();
        if floats.is_empty() {
            continue;
        }
        let wanted = match floats.contains(&true) {
            true => DataType::DoublePrecision,
            false => DataType::Real,
        };
        for row in &mut values.rows {
            if let Some(cell) = row.content.get_mut(column)
                && is_number(cell)
            {
                let inner = take(cell);
                *cell = cast(inner, wanted.clone());
            }
        }
    }
}

/// Whether an expression is a written number, or a cast to a type of numbers.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::UnaryOp { op: UnaryOperator::Plus | UnaryOperator::Minus, expr } => is_number(expr),
        Expr::Nested(inner) => is_number(inner),
        Expr::Cast { data_type, .. } => {
            let name = data_type.to_string().to_ascii_lowercase();
            float(data_type).is_some()
                || ["int", "smallint", "bigint", "numeric", "decimal", "dec"]
                    .iter()
                    .any(|number| name.starts_with(number) && !name.starts_with("interval"))
        }
        _ => false,
    }
}
