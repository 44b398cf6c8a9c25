//! Units as exact rationals times exponents of base dimensions.
//!
//! Never floating point: 1/3600 has no binary form, and a unit check that rounds is not a check. Two units may be added
//! when dimension and kind agree; what has no unit is not a pure number, it is unknown.

use std::collections::BTreeMap;
use std::fmt;

/// An exact rational; the denominator is positive and the fraction reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    num: i128,
    den: i128,
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i128::try_from(a).unwrap_or(1)
}

impl Ratio {
    /// One.
    pub const ONE: Self = Self { num: 1, den: 1 };

    /// Makes `num / den`; `None` for a zero denominator.
    pub fn new(num: i128, den: i128) -> Option<Self> {
        if den == 0 || num == i128::MIN || den == i128::MIN {
            return None;
        }
        let g = gcd(num, den).max(1) * den.signum();
        Some(Self { num: num / g, den: den / g })
    }

    /// Numerator of the reduced fraction.
    pub const fn numerator(self) -> i128 {
        self.num
    }

    /// Denominator of the reduced fraction, positive.
    pub const fn denominator(self) -> i128 {
        self.den
    }

    /// Product; `None` on overflow.
    pub fn times(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.num)?, self.den.checked_mul(other.den)?)
    }

    /// Quotient; `None` on overflow or division by zero.
    pub fn over(self, other: Self) -> Option<Self> {
        Self::new(self.num.checked_mul(other.den)?, self.den.checked_mul(other.num)?)
    }
}

/// A unit: factor, exponents of base dimensions, and a kind such as `gross`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// As written by the author, or composed.
    pub text: String,
    /// Factor to the base units.
    pub factor: Ratio,
    /// Exponent per base dimension; never zero.
    pub exponents: BTreeMap<&'static str, i32>,
    /// `gross`, `net` or nothing.
    pub kind: Option<&'static str>,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
