//! The tables of the simulated port-management system as data: columns, PostgreSQL types, comments, keys.
//!
//! Never holds a row: [`crate::tos_rows`] fills these definitions. The DDL and the Arrow schemas come from the same
//! list, so they cannot drift apart. The ugliness is deliberate and documented in the column comments: timestamps
//! without zone, blank-padded codes, free-text status, a terminal name repeated in the operations.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// The PostgreSQL schema all tables live in.
pub const TOS_SCHEMA: &str = "tos";

/// One column: its name, PostgreSQL type, whether it may be NULL, and its comment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) pg: Pg,
    pub(crate) nullable: bool,
    pub(crate) comment: &'static str,
}

/// The PostgreSQL types the tables use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pg {
    Int2,
    Int4,
    Int8,
    Bool,
    Date,
    Timestamp,
    Numeric(u8, i8),
    Varchar(u16),
    Char(u16),
    Text,
}

impl Pg {
    fn sql(self) -> String {
        match self {
            Self::Int2 => "smallint".into(),
            Self::Int4 => "integer".into(),
            Self::Int8 => "bigint".into(),
            Self::Bool => "boolean".into(),
            Self::Date => "date".into(),
            Self::Timestamp => "timestamp without time zone".into(),
            Self::Numeric(precision, scale) => format!("numeric({precision},{scale})"),
            Self::Varchar(length) => format!("varchar({length})"),
            Self::Char(length) => format!("char({length})"),
            Self::Text => "text".into(),
        }
    }

    /// The same type in MySQL: `bit(1)` is its only exact boolean, `datetime(6)` has no zone.
    fn mysql(self) -> String {
        match self {
            Self::Bool => "bit(1)".into(),
            Self::Timestamp => "datetime(6)".into(),
            Self::Numeric(precision, scale) => format!("decimal({precision},{scale})"),
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Date
            | Self::Varchar(_)
            | Self::Char(_)
            | Self::Text => self.sql(),
        }
    }

    fn arrow(self) -> DataType {
        match self {
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Numeric(precision, scale) => DataType::Decimal128(precision, scale),
            Self::Varchar(_) | Self::Char(_) | Self::Text => DataType::Utf8,
        }
    }
}

/// One table: columns in order, primary key, foreign keys (column, table, column) and comment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) comment: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) key: &'static [&'static str],
    pub(crate) references: &'static [(&'static str, &'static str, &'static str)],
    pub(crate) indexes: &'static [&'static str],
}

impl Table {
    /// The Arrow schema, with `portolan.comment` and `portolan.source_type` on every field.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                Field::new(column.name, column.pg.arrow(), column.nullable).with_metadata(HashMap::from([
                    ("portolan.comment".to_owned(), column.comment.to_owned()),
                    ("portolan.source_type".to_owned(), column.pg.sql()),
                ]))
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Statements that create the table in [`TOS_SCHEMA`] with keys and comments. Foreign keys are declared
    /// only between master tables and calls: dirty operations may point nowhere.
    pub(crate) fn ddl(&self) -> String {
        let mut sql =
            format!("CREATE SCHEMA IF NOT EXISTS {TOS_SCHEMA};\nCREATE TABLE {TOS_SCHEMA}.{} (\n", self.name);
        for column in self.columns {
            let null = if column.nullable { "" } else { " NOT NULL" };
            let _infallible = writeln!(sql, "  {} {}{null},", column.name, column.pg.sql());
        }
        for (column, table, target) in self.references {
            let _infallible =
                writeln!(sql, "  FOREIGN KEY ({column}) REFERENCES {TOS_SCHEMA}.{table} ({target}),");
        }
        let _infallible = writeln!(sql, "  PRIMARY KEY ({})\n);", self.key.join(", "));
        for index in self.indexes {
            let _infallible = writeln!(sql, "CREATE INDEX ON {TOS_SCHEMA}.{} ({index});", self.name);
        }
        let _infallible = writeln!(
            sql,
            "COMMENT ON TABLE {TOS_SCHEMA}.{} IS '{}';",
            self.name,
            self.comment.replace('\'', "''")
        );
        for column in self.columns {
            let _infallible = writeln!(
                sql,
                "COMMENT ON COLUMN {TOS_SCHEMA}.{}.{} IS '{}';",
                self.name,
                column.name,
                column.comment.replace('\'', "''")
            );
        }
        sql
    }
}

impl Table {
    /// The statement that creates the table in MySQL's current database, with the same columns, keys and comments.
    /// Foreign keys are left out: tables are loaded one by one.
    pub(crate) fn mysql(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "''");
        let mut sql = format!("CREATE TABLE `{}` (\n", self.name);
        for column in self.columns {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            let _infallible = writeln!(
                sql,
                "  `{}` {} {null} COMMENT '{}',",
                column.name,
                column.pg.mysql(),
                quoted(column.comment)
            );
        }
        for index in self.indexes {
            let _infallible = writeln!(sql, "  INDEX ({index}),");
        }
        let _infallible =
            writeln!(sql, "  PRIMARY KEY ({})\n) COMMENT '{}'", self.key.join(", "), quoted(self.comment));
        sql
    }
}

const fn col(name: &'static str, pg: Pg, comment: &'static str) -> Column {
    Column { name, pg, nullable: false, comment }
}

const fn opt(name: &'static str, pg: Pg, comment: &'static str) -> Column {
    Column { name, pg, nullable: true, comment }
}

const TERMINALS: Table = Table {
    name: "terminals",
    comment: "Terminals of the port",
    columns: &[
        col("terminal_id", Pg::Int4, "Key"),
        col("code", Pg::Varchar(8), "Our code: TAC, M2, M8, M1, M3, M4, M5, M9, WPET, M10, NDY"),
        col("name", Pg::Varchar(60), "Official name, in French"),
        opt("operator", Pg::Varchar(60), "Concession holder"),
        col("zone", Pg::Varchar(12), "north, south, petroleum, fishing, ndayane"),
        opt(
            "smdg_code",
            Pg::Varchar(6),
            "SMDG terminal code; DPWSN names the authority in the public list but means the container terminal",
        ),
        col("unlocode", Pg::Char(5), "UN/LOCODE of the port"),
    ],
    key: &["terminal_id"],
    references: &[],
    indexes: &[],
};

const BERTHS: Table = Table {
    name: "berths",
    comment: "Berth master, one row per version of a berth",
    columns: &[
        col("berth_id", Pg::Int4, "Berth; stays the same over versions"),
        col("terminal_id", Pg::Int4, "Terminal"),
        col("berth_no", Pg::Varchar(8), "Number painted on the quay, mole x 10 + n"),
        opt("mole", Pg::Varchar(8), "Mole"),
        col("length_m", Pg::Numeric(6, 1), "Usable quay length in metres"),
        col("depth_m", Pg::Numeric(4, 1), "Depth alongside below chart datum in metres"),
        col("status", Pg::Varchar(8), "open, works or planned"),
        col("valid_from", Pg::Date, "First day of this version"),
        opt("valid_to", Pg::Date, "Day after the last day of this version; NULL = current"),
    ],
    key: &["berth_id", "valid_from"],
    references: &[("terminal_id", "terminals", "terminal_id")],
    indexes: &[],
};

const VESSELS: Table = Table {
    name: "vessels",
    comment: "Ship register of the harbour office, current state only (versions: vessel_history)",
    columns: &[
        col("vessel_id", Pg::Int8, "Key; one ship may have been entered twice"),
        opt(
            "imo_no",
            Pg::Varchar(10),
            "IMO number as typed: may be missing, TEMPnnnnn or fail its check digit",
        ),
        opt("mmsi", Pg::Char(9), "Radio identity, blank padded"),
        opt("call_sign", Pg::Varchar(8), "Radio call sign"),
        col("vessel_name", Pg::Varchar(60), "Name, sometimes with trailing blanks"),
        opt("former_name", Pg::Varchar(60), "Previous name"),
        opt("flag", Pg::Char(2), "Flag state, ISO 3166-1 alpha-2"),
        col(
            "ship_type",
            Pg::Varchar(24),
            "container, ro-ro, bulk carrier, general cargo, tanker, fishing, passenger, other",
        ),
        col("gt", Pg::Int4, "Gross tonnage (a volume measure, not tonnes)"),
        col("nt", Pg::Int4, "Net tonnage"),
        col("dwt", Pg::Int4, "Deadweight in tonnes"),
        col("loa_m", Pg::Numeric(6, 2), "Length overall in metres"),
        col("beam_m", Pg::Numeric(5, 2), "Beam in metres"),
        col("max_draught_m", Pg::Numeric(4, 2), "Greatest draught in metres"),
        opt("teu_cap", Pg::Int4, "Container capacity in TEU"),
        col("updated_at", Pg::Timestamp, "Last change, UTC, whole seconds"),
    ],
    key: &["vessel_id"],
    references: &[],
    indexes: &["updated_at"],
};

const VESSEL_HISTORY: Table = Table {
    name: "vessel_history",
    comment: "All versions of a ship's changing attributes; the last one equals vessels",
    columns: &[
        col("vessel_id", Pg::Int8, "Ship"),
        col("valid_from", Pg::Timestamp, "Start of the version, UTC; 1900-01-01 for the first"),
        opt("valid_to", Pg::Timestamp, "End of the version, UTC; NULL = current"),
        opt("imo_no", Pg::Varchar(10), "IMO number as typed"),
        opt("mmsi", Pg::Char(9), "Radio identity, blank padded"),
        opt("call_sign", Pg::Varchar(8), "Radio call sign"),
        col("vessel_name", Pg::Varchar(60), "Name"),
        opt("flag", Pg::Char(2), "Flag state"),
        col("gt", Pg::Int4, "Gross tonnage"),
        col("dwt", Pg::Int4, "Deadweight in tonnes"),
        opt("teu_cap", Pg::Int4, "Container capacity in TEU"),
    ],
    key: &["vessel_id", "valid_from"],
    references: &[("vessel_id", "vessels", "vessel_id")],
    indexes: &[],
};

const PORT_CALLS: Table = Table {
    name: "port_calls",
    comment: "Port calls; a row is a real call when ata is not NULL and deleted = 0",
    columns: &[
        col("port_call_id", Pg::Varchar(14), "SNDKR + two digits of the year + number"),
        col("vessel_id", Pg::Int8, "Ship"),
        opt("voyage_in", Pg::Varchar(16), "Voyage inbound"),
        opt("voyage_out", Pg::Varchar(16), "Voyage outbound"),
        opt("service_code", Pg::Varchar(8), "Liner string; NULL for tramps"),
        col("agent", Pg::Varchar(60), "Ship's agent"),
        opt("prev_port", Pg::Char(5), "Previous port, UN/LOCODE"),
        opt("next_port", Pg::Char(5), "Next port, UN/LOCODE"),
        opt("proforma_eta", Pg::Timestamp, "Scheduled arrival of the liner service, UTC"),
        opt("eta", Pg::Timestamp, "Latest ETA, typed by the agent: Europe/Paris"),
        opt("etd", Pg::Timestamp, "Latest ETD, typed by the agent: Europe/Paris"),
        opt("ata", Pg::Timestamp, "Arrival at the pilot boarding place, UTC"),
        opt("atd", Pg::Timestamp, "Departure from the last berth, UTC; NULL = still in port"),
        opt("status", Pg::Varchar(24), "Free text in French, English or Spanish"),
        opt("purpose", Pg::Varchar(24), "cargo, passengers, fishing, bunkers, repair"),
        opt("draught_arr", Pg::Numeric(4, 2), "Arrival draught in metres"),
        col("deleted", Pg::Int2, "1 = soft deleted (this table only)"),
        col("created_at", Pg::Timestamp, "Row created, UTC"),
        col("updated_at", Pg::Timestamp, "Last change, UTC, whole seconds"),
    ],
    key: &["port_call_id"],
    references: &[("vessel_id", "vessels", "vessel_id")],
    indexes: &["updated_at", "vessel_id"],
};

const BERTH_VISITS: Table = Table {
    name: "berth_visits",
    comment: "Stays at a berth; a call has one or more",
    columns: &[
        col("visit_id", Pg::Int8, "Key"),
        col("port_call_id", Pg::Varchar(14), "Port call"),
        col("berth_id", Pg::Int4, "Berth"),
        opt("planned_arr", Pg::Timestamp, "Planned berthing, UTC"),
        opt("planned_dep", Pg::Timestamp, "Planned departure, UTC"),
        opt("first_line", Pg::Timestamp, "First line ashore, UTC"),
        opt("all_fast", Pg::Timestamp, "All fast, UTC: the berth arrival"),
        opt("last_line", Pg::Timestamp, "Last line let go, UTC: the berth departure; NULL = alongside"),
        opt("bollard_from", Pg::Int4, "First bollard"),
        opt("bollard_to", Pg::Int4, "Last bollard"),
        col("updated_at", Pg::Timestamp, "Last change, UTC, whole seconds"),
    ],
    key: &["visit_id"],
    references: &[("port_call_id", "port_calls", "port_call_id")],
    indexes: &["updated_at", "port_call_id"],
};

const CARGO_OPERATIONS: Table = Table {
    name: "cargo_operations",
    comment: "Loading or discharging of one cargo in one visit",
    columns: &[
        col("op_id", Pg::Int8, "Key"),
        col("port_call_id", Pg::Varchar(14), "Port call"),
        col("visit_id", Pg::Int8, "Berth visit"),
        opt("terminal_name", Pg::Varchar(60), "Terminal, typed again, in many spellings"),
        col("cargo_code", Pg::Varchar(8), "Cargo, see ref_cargo"),
        col("direction", Pg::Char(1), "D discharged, L loaded"),
        col("trade", Pg::Char(2), "IM import, EX export, TR transit, TS transhipment"),
        col("tonnes", Pg::Numeric(12, 3), "Goods weight without container tare, tonnes"),
        col("teu", Pg::Numeric(10, 2), "TEU, full and empty, without restows"),
        col("boxes", Pg::Int4, "Container lifts without restows"),
        col("restows", Pg::Int4, "Container lifts only to reach other boxes"),
        col("units", Pg::Int4, "Vehicles"),
        opt("packaging", Pg::Varchar(12), "Packaging"),
        opt("start_time", Pg::Timestamp, "Work started, UTC"),
        opt("end_time", Pg::Timestamp, "Work completed, UTC; NULL = not finished, amounts are 0 until then"),
        col("gangs", Pg::Int2, "Gangs"),
        col("cranes", Pg::Int2, "Cranes"),
        col("crane_hours", Pg::Numeric(10, 3), "Allocated crane hours"),
        col("updated_at", Pg::Timestamp, "Last change, UTC, whole seconds"),
    ],
    key: &["op_id"],
    references: &[],
    indexes: &["updated_at", "port_call_id", "visit_id"],
};

const OP_STOPPAGES: Table = Table {
    name: "op_stoppages",
    comment: "Stops of an operation between its start and end",
    columns: &[
        col("stoppage_id", Pg::Int8, "Key"),
        col("op_id", Pg::Int8, "Operation"),
        col("start_time", Pg::Timestamp, "Stop, UTC"),
        opt("end_time", Pg::Timestamp, "Restart, UTC; NULL = still stopped"),
        col("reason_code", Pg::Char(3), "SMDG delay reason"),
        opt("remark", Pg::Text, "Remark"),
    ],
    key: &["stoppage_id"],
    references: &[],
    indexes: &["op_id"],
};

const MANIFESTS: Table = Table {
    name: "manifests",
    comment: "Manifest lines of discharged and loaded goods",
    columns: &[
        col("manifest_no", Pg::Varchar(16), "Manifest"),
        col("bl_no", Pg::Varchar(16), "Bill of lading"),
        col("op_id", Pg::Int8, "Operation"),
        opt("hs_code", Pg::Char(6), "Harmonised system code"),
        col("weight", Pg::Numeric(14, 3), "Weight in weight_unit"),
        col("weight_unit", Pg::Varchar(4), "t or kg"),
        opt("consignee_country", Pg::Char(2), "ISO 3166-1 alpha-2"),
    ],
    key: &["manifest_no", "bl_no"],
    references: &[],
    indexes: &["op_id"],
};

const REF_CARGO: Table = Table {
    name: "ref_cargo",
    comment: "Cargo codes",
    columns: &[
        col("cargo_code", Pg::Varchar(8), "Key"),
        col("commodity", Pg::Varchar(40), "Commodity"),
        col(
            "cargo_class",
            Pg::Varchar(12),
            "container, liquid_bulk, dry_bulk, bagged, breakbulk, ro_ro, fish",
        ),
        opt("packaging", Pg::Varchar(12), "box, bulk, bag, unit, vehicle, carton"),
        opt("iso_type", Pg::Varchar(4), "ISO container type"),
        col("weather_sensitive", Pg::Bool, "Work stops in some weather"),
        col("hazardous", Pg::Bool, "Dangerous goods"),
    ],
    key: &["cargo_code"],
    references: &[],
    indexes: &[],
};

const REF_PORTS: Table = Table {
    name: "ref_ports",
    comment: "Ports that ships come from and go to",
    columns: &[
        col("unlocode", Pg::Char(5), "UN/LOCODE"),
        col("port_name", Pg::Varchar(40), "Name"),
        col("country", Pg::Char(2), "ISO 3166-1 alpha-2"),
        col("latitude", Pg::Numeric(8, 5), "Degrees north"),
        col("longitude", Pg::Numeric(8, 5), "Degrees east"),
    ],
    key: &["unlocode"],
    references: &[],
    indexes: &[],
};

/// All tables, in an order in which they can be created and loaded.
pub(crate) const TABLES: [Table; 11] = [
    TERMINALS,
    BERTHS,
    REF_CARGO,
    REF_PORTS,
    VESSELS,
    VESSEL_HISTORY,
    PORT_CALLS,
    BERTH_VISITS,
    CARGO_OPERATIONS,
    OP_STOPPAGES,
    MANIFESTS,
];
