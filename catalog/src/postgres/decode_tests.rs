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
