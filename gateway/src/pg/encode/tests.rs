//! Goldens of the encoder. `golden.tsv` was printed by PostgreSQL 15: type, session zone, text and `*_send` bytes in
//! hex. Each value is decoded from PostgreSQL's text and from its bytes, and both must encode to exactly the same.

#![expect(clippy::needless_pass_by_value, reason = "arrays are made in the call")]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, DurationMicrosecondArray,
    FixedSizeBinaryArray, Int8Array, Int32Array, IntervalMonthDayNanoArray, ListArray, StringArray,
    StructArray, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type};
use arrow::record_batch::RecordBatch;

use super::*;
use crate::pg::backend::Column;
use crate::pg::decode::decode;
use crate::pg::style::Zone;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn encoded(array: &ArrayRef, pg: PgType, format: Format, style: &Style) -> Result<Option<Vec<u8>>, Fault> {
    let encoder = ColumnEncoder::new(array, pg, format, "v")?;
    if encoder.is_null(0) {
        return Ok(None);
    }
    let mut out = BytesMut::new();
    encoder.value(0, style, &mut out)?;
    Ok(Some(out.to_vec()))
}

fn text(array: ArrayRef) -> String {
    let pg = PgType::from_arrow(array.data_type());
    String::from_utf8(encoded(&array, pg, Format::Text, &Style::default()).unwrap().unwrap()).unwrap()
}

fn binary(array: ArrayRef) -> Vec<u8> {
    let pg = PgType::from_arrow(array.data_type());
    encoded(&array, pg, Format::Binary, &Style::default()).unwrap().unwrap()
}

#[test]
fn every_golden_is_byte_equal_to_postgres() {
    let mut compared = 0;
    for (number, line) in include_str!("golden.tsv").lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, zone, text, binary] = fields.as_slice() else { panic!("line {number}: {line}") };
        let pg = PgType::parse(name).unwrap();
        let style = Style { zone: Zone::parse(zone).unwrap(), ..Style::default() };
        let (text, binary) = (unhex(text), unhex(binary));
        for (format, sent) in [(Format::Text, &text), (Format::Binary, &binary)] {
            let shown = String::from_utf8_lossy(&text);
            let scalar = decode(pg.oid, format, Some(sent), 0, style.zone)
                .unwrap_or_else(|fault| panic!("line {number}: {name} {shown} as {format:?}: {fault}"));
            let array = scalar.to_array().unwrap();
            let got = encoded(&array, pg, Format::Text, &style).unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&got), shown, "line {number}: {name} from {format:?}");
            let got = encoded(&array, pg, Format::Binary, &style).unwrap().unwrap();
            assert_eq!(got, binary, "line {number}: {name} {shown} from {format:?}");
            compared += 2;
        }
    }
    assert!(compared >= 4 * 2000, "{compared}");
}

#[test]
fn small_integers_are_widened_to_their_wire_length() {
    assert_eq!(binary(Arc::new(Int8Array::from(vec![7]))), [0, 7]);
    assert_eq!(binary(Arc::new(UInt32Array::from(vec![u32::MAX]))), [0, 0, 0, 0, 255, 255, 255, 255]);
    assert_eq!(text(Arc::new(UInt64Array::from(vec![u64::MAX]))), "18446744073709551615");
}

#[test]
fn nanoseconds_are_floored_also_before_1970() {
    for (nanos, shown) in [(-1_i64, "1969-12-31 23:59:59.999999"), (1999, "1970-01-01 00:00:00.000001")] {
        assert_eq!(text(Arc::new(TimestampNanosecondArray::from(vec![nanos]))), shown);
    }
}

#[test]
fn nulls_of_every_shape_are_null() {
    let arrays: [ArrayRef; 4] = [
        arrow::array::new_null_array(&DataType::Null, 1),
        Arc::new(IntervalMonthDayNanoArray::from(vec![None])),
        arrow::array::new_null_array(&DataType::new_list(DataType::Int32, true), 1),
        Arc::new(DictionaryArray::<Int32Type>::from_iter([None::<&str>])),
    ];
    for array in arrays {
        let pg = PgType::from_arrow(array.data_type());
        for format in [Format::Text, Format::Binary] {
            assert_eq!(
                encoded(&array, pg, format, &Style::default()).unwrap(),
                None,
                "{}",
                array.data_type()
            );
        }
    }
}

#[test]
fn durations_are_intervals() {
    assert_eq!(text(Arc::new(DurationMicrosecondArray::from(vec![-90_000_001_i64]))), "-00:01:30.000001");
    assert_eq!(binary(Arc::new(DurationMicrosecondArray::from(vec![1_i64]))).len(), 16);
    assert_eq!(text(Arc::new(DurationMicrosecondArray::from(vec![i64::MAX]))), "infinity");
    assert_eq!(text(Arc::new(DurationMicrosecondArray::from(vec![i64::MIN]))), "-infinity");
}

#[test]
fn text_with_a_nul_byte_is_refused_and_names_its_column() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["a\0b"]));
    for format in [Format::Text, Format::Binary] {
        let fault = encoded(&array, PgType::new(oid::TEXT), format, &Style::default()).unwrap_err();
        assert_eq!(fault.sqlstate, "22021");
        assert!(fault.message.contains("\"v\""));
    }
}

#[test]
fn a_value_beyond_its_announced_type_is_refused_not_cut() {
    let array: ArrayRef = Arc::new(Int32Array::from(vec![70_000]));
    let fault = encoded(&array, PgType::new(oid::INT2), Format::Text, &Style::default()).unwrap_err();
    assert_eq!(fault.sqlstate, "22003");
    assert!(!fault.message.contains("70000"));
}

#[test]
fn dates_postgres_does_not_have_are_refused() {
    for days in [2_145_042_906, -2_440_589] {
        let array: ArrayRef = Arc::new(Date32Array::from(vec![days]));
        let fault = encoded(&array, PgType::new(oid::DATE), Format::Text, &Style::default()).unwrap_err();
        assert_eq!(fault.sqlstate, "22008");
    }
}

#[test]
fn nested_lists_are_dimensions_and_ragged_ones_are_refused() {
    let list = |rows: Vec<Vec<i32>>| -> ArrayRef {
        let inner = ListArray::from_iter_primitive::<Int32Type, _, _>(
            rows.into_iter().map(|row| Some(row.into_iter().map(Some).collect::<Vec<_>>())),
        );
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([inner.len()]);
        let field = Arc::new(Field::new_list_field(inner.data_type().clone(), true));
        Arc::new(ListArray::new(field, offsets, Arc::new(inner), None))
    };
    assert_eq!(text(list(vec![vec![1, 2], vec![3, 4]])), "{{1,2},{3,4}}");
    // array_send('{{1,2},{3,4}}'::int4[]) in PostgreSQL 15.
    let bytes = "000000020000000000000017000000020000000100000002000000010000000400000001000000040000000200000004000000030000000400000004";
    assert_eq!(binary(list(vec![vec![1, 2], vec![3, 4]])), unhex(bytes));
    assert_eq!(text(list(vec![vec![], vec![]])), "{}");
    let ragged = list(vec![vec![1], vec![2, 3]]);
    let fault = encoded(&ragged, PgType::new(oid::INT4_ARRAY), Format::Text, &Style::default()).unwrap_err();
    assert_eq!(fault.sqlstate, "2202E");
}

#[test]
fn structs_are_jsonb_in_postgres_layout() {
    let item =
        |name: &str, array: ArrayRef| (Arc::new(Field::new(name, array.data_type().clone(), true)), array);
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.0), Some(2.5)])]));
    let decimal = Decimal128Array::from(vec![150]).with_precision_and_scale(5, 2).unwrap();
    let array: ArrayRef = Arc::new(StructArray::from(vec![
        item("cc", Arc::new(decimal)),
        item("b", Arc::new(StringArray::from(vec![None::<&str>]))),
        item("a", list),
        item("s", Arc::new(StringArray::from(vec!["q\"\n"]))),
    ]));
    let shown = "{\"a\": [1, 2.5], \"b\": null, \"s\": \"q\\\"\\n\", \"cc\": 1.50}";
    assert_eq!(text(Arc::clone(&array)), shown);
    assert_eq!(binary(array), [b"\x01", shown.as_bytes()].concat());
}

#[test]
fn uuids_and_bytea_have_their_forms() {
    let bytes = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 16]].into_iter()).unwrap();
    let uuid =
        encoded(&(Arc::new(bytes) as ArrayRef), PgType::new(oid::UUID), Format::Text, &Style::default());
    assert_eq!(uuid.unwrap().unwrap(), b"abababab-abab-abab-abab-abababababab");
    let array: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"a\\\x00\xff"]));
    let escape = Style { bytea_escape: true, ..Style::default() };
    assert_eq!(
        encoded(&array, PgType::new(oid::BYTEA), Format::Text, &escape).unwrap().unwrap(),
        b"a\\\\\\000\\377"
    );
}

#[test]
fn a_failing_row_leaves_no_torn_message() {
    let array: ArrayRef = Arc::new(StringArray::from(vec!["ok", "a\0b"]));
    let batch = RecordBatch::try_from_iter([("v", array)]).unwrap();
    let rows = RowEncoder::new(&batch, &[Column::new("v", PgType::new(oid::TEXT))], &[]).unwrap();
    let mut out = BytesMut::new();
    rows.data_row(0, &Style::default(), &mut out).unwrap();
    let whole = out.len();
    assert!(rows.data_row(1, &Style::default(), &mut out).is_err());
    assert_eq!(out.len(), whole);
}
