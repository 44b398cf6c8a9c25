//! Lists as PostgreSQL arrays: lower bound 1, empty means no dimensions, lists of lists are dimensions.
//!
//! PostgreSQL 17, `arrayfuncs.c`: array_out and array_send.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};

use crate::pg::backend::Format;
use crate::pg::encode::{ColumnEncoder, plain};
use crate::pg::fault::Fault;
use crate::pg::style::Style;
use crate::pgtypes::PgType;

/// A list column: where each row's elements lie, and their encoder.
pub(crate) struct ListValues {
    ranges: Vec<Option<(usize, usize)>>,
    elements: Elements,
    element_oid: u32,
}

enum Elements {
    Leaf { text: Box<ColumnEncoder>, binary: Box<ColumnEncoder> },
    Lists(Box<ListValues>),
}

impl ListValues {
    pub(crate) fn new(array: &ArrayRef, element: u32, typmod: i32, name: &str) -> Result<Self, Fault> {
        let (ranges, values) = ranges(array, name)?;
        let values = plain(&values, name)?;
        let nested = matches!(
            values.data_type(),
            DataType::List(_)
                | DataType::LargeList(_)
                | DataType::FixedSizeList(_, _)
                | DataType::ListView(_)
                | DataType::LargeListView(_)
        );
        let elements = if nested {
            Elements::Lists(Box::new(Self::new(&values, element, typmod, name)?))
        } else {
            let pg = PgType { typmod, ..PgType::new(element) };
            Elements::Leaf {
                text: Box::new(ColumnEncoder::new(&values, pg, Format::Text, name)?),
                binary: Box::new(ColumnEncoder::new(&values, pg, Format::Binary, name)?),
            }
        };
        Ok(Self { ranges, elements, element_oid: element })
    }

    /// Lengths of the dimensions, and the leaves in order.
    fn shape(&self, row: usize) -> Result<(Vec<usize>, Vec<usize>), Fault> {
        let mut dimensions = Vec::new();
        let mut leaves = Vec::new();
        self.gather(row, 0, &mut dimensions, &mut leaves)?;
        if leaves.is_empty() {
            dimensions.clear();
        }
        Ok((dimensions, leaves))
    }

    fn gather(
        &self,
        row: usize,
        depth: usize,
        dimensions: &mut Vec<usize>,
        leaves: &mut Vec<usize>,
    ) -> Result<(), Fault> {
        let Some((start, length)) = self.ranges.get(row).copied().flatten() else { return Err(ragged()) };
        match dimensions.get(depth) {
            Some(expected) if *expected != length => return Err(ragged()),
            Some(_) => {}
            None => dimensions.push(length),
        }
        match &self.elements {
            Elements::Leaf { .. } => leaves.extend(start..start + length),
            Elements::Lists(lists) => {
                for index in start..start + length {
                    lists.gather(index, depth + 1, dimensions, leaves)?;
                }
            }
        }
        Ok(())
    }

    fn leaf(&self) -> (&ColumnEncoder, &ColumnEncoder) {
        match &self.elements {
            Elements::Leaf { text, binary } => (text, binary),
            Elements::Lists(lists) => lists.leaf(),
        }
    }

    pub(crate) fn text(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        let (dimensions, leaves) = self.shape(row)?;
        if dimensions.is_empty() {
            out.put_slice(b"{}");
            return Ok(());
        }
        let (encoder, _) = self.leaf();
        let mut scratch = BytesMut::new();
        for (index, leaf) in leaves.iter().enumerate() {
            // A dimension opens where the index is a multiple of the product of the inner lengths.
            let mut product = 1;
            let mut opening = 0;
            for length in dimensions.iter().rev() {
                product *= length;
                opening += usize::from(index % product == 0);
            }
            if index > 0 {
                out.put_bytes(b'}', opening);
                out.put_u8(b',');
            }
            out.put_bytes(b'{', opening);
            if encoder.is_null(*leaf) {
                out.put_slice(b"NULL");
                continue;
            }
            scratch.clear();
            encoder.text(*leaf, style, &mut scratch)?;
            quoted(&scratch, out);
        }
        out.put_bytes(b'}', dimensions.len());
        Ok(())
    }

    pub(crate) fn binary(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), Fault> {
        let (dimensions, leaves) = self.shape(row)?;
        let (_, encoder) = self.leaf();
        out.put_i32(i32::try_from(dimensions.len()).unwrap_or(0));
        out.put_i32(i32::from(leaves.iter().any(|leaf| encoder.is_null(*leaf))));
        out.put_u32(self.element_oid);
        for length in &dimensions {
            out.put_i32(i32::try_from(*length).map_err(|_| Fault::new("54000", "array is too large"))?);
            out.put_i32(1);
        }
        for leaf in leaves {
            encoder.field(leaf, style, out)?;
        }
        Ok(())
    }
}

fn ragged() -> Fault {
    Fault::new("2202E", "multidimensional arrays must have array expressions with matching dimensions")
}

/// Where each row's elements lie in the values.
type Ranges = (Vec<Option<(usize, usize)>>, ArrayRef);

fn ranges(array: &ArrayRef, name: &str) -> Result<Ranges, Fault> {
    let all = |range: &dyn Fn(usize) -> (usize, usize)| {
        (0..array.len()).map(|row| (!array.is_null(row)).then(|| range(row))).collect()
    };
    let width = |value: i64| usize::try_from(value).unwrap_or(0);
    Ok(match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let at = |row: usize| offsets.get(row).map_or(0, |offset| width(i64::from(*offset)));
            (all(&|row| (at(row), at(row + 1) - at(row))), ArrayRef::clone(list.values()))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            let at = |row: usize| offsets.get(row).map_or(0, |offset| width(*offset));
            (all(&|row| (at(row), at(row + 1) - at(row))), ArrayRef::clone(list.values()))
        }
        DataType::FixedSizeList(_, _) => {
            let list = array.as_fixed_size_list();
            let length = width(i64::from(list.value_length()));
            (all(&|row| (width(i64::from(list.value_offset(row))), length)), ArrayRef::clone(list.values()))
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let range = |row: usize| {
                (width(i64::from(list.value_offset(row))), width(i64::from(list.value_size(row))))
            };
            (all(&range), ArrayRef::clone(list.values()))
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            (
                all(&|row| (width(list.value_offset(row)), width(list.value_size(row)))),
                ArrayRef::clone(list.values()),
            )
        }
        other => {
            tracing::error!(column = name, %other, "array type announced for a column that is no list");
            return Err(Fault::new("XX000", "internal error"));
        }
    })
}

/// Quotes an element as array_out does.
fn quoted(element: &[u8], out: &mut BytesMut) {
    let plain = !element.is_empty()
        && !element.eq_ignore_ascii_case(b"NULL")
        && !element.iter().any(|byte| {
            matches!(byte, b'{' | b'}' | b'"' | b'\\' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
        });
    if plain {
        out.put_slice(element);
        return;
    }
    out.put_u8(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
