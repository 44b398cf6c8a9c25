//! Calls, berth visits, cargo operations, stoppages and manifests, with what is mistyped, left out or doubled.

use std::collections::HashMap;

use super::{Defect, paris};
use crate::draw::{Draw, Stream};
use crate::fleet::ship_id;
use crate::rows::{Cell, text, time};
use crate::sim::{Call, Visit};
use crate::world::{AGENTS, BERTHS, CARGOES, POOLS, PORTS, TERMINALS};

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
fn terminal_of(berth: i32) -> usize {
    BERTHS
        .iter()
        .find(|row| (row.1..row.1 + row.2).contains(&berth))
        .and_then(|row| usize::try_from(row.0 - 1).ok())
        .unwrap_or(0)
}

pub(super) fn call_rows(
    push: &mut impl FnMut(&str, &[Cell<'_>]),
    defects: &mut Vec<Defect>,
    (seed, dirt, to): (u64, f64, i64),
    call: &Call,
    twins: &HashMap<i64, i64>,
) {
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
    let string = call.string.map(|string| format!("{}{string:02}", if call.pool == 0 { "S" } else { "R" }));
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
        visit_rows(push, defects, (seed, dirt, to), call, visit, number + 1 == count && left);
    }
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
