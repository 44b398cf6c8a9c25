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

/// Name, numerator, denominator, and the exponent of each base dimension.
type Symbol = (&'static str, i128, i128, &'static [(&'static str, i32)]);

/// Symbols: name, numerator, denominator, dimensions. `%` and `1` have none.
const SYMBOLS: &[Symbol] = &[
    ("1", 1, 1, &[]),
    ("%", 1, 100, &[]),
    ("t", 1, 1, &[("mass", 1)]),
    ("kg", 1, 1000, &[("mass", 1)]),
    ("kt", 1000, 1, &[("mass", 1)]),
    ("s", 1, 1, &[("time", 1)]),
    ("min", 60, 1, &[("time", 1)]),
    ("h", 3600, 1, &[("time", 1)]),
    ("d", 86400, 1, &[("time", 1)]),
    ("m", 1, 1, &[("length", 1)]),
    ("km", 1000, 1, &[("length", 1)]),
    ("mm", 1, 1000, &[("length", 1)]),
    ("nmi", 1852, 1, &[("length", 1)]),
    ("kn", 1852, 3600, &[("length", 1), ("time", -1)]),
    ("XOF", 1, 1, &[("XOF", 1)]),
    ("EUR", 1, 1, &[("EUR", 1)]),
    ("USD", 1, 1, &[("USD", 1)]),
    ("degC", 1, 1, &[("temperature", 1)]),
    ("deg", 1, 1, &[("angle", 1)]),
    ("call", 1, 1, &[("call", 1)]),
    ("visit", 1, 1, &[("visit", 1)]),
    ("vessel", 1, 1, &[("vessel", 1)]),
    ("move", 1, 1, &[("move", 1)]),
    ("teu", 1, 1, &[("teu", 1)]),
    ("box", 1, 1, &[("box", 1)]),
    ("berth", 1, 1, &[("berth", 1)]),
    ("passenger", 1, 1, &[("passenger", 1)]),
];

/// Returns every known symbol.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    SYMBOLS.iter().map(|(name, ..)| *name)
}

impl Unit {
    /// The pure number.
    pub fn one() -> Self {
        Self { text: "1".into(), factor: Ratio::ONE, exponents: BTreeMap::new(), kind: None }
    }

    /// Parses `t`, `t/call`, `m/s`, `t net`, `m^2`.
    ///
    /// # Errors
    /// Returns the symbol that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut unit = Self { text: text.trim().to_owned(), ..Self::one() };
        let mut body = text.trim();
        for kind in ["gross", "net"] {
            if let Some(rest) = body.strip_suffix(kind).filter(|rest| rest.ends_with(' ')) {
                unit.kind = Some(kind);
                body = rest.trim_end();
            }
        }
        let mut sign = 1;
        let mut rest = body;
        loop {
            let end = rest.find(['/', '*']).unwrap_or(rest.len());
            let (part, tail) = rest.split_at(end);
            let part = part.trim();
            let (symbol, power) = match part.split_once('^') {
                Some((symbol, power)) => (symbol, power.parse::<i32>().map_err(|_| part.to_owned())?),
                None => (part, 1),
            };
            let (_, num, den, dims) = SYMBOLS
                .iter()
                .find(|(name, ..)| *name == symbol || (*name == "teu" && symbol == "TEU"))
                .ok_or_else(|| symbol.to_owned())?;
            let factor = Ratio::new(*num, *den).unwrap_or(Ratio::ONE);
            for _ in 0..power.unsigned_abs().min(9) {
                let positive = (sign > 0) == (power > 0);
                let next = if positive { unit.factor.times(factor) } else { unit.factor.over(factor) };
                unit.factor = next.ok_or_else(|| text.to_owned())?;
            }
            for (dim, exponent) in *dims {
                unit.bump(dim, exponent * power * sign);
            }
            let mut chars = tail.chars();
            match chars.next() {
                Some('/') => sign = -1,
                Some(_) => sign = 1,
                None => return Ok(unit),
            }
            rest = chars.as_str();
        }
    }

    fn bump(&mut self, dim: &'static str, by: i32) {
        let entry = self.exponents.entry(dim).or_insert(0);
        *entry += by;
        if *entry == 0 {
            self.exponents.remove(dim);
        }
    }

    /// True when values of both may be added after scaling.
    pub fn same_dimension(&self, other: &Self) -> bool {
        self.exponents == other.exponents && (self.kind == other.kind || self.exponents.is_empty())
    }

    /// Product or quotient.
    pub fn combine(&self, other: &Self, divide: bool) -> Option<Self> {
        let factor =
            if divide { self.factor.over(other.factor)? } else { self.factor.times(other.factor)? };
        let mut unit = Self { factor, ..self.clone() };
        for (dim, exponent) in &other.exponents {
            unit.bump(dim, if divide { -exponent } else { *exponent });
        }
        unit.text = match (divide, other.text.as_str(), self.text.as_str()) {
            (_, "1", _) => self.text.clone(),
            (true, _, _) if self.text == other.text => "1".into(),
            (true, den, num) => format!("{num}/{den}"),
            (false, other, "1") => other.to_owned(),
            (false, other, this) => format!("{this}*{other}"),
        };
        Some(unit)
    }
}

/// What unit inference found.
#[derive(Clone, Debug, PartialEq)]
pub enum Inferred {
    /// A unit.
    Known(Unit),
    /// A literal number: takes the other side's unit in a sum, is a factor in a product.
    Number,
    /// Not a quantity, or a function without a rule.
    Unknown,
    /// Two sides that cannot be added.
    Clash(Unit, Unit),
}

/// Infers the unit of an expression; `of` gives the unit of a bare or qualified name.
pub fn infer(expr: &datafusion::sql::sqlparser::ast::Expr, of: &dyn Fn(&str) -> Option<Unit>) -> Inferred {
    use datafusion::sql::sqlparser::ast::{BinaryOperator as Op, Expr, Value};
    let clashing = |a: Inferred, b: Inferred| match (a, b) {
        (clash @ Inferred::Clash(..), _) | (_, clash @ Inferred::Clash(..)) => clash,
        (Inferred::Known(a), Inferred::Known(b)) if a.same_dimension(&b) && a.factor == b.factor => {
            Inferred::Known(a)
        }
        (Inferred::Known(a), Inferred::Known(b)) => Inferred::Clash(a, b),
        (Inferred::Known(a), Inferred::Number) | (Inferred::Number, Inferred::Known(a)) => Inferred::Known(a),
        (Inferred::Number, Inferred::Number) => Inferred::Number,
        _ => Inferred::Unknown,
    };
    match expr {
        Expr::Identifier(ident) => {
            of(&crate::scalar::folded(ident)).map_or(Inferred::Unknown, Inferred::Known)
        }
        Expr::Value(value) if matches!(value.value, Value::Number(..)) => Inferred::Number,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => {
            infer(inner, of)
        }
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (infer(left, of), infer(right, of));
            match op {
                Op::Plus | Op::Minus => clashing(left, right),
                Op::Multiply | Op::Divide => {
                    let divide = *op == Op::Divide;
                    match (left, right) {
                        (clash @ Inferred::Clash(..), _) | (_, clash @ Inferred::Clash(..)) => clash,
                        (Inferred::Known(a), Inferred::Known(b)) => {
                            a.combine(&b, divide).map_or(Inferred::Unknown, Inferred::Known)
                        }
                        (Inferred::Known(a), Inferred::Number) => Inferred::Known(a),
                        (Inferred::Number, Inferred::Known(b)) => {
                            Unit::one().combine(&b, divide).map_or(Inferred::Unknown, Inferred::Known)
                        }
                        (Inferred::Number, Inferred::Number) => Inferred::Number,
                        _ => Inferred::Unknown,
                    }
                }
                _ => match clashing(left, right) {
                    clash @ Inferred::Clash(..) => clash,
                    _ => Inferred::Unknown,
                },
            }
        }
        Expr::Case { conditions, else_result, .. } => conditions
            .iter()
            .map(|when| infer(&when.result, of))
            .chain(else_result.iter().map(|expr| infer(expr, of)))
            .reduce(clashing)
            .unwrap_or(Inferred::Unknown),
        Expr::Function(function)
            if matches!(
                function.name.to_string().to_lowercase().as_str(),
                "coalesce" | "greatest" | "least" | "abs" | "nullif"
            ) =>
        {
            use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
            let FunctionArguments::List(list) = &function.args else { return Inferred::Unknown };
            list.args
                .iter()
                .map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => infer(expr, of),
                    _ => Inferred::Unknown,
                })
                .reduce(clashing)
                .unwrap_or(Inferred::Unknown)
        }
        _ => Inferred::Unknown,
    }
}
