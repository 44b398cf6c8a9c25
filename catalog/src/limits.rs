//! What one query may ask of one source: rows, bytes, the hours of the day, and how long it may wait for a connection.
//!
//! They protect a production server from a careless statement. A limit must never shorten an answer: what passes it
//! fails, with the figure and what to do. Estimates refuse only what was never narrowed, because a guess about a
//! condition is no ground to refuse it; everything else is stopped when it passes its limit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Timelike as _, Utc};
use serde::Deserialize;

use crate::federation::Fragment;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Limits of a source, by default none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceLimits {
    /// Rows one scan may fetch, such as `50M`: K, M and G are thousands.
    #[serde(default)]
    pub rows: Option<Rows>,
    /// Bytes one scan may fetch, as Arrow arrays, such as `2GiB`.
    #[serde(default)]
    pub bytes: Option<Bytes>,
    /// Hours of the day, UTC, in which the source may be read, such as `"06-22"` or `"22-06"`.
    #[serde(default)]
    pub hours: Option<Hours>,
    /// How long a query may wait for one of the source's connections, such as `5s` or `500ms`. One that holds a
    /// connection of the source itself waits for as long as it takes.
    #[serde(default)]
    pub slot_wait: SlotWait,
}

/// How long a query waits for a connection that others use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotWait(pub Duration);

impl Default for SlotWait {
    /// Half a minute.
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

impl fmt::Display for SlotWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{} s", self.0.as_secs()),
            _ => write!(f, "{} ms", self.0.as_millis()),
        }
    }
}

/// Reads `5s` or `500ms`; no duration is zero.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let read = match text.strip_suffix("ms") {
        Some(number) => number.trim().parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(|n| n.trim().parse().ok()).map(Duration::from_secs),
    };
    read.filter(|read| !read.is_zero())
}

impl FromStr for SlotWait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        duration(text)
            .map(Self)
            .ok_or_else(|| format!("slot_wait \"{text}\" must be a time above 0, such as 30s or 500ms"))
    }
}

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows(pub u64);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Hours of the day, UTC: from the first, inclusive, to the last, exclusive; over midnight if the first is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u32,
    to: u32,
}

impl Hours {
    fn contain(self, at: DateTime<Utc>) -> bool {
        let hour = at.hour();
        if self.from < self.to {
            self.from <= hour && hour < self.to
        } else {
            self.from <= hour || hour < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.from, self.to)
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(from, to)| {
            let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            (two_digits(from) && two_digits(to)).then_some(())?;
            Some(Self { from: from.parse().ok()?, to: to.parse().ok()? })
        });
        match parsed {
            Some(hours) if hours.from < 24 && hours.to <= 24 && hours.from != hours.to => Ok(hours),
            _ => Err(format!("hours \"{text}\" must be two hours of the day in UTC, such as \"06-22\"")),
        }
    }
}

/// A whole number with a unit, written together.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = if unit.is_empty() {
        1
    } else {
        units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)?
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|value| *value > 0)
}

impl FromStr for Rows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity(text, &[("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)])
            .map(Self)
            .ok_or_else(|| format!("rows \"{text}\" must be a whole number above 0, such as 500K or 50M"))
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)])
            .map(Self)
            .ok_or_else(|| format!("bytes \"{text}\" must be a whole number above 0, such as 512MiB or 2GiB"))
    }
}

/// Reads a value from text; a bare number of YAML is text as well.
macro_rules! from_text {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

from_text!(Rows, Bytes, Hours, SlotWait);

impl SourceLimits {
    /// Refuses a fragment before anybody is asked: at the wrong hour, or a whole table that is known to be too large.
    ///
    /// # Errors
    /// `Busy` outside the hours, `Limit` over the rows.
    pub(crate) fn admit(
        &self,
        source: &SourceName,
        fragment: &Fragment,
        at: DateTime<Utc>,
    ) -> Result<(), SourceError> {
        if let Some(hours) = self.hours
            && !hours.contain(at)
        {
            let message = format!("source \"{source}\" may not be read at this hour");
            return Err(SourceError::new(SourceErrorKind::Busy, message)
                .with_source(source)
                .with_hint(format!("it may be read at {hours} h UTC, as sources.{source} says")));
        }
        let whole = fragment.filters.is_empty()
            && fragment.joins.is_empty()
            && fragment.aggregate.is_none()
            && fragment.limit.is_none();
        if let (Some(Rows(most)), Some(estimate)) = (self.rows, fragment.table.row_estimate)
            && whole
            && estimate > most
        {
            let table = &fragment.table;
            let message = format!(
                "table \"{}.{}\" has about {estimate} rows, more than the {most} that source \"{source}\" allows one scan",
                table.schema, table.name
            );
            return Err(SourceError::new(SourceErrorKind::Limit, message).with_source(source).with_hint(
                "no condition reached the source; EXPLAIN shows why. Add one on its columns, or LIMIT",
            ));
        }
        Ok(())
    }

    /// Starts counting what one scan fetches.
    pub(crate) fn meter(&self, source: &SourceName) -> Meter {
        Meter { limits: *self, source: source.clone(), rows: 0, bytes: 0 }
    }
}

/// Counts what one scan has fetched.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: SourceLimits,
    source: SourceName,
    rows: u64,
    bytes: u64,
}

impl Meter {
    /// Counts a batch. `bytes` is asked for only where they are limited: it walks every buffer.
    ///
    /// # Errors
    /// `Limit` when it is more than the source allows; the batch must not be used then.
    pub(crate) fn count(&mut self, rows: usize, bytes: impl FnOnce() -> usize) -> Result<(), SourceError> {
        let add = |sum: u64, more: usize| sum.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        self.rows = add(self.rows, rows);
        if self.limits.bytes.is_some() {
            self.bytes = add(self.bytes, bytes());
        }
        let passed = match (self.limits.rows, self.limits.bytes) {
            (Some(Rows(most)), _) if self.rows > most => format!("{most} rows"),
            (_, Some(Bytes(most))) if self.bytes > most => format!("{most} bytes"),
            _ => return Ok(()),
        };
        let source = &self.source;
        let message = format!("a scan of source \"{source}\" was stopped after the {passed} that it allows");
        Err(SourceError::new(SourceErrorKind::Limit, message).with_source(source).with_hint(format!(
            "add a condition that EXPLAIN shows as sent, or raise limits in sources.{source}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeZone as _;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::source::TableDef;

    fn source() -> SourceName {
        SourceName::try_new("ops").unwrap()
    }

    fn at(hour: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, hour, 59, 59).unwrap()
    }

    fn table(rows: u64) -> Fragment {
        let arrow = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let view = TableDef::view("ops".into(), "berth".into(), arrow, None);
        Fragment::whole(Arc::new(TableDef { row_estimate: Some(rows), ..view }))
    }

    #[test]
    fn quantities_and_hours_are_read_or_refused() {
        assert_eq!("50M".parse(), Ok(Rows(50_000_000)));
        assert_eq!("7".parse(), Ok(Rows(7)));
        assert_eq!("2GiB".parse(), Ok(Bytes(2 << 30)));
        for text in
            ["", "0", "M", "1.5M", "-1", "50 M", "2GiB", "99999999999999999999", "18446744073709551615K"]
        {
            assert!(text.parse::<Rows>().unwrap_err().contains("must be a whole number"), "{text}");
        }
        for text in ["", "6-22", "06-25", "24-06", "06-06", "06", "06-22h", "+6-22", "00:00-12:00"] {
            assert!(text.parse::<Hours>().unwrap_err().contains("must be two hours"), "{text}");
        }
        assert_eq!("500ms".parse(), Ok(SlotWait(Duration::from_millis(500))));
        assert_eq!("90s".parse::<SlotWait>().unwrap().to_string(), "90 s");
        assert_eq!("1500ms".parse::<SlotWait>().unwrap().to_string(), "1500 ms");
        for text in ["", "0s", "30", "s", "-1s", "1h", "1.5s"] {
            assert!(text.parse::<SlotWait>().unwrap_err().contains("must be a time"), "{text}");
        }
    }

    #[test]
    fn hours_may_go_over_midnight() {
        let hours = |text: &str, at_hour: u32| text.parse::<Hours>().unwrap().contain(at(at_hour));
        assert!(hours("00-24", 0) && hours("00-24", 23));
        assert!(!hours("06-22", 5) && hours("06-22", 6) && hours("06-22", 21) && !hours("06-22", 22));
        assert!(hours("22-06", 23) && hours("22-06", 5) && !hours("22-06", 6) && !hours("22-06", 21));
    }

    #[test]
    fn a_whole_table_over_the_rows_is_refused_before_it_is_read() {
        let limits = SourceLimits { rows: Some(Rows(100)), ..SourceLimits::default() };
        assert!(limits.admit(&source(), &table(100), at(0)).is_ok());
        let refused = limits.admit(&source(), &table(101), at(0)).unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Limit);
        assert!(refused.message.contains("\"ops.berth\" has about 101 rows, more than the 100"), "{refused}");
        let limited = Fragment { limit: Some(5), ..table(101) };
        assert!(limits.admit(&source(), &limited, at(0)).is_ok());
    }

    #[test]
    fn outside_its_hours_nothing_is_asked() {
        let limits = SourceLimits { hours: "22-06".parse().ok(), ..SourceLimits::default() };
        assert!(limits.admit(&source(), &table(1), at(23)).is_ok());
        let refused = limits.admit(&source(), &table(1), at(12)).unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Busy);
        assert!(refused.hint.unwrap().contains("22-06 h UTC"));
    }

    #[test]
    fn a_scan_is_stopped_by_the_batch_that_passes_a_limit() {
        let limits =
            SourceLimits { rows: Some(Rows(10)), bytes: Some(Bytes(1_000)), ..SourceLimits::default() };
        let mut meter = limits.meter(&source());
        assert!(meter.count(10, || 1_000).is_ok());
        assert!(meter.count(1, || 0).unwrap_err().message.contains("after the 10 rows"));
        let mut meter = limits.meter(&source());
        assert!(meter.count(1, || 1_001).unwrap_err().message.contains("after the 1000 bytes"));
    }
}
