//! What the clocks of a zone say, at any time that PostgreSQL has (PostgreSQL 17, localtime.c and datetime.c,
//! DetermineTimeZoneOffset).
//!
//! The table of zones that is compiled in tells every change of clocks up to the end of 2099 and none behind it, where
//! PostgreSQL goes on by the zone's rule. The rule counts weekdays of a month, so a later year is looked up as one of the
//! table's last 28 that begins on the same weekday and is as long. Works on plain numbers, because chrono's years end
//! before PostgreSQL's do. It must never be asked about infinity.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, Tz};

use crate::pg::encode::calendar::{days_of, year_of};

const SECOND: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;
/// 2100-01-01, in seconds since 1970.
const TABLE_ENDS: i64 = 4_102_444_800;
/// The last years of the table; among 28 in a row without a century's end there is one of every kind.
const LAST_YEARS: std::ops::RangeInclusive<i64> = 2072..=2099;
/// Before the first year that a timestamp has, and far from the ends of chrono's.
const FAR: i64 = 800_000_000_000;
/// In the last year of the table: mid-January and mid-July, in seconds since 1970.
const WINTER_AND_SUMMER: [i64; 2] = [TABLE_ENDS - 351 * DAY_SECONDS, TABLE_ENDS - 170 * DAY_SECONDS];

/// Seconds east of UTC at an instant, microseconds since 1970.
pub(crate) fn offset_at(zone: Tz, micros: i64) -> i32 {
    if zone == Tz::UTC {
        return 0;
    }
    known_clock(zone, micros).map_or(0, |at| east(&zone.offset_from_utc_datetime(&at)))
}

/// What the clocks say at an instant: microseconds since 1970 by them.
pub(crate) fn local(micros: i64, zone: Tz) -> i64 {
    micros.saturating_add(i64::from(offset_at(zone, micros)) * SECOND)
}

/// The instant at which clocks say so. Twice there: the later one; never there: by the offset before the change.
pub(crate) fn instant_of(local: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return local;
    }
    let offset = known_clock(zone, local).map_or(0, |clock| match zone.offset_from_local_datetime(&clock) {
        LocalResult::Single(offset) | LocalResult::Ambiguous(_, offset) => east(&offset),
        LocalResult::None => {
            let before = GapInfo::new(&clock, &zone).and_then(|gap| gap.begin);
            before.map_or(0, |(_, offset)| east(&offset))
        }
    });
    local.saturating_sub(i64::from(offset) * SECOND)
}

/// The zone of a name after AT TIME ZONE, or behind a time of day. An abbreviation is looked for before a zone of that
/// name, whose clocks may change, and is one offset all year (PostgreSQL 17, timezone/tznames/Default); the setting
/// TimeZone knows zones only.
pub(crate) fn abbreviated(name: &str) -> &str {
    const OFFSETS: [(&str, &str); 7] = [
        ("CET", "Etc/GMT-1"),
        ("EET", "Etc/GMT-2"),
        ("EST", "Etc/GMT+5"),
        ("HST", "Etc/GMT+10"),
        ("MET", "Etc/GMT-1"),
        ("MST", "Etc/GMT+7"),
        ("WET", "UTC"),
    ];
    let known = OFFSETS.iter().find(|(short, _)| short.eq_ignore_ascii_case(name.trim()));
    known.map_or(name, |(_, offset)| offset)
}

fn east(offset: &impl Offset) -> i32 {
    offset.fix().local_minus_utc()
}

/// The time, or one in the table's years at which the zone's clocks are set the same.
fn known_clock(zone: Tz, micros: i64) -> Option<NaiveDateTime> {
    let seconds = micros.div_euclid(SECOND);
    let seconds = if seconds >= TABLE_ENDS && is_changed_yearly(zone) { in_table(seconds) } else { seconds };
    // Where nothing changes any more, the last offset stands for all times to come.
    DateTime::from_timestamp(seconds.clamp(-FAR, FAR), 0).map(|at| at.naive_utc())
}

/// Whether the zone's clocks are still changed when the table ends.
fn is_changed_yearly(zone: Tz) -> bool {
    let [winter, summer] = WINTER_AND_SUMMER.map(|seconds| {
        DateTime::from_timestamp(seconds, 0).map(|at| east(&zone.offset_from_utc_datetime(&at.naive_utc())))
    });
    winter != summer
}

/// The same second of a year of the same kind.
fn in_table(seconds: i64) -> i64 {
    let year = year_of(seconds.div_euclid(DAY_SECONDS));
    let first = days_of(year, 1, 1);
    let length = |year: i64| days_of(year + 1, 1, 1) - days_of(year, 1, 1);
    let alike = LAST_YEARS
        .rev()
        .find(|known| (first - days_of(*known, 1, 1)).rem_euclid(7) == 0 && length(*known) == length(year));
    alike.map_or(seconds, |known| seconds - (first - days_of(known, 1, 1)) * DAY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    /// PostgreSQL: `select extract(timezone from timestamptz '…')` in the zone.
    #[test]
    fn clocks_are_changed_after_the_tables_end() {
        use chrono_tz::{Africa, America, Asia, Europe};
        for (zone, text, hours) in [
            (Europe::Paris, "2099-07-01T12:00:00Z", 2),
            (Europe::Paris, "2100-07-01T12:00:00Z", 2),
            (Europe::Paris, "2100-12-01T12:00:00Z", 1),
            (Europe::Paris, "2150-07-01T12:00:00Z", 2),
            // The last Sunday of March 2100 is the 28th.
            (Europe::Paris, "2100-03-28T00:59:59Z", 1),
            (Europe::Paris, "2100-03-28T01:00:00Z", 2),
            (Europe::Paris, "9999-12-31T22:59:59Z", 1),
            (America::New_York, "2150-07-01T12:00:00Z", -4),
            (America::New_York, "2100-01-01T00:30:00Z", -5),
            (America::Santiago, "9999-12-31T12:00:00Z", -3),
            (Africa::Dakar, "2150-07-01T12:00:00Z", 0),
            (Asia::Tokyo, "2150-07-01T12:00:00Z", 9),
        ] {
            assert_eq!(offset_at(zone, at(text)), hours * 3600, "{zone} {text}");
        }
        // 294246-07-01, which chrono has no year for.
        let last = days_of(294_246, 7, 1) * DAY_SECONDS * SECOND;
        assert_eq!(offset_at(Europe::Paris, last), 7200);
        assert_eq!(local(last, Europe::Paris), last + 7200 * SECOND);
        assert_eq!(instant_of(last, Europe::Paris), last - 7200 * SECOND);
    }

    /// PostgreSQL: `select timestamptz '…'` in the zone.
    #[test]
    fn what_clocks_never_say_is_an_instant_too() {
        use chrono_tz::{Europe, Pacific};
        for (zone, clock, instant) in [
            (Europe::Paris, "2024-03-31T02:30:00Z", "2024-03-31T01:30:00Z"),
            (Europe::Paris, "2024-10-27T02:30:00Z", "2024-10-27T01:30:00Z"),
            (Europe::Paris, "2100-03-28T02:30:00Z", "2100-03-28T01:30:00Z"),
            (Europe::Paris, "2100-10-31T02:30:00Z", "2100-10-31T01:30:00Z"),
            // Samoa went without a whole day.
            (Pacific::Apia, "2011-12-30T12:00:00Z", "2011-12-30T22:00:00Z"),
        ] {
            assert_eq!(instant_of(at(clock), zone), at(instant), "{zone} {clock}");
        }
    }
}
