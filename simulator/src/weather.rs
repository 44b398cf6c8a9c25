//! The hourly weather of the port: generated month by month, kept in the units it is served in.
//!
//! Served values are the truth: they are rounded before closures are computed, and none lies exactly on a wind or
//! visibility limit, so a reader that converts units cannot land on the other side. Draws are autocorrelated on
//! purpose: independent hours give the right totals and the wrong closures.

use chrono::{DateTime, Datelike, Timelike};

use crate::{
    closure::{Closures, Samples},
    draw::{Draw, Stream, entity, normal_cdf, whole},
};

const HOUR: i64 = 3600;

/// Hourly weather; every series has the same length, the first sample at `start`. A missing sample is NaN in all.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Weather {
    /// First hour, seconds since 1970 UTC.
    pub start: i64,
    /// Mean wind, km/h.
    pub wind_kmh: Vec<f64>,
    /// Gust, km/h.
    pub gust_kmh: Vec<f64>,
    /// Where the wind comes from, degrees.
    pub direction: Vec<f64>,
    /// Visibility, metres.
    pub visibility_m: Vec<f64>,
    /// Rain of the hour that begins at the sample, mm.
    pub rain_mm: Vec<f64>,
    /// Significant wave height, metres.
    pub wave_m: Vec<f64>,
}

fn round_to(value: f64, per_unit: f64) -> f64 {
    (value * per_unit).round() / per_unit
}

fn month_of(at: i64) -> (i32, u32, u32) {
    DateTime::from_timestamp(at, 0).map_or((1970, 1, 0), |time| (time.year(), time.month(), time.hour()))
}

impl Weather {
    /// Generates the hours from `start` (rounded down) to `end`.
    pub(crate) fn generate(seed: u64, start: i64, end: i64) -> Self {
        let start = start.div_euclid(HOUR) * HOUR;
        let count = usize::try_from((end - start + HOUR - 1) / HOUR).unwrap_or(0);
        let mut weather = Self { start, ..Self::default() };
        let mut wind = Draw::new(seed, Stream::Wind, 0);
        let mut sea = Draw::new(seed, Stream::Sea, 0);
        let (mut z, mut swell_z) = (wind.normal(), sea.normal());
        let mut at = start;
        for _ in 0..count {
            let (_, month, hour) = month_of(at);
            z = 0.93 * z + (1.0_f64 - 0.93 * 0.93).sqrt() * wind.normal();
            swell_z = 0.98 * swell_z + (1.0_f64 - 0.98 * 0.98).sqrt() * sea.normal();
            let base = if month <= 5 || month >= 11 { 5.8 } else { 4.2 };
            let diurnal = if (10..18).contains(&hour) { 1.18 } else { 0.88 };
            let mean = 1.13 * base * diurnal * (-(1.0 - normal_cdf(z)).max(1e-12).ln()).powf(1.0 / 2.4);
            weather.wind_kmh.push(mean * 3.6);
            weather.gust_kmh.push(mean * wind.uniform(1.3, 1.5) * 3.6);
            weather.direction.push((20.0 + 25.0 * z).rem_euclid(360.0).round());
            weather.visibility_m.push(14_000.0 + 3_000.0 * swell_z.clamp(-2.0, 2.0));
            weather.rain_mm.push(0.0);
            weather.wave_m.push((1.45 + 0.35 * swell_z).clamp(0.5, 2.4));
            at += HOUR;
        }
        weather.events(seed, start, end);
        for gust in &mut weather.gust_kmh {
            *gust = round_to(*gust, 10.0);
            // 20.0, 17.0 m/s and the rest: 72.0 and 61.2 km/h are the only limits with one decimal.
            if (*gust - 72.0).abs() < 0.01 || (*gust - 61.2).abs() < 0.01 {
                *gust += 0.1;
            }
        }
        for wind in &mut weather.wind_kmh {
            *wind = round_to(*wind, 10.0);
        }
        for visibility in &mut weather.visibility_m {
            *visibility = round_to(*visibility, 0.05);
            if (*visibility - 1000.0).abs() < 1.0 || (*visibility - 1500.0).abs() < 1.0 {
                *visibility += 20.0;
            }
        }
        for rain in &mut weather.rain_mm {
            *rain = round_to(*rain, 10.0);
        }
        for wave in &mut weather.wave_m {
            *wave = round_to(*wave, 50.0);
        }
        weather
    }

    /// Lays squalls, dust, swell and showers over the calm series, one generator per family and month.
    fn events(&mut self, seed: u64, start: i64, end: i64) {
        let (first_year, first_month, _) = month_of(start - 31 * 86_400);
        let (last_year, last_month, _) = month_of(end);
        let (mut year, mut month) = (first_year, first_month);
        while (year, month) <= (last_year, last_month) {
            let key = entity(u64::from(year.unsigned_abs()), u64::from(month));
            let first = chrono::NaiveDate::from_ymd_opt(year, month, 1)
                .and_then(|day| day.and_hms_opt(0, 0, 0))
                .map_or(0, |time| time.and_utc().timestamp());
            let hours = 30.4 * 24.0;
            let rainy = (7..=10).contains(&month);
            let mut draw = Draw::new(seed, Stream::Squall, key);
            for _ in 0..draw.poisson(if rainy { 4.5 } else { 0.2 }) {
                let (from, length) = (draw.uniform(0.0, hours), draw.uniform(0.5, 3.0));
                for hour in 0..whole(length.ceil()) {
                    let gust = draw.uniform(18.0, 28.0) * 3.6;
                    let rain = 0.5 + draw.exponential(9.0);
                    if let Some(index) = self.index(first + whole(from) * HOUR + hour * HOUR) {
                        self.gust_kmh[index] = self.gust_kmh[index].max(gust);
                        self.wind_kmh[index] = self.wind_kmh[index].max(gust / 1.45);
                        self.rain_mm[index] += rain;
                    }
                }
            }
            let mut draw = Draw::new(seed, Stream::Dust, key);
            let dust = match month {
                12 | 1..=4 => 2.2,
                11 | 5 => 0.6,
                _ => 0.05,
            };
            for _ in 0..draw.poisson(dust) {
                let (from, length) = (draw.uniform(0.0, hours), draw.lognormal(30.0, 0.6));
                let level = draw.lognormal(2_500.0, 0.9).max(200.0);
                for hour in 0..whole(length.ceil()) {
                    if let Some(index) = self.index(first + whole(from) * HOUR + hour * HOUR) {
                        self.visibility_m[index] = self.visibility_m[index].min(level);
                    }
                }
            }
            let mut draw = Draw::new(seed, Stream::Swell, key);
            for _ in 0..draw.poisson(if month <= 4 || month >= 11 { 1.6 } else { 0.4 }) {
                let (from, length) = (draw.uniform(0.0, hours), draw.lognormal(28.0, 0.4));
                let peak = draw.uniform(0.3, 1.6);
                for hour in 0..whole(length.round()) {
                    let shape = (std::f64::consts::PI * (hour as f64 + 0.5) / length).sin().max(0.0);
                    if let Some(index) = self.index(first + whole(from) * HOUR + hour * HOUR) {
                        self.wave_m[index] = self.wave_m[index].max(2.52 + peak * shape);
                    }
                }
            }
            let mut draw = Draw::new(seed, Stream::Rain, key);
            let showers = match month {
                7 => 0.8,
                8 => 2.6,
                9 => 2.4,
                10 => 0.5,
                _ => 0.05,
            };
            for _ in 0..draw.poisson(showers) {
                let (from, length) = (draw.uniform(0.0, hours), 1.0 + draw.gamma(2.0, 2.4));
                for hour in 0..whole(length.round()) {
                    let rain = draw.exponential(4.0);
                    if let Some(index) = self.index(first + whole(from) * HOUR + hour * HOUR) {
                        self.rain_mm[index] += rain;
                    }
                }
            }
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
    }

    /// Position of the hour that contains `at`.
    pub(crate) fn index(&self, at: i64) -> Option<usize> {
        usize::try_from((at - self.start).div_euclid(HOUR)).ok().filter(|index| *index < self.wind_kmh.len())
    }

    /// The closures these samples cause, the state machine starting open at the first sample.
    pub fn closures(&self) -> Closures {
        self.with_samples(Closures::of)
    }

    /// Lends the series in SI units.
    pub(crate) fn with_samples<T>(&self, read: impl FnOnce(&Samples<'_>) -> T) -> T {
        let metres_per_second =
            |values: &[f64]| values.iter().map(|v| (!v.is_nan()).then_some(v / 3.6)).collect::<Vec<_>>();
        let plain = |values: &[f64]| values.iter().map(|v| (!v.is_nan()).then_some(*v)).collect::<Vec<_>>();
        read(&Samples {
            start: self.start,
            gust_ms: &metres_per_second(&self.gust_kmh),
            visibility_m: &plain(&self.visibility_m),
            rain_mm: &plain(&self.rain_mm),
            wave_m: &plain(&self.wave_m),
        })
    }

    /// The hours from the one that contains `from` on.
    #[must_use]
    pub(crate) fn since(&self, from: i64) -> Self {
        let index = self.index(from).unwrap_or(0);
        let cut = |values: &[f64]| values.get(index..).unwrap_or_default().to_vec();
        Self {
            start: self.start + i64::try_from(index).unwrap_or(0) * HOUR,
            wind_kmh: cut(&self.wind_kmh),
            gust_kmh: cut(&self.gust_kmh),
            direction: cut(&self.direction),
            visibility_m: cut(&self.visibility_m),
            rain_mm: cut(&self.rain_mm),
            wave_m: cut(&self.wave_m),
        }
    }

    /// Makes whole samples missing, and returns the hours (seconds since 1970).
    pub(crate) fn lose_samples(&mut self, seed: u64, share: f64, before: i64) -> Vec<i64> {
        let mut lost = Vec::new();
        for index in 0..self.wind_kmh.len() {
            let at = self.start + i64::try_from(index).unwrap_or(0) * HOUR;
            if at < before && Draw::new(seed, Stream::DirtWeather, at.unsigned_abs()).chance(share) {
                for series in [
                    &mut self.wind_kmh,
                    &mut self.gust_kmh,
                    &mut self.direction,
                    &mut self.visibility_m,
                    &mut self.rain_mm,
                    &mut self.wave_m,
                ] {
                    series[index] = f64::NAN;
                }
                lost.push(at);
            }
        }
        lost
    }
}
