//! The truth of every call and visit in whole seconds, and its tables.
//!
//! Computed from the simulated events and the closures, cut at the end of the feeds: what happens later is unknown
//! here too. Never reads a feed.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use crate::{
    closure::{CHANNELS, Closures, channel_closures},
    port::SimulatorError,
    rows::{Cell, Rows, text, time},
    sim::{Call, Visit},
    span::Spans,
    weather::Weather,
    world::{CARGOES, POOLS, channel},
};

/// What one visit lost and worked, in seconds. `None` while unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct VisitTruth {
    pub(crate) berth: Option<i64>,
    pub(crate) work: Option<i64>,
    pub(crate) idle: Option<i64>,
    pub(crate) weather_stop: Option<i64>,
    pub(crate) ats: Option<i64>,
    pub(crate) atc: Option<i64>,
    pub(crate) atd: Option<i64>,
}

/// What one call lost, in seconds. `None` while unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CallTruth {
    pub(crate) waiting: Option<i64>,
    pub(crate) shift: Option<i64>,
    pub(crate) port: Option<i64>,
    pub(crate) weather_wait: Option<i64>,
    pub(crate) weather_wait_strict: Option<i64>,
    pub(crate) eta_ref: Option<i64>,
}

/// Work intervals of a visit up to `to`: the union of its operations' intervals without their stops.
pub(crate) fn work_of(visit: &Visit, to: i64) -> Spans {
    visit.ops.iter().fold(Spans::default(), |all, op| {
        let stops = Spans::union_of(op.stops.iter().map(|stop| (stop.0, stop.1)));
        all.or(&Spans::one(op.start, op.end.min(to)).minus(&stops))
    })
}

pub(crate) fn visit_truth(visit: &Visit, to: i64, closures: &Closures) -> VisitTruth {
    let started = visit.ops.iter().map(|op| op.start).min().filter(|at| *at < to);
    let completed = visit.ops.iter().map(|op| op.end).max().filter(|at| *at < to);
    if visit.atd >= to {
        return VisitTruth { ats: started, atc: completed, ..VisitTruth::default() };
    }
    let work = work_of(visit, to);
    let atc = completed.unwrap_or(visit.all_fast);
    let idle = Spans::one(visit.all_fast, atc).minus(&work);
    // Exposed where every operation that ends later is in a closed channel: the intersection over the operations of
    // (closed channel or already ended).
    let exposed = visit.ops.iter().fold(Spans::one(visit.all_fast, atc), |all, op| {
        let class = CARGOES.get(op.cargo).map_or("", |cargo| cargo.2);
        let ended = Spans::one(op.end, atc);
        let closed = channel(class)
            .map_or_else(Spans::default, |activity| closures.activity(activity).clip(visit.all_fast, atc));
        all.and(&closed.or(&ended))
    });
    let stop = idle.and(&exposed).length() + closures.pilotage.clip(atc, visit.atd).length();
    let berth = visit.atd - visit.all_fast;
    VisitTruth {
        berth: Some(berth),
        work: Some(work.length()),
        idle: Some(berth - work.length()),
        weather_stop: Some(stop),
        ats: started,
        atc: completed,
        atd: Some(visit.atd),
    }
}

/// `berth_free_since` is the end of the previous visit in the feeds at the first berth.
pub(crate) fn call_truth(
    call: &Call,
    to: i64,
    closures: &Closures,
    berth_free_since: Option<i64>,
) -> CallTruth {
    let eta_ref = call.etas.iter().rev().find(|eta| eta.0 <= call.ata - 86_400).map(|eta| eta.1);
    let Some(first) = call.visits.first().filter(|visit| visit.all_fast < to) else {
        return CallTruth { eta_ref, ..CallTruth::default() };
    };
    let wait = closures.pilotage.clip(call.ata, first.all_fast);
    let strict = wait.clip(berth_free_since.unwrap_or(i64::MIN), first.all_fast).length();
    let waiting = first.all_fast - call.ata;
    let port = (call.atd() < to).then(|| call.atd() - call.ata);
    let berth: i64 = call.visits.iter().map(|visit| visit.atd - visit.all_fast).sum();
    CallTruth {
        waiting: Some(waiting),
        shift: port.map(|port| port - waiting - berth),
        port,
        weather_wait: Some(wait.length()),
        weather_wait_strict: Some(strict),
        eta_ref,
    }
}

/// The end of the previous visit at the same berth, per visit id.
pub(crate) fn previous_departures(calls: &[Call]) -> HashMap<i64, i64> {
    let mut visits: Vec<(i32, i64, i64, i64)> = calls
        .iter()
        .flat_map(|call| call.visits.iter().map(|visit| (visit.berth, visit.all_fast, visit.atd, visit.id)))
        .collect();
    visits.sort_unstable();
    visits
        .windows(2)
        .filter_map(|pair| match pair {
            [before, after] if before.0 == after.0 => Some((after.3, before.2)),
            _ => None,
        })
        .collect()
}

fn schema(columns: &[(&str, char)]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, kind)| {
            let data_type = match kind {
                'i' => DataType::Int64,
                't' => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                'd' => DataType::Decimal128(14, 3),
                'e' => DataType::Decimal128(10, 2),
                _ => DataType::Utf8,
            };
            Field::new(*name, data_type, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Builds the truth tables of calls, visits, operations, intervals and closures. Durations are whole seconds.
pub(crate) fn tables(
    calls: &[Call],
    (from, to): (i64, i64),
    weather: &Weather,
) -> Result<Vec<(&'static str, RecordBatch)>, SimulatorError> {
    let mut call_rows = Rows::new(schema(&[
        ("port_call_id", 's'),
        ("pool", 's'),
        ("vessel_nk", 's'),
        ("ata_pbp", 't'),
        ("proforma", 't'),
        ("eta_ref", 't'),
        ("first_all_fast", 't'),
        ("atd_last", 't'),
        ("waiting_s", 'i'),
        ("shift_s", 'i'),
        ("port_s", 'i'),
        ("weather_wait_s", 'i'),
        ("weather_wait_strict_s", 'i'),
    ]));
    let mut visit_rows = Rows::new(schema(&[
        ("visit_id", 'i'),
        ("port_call_id", 's'),
        ("berth_id", 'i'),
        ("all_fast", 't'),
        ("ats", 't'),
        ("atc", 't'),
        ("atd_berth", 't'),
        ("berth_s", 'i'),
        ("work_s", 'i'),
        ("idle_s", 'i'),
        ("weather_stop_s", 'i'),
    ]));
    let mut op_rows = Rows::new(schema(&[
        ("op_id", 'i'),
        ("port_call_id", 's'),
        ("visit_id", 'i'),
        ("cargo_code", 's'),
        ("cargo_class", 's'),
        ("direction", 's'),
        ("trade", 's'),
        ("tonnes", 'd'),
        ("teu", 'e'),
        ("boxes", 'i'),
        ("restows", 'i'),
        ("units", 'i'),
        ("start_time", 't'),
        ("end_time", 't'),
    ]));
    let mut interval_rows = Rows::new(schema(&[
        ("port_call_id", 's'),
        ("visit_id", 'i'),
        ("kind", 's'),
        ("start", 't'),
        ("end", 't'),
    ]));
    let previous = previous_departures(calls);
    let closures = &weather.closures();
    for call in calls.iter().filter(|call| call.ata < to) {
        let first = call.visits.first().filter(|visit| visit.all_fast < to);
        let truth = call_truth(call, to, closures, first.and_then(|visit| previous.get(&visit.id)).copied());
        call_rows.push(&[
            Cell::Text(&call.id),
            text(POOLS.get(call.pool).map(|pool| pool.name)),
            Cell::Text(&crate::fleet::natural_key(call)),
            Cell::Time(call.ata),
            time(call.proforma),
            time(truth.eta_ref),
            time(first.map(|visit| visit.all_fast)),
            time(truth.port.map(|port| call.ata + port)),
            truth.waiting.into(),
            truth.shift.into(),
            truth.port.into(),
            truth.weather_wait.into(),
            truth.weather_wait_strict.into(),
        ]);
        if let Some(waiting) = truth.waiting.filter(|waiting| *waiting > 0) {
            interval_rows.push(&[
                Cell::Text(&call.id),
                Cell::Null,
                Cell::Text("waiting"),
                Cell::Time(call.ata),
                Cell::Time(call.ata + waiting),
            ]);
        }
        for visit in call.visits.iter().filter(|visit| visit.all_fast < to) {
            let truth = visit_truth(visit, to, closures);
            visit_rows.push(&[
                Cell::Int(visit.id),
                Cell::Text(&call.id),
                Cell::Int(visit.berth.into()),
                Cell::Time(visit.all_fast),
                time(truth.ats),
                time(truth.atc),
                time(truth.atd),
                truth.berth.into(),
                truth.work.into(),
                truth.idle.into(),
                truth.weather_stop.into(),
            ]);
            for (start, end) in work_of(visit, to).iter() {
                interval_rows.push(&[
                    Cell::Text(&call.id),
                    Cell::Int(visit.id),
                    Cell::Text("work"),
                    Cell::Time(start),
                    Cell::Time(end),
                ]);
            }
            for op in visit.ops.iter().filter(|op| op.start < to) {
                let done = op.end < to;
                let amount = |value: i64| Cell::Int(if done { value } else { 0 });
                let cargo = CARGOES.get(op.cargo);
                op_rows.push(&[
                    Cell::Int(op.id),
                    Cell::Text(&call.id),
                    Cell::Int(visit.id),
                    text(cargo.map(|cargo| cargo.0)),
                    text(cargo.map(|cargo| cargo.2)),
                    Cell::Text(op.direction),
                    Cell::Text(op.trade),
                    amount(op.kg),
                    amount(op.teu_hundredths),
                    amount(op.boxes),
                    amount(op.restows),
                    amount(op.units),
                    Cell::Time(op.start),
                    time(done.then_some(op.end)),
                ]);
            }
        }
    }
    let mut closure_rows =
        Rows::new(schema(&[("activity", 's'), ("channel", 's'), ("start", 't'), ("end", 't')]));
    for limits in &CHANNELS {
        for (start, end) in
            weather.with_samples(|samples| channel_closures(samples, limits)).clip(from, to).iter()
        {
            closure_rows.push(&[
                Cell::Text(limits.activity.name()),
                Cell::Text(limits.series.name()),
                Cell::Time(start),
                Cell::Time(end),
            ]);
        }
    }
    Ok(vec![
        ("truth_call", call_rows.finish()?),
        ("truth_visit", visit_rows.finish()?),
        ("truth_operation", op_rows.finish()?),
        ("truth_interval", interval_rows.finish()?),
        ("truth_closure", closure_rows.finish()?),
    ])
}
