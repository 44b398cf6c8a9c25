//! `vessel_movements`: the port authority's stream of what happens and is said about each call (section 5 of
//! [`crate::feeds`]), one JSON object per event, in the order of sending.
//!
//! The statements are those of the documents and some that only this stream has; they are never made up here from
//! anything but the call. Dirt has its own generator, so that this feed changes no draw of another. All lines lie in
//! one buffer: a year is more than a hundred thousand.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat};

use crate::documents::{Said, classifier, is_told, service, statements};
use crate::draw::{Draw, Stream};
use crate::fleet::{Ship, ship_id};
use crate::sim::Call;
use crate::tos_rows::Defect;
use crate::world::POOLS;

const FEED: &str = "movements.vessel_movements";

/// How late a message is that comes out of order, seconds.
const LATE: i64 = 20_000;

/// One message of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement<'a> {
    /// The call it is about; the key of the message.
    pub port_call_id: &'a str,
    /// When it was sent, seconds since 1970, UTC.
    pub sent: i64,
    /// The message: a JSON object, or a part of one where the feed is dirty.
    pub line: &'a str,
}

/// All messages, and the defects in them.
#[derive(Debug, Default)]
pub(crate) struct Movements {
    /// One message per line.
    pub(crate) text: String,
    /// For each line: when it was sent, the number of its call, and where it ends, without the line break.
    index: Vec<(i64, usize, usize)>,
    calls: Vec<String>,
    pub(crate) defects: Vec<Defect>,
}

impl Movements {
    /// The messages in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Movement<'_>> {
        self.index.iter().scan(0, |start, &(sent, call, end)| {
            let line = self.text.get(*start..end)?;
            *start = end + 1;
            Some(Movement { port_call_id: self.calls.get(call)?, sent, line })
        })
    }

    pub(crate) fn lines(&self) -> u64 {
        u64::try_from(self.index.len()).unwrap_or(0)
    }
}

/// Lines in the order of the calls, before they are put in the order of sending.
struct Draft {
    text: String,
    /// When each was sent, the number of its call, and where it lies.
    lines: Vec<(i64, usize, usize, usize)>,
}

impl Draft {
    /// Ends the line that was begun at `start`.
    fn end(&mut self, sent: i64, call: usize, start: usize) {
        self.lines.push((sent, call, start, self.text.len()));
    }
}

pub(crate) fn build(seed: u64, dirt: f64, to: i64, ships: &[Ship], calls: &[Call]) -> Movements {
    let mut draft = Draft {
        text: String::with_capacity(calls.len() * 45 * 420),
        lines: Vec::with_capacity(calls.len() * 46),
    };
    let mut made = Movements::default();
    for (number, call) in calls.iter().enumerate() {
        made.calls.push(call.id.clone());
        let ship = usize::try_from(ship_id(call) - 1001).ok().and_then(|at| ships.get(at));
        if let Some(ship) = ship {
            one_call((seed, dirt, to), number, call, ship, &mut draft, &mut made.defects);
        }
    }
    draft.lines.sort_by_key(|line| line.0);
    made.text.reserve(draft.text.len() + draft.lines.len());
    made.index.reserve(draft.lines.len());
    for (sent, call, start, end) in draft.lines {
        made.text.push_str(draft.text.get(start..end).unwrap_or_default());
        made.index.push((sent, call, made.text.len()));
        made.text.push('\n');
    }
    made
}

fn one_call(
    (seed, dirt, to): (u64, f64, i64),
    number: usize,
    call: &Call,
    ship: &Ship,
    draft: &mut Draft,
    defects: &mut Vec<Defect>,
) {
    let mut events: Vec<Said> = call
        .etas
        .iter()
        .map(|&(record, at)| Said { record, at, place: "pbp", kind: "eta", source: "agent", visit: None })
        .collect();
    // All that is ever said is counted, and what is told by now is written: so an event keeps its number and its dirt
    // when more is told.
    events.extend(statements(seed, call, i64::MAX));
    events.extend(own(seed, call));
    events.sort_by_key(|said| said.record);
    let name = ship.at(call.ata).map(|version| version.name.as_str()).unwrap_or_default();
    for (count, mut said) in (1_u64..).zip(events).filter(|(_, said)| is_told(said, call, to)) {
        let mut draw = Draw::new(seed, Stream::DirtMovement, call.key ^ (count << 52));
        let id = format!("{}-{count:03}", call.id);
        let mut defect = |kind: &'static str, original: String| {
            defects.push(Defect { feed: FEED, row: id.clone(), kind, original });
        };
        // Reporters other than pilot and port authority look at their own clocks.
        if classifier(said.kind) == "ACT"
            && !matches!(said.source, "pilot" | "portauthority")
            && draw.chance(if dirt > 0.0 { 0.5 } else { 0.0 })
        {
            said.at += i64::try_from(draw.below(1200)).unwrap_or(0) - 600;
        }
        let late = draw.chance(0.05 * dirt);
        if late {
            defect("out_of_order", said.record.to_string());
        }
        let sent = said.record + if late { LATE } else { 0 };
        let imo = if draw.chance(0.05 * dirt) {
            defect("imo_type", ship.imo.clone());
            draw.chance(0.5).then(|| format!("TEMP{:05}", call.key % 100_000))
        } else {
            Some(ship.imo.clone())
        };
        let start = draft.text.len();
        let event = Event { id: &id, call, said: &said, name, imo: imo.as_deref(), mmsi: &ship.mmsi };
        event.write(&mut draft.text, said.source, "Z");
        let end = draft.text.len();
        draft.end(sent, number, start);
        if draw.chance(0.005 * dirt) {
            defect("duplicate", String::new());
            draft.lines.push((sent + 30, number, start, end));
        }
        if draw.chance(0.0005 * dirt) {
            defect("undecodable", String::new());
            // Names, which may have letters of more than one byte, come last.
            draft.lines.push((sent, number, start, start + (end - start) / 3));
        }
        if draw.chance(0.0005 * dirt) {
            defect("unknown_shape", String::new());
            let start = draft.text.len();
            let _infallible =
                write!(draft.text, r#"{{"kind":"notice","ref":"{}","text":"voir courrier"}}"#, call.id);
            draft.end(sent, number, start);
        }
        if draw.chance(0.001 * dirt) {
            defect("time_without_offset", String::new());
            let start = draft.text.len();
            let id = format!("{id}x");
            let event = Event { id: &id, call, said: &said, name, imo: Some(&ship.imo), mmsi: &ship.mmsi };
            event.write(&mut draft.text, "carrier", "");
            draft.end(sent, number, start);
        }
    }
}

/// What only this stream tells: tugs, pilots on and off board, the gangway, and when work may begin.
fn own(seed: u64, call: &Call) -> Vec<Said> {
    let mut draw = Draw::new(seed, Stream::Movement, call.key);
    let mut said = Vec::with_capacity(9 * call.visits.len());
    let mut before = call.ata;
    for visit in &call.visits {
        let key = Some((visit.id, visit.berth));
        let mut act = |at: i64, place, kind, sources: &[&'static str]| {
            for source in sources {
                let record = (at + 120 + i64::try_from(draw.below(1800)).unwrap_or(0)) / 60 * 60;
                said.push(Said { record, at, place, kind, source, visit: key });
            }
        };
        // The small ships of the fishing fleet berth without tugs.
        if POOLS.get(call.pool).is_some_and(|pool| pool.ship.0 != "fishing") {
            act((visit.all_fast - 1800).max(before), "towage", "ats", &["portauthority", "ship"]);
            act(visit.all_fast, "towage", "atc", &["portauthority"]);
        }
        act(visit.all_fast, "pilotage", "atc", &["pilot"]);
        act((visit.all_fast + 300).min(visit.atd), "gangway", "ata", &["ship"]);
        if let Some(start) = visit.ops.iter().map(|op| op.start).min() {
            act((visit.all_fast + 600).min(start), "workready", "ata", &["ship", "terminal"]);
        }
        act((visit.atd - 900).max(visit.all_fast), "pilotage", "ats", &["pilot"]);
        before = visit.atd;
    }
    said
}

/// One event as it is written.
struct Event<'a> {
    id: &'a str,
    call: &'a Call,
    said: &'a Said,
    name: &'a str,
    imo: Option<&'a str>,
    mmsi: &'a str,
}

impl Event<'_> {
    /// Appends one JSON object. Names hold no character that JSON would have to escape.
    fn write(&self, text: &mut String, reporter: &str, offset: &str) {
        let said = self.said;
        let (service, event) = match said.place {
            "towage" => ("TOWAGE", if said.kind == "ats" { "STRT" } else { "CMPL" }),
            "gangway" => ("GANGWAY_DOWN_AND_SECURE", "ARRI"),
            "workready" => ("VESSEL_READY_FOR_CARGO_OPERATIONS", "ARRI"),
            place => service(place, said.kind),
        };
        let (movement, phase) = self.movement();
        let at = utc(said.at);
        let imo = self.imo.map_or("null".to_owned(), |imo| format!("\"{imo}\""));
        let (visit, berth) = said.visit.map_or_else(
            || ("null".to_owned(), "null".to_owned()),
            |(visit, berth)| (visit.to_string(), berth.to_string()),
        );
        let _infallible = write!(
            text,
            concat!(
                r#"{{"schema_version":1,"event_id":"{}","port_call_id":"{}","movement_id":"{}-M{}","phase":"{}","#,
                r#""berth_visit_id":{},"berth_id":{},"service":"{}","event":"{}","classifier":"{}","#,
                r#""event_time":"{}{}","record_time":"{}","reporter":"{}","imo_no":{},"mmsi":"{}","vessel_name":"{}"}}"#
            ),
            self.id,
            self.call.id,
            self.call.id,
            movement,
            phase,
            visit,
            berth,
            service,
            event,
            classifier(said.kind),
            at.trim_end_matches('Z'),
            offset,
            utc(said.record),
            reporter,
            imo,
            self.mmsi,
            self.name,
        );
    }

    /// Which movement of the call it belongs to, from 1, and the phase: towards a berth, alongside, between berths,
    /// or out.
    fn movement(&self) -> (usize, &'static str) {
        let said = self.said;
        let visits = &self.call.visits;
        let place = said.visit.and_then(|(id, _)| visits.iter().position(|visit| visit.id == id));
        let Some(berth) = place else {
            // Of the call as a whole: the sea passage begins when she has left, all else is on the way in.
            let out = said.place == "seapassage" && said.kind == "ats";
            return if out { (visits.len() + 1, "OUTB") } else { (1, "INBD") };
        };
        let all_fast = visits.get(berth).map_or(said.at, |visit| visit.all_fast);
        let leaving = match said.place {
            "berth" => said.kind.ends_with("td"),
            "pilotage" => said.at > all_fast,
            _ => false,
        };
        let alongside = matches!(said.place, "cargo" | "ready" | "gangway" | "workready");
        match (leaving, alongside) {
            (true, _) if berth + 1 == visits.len() => (berth + 2, "OUTB"),
            (true, _) => (berth + 2, "SHIF"),
            (false, true) => (berth + 1, "ALGS"),
            (false, false) if berth == 0 => (1, "INBD"),
            (false, false) => (berth + 1, "SHIF"),
        }
    }
}

fn utc(at: i64) -> String {
    DateTime::from_timestamp(at, 0)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
        .unwrap_or_default()
}
