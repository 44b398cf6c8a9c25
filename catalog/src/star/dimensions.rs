//! The four dimensions. Reserved members are inserted by the DDL, so every other row is a real one.

use datafusion::arrow::datatypes::DataType;

use super::{StarColumn, StarTable, column, flag, instant, integer, key_type, measure, text};

/// No two versions of a member overlap. Works without `btree_gist`: the natural key's hash, halved so that the
/// range's exclusive bound cannot overflow, becomes a range of one element.
fn versions_do_not_overlap(natural_key: &str) -> String {
    format!(
        "ALTER TABLE {{table}} ADD EXCLUDE USING gist (\
         int8range(hashtextextended({natural_key}, 0) / 2, hashtextextended({natural_key}, 0) / 2, '[]') WITH &&, \
         tstzrange(valid_from, valid_to) WITH &&)"
    )
}

fn versioned(mut columns: Vec<StarColumn>) -> Vec<StarColumn> {
    columns.extend([
        column(
            "is_inferred",
            flag(),
            false,
            "True for a member known only from facts; overwritten in place later.",
        ),
        column("valid_from", instant(), false, "Start of this version, inclusive; 1900-01-01 for the first."),
        column("valid_to", instant(), false, "End of this version, exclusive; 2200-01-01 for the last."),
        column("is_current", flag(), false, "True for the latest version."),
        column("row_hash", text(), true, "Digest of the attributes, to see a change."),
    ]);
    columns
}

pub(super) fn date() -> StarTable {
    StarTable {
        name: "dim_date",
        comment: "One row per day in UTC, which is local time at Dakar. Used in four roles by the fact.",
        columns: vec![
            column(
                "date_key",
                key_type(),
                false,
                "Day as the number yyyymmdd, or a reserved member below zero.",
            ),
            column("date", (DataType::Date32, "date"), true, "The day; NULL for reserved members."),
            column("iso_week", text(), true, "ISO 8601 week, such as 2026-W05."),
            column("month", text(), true, "Month, such as 2026-01."),
            column("quarter", text(), true, "Quarter, such as 2026-Q1."),
            column("year", integer(), true, "Calendar year."),
            column("season", text(), true, "harmattan (Dec-Mar), rain (Jul-Oct) or inter."),
            column("is_holiday_sn", flag(), true, "True on public holidays of Senegal."),
        ],
        primary_key: "date_key",
        foreign_keys: Vec::new(),
        extra_ddl: vec!["CREATE UNIQUE INDEX ON {table} (date)".into()],
    }
}

pub(super) fn vessel() -> StarTable {
    StarTable {
        name: "dim_vessel",
        comment: "One row per version of a ship; a fact refers to the version valid at arrival.",
        columns: versioned(vec![
            column("vessel_key", key_type(), false, "Key of the version; reserved members are below zero."),
            column(
                "vessel_nk",
                text(),
                false,
                "Natural key: imo:<number>, else mmsi:<number>, else the source's id.",
            ),
            column("imo", text(), true, "IMO number, seven digits with a valid check digit, else NULL."),
            column("mmsi", text(), true, "MMSI, nine digits as text."),
            column("call_sign", text(), true, "Radio call sign."),
            column("name", text(), true, "Ship's name in this version."),
            column("flag", text(), true, "Flag state, ISO 3166 alpha-2."),
            column("type", text(), true, "Ship type, such as container, bulk, tanker, roro."),
            column("gt", integer(), true, "Gross tonnage: a volume measure, not tonnes."),
            column("dwt", integer(), true, "Deadweight in tonnes."),
            column("teu_cap", integer(), true, "Container capacity in TEU."),
            column("size_class", text(), true, "Size class within the type."),
            column(
                "imo_status",
                text(),
                false,
                "valid, missing, bad_check or temp: what the source gave as IMO number.",
            ),
        ]),
        primary_key: "vessel_key",
        foreign_keys: Vec::new(),
        extra_ddl: vec![
            "ALTER TABLE {table} ADD CHECK (imo_status IN ('valid', 'missing', 'bad_check', 'temp'))".into(),
            "ALTER TABLE {table} ADD CHECK (valid_from < valid_to)".into(),
            versions_do_not_overlap("vessel_nk"),
        ],
    }
}

pub(super) fn terminal() -> StarTable {
    StarTable {
        name: "dim_terminal",
        comment: "One row per version of a berth, with the terminal it belongs to.",
        columns: versioned(vec![
            column("terminal_key", key_type(), false, "Key of the version; reserved members are below zero."),
            column("berth_nk", text(), false, "Natural key of the berth: terminal code and berth number."),
            column("berth_no", text(), true, "Berth number, mole x 10 + place."),
            column("mole", text(), true, "Mole or quay."),
            column("zone", text(), true, "Port zone."),
            column("terminal_code", text(), true, "Code of the terminal, such as TAC or M8."),
            column("terminal_name", text(), true, "Name of the terminal."),
            column("operator", text(), true, "Operating company in this version."),
            column("smdg_code", text(), true, "SMDG terminal code."),
            column("length_m", measure(), true, "Quay length in metres."),
            column("depth_m", measure(), true, "Depth alongside in metres below chart datum."),
            column("status", text(), true, "open, works or planned."),
            column("wind_limit_ms", measure(), true, "Gust at which work stops, m/s."),
            column("swell_limit_m", measure(), true, "Significant wave height at which work stops, m."),
            column("vis_limit_m", measure(), true, "Visibility below which work stops, m."),
        ]),
        primary_key: "terminal_key",
        foreign_keys: Vec::new(),
        extra_ddl: vec![
            "ALTER TABLE {table} ADD CHECK (status IN ('open', 'works', 'planned'))".into(),
            "ALTER TABLE {table} ADD CHECK (valid_from < valid_to)".into(),
            versions_do_not_overlap("berth_nk"),
        ],
    }
}

pub(super) fn cargo() -> StarTable {
    StarTable {
        name: "dim_cargo",
        comment: "One row per kind of cargo, direction and trade; changed in place.",
        columns: vec![
            column("cargo_key", key_type(), false, "Key of the member; reserved members are below zero."),
            column("cargo_code", text(), false, "Natural key: commodity, direction, trade and packaging."),
            column("commodity", text(), true, "Commodity, such as rice or phosphate."),
            column(
                "cargo_class",
                text(),
                true,
                "containers, dry_bulk, liquid_bulk, bagged, breakbulk or roro.",
            ),
            column("packaging", text(), true, "Packaging as declared."),
            column(
                "direction",
                text(),
                true,
                "D: ship to shore (discharge). L: shore to ship (load). R: restow.",
            ),
            column("trade", text(), true, "IM import, EX export, TR transit, TS transhipment."),
            column("iso_type", text(), true, "ISO 6346 container type, for containers."),
            column("weather_sensitive", flag(), true, "True if rain stops the work."),
            column("hazardous", flag(), true, "True for dangerous goods."),
        ],
        primary_key: "cargo_key",
        foreign_keys: Vec::new(),
        extra_ddl: vec![
            "CREATE UNIQUE INDEX ON {table} (cargo_code)".into(),
            "ALTER TABLE {table} ADD CHECK (direction IN ('D', 'L', 'R'))".into(),
            "ALTER TABLE {table} ADD CHECK (trade IN ('IM', 'EX', 'TR', 'TS'))".into(),
        ],
    }
}

/// Columns of the reserved members that have a value, beside the key: what may not be NULL, and what people group by,
/// so that a chart says what its rest is.
pub(super) fn reserved_values(table: &str) -> &'static [(&'static str, [&'static str; 3])] {
    const SPAN: [(&str, [&str; 3]); 4] = [
        ("is_inferred", ["false"; 3]),
        ("valid_from", ["timestamptz '1900-01-01 00:00:00+00'"; 3]),
        ("valid_to", ["timestamptz '2200-01-01 00:00:00+00'"; 3]),
        ("is_current", ["true"; 3]),
    ];
    const NAMES: [&str; 3] = ["'(unknown)'", "'(not applicable)'", "'(unresolved)'"];
    match table {
        "dim_vessel" => {
            const VALUES: [(&str, [&str; 3]); 7] = [
                ("vessel_nk", NAMES),
                ("type", NAMES),
                ("imo_status", ["'missing'"; 3]),
                SPAN[0],
                SPAN[1],
                SPAN[2],
                SPAN[3],
            ];
            &VALUES
        }
        "dim_terminal" => {
            const VALUES: [(&str, [&str; 3]); 7] = [
                ("berth_nk", NAMES),
                ("berth_no", NAMES),
                ("terminal_code", NAMES),
                SPAN[0],
                SPAN[1],
                SPAN[2],
                SPAN[3],
            ];
            &VALUES
        }
        "dim_cargo" => {
            const VALUES: [(&str, [&str; 3]); 3] =
                [("cargo_code", NAMES), ("commodity", NAMES), ("cargo_class", NAMES)];
            &VALUES
        }
        _ => &[],
    }
}
