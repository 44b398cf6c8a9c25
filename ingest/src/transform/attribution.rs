//! Time lost by calls and visits, and the part of it that weather closures explain.
//!
//! Lost time is disjoint by construction: waiting `Wt` = [arrival, first all fast), idle work `Wk` = idle inside
//! [all fast, completion), departure delay `Wd` = [completion, departure). `Wt` and `Wd` are exposed to pilotage, `Wk`
//! to the channels of all unfinished operations. Weather counts only where a closure overlaps time that was lost.
//! Hours are rounded once, to 1e-6; shifting time is what remains, so port time adds up exactly.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};

use super::closures::HOUR;
use super::{instants, numbers, texts};
use crate::error::{IngestError, Result};
use crate::spans::Spans;

/// Share of the attributed time a second channel needs before a call's class is "multi".
const MULTI_SHARE: f64 = 0.1;

#[derive(Debug, Default)]
struct Closures {
    by_activity: HashMap<String, Spans>,
    by_channel: HashMap<(String, String), Spans>,
    covered: Spans,
}

impl Closures {
    fn activity(&self, name: &str) -> Spans {
        self.by_activity.get(name).cloned().unwrap_or_default()
    }

    /// Minutes of lost time per channel of an activity, added to a tally.
    fn tally(&self, activity: &str, lost: &Spans, tally: &mut BTreeMap<String, i64>) {
        for ((of, channel), spans) in &self.by_channel {
            if of == activity {
                let length = spans.intersect(lost).length();
                if length > 0 {
                    *tally.entry(channel.clone()).or_default() += length;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Operation {
    activity: Option<String>,
    start: Option<i64>,
    end: Option<i64>,
    stops: Spans,
}

#[derive(Debug)]
struct Visit {
    id: String,
    call: String,
    berth: Option<String>,
    all_fast: i64,
    last_line: Option<i64>,
    operations: Vec<Operation>,
}

/// What is known of a visit after the sums.
#[derive(Debug, Default, Clone)]
struct VisitTimes {
    ats: Option<i64>,
    atc: Option<i64>,
    work: Option<i64>,
    stop: Option<i64>,
    berth: Option<i64>,
    weather_stop: Option<i64>,
    /// Lost time of the visit, for the call's unknown hours.
    lost: Spans,
    tally: BTreeMap<String, i64>,
}

/// Microseconds as hours with six decimals, half away from zero.
fn hours(micros: i64) -> i128 {
    let micros = i128::from(micros);
    let half = if micros < 0 { -1_800 } else { 1_800 };
    (micros + half) / 3_600
}

/// Gives (calls, visits). Both ordered by id.
pub(super) fn run(inputs: &[RecordBatch]) -> Result<(RecordBatch, RecordBatch)> {
    let [calls, visits, operations, stoppages, closures, weather] = inputs else {
        return Err(IngestError::invariant("weather attribution needs six inputs"));
    };
    let closures = read_closures(closures, weather)?;
    let samples = Samples::read(weather)?;
    let mut visits = read_visits(visits, operations, stoppages)?;
    visits.sort_by(|a, b| (&a.call, a.all_fast, &a.id).cmp(&(&b.call, b.all_fast, &b.id)));
    let times: Vec<VisitTimes> = visits.iter().map(|visit| visit_times(visit, &closures)).collect();
    let free_since = berth_free_since(&visits);
    let visit_table = visit_table(&visits, &times)?;
    let call_table = call_table(calls, &visits, &times, &free_since, &closures, &samples)?;
    Ok((call_table, visit_table))
}

fn read_closures(closures: &RecordBatch, weather: &RecordBatch) -> Result<Closures> {
    let (activity, channel) = (texts(closures, "activity")?, texts(closures, "channel")?);
    let (starts, ends) = (instants(closures, "start_ts")?, instants(closures, "end_ts")?);
    let mut spans: HashMap<(String, String), Vec<(i64, i64)>> = HashMap::new();
    for (((activity, channel), start), end) in activity.into_iter().zip(channel).zip(starts).zip(ends) {
        let (Some(activity), Some(channel), Some(start), Some(end)) = (activity, channel, start, end) else {
            continue;
        };
        spans.entry((activity, channel)).or_default().push((start, end));
    }
    let mut out = Closures::default();
    for ((activity, channel), spans) in spans {
        let spans = Spans::of(spans);
        let united = out.by_activity.entry(activity.clone()).or_default();
        *united = united.union(&spans);
        out.by_channel.insert((activity, channel), spans);
    }
    out.covered =
        Spans::of(instants(weather, "hour_ts")?.into_iter().flatten().map(|at| (at, at + HOUR)).collect());
    Ok(out)
}

fn read_visits(
    visits: &RecordBatch,
    operations: &RecordBatch,
    stoppages: &RecordBatch,
) -> Result<Vec<Visit>> {
    let mut stops: HashMap<String, Vec<(i64, i64)>> = HashMap::new();
    let (ops, starts, ends) =
        (texts(stoppages, "op_id")?, instants(stoppages, "start_ts")?, instants(stoppages, "end_ts")?);
    for ((op, start), end) in ops.into_iter().zip(starts).zip(ends) {
        let (Some(op), Some(start)) = (op, start) else { continue };
        stops.entry(op).or_default().push((start, end.unwrap_or(i64::MAX)));
    }
    let mut by_visit: HashMap<String, Vec<Operation>> = HashMap::new();
    let (ops, of, activity) =
        (texts(operations, "op_id")?, texts(operations, "visit_id")?, texts(operations, "activity")?);
    let (starts, ends) = (instants(operations, "start_ts")?, instants(operations, "end_ts")?);
    for ((((op, visit), activity), start), end) in ops.into_iter().zip(of).zip(activity).zip(starts).zip(ends)
    {
        let (Some(op), Some(visit)) = (op, visit) else { continue };
        let stops = Spans::of(stops.remove(&op).unwrap_or_default());
        by_visit.entry(visit).or_default().push(Operation { activity, start, end, stops });
    }
    let (ids, calls, berths) =
        (texts(visits, "visit_id")?, texts(visits, "port_call_id")?, texts(visits, "berth_id")?);
    let (fast, gone) = (instants(visits, "all_fast_ts")?, instants(visits, "last_line_ts")?);
    let mut out = Vec::new();
    for ((((id, call), berth), all_fast), last_line) in
        ids.into_iter().zip(calls).zip(berths).zip(fast).zip(gone)
    {
        let (Some(id), Some(call), Some(all_fast)) = (id, call, all_fast) else { continue };
        let operations = by_visit.remove(&id).unwrap_or_default();
        out.push(Visit { id, call, berth, all_fast, last_line, operations });
    }
    Ok(out)
}

fn visit_times(visit: &Visit, closures: &Closures) -> VisitTimes {
    let ats = visit.operations.iter().filter_map(|op| op.start).min();
    let finished = visit.operations.iter().all(|op| op.end.is_some());
    let atc = if finished { visit.operations.iter().filter_map(|op| op.end).max() } else { None };
    let mut times = VisitTimes { ats, atc, ..VisitTimes::default() };
    let Some(departure) = visit.last_line else { return times };
    if !finished {
        return times;
    }
    let completion = atc.unwrap_or(visit.all_fast);
    let mut work = Spans::default();
    let mut running = Spans::default();
    // Closed for work: every operation that is not finished yet is in a closed channel.
    let mut closed = Spans::one(visit.all_fast, completion);
    for op in &visit.operations {
        let (Some(start), Some(end)) = (op.start, op.end) else { continue };
        let span = Spans::one(start, end);
        work = work.union(&span.subtract(&op.stops));
        running = running.union(&span);
        let own = op.activity.as_deref().map(|activity| closures.activity(activity)).unwrap_or_default();
        closed = closed.intersect(&own.union(&Spans::one(end, i64::MAX)));
    }
    let alongside = Spans::one(visit.all_fast, departure);
    let idle = Spans::one(visit.all_fast, completion).subtract(&work);
    let leaving = Spans::one(completion, departure);
    let pilotage = closures.activity("pilotage");
    let idle_closed = if visit.operations.is_empty() { Spans::default() } else { idle.intersect(&closed) };
    times.work = Some(work.intersect(&alongside).length());
    times.stop = Some(running.subtract(&work).length());
    times.berth = Some(departure - visit.all_fast);
    times.weather_stop = Some(idle_closed.length() + leaving.intersect(&pilotage).length());
    let mut activities: Vec<&str> = visit.operations.iter().filter_map(|op| op.activity.as_deref()).collect();
    activities.sort_unstable();
    activities.dedup();
    for activity in activities {
        closures.tally(activity, &idle_closed, &mut times.tally);
    }
    closures.tally("pilotage", &leaving, &mut times.tally);
    times.lost = idle.union(&leaving);
    if times.lost.intersect(&closures.covered).is_empty() && !times.lost.is_empty() {
        times.weather_stop = None;
    }
    times
}

/// Per visit: when its berth became free, if another ship left it before.
fn berth_free_since(visits: &[Visit]) -> Vec<Option<i64>> {
    let mut departures: HashMap<&str, Vec<i64>> = HashMap::new();
    for visit in visits {
        if let (Some(berth), Some(gone)) = (&visit.berth, visit.last_line) {
            departures.entry(berth).or_default().push(gone);
        }
    }
    for gone in departures.values_mut() {
        gone.sort_unstable();
    }
    visits
        .iter()
        .map(|visit| {
            let gone = departures.get(visit.berth.as_deref()?)?;
            let before = gone.partition_point(|at| *at <= visit.all_fast);
            before.checked_sub(1).and_then(|index| gone.get(index)).copied()
        })
        .collect()
}

fn decimal(values: Vec<Option<i128>>) -> Result<ArrayRef> {
    Ok(Arc::new(Decimal128Array::from(values).with_precision_and_scale(14, 6)?))
}

fn times_array(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

fn visit_table(visits: &[Visit], times: &[VisitTimes]) -> Result<RecordBatch> {
    let pairs = || visits.iter().zip(times);
    let mut number = Vec::with_capacity(visits.len());
    let mut previous: Option<(&str, i64)> = None;
    for visit in visits {
        let next = match previous {
            Some((call, n)) if call == visit.call => n + 1,
            _ => 1,
        };
        previous = Some((&visit.call, next));
        number.push(next);
    }
    let hour =
        |pick: fn(&VisitTimes) -> Option<i64>| decimal(times.iter().map(|t| pick(t).map(hours)).collect());
    let idle = times.iter().map(|t| Some(hours(t.berth?) - hours(t.work?))).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("visit_id", Arc::new(StringArray::from_iter_values(visits.iter().map(|v| v.id.as_str())))),
        ("port_call_id", Arc::new(StringArray::from_iter_values(visits.iter().map(|v| v.call.as_str())))),
        ("visit_no", Arc::new(Int64Array::from(number))),
        ("berth_id", Arc::new(visits.iter().map(|v| v.berth.as_deref()).collect::<StringArray>())),
        ("ata_berth_ts", times_array(visits.iter().map(|v| Some(v.all_fast)).collect())),
        ("ats_ts", times_array(times.iter().map(|t| t.ats).collect())),
        ("atc_ts", times_array(times.iter().map(|t| t.atc).collect())),
        ("atd_berth_ts", times_array(pairs().map(|(v, _)| v.last_line).collect())),
        ("gross_work_h", hour(|t| t.work)?),
        ("stop_h", hour(|t| t.stop)?),
        ("berth_h", hour(|t| t.berth)?),
        ("idle_h", decimal(idle)?),
        ("weather_stop_h", hour(|t| t.weather_stop)?),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?)
}

/// Hourly samples for the extremes during a call.
#[derive(Debug, Default)]
struct Samples {
    times: Vec<i64>,
    gust: Vec<Option<f64>>,
    wave: Vec<Option<f64>>,
    visibility: Vec<Option<f64>>,
    rain: Vec<Option<f64>>,
}

impl Samples {
    fn read(weather: &RecordBatch) -> Result<Self> {
        let times = instants(weather, "hour_ts")?;
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|row| times.get(*row).copied().flatten());
        let pick = |values: Vec<Option<f64>>| -> Vec<Option<f64>> {
            order.iter().map(|row| values.get(*row).copied().flatten()).collect()
        };
        Ok(Self {
            gust: pick(numbers(weather, "gust_ms")?),
            wave: pick(numbers(weather, "wave_m")?),
            visibility: pick(numbers(weather, "visibility_m")?),
            rain: pick(numbers(weather, "rain_mm")?),
            times: order.iter().map(|row| times.get(*row).copied().flatten().unwrap_or(i64::MIN)).collect(),
        })
    }

    fn during(&self, start: i64, end: i64) -> std::ops::Range<usize> {
        self.times.partition_point(|at| at + HOUR <= start)..self.times.partition_point(|at| *at < end)
    }
}

fn fold(values: &[Option<f64>], range: std::ops::Range<usize>, f: fn(f64, f64) -> f64) -> Option<f64> {
    values.get(range)?.iter().flatten().copied().reduce(f)
}

#[derive(Debug, Default)]
struct CallColumns {
    id: Vec<String>,
    times: [Vec<Option<i64>>; 4],
    hours: [Vec<Option<i128>>; 8],
    extremes: [Vec<Option<f64>>; 4],
    class: Vec<Option<String>>,
    visits: Vec<i64>,
}

fn call_table(
    calls: &RecordBatch,
    visits: &[Visit],
    times: &[VisitTimes],
    free_since: &[Option<i64>],
    closures: &Closures,
    samples: &Samples,
) -> Result<RecordBatch> {
    let mut of_call: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, visit) in visits.iter().enumerate() {
        of_call.entry(&visit.call).or_default().push(index);
    }
    let ids = texts(calls, "port_call_id")?;
    let (ata, eta) = (instants(calls, "ata_pbp_ts")?, instants(calls, "eta_ref_ts")?);
    let (proforma, atd) = (instants(calls, "proforma_ts")?, instants(calls, "atd_last_ts")?);
    let pilotage = closures.activity("pilotage");
    let mut out = CallColumns::default();
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by(|a, b| ids.get(*a).cmp(&ids.get(*b)));
    for row in order {
        let at = |values: &[Option<i64>]| values.get(row).copied().flatten();
        let (Some(Some(id)), Some(arrival)) = (ids.get(row), at(&ata)) else { continue };
        let mine = of_call.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let first = mine.first().and_then(|index| visits.get(*index).zip(free_since.get(*index)));
        let waiting = first.map(|(visit, _)| Spans::one(arrival, visit.all_fast)).unwrap_or_default();
        let waiting_h = first.map(|(visit, _)| hours(visit.all_fast - arrival));
        let departed = at(&atd)
            .filter(|_| mine.iter().all(|index| visits.get(*index).is_some_and(|v| v.last_line.is_some())));
        let port_h = departed.map(|gone| hours(gone - arrival));
        let berth: Option<i128> = mine.iter().map(|index| times.get(*index)?.berth.map(hours)).sum();
        let shift_h = match (port_h, waiting_h, berth) {
            (Some(port), Some(waiting), Some(berth)) => Some(port - waiting - berth),
            _ => None,
        };
        let known = waiting.is_empty() || !waiting.intersect(&closures.covered).is_empty();
        let wait_closed = waiting.intersect(&pilotage);
        let weather_wait = first.filter(|_| known).map(|_| hours(wait_closed.length()));
        let strict = first.filter(|_| known).map(|(visit, free)| {
            let free = Spans::one(free.unwrap_or(i64::MIN), visit.all_fast);
            hours(wait_closed.intersect(&free).length())
        });
        let mut lost = waiting.clone();
        let mut tally = BTreeMap::new();
        closures.tally("pilotage", &waiting, &mut tally);
        for index in mine {
            if let Some(times) = times.get(*index) {
                lost = lost.union(&times.lost);
                for (channel, length) in &times.tally {
                    *tally.entry(channel.clone()).or_default() += length;
                }
            }
        }
        let unknown = hours(lost.subtract(&closures.covered).length());
        let deviation = at(&eta).map(|eta| hours(arrival - eta));
        out.id.push(id.clone());
        for (column, value) in out.times.iter_mut().zip([Some(arrival), at(&eta), at(&proforma), at(&atd)]) {
            column.push(value);
        }
        let values = [deviation, waiting_h, shift_h, port_h, weather_wait, strict, Some(unknown), None];
        for (column, value) in out.hours.iter_mut().zip(values) {
            column.push(value);
        }
        let stay = samples.during(arrival, at(&atd).unwrap_or(i64::MAX));
        let extremes = [
            fold(&samples.gust, stay.clone(), f64::max),
            fold(&samples.wave, stay.clone(), f64::max),
            fold(&samples.visibility, stay.clone(), f64::min),
            fold(&samples.rain, stay, |a, b| a + b),
        ];
        for (column, value) in out.extremes.iter_mut().zip(extremes) {
            column.push(value);
        }
        out.class.push(class_of(&tally));
        out.visits.push(i64::try_from(mine.len()).unwrap_or(i64::MAX));
    }
    out.table()
}

/// The channel with most minutes, or `multi` when a second has a tenth of them all.
fn class_of(tally: &BTreeMap<String, i64>) -> Option<String> {
    let mut sorted: Vec<(i64, &str)> = tally.iter().map(|(name, length)| (*length, name.as_str())).collect();
    sorted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let (_, first) = sorted.first()?;
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more precision")]
    let share = |length: i64| length as f64 / tally.values().sum::<i64>() as f64;
    match sorted.get(1) {
        Some((length, _)) if share(*length) >= MULTI_SHARE => Some("multi".to_owned()),
        _ => Some((*first).to_owned()),
    }
}

impl CallColumns {
    fn table(self) -> Result<RecordBatch> {
        let mut columns: Vec<(&str, ArrayRef)> = vec![("port_call_id", Arc::new(StringArray::from(self.id)))];
        columns.push(("visits", Arc::new(Int64Array::from(self.visits))));
        let names = ["ata_pbp_ts", "eta_ref_ts", "proforma_ts", "atd_last_ts"];
        columns.extend(names.into_iter().zip(self.times.map(times_array)));
        let names = [
            "arrival_dev_h",
            "waiting_h",
            "shift_h",
            "port_h",
            "weather_wait_h",
            "weather_wait_strict_h",
            "weather_unknown_h",
            "tide_wait_h",
        ];
        for (name, values) in names.into_iter().zip(self.hours) {
            columns.push((name, decimal(values)?));
        }
        let names = ["max_gust_ms", "max_hs_m", "min_vis_m", "rain_mm"];
        for (name, values) in names.into_iter().zip(self.extremes) {
            columns.push((name, Arc::new(Float64Array::from(values))));
        }
        columns.push(("weather_class", Arc::new(StringArray::from(self.class))));
        Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?)
    }
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
