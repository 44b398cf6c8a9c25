//! `generate_series` in FROM with PostgreSQL's types: int4 unless a bound needs int8, timestamps in microseconds.
//!
//! DataFusion's own makes the rows; a projection above it gives them their type and name. It reads its bounds and counts
//! its days in UTC, so instants of a session elsewhere are refused: they must never be days of another zone.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{TableFunction, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, col};

use super::elapsed::SPAN;
use super::quoted::read_literal;
use super::time::{DAY, zoned};
use crate::error::{ErrorCode, QueryError};

const NAME: &str = "generate_series";

/// The table functions of a session.
pub(crate) fn table_functions() -> Vec<Arc<TableFunction>> {
    let found =
        SessionStateDefaults::default_table_functions().into_iter().find(|function| function.name() == NAME);
    found
        .map(|function| {
            Arc::new(TableFunction::new(NAME.to_owned(), Arc::new(Series(Arc::clone(function.function())))))
        })
        .into_iter()
        .collect()
}

#[derive(Debug)]
struct Series(Arc<dyn TableFunctionImpl>);

impl TableFunctionImpl for Series {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let zone = args.session().config_options().execution.time_zone.as_deref().unwrap_or("UTC");
        let mut wanted = DataType::Int32;
        let mut exprs = Vec::new();
        for (place, expr) in args.exprs().iter().enumerate() {
            let Expr::Literal(value, _) = expr else {
                return Err(QueryError::unsupported("generate_series of anything but constants").into());
            };
            // Beside timestamps a quoted literal is one, and a step is an interval.
            let read = match value {
                ScalarValue::Utf8(Some(text)) if matches!(wanted, DataType::Timestamp(_, _)) => {
                    let of = if place == 2 { SPAN } else { wanted.clone() };
                    read_literal(text, &of, chrono_tz::UTC)?
                }
                _ => None,
            };
            exprs.push(Expr::Literal(bound(read.as_ref().unwrap_or(value), &mut wanted)?, None));
        }
        if matches!(wanted, DataType::Timestamp(_, Some(_))) && zone != "UTC" {
            let message = format!("generate_series of timestamps with time zone in the time zone \"{zone}\"");
            return Err(QueryError::unsupported(message)
                .with_hint(
                    "make timestamps without time zone: generate_series(timestamp '…', timestamp '…', …)",
                )
                .into());
        }
        if exprs.len() < 2 {
            return Err(QueryError::new(
                ErrorCode::UndefinedFunction,
                "function generate_series with one argument does not exist",
            )
            .into());
        }
        let inner = self.0.call_with_args(TableFunctionArgs::new(&exprs, args.session()))?;
        let column = inner.schema().field(0).name().clone();
        let plan = LogicalPlanBuilder::scan(NAME, provider_as_source(inner), None)?
            .project(vec![cast(col(column), wanted).alias(NAME)])?
            .build()?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// An argument as DataFusion's function takes it; `wanted` becomes the type of the rows.
fn bound(value: &ScalarValue, wanted: &mut DataType) -> Result<ScalarValue> {
    let out_of_range = || QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range");
    Ok(match value {
        ScalarValue::Int16(value) => ScalarValue::Int64(value.map(i64::from)),
        ScalarValue::Int32(value) => ScalarValue::Int64(value.map(i64::from)),
        ScalarValue::Int64(Some(value)) => {
            if i32::try_from(*value).is_err() {
                *wanted = DataType::Int64;
            }
            ScalarValue::Int64(Some(*value))
        }
        // A date is the instant of its midnight.
        ScalarValue::Date32(day) => {
            *wanted = zoned();
            let nanos = day.map(|day| i64::from(day).checked_mul(DAY * 1000).ok_or_else(out_of_range));
            ScalarValue::TimestampNanosecond(nanos.transpose()?, Some("UTC".into()))
        }
        ScalarValue::TimestampMicrosecond(micros, zone) => {
            *wanted = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            let nanos = micros.map(|micros| micros.checked_mul(1000).ok_or_else(out_of_range)).transpose()?;
            ScalarValue::TimestampNanosecond(nanos, zone.clone())
        }
        other => other.clone(),
    })
}
