//! The numbers: every KPI as a client gets it, against the same KPI written by hand on the star and, where feeds are
//! clean, against the simulator's truth.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::SessionContext;
use libtest_mimic::Failed;

use portolan_semantic::KpiTest;

use crate::Fixture;
use crate::desk::{Desk, Row, keyed};
use crate::kpis_by_hand::{KPIS, Kpi, PARTS, Parts, TRUTH_VIEWS};

/// Keys, and the prefixes of them that are grouping sets (all for ROLLUP, the longest without).
const GROUPINGS: [(&[&str], bool); 8] = [
    (&[], false),
    (&["month"], false),
    (&["terminal"], false),
    (&["vessel_type"], false),
    (&["direction"], false),
    (&["month", "terminal"], false),
    (&["month", "terminal"], true),
    (&["terminal", "cargo_class"], true),
];

/// Compares all KPIs of an ingested port; every difference found is named.
pub(crate) async fn check(fixture: &Fixture, dirt: f64) -> Result<(), Failed> {
    let desk = Desk::open(&fixture.lake, &fixture.warehouse).await?;
    let mut wrong = Vec::new();
    for (keys, rollup) in GROUPINGS {
        let measured = measured(&desk, keys, rollup, &KPIS).await?;
        let star = star(fixture, keys, rollup).await?;
        differences(keys, &measured, &star, &Exact, &mut wrong);
        if !keys.iter().any(|key| matches!(*key, "vessel_type" | "direction")) {
            let truth = truth(fixture, keys, rollup).await?;
            match dirt > 0.0 {
                false => differences(keys, &measured, &truth, &Rounded, &mut wrong),
                true => distance(keys, &measured, &truth, &mut wrong),
            }
        }
    }
    alone(&desk, &mut wrong).await?;
    totals(&desk, &mut wrong).await?;
    flat(&desk, &mut wrong).await?;
    two_clocks(&desk, &mut wrong).await?;
    own_tests(&desk, &mut wrong).await?;
    pushed(&desk, &mut wrong).await?;
    shares(fixture, &desk, &mut wrong).await?;
    if wrong.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = wrong.iter().take(25).cloned().collect();
    Err(format!("{} differences\n{}", wrong.len(), shown.join("\n")).into())
}

/// Sets of key positions of a grouping.
fn sets(keys: &[&str], rollup: bool) -> Vec<usize> {
    if rollup { (0..=keys.len()).rev().collect() } else { vec![keys.len()] }
}

fn names(kpis: &[Kpi]) -> String {
    kpis.iter().map(|kpi| format!("MEASURE({}) AS {}", kpi.name, kpi.name)).collect::<Vec<_>>().join(", ")
}

/// Rows by key; with ROLLUP the grouping bits belong to the key.
async fn measured(
    desk: &Desk,
    keys: &[&str],
    rollup: bool,
    kpis: &[Kpi],
) -> Result<BTreeMap<Row, Row>, Failed> {
    let mut shown: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut group = String::new();
    if rollup {
        shown.extend(keys.iter().map(|key| format!("GROUPING({key})")));
        group = format!("GROUP BY ROLLUP ({})", keys.join(", "));
    } else if !keys.is_empty() {
        group = format!("GROUP BY {}", keys.join(", "));
    }
    let width = shown.len();
    shown.push(names(kpis));
    desk.keyed(&format!("SELECT {} FROM kpi.port_calls {group}", shown.join(", ")), width).await
}

/// Widens keys of one grouping set to those of the whole grouping.
fn widened(row: Row, keys: usize, set: usize, rollup: bool) -> Row {
    let mut row = row;
    row.resize(keys, None);
    if rollup {
        row.extend((0..keys).map(|at| Some(u8::from(at >= set).to_string())));
    }
    row
}

/// The parts over the star, computed by PostgreSQL.
async fn star(fixture: &Fixture, keys: &[&str], rollup: bool) -> Result<Parts, Failed> {
    let lease = fixture.warehouse.lease().await?;
    let mut parts = Parts::new();
    for part in &PARTS {
        let values = parts.entry(part.name).or_default();
        for set in sets(keys, rollup) {
            let sql = part.star_sql(keys.get(..set).unwrap_or_default());
            let rows = lease.query(&sql, &[]).await.map_err(|error| format!("{sql}: {error:?}"))?;
            for row in rows {
                let mut row: Row = (0..=set).map(|at| row.get(at)).collect();
                let value = row.pop().flatten();
                values.insert(widened(row, keys.len(), set, rollup), value);
            }
        }
    }
    lease.release();
    Ok(parts)
}

/// The parts over the truth.
async fn truth(fixture: &Fixture, keys: &[&str], rollup: bool) -> Result<Parts, Failed> {
    let context = SessionContext::new();
    for (table, batch) in fixture.port.truth_tables() {
        context.register_batch(*table, batch.clone())?;
    }
    for table in fixture.port.tos_tables().iter().filter(|table| matches!(table.name, "berths" | "terminals"))
    {
        let batch = table.batches.first().ok_or("a master table without rows")?;
        context.register_batch(table.name, batch.clone())?;
    }
    for view in TRUTH_VIEWS {
        context.sql(view).await?.collect().await?;
    }
    let mut parts = Parts::new();
    for part in &PARTS {
        let values = parts.entry(part.name).or_default();
        for set in sets(keys, rollup) {
            let sql = part.truth_sql(keys.get(..set).unwrap_or_default());
            for mut row in texts(&context, &sql).await.map_err(|error| format!("{sql}: {error}"))? {
                let value = row.pop().flatten();
                values.insert(widened(row, keys.len(), set, rollup), value);
            }
        }
    }
    Ok(parts)
}

async fn texts(context: &SessionContext, sql: &str) -> Result<Vec<Row>, datafusion::error::DataFusionError> {
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    let mut rows = Vec::new();
    let options = FormatOptions::new();
    for batch in context.sql(sql).await?.collect().await? {
        let columns = batch.columns();
        let cells = columns
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let texts = columns.iter().zip(&cells);
            rows.push(
                texts
                    .map(|(column, text)| (!column.is_null(row)).then(|| text.value(row).to_string()))
                    .collect(),
            );
        }
    }
    Ok(rows)
}

/// How near two values must be.
trait Nearness {
    fn equal(&self, kpi: &Kpi, ours: &str, theirs: &str) -> bool;
}

/// Digit by digit for what is exact, 1e-9 for what is divided.
struct Exact;
/// The truth is in seconds and the star in hours of six decimals, so every row may be off by half a millionth.
struct Rounded;

fn numbers(ours: &str, theirs: &str) -> Option<(f64, f64)> {
    Some((ours.parse().ok()?, theirs.parse().ok()?))
}

impl Nearness for Exact {
    fn equal(&self, _kpi: &Kpi, ours: &str, theirs: &str) -> bool {
        ours == theirs
            || numbers(ours, theirs)
                .is_some_and(|(a, b)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0))
    }
}

impl Nearness for Rounded {
    fn equal(&self, kpi: &Kpi, ours: &str, theirs: &str) -> bool {
        let allowed = match kpi.name {
            "cargo_tonnes" | "discharged_t" | "loaded_t" | "teu" | "calls" => 0.0,
            "waiting_ratio" | "weather_share" => 1e-4,
            // The truth's percentile is DataFusion's, whose weights are cut to millionths.
            "waiting_p90_h" => 2e-4,
            _ => 1e-3,
        };
        ours == theirs
            || numbers(ours, theirs).is_some_and(|(a, b)| (a - b).abs() <= allowed * (a.abs() / 1e3).max(1.0))
    }
}

fn differences(
    keys: &[&str],
    measured: &BTreeMap<Row, Row>,
    parts: &Parts,
    near: &dyn Nearness,
    wrong: &mut Vec<String>,
) {
    // The rows are the union of the keys of every measure named.
    let named: BTreeSet<&Row> = KPIS
        .iter()
        .flat_map(Kpi::parts)
        .filter_map(|part| parts.get(part))
        .flat_map(BTreeMap::keys)
        .collect();
    for key in measured.keys().filter(|key| !named.contains(key)) {
        wrong.push(format!("by {keys:?}: row {key:?} should not be"));
    }
    for key in named {
        let Some(row) = measured.get(key) else {
            wrong.push(format!("by {keys:?}: row {key:?} is missing"));
            continue;
        };
        for (kpi, ours) in KPIS.iter().zip(row) {
            let theirs = kpi.value(parts, key);
            let equal = match (ours, &theirs) {
                (Some(ours), Some(theirs)) => near.equal(kpi, ours, theirs),
                (None, None) => true,
                _ => false,
            };
            if !equal {
                wrong.push(format!("{} at {keys:?} = {key:?}: {ours:?}, by hand {theirs:?}", kpi.name));
            }
        }
    }
}

/// On dirty feeds the total may be off by the tolerance, and so may the misplaced amounts of all members together.
fn distance(keys: &[&str], measured: &BTreeMap<Row, Row>, parts: &Parts, wrong: &mut Vec<String>) {
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    for (at, kpi) in KPIS.iter().enumerate().filter(|(_, kpi)| kpi.additive || keys.is_empty()) {
        let all: BTreeSet<&Row> = kpi
            .parts()
            .into_iter()
            .filter_map(|part| parts.get(part))
            .flat_map(BTreeMap::keys)
            .chain(measured.keys())
            .collect();
        let (mut off, mut whole) = (0.0, 0.0);
        for key in all {
            let ours = number(measured.get(key).and_then(|row| row.get(at)).and_then(Option::as_ref));
            let theirs = number(kpi.value(parts, key).as_ref());
            off += (ours - theirs).abs();
            whole += theirs.abs();
        }
        if off > kpi.tolerance * whole + 0.01 {
            wrong.push(format!("{} by {keys:?}: {off} of {whole} is not where the truth has it", kpi.name));
        }
    }
}

/// A value never depends on the measures beside it, and a lone measure shows its own rows only.
async fn alone(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let keys = ["month", "terminal"];
    let together = measured(desk, &keys, true, &KPIS).await?;
    for (at, kpi) in KPIS.iter().enumerate() {
        for (key, row) in measured(desk, &keys, true, std::slice::from_ref(kpi)).await? {
            let beside = together.get(&key).and_then(|row| row.get(at)).cloned().flatten();
            if row.first().cloned().flatten() != beside {
                wrong.push(format!("{} at {key:?}: {row:?} alone, {beside:?} beside others", kpi.name));
            }
        }
    }
    Ok(())
}

/// Months and terminals of additive KPIs add up to the total; a ratio is one of sums, not a mean of ratios.
async fn totals(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let number = |cell: Option<&Option<String>>| {
        cell.and_then(Option::as_ref).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let whole = measured(desk, &[], false, &KPIS).await?;
    let whole = whole.values().next().cloned().unwrap_or_default();
    for keys in [&["month"][..], &["terminal"], &["month", "terminal"]] {
        let members = measured(desk, keys, false, &KPIS).await?;
        for (at, kpi) in KPIS.iter().enumerate() {
            let sum: f64 = members.values().map(|row| number(row.get(at))).sum();
            let total = number(whole.get(at));
            if kpi.additive != ((sum - total).abs() <= 1e-6 * total.abs().max(1.0)) {
                wrong.push(format!("{} by {keys:?}: members add to {sum}, the total is {total}", kpi.name));
            }
        }
    }
    let months = desk.rows("SELECT MEASURE(waiting_ratio) FROM kpi.port_calls GROUP BY month").await?;
    let ratios: Vec<f64> =
        months.iter().map(|row| number(row.first())).filter(|ratio| *ratio > 0.0).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of months")]
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    let at = KPIS.iter().position(|kpi| kpi.name == "waiting_ratio").unwrap_or(0);
    let ratio = number(whole.get(at));
    if ratios.len() < 2 || (mean - ratio).abs() < 1e-6 {
        wrong.push(format!("waiting_ratio {ratio} equals the mean {mean} of {} months", ratios.len()));
    }
    let broken = "SELECT count(*) FROM (SELECT month, terminal, cargo_class, MEASURE(cargo_tonnes) AS a, \
                  MEASURE(discharged_t) AS d, MEASURE(loaded_t) AS l FROM kpi.port_calls GROUP BY 1, 2, 3) AS x \
                  WHERE a <> coalesce(d, 0) + coalesce(l, 0) OR a IS NULL AND (d IS NOT NULL OR l IS NOT NULL)";
    if desk.rows(broken).await? != [[Some("0".to_owned())]] {
        wrong.push("cargo_tonnes is not discharged_t + loaded_t".into());
    }
    Ok(())
}

/// The flat views hold what MEASURE says, column by column, and every KPI is one of their columns.
async fn flat(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let (columns, _) =
        desk.table("SELECT * FROM kpi.port_calls LIMIT 0").await.map_err(|e| format!("{e:?}"))?;
    let dimensions = [
        "time",
        "hour",
        "day",
        "week",
        "month",
        "quarter",
        "year",
        "terminal",
        "berth",
        "vessel_type",
        "cargo_class",
        "commodity",
        "direction",
        "trade",
    ];
    let kpis: Vec<&String> = columns.iter().filter(|name| !dimensions.contains(&name.as_str())).collect();
    if KPIS.iter().any(|kpi| !kpis.iter().any(|name| *name == kpi.name)) {
        wrong.push(format!("the view lacks a KPI: {kpis:?}"));
    }
    for (view, keys) in [("day", &["day", "terminal"][..]), ("month", &["month", "terminal", "cargo_class"])]
    {
        let (names, rows) = desk
            .table(&format!("SELECT * FROM kpi_flat.port_calls__{view}"))
            .await
            .map_err(|e| format!("{e:?}"))?;
        let wanted: Vec<&str> = keys.iter().copied().chain(kpis.iter().map(|name| name.as_str())).collect();
        if names != wanted {
            wrong.push(format!("kpi_flat.port_calls__{view} has columns {names:?}"));
            continue;
        }
        let asked: Vec<String> = kpis.iter().map(|name| format!("MEASURE({name})")).collect();
        let sql = format!(
            "SELECT {}, {} FROM kpi.port_calls GROUP BY {}",
            keys.join(", "),
            asked.join(", "),
            keys.join(", ")
        );
        if keyed(rows, keys.len())? != desk.keyed(&sql, keys.len()).await? {
            wrong.push(format!("kpi_flat.port_calls__{view} differs from MEASURE"));
        }
    }
    Ok(())
}

/// Tonnes and waiting in one row, each dated by its own event: a ship that berths in one month and completes in the
/// next is in both.
async fn two_clocks(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let across = desk
        .rows(
            "SELECT date_trunc('month', min(atc_ts))::date::text FROM warehouse.fact_cargo_operation \
             WHERE date_trunc('month', ata_berth_ts) < date_trunc('month', atc_ts) AND tonnes > 0",
        )
        .await?;
    if across.first().and_then(|row| row.first()).cloned().flatten().is_none() {
        wrong.push("no ship of this port works across the end of a month: the test tests nothing".into());
    }
    let row = desk
        .rows(
            "SELECT MEASURE(cargo_tonnes), MEASURE(waiting_h), MEASURE(calls), MEASURE(berth_h) FROM kpi.port_calls \
             WHERE time >= '2026-08-01T00:00:00Z' AND time < '2026-09-01T00:00:00Z'",
        )
        .await?;
    let month = desk
        .rows(
            "SELECT MEASURE(cargo_tonnes), MEASURE(waiting_h), MEASURE(calls), MEASURE(berth_h) FROM kpi.port_calls \
             WHERE month = DATE '2026-08-01'",
        )
        .await?;
    let by_hand = desk
        .rows(
            "SELECT (SELECT sum(tonnes) FROM warehouse.fact_cargo_operation WHERE atc_ts >= '2026-08-01T00:00:00Z' AND \
             atc_ts < '2026-09-01T00:00:00Z'), (SELECT sum(waiting_h) FROM warehouse.fact_cargo_operation WHERE \
             is_call_row AND ata_berth_ts >= '2026-08-01T00:00:00Z' AND ata_berth_ts < '2026-09-01T00:00:00Z'), \
             (SELECT count(*) FROM warehouse.fact_cargo_operation WHERE is_call_row AND ata_pbp_ts >= \
             '2026-08-01T00:00:00Z' AND ata_pbp_ts < '2026-09-01T00:00:00Z'), (SELECT sum(berth_h) FROM \
             warehouse.fact_cargo_operation WHERE is_visit_row AND atd_berth_ts >= '2026-08-01T00:00:00Z' AND \
             atd_berth_ts < '2026-09-01T00:00:00Z')",
        )
        .await?;
    if row != by_hand || month != by_hand {
        wrong.push(format!("August by time {row:?}, by month {month:?}, by hand {by_hand:?}"));
    }
    Ok(())
}

/// The tests that the KPI file itself names hold on the port.
async fn own_tests(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let model = desk.model.model("port_calls").ok_or("no such model")?;
    let by = |by: &[String], names: &[&String]| {
        let measures: Vec<String> = names.iter().map(|name| format!("MEASURE({name}) AS {name}")).collect();
        let keys = by.join(", ");
        format!("SELECT {keys}, {} FROM kpi.port_calls GROUP BY {keys}", measures.join(", "))
    };
    let everywhere = ["month".to_owned(), "terminal".to_owned()];
    for test in &model.tests {
        let (rows, broken) = match test {
            KpiTest::Identity { left, right, by: keys, tolerance } => {
                let mut names: Vec<&String> = left.columns.iter().chain(&right.columns).collect();
                names.sort_unstable();
                names.dedup();
                (by(keys, &names), format!("abs(({}) - ({})) > {tolerance}", left.sql, right.sql))
            }
            KpiTest::Bounds { measure, min, max } => {
                let low = min.map(|min| format!("{measure} < {min}"));
                let high = max.map(|max| format!("{measure} > {max}"));
                let bounds: Vec<String> = low.into_iter().chain(high).collect();
                (by(&everywhere, &[measure]), bounds.join(" OR "))
            }
        };
        let sql = format!("WITH k AS ({rows}) SELECT count(*), count(*) FILTER (WHERE {broken}) FROM k");
        let counts = desk.rows(&sql).await?;
        let count =
            |at: usize| counts.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
        if count(0) == "0" || count(1) != "0" {
            wrong.push(format!("{test:?} fails in {} of {} rows", count(1), count(0)));
        }
    }
    Ok(())
}

/// A condition on a bucket reaches the warehouse as a range of the measure's own clock.
async fn pushed(desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    for (kpi, clock) in [("waiting_h", "ata_berth_ts"), ("cargo_tonnes", "atc_ts"), ("calls", "ata_pbp_ts")] {
        let sql =
            format!("EXPLAIN SELECT MEASURE({kpi}) FROM kpi.port_calls WHERE month = DATE '2026-08-01'");
        let lines: Vec<String> = desk.rows(&sql).await?.into_iter().flatten().flatten().collect();
        let sent = |line: &&String| {
            line.split_once(" sent: ").is_some_and(|(_, sent)| {
                let sent = sent.split(" kept: ").next().unwrap_or_default();
                [clock, "2026-08-01", "2026-09-01"].iter().all(|text| sent.contains(text))
            })
        };
        if !lines.iter().any(|line| sent(&line)) {
            wrong.push(format!("{kpi} of one month reads every month:\n{}", lines.join("\n")));
        }
    }
    Ok(())
}

/// A share is of what its row would be without the keys it is taken over, and shares add to a hundred.
async fn shares(fixture: &Fixture, desk: &Desk, wrong: &mut Vec<String>) -> Result<(), Failed> {
    let ours = desk
        .keyed(
            "SELECT month, cargo_class, MEASURE(cargo_tonnes), MEASURE(cargo_tonnes, 'all cargo_class'), \
             MEASURE(cargo_tonnes, 'all'), MEASURE(cargo_share) FROM kpi.port_calls GROUP BY month, cargo_class",
            2,
        )
        .await?;
    let by_hand = "SELECT date_trunc('month', atc_ts AT TIME ZONE 'UTC')::date::text, cargo_class, sum(tonnes)::text, \
                   (sum(sum(tonnes)) OVER (PARTITION BY date_trunc('month', atc_ts AT TIME ZONE 'UTC')))::text, \
                   (sum(sum(tonnes)) OVER ())::text FROM star.fact_cargo_operation JOIN star.dim_cargo USING (cargo_key) \
                   WHERE atc_ts IS NOT NULL GROUP BY 1, 2, date_trunc('month', atc_ts AT TIME ZONE 'UTC')";
    let lease = fixture.warehouse.lease().await?;
    let rows = lease.query(by_hand, &[]).await.map_err(|error| format!("{error:?}"))?;
    lease.release();
    let theirs = keyed(rows.iter().map(|row| (0..5).map(|at| row.get(at)).collect()).collect(), 2)?;
    let mut sums: BTreeMap<Option<String>, f64> = BTreeMap::new();
    for (key, row) in &ours {
        if theirs.get(key).is_none_or(|by_hand| row.get(..3) != Some(by_hand.as_slice())) {
            wrong.push(format!("tonnes of {key:?} and of all: {row:?}, by hand {:?}", theirs.get(key)));
        }
        let share = row.last().cloned().flatten().and_then(|text| text.parse::<f64>().ok());
        *sums.entry(key.first().cloned().flatten()).or_default() += share.unwrap_or(0.0);
    }
    if ours.len() != theirs.len() || sums.values().any(|sum| (sum - 100.0).abs() > 1e-9) {
        wrong.push(format!("{} rows, by hand {}; shares add to {sums:?}", ours.len(), theirs.len()));
    }
    Ok(())
}
