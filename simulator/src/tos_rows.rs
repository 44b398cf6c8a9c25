//! The rows of the port-management system: truth through the eyes of its clerks, with the dirt they add.
//!
//! Implements section 2 and the relational part of section 6 of [`crate::feeds`]. Every injected defect is recorded
//! with its table, row, kind and original value.

use std::collections::HashMap;

use chrono::{DateTime, Offset, TimeZone};

use crate::{
    draw::{Draw, Stream},
    fleet::{Ship, ship_id},
    port::{SimulatorError, TosTable},
    rows::{Cell, Rows, text, time},
    sim::{Call, Visit},
    tos_tables::TABLES,
    world::{AGENTS, BERTHS, CARGOES, POOLS, PORTS, TERMINALS},
};

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

const SPELLINGS: [(&str, &[&str]); 10] = [
    ("TAC", &["DPWSN", "PORT AUTONOME DE DAKAR", "TAC", "Terminal a conteneurs"]),
    ("M2", &["M2", "Dakar Terminal", "MOLE 2 RORO"]),
    ("M8", &["M8", "TVS", "Mole 8", "M8P2"]),
    ("M1", &["M1", "MOLE 1", "Mole 1 Sud"]),
    ("M3", &["M3", "Mole du Mali", "MOLE 3"]),
    ("M4", &["M4", "MOLE 4"]),
    ("M5", &["M5", "MOLE 5"]),
    ("M9", &["M9", "MOLE 9"]),
    ("WPET", &["WPET", "Wharf petrolier", "SEA-LINE MBAO"]),
    ("M10", &["M10", "Port de peche", "MOLE 10"]),
];

/// The terminal (index in [`TERMINALS`]) of a berth.
pub(crate) fn terminal_of(berth: i32) -> usize {
    BERTHS
        .iter()
        .find(|row| (row.1..row.1 + row.2).contains(&berth))
        .and_then(|row| usize::try_from(row.0 - 1).ok())
        .unwrap_or(0)
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
    for (id, code, name, operator, zone, smdg) in TERMINALS {
        push(
            "terminals",
            &[
                Cell::Int(id.into()),
                Cell::Text(code),
                Cell::Text(name),
                Cell::Text(operator),
                Cell::Text(zone),
                text(smdg),
                Cell::Text("SNDKR"),
            ],
        );
    }
    let old = 946_684_800; // 2000-01-01
    for (terminal, first, count, length, depth, pool) in BERTHS {
        let code = TERMINALS[usize::try_from(terminal - 1).unwrap_or(0)].1;
        for berth in first..first + count {
            let no = berth.to_string();
            let status = if pool.is_some() { "open" } else { "planned" };
            let dredged = (berth == 62).then_some(1_561_939_200); // 2019-07-01
            let mut version = |depth: i64, since: i64, until: Option<i64>| {
                push(
                    "berths",
                    &[
                        Cell::Int(berth.into()),
                        Cell::Int(terminal.into()),
                        Cell::Text(&no),
                        Cell::Text(code),
                        Cell::Int(length * 10),
                        Cell::Int(depth),
                        Cell::Text(status),
                        Cell::Time(since),
                        time(until),
                    ],
                );
            };
            if dredged.is_some() {
                version(116, old, dredged);
            }
            version(depth, dredged.unwrap_or(old), None);
        }
    }
    for cargo in CARGOES {
        push(
            "ref_cargo",
            &[
                Cell::Text(cargo.0),
                Cell::Text(cargo.1),
                Cell::Text(cargo.2),
                Cell::Text(cargo.3),
                text(cargo.4),
                Cell::Bool(cargo.5),
                Cell::Bool(cargo.6),
            ],
        );
    }
    for (code, name, country, lat, lon) in PORTS {
        push(
            "ref_ports",
            &[
                Cell::Text(code),
                Cell::Text(name),
                Cell::Text(country),
                Cell::Int(crate::draw::whole(lat * 1e5)),
                Cell::Int(crate::draw::whole(lon * 1e5)),
            ],
        );
    }

    // Ships, and second entries of the same ship.
    let mut twins: HashMap<i64, i64> = HashMap::new();
    for ship in ships {
        let mut draw = Draw::new(seed, Stream::DirtVessel, ship.id.unsigned_abs());
        let row = ship.id.to_string();
        let truth = format!("imo:{}", ship.imo);
        let mut defect = |kind: &'static str, original: &str| {
            defects.push(Defect {
                feed: "tos.vessels",
                row: row.clone(),
                kind,
                original: original.to_owned(),
            });
        };
        let mut imo = Some(ship.imo.clone());
        let roll = draw.unit();
        if roll < 0.043 * dirt {
            defect("imo_missing", &ship.imo);
            imo = None;
        } else if roll < 0.139 * dirt {
            defect("imo_temp", &ship.imo);
            imo = Some(format!("TEMP{:05}", ship.id % 100_000));
        } else if roll < 0.149 * dirt {
            defect("imo_bad_check", &ship.imo);
            let last = ship.imo.bytes().last().map_or(0, |digit| (digit - b'0' + 1) % 10);
            imo = ship.imo.get(..6).map(|six| format!("{six}{last}"));
        }
        let mut mmsi = ship.mmsi.clone();
        let roll = draw.unit();
        if roll < 0.002 * dirt {
            defect("mmsi_wrong_length", &mmsi);
            mmsi.truncate(8);
        } else if roll < 0.004 * dirt {
            defect("mmsi_zero", &mmsi);
            mmsi = "0".into();
        }
        // Char columns are blank padded by the server; the rows say so too.
        let mmsi = format!("{mmsi:<9}");
        let trailing = draw.chance(0.04 * dirt);
        let misspelt = draw.chance(0.005 * dirt);
        if trailing {
            defect("name_trailing_blank", "");
        }
        if misspelt {
            defect("name_misspelt", "");
        }
        let known = ship.versions.iter().filter(|version| version.valid_from < to).count().max(1);
        let versions = &ship.versions[..known];
        let spoil = |name: &str| {
            let mut name = if misspelt { name.replacen('E', "F", 1) } else { name.to_owned() };
            if trailing {
                name.push_str("  ");
            }
            name
        };
        let twin = draw.chance(0.03 * dirt).then_some(ship.id + 100_000);
        if let Some(twin) = twin {
            twins.insert(ship.id, twin);
            defects.push(Defect {
                feed: "tos.vessels",
                row: twin.to_string(),
                kind: "vessel_duplicated",
                original: row.clone(),
            });
        }
        for (id, imo) in std::iter::once((ship.id, imo.as_deref())).chain(twin.map(|id| (id, None))) {
            aliases.push(Alias { feed: "tos.vessels", row: id.to_string(), truth: truth.clone() });
            let Some(last) = versions.last() else { continue };
            let name = spoil(&last.name);
            let former = versions
                .iter()
                .rev()
                .find(|version| version.name != last.name)
                .map(|version| version.name.as_str());
            push(
                "vessels",
                &[
                    Cell::Int(id),
                    text(imo),
                    Cell::Text(&mmsi),
                    Cell::Text(&ship.call_sign),
                    Cell::Text(&name),
                    text(former),
                    Cell::Text(last.flag),
                    Cell::Text(POOLS[ship.pool].ship.0),
                    Cell::Int(last.gt),
                    Cell::Int(last.gt * 55 / 100),
                    Cell::Int(ship.dwt),
                    Cell::Int(ship.loa_cm),
                    Cell::Int(ship.beam_cm),
                    Cell::Int(ship.draught_cm),
                    ship.teu.into(),
                    Cell::Time(last.valid_from.max(from)),
                ],
            );
            for (index, version) in versions.iter().enumerate() {
                let name = spoil(&version.name);
                push(
                    "vessel_history",
                    &[
                        Cell::Int(id),
                        Cell::Time(version.valid_from),
                        time(versions.get(index + 1).map(|next| next.valid_from)),
                        text(imo),
                        Cell::Text(&mmsi),
                        Cell::Text(&ship.call_sign),
                        Cell::Text(&name),
                        Cell::Text(version.flag),
                        Cell::Int(version.gt),
                        Cell::Int(ship.dwt),
                        ship.teu.into(),
                    ],
                );
            }
        }
    }

    for call in calls {
        let mut draw = Draw::new(seed, Stream::DirtCall, call.key);
        let mut report = Draw::new(seed, Stream::Report, call.key);
        let arrived = call.ata < to;
        let left = call.atd() < to;
        let vessel = ship_id(call);
        let use_twin = report.chance(0.4);
        let vessel = twins.get(&vessel).copied().filter(|_| use_twin).unwrap_or(vessel);
        let mut ata = arrived.then_some(call.ata);
        if arrived && draw.chance(0.003 * dirt) {
            defects.push(Defect {
                feed: "tos.port_calls",
                row: call.id.clone(),
                kind: "ata_sentinel",
                original: call.ata.to_string(),
            });
            // 9999-12-31 and 1000-01-01.
            ata = Some(if draw.chance(0.5) { 253_402_214_400 } else { -30_610_224_000 });
        }
        let eta = call.etas.iter().rev().find(|eta| eta.0 < to).map(|eta| eta.1);
        let planned_end =
            call.visits.last().filter(|visit| visit.all_fast < to).map(|visit| visit.all_fast + 86_400);
        let berthed = call.visits.iter().any(|visit| visit.all_fast < to);
        let words: [&str; 3] = if left {
            ["PARTI", "Departed", "SALIDO"]
        } else if berthed {
            ["A QUAI", "Alongside", "ATRACADO"]
        } else if arrived {
            ["EN RADE", "At anchor", "FONDEADO"]
        } else {
            ["ATTENDU", "Expected", "ESPERADO"]
        };
        let status = words[report.below(3)];
        let string =
            call.string.map(|string| format!("{}{string:02}", if call.pool == 0 { "S" } else { "R" }));
        let voyage = format!("{:06}", call.key % 1_000_000);
        let (prev, next) = (PORTS[1 + report.below(15)].0, PORTS[1 + report.below(15)].0);
        let updated =
            [Some(call.announced()), ata.filter(|_| arrived).map(|_| call.ata), left.then(|| call.atd())]
                .into_iter()
                .flatten()
                .max()
                .unwrap_or(call.ata);
        let draught = report.uniform(4.5, 12.5);
        push(
            "port_calls",
            &[
                Cell::Text(&call.id),
                Cell::Int(vessel),
                Cell::Text(&voyage),
                Cell::Text(&voyage),
                text(string.as_deref()),
                Cell::Text(AGENTS[call.agent]),
                Cell::Text(prev),
                Cell::Text(next),
                time(call.proforma),
                time(eta.map(paris)),
                time(planned_end.map(paris)),
                time(ata),
                time(left.then(|| call.atd())),
                Cell::Text(status),
                Cell::Text(POOLS[call.pool].ship.4),
                Cell::Int(crate::draw::whole(draught * 100.0)),
                Cell::Int(0),
                Cell::Time(call.announced()),
                Cell::Time(updated),
            ],
        );
        if arrived && draw.chance(0.01 * dirt) {
            let ghost = call.id.replacen("SNDKR", "SNDKX", 1);
            defects.push(Defect {
                feed: "tos.port_calls",
                row: ghost.clone(),
                kind: "phantom_call",
                original: String::new(),
            });
            let soft = draw.chance(0.5);
            push(
                "port_calls",
                &[
                    Cell::Text(&ghost),
                    Cell::Int(vessel),
                    Cell::Text(&voyage),
                    Cell::Text(&voyage),
                    text(string.as_deref()),
                    Cell::Text(AGENTS[call.agent]),
                    Cell::Text(prev),
                    Cell::Text(next),
                    time(call.proforma),
                    time(eta.map(paris)),
                    Cell::Null,
                    if soft { Cell::Time(call.ata) } else { Cell::Null },
                    Cell::Null,
                    Cell::Text(if soft { "ANNULE" } else { "OMIT" }),
                    Cell::Text("cargo"),
                    Cell::Null,
                    Cell::Int(soft.into()),
                    Cell::Time(call.announced()),
                    Cell::Time(call.ata),
                ],
            );
        }
        let count = call.visits.len();
        for (number, visit) in call.visits.iter().enumerate().filter(|(_, visit)| visit.all_fast < to) {
            visit_rows(&mut push, &mut defects, (seed, dirt, to), call, visit, number + 1 == count && left);
        }
    }
    let mut tables = Vec::with_capacity(TABLES.len());
    for table in &TABLES {
        let batch = rows.remove(table.name).unwrap_or_else(|| Rows::new(table.schema())).finish()?;
        tables.push(TosTable { name: table.name, ddl: table.ddl(), batches: vec![batch] });
    }
    Ok(Tos { tables, defects, aliases })
}

fn visit_rows(
    push: &mut impl FnMut(&str, &[Cell<'_>]),
    defects: &mut Vec<Defect>,
    (seed, dirt, to): (u64, f64, i64),
    call: &Call,
    visit: &Visit,
    last_of_left: bool,
) {
    let mut draw = Draw::new(seed, Stream::DirtOperation, visit.id.unsigned_abs());
    let mut last_line = (visit.atd < to).then_some(visit.atd);
    if last_of_left && draw.chance(0.002 * dirt) {
        defects.push(Defect {
            feed: "tos.berth_visits",
            row: visit.id.to_string(),
            kind: "last_line_missing",
            original: visit.atd.to_string(),
        });
        last_line = None;
    }
    let bollard = 1 + visit.id % 12;
    push(
        "berth_visits",
        &[
            Cell::Int(visit.id),
            Cell::Text(&call.id),
            Cell::Int(visit.berth.into()),
            Cell::Time(visit.all_fast / 3600 * 3600),
            Cell::Time(visit.all_fast / 3600 * 3600 + 86_400),
            Cell::Time((visit.all_fast - 900).max(call.ata)),
            Cell::Time(visit.all_fast),
            time(last_line),
            Cell::Int(bollard),
            Cell::Int(bollard + 9),
            Cell::Time(if visit.atd < to { visit.atd } else { visit.all_fast }),
        ],
    );
    let terminal = &TERMINALS[terminal_of(visit.berth)];
    for op in visit.ops.iter().filter(|op| op.start < to) {
        let done = op.end < to;
        let amount = |value: i64| Cell::Int(if done { value } else { 0 });
        let row = op.id.to_string();
        let mut defect = |kind: &'static str, original: String| {
            defects.push(Defect { feed: "tos.cargo_operations", row: row.clone(), kind, original });
        };
        let mut name = terminal.2;
        if draw.chance(0.001 * dirt) {
            defect("terminal_unknown", name.to_owned());
            name = "QUAI INCONNU";
        } else if draw.chance((0.2 * dirt).min(0.9)) {
            defect("terminal_spelling", name.to_owned());
            name = SPELLINGS
                .iter()
                .find(|entry| entry.0 == terminal.1)
                .and_then(|entry| draw.pick(entry.1).copied())
                .unwrap_or(name);
        }
        let mut kg = op.kg;
        let mut times = (op.start, done.then_some(op.end));
        let mut visit_id = visit.id;
        let roll = draw.unit();
        if done && roll < 0.0005 * dirt {
            defect("tonnes_in_kg", kg.to_string());
            kg *= 1000;
        } else if done && roll < 0.0015 * dirt {
            defect("times_swapped", op.start.to_string());
            times = (op.end, Some(op.start));
        } else if roll < 0.002 * dirt {
            defect("orphan_visit", visit_id.to_string());
            visit_id += 9_000_000_000_000;
        }
        let cargo = &CARGOES[op.cargo];
        let cranes = if cargo.2 == "container" { 3 } else { 0 };
        push(
            "cargo_operations",
            &[
                Cell::Int(op.id),
                Cell::Text(&call.id),
                Cell::Int(visit_id),
                Cell::Text(name),
                Cell::Text(cargo.0),
                Cell::Text(op.direction),
                Cell::Text(op.trade),
                amount(kg),
                amount(op.teu_hundredths),
                amount(op.boxes),
                amount(op.restows),
                amount(op.units),
                Cell::Text(cargo.3),
                Cell::Time(times.0),
                time(times.1),
                Cell::Int(2),
                Cell::Int(cranes),
                amount(op.crane_millihours),
                Cell::Time(if done { op.end } else { op.start }),
            ],
        );
        for (number, stop) in op.stops.iter().filter(|stop| stop.0 < to).enumerate() {
            let id = op.id * 100 + i64::try_from(number).unwrap_or(0);
            let remark = if stop.2 == "WEA" { Some("arret intemperies") } else { None };
            push(
                "op_stoppages",
                &[
                    Cell::Int(id),
                    Cell::Int(op.id),
                    Cell::Time(stop.0),
                    time((stop.1 < to).then_some(stop.1)),
                    Cell::Text(stop.2),
                    text(remark),
                ],
            );
        }
        if done {
            let half = op.id % 2 == 0;
            let manifest = format!("M{}", op.id);
            push(
                "manifests",
                &[
                    Cell::Text(&manifest),
                    Cell::Text("BL1"),
                    Cell::Int(op.id),
                    Cell::Text(cargo.7),
                    Cell::Int(if half { op.kg } else { op.kg * 1000 }),
                    Cell::Text(if half { "t" } else { "kg" }),
                    Cell::Text(if op.trade == "TR" { "ML" } else { "SN" }),
                ],
            );
        }
    }
}
