//! The SQL functions pipelines may use: time, units, identity, keys, crosswalks.
//!
//! All are deterministic and turn what they cannot read into NULL, never into a guess: a rule decides what NULL
//! means. Text in, one value out, row by row.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use portolan_catalog::star;

use crate::contract::instant;
use crate::crosswalk::{Crosswalks, normalise};

/// One value a function gives.
#[derive(Debug)]
enum Value {
    Text(Option<String>),
    Flag(Option<bool>),
    Whole(Option<i64>),
    Number(Option<f64>),
    Instant(Option<i64>),
}

type Body = Arc<dyn Fn(&[Option<&str>]) -> Value + Send + Sync>;

/// A function over text arguments.
struct TextFunction {
    name: &'static str,
    gives: DataType,
    signature: Signature,
    body: Body,
}

impl fmt::Debug for TextFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for TextFunction {}

impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut columns: Vec<(ArrayRef, bool)> = Vec::with_capacity(args.args.len());
        for argument in &args.args {
            let (array, constant) = match argument {
                ColumnarValue::Array(array) => (Arc::clone(array), false),
                ColumnarValue::Scalar(value) => (value.to_array()?, true),
            };
            columns.push((cast(&array, &DataType::Utf8)?, constant));
        }
        let texts: Vec<_> =
            columns.iter().map(|(array, constant)| (array.as_string::<i32>(), *constant)).collect();
        let mut row_values: Vec<Option<&str>> = vec![None; texts.len()];
        let values = (0..rows).map(|row| {
            for (slot, (array, constant)) in row_values.iter_mut().zip(&texts) {
                let at = if *constant { 0 } else { row };
                *slot = array.is_valid(at).then(|| array.value(at));
            }
            (self.body)(&row_values)
        });
        Ok(ColumnarValue::Array(collect(&self.gives, values)))
    }
}

fn collect(kind: &DataType, values: impl Iterator<Item = Value>) -> ArrayRef {
    match kind {
        DataType::Boolean => {
            Arc::new(values.map(|v| if let Value::Flag(v) = v { v } else { None }).collect::<BooleanArray>())
        }
        DataType::Int64 => {
            Arc::new(values.map(|v| if let Value::Whole(v) = v { v } else { None }).collect::<Int64Array>())
        }
        DataType::Float64 => Arc::new(
            values.map(|v| if let Value::Number(v) = v { v } else { None }).collect::<Float64Array>(),
        ),
        DataType::Utf8 => {
            Arc::new(values.map(|v| if let Value::Text(v) = v { v } else { None }).collect::<StringArray>())
        }
        _ => Arc::new(
            values
                .map(|v| if let Value::Instant(v) = v { v } else { None })
                .collect::<TimestampMicrosecondArray>()
                .with_timezone("UTC"),
        ),
    }
}

/// All functions, bound to the crosswalks of a pipeline directory.
pub(crate) fn all(crosswalks: &Crosswalks) -> Vec<ScalarUDF> {
    let walks = Arc::new(crosswalks.clone());
    let function = |name, gives, body: Body| {
        let signature = Signature::variadic_any(Volatility::Immutable);
        ScalarUDF::from(TextFunction { name, gives, signature, body })
    };
    let argument =
        |values: &[Option<&str>], index: usize| values.get(index).copied().flatten().map(str::to_owned);
    vec![
        function("parse_ts", instant(), Arc::new(move |v| Value::Instant(parse_ts(v)))),
        function(
            "xwalk",
            DataType::Utf8,
            Arc::new(move |v| {
                let (domain, spelling) = (argument(v, 0), argument(v, 1));
                Value::Text(domain.zip(spelling).and_then(|(d, s)| walks.resolve(&d, &s).map(str::to_owned)))
            }),
        ),
        function(
            "norm_name",
            DataType::Utf8,
            Arc::new(move |v| Value::Text(argument(v, 0).map(|n| normalise(&n)))),
        ),
        function(
            "imo_status",
            DataType::Utf8,
            Arc::new(|v| Value::Text(Some(imo_status(first(v)).to_owned()))),
        ),
        function(
            "imo_valid",
            DataType::Boolean,
            Arc::new(|v| Value::Flag(Some(imo_status(first(v)) == "valid"))),
        ),
        function("key63", DataType::Int64, Arc::new(|v| Value::Whole(key63(v)))),
        function("to_unit", DataType::Float64, Arc::new(|v| Value::Number(to_unit(v)))),
        function(
            "number",
            DataType::Float64,
            Arc::new(|v| Value::Number(first(v).and_then(|t| t.trim().parse().ok()))),
        ),
    ]
}

fn first<'v>(values: &[Option<&'v str>]) -> Option<&'v str> {
    values.first().copied().flatten()
}

/// `parse_ts(text, formats, zone)`: formats separated by `|`, of `iso` (an offset is required) and chrono patterns; a
/// pattern without offset needs the zone. A gap of daylight saving time is NULL, an overlap the earlier instant.
fn parse_ts(values: &[Option<&str>]) -> Option<i64> {
    let text = first(values)?.trim();
    let formats = values.get(1).copied().flatten().unwrap_or("iso");
    let zone: Option<Tz> = values.get(2).copied().flatten().and_then(|zone| zone.parse().ok());
    for format in formats.split('|') {
        if format == "iso" {
            if let Ok(at) = DateTime::parse_from_rfc3339(text) {
                return Some(at.timestamp_micros());
            }
            continue;
        }
        let wall = NaiveDateTime::parse_from_str(text, format).ok().or_else(|| {
            NaiveDate::parse_from_str(text, format).ok().and_then(|day| day.and_hms_opt(0, 0, 0))
        });
        if let (Some(wall), Some(zone)) = (wall, zone) {
            return zone.from_local_datetime(&wall).earliest().map(|at| at.timestamp_micros());
        }
    }
    None
}

/// `valid`, `missing`, `temp` or `bad_check`: sum of d1..d6 times 7..2, modulo 10, is d7.
fn imo_status(text: Option<&str>) -> &'static str {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return "missing" };
    if text.to_ascii_uppercase().starts_with("TEMP") {
        return "temp";
    }
    let digits: Vec<u32> =
        text.trim_start_matches("IMO").trim().chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits.iter().take(6).zip([7, 6, 5, 4, 3, 2]).map(|(digit, weight)| digit * weight).sum();
    if digits.len() == 7 && sum > 0 && digits.last() == Some(&(sum % 10)) { "valid" } else { "bad_check" }
}

/// `key63(dimension, natural key, valid from)`; without the third the start of time.
fn key63(values: &[Option<&str>]) -> Option<i64> {
    let (dimension, key) = (first(values)?, values.get(1).copied().flatten()?);
    let from = match values.get(2) {
        Some(Some(text)) => text.parse::<DateTime<Utc>>().ok()?,
        Some(None) => return None,
        None => Utc.with_ymd_and_hms(1900, 1, 1, 0, 0, 0).earliest()?,
    };
    Some(star::surrogate_key(dimension, key, from))
}

/// `to_unit(value, from, to)` for speeds, lengths, depths and weights.
fn to_unit(values: &[Option<&str>]) -> Option<f64> {
    let value: f64 = first(values)?.trim().parse().ok()?;
    let scale = |unit: Option<&str>| -> Option<(u8, f64)> {
        Some(match unit? {
            "m/s" => (0, 1.0),
            "km/h" => (0, 1.0 / 3.6),
            "kn" => (0, 1852.0 / 3600.0),
            "mp/h" => (0, 1609.344 / 3600.0),
            "m" => (1, 1.0),
            "dm" => (1, 0.1),
            "cm" => (1, 0.01),
            "mm" => (1, 0.001),
            "ft" => (1, 0.3048),
            "t" => (2, 1.0),
            "kt" => (2, 1000.0),
            "kg" => (2, 0.001),
            _ => return None,
        })
    };
    let (from_kind, from) = scale(values.get(1).copied().flatten())?;
    let (to_kind, to) = scale(values.get(2).copied().flatten())?;
    (from_kind == to_kind).then(|| if (from - to).abs() < f64::EPSILON { value } else { value * from / to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imo_numbers_are_judged_by_their_check_digit() {
        assert_eq!(imo_status(Some("9074729")), "valid");
        assert_eq!(imo_status(Some("9074728")), "bad_check");
        assert_eq!(imo_status(Some("TEMP00167")), "temp");
        assert_eq!(imo_status(None), "missing");
    }

    #[test]
    fn wall_clock_times_need_a_zone() {
        let formats = Some("%d-%b-%Y %H:%M|%Y/%m/%d %H:%M");
        let utc = |text: &str, zone| parse_ts(&[Some(text), formats, zone]).map(|at| at / 60_000_000);
        assert_eq!(utc("21-AUG-2025 18:47", Some("Europe/Paris")), utc("21-AUG-2025 16:47", Some("UTC")));
        assert_eq!(utc("2025/08/21 18:47", Some("Asia/Hong_Kong")), utc("2025/08/21 10:47", Some("UTC")));
        assert_eq!(utc("2025/08/21 18:47", None), None);
        assert_eq!(utc("2026/03/29 02:30", Some("Europe/Paris")), None, "daylight saving gap");
        assert_eq!(parse_ts(&[Some("2025-08-21T18:47:00"), Some("iso"), None]), None, "no offset");
    }

    #[test]
    fn kilometres_per_hour_become_metres_per_second() {
        assert_eq!(to_unit(&[Some("72"), Some("km/h"), Some("m/s")]), Some(20.0));
        assert_eq!(to_unit(&[Some("72"), Some("km/h"), Some("m")]), None);
    }
}
