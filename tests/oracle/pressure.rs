//! Two hundred statements that want too much: each is answered, or refused as too large, too deep or out of memory, in
//! its time; the memory of none stays, and the process does not grow with them.
//!
//! They are asked of an engine with 64 MiB. What the process takes is bounded beside what the engine counts, because
//! what is not counted is what fills a machine. It is the most the process ever had, so they are asked in a process of
//! their own: `cargo x oracle --pressure` shows each, and the test is the same without a word.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::world::{Asker, REFERENCE, Shape, Way};

/// How a statement may end, besides with rows: too much memory or disk, too large, too deep, too many columns, too many
/// arguments.
const REFUSALS: [&str; 6] = ["53200", "53100", "54000", "54001", "54011", "54023"];
/// Time for dropped work to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes the process may take more than before.
const GROWTH: u64 = 1 << 30;

fn repeated(count: usize, between: &str, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(between)
}

fn nested(count: usize, open: &str, inner: &str, close: &str) -> String {
    format!("{}{inner}{}", open.repeat(count), close.repeat(count))
}

/// The statements, over the tables of the reference.
fn statements() -> Vec<String> {
    let t = format!("{REFERENCE}.seeds AS t");
    let number = |index: usize| index.to_string();
    let mut all = Vec::new();
    for count in [50, 100, 150, 200, 1_665, 3_000, 10_000] {
        all.push(format!("SELECT {} FROM {t}", repeated(count, ", ", |n| format!("t.id AS c{n}"))));
        all.push(format!("SELECT {}", repeated(count, ", ", number)));
    }
    for count in [10, 50, 100, 200, 400, 1_000_000] {
        all.push(format!("SELECT count(*) FROM {t} WHERE t.id IN ({})", repeated(count, ",", number)));
        all.push(format!(
            "SELECT count(*) FROM {t} WHERE t.id NOT IN ({}, NULL)",
            repeated(count, ",", number)
        ));
        all.push(format!(
            "SELECT count(*) FROM (VALUES {}) AS v(n)",
            repeated(count, ",", |n| format!("({n})"))
        ));
    }
    for count in [10, 50, 100, 200, 3_000, 50_000] {
        for (word, part) in [("OR", "t.s = '"), ("AND", "t.s <> '"), ("OR NOT", "t.s LIKE '%")] {
            let condition = repeated(count, &format!(" {word} "), |n| format!("{part}{n}'"));
            all.push(format!("SELECT count(*) FROM {t} WHERE {condition}"));
        }
        all.push(format!("SELECT {} FROM {t} LIMIT 1", repeated(count, " + ", number)));
        all.push(format!("SELECT {} FROM {t} LIMIT 1", repeated(count, " || ", |_| "t.s".into())));
        all.push(format!(
            "SELECT CASE {} ELSE 0 END FROM {t}",
            repeated(count, " ", |n| format!("WHEN t.id = {n} THEN {n}"))
        ));
        all.push(repeated(count, " UNION ALL ", |n| format!("SELECT {n}")));
    }
    for depth in [10, 50, 150, 199, 250, 1_000, 10_000] {
        all.push(format!("SELECT {}", nested(depth, "(", "1", ")")));
        all.push(format!("SELECT {} FROM {t} LIMIT 1", nested(depth, "lower(", "t.s", ")")));
        all.push(format!(
            "SELECT {} FROM {t} LIMIT 1",
            nested(depth, "CASE WHEN true THEN ", "t.id", " END")
        ));
        all.push(format!("SELECT count(*) FROM {t} WHERE {}", nested(depth, "NOT (", "t.b", ")")));
    }
    for depth in [5, 20, 60, 150] {
        all.push(nested(depth, "SELECT * FROM (", "SELECT 1 AS n", ") AS x"));
        all.push(nested(depth, "SELECT (", "SELECT 1", ")"));
        all.push(format!(
            "SELECT count(*) FROM {t} WHERE {}",
            nested(depth, &format!("t.id IN (SELECT t.id FROM {t} WHERE "), "true", ")")
        ));
    }
    for count in [2, 3, 4, 5, 8, 14] {
        // Every table but the first is of one row where there are many.
        let table = if count > 3 { "one" } else { "seeds" };
        let tables =
            repeated(count, ", ", |n| format!("{REFERENCE}.{} AS t{n}", if n < 2 { "seeds" } else { table }));
        all.push(format!("SELECT count(*) FROM {tables}"));
        all.push(format!("SELECT max(t0.s || t1.s) FROM {tables} WHERE t0.s <> t1.s"));
        let joins = repeated(count, " JOIN ", |n| {
            let on = if n == 0 { String::new() } else { format!(" ON t{n}.id = t0.id") };
            format!("{REFERENCE}.{table} AS t{n}{on}")
        });
        all.push(format!("SELECT count(*) FROM {joins}"));
    }
    // What is little to write and much to hold.
    for rows in ["100000", "300000"] {
        let series = format!("generate_series(1, {rows})");
        for item in ["count(DISTINCT n)", "string_agg(n::text, ',')"] {
            all.push(format!("SELECT {item} FROM {series} AS g(n)"));
        }
        all.push(format!("SELECT n FROM {series} AS g(n) ORDER BY n % 1000, n DESC LIMIT 3"));
        all.push(format!("SELECT count(*) FROM {series} AS a(n) JOIN {series} AS b(n) ON a.n = b.n"));
        all.push(format!(
            "SELECT count(*) FROM (SELECT n, row_number() OVER (ORDER BY n DESC) FROM {series} AS g(n)) AS x"
        ));
    }
    for size in ["1000", "100000", "10000000", "1000000000"] {
        all.push(format!("SELECT length(repeat('x', {size}))"));
        all.push(format!("SELECT length(lpad('x', {size}, 'y'))"));
    }
    for size in ["1000", "10000", "100000"] {
        all.push(format!("SELECT count(DISTINCT repeat(t.s, {size})) FROM {t}"));
        all.push(format!(
            "SELECT length(string_agg(repeat('x', {size}) || n, '')) FROM generate_series(1, 500) AS g(n)"
        ));
    }
    for count in [1, 2, 3, 4, 5, 6, 12, 20] {
        let columns = repeated(count, ", ", |n| format!("t.id % {}", n + 2));
        for word in ["CUBE", "ROLLUP"] {
            all.push(format!("SELECT count(*) FROM (SELECT 1 FROM {t} GROUP BY {word} ({columns})) AS x"));
        }
        let doubled = repeated(count, ", ", |n| match n {
            0 => "w0 AS (SELECT 1 AS n UNION ALL SELECT 2)".to_owned(),
            n => format!("w{n} AS (SELECT a.n FROM w{0} AS a, w{0} AS b LIMIT 1000)", n - 1),
        });
        all.push(format!("WITH {doubled} SELECT count(*) FROM w{}", count - 1));
        all.push(format!(
            "SELECT {} FROM {t}",
            repeated(count * 3, ", ", |n| format!("sum(t.id) OVER (ORDER BY t.id % {})", n + 1))
        ));
    }
    for pattern in ["(a*)*b", "((a{1,100}){1,100}){1,100}", "(a|a)*$", "x{100000}", ".*.*.*.*.*.*.*z"] {
        all.push(format!("SELECT count(*) FROM {t} WHERE repeat('a', 3000) ~ '{pattern}'"));
        all.push(format!("SELECT count(*) FROM {t} WHERE repeat(t.s, 300) LIKE '{}'", "%a_".repeat(40)));
    }
    for length in [63, 1_000, 100_000] {
        all.push(format!("SELECT 1 AS \"{}\"", "n".repeat(length)));
        all.push(format!("SELECT t.\"{}\" FROM {t}", "n".repeat(length)));
        all.push(format!("SELECT length('{}')", "x".repeat(length)));
    }
    all
}

/// Bytes the process ever had in memory.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let Some(kilobytes) = line.and_then(|line| line.split_whitespace().next()) else { bail!("no VmHWM") };
    Ok(kilobytes.parse::<u64>()? * 1_024)
}

/// Asks them all and tells of each; what went wrong.
pub(crate) async fn press(asker: &Asker<'_>, tell: impl Fn(&str)) -> Result<Vec<String>> {
    let way = Way::of(REFERENCE, true).shaped(Shape::Parts);
    let before = resident()?;
    let mut wrong = Vec::new();
    let statements = statements();
    if statements.len() < 200 {
        bail!("only {} statements", statements.len());
    }
    for sql in statements {
        let started = Instant::now();
        let outcome = asker.ask_text(way, &sql).await?;
        let shown: String = sql.chars().take(120).collect();
        let (took, grown) = (started.elapsed(), resident()?.saturating_sub(before));
        let answer: String = outcome.shown().chars().take(60).collect();
        tell(&format!("{took:?}, {} MiB more, {}: {shown}", grown >> 20, answer.replace('\n', " ")));
        if let Outcome::Error { sqlstate, message } = &outcome {
            // A name that nobody has, and a pattern that none is, are mistakes like any other.
            let mistaken = match sqlstate.as_str() {
                "42703" => sql.contains("t.\"nnn"),
                other => ["2201B", "42622"].contains(&other),
            };
            if !mistaken && !REFUSALS.contains(&sqlstate.as_str()) {
                wrong.push(format!("{sqlstate} {message} after {took:?}: {shown}"));
            }
        }
        if grown > GROWTH {
            wrong.push(format!("{} MiB more than before after: {shown}", grown >> 20));
            break;
        }
    }
    wrong.extend(given_back(asker).await);
    Ok(wrong)
}

/// What is held although every statement is over. Work that is dropped ends at its next step, not at once.
async fn given_back(asker: &Asker<'_>) -> Option<String> {
    let since = Instant::now();
    while asker.world.held() > 0 {
        if since.elapsed() > PATIENCE {
            return Some(format!("{} bytes are still held", asker.world.held()));
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A join whose build side is larger than the memory is refused, gives it back, and the engine goes on.
pub(crate) async fn overfill(asker: &Asker<'_>) -> Result<Vec<String>> {
    let way = Way::of(REFERENCE, true).shaped(Shape::Parts);
    let mut wrong = Vec::new();
    let series = "(SELECT n, repeat('x', 200) || n AS s FROM generate_series(1, 1000000) AS g(n))";
    for (join, test) in [("JOIN", "a.s = b.s"), ("LEFT JOIN", "a.s = b.s"), ("JOIN", "a.s || 'y' < b.s")] {
        let sql = format!("SELECT count(*), max(a.s) FROM {series} AS a {join} {series} AS b ON {test}");
        match asker.ask_text(way, &sql).await? {
            Outcome::Error { sqlstate, .. } if sqlstate == "53200" => {}
            Outcome::Rows { rows, .. } if join == "JOIN" && rows.len() == 1 => {
                // Where it was done after all, it is right.
                if rows[0].first() != Some(&crate::outcome::Cell::Text("1000000".into())) {
                    wrong.push(format!("{sql}: {rows:?}"));
                }
            }
            other => wrong.push(format!("{sql}: {}", other.shown())),
        }
        let small =
            format!("SELECT count(*) FROM {REFERENCE}.seeds AS a JOIN {REFERENCE}.seeds AS b ON a.id = b.id");
        let after = asker.ask_text(way, &small).await?;
        if !matches!(&after, Outcome::Rows { rows, .. } if rows[0][0] == crate::outcome::Cell::Text("50".into()))
        {
            wrong.push(format!("after {sql}: {}", after.shown()));
        }
        wrong.extend(given_back(asker).await.map(|held| format!("{held} after {sql}")));
    }
    Ok(wrong)
}
