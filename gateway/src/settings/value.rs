//! Checking and normalising values as PostgreSQL does (`guc.c`, `datetime.c`), and reading them back typed.

use std::time::Duration;

use super::table::{SettingDef, SettingKind};
use crate::error::{ErrorCode, QueryError};

/// The normal form of a value.
pub(super) fn check(def: &SettingDef, value: &str) -> Result<String, QueryError> {
    let bad = || {
        let shown: String = value.chars().filter(|c| *c != '\0').take(200).collect();
        QueryError::new(
            ErrorCode::InvalidParameterValue,
            format!("invalid value for parameter \"{}\": \"{shown}\"", def.name),
        )
    };
    let trimmed = value.trim();
    match def.kind {
        SettingKind::Text => {
            if value.contains('\0') {
                return Err(bad());
            }
            // application_name: PostgreSQL replaces what is not printable ASCII.
            let cut: String =
                value.chars().take(if def.name == "application_name" { 63 } else { 1000 }).collect();
            Ok(cut)
        }
        SettingKind::Bool => match trimmed.to_ascii_lowercase().as_str() {
            "on" | "true" | "t" | "yes" | "y" | "1" | "tr" | "tru" | "ye" => Ok("on".into()),
            "off" | "false" | "f" | "no" | "n" | "0" | "of" | "fa" | "fal" | "fals" => Ok("off".into()),
            _ => Err(QueryError::new(
                ErrorCode::InvalidParameterValue,
                format!("parameter \"{}\" requires a Boolean value", def.name),
            )),
        },
        SettingKind::Int(low, high) => {
            let number: i64 = trimmed.parse().map_err(|_| bad())?;
            if number < low || number > high {
                return Err(QueryError::new(
                    ErrorCode::InvalidParameterValue,
                    format!(
                        "{number} is outside the valid range for parameter \"{}\" ({low} .. {high})",
                        def.name
                    ),
                ));
            }
            Ok(number.to_string())
        }
        SettingKind::Word(words) => {
            let lower = trimmed.to_ascii_lowercase();
            if words.contains(&lower.as_str()) {
                return Ok(lower);
            }
            let known_elsewhere =
                matches!(
                    (def.name, lower.as_str()),
                    ("IntervalStyle", "iso_8601" | "postgres_verbose" | "sql_standard")
                ) || matches!((def.name, lower.as_str()), ("standard_conforming_strings", "off"));
            if known_elsewhere {
                return Err(QueryError::unsupported(format!("{} \"{lower}\"", def.name)));
            }
            Err(bad().with_hint(format!("available values: {}", words.join(", "))))
        }
        SettingKind::Millis => millis(trimmed).map(show_millis).ok_or_else(|| {
            bad().with_hint(
                "valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"",
            )
        }),
        SettingKind::Zone => match zone(trimmed) {
            Some(name) => Ok(name),
            None if is_offset(trimmed) => {
                Err(QueryError::unsupported(format!("a time zone that is an offset, \"{trimmed}\""))
                    .with_hint("name a zone of that offset, such as 'Etc/GMT+3' for three hours behind UTC"))
            }
            None => Err(bad()),
        },
        SettingKind::DateStyle => date_style(trimmed).unwrap_or_else(|| Err(bad())),
        SettingKind::Names => Ok(value.to_owned()),
        SettingKind::Encoding => {
            // Only letters and digits count (PostgreSQL 17, encnames.c); asyncpg's name has quotes in it.
            let bare: String = trimmed.chars().filter(char::is_ascii_alphanumeric).collect();
            match bare.to_ascii_uppercase().as_str() {
                "UTF8" | "UNICODE" => Ok("UTF8".into()),
                _ => Err(bad().with_hint("the server speaks UTF8 only")),
            }
        }
    }
}

/// Milliseconds of `1500`, `1.5s`, `2 min`.
fn millis(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let per: f64 = match unit.trim() {
        "" | "ms" => 1.0,
        "us" => 0.001,
        "s" => 1e3,
        "min" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        _ => return None,
    };
    let total = (number.parse::<f64>().ok()? * per).round();
    // PostgreSQL's limit is the largest int4.
    if !(0.0..=2_147_483_647.0).contains(&total) {
        return None;
    }
    format!("{total:.0}").parse().ok()
}

/// The largest unit that divides, as SHOW prints it.
fn show_millis(total: u64) -> String {
    for (unit, per) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)] {
        if total > 0 && total.is_multiple_of(per) {
            return format!("{}{unit}", total / per);
        }
    }
    if total == 0 { "0".into() } else { format!("{total}ms") }
}

/// A time-out in its normal form; `None` if 0.
pub(super) fn duration(text: &str) -> Option<Duration> {
    millis(text).filter(|total| *total > 0).map(Duration::from_millis)
}

/// The IANA spelling of a zone's name in any case.
fn zone(text: &str) -> Option<String> {
    let text = text.trim_matches('\'');
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("zulu") {
        return Some("UTC".into());
    }
    let mut names = chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name());
    let named = names.find(|name| name.eq_ignore_ascii_case(text)).map(str::to_owned);
    // What was shown before is read again.
    named.or_else(|| hours(text)).or_else(|| (zone_name(text) != text).then(|| text.to_owned()))
}

/// The zone of a value of the setting: that of its whole hours, if it is such an offset.
pub(super) fn zone_name(value: &str) -> &str {
    const HOURS: [(&str, &str); 27] = [
        ("<-12>+12", "Etc/GMT+12"),
        ("<-11>+11", "Etc/GMT+11"),
        ("<-10>+10", "Etc/GMT+10"),
        ("<-09>+09", "Etc/GMT+9"),
        ("<-08>+08", "Etc/GMT+8"),
        ("<-07>+07", "Etc/GMT+7"),
        ("<-06>+06", "Etc/GMT+6"),
        ("<-05>+05", "Etc/GMT+5"),
        ("<-04>+04", "Etc/GMT+4"),
        ("<-03>+03", "Etc/GMT+3"),
        ("<-02>+02", "Etc/GMT+2"),
        ("<-01>+01", "Etc/GMT+1"),
        ("<+00>-00", "UTC"),
        ("<+01>-01", "Etc/GMT-1"),
        ("<+02>-02", "Etc/GMT-2"),
        ("<+03>-03", "Etc/GMT-3"),
        ("<+04>-04", "Etc/GMT-4"),
        ("<+05>-05", "Etc/GMT-5"),
        ("<+06>-06", "Etc/GMT-6"),
        ("<+07>-07", "Etc/GMT-7"),
        ("<+08>-08", "Etc/GMT-8"),
        ("<+09>-09", "Etc/GMT-9"),
        ("<+10>-10", "Etc/GMT-10"),
        ("<+11>-11", "Etc/GMT-11"),
        ("<+12>-12", "Etc/GMT-12"),
        ("<+13>-13", "Etc/GMT-13"),
        ("<+14>-14", "Etc/GMT-14"),
    ];
    HOURS.iter().find(|(shown, _)| *shown == value).map_or(value, |(_, name)| name)
}

/// Whole hours east of UTC, shown as PostgreSQL shows them (PostgreSQL 17, pgtz.c, pg_tzset_offset).
fn hours(text: &str) -> Option<String> {
    let hours: i8 = text.parse::<i8>().ok().filter(|hours| (-12..=14).contains(hours))?;
    let (east, west) = if hours < 0 { ('-', '+') } else { ('+', '-') };
    Some(format!("<{east}{0:02}>{west}{0:02}", hours.unsigned_abs()))
}

/// Whether a text is an offset from UTC, as PostgreSQL reads more of them than there are zones here.
fn is_offset(text: &str) -> bool {
    let clock = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'))
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ':' | '.'))
    };
    let posix = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let named = text.len() - posix.len() >= 3 || text.starts_with('<');
    clock(text) || named && clock(posix.rsplit('>').next().unwrap_or(posix))
}

fn date_style(text: &str) -> Option<Result<String, QueryError>> {
    let mut order = "MDY";
    for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()) {
        match word.as_str() {
            "iso" | "default" | "" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "dmy" | "euro" | "european" => order = "DMY",
            "ymd" => order = "YMD",
            "sql" | "postgres" | "german" => {
                return Some(Err(QueryError::unsupported(format!("DateStyle \"{word}\""))
                    .with_hint("dates are written in ISO style; use SET DateStyle = ISO")));
            }
            _ => return None,
        }
    }
    Some(Ok(format!("ISO, {order}")))
}

/// The names of a comma-separated list of identifiers, folded unless quoted.
pub(super) fn identifiers(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c if quoted => name.push(c),
            c => name.push(c.to_ascii_lowercase()),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}
