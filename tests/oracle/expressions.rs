//! Random expressions: values of a family, conditions, aggregates, each over the columns in scope.
//!
//! Outside risky queries nothing here can fail for any seed row, because in which order conditions are evaluated is
//! nobody's promise. A construct that differs from PostgreSQL by a documented difference says so.

use crate::random::Random;
use crate::syntax::{Family, Node, Traits, literal};
use crate::table::{Kind, TEXTS, pool};

/// The columns an expression may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope(pub(crate) Vec<Node>);

pub(crate) const PLAIN: Traits = Traits { fallible: false, ours: false, approximate: false };
pub(crate) const OURS: Traits = Traits { fallible: false, ours: true, approximate: false };
const FALLIBLE: Traits = Traits { fallible: true, ours: false, approximate: false };
const APPROXIMATE: Traits = Traits { fallible: false, ours: false, approximate: true };

pub(crate) fn call(shape: &'static str, kids: Vec<Node>, family: Family) -> Node {
    Node::Call { shape, kids, family, traits: PLAIN }
}

impl Scope {
    /// A column of a family.
    pub(crate) fn column(&self, random: &mut Random, family: Family) -> Option<Node> {
        let fitting: Vec<&Node> = self.0.iter().filter(|node| node.family() == family).collect();
        if fitting.is_empty() { None } else { Some((*random.pick(&fitting)).clone()) }
    }

    pub(crate) fn any_column(&self, random: &mut Random) -> Node {
        random.pick(&self.0).clone()
    }

    /// A family that some column has.
    pub(crate) fn family(&self, random: &mut Random) -> Family {
        random.pick(&self.0).family()
    }
}

/// The pool a family's constants come from.
fn values(random: &mut Random, family: Family) -> &'static str {
    let kind = match family {
        Family::Bool => Kind::Bool,
        Family::Int2 => Kind::Int2,
        Family::Int4 => Kind::Int4,
        Family::Int8 => Kind::Int8,
        Family::Float => Kind::Float8,
        Family::Numeric if random.percent(30) => Kind::Numeric(30, 10),
        Family::Numeric => Kind::Numeric(12, 2),
        Family::Text if random.percent(25) => Kind::Word,
        Family::Text => Kind::Text,
        Family::Date => Kind::Date,
        Family::Timestamp => Kind::Timestamp,
        Family::Timestamptz => Kind::Timestamptz,
    };
    random.text(pool(kind))
}

/// A constant that carries its type.
pub(crate) fn constant(random: &mut Random, family: Family) -> Node {
    let value = values(random, family);
    let text = match family {
        Family::Text => literal(value),
        Family::Bool => value.to_owned(),
        Family::Date if random.percent(50) => format!("DATE {}", literal(value)),
        Family::Timestamp if random.percent(50) => format!("TIMESTAMP {}", literal(value)),
        _ => format!("{}::{}", literal(value), family.sql()),
    };
    Node::Literal { text, family }
}

/// A constant beside a column, which may leave its type to the column.
fn beside(random: &mut Random, family: Family) -> Node {
    if random.percent(6) {
        return Node::Literal { text: "NULL".into(), family };
    }
    let bare = !matches!(family, Family::Text | Family::Bool) && random.percent(50);
    if !bare {
        return constant(random, family);
    }
    let value = values(random, family);
    let number = matches!(family, Family::Int4 | Family::Int8 | Family::Numeric);
    let text = if number && random.percent(60) { format!("({value})") } else { literal(value) };
    Node::Literal { text, family }
}

/// Shapes of one hole that give text.
const TEXT_OF_TEXT: [&str; 14] = [
    "btrim({0})",
    "ltrim({0})",
    "rtrim({0})",
    "substr({0}, 1, 2)",
    "substr({0}, 2)",
    "left({0}, 2)",
    "right({0}, 1)",
    "replace({0}, 'a', 'xy')",
    "reverse({0})",
    "lpad({0}, 5, '*')",
    "repeat({0}, 2)",
    "split_part({0}, 'a', 2)",
    "left({0}, -1)",
    "md5({0})",
];

const INT_OF_TEXT: [&str; 5] =
    ["length({0})", "char_length({0})", "octet_length({0})", "position('a' in {0})", "strpos({0}, '%')"];

/// A value of a family.
pub(crate) fn value(random: &mut Random, scope: &Scope, family: Family, depth: usize) -> Node {
    let column = scope.column(random, family);
    if depth == 0 || random.percent(45) {
        return match column {
            Some(column) if random.percent(90) => column,
            _ => constant(random, family),
        };
    }
    let deeper = depth - 1;
    if random.percent(25) {
        return general(random, scope, family, deeper);
    }
    let choices: &[(&'static str, Family)] = match family {
        Family::Text => return text(random, scope, deeper),
        Family::Numeric => return numeric(random, scope, deeper),
        Family::Bool => return condition(random, scope, deeper),
        Family::Int2 => return column.unwrap_or_else(|| constant(random, family)),
        Family::Int4 => {
            if random.percent(40) {
                let kid = value(random, scope, Family::Text, deeper);
                return call(random.text(&INT_OF_TEXT), vec![kid], family);
            }
            &[
                ("{0}::int4", Family::Int2),
                ("({0} / 3)", Family::Int4),
                ("({0} % 7)", Family::Int4),
                ("extract(year FROM {0})::int4", Family::Date),
                ("extract(dow FROM {0})::int4", Family::Timestamp),
                ("extract(hour FROM {0})::int4", Family::Timestamptz),
            ]
        }
        Family::Int8 => &[
            ("({0}::int8 + 5)", Family::Int4),
            ("({0}::int8 * 3)", Family::Int2),
            ("(- {0}::int8)", Family::Int4),
            ("({0} / 2)", Family::Int8),
        ],
        Family::Float => &[
            ("({0} + 1.5::float8)", Family::Float),
            ("abs({0})", Family::Float),
            ("(- {0})", Family::Float),
            ("{0}::float8", Family::Int4),
            ("floor({0})", Family::Float),
        ],
        Family::Date => &[
            ("{0}::date", Family::Timestamp),
            ("({0} + 1)", Family::Date),
            ("{0}::date", Family::Timestamptz),
        ],
        Family::Timestamp => &[
            ("{0}::timestamp", Family::Date),
            ("date_trunc('month', {0})", Family::Timestamp),
            ("({0} + interval '1 day')", Family::Timestamp),
        ],
        Family::Timestamptz => &[
            ("date_trunc('day', {0})", Family::Timestamptz),
            ("({0} + interval '90 minutes')", Family::Timestamptz),
        ],
    };
    let (shape, from) = *random.pick(choices);
    let kids = vec![value(random, scope, from, deeper)];
    call(shape, kids, family)
}

fn text(random: &mut Random, scope: &Scope, depth: usize) -> Node {
    let family = Family::Text;
    let kid = value(random, scope, family, depth);
    match random.below(6) {
        0..=2 => call(random.text(&TEXT_OF_TEXT), vec![kid], family),
        3 => {
            let other = value(random, scope, family, depth);
            call(
                random.text(&["({0} || {1})", "concat({0}, {1})", "concat_ws('-', {0}, {1})"]),
                vec![kid, other],
                family,
            )
        }
        4 => Node::Call {
            shape: random.text(&["upper({0})", "lower({0})"]),
            kids: vec![kid],
            family,
            // The letters a locale maps are PostgreSQL's own business.
            traits: OURS,
        },
        _ => {
            let from = *random.pick(&[Family::Int4, Family::Int8, Family::Bool, Family::Date]);
            call("{0}::text", vec![value(random, scope, from, depth)], family)
        }
    }
}

fn numeric(random: &mut Random, scope: &Scope, depth: usize) -> Node {
    let family = Family::Numeric;
    let shape = random.text(&[
        "({0} + 1.5)",
        "({0} - 0.25)",
        "({0} * 2)",
        "round({0}, 1)",
        "round({0})",
        "trunc({0}, 1)",
        "abs({0})",
        "(- {0})",
        "ceil({0})",
        "floor({0})",
        "{0}::numeric",
    ]);
    let from = if shape == "{0}::numeric" { Family::Int8 } else { family };
    call(shape, vec![value(random, scope, from, depth)], family)
}

/// What every family has.
fn general(random: &mut Random, scope: &Scope, family: Family, depth: usize) -> Node {
    let first = value(random, scope, family, depth);
    let second = value(random, scope, family, depth);
    match random.below(4) {
        0 => call("coalesce({0}, {1})", vec![first, second], family),
        1 => call("nullif({0}, {1})", vec![first, second], family),
        2 if family != Family::Bool => {
            call(random.text(&["greatest({0}, {1})", "least({0}, {1})"]), vec![first, second], family)
        }
        _ => {
            let test = condition(random, scope, depth);
            let shape = random.text(&["CASE WHEN {0} THEN {1} ELSE {2} END", "CASE WHEN {0} THEN {1} END"]);
            call(shape, vec![test, first, second], family)
        }
    }
}

const COMPARISONS: [&str; 8] = [
    "({0} = {1})",
    "({0} <> {1})",
    "({0} < {1})",
    "({0} <= {1})",
    "({0} > {1})",
    "({0} >= {1})",
    "({0} IS DISTINCT FROM {1})",
    "({0} IS NOT DISTINCT FROM {1})",
];

/// A condition without subqueries.
pub(crate) fn condition(random: &mut Random, scope: &Scope, depth: usize) -> Node {
    let family = Family::Bool;
    if depth > 0 && random.percent(30) {
        let first = condition(random, scope, depth - 1);
        let second = condition(random, scope, depth - 1);
        return match random.below(4) {
            0 | 1 => call("({0} OR {1})", vec![first, second], family),
            2 => call("({0} AND {1})", vec![first, second], family),
            _ => call("(NOT {0})", vec![first], family),
        };
    }
    let of = scope.family(random);
    // Plain columns and constants are what goes down; the rest stays.
    let left = match scope.column(random, of) {
        Some(column) if random.percent(75) => column,
        _ => value(random, scope, of, depth.min(1)),
    };
    match random.below(12) {
        0..=3 => {
            let right =
                if random.percent(75) { beside(random, of) } else { value(random, scope, of, depth.min(1)) };
            call(random.text(&COMPARISONS), vec![left, right], family)
        }
        4 | 5 => {
            let mut kids = vec![left];
            kids.extend((0..random.between(1, 4)).map(|_| beside(random, of)));
            call(random.text(&["({0} IN ({*}))", "({0} NOT IN ({*}))"]), kids, family)
        }
        6 => like(random, scope),
        7 => {
            let kids = vec![left, beside(random, of), beside(random, of)];
            call(random.text(&["({0} BETWEEN {1} AND {2})", "({0} NOT BETWEEN {1} AND {2})"]), kids, family)
        }
        8 => {
            let column = scope.any_column(random);
            call(random.text(&["({0} IS NULL)", "({0} IS NOT NULL)"]), vec![column], family)
        }
        9 => {
            let inner = match scope.column(random, Family::Bool) {
                Some(column) if random.percent(60) => column,
                _ => call(random.text(&COMPARISONS), vec![left, beside(random, of)], family),
            };
            let shape = random.text(&[
                "({0} IS TRUE)",
                "({0} IS FALSE)",
                "({0} IS UNKNOWN)",
                "({0} IS NOT TRUE)",
                "({0} IS NOT FALSE)",
                "(NOT {0})",
            ]);
            call(shape, vec![inner], family)
        }
        10 => across(random, scope).unwrap_or_else(|| like(random, scope)),
        _ => {
            let right = scope.column(random, of).unwrap_or_else(|| constant(random, of));
            call(random.text(&COMPARISONS), vec![left, right], family)
        }
    }
}

fn like(random: &mut Random, scope: &Scope) -> Node {
    let column = value(random, scope, Family::Text, 0);
    if random.percent(15) {
        return call("starts_with({0}, {1})", vec![column, constant(random, Family::Text)], Family::Bool);
    }
    if random.percent(10) {
        let shape =
            random.text(&["({0} ~ '^a')", "({0} !~ '[0-9]')", "({0} ~ 'k.r$')", "({0} ~* '^d.kar$')"]);
        return call(shape, vec![column], Family::Bool);
    }
    let piece = random.text(TEXTS).replace('\\', "");
    let pattern = match random.below(6) {
        0 => format!("{piece}%"),
        1 => format!("%{piece}"),
        2 => format!("%{piece}%"),
        3 => "_".repeat(random.between(0, 3)),
        4 => format!("{piece}_"),
        _ => format!("\\{}%", if random.percent(50) { "_" } else { "%" }),
    };
    let pattern = Node::Literal { text: literal(&pattern), family: Family::Text };
    call(random.text(&["({0} LIKE {1})", "({0} NOT LIKE {1})"]), vec![column, pattern], Family::Bool)
}

/// A comparison of two kinds of number, or of a date with a timestamp.
fn across(random: &mut Random, scope: &Scope) -> Option<Node> {
    let pairs = [
        (Family::Int4, Family::Int8),
        (Family::Int8, Family::Numeric),
        (Family::Int2, Family::Int4),
        (Family::Int4, Family::Numeric),
        (Family::Int4, Family::Float),
        (Family::Float, Family::Numeric),
        (Family::Date, Family::Timestamp),
    ];
    let (left, right) = *random.pick(&pairs);
    let left = scope.column(random, left)?;
    let right = constant(random, right);
    let kids = if random.percent(80) { vec![left, right] } else { vec![right, left] };
    Some(call(random.text(&COMPARISONS), kids, Family::Bool))
}

/// An expression that fails for some rows.
pub(crate) fn fallible(random: &mut Random, scope: &Scope) -> Node {
    let shapes: [(&'static str, Family, Family); 14] = [
        ("({0} + 1)", Family::Int8, Family::Int8),
        ("({0} * 2)", Family::Int8, Family::Int8),
        ("({0} - 2)", Family::Int4, Family::Int4),
        ("({0} * 3)", Family::Int4, Family::Int4),
        ("(100 / {0})", Family::Int4, Family::Int4),
        ("(100 % {0})", Family::Int4, Family::Int4),
        ("{0}::int4", Family::Text, Family::Int4),
        ("{0}::int4", Family::Int8, Family::Int4),
        ("{0}::int2", Family::Int4, Family::Int2),
        ("{0}::int4", Family::Numeric, Family::Int4),
        ("{0}::int8", Family::Float, Family::Int8),
        ("abs({0})", Family::Int4, Family::Int4),
        ("(- {0})", Family::Int8, Family::Int8),
        ("{0}::date", Family::Text, Family::Date),
    ];
    loop {
        let (shape, from, family) = *random.pick(&shapes);
        if let Some(column) = scope.column(random, from) {
            return Node::Call { shape, kids: vec![column], family, traits: FALLIBLE };
        }
    }
}

/// An aggregate.
pub(crate) fn aggregate(random: &mut Random, scope: &Scope, joined: bool) -> Node {
    let filtered = random.percent(20);
    let mut node = bare_aggregate(random, scope, joined);
    if filtered && let Node::Call { shape, kids, .. } = &mut node {
        let with_filter = match *shape {
            "count(*)" => Some("count(*) FILTER (WHERE {0})"),
            "count({0})" => Some("count({0}) FILTER (WHERE {1})"),
            "sum({0})" => Some("sum({0}) FILTER (WHERE {1})"),
            "min({0})" => Some("min({0}) FILTER (WHERE {1})"),
            "max({0})" => Some("max({0}) FILTER (WHERE {1})"),
            _ => None,
        };
        if let Some(with_filter) = with_filter {
            kids.push(condition(random, scope, 1));
            *shape = with_filter;
        }
    }
    node
}

fn bare_aggregate(random: &mut Random, scope: &Scope, joined: bool) -> Node {
    match random.below(10) {
        0 | 1 => call("count(*)", vec![], Family::Int8),
        2 => call("count({0})", vec![scope.any_column(random)], Family::Int8),
        3 => call("count(DISTINCT {0})", vec![scope.any_column(random)], Family::Int8),
        4 | 5 => {
            let of = *random.pick(&[Family::Int4, Family::Int8, Family::Numeric, Family::Int2]);
            let Some(column) = scope.column(random, of) else {
                return call("count(*)", vec![], Family::Int8);
            };
            let family =
                if matches!(of, Family::Int2 | Family::Int4) { Family::Int8 } else { Family::Numeric };
            call(random.text(&["sum({0})", "sum({0})", "sum(DISTINCT {0})"]), vec![column], family)
        }
        6 | 7 => {
            // There may be nothing but booleans.
            let mut columns = (0..50).map(|_| scope.any_column(random));
            let Some(column) = columns.find(|column| column.family() != Family::Bool) else {
                return call("count(*)", vec![], Family::Int8);
            };
            let family = column.family();
            call(random.text(&["min({0})", "max({0})"]), vec![column], family)
        }
        8 => match scope.column(random, Family::Float) {
            // A join may repeat the largest float until its sum is out of range.
            Some(column) if !joined => Node::Call {
                shape: random.text(&["sum({0})", "avg({0})"]),
                kids: vec![column],
                family: Family::Float,
                traits: APPROXIMATE,
            },
            _ => {
                let of = *random.pick(&[Family::Int4, Family::Numeric]);
                let column = scope.column(random, of).unwrap_or_else(|| constant(random, of));
                Node::Call { shape: "avg({0})", kids: vec![column], family: Family::Numeric, traits: OURS }
            }
        },
        _ => {
            let test = condition(random, scope, 1);
            call(random.text(&["bool_and({0})", "bool_or({0})"]), vec![test], Family::Bool)
        }
    }
}
