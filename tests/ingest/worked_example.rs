//! The worked example of the weather rule: one bulk ship at berth 82 on 14 August, exactly its samples and events, put
//! into the operational tables, the documents and the weather API, and taken out again as KPIs.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeZone, Utc};
use libtest_mimic::Failed;
use portolan_ingest::{Interval, NoProgress};
use portolan_simulator::{SimConfig, Weather, simulate};

use crate::desk::Desk;
use crate::{Fixture, balanced, postgres, runtime};

/// The ship, its call, and the ship before it, which left berth 82 at 06:00. `eta` is the agent's, Paris time.
const TOS: &str = "
INSERT INTO tos.terminals VALUES (3, 'M8', 'Terminal vraquier du mole 8', 'TVS', 'north', NULL, 'SNDKR');
INSERT INTO tos.berths VALUES (82, 3, '82', '8', 158.0, 12.0, 'open', '2000-01-01', NULL);
INSERT INTO tos.ref_cargo VALUES ('CLK', 'clinker', 'dry_bulk', 'bulk', NULL, true, false);
INSERT INTO tos.vessels VALUES
  (1, '9074729', '636000001', 'A8AA1', 'BULK ONE', NULL, 'LR', 'bulk carrier', 30000, 17000, 36000, 190, 32, 12, NULL, '2026-08-01'),
  (2, '9176187', '636000002', 'A8AA2', 'BEFORE', NULL, 'LR', 'general cargo', 9000, 5000, 10800, 130, 20, 8, NULL, '2026-08-01');
INSERT INTO tos.vessel_history VALUES
  (1, '1900-01-01', NULL, '9074729', '636000001', 'A8AA1', 'BULK ONE', 'LR', 30000, 36000, NULL),
  (2, '1900-01-01', NULL, '9176187', '636000002', 'A8AA2', 'BEFORE', 'LR', 9000, 10800, NULL);
INSERT INTO tos.port_calls (port_call_id, vessel_id, agent, eta, ata, atd, status, purpose, deleted, created_at, updated_at) VALUES
  ('SNDKR26000001', 2, 'Agence', NULL, '2026-08-11 01:00', '2026-08-14 06:00', 'DEPARTED', 'cargo', 0, '2026-08-10', '2026-08-14'),
  ('SNDKR26000002', 1, 'Agence', '2026-08-14 03:00', '2026-08-14 02:00', '2026-08-14 23:30', 'DEPARTED', 'cargo', 0, '2026-08-10', '2026-08-15');
INSERT INTO tos.berth_visits (visit_id, port_call_id, berth_id, first_line, all_fast, last_line, updated_at) VALUES
  (1, 'SNDKR26000001', 82, '2026-08-11 03:45', '2026-08-11 04:00', '2026-08-14 06:00', '2026-08-14'),
  (2, 'SNDKR26000002', 82, '2026-08-14 09:15', '2026-08-14 09:30', '2026-08-14 23:30', '2026-08-15');
INSERT INTO tos.cargo_operations VALUES
  (1, 'SNDKR26000002', 2, 'Mole 8', 'CLK', 'D', 'IM', 20000.000, 0, 0, 0, 0, 'bulk', '2026-08-14 11:00', '2026-08-14 22:00', 2, 2, 17, '2026-08-15');
INSERT INTO tos.op_stoppages VALUES (1, 1, '2026-08-14 14:00', '2026-08-14 16:30', 'WEA', 'rain');
";

/// The agent's estimate, 01:00 UTC said two days before in Paris time, and its report of the delay.
const DOCUMENTS: &str = r#"{"callNo":"SNDKR26000002","evt":"ETA","ts":"14-AUG-2026 03:00","rec":"12-AUG-2026 10:00","src":"agent","ship":"BULK ONE","imo":"9074729"}
{"callReference":"SNDKR26000002","snapshotTime":"2026-08-15T00:00:00Z","agentInfo":[],"portAreaDetails":[],"delayInfo":[{"reasonCode":"WEA","minutes":600,"reportedBy":"agent","reportedAt":"2026-08-15T00:00:00Z"}]}
"#;

/// The ship's KPIs; the ship before it is of another type.
const FROM_THE_STAR: [(&str, f64); 12] = [
    ("waiting_h", 7.5),
    ("berth_h", 14.0),
    ("idle_h", 5.5),
    ("port_h", 21.5),
    ("weather_wait_h", 4.0),
    ("weather_stop_h", 4.0),
    ("weather_h", 8.0),
    ("weather_share", 100.0 * 8.0 / 13.0),
    ("waiting_ratio", 7.5 / 14.0),
    ("waiting_p90_h", 7.5),
    ("arrival_dev_h", 1.0),
    ("cargo_tonnes", 20_000.0),
];

/// What else the example states, from gold and from the star.
const STATEMENTS: [(&str, &str, f64); 14] = [
    ("D05", "SELECT waiting_h FROM gold.call WHERE port_call_id = 'SNDKR26000002'", 7.5),
    ("D09", "SELECT berth_h FROM gold.visit WHERE visit_id = '2'", 14.0),
    ("D12", "SELECT gross_work_h FROM gold.visit WHERE visit_id = '2'", 8.5),
    ("D12 of the star", "SELECT sum(gross_work_h) FROM warehouse.fact_cargo_operation WHERE tonnes > 0", 8.5),
    ("D13", "SELECT idle_h FROM gold.visit WHERE visit_id = '2'", 5.5),
    ("D14", "SELECT port_h FROM gold.call WHERE port_call_id = 'SNDKR26000002'", 21.5),
    (
        "W02",
        "SELECT c.weather_wait_h + v.weather_stop_h FROM gold.call c JOIN gold.visit v ON v.port_call_id = c.port_call_id \
         WHERE v.visit_id = '2'",
        8.0,
    ),
    (
        "W02s",
        "SELECT c.weather_wait_strict_h + v.weather_stop_h FROM gold.call c JOIN gold.visit v \
         ON v.port_call_id = c.port_call_id WHERE v.visit_id = '2'",
        6.0,
    ),
    (
        "W02s of the star",
        "SELECT sum(weather_wait_strict_h + weather_stop_h) FROM warehouse.fact_cargo_operation WHERE tonnes > 0",
        6.0,
    ),
    // Work closures inside [ATS, ATC), worked or not.
    (
        "W01",
        "SELECT sum(date_part('epoch', least(k.end_ts, v.atc_ts) - greatest(k.start_ts, v.ats_ts))) / 3600 \
         FROM gold.closure_interval k JOIN gold.visit v ON k.start_ts < v.atc_ts AND k.end_ts > v.ats_ts \
         WHERE k.activity = 'bulk' AND k.channel = 'rain' AND v.visit_id = '2'",
        3.0,
    ),
    (
        "W04",
        "SELECT sum(date_part('epoch', least(end_ts, TIMESTAMPTZ '2026-08-15 00:00:00+00') - start_ts)) / 3600 \
         FROM gold.closure_interval WHERE activity = 'pilotage'",
        6.0,
    ),
    (
        "W05",
        "SELECT 1 - sum(date_part('epoch', least(end_ts, TIMESTAMPTZ '2026-08-15 00:00:00+00') - start_ts)) / 3600 / 24 \
         FROM gold.closure_interval WHERE activity = 'pilotage'",
        0.75,
    ),
    (
        "W14",
        "SELECT sum(e.minutes) / 60.0 - 8.0 FROM silver.port_event e WHERE e.place = 'delay' AND e.kind IN ('WEA', 'TID')",
        2.0,
    ),
    (
        "nothing is unknown",
        "SELECT weather_unknown_h FROM gold.call WHERE port_call_id = 'SNDKR26000002'",
        0.0,
    ),
];

pub(crate) fn run() -> Result<(), Failed> {
    runtime()?.block_on(async {
        let directory = tempfile::tempdir()?;
        let fixture = start(directory.path()).await?;
        let outcome = Box::pin(check(&fixture)).await;
        fixture.warehouse.shutdown().await;
        fixture.tos.shutdown().await;
        outcome
    })
}

fn at(day: u32, hour: u32) -> Result<DateTime<Utc>, Failed> {
    Utc.with_ymd_and_hms(2026, 8, day, hour, 0, 0).single().ok_or_else(|| "no such time".into())
}

/// Gusts and rain of the table, calm otherwise, as the API serves them: km/h.
fn weather() -> Result<Weather, Failed> {
    let mut weather = Weather { start: at(10, 0)?.timestamp(), ..Weather::default() };
    let listed = |list: &[(i64, f64)], calm: f64, hour: i64| {
        list.iter().find(|(listed, _)| *listed == hour).map_or(calm, |(_, value)| *value)
    };
    let gusts = [(4, 20.4), (5, 22.0), (6, 18.0), (7, 15.0), (8, 13.0), (22, 20.5), (23, 15.0), (24, 12.0)];
    let rain = [(13, 0.1), (14, 3.2), (15, 0.8), (16, 0.3), (17, 0.1)];
    // Hours are counted from the start of 14 August.
    for hour in -96..48 {
        weather.wind_kmh.push(18.0);
        weather.gust_kmh.push(listed(&gusts, 8.0, hour) * 3.6);
        weather.direction.push(20.0);
        weather.visibility_m.push(9_000.0);
        weather.rain_mm.push(listed(&rain, 0.0, hour));
        weather.wave_m.push(1.0);
    }
    Ok(weather)
}

async fn start(directory: &Path) -> Result<Fixture, Failed> {
    let interval = Interval { start: at(10, 0)?, end: at(16, 0)? };
    // The tables of the port-management system are those of a simulated port; their rows are not used.
    let config = SimConfig {
        from: at(9, 0)?,
        to: interval.start,
        seed: 1,
        dirt: 0.0,
        ais_secs: Some(14_400),
        traffic: 0.1,
    };
    let port = simulate(&config, &|_, _, _| {})?;
    let feeds = directory.join("feeds");
    std::fs::create_dir_all(&feeds)?;
    port.write_ais(&feeds)?;
    std::fs::write(feeds.join("port_call_events.ndjson"), DOCUMENTS)?;
    let tos = postgres(directory, "tos").await?;
    let lease = tos.lease().await?;
    for table in port.tos_tables() {
        lease.batch_execute(&table.ddl).await?;
    }
    lease.batch_execute(TOS).await.map_err(|error| format!("{error:?}"))?;
    lease.release();
    Fixture::assemble(directory, interval, port, Arc::new(weather()?), tos).await
}

async fn check(fixture: &Fixture) -> Result<(), Failed> {
    fixture.ingest.bootstrap().await?;
    let reports = Box::pin(fixture.ingest.run_all(fixture.interval, &NoProgress)).await?;
    balanced(&reports)?;
    let desk = Desk::open(&fixture.lake, &fixture.warehouse).await?;
    let mut wrong = Vec::new();
    let mut compare = |what: &str, cell: Option<&Option<String>>, wanted: f64| {
        let found = cell.and_then(Option::as_ref).and_then(|text| text.parse::<f64>().ok());
        if found.is_none_or(|found| (found - wanted).abs() > 1e-9) {
            wrong.push(format!("{what} is {cell:?}, not {wanted}"));
        }
    };
    let measures: Vec<String> = FROM_THE_STAR.iter().map(|(kpi, _)| format!("MEASURE({kpi})")).collect();
    let measures = measures.join(", ");
    // By the ship, by its day and berth, and by the cargo it carried: the same ship each time.
    for (keys, condition) in [
        ("", "WHERE vessel_type = 'bulk carrier'"),
        ("GROUP BY vessel_type", "WHERE vessel_type = 'bulk carrier'"),
        ("GROUP BY day, terminal, berth", "WHERE vessel_type = 'bulk carrier' AND day = DATE '2026-08-14'"),
        ("GROUP BY cargo_class, direction", "WHERE cargo_class = 'dry_bulk'"),
    ] {
        let rows = desk.rows(&format!("SELECT {measures} FROM kpi.port_calls {condition} {keys}")).await?;
        if rows.len() != 1 {
            return Err(format!("{condition} {keys} gives {} rows", rows.len()).into());
        }
        for (at, (kpi, wanted)) in FROM_THE_STAR.iter().enumerate() {
            let cell = rows.first().and_then(|row| row.get(at));
            compare(&format!("{kpi} {condition} {keys}"), cell, *wanted);
        }
    }
    for (what, sql, wanted) in STATEMENTS {
        let rows = desk.rows(sql).await?;
        compare(what, rows.first().and_then(|row| row.first()), wanted);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
