//! Who says what about a call, and when: pilots, the port, terminals, ships and agents.
//!
//! Statements are drawn from streams of their own, so a document's form never changes what is said in it.

use crate::closure::Closures;
use crate::draw::{Draw, Stream};
use crate::sim::{Call, Visit};
use crate::truth::{call_truth, visit_truth};

/// One statement about a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// When it was said, seconds since 1970.
    pub(crate) record: i64,
    /// When it happened or is to happen, seconds since 1970.
    pub(crate) at: i64,
    pub(crate) place: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) source: &'static str,
    /// Visit and berth.
    pub(crate) visit: Option<(i64, i32)>,
}

pub(crate) fn statements(seed: u64, call: &Call, to: i64) -> Vec<Said> {
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
    said.retain(|statement| is_told(statement, call, to));
    said
}

/// Whether a statement is in the feeds: what had not happened by the end is not told, whatever its own time.
pub(crate) fn is_told(said: &Said, call: &Call, to: i64) -> bool {
    said.record < to
        && (said.kind.starts_with(['e', 'p']) || said.at < to)
        && said.visit.is_none_or(|(id, _)| {
            said.kind.starts_with('p')
                || call.visits.iter().any(|visit| visit.id == id && visit.all_fast < to)
        })
}

/// The last thing known about the call, in whole minutes.
pub(super) fn snapshot(call: &Call, to: i64) -> i64 {
    let known =
        call.visits.iter().flat_map(|visit| [visit.all_fast, visit.atd]).chain([call.ata, call.announced()]);
    let told = call.etas.iter().map(|eta| eta.0);
    known.chain(told).filter(|at| *at < to).max().unwrap_or(call.ata)
}

/// Minutes per reason as the agent reports them: weather over-reported by a quarter on average, the rest at most what
/// was lost, all together at most D05 + D13. Only for calls that left.
pub(super) fn delays(seed: u64, call: &Call, to: i64, closures: &Closures) -> Vec<(&'static str, i64)> {
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
