//! `RANGE` frames over whole numbers, given room for the ends of their types, and over times.
//!
//! The engine adds the distance in the key's own type and wraps: the frame of the largest bigint reached to the end of
//! the partition. In a wider type the ends of a frame are always numbers (PostgreSQL 17, int.c, in_range_int4_int4).
//! Days it counts in UTC, which must never be an answer where the session's days have 23 or 25 hours (timestamp.c,
//! in_range_timestamptz_interval).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{ExprSchemable, WindowFrameBound, WindowFrameUnits, cast};

use super::span;
use crate::error::QueryError;

/// Whether a distance has days or months in it; until it is coerced it is the interval's text.
fn in_days(bound: &WindowFrameBound) -> bool {
    let (WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by)) = bound else { return false };
    let ScalarValue::Utf8(Some(text)) = by else { return false };
    span::interval(text).is_ok_and(|span| span.months != 0 || span.days != 0)
}

/// Widens the key of a frame with a distance; whether there was something to do.
///
/// # Errors
/// 0A000 for days of a zone whose clocks are not UTC's.
pub(super) fn with_room(call: &mut WindowFunction, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<bool> {
    let distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(by) | WindowFrameBound::Following(by) => !by.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let frame = &call.params.window_frame;
    if frame.units != WindowFrameUnits::Range || !(distance(&frame.start_bound) || distance(&frame.end_bound))
    {
        return Ok(false);
    }
    let [key] = call.params.order_by.as_mut_slice() else { return Ok(false) };
    let wide = match key.expr.get_type(schema)? {
        DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Int64 => DataType::Decimal128(20, 0),
        DataType::Timestamp(_, Some(_))
            if zone != chrono_tz::UTC && (in_days(&frame.start_bound) || in_days(&frame.end_bound)) =>
        {
            let message = format!("RANGE of days or months in the time zone \"{}\"", zone.name());
            return Err(QueryError::unsupported(message)
                .with_hint("write the distance in hours, or SET TIME ZONE 'UTC'")
                .into());
        }
        _ => return Ok(false),
    };
    key.expr = cast(key.expr.clone(), wide);
    Ok(true)
}
