//! SQL type names to Arrow types: microseconds everywhere, so that year 9999 exists; plain text, never views. Fewer digits
//! of a second must never be asked for and not be given.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;

use crate::error::QueryError;

/// `numeric` without precision until its operand is known: it keeps the scale of what it is given. No table has this.
pub(super) const BARE_NUMERIC: DataType = DataType::Decimal256(76, 38);

/// Plans the types whose Arrow form DataFusion chooses otherwise.
#[derive(Debug)]
pub(crate) struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let zoned = |info: &ast::TimezoneInfo| {
            matches!(info, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz).then(|| Arc::from("UTC"))
        };
        let planned = match sql_type {
            ast::DataType::Timestamp(Some(digits), _) | ast::DataType::Time(Some(digits), _)
                if *digits < 6 =>
            {
                return Err(QueryError::unsupported(format!("type {sql_type}"))
                    .with_hint("leave the digits out, and cut with date_trunc")
                    .into());
            }
            ast::DataType::Timestamp(_, info) => DataType::Timestamp(TimeUnit::Microsecond, zoned(info)),
            ast::DataType::Time(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            ast::DataType::Numeric(ast::ExactNumberInfo::None)
            | ast::DataType::Decimal(ast::ExactNumberInfo::None) => BARE_NUMERIC,
            ast::DataType::JSON | ast::DataType::JSONB => DataType::Utf8,
            ast::DataType::Uuid => DataType::FixedSizeBinary(16),
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", planned, true))))
    }
}
