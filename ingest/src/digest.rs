//! Row hashes and digests of tables, independent of row order, batch borders and column order.
//!
//! A row's hash is the wrapped sum of its columns' hashes, each over name, type tag and value; NULL adds nothing, so
//! a new nullable column changes no digest. A table's digest is (rows, sum, xor).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType,
};
use sha2::{Digest as _, Sha256};

use crate::contract::storable;
use crate::error::Result;

/// Digest of a table or of a part of it; parts add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: u128,
    xor: u64,
}

impl Digest {
    pub(crate) fn of(batches: &[RecordBatch]) -> Result<Self> {
        let mut digest = Self::default();
        for batch in batches {
            for hash in row_hashes(batch)? {
                digest.rows += 1;
                digest.sum = digest.sum.wrapping_add(u128::from(hash));
                digest.xor ^= hash;
            }
        }
        Ok(digest)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:032x}:{:016x}", self.rows, self.sum, self.xor)
    }
}

/// FNV-1a over bytes, from a seed, with a final mix so that near values lie far apart.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^ (state >> 33)
}

/// One hash per row.
pub(crate) fn row_hashes(batch: &RecordBatch) -> Result<Vec<u64>> {
    let mut hashes = vec![0_u64; batch.num_rows()];
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let name: [u8; 8] = Sha256::digest(field.name())[..8].try_into().unwrap_or_default();
        add(&mut hashes, u64::from_le_bytes(name), array)?;
    }
    Ok(hashes)
}

fn add(hashes: &mut [u64], seed: u64, array: &ArrayRef) -> Result<()> {
    let kind = match array.data_type() {
        DataType::Date32 => DataType::Int64,
        other => storable(other),
    };
    let array = if array.data_type() == &DataType::Date32 {
        cast(array, &DataType::Int32)?
    } else {
        Arc::clone(array)
    };
    let array = cast(&array, &kind)?;
    let mut each = |value: &mut dyn FnMut(usize) -> u64| {
        for (row, slot) in hashes.iter_mut().enumerate() {
            if array.is_valid(row) {
                *slot = slot.wrapping_add(value(row));
            }
        }
    };
    match &kind {
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            each(&mut |row| hash(seed ^ 1, values.value(row).as_bytes()));
        }
        DataType::Int64 => {
            let values = array.as_primitive::<Int64Type>();
            each(&mut |row| hash(seed ^ 2, &values.value(row).to_le_bytes()));
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            each(&mut |row| {
                let value = values.value(row);
                let value = if value == 0.0 { 0.0 } else { value };
                hash(seed ^ 3, &value.to_bits().to_le_bytes())
            });
        }
        DataType::Timestamp(_, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            each(&mut |row| hash(seed ^ 4, &values.value(row).to_le_bytes()));
        }
        DataType::Decimal128(_, scale) => {
            let values = array.as_primitive::<Decimal128Type>();
            each(&mut |row| {
                let (mut value, mut scale) = (values.value(row), *scale);
                while scale > 0 && value % 10 == 0 {
                    value /= 10;
                    scale -= 1;
                }
                let mut bytes = value.to_le_bytes().to_vec();
                bytes.extend(scale.to_le_bytes());
                hash(seed ^ 5, &bytes)
            });
        }
        DataType::Boolean => {
            let values = array.as_boolean();
            each(&mut |row| hash(seed ^ 6, &[u8::from(values.value(row))]));
        }
        _ => {
            let text = cast(&array, &DataType::Utf8)?;
            let values = text.as_string::<i32>();
            each(&mut |row| hash(seed ^ 7, values.value(row).as_bytes()));
        }
    }
    Ok(())
}
