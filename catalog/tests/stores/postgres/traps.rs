//! What went wrong elsewhere, on PostgreSQL: one test a trap, named by its id.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::common::collect;
use portolan_catalog::federation::FederatedScanExec;

use super::fixture::Fixture;

#[tokio::test]
async fn trap_w2_top_n_places_nulls_by_word() {
    let fixture = Fixture::start().await;
    for key in ["seen", "i4", "txt", "f", "n", "day", "m"] {
        for way in ["ASC", "DESC"] {
            for nulls in ["", " NULLS FIRST", " NULLS LAST"] {
                let sql = format!("SELECT {key} FROM t ORDER BY {key} {way}{nulls} LIMIT 5");
                let leaves = fixture.same_order(&sql).await.concat();
                assert!(leaves.contains(" NULLS ") && leaves.contains(" LIMIT 5"), "{sql}: {leaves}");
            }
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w12_text_order_is_bytes_whoever_sorts() {
    let fixture = Fixture::start().await;
    for column in ["dic", "lo", "txt", "bp"] {
        let top = format!("SELECT {column} FROM t ORDER BY {column} LIMIT 4");
        // In what is sent: the note beside it says so as well.
        let leaf = fixture.same_order(&top).await.concat();
        assert!(leaf.contains("COLLATE \"C\" ASC NULLS LAST LIMIT 4"), "{leaf}");
        let least = format!("SELECT min({column}), max({column}) FROM t");
        let leaf = fixture.same(&least).await.concat();
        for call in ["min(\"", "max(\""] {
            let sent = leaf.split_once(call).and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
            assert!(sent.ends_with("::text COLLATE \"C\""), "{leaf}");
        }
        fixture.same(&format!("SELECT {column}, count(*) FROM t GROUP BY {column}")).await;
        fixture.same(&format!("SELECT count(DISTINCT {column}) FROM t")).await;
    }
    // Two columns of different collations have no order in common there, unless it is named.
    let joined = "SELECT x.i4, y.i4 FROM t x JOIN t y ON x.lo = y.dic";
    fixture.same(joined).await;
    let leaf = fixture.same("SELECT i4 FROM t x WHERE EXISTS (SELECT 1 FROM t y WHERE x.lo = y.dic)").await;
    assert!(leaf.concat().contains("COLLATE \"C\" = "), "{leaf:#?}");
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w15_not_in_is_not_not_exists() {
    let fixture = Fixture::start().await;
    let sql = "SELECT id FROM berth WHERE id NOT IN (SELECT i4 FROM t)";
    let leaves = fixture.same(sql).await.concat();
    assert!(fixture.run(sql, true).await.unwrap().rows.is_empty());
    assert!(!leaves.contains("EXISTS ("), "{leaves}");
    let sql = "SELECT id FROM berth WHERE id NOT IN (SELECT i4 FROM t WHERE i4 IS NOT NULL)";
    fixture.same(sql).await;
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w16_division_and_rounding_of_floats_stay_here() {
    let fixture = Fixture::start().await;
    for sql in [
        "SELECT i4 FROM t WHERE i4 / CAST(0 AS double) > 1",
        "SELECT i4 FROM t WHERE f / f > 0.5",
        "SELECT i4 FROM t WHERE round(f) = 2",
        "SELECT i4 FROM t WHERE CAST(f AS real) = CAST(0.1 AS real)",
        "SELECT i4, f / 0, round(f) FROM t",
        "SELECT sum(f), avg(f) FROM t WHERE f BETWEEN 0.1 AND 2.0",
        "SELECT round(f), count(*) FROM t GROUP BY round(f)",
        "SELECT i4 FROM t ORDER BY round(f), i4 LIMIT 3",
    ] {
        let leaves = fixture.same(sql).await.concat();
        let sent = leaves.split(" kept: ").next().unwrap();
        for word in ["round", "/", "sum(", "avg(", "GROUP BY"] {
            let sent = sent.split(" sent: ").nth(1).unwrap();
            assert!(!sent.contains(word), "{sql}: {leaves}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w22_sums_are_exact_or_stay() {
    let fixture = Fixture::start().await;
    let leaf = fixture.same("SELECT sum(CAST(i8 AS decimal(38,0))) FROM t WHERE i8 > 1000").await.concat();
    assert!(leaf.contains("sum(\"i8\")"), "{leaf}");
    fixture.client.batch_execute("INSERT INTO port.t (i8) VALUES (9223372036854775807)").await.unwrap();
    let sum =
        fixture.run("SELECT sum(CAST(i8 AS decimal(38,0))) FROM t WHERE i8 > 9007199254740993", true).await;
    assert_eq!(sum.unwrap().rows, ["18446744073709551614"]);
    // A bigint sum that our engine would let wrap is not what the server would say: it stays.
    let leaf = fixture.same("SELECT sum(i8) FROM t").await.concat();
    assert!(!leaf.contains("sum(\"i8\")") && leaf.contains("a sum of type Int64"), "{leaf}");
    let leaf = fixture.same("SELECT sum(i4), sum(n) FROM t").await.concat();
    assert!(leaf.contains("(sum(\"i4\"))::int8, (sum(\"n\"))::numeric"), "{leaf}");
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w23_infinity_is_the_largest_and_no_part_of_it_is_sent() {
    let fixture = Fixture::start().await;
    for column in ["day", "at", "seen"] {
        let largest = format!("SELECT max({column}) FROM t");
        assert!(fixture.same(&largest).await.concat().contains("max("));
        fixture.same_order(&format!("SELECT {column} FROM t ORDER BY {column} DESC LIMIT 4")).await;
    }
    let leaf =
        fixture.same("SELECT i4 FROM t WHERE date_part('year', day) = 2026 AND day < date '9999-01-01'");
    let leaf = leaf.await.concat();
    assert!(!leaf.split(" kept: ").next().unwrap().contains("date_part"), "{leaf}");
    fixture.stop().await;
}

#[tokio::test]
async fn trap_e1_subqueries_in_every_place() {
    let fixture = Fixture::start().await;
    for sql in [
        "SELECT i4, (SELECT max(depth) FROM berth) FROM t",
        "SELECT i4, (SELECT max(b.depth) FROM berth b WHERE b.id = t.i4) FROM t",
        "SELECT i4 FROM t WHERE EXISTS (SELECT 1 FROM side.few f WHERE f.id > t.i4)",
        "SELECT i4 FROM t WHERE n > (SELECT avg(depth) FROM berth)",
        "SELECT txt FROM t WHERE i4 IN (SELECT id FROM berth WHERE zone IN (SELECT name FROM mark))",
        "SELECT id FROM side.few WHERE id IN (SELECT id FROM many WHERE bucket IN (SELECT i4 FROM t))",
    ] {
        fixture.same(sql).await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_e2_no_statement_panics_the_planner() {
    let fixture = Fixture::start().await;
    for sql in [
        "SELECT 1",
        "SELECT * FROM t WHERE false",
        "SELECT count(*) FROM t WHERE false",
        "SELECT count(*) FROM (SELECT DISTINCT i4, txt FROM t) x",
        "SELECT a.i4 FROM t a, t b, t c WHERE a.i4 = b.i4 AND b.i4 = c.i4 AND a.i4 = 7",
        "SELECT i4, row_number() OVER (ORDER BY i4, txt) FROM t",
        "SELECT i4 FROM t UNION SELECT id FROM berth UNION ALL SELECT bucket FROM many WHERE id < 3",
        "SELECT i4, count(*) FROM t GROUP BY GROUPING SETS ((i4), ())",
        "SELECT i4 FROM t ORDER BY i4 LIMIT 0",
        "SELECT i4 FROM t ORDER BY i4, txt LIMIT 3 OFFSET 100",
        "SELECT count(*) FROM (SELECT i4 FROM t ORDER BY i4, txt LIMIT 3) x JOIN berth b ON b.id = x.i4",
        "WITH x AS (SELECT i4, count(*) AS c FROM t GROUP BY i4) SELECT a.c, b.c FROM x a JOIN x b ON a.i4 = b.i4",
        "SELECT count(*) FILTER (WHERE i4 > 0), count(DISTINCT i4), count(DISTINCT txt) FROM t",
        "SELECT sum(i4) FROM t HAVING sum(i4) > 0",
        "SELECT b.id FROM berth b LEFT JOIN mark m ON b.zone = m.name LEFT JOIN t ON t.i4 = b.id ORDER BY b.id LIMIT 2",
        "SELECT 1 FROM t JOIN berth b ON t.i4 = b.id GROUP BY t.txt, b.zone HAVING count(*) > 1 LIMIT 5",
    ] {
        fixture.same(sql).await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_p2_thousands_of_keys_go_to_the_probe_side() {
    let fixture = Fixture::start().await;
    let sql = "SELECT sum(m.amount) FROM side.half h JOIN many m ON h.id = m.id";
    fixture.same(sql).await;
    let leaves = fixture.explain(&format!("EXPLAIN ANALYZE {sql}")).await;
    let probe = leaves.iter().find(|leaf| leaf.contains("source=ops")).unwrap();
    assert!(probe.contains("IN ("), "{probe}");
    assert!(probe.contains("output_rows=5.00 K") || probe.contains("output_rows=5000"), "{probe}");
    fixture.stop().await;
}

/// Two columns of one name below a join: what the outer join learns of one must not be asked of the other.
#[tokio::test]
async fn trap_p2_a_runtime_filter_finds_its_column_among_namesakes() {
    let fixture = Fixture::start().await;
    let script = "CREATE TABLE port.dup (id int4, k int4, day date);
        INSERT INTO port.dup VALUES (1, 2, NULL), (2, 9, '2026-01-01'), (3, 1, '2026-01-01');
        CREATE TABLE other.days (day date); INSERT INTO other.days VALUES ('2026-01-01');
        ANALYZE port.dup; ANALYZE other.days";
    fixture.client.batch_execute(script).await.unwrap();
    for (sql, rows) in [
        (
            "SELECT t2.id FROM dup t1 LEFT JOIN dup t2 ON t1.k = t2.id \
             WHERE NOT EXISTS (SELECT 1 FROM dup t3 WHERE t1.day = t3.day) AND t2.day IN (SELECT day FROM side.days)",
            ["2"],
        ),
        (
            "SELECT count(*) FROM (SELECT t1.day AS first, t2.day FROM dup t1 JOIN dup t2 ON t1.k = t2.id) x \
             WHERE x.day IN (SELECT day FROM side.days)",
            ["1"],
        ),
    ] {
        let leaves = fixture.same(sql).await;
        assert_eq!(fixture.run(sql, true).await.unwrap().rows, rows, "{sql} {leaves:#?}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_p5_a_selective_join_ships_only_what_joins() {
    let fixture = Fixture::start().await;
    let sql = "SELECT m.label FROM many m JOIN side.few f ON m.id = f.id";
    fixture.same(sql).await;
    let leaves = fixture.explain(&format!("EXPLAIN ANALYZE {sql}")).await;
    assert!(leaves.iter().all(|leaf| leaf.contains("output_rows=10,")), "{leaves:#?}");
    assert!(leaves.iter().all(|leaf| leaf.contains("as_of=")), "{leaves:#?}");
    fixture.stop().await;
}

#[tokio::test]
async fn an_empty_build_side_sends_no_statement_to_the_probe_source() {
    let fixture = Fixture::start().await;
    // A statement to this view would be an error, so none can have been sent.
    assert!(fixture.run("SELECT * FROM untouched", true).await.is_err());
    let sql = "SELECT u.bucket FROM side.none n JOIN untouched u ON u.id = n.id";
    assert_eq!(fixture.run(sql, true).await.unwrap().rows, Vec::<String>::new());
    fixture.stop().await;
}

#[tokio::test]
async fn trap_f9_more_leaves_than_connections() {
    let fixture = Fixture::start().await;
    let joins: String = (1..7).map(|n| format!(" JOIN many m{n} ON m0.id = m{n}.id + {n} - {n}")).collect();
    let sql = format!("SELECT count(*), sum(m6.bucket) FROM many m0{joins}");
    let counted = tokio::time::timeout(std::time::Duration::from_secs(60), fixture.run(&sql, true)).await;
    assert!(counted.unwrap().unwrap().rows.concat().starts_with("20000|"));
    let union: Vec<String> = (0..9).map(|n| format!("SELECT id FROM many WHERE bucket = {n}")).collect();
    let sql = format!("SELECT count(*) FROM ({})", union.join(" UNION ALL "));
    let counted = tokio::time::timeout(std::time::Duration::from_secs(60), fixture.run(&sql, true)).await;
    assert_eq!(counted.unwrap().unwrap().rows, ["1800"]);
    fixture.stop().await;
}

fn leaf_of(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if plan.is::<FederatedScanExec>() {
        return Arc::clone(plan);
    }
    plan.children().into_iter().map(leaf_of).next().unwrap()
}

#[tokio::test]
async fn trap_f13_a_leaf_read_twice_reads_the_same() {
    let fixture = Fixture::start().await;
    let plan = fixture.plan("SELECT bucket, sum(amount) FROM many WHERE id > 10 GROUP BY bucket").await;
    let leaf = leaf_of(&plan);
    let context = Arc::new(TaskContext::from(&fixture.context.state()));
    let mut answers = Vec::new();
    for _ in 0..2 {
        let batches = collect(leaf.execute(0, Arc::clone(&context)).unwrap()).await.unwrap();
        answers.push(batches.iter().map(|batch| batch.num_rows()).sum::<usize>());
    }
    assert_eq!(answers, [100, 100]);
    fixture.stop().await;
}
