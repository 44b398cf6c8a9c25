//! The simulated port from outside: closures, prefix, determinism, feeds against truth, calibration.

#![expect(clippy::unwrap_used, reason = "a test helper that fails is a failed test")]

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use portolan_simulator::{
    Port, SimConfig, Weather,
    closure::{Closures, Samples},
    simulate,
    span::Spans,
};

fn config(seed: u64, days: i64, dirt: f64) -> SimConfig {
    let from = DateTime::parse_from_rfc3339("2025-01-01T00:00:00Z").unwrap().with_timezone(&Utc);
    SimConfig { from, to: from + TimeDelta::days(days), seed, dirt, ais_secs: None, traffic: 1.0 }
}

fn port(seed: u64, days: i64, dirt: f64) -> Port {
    simulate(&config(seed, days, dirt), &|_, _, _| {}).unwrap()
}

fn truth<'a>(port: &'a Port, name: &str) -> &'a RecordBatch {
    &port.truth_tables().iter().find(|table| table.0 == name).unwrap().1
}

fn tos<'a>(port: &'a Port, name: &str) -> &'a RecordBatch {
    &port.tos_tables().iter().find(|table| table.name == name).unwrap().batches[0]
}

fn ints(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

fn times(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    let column = batch.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>();
    column.iter().map(|time| time.map(|micros| micros / 1_000_000)).collect()
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    (0..column.len())
        .map(|row| if column.is_null(row) { String::new() } else { column.value(row).to_owned() })
        .collect()
}

fn decimals(batch: &RecordBatch, name: &str) -> Vec<i128> {
    batch
        .column_by_name(name)
        .unwrap()
        .as_primitive::<Decimal128Type>()
        .iter()
        .map(Option::unwrap_or_default)
        .collect()
}

#[test]
fn the_worked_example_closes_what_it_says() {
    let mut gust = vec![Some(5.0); 48];
    for (hour, value) in
        [(4, 20.4), (5, 22.0), (6, 18.0), (7, 15.0), (8, 13.0), (22, 20.5), (23, 15.0), (24, 12.0)]
    {
        gust[hour] = Some(value);
    }
    let mut rain = vec![Some(0.0); 48];
    for (hour, value) in [(13, 0.1), (14, 3.2), (15, 0.8), (16, 0.3), (17, 0.1)] {
        rain[hour] = Some(value);
    }
    let clear = vec![Some(12_000.0); 48];
    let calm = vec![Some(1.0); 48];
    let samples = Samples { start: 0, gust_ms: &gust, visibility_m: &clear, rain_mm: &rain, wave_m: &calm };
    let closures = Closures::of(&samples);
    let h = |hours: i64| hours * 3600;
    assert_eq!(closures.pilotage, Spans::union_of([(h(4), h(8)), (h(22), h(24))]));
    // The gust at 04-07 h and 22 h closes bulk work as well; the rain adds [14, 17).
    assert_eq!(closures.bulk.clip(h(12), h(20)), Spans::one(h(14), h(17)));
    let lost = closures.pilotage.clip(h(2), h(9) + 1800).length();
    let idle =
        Spans::one(h(9) + 1800, h(22)).minus(&Spans::union_of([(h(11), h(14)), (h(16) + 1800, h(22))]));
    let stop = idle.and(&closures.bulk).length();
    let sail = closures.pilotage.clip(h(22), h(23) + 1800).length();
    assert_eq!((lost, stop, sail), (h(4), h(2) + 1800, h(1) + 1800));
    assert_eq!(lost + stop + sail, h(8));
    let strict = closures.pilotage.clip(h(6), h(9) + 1800).length() + stop + sail;
    assert_eq!(strict, h(6));
}

#[test]
fn missing_samples_keep_the_state_for_three_hours() {
    let gust: Vec<Option<f64>> = [Some(21.0), None, None, None, None, Some(5.0), Some(5.0)].to_vec();
    let other = vec![Some(9_000.0); 7];
    let calm = vec![Some(0.0); 7];
    let samples = Samples { start: 0, gust_ms: &gust, visibility_m: &other, rain_mm: &calm, wave_m: &calm };
    assert_eq!(Closures::of(&samples).pilotage, Spans::union_of([(0, 4 * 3600), (5 * 3600, 6 * 3600)]));
}

#[test]
fn same_seed_same_bytes_and_dirt_or_ais_change_no_truth() {
    let (one, two) = (port(7, 20, 1.0), port(7, 20, 1.0));
    assert_eq!(one.events(), two.events());
    assert!(one.movements().eq(two.movements()));
    assert_eq!(one.truth_tables(), two.truth_tables());
    let mut with_ais = config(7, 20, 0.0);
    with_ais.ais_secs = Some(3600);
    let clean = simulate(&with_ais, &|_, _, _| {}).unwrap();
    assert!(clean.ais().unwrap().num_rows() > 1000);
    for name in ["truth_call", "truth_visit", "truth_operation", "truth_interval", "truth_closure"] {
        assert_eq!(truth(&one, name), truth(&clean, name), "{name}");
    }
    assert_ne!(truth(&port(8, 20, 0.0), "truth_call"), truth(&clean, "truth_call"));
    assert_eq!(truth(&clean, "truth_defect").num_rows(), 0);
    assert!(truth(&one, "truth_defect").num_rows() > 100);
}

#[test]
fn a_month_is_the_first_month_of_a_longer_span() {
    let (month, longer) = (port(3, 31, 0.0), port(3, 75, 0.0));
    let (a, b) = (truth(&month, "truth_call"), truth(&longer, "truth_call"));
    let rows = a.num_rows();
    assert!(rows > 200);
    assert_eq!(texts(a, "port_call_id"), texts(b, "port_call_id")[..rows]);
    assert_eq!(times(a, "ata_pbp"), times(b, "ata_pbp")[..rows]);
    let late: HashMap<i64, (Option<i64>, Option<i64>)> = ints(b, "port_s")
        .into_iter()
        .zip(ints(b, "weather_wait_s"))
        .enumerate()
        .map(|(row, v)| (i64::try_from(row).unwrap(), v))
        .collect();
    for (row, port) in ints(a, "port_s").into_iter().enumerate().filter(|row| row.1.is_some()) {
        assert_eq!(port, late[&i64::try_from(row).unwrap()].0);
    }
    let visits: HashMap<Option<i64>, Option<i64>> = ints(truth(&longer, "truth_visit"), "visit_id")
        .into_iter()
        .zip(ints(truth(&longer, "truth_visit"), "weather_stop_s"))
        .collect();
    let short = truth(&month, "truth_visit");
    for (id, stop) in
        ints(short, "visit_id").into_iter().zip(ints(short, "weather_stop_s")).filter(|row| row.1.is_some())
    {
        assert_eq!(visits[&id], stop);
    }
}

#[test]
fn clean_feeds_carry_the_truth() {
    let port = port(11, 60, 0.0);
    let calls = truth(&port, "truth_call");
    let feed = tos(&port, "port_calls");
    let ata: HashMap<String, (Option<i64>, Option<i64>)> = texts(feed, "port_call_id")
        .into_iter()
        .zip(times(feed, "ata").into_iter().zip(times(feed, "atd")))
        .collect();
    assert!(ata.len() > calls.num_rows(), "expected calls are in the feed");
    let told = times(calls, "ata_pbp").into_iter().zip(times(calls, "atd_last"));
    for (id, truth) in texts(calls, "port_call_id").into_iter().zip(told) {
        assert_eq!(ata[&id], truth, "{id}");
    }
    // Work from operations and stoppages alone equals the truth of the visit.
    let ops = tos(&port, "cargo_operations");
    let stops = tos(&port, "op_stoppages");
    let mut holes: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
    let to = config(11, 60, 0.0).to.timestamp();
    let ids = ints(stops, "op_id").into_iter().flatten();
    for (op, (start, end)) in ids.zip(times(stops, "start_time").into_iter().zip(times(stops, "end_time"))) {
        holes.entry(op).or_default().push((start.unwrap(), end.unwrap_or(to)));
    }
    let mut work: HashMap<i64, Spans> = HashMap::new();
    let keys = ints(ops, "op_id").into_iter().zip(ints(ops, "visit_id"));
    for ((op, visit), (start, end)) in
        keys.zip(times(ops, "start_time").into_iter().zip(times(ops, "end_time")))
    {
        let holes = Spans::union_of(holes.get(&op.unwrap()).cloned().unwrap_or_default());
        let part = Spans::one(start.unwrap(), end.unwrap_or(to)).minus(&holes);
        let entry = work.entry(visit.unwrap()).or_default();
        *entry = entry.or(&part);
    }
    let visits = truth(&port, "truth_visit");
    let mut compared = 0;
    for (id, seconds) in ints(visits, "visit_id").into_iter().zip(ints(visits, "work_s")) {
        let Some(seconds) = seconds else { continue };
        assert_eq!(work.get(&id.unwrap()).map_or(0, Spans::length), seconds, "visit {id:?}");
        compared += 1;
    }
    assert!(compared > 300);
    // Closures from the served weather are those of the truth.
    let served = port.weather.closures();
    let closures = truth(&port, "truth_closure");
    let mut pilotage = Vec::new();
    let spans = times(closures, "start").into_iter().zip(times(closures, "end"));
    for (activity, (start, end)) in texts(closures, "activity").into_iter().zip(spans) {
        if activity == "pilotage" {
            pilotage.push((start.unwrap(), end.unwrap()));
        }
    }
    assert_eq!(Spans::union_of(pilotage), served.pilotage.clip(i64::MIN, to));
    assert_eq!(
        decimals(ops, "tonnes").iter().sum::<i128>(),
        decimals(truth(&port, "truth_operation"), "tonnes").iter().sum::<i128>()
    );
}

#[test]
fn every_clean_document_is_json_of_a_known_generation() {
    let port = port(5, 20, 0.0);
    let mut seen = [0; 4];
    for line in port.events().lines() {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        let generation = ["evt", "eventType", "schemaVersion", "callReference"]
            .iter()
            .position(|key| document.get(key).is_some());
        seen[generation.unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    let calls = tos(&port, "port_calls").num_rows();
    assert_eq!(seen[3], calls, "one community document per shown call");
}

#[test]
fn clean_movements_tell_the_truth() {
    let port = port(11, 60, 0.0);
    let instant = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp();
    let calls = truth(&port, "truth_call");
    let ata: HashMap<String, Option<i64>> =
        texts(calls, "port_call_id").into_iter().zip(times(calls, "ata_pbp")).collect();
    let visits = tos(&port, "berth_visits");
    let alongside: HashMap<i64, (Option<i64>, Option<i64>)> = ints(visits, "visit_id")
        .into_iter()
        .flatten()
        .zip(times(visits, "all_fast").into_iter().zip(times(visits, "last_line")))
        .collect();
    let mut last = 0;
    let mut seen: HashMap<String, i64> = HashMap::new();
    let mut etas: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for movement in port.movements() {
        let said: serde_json::Value = serde_json::from_str(movement.line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap_or_else(|| panic!("{key} in {said}"));
        assert_eq!(text("port_call_id"), movement.port_call_id);
        assert!(ids.insert(text("event_id").to_owned()), "{said}");
        assert!(movement.sent >= last && movement.sent == instant(text("record_time")), "{said}");
        last = movement.sent;
        let at = instant(text("event_time"));
        // A planned visit is announced before it has a row.
        let visit = said["berth_visit_id"].as_i64().and_then(|visit| alongside.get(&visit));
        match (text("service"), text("event"), text("classifier")) {
            ("PILOT_BOARDING_PLACE", "ARRI", "ACT") => {
                assert_eq!(ata[movement.port_call_id], Some(at), "{said}");
            }
            ("PILOT_BOARDING_PLACE", "ARRI", "EST") => {
                etas.entry(movement.port_call_id.to_owned()).or_default().push((movement.sent, at));
            }
            ("ALL_FAST", "ARRI", "ACT") => assert_eq!(visit.unwrap().0, Some(at), "{said}"),
            ("BERTH", "DEPA", "ACT") => assert_eq!(visit.unwrap().1, Some(at), "{said}"),
            _ => {}
        }
        *seen.entry(format!("{} {}", text("phase"), text("service"))).or_default() += 1;
    }
    for kind in ["INBD PILOTAGE", "OUTB PILOTAGE", "SHIF TOWAGE", "ALGS CARGO_OPERATIONS", "OUTB SEA_PASSAGE"]
    {
        assert!(seen.contains_key(kind), "{kind} in {seen:?}");
    }
    let to = config(11, 60, 0.0).to.timestamp();
    let mut told = 0;
    let refs = texts(calls, "port_call_id").into_iter().zip(times(calls, "eta_ref"));
    for ((id, wanted), arrived) in refs.zip(times(calls, "ata_pbp")) {
        let known = etas.get(&id).into_iter().flatten();
        let known = known.filter(|(record, _)| *record <= arrived.unwrap() - 86_400 && *record < to);
        assert_eq!(known.max().map(|eta| eta.1), wanted, "{id}");
        told += 1;
    }
    assert!(told > 300);
    let each = ids.len() as f64 / calls.num_rows() as f64;
    assert!((40.0..50.0).contains(&each), "{each} events a call");
}

#[test]
fn more_movements_change_none_that_were_told() {
    let (month, longer) = (port(3, 31, 1.0), port(3, 45, 1.0));
    let to = config(3, 31, 1.0).to.timestamp();
    // A message is known by what it says; some of them come late.
    let all: std::collections::HashSet<&str> = longer.movements().map(|movement| movement.line).collect();
    let early: Vec<_> = month.movements().filter(|movement| movement.sent < to).collect();
    assert!(early.len() > 9_000);
    for movement in early {
        assert!(all.contains(movement.line), "{}", movement.line);
    }
    let defects = truth(&month, "truth_defect");
    for kind in
        ["duplicate", "out_of_order", "undecodable", "unknown_shape", "time_without_offset", "imo_type"]
    {
        let rows = texts(defects, "feed").into_iter().zip(texts(defects, "kind"));
        let count = rows.filter(|row| row.0 == "movements.vessel_movements" && row.1 == kind).count();
        assert!(count > 0, "{kind}");
    }
}

#[test]
fn weather_survives_a_restart() {
    let port = port(2, 10, 1.0);
    let dir = std::env::temp_dir().join(format!("portolan-weather-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("weather.parquet");
    port.weather.save(&path).unwrap();
    let loaded = Weather::load(&path).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(loaded.start, port.weather.start);
    assert_eq!(format!("{loaded:?}"), format!("{:?}", port.weather));
}

#[derive(Debug, Default)]
struct Sums {
    calls: f64,
    wait: f64,
    zero: f64,
    berth: f64,
    ports: Vec<f64>,
    weather: f64,
    queue: f64,
}

#[test]
fn a_year_is_calibrated() {
    let seeds: [u64; 3] = [1, 2, 3];
    let mut pools: HashMap<String, Sums> = HashMap::new();
    let (mut calls, mut tonnes, mut teu, mut ops) = (0.0, 0.0, 0.0, 0.0);
    let mut classes: HashMap<String, f64> = HashMap::new();
    let mut trades: HashMap<String, f64> = HashMap::new();
    let mut closed: HashMap<&str, f64> = HashMap::new();
    let (mut rain, mut wind, mut swell, mut fog, mut early, mut liners, mut eta) =
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, Vec::new());
    for seed in seeds {
        let port = port(seed, 365, 0.0);
        let table = truth(&port, "truth_call");
        let names = texts(table, "pool");
        let ids = texts(table, "port_call_id");
        let mut pool_of: HashMap<&str, &str> = HashMap::new();
        let (wait, stay, weather) =
            (ints(table, "waiting_s"), ints(table, "port_s"), ints(table, "weather_wait_s"));
        let (ata, proforma, eta_ref) =
            (times(table, "ata_pbp"), times(table, "proforma"), times(table, "eta_ref"));
        for row in 0..table.num_rows() {
            pool_of.insert(&ids[row], &names[row]);
            let sums = pools.entry(names[row].clone()).or_default();
            calls += 1.0;
            sums.calls += 1.0;
            if let Some(wait) = wait[row] {
                sums.wait += wait as f64 / 3600.0;
                sums.zero += f64::from(wait == 0);
            }
            if let Some(stay) = stay[row] {
                sums.ports.push(stay as f64 / 3600.0);
            }
            sums.weather += weather[row].unwrap_or(0) as f64 / 3600.0;
            if let (Some(ata), Some(proforma)) = (ata[row], proforma[row]) {
                liners += 1.0;
                early += f64::from((ata - proforma).abs() <= 86_400);
            }
            if let (Some(ata), Some(eta_ref)) = (ata[row], eta_ref[row]) {
                eta.push((ata - eta_ref).abs() as f64 / 3600.0);
            }
        }
        let visits = truth(&port, "truth_visit");
        let owner = texts(visits, "port_call_id");
        for (row, (berth, stop)) in
            ints(visits, "berth_s").into_iter().zip(ints(visits, "weather_stop_s")).enumerate()
        {
            let sums = pools.get_mut(pool_of[owner[row].as_str()]).unwrap();
            sums.berth += berth.unwrap_or(0) as f64 / 3600.0;
            sums.weather += stop.unwrap_or(0) as f64 / 3600.0;
        }
        // Little's law: the time average of waiting ships, integrated hour by hour.
        let intervals = truth(&port, "truth_interval");
        let owner = texts(intervals, "port_call_id");
        let spans = times(intervals, "start").into_iter().zip(times(intervals, "end"));
        for (row, (kind, (start, end))) in texts(intervals, "kind").into_iter().zip(spans).enumerate() {
            if kind == "waiting" {
                pools.get_mut(pool_of[owner[row].as_str()]).unwrap().queue +=
                    (end.unwrap() - start.unwrap()) as f64 / 3600.0;
            }
        }
        let table = truth(&port, "truth_operation");
        ops += table.num_rows() as f64;
        let rows = texts(table, "cargo_class").into_iter().zip(texts(table, "trade"));
        for ((class, trade), (kg, boxes)) in
            rows.zip(decimals(table, "tonnes").into_iter().zip(decimals(table, "teu")))
        {
            tonnes += kg as f64 / 1e9;
            teu += boxes as f64 / 1e5;
            *classes.entry(class).or_default() += kg as f64 / 1e9;
            *trades.entry(trade).or_default() += kg as f64 / 1e9;
        }
        let to = config(seed, 365, 0.0).to.timestamp();
        let closures = port.weather.closures();
        for (name, spans) in [
            ("pilotage", &closures.pilotage),
            ("crane", &closures.crane),
            ("bulk", &closures.bulk),
            ("liquid", &closures.liquid),
        ] {
            *closed.entry(name).or_default() += spans.clip(i64::MIN, to).length() as f64 / 3600.0;
        }
        let hours = 365 * 24;
        rain += port.weather.rain_mm[..hours].iter().sum::<f64>();
        wind += port.weather.wind_kmh[..hours].iter().sum::<f64>() / 3.6 / hours as f64;
        swell += port.weather.wave_m[..hours].iter().filter(|wave| **wave > 2.5).count() as f64;
        fog += port.weather.visibility_m[..hours].iter().filter(|sight| **sight < 1000.0).count() as f64;
    }
    let n = seeds.len() as f64;
    let mut failures = Vec::new();
    let mut check = |name: String, value: f64, low: f64, high: f64| {
        let verdict = if (low..=high).contains(&value) { "ok" } else { "OUT" };
        println!("{name:34} {value:10.3}  [{low}, {high}] {verdict}");
        if verdict == "OUT" {
            failures.push(name);
        }
    };
    check("calls".into(), calls / n, 2950.0, 3140.0);
    check("TEU, thousands".into(), teu / n, 840.0, 925.0);
    check("tonnes, Mt".into(), tonnes / n, 22.9, 25.1);
    check("operations per call".into(), ops / calls, 2.16, 2.64);
    let share =
        |names: &[&str]| names.iter().filter_map(|name| classes.get(*name)).sum::<f64>() / tonnes * 100.0;
    for (names, target) in [
        (&["container"][..], 29.0),
        (&["liquid_bulk"], 27.0),
        (&["dry_bulk"], 26.0),
        (&["bagged", "breakbulk", "ro_ro"], 17.0),
        (&["fish"], 1.0),
    ] {
        check(format!("share {}", names[0]), share(names), target - 2.0, target + 2.0);
    }
    for (trade, target) in [("IM", 58.0), ("EX", 21.0), ("TR", 15.0), ("TS", 6.0)] {
        check(format!("share {trade}"), trades[trade] / tonnes * 100.0, target - 2.0, target + 2.0);
    }
    let mut wait = 0.0;
    for (pool, berths, occupancy, mean, median) in [
        ("TAC", 3.0, (0.59, 0.64), (2.8, 5.6), (18.9, 21.3)),
        ("M2", 2.0, (0.31, 0.36), (0.9, 2.6), (14.7, 16.8)),
        ("M8", 3.0, (0.50, 0.67), (6.6, 32.0), (72.0, 99.0)),
        ("conventional", 12.0, (0.56, 0.69), (0.6, 7.4), (95.0, 114.0)),
        ("oil", 3.0, (0.45, 0.55), (2.9, 9.9), (34.5, 42.0)),
        ("fishing", 9.0, (0.33, 0.40), (0.0, 1.1), (46.0, 54.0)),
        ("other", 4.0, (0.21, 0.27), (0.06, 1.4), (25.5, 30.0)),
    ] {
        let sums = pools.get_mut(pool).unwrap();
        sums.ports.sort_by(f64::total_cmp);
        check(format!("{pool} occupancy"), sums.berth / (n * 8760.0 * berths), occupancy.0, occupancy.1);
        check(format!("{pool} mean wait h"), sums.wait / sums.calls, mean.0, mean.1);
        check(format!("{pool} median port h"), sums.ports[sums.ports.len() / 2], median.0, median.1);
        println!(
            "{:34} {:10.3} / {:.3}",
            format!("{pool} no wait / weather h"),
            sums.zero / sums.calls,
            sums.weather / sums.calls
        );
        let little = sums.queue / (n * 8760.0) - sums.calls / (n * 8760.0) * (sums.wait / sums.calls);
        check(format!("{pool} Little"), little.abs() / (sums.wait / (n * 8760.0)).max(1e-9), 0.0, 0.02);
        wait += sums.wait;
    }
    check("mean wait, all calls h".into(), wait / calls, 2.5, 5.4);
    check("liners on time %".into(), early / liners * 100.0, 51.0, 55.0);
    check("ETA MAE at 24 h".into(), eta.iter().sum::<f64>() / eta.len() as f64, 6.5, 7.4);
    for (name, low, high) in
        [("pilotage", 104.0, 288.0), ("crane", 25.0, 62.0), ("bulk", 71.0, 141.0), ("liquid", 286.0, 637.0)]
    {
        check(format!("closed {name} h"), closed[name] / n, low, high);
    }
    check("Hs > 2.5 m h".into(), swell / n, 179.0, 527.0);
    check("visibility < 1 km h".into(), fog / n, 0.0, 173.0);
    check("rain mm".into(), rain / n, 308.0, 732.0);
    check("mean wind m/s".into(), wind / n, 4.9, 5.3);
    assert!(failures.is_empty(), "out of band: {failures:?}");
}
