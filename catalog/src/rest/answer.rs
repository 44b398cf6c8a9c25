//! Reading an answer: equal lengths, UTC, known units – or nothing at all.

use std::collections::HashMap;

use serde::Deserialize;

use super::{Measure, VARIABLES, Variable};
use crate::files::value::{timestamp, timestamptz};

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    utc_offset_seconds: i64,
    #[serde(default)]
    hourly_units: HashMap<String, String>,
    hourly: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    error: bool,
    #[serde(default)]
    reason: String,
}

/// Hours of one station, in the table's units. Every series is as long as `times`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Hours {
    /// Microseconds since 1970 UTC.
    pub(super) times: Vec<i64>,
    /// One series per asked variable, by the variable's index in [`VARIABLES`].
    pub(super) series: Vec<(usize, Vec<Option<f64>>)>,
}

/// The reason of an answer that says it is an error.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    refusal.error.then(|| refusal.reason.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// Reads the asked variables.
pub(super) fn read(body: &[u8], asked: &[usize]) -> Result<Hours, String> {
    let raw: Raw = serde_json::from_slice(body)
        .map_err(|error| format!("it is no weather answer ({} error)", kind_of(&error)))?;
    if raw.utc_offset_seconds != 0 {
        return Err(format!("its times are {} s off UTC, which was asked for", raw.utc_offset_seconds));
    }
    let Some(serde_json::Value::Array(times)) = raw.hourly.get("time") else {
        return Err("it has no array \"hourly.time\"".into());
    };
    let times: Vec<i64> = times
        .iter()
        .map(|time| {
            let text = time.as_str().ok_or("an hour is no text")?;
            timestamp(text, None).or_else(|| timestamptz(text, None)).ok_or("an hour is no ISO 8601 time")
        })
        .collect::<Result<_, &str>>()?;
    let mut series = Vec::with_capacity(asked.len());
    for index in asked {
        let Some(variable) = VARIABLES.get(*index) else { continue };
        series.push((*index, values(&raw, variable, times.len())?));
    }
    Ok(Hours { times, series })
}

fn values(raw: &Raw, variable: &Variable, length: usize) -> Result<Vec<Option<f64>>, String> {
    let name = variable.variable;
    let Some(serde_json::Value::Array(values)) = raw.hourly.get(name) else {
        return Err(format!("it has no array \"hourly.{name}\""));
    };
    if values.len() != length {
        return Err(format!("\"hourly.{name}\" has {} values for {length} hours", values.len()));
    }
    let values: Vec<Option<f64>> = values
        .iter()
        .map(|value| match value {
            serde_json::Value::Null => Ok(None),
            value => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| format!("\"hourly.{name}\" holds something that is no number")),
        })
        .collect::<Result<_, _>>()?;
    let unit = raw.hourly_units.get(name).map_or("", String::as_str);
    let Some(convert) = conversion(variable.measure, unit) else {
        // A column without any value has no unit worth refusing.
        if values.iter().all(Option::is_none) {
            return Ok(values);
        }
        return Err(format!("\"{name}\" comes in unit \"{unit}\", which is not known"));
    };
    Ok(values.into_iter().map(|value| value.map(convert)).collect())
}

/// How a unit becomes the table's. Division by 3.6 is exact where multiplication by its inverse is not.
fn conversion(measure: Measure, unit: &str) -> Option<fn(f64) -> f64> {
    Some(match (measure, unit) {
        (Measure::Speed, "m/s" | "ms")
        | (Measure::Length, "m" | "metre")
        | (Measure::Depth, "mm")
        | (Measure::Angle, "°" | "deg") => |value| value,
        (Measure::Speed, "km/h" | "kmh") => |value| value / 3.6,
        (Measure::Speed, "mp/h" | "mph") => |value| value * 0.447_04,
        (Measure::Speed, "kn" | "kt") => |value| value * 1852.0 / 3600.0,
        (Measure::Length, "km") => |value| value * 1000.0,
        (Measure::Length, "ft") => |value| value * 0.304_8,
        (Measure::Depth, "cm") => |value| value * 10.0,
        (Measure::Depth, "inch") => |value| value * 25.4,
        _ => return None,
    })
}

fn kind_of(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Io => "read",
        serde_json::error::Category::Syntax => "syntax",
        serde_json::error::Category::Data => "shape",
        serde_json::error::Category::Eof => "end of text",
    }
}
