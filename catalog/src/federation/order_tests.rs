//! What is fetched for joins: each table only for the keys that the smaller ones left, and the rows are the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::testing::star::{Fetched, StarExecutor, StarSource};
use super::{ColumnSummary, FederationOptions, ListRoom, TableStatistics, physical_optimizer_rules};
use crate::Catalog;

pub(super) struct Fixture {
    pub(super) context: SessionContext,
    pub(super) options: Arc<FederationOptions>,
    star: Arc<StarExecutor>,
}

fn fixture() -> Fixture {
    in_batches_of(8_192)
}

pub(super) fn in_batches_of(rows: usize) -> Fixture {
    let source = StarSource::new();
    let star = source.star();
    let catalog = Catalog::builder().add(Arc::new(source)).build().unwrap();
    let options = Arc::new(FederationOptions::default());
    let mut config =
        SessionConfig::new().with_target_partitions(2).with_default_catalog_and_schema("portolan", "star");
    config = config.with_batch_size(rows);
    config.options_mut().optimizer.hash_join_inlist_pushdown_max_distinct_values = 50_000;
    config.options_mut().optimizer.hash_join_inlist_pushdown_max_size = 8 << 20;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(&options), vec![]));
    Fixture { context, options, star }
}

impl Fixture {
    pub(super) async fn lines(&self, sql: &str) -> Vec<String> {
        let batches = self.context.sql(sql).await.unwrap().collect().await.unwrap();
        let mut lines: Vec<String> =
            pretty_format_batches(&batches).unwrap().to_string().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The rows with push-down on and off, and what the first run fetched.
    async fn both(&self, sql: &str) -> (Vec<String>, Vec<String>, BTreeMap<String, Fetched>) {
        self.options.set_pushdown(true);
        self.star.take();
        let on = self.lines(sql).await;
        let fetched = self.star.take();
        self.options.set_pushdown(false);
        let off = self.lines(sql).await;
        (on, off, fetched)
    }
}

#[tokio::test]
async fn each_table_is_asked_for_the_keys_that_are_left() {
    let fixture = fixture();
    for (sql, most) in [
        // The order of the statement would fetch all of large first.
        (
            "SELECT l.id FROM large l JOIN middle m ON l.middle_id = m.id JOIN small s ON m.small_id = s.id \
             WHERE s.kind = 'kind 3'",
            [("small", 4), ("middle", 74), ("large", 1_400)],
        ),
        // Keys cross two joins by being equal.
        (
            "SELECT l.v, m.day FROM middle m, large l, small s \
             WHERE l.small_id = m.small_id AND m.small_id = s.id AND s.id = 4 AND m.day = 3",
            [("small", 1), ("middle", 18), ("large", 402)],
        ),
        // A semi-join belongs to the table that has its keys.
        (
            "SELECT l.id FROM large l JOIN middle m ON l.middle_id = m.id \
             WHERE m.small_id IN (SELECT id FROM small WHERE kind = 'kind 3')",
            [("small", 4), ("middle", 74), ("large", 1_400)],
        ),
        // One table twice, under columns of one name.
        (
            "SELECT a.kind, b.kind FROM small a JOIN middle m ON m.small_id = a.id JOIN large l ON l.middle_id = m.id \
             JOIN small b ON b.id = l.small_id WHERE a.kind = 'kind 1' AND b.kind = 'kind 2'",
            [("small", 8), ("middle", 80), ("large", 1_600)],
        ),
    ] {
        let (on, off, fetched) = fixture.both(sql).await;
        assert_eq!(on, off, "{sql}");
        for (table, most) in most {
            let rows = fetched.get(table).copied().unwrap_or_default().rows;
            assert!(rows > 0 && rows <= most, "{rows} rows of {table}, not {most} at most: {sql}");
        }
    }
}

#[tokio::test]
async fn keys_reach_every_table_they_thin() {
    let fixture = fixture();
    for (sql, most) in [
        // Through the groups of a subquery.
        (
            "SELECT m.id FROM small s JOIN middle m ON m.small_id = s.id \
             WHERE s.kind = 'kind 3' AND m.day < (SELECT max(l.v) FROM large l WHERE l.middle_id = m.id)",
            [("small", 4), ("middle", 74), ("large", 1_500)],
        ),
        // One of several keys, the other of which is computed.
        (
            "SELECT m.id FROM middle m WHERE m.small_id = 4 AND m.day IN \
             (SELECT max(l.v) FROM large l WHERE l.middle_id = m.id)",
            [("middle", 20), ("large", 400), ("small", 0)],
        ),
        // Two tables that share no key name rows of a third.
        (
            "SELECT l.id FROM large l, middle m, small s WHERE l.middle_id = m.id AND l.small_id = s.id \
             AND m.day = 3 AND s.kind = 'kind 1'",
            [("small", 4), ("middle", 58), ("large", 280)],
        ),
        // A side that shows its rows without a partner tells its keys all the same.
        (
            "SELECT s.id, g.n FROM small s LEFT JOIN (SELECT small_id, v, count(*) AS n FROM large GROUP BY 1, 2) g \
             ON g.small_id = s.id AND g.n = s.id WHERE s.kind = 'kind 2'",
            [("small", 4), ("large", 1_600), ("middle", 0)],
        ),
    ] {
        let (on, off, fetched) = fixture.both(sql).await;
        assert_eq!(on, off, "{sql}");
        for (table, most) in most {
            let rows = fetched.get(table).copied().unwrap_or_default().rows;
            assert!(
                rows <= most && (rows > 0) == (most > 0),
                "{rows} rows of {table}, not {most} at most: {sql}"
            );
        }
    }
}

/// Keys that are few only because other keys thin their own table are told too, though the table alone has too many.
#[tokio::test]
async fn keys_of_a_table_that_keys_thin_are_told() {
    let fixture = fixture();
    // The engine's own filter would hold them all otherwise.
    let shortest = "SET datafusion.optimizer.hash_join_inlist_pushdown_max_distinct_values = 1000";
    fixture.context.sql(shortest).await.unwrap();
    let sql = "SELECT s.id, x.id, x.v FROM small s JOIN \
               (SELECT a.id, a.small_id, b.v FROM large a LEFT JOIN large b ON a.id = b.id) x ON x.small_id = s.id \
               WHERE s.kind = 'kind 3'";
    let (on, off, fetched) = fixture.both(sql).await;
    assert_eq!(on, off);
    assert_eq!(fetched.get("large").map(|one| one.rows), Some(2 * 1_599));
}

/// The side that is smaller after its conditions builds, however the join is written.
#[tokio::test]
async fn trap_p3_p4_the_small_side_builds() {
    let fixture = fixture();
    for from in ["large l JOIN small s ON l.small_id = s.id", "small s JOIN large l ON s.id = l.small_id"] {
        let (on, off, fetched) = fixture.both(&format!("SELECT l.id FROM {from} WHERE s.id = 3")).await;
        assert_eq!(on, off, "{from}");
        assert_eq!(fetched.get("large").map(|one| one.rows), Some(402), "{from}");
    }
}

/// Keys with gaps between them are fewer than their range holds, and those that name rows of another table are no more
/// than its rows: so the groups come first, and the few that are left are asked for.
#[tokio::test]
async fn a_range_is_no_count_of_its_values() {
    let fixture = fixture();
    let ranged = ColumnSummary::of_figures(Some(8_000), Some(0), Some(0_i64.into()), Some(3_999_i64.into()));
    let columns = BTreeMap::from([("middle_id".to_owned(), ranged)]);
    let told = Arc::new(TableStatistics { rows: Some(8_000), columns });
    fixture.star.told.lock().unwrap().insert("large".to_owned(), told);
    let sql = "SELECT m.id, m.day FROM middle m WHERE m.id IN \
               (SELECT l.middle_id FROM large l GROUP BY l.middle_id HAVING max(l.id) > 7995)";
    let (on, off, fetched) = fixture.both(sql).await;
    assert_eq!(on, off);
    assert_eq!(fetched.get("middle").map(|one| one.rows), Some(4));
}

#[tokio::test]
async fn an_empty_build_side_sends_nothing_to_the_probe_side() {
    let fixture = fixture();
    let none = "(SELECT id FROM small WHERE kind = 'no such kind')";
    for (sql, asked) in [
        (format!("SELECT l.id FROM {none} s JOIN large l ON l.small_id = s.id"), false),
        (format!("SELECT s.id, l.id FROM {none} s LEFT JOIN large l ON l.small_id = s.id"), false),
        (format!("SELECT id FROM large WHERE small_id IN {none}"), false),
        (
            format!("SELECT l.id FROM large l WHERE EXISTS (SELECT 1 FROM {none} s WHERE s.id = l.small_id)"),
            false,
        ),
        (
            format!(
                "SELECT l.id, m.day FROM {none} s JOIN middle m ON m.small_id = s.id \
                 JOIN large l ON l.middle_id = m.id ORDER BY 1"
            ),
            false,
        ),
        // Whoever has no partner is asked for here, so all of them must come.
        (format!("SELECT id FROM large WHERE small_id NOT IN {none}"), true),
        (format!("SELECT l.id FROM large l LEFT JOIN {none} s ON l.small_id = s.id"), true),
        (format!("SELECT l.id FROM large l FULL JOIN {none} s ON l.small_id = s.id"), true),
    ] {
        let (on, off, fetched) = fixture.both(&sql).await;
        assert_eq!(on, off, "{sql}");
        assert_eq!(fetched.contains_key("large"), asked, "{sql}");
    }
}

/// A statement of the star's holds five values then.
const NARROW: ListRoom = ListRoom { values: 5, bytes: 1_000, runs: 40 };

#[tokio::test]
async fn keys_that_no_statement_holds_are_asked_for_in_turns() {
    let fixture = fixture();
    *fixture.star.room.lock().unwrap() = Some(NARROW);
    for (sql, most, turns) in [
        ("SELECT l.id, m.day FROM large l JOIN middle m ON l.middle_id = m.id WHERE m.small_id = 3", 400, 4),
        (
            "SELECT m.small_id, sum(g.n) FROM middle m JOIN (SELECT middle_id, count(*) AS n FROM large GROUP BY 1) g \
             ON g.middle_id = m.id WHERE m.small_id = 3 GROUP BY 1",
            400,
            4,
        ),
        // More values than all turns hold.
        ("SELECT l.id FROM large l JOIN middle m ON l.middle_id = m.id WHERE m.day < 20", 8_000, 1),
    ] {
        let (on, off, fetched) = fixture.both(sql).await;
        assert_eq!(on, off, "{sql}");
        let large = fetched.get("large").copied().unwrap();
        assert_eq!(large.statements, turns, "{sql}: {large:?}");
        assert!(large.rows <= most, "{sql}: {large:?}");
    }
}

/// Joins of up to four tables, with conditions of every kind.
fn joins() -> impl Strategy<Value = String> {
    let tables = prop::collection::vec(prop::sample::select(vec!["small", "middle", "large"]), 2..5);
    let picks = prop::collection::vec((any::<u8>(), any::<u8>()), 4);
    (tables, picks, any::<u8>()).prop_map(|(mut tables, picks, more)| {
        // Few rows, so that a product of keys stays small.
        tables.sort_unstable();
        tables.dedup_by(|one, two| one == two && *one == "large");
        if tables.len() == 1 {
            tables.push("middle");
        }
        let columns = |table: &str| match table {
            "small" => vec!["id"],
            "middle" => vec!["id", "small_id"],
            _ => vec!["id", "middle_id", "small_id"],
        };
        let mut sql =
            format!("SELECT count(*), sum(t0.id), min(t{}.id) FROM {} t0", tables.len() - 1, tables[0]);
        for (at, table) in tables.iter().enumerate().skip(1) {
            let (one, two) = picks[at - 1];
            let before = usize::from(one) % at;
            let pick = |table: &str, by: u8| {
                let columns = columns(table);
                columns[usize::from(by) % columns.len()]
            };
            let on = format!("t{at}.{} = t{before}.{}", pick(table, two), pick(tables[before], one / 7));
            let further = match two % 5 {
                0 => format!(" AND t{at}.id = t{before}.id"),
                1 => format!(" AND (t{at}.id < t{before}.id OR t0.id = 3)"),
                _ => String::new(),
            };
            let kind = if more % 16 == 9 { "LEFT JOIN" } else { "JOIN" };
            sql.push_str(&format!(" {kind} {table} t{at} ON {on}{further}"));
        }
        match more % 8 {
            0 => sql.push_str(" WHERE t0.id < 9"),
            1 => sql.push_str(" WHERE t1.id IN (SELECT small_id FROM middle WHERE day = 2) AND t0.id < 40"),
            2 => sql.push_str(" WHERE t1.id BETWEEN 3 AND 17"),
            3 => sql.push_str(
                " WHERE t0.id < 9 AND t1.id < (SELECT 10 * max(v) FROM large WHERE large.small_id = t0.id)",
            ),
            4 => sql.push_str(
                " WHERE t1.id < 30 AND t0.id IN (SELECT max(m.day) FROM middle m WHERE m.small_id = t1.id)",
            ),
            5 => sql.push_str(
                " WHERE t0.id < 9 AND NOT EXISTS (SELECT 1 FROM large l JOIN middle m ON l.middle_id = m.id \
                 WHERE l.small_id = t0.id AND m.id = t1.id)",
            ),
            6 => sql.push_str(
                " WHERE t0.id < 9 AND EXISTS (SELECT 1 FROM large l JOIN middle m ON l.middle_id = m.id \
                 WHERE l.small_id = t0.id AND m.day = t1.id)",
            ),
            _ => sql.push_str(" WHERE t0.id = 5"),
        }
        sql
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_joins_never_changes_the_rows(sql in joins(), narrow in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let fixture = fixture();
        *fixture.star.room.lock().unwrap() = narrow.then_some(NARROW);
        let (on, off, _) = runtime.block_on(fixture.both(&sql));
        prop_assert_eq!(on, off, "{}", sql);
    }
}
