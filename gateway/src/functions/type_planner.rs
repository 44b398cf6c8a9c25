//! SQL type names to Arrow types: microseconds everywhere, so that year 9999 exists; plain text, never views.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;

/// Marks `numeric` without precision in a cast's field: it keeps the scale of what it is given.
pub(super) const BARE_NUMERIC: &str = "portolan.bare_numeric";

/// Plans the types whose Arrow form DataFusion chooses otherwise.
#[derive(Debug)]
pub(crate) struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let zoned = |info: &ast::TimezoneInfo| {
            matches!(info, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz).then(|| Arc::from("UTC"))
        };
        let planned = match sql_type {
            ast::DataType::Timestamp(_, info) => DataType::Timestamp(TimeUnit::Microsecond, zoned(info)),
            ast::DataType::Time(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            ast::DataType::Numeric(ast::ExactNumberInfo::None)
            | ast::DataType::Decimal(ast::ExactNumberInfo::None) => DataType::Decimal128(38, 10),
            ast::DataType::JSON | ast::DataType::JSONB => DataType::Utf8,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", planned, true))))
    }
}
