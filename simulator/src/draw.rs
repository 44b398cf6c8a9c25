//! Random draws from portable generators derived from (seed, stream, entity).
//!
//! Each kind of decision has its own stream and each thing its own entity, so switching one feed on or off, or asking
//! for a longer span, never shifts another draw. Never use a generator that lives longer than one entity.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// What a generator decides. The numbers are part of the output: never reuse or reorder them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Stream {
    Wind = 1,
    Squall = 2,
    Dust = 3,
    Swell = 4,
    Rain = 5,
    Sea = 6,
    Fleet = 10,
    LinerArrival = 11,
    TrampArrival = 12,
    Service = 13,
    Cargo = 14,
    Eta = 15,
    Call = 16,
    Report = 17,
    Ais = 18,
    Movement = 19,
    DirtVessel = 30,
    DirtCall = 31,
    DirtOperation = 32,
    DirtDocument = 33,
    DirtWeather = 34,
    DirtAis = 35,
    DirtMovement = 36,
}

/// A generator for one entity of one stream.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    pub(crate) fn new(seed: u64, stream: Stream, entity: u64) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
        key[16..24].copy_from_slice(&entity.to_le_bytes());
        Self { rng: ChaCha8Rng::from_seed(key) }
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in the open interval (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.rng.next_u64() >> 11) as f64 + 0.5) * (1.0 / 9_007_199_254_740_992.0)
    }

    pub(crate) fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(whole(self.unit() * bound as f64)).unwrap_or(0).min(bound.saturating_sub(1))
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// The index of a weight, chosen in proportion.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        weights.len().saturating_sub(1)
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    pub(crate) fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    /// Gamma with shape `shape` (> 0) and the given mean: Marsaglia and Tsang, "A simple method for generating
    /// gamma variables", 2000.
    pub(crate) fn gamma(&mut self, shape: f64, mean: f64) -> f64 {
        let (boosted, correction) =
            if shape < 1.0 { (shape + 1.0, self.unit().powf(1.0 / shape)) } else { (shape, 1.0) };
        let d = boosted - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * correction * mean / shape;
            }
        }
    }

    /// The number of events of a Poisson process with this mean.
    pub(crate) fn poisson(&mut self, mean: f64) -> usize {
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// The nearest whole number towards zero, saturating.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and every caller stays far inside i64")]
pub(crate) fn whole(value: f64) -> i64 {
    value as i64
}

/// Hours as whole seconds, rounded.
pub(crate) fn seconds(hours: f64) -> i64 {
    whole((hours * 3600.0).round())
}

/// An entity number from two parts.
pub(crate) fn entity(high: u64, low: u64) -> u64 {
    (high << 40) ^ low
}

/// The standard normal distribution function: Abramowitz and Stegun 7.1.26, error below 1.5e-7.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let half = 0.5 * poly * (-x * x).exp();
    if z >= 0.0 { 1.0 - half } else { half }
}
