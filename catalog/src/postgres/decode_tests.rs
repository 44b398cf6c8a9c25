use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema};

use super::*;
use crate::source::TableKind;

fn decoder(fields: Vec<Field>) -> Decoder {
    let schema = Arc::new(Schema::new(fields));
    let table = Arc::new(TableDef {
        schema: "ops".into(),
        name: "t".into(),
        arrow: Arc::clone(&schema),
        comment: None,
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    });
    Decoder::new("ops", table, schema).unwrap()
}

fn stream(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    out.extend([0; 8]);
    for row in rows {
        out.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for value in *row {
            match value {
                Some(bytes) => {
                    out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
                    out.extend(*bytes);
                }
                None => out.extend((-1_i32).to_be_bytes()),
            }
        }
    }
    out.extend((-1_i16).to_be_bytes());
    out
}

fn two() -> Vec<Field> {
    vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8View, true)]
}

#[test]
fn any_cut_of_the_stream_gives_the_same_rows() {
    let bytes = stream(&[&[Some(&[0, 0, 0, 7]), None], &[None, Some("Thiès".as_bytes())]]);
    for cut in 1..bytes.len() {
        let mut decoder = decoder(two());
        for portion in bytes.chunks(cut) {
            assert!(decoder.push(portion).unwrap().is_empty());
        }
        let batch = decoder.finish().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(0), 7);
        assert_eq!(batch.column(1).as_string_view().value(1), "Thiès");
    }
}

#[test]
fn a_cut_stream_is_an_error_at_every_byte() {
    let bytes = stream(&[&[Some(&[0, 0, 0, 7]), Some(b"x")]]);
    for end in 0..bytes.len() {
        let mut decoder = decoder(two());
        decoder.push(&bytes[..end]).unwrap();
        assert_eq!(decoder.finish().unwrap_err().kind, SourceErrorKind::Unreachable, "{end}");
    }
}

#[test]
fn rows_without_columns_are_counted() {
    let mut decoder = decoder(vec![]);
    decoder.push(&stream(&[&[], &[], &[]])).unwrap();
    assert_eq!(decoder.finish().unwrap().unwrap().num_rows(), 3);
}

#[test]
fn values_that_do_not_fit_name_their_column() {
    let mut decoder = decoder(vec![Field::new("h", DataType::Decimal128(4, 2), true)]);
    let nan = [0, 0, 0, 0, 0xC0, 0, 0, 0];
    let error = decoder.push(&stream(&[&[Some(&nan)]])).unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Data);
    assert!(error.message.contains("\"ops.t.h\""), "{}", error.message);
}

#[test]
fn the_line_to_write_is_the_hint() {
    let bare = [(PG_TYPE_KEY.to_owned(), "numeric".to_owned())].into();
    let list = |ty| DataType::List(Arc::new(Field::new_list_field(ty, true)));
    // 1e-12, an array of one NaN, and two dimensions.
    let small: &[u8] = &[0, 1, 0xFF, 0xFD, 0, 0, 0, 12, 0, 1];
    let nan: &[u8] = &[0, 0, 0, 0, 0xC0, 0, 0, 0];
    let one = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6, 0xA4, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8];
    let numbers = [one.as_slice(), nan].concat();
    let deep: &[u8] = &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 23];
    for (field, value, hint) in [
        (
            Field::new("h", DataType::Decimal128(38, 10), true).with_metadata(bare),
            small,
            "{t.h: \"numeric(38,12)\"}",
        ),
        (Field::new("h", DataType::Decimal128(20, 4), true), small, "{t.h: \"numeric(28,12)\"}"),
        (Field::new("h", DataType::Decimal256(60, 4), true), nan, "{t.h: \"text\"}"),
        (
            Field::new("a b", list(DataType::Decimal128(38, 10)), true),
            numbers.as_slice(),
            "{\"t.a b\": \"jsonb\"}",
        ),
        (Field::new("h", list(DataType::Int32), true), deep, "{t.h: \"jsonb\"}"),
    ] {
        let decoder = decoder(vec![field]);
        let whole = Fragment::whole(Arc::clone(&decoder.table));
        let error = decoder.reading(&whole).push(&stream(&[&[Some(value)]])).unwrap_err();
        let expected = format!("write columns: {hint} for source \"ops\" in the port's file");
        assert_eq!(error.hint, Some(expected), "{}", error.message);
    }
}

/// Times beyond what 64 bits from 1970 hold are no numbers out of range; the ends of the integers are infinity.
#[test]
fn times_out_of_range_are_told_as_times() {
    use datafusion::arrow::array::{Date32Array, TimestampMicrosecondArray};
    use datafusion::arrow::datatypes::{Date32Type, IntervalUnit, TimeUnit, TimestampMicrosecondType};

    let stamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let late = i64::MAX - 946_684_800_000_000;
    for (ty, bytes) in [
        // PostgreSQL: '294276-12-31', and what would be the end of the integer here.
        (stamp.clone(), 9_223_371_244_800_000_000_i64.to_be_bytes().to_vec()),
        (stamp.clone(), late.to_be_bytes().to_vec()),
        (DataType::Date32, (i32::MAX - 1).to_be_bytes().to_vec()),
        (
            DataType::Interval(IntervalUnit::MonthDayNano),
            [i64::MAX.to_be_bytes().as_slice(), &[0; 8]].concat(),
        ),
    ] {
        let mut decoder = decoder(vec![Field::new("h", ty.clone(), true)]);
        let error = decoder.push(&stream(&[&[Some(&bytes)]])).unwrap_err();
        assert_eq!(error.remote_code.as_deref(), Some("22008"), "{ty}: {}", error.message);
        assert!(error.message.contains("\"ops.t.h\""), "{}", error.message);
    }
    let mut decoder = decoder(vec![Field::new("t", stamp, true), Field::new("d", DataType::Date32, true)]);
    let (last, end) = ((late - 1).to_be_bytes(), i64::MAX.to_be_bytes());
    let (day, never) = (2_145_031_948_i32.to_be_bytes(), i32::MIN.to_be_bytes());
    decoder.push(&stream(&[&[Some(&last), Some(&day)], &[Some(&end), Some(&never)]])).unwrap();
    let batch = decoder.finish().unwrap().unwrap();
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times, &TimestampMicrosecondArray::from(vec![i64::MAX - 1, i64::MAX]));
    let days = batch.column(1).as_primitive::<Date32Type>();
    assert_eq!(days, &Date32Array::from(vec![2_145_042_905, i32::MIN]));
}

#[test]
fn garbage_never_panics() {
    let good = stream(&[&[Some(&[0, 0, 0, 7]), Some(b"x")]]);
    for at in 0..good.len() {
        for byte in [0, 1, 0x7F, 0x80, 0xFF] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            let mut decoder = decoder(two());
            if decoder.push(&bytes).is_ok() {
                let _either = decoder.finish();
            }
        }
    }
}
