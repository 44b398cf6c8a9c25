//! What a message becomes, and that push-down never changes the rows.

use rdkafka::message::{Header, OwnedHeaders};

use super::broker::{Sent, fill, topic};
use super::fixture::Fixture;

const CALLS: &str = "[{ name: id, type: int8 }, { name: ship, type: text, from: vessel.name },
  { name: eta, type: timestamptz }, { name: draught, type: 'numeric(6,2)' }, { name: raw, type: jsonb, from: more }]";

/// 2026-03-01 12:00:00.250 UTC
const NOON: i64 = 1_772_366_400_250;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_row_with_its_place_time_key_headers_and_fields() {
    let topic = topic(2, &[]).await;
    let headers = OwnedHeaders::new()
        .insert(Header { key: "source", value: Some("pilots \"A\"") })
        .insert(Header { key: "source", value: None::<&str> })
        .insert(Header { key: "sig", value: Some(&b"\xff\x00"[..]) });
    let big = r#"{"id": 9007199254740993, "vessel": {"name": "Åsa"}, "eta": "2026-03-01T14:00:00+02:00", "draught": 12.5, "more": [1, {"a": null}]}"#;
    let first = Sent { headers: Some(headers), ..Sent::value(0, big).at(NOON).key("k1") };
    let tombstone = Sent { value: None, ..Sent::value(1, "").at(NOON).key("k2") };
    fill(
        &topic,
        &[first, tombstone, Sent::value(1, "{\"id\": null}").at(NOON), Sent::value(1, "{}").at(NOON)],
    );
    let fixture = Fixture::table(&topic, CALLS);
    assert_eq!(
        fixture.rows("SELECT * FROM t").await.unwrap(),
        [
            "0|0|2026-03-01T12:00:00.250Z|6b31|[{\"key\": \"source\", \"value\": \"pilots \\\"A\\\"\"}, {\"key\": \"source\", \"value\": null}, {\"key\": \"sig\", \"base64\": \"/wA=\"}]|9007199254740993|Åsa|2026-03-01T12:00:00Z|12.50|[1, {\"a\": null}]",
            "1|0|2026-03-01T12:00:00.250Z|6b32|∅|∅|∅|∅|∅|∅",
            "1|1|2026-03-01T12:00:00.250Z|∅|∅|∅|∅|∅|∅|∅",
            "1|2|2026-03-01T12:00:00.250Z|∅|∅|∅|∅|∅|∅|∅",
        ]
    );
    assert_eq!(fixture.rows("SELECT count(*) FROM t").await.unwrap(), ["4"]);
    assert_eq!(fixture.rows("SELECT ship, _partition FROM t WHERE id > 1").await.unwrap(), ["Åsa|0"]);
    assert_eq!(fixture.query.as_of.snapshot().to_string(), "events.t=offsets:0@1,1@3");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_the_client_has_is_read() {
    let topic = topic(1, &[]).await;
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let messages: Vec<Sent> =
            (0..20).map(|n| Sent::value(0, format!("{{\"id\": {n}, \"codec\": \"{codec}\"}}"))).collect();
        super::broker::send(&super::broker::producer(&[("compression.type", codec)]), &topic, &messages);
    }
    let fixture = Fixture::table(&topic, "[{ name: id, type: int4 }, { name: codec, type: text }]");
    assert_eq!(
        fixture.rows("SELECT codec, count(*), sum(id) FROM t GROUP BY codec").await.unwrap(),
        ["gzip|20|190", "lz4|20|190", "none|20|190", "snappy|20|190"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn push_down_never_changes_the_rows() {
    let topic = topic(3, &[]).await;
    // Times run backwards now and then, so that their order is not that of the offsets.
    let messages: Vec<Sent> = (0..900)
        .map(|n: i64| {
            let time = NOON + n * 1_000 - (n % 7) * 5_000;
            Sent::value(i32::try_from(n % 3).unwrap(), format!("{{\"id\": {n}}}")).at(time)
        })
        .collect();
    fill(&topic, &messages);
    let fixture = Fixture::table(&topic, "[{ name: id, type: int8 }]");
    let mut matched = 0;
    for predicate in [
        "_partition = 1",
        "1 = _partition",
        "_partition IN (0, 2)",
        "_partition NOT IN (0, 2)",
        "_partition = 7",
        "_partition > 0",
        "_offset = 5",
        "_offset >= 290",
        "_offset < 3 OR _offset > 297",
        "_offset BETWEEN 10 AND 12 AND _partition = 2",
        "_offset IN (1, 299, 300)",
        "_offset > 5 AND _offset < 5",
        "_offset < 0",
        "_offset <> 5 AND _offset <= 6",
        "_timestamp >= TIMESTAMPTZ '2026-03-01 12:10:00Z'",
        "_timestamp > TIMESTAMPTZ '2026-03-01 12:10:00.250Z'",
        "_timestamp = TIMESTAMPTZ '2026-03-01 12:10:00.250Z'",
        "_timestamp < TIMESTAMPTZ '2026-03-01 12:02:00Z'",
        "_timestamp BETWEEN TIMESTAMPTZ '2026-03-01 12:05:00Z' AND TIMESTAMPTZ '2026-03-01 12:06:00Z'",
        "_timestamp >= TIMESTAMPTZ '2027-01-01 00:00:00Z'",
        "_timestamp >= TIMESTAMPTZ '1960-01-01 00:00:00Z' AND id % 100 = 0",
        "_timestamp >= TIMESTAMPTZ '2026-03-01 12:12:00Z' AND _partition = 0 AND _offset < 295",
        "id = 500",
        "id > 890 AND _partition = 1",
        "_key IS NULL AND _headers IS NULL AND id < 3",
    ] {
        let sql = format!("SELECT id, _partition, _offset, _timestamp FROM t WHERE {predicate}");
        let count = format!("SELECT count(*) FROM t WHERE {predicate}");
        fixture.options.set_pushdown(false);
        let expected = fixture.rows(&sql).await.unwrap();
        fixture.options.set_pushdown(true);
        assert_eq!(fixture.rows(&sql).await.unwrap(), expected, "{predicate}");
        assert_eq!(fixture.rows(&count).await.unwrap(), [expected.len().to_string()], "{predicate}");
        let limited = fixture.count(&format!("{sql} LIMIT 2")).await;
        assert_eq!(limited, expected.len().min(2), "{predicate}");
        matched += expected.len();
    }
    assert!(matched > 1_000, "the predicates match too little to prove anything: {matched}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_not_fetched() {
    let topic = topic(2, &[]).await;
    let messages: Vec<Sent> =
        (0..1_000).map(|n| Sent::value(n % 2, format!("{{\"id\": {n}}}")).at(NOON + i64::from(n))).collect();
    fill(&topic, &messages);
    let fixture = Fixture::table(&topic, "[{ name: id, type: int8 }]");
    for (sql, sent, rows) in [
        (
            "SELECT id FROM t WHERE _partition = 1 AND _offset >= 490",
            "partitions (1) from offset 490 columns (id)",
            10,
        ),
        ("SELECT id FROM t LIMIT 7", "columns (id) limit 7", 7),
        ("SELECT _offset FROM t WHERE _offset BETWEEN 3 AND 4", "from offset 3 before offset 5", 4),
        (
            "SELECT id FROM t WHERE _timestamp >= TIMESTAMPTZ '2026-03-01 12:00:01.150Z'",
            "from timestamp 2026-03-01T12:00:01.150Z",
            100,
        ),
    ] {
        let leaf = fixture.leaf("EXPLAIN ANALYZE", sql).await;
        assert!(leaf.contains("consume topic") && leaf.contains(sent), "{sql}\n{leaf}");
        assert!(leaf.contains(&format!("output_rows={rows},")), "{sql}\n{leaf}");
    }
    let nothing = fixture.leaf("EXPLAIN", "SELECT id FROM t WHERE _partition = 0 AND _partition = 1").await;
    assert!(nothing.contains("no message can match"), "{nothing}");
}

/// Messages are not in the order of their times, so the first one past a bound says nothing about those after it.
#[tokio::test(flavor = "multi_thread")]
async fn trap_w24() {
    let topic = topic(1, &[]).await;
    let messages: Vec<Sent> = [0, 1_000, 2_000, 5_000, 3_000, 6_000]
        .iter()
        .map(|after| Sent::value(0, format!("{{\"id\": {after}}}")).at(NOON - 250 + after))
        .collect();
    fill(&topic, &messages);
    let fixture = Fixture::table(&topic, "[{ name: id, type: int8 }]");
    for (predicate, expected) in [
        ("_timestamp < TIMESTAMPTZ '2026-03-01 12:00:04Z'", vec!["0", "1000", "2000", "3000"]),
        ("_timestamp <= TIMESTAMPTZ '2026-03-01 12:00:03Z'", vec!["0", "1000", "2000", "3000"]),
        (
            "_timestamp BETWEEN TIMESTAMPTZ '2026-03-01 12:00:02.500Z' AND TIMESTAMPTZ '2026-03-01 12:00:04Z'",
            vec!["3000"],
        ),
        ("_timestamp = TIMESTAMPTZ '2026-03-01 12:00:03Z'", vec!["3000"]),
        ("_timestamp >= TIMESTAMPTZ '2026-03-01 12:00:03Z'", vec!["3000", "5000", "6000"]),
    ] {
        let sql = format!("SELECT id FROM t WHERE {predicate}");
        assert_eq!(fixture.rows(&sql).await.unwrap(), expected, "{predicate}");
        let leaf = fixture.leaf("EXPLAIN", &sql).await;
        assert!(!leaf.contains("before offset"), "{predicate}\n{leaf}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_an_error_with_its_place_or_a_counted_null() {
    let topic = topic(2, &[]).await;
    fill(
        &topic,
        &[
            Sent::value(0, "{\"id\": 1, \"eta\": \"2026-03-01\"}"),
            Sent::value(1, "{\"id\": 2}"),
            Sent::value(1, "{\"id\": \"two\", \"eta\": \"soon\"}"),
            Sent::value(1, "not json"),
            Sent::value(1, "[1]"),
            Sent::value(1, "{\"id\": 3000000000}"),
        ],
    );
    let columns = "[{ name: id, type: int4 }, { name: eta, type: date }]";
    let strict = Fixture::table(&topic, columns);
    for (sql, expected) in [
        (
            "SELECT eta FROM t",
            "cannot read \"events.t.eta\" at partition 1, offset 1: column \"eta\" is not a date",
        ),
        ("SELECT id FROM t WHERE _offset = 1", "\"events.t.id\" at partition 1, offset 1"),
        ("SELECT id FROM t WHERE _offset = 2", "\"events.t\" at partition 1, offset 2: not a JSON object"),
        ("SELECT id FROM t WHERE _offset = 3", "\"events.t\" at partition 1, offset 3: not a JSON object"),
        ("SELECT id FROM t WHERE _offset = 4", "\"events.t.id\" at partition 1, offset 4"),
    ] {
        let error = strict.rows(sql).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("soon"), "{sql}: {error}");
    }
    assert_eq!(strict.rows("SELECT count(*) FROM t").await.unwrap(), ["6"]);
    assert_eq!(strict.source.mismatches(), 0);
    let lenient =
        Fixture::new(&format!("{{ t: {{ topic: {topic}, on_mismatch: null, columns: {columns} }} }}"));
    assert_eq!(
        lenient.rows("SELECT _partition, _offset, id, eta FROM t").await.unwrap(),
        ["0|0|1|2026-03-01", "1|0|2|∅", "1|1|∅|∅", "1|2|∅|∅", "1|3|∅|∅", "1|4|∅|∅"]
    );
    // Two values of one message, two whole messages, one value.
    assert_eq!(lenient.source.mismatches(), 5);
}
