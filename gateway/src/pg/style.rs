//! How values are printed for one session: time zone, float digits, bytea and interval styles.
//!
//! Built from the session's settings once per statement; dates are always ISO. A setting this module cannot honour
//! is refused when it is set, so an unknown value here falls back to PostgreSQL's default.

use chrono_tz::Tz;

use crate::pgtypes::clocks;

/// Output style of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Zone of `timestamptz` text.
    pub zone: Zone,
    /// `extra_float_digits`; above 0 prints the shortest exact form.
    pub float_digits: i32,
    /// `bytea_output = escape`.
    pub bytea_escape: bool,
    /// `IntervalStyle`.
    pub interval: IntervalStyle,
}

/// `IntervalStyle`; the two SQL spellings are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalStyle {
    /// `1 mon -1 days -00:00:01`.
    Postgres,
    /// `P1M-1DT-1S`.
    Iso8601,
}

impl Default for Style {
    fn default() -> Self {
        Self { zone: Zone::Utc, float_digits: 1, bytea_escape: false, interval: IntervalStyle::Postgres }
    }
}

impl Style {
    /// Reads the settings through `setting`.
    pub fn from_settings(setting: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            zone: setting("TimeZone").and_then(|text| Zone::parse(&text)).unwrap_or(Zone::Utc),
            float_digits: setting("extra_float_digits").and_then(|text| text.parse().ok()).unwrap_or(1),
            bytea_escape: setting("bytea_output").is_some_and(|text| text.eq_ignore_ascii_case("escape")),
            interval: match setting("IntervalStyle") {
                Some(text) if text.eq_ignore_ascii_case("iso_8601") => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
        }
    }
}

/// A session's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// UTC, the common case.
    Utc,
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i32),
}

impl Zone {
    /// Reads a `TimeZone` value: an IANA name in any case, a number of hours east, `<+05>-05`, or a POSIX form with
    /// hours counted west (`UTC+3` is 03:00 west).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if ["UTC", "GMT", "Etc/UTC", "Z", "Zulu"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
            return Some(Self::Utc);
        }
        if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text))
        {
            return Some(Self::Named(*zone));
        }
        if let Some(rest) = text.strip_prefix('<') {
            let (_, west) = rest.split_once('>')?;
            return Some(Self::Fixed(-clock(west)?));
        }
        if let Ok(hours) = text.parse::<f64>() {
            if hours.is_nan() || hours.abs() > 168.0 {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "at most 168 hours")]
            return Some(Self::Fixed((hours * 3600.0).round() as i32));
        }
        let letters = text.find(|c: char| !c.is_ascii_alphabetic())?;
        Some(Self::Fixed(-clock(text.get(letters..)?)?))
    }

    /// Seconds east of UTC at an instant, microseconds since 1970.
    #[must_use]
    pub fn offset_at(self, micros: i64) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Fixed(seconds) => seconds,
            Self::Named(zone) => clocks::offset_at(zone, micros),
        }
    }

    /// The instant of a local time, both in microseconds since 1970; in a gap the offset before it is used, in an
    /// overlap the earlier offset's successor (standard time), as PostgreSQL does.
    #[must_use]
    pub fn instant_of(self, local: i64) -> i64 {
        match self {
            Self::Named(zone) => clocks::instant_of(local, zone),
            _ => local.saturating_sub(i64::from(self.offset_at(local)) * 1_000_000),
        }
    }
}

/// `[+-]h[h][:mm[:ss]]` in seconds.
fn clock(text: &str) -> Option<i32> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0_i32;
    let mut unit = 3600;
    for part in text.split(':') {
        let value: u16 = part.parse().ok()?;
        seconds = seconds.checked_add(i32::from(value).checked_mul(unit)?)?;
        unit /= 60;
    }
    (seconds <= 168 * 3600).then_some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_read_as_postgres_reads_them() {
        assert_eq!(Zone::parse("utc"), Some(Zone::Utc));
        assert_eq!(Zone::parse("africa/dakar"), Some(Zone::Named(chrono_tz::Africa::Dakar)));
        assert_eq!(Zone::parse("5"), Some(Zone::Fixed(18_000)));
        assert_eq!(Zone::parse("<+05:30>-05:30"), Some(Zone::Fixed(19_800)));
        assert_eq!(Zone::parse("UTC+3"), Some(Zone::Fixed(-10_800)));
        assert_eq!(Zone::parse("Mars/X"), None);
        assert_eq!(Zone::parse("nan"), None);
        assert_eq!(Zone::parse("é"), None);
    }

    #[test]
    fn local_mean_time_keeps_its_seconds() {
        let zone = Zone::Named(chrono_tz::Africa::Abidjan);
        assert_eq!(zone.offset_at(-2_208_988_800_000_000), -968);
    }

    #[test]
    fn gaps_and_overlaps_resolve() {
        let zone = Zone::Named(chrono_tz::Europe::Paris);
        // 2024-03-31 02:30 does not exist; PostgreSQL reads it with the offset before the gap: 01:30 UTC.
        assert_eq!(zone.instant_of(1_711_852_200_000_000), 1_711_848_600_000_000);
        // 2024-10-27 02:30 exists twice; standard time is taken: 01:30 UTC.
        assert_eq!(zone.instant_of(1_729_996_200_000_000), 1_729_992_600_000_000);
    }
}
