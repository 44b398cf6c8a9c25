//! `RANGE` frames over whole numbers, given room for the ends of their types.
//!
//! The engine adds the distance in the key's own type and wraps: the frame of the largest bigint reached to the end of
//! the partition. In a wider type the ends of a frame are always numbers (PostgreSQL 17, int.c, in_range_int4_int4).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{ExprSchemable, WindowFrameBound, WindowFrameUnits, cast};

/// Widens the key of a frame with a distance; whether there was something to do.
pub(super) fn with_room(call: &mut WindowFunction, schema: &DFSchema) -> Result<bool> {
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
        _ => return Ok(false),
    };
    key.expr = cast(key.expr.clone(), wide);
    Ok(true)
}
