//! Groups, sums and top-N at the server: the same rows as here, the same refusals, and few documents on the wire.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::Int64Array;
use mongodb::bson::{Bson, Document, doc};
use portolan_catalog::Catalog;
use portolan_catalog::config::MongodbConfig;
use portolan_catalog::mongodb::MongodbSource;
use portolan_catalog::source::{Source as _, SourceName};

use super::predicates::{clean, predicate};
use super::streams::Proxy;
use super::{Fixture, numbered, server, session, shown};
use crate::dice::Dice;
use crate::shapes::top_n;

const STATEMENTS: u64 = 80;
const KEYS: [&str; 9] = ["i", "l", "s", "ok", "at", "d", "f", "o", "k"];

fn aggregate(dice: &mut Dice) -> String {
    let column = dice.pick(&KEYS);
    let number = dice.pick(&["i", "CAST(l AS decimal(38,0))", "k", "CAST(i AS bigint)"]);
    let ordered = dice.pick(&["i", "l", "s", "at", "d", "f"]);
    let call = match dice.roll(8) {
        0 => "count(*)".to_owned(),
        1 => format!("count({column})"),
        2 => format!("count(DISTINCT {column})"),
        3 => format!("min({ordered})"),
        4 => format!("max({ordered})"),
        _ => format!("sum({number})"),
    };
    if dice.roll(3) == 0 { format!("{call} FILTER (WHERE {})", predicate(dice, 1)) } else { call }
}

fn statement(dice: &mut Dice) -> String {
    let p = predicate(dice, 1);
    let (k, l) = (dice.pick(&KEYS), dice.pick(&KEYS));
    match dice.roll(5) {
        // Only the keys are shown: rows that tie at the cut may be any.
        0 => format!("SELECT {k} AS a, {l} AS b FROM t WHERE {p} {}", top_n(dice, &["a", "b"], 9)),
        1 => format!("SELECT {} AS x, {} AS y FROM t WHERE {p}", aggregate(dice), aggregate(dice)),
        2 => {
            let (x, y) = (aggregate(dice), aggregate(dice));
            format!("SELECT {k} AS k, {x} AS x, {y} AS y FROM t WHERE {p} GROUP BY {k}")
        }
        3 => format!("SELECT DISTINCT {k} AS a, {l} AS b FROM t WHERE {p}"),
        _ => {
            let call = dice.pick(&["count(*)", "sum(i)", "min(s)"]);
            let top = top_n(dice, &["c", k], 9);
            format!("SELECT {k}, {call} AS c FROM t WHERE {p} GROUP BY {k} {top}")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_sub_plans_never_change_the_rows() {
    let fixture = Fixture::start("").await;
    let keyed = clean().into_iter().zip(0_i32..).map(|(mut document, n)| {
        document.insert("k", n % 4);
        document
    });
    fixture.insert("t", numbered(keyed)).await;
    let (mut ordered, mut grouped) = (0, 0);
    for seed in 0..STATEMENTS {
        let sql = statement(&mut Dice(seed));
        fixture.rows(&sql).await;
        let leaf = fixture.leaf(&sql).await;
        ordered += usize::from(leaf.contains("$sort"));
        grouped += usize::from(leaf.contains("$group"));
    }
    assert!(ordered > 6 && grouped > 20, "{ordered} top-N, {grouped} groups");
    fixture.end().await;
}

#[tokio::test]
async fn each_shape_goes_down_in_stages() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", numbered(clean())).await;
    for (sql, sent) in [
        ("SELECT s FROM t ORDER BY s LIMIT 3", r#"{"$sort":{"portolan null 0":1,"s":1}},{"$limit":3}"#),
        ("SELECT s FROM t ORDER BY s DESC NULLS LAST LIMIT 3", r#"{"$sort":{"s":-1}},{"$limit":3}"#),
        (
            "SELECT s, count(*) FROM t GROUP BY s",
            r#"{"$group":{"_id":{"g0":{"$ifNull":["$s",null]}},"c0":{"$sum":1}}}"#,
        ),
        ("SELECT sum(i) FROM t", r#"{"$toDecimal":{"$toLong":{"$ifNull":["$i",null]}}}"#),
        ("SELECT count(DISTINCT s) FROM t", r#"{"$group":{"_id":{"k"#),
        (
            "SELECT count(*) FILTER (WHERE i > 5) FROM t",
            r#"{"$gt":[{"$ifNull":["$i",null]},{"$literal":5}]}"#,
        ),
        ("SELECT min(at), max(s) FROM t", r#""c1":{"$max":{"$ifNull":["$s",null]}}"#),
    ] {
        fixture.rows(sql).await;
        let leaf = fixture.leaf(sql).await;
        assert!(leaf.contains(sent), "{sql}\n{leaf}\nlacks {sent}");
    }
    for (sql, kept) in [
        ("SELECT f FROM t ORDER BY f LIMIT 3", "another place"),
        ("SELECT f, count(*) FROM t GROUP BY f", "-0 and 0 are one group"),
        ("SELECT sum(d) FROM t", "more digits"),
        ("SELECT sum(f) FROM t", "made here"),
        ("SELECT a.s FROM t a JOIN t b ON a.i = b._id", "$lookup matches missing"),
    ] {
        fixture.rows(sql).await;
        let leaf = fixture.leaf(sql).await;
        assert!(leaf.contains(kept), "{sql}\n{leaf}\nlacks {kept}");
    }
    let proved = fixture.source.executor().capabilities();
    assert!(proved.iter().all(|row| row.active && row.mismatch.is_none()), "{proved:#?}");
    assert!(proved.iter().filter(|row| row.proven_at.is_some()).count() > 8, "{proved:#?}");
    fixture.end().await;
}

/// `count(*)` reads no documents: one document of one number crosses the wire, whatever the collection holds.
#[tokio::test]
async fn trap_p4() {
    let proxy = Proxy::start().await;
    let fixture = Fixture::over(&proxy.address().to_string(), None, "").await;
    let filling = "x".repeat(10_000);
    fixture.insert("t", (0..1_000).map(|n| doc! { "_id": n, "n": n % 10, "filling": &filling })).await;
    fixture.source.tables().await.unwrap();
    fixture.leaf("SELECT count(*) FROM t").await;
    for (sql, expected) in [
        ("SELECT count(*) FROM t", "1000"),
        ("SELECT count(*) FROM t WHERE n < 3", "300"),
        ("SELECT n, count(*) FROM t GROUP BY n ORDER BY n DESC LIMIT 1", "9|100"),
    ] {
        let before = proxy.answered();
        assert_eq!(fixture.try_rows(sql, true).await.unwrap().join(" "), expected);
        let read = proxy.answered() - before;
        assert!(read < 20_000, "{sql}: {read} bytes of 10 MB");
    }
    fixture.end().await;
}

/// The sum of longs is exact where the server's own would become a double or an error.
#[tokio::test]
async fn trap_w22() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", numbered([i64::MAX, i64::MAX, i64::MAX, -1].map(|l| doc! { "l": l }))).await;
    let sql = "SELECT sum(CAST(l AS decimal(38,0))) FROM t";
    assert_eq!(fixture.rows(sql).await, ["27670116110564327420"]);
    assert!(fixture.leaf(sql).await.contains("$toDecimal"), "{}", fixture.leaf(sql).await);
    // Nothing to add is null, and one row all the same.
    assert_eq!(
        fixture.rows("SELECT sum(CAST(l AS decimal(38,0))), count(*), min(l) FROM t WHERE l = 7").await,
        ["∅|0|∅"]
    );
    // Four of these have a digit more than the server's decimals.
    let long = Bson::Decimal128("999999999999999999999999.9999999999".parse().unwrap());
    fixture.insert("u", numbered((0..4).map(|_| doc! { "d": long.clone() }))).await;
    fixture.catalog.refresh();
    let sql = "SELECT sum(d) FROM u";
    assert_eq!(fixture.rows(sql).await, ["3999999999999999999999999.9999999996"]);
    let leaf = fixture.leaf(sql).await;
    assert!(leaf.contains("more digits") && !leaf.contains("$sum"), "{leaf}");
    fixture.end().await;
}

/// A value that a local reading refuses is refused as well where the server judges by it, in the same words; a value
/// that only looks odd is read.
#[tokio::test]
async fn trap_w6_misfits_are_never_passed_over() {
    let columns = "{ name: _id, type: int4 }, { name: i, type: int4 }, { name: l, type: int8 }, { name: f, type: float8 }, \
        { name: d, type: 'numeric(12,2)' }, { name: s, type: text }, { name: ok, type: bool }, { name: at, type: timestamptz }, \
        { name: deep, type: int4, from: o.k }";
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let bad: [(&str, Document); 16] = [
        ("i", doc! { "i": "five" }),
        ("i", doc! { "i": 5.5 }),
        ("i", doc! { "i": 1_i64 << 40 }),
        ("i", doc! { "i": [5] }),
        ("l", doc! { "l": decimal("1E30") }),
        ("f", doc! { "f": (1_i64 << 53) + 1 }),
        ("f", doc! { "f": decimal("1.5") }),
        ("d", doc! { "d": decimal("0.001") }),
        ("d", doc! { "d": decimal("NaN") }),
        ("d", doc! { "d": decimal("10000000000") }),
        ("d", doc! { "d": 1.5 }),
        ("s", doc! { "s": 5 }),
        ("s", doc! { "s": "a\0b" }),
        ("ok", doc! { "ok": 1 }),
        ("at", doc! { "at": "2026-01-01" }),
        ("deep", doc! { "o": [{ "k": 5 }] }),
    ];
    let fixture = Fixture::start(&format!("tables: {{ t: {{ columns: [{columns}] }} }}")).await;
    let good = || doc! { "i": 5.0, "l": decimal("7"), "f": 3_i64, "d": 2, "s": "a", "ok": true, "o": { "k": 5_i64 } };
    for (column, mut misfit) in bad {
        misfit.insert("_id", 2);
        fixture.collection("t").delete_many(doc! {}).await.unwrap();
        fixture.insert("t", [doc! { "_id": 1 }, misfit.clone()]).await;
        fixture.collection("t").update_one(doc! { "_id": 1 }, doc! { "$set": good() }).await.unwrap();
        let constant = match column {
            "s" => "'zz'",
            "ok" => "false",
            "at" => "arrow_cast(0, 'Timestamp(Microsecond, Some(\"UTC\"))')",
            "d" => "CAST('9' AS DECIMAL(12,2))",
            "f" => "9.5",
            _ => "99",
        };
        for sql in [
            format!("SELECT _id FROM t WHERE {column} = {constant}"),
            format!("SELECT _id FROM t WHERE {column} <> {constant} AND _id = 1"),
            format!("SELECT count({column}) FROM t"),
            format!("SELECT {column}, count(*) FROM t GROUP BY {column}"),
            format!("SELECT count(*) FILTER (WHERE {column} = {constant}) FROM t"),
            format!("SELECT max({column}) FROM t"),
            format!("SELECT {column} FROM t ORDER BY {column} LIMIT 1"),
        ] {
            if column == "ok" && sql.contains("max(") {
                continue;
            }
            let refused = fixture.same(&sql).await;
            assert!(
                refused.as_ref().is_err_and(|error| error.contains(&format!("docs.t.{column}"))),
                "{sql}: {misfit}: {refused:?}"
            );
        }
    }
    fixture.collection("t").delete_many(doc! { "_id": 2 }).await.unwrap();
    for (sql, rows) in [
        ("SELECT _id FROM t WHERE i = 5 AND l = 7 AND f = 3.0 AND deep = 5", "1"),
        ("SELECT sum(i), count(DISTINCT l), min(d) FROM t", "5|1|2.00"),
    ] {
        assert_eq!(fixture.rows(sql).await, [rows], "{sql}");
        assert!(
            fixture.leaf(sql).await.contains("after a look for misfits in"),
            "{}",
            fixture.leaf(sql).await
        );
    }
    fixture.end().await;
}

/// A validator that allows the column's type only spares the look; one that merely warns does not.
#[tokio::test]
async fn a_validator_proves_types() {
    let fixture = Fixture::start("").await;
    for (name, action) in [("firm", "error"), ("lax", "warn")] {
        let schema = doc! { "$jsonSchema": { "properties": {
            "n": { "bsonType": "int" }, "s": { "bsonType": ["string", "null"] }, "x": { "bsonType": "number" },
        } } };
        let create = doc! { "create": name, "validator": schema, "validationAction": action };
        fixture.database().run_command(create).await.unwrap();
        fixture.insert(name, numbered([doc! { "n": 1, "s": "a", "x": 1.5 }, doc! { "n": 2 }])).await;
    }
    let look = "after a look for misfits in";
    for (sql, looked) in [
        ("SELECT count(s) FROM firm WHERE n > 1", false),
        ("SELECT count(s) FROM lax WHERE n > 1", true),
        ("SELECT n FROM firm WHERE x > 1.0", true),
    ] {
        fixture.rows(sql).await;
        let leaf = fixture.leaf(sql).await;
        assert_eq!(leaf.contains(look), looked, "{leaf}");
    }
    fixture.end().await;
}

/// Where misfits are null, nothing but conditions is judged there, and each null is counted.
#[tokio::test]
async fn where_misfits_are_null_groups_are_made_here() {
    let declared =
        "on_mismatch: null\ntables: { t: { columns: [{ name: _id, type: int4 }, { name: n, type: int4 }] } }";
    let fixture = Fixture::start(declared).await;
    fixture.insert("t", numbered([doc! { "n": 1 }, doc! { "n": "x" }, doc! { "n": 3 }])).await;
    for (sql, rows) in [
        ("SELECT n, count(*) FROM t GROUP BY n", "1|1 3|1 ∅|1"),
        ("SELECT n FROM t ORDER BY n NULLS FIRST LIMIT 2", "1 ∅"),
        ("SELECT count(n), sum(n) FROM t", "2|4"),
    ] {
        assert_eq!(fixture.rows(sql).await.join(" "), rows);
        let leaf = fixture.leaf(sql).await;
        assert!(!leaf.contains("$group") && !leaf.contains("$sort"), "{leaf}");
    }
    // Documents are counted there all the same.
    assert_eq!(fixture.rows("SELECT count(*) FROM t").await, ["3"]);
    assert!(fixture.leaf("SELECT count(*) FROM t").await.contains("$group"));
    let before = fixture.source.misfits();
    let batches = fixture.batches("SELECT count(n) FROM t", true).await.unwrap();
    let counted = batches[0].column(0).as_any().downcast_ref::<Int64Array>().unwrap();
    assert_eq!((counted.value(0), fixture.source.misfits() - before), (2, 1));
    fixture.end().await;
}

/// A collection that changes shape halfway: the sample's two ends show both shapes, and what only its middle holds is
/// refused by name, with push-down and without.
#[tokio::test]
async fn a_collection_that_changes_shape_halfway() {
    let fixture = Fixture::start("sample: 10").await;
    let early = (0..50).map(|n| doc! { "imo": n, "berth": "A" });
    let middle = [doc! { "imo": "none", "berth": "B" }];
    let late = (51..100).map(|n| doc! { "imo": i64::from(n), "berth": "C", "eta": n });
    fixture.insert("calls", numbered(early.chain(middle).chain(late))).await;
    assert_eq!(fixture.columns("calls").await, "_id Int32, imo Int64, berth Utf8View, eta Int32");
    // Without push-down every column is read, and the string with it.
    let counted = fixture.try_rows("SELECT count(eta), count(*) FROM calls", true).await.unwrap();
    assert_eq!(counted, ["49|100"]);
    let counted = fixture.try_rows("SELECT berth, count(*) FROM calls GROUP BY berth", true).await.unwrap();
    assert_eq!(counted, ["A|50", "B|1", "C|49"]);
    for sql in
        ["SELECT max(imo) FROM calls", "SELECT berth FROM calls WHERE imo > 98", "SELECT imo FROM calls"]
    {
        let refused = fixture.same(sql).await.unwrap_err();
        assert!(refused.contains("\"docs.calls.imo\""), "{sql}: {refused}");
    }
    fixture.end().await;
}

/// Two databases of one server are two sources: what joins them is two pipelines, each with its own filters.
#[tokio::test]
async fn trap_w13_two_databases_are_never_one_pipeline() {
    let (one, other) = (Fixture::start("").await, Fixture::start("").await);
    one.insert("t", numbered([doc! { "n": 1 }, doc! { "n": 2 }])).await;
    other.insert("t", numbered([doc! { "n": 2, "s": "other" }, doc! { "n": 3, "s": "third" }])).await;
    let (hosts, set) = server();
    let set = set.map_or_else(String::new, |set| format!("replica_set: {set}\n"));
    let yaml = format!("hosts: [\"{hosts}\"]\n{set}database: {}\n", other.name);
    let config: MongodbConfig = portolan_catalog::yaml::parse(Path::new("test"), &yaml).unwrap();
    let more = Arc::new(MongodbSource::open(SourceName::try_new("more").unwrap(), config).unwrap());
    let contexts = [one.source.executor().compute_context(), more.executor().compute_context()];
    assert!(contexts[0].is_some() && contexts[0] != contexts[1], "{contexts:?}");
    let catalog = Catalog::builder().add(Arc::clone(&one.source) as _).add(more).build().unwrap();
    let context = session(&catalog, "docs", &one.options);
    let sql = "SELECT a.n, b.s FROM docs.t a JOIN more.t b ON a.n = b.n WHERE a.n > 0 AND b.s <> 'third'";
    for pushdown in [true, false] {
        one.options.set_pushdown(pushdown);
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(shown(&rows), ["2|other"]);
    }
    one.options.set_pushdown(true);
    let plan = context.sql(&format!("EXPLAIN {sql}")).await.unwrap().collect().await.unwrap();
    let plan = shown(&plan).concat();
    let leaves: Vec<&str> = plan.lines().filter(|line| line.contains("FederatedScan")).collect();
    assert_eq!(leaves.len(), 2, "{plan}");
    for (source, filter) in
        [("source=docs", "\"n\":{\"$gt\":0"), ("source=more", "\"$nin\":[\"third\",null]")]
    {
        assert!(leaves.iter().any(|leaf| leaf.contains(source) && leaf.contains(filter)), "{plan}");
    }
    one.end().await;
    other.end().await;
}
