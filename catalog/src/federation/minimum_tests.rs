//! What is told to be needed of a leaf is what was needed: of named shapes, and of any join in batches of any size.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, collect};
use proptest::prelude::*;

use super::order_tests::{Fixture, in_batches_of};
use super::{FragmentFigures, fragment_figures, tell_minimum};

impl Fixture {
    /// Runs a statement, and tells of its leaves what was needed.
    async fn told(&self, sql: &str) -> Arc<dyn ExecutionPlan> {
        let plan = self.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        collect(Arc::clone(&plan), self.context.task_ctx()).await.unwrap();
        tell_minimum(&plan, self.context.task_ctx().session_config().batch_size());
        plan
    }

    /// The leaf that reads a table.
    async fn leaf(&self, sql: &str, table: &str) -> FragmentFigures {
        let plan = self.told(sql).await;
        fragment_figures(&plan).into_iter().find(|leaf| leaf.sent == table).unwrap()
    }

    /// The numbers of a statement's only row.
    async fn numbers(&self, sql: &str) -> Vec<usize> {
        self.options.set_pushdown(false);
        let lines = self.lines(sql).await;
        self.options.set_pushdown(true);
        let cells = |line: &String| -> Option<Vec<usize>> {
            let cells = line.split('|').map(str::trim).filter(|cell| !cell.is_empty());
            cells.map(|cell| cell.parse().ok()).collect()
        };
        lines.iter().find_map(cells).unwrap()
    }
}

const OF_KIND_3: &str = "SELECT id FROM small WHERE kind = 'kind 3'";

#[tokio::test]
async fn a_leaf_tells_how_many_of_its_rows_were_needed_if_that_is_sure() {
    let fixture = in_batches_of(8_192);
    let of_kind_3 = |table: &str| format!("SELECT count(*) FROM {table} WHERE small_id IN ({OF_KIND_3})");
    let all = |table: &str| Some(format!("SELECT count(*) FROM {table}"));
    let kind_3 = "JOIN small s ON small_id = s.id WHERE s.kind = 'kind 3'";
    for (sql, table, needed) in [
        // Keys of the build side are unique: each row that came is one of the probe side.
        (format!("SELECT count(*) FROM large {kind_3}"), "large", Some(of_kind_3("large"))),
        (format!("SELECT DISTINCT v FROM large {kind_3}"), "large", Some(of_kind_3("large"))),
        (format!("SELECT v, count(*) FROM large {kind_3} GROUP BY v"), "large", Some(of_kind_3("large"))),
        (
            "SELECT l.id FROM large l JOIN small s ON l.small_id = s.id WHERE s.id = 4".to_owned(),
            "large",
            Some("SELECT count(*) FROM large WHERE small_id = 4".to_owned()),
        ),
        // How many of these had a row in large is not counted.
        (format!("SELECT count(*) FROM large {kind_3}"), "small", None),
        // Each row of it makes twenty, and who knows of which of them one is left.
        (
            "SELECT l.id FROM large l JOIN middle m ON l.small_id = m.small_id AND l.v < m.day".to_owned(),
            "large",
            None,
        ),
        // Whoever is kept without a partner is needed.
        (
            "SELECT m.id, s.kind FROM middle m LEFT JOIN small s ON m.small_id = s.id".to_owned(),
            "middle",
            all("middle"),
        ),
        (
            "SELECT s.id, m.id FROM small s LEFT JOIN middle m ON m.small_id = s.id".to_owned(),
            "small",
            all("small"),
        ),
        (
            "SELECT s.id, m.id FROM small s LEFT JOIN middle m ON m.small_id = s.id".to_owned(),
            "middle",
            Some("SELECT count(*) FROM middle WHERE small_id IN (SELECT id FROM small)".to_owned()),
        ),
        (
            "SELECT s.id, m.id FROM small s FULL JOIN middle m ON m.small_id = s.id".to_owned(),
            "small",
            all("small"),
        ),
        (
            "SELECT s.id, m.id FROM small s FULL JOIN middle m ON m.small_id = s.id".to_owned(),
            "middle",
            all("middle"),
        ),
        // Of semi- and anti-joins the rows that are left; what proves that there is no partner is not counted.
        (format!("SELECT id FROM large WHERE small_id IN ({OF_KIND_3})"), "large", Some(of_kind_3("large"))),
        (
            format!("SELECT id FROM middle m WHERE NOT EXISTS ({OF_KIND_3} AND small.id = m.small_id)"),
            "middle",
            Some(format!(
                "SELECT count(*) FROM middle m WHERE NOT EXISTS ({OF_KIND_3} AND small.id = m.small_id)"
            )),
        ),
        (
            format!("SELECT id FROM middle m WHERE NOT EXISTS ({OF_KIND_3} AND small.id = m.small_id)"),
            "small",
            None,
        ),
        (
            format!("SELECT id FROM middle WHERE small_id NOT IN ({OF_KIND_3})"),
            "middle",
            Some(format!("SELECT count(*) FROM middle WHERE small_id NOT IN ({OF_KIND_3})")),
        ),
        // Joins in an order of our own: the last table, and those before it where keys are unique both ways.
        (
            "SELECT l.id FROM large l JOIN middle m ON l.middle_id = m.id JOIN small s ON m.small_id = s.id \
             WHERE s.kind = 'kind 3'"
                .to_owned(),
            "large",
            Some(format!(
                "SELECT count(*) FROM large WHERE middle_id IN \
                 (SELECT id FROM middle WHERE small_id IN ({OF_KIND_3}))"
            )),
        ),
        (
            "SELECT l.id FROM large l JOIN middle m ON l.id = m.id JOIN small s ON m.small_id = s.id \
             WHERE s.kind = 'kind 3'"
                .to_owned(),
            "middle",
            Some(of_kind_3("middle")),
        ),
        // Groups that all survive need all rows; which rows a lost group had is not counted.
        ("SELECT v, count(*) FROM large GROUP BY v".to_owned(), "large", all("large")),
        ("SELECT v, count(*) FROM large GROUP BY v HAVING count(*) > 1".to_owned(), "large", all("large")),
        ("SELECT v, count(*) FROM large GROUP BY v HAVING count(*) > 727".to_owned(), "large", None),
        // A top-N looks at all rows, a limit takes what comes first.
        (
            "SELECT id FROM large WHERE v = 3 ORDER BY id LIMIT 5".to_owned(),
            "large",
            Some("SELECT count(*) FROM large WHERE v = 3".to_owned()),
        ),
        (
            "SELECT l.id FROM large l JOIN small s ON l.small_id = s.id WHERE s.id = 4 LIMIT 5".to_owned(),
            "large",
            Some("SELECT 5".to_owned()),
        ),
        ("SELECT v, count(*) FROM large GROUP BY v LIMIT 3".to_owned(), "large", None),
        ("SELECT id FROM small UNION ALL SELECT id FROM middle".to_owned(), "middle", all("middle")),
        ("SELECT s.id, m.id FROM small s CROSS JOIN middle m".to_owned(), "small", all("small")),
        ("SELECT s.id, m.id FROM small s JOIN middle m ON s.id < m.day".to_owned(), "middle", None),
        ("SELECT id FROM large WHERE v > (SELECT max(day) FROM middle)".to_owned(), "middle", all("middle")),
        ("SELECT id, rank() OVER (ORDER BY id) FROM middle".to_owned(), "middle", all("middle")),
        (
            "SELECT id FROM (SELECT id, rank() OVER (ORDER BY id) AS r FROM middle) WHERE r < 9".to_owned(),
            "middle",
            None,
        ),
    ] {
        let found = fixture.leaf(&sql, table).await.minimal.rows;
        let expected = match needed {
            Some(count) => fixture.numbers(&count).await.first().copied(),
            None => None,
        };
        assert_eq!(found, expected, "{table}: {sql}");
    }
}

#[tokio::test]
async fn bytes_count_only_for_columns_that_somebody_looks_at() {
    let fixture = in_batches_of(8_192);
    let sql = "SELECT id FROM large WHERE v = 3";
    fixture.options.set_pushdown(false);
    let leaf = fixture.leaf(sql, "large").await;
    assert_eq!((leaf.actual.rows, leaf.minimal.rows), (Some(8_000), Some(727)));
    let (all, least) = (leaf.actual.bytes.unwrap(), leaf.minimal.bytes.unwrap());
    // Both columns that are read, and 727 of 8,000 rows.
    let expected = all * 727 / 8_000;
    assert!(least.abs_diff(expected) * 20 < expected, "{least} of {all}, not about {expected}");
    fixture.options.set_pushdown(true);
    let leaf = fixture.leaf(sql, "large").await;
    assert_eq!(leaf.actual.rows, leaf.minimal.rows);
    assert_eq!(leaf.actual.bytes, leaf.minimal.bytes, "only what is needed was asked for");
    assert!(leaf.estimated.rows.is_some() && leaf.estimated.bytes.is_some());
    assert_eq!(leaf.estimated.bytes.map(|bytes| bytes % 8), Some(0), "whole numbers of eight bytes");
    let none = fixture.leaf("SELECT count(*) FROM large", "large").await;
    assert_eq!((none.minimal.rows, none.minimal.bytes), (Some(8_000), Some(0)), "rows are only counted");
}

#[tokio::test]
async fn explain_shows_what_was_estimated_and_after_a_run_what_came_and_what_was_needed() {
    let fixture = in_batches_of(8_192);
    let sql = "SELECT l.id FROM large l JOIN small s ON l.small_id = s.id WHERE s.id = 4";
    let before = fixture.lines(&format!("EXPLAIN {sql}")).await.join("\n");
    let line = before.lines().find(|line| line.contains("sent: large")).unwrap();
    assert!(line.contains("est_rows=40 est_bytes=640 bytes sent: large"), "{before}");
    assert!(!line.contains(" rows=") && !line.contains("minimal"), "{before}");
    let plan = fixture.told(sql).await;
    let after = DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(false).to_string();
    let line = after.lines().find(|line| line.contains("sent: large")).unwrap();
    assert!(line.contains(" rows=402 bytes=") && line.contains(" minimal="), "{after}");
    assert!(line.contains("minimal_rows=402") && line.contains("minimal_bytes="), "{after}");
}

/// What an inner or outer join of two to four tables gives, and the tables in order.
fn joined() -> impl Strategy<Value = (Vec<&'static str>, String)> {
    let tables = prop::collection::vec(prop::sample::select(vec!["small", "middle", "small", "large"]), 2..5);
    let picks = prop::collection::vec((any::<u8>(), any::<u8>(), 0_usize..9), 4);
    (tables, picks, any::<u8>()).prop_map(|(mut tables, picks, more)| {
        tables.sort_unstable();
        tables.dedup_by(|one, two| one == two && *one != "small");
        if tables.len() == 1 {
            tables.push("middle");
        }
        let columns = |table: &str| match table {
            "small" => vec!["id"],
            "middle" => vec!["id", "small_id"],
            _ => vec!["id", "middle_id", "small_id"],
        };
        let pick = |table: &str, by: u8| {
            let columns = columns(table);
            columns[usize::from(by) % columns.len()]
        };
        let mut from = format!("{} t0", tables[0]);
        for (at, table) in tables.iter().enumerate().skip(1) {
            let (one, two, kind) = picks[at - 1];
            let before = usize::from(one) % at;
            let kind = ["", "", "", "", "", "LEFT", "RIGHT", "FULL", "LEFT"][kind];
            let on = format!("t{at}.{} = t{before}.{}", pick(table, two), pick(tables[before], one / 7));
            let further =
                if two % 7 == 0 { format!(" AND t{at}.id < t{before}.id + 9") } else { String::new() };
            from.push_str(&format!(" {kind} JOIN {table} t{at} ON {on}{further}"));
        }
        let condition = match more % 4 {
            0 => " WHERE t0.id < 9",
            1 => " WHERE t1.id BETWEEN 3 AND 17",
            2 => " WHERE t1.id % 3 = 1 OR t1.id IS NULL",
            _ => "",
        };
        from.push_str(condition);
        (tables, from)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// A row of a table is needed if it is in what comes out: that can be counted, for its key is.
    #[test]
    fn no_number_is_told_that_is_not_the_truth(
        (tables, from) in joined(),
        batch in prop::sample::select(vec![2_usize, 64, 8_192]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (leaves, truth) = runtime.block_on(async {
            let ids = |call: &str| {
                let ids: Vec<String> = (0..tables.len()).map(|at| format!("{call}t{at}.id)")).collect();
                ids.join(", ")
            };
            let plan = in_batches_of(batch).told(&format!("SELECT {} FROM {from}", ids("("))).await;
            let truth = in_batches_of(8_192).numbers(&format!("SELECT {} FROM {from}", ids("count(DISTINCT "))).await;
            (fragment_figures(&plan), truth)
        });
        let mut of_table: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (table, needed) in tables.iter().zip(truth) {
            of_table.entry(table).or_default().push(needed);
        }
        for leaf in leaves {
            let Some(told) = leaf.minimal.rows else { continue };
            let possible = &of_table[leaf.sent.as_str()];
            prop_assert!(possible.contains(&told), "{} of {}, not {possible:?}: {from}", told, leaf.sent);
        }
    }
}
