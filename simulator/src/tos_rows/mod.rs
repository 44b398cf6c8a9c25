//! The rows of the port-management system: truth through the eyes of its clerks, with the dirt they add.
//!
//! Implements section 2 and the relational part of section 6 of [`crate::feeds`]. Every injected defect is recorded
//! with its table, row, kind and original value.

mod calls;
mod reference;
mod vessels;

use std::collections::HashMap;

use chrono::{DateTime, Offset, TimeZone};

use crate::{
    fleet::Ship,
    port::{SimulatorError, TosTable},
    rows::{Cell, Rows},
    sim::Call,
    tos_tables::TABLES,
};
use calls::call_rows;
use reference::reference_rows;
use vessels::vessel_rows;

/// A defect laid over a feed.
#[derive(Debug, Clone)]
pub(crate) struct Defect {
    pub(crate) feed: &'static str,
    pub(crate) row: String,
    pub(crate) kind: &'static str,
    pub(crate) original: String,
}

/// Another name under which a ship appears in a feed.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    pub(crate) feed: &'static str,
    pub(crate) row: String,
    pub(crate) truth: String,
}

/// Seconds of the wall clock in Paris at an instant.
pub(crate) fn paris(at: i64) -> i64 {
    DateTime::from_timestamp(at, 0).map_or(at, |time| {
        at + i64::from(
            chrono_tz::Europe::Paris.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc(),
        )
    })
}

/// Feeds of the relational source.
#[derive(Debug)]
pub(crate) struct Tos {
    pub(crate) tables: Vec<TosTable>,
    pub(crate) defects: Vec<Defect>,
    pub(crate) aliases: Vec<Alias>,
}

pub(crate) fn build(
    seed: u64,
    dirt: f64,
    (from, to): (i64, i64),
    ships: &[Ship],
    calls: &[Call],
) -> Result<Tos, SimulatorError> {
    let mut defects: Vec<Defect> = Vec::new();
    let mut aliases: Vec<Alias> = Vec::new();
    let mut rows: HashMap<&'static str, Rows> =
        TABLES.iter().map(|table| (table.name, Rows::new(table.schema()))).collect();
    let mut push = |table: &str, cells: &[Cell<'_>]| {
        if let Some(rows) = rows.get_mut(table) {
            rows.push(cells);
        }
    };
    reference_rows(&mut push);
    let twins = vessel_rows(&mut push, (&mut defects, &mut aliases), (seed, dirt, from, to), ships);
    for call in calls {
        call_rows(&mut push, &mut defects, (seed, dirt, to), call, &twins);
    }
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in &TABLES {
        let batch = rows.remove(table.name).unwrap_or_else(|| Rows::new(table.schema())).finish()?;
        let (ddl, mysql) = (table.ddl(), table.mysql());
        tables.push(TosTable { name: table.name, ddl, mysql, batches: vec![batch] });
    }
    Ok(Tos { tables, defects, aliases })
}
