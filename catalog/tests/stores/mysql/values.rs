//! Every extreme value arrives exactly, with its type, or is refused by name.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use portolan_catalog::federation::Fragment;
use portolan_catalog::mysql::ZeroDates;
use portolan_catalog::source::{PG_TYPE_KEY, SOURCE_TYPE_KEY, SourceErrorKind};

use super::fixture::{Database, read, shown, table};

#[tokio::test]
async fn every_extreme_arrives_exactly() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE n (k INT PRIMARY KEY, i8 TINYINT, u8 TINYINT UNSIGNED, i16 SMALLINT, u16 SMALLINT UNSIGNED,
               i24 MEDIUMINT, u24 MEDIUMINT UNSIGNED, i32 INT, u32 INT UNSIGNED ZEROFILL, i64 BIGINT,
               u64 BIGINT UNSIGNED, flag TINYINT(1), d DECIMAL(38,20), w DECIMAL(65,30), f FLOAT, g DOUBLE,
               b1 BIT(1), b64 BIT(64), y YEAR);
             INSERT INTO n VALUES
               (1, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807,
                18446744073709551615, 7, 999999999999999999.99999999999999999999,
                99999999999999999999999999999999999.999999999999999999999999999999, 3.4028234e38,
                1.7976931348623157e308, 1, 18446744073709551615, 2155),
               (2, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 9007199254740993, 0,
                -999999999999999999.99999999999999999999,
                -99999999999999999999999999999999999.999999999999999999999999999999, 1e-45, 4.9e-324, 0, 0, 0),
               (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                NULL, NULL);
",
        )
        .await;
    let source = database.source();
    let numbers = table(&source, "n").await;
    let types: Vec<DataType> = numbers.arrow.fields().iter().map(|field| field.data_type().clone()).collect();
    use DataType::{Boolean, Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64, UInt64};
    assert_eq!(
        types,
        [
            Int32,
            Int16,
            Int16,
            Int16,
            Int32,
            Int32,
            Int32,
            Int32,
            Int64,
            Int64,
            UInt64,
            Int16,
            Decimal128(38, 20),
            Decimal256(65, 30),
            Float32,
            Float64,
            Boolean,
            UInt64,
            Int16
        ]
    );
    assert_eq!(numbers.arrow.field(8).metadata()[SOURCE_TYPE_KEY], "int(10) unsigned zerofill");
    let rows = shown(&read(&source, &Fragment::whole(numbers)).await.unwrap());
    assert_eq!(
        rows,
        [
            "1|127|255|32767|65535|8388607|16777215|2147483647|4294967295|9223372036854775807|18446744073709551615|7|\
             999999999999999999.99999999999999999999|\
             99999999999999999999999999999999999.999999999999999999999999999999|3.4028235e38|1.7976931348623157e308|\
             true|18446744073709551615|2155",
            "2|-128|0|-32768|0|-8388608|0|-2147483648|0|-9223372036854775808|9007199254740993|0|\
             -999999999999999999.99999999999999999999|\
             -99999999999999999999999999999999999.999999999999999999999999999999|1e-45|5e-324|false|0|0",
            "3|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅|∅",
        ]
    );
    database.finish().await;
}

#[tokio::test]
async fn texts_bytes_and_documents_arrive_exactly() {
    let mut database = Database::new().await;
    let maria = database.is_maria().await;
    let (uuid, inet6) = if maria { ("UUID", "INET6") } else { ("CHAR(36)", "VARCHAR(45)") };
    database
        .run(&format!(
            "CREATE TABLE x (k INT PRIMARY KEY, v VARCHAR(60), c CHAR(6), l1 VARCHAR(20) CHARACTER SET latin1,
               ja VARCHAR(20) CHARACTER SET sjis, e ENUM('zeal','calm','anger'), s SET('x','y','z'), bl BLOB,
               bi BINARY(3), j JSON, u {uuid}, ip {inet6}, lt LONGTEXT, g POINT);
",
        ))
        .await;
    let texts = [
        "",
        "a",
        "a ",
        "Dakar",
        "ß",
        "É",
        "E\u{301}",
        "🚢",
        "'",
        "\"",
        "\\",
        "\\'",
        "%_`;--*/$x a.b",
        "x\ny\n",
        "nul\0byte",
    ];
    for (index, text) in texts.iter().enumerate() {
        use mysql_async::prelude::Queryable as _;
        database.admin.exec_drop("INSERT INTO x (k, v) VALUES (?, ?)", (index, *text)).await.unwrap();
    }
    database
        .run(
            "INSERT INTO x (k, c, l1, ja, e, s, bl, bi, j, u, ip, lt, g) VALUES
               (100, 'ab   ', 'é€', '港', 'calm', 'z,x', x'00ff27', x'01', '{\"a\":  1}',
                '123e4567-e89b-12d3-a456-426614174000', '::1', repeat('ä', 100000), ST_PointFromText('POINT(1 2)'));
",
        )
        .await;
    let source = database.source();
    let definition = table(&source, "x").await;
    let field = |name: &str| definition.arrow.field_with_name(name).unwrap();
    assert_eq!(field("j").metadata()[PG_TYPE_KEY], "jsonb");
    assert_eq!((field("u").data_type(), field("ip").data_type()), (&DataType::Utf8View, &DataType::Utf8View));
    assert_eq!((field("bl").data_type(), field("g").data_type()), (&DataType::Binary, &DataType::Binary));
    let session = database.session(ZeroDates::Error);
    let read_back = session.rows("SELECT v FROM x WHERE k < 100 ORDER BY k", true).await.unwrap();
    assert_eq!(read_back, texts);
    let row =
        session.rows("SELECT c, l1, ja, e, s, bl, bi, j, u, ip, length(lt) FROM x WHERE k = 100", true).await;
    // MariaDB's JSON is text; MySQL's is a value that it writes in its own way.
    let json = if maria { r#"{"a":  1}"# } else { r#"{"a": 1}"# };
    assert_eq!(
        row.unwrap(),
        [format!("ab|é€|港|calm|x,z|00ff27|010000|{json}|123e4567-e89b-12d3-a456-426614174000|::1|100000")]
    );
    database.finish().await;
}

/// A wall clock has no zone, an instant has; the writer's zone does not matter when reading.
#[tokio::test]
async fn trap_w11() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE w (k INT, dt DATETIME(6), ts TIMESTAMP(6) NULL, d DATE, t TIME(6));
             SET time_zone = '+05:00';
             INSERT INTO w VALUES (1, '2026-03-29 02:30:00.000001', '2026-03-29 02:30:00.000001', '2026-03-29', '24:00:00'),
               (2, '9999-12-31 23:59:59.999999', '1970-01-01 05:00:01', '9999-12-31', '-838:59:59'),
               (3, '0001-01-01', '2038-01-19 08:14:07.999999', '0001-01-01', '838:59:59.999999'),
               (4, '1969-12-31 23:59:59.999999', NULL, '1899-12-31', '-00:00:00.000001');
             SET time_zone = '+00:00';
",
        )
        .await;
    let source = database.source();
    let definition = table(&source, "w").await;
    let types: Vec<&DataType> =
        definition.arrow.fields().iter().skip(1).map(|field| field.data_type()).collect();
    assert_eq!(
        types,
        [
            &DataType::Timestamp(TimeUnit::Microsecond, None),
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            &DataType::Date32,
            &DataType::Interval(IntervalUnit::MonthDayNano),
        ]
    );
    let session = database.session(ZeroDates::Error);
    let rows = session.rows("SELECT k, dt, ts, d FROM w ORDER BY k", true).await.unwrap();
    assert_eq!(
        rows,
        [
            "1|2026-03-29T02:30:00.000001|2026-03-28T21:30:00.000001Z|2026-03-29",
            "2|9999-12-31T23:59:59.999999|1970-01-01T00:00:01Z|9999-12-31",
            "3|0001-01-01T00:00:00|2038-01-19T03:14:07.999999Z|0001-01-01",
            "4|1969-12-31T23:59:59.999999|∅|1899-12-31",
        ]
    );
    // MySQL cuts what is longer when it is written.
    let maria = database.is_maria().await;
    let longest =
        if maria { "838 hours 59 mins 59.999999000 secs" } else { "838 hours 59 mins 59.000000000 secs" };
    let spans = session.rows("SELECT t FROM w ORDER BY k", true).await.unwrap();
    assert_eq!(spans, ["24 hours", "-838 hours -59 mins -59.000000000 secs", longest, "-0.000001000 secs"]);
    let found = session.same("SELECT k FROM w WHERE ts = timestamptz '2026-03-28 21:30:00.000001Z'").await;
    assert_eq!(found, ["1"]);
    assert_eq!(session.same("SELECT k FROM w WHERE dt > timestamp '2026-01-01 00:00:00'").await, ["1", "2"]);
    database.finish().await;
}

/// Zero and partial dates: an error that names the column, or null and counted, and filters agree.
#[tokio::test]
async fn trap_w19() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE z (k INT PRIMARY KEY, d DATE NOT NULL, n DATE, dt DATETIME, ts TIMESTAMP NULL);
             INSERT INTO z VALUES (1, '0000-00-00', '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'),
               (2, '2018-02-00', '2018-00-00', '2018-02-00 01:02:03', '2018-02-01 00:00:00'),
               (3, '2018-02-01', NULL, NULL, NULL), (4, '2019-01-01', '2019-01-01', '2019-01-01', '2019-01-01');
             CREATE TABLE z31 (d DATE);
             SET sql_mode = 'ALLOW_INVALID_DATES';
             INSERT INTO z31 VALUES ('2018-02-31');
             SET sql_mode = '';
",
        )
        .await;
    let source = database.source();
    for column in ["d", "n", "dt", "ts"] {
        let definition = table(&source, "z").await;
        let index = definition.arrow.index_of(column).unwrap();
        let fragment = Fragment { projection: vec![index], ..Fragment::whole(definition) };
        let error = read(&source, &fragment).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Data);
        assert_eq!(error.message, format!("a date of column \"ops.z.{column}\" has a zero month or day"));
    }
    let session = database.session(ZeroDates::Null);
    let rows = session.same("SELECT * FROM z ORDER BY k").await;
    assert_eq!(
        rows,
        [
            "1|∅|∅|∅|∅",
            "2|∅|∅|∅|2018-02-01T00:00:00Z",
            "3|2018-02-01|∅|∅|∅",
            "4|2019-01-01|2019-01-01|2019-01-01T00:00:00|2019-01-01T00:00:00Z",
        ]
    );
    assert!(session.sources[0].nulled_dates() >= 7, "{}", session.sources[0].nulled_dates());
    for (filter, expected) in [
        ("d IS NULL", vec!["1", "2"]),
        ("d IS NOT NULL", vec!["3", "4"]),
        ("NOT (d IS NULL)", vec!["3", "4"]),
        ("n IS NULL", vec!["1", "2", "3"]),
        ("d < date '2018-06-01'", vec!["3"]),
        ("NOT (d < date '2018-06-01')", vec!["4"]),
        ("d <> date '2018-02-01'", vec!["4"]),
        ("d NOT IN (date '2018-02-01', date '2018-02-02')", vec!["4"]),
        ("(d > date '2018-06-01') IS NOT TRUE", vec!["1", "2", "3"]),
        ("(d > date '2018-06-01') IS NULL", vec!["1", "2"]),
        ("dt IS NULL OR k = 4", vec!["1", "2", "3", "4"]),
        ("ts IS NULL", vec!["1", "3"]),
        ("d IS DISTINCT FROM date '2018-02-01'", vec!["1", "2", "4"]),
    ] {
        assert_eq!(session.same(&format!("SELECT k FROM z WHERE {filter}")).await, expected, "{filter}");
    }
    let impossible = session.rows("SELECT d FROM z31", true).await.unwrap_err();
    assert!(impossible.contains("a date of column \"ops.z31.d\" is in no calendar"), "{impossible}");
    database.finish().await;
}
