//! Every KPI a second time: written by hand from its definition in words, once for the star in PostgreSQL's SQL, once
//! for the simulator's truth in whole seconds.
//!
//! Nothing here may look at the KPI files or at expanded plans: two compilers that share a mistake agree on it.

use std::collections::BTreeMap;

use crate::desk::Row;

/// What a value belongs to; it exists once per operation, berth visit or call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Operation,
    Visit,
    Call,
}

/// An aggregate over one level, dated by one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    /// Column of the fact that dates it, and the value over rows `x` of the star.
    star: (&'static str, &'static str),
    /// The same over the truth.
    truth: (&'static str, &'static str),
}

const P90: &str = "percentile_cont(0.9) WITHIN GROUP (ORDER BY x.waiting_h)";

const fn part(
    name: &'static str,
    level: Level,
    star: (&'static str, &'static str),
    truth: (&'static str, &'static str),
) -> Part {
    Part { name, level, star, truth }
}

/// The aggregates the KPIs are made of.
pub(crate) const PARTS: [Part; 14] = [
    // Cargo is dated by the completion of the visit's work.
    part("cargo_tonnes", Level::Operation, ("atc_ts", "sum(x.tonnes)"), ("atc", "sum(x.tonnes)")),
    part(
        "discharged_t",
        Level::Operation,
        ("atc_ts", "sum(x.tonnes) FILTER (WHERE c.direction = 'D')"),
        ("atc", "sum(x.tonnes) FILTER (WHERE x.direction = 'D')"),
    ),
    part(
        "loaded_t",
        Level::Operation,
        ("atc_ts", "sum(x.tonnes) FILTER (WHERE c.direction = 'L')"),
        ("atc", "sum(x.tonnes) FILTER (WHERE x.direction = 'L')"),
    ),
    part("teu", Level::Operation, ("atc_ts", "sum(x.teu)"), ("atc", "sum(x.teu)")),
    // Calls and their deviation are dated by the arrival at the pilot boarding place.
    part("calls", Level::Call, ("ata_pbp_ts", "count(*)"), ("ata_pbp", "count(*)")),
    part(
        "arrival_dev_h",
        Level::Call,
        ("ata_pbp_ts", "sum(x.arrival_dev_h)"),
        ("ata_pbp", "sum(CAST(x.ata_pbp AS BIGINT) - CAST(x.eta_ref AS BIGINT)) / 3600e6"),
    ),
    // Waiting, idle and weather time are dated by all fast; of a call, that of its first visit.
    part(
        "waiting_h",
        Level::Call,
        ("ata_berth_ts", "sum(x.waiting_h)"),
        ("all_fast", "sum(x.waiting_s) / 3600.0"),
    ),
    part(
        "waiting_p90_h",
        Level::Call,
        ("ata_berth_ts", P90),
        ("all_fast", "percentile_cont(0.9) WITHIN GROUP (ORDER BY CAST(x.waiting_s AS DOUBLE)) / 3600.0"),
    ),
    part(
        "weather_wait_h",
        Level::Call,
        ("ata_berth_ts", "sum(x.weather_wait_h)"),
        ("all_fast", "sum(x.weather_wait_s) / 3600.0"),
    ),
    part(
        "weather_stop_h",
        Level::Visit,
        ("ata_berth_ts", "sum(x.weather_stop_h)"),
        ("all_fast", "sum(x.weather_stop_s) / 3600.0"),
    ),
    part("idle_h", Level::Visit, ("ata_berth_ts", "sum(x.idle_h)"), ("all_fast", "sum(x.idle_s) / 3600.0")),
    // Time at berth is dated by the departure of the visit, time in port by that from the last berth.
    part(
        "berth_h",
        Level::Visit,
        ("atd_berth_ts", "sum(x.berth_h)"),
        ("atd_berth", "sum(x.berth_s) / 3600.0"),
    ),
    part("port_h", Level::Call, ("atd_last_ts", "sum(x.port_h)"), ("atd_last", "sum(x.port_s) / 3600.0")),
    // Both sides of the waiting ratio are dated by all fast.
    part(
        "berth_h_by_berthing",
        Level::Visit,
        ("ata_berth_ts", "sum(x.berth_h)"),
        ("all_fast", "sum(x.berth_s) / 3600.0"),
    ),
];

/// How a KPI is made of parts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made {
    Plain(&'static str),
    /// The sum of what is known; unknown only if both are.
    Total(&'static str, &'static str),
    /// Sums over sums, times a factor; nothing over zero.
    Ratio(f64, &'static [&'static str], &'static [&'static str]),
}

/// One of the fourteen KPIs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kpi {
    pub(crate) name: &'static str,
    pub(crate) made: Made,
    /// True if members add up to the total.
    pub(crate) additive: bool,
    /// By how much it may differ from the truth on feeds with the measured dirt, as a share.
    pub(crate) tolerance: f64,
}

const fn kpi(name: &'static str, made: Made, additive: bool, tolerance: f64) -> Kpi {
    Kpi { name, made, additive, tolerance }
}

/// The KPIs of the product.
pub(crate) const KPIS: [Kpi; 14] = [
    kpi("cargo_tonnes", Made::Plain("cargo_tonnes"), true, 0.005),
    kpi("discharged_t", Made::Plain("discharged_t"), true, 0.005),
    kpi("loaded_t", Made::Plain("loaded_t"), true, 0.005),
    kpi("teu", Made::Plain("teu"), true, 0.005),
    kpi("calls", Made::Plain("calls"), true, 0.005),
    kpi("arrival_dev_h", Made::Plain("arrival_dev_h"), true, 0.02),
    kpi("waiting_h", Made::Plain("waiting_h"), true, 0.02),
    kpi("waiting_p90_h", Made::Plain("waiting_p90_h"), false, 0.02),
    kpi("waiting_ratio", Made::Ratio(1.0, &["waiting_h"], &["berth_h_by_berthing"]), false, 0.04),
    kpi("berth_h", Made::Plain("berth_h"), true, 0.02),
    kpi("port_h", Made::Plain("port_h"), true, 0.02),
    kpi("weather_h", Made::Total("weather_wait_h", "weather_stop_h"), true, 0.05),
    kpi(
        "weather_share",
        Made::Ratio(100.0, &["weather_wait_h", "weather_stop_h"], &["waiting_h", "idle_h"]),
        false,
        0.07,
    ),
    kpi("weather_stop_h", Made::Plain("weather_stop_h"), true, 0.05),
];

/// Dimensions an operation's cargo gives: a call or visit counts in every member it touches.
fn of_cargo(key: &str) -> bool {
    matches!(key, "cargo_class" | "direction" | "trade")
}

impl Part {
    /// The part by some keys over the star, in PostgreSQL's SQL; keys as text first.
    pub(crate) fn star_sql(&self, keys: &[&str]) -> String {
        let (clock, value) = self.star;
        let (id, rows) = match self.level {
            Level::Operation => ("op_key", "true"),
            Level::Visit => ("visit_id", "x.is_visit_row"),
            Level::Call => ("port_call_id", "x.is_call_row"),
        };
        let mut members = Vec::new();
        let mut shown = Vec::new();
        for key in keys {
            let (shows, member) = match *key {
                "day" | "month" => {
                    (format!("date_trunc('{key}', x.{clock} AT TIME ZONE 'UTC')::date::text"), None)
                }
                "terminal" => ("t.terminal_code".to_owned(), None),
                "vessel_type" => ("s.type".to_owned(), None),
                "cargo_class" => ("m.cargo_class".to_owned(), Some("k.cargo_class")),
                "direction" => (
                    "m.direction".to_owned(),
                    Some(
                        "CASE k.direction WHEN 'D' THEN 'discharged' WHEN 'L' THEN 'loaded' ELSE k.cargo_class END",
                    ),
                ),
                other => (format!("no such key: {other}"), None),
            };
            shown.push(shows);
            members.extend(member.map(|sql| format!("{sql} AS {key}")));
        }
        let members = if members.is_empty() {
            String::new()
        } else {
            format!(
                "JOIN (SELECT DISTINCT y.{id}, {} FROM star.fact_cargo_operation y JOIN star.dim_cargo k USING \
                 (cargo_key)) m ON m.{id} = x.{id}",
                members.join(", ")
            )
        };
        let group = if shown.is_empty() { String::new() } else { format!("GROUP BY {}", shown.join(", ")) };
        shown.push(format!("({value})::text"));
        format!(
            "SELECT {} FROM star.fact_cargo_operation x JOIN star.dim_terminal t USING (terminal_key) \
             JOIN star.dim_vessel s USING (vessel_key) JOIN star.dim_cargo c USING (cargo_key) {members} \
             WHERE {rows} AND x.{clock} IS NOT NULL {group}",
            shown.join(", ")
        )
    }

    /// The part by some keys over the truth, in DataFusion's SQL.
    pub(crate) fn truth_sql(&self, keys: &[&str]) -> String {
        let (clock, value) = self.truth;
        let (rows, id) = match self.level {
            Level::Operation => ("operation", "op_id"),
            Level::Visit => ("visit", "visit_id"),
            Level::Call => ("call", "port_call_id"),
        };
        let mut shown: Vec<String> = keys
            .iter()
            .map(|key| match *key {
                "month" => format!("CAST(CAST(date_trunc('month', x.{clock}) AS DATE) AS VARCHAR)"),
                "terminal" => "x.terminal".to_owned(),
                other => format!("m.{other}"),
            })
            .collect();
        let members = match keys.iter().find(|key| of_cargo(key)) {
            Some(key) => format!("JOIN (SELECT DISTINCT {id}, {key} FROM touched) m ON m.{id} = x.{id}"),
            None => String::new(),
        };
        let group = if shown.is_empty() { String::new() } else { format!("GROUP BY {}", shown.join(", ")) };
        shown.push(format!("CAST({value} AS VARCHAR)"));
        format!("SELECT {} FROM t_{rows} x {members} WHERE x.{clock} IS NOT NULL {group}", shown.join(", "))
    }
}

/// Views over the truth and the port's register of berths: one row per operation, visit and call with its terminal.
pub(crate) const TRUTH_VIEWS: [&str; 5] = [
    "CREATE VIEW place AS SELECT DISTINCT b.berth_id, t.code AS terminal FROM berths b \
     JOIN terminals t ON t.terminal_id = b.terminal_id",
    "CREATE VIEW t_visit AS SELECT v.*, p.terminal FROM truth_visit v JOIN place p ON p.berth_id = v.berth_id",
    "CREATE VIEW t_operation AS SELECT o.*, v.atc, v.terminal FROM truth_operation o \
     JOIN t_visit v ON v.visit_id = o.visit_id",
    "CREATE VIEW t_call AS SELECT c.*, c.first_all_fast AS all_fast, coalesce(v.terminal, '(not applicable)') AS terminal \
     FROM truth_call c LEFT JOIN t_visit v ON v.port_call_id = c.port_call_id AND v.all_fast = c.first_all_fast",
    "CREATE VIEW touched AS \
     SELECT port_call_id, visit_id, op_id, cargo_class FROM truth_operation UNION ALL \
     SELECT v.port_call_id, v.visit_id, NULL, '(not applicable)' FROM truth_visit v \
     LEFT JOIN truth_operation o ON o.visit_id = v.visit_id WHERE o.op_id IS NULL UNION ALL \
     SELECT c.port_call_id, NULL, NULL, '(not applicable)' FROM truth_call c WHERE c.first_all_fast IS NULL",
];

/// Values of parts by key, and the keys at which each part has rows.
pub(crate) type Parts = BTreeMap<&'static str, BTreeMap<Row, Option<String>>>;

impl Kpi {
    /// The value at a key, from the values of its parts there.
    pub(crate) fn value(&self, parts: &Parts, key: &Row) -> Option<String> {
        let text = |name: &str| parts.get(name).and_then(|values| values.get(key).cloned().flatten());
        let number = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok());
        let total = |names: &[&str]| names.iter().filter_map(|name| number(name)).reduce(|a, b| a + b);
        match self.made {
            // Nothing counted is zero; nothing summed is unknown.
            Made::Plain("calls") => Some(text("calls").unwrap_or_else(|| "0".into())),
            Made::Plain(name) => text(name),
            Made::Total(left, right) => total(&[left, right]).map(|value| value.to_string()),
            Made::Ratio(by, num, den) => {
                let (num, den) = (total(num)?, total(den)?);
                (den != 0.0).then(|| (by * num / den).to_string())
            }
        }
    }

    /// The parts the KPI rests on.
    pub(crate) fn parts(&self) -> Vec<&'static str> {
        match self.made {
            Made::Plain(name) => vec![name],
            Made::Total(left, right) => vec![left, right],
            Made::Ratio(_, num, den) => num.iter().chain(den).copied().collect(),
        }
    }
}
