use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, Field, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Schema, TimestampMicrosecondType, UInt64Type, i256,
};

use super::*;
use crate::mysql::column::{RETYPING, RemoteColumn, field};
use crate::source::TableKind;

fn decoder(fields: Vec<Field>, zero_dates: ZeroDates) -> Decoder {
    let schema = Arc::new(Schema::new(fields));
    let table = TableDef {
        schema: "ops".into(),
        name: "t".into(),
        arrow: Arc::clone(&schema),
        comment: None,
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    };
    Decoder::new(SourceName::try_new("ops").unwrap(), Arc::new(table), schema, zero_dates).unwrap()
}

fn builder_of(ty: DataType) -> Builder {
    Builder::of(&Field::new("c", ty, true)).unwrap()
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.into())
}

#[test]
fn extremes_arrive_exactly() {
    let mut builder = builder_of(DataType::UInt64);
    builder.append(&Value::UInt(u64::MAX)).unwrap();
    builder.append(&Value::Int(0)).unwrap();
    assert_eq!(builder.append(&Value::Int(-1)), Err(Flaw::OutOfRange));
    assert_eq!(builder.finish().as_primitive::<UInt64Type>().values(), &[u64::MAX, 0]);
    let mut builder = builder_of(DataType::Int64);
    builder.append(&Value::Int(i64::MIN)).unwrap();
    assert_eq!(builder.append(&Value::UInt(1 << 63)), Err(Flaw::OutOfRange));
    builder.append(&bytes("-5")).unwrap();
    assert_eq!(builder.append(&bytes("1x")), Err(Flaw::OtherKind));
    assert_eq!(builder.append(&bytes("9223372036854775808")), Err(Flaw::OutOfRange));
    assert_eq!(builder.finish().as_primitive::<Int64Type>().values(), &[i64::MIN, -5]);
    let mut builder = builder_of(DataType::Interval(IntervalUnit::MonthDayNano));
    builder.append(&Value::Time(true, 34, 22, 59, 59, 999_999)).unwrap();
    let nanos = builder.finish().as_primitive::<IntervalMonthDayNanoType>().value(0).nanoseconds;
    assert_eq!(nanos, -((838 * 3_600 + 59 * 60 + 59) * 1_000_000_000 + 999_999_000));
}

#[test]
fn decimals_are_never_rounded() {
    let mut builder = builder_of(DataType::Decimal128(6, 2));
    for (text, expected) in [
        ("-1.50", Ok(())),
        ("1.500", Ok(())),
        ("9999.99", Ok(())),
        ("0.001", Err(Flaw::OutOfRange)),
        ("10000", Err(Flaw::OutOfRange)),
        ("x", Err(Flaw::OtherKind)),
        ("7", Ok(())),
    ] {
        assert_eq!(builder.append(&bytes(text)), expected, "{text}");
    }
    assert_eq!(builder.finish().as_primitive::<Decimal128Type>().values(), &[-150, 150, 999_999, 700]);
    let mut builder = builder_of(DataType::Decimal256(65, 30));
    let nines = format!("-{}.{}", "9".repeat(35), "9".repeat(30));
    builder.append(&bytes(&nines)).unwrap();
    let expected = i256::from_string(&format!("-{}", "9".repeat(65))).unwrap();
    assert_eq!(builder.finish().as_primitive::<Decimal256Type>().value(0), expected);
}

#[test]
fn dates_are_of_the_calendar_or_refused() {
    let mut builder = builder_of(DataType::Date32);
    let day = |year, month, day| Value::Date(year, month, day, 0, 0, 0, 0);
    builder.append(&day(1, 1, 1)).unwrap();
    builder.append(&day(9999, 12, 31)).unwrap();
    assert_eq!(builder.append(&day(0, 0, 0)), Err(Flaw::ZeroDate));
    assert_eq!(builder.append(&day(2018, 2, 0)), Err(Flaw::ZeroDate));
    assert_eq!(builder.append(&day(2018, 2, 31)), Err(Flaw::NoDate));
    assert_eq!(builder.finish().as_primitive::<Date32Type>().values(), &[-719_162, 2_932_896]);
    let mut builder = builder_of(DataType::Timestamp(TimeUnit::Microsecond, None));
    builder.append(&Value::Date(1969, 12, 31, 23, 59, 59, 999_999)).unwrap();
    assert_eq!(builder.append(&bytes("1970-01-01")), Err(Flaw::OtherKind));
    assert_eq!(builder.finish().as_primitive::<TimestampMicrosecondType>().values(), &[-1]);
}

#[test]
fn a_lost_character_is_noticed() {
    let column = RemoteColumn {
        name: "c".into(),
        base: "varchar".into(),
        charset: Some("sjis".into()),
        ..RemoteColumn::default()
    };
    let mut builder = Builder::of(&field(&column, ZeroDates::Error)).unwrap();
    assert_eq!(builder.append(&bytes("a?")), Err(Flaw::BadText));
    assert_eq!(builder.append(&Value::Bytes(vec![0xff])), Err(Flaw::BadText));
    assert_eq!(builder.append(&bytes("a")), Ok(()));
}

#[test]
fn a_flag_is_0_or_1_and_a_declared_decimal_fits() {
    let made = |declared: &str, base: &str, to: DeclaredType| {
        let (precision, scale) = (Some(20), Some(9));
        let (declared, base) = (declared.to_owned(), base.to_owned());
        let column =
            RemoteColumn { name: "c".into(), declared, base, precision, scale, ..RemoteColumn::default() };
        (RETYPING.field)(&field(&column, ZeroDates::Error), to).unwrap()
    };
    let flag = made("tinyint(1)", "tinyint", DeclaredType::Bool);
    let mut builder = Builder::of(&flag).unwrap();
    for (value, expected) in [
        (Value::Int(1), Ok(())),
        (Value::UInt(0), Ok(())),
        (Value::NULL, Ok(())),
        (Value::Int(2), Err(Flaw::NoFlag)),
        (Value::Int(-1), Err(Flaw::NoFlag)),
        (Value::Double(1.0), Err(Flaw::OtherKind)),
    ] {
        assert_eq!(builder.append(&value), expected, "{value:?}");
    }
    let read: Vec<Option<bool>> = builder.finish().as_boolean().iter().collect();
    assert_eq!(read, [Some(true), Some(false), None]);
    let decimal = made("decimal(20,9)", "decimal", DeclaredType::Numeric(6, 2));
    for (field, flaw, message, hint) in [
        (
            flag,
            Flaw::NoFlag,
            "a value of column \"ops.t.c\" is neither 0 nor 1, and the column is declared bool",
            "take columns: {t.c: \"bool\"} from source \"ops\" to read the column's numbers",
        ),
        (
            decimal,
            Flaw::OutOfRange,
            "a value of column \"ops.t.c\" does not fit its type",
            "correct columns: {t.c: \"numeric(6,2)\"} of source \"ops\": the column is decimal(20,9) there",
        ),
    ] {
        let decoder = decoder(vec![field], ZeroDates::Error);
        let whole = Fragment::whole(Arc::clone(&decoder.table));
        let error = decoder.reading(&whole).misfit(0, flaw);
        assert_eq!((error.message.as_str(), error.hint.as_deref()), (message, Some(hint)));
    }
}

#[test]
fn what_was_announced_must_be_what_was_promised() {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let decoder = decoder(vec![Field::new("at", instant, true)], ZeroDates::Error);
    decoder.expect(&[Column::new(ColumnType::MYSQL_TYPE_TIMESTAMP)]).unwrap();
    let error = decoder.expect(&[Column::new(ColumnType::MYSQL_TYPE_DATETIME)]).unwrap_err();
    assert_eq!(error.message, "table \"ops.t\" has changed: \"at\" differ from what was known");
    assert!(decoder.expect(&[]).is_err());
    let small = RemoteColumn { name: "c".into(), base: "tinyint".into(), ..RemoteColumn::default() };
    let flag = (RETYPING.field)(&field(&small, ZeroDates::Error), DeclaredType::Bool).unwrap();
    let decoder = self::decoder(vec![flag], ZeroDates::Error);
    decoder.expect(&[Column::new(ColumnType::MYSQL_TYPE_TINY)]).unwrap();
    assert!(decoder.expect(&[Column::new(ColumnType::MYSQL_TYPE_BIT)]).is_err());
}
