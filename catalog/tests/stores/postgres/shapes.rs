//! Generated statements of every shape that may go down whole, run with push-down on and off.

use super::fixture::Fixture;
use crate::dice::Dice;
use crate::shapes::{self, Operands, top_n};

const STATEMENTS: u64 = 250;

const KEYS: [&str; 15] =
    ["i2", "i4", "i8", "txt", "vc", "bp", "n", "u", "f", "ok", "day", "at", "seen", "m", "dic"];
const PREDICATES: [&str; 9] =
    ["true", "i4 > 0", "txt < 'b'", "n <= 7", "ok", "m = 'calm'", "day IS NOT NULL", "vc <> 'a'", "f > 1.0"];

fn aggregate(dice: &mut Dice) -> String {
    let operands = Operands {
        any: &KEYS,
        numbers: &["i2", "i4", "n", "CAST(i8 AS decimal(38,0))"],
        // Floats have a test of their own: the engine's bare `min` of groups knows neither NaN nor infinities.
        ordered: &["i2", "i8", "txt", "vc", "bp", "n", "u", "day", "at", "seen", "m"],
        conditions: &PREDICATES,
    };
    shapes::aggregate(dice, &operands)
}

fn statement(dice: &mut Dice) -> String {
    let (p, q) = (dice.pick(&PREDICATES), dice.pick(&PREDICATES));
    let (k, l) = (dice.pick(&KEYS), dice.pick(&KEYS));
    match dice.roll(9) {
        // Only the keys are shown: rows that tie at the cut may be any.
        0 | 1 => format!("SELECT {k} AS a, {l} AS b FROM t WHERE {p} {}", top_n(dice, &["a", "b"], 6)),
        2 => format!("SELECT {} AS x, {} AS y FROM t WHERE {p}", aggregate(dice), aggregate(dice)),
        3 => {
            let (x, y) = (aggregate(dice), aggregate(dice));
            format!("SELECT {k} AS k, {x} AS x, {y} AS y FROM t WHERE {p} GROUP BY {k}")
        }
        4 => format!("SELECT DISTINCT {k} AS a, {l} AS b FROM t WHERE {p}"),
        5 => {
            let call = dice.pick(&["count(*)", "sum(i4)", "min(txt)"]);
            let top = top_n(dice, &["c", k], 6);
            format!("SELECT {k}, {call} AS c FROM t WHERE {p} GROUP BY {k} {top}")
        }
        6 => {
            let join = dice.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            format!(
                "SELECT t.txt, b.code, b.depth FROM t {join} berth b ON t.i4 = b.id WHERE {p} OR b.id = 7"
            )
        }
        7 => {
            let test = dice.pick(&["IN", "NOT IN"]);
            let (column, inner) = (dice.pick(&["i4", "txt"]), dice.roll(2));
            let inner = match (column, inner) {
                ("i4", 0) => "SELECT id FROM berth",
                ("i4", _) => "SELECT i4 FROM t WHERE i4 > 0",
                (_, 0) => "SELECT name FROM mark WHERE weight > 1",
                _ => "SELECT zone FROM berth",
            };
            format!("SELECT i4, txt FROM t WHERE {column} {test} ({inner}) AND ({q})")
        }
        _ => format!(
            "SELECT b.zone, count(*), max(w.weight), sum(t.n) FROM t JOIN berth b ON t.i4 = b.id \
             LEFT JOIN mark w ON w.name = t.txt WHERE {p} GROUP BY b.zone"
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_sub_plans_never_change_rows_or_types() {
    let fixture = Fixture::start().await;
    let (mut ordered, mut grouped, mut joined) = (0, 0, 0);
    for seed in 0..STATEMENTS {
        let sql = statement(&mut Dice(seed));
        let leaves = fixture.same(&sql).await.join("\n");
        ordered += usize::from(leaves.contains(" ORDER BY "));
        grouped += usize::from(leaves.contains(" GROUP BY ") || leaves.contains("count("));
        joined += usize::from(leaves.contains(" JOIN ") || leaves.contains("EXISTS ("));
    }
    assert!(ordered > 30 && grouped > 60 && joined > 15, "{ordered} top-N, {grouped} groups, {joined} joins");
    fixture.stop().await;
}

/// The one leaf of a statement that goes down whole.
async fn whole(fixture: &Fixture, sql: &str) -> String {
    let leaves = fixture.same(sql).await;
    assert_eq!(leaves.len(), 1, "{sql}: {leaves:#?}");
    leaves.concat()
}

#[tokio::test]
async fn each_shape_goes_down_as_one_statement() {
    let fixture = Fixture::start().await;
    for (sql, sent) in [
        (
            "SELECT txt FROM t WHERE i4 > 0 ORDER BY txt DESC LIMIT 3",
            "WHERE (\"i4\" > (0)) ORDER BY \"txt\" COLLATE \"C\" DESC NULLS FIRST LIMIT 3",
        ),
        (
            "SELECT bucket, count(*), sum(amount) FROM many GROUP BY bucket",
            "SELECT \"bucket\", count(*), (sum(\"amount\"))::numeric FROM",
        ),
        (
            "SELECT count(DISTINCT label) FROM many WHERE bucket < 5",
            "SELECT count(DISTINCT \"label\") FROM \"port\".\"many\" WHERE",
        ),
        ("SELECT DISTINCT label FROM many", "SELECT \"label\" FROM \"port\".\"many\" GROUP BY \"label\""),
        (
            "SELECT bucket, count(*) AS c FROM many GROUP BY bucket ORDER BY c DESC, bucket LIMIT 3",
            "GROUP BY \"bucket\" ORDER BY count(*) DESC NULLS FIRST, \"bucket\" ASC NULLS LAST LIMIT 3",
        ),
        (
            "SELECT t.txt, b.code FROM t LEFT JOIN berth b ON t.i4 = b.id",
            "LEFT JOIN \"port\".\"berth\" AS t1 ON t0.\"i4\" = t1.\"id\"",
        ),
        (
            "SELECT b.zone, max(t.i2) FROM t JOIN berth b ON t.i4 = b.id GROUP BY b.zone",
            "JOIN \"port\".\"berth\" AS t1 ON t0.\"i4\" = t1.\"id\"",
        ),
        (
            "SELECT txt FROM t WHERE EXISTS (SELECT 1 FROM berth b WHERE b.id = t.i4)",
            "EXISTS (SELECT 1 FROM \"port\".\"berth\"",
        ),
        (
            "SELECT txt FROM t WHERE NOT EXISTS (SELECT 1 FROM berth b WHERE b.id = t.i4)",
            "NOT EXISTS (SELECT 1 FROM \"port\".\"berth\"",
        ),
        ("SELECT t.txt FROM t JOIN berth b ON t.i4 = b.id LIMIT 100", "LIMIT 100"),
    ] {
        let leaf = whole(&fixture, sql).await;
        assert!(leaf.contains(sent), "{sql}\n{leaf}\nlacks {sent}");
    }
    // What may multiply rows is joined here, with the reason.
    let leaves = fixture
        .same("SELECT x.id FROM many x JOIN many y ON x.bucket = y.bucket WHERE x.id < 5 AND y.id < 500")
        .await;
    assert_eq!(leaves.len(), 2, "{leaves:#?}");
    assert!(leaves.concat().contains("more rows than its larger side"), "{leaves:#?}");
    // Two sources never share a statement, though one server has both.
    let leaves = fixture.same("SELECT m.label FROM many m JOIN side.few f ON m.id = f.id").await;
    assert_eq!(leaves.len(), 2, "{leaves:#?}");
    fixture.stop().await;
}

/// The least and the greatest of floats are found at the server: not-a-number is the largest, and a zero keeps its sign.
#[tokio::test]
async fn trap_w25_the_least_and_the_greatest_of_floats() {
    let fixture = Fixture::start().await;
    let zeros = "CREATE TABLE port.zeros (k int4, f float8, r float4); INSERT INTO port.zeros VALUES \
                 (1, 0, 0), (1, '-0', '-0'), (2, '-0', '-0'), (3, 0, 0), (4, 'NaN', 'NaN'), (4, '-0', '-0'), \
                 (5, '-Infinity', 1.5), (5, 'Infinity', -1.5), (6, NULL, NULL)";
    fixture.client.batch_execute(zeros).await.unwrap();
    for (condition, least, greatest) in [
        ("k = 1", "-0.0", "0.0"),
        ("k = 2", "-0.0", "-0.0"),
        ("k = 3", "0.0", "0.0"),
        ("k = 4", "-0.0", "NaN"),
        ("k = 5", "-inf", "inf"),
        ("k = 6", "∅", "∅"),
        ("k > 6", "∅", "∅"),
        ("k < 4", "-0.0", "0.0"),
        ("true", "-inf", "NaN"),
    ] {
        let sql = format!("SELECT min(f), max(f), count(f) FROM zeros WHERE {condition}");
        let leaf = whole(&fixture, &sql).await;
        assert!(leaf.contains("min(\"f\")") && leaf.contains("::text <> '-0'"), "{sql}\n{leaf}");
        let rows = fixture.run(&sql, true).await.unwrap().rows;
        assert!(rows[0].starts_with(&format!("{least}|{greatest}|")), "{sql}: {rows:?}");
        let sql =
            format!("SELECT min(r) FILTER (WHERE k <> 3), max(r), count(r) FROM zeros WHERE {condition}");
        assert!(whole(&fixture, &sql).await.contains("'::float4"), "{sql}");
    }
    fixture.stop().await;
}
