//! The worked example: a bulk ship at berth 82 on 14 August.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Decimal128Type;

use super::*;
use crate::pipeline::model::{TableName, Zone};
use crate::transform::closures::{self, Channel, ClosureSpec};

const DAY: i64 = 1_786_665_600_000_000; // 2026-08-14T00:00:00Z

fn t(hour: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    Some(DAY + (hour * 3_600.0) as i64 * 1_000_000)
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn weather() -> RecordBatch {
    let mut gust = vec![Some(8.0); 25];
    for (hour, value) in
        [(4, 20.4), (5, 22.0), (6, 18.0), (7, 15.0), (8, 13.0), (22, 20.5), (23, 15.0), (24, 12.0)]
    {
        gust[hour] = Some(value);
    }
    let mut rain = vec![Some(0.0); 25];
    for (hour, value) in [(13, 0.1), (14, 3.2), (15, 0.8), (16, 0.3), (17, 0.1)] {
        rain[hour] = Some(value);
    }
    table(vec![
        ("hour_ts", times_array((0..25).map(|h| Some(DAY + h * HOUR)).collect())),
        ("gust_ms", Arc::new(Float64Array::from(gust))),
        ("wave_m", Arc::new(Float64Array::from(vec![Some(1.0); 25]))),
        ("visibility_m", Arc::new(Float64Array::from(vec![Some(9_000.0); 25]))),
        ("rain_mm", Arc::new(Float64Array::from(rain))),
    ])
}

fn channel(activity: &str, name: &str, measure: &str, stop: f64, resume: f64, hold: u32) -> Channel {
    Channel {
        activity: activity.into(),
        channel: name.into(),
        measure: measure.into(),
        below: false,
        stop,
        resume,
        hold,
    }
}

fn spec() -> ClosureSpec {
    ClosureSpec {
        samples: TableName { zone: Zone::Silver, name: "weather_hour".into() },
        channels: vec![
            channel("pilotage", "wind", "gust_ms", 20.0, 17.0, 2),
            channel("bulk", "rain", "rain_mm", 0.5, 0.2, 1),
            channel("bulk", "wind", "gust_ms", 20.0, 17.0, 1),
        ],
    }
}

fn inputs(weather: RecordBatch, closures: RecordBatch) -> Vec<RecordBatch> {
    let calls = table(vec![
        ("port_call_id", text(&["C1"])),
        ("ata_pbp_ts", times_array(vec![t(2.0)])),
        ("eta_ref_ts", times_array(vec![t(1.0)])),
        ("proforma_ts", times_array(vec![None])),
        ("atd_last_ts", times_array(vec![t(23.5)])),
    ]);
    // The ship before leaves berth 82 at 06:00.
    let visits = table(vec![
        ("visit_id", text(&["V1", "V0"])),
        ("port_call_id", text(&["C1", "C0"])),
        ("berth_id", text(&["82", "82"])),
        ("all_fast_ts", times_array(vec![t(9.5), t(-20.0)])),
        ("last_line_ts", times_array(vec![t(23.5), t(6.0)])),
    ]);
    let operations = table(vec![
        ("op_id", text(&["O1"])),
        ("visit_id", text(&["V1"])),
        ("activity", text(&["bulk"])),
        ("start_ts", times_array(vec![t(11.0)])),
        ("end_ts", times_array(vec![t(22.0)])),
    ]);
    let stops = table(vec![
        ("op_id", text(&["O1"])),
        ("start_ts", times_array(vec![t(14.0)])),
        ("end_ts", times_array(vec![t(16.5)])),
    ]);
    vec![calls, visits, operations, stops, closures, weather]
}

fn value(batch: &RecordBatch, column: &str, row: usize) -> Option<f64> {
    let array = batch.column_by_name(column).unwrap().as_primitive::<Decimal128Type>().clone();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    array.iter().nth(row).unwrap().map(|v| v as f64 / 1e6)
}

#[test]
fn the_worked_example_holds() {
    let closures = closures::run(&spec(), &weather()).unwrap();
    let (calls, visits) = run(&inputs(weather(), closures)).unwrap();
    let row = visits
        .column_by_name("visit_id")
        .unwrap()
        .as_string::<i32>()
        .iter()
        .position(|v| v == Some("V1"))
        .unwrap();
    assert_eq!(value(&calls, "waiting_h", 0), Some(7.5));
    assert_eq!(value(&visits, "berth_h", row), Some(14.0));
    assert_eq!(value(&visits, "gross_work_h", row), Some(8.5));
    assert_eq!(value(&visits, "idle_h", row), Some(5.5));
    assert_eq!(value(&visits, "stop_h", row), Some(2.5));
    assert_eq!(value(&calls, "port_h", 0), Some(21.5));
    assert_eq!(value(&calls, "shift_h", 0), Some(0.0));
    assert_eq!(value(&calls, "weather_wait_h", 0), Some(4.0));
    assert_eq!(value(&visits, "weather_stop_h", row), Some(4.0));
    assert_eq!(value(&calls, "weather_wait_strict_h", 0), Some(2.0));
    assert_eq!(value(&calls, "weather_unknown_h", 0), Some(0.0));
    assert_eq!(value(&calls, "arrival_dev_h", 0), Some(1.0));
    let class = calls.column_by_name("weather_class").unwrap();
    assert_eq!(class.as_string::<i32>().value(0), "multi");
}

#[test]
fn without_weather_rows_the_share_is_unknown_not_zero() {
    let empty = weather().slice(0, 0);
    let closures = closures::run(&spec(), &empty).unwrap();
    let (calls, visits) = run(&inputs(empty, closures)).unwrap();
    assert_eq!(value(&calls, "weather_wait_h", 0), None);
    assert_eq!(value(&calls, "weather_unknown_h", 0), Some(13.0));
    assert_eq!(value(&visits, "weather_stop_h", 1), None);
}
