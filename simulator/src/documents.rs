//! `port_call_events`: one line of JSON per document, four generations side by side (section 4 of [`crate::feeds`]).
//!
//! Text is written straight into one buffer: a year is some hundred thousand lines. Names hold no character that JSON
//! would have to escape. Documents come out in order of their record time.

use std::fmt::Write as _;

use chrono::{DateTime, Offset, TimeZone};

use crate::{
    closure::Closures,
    draw::{Draw, Stream},
    fleet::Ship,
    sim::{Call, Visit},
    tos_rows::{Defect, paris},
    truth::{call_truth, visit_truth},
    world::AGENTS,
};

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// `2026-07-01T04:05:06Z`.
fn utc(at: i64) -> String {
    DateTime::from_timestamp(at, 0)
        .map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// The same instant with the offset of Paris.
fn with_offset(at: i64) -> String {
    DateTime::from_timestamp(at, 0)
        .map(|time| time.with_timezone(&chrono_tz::Europe::Paris).format("%Y-%m-%dT%H:%M:%S%:z").to_string())
        .unwrap_or_default()
}

/// Wall clock in Paris in one of the two formats of the first generation; `None` inside a DST overlap.
fn wall(at: i64, slashes: bool) -> Option<String> {
    let local = DateTime::from_timestamp(paris(at), 0)?.naive_utc();
    chrono_tz::Europe::Paris.offset_from_local_datetime(&local).single().map(|offset| offset.fix())?;
    let month = local.format("%m").to_string().parse::<usize>().ok()?;
    Some(if slashes {
        local.format("%Y/%m/%d %H:%M").to_string()
    } else {
        format!("{}-{}-{}", local.format("%d"), MONTHS.get(month - 1)?, local.format("%Y %H:%M"))
    })
}

/// The third generation's words for a place and kind of the second.
fn service(place: &str, kind: &str) -> (&'static str, &'static str) {
    let start = matches!(kind, "ats");
    let event = if start { "STRT" } else { "CMPL" };
    match place {
        "pbp" => ("PILOT_BOARDING_PLACE", "ARRI"),
        "allfast" => ("ALL_FAST", "ARRI"),
        "ready" => ("VESSEL_READY_TO_SAIL", "ARRI"),
        "berth" if kind.ends_with("td") => ("BERTH", "DEPA"),
        "berth" => ("BERTH", "ARRI"),
        "anchorage" => ("ANCHORAGE", event),
        "pilotage" => ("PILOTAGE", event),
        "cargo" => ("CARGO_OPERATIONS", event),
        _ => ("SEA_PASSAGE", event),
    }
}

fn role(source: &str) -> &'static str {
    match source {
        "pilot" => "PLT",
        "portauthority" => "ATH",
        "terminal" => "TR",
        "ship" => "VSL",
        "agent" => "AG",
        _ => "CA",
    }
}

fn classifier(kind: &str) -> &'static str {
    match kind.bytes().next() {
        Some(b'e') => "EST",
        Some(b'p') => "PLN",
        _ => "ACT",
    }
}

/// One statement about a call.
#[derive(Debug, Clone, Copy)]
struct Said {
    record: i64,
    at: i64,
    place: &'static str,
    kind: &'static str,
    source: &'static str,
    visit: Option<(i64, i32)>,
}

/// Documents and the defects in them.
#[derive(Debug)]
pub(crate) struct Documents {
    /// The file's text, one document per line.
    pub(crate) text: String,
    pub(crate) lines: u64,
    pub(crate) defects: Vec<Defect>,
}

/// Identity as documents print it.
#[derive(Debug)]
struct Who {
    name: String,
    imo: String,
    mmsi: String,
    sign: String,
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

fn statements(seed: u64, call: &Call, to: i64) -> Vec<Said> {
    let mut draw = Draw::new(seed, Stream::Report, call.key ^ (1 << 63));
    let mut said = Vec::with_capacity(48);
    let mut minute = |at: i64| (at + 120 + i64::try_from(draw.below(1800)).unwrap_or(0)) / 60 * 60;
    let mut act = |at: i64, place, kind, visit: Option<(i64, i32)>, sources: &[&'static str]| {
        for source in sources {
            said.push(Said { record: minute(at), at, place, kind, source, visit });
        }
    };
    act(call.ata - 1200, "seapassage", "atc", None, &["ship"]);
    act(call.ata, "pbp", "ata", None, &["pilot", "portauthority", "ship"]);
    for (index, visit) in call.visits.iter().enumerate() {
        let key = Some((visit.id, visit.berth));
        if index == 0 && visit.all_fast > call.ata + 3600 {
            act(call.ata + 600, "anchorage", "ats", None, &["portauthority", "ship"]);
            act(visit.all_fast - 2400, "anchorage", "atc", None, &["portauthority", "ship"]);
        }
        act((visit.all_fast - 2400).max(call.ata), "pilotage", "ats", key, &["pilot"]);
        act(visit.all_fast, "allfast", "ata", key, &["portauthority", "terminal", "ship"]);
        act(visit.all_fast, "berth", "ata", key, &["portauthority", "terminal"]);
        let cargo = (visit.ops.iter().map(|op| op.start).min(), visit.ops.iter().map(|op| op.end).max());
        if let (Some(start), Some(end)) = cargo {
            act(start, "cargo", "ats", key, &["terminal", "agent"]);
            act(end, "cargo", "atc", key, &["terminal", "agent"]);
        }
        act(visit.atd - 1200, "ready", "ata", key, &["ship"]);
        act(visit.atd, "berth", "atd", key, &["portauthority", "terminal", "ship"]);
    }
    if let Some(last) = call.visits.last() {
        act(last.atd + 2700, "pilotage", "atc", Some((last.id, last.berth)), &["pilot"]);
        act(last.atd + 3600, "seapassage", "ats", None, &["ship", "portauthority"]);
        for visit in &call.visits {
            let key = Some((visit.id, visit.berth));
            let hour = 3600;
            said.push(Said {
                record: (visit.all_fast - 6 * hour).max(call.announced()) / 60 * 60,
                at: visit.all_fast / hour * hour,
                place: "berth",
                kind: "pta",
                source: "portauthority",
                visit: key,
            });
            said.push(Said {
                record: (visit.all_fast + hour) / 60 * 60,
                at: visit.all_fast / hour * hour + 24 * hour,
                place: "berth",
                kind: "ptd",
                source: "portauthority",
                visit: key,
            });
            said.push(Said {
                record: (visit.all_fast + 2 * hour) / 60 * 60,
                at: visit.all_fast / hour * hour + 26 * hour,
                place: "berth",
                kind: "etd",
                source: "agent",
                visit: key,
            });
        }
    }
    // What had not happened by the end is not told, whatever the statement's own time.
    said.retain(|statement| {
        statement.record < to
            && (statement.kind.starts_with(['e', 'p']) || statement.at < to)
            && statement.visit.is_none_or(|(id, _)| {
                statement.kind.starts_with('p')
                    || call.visits.iter().any(|visit| visit.id == id && visit.all_fast < to)
            })
    });
    said
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
            defects_without_offset(call, &who, &said, lines);
        }
    }
    let line = fourth(seed, call, &who, &told, to, generation == 4, closures);
    let record = snapshot(call, to);
    emit(record, line, lines, &mut draw);
}

fn defects_without_offset(call: &Call, who: &Who, said: &Said, lines: &mut Vec<(i64, String)>) {
    let text = utc(said.at);
    lines.push((said.record, format!(
        r#"{{"uuid":"{}-x{}","eventType":"{}.{}.carrier","recordTime":"{}","eventTime":"{}","ship":{{"imo":{},"mmsi":"{}","name":"{}"}},"port":"SNDKR","portcallId":"{}","location":{{"type":"{}","name":null}},"context":{{}}}}"#,
        call.id, said.record, said.place, said.kind, utc(said.record), text.trim_end_matches('Z'), who.imo, who.mmsi, who.name, call.id, said.place,
    )));
}

fn first(call: &Call, who: &Who, said: &Said, slashes: bool) -> Option<String> {
    let event = match (said.place, said.kind) {
        ("pbp", "eta") => "ETA",
        ("berth", "eta") => "ETB",
        ("berth", "etd") => "ETD",
        ("pbp", "ata") => "ATA",
        ("allfast", "ata") => "ATB",
        ("berth", "atd") => "ATD",
        _ => return None,
    };
    Some(format!(
        r#"{{"callNo":"{}","evt":"{event}","ts":"{}","rec":"{}","src":"{}","ship":"{}","imo":"{}"}}"#,
        call.id,
        wall(said.at, slashes)?,
        wall(said.record, slashes)?,
        said.source,
        who.name,
        who.imo
    ))
}

fn second(call: &Call, who: &Who, said: &Said, dirt: f64, draw: &mut Draw) -> String {
    let imo = if draw.chance(0.05 * dirt) {
        if draw.chance(0.5) { "null".to_owned() } else { format!("\"TEMP{:05}\"", call.key % 100_000) }
    } else if said.source == "agent" {
        format!("\"{}\"", who.imo)
    } else {
        who.imo.clone()
    };
    let (at, record) = if said.source == "agent" {
        (with_offset(said.at), with_offset(said.record))
    } else {
        (utc(said.at), utc(said.record))
    };
    let visit = said.visit.map_or("null".to_owned(), |visit| visit.0.to_string());
    let berth = said.visit.map_or("null".to_owned(), |visit| format!("\"{}\"", visit.1));
    format!(
        r#"{{"uuid":"{}-{}-{}-{}-{}","eventType":"{}.{}.{}","recordTime":"{record}","eventTime":"{at}","ship":{{"imo":{imo},"mmsi":"{}","name":"{}"}},"port":"SNDKR","portcallId":"{}","location":{{"type":"{}","name":{berth}}},"context":{{"draught":{},"movementId":null,"berthVisitId":{visit}}}}}"#,
        call.id,
        said.place,
        said.kind,
        said.source,
        said.record,
        said.place,
        said.kind,
        said.source,
        who.mmsi,
        who.name,
        call.id,
        said.place,
        700 + call.key % 500,
    )
}

fn third(call: &Call, who: &Who, all: &[Said]) -> String {
    let Some(head) = all.first() else { return String::new() };
    let (service, event) = service(head.place, head.kind);
    let mut times = String::new();
    for (index, said) in all.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _infallible = write!(
            times,
            r#"{comma}{{"timestampID":"{}-{service}-{event}-{}","replyToTimestampID":null,"classifierCode":"{}","dateTime":"{}","createdDateTime":"{}","delayReasonCode":null,"remark":null}}"#,
            call.id,
            said.record,
            classifier(said.kind),
            with_offset(said.at),
            utc(said.record)
        );
    }
    let facility = head.visit.map_or("null".to_owned(), |visit| format!("\"{}\"", visit.1));
    let visit = head.visit.map_or("null".to_owned(), |visit| visit.0.to_string());
    format!(
        r#"{{"schemaVersion":"2.0","portCallID":"{}","portCallServiceID":"{}-{service}-{event}-{visit}","portCallServiceTypeCode":"{service}","portCallServiceEventTypeCode":"{event}","publisherRole":"{}","vessel":{{"vesselIMONumber":"{}","MMSINumber":"{}","name":"{}"}},"facility":{facility},"berthVisitId":{visit},"timestamps":[{times}]}}"#,
        call.id,
        call.id,
        role(head.source),
        who.imo,
        who.mmsi,
        who.name
    )
}

/// The last thing known about the call, in whole minutes.
fn snapshot(call: &Call, to: i64) -> i64 {
    let known =
        call.visits.iter().flat_map(|visit| [visit.all_fast, visit.atd]).chain([call.ata, call.announced()]);
    let told = call.etas.iter().map(|eta| eta.0);
    known.chain(told).filter(|at| *at < to).max().unwrap_or(call.ata)
}

fn fourth(
    seed: u64,
    call: &Call,
    who: &Who,
    told: &[(i64, i64)],
    to: i64,
    all: bool,
    closures: &Closures,
) -> String {
    let skip = if all { 0 } else { told.len().saturating_sub(1) };
    let etas: Vec<String> = told
        .iter()
        .skip(skip)
        .map(|eta| {
            format!(
                r#"{{"agent":"{}","eta":"{}","etaTimeStamp":"{}"}}"#,
                AGENTS[call.agent],
                utc(eta.1),
                utc(eta.0)
            )
        })
        .collect();
    let visits: Vec<String> = call
        .visits
        .iter()
        .filter(|visit| visit.all_fast < to)
        .map(|visit| {
            let atd = if visit.atd < to { format!("\"{}\"", utc(visit.atd)) } else { "null".into() };
            let eta = visit.all_fast / 3600 * 3600;
            format!(
                r#"{{"berthCode":"{}","visitId":{},"eta":"{}","etaTimeStamp":"{}","etaSource":"port","ata":"{}","atd":{atd}}}"#,
                visit.berth, visit.id, utc(eta), utc(visit.all_fast - 7200), utc(visit.all_fast)
            )
        })
        .collect();
    let reasons: Vec<String> = delays(seed, call, to, closures)
        .into_iter()
        .map(|(code, minutes)| {
            format!(
                r#"{{"reasonCode":"{code}","minutes":{minutes},"reportedBy":"agent","reportedAt":"{}"}}"#,
                utc(snapshot(call, to))
            )
        })
        .collect();
    format!(
        r#"{{"callReference":"{}","snapshotTime":"{}","vessel":{{"imo":"{}","name":"{}","callSign":"{}"}},"agentInfo":[{}],"portAreaDetails":[{{"portAreaCode":"SNDKR","berthDetails":[{}]}}],"delayInfo":[{}]}}"#,
        call.id,
        utc(snapshot(call, to)),
        who.imo,
        who.name,
        who.sign,
        etas.join(","),
        visits.join(","),
        reasons.join(",")
    )
}

/// Minutes per reason as the agent reports them: weather over-reported by a quarter on average, the rest at most what
/// was lost, all together at most D05 + D13. Only for calls that left.
fn delays(seed: u64, call: &Call, to: i64, closures: &Closures) -> Vec<(&'static str, i64)> {
    if call.atd() >= to {
        return Vec::new();
    }
    let truth = call_truth(call, to, closures, None);
    let visits: Vec<(&Visit, _)> =
        call.visits.iter().map(|visit| (visit, visit_truth(visit, to, closures))).collect();
    let idle: i64 = visits.iter().filter_map(|(_, truth)| truth.idle).sum();
    let mut left = (truth.waiting.unwrap_or(0) + idle) / 60;
    let weather = truth.weather_wait.unwrap_or(0)
        + visits.iter().filter_map(|(_, truth)| truth.weather_stop).sum::<i64>();
    let mut draw = Draw::new(seed, Stream::Report, call.key ^ (1 << 62));
    // Lognormal with mean 1.25: median 1.25 exp(-sigma^2 / 2), sigma 0.4.
    let over = draw.lognormal(1.25 * (-0.08_f64).exp(), 0.4);
    let queue = truth.waiting.unwrap_or(0) - truth.weather_wait.unwrap_or(0);
    let mut out: Vec<(&'static str, i64)> = Vec::new();
    let congestion = if call.proforma.is_some_and(|proforma| (call.ata - proforma).abs() <= 86_400) {
        "PBC"
    } else {
        "CGS"
    };
    let mut add = |code: &'static str, minutes: i64| {
        let minutes = minutes.min(left);
        if minutes > 0 {
            left -= minutes;
            match out.iter_mut().find(|entry| entry.0 == code) {
                Some(entry) => entry.1 += minutes,
                None => out.push((code, minutes)),
            }
        }
    };
    add("WEA", crate::draw::whole(weather as f64 / 60.0 * over));
    add(congestion, queue / 60);
    for stop in visits
        .iter()
        .flat_map(|(visit, _)| &visit.ops)
        .flat_map(|op| &op.stops)
        .filter(|stop| stop.2 != "WEA")
    {
        add(stop.2, (stop.1 - stop.0) / 60);
    }
    out
}
