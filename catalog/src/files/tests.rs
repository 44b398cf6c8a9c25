//! The file source as a whole: declared tables, exact values, mismatches, records, versions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::functions::expr_fn::substring;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt;

use super::*;
use crate::federation::{Fragment, PushedFilter, QueryContext, Verdict};
use crate::source::{Source, SourceError, SourceErrorKind, SourceName, TableDef};

fn open(root: &Path, tables: &str) -> FilesSource {
    let tables: BTreeMap<String, FileTableConfig> = serde_saphyr::from_str(tables).unwrap();
    let config = FilesConfig { root: root.into(), schema: None, tables };
    FilesSource::open(SourceName::try_new("docs").unwrap(), config).unwrap()
}

async fn table(source: &FilesSource, name: &str) -> Arc<TableDef> {
    source.tables().await.unwrap().into_iter().find(|table| table.name == name).unwrap()
}

async fn read(source: &FilesSource, fragment: &Fragment) -> Result<String, String> {
    let context = Arc::new(QueryContext::default());
    let stream = source.executor().execute(fragment, context).await.map_err(|error| error.to_string())?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| error.to_string())?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

const EVENTS: &str = "
events:
  path: 'events/*.ndjson'
  format: ndjson
  columns:
    - { name: doc, type: jsonb, from: $ }
    - { name: id, type: int8 }
    - { name: draught, type: 'numeric(6,2)', from: context.draught }
    - { name: at, type: timestamptz, from: eventTime }
    - { name: imo, type: text, from: 'vessel.imo|ship.imo|imo', missing: ['0'] }
";

#[tokio::test]
async fn documents_keep_their_text_and_numbers_their_digits() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("events")).unwrap();
    std::fs::write(
        root.path().join("events/1.ndjson"),
        "{\"id\":9007199254740993,\"context\":{\"draught\":12.40},\"eventTime\":\"2025-08-21T18:47:00+02:00\",\"ship\":{\"imo\":9000001}}\n{\"id\":null,\"ship\":\"x\",\"vessel\":{\"imo\":0},\"imo\":\"TEMP00167\"}\n",
    )
    .unwrap();
    let source = open(root.path(), EVENTS);
    let table = table(&source, "events").await;
    assert_eq!(table.arrow.field(0).metadata()["portolan.pg_type"], "jsonb");
    let mut fragment = Fragment::whole(table);
    fragment.projection = vec![1, 2, 3, 4];
    assert_eq!(
        read(&source, &fragment).await.unwrap(),
        "\
+------------------+---------+----------------------+-----------+
| id               | draught | at                   | imo       |
+------------------+---------+----------------------+-----------+
| 9007199254740993 | 12.40   | 2025-08-21T16:47:00Z | 9000001   |
|                  |         |                      | TEMP00167 |
+------------------+---------+----------------------+-----------+"
    );
    fragment.projection = vec![0];
    fragment.limit = Some(1);
    assert!(
        read(&source, &fragment)
            .await
            .unwrap()
            .contains("{\"id\":9007199254740993,\"context\":{\"draught\":12.40}")
    );
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_an_error_naming_its_place_or_a_declared_null() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("events")).unwrap();
    let file = root.path().join("events/2.ndjson");
    for (line, expected) in [
        ("{\"id\":12.5}", "events/2.ndjson:2: column \"id\" is not a int8"),
        ("{\"context\":{\"draught\":1.234}}", "column \"draught\" is not a numeric(6,2)"),
        ("{\"eventTime\":\"2025-08-21 18:47\"}", "column \"at\" is not a timestamptz"),
        ("{\"eventTime\":\"294276-12-31T00:00:00Z\"}", "column \"at\" is out of range for timestamptz"),
        ("{\"id\":1", "events/2.ndjson:2: not a JSON object"),
    ] {
        std::fs::write(&file, format!("{{\"id\":1}}\n{line}\n")).unwrap();
        let strict = open(root.path(), EVENTS);
        let error = read(&strict, &Fragment::whole(table(&strict, "events").await)).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        let lenient = open(root.path(), &format!("{EVENTS}  on_mismatch: null\n"));
        let shown = read(&lenient, &Fragment::whole(table(&lenient, "events").await)).await.unwrap();
        assert_eq!(shown.lines().count(), 6, "{shown}");
    }
}

/// Whoever does not ask for a column is not told of a value in it that does not fit, nor counted for it; whoever does is,
/// by a condition too.
#[tokio::test]
async fn a_value_that_does_not_fit_fails_only_who_asks_for_its_column() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("events")).unwrap();
    let lines = "{\"id\":1,\"eventTime\":\"never\"}\n{\"id\":2}\n";
    std::fs::write(root.path().join("events/1.ndjson"), lines).unwrap();
    let source = open(root.path(), &format!("{EVENTS}  on_mismatch: error\n"));
    let mut fragment = Fragment::whole(table(&source, "events").await);
    fragment.projection = vec![4, 1];
    let shown = read(&source, &fragment).await.unwrap();
    assert!(shown.contains("| imo | id |") && shown.contains("|     | 2  |"), "{shown}");
    fragment.filters = vec![PushedFilter { expr: col("id").gt(lit(1_i64)), exact: true }];
    fragment.projection = vec![];
    let executor = source.executor();
    let context = Arc::new(QueryContext::default());
    let rows: Vec<RecordBatch> =
        executor.execute(&fragment, context).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    fragment.projection = vec![1];
    fragment.filters = vec![PushedFilter { expr: col("at").is_not_null(), exact: true }];
    let error = read(&source, &fragment).await.unwrap_err();
    assert!(error.contains("events/1.ndjson:1: column \"at\" is not a timestamptz"), "{error}");
    let lenient = open(root.path(), &format!("{EVENTS}  on_mismatch: null\n"));
    let mut fragment = Fragment::whole(table(&lenient, "events").await);
    fragment.projection = vec![1];
    read(&lenient, &fragment).await.unwrap();
    assert_eq!(lenient.mismatches(), 0);
}

#[tokio::test]
async fn xml_files_belong_by_root_tag_and_text_codes_are_null() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("due.xml"), "<A><G><N>X </N></G></A>").unwrap();
    std::fs::write(root.path().join("arrived.xml"), "<B><G><N>Y</N><T>17-AUG-2025 03:09</T></G><G/></B>")
        .unwrap();
    std::fs::write(
        root.path().join("wind.txt"),
        "#YY MM DD hh mm WSPD\n#yr mo dy hr mn m/s\n2015 12 31 23 10 7.8\n2015 12 31 23 20 99.0\n",
    )
    .unwrap();
    let source = open(
        root.path(),
        "
b:
  path: '*.xml'
  format: { xml: { root: B, row: G } }
  columns:
    - { name: n, type: text, from: N }
    - { name: t, type: timestamp, from: T, time_format: '%d-%b-%Y %H:%M' }
wind:
  path: '*.txt'
  format: { text: { header_lines: 2 } }
  columns:
    - { name: at, type: timestamp, from: 'YY MM DD hh mm', time_format: '%Y %m %d %H %M' }
    - { name: speed, type: float8, from: WSPD, missing: ['99.0'] }
",
    );
    assert_eq!(
        read(&source, &Fragment::whole(table(&source, "b").await)).await.unwrap(),
        "\
+---+---------------------+
| n | t                   |
+---+---------------------+
| Y | 2025-08-17T03:09:00 |
|   |                     |
+---+---------------------+"
    );
    assert_eq!(
        read(&source, &Fragment::whole(table(&source, "wind").await)).await.unwrap(),
        "\
+---------------------+-------+
| at                  | speed |
+---------------------+-------+
| 2015-12-31T23:10:00 | 7.8   |
| 2015-12-31T23:20:00 |       |
+---------------------+-------+"
    );
    let records: Vec<RawRecord> = source.records("wind").unwrap().try_collect().await.unwrap();
    assert_eq!(records[1].fields[5], ("WSPD".into(), Some("99.0".into())), "codes stay as received");
    assert_eq!(source.records("nowhere").err().unwrap().kind, SourceErrorKind::NotFound);
    let before = source.version().await.unwrap();
    std::fs::write(root.path().join("due.xml"), "<B><G><N>X </N></G></B>").unwrap();
    assert_ne!(source.version().await.unwrap(), before);
}

#[tokio::test]
async fn parquet_filters_are_exact_and_a_truncated_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]));
    for part in 0..2_i64 {
        let ids = datafusion::arrow::array::Int64Array::from_iter_values(part * 10..part * 10 + 10);
        let names: StringArray = (0..10).map(|n| (n % 3 != 0).then(|| format!("n{n}"))).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(names)]).unwrap();
        let file = std::fs::File::create(root.path().join(format!("{part}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let source = open(root.path(), "ais: { path: '*.parquet', format: parquet }");
    let ais = table(&source, "ais").await;
    assert_eq!(ais.row_estimate, Some(20));
    // Planning knows the values' ends before anybody has read the table.
    let told = source.executor().statistics(&ais).unwrap();
    assert_eq!((told.rows, told.columns["name"].nulls), (Some(20), 0.4));
    assert_eq!(told.columns["id"].bounds, [0_i64.into(), 19_i64.into()]);
    assert_eq!(told.columns["name"].bounds, ["n1".into(), "n8".into()]);
    assert_eq!(source.executor().gather_statistics(&ais).await.unwrap().as_ref(), Some(told.as_ref()));
    let part = substring(col("name"), lit(2_i64), lit(1_i64)).in_list(vec![lit("7"), lit("8")], false);
    assert_eq!(source.executor().verdict(&ais, &part), Verdict::Exact);
    let filters = vec![PushedFilter { expr: part, exact: true }];
    let parts = Fragment { filters, projection: vec![0], ..Fragment::whole(Arc::clone(&ais)) };
    assert_eq!(
        read(&source, &parts).await.unwrap(),
        "+----+\n| id |\n+----+\n| 7  |\n| 8  |\n| 17 |\n| 18 |\n+----+"
    );
    let mut fragment = Fragment::whole(ais);
    fragment.filters =
        vec![PushedFilter { expr: col("id").gt_eq(lit(8_i64)).and(col("name").is_not_null()), exact: true }];
    fragment.projection = vec![1];
    fragment.limit = Some(3);
    let text = source.executor().describe(&fragment);
    assert_eq!(
        text,
        "read parquet *.parquet columns (name) where id >= Int64(8) AND name IS NOT NULL limit 3"
    );
    assert_eq!(
        read(&source, &fragment).await.unwrap(),
        "+------+\n| name |\n+------+\n| n8   |\n| n1   |\n| n2   |\n+------+"
    );
    fragment.projection = vec![];
    fragment.limit = None;
    fragment.filters.clear();
    let stream = source.executor().execute(&fragment, Arc::default()).await.unwrap();
    let counted: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(counted.iter().map(RecordBatch::num_rows).sum::<usize>(), 20);
    let path = root.path().join("1.parquet");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let refused = source.executor().execute(&fragment, Arc::default()).await;
    let Err(error) = refused else { panic!("a truncated file was opened") };
    assert_eq!(error.kind, SourceErrorKind::Remote, "{error}");
    assert!(error.message.contains(".ais\"") && error.hint.is_some(), "{error}");
}

/// Times of day of every unit are one type, so that they can be compared with each other and with literals.
#[tokio::test]
async fn times_of_parquet_are_microseconds() {
    use datafusion::arrow::array::{Time32MillisecondArray, Time64MicrosecondArray, Time64NanosecondArray};
    use datafusion::arrow::datatypes::TimeUnit;
    use datafusion::common::ScalarValue;

    let root = tempfile::tempdir().unwrap();
    let schema = Arc::new(Schema::new(vec![
        Field::new("ns", DataType::Time64(TimeUnit::Nanosecond), true),
        Field::new("us", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("ms", DataType::Time32(TimeUnit::Millisecond), true),
    ]));
    let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
        Arc::new(Time64NanosecondArray::from(vec![Some(1_999), Some(86_399_999_999_999), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(1), Some(86_399_999_999), None])),
        Arc::new(Time32MillisecondArray::from(vec![Some(1), Some(86_399_999), None])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let file = std::fs::File::create(root.path().join("1.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let source = open(root.path(), "t: { path: '*.parquet', format: parquet }");
    let table = table(&source, "t").await;
    for field in table.arrow.fields() {
        assert_eq!(field.data_type(), &DataType::Time64(TimeUnit::Microsecond), "{field}");
    }
    let time = |micros: i64| lit(ScalarValue::Time64Microsecond(Some(micros)));
    for (expr, rows) in [
        (col("ns").eq(time(1)), 1),
        (col("ns").gt(time(1)), 1),
        (col("ns").eq(col("us")), 2),
        (col("ms").eq(time(1_000)), 1),
    ] {
        let filters = vec![PushedFilter { expr: expr.clone(), exact: true }];
        let fragment = Fragment { filters, ..Fragment::whole(Arc::clone(&table)) };
        let stream = source.executor().execute(&fragment, Arc::default()).await.unwrap();
        let found: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{expr}");
    }
}

#[test]
fn declarations_that_cannot_be_right_are_refused() {
    for (tables, expected) in [
        (
            "t: { path: '../x', format: ndjson, columns: [{ name: a, type: text }] }",
            "below the source's root",
        ),
        ("t: { path: x, format: ndjson }", "declares no columns"),
        (
            "t: { path: x, format: ndjson, columns: [{ name: a, type: text }, { name: a, type: text }] }",
            "twice",
        ),
        (
            "t: { path: x, format: ndjson, columns: [{ name: a, type: text }], primary_key: [b] }",
            "no column \"b\"",
        ),
    ] {
        let tables = serde_saphyr::from_str(tables).unwrap();
        let config = FilesConfig { root: "/".into(), schema: None, tables };
        let error: SourceError = FilesSource::open(SourceName::try_new("docs").unwrap(), config).unwrap_err();
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[tokio::test]
async fn a_missing_root_costs_only_its_own_queries() {
    let source = open(Path::new("/nonexistent/root"), EVENTS);
    let events = table(&source, "events").await;
    assert_eq!(source.check().await.state, crate::source::HealthState::Down);
    let error = source.executor().execute(&Fragment::whole(events), Arc::default()).await.err().unwrap();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
}

/// Feeds written by other people's systems; they are not part of the repository.
#[tokio::test]
async fn real_feeds_are_read_whole() {
    let folder = std::env::var_os("PORTOLAN_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        std::path::PathBuf::from,
    );
    let shared = folder.join("real");
    assert!(
        shared.is_dir(),
        "the real feeds are not at \"{}\": set PORTOLAN_SHARED_DATA to the folder that holds real/",
        shared.display()
    );
    let column = |name: &str| vec![ColumnConfig::new(name, name, ColumnType::Text)];
    let mut tables = BTreeMap::new();
    for (name, root) in [
        ("arrived", "RP05005IXML"),
        ("due", "RP04005IXML"),
        ("in_port", "RP06005IXML"),
        ("departed", "RP05505IXML"),
    ] {
        let format = FileFormat::Xml(XmlOptions { root: root.into(), row: "G_SQL1".into() });
        tables.insert(name.to_owned(), FileTableConfig::new("**/*.xml", format, column("CALL_SIGN")));
    }
    let format = FileFormat::Text(TextOptions { header_lines: 2 });
    tables.insert("winds".into(), FileTableConfig::new("ndbc_*.txt", format, column("WSPD")));
    let config = FilesConfig { root: shared, schema: None, tables };
    let source = FilesSource::open(SourceName::try_new("hk").unwrap(), config).unwrap();
    for (name, expected) in
        [("arrived", 93), ("due", 158), ("in_port", 70), ("departed", 84), ("winds", 28_468)]
    {
        let records: Vec<RawRecord> = source.records(name).unwrap().try_collect().await.unwrap();
        assert_eq!(records.len(), expected, "{name}");
        assert!(records.iter().all(|record| record.malformed.is_none()), "{name}");
    }
}

/// Files of a time long past, as most are when they are read.
fn many(root: &Path, count: usize, ending: &str, content: impl Fn(usize) -> Vec<u8>) {
    let long_past = std::time::SystemTime::now() - std::time::Duration::from_secs(3_600);
    std::fs::create_dir(root.join(ending)).unwrap();
    for n in 0..count {
        let path = root.join(ending).join(format!("{n:05}.{ending}"));
        std::fs::write(&path, content(n)).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_past).unwrap();
    }
}

const MANY: usize = 10_000;
/// Parquet files cost the engine more to open than to read.
const FEWER: usize = 1_000;

/// Ten thousand small files are each looked into once, not once a statement; the damaged one among them is named.
#[tokio::test]
async fn ten_thousand_documents_are_looked_into_once() {
    let root = tempfile::tempdir().unwrap();
    many(root.path(), MANY, "ndjson", |n| format!("{{\"id\":{n}}}\n").into_bytes());
    let source = open(
        root.path(),
        "{ t: { path: 'ndjson/*.ndjson', format: ndjson, columns: [{ name: id, type: int8 }] } }",
    );
    let fragment = Fragment::whole(table(&source, "t").await);
    let rows = read(&source, &fragment).await.unwrap();
    assert_eq!(rows.lines().count(), MANY + 4);
    let first = source.looked_into();
    assert_eq!(first, u64::try_from(MANY).unwrap());
    assert_eq!(read(&source, &fragment).await.unwrap(), rows);
    source.table_version("t").await.unwrap();
    source.tables().await.unwrap();
    assert_eq!(source.looked_into(), first);
    // One that changes is looked into again, each time: it is too young to be remembered.
    std::fs::write(root.path().join("ndjson/07000.ndjson"), "{\"id\":x}\n").unwrap();
    for more in 1..3 {
        let error = read(&source, &fragment).await.unwrap_err();
        assert!(error.contains("ndjson/07000.ndjson:1"), "{error}");
        assert_eq!(source.looked_into(), first + more);
    }
}

#[tokio::test]
async fn a_thousand_parquet_files_are_looked_into_once() {
    let root = tempfile::tempdir().unwrap();
    let batch = RecordBatch::try_from_iter([(
        "name",
        Arc::new(StringArray::from(vec!["Dakar"])) as datafusion::arrow::array::ArrayRef,
    )])
    .unwrap();
    let mut one = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut one, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    many(root.path(), FEWER, "parquet", |_| one.clone());
    let source = open(root.path(), "{ t: { path: 'parquet/*.parquet', format: parquet } }");
    let whole = table(&source, "t").await;
    assert_eq!(whole.row_estimate, Some(u64::try_from(FEWER).unwrap()));
    let fragment = Fragment { projection: vec![], ..Fragment::whole(whole) };
    let context = Arc::new(QueryContext::default());
    let count = async || -> Result<usize, String> {
        let executor = source.executor();
        let rows =
            executor.execute(&fragment, Arc::clone(&context)).await.map_err(|error| error.to_string())?;
        let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(|error| error.to_string())?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    };
    assert_eq!(count().await, Ok(FEWER));
    // Its footer, and its content for the digest.
    let twice = u64::try_from(2 * FEWER).unwrap();
    assert_eq!(source.looked_into(), twice);
    source.tables().await.unwrap();
    assert_eq!(count().await, Ok(FEWER));
    assert_eq!(source.looked_into(), twice);
    std::fs::write(root.path().join("parquet/00700.parquet"), &one[..one.len() / 2]).unwrap();
    let error = count().await.unwrap_err();
    assert!(error.contains("parquet/00700.parquet"), "{error}");
    let hidden = source.obstacle("docs", "t").await.unwrap();
    assert!(hidden.message.contains("parquet/00700.parquet"), "{hidden}");
}

/// A large file is read by several tasks, each row once; and a part of it in which no row passes is not read: here it
/// could not be, for it is overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_parquet_file_is_read_in_parts_and_only_where_rows_may_pass() {
    const ROWS: i64 = 200_000;
    let root = tempfile::tempdir().unwrap();
    let ids = Arc::new(Int64Array::from_iter_values(0..ROWS)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let place = root.path().join("t.parquet");
    let write = |group: i64| {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(usize::try_from(group).unwrap()))
            .set_dictionary_enabled(false)
            .build();
        let file = std::fs::File::create(&place).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap()
    };
    let found = async |source: &FilesSource, fragment: &Fragment| -> Result<Vec<i64>, String> {
        let context = Arc::new(QueryContext::default());
        let rows = source.executor().execute(fragment, context).await.map_err(|error| error.to_string())?;
        let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(|error| error.to_string())?;
        let mut ids = Vec::new();
        for batch in batches {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            ids.extend(column.values().iter().copied());
        }
        ids.sort_unstable();
        Ok(ids)
    };
    let text = "{ t: { path: 't.parquet', format: parquet } }";
    write(ROWS);
    let source = open(root.path(), text);
    let whole = Fragment::whole(table(&source, "t").await);
    assert_eq!(found(&source, &whole).await.unwrap(), (0..ROWS).collect::<Vec<_>>());
    let filters = vec![PushedFilter { expr: col("id").lt(lit(10_000_i64)), exact: true }];
    let some = Fragment { filters, ..whole.clone() };
    assert_eq!(found(&source, &some).await.unwrap(), (0..10_000).collect::<Vec<_>>());
    let limited = Fragment { limit: Some(9), ..some.clone() };
    assert_eq!(found(&source, &limited).await.unwrap().len(), 9);

    let groups = write(ROWS / 2);
    let column = groups.row_group(1).column(0);
    let (start, length) = column.byte_range();
    let mut bytes = std::fs::read(&place).unwrap();
    bytes[usize::try_from(start).unwrap()..][..usize::try_from(length).unwrap()].fill(0xff);
    std::fs::write(&place, bytes).unwrap();
    let source = open(root.path(), text);
    assert!(found(&source, &whole).await.is_err());
    assert_eq!(found(&source, &some).await.unwrap(), (0..10_000).collect::<Vec<_>>());
}
