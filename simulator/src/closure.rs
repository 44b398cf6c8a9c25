//! Closures of pilotage and work from hourly weather: thresholds, hysteresis, and their union per activity.
//!
//! Pure functions of the samples: no clock, no I/O. The simulator uses them for truth and for the ships' behaviour;
//! ingest computes its own from the same rules, so that one mistake cannot hide in both.
//!
//! The state machine, per channel: a sample at `t` covers `[t, t + 1 h)`. Open becomes closed at the first sample at
//! or beyond `stop`; closed becomes open at the sample that completes `hold` consecutive samples on the safe side of
//! `resume`. A missing sample keeps the state (and the count); from the fourth missing sample in a row on the state is
//! unknown, which counts as open. Visibility compares inversely.

use crate::span::Spans;

const HOUR: i64 = 3600;
/// This many missing samples in a row still keep the state.
const PATIENCE: usize = 3;

/// Hourly samples in SI units; all slices have the same length and the first sample is at `start`.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// First hour, seconds since 1970 UTC.
    pub start: i64,
    /// Gust in m/s.
    pub gust_ms: &'a [Option<f64>],
    /// Visibility in metres.
    pub visibility_m: &'a [Option<f64>],
    /// Rain in mm/h.
    pub rain_mm: &'a [Option<f64>],
    /// Significant wave height in metres.
    pub wave_m: &'a [Option<f64>],
}

/// What a closure stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Arrival and departure of every ship.
    Pilotage,
    /// Container cranes.
    Crane,
    /// Dry bulk and bagged cargo.
    Bulk,
    /// Liquids at the oil berths.
    Liquid,
}

impl Activity {
    /// Lower case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pilotage => "pilotage",
            Self::Crane => "crane",
            Self::Bulk => "bulk",
            Self::Liquid => "liquid",
        }
    }
}

/// A weather channel that can close an activity, with its limits in m/s, m or mm/h.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// What it closes.
    pub activity: Activity,
    /// Which series it reads.
    pub series: Series,
    /// Closed at or beyond this.
    pub stop: f64,
    /// Safe side of this counts towards reopening.
    pub resume: f64,
    /// Safe samples in a row that reopen.
    pub hold: usize,
}

/// A series of [`Samples`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Gust.
    Wind,
    /// Visibility, lower is worse.
    Dust,
    /// Rain.
    Rain,
    /// Wave height.
    Swell,
}

impl Series {
    /// Lower case name, as in `truth_closure.channel`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wind => "wind",
            Self::Dust => "dust",
            Self::Rain => "rain",
            Self::Swell => "swell",
        }
    }
}

const fn channel(activity: Activity, series: Series, stop: f64, resume: f64, hold: usize) -> Channel {
    Channel { activity, series, stop, resume, hold }
}

/// The limits of the port.
pub const CHANNELS: [Channel; 7] = [
    channel(Activity::Pilotage, Series::Wind, 20.0, 17.0, 2),
    channel(Activity::Pilotage, Series::Dust, 1000.0, 1500.0, 2),
    channel(Activity::Crane, Series::Wind, 22.2, 19.4, 1),
    channel(Activity::Bulk, Series::Rain, 0.5, 0.2, 1),
    channel(Activity::Bulk, Series::Wind, 20.0, 17.0, 1),
    channel(Activity::Liquid, Series::Swell, 2.5, 2.5, 1),
    channel(Activity::Liquid, Series::Wind, 20.0, 17.0, 2),
];

/// The closed intervals of one channel. An interval still closed at the last sample ends with that sample's hour.
pub fn channel_closures(samples: &Samples<'_>, channel: &Channel) -> Spans {
    let inverse = channel.series == Series::Dust;
    let values = match channel.series {
        Series::Wind => samples.gust_ms,
        Series::Dust => samples.visibility_m,
        Series::Rain => samples.rain_mm,
        Series::Swell => samples.wave_m,
    };
    let mut closed = false;
    let mut safe = 0;
    let mut missing = 0;
    let mut hours = Vec::new();
    let mut at = samples.start;
    for value in values {
        match *value {
            None => missing += 1,
            Some(value) => {
                missing = 0;
                // Visibility: stop is "below", resume is "above". The others: stop is "at or above", resume "below".
                let (stops, is_safe) = if inverse {
                    (value < channel.stop, value > channel.resume)
                } else {
                    (value >= channel.stop, value < channel.resume)
                };
                if closed {
                    safe = if is_safe { safe + 1 } else { 0 };
                    closed = safe < channel.hold;
                } else if stops {
                    closed = true;
                    safe = 0;
                }
            }
        }
        if closed && missing <= PATIENCE {
            hours.push((at, at + HOUR));
        }
        at += HOUR;
    }
    Spans::union_of(hours)
}

/// The closures of every activity, channels united.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closures {
    /// No arrival, no departure.
    pub pilotage: Spans,
    /// No container work.
    pub crane: Spans,
    /// No dry bulk or bagged work.
    pub bulk: Spans,
    /// No liquid work.
    pub liquid: Spans,
}

impl Closures {
    /// Applies [`CHANNELS`] to the samples.
    pub fn of(samples: &Samples<'_>) -> Self {
        let mut all = Self::default();
        for channel in &CHANNELS {
            let spans = channel_closures(samples, channel);
            let target = all.target(channel.activity);
            *target = target.or(&spans);
        }
        all
    }

    /// The closures of one activity.
    pub fn activity(&self, activity: Activity) -> &Spans {
        match activity {
            Activity::Pilotage => &self.pilotage,
            Activity::Crane => &self.crane,
            Activity::Bulk => &self.bulk,
            Activity::Liquid => &self.liquid,
        }
    }

    fn target(&mut self, activity: Activity) -> &mut Spans {
        match activity {
            Activity::Pilotage => &mut self.pilotage,
            Activity::Crane => &mut self.crane,
            Activity::Bulk => &mut self.bulk,
            Activity::Liquid => &mut self.liquid,
        }
    }

    /// These up to `cut`, then the others from `cut` on.
    #[must_use]
    pub fn then(&self, cut: i64, later: &Self) -> Self {
        let join = |a: &Spans, b: &Spans| a.clip(i64::MIN, cut).or(&b.clip(cut, i64::MAX));
        Self {
            pilotage: join(&self.pilotage, &later.pilotage),
            crane: join(&self.crane, &later.crane),
            bulk: join(&self.bulk, &later.bulk),
            liquid: join(&self.liquid, &later.liquid),
        }
    }
}
