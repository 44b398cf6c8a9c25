//! The four document generations and the shape without an offset, as text (section 4 of [`crate::feeds`]).
//!
//! Nothing is decided here: a statement, a call and a ship come in, one line of JSON goes out.

use std::fmt::Write as _;

use chrono::{DateTime, Offset, TimeZone};

use super::said::{Said, delays, snapshot};
use crate::closure::Closures;
use crate::draw::Draw;
use crate::sim::Call;
use crate::tos_rows::paris;
use crate::world::AGENTS;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Identity as documents print it.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) imo: String,
    pub(super) mmsi: String,
    pub(super) sign: String,
}

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
pub(crate) fn service(place: &str, kind: &str) -> (&'static str, &'static str) {
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

pub(crate) fn classifier(kind: &str) -> &'static str {
    match kind.bytes().next() {
        Some(b'e') => "EST",
        Some(b'p') => "PLN",
        _ => "ACT",
    }
}

pub(super) fn without_offset(call: &Call, who: &Who, said: &Said, lines: &mut Vec<(i64, String)>) {
    let text = utc(said.at);
    lines.push((said.record, format!(
        r#"{{"uuid":"{}-x{}","eventType":"{}.{}.carrier","recordTime":"{}","eventTime":"{}","ship":{{"imo":{},"mmsi":"{}","name":"{}"}},"port":"SNDKR","portcallId":"{}","location":{{"type":"{}","name":null}},"context":{{}}}}"#,
        call.id, said.record, said.place, said.kind, utc(said.record), text.trim_end_matches('Z'), who.imo, who.mmsi, who.name, call.id, said.place,
    )));
}

pub(super) fn first(call: &Call, who: &Who, said: &Said, slashes: bool) -> Option<String> {
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

pub(super) fn second(call: &Call, who: &Who, said: &Said, dirt: f64, draw: &mut Draw) -> String {
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

pub(super) fn third(call: &Call, who: &Who, all: &[Said]) -> String {
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

pub(super) fn fourth(
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
