//! The fact: one row per cargo operation. Measures of a visit or a call stand on exactly one of its rows and are
//! NULL on the others, so that no sum can count them twice.

use datafusion::arrow::datatypes::DataType;

use super::{
    StarColumn, StarForeignKey, StarTable, column, flag, hours, instant, integer, key_type, measure, teu,
    text, tonnes,
};

/// Measures of a call: NULL unless `is_call_row`.
const CALL_MEASURES: [(&str, &str); 8] = [
    ("arrival_dev_h", "Call: arrival at the pilot boarding place minus the reference ETA, hours, signed."),
    ("waiting_h", "Call: first all fast minus arrival at the pilot boarding place, hours."),
    ("shift_h", "Call: time between berths, hours."),
    ("port_h", "Call: last departure from berth minus arrival at the pilot boarding place, hours."),
    ("weather_wait_h", "Call: waiting time inside pilotage closures, hours; NULL without weather data."),
    ("weather_wait_strict_h", "Call: the part of weather_wait_h while the assigned berth was free, hours."),
    ("weather_unknown_h", "Call: lost time without weather data, hours."),
    ("tide_wait_h", "Call: waiting for the tide, hours."),
];

/// Measures of a berth visit: NULL unless `is_visit_row`.
const VISIT_MEASURES: [(&str, &str); 5] = [
    ("gross_work_h", "Visit: length of the union of its work intervals, hours."),
    ("stop_h", "Visit: stoppages inside work, hours."),
    ("berth_h", "Visit: departure from berth minus all fast, hours."),
    ("idle_h", "Visit: berth_h minus gross_work_h, hours."),
    (
        "weather_stop_h",
        "Visit: idle time inside work closures and departure delay inside pilotage closures, hours.",
    ),
];

const INSTANTS: [(&str, &str); 8] = [
    ("eta_ref_ts", "Call: last estimate recorded at least 24 h before arrival, UTC."),
    ("proforma_ts", "Call: arrival by the published schedule, UTC; liners only."),
    ("ata_pbp_ts", "Call: actual arrival at the pilot boarding place, UTC. Clock of calls."),
    ("ata_berth_ts", "Visit: all fast, UTC. Clock of waiting."),
    ("ats_ts", "Visit: start of cargo work, UTC."),
    ("atc_ts", "Visit: completion of cargo work, UTC. Clock of cargo."),
    ("atd_berth_ts", "Visit: departure from berth, UTC. Clock of berth time."),
    ("atd_last_ts", "Call: departure from its last berth, UTC."),
];

const DATE_ROLES: [(&str, &str); 4] = [
    ("date_arr_key", "Day of arrival at the pilot boarding place."),
    ("date_berth_key", "Day of all fast."),
    ("date_end_key", "Day of completion of cargo work."),
    ("date_dep_key", "Day of departure from berth."),
];

pub(super) fn cargo_operation() -> StarTable {
    let mut columns = vec![
        column("op_key", key_type(), false, "Key of the operation, derived from its natural key."),
        column("port_call_id", text(), false, "The call the operation belongs to."),
        column("visit_id", text(), true, "The berth visit; NULL only if the call never berthed."),
        column("agent", text(), true, "The ship's agent."),
    ];
    columns.extend(DATE_ROLES.map(|(name, comment)| column(name, key_type(), false, comment)));
    columns.extend([
        column("vessel_key", key_type(), false, "Ship, in its version at arrival."),
        column("terminal_key", key_type(), false, "Berth, in its version at all fast."),
        column("cargo_key", key_type(), false, "Cargo; -2 on the one row of a call without cargo."),
        column(
            "is_call_row",
            flag(),
            false,
            "True on exactly one row per call, which carries the call's measures.",
        ),
        column(
            "is_visit_row",
            flag(),
            false,
            "True on exactly one row per visit, which carries the visit's measures.",
        ),
        column("tonnes", tonnes(), false, "Goods in tonnes without container tare."),
        column("teu", teu(), false, "Twenty-foot equivalent units, full and empty, without restows."),
        column("boxes", integer(), true, "Container lifts."),
        column("restows", integer(), true, "Lifts of containers that only stood in the way."),
        column("units", integer(), true, "Vehicles or other units."),
        column("crane_hours", hours(), true, "Allocated crane time, hours."),
    ]);
    let nullable_hours = |(name, comment): (&'static str, &'static str)| -> StarColumn {
        column(name, hours(), true, comment)
    };
    columns.extend(VISIT_MEASURES.map(nullable_hours));
    columns.extend(CALL_MEASURES.map(nullable_hours));
    columns.extend(INSTANTS.map(|(name, comment)| column(name, instant(), true, comment)));
    columns.extend([
        column("max_gust_ms", measure(), true, "Strongest gust between arrival and departure, m/s."),
        column("max_hs_m", measure(), true, "Highest significant wave height in that time, m."),
        column("min_vis_m", measure(), true, "Lowest visibility in that time, m."),
        column("rain_mm", measure(), true, "Rain in that time, mm."),
        column("weather_class", text(), true, "Closure channel with most lost minutes, or multi."),
        column("delay_reason", text(), true, "Reported delay reason, SMDG code."),
        column("call_month", (DataType::Date32, "date"), false, "First day of the month of arrival."),
        column("batch_id", (DataType::Int64, "int8"), false, "Load batch that wrote the row."),
        column("src_hash", (DataType::Int64, "int8"), false, "Digest of the row's content, to see a change."),
        column("loaded_at", instant(), false, "When the row was loaded, UTC."),
    ]);

    let mut foreign_keys: Vec<StarForeignKey> = DATE_ROLES
        .iter()
        .map(|(column, _)| StarForeignKey { column, to_table: "dim_date", to_column: "date_key" })
        .collect();
    foreign_keys.extend([
        StarForeignKey { column: "vessel_key", to_table: "dim_vessel", to_column: "vessel_key" },
        StarForeignKey { column: "terminal_key", to_table: "dim_terminal", to_column: "terminal_key" },
        StarForeignKey { column: "cargo_key", to_table: "dim_cargo", to_column: "cargo_key" },
    ]);

    StarTable {
        name: "fact_cargo_operation",
        comment: "One row per cargo operation; a call without cargo keeps one row with 0 tonnes.",
        columns,
        primary_key: "op_key",
        foreign_keys,
        extra_ddl: vec![
            "CREATE UNIQUE INDEX ON {table} (port_call_id) WHERE is_call_row".into(),
            "CREATE UNIQUE INDEX ON {table} (visit_id) WHERE is_visit_row".into(),
            "CREATE INDEX ON {table} (port_call_id)".into(),
            "ALTER TABLE {table} ADD CONSTRAINT visit_row_has_a_visit CHECK (NOT is_visit_row OR visit_id IS NOT NULL)"
                .into(),
            format!(
                "ALTER TABLE {{table}} ADD CONSTRAINT call_measures_on_call_row CHECK (is_call_row OR num_nonnulls({}) = 0)",
                CALL_MEASURES.map(|(name, _)| name).join(", ")
            ),
            format!(
                "ALTER TABLE {{table}} ADD CONSTRAINT visit_measures_on_visit_row CHECK (is_visit_row OR num_nonnulls({}) = 0)",
                VISIT_MEASURES.map(|(name, _)| name).join(", ")
            ),
        ],
    }
}
