//! Exact readings of a value's text. Nothing is rounded, clipped or guessed: what does not fit is an error.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

/// Days since 1970-01-01.
pub(crate) fn date(text: &str, format: Option<&str>) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, format.unwrap_or("%Y-%m-%d")).ok()?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Microseconds since 1970-01-01 00:00 on the wall clock. A text with a zone is no wall-clock time.
pub(crate) fn timestamp(text: &str, format: Option<&str>) -> Option<i64> {
    let at = match format {
        Some(format) => NaiveDateTime::parse_from_str(text, format)
            .ok()
            .or_else(|| Some(NaiveDate::parse_from_str(text, format).ok()?.and_time(NaiveTime::MIN)))?,
        None => iso_wall_clock(text)?,
    };
    exact_micros(at)
}

/// Microseconds since 1970-01-01 00:00 UTC. The text must carry its zone, as `Z` or an offset.
pub(crate) fn timestamptz(text: &str, format: Option<&str>) -> Option<i64> {
    if let Some(format) = format {
        let at = DateTime::parse_from_str(text, format).ok()?;
        return exact_micros(at.naive_utc());
    }
    let (clock, offset_secs) = split_zone(text)?;
    let at = iso_wall_clock(clock)?.checked_sub_signed(chrono::Duration::seconds(offset_secs))?;
    exact_micros(at)
}

/// Whether an ISO text of a type would be read, were its year not beyond the calendar's.
pub(crate) fn is_beyond(text: &str, read: impl FnOnce(&str) -> bool) -> bool {
    let Some((year, rest)) = text.split_once('-') else { return false };
    // A leap year, so that the day is judged by itself.
    year.len() > 4 && year.bytes().all(|byte| byte.is_ascii_digit()) && read(&format!("2000-{rest}"))
}

fn exact_micros(at: NaiveDateTime) -> Option<i64> {
    let at = at.and_utc();
    at.timestamp_subsec_nanos().is_multiple_of(1_000).then(|| at.timestamp_micros())
}

/// `YYYY-MM-DD`, then optionally `T` or a blank and `hh:mm`, `hh:mm:ss` or `hh:mm:ss.f…`.
fn iso_wall_clock(text: &str) -> Option<NaiveDateTime> {
    let Some((date, time)) = text.split_once(['T', 't', ' ']) else {
        return Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN));
    };
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let time = NaiveTime::parse_from_str(time, "%H:%M:%S%.f")
        .or_else(|_| NaiveTime::parse_from_str(time, "%H:%M"))
        .ok()?;
    Some(date.and_time(time))
}

/// Splits `…Z`, `…+hh`, `…+hhmm` or `…+hh:mm` into the clock's text and seconds east of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let time_starts = text.find(['T', 't', ' '])?;
    let sign_at = time_starts + text.get(time_starts..)?.find(['+', '-'])?;
    let (clock, zone) = text.split_at_checked(sign_at)?;
    let digits: String = zone.chars().skip(1).filter(|c| *c != ':').collect();
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 = digits.get(2..).filter(|rest| !rest.is_empty()).map_or(Some(0), |m| m.parse().ok())?;
    if hours > 15 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some((clock.trim_end(), if zone.starts_with('-') { -seconds } else { seconds }))
}

/// A decimal as an integer of units of 10^-scale. Digits beyond the scale must be zeros.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first()? {
        b'-' => (true, mantissa.get(1..)?),
        b'+' => (false, mantissa.get(1..)?),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty()
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    // Zeros to append to the digits; negative: digits that must be zeros and are dropped.
    let shift = i64::from(exponent) + i64::from(scale) - i64::try_from(fraction.len()).ok()?;
    let unscaled = if shift >= 0 {
        let zeros = usize::try_from(shift).ok().filter(|zeros| digits.len() + zeros <= 38)?;
        format!("{digits}{}", "0".repeat(zeros))
    } else {
        let dropped = usize::try_from(-shift).ok()?;
        let keep = digits.len().checked_sub(dropped)?;
        let (kept, rest) = digits.split_at(keep);
        if rest.bytes().any(|b| b != b'0') {
            return None;
        }
        kept.to_owned()
    };
    if unscaled.len() > usize::from(precision) {
        return None;
    }
    let value: i128 = if unscaled.is_empty() { 0 } else { unscaled.parse().ok()? };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, expected) in [
            ("1.5", Some(1_500)),
            ("-0.001", Some(-1)),
            ("1.5000", Some(1_500)),
            ("1.5001", None),
            ("1e2", Some(100_000)),
            ("12E-1", Some(1_200)),
            ("1e-4", None),
            (".5", Some(500)),
            ("0.0000", Some(0)),
            ("99999.999", Some(99_999_999)),
            ("100000", None),
            ("1e400", None),
            ("", None),
            ("-", None),
            ("NaN", None),
            ("1,5", None),
        ] {
            assert_eq!(decimal(text, 8, 3), expected, "{text}");
        }
    }

    #[test]
    fn an_instant_needs_its_zone_and_a_wall_clock_must_not_have_one() {
        assert_eq!(timestamptz("1970-01-01T00:00:01Z", None), Some(1_000_000));
        assert_eq!(timestamptz("1970-01-01 08:00:00.25+08", None), Some(250_000));
        assert_eq!(timestamptz("1970-01-01T00:00-02:30", None), Some(9_000_000_000));
        assert_eq!(timestamptz("1970-01-01T00:00:01", None), None);
        assert_eq!(timestamp("1970-01-01T00:00:01Z", None), None);
        assert_eq!(timestamp("1970-01-02", None), Some(86_400_000_000));
        assert_eq!(timestamp("9999-12-31 23:59:59.999999", None), Some(253_402_300_799_999_999));
        assert_eq!(timestamp("1970-01-01 00:00:00.0000001", None), None);
        assert_eq!(timestamp("17-AUG-1970 03:09", Some("%d-%b-%Y %H:%M")), Some(19_710_540_000_000));
        assert_eq!(date("2024-02-30", None), None);
        assert_eq!(date("1969-12-31", None), Some(-1));
    }

    #[test]
    fn years_beyond_the_calendar_are_times_all_the_same() {
        let read = |text: &str| timestamp(text, None).is_some();
        assert!(is_beyond("294276-12-31 10:00", read));
        assert!(is_beyond("300000-02-29", read));
        for text in ["2024-12-31", "294276-13-01", "29427x-12-31", "294276", "-294276-12-31"] {
            assert!(!is_beyond(text, read), "{text}");
        }
    }
}
