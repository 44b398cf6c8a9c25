//! `port_call_events`: one line of JSON per document, four generations side by side (section 4 of [`crate::feeds`]).
//!
//! Text is written straight into one buffer: a year is some hundred thousand lines. Names hold no character that JSON
//! would have to escape. Documents come out in order of their record time.

mod generation;
mod said;

use crate::{
    closure::Closures,
    draw::{Draw, Stream},
    fleet::Ship,
    sim::Call,
    tos_rows::Defect,
};
use generation::{Who, first, fourth, second, third, without_offset};
use said::snapshot;

pub(crate) use generation::{classifier, service};
pub(crate) use said::{Said, is_told, statements};

/// Documents and the defects in them.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The file's text, one document per line.
    pub(crate) text: String,
    pub(crate) lines: u64,
    pub(crate) defects: Vec<Defect>,
}

pub(crate) fn build(
    seed: u64,
    dirt: f64,
    to: i64,
    ships: &[Ship],
    calls: &[Call],
    closures: &Closures,
    progress: &dyn Fn(&str, u64, u64),
) -> Documents {
    let mut lines: Vec<(i64, String)> = Vec::with_capacity(calls.len() * 36);
    let mut defects = Vec::new();
    let total = u64::try_from(calls.len()).unwrap_or(0);
    for (number, call) in (0_u64..).zip(calls) {
        if number % 512 == 0 {
            progress("documents", number, total);
        }
        one_call(seed, dirt, to, ships, call, closures, &mut lines, &mut defects);
    }
    // Out of order: a late line sinks by some hours; everything else is in record order.
    lines.sort_by_key(|line| line.0);
    let mut text = String::with_capacity(lines.iter().map(|line| line.1.len() + 1).sum());
    for (_, line) in &lines {
        text.push_str(line);
        text.push('\n');
    }
    progress("documents", total, total);
    Documents { text, lines: u64::try_from(lines.len()).unwrap_or(0), defects }
}

#[expect(clippy::too_many_arguments, reason = "the inputs of one pure step")]
fn one_call(
    seed: u64,
    dirt: f64,
    to: i64,
    ships: &[Ship],
    call: &Call,
    closures: &Closures,
    lines: &mut Vec<(i64, String)>,
    defects: &mut Vec<Defect>,
) {
    let id = usize::try_from(crate::fleet::ship_id(call) - 1001).unwrap_or(0);
    let Some(ship) = ships.get(id) else { return };
    let who = Who {
        name: ship.at(call.ata).map(|version| version.name.clone()).unwrap_or_default(),
        imo: ship.imo.clone(),
        mmsi: ship.mmsi.clone(),
        sign: ship.call_sign.clone(),
    };
    let mut draw = Draw::new(seed, Stream::DirtDocument, call.key);
    let generation = call.agent % 4 + 1;
    let told: Vec<(i64, i64)> = call.etas.iter().copied().filter(|eta| eta.0 < to).collect();
    let mut emit = |record: i64, line: String, lines: &mut Vec<(i64, String)>, draw: &mut Draw| {
        let late = if draw.chance(0.05 * dirt) { 20_000 } else { 0 };
        if late > 0 {
            defects.push(Defect {
                feed: "events.port_call_events",
                row: call.id.clone(),
                kind: "out_of_order",
                original: record.to_string(),
            });
        }
        if draw.chance(0.005 * dirt) {
            defects.push(Defect {
                feed: "events.port_call_events",
                row: call.id.clone(),
                kind: "duplicate",
                original: record.to_string(),
            });
            lines.push((record + late + 30, line.clone()));
        }
        if draw.chance(0.0005 * dirt) {
            defects.push(Defect {
                feed: "events.port_call_events",
                row: call.id.clone(),
                kind: "undecodable",
                original: String::new(),
            });
            lines.push((record + late, line.chars().take(line.len() / 2).collect()));
        }
        if draw.chance(0.0005 * dirt) {
            defects.push(Defect {
                feed: "events.port_call_events",
                row: call.id.clone(),
                kind: "unknown_shape",
                original: String::new(),
            });
            lines.push((
                record + late,
                format!(r#"{{"kind":"notice","ref":"{}","text":"voir courrier"}}"#, call.id),
            ));
        }
        lines.push((record + late, line));
    };
    // ETA to the pilot boarding place, in the generation of the agent's software.
    match generation {
        1 | 2 => {
            for &(record, eta) in &told {
                let said = Said { record, at: eta, place: "pbp", kind: "eta", source: "agent", visit: None };
                let line = (generation == 1).then(|| first(call, &who, &said, draw.chance(0.2))).flatten();
                let line = line.unwrap_or_else(|| second(call, &who, &said, dirt, &mut draw));
                emit(record, line, lines, &mut draw);
            }
        }
        3 => {
            if let Some(last) = told.last() {
                let all: Vec<Said> = told
                    .iter()
                    .map(|&(record, at)| Said {
                        record,
                        at,
                        place: "pbp",
                        kind: "eta",
                        source: "agent",
                        visit: None,
                    })
                    .collect();
                emit(last.0, third(call, &who, &all), lines, &mut draw);
            }
        }
        _ => {}
    }
    for mut said in statements(seed, call, to) {
        if !matches!(said.source, "pilot" | "portauthority")
            && dirt > 0.0
            && classifier(said.kind) == "ACT"
            && draw.chance(0.5)
        {
            said.at += i64::try_from(draw.below(1200)).unwrap_or(0) - 600;
        }
        let line = match said.source {
            "terminal" => third(call, &who, &[said]),
            "agent" if generation == 1 => first(call, &who, &said, draw.chance(0.2))
                .unwrap_or_else(|| second(call, &who, &said, dirt, &mut draw)),
            "agent" if generation == 3 => third(call, &who, &[said]),
            _ => second(call, &who, &said, dirt, &mut draw),
        };
        emit(said.record, line, lines, &mut draw);
        if draw.chance(0.001 * dirt) {
            without_offset(call, &who, &said, lines);
        }
    }
    let line = fourth(seed, call, &who, &told, to, generation == 4, closures);
    let record = snapshot(call, to);
    emit(record, line, lines, &mut draw);
}
