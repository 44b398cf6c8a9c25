//! Dates, times, timestamps and intervals as PostgreSQL prints them (PostgreSQL 17, `datetime.c`: EncodeDateOnly,
//! EncodeDateTime, EncodeInterval).
//!
//! Works on plain integers (days or microseconds since 1970), because calendar types of libraries end before
//! PostgreSQL's years do.

use std::io::Write;

use bytes::{BufMut, BytesMut};

use crate::pg::style::{IntervalStyle, Zone};

/// Days between 1970-01-01 and 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// First and last day of PostgreSQL's `date`, in days since 1970: 4714-11-24 BC and 5874897-12-31.
const DATE_RANGE: (i32, i32) = (-2_440_588, 2_145_042_905);
/// First microsecond of `timestamp`: 4713-11-24 BC. Its last, in 294276, is beyond what 64 bits from 1970 hold.
const FIRST_TIMESTAMP: i64 = -210_866_803_200_000_000;

/// Whether a number of days can be sent as `date`; the extremes of the integer are the infinities.
pub(crate) fn date_in_range(days: i32) -> bool {
    days == i32::MAX || days == i32::MIN || (DATE_RANGE.0..=DATE_RANGE.1).contains(&days)
}

/// Whether microseconds since 1970 can be sent as a timestamp.
pub(crate) fn timestamp_in_range(micros: i64) -> bool {
    micros == i64::MIN || micros >= FIRST_TIMESTAMP
}

/// Days since 1970 to year (astronomical: 0 is 1 BC), month, day.
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The year (astronomical) of a day since 1970.
pub(crate) fn year_of(days: i64) -> i64 {
    civil(days).0
}

/// Year (astronomical), month, day to days since 1970.
pub(crate) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn two(out: &mut BytesMut, value: i64) {
    let value = u8::try_from(value).unwrap_or(0);
    out.put_u8(b'0' + value / 10 % 10);
    out.put_u8(b'0' + value % 10);
}

/// `YYYY-MM-DD`; returns whether ` BC` must follow.
fn ymd(out: &mut BytesMut, days: i64) -> bool {
    let (year, month, day) = civil(days);
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year };
    if shown < 10_000 {
        two(out, shown / 100);
        two(out, shown % 100);
    } else {
        let _ = write!(out.writer(), "{shown}");
    }
    out.put_u8(b'-');
    two(out, month);
    out.put_u8(b'-');
    two(out, day);
    before_christ
}

/// `HH:MM:SS[.ffffff]` without trailing zeros; hours may have more than two digits.
fn hms(out: &mut BytesMut, micros: u64) {
    let seconds = micros / 1_000_000;
    let hours = i64::try_from(seconds / 3600).unwrap_or(0);
    if hours < 100 {
        two(out, hours);
    } else {
        let _ = write!(out.writer(), "{hours}");
    }
    out.put_u8(b':');
    two(out, i64::try_from(seconds / 60 % 60).unwrap_or(0));
    out.put_u8(b':');
    two(out, i64::try_from(seconds % 60).unwrap_or(0));
    fraction(out, micros % 1_000_000);
}

fn fraction(out: &mut BytesMut, micros: u64) {
    if micros == 0 {
        return;
    }
    out.put_u8(b'.');
    let mut rest = micros;
    let mut unit = 100_000;
    while rest > 0 {
        out.put_u8(b'0' + u8::try_from(rest / unit).unwrap_or(0));
        rest %= unit;
        unit /= 10;
    }
}

/// `date` text from days since 1970.
pub(crate) fn date(out: &mut BytesMut, days: i32) {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        _ => {
            if ymd(out, i64::from(days)) {
                out.put_slice(b" BC");
            }
        }
    }
}

/// `time` text from microseconds since midnight; 24:00:00 is legal.
pub(crate) fn time(out: &mut BytesMut, micros: i64) {
    hms(out, micros.unsigned_abs());
}

/// `timestamp` or, with a zone, `timestamptz` text from microseconds since 1970 UTC. `separator` is a space, or `T`
/// inside JSON, where offsets always have minutes.
pub(crate) fn timestamp(out: &mut BytesMut, micros: i64, zone: Option<Zone>, json: bool) {
    match micros {
        i64::MAX => return out.put_slice(b"infinity"),
        i64::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    let offset = zone.map(|zone| zone.offset_at(micros));
    let local = micros.saturating_add(i64::from(offset.unwrap_or(0)) * 1_000_000);
    let before_christ = ymd(out, local.div_euclid(DAY_MICROS));
    out.put_u8(if json { b'T' } else { b' ' });
    hms(out, local.rem_euclid(DAY_MICROS).unsigned_abs());
    if let Some(offset) = offset {
        out.put_u8(if offset < 0 { b'-' } else { b'+' });
        let offset = i64::from(offset.unsigned_abs());
        two(out, offset / 3600);
        if offset % 3600 != 0 || json {
            out.put_u8(b':');
            two(out, offset / 60 % 60);
        }
        if offset % 60 != 0 {
            out.put_u8(b':');
            two(out, offset % 60);
        }
    }
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// `interval` text; the extremes of all three integers are the infinities.
pub(crate) fn interval(out: &mut BytesMut, months: i32, days: i32, micros: i64, style: IntervalStyle) {
    match (months, days, micros) {
        (i32::MAX, i32::MAX, i64::MAX) => return out.put_slice(b"infinity"),
        (i32::MIN, i32::MIN, i64::MIN) => return out.put_slice(b"-infinity"),
        _ => {}
    }
    match style {
        IntervalStyle::Postgres => interval_postgres(out, months, days, micros),
        IntervalStyle::Iso8601 => interval_iso(out, months, days, micros),
    }
}

fn interval_postgres(out: &mut BytesMut, months: i32, days: i32, micros: i64) {
    let mut nothing_yet = true;
    let mut negative_before = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if nothing_yet { "" } else { " " };
        let plus = if negative_before && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        let _ = write!(out.writer(), "{space}{plus}{value} {unit}{plural}");
        negative_before = value < 0;
        nothing_yet = false;
    }
    if nothing_yet || micros != 0 {
        if !nothing_yet {
            out.put_u8(b' ');
        }
        if micros < 0 {
            out.put_u8(b'-');
        } else if negative_before {
            out.put_u8(b'+');
        }
        hms(out, micros.unsigned_abs());
    }
}

fn interval_iso(out: &mut BytesMut, months: i32, days: i32, micros: i64) {
    if months == 0 && days == 0 && micros == 0 {
        return out.put_slice(b"PT0S");
    }
    out.put_u8(b'P');
    for (value, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if value != 0 {
            let _ = write!(out.writer(), "{value}{unit}");
        }
    }
    if micros == 0 {
        return;
    }
    out.put_u8(b'T');
    for (value, unit) in [(micros / 3_600_000_000, 'H'), (micros / 60_000_000 % 60, 'M')] {
        if value != 0 {
            let _ = write!(out.writer(), "{value}{unit}");
        }
    }
    let rest = micros % 60_000_000;
    if rest != 0 {
        let _ =
            write!(out.writer(), "{}{}", if rest < 0 { "-" } else { "" }, rest.unsigned_abs() / 1_000_000);
        fraction(out, rest.unsigned_abs() % 1_000_000);
        out.put_u8(b'S');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_calendar_is_its_own_inverse() {
        for days in (-2_440_588_i64..3_000_000).step_by(977) {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    // Every expected text below was printed by PostgreSQL 15.
    #[test]
    fn dates_match_postgres() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (-2_440_588, "4714-11-24 BC"),
            (2_932_897, "10000-01-01"),
            (2_145_042_905, "5874897-12-31"),
            (i32::MAX, "infinity"),
            (i32::MIN, "-infinity"),
        ] {
            assert_eq!(shown(|out| date(out, days)), text);
        }
        assert!(!date_in_range(2_145_042_906) && !date_in_range(-2_440_589));
    }

    #[test]
    fn times_and_timestamps_match_postgres() {
        assert_eq!(shown(|out| time(out, 3_723_120_000)), "01:02:03.12");
        assert_eq!(shown(|out| time(out, 86_400_000_000)), "24:00:00");
        assert_eq!(shown(|out| timestamp(out, 1_500_000, None, false)), "1970-01-01 00:00:01.5");
        assert_eq!(shown(|out| timestamp(out, -1, None, false)), "1969-12-31 23:59:59.999999");
        let kolkata = Zone::Named(chrono_tz::Asia::Kolkata);
        assert_eq!(shown(|out| timestamp(out, 0, Some(kolkata), false)), "1970-01-01 05:30:00+05:30");
        let abidjan = Zone::Named(chrono_tz::Africa::Abidjan);
        assert_eq!(
            shown(|out| timestamp(out, -2_208_988_800_000_000, Some(abidjan), false)),
            "1899-12-31 23:43:52-00:16:08"
        );
        assert_eq!(shown(|out| timestamp(out, 0, Some(Zone::Utc), true)), "1970-01-01T00:00:00+00:00");
    }

    #[test]
    fn intervals_match_postgres() {
        for (months, days, micros, postgres, iso) in [
            (0, 0, 0, "00:00:00", "PT0S"),
            (i32::MAX, i32::MAX, i64::MAX, "infinity", "infinity"),
            (i32::MIN, i32::MIN, i64::MIN, "-infinity", "-infinity"),
            (-1, 2, 0, "-1 mons +2 days", "P-1M2D"),
            (1, -1, -1, "1 mon -1 days -00:00:00.000001", "P1M-1DT-0.000001S"),
            (0, 0, 360_000_000_000, "100:00:00", "PT100H"),
            (14, 3, 14_706_789_000, "1 year 2 mons 3 days 04:05:06.789", "P1Y2M3DT4H5M6.789S"),
            (-14, 0, 0, "-1 years -2 mons", "P-1Y-2M"),
            (0, -3, 1_000_000, "-3 days +00:00:01", "P-3DT1S"),
        ] {
            assert_eq!(shown(|out| interval(out, months, days, micros, IntervalStyle::Postgres)), postgres);
            assert_eq!(shown(|out| interval(out, months, days, micros, IntervalStyle::Iso8601)), iso);
        }
    }
}
