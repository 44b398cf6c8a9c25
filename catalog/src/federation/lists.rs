//! Long lists of values that a leaf asks for, as the statements of its source can hold them.
//!
//! A list goes down if it leaves most rows of its table at the source. One that is too long for one statement is taken
//! apart into runs: statements that the source answers one after another at one version, each for other values. So no
//! two runs may ever name the same row: values are sorted and told once, and only those are taken apart that are equal
//! at the source exactly when they are equal here.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, lit};

use super::gate::{MAX_LIST, decide};
use super::{FragmentExecutor, PushedFilter, Run, Verdict};
use crate::source::TableDef;

/// Values of one list at most, over all runs.
pub(crate) const MOST_VALUES: usize = 400_000;
/// Lists up to this length are always sent.
const SHORT: usize = 1_000;

/// Runs at most over a column that begins no key: the source may have to read its whole table for each of them, which
/// must stay cheaper than sending most of it.
const WHOLE_READS: usize = 4;

/// How long the lists may be that a read of a source names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListRoom {
    /// Values of all lists of one statement.
    pub values: usize,
    /// Bytes of their text.
    pub bytes: usize,
    /// How many statements may follow each other in one read.
    pub runs: usize,
}

impl ListRoom {
    /// One statement of a server that parses text.
    pub const STATEMENT: Self = Self { values: MAX_LIST, bytes: 768 * 1024, runs: 1 };
    /// Several such statements, at one version of the source.
    pub const RUNS: Self = Self { runs: MOST_VALUES.div_ceil(MAX_LIST), ..Self::STATEMENT };
    /// Nobody writes or parses a text.
    pub const UNWRITTEN: Self = Self { values: MOST_VALUES, bytes: usize::MAX, runs: 1 };
}

/// Whether a condition can go down beside those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// In every statement.
    Whole,
    /// In so many runs at most, if at all.
    Apart,
    /// It leaves too few rows at the source, or is too long.
    Not,
}

/// What lists of one read may still hold.
#[derive(Debug)]
pub(super) struct Room {
    left: ListRoom,
}

impl Room {
    pub(super) const fn of(all: ListRoom) -> Self {
        Self { left: all }
    }

    /// Whether a condition over a table of so many rows is worth its text and fits, which takes its room.
    pub(super) fn takes(&mut self, part: &Expr, rows: Option<u64>) -> Fit {
        let Expr::InList(list) = part else { return Fit::Whole };
        let values = list.list.len();
        let rows = rows.and_then(|rows| usize::try_from(rows).ok());
        if values > SHORT && rows.is_some_and(|rows| values.saturating_mul(2) > rows) {
            return Fit::Not;
        }
        let bytes = list.list.iter().map(text_length).fold(0, usize::saturating_add);
        match (self.left.values.checked_sub(values), self.left.bytes.checked_sub(bytes)) {
            (Some(values), Some(bytes)) => {
                self.left = ListRoom { values, bytes, ..self.left };
                Fit::Whole
            }
            _ if self.left.runs > 1 && values <= MOST_VALUES => Fit::Apart,
            _ => Fit::Not,
        }
    }

    /// The runs in which a list fits beside those that were taken, each over the table or the one joined at `join`;
    /// `None` if it does not, or if its values may meet rows of each other.
    pub(super) fn runs(
        &self,
        list: &InList,
        join: Option<usize>,
        table: &TableDef,
        executor: &dyn FragmentExecutor,
    ) -> Option<Vec<Run>> {
        let values = told_once(list)?;
        let leads = matches!(list.expr.as_ref(), Expr::Column(column) if table.primary_key.first() == Some(&column.name));
        let most = if leads { self.left.runs } else { self.left.runs.min(WHOLE_READS) };
        let pieces = self.pieces(&values, most)?;
        let in_order = values.first().is_some_and(|value| !is_text(value));
        pieces.into_iter().map(|piece| run(list, piece, join, in_order, table, executor)).collect()
    }

    /// As few pieces as there can be, of about the same length.
    fn pieces<'a>(&self, values: &'a [ScalarValue], most: usize) -> Option<Vec<&'a [ScalarValue]>> {
        let fewest = values.len().div_ceil(self.left.values.max(1)).max(1);
        (fewest..=most).find_map(|count| {
            let pieces: Vec<&[ScalarValue]> = values.chunks(values.len().div_ceil(count)).collect();
            let fit = |piece: &&[ScalarValue]| {
                piece.iter().map(value_length).fold(0, usize::saturating_add) <= self.left.bytes
            };
            pieces.iter().all(fit).then_some(pieces)
        })
    }
}

/// One run, whose list nothing but equal values of the source's pass.
fn run(
    list: &InList,
    piece: &[ScalarValue],
    join: Option<usize>,
    in_order: bool,
    table: &TableDef,
    executor: &dyn FragmentExecutor,
) -> Option<Run> {
    let tested = list.expr.as_ref();
    let values: Vec<Expr> = piece.iter().cloned().map(lit).collect();
    let among = tested.clone().in_list(values, false);
    if !matches!(decide_long(executor, table, &among), Verdict::Exact | Verdict::Rewrite(_)) {
        return None;
    }
    let mut filters = vec![PushedFilter { expr: among, exact: false }];
    // By its bounds a source finds the part of an index that a run needs.
    if let ([least, .., greatest], true) = (piece, in_order) {
        for bound in [tested.clone().gt_eq(lit(least.clone())), tested.clone().lt_eq(lit(greatest.clone()))] {
            if !matches!(decide(executor, table, &bound), Verdict::Keep(_)) {
                filters.push(PushedFilter { expr: bound, exact: false });
            }
        }
    }
    Some(Run { join, filters })
}

/// The values in ascending order, each once, without null; `None` if two that differ may be equal somewhere.
fn told_once(list: &InList) -> Option<Vec<ScalarValue>> {
    let mut values = Vec::with_capacity(list.list.len());
    for value in &list.list {
        let Expr::Literal(value, _) = value else { return None };
        let data_type = value.data_type();
        let plain = data_type.is_integer()
            || matches!(data_type, DataType::Decimal128(..) | DataType::Date32)
            || is_text(value);
        if !plain {
            return None;
        }
        if !value.is_null() {
            values.push(value.clone());
        }
    }
    let one_type = values.windows(2).all(|pair| match pair {
        [one, two] => one.data_type() == two.data_type(),
        _ => true,
    });
    if !one_type {
        return None;
    }
    values.sort_by(|one, two| one.partial_cmp(two).unwrap_or(std::cmp::Ordering::Equal));
    values.dedup();
    Some(values)
}

/// The verdict for a condition of any length: of a list of integers that of its first, which no integer changes; of any
/// other that of all of its parts.
pub(super) fn decide_long(executor: &dyn FragmentExecutor, table: &TableDef, part: &Expr) -> Verdict {
    let Expr::InList(list) = part else { return decide(executor, table, part) };
    let of = |values: &[Expr]| {
        let piece = InList::new(list.expr.clone(), values.to_vec(), list.negated);
        decide(executor, table, &Expr::InList(piece))
    };
    let first = list.list.first();
    if let (Some(data_type), Some(first)) = (first.and_then(integer_type), first)
        && list.list.iter().all(|value| integer_type(value).as_ref() == Some(&data_type))
    {
        return of(std::slice::from_ref(first));
    }
    let mut verdict = None;
    for values in list.list.chunks(MAX_LIST) {
        match of(values) {
            kept @ Verdict::Keep(_) => return kept,
            other => verdict = Some(other),
        }
    }
    verdict.unwrap_or_else(|| decide(executor, table, part))
}

/// The type of a constant integer.
fn integer_type(value: &Expr) -> Option<DataType> {
    let Expr::Literal(value, _) = value else { return None };
    Some(value.data_type()).filter(|data_type| data_type.is_integer() && !value.is_null())
}

fn is_text(value: &ScalarValue) -> bool {
    matches!(value.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// How long an item is as a source's text, at most.
fn text_length(item: &Expr) -> usize {
    match item {
        Expr::Literal(value, _) => value_length(value),
        _ => 100,
    }
}

fn value_length(value: &ScalarValue) -> usize {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => text.len() * 2 + 10,
        ScalarValue::Int16(_) | ScalarValue::Int32(_) | ScalarValue::Int64(_) => value.to_string().len() + 4,
        value => value.to_string().len() + 30,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::col;

    use super::*;
    use crate::federation::testing::Scripted;
    use crate::source::TableKind;

    const SMALL: ListRoom = ListRoom { values: 4, bytes: 1_000, runs: 3 };

    fn table() -> TableDef {
        let fields = vec![Field::new("k", DataType::Int64, true), Field::new("name", DataType::Utf8, true)];
        TableDef {
            schema: "s".into(),
            name: "t".into(),
            arrow: Arc::new(Schema::new(fields)),
            comment: None,
            primary_key: vec!["k".into()],
            foreign_keys: vec![],
            row_estimate: None,
            kind: TableKind::Table,
        }
    }

    fn list(column: &str, values: impl IntoIterator<Item = ScalarValue>) -> InList {
        InList::new(Box::new(col(column)), values.into_iter().map(lit).collect(), false)
    }

    fn numbers(values: impl IntoIterator<Item = i64>) -> InList {
        list("k", values.into_iter().map(ScalarValue::from))
    }

    /// Per run the values that it asks for.
    fn asked(runs: &[Run]) -> Vec<Vec<String>> {
        runs.iter()
            .map(|run| match run.filters.first().map(|filter| &filter.expr) {
                Some(Expr::InList(list)) => list.list.iter().map(ToString::to_string).collect(),
                other => panic!("a run begins with its list, not {other:?}"),
            })
            .collect()
    }

    #[test]
    fn every_value_is_in_one_run_between_its_bounds() {
        let exact = Scripted::always(Verdict::Exact);
        let mut values: Vec<i64> = (0..9).map(|n| n * 7 % 9).collect();
        values.extend([3, 8, 0]);
        let mut told = numbers(values);
        told.list.push(lit(ScalarValue::Int64(None)));
        let runs = Room::of(SMALL).runs(&told, Some(1), &table(), &exact).unwrap();
        assert_eq!(asked(&runs).concat().len(), 9);
        assert_eq!(asked(&runs).concat().into_iter().collect::<BTreeSet<_>>().len(), 9);
        let second: Vec<String> = runs[1].filters.iter().map(|filter| filter.expr.to_string()).collect();
        assert_eq!(second[1..], ["k >= Int64(3)", "k <= Int64(5)"]);
        assert!(runs.iter().all(|run| run.join == Some(1) && run.filters.iter().all(|f| !f.exact)));
    }

    #[test]
    fn values_that_may_meet_each_others_rows_are_not_taken_apart() {
        let superset = Scripted::always(Verdict::Superset("padding".into()));
        let exact = Scripted::always(Verdict::Exact);
        let names = || list("name", ["a", "A", "b", "c", "d"].map(ScalarValue::from));
        assert!(Room::of(SMALL).runs(&names(), None, &table(), &superset).is_none());
        let runs = Room::of(SMALL).runs(&names(), None, &table(), &exact).unwrap();
        assert!(runs.iter().all(|run| run.filters.len() == 1), "a text's bounds are in a source's own order");
        let floats = list("k", (0..5).map(|n| ScalarValue::from(f64::from(n))));
        assert!(Room::of(SMALL).runs(&floats, None, &table(), &exact).is_none());
        let mixed = list("k", [ScalarValue::from(1_i64), ScalarValue::from(1_i32)]);
        assert!(Room::of(SMALL).runs(&mixed, None, &table(), &exact).is_none());
    }

    #[test]
    fn what_is_too_long_for_all_runs_stays_here() {
        let exact = Scripted::always(Verdict::Exact);
        let runs =
            |room: ListRoom, values: i64| Room::of(room).runs(&numbers(0..values), None, &table(), &exact);
        assert_eq!(runs(SMALL, 12).map(|runs| runs.len()), Some(3));
        assert!(runs(SMALL, 13).is_none());
        let many = ListRoom { runs: 9, ..SMALL };
        assert_eq!(runs(many, 36).map(|runs| runs.len()), Some(9), "by the key");
        let by_another = TableDef { primary_key: vec!["name".into(), "k".into()], ..table() };
        assert!(Room::of(many).runs(&numbers(0..16), None, &by_another, &exact).is_some());
        assert!(
            Room::of(many).runs(&numbers(0..17), None, &by_another, &exact).is_none(),
            "each may be a whole read"
        );
        let narrow = ListRoom { bytes: 11, ..SMALL };
        assert_eq!(runs(narrow, 6).map(|runs| runs.len()), Some(3), "two values of five bytes each");
        assert!(runs(narrow, 7).is_none());
    }

    #[test]
    fn a_list_is_worth_it_if_it_leaves_most_rows_and_takes_room_from_the_next() {
        let long = |values: usize| Expr::InList(numbers((0..values).map(|n| i64::try_from(n).unwrap())));
        let mut room = Room::of(ListRoom::RUNS);
        assert_eq!(room.takes(&long(SHORT), Some(1)), Fit::Whole);
        assert_eq!(room.takes(&long(2_000), Some(3_999)), Fit::Not);
        assert_eq!(room.takes(&long(30_000), Some(60_000)), Fit::Whole);
        assert_eq!(room.takes(&long(30_000), None), Fit::Apart);
        assert_eq!(Room::of(ListRoom::STATEMENT).takes(&long(MAX_LIST + 1), None), Fit::Not);
        assert_eq!(Room::of(ListRoom::UNWRITTEN).takes(&long(MAX_LIST + 1), None), Fit::Whole);
    }

    #[test]
    fn a_list_of_any_length_is_decided() {
        let many = || (0..=MAX_LIST).map(|n| i64::try_from(n).unwrap());
        let numbers = Expr::InList(numbers(many()));
        let names = Expr::InList(list("name", many().map(|n| ScalarValue::from(n.to_string()))));
        let exact = Scripted::always(Verdict::Exact);
        let kept = Scripted::always(Verdict::Keep("no".into()));
        for list in [numbers, names] {
            assert_eq!(decide_long(&exact, &table(), &list), Verdict::Exact);
            assert_eq!(decide_long(&kept, &table(), &list), Verdict::Keep("no".into()));
        }
    }
}
