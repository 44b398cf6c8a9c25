//! Rows into Arrow columns by a schema: one growing column per field, no row objects.
//!
//! A value of the wrong kind for its column becomes NULL and fails the batch's own not-null check, so a mistake here
//! is an error and never a wrong number.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int16Builder,
        Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, SchemaRef, TimeUnit},
};

use crate::port::SimulatorError;

/// One value. Times are seconds since 1970 (UTC or wall clock), days likewise in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Null,
    /// Integers, and decimals in units of their scale.
    Int(i64),
    Float(f64),
    Text(&'a str),
    Time(i64),
    Bool(bool),
}

impl From<Option<i64>> for Cell<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

pub(crate) fn time<'a>(value: Option<i64>) -> Cell<'a> {
    value.map_or(Cell::Null, Cell::Time)
}

pub(crate) fn text(value: Option<&str>) -> Cell<'_> {
    value.map_or(Cell::Null, Cell::Text)
}

#[derive(Debug)]
enum Column {
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Bool(BooleanBuilder),
    Float(Float64Builder),
    Date(Date32Builder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

/// A growing record batch.
#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
}

impl Rows {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::Int16 => Column::Int16(Int16Builder::new()),
                DataType::Int32 => Column::Int32(Int32Builder::new()),
                DataType::Int64 => Column::Int64(Int64Builder::new()),
                DataType::Boolean => Column::Bool(BooleanBuilder::new()),
                DataType::Float64 => Column::Float(Float64Builder::new()),
                DataType::Date32 => Column::Date(Date32Builder::new()),
                decimal @ DataType::Decimal128(..) => {
                    Column::Decimal(Decimal128Builder::new().with_data_type(decimal.clone()))
                }
                DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                    Column::Time(TimestampMicrosecondBuilder::new().with_timezone_opt(zone.clone()))
                }
                _ => Column::Text(StringBuilder::new()),
            })
            .collect();
        Self { schema, columns }
    }

    /// Appends a row; missing trailing cells are NULL.
    pub(crate) fn push(&mut self, cells: &[Cell<'_>]) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let cell = cells.get(index).copied().unwrap_or(Cell::Null);
            let int = if let Cell::Int(value) = cell { Some(value) } else { None };
            match column {
                Column::Int16(b) => b.append_option(int.and_then(|v| i16::try_from(v).ok())),
                Column::Int32(b) => b.append_option(int.and_then(|v| i32::try_from(v).ok())),
                Column::Int64(b) => b.append_option(int),
                Column::Decimal(b) => b.append_option(int.map(i128::from)),
                Column::Bool(b) => b.append_option(if let Cell::Bool(v) = cell { Some(v) } else { None }),
                Column::Float(b) => b.append_option(if let Cell::Float(v) = cell { Some(v) } else { None }),
                Column::Text(b) => b.append_option(if let Cell::Text(v) = cell { Some(v) } else { None }),
                Column::Time(b) => {
                    b.append_option(if let Cell::Time(v) = cell { Some(v * 1_000_000) } else { None })
                }
                Column::Date(b) => b.append_option(if let Cell::Time(v) = cell {
                    i32::try_from(v.div_euclid(86_400)).ok()
                } else {
                    None
                }),
            }
        }
    }

    /// The batch so far.
    pub(crate) fn finish(mut self) -> Result<RecordBatch, SimulatorError> {
        let arrays: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|column| -> ArrayRef {
                match column {
                    Column::Int16(b) => Arc::new(b.finish()),
                    Column::Int32(b) => Arc::new(b.finish()),
                    Column::Int64(b) => Arc::new(b.finish()),
                    Column::Bool(b) => Arc::new(b.finish()),
                    Column::Float(b) => Arc::new(b.finish()),
                    Column::Date(b) => Arc::new(b.finish()),
                    Column::Decimal(b) => Arc::new(b.finish()),
                    Column::Text(b) => Arc::new(b.finish()),
                    Column::Time(b) => Arc::new(b.finish()),
                }
            })
            .collect();
        RecordBatch::try_new(self.schema, arrays)
            .map_err(|error| SimulatorError::Columnar { what: "build rows".into(), source: Box::new(error) })
    }
}
