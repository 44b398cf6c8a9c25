//! Arrivals, berthing and cargo work: the discrete-event part. Writes truth only; knows no feed and no dirt.
//!
//! Every draw of a call comes from a generator of that call, so a call is the same whatever else is simulated; the
//! queue of a pool is first come first served, so later arrivals never change earlier ones and a shorter span is a
//! prefix of a longer one.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use chrono::{DateTime, Datelike};

use crate::{
    closure::Closures,
    draw::{Draw, Stream, entity, seconds, whole},
    world::{AGENTS, BERTHS, CARGOES, Line, POOLS, Pool, SEASON, channel},
};

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// Between two ships at one berth.
const TURNROUND: i64 = 5_400;
/// ETAs are said at most this long before arrival.
pub(crate) const ANNOUNCE: i64 = 11 * DAY;

/// A cargo operation of a visit.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) id: i64,
    pub(crate) cargo: usize,
    pub(crate) direction: &'static str,
    pub(crate) trade: &'static str,
    pub(crate) kg: i64,
    pub(crate) teu_hundredths: i64,
    pub(crate) boxes: i64,
    pub(crate) restows: i64,
    pub(crate) units: i64,
    pub(crate) crane_millihours: i64,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) stops: Vec<(i64, i64, &'static str)>,
}

/// A stay at a berth.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) id: i64,
    pub(crate) berth: i32,
    pub(crate) all_fast: i64,
    pub(crate) atd: i64,
    pub(crate) ops: Vec<Op>,
}

/// A stay in the port.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) key: u64,
    pub(crate) pool: usize,
    pub(crate) vessel: usize,
    pub(crate) agent: usize,
    pub(crate) string: Option<u64>,
    pub(crate) proforma: Option<i64>,
    pub(crate) ata: i64,
    pub(crate) visits: Vec<Visit>,
    /// (record time, ETA), ascending in record time; whole minutes.
    pub(crate) etas: Vec<(i64, i64)>,
}

impl Call {
    pub(crate) fn atd(&self) -> i64 {
        self.visits.last().map_or(i64::MAX, |visit| visit.atd)
    }

    pub(crate) fn announced(&self) -> i64 {
        self.etas.first().map_or(self.ata, |eta| eta.0)
    }
}

/// Simulates all pools from `start`; returns the calls with ATA in `[from, to)` and the expected ones, by ATA.
pub(crate) fn run(
    seed: u64,
    traffic: f64,
    (start, from, to): (i64, i64, i64),
    closures: &Closures,
) -> Vec<Call> {
    let mut calls = Vec::new();
    for (index, pool) in POOLS.iter().enumerate() {
        let mut arrivals = arrivals(seed, traffic, index, pool, start, to + ANNOUNCE);
        berth_all(seed, pool, index, &mut arrivals, closures);
        calls.append(&mut arrivals);
    }
    calls.sort_by_key(|call| (call.ata, call.pool, call.key));
    calls.retain(|call| call.ata >= from);
    let mut year = 0;
    let mut number = 0;
    for call in &mut calls {
        let this = DateTime::from_timestamp(call.ata, 0).map_or(1970, |time| time.year());
        if this != year {
            (year, number) = (this, 0);
        }
        number += 1;
        call.id = format!("SNDKR{:02}{number:06}", year.rem_euclid(100));
        let base = (i64::from(year) * 1_000_000 + number) * 10;
        for (visit, id) in call.visits.iter_mut().zip(base..) {
            visit.id = id;
            for (op, number) in visit.ops.iter_mut().zip(1..) {
                op.id = id * 10 + number;
            }
        }
    }
    for call in &mut calls {
        call.etas = etas(seed, call);
    }
    calls.retain(|call| call.ata < to || call.announced() < to);
    calls
}

fn arrivals(seed: u64, traffic: f64, index: usize, pool: &Pool, start: i64, end: i64) -> Vec<Call> {
    let pool_key = u64::try_from(index).unwrap_or(0) << 32;
    let mut calls = Vec::new();
    let mut push = |key: u64, vessel: u64, ata: i64, string: Option<u64>, proforma: Option<i64>| {
        let key = pool_key | key;
        let fleet = u64::try_from(pool.fleet).unwrap_or(1);
        let mut draw = Draw::new(seed, Stream::Call, key);
        calls.push(Call {
            id: String::new(),
            key,
            pool: index,
            vessel: usize::try_from(vessel % fleet).unwrap_or(0),
            agent: string
                .map_or_else(|| draw.below(AGENTS.len()), |s| usize::try_from(s).unwrap_or(0) % AGENTS.len()),
            string,
            proforma,
            ata,
            visits: Vec::new(),
            etas: Vec::new(),
        });
    };
    if let Some(ships) = u64::try_from(pool.fleet).unwrap_or(6).checked_div(pool.strings) {
        for week in (start.div_euclid(WEEK) - 8)..=(end.div_euclid(WEEK) + 1) {
            let week_key = week.unsigned_abs();
            for string in 0..pool.strings {
                let proforma =
                    week * WEEK + whole(string as f64 * 604_800.0 / pool.strings as f64) / HOUR * HOUR;
                let mut draw = Draw::new(seed, Stream::LinerArrival, pool_key | (string << 20) | week_key);
                let copies = whole(traffic) + i64::from(draw.chance(traffic.fract()));
                for copy in 0..copies {
                    let hours = if draw.chance(0.41) { 8.0 * draw.normal() } else { draw.exponential(105.0) };
                    let ata = proforma + seconds(hours);
                    if ata >= start && ata < end {
                        let key = (copy.unsigned_abs() << 26) | (string << 20) | week_key;
                        push(
                            key,
                            string * ships + (week_key + copy.unsigned_abs()) % ships,
                            ata,
                            Some(string + 1),
                            Some(proforma),
                        );
                    }
                }
            }
        }
    } else {
        let mut draw = Draw::new(seed, Stream::TrampArrival, pool_key);
        let mean_gap = 8_766.0 / (pool.calls_per_year * traffic * 1.08);
        let mut hours = 0.0;
        let mut number = 0;
        loop {
            hours += draw.exponential(mean_gap);
            let ata = start + seconds(hours);
            if ata >= end {
                break;
            }
            let month = DateTime::from_timestamp(ata, 0)
                .map_or(0, |time| usize::try_from(time.month0()).unwrap_or(0));
            if draw.chance(SEASON.get(month).copied().unwrap_or(1.0) / 1.08) {
                number += 1;
                push(number, number * 7, ata, None, None);
            }
        }
    }
    calls.sort_by_key(|call| (call.ata, call.key));
    calls
}

/// First come first served over the pool's berths; a ship that shifts queues again for another berth.
fn berth_all(seed: u64, pool: &Pool, index: usize, calls: &mut [Call], closures: &Closures) {
    let berths: Vec<i32> = BERTHS
        .iter()
        .filter(|berth| berth.5 == Some(index))
        .flat_map(|berth| berth.1..berth.1 + berth.2)
        .collect();
    let mut free_since: Vec<Option<i64>> = vec![Some(i64::MIN); berths.len()];
    let mut works: Vec<VecDeque<Work>> = calls.iter().map(|call| works(seed, pool, call)).collect();
    let mut heap: BinaryHeap<Reverse<(i64, u8, usize)>> =
        calls.iter().enumerate().map(|(at, call)| Reverse((call.ata, 1, at))).collect();
    let mut queue: VecDeque<usize> = VecDeque::new();
    while let Some(Reverse((now, kind, item))) = heap.pop() {
        if kind == 0 {
            free_since[item] = Some(now);
        } else {
            queue.push_back(item);
        }
        while let Some(&head) = queue.front() {
            let last = calls[head].visits.last().map(|visit| visit.berth);
            let choice = (0..berths.len())
                .filter(|&slot| free_since[slot].is_some() && Some(berths[slot]) != last)
                .min_by_key(|&slot| (free_since[slot], slot));
            let Some(slot) = choice else { break };
            queue.pop_front();
            let Some(work) = works[head].pop_front() else { continue };
            let visit = work.perform(closures.pilotage.next_free(now), berths[slot], closures);
            free_since[slot] = None;
            heap.push(Reverse((visit.atd + TURNROUND, 0, slot)));
            if !works[head].is_empty() {
                heap.push(Reverse((visit.atd + HOUR, 1, head)));
            }
            calls[head].visits.push(visit);
        }
    }
}

/// The work of one visit before its place in time is known.
#[derive(Debug)]
struct Work {
    lag: f64,
    work: f64,
    /// Stops as (position in work hours, length in hours, reason).
    stops: Vec<(f64, f64, &'static str)>,
    /// Operations with the work hour at which each ends.
    ops: Vec<(Op, f64)>,
}

fn works(seed: u64, pool: &Pool, call: &Call) -> VecDeque<Work> {
    let mut draw = Draw::new(seed, Stream::Service, call.key);
    let (shape, mean, constant, least) = pool.service;
    let gamma = draw.gamma(shape, mean);
    let lag = constant.max(least - gamma);
    let parts = if draw.chance(pool.shift_share) {
        let first = draw.uniform(0.3, 0.7);
        vec![first, 1.0 - first]
    } else {
        vec![1.0]
    };
    let mut cargo = Draw::new(seed, Stream::Cargo, call.key);
    let weights: Vec<f64> = pool.cargo.iter().map(|mix| mix.0).collect();
    let mix = pool.cargo.get(cargo.weighted(&weights));
    let tonnes = mix.map_or(0.0, |mix| mix.1 * gamma / mean * cargo.lognormal(0.9888, 0.15));
    let lines: Vec<(&Line, f64)> = mix
        .map(|mix| {
            mix.2.iter().filter(|line| cargo.chance(line.4)).map(|line| (line, line.3 / line.4)).collect()
        })
        .unwrap_or_default();
    let lines = if lines.is_empty() {
        mix.map(|mix| mix.2.iter().take(1).map(|line| (line, 1.0)).collect()).unwrap_or_default()
    } else {
        lines
    };
    let total: f64 = lines.iter().map(|line| line.1).sum();
    parts
        .iter()
        .map(|part| {
            let gamma = gamma * part;
            let mut stops = Vec::new();
            if !lines.is_empty() && gamma > 4.0 {
                let count = 1 + draw.below(3);
                for _ in 0..count {
                    let reasons: &[&'static str] = if pool.strings > 10 {
                        &["CRN", "LAB", "YRD", "CRN"]
                    } else {
                        &["LAB", "FTE", "PLT", "HOL", "CIN"]
                    };
                    let reason = draw.pick(reasons).copied().unwrap_or("LAB");
                    stops.push((
                        draw.uniform(0.02, 0.98) * 0.95 * gamma,
                        0.05 * gamma / count as f64,
                        reason,
                    ));
                }
                stops.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            let lost: f64 = stops.iter().map(|stop| stop.1).sum();
            let work = gamma - lost;
            let mut done = 0.0;
            let ops = lines
                .iter()
                .map(|(line, weight)| {
                    done += weight / total;
                    (op(&mut cargo, line, tonnes * part * weight), work * done.min(1.0))
                })
                .collect();
            Work { lag: lag * part, work, stops, ops }
        })
        .collect()
}

fn op(draw: &mut Draw, line: &Line, tonnes: f64) -> Op {
    let cargo = draw.pick(line.0).copied().unwrap_or(0);
    let kg = whole((tonnes * 1000.0).round()).max(1000);
    let container = CARGOES.get(cargo).is_some_and(|cargo| cargo.2 == "container");
    let roro = CARGOES.get(cargo).is_some_and(|cargo| cargo.2 == "ro_ro");
    let boxes = if container { (kg / 12_000).max(1) } else { 0 };
    let restows = if container { boxes * 3 / 100 } else { 0 };
    Op {
        id: 0,
        cargo,
        direction: line.1,
        trade: line.2,
        kg,
        // A box is 1 or 2 TEU: whole TEU at 8.0 t each.
        teu_hundredths: if container { (kg / 8_000).max(1) * 100 } else { 0 },
        boxes,
        restows,
        units: if roro { (kg / 1_600).max(1) } else { 0 },
        crane_millihours: if container { (boxes + restows) * 1000 / 21 } else { 0 },
        start: 0,
        end: 0,
        stops: Vec::new(),
    }
}

impl Work {
    /// Places the work in time: pauses in non-weather stops and in closed hours of the running operation's channel.
    fn perform(self, all_fast: i64, berth: i32, closures: &Closures) -> Visit {
        let Self { lag, work, stops, ops } = self;
        let mut now = all_fast + seconds(0.6 * lag);
        let mut pending: VecDeque<(i64, i64, &'static str)> =
            stops.iter().map(|stop| (seconds(stop.0), seconds(stop.1), stop.2)).collect();
        let mut done = 0;
        let mut finished = Vec::with_capacity(ops.len());
        if ops.is_empty() {
            now += seconds(work);
        }
        for (mut op, until) in ops {
            let until = seconds(until).max(done + 60);
            let class = CARGOES.get(op.cargo).map_or("", |cargo| cargo.2);
            let closed = channel(class).map(|activity| closures.activity(activity));
            let open = |at: i64| closed.map_or(at, |spans| spans.next_free(at));
            now = open(now);
            op.start = now;
            while done < until {
                let closes = closed.and_then(|spans| spans.next_start(now)).unwrap_or(i64::MAX);
                let work_end = now + (until - done);
                let stop_at = pending.front().map_or(i64::MAX, |stop| now + (stop.0 - done).max(0));
                let next = work_end.min(closes).min(stop_at);
                done += next - now;
                now = next;
                if now == work_end {
                    break;
                }
                if now == stop_at
                    && let Some((_, length, reason)) = pending.pop_front()
                    && length > 0
                {
                    op.stops.push((now, now + length, reason));
                    now += length;
                }
                let reopened = open(now);
                if reopened > now {
                    op.stops.push((now, reopened, "WEA"));
                    now = reopened;
                }
            }
            op.end = now;
            finished.push(op);
        }
        let atd = closures.pilotage.next_free(now + seconds(0.4 * lag));
        Visit { id: 0, berth, all_fast, atd, ops: finished }
    }
}

/// ETA statements: a Laplace error with mean absolute value 1.4 sqrt(h) at every horizon h, as a Brownian path scaled by
/// one exponential mixture per call, so that revisions converge.
fn etas(seed: u64, call: &Call) -> Vec<(i64, i64)> {
    let mut draw = Draw::new(seed, Stream::Eta, entity(1, call.key));
    let scale = 1.4 * (2.0 * draw.exponential(1.0)).sqrt();
    let (mut path, mut before) = (0.0, 0.0_f64);
    let mut said = Vec::with_capacity(12);
    for (horizon, always) in [
        (3.0, true),
        (6.0, true),
        (12.0, true),
        (18.0, false),
        (24.0, true),
        (36.0, false),
        (48.0, true),
        (72.0, true),
        (96.0, false),
        (120.0, false),
        (168.0, false),
        (240.0, false),
    ] {
        let hours = horizon + draw.uniform(0.02, 0.4);
        path += (hours - before).sqrt() * draw.normal();
        before = hours;
        if always || draw.chance(0.5) {
            let record = (call.ata - seconds(hours)).div_euclid(60) * 60;
            let eta = (call.ata + seconds(scale * path)).div_euclid(60) * 60;
            said.push((record, eta.max(record + 60)));
        }
    }
    said.reverse();
    said
}
