//! Whole rows of a batch as `DataRow` messages, and as the tuples of binary COPY.

use arrow::array::RecordBatch;
use bytes::{BufMut, BytesMut};

use super::ColumnEncoder;
use crate::pg::backend::{Column, Format};
use crate::pg::fault::Fault;
use crate::pg::style::Style;

/// Writes whole rows of one batch.
#[derive(Debug)]
pub struct RowEncoder {
    columns: Vec<ColumnEncoder>,
    rows: usize,
}

impl RowEncoder {
    /// Prepares a batch. `formats` has one entry per column, one for all, or none (text).
    ///
    /// # Errors
    /// As [`ColumnEncoder::new`]; XX000 when the batch does not have the announced columns.
    pub fn new(batch: &RecordBatch, columns: &[Column], formats: &[Format]) -> Result<Self, Fault> {
        if batch.num_columns() != columns.len() {
            tracing::error!(
                got = batch.num_columns(),
                announced = columns.len(),
                "batch and description differ"
            );
            return Err(Fault::new("XX000", "internal error"));
        }
        let columns = batch
            .columns()
            .iter()
            .zip(columns)
            .enumerate()
            .map(|(index, (array, column))| {
                ColumnEncoder::new(array, column.pg, format_at(formats, index), &column.name)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { columns, rows: batch.num_rows() })
    }

    /// Rows of the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &[ColumnEncoder] {
        &self.columns
    }

    /// Appends one `DataRow` message.
    ///
    /// # Errors
    /// As [`ColumnEncoder::field`]; the message is removed again then.
    pub fn data_row(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        let result = self.tuple(row, style, out);
        if let Err(fault) = result {
            out.truncate(start);
            return Err(fault);
        }
        let Ok(length) = i32::try_from(out.len() - start - 1) else {
            out.truncate(start);
            return Err(Fault::new("54000", "row is too large"));
        };
        if let Some(slot) = out.get_mut(start + 1..start + 5) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Appends the number of fields and the fields, as `DataRow` and binary COPY share them.
    ///
    /// # Errors
    /// As [`ColumnEncoder::field`].
    pub fn tuple(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
        for column in &self.columns {
            column.field(row, style, out)?;
        }
        Ok(())
    }
}

/// The format of a column under Bind's rule: none, one for all, or one each.
#[must_use]
pub fn format_at(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(index).copied().unwrap_or_default(),
    }
}
