//! Push-down to a real PostgreSQL: whatever the gate sends, the rows are those of local evaluation.
//!
//! Statements are generated from a fixed seed over rows that are known to be told apart differently by stores:
//! spellings, blanks, quotes, patterns, extremes, NaN, infinities, enums, nulls. Every statement runs with push-down
//! on and off and must give the same rows. This binary is also the embedded server's child.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use libtest_mimic::{Arguments, Failed, Trial};
use portolan_catalog::Catalog;
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres, ServeArgs, serve_embedded};
use portolan_catalog::federation::{FederationOptions, physical_optimizer_rules};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::SourceName;

#[path = "stores/dice.rs"]
mod dice;

use dice::Dice;

const STATEMENTS: u64 = 400;

const SCHEMA: &str = r#"
CREATE SCHEMA port;
CREATE TYPE port.mood AS ENUM ('zeal', 'calm', 'anger');
CREATE TABLE port.t (
  i2 int2, i4 int4, i8 int8, txt text, vc varchar(8), bp bpchar(5), n numeric(10,2), u numeric,
  f float8, ok bool, day date, at timestamp, seen timestamptz, m port.mood, id uuid, doc jsonb);
INSERT INTO port.t VALUES
  (1, 1, 9223372036854775807, 'Dakar', 'Dakar', 'a', 1.50, 1.5, 'NaN', true, '2026-01-01', '2026-01-01 00:00', '2026-01-01 00:00Z', 'zeal', '00000000-0000-0000-0000-000000000001', '{"a":1}'),
  (-1, -1, -9223372036854775808, 'DAKAR', 'DAKAR', 'a    ', -0.01, 0, '-0', false, '0001-01-01', '0001-01-01 00:00', '0001-01-01 00:00Z', 'calm', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '[]'),
  (0, 0, 0, 'dákar', '', '', 0, 0.00, 0, NULL, 'infinity', 'infinity', 'infinity', 'anger', NULL, 'null'),
  (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (32767, 2147483647, 9007199254740993, 'it''s', 'a ', 'ab', 99999999.99, 12345678901234567890.0123456789, 'Infinity', true, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999Z', 'zeal', NULL, '"x"'),
  (-32768, -2147483648, 1, 'a\', 'a', 'b', -99999999.99, -1, '-Infinity', false, '1969-12-31', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999Z', 'calm', NULL, '1.10'),
  (7, 7, 7, E'x\ny', '%', '%', 7, 7, 1.5, true, '2026-03-29', '2026-03-29 02:30', '2026-03-29 01:00Z', NULL, NULL, NULL),
  (7, 7, 7, ''';--', '_', '_', 7, 7, 1.5, true, '2026-03-29', '2026-03-29 02:30', '2026-03-29 01:00Z', 'anger', NULL, NULL),
  (1, 1, 1, 'a', 'ß', 'É', 0.10, 0.1, 0.1, false, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00Z', 'calm', NULL, NULL),
  (1, 1, 1, 'a ', 'ss', 'E', 0.10, 0.1, 0.3, false, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00Z', 'calm', NULL, NULL);
"#;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "embedded-postgres") {
        let served = ServeArgs::parse(arguments).and_then(|arguments| serve_embedded(&arguments));
        return if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let trials = vec![
        Trial::test("push_down_to_postgres_never_changes_the_rows", || run(same_rows)),
        Trial::test("hostile_literals_reach_postgres_unchanged", || run(hostile_literals)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

#[expect(clippy::needless_pass_by_value, reason = "the callers pass closures made on the spot")]
fn run(body: impl AsyncFn(&Fixture) -> Result<(), Failed>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let fixture = Fixture::start(directory.path()).await?;
        let outcome = body(&fixture).await;
        fixture.postgres.shutdown().await;
        outcome
    })
}

struct Fixture {
    postgres: EmbeddedPostgres,
    context: SessionContext,
    options: Arc<FederationOptions>,
}

impl Fixture {
    async fn start(directory: &Path) -> Result<Self, Failed> {
        let config = EmbeddedConfig {
            name: "ops".into(),
            data_dir: directory.join("ops"),
            executable: std::env::current_exe()?,
            database: "port".into(),
        };
        let postgres = EmbeddedPostgres::start(config).await?;
        let lease = postgres.lease().await?;
        lease.batch_execute(SCHEMA).await?;
        lease.release();
        let pool = PostgresPool::Embedded(postgres.clone());
        let source = PostgresSource::new(SourceName::try_new("ops")?, pool, "port");
        let catalog = Catalog::builder().add(Arc::new(source)).build()?;
        let options = Arc::new(FederationOptions::default());
        let config =
            SessionConfig::new().with_target_partitions(2).with_default_catalog_and_schema("portolan", "ops");
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_physical_optimizer_rules(physical_optimizer_rules())
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(&options), vec![]));
        Ok(Self { postgres, context, options })
    }

    /// Sorted rows as text, or the error as text.
    async fn rows(&self, sql: &str, pushdown: bool) -> Result<Vec<String>, String> {
        self.options.set_pushdown(pushdown);
        let frame = self.context.sql(sql).await.map_err(|error| error.to_string())?;
        let batches = frame.collect().await.map_err(|error| error.to_string())?;
        let format = FormatOptions::default().with_null("∅").with_display_error(true);
        let mut rows = Vec::new();
        for batch in &batches {
            let columns = batch
                .columns()
                .iter()
                .map(|array| ArrayFormatter::try_new(array, &format))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| error.to_string())?;
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
            }
        }
        rows.sort();
        Ok(rows)
    }

    /// The leaf's line of EXPLAIN.
    async fn leaf(&self, sql: &str) -> Result<String, String> {
        let lines = self.rows(&format!("EXPLAIN {sql}"), true).await?.join("\n");
        Ok(lines.lines().find(|line| line.contains("FederatedScan")).unwrap_or_default().trim().to_owned())
    }
}

const OPERATORS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];
const COLUMNS: [(&str, &[&str]); 14] = [
    ("i2", &["0", "1", "-1", "32767"]),
    ("i4", &["0", "7", "2147483647"]),
    ("i8", &["0", "9007199254740993", "9223372036854775807"]),
    ("txt", &["'Dakar'", "'DAKAR'", "'a'", "'a '", "'it''s'", "'a\\'", "''';--'", "''"]),
    ("vc", &["'Dakar'", "''", "'a '", "'ß'", "'SS'", "'%'"]),
    ("bp", &["'a'", "'a    '", "''", "'É'"]),
    ("n", &["0", "1.5", "-0.01", "99999999.99", "0.1"]),
    ("u", &["0", "1.50", "0.1"]),
    ("f", &["0.0", "1.5", "0.1", "'NaN'::double", "'Infinity'::double"]),
    ("day", &["date '2026-01-01'", "date '2024-02-29'", "date '1969-12-31'"]),
    ("at", &["timestamp '2026-01-01 00:00:00'", "timestamp '1969-12-31 23:59:59.999999'"]),
    ("seen", &["timestamptz '2026-01-01 00:00:00Z'", "timestamptz '2026-03-29 01:00:00Z'"]),
    ("m", &["'zeal'", "'calm'", "'anger'", "'none'"]),
    ("ok", &["true", "false"]),
];

fn atom(dice: &mut Dice) -> String {
    let (column, values) = COLUMNS[dice.roll(COLUMNS.len())];
    let value = dice.pick(values);
    let other = dice.pick(values);
    match dice.roll(9) {
        0 => format!("{column} IS NULL"),
        1 => format!("{column} IN ({value}, {other})"),
        2 => format!("{column} NOT IN ({value}, {other})"),
        3 => format!("{column} BETWEEN {value} AND {other}"),
        4 => format!(
            "{} LIKE '{}'",
            dice.pick(&["txt", "vc"]),
            dice.pick(&["a%", "%a%", "_", "\\%", "%''%", "D_kar", "x%y", "%"])
        ),
        5 if dice.roll(2) == 0 => "ok".into(),
        _ => format!("{column} {} {value}", dice.pick(&OPERATORS)),
    }
}

fn predicate(dice: &mut Dice, depth: usize) -> String {
    match if depth == 0 { 9 } else { dice.roll(10) } {
        0 | 1 => format!("({} AND {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        2 | 3 => format!("({} OR {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        4 => format!("NOT ({})", predicate(dice, depth - 1)),
        _ => atom(dice),
    }
}

fn statement(dice: &mut Dice) -> String {
    let p = predicate(dice, 3);
    match dice.roll(7) {
        0 => format!("SELECT count(*) FROM t WHERE {p}"),
        1 => format!("SELECT txt, u, seen FROM t WHERE {p}"),
        2 => format!("SELECT count(*) FROM (SELECT i4 FROM t WHERE {p} LIMIT 3)"),
        3 => format!("SELECT m, count(*), min(n), max(at) FROM t WHERE {p} GROUP BY m"),
        4 => format!(
            "SELECT x.i8, y.txt FROM t x JOIN t y ON x.i4 = y.i4 AND x.m = y.m WHERE x.i2 > 0 AND y.i4 IN (SELECT i4 FROM t WHERE {p})"
        ),
        5 => format!(
            "SELECT txt FROM t WHERE {p} UNION ALL SELECT txt FROM t WHERE NOT ({p}) UNION ALL SELECT txt FROM t WHERE ({p}) IS NULL"
        ),
        _ => format!("SELECT * FROM t WHERE {p}"),
    }
}

async fn same_rows(fixture: &Fixture) -> Result<(), Failed> {
    let mut pushed = 0;
    for seed in 0..STATEMENTS {
        let sql = statement(&mut Dice(seed));
        let off = fixture.rows(&sql, false).await;
        let on = fixture.rows(&sql, true).await;
        let same = match (&on, &off) {
            (Ok(on), Ok(off)) => on == off,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if !same {
            let leaf = fixture.leaf(&sql).await;
            return Err(format!("statement {seed}: {sql}\n on: {on:?}\noff: {off:?}\n{leaf:?}").into());
        }
        if on.is_err() {
            return Err(format!("statement {seed} fails: {sql}\n{on:?}").into());
        }
        pushed += usize::from(fixture.leaf(&sql).await?.contains(" WHERE "));
    }
    if pushed < usize::try_from(STATEMENTS)? / 3 {
        return Err(format!("only {pushed} of {STATEMENTS} statements sent a filter").into());
    }
    Ok(())
}

/// Every short text over the characters that break out of literals comes back as itself, pushed.
async fn hostile_literals(fixture: &Fixture) -> Result<(), Failed> {
    let alphabet = ['a', '\'', '\\', '"', ';', '$', '\n', '%', '?', '-'];
    let mut dice = Dice(42);
    let mut texts = Vec::new();
    for _ in 0..120 {
        let length = 1 + dice.roll(5);
        let text: String = (0..length).map(|_| alphabet[dice.roll(alphabet.len())]).collect();
        texts.push(text);
    }
    texts.sort();
    texts.dedup();
    let lease = fixture.postgres.lease().await?;
    lease.batch_execute("CREATE TABLE port.hostile (s text)").await?;
    for text in &texts {
        lease.execute("INSERT INTO port.hostile VALUES ($1)", &[text]).await?;
    }
    lease.release();
    // The source's tables were not asked for before, so the new table is among them.
    for text in &texts {
        let sql = format!("SELECT s FROM hostile WHERE s = '{}'", text.replace('\'', "''"));
        let rows = fixture.rows(&sql, true).await?;
        if rows != [text.clone()] {
            return Err(format!("{text:?} came back as {rows:?}").into());
        }
    }
    let leaf = fixture.leaf("SELECT s FROM hostile WHERE s = 'a'").await?;
    if leaf.contains("WHERE") { Ok(()) } else { Err(format!("nothing was pushed: {leaf}").into()) }
}
