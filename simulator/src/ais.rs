//! AIS positions of the ships of the simulated calls at a fixed rate, with the sentinels real receivers send.
//!
//! Each call has its own generator, so the rate of one ship never shifts another, and no call depends on AIS at all.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use crate::{
    draw::{Draw, Stream, whole},
    fleet::{Ship, ship_id},
    port::SimulatorError,
    rows::{Cell, Rows, time},
    sim::Call,
    tos_rows::Defect,
};

/// The pilot boarding place and the roads, degrees.
const ROADS: (f64, f64) = (14.645, -17.415);
const APPROACH: i64 = 12 * 3600;
const LEAVING: i64 = 6 * 3600;

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("mmsi", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("lat", DataType::Float64, true),
        Field::new("lon", DataType::Float64, true),
        Field::new("sog", DataType::Float64, true),
        Field::new("cog", DataType::Float64, true),
        Field::new("heading", DataType::Int32, true),
        Field::new("nav_status", DataType::Int32, true),
        Field::new("station", DataType::Utf8, true),
        Field::new("draught_dm", DataType::Int32, true),
    ]))
}

/// All positions in `[from, to)`, call by call in order of time.
pub(crate) fn build(
    seed: u64,
    dirt: f64,
    (from, to): (i64, i64),
    secs: u32,
    ships: &[Ship],
    calls: &[Call],
) -> Result<(RecordBatch, Vec<Defect>), SimulatorError> {
    let mut rows = Rows::new(schema());
    let mut defects = Vec::new();
    let step = i64::from(secs.max(1));
    for call in calls {
        let Some(ship) = usize::try_from(ship_id(call) - 1001).ok().and_then(|index| ships.get(index)) else {
            continue;
        };
        let mut draw = Draw::new(seed, Stream::Ais, call.key);
        let mut dirty = Draw::new(seed, Stream::DirtAis, call.key);
        let end = call.atd().saturating_add(LEAVING).min(to);
        let bearing = draw.uniform(150.0, 330.0).to_radians();
        let speed = draw.uniform(11.0, 17.0);
        let mut at = (call.ata - APPROACH).max(from);
        at += i64::try_from(draw.bits() % u64::from(secs.max(1))).unwrap_or(0);
        while at < end {
            let moored = call.visits.iter().find(|visit| visit.all_fast <= at && at < visit.atd);
            let away = if at < call.ata { (call.ata - at, 180.0) } else { ((at - call.atd()).max(0), 0.0) };
            let (lat, lon, sog, status) = if let Some(visit) = moored {
                let berth = f64::from(visit.berth);
                (14.672 + berth * 1e-4, -17.432 + berth * 6e-5, 0.0, 5)
            } else if at >= call.ata && at < call.atd() {
                (
                    ROADS.0 + draw.uniform(-0.01, 0.01),
                    ROADS.1 + draw.uniform(-0.01, 0.01),
                    draw.uniform(0.0, 0.3),
                    1,
                )
            } else {
                let degrees = speed * away.0 as f64 / 3600.0 / 60.0;
                (ROADS.0 + degrees * bearing.cos(), ROADS.1 + degrees * bearing.sin(), speed, 0)
            };
            let course = (bearing.to_degrees() + away.1).rem_euclid(360.0);
            let mut cell = |share: f64, kind: &'static str| {
                let hit = dirty.chance(share * dirt);
                if hit && kind == "duplicate" {
                    defects.push(Defect {
                        feed: "events.ais_positions",
                        row: format!("{}@{at}", ship.mmsi),
                        kind,
                        original: String::new(),
                    });
                }
                hit
            };
            let heading = if cell(0.15, "heading_511") { 511 } else { whole(course) };
            let cog = if cell(0.09, "cog_360") { 360.0 } else { (course * 10.0).round() / 10.0 };
            let sog = if cell(0.004, "sog_1023") { 102.3 } else { (sog * 10.0).round() / 10.0 };
            let copies = if cell(0.005, "duplicate") { 2 } else { 1 };
            for _ in 0..copies {
                rows.push(&[
                    Cell::Text(&ship.mmsi),
                    time(Some(at)),
                    Cell::Float((lat * 1e5).round() / 1e5),
                    Cell::Float((lon * 1e5).round() / 1e5),
                    Cell::Float(sog),
                    Cell::Float(cog),
                    Cell::Int(heading),
                    Cell::Int(status),
                    Cell::Text("DKR1"),
                    Cell::Int(ship.draught_cm / 10),
                ]);
            }
            at += step;
        }
    }
    Ok((rows.finish()?, defects))
}
