//! The weather as a REST service in the shape of Open-Meteo: columnar hourly arrays, km/h unless asked otherwise.
//!
//! Pure handlers over arrays in memory. Times are UTC without offset, `2026-07-01T00:00`; a missing sample is null in
//! every array; a bad request answers 400 with `{"error": true, "reason": ...}`.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde_json::{Map, Value, json};

use crate::weather::Weather;

const HOUR: i64 = 3600;
const VARIABLES: [&str; 9] = [
    "wind_speed_10m",
    "wind_gusts_10m",
    "wind_direction_10m",
    "visibility",
    "precipitation",
    "weather_code",
    "wave_height",
    "swell_wave_height",
    "swell_wave_period",
];

/// Routes `/v1/forecast`, `/v1/archive` and `/v1/marine` over `weather`.
///
/// Parameters as in Open-Meteo: `hourly` (comma separated, default all), `wind_speed_unit` (`kmh`, `ms`, `kn`, `mph`),
/// `start_date` and `end_date` (inclusive days) or `start_hour` and `end_hour` (inclusive hours), `timezone` (UTC only).
pub fn weather_router(weather: Arc<Weather>) -> Router {
    Router::new()
        .route("/v1/forecast", get(hours))
        .route("/v1/archive", get(hours))
        .route("/v1/marine", get(hours))
        .with_state(weather)
}

async fn hours(
    State(weather): State<Arc<Weather>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    match answer(&weather, &parameters) {
        Ok(body) => (StatusCode::OK, Json(body)),
        Err(reason) => (StatusCode::BAD_REQUEST, Json(json!({"error": true, "reason": reason}))),
    }
}

fn day(text: &str) -> Result<i64, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc().timestamp())
        .ok_or_else(|| format!("Invalid date format '{text}'. Use YYYY-MM-DD"))
}

fn hour(text: &str) -> Result<i64, String> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M")
        .map(|time| time.and_utc().timestamp().div_euclid(HOUR) * HOUR)
        .map_err(|_| format!("Invalid hour format '{text}'. Use YYYY-MM-DDTHH:MM"))
}

/// Builds the response body, or the reason of a 400.
pub(crate) fn answer(weather: &Weather, parameters: &HashMap<String, String>) -> Result<Value, String> {
    let zone = parameters.get("timezone").map_or("GMT", String::as_str);
    if !matches!(zone, "GMT" | "UTC" | "auto" | "Africa/Dakar" | "Africa/Abidjan") {
        return Err(format!("Invalid timezone '{zone}'. This service answers in GMT only"));
    }
    let (unit, per_kmh) = match parameters.get("wind_speed_unit").map_or("kmh", String::as_str) {
        "kmh" => ("km/h", None),
        "ms" => ("m/s", Some(3.6)),
        "kn" => ("kn", Some(1.852)),
        "mph" => ("mp/h", Some(1.609_344)),
        other => return Err(format!("Invalid wind_speed_unit '{other}'")),
    };
    let wanted: Vec<&str> = match parameters.get("hourly") {
        None => VARIABLES.to_vec(),
        Some(list) => list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect(),
    };
    if let Some(unknown) = wanted.iter().find(|name| !VARIABLES.contains(name)) {
        return Err(format!("Cannot initialize hourly variable from invalid String value {unknown}"));
    }
    let last = weather.start + (i64::try_from(weather.wind_kmh.len()).unwrap_or(0) - 1) * HOUR;
    let start = match (parameters.get("start_hour"), parameters.get("start_date")) {
        (Some(text), _) => hour(text)?,
        (None, Some(text)) => day(text)?,
        (None, None) => weather.start,
    };
    let end = match (parameters.get("end_hour"), parameters.get("end_date")) {
        (Some(text), _) => hour(text)?,
        (None, Some(text)) => day(text)? + 23 * HOUR,
        (None, None) => last,
    };
    if end < start {
        return Err("End date must be larger or equals than start date".into());
    }
    let first = weather.start.max(start);
    let indexes: Vec<usize> = (0..)
        .map(|step| first + step * HOUR)
        .take_while(|at| *at <= end.min(last))
        .filter_map(|at| weather.index(at))
        .collect();
    let series = |values: &[f64], convert: Option<f64>| -> Value {
        indexes
            .iter()
            .map(|&index| {
                let value = values.get(index).copied().unwrap_or(f64::NAN);
                convert.map_or(value, |divisor| value / divisor)
            })
            .map(|value| if value.is_nan() { Value::Null } else { json!(value) })
            .collect()
    };
    let mut hourly = Map::new();
    let mut units = Map::new();
    let times: Value = indexes
        .iter()
        .filter_map(|&index| {
            DateTime::from_timestamp(weather.start + i64::try_from(index).unwrap_or(0) * HOUR, 0)
        })
        .map(|time| json!(time.format("%Y-%m-%dT%H:%M").to_string()))
        .collect();
    hourly.insert("time".into(), times);
    units.insert("time".into(), json!("iso8601"));
    for name in wanted {
        let (values, text) = match name {
            "wind_speed_10m" => (series(&weather.wind_kmh, per_kmh), unit),
            "wind_gusts_10m" => (series(&weather.gust_kmh, per_kmh), unit),
            "wind_direction_10m" => (series(&weather.direction, None), "°"),
            "visibility" => (series(&weather.visibility_m, None), "m"),
            "precipitation" => (series(&weather.rain_mm, None), "mm"),
            "weather_code" => {
                let codes: Vec<f64> = weather
                    .rain_mm
                    .iter()
                    .zip(&weather.visibility_m)
                    .map(|(rain, sight)| match (*rain, *sight) {
                        (rain, _) if rain.is_nan() => f64::NAN,
                        (rain, _) if rain >= 8.0 => 95.0,
                        (rain, _) if rain > 0.0 => 61.0,
                        (_, sight) if sight < 1000.0 => 45.0,
                        _ => 1.0,
                    })
                    .collect();
                (series(&codes, None), "wmo code")
            }
            "swell_wave_period" => {
                let periods: Vec<f64> =
                    weather.wave_m.iter().map(|wave| ((7.0 + 2.5 * wave) * 10.0).round() / 10.0).collect();
                (series(&periods, None), "s")
            }
            _ => (series(&weather.wave_m, None), "m"),
        };
        hourly.insert(name.into(), values);
        units.insert(name.into(), json!(text));
    }
    Ok(json!({
        "latitude": 14.67, "longitude": -17.42, "generationtime_ms": 0.1, "utc_offset_seconds": 0,
        "timezone": "GMT", "timezone_abbreviation": "GMT", "elevation": 0.0,
        "hourly_units": units, "hourly": hourly,
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::answer;
    use crate::weather::Weather;

    fn ask(pairs: &[(&str, &str)]) -> Result<Value, String> {
        // 2026-07-01T00:00Z, three days.
        let mut weather = Weather::generate(1, 1_782_864_000, 1_782_864_000 + 3 * 86_400);
        weather.gust_kmh[1] = 72.1;
        weather.wave_m[2] = f64::NAN;
        let parameters: HashMap<String, String> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        answer(&weather, &parameters)
    }

    #[test]
    fn winds_are_kmh_unless_asked_otherwise_and_missing_is_null() {
        let body = ask(&[("hourly", "wind_gusts_10m,wave_height")]).unwrap();
        assert_eq!(body["hourly_units"]["wind_gusts_10m"], "km/h");
        assert_eq!(body["hourly"]["wind_gusts_10m"][1], 72.1);
        assert_eq!(body["hourly"]["wave_height"][2], Value::Null);
        assert_eq!(body["hourly"]["time"][0], "2026-07-01T00:00");
        assert_eq!(body["hourly"]["time"].as_array().unwrap().len(), 72);
        let body = ask(&[("hourly", "wind_gusts_10m"), ("wind_speed_unit", "ms")]).unwrap();
        assert_eq!(body["hourly"]["wind_gusts_10m"][1], 72.1 / 3.6);
    }

    #[test]
    fn dates_are_inclusive_days_and_hours_inclusive_hours() {
        let day = ask(&[("start_date", "2026-07-02"), ("end_date", "2026-07-02")]).unwrap();
        assert_eq!(day["hourly"]["time"].as_array().unwrap().len(), 24);
        let hours = ask(&[("start_hour", "2026-07-02T03:00"), ("end_hour", "2026-07-02T05:00")]).unwrap();
        assert_eq!(hours["hourly"]["time"][2], "2026-07-02T05:00");
        assert_eq!(hours["hourly"]["time"].as_array().unwrap().len(), 3);
        let later = ask(&[("start_date", "2027-01-01"), ("end_date", "2027-01-02")]).unwrap();
        assert!(later["hourly"]["time"].as_array().unwrap().is_empty());
    }

    #[test]
    fn bad_requests_say_why() {
        for pairs in [
            [("hourly", "wind"), ("timezone", "GMT")],
            [("start_date", "1.1.2026"), ("timezone", "GMT")],
            [("wind_speed_unit", "bft"), ("timezone", "GMT")],
            [("hourly", "visibility"), ("timezone", "Europe/Paris")],
            [("start_date", "2026-07-02"), ("end_date", "2026-07-01")],
        ] {
            assert!(ask(&pairs).is_err(), "{pairs:?}");
        }
    }
}
