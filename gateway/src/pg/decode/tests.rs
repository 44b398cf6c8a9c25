//! Decoding agrees between text and binary, and refuses what PostgreSQL refuses.

use super::*;
use crate::pg::backend::Column;
use crate::pg::encode::RowEncoder;
use crate::pg::style::Style;
use crate::pgtypes::PgType;
use arrow::record_batch::RecordBatch;

fn text(type_oid: u32, value: &str) -> Result<ScalarValue, Fault> {
    decode(type_oid, Format::Text, Some(value.as_bytes()), 0, Zone::Utc)
}

/// Encodes a scalar and returns the bytes after tag, length, count and field length.
fn encoded(scalar: &ScalarValue, type_oid: u32, format: Format) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([("v", scalar.to_array().unwrap())]).unwrap();
    let columns = [Column::new("v", PgType::new(type_oid))];
    let rows = RowEncoder::new(&batch, &columns, &[format]).unwrap();
    let mut out = bytes::BytesMut::new();
    rows.data_row(0, &Style::default(), &mut out).unwrap();
    out[11..].to_vec()
}

#[test]
fn text_and_binary_are_one_value() {
    for (type_oid, value) in [
        (oid::BOOL, "t"),
        (oid::INT2, "-32768"),
        (oid::INT4, "2147483647"),
        (oid::INT8, "-9223372036854775808"),
        (oid::OID, "4294967295"),
        (oid::FLOAT4, "1.5"),
        (oid::FLOAT8, "-1e+300"),
        (oid::NUMERIC, "-12345678901234567890.1234567890"),
        (oid::NUMERIC, "0.0001"),
        (oid::NUMERIC, "0"),
        (oid::NUMERIC, "100000000000000000000000000000000000000000000000000.5"),
        (oid::TEXT, "é'\\"),
        (oid::VARCHAR, ""),
        (oid::BYTEA, "\\x00ff5c"),
        (oid::DATE, "2024-02-29"),
        (oid::DATE, "0044-03-15 BC"),
        (oid::DATE, "infinity"),
        (oid::TIME, "24:00:00"),
        (oid::TIMESTAMP, "1969-12-31 23:59:59.999999"),
        (oid::TIMESTAMP, "-infinity"),
        (oid::TIMESTAMPTZ, "2024-03-31 01:30:00.5+00"),
        (oid::INTERVAL, "1 year 2 mons -3 days +04:05:06.789"),
        (oid::UUID, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        (oid::JSONB, "{\"a\": [1, 2]}"),
        (oid::JSON, "[]"),
        (oid::INT4_ARRAY, "{1,NULL,-3}"),
        (oid::TEXT_ARRAY, "{a,\"b c\",\"\",\"NULL\",NULL,\"q\\\"\\\\\"}"),
        (oid::NUMERIC_ARRAY, "{}"),
        (oid::TIMESTAMPTZ_ARRAY, "{\"2024-01-01 00:00:00+00\"}"),
    ] {
        let scalar = text(type_oid, value).unwrap_or_else(|fault| panic!("{value}: {fault}"));
        assert_eq!(String::from_utf8(encoded(&scalar, type_oid, Format::Text)).unwrap(), value);
        let binary = encoded(&scalar, type_oid, Format::Binary);
        let back = decode(type_oid, Format::Binary, Some(&binary), 0, Zone::Utc)
            .unwrap_or_else(|fault| panic!("{value} in binary: {fault}"));
        assert_eq!(String::from_utf8(encoded(&back, type_oid, Format::Text)).unwrap(), value);
    }
}

#[test]
fn bad_values_have_postgres_codes_and_texts() {
    for (type_oid, value, code, message) in [
        (oid::INT4, "abc", "22P02", "invalid input syntax for type integer: \"abc\""),
        (oid::INT4, "2147483648", "22003", "value \"2147483648\" is out of range for type integer"),
        (oid::INT2, "1.5", "22P02", "invalid input syntax for type smallint: \"1.5\""),
        (oid::BOOL, "maybe", "22P02", "invalid input syntax for type boolean: \"maybe\""),
        (oid::FLOAT8, "1e400", "22003", "\"1e400\" is out of range for type double precision"),
        (oid::FLOAT8, "-1e-400", "22003", "\"-1e-400\" is out of range for type double precision"),
        (oid::FLOAT4, "1e-50", "22003", "\"1e-50\" is out of range for type real"),
        (oid::NUMERIC, "1.2.3", "22P02", "invalid input syntax for type numeric: \"1.2.3\""),
        (oid::DATE, "hello", "22007", "invalid input syntax for type date: \"hello\""),
        (oid::DATE, "2024-02-29 x", "22007", "invalid input syntax for type date: \"2024-02-29 x\""),
        (oid::DATE, "2024-02-29 25:00", "22008", "date/time field value out of range: \"2024-02-29 25:00\""),
        (
            oid::TIMESTAMPTZ,
            "2024-01-01 00:00+16",
            "22007",
            "invalid input syntax for type timestamp with time zone: \"2024-01-01 00:00+16\"",
        ),
        (oid::DATE, "2023-02-29", "22008", "date/time field value out of range: \"2023-02-29\""),
        (
            oid::TIMESTAMP,
            "2024-01-01 25:00",
            "22008",
            "date/time field value out of range: \"2024-01-01 25:00\"",
        ),
        (oid::BYTEA, "\\xzz", "22023", "invalid hexadecimal digit: \"z\""),
        (oid::BYTEA, "\\9", "22P02", "invalid input syntax for type bytea"),
        (oid::TIME, "24:01", "22008", "date/time field value out of range: \"24:01\""),
        (oid::UUID, "x", "22P02", "invalid input syntax for type uuid: \"x\""),
        (oid::JSONB, "{", "22P02", "invalid input syntax for type jsonb: \"{\""),
        (oid::INT4_ARRAY, "1,2", "22P02", "malformed array literal: \"1,2\""),
        (oid::INTERVAL, "1 fortnight", "22007", "invalid input syntax for type interval: \"1 fortnight\""),
    ] {
        let fault = text(type_oid, value).unwrap_err();
        assert_eq!((fault.sqlstate.as_ref(), fault.message.as_str()), (code, message));
    }
}

#[test]
fn bad_bytes_are_22p03_with_the_number_of_the_parameter() {
    for (type_oid, value) in [
        (oid::INT4, &[0_u8, 0, 1][..]),
        (oid::INT4, &[0, 0, 0, 1, 0]),
        (oid::INT8, &[]),
        (oid::UUID, &[1, 2, 3]),
        (oid::JSONB, b"{}"),
        (oid::NUMERIC, &[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        (oid::NUMERIC, &[0x7f, 0xff, 0, 0, 0, 0, 0, 0]),
        (oid::INT4_ARRAY, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
        (oid::INTERVAL, &[0; 12]),
    ] {
        let fault = decode(type_oid, Format::Binary, Some(value), 2, Zone::Utc).unwrap_err();
        assert_eq!(fault.sqlstate, "22P03", "{type_oid} {value:?}");
        assert!(fault.message.ends_with("bind parameter 3"));
    }
    assert_eq!(decode(oid::TEXT, Format::Binary, Some(b"a\0b"), 0, Zone::Utc).unwrap_err().sqlstate, "22021");
    assert_eq!(decode(600, Format::Text, Some(b"(1,2)"), 0, Zone::Utc).unwrap_err().sqlstate, "0A000");
}

#[test]
fn timestamps_without_zone_are_read_in_the_session_zone() {
    let zone = Zone::Named(chrono_tz::Europe::Paris);
    let read = |value: &str| decode(oid::TIMESTAMPTZ, Format::Text, Some(value.as_bytes()), 0, zone).unwrap();
    for value in [
        "2024-07-01 12:00",
        "2024-07-01T10:00:00Z",
        "2024-07-01 15:30+0530",
        "2024-07-01 12:00:00 Europe/Paris",
    ] {
        assert_eq!(read(value), read("2024-07-01 10:00:00+00"), "{value}");
    }
}

/// Expected: PostgreSQL 15, `select interval '…'` and `select timestamptz '…'`.
#[test]
fn texts_mean_in_parameters_what_they_mean_in_literals() {
    for (type_oid, value, same) in [
        (oid::CHAR, "a ", "a"),
        (oid::BPCHAR, "a  ", "a"),
        (oid::BPCHAR_ARRAY, "{\"a  \",b}", "{a,b}"),
        (oid::INTERVAL, "1.3 years", "1 year 4 mons"),
        (oid::INTERVAL, "1-2", "1 year 2 mons"),
        (oid::INTERVAL, "1.5 months ago", "-1 mons -15 days"),
        (oid::INTERVAL, "2 millennia", "2000 years"),
        (oid::INTERVAL, "P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
        (oid::TIMESTAMPTZ, "2024-07-01 12:00 CET", "2024-07-01 11:00:00+00"),
        (oid::TIMESTAMPTZ, "2024-07-01 12:00 eet", "2024-07-01 10:00:00+00"),
        (oid::TIMESTAMPTZ, "2024-07-01 12:00 EST", "2024-07-01 17:00:00+00"),
        (oid::TIMESTAMPTZ, "2024-07-01 12:00 Europe/Paris", "2024-07-01 10:00:00+00"),
        (oid::DATE, "2024-02-29 24:00", "2024-02-29"),
        (oid::DATE, "2024-02-29 +00", "2024-02-29"),
    ] {
        let scalar = text(type_oid, value).unwrap_or_else(|fault| panic!("{value}: {fault}"));
        assert_eq!(String::from_utf8(encoded(&scalar, type_oid, Format::Text)).unwrap(), same, "{value}");
    }
}
